"""Learners of a real run, each a thread here: what they keep at one instant fits together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.asgd import ASGD
from dualrt.algorithms.sdpsgd import SDPSGD
from dualrt.algorithms.sgp import SGP
from dualrt.core.effects import Compute, Cost, Packet, Recv, Send
from dualrt.core.errors import PreemptedError, RunError
from dualrt.core.keeping import Pause, State
from dualrt.core.learner import Learner
from dualrt.core.records import Update
from dualrt.core.weights import Gradient, Snapshot
from dualrt.real.attempts import Keeping
from dualrt.real.checkpoint import Checkpoints
from dualrt.real.driver import RealDriver
from dualrt.real.gossip import Gossip
from dualrt.workloads.quadratic import Quadratic
from dualrt.workloads.torch_optimizer import sgd
from tests.support.exact import learners_of
from tests.support.simulated import Log
from tests.support.stage import Actor, actors, daemon, main, train

STEPS = 40
"""Of each learner, in a whole run."""

FOR_HOURS = 10**6


def team(
    algorithm: type[Learner],
    learners: int = 4,
    wire: str = "full",
    steps: int = STEPS,
    **case: Any,
) -> list[Learner]:
    """Learners of a quadratic with momentum, whose sum is audited."""
    workload = Quadratic(
        seed=3,
        learners=learners,
        batch=1,
        dimension=30,
        samples_per_epoch=steps * learners,
        optimizer=sgd(momentum=0.9),
        audit=True,
    )
    made = learners_of(algorithm, workload, learners, rate=0.02, **case)
    for learner in made:
        learner.weights.wire, learner.weights.wire_fraction = wire, 0.2
    return made


def keeping(folder: Path, steps: int | None = 10, **changes: Any) -> Keeping:
    """Everything is kept."""
    made = Keeping(Checkpoints(folder, 0, {}), steps, None, 100, 0)
    return replace(made, **changes)


def restored(fresh: Sequence[Learner], folder: Path, number: int) -> Sequence[Learner]:
    """Fresh learners, as they were then."""
    for learner in fresh:
        state = Checkpoints(folder, learner.rank, {}).load(number)
        assert state is not None
        learner.restore(state)
    return fresh


def vectors(learners: Sequence[Learner]) -> list[torch.Tensor]:
    return [learner.weights.snapshot().vector for learner in learners]


def numbers(folder: Path) -> list[int]:
    return sorted(Checkpoints(folder, 0, {}).numbers())


def imbalance(learners: Sequence[Learner]) -> float:
    """How far the sum over replicas is from what gradients explain."""
    unexplained = [one.weights.unexplained() for one in learners if one.is_replica]
    return float(torch.stack([one for one in unexplained if one is not None]).sum(0).abs().max())


class Asking(Log):
    """Has a learner preempt the run after its update `step`, or once so many are kept."""

    def __init__(self, rank: int, step: int = 0, kept: int = 0, folder: Path = Path()) -> None:
        super().__init__()
        self.rank, self.step, self.kept, self.folder = rank, step, kept, folder
        self.drivers: Sequence[RealDriver] = ()
        self.asked = False

    def meet(self, drivers: Sequence[RealDriver]) -> None:
        self.drivers = drivers

    def update(self, time_s: float, update: Update) -> None:
        super().update(time_s, update)
        if self.asked:
            return
        if self.kept:
            due = len(numbers(self.folder)) >= self.kept
        else:
            due = update.learner == self.rank and update.step >= self.step
        if due:
            self.asked = True
            self.drivers[self.rank].preempt()


def interrupted(
    algorithm: type[Learner], case: dict[str, Any], folder: Path, every: int, kept: int = 4
) -> list[int]:
    """Train until more than `kept` checkpoints are there; their numbers."""
    asking = Asking(case.get("learners", 4) - 1, kept=kept, folder=folder)
    with pytest.raises(PreemptedError):
        train(
            team(algorithm, steps=FOR_HOURS, **case),
            log=asking,
            keeping=keeping(folder, every),
            meet=asking.meet,
        )
    whole = Checkpoints(folder, 0, {}).whole
    return [number for number in numbers(folder) if whole(number)]


SYNCHRONOUS: list[tuple[type[Learner], dict[str, Any]]] = [
    (SDPSGD, {}),
    (SDPSGD, {"mixing": "neighbours", "wire": "bfloat16"}),
    (SGP, {"graph": "one-peer-exponential"}),
    (SGP, {"graph": "star", "wire": "bfloat16"}),
]


@pytest.mark.parametrize(("algorithm", "case"), SYNCHRONOUS)
def test_a_synchronous_run_goes_on_to_the_same_bits(
    algorithm: type[Learner], case: dict[str, Any], tmp_path: Path
) -> None:
    *others, last = interrupted(algorithm, case, tmp_path, every=3)
    kept = restored(team(algorithm, **case), tmp_path, last)
    assert imbalance(kept) < 1e-12
    expected = vectors(kept)
    for number in others:
        again = restored(team(algorithm, steps=last, **case), tmp_path, number)
        assert {learner.step for learner in again} == {number}
        train(again)
        assert {learner.step for learner in again} == {last}
        assert all(map(torch.equal, vectors(again), expected))


GOSSIP: list[tuple[type[Learner], dict[str, Any]]] = [
    (ADPSGD, {}),
    (ADPSGD, {"mixing": "neighbours", "graph": "complete"}),
    (ADPSGD, {"settings": {"exchange": "lock"}}),
    (ADPSGD, {"settings": {"overlap": 8}}),
    (ADPSGD, {"wire": "top-k"}),
    (ASGD, {}),
]


@pytest.mark.parametrize(("algorithm", "case"), GOSSIP)
def test_no_exchange_is_kept_by_halves(
    algorithm: type[Learner], case: dict[str, Any], tmp_path: Path
) -> None:
    for number in interrupted(algorithm, case, tmp_path, every=1, kept=8):
        assert imbalance(restored(team(algorithm, **case), tmp_path, number)) < 1e-12


@pytest.mark.parametrize(("algorithm", "case"), GOSSIP)
def test_a_run_that_gossips_goes_on_where_it_was(
    algorithm: type[Learner], case: dict[str, Any], tmp_path: Path
) -> None:
    number = interrupted(algorithm, case, tmp_path, every=10)[1]
    kept = restored(team(algorithm, **case), tmp_path, number)
    total = max(learner.updates for learner in kept)
    # Of which nobody may know all.
    made = sum(learner.step for learner in kept)
    again = restored(team(algorithm, steps=total // 2, **case), tmp_path, number)
    drawn = [learner.draws for learner in again]
    log = train(again)
    # On a busy machine one of them may come to no step before the end.
    went_on = [learner.draws > before for learner, before in zip(again, drawn, strict=True)]
    assert sum(went_on) >= len(again) - 1
    # All of both runs together, but for what was under way when the end was reached.
    assert 2 * total - 4 <= made + len(log.updates)
    # Each of the four takes some steps until it hears of the end, and with an overlap more of them.
    late = 4 * (25 + 3 * case.get("settings", {}).get("overlap", 0))
    assert total + len(log.updates) < 2 * total + late
    assert min(update.epoch for _, update in log.updates) > 0.25
    assert imbalance(again) < 1e-12


def test_nobody_keeps_what_it_still_owes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A responder that has answered, and blends only once its state is asked for."""
    resting = threading.Event()
    quiet = Gossip.await_quiet

    def rest(gossip: Gossip, strands: int, timeout_s: float) -> bool:
        if gossip.rank == 1:
            resting.set()
        return quiet(gossip, strands, timeout_s)

    monkeypatch.setattr(Gossip, "await_quiet", rest)
    seats = [actor.seat for actor in actors([[], []])]
    initiator, responder = (seat.weights for seat in seats)
    theirs = Snapshot(torch.ones(4, dtype=torch.float64), (0, 0))

    async def initiate() -> None:
        await Send(1, "offer", Packet())
        await Recv("answer", 1)
        await learners[0].blend(initiator.snapshot(), theirs, 1.0)
        await go_on(learners[0])

    async def respond() -> None:
        await go_on(learners[1])

    async def answer() -> None:
        while True:
            await Recv("offer")
            await Send(0, "answer", Packet())
            # With a bound, so that who does not wait for rest is found out.
            await Compute(lambda: resting.wait(5.0), Cost("wait"))
            await learners[1].blend(responder.snapshot(), theirs, -1.0)

    layout = seats[0].layout._replace(pause=Pause.DRAINED)
    seated = [replace(seat, layout=layout) for seat in seats]
    learners = [
        Actor(seated[0], [main(initiate)]),
        Actor(seated[1], [main(respond), daemon(answer)]),
    ]
    asking = Asking(0, kept=1, folder=tmp_path)
    with pytest.raises(PreemptedError):
        train(learners, log=asking, keeping=keeping(tmp_path, steps=1), meet=asking.meet)
    number = numbers(tmp_path)[0]
    kept = restored(actors([[], []]), tmp_path, number)
    assert torch.equal(*map(torch.Tensor.abs, vectors(kept)))
    assert float(vectors(kept)[0].sum()) == 4


