"""AD-PSGD written for SimGrid's Python actors: what `sim_speed.py` compares the simulator with.

    /usr/bin/python3 benchmarks/simgrid_actors.py LEARNERS STEPS [--json]

Run by the interpreter that has SimGrid's binding, so it imports nothing of ours. The machine is
that of topologies/a-4x4-p100.toml, as far as SimGrid knows such things: PCIe, cards and host memory
are links, a gradient is a sleep of random length. Each learner is two actors, one that trains and
one that answers; on a ring, the learners with even ranks turn to the right and to the left by turns
and exchange while the gradient is under way. No staleness is counted and no record is kept.

Prints the learner steps done, the seconds of processor time that they took, and their ratio; with
`--json` as one object.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time

from simgrid import Actor, Comm, Engine, Host, LinkInRoute, Mailbox, NetZone, this_actor

GPUS_PER_SERVER, GPUS_PER_SOCKET = 4, 2
MODEL_BYTES = 172_619_776
GRADIENT_S, STEP_CV, UPDATE_S = 0.14, 0.02, 0.7e-3


def build(learners: int) -> tuple[list[Host], list[Host]]:
    """A host for each learner, and for each server's memory."""
    zone = NetZone.create_full_zone("cluster")

    def lay(name: str, bytes_per_s: float, latency_s: float) -> LinkInRoute:
        return LinkInRoute(zone.create_link(name, bytes_per_s).set_latency(latency_s).seal())

    hosts = [zone.create_host(f"gpu{rank}", 1e9) for rank in range(learners)]
    servers = range(learners // GPUS_PER_SERVER)
    memories = [zone.create_host(f"memory{server}", 1e9) for server in servers]
    sockets = range(learners // GPUS_PER_SOCKET)
    up = [lay(f"up{socket}", 16e9, 5e-6) for socket in sockets]
    down = [lay(f"down{socket}", 16e9, 5e-6) for socket in sockets]
    out = [lay(f"out{server}", 12.5e9, 0.5e-6) for server in servers]
    into = [lay(f"in{server}", 12.5e9, 0.5e-6) for server in servers]
    memory = [lay(f"memory{server}", 120e9, 0.0) for server in servers]
    for rank, host in enumerate(hosts):
        server = rank // GPUS_PER_SERVER
        ends = host.netpoint, memories[server].netpoint
        zone.add_route(*ends, None, None, [memory[server]], False)
        for peer in {(rank + 1) % learners, (rank - 1) % learners}:
            other = peer // GPUS_PER_SERVER
            between = [] if other == server else [out[server], into[other]]
            route = [up[rank // GPUS_PER_SOCKET], *between, down[peer // GPUS_PER_SOCKET]]
            zone.add_route(host.netpoint, hosts[peer].netpoint, None, None, route, False)
    zone.seal()
    return hosts, memories


def train(rank: int, learners: int, steps: int, memory: Host) -> None:
    """Gradient and averaging at once, then the update."""
    draw, me = random.Random(rank), Host.current()
    shape, scale = 1 / STEP_CV**2, STEP_CV**2
    answers = Mailbox.by_name(f"answer {rank}")
    for step in range(steps):
        gradient_s = GRADIENT_S * draw.gammavariate(shape, scale)
        ready_s = Engine.clock + gradient_s
        if rank % 2 == 0:
            peer = (rank + (1 if step % 2 == 0 else -1)) % learners
            Mailbox.by_name(f"offer {peer}").put(rank, MODEL_BYTES)
            answers.get()
            Comm.sendto(me, memory, 4 * MODEL_BYTES)
        this_actor.sleep_until(ready_s)
        this_actor.sleep_for(UPDATE_S)


def answer(rank: int, memory: Host) -> None:
    """Answer every offer, then blend."""
    me = Host.current()
    offers = Mailbox.by_name(f"offer {rank}")
    while True:
        initiator = offers.get()
        Mailbox.by_name(f"answer {initiator}").put(rank, MODEL_BYTES)
        Comm.sendto(me, memory, 4 * MODEL_BYTES)


def main() -> None:
    """Run to the end."""
    parser = argparse.ArgumentParser(description="AD-PSGD on SimGrid's Python actors.")
    parser.add_argument("learners", type=int)
    parser.add_argument("steps", type=int, help="of each learner")
    parser.add_argument("--json", action="store_true", help="print one object on stdout alone")
    arguments = parser.parse_args()
    learners, steps = arguments.learners, arguments.steps
    settings = ("network/model:CM02", "network/crosstraffic:0", "network/TCP-gamma:0")
    engine = Engine([sys.argv[0], *(f"--cfg={setting}" for setting in settings)])
    began_s = time.process_time()
    hosts, memories = build(learners)
    for rank, host in enumerate(hosts):
        memory = memories[rank // GPUS_PER_SERVER]
        Actor.create("train", host, train, rank, learners, steps, memory)
        Actor.create("answer", host, answer, rank, memory).daemonize()
    engine.run()
    done, spent_s = learners * steps, time.process_time() - began_s
    figures = {"steps": done, "seconds": spent_s, "steps_per_s": done / spent_s}
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, figure in figures.items():
            print(f"{name:12} {figure:,.1f}")


if __name__ == "__main__":
    main()
