"""Learners, each a thread here, of which some die and come back: what becomes of the sum."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import pytest
import torch

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.sgp import SGP
from dualrt.core.learner import Seat
from dualrt.core.progress import Constant, Progress
from dualrt.observe.digest import TimingDigest
from dualrt.observe.tally import Tally
from dualrt.parting import Final, gather, imbalance
from dualrt.real.driver import RealDriver
from dualrt.real.gathering import Contribution
from dualrt.real.gossip import Gossip
from dualrt.real.session import Session
from dualrt.workloads.quadratic import Quadratic
from dualrt.workloads.torch_optimizer import sgd
from tests.support.exact import learners_of, seats
from tests.support.simulated import Log

LEARNERS = 4

PATIENCE_S = 40.0

WORKLOAD = Quadratic(
    seed=3, learners=LEARNERS, batch=1, dimension=30, optimizer=sgd(momentum=0.9), audit=True
)
LAYOUT = ADPSGD.layout(LEARNERS)


class UntilTold(Progress):
    """A run that ends when the test says so."""

    over = threading.Event()

    def finished(self, updates: int) -> bool:
        return self.over.is_set()


class Life:
    """A learner from its start to its end, or its death."""

    def __init__(self, seat: Seat, wire: str, addresses: dict[int, str]) -> None:
        self.learner = ADPSGD(seat)
        self.learner.weights.wire, self.learner.weights.wire_fraction = wire, 0.2
        self.log = Log()
        self.gossip = Gossip(
            seat.rank,
            run_id="run",
            timeout_s=PATIENCE_S,
            max_body_bytes=10_000,
            newcomer=seat.incarnation > 0,
        )
        addresses[seat.rank] = self.gossip.address
        self.driver = RealDriver(
            self.learner,
            self.gossip,
            None,
            self.log,
            timeout_s=PATIENCE_S,
            device=torch.device("cpu"),
        )
        self.run: Future[float] | None = None

    def begin(self, addresses: dict[int, str], pool: ThreadPoolExecutor) -> None:
        self.run = pool.submit(self._run, dict(addresses))

    def _run(self, addresses: dict[int, str]) -> float:
        self.gossip.connect(addresses, greet=addresses)
        return self.driver.run()

    def die(self) -> None:
        """Without a word to anybody, in the middle of whatever it does."""
        self.gossip.close()
        self.driver.stop()

    def await_updates(self, more: int) -> None:
        wanted = len(self.log.updates) + more
        await_(lambda: len(self.log.updates) >= wanted)


def await_(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(1e-3)


class Party:
    """All of them, and those that were."""

    def __init__(self, wire: str) -> None:
        layout = ADPSGD.layout(LEARNERS)
        progress = UntilTold(1.0, 100, 1, Constant(0.02))
        made = seats(WORKLOAD, layout, learners=LEARNERS)
        self.seats = [replace(seat, progress=progress) for seat in made]
        self.wire, self.addresses = wire, dict[int, str]()
        self.pool = ThreadPoolExecutor(16)
        self.all = [Life(seat, wire, self.addresses) for seat in self.seats]
        self.living = dict(enumerate(self.all))
        for life in self.all:
            life.begin(self.addresses, self.pool)

    def kill(self, rank: int) -> None:
        self.living.pop(rank).die()

    def bring_back(self, rank: int, incarnation: int) -> None:
        weights = WORKLOAD.weights(rank)
        seat = replace(self.seats[rank], incarnation=incarnation, weights=weights)
        life = Life(seat, self.wire, self.addresses)
        self.all.append(life)
        self.living[rank] = life
        life.begin(self.addresses, self.pool)
        life.await_updates(5)

    def finals(self) -> Sequence[Final]:
        UntilTold.over.set()
        for life in self.living.values():
            assert life.run is not None
            life.run.result(PATIENCE_S)
        return [Final.of(life.learner) for _, life in sorted(self.living.items())]


@contextmanager
def party(wire: str = "full") -> Iterator[Party]:
    UntilTold.over.clear()
    together = Party(wire)
    try:
        yield together
    finally:
        UntilTold.over.set()
        for life in together.all:
            life.die()
        together.pool.shutdown()


@pytest.mark.parametrize(
    ("seed", "wire"), [(1, "full"), (2, "full"), (3, "bfloat16"), (4, "top-k")]
)
def test_the_sum_is_right_but_for_what_the_dead_took(seed: int, wire: str) -> None:
    draw = random.Random(seed)
    with party(wire) as together:
        for incarnation in (1, 2):
            for rank in draw.sample(range(LEARNERS), 2):
                draw.choice(list(together.living.values())).await_updates(draw.randrange(1, 20))
                together.kill(rank)
                draw.choice(list(together.living.values())).await_updates(draw.randrange(1, 20))
                together.bring_back(rank, incarnation)
        last = draw.randrange(LEARNERS)
        together.kill(last)
        next(iter(together.living.values())).await_updates(10)
        finals = together.finals()
    error = imbalance(WORKLOAD, finals, LAYOUT)
    assert error is not None
    assert error < 1e-12
    # What they took is no trifle.
    taken = torch.stack([final.unexplained for final in finals]).sum(0).abs().max()
    assert taken > 1e-3


def test_where_dealings_are_not_known_nothing_is_said() -> None:
    with party() as together:
        together.all[0].await_updates(10)
        together.kill(3)
        together.all[0].await_updates(10)
        finals = together.finals()
    assert imbalance(WORKLOAD, finals, LAYOUT) is not None
    gone = [final for final in finals if any(who.rank == 3 for who in final.dealings)]
    assert gone
    untold = [replace(one, dealings=dict.fromkeys(one.dealings)) for one in finals]
    assert imbalance(WORKLOAD, untold, LAYOUT) is None
    resumed = [replace(one, since_losses=True) for one in finals]
    assert imbalance(WORKLOAD, resumed, LAYOUT) is None
    needed = LAYOUT._replace(outlives_peers=False)
    assert imbalance(WORKLOAD, finals, needed) is None


def test_what_a_replica_leaves_goes_with_its_mass() -> None:
    """By the way that it goes between processes, here from both of two to the first."""
    workload = Quadratic(seed=1, learners=2, batch=1, dimension=3, samples_per_epoch=4, audit=True)
    learners = learners_of(SGP, workload, 2, graph="complete")
    for learner, mass in zip(learners, (0.5, 1.5), strict=True):
        learner.weights.mass = mass
    parts: dict[int, Contribution] = {}

    class Here:
        lost: tuple[int, ...] = ()

        def gather(self, part: Contribution) -> Mapping[int, Contribution] | None:
            parts[len(parts)] = part
            return parts if len(parts) == len(learners) else None

    here = cast(Session, Here())
    device = torch.device("cpu")
    *_, whole = [gather(here, one, Tally(2), TimingDigest(), device) for one in learners]
    assert whole is not None
    assert [final.mass for final in whole.finals] == [0.5, 1.5]
