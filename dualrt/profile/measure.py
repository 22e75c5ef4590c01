"""Measure: the order of measurements, who takes part in each, and the figures that come of them.

Owns the figures. Must not know how a thing is timed, nor what the simulator is told.

Most things are measured in several rounds, by all learners at once, as in a run they share cores,
caches and memory. Of a round the mean counts, as it is the mean that a run is made of; of the
rounds the median, as a machine does other things now and then.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import NamedTuple

from dualrt.core.errors import UsageError
from dualrt.profile.crew import Crew, Order

ROUNDS = 4

MOST_RECORDED = 512
"""Steps of the first learner that are kept for replay."""

LEAST_BODY_BYTES, MOST_BODY_BYTES = 1 << 23, 1 << 26
"""Of the messages whose goodput is measured: the model's size, within these."""

LEAST_SHARE = 0.1
"""Of an update's time, what its traffic is taken to need at least: below it, the difference to an
update of next to nothing is noise."""

TRAININGS = 3
"""Of which the median counts."""

LEAST_STEPS = 20

MOST_LOST = 0.9
"""Of a gradient's time, what an exchange beside it is taken to cost at most."""

Tell = Callable[[float], None]

Pair = tuple[int, int]
"""Who asks, and who answers."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured: the scenario of a `file` with `overrides`."""

    file: str
    overrides: Sequence[str]
    seed: int | None
    workload: str
    learners: int
    device: str
    batch: int
    """The scenario's own."""
    batches: tuple[int, ...]
    """Ascending."""
    seconds: float
    """For each figure."""


class Timing(NamedTuple):
    """What one thing takes."""

    mean_s: float
    cv: float
    """Coefficient of variation from one time to the next."""


@dataclass(frozen=True, slots=True)
class Gradient:
    """What a mini-batch's gradient takes while all learners compute theirs."""

    batch: int
    mean_s: float
    cv: float
    sigma: float
    """Spread between learners: deviation of the logarithm of their means."""
    alone_s: float
    """While the others do nothing."""
    work_s: float
    """What it takes of a processor, while all compute theirs; on a GPU `mean_s`."""


@dataclass(frozen=True, slots=True)
class Software:
    """What the runtime itself takes of a processor, where learners compute on processors."""

    step_s: float
    """A step beside its gradient: threads that wake one another, records, the update."""
    message_s: float
    """Either end of a message between learners that compute, with a share of the blend."""


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Bytes a second: by one learner while the others do nothing, and by all together."""

    alone_bytes_per_s: float
    together_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Pcie:
    """The way between the host's memory and a device, while all learners use theirs."""

    up_bytes_per_s: float
    down_bytes_per_s: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """All figures, with what they were taken of, and when."""

    workload: str
    learners: int
    threads: int
    device: str
    host: str
    cores: int
    torch: str
    measured_at: str
    took_s: float
    load_before: float
    """Processes that wanted to run, on average over the minute before."""
    parameters_bytes: int
    flops: float
    """Of the last gradient."""
    gradients: tuple[Gradient, ...]
    update_s: float
    launch_s: float
    blend: Bandwidth
    copy: Bandwidth
    gossip: Bandwidth
    """Of messages, one direction, while each learner waits for the answer to what it sent."""
    message_s: float
    """What a message without a body takes, between learners that do nothing else."""
    busy_message_s: float
    """The same as far as one can tell, between learners that compute: what is left of the time of
    the model's message, after what its bytes take by `gossip`."""
    software: Software | None
    """None on a GPU, where it hides behind the device's work."""
    interference: float
    """By how much of its time a gradient takes longer while a learner exchanges all the time."""
    pcie: Pcie | None
    """None without a GPU."""
    recorded: tuple[float, ...]
    """What successive gradients of one learner took at the scenario's batch, by their mean."""


