"""One process whose strands, each on a thread of its own, ask for every kind of collective.

    python -m tests.support.many_askers

prints what came of each, and which threads called torch.distributed. With ASKERS_DEVICE=cuda each
process has a GPU of its own, and NCCL; with cuda-shared all have the first, and gloo.
"""

from __future__ import annotations

import json
import os
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
import torch.distributed as dist

from dualrt.core.effects import Group, Packet
from dualrt.real.collectives import Collectives
from dualrt.real.process_groups import GLOO, NCCL, ProcessGroups
from dualrt.real.rendezvous import Launch, Rendezvous
from tests.support.stage import MAX_BODY_BYTES, PATIENCE_S

KIND = os.environ.get("ASKERS_DEVICE", "cpu")
CALLS = ("init_process_group", "new_group", "all_reduce", "destroy_process_group")


class Witness:
    """Who called what."""

    def __init__(self) -> None:
        self.threads: dict[str, set[tuple[str, int]]] = defaultdict(set)

    def watch(self, owner: Any, name: str) -> None:
        """Note from now on which threads call a function."""
        called: Callable[..., Any] = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            here = threading.current_thread()
            self.threads[name].add((here.name, here.native_id or 0))
            return called(*args, **kwargs)

        setattr(owner, name, watched)


def main() -> None:
    witness = Witness()
    for name in CALLS:
        witness.watch(dist, name)
    witness.watch(dist.ProcessGroup, "broadcast")
    launch = Launch.from_environment()
    assert launch is not None
    device, library = {
        "cpu": (torch.device("cpu"), GLOO),
        "cuda": (torch.device("cuda", launch.rank), NCCL),
        "cuda-shared": (torch.device("cuda", 0), GLOO),
    }[KIND]
    group = Group("all", tuple(range(launch.learners)))
    groups = ProcessGroups(
        launch.rank,
        device=device,
        library=library,
        timeout_s=PATIENCE_S,
        max_body_bytes=MAX_BODY_BYTES,
        interface="127.0.0.1",
    )
    collectives = Collectives(groups)
    collectives.join(Rendezvous(launch, PATIENCE_S, 0).store, launch.learners, [group])

    def mean() -> object:
        ones = torch.ones(3, device=device)
        return collectives.allreduce(group, ones, spent=False).tolist()

    def total() -> object:
        vector = torch.ones(3, device=device)
        collectives.finish(collectives.begin_sum(group, vector))
        return vector.tolist()

    def spread() -> object:
        packet = Packet(body=torch.full((3,), 7.0)) if launch.rank == 0 else None
        return collectives.broadcast(group, 0, packet).body.tolist()

    def spread_in_place() -> object:
        # As on a GPU: what is broadcast stays where it has come.
        collectives._library._bodies = None
        return spread()

    answers = []
    askers = set()
    for ask in (mean, total, spread) * 2 + (mean, total, spread_in_place):
        # Members must ask in one order, so the strands take turns.
        with ThreadPoolExecutor(1) as strand:
            answers.append(strand.submit(ask).result())
            askers.add(strand.submit(threading.get_native_id).result())
    collectives.close()
    print(
        json.dumps(
            {
                "answers": answers,
                "asked_from": sorted(askers),
                "called_from": {name: sorted(by) for name, by in witness.threads.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
