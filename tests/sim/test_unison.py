"""Learners in unison, simulated as one: the times are those of simulating all, to the bit."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.algorithms.hierarchical import HierarchicalADPSGD
from dualrt.algorithms.local_sgd import LocalSGD
from dualrt.algorithms.ssgd import SSGD
from dualrt.core.effects import AllReduce, Broadcast, Compute, Cost, Group, Packet, Place, Sleep
from dualrt.core.errors import RunError
from dualrt.core.learner import Learner, Strand
from dualrt.core.records import Update
from dualrt.observe.digest import TimingDigest
from dualrt.observe.fan import fan
from dualrt.observe.tally import Tally
from dualrt.sim.driver import Simulator
from dualrt.workloads.phantom import Phantom
from tests.support.cases import machines
from tests.support.runs import Case
from tests.support.simulated import Log, machine
from tests.support.stage import actors, daemon, main

IN_UNISON: tuple[type[Learner], ...] = (SSGD, LocalSGD, HierarchicalADPSGD)


TENSORS_BYTES = (60_000_000, 30_000_000, 10_000_000)


class Found(NamedTuple):
    """All that a run shows."""

    elapsed_s: float
    digest: str
    updates: list[tuple[float, Update]]
    tally: Any
    busy_s: list[float]
    advanced: int
    """Learners whose own code ran."""


class Applied:
    """Keeps updates, in the order of learners and times."""

    def __init__(self) -> None:
        self.updates_applied: list[tuple[float, Update]] = []

    def span(self, span: object) -> None:
        pass

    def update(self, time_s: float, update: Update) -> None:
        self.updates_applied.append((time_s, update))

    def bulk_spans(self, lane: object, rows: object) -> None:
        pass

    def bulk_updates(self, applied: list[tuple[float, Update]]) -> None:
        self.updates_applied.extend(applied)


def run(case: Case, *, as_one: bool, steps: int = 12) -> Found:
    learners = case.learners
    workload = Phantom(
        seed=0,
        learners=learners,
        batch=1,
        samples_per_epoch=learners * steps,
        parameters_bytes=sum(TENSORS_BYTES),
        tensors_bytes=TENSORS_BYTES,
    )
    team = case.cast(workload)
    tally, digest, applied = Tally(learners), TimingDigest(), Applied()
    unison = team[0].seat.layout.unison if as_one else ()
    simulator = Simulator(team, case.where(), fan(tally, digest, applied), unison=unison)
    return Found(
        simulator.run(),
        digest.hexdigest(),
        sorted(applied.updates_applied),
        tally.to_builtins(),
        tally.busy_s,
        sum(learner.draws > 0 for learner in team),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    learners = draw(st.integers(1, 12))
    algorithm = draw(st.sampled_from(IN_UNISON))
    settings = {}
    if algorithm is LocalSGD:
        settings = {"period": draw(st.integers(1, 4))}
    if algorithm is SSGD:
        settings = {"bucket_bytes": draw(st.sampled_from([0, 1, 50_000_000]))}
    if algorithm is HierarchicalADPSGD:
        sizes = [size for size in range(1, learners + 1) if learners % size == 0]
        settings = {
            "learners_per_group": draw(st.sampled_from(sizes)),
            "overlap": draw(st.integers(1, 4)),
        }
    return Case(
        algorithm,
        learners,
        settings,
        seed=draw(st.integers(0, 2**16)),
        machine=draw(machines(learners)),
    )


def times_only(found: Found) -> tuple[Any, ...]:
    """All but who ran, and sums over learners whose order among equal times is nobody's."""
    last_s, samples, missed, spent, staleness, *_ = found.tally
    return (*found[:3], last_s, samples, missed, spent, staleness, found.busy_s)


@given(cases())
def test_one_for_all_shows_what_all_would(case: Case) -> None:
    assert times_only(run(case, as_one=True)) == times_only(run(case, as_one=False))


@pytest.mark.parametrize(
    ("algorithm", "settings", "advanced"),
    [
        (SSGD, {"bucket_bytes": 0}, 1),
        (SSGD, {"bucket_bytes": 1}, 1),
        (LocalSGD, {"period": 3}, 1),
        (HierarchicalADPSGD, {"learners_per_group": 4}, 4),
    ],
)
def test_one_runs_for_all(algorithm: Any, settings: dict[str, int], advanced: int) -> None:
    case = Case(algorithm, 8, settings, machine={"step_cv": 0.2, "slow": {5: 3.0}})
    one, all_ = run(case, as_one=True), run(case, as_one=False)
    assert one.advanced == advanced
    assert all_.advanced == 8
    assert times_only(one) == times_only(all_)


def test_an_observer_of_single_records_sees_every_learner_run() -> None:
    case = Case(SSGD, 4)
    team = case.cast(Phantom(seed=0, learners=4, batch=1, samples_per_epoch=8))
    Simulator(team, case.where(), Log(), unison=[(0, 1, 2, 3)]).run()
    assert all(learner.draws for learner in team)


ALL = Group("all", (0, 1))
WORK = Cost("work", flops=1e9)


async def sleep() -> None:
    await Sleep(1.0)


async def blend() -> None:
    await Compute(lambda: None, WORK, Place.HOST)


async def lead() -> None:
    await Broadcast(ALL, 0, Packet())


async def elsewhere() -> None:
    await AllReduce(Group("other", (0,)), Packet(body=None))


@pytest.mark.parametrize(
    ("strands", "why"),
    [
        (
            [main(sleep)],
            r"learner 0 asks for Sleep\(duration_s=1.0\), so it cannot stand for the 2",
        ),
        ([main(blend)], "computes on the host"),
        ([main(lead)], "is the root of a broadcast"),
        ([main(elsewhere)], "learner 1 is no member of group 'other'"),
        ([main(sleep), main(sleep)], "has other strands than one that ends"),
        ([daemon(sleep)], "has other strands than one that ends"),
    ],
)
def test_what_cannot_be_done_in_unison_is_refused(strands: list[Strand], why: str) -> None:
    with pytest.raises(RunError, match=why):
        Simulator(actors([strands, strands]), machine(2), Tally(2), unison=[(0, 1)]).run()
