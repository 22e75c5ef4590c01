"""Learners that call collectives, in virtual time and as processes.

torch.distributed serves one rank a process, so the real run spawns processes; what they found comes
back as plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch.distributed import FileStore

from dualrt.core.effects import (
    AllReduce,
    Broadcast,
    Compute,
    Cost,
    Group,
    MeanGradient,
    Packet,
    Sleep,
    Together,
)
from dualrt.core.weights import Gradient
from dualrt.real.collectives import Collectives
from dualrt.real.driver import RealDriver
from dualrt.real.gossip import Gossip
from dualrt.real.process_groups import GLOO, ProcessGroups
from tests.support.simulated import Log
from tests.support.stage import MAX_BODY_BYTES, actors, in_simulation, main

LEARNERS = 3
ALL = Group("all", (0, 1, 2))
ENDS = Group("ends", (0, 2))
ALONE = [Group(f"alone {rank}", (rank,)) for rank in range(LEARNERS)]
TIMEOUT_S = 60.0

Findings: TypeAlias = list[dict[str, Any]]
"""What each learner found, by rank."""


async def sing(rank: int, found: dict[str, Any]) -> None:
    """Call every collective in every way, and note what came."""
    mine = torch.tensor([float(rank), 10.0 * rank])
    found["mean of all"] = (await AllReduce(ALL, mine)).tolist()
    found["what was brought, afterwards"] = mine.tolist()

    spent = AllReduce(ALL, mine.clone(), spent=True)
    found["mean of what was spent"] = (await spent).tolist()

    if rank in ENDS.ranks:
        found["mean of the ends"] = (await AllReduce(ENDS, mine)).tolist()

    alone = ALONE[rank]
    found["mean of one"] = (await AllReduce(alone, mine)).tolist()
    found["broadcast to oneself"] = plain(await Broadcast(alone, rank, Packet((1,), mine, "n")))

    for root in ALL.ranks:
        packet = (
            Packet((root, 5), torch.arange(3.0) + root, (root, "note")) if rank == root else None
        )
        found[f"broadcast from {root}"] = plain(await Broadcast(ALL, root, packet))
    word = Packet(note=True) if rank == 0 else None
    found["broadcast of a word"] = plain(await Broadcast(ALL, 0, word))

    # Whoever comes late, the n-th calls belong together.
    await Sleep(0.02 * rank)
    found["means in a row"] = [
        (await AllReduce(ALL, torch.tensor([float(rank + number)]))).item() for number in range(5)
    ]
    work = Work(torch.arange(4.0) + rank, loss=float(rank))
    mean = await MeanGradient(work, Cost("gradient", flops=1e6), ALL, (4, 8, 4))
    found["mean of gradients in pieces"] = mean.vector.tolist(), mean.loss
    found["mean beside a computation"] = await Together(mean_of(mine), computed(rank))


class Work:
    """A gradient that is known beforehand."""

    def __init__(self, vector: torch.Tensor, loss: float) -> None:
        self._gradient = Gradient(vector, loss)

    def __call__(self) -> Gradient[torch.Tensor]:
        return self._gradient

    def in_pieces(
        self, pieces: Sequence[int], share: float, ready: Callable[[torch.Tensor], None]
    ) -> Gradient[torch.Tensor]:
        vector, end = self._gradient.vector.mul_(share), len(self._gradient.vector)
        for nbytes in pieces:
            start = end - nbytes // vector.element_size()
            ready(vector[start:end])
            end = start
        return self._gradient


async def mean_of(vector: torch.Tensor) -> list[float]:
    mean: torch.Tensor = await AllReduce(ALL, vector)
    return mean.tolist()


async def computed(number: int) -> int:
    return await Compute(lambda: number, Cost("work", flops=1e6))


def plain(packet: Packet) -> tuple[Any, ...]:
    body = None if packet.body is None else packet.body.tolist()
    return packet.versions, body, packet.note


def simulated(_: Path) -> Findings:
    """All learners in virtual time."""
    findings: Findings = [{} for _ in range(LEARNERS)]
    in_simulation([[main(partial(sing, rank, found))] for rank, found in enumerate(findings)])
    return findings


def processes(folder: Path) -> Findings:
    """Each learner in a process of its own, on gloo over the loopback."""
    with ProcessPoolExecutor(LEARNERS, mp_context=get_context("spawn")) as pool:
        found = [pool.submit(_process, rank, str(folder / "store")) for rank in range(LEARNERS)]
        return [process.result(2 * TIMEOUT_S) for process in found]


STAGES: dict[str, Callable[[Path], Findings]] = {"simulated": simulated, "processes": processes}


def _process(rank: int, path: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    store = FileStore(path, LEARNERS)
    found: dict[str, Any] = {}
    script = [[main(partial(sing, rank, found))] for _ in range(LEARNERS)]
    gossip = Gossip(rank, run_id="run", timeout_s=TIMEOUT_S, max_body_bytes=MAX_BODY_BYTES)
    groups = ProcessGroups(
        rank,
        device=torch.device("cpu"),
        library=GLOO,
        timeout_s=TIMEOUT_S,
        max_body_bytes=MAX_BODY_BYTES,
        interface="127.0.0.1",
    )
    collectives = Collectives(groups)
    collectives.join(store, LEARNERS, [ALL, ENDS, *ALONE])
    with gossip:
        store.set(f"address/{rank}", gossip.address)
        addresses = {other: store.get(f"address/{other}").decode() for other in range(LEARNERS)}
        gossip.connect(addresses, greet=addresses)
        RealDriver(
            actors(script)[rank],
            gossip,
            collectives,
            Log(),
            timeout_s=TIMEOUT_S,
            device=torch.device("cpu"),
        ).run()
    collectives.close()
    return found
