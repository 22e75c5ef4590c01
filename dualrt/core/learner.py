"""Learner: the base of all algorithms.

Owns what an algorithm is given (its `Seat`), what it gives a driver (`Strand`s, and before the run
a `Layout`), and the two steps that every algorithm takes: a gradient, and its application. Must
not know a driver, a clock, a graph or a model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from dualrt.core.effects import (
    AllReduce,
    Awaited,
    Body,
    Compute,
    Cost,
    Group,
    MeanGradient,
    Place,
    Report,
)
from dualrt.core.errors import RunError
from dualrt.core.keeping import Keeper, Pause, State
from dualrt.core.progress import Progress
from dualrt.core.records import Update
from dualrt.core.weights import Gradient, Partner, Snapshot, Weights
from dualrt.core.workload import GradientOf, Workload

_KEEPING = Cost("checkpoint")
_HOST = Place.HOST  # to ask the class for it takes ten times as long

Shares = tuple[tuple[int, float], ...]
"""(peer, share) pairs, ascending by peer."""


class Mixing(Protocol):
    """One learner's rows of the mixing matrices T_0, T_1, ... (1907.05701, eq. 7), by rank."""

    def row(self, round_: int) -> Shares:
        """Everyone it averages with in a round; its own share is what is left of 1."""

    def initiates(self, round_: int) -> Shares:
        """Those of the round's exchanges that it starts; each edge has one initiator."""

    def peers(self, rank: int) -> Sequence[int]:
        """Everyone that learner `rank` averages with in some round, by rank."""


class Layout(NamedTuple):
    """What the run must set up for an algorithm before the first step."""

    replicas: tuple[int, ...]
    """Ranks whose weights the delivered model is the mean of, and whose sum is conserved."""
    gossipers: tuple[int, ...] = ()
    """Ranks that are the vertices of the communication graph; empty if it uses none."""
    groups: tuple[Group, ...] = ()
    """Groups in which collectives are called."""
    batches_per_update: int = 1
    """Mini-batches that one count of a version vector stands for."""
    unison: tuple[tuple[int, ...], ...] = ()
    """Sets of ranks whose learners do the same: one strand, no daemon, that asks for nothing but
    computations on its device, reports, and collectives of which all of the set are members and
    none is the root. They may differ in how long their devices take and in what they draw. Where
    there are no numbers, the first of each set may be simulated for all of it."""
    outlives_peers: bool = False
    """Whether learners go on when a peer is lost; where not, its loss ends the run."""
    takes_back: bool = False
    """Whether a learner that is started again can go on."""
    bears_disorder: bool = False
    """Whether a message that comes twice counts once, and one that others have overtaken is not
    taken for theirs; where not, learners rely on a transport that keeps each connection's order, as
    all real ones do."""
    heirs: tuple[tuple[int, int], ...] = ()
    """(rank, gossiper) pairs: who may come to stand for a vertex of the graph that is lost."""
    one_sided: bool = False
    """Whether one side of the graph, which must have two, starts every exchange."""
    in_parts: bool = False
    """Whether an exchange may be of a part of the entries, as one end learns which the other sent
    before it answers."""
    pause: Pause | None = None
    """How learners come to an instant at which their states can be kept; None if they cannot."""
    directed: bool = False
    """Whether the edges of the graph go one way: a learner's rows are then what it pushes
    (`initiates`) and who pushes to it (`row`), with the part of its own that the giver gives."""


@dataclass(frozen=True, slots=True)
class Seat:
    """What a learner is given: its place in the run."""

    rank: int
    learners: int
    weights: Weights[Any]
    workload: Workload[Any]
    progress: Progress
    layout: Layout
    mixing: Mixing | None
    """None for a learner that is not a vertex of the graph."""
    incarnation: int = 0
    """How often this learner had been started before, in this run."""
    drawing: Callable[[], None] = lambda: None
    """Told of each mini-batch before it is drawn, by the thread that draws it."""
    knowing: Callable[[str, float], float] = lambda _, number: number
    """What `Learner.known` answers, in a run whose order is kept or repeated."""