def measure(plan: Plan, tell: Tell) -> Report:
    """Measure everything; `tell` is told the share that is done.

    Raises UsageError for what cannot be measured, RunError if a process dies.
    """
    began_s, at = time.perf_counter(), datetime.now(UTC)
    load_before = os.getloadavg()[0]
    # There is no exchange with oneself.
    with Crew(max(2, plan.learners)) as crew:
        session = _Session(plan, crew, tell)
        about = session.begin()
        gradients = tuple(session.gradient(batch) for batch in plan.batches)
        update_s, launch_s = session.together("update").mean_s, session.together("launch").mean_s
        blend = session.bandwidth("blend", 4 * session.parameters_bytes)
        copy = session.bandwidth("copy", 2 * _copy_bytes())
        pcie = session.pcie() if about["device"] == "cuda" else None
        message_s, gossip = session.gossip()
        busy_message_s, interference = message_s, 0.0
        if plan.learners > 1:
            one_way_s, interference = session.busy()
            bytes_s = session.parameters_bytes / gossip.alone_bytes_per_s
            busy_message_s = max(message_s, one_way_s - bytes_s)
        session.hang_up()
        software = session.software(gradients[-1].work_s) if session.on_processors else None
    return Report(
        workload=plan.workload,
        learners=plan.learners,
        threads=session.threads,
        device=about["device"],
        host=_host(about["device_name"]),
        cores=len(os.sched_getaffinity(0)),
        torch=about["torch"],
        measured_at=at.isoformat(timespec="seconds"),
        took_s=time.perf_counter() - began_s,
        load_before=load_before,
        parameters_bytes=session.parameters_bytes,
        flops=session.flops,
        gradients=gradients,
        update_s=update_s,
        launch_s=launch_s,
        blend=blend,
        copy=copy,
        gossip=gossip,
        message_s=message_s,
        busy_message_s=busy_message_s,
        software=software,
        interference=interference,
        pcie=pcie,
        recorded=session.recorded,
    )


def timing(rounds: Sequence[Sequence[float]]) -> Timing:
    """Of rounds of repeats in seconds: the median of the means and of their spreads."""
    means = [fmean(times_s) for times_s in rounds]
    spreads = [pstdev(times_s) / mean for times_s, mean in zip(rounds, means, strict=True)]
    return Timing(median(means), median(spreads))


