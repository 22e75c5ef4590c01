"""A stage that faults befall, and who may stand on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dualrt.core.effects import Now, Packet, Recv, Send, Sleep
from dualrt.core.errors import PeerLostError
from dualrt.core.faults import Detection, Fault, Toll
from dualrt.core.learner import Learner, Strand
from dualrt.sim.faults import Adversity, FaultySimulator
from tests.support.simulated import Log, machine
from tests.support.stage import Actor, Script, actors

DETECTION = Detection(detect_s=1.0, timeout_s=20.0)


class Returning(Actor):
    """An actor that may come back: it gets a script of its own for that."""

    async def rejoin(self) -> bool:
        await Sleep(0.25)
        return True


class Stage:
    """A script played on a machine that faults befall."""

    def __init__(
        self,
        script: Script,
        *faults: Fault,
        again: Sequence[Strand] = (),
        detection: Detection = DETECTION,
        **on: Any,
    ) -> None:
        self.log = Log()
        learners = actors(script)
        self.started: list[tuple[int, int]] = []

        def restart(rank: int, incarnation: int) -> Learner:
            self.started.append((rank, incarnation))
            return Returning(learners[rank].seat, again)

        where = machine(len(learners), nic_bytes_per_s=1e6, latency_s=0.0, **on)
        adversity = Adversity(faults, detection, restart)
        self.simulator = FaultySimulator(learners, where, self.log, adversity)
        self.elapsed_s = self.simulator.run()

    @property
    def toll(self) -> Toll:
        return self.simulator.toll


async def idle(duration_s: float = 100.0) -> None:
    await Sleep(duration_s)


async def silent() -> None:
    await Recv("what nobody sends")


async def count_aloud() -> None:
    """To learner 1, a number each second."""
    for number in range(9):
        await Send(1, "t", Packet(note=number))
        await Sleep(1.0)


class Listener:
    """Notes all that comes."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    async def __call__(self) -> None:
        while True:
            self.got.append((await Recv("t")).packet.note)


class Waiter:
    """Waits for a message of learner 1 from a certain time on, and notes what came of it."""

    def __init__(self, from_s: float = 0.0, tag: str = "t") -> None:
        self.from_s, self.tag = from_s, tag
        self.lost_s: list[float] = []
        self.got: list[tuple[float, Any]] = []

    async def __call__(self) -> None:
        await Sleep(self.from_s)
        try:
            _, packet = await Recv(self.tag, 1)
        except PeerLostError:
            self.lost_s.append(await Now())
        else:
            self.got.append((await Now(), packet.note))