class Strand(NamedTuple):
    """A named coroutine function of a learner, run concurrently with its other strands.

    A run is over when every strand of every learner that is no `daemon` has returned; daemons
    answer others until then and are dropped. One that goes on by itself then is an error.
    """

    name: str
    body: Callable[[], Body[None]]
    daemon: bool = False


class Learner(ABC):
    """One replica under one algorithm; subclasses are final and say what their update is.

    Keyword parameters of a subclass's constructor are the algorithm's settings in a scenario.
    """

    applies_gradients = False
    """Of a class: whether nothing sees the vectors of its gradients but its own weights, when they
    descend. They may then be in whatever form suits these (`LooseWorkload`)."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.rank = seat.rank
        self.weights = seat.weights
        nbytes = seat.weights.nbytes
        # Reads w and g, writes w; a norm reads g, and scaling to it reads and writes g.
        passes = 3 if seat.weights.clip_norm is None else 6
        self._update_cost = Cost("update", bytes_moved=passes * nbytes)
        # Of another kind, as no device is busy with it.
        self._host_update_cost = Cost("apply", bytes_moved=passes * nbytes)
        # Reads w, mine and theirs, writes w.
        self._blend_cost = Cost("blend", bytes_moved=4 * nbytes)
        self.draws = 0
        """Mini-batches that were drawn, which is the step that it is at."""
        self.abandoned = 0
        """Exchanges that it gave up for good, though the peer may have averaged, and how often
        other weights took the place of those that count: each may have moved the sum."""
        self.life = 0
        """0 for one whose weights are those of the beginning, or a checkpoint's; another number
        each time that it is started again with another's, which are no continuation of its own."""
        self.saw_losses = False
        """Whether a learner was lost, as far as this one has noticed, in this run or before it went
        on from a checkpoint."""
        self.restored = False
        """Whether it goes on from a checkpoint."""
        self.keeper: Keeper | None = None
        """Who keeps its state now and then; a driver's affair."""
        self.lost: Callable[[], frozenset[int]] = frozenset
        """Who is known to be lost just now, by rank; of a driver that loses nobody, nobody."""

    @classmethod
    def layout(cls, learners: int, *_: Any, **settings: Any) -> Layout:
        """What a run with this many learners sets up; takes the same settings as `__init__`.

        By default every learner is a replica and a vertex of the graph, and there is no group.
        Raises UsageError if the number does not fit.
        """
        ranks = tuple(range(learners))
        return Layout(replicas=ranks, gossipers=ranks)

    @abstractmethod
    def strands(self) -> Sequence[Strand]:
        """What runs, from the beginning."""

    async def rejoin(self) -> bool:
        """What a learner that is started again does before its strands run: get up to date.

        Returns whether anybody was there to take it from. Raises RunError where an algorithm cannot
        take a learner back.
        """
        raise RunError(
            f"learner {self.rank} was started again, and {type(self).__name__} cannot take it back"
        )

    async def between_steps(self) -> None:
        """A point at which the learner may be held, and its state kept: see `Pause`.

        Nothing that it has begun is under way there.
        """
        keeper = self.keeper
        if keeper is not None and keeper.due():
            await Compute(keeper.keep, _KEEPING, Place.HOST)

    def state(self) -> State:
        """What is kept of it, between two steps. Raises RunError for weights that cannot be kept.

        An algorithm that has more to remember than its weights and how much it has drawn adds that
        to the values, and takes it back in `restore`.
        """
        state = self.weights.state()
        state.values.update(draws=self.draws, abandoned=self.abandoned, saw_losses=self.saw_losses)
        return state

    def restore(self, state: State) -> None:
        """Be as when that state was kept; before the strands run. Raises RunError if it cannot."""
        self.weights.restore(state)
        self.draws, self.abandoned = state.values["draws"], state.values["abandoned"]
        self.saw_losses, self.restored = state.values.get("saw_losses", False), True

    @property
    def holds(self) -> bool:
        """Whether it decides on its steps; one that is led waits where its leader does."""
        return True

    @property
    def is_replica(self) -> bool:
        """Whether its weights are among those that the delivered model is the mean of."""
        return self.rank in self.seat.layout.replicas

    @property
    def step(self) -> int:
        """Updates that this learner has applied to its weights."""
        return self.weights.versions[self.rank]

    @property
    def updates(self) -> int:
        """Updates by all learners together, as far as this learner knows."""
        return self.weights.versions.total

    @property
    def finished(self) -> bool:
        """Whether, as far as this learner knows, the agreed end has been reached."""
        return self.seat.progress.finished(self.updates)

    def known(self, what: str, number: float) -> float:
        """A number that another strand may just be changing, for this one to decide by.

        In a replay it is what it was in the run.
        """
        return self.seat.knowing(what, number)

    def next_draw(self) -> int:
        """The number of the mini-batch that is drawn next, which is then drawn."""
        self.seat.drawing()
        draw = self.draws
        self.draws += 1
        return draw

    def gradient(self, read: Snapshot[Any]) -> Compute[Gradient[Any]]:
        """g(w; xi): the next mini-batch's gradient at the weights that were read."""
        workload, draw = self.seat.workload, self.next_draw()
        work = GradientOf(workload, read.vector, self.rank, draw, self.applies_gradients)
        return Compute(work, workload.gradient_cost)

    def mean_gradient(
        self, read: Snapshot[Any], group: Group, pieces: Sequence[int] = ()
    ) -> Awaited[Gradient[Any]]:
        """mean_i g(w; xi_i) over a group whose members read the same weights; the loss is its own.

        With several `pieces` (bytes of each, as `dualrt.core.buckets` cuts them, for a
        `PiecewiseWorkload`) each is averaged while the rest is computed.
        """
        if len(pieces) < 2:
            return self._mean_gradient_at_once(read, group)
        workload, draw = self.seat.workload, self.next_draw()
        work = GradientOf(workload, read.vector, self.rank, draw)
        return MeanGradient(work, workload.gradient_cost, group, pieces)

    async def _mean_gradient_at_once(self, read: Snapshot[Any], group: Group) -> Gradient[Any]:
        mine = await self.gradient(read)
        return Gradient(await AllReduce(group, mine.vector, spent=True), mine.loss)

    async def descend(
        self,
        gradient: Gradient[Any],
        read: Snapshot[Any],
        on: Place = Place.DEVICE,
        scale: float = 1.0,
    ) -> None:
        """w <- w - scale a g, at the current weights, and the report of how stale g was."""
        progress, weights = self.seat.progress, self.weights
        epoch = progress.epoch(self.updates)
        rate = progress.schedule(epoch)
        staleness = await Compute(
            lambda: weights.descend(gradient.vector, scale * rate, read.versions),
            self._host_update_cost if on is _HOST else self._update_cost,
            on,
        )
        await Report(
            # As a tuple is made: by the fields' names it takes four times as long, in each step.
            tuple.__new__(
                Update,
                (
                    self.rank,
                    self.step,
                    epoch,
                    rate,
                    gradient.loss,
                    staleness.steps,
                    staleness.missed,
                    progress.samples_per_update,
                ),
            )
        )

    def blend(
        self,
        mine: Snapshot[Any],
        theirs: Snapshot[Any],
        share: float,
        on: Place = Place.HOST,
        partner: Partner | None = None,
    ) -> Compute[None]:
        """w <- w + share * (theirs - mine); `partner` as `Weights.blend` has it."""
        weights = self.weights
        return Compute(lambda: weights.blend(mine, theirs, share, partner), self._blend_cost, on)