class _Session:
    """Measurements on a crew, one after another."""

    def __init__(self, plan: Plan, crew: Crew, tell: Tell) -> None:
        self._plan, self._crew = plan, crew
        self._ranks = range(plan.learners)
        self._for_s = plan.seconds / ROUNDS
        self._tell, self._told = tell, 0
        # Loading and two figures a batch, and twelve or, with a GPU, fifteen others.
        self._steps = 4 * len(plan.batches) + (15 if plan.device == "cuda" else 13)
        self.parameters_bytes, self.flops, self.threads = 0, 0.0, 1
        self.recorded: tuple[float, ...] = ()
        self.on_processors = False
        """Whether learners compute on the processors that everything else runs on too."""

    def begin(self) -> dict[str, str]:
        """Start the processes' libraries; returns what computes."""
        plan = self._plan
        orders: dict[int, Order] = {
            rank: {
                "do": "begin",
                "file": plan.file,
                "overrides": list(plan.overrides),
                "seed": plan.seed,
                "rank": rank,
                "processes": plan.learners,
                "device": plan.device if rank < plan.learners else "cpu",
            }
            for rank in range(self._crew.size)
        }
        about = self._crew.ask_each(orders)
        self.on_processors = about[0]["device"] == "cpu"
        self._step()
        kinds = {about[rank]["device"] for rank in self._ranks}
        if len(kinds) > 1:
            raise UsageError(
                f"{plan.learners} learners would not all have a GPU of their own. Use --learners "
                f"with their number, or --device cpu"
            )
        first: dict[str, str] = about[0]
        return first

    def gradient(self, batch: int) -> Gradient:
        """T(batch), together and alone."""
        loaded = self._crew.ask({"do": "load", "batch": batch}, self._ranks)[0]
        self._step()
        self.parameters_bytes, self.threads = loaded["parameters_bytes"], loaded["threads"]
        self.flops = loaded["flops"]
        by_learner = self._rounds("gradient", self._ranks)
        timings = [timing(rounds) for rounds in by_learner]
        if batch == self._plan.batch:
            steps = [time_s for rounds in by_learner[0] for time_s in rounds][:MOST_RECORDED]
            self.recorded = tuple(time_s / fmean(steps) for time_s in steps)
        alone = timing(self._rounds("gradient", [0])[0])
        worked = timings
        if self.on_processors:
            worked = [timing(rounds) for rounds in self._rounds("gradient_work", self._ranks)]
        return Gradient(
            batch,
            mean_s=fmean(one.mean_s for one in timings),
            cv=fmean(one.cv for one in worked),
            sigma=pstdev([math.log(one.mean_s) for one in worked]),
            alone_s=alone.mean_s,
            work_s=fmean(one.mean_s for one in worked),
        )

    def software(self, gradient_s: float) -> Software:
        """What the runtime takes of a processor, beside the gradients; on a GPU nothing is told.

        One process trains by itself, and then two together, by AD-PSGD under the real driver. The
        first of the two starts an exchange with every step, the second answers.
        """
        steps = max(LEAST_STEPS, int(ROUNDS * self._for_s / gradient_s))
        alone = median(self._trained([0], steps)[0] for _ in range(TRAININGS))
        exchanges = []
        for _ in range(TRAININGS):
            work_s, by_learner = self._trained([0, 1], 2 * steps)
            exchanges.append((work_s - sum(by_learner) * alone / steps) / by_learner[0])
        self._step()
        step_s = max(0.0, alone / steps - gradient_s)
        # An exchange is two messages, each with two ends.
        return Software(step_s, max(0.0, median(exchanges)) / 4)

    def _trained(self, ranks: Sequence[int], steps: int) -> tuple[float, list[int]]:
        """Seconds of a processor by all who take part, and the steps of each."""
        crew = self._crew
        addresses = crew.ask({"do": "listen", "body_bytes": self.parameters_bytes}, ranks)
        known = dict(zip(ranks, addresses, strict=True))
        crew.ask({"do": "connect", "addresses": known}, ranks)
        order = {"do": "train", "learners": len(ranks), "steps": steps}
        found = crew.ask(order, ranks)
        crew.ask({"do": "hang_up"}, ranks)
        return sum(one["work_s"] for one in found), [one["steps"] for one in found]

    def together(self, what: str) -> Timing:
        """One thing, by all learners at once."""
        timings = [timing(rounds) for rounds in self._rounds(what, self._ranks)]
        return Timing(fmean(one.mean_s for one in timings), fmean(one.cv for one in timings))

    def bandwidth(self, what: str, nbytes: int) -> Bandwidth:
        """Of one thing that moves so many bytes of memory."""
        alone = timing(self._rounds(what, [0])[0])
        together = [timing(rounds) for rounds in self._rounds(what, self._ranks)]
        return Bandwidth(nbytes / alone.mean_s, sum(nbytes / one.mean_s for one in together))

    def pcie(self) -> Pcie:
        """Copies between the host and the devices, by all learners at once."""
        nbytes = self._body_bytes
        up, down = (
            sum(
                nbytes / timing(rounds).mean_s
                for rounds in self._rounds(what, self._ranks, nbytes=nbytes)
            )
            for what in ("up", "down")
        )
        nothing = fmean(
            timing(rounds).mean_s for rounds in self._rounds("up", self._ranks, nbytes=0)
        )
        return Pcie(up, down, nothing)

    def gossip(self) -> tuple[float, Bandwidth]:
        """What an empty message takes, and the goodput of large ones: one pair, and all pairs."""
        crew, nbytes = self._crew, self._body_bytes
        most = max(nbytes, self.parameters_bytes)
        addresses = crew.ask({"do": "listen", "body_bytes": most})
        crew.ask({"do": "connect", "addresses": dict(enumerate(addresses))})
        pairs = self._pairs(crew.size)
        ((empty_s,), (alone_s,)) = (self._exchanges(pairs[:1], size) for size in (0, nbytes))
        together = self._exchanges(pairs, nbytes)
        return empty_s, Bandwidth(
            _goodput(nbytes, alone_s, empty_s),
            sum(_goodput(nbytes, one_way_s, empty_s) for one_way_s in together),
        )

    def busy(self) -> tuple[float, float]:
        """One way of the model between learners that all compute, and what that costs them.

        The second is by how much of its time a gradient takes longer while an exchange lasts, on
        average over who asks and who answers.
        """
        pairs = self._pairs(self._plan.learners)
        undisturbed, found = [], []
        # By turns, so that what else the machine does meanwhile is the same for both.
        for _ in range(ROUNDS):
            undisturbed.append(
                self._crew.ask({"do": "gradient", "for_s": self._for_s}, self._ranks)
            )
            found.append(self._exchanged(pairs, self.parameters_bytes, busy=True))
        self._step()
        self._step()
        ways_s, factors = [], []
        for asks, answers in pairs:
            ways_s.append(_one_way_s([each[asks] for each in found]))
            for rank, exchange_s in ((asks, 2 * ways_s[-1]), (answers, math.inf)):
                alone_s = timing([each[rank] for each in undisturbed]).mean_s
                disturbed_s = timing([each[rank]["gradients"] for each in found]).mean_s
                factors.append(interference(alone_s, disturbed_s, exchange_s))
        return fmean(ways_s), fmean(factors)

    def hang_up(self) -> None:
        """Close the transport."""
        self._crew.ask({"do": "hang_up"})

    def _exchanges(self, pairs: Sequence[Pair], nbytes: int) -> list[float]:
        """One way of an exchange, for each of the pairs that exchange at once."""
        found = [self._exchanged(pairs, nbytes, busy=False) for _ in range(ROUNDS)]
        self._step()
        return [_one_way_s([each[asks] for each in found]) for asks, _ in pairs]

    def _exchanged(
        self, pairs: Sequence[Pair], nbytes: int, *, busy: bool
    ) -> dict[int, dict[str, list[float]]]:
        """A round of everyone who takes part."""
        how = {"nbytes": nbytes, "busy": busy}
        orders: dict[int, Order] = {}
        for asks, answers in pairs:
            orders[asks] = {"do": "exchange", "peer": answers, "for_s": self._for_s, **how}
            orders[answers] = {"do": "answer", "peer": asks, **how}
        return self._crew.ask_each(orders)

    @staticmethod
    def _pairs(size: int) -> list[Pair]:
        return [(rank, rank + 1) for rank in range(0, size - 1, 2)]

    @property
    def _body_bytes(self) -> int:
        return min(max(self.parameters_bytes, LEAST_BODY_BYTES), MOST_BODY_BYTES)

    def _rounds(self, what: str, ranks: Sequence[int], **how: object) -> list[list[list[float]]]:
        """For each of these processes its rounds of repeats."""
        order = {"do": what, "for_s": self._for_s, **how}
        rounds = [self._crew.ask(order, ranks) for _ in range(ROUNDS)]
        self._step()
        return [list(of_one) for of_one in zip(*rounds, strict=True)]

    def _step(self) -> None:
        self._told += 1
        self._tell(min(1.0, self._told / self._steps))


def interference(alone_s: float, disturbed_s: float, exchange_s: float) -> float:
    """By how much of its time a gradient takes longer while an exchange that began with it lasts.

    Infinity for an exchange that outlasts the gradient. While both last, time passes (1 + i) times
    as fast as work gets done, and afterwards as fast:
    with x the share of their common time that is lost, i = x / (1 - x).
    """
    lost = (disturbed_s - alone_s) / min(exchange_s, disturbed_s)
    lost = min(max(lost, 0.0), MOST_LOST)
    return lost / (1 - lost)


def _one_way_s(rounds: Sequence[Mapping[str, Sequence[float]]]) -> float:
    return timing([each["exchanges"] for each in rounds]).mean_s / 2


def _goodput(nbytes: int, one_way_s: float, empty_s: float) -> float:
    return nbytes / max(one_way_s - empty_s, LEAST_SHARE * one_way_s)


def _copy_bytes() -> int:
    from dualrt.profile.bench import COPY_BYTES

    return COPY_BYTES


def _host(device_name: str) -> str:
    """The device's name, or the processor's where the processor computes."""
    if device_name:
        return device_name
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
