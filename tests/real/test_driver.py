"""The real runtime: stops, bounds and the straggler.

What it has in common with the simulator is in tests/contract.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from dualrt.core.effects import (
    Compute,
    Cost,
    Group,
    MeanGradient,
    Now,
    Packet,
    Recv,
    Send,
    Sleep,
    Together,
)
from dualrt.core.errors import RunError, StalledError, StrandError
from dualrt.core.faults import Slowdown
from dualrt.core.learner import Strand
from dualrt.core.weights import Gradient
from dualrt.real.driver import RealDriver, StoppedError
from dualrt.real.gossip import Gossip
from dualrt.real.lanes import HostLane, Lanes
from tests.support.simulated import Log
from tests.support.stage import MAX_BODY_BYTES, PATIENCE_S, actors, daemon, in_threads, main

WORK = Cost("work")


@contextmanager
def driver_of(
    *strands: Strand,
    timeout_s: float = PATIENCE_S,
    log: Log | None = None,
    slowdowns: Sequence[Slowdown] = (),
    groups: Any = None,
    lanes: Lanes | None = None,
) -> Iterator[RealDriver]:
    """A learner alone."""
    with Gossip(0, run_id="run", timeout_s=timeout_s, max_body_bytes=MAX_BODY_BYTES) as gossip:
        gossip.connect({0: gossip.address})
        [learner] = actors([strands])
        yield RealDriver(
            learner,
            gossip,
            groups,
            log or Log(),
            timeout_s=timeout_s,
            device=torch.device("cpu"),
            slowdowns=slowdowns,
            lanes=lanes,
        )


@contextmanager
def under_way(driver: RealDriver) -> Iterator[Future[float]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(driver.run)


class Course:
    """What a strand that goes on and on has done; it ends with its thread."""

    def __init__(self) -> None:
        self.began, self.ended = threading.Event(), threading.Event()

    def strand(self, once: Callable[[], object]) -> Strand:
        async def body() -> None:
            try:
                while True:
                    await once()  # type: ignore[misc]  # an effect of any kind
                    self.began.set()
            finally:
                self.ended.set()

        return main(body, "goes on and on")


@pytest.mark.parametrize(
    "once",
    [
        lambda: Compute(lambda: None, WORK),
        Now,
        lambda: Sleep(1e-4),
        lambda: Send(0, "t", Packet()),
    ],
    ids=["computes", "asks the time", "sleeps", "sends"],
)
def test_a_stop_ends_a_strand_whatever_it_does(once: Callable[[], object]) -> None:
    course = Course()
    with driver_of(course.strand(once)) as driver, under_way(driver) as run:
        assert course.began.wait(PATIENCE_S)
        driver.stop()
        with pytest.raises(StoppedError):
            run.result(PATIENCE_S)
        assert course.ended.wait(PATIENCE_S)


@pytest.mark.parametrize("waits", [Recv("what nobody sends"), Sleep(1e6)], ids=["recv", "sleep"])
def test_a_stop_ends_a_wait(waits: Recv | Sleep) -> None:
    course: list[str] = []

    async def wait() -> None:
        course.append("began")
        await waits
        course.append("went on")

    with driver_of(main(wait)) as driver, under_way(driver) as run:
        while not course:
            time.sleep(1e-3)
        driver.stop()
        with pytest.raises(StoppedError):
            run.result(PATIENCE_S)
    assert course == ["began"]


def test_a_stop_with_an_error_ends_the_run_with_it() -> None:
    async def sleep() -> None:
        await Sleep(1e6)

    gone = RunError("learner 3 is gone")
    with driver_of(main(sleep)) as driver, under_way(driver) as run:
        driver.stop(gone)
        with pytest.raises(RunError, match="learner 3 is gone"):
            run.result(PATIENCE_S)


def test_of_two_errors_the_first_is_told() -> None:
    async def first() -> None:
        raise ValueError("the cause")

    async def second() -> None:
        try:
            await Recv("what nobody sends")
        finally:
            raise KeyError("a consequence")

    with driver_of(main(second), main(first)) as driver, pytest.raises(StrandError) as raised:
        driver.run()
    assert isinstance(raised.value.__cause__, ValueError)


def test_a_strand_that_exits_ends_the_run_too() -> None:
    def leave() -> None:
        raise SystemExit(3)

    async def work() -> None:
        await Compute(leave, WORK)

    with driver_of(main(work)) as driver, pytest.raises(StrandError, match="SystemExit: 3"):
        driver.run()


def test_a_part_that_exits_ends_the_run_too() -> None:
    def leave() -> None:
        raise SystemExit(3)

    async def part() -> None:
        await Compute(leave, WORK)

    async def whole() -> None:
        await Together(part(), part())

    with driver_of(main(whole)) as driver, pytest.raises(StrandError, match="SystemExit: 3"):
        driver.run()


def test_a_daemon_that_has_returned_is_not_waited_for() -> None:
    async def end() -> None:
        pass

    # Were it waited for, the run would take its timeout, and pytest's is shorter.
    with driver_of(daemon(end), main(end), timeout_s=600.0) as driver:
        assert driver.run() < PATIENCE_S


def test_what_is_left_of_a_run_is_waited_for_and_what_never_ends_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    course: list[str] = []
    never = threading.Event()

    async def nothing() -> None:
        pass

    async def lingers() -> None:
        try:
            await Together(Recv("what nobody sends"), Recv("nor this"))
        finally:
            # As whoever drops large tensors.
            time.sleep(0.2)
            course.append("ended")

    async def hangs() -> None:
        try:
            await Recv("what nobody sends")
        finally:
            never.wait(PATIENCE_S)
            course.append("ended too")

    before = set(threading.enumerate())
    with driver_of(main(nothing), daemon(lingers)) as driver:
        driver.run()
    driver.join()
    assert course == ["ended"]
    assert set(threading.enumerate()) <= before
    monkeypatch.setattr("dualrt.real.driver.ENDING_S", 0.1)
    with driver_of(main(nothing), daemon(hangs)) as driver:
        driver.run()
    driver.join()
    assert course == ["ended"]
    never.set()


def test_a_learner_that_does_not_end_is_named() -> None:
    async def end() -> None:
        pass

    async def dawdle() -> None:
        await Sleep(1e6)

    with pytest.raises(StalledError, match=r"learners \[1\] had not ended 0.2 s after learner 0"):
        in_threads([[main(end)], [main(dawdle)]], timeout_s=0.2)


def test_a_straggler_s_computations_take_its_factor() -> None:
    def work() -> None:
        time.sleep(0.01)

    async def compute() -> None:
        await Compute(work, WORK)

    log = Log()
    with driver_of(main(compute), log=log, slowdowns=[Slowdown(0.0, 1e6, 5.0)]) as driver:
        driver.run()
    [span] = log.spans
    # A bound from below only: a busy machine is slower still.
    assert span.end_s - span.start_s >= 5 * 0.01 * 0.99


class InPieces:
    """A gradient of two pieces, each of which takes 10 ms."""

    def __call__(self) -> Gradient[torch.Tensor]:
        raise NotImplementedError

    def in_pieces(
        self, pieces: Sequence[int], share: float, ready: Callable[[torch.Tensor], None]
    ) -> Gradient[torch.Tensor]:
        for _ in pieces:
            time.sleep(0.01)
            ready(torch.zeros(1))
        return Gradient(torch.zeros(len(pieces)), None)


class AskedAhead(InPieces):
    """The same on a device that is asked for all at once; `Waits` is its lane."""

    def in_pieces(
        self, pieces: Sequence[int], share: float, ready: Callable[[torch.Tensor], None]
    ) -> Gradient[torch.Tensor]:
        for _ in pieces:
            ready(torch.zeros(1))
        return Gradient(torch.zeros(len(pieces)), None)


class Waits(HostLane):
    """Its work takes 10 ms, whenever it is waited for."""

    def __init__(self) -> None:
        self.waited = 0

    def mark(self) -> Waits:
        return self

    def wait(self) -> None:
        self.waited += 1
        time.sleep(0.01)


class Summing:
    """Collectives of one who is alone, that note when each was begun."""

    def __init__(self) -> None:
        self.began_s: list[float] = []

    def begin_sum(self, group: Group, vector: torch.Tensor) -> Summing:
        self.began_s.append(self.over_s)
        return self

    def finish(self, call: Summing) -> None:
        pass

    def note(self, peer: int, lost: str | None) -> None:
        pass

    @property
    def over_s(self) -> float:
        return time.monotonic()


def test_a_straggler_is_late_with_each_piece_of_a_gradient() -> None:
    async def average() -> None:
        await MeanGradient(InPieces(), WORK, Group("alone", (0,)), (4, 4))

    summing, log = Summing(), Log()
    slow = [Slowdown(0.0, 1e6, 5.0)]
    with driver_of(main(average), log=log, slowdowns=slow, groups=summing) as driver:
        driver.run()
    first_s, second_s = summing.began_s
    # Bounds from below, as above.
    assert second_s - first_s >= 5 * 0.01 * 0.99
    [whole] = [span for span in log.spans if span.kind == "work"]
    assert whole.end_s - whole.start_s >= 10 * 0.01 * 0.99


@pytest.mark.parametrize("factor", [1.0, 5.0])
def test_a_slow_gpu_is_late_with_each_piece_and_another_is_asked_for_all(factor: float) -> None:
    async def average() -> None:
        await MeanGradient(AskedAhead(), WORK, Group("alone", (0,)), (4, 4))

    summing, lane = Summing(), Waits()
    slow = [Slowdown(0.0, 1e6, factor)]
    with driver_of(
        main(average), slowdowns=slow, groups=summing, lanes=Lanes(lambda urgent: lane)
    ) as driver:
        driver.run()
    first_s, second_s = summing.began_s
    if factor == 1:
        assert lane.waited == 1
    else:
        assert lane.waited == 3
        assert second_s - first_s >= factor * 0.01 * 0.99


def test_vectors_are_sent_as_they_were() -> None:
    arrived: list[torch.Tensor] = []

    async def send() -> None:
        await Send(1, "t", Packet(body=torch.arange(1000, dtype=torch.bfloat16)))

    async def receive() -> None:
        arrived.append((await Recv("t")).packet.body)

    in_threads([[main(send)], [main(receive)]])
    assert torch.equal(arrived[0], torch.arange(1000, dtype=torch.bfloat16))


def test_a_stop_forgets_no_part_that_was_not_begun() -> None:
    """Python would warn of it, in a run that is over."""
    begun: list[str] = []

    async def part() -> None:
        begun.append("a part")

    async def whole() -> None:
        driver.stop()
        await Together(part(), Now(), part())

    with driver_of(main(whole)) as driver, pytest.raises(StoppedError):
        driver.run()
    # What is forgotten says so when it is collected, and warnings are errors.
    gc.collect()
    assert not begun