async def go_on(learner: Learner) -> None:
    """Steps that change nothing but the count."""
    while True:
        await learner.between_steps()
        nothing = Gradient(torch.zeros(4, dtype=torch.float64), None)
        await learner.descend(nothing, learner.weights.snapshot())


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("algorithm", [ADPSGD, SDPSGD])
def test_who_is_asked_to_end_ends_the_run_with_a_checkpoint(
    algorithm: type[Learner], rank: int, tmp_path: Path
) -> None:
    asking = Asking(rank, 9)
    with pytest.raises(PreemptedError) as ended:
        train(
            team(algorithm, steps=FOR_HOURS),
            log=asking,
            keeping=keeping(tmp_path, steps=FOR_HOURS),
            meet=asking.meet,
        )
    [number] = numbers(tmp_path)
    assert ended.value.kept == str(Checkpoints(tmp_path, 0, {}).path(number))
    again = restored(team(algorithm), tmp_path, number)
    assert again[rank].step >= 9
    assert imbalance(again) < 1e-12


def test_a_run_that_ends_first_keeps_nothing_and_ends_well(tmp_path: Path) -> None:
    asking = Asking(1, STEPS)
    train(team(SDPSGD), log=asking, keeping=keeping(tmp_path, steps=FOR_HOURS), meet=asking.meet)
    assert numbers(tmp_path) == []


