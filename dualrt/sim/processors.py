"""Processors: learners that compute on the processors of their server, and share them.

Owns the computations under way on such servers, and their new ends whenever one begins or ends.
Must not know what is computed.

A learner on a CPU is a process. What it does at the same time (a gradient, a blend, a message that
is packed or unpacked) shares one processor, since Python lets one thread of a process go on at a
time; and where more learners have something to do than there are processors, the system gives all
of them equal parts. So with P processors, of b learners that are busy each gets on at min(1, P / b)
of its speed, and of k things that a learner does at once each at a k-th of that: processor sharing,
which is what a scheduler with short time slices comes to (Kleinrock, Queueing Systems, vol. 2,
sec. 4.4). A slow period or a straggler's factor prolongs a computation and takes no processor, as
in a real run a straggler sleeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dualrt.core.effects import Cost
from dualrt.sim.clock import Clock
from dualrt.sim.cluster import Cluster
from dualrt.sim.device import Device
from dualrt.sim.interference import Done, Mark

_SLACK = 1e-12
"""Work that is no more, in seconds: sums of it round."""


class Processors:
    """The processors of all servers; stands where `Disturbed` does.

    Parameters: the simulation's clock, the cluster, and the devices of all learners by rank, whose
    times are those of one processor.
    """

    def __init__(self, env: Clock, cluster: Cluster, devices: Sequence[Device]) -> None:
        self._env, self._devices = env, devices
        each = cluster.spec.processors_per_server
        servers: dict[int, _Server] = {}
        self._servers = [
            servers.setdefault(cluster.place(rank).server, _Server(env, each))
            for rank in range(len(devices))
        ]
        self._lives = [0] * len(devices)

    def compute(self, rank: int, cost: Cost, done: Done, marks: Sequence[Mark] = ()) -> None:
        """Begin at once; then call `done`, and on the way what `marks` say."""
        device, start_s = self._devices[rank], self._env.now
        work_s = device.work_s(cost)

        def end() -> None:
            # The longer it was at it, the longer a straggler sleeps.
            took_s = self._env.now - start_s
            late_s = device.stretched_s(took_s, start_s) - took_s
            self._env.at(self._env.now + max(0.0, late_s), done, start_s)

        parts: list[tuple[float, Callable[[], None]]] = []
        before = 0.0
        for share, tell in marks:
            parts.append(((share - before) * work_s, _calling(tell)))
            before = share
        self._run_all(rank, [*parts, ((1.0 - before) * work_s, end)], self._lives[rank])

    def run(self, rank: int, work_s: float, done: Callable[[], None]) -> None:
        """Have a learner's process do so much, in seconds of a processor; then call `done`."""
        self._servers[rank].add(rank, work_s, done)

    def abandon(self, rank: int) -> None:
        """The learner is gone: what it was at ends now."""
        self._lives[rank] += 1
        self._servers[rank].abandon(rank)

    def begin(self, ranks: Iterable[int]) -> None:
        """A transfer or a collective takes no processor while it is under way."""

    def end(self, ranks: Iterable[int]) -> None:
        """See `begin`."""

    def _run_all(self, rank: int, parts: list[tuple[float, Callable[[], None]]], life: int) -> None:
        """One part of a computation after another."""
        (work_s, then), *rest = parts

        def over() -> None:
            then()
            if rest:
                # Of a learner that is gone, what was left ends at once as well.
                gone = life != self._lives[rank]
                self._run_all(rank, [(0.0, one) for _, one in rest] if gone else rest, life)

        self.run(rank, work_s, over)


class _Job:
    __slots__ = ("done", "left_s")

    def __init__(self, left_s: float, done: Callable[[], None]) -> None:
        self.left_s, self.done = left_s, done


class _Server:
    """One server's processors, and what each learner there is at."""

    def __init__(self, env: Clock, processors: float) -> None:
        self._env, self._processors = env, processors
        self._busy: dict[int, list[_Job]] = {}
        """By rank; those that are at something."""
        self._since_s = 0.0
        self._timer = 0

    def add(self, rank: int, work_s: float, done: Callable[[], None]) -> None:
        self._settle()
        self._busy.setdefault(rank, []).append(_Job(work_s, done))
        self._arm()

    def abandon(self, rank: int) -> None:
        self._settle()
        for job in self._busy.pop(rank, ()):
            self._env.at(self._env.now, _call, job.done)
        self._arm()

    @property
    def _pace(self) -> float:
        """At which part of its speed each busy learner gets on."""
        return min(1.0, self._processors / max(1, len(self._busy)))

    def _settle(self) -> None:
        """Account for what was done since the last change."""
        passed_s, self._since_s = self._env.now - self._since_s, self._env.now
        if not passed_s:
            return
        pace = self._pace
        for jobs in self._busy.values():
            done_s = passed_s * pace / len(jobs)
            for job in jobs:
                job.left_s -= done_s

    def _arm(self) -> None:
        """Set the next end, as it stands now."""
        self._timer += 1
        if not self._busy:
            return
        pace = self._pace
        next_s = min(
            max(0.0, job.left_s) * len(jobs) / pace for jobs in self._busy.values() for job in jobs
        )
        self._env.at(self._env.now + next_s, self._ring, self._timer)

    def _ring(self, timer: int) -> None:
        if timer != self._timer:
            return
        self._settle()
        slack_s = _SLACK + self._since_s * 1e-15
        over: list[_Job] = []
        for rank, jobs in list(self._busy.items()):
            left = [job for job in jobs if job.left_s > slack_s]
            if len(left) < len(jobs):
                over += [job for job in jobs if job.left_s <= slack_s]
                if left:
                    self._busy[rank] = left
                else:
                    del self._busy[rank]
        self._arm()
        for job in over:
            job.done()


def _call(done: Callable[[], None]) -> None:
    done()


def _calling(tell: Callable[[None], None]) -> Callable[[], None]:
    return lambda: tell(None)
