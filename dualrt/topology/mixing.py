"""Mixing plans: which learners average with which in each round, and with what shares.

Owns the sequence of matrices T_k of decentralised SGD,

    W_{k+1} = W_k T_k - a_k g(Phi_k, xi_k)        (arXiv 1907.05701, eq. 7; a column is a learner)

as a learner sees it: its own row, and the exchanges that it starts. All T_k are symmetric and
doubly stochastic, so the mean over learners stays where it is. An asynchronous learner carries out
T_k as pairwise exchanges of deltas, one an edge, with initiator I and responder R:

    w_I += share * (w_R - w_I)        w_R += share * (w_I - w_R)

Knows nothing of weights, messages or time, nor which plans there are (`plans`). A round is only a
number that each learner counts for itself; two learners need not be in the same one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple, final

import numpy as np

from dualrt.core.errors import TopologyError
from dualrt.topology.checks import Matrix

Row = tuple[tuple[int, float], ...]
"""(peer, share) pairs."""


class Exchange(NamedTuple):
    """One edge of one round: who starts, who answers, and the share that both apply."""

    initiator: int
    responder: int
    share: float


class Mixing(ABC):
    """A time-varying sequence of symmetric doubly stochastic matrices on learners 0..n-1.

    A plan is immutable and says the same in every process: learners that never talk about it agree
    on each round. Arguments are not checked on each call, because a simulator asks hundreds of
    thousands of times a second: a learner is in 0..n-1, and a round is 0 or more.

    Attributes
    ----------
    learners : int
        How many there are: n.
    period : int or None
        Rounds after which the sequence repeats; None if it is drawn at random and never does.
    """

    learners: int
    period: int | None

    @abstractmethod
    def row(self, learner: int, round: int) -> Row:
        """The others that the learner averages with in this round, ascending, with their shares.

        It keeps 1 less the sum of the shares for itself.
        """

    @abstractmethod
    def initiates(self, learner: int, round: int) -> Row:
        """The part of its row whose exchanges the learner starts; it answers the rest.

        Over all learners, each edge of the round occurs once.
        """

    @abstractmethod
    def peers(self, learner: int) -> tuple[int, ...]:
        """Everybody that the learner may exchange with in some round, ascending."""

    def matrix(self, round: int) -> Matrix:
        """T_k as an array of shape [n, n]."""
        matrix = np.zeros((self.learners, self.learners))
        for learner in range(self.learners):
            row = self.row(learner, round)
            for peer, share in row:
                matrix[learner, peer] = share
            matrix[learner, learner] = 1.0 - sum(share for _, share in row)
        return matrix


@final
class Periodic(Mixing):
    """A plan that repeats a list of rounds, each given by its exchanges.

    All rows are made beforehand; equal rows are one object, so that a round in which a learner
    meets the same peer again takes a pointer.

    Parameters
    ----------
    learners : int
    rounds : sequence of iterables of Exchange
        At least one round, which may be empty. `check_mixing` says whether the shares make a
        doubly stochastic matrix.
    """

    def __init__(self, learners: int, rounds: Sequence[Iterable[Exchange]]) -> None:
        if not rounds:
            raise TopologyError(
                "a periodic mixing plan has 0 rounds. Give at least one, which may be empty"
            )
        self.learners = learners
        self.period = len(rounds)
        shared: dict[Row, Row] = {}
        met: list[set[int]] = [set() for _ in range(learners)]
        all_rows, all_initiated = [], []
        for exchanges in rounds:
            row: list[list[tuple[int, float]]] = [[] for _ in range(learners)]
            initiated: list[list[tuple[int, float]]] = [[] for _ in range(learners)]
            for initiator, responder, share in exchanges:
                row[initiator].append((responder, share))
                row[responder].append((initiator, share))
                initiated[initiator].append((responder, share))
                met[initiator].add(responder)
                met[responder].add(initiator)
            all_rows.append(_frozen(row, shared))
            all_initiated.append(_frozen(initiated, shared))
        self._rows = tuple(all_rows)
        self._initiated = tuple(all_initiated)
        self._peers = tuple(tuple(sorted(peers)) for peers in met)

    def row(self, learner: int, round: int) -> Row:
        return self._rows[round % len(self._rows)][learner]

    def initiates(self, learner: int, round: int) -> Row:
        return self._initiated[round % len(self._initiated)][learner]

    def peers(self, learner: int) -> tuple[int, ...]:
        return self._peers[learner]


def _frozen(rows: list[list[tuple[int, float]]], shared: dict[Row, Row]) -> tuple[Row, ...]:
    frozen = (tuple(sorted(row)) for row in rows)
    return tuple(shared.setdefault(row, row) for row in frozen)