@pytest.mark.parametrize("algorithm", [ADPSGD, SDPSGD])
def test_a_checkpoint_that_cannot_be_written_is_told_and_the_run_goes_on(
    algorithm: type[Learner], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    # Long enough for one that begins late to be there at one of them.
    log = train(team(algorithm, steps=10 * STEPS), keeping=keeping(tmp_path / "file"))
    assert len(log.updates) >= 40 * STEPS
    told = [one.getMessage() for one in caplog.records if "checkpoint" in one.getMessage()]
    assert told
    assert all("no checkpoint was kept: " in one and "Not a directory" in one for one in told)


@pytest.mark.parametrize("algorithm", [ADPSGD, SDPSGD])
def test_sets_that_one_learner_could_not_write_do_not_pile_up(
    algorithm: type[Learner],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On a disk that is full, the room they take is what the next one needs."""
    write = Checkpoints.write

    def written(checkpoints: Checkpoints, number: int, state: State) -> str:
        part = write(checkpoints, number, state)
        if (checkpoints.path(number) / "rank-3.json").exists():
            checkpoints.of(3).discard(number)
            raise RunError("No space left on device")
        return part

    monkeypatch.setattr(Checkpoints, "write", written)
    train(team(algorithm, steps=10 * STEPS), keeping=keeping(tmp_path))
    failed = [one for one in caplog.records if "No space left" in one.getMessage()]
    # How many there are is up to the machine. Of the last, the word may come when all is over.
    assert len(failed) >= 2
    assert len(numbers(tmp_path)) <= 1


def test_who_is_asked_to_end_does_so_without_a_checkpoint_if_none_can_be_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    asking = Asking(2, 9)
    kept = keeping(tmp_path / "file", steps=FOR_HOURS)
    with pytest.raises(PreemptedError, match=r"no checkpoint was kept: .*Not a directory"):
        train(team(ADPSGD, steps=FOR_HOURS), log=asking, keeping=kept, meet=asking.meet)


def test_checkpoints_are_taken_by_the_clock_too(tmp_path: Path) -> None:
    asking = Asking(1, kept=2, folder=tmp_path)
    by_the_clock = keeping(tmp_path, steps=None, seconds_s=1e-3)
    with pytest.raises(PreemptedError):
        train(team(SDPSGD, steps=FOR_HOURS), log=asking, keeping=by_the_clock, meet=asking.meet)
    assert len(numbers(tmp_path)) >= 2


def test_a_learner_that_is_started_again_and_alone_goes_on_from_its_checkpoint(
    tmp_path: Path,
) -> None:
    [*_, newest] = interrupted(ADPSGD, {"learners": 1}, tmp_path, every=10)
    again = team(ADPSGD, learners=1, incarnation=1, steps=newest + 10)
    log = train(again, keeping=keeping(tmp_path, after=newest))
    assert [update.step for _, update in log.updates] == list(range(newest + 1, newest + 11))


def test_a_learner_that_finds_nobody_takes_the_newest_that_fits(tmp_path: Path) -> None:
    *_, before, newest = interrupted(ADPSGD, {}, tmp_path, every=5)
    (Checkpoints(tmp_path, 1, {}).path(newest) / "rank-1.safetensors").write_bytes(b"")
    learner = team(ADPSGD)[1]
    ours = Checkpoints(tmp_path, 1, {})
    assert keeping(tmp_path, checkpoints=ours).last_resort(learner) == ours.path(before)
    expected = restored(team(ADPSGD), tmp_path, before)[1]
    assert torch.equal(*vectors([learner, expected]))
    assert keeping(tmp_path / "nowhere").last_resort(learner) is None
