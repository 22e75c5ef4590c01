"""How fast two learners exchange a model, and next to what.

    python benchmarks/gossip.py [--json] [--rounds N] [--size-mb 165] [--links loopback,1,5]

One exchange is what an initiator waits for: its model goes there, and once it is there the other's
comes back. Goodput is the bytes of both over the time of both. Each medium runs the same exchanges
between two processes, in turns, so that a busy machine disturbs all alike; the median counts.

    raw        socket.sendall and recv_into, into memory that is there already, in pieces of 1 MiB:
               on loopback that is faster than the whole at once, because it stays in the caches
    gloo       torch.distributed.send and recv
    zeromq     one message a model, as the socket's send and recv do it
    dualrt     dualrt.real.gossip: frames, checksums, flow control, a tensor made on arrival;
               on one host, the bytes go through memory that both processes share
    tcp        the same with `real.shared_memory = false`: the bytes go through the socket
    curve      tcp with `real.curve = "on"`: and are encrypted, as between hosts by default

On a shaped link (needs root, iproute2 and the kernel's tbf) the processes live in two network
namespaces, joined by a virtual cable of that many Gb/s in each direction; no memory is shared.

What else runs on the machine disturbs most those that use most threads. Where it cannot be avoided,
and as root: `chrt --rr 1 python benchmarks/gossip.py`.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import zmq
from rich.console import Group
from rich.table import Table

from dualrt.core.effects import Packet
from dualrt.real.gossip import Gossip
from dualrt.real.keys import Keys

# A script finds its neighbours by their own names, the type checker by the folder's too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import options, tell
from benchmarks.hosts import PAYLOAD, cable, can_be_made

MEDIA = ("raw", "gloo", "zeromq", "dualrt", "tcp", "curve")
LOOPBACK = "127.0.0.1"
TIMEOUT_S = 60.0
PIECE_BYTES = 1024 * 1024
KEYS = {
    "goodput_ratio_raw": "goodput of dualrt / of raw sockets, loopback",
    "goodput_ratio_raw_tcp": "goodput of dualrt without shared memory / of raw sockets, loopback",
    "goodput_ratio_curve_tcp": "goodput of dualrt, encrypted / not, through sockets of loopback",
    "goodput_ratio_gloo": "goodput of dualrt / of gloo, loopback",
    "goodput_ratio_zeromq": "goodput of dualrt / of one ZeroMQ message, loopback",
    "goodput_ratio_line": "goodput of dualrt / payload that a shaped link can carry, the worst",
    "copies": "peak memory of a learner beyond its model and the runtime's own, in models",
}
"""The main figures of `--json`; beside them, by link and medium, `goodput_bytes_per_s` and
`processor_s`, the processor time of one side for an exchange."""

GOALS = {"goodput_ratio_raw": "> 0.9", "goodput_ratio_line": "> 0.93", "copies": "< 3"}


class Side(NamedTuple):
    """One of the two processes."""

    initiates: bool
    rounds: int
    nbytes: int
    mine: str
    """Its own address."""
    theirs: str
    port: int
    keys: tuple[str, str]


def raw(side: Side) -> Iterator[None]:
    """Plain sockets."""
    model, buffer = memoryview(bytearray(side.nbytes)), memoryview(bytearray(side.nbytes))

    def send(connection: socket.socket) -> None:
        for start in range(0, side.nbytes, PIECE_BYTES):
            connection.sendall(model[start : start + PIECE_BYTES])

    def receive(connection: socket.socket) -> None:
        filled = 0
        while filled < side.nbytes:
            filled += connection.recv_into(buffer[filled : filled + PIECE_BYTES])

    if side.initiates:
        with _patiently(lambda: socket.create_connection((side.theirs, side.port))) as connection:
            for _ in range(1 + side.rounds):
                send(connection)
                receive(connection)
                yield
    else:
        with socket.create_server((side.mine, side.port)) as server:
            connection, _ = server.accept()
            with connection:
                for _ in range(1 + side.rounds):
                    receive(connection)
                    send(connection)
                    yield


def gloo(side: Side) -> Iterator[None]:
    """torch.distributed's point to point."""
    from torch import distributed

    os.environ["GLOO_SOCKET_IFNAME"] = _interface_of(side.mine)
    rank = int(side.initiates)
    where = side.theirs if side.initiates else side.mine
    distributed.init_process_group(
        "gloo", init_method=f"tcp://{where}:{side.port}", rank=rank, world_size=2
    )
    model = torch.zeros(side.nbytes, dtype=torch.uint8)
    buffer = torch.zeros(side.nbytes, dtype=torch.uint8)
    try:
        for _ in range(1 + side.rounds):
            if side.initiates:
                distributed.send(model, 0)
                distributed.recv(buffer, 0)
            else:
                distributed.recv(buffer, 1)
                distributed.send(model, 1)
            yield
    finally:
        distributed.destroy_process_group()


def zeromq(side: Side) -> Iterator[None]:
    """One message a model."""
    model = bytes(side.nbytes)
    with zmq.Context() as context, context.socket(zmq.PAIR) as pair:
        pair.linger = 0
        if side.initiates:
            pair.connect(f"tcp://{side.theirs}:{side.port}")
        else:
            pair.bind(f"tcp://{side.mine}:{side.port}")
        for _ in range(1 + side.rounds):
            if side.initiates:
                pair.send(model)
                pair.recv()
            else:
                pair.recv()
                pair.send(model)
            yield
        # Not before the other has it all: what is queued goes down with the socket.
        if side.initiates:
            pair.send(b"")
            pair.linger = -1
        else:
            pair.recv()


def dualrt(side: Side, *, shares_memory: bool = True, keys: Keys | None = None) -> Iterator[None]:
    """Our own."""
    rank = int(side.initiates)
    model = torch.zeros(side.nbytes // 4)
    with Gossip(
        rank,
        run_id="benchmark",
        timeout_s=TIMEOUT_S,
        interface=side.mine,
        max_body_bytes=side.nbytes,
        shares_memory=shares_memory,
        keys=keys,
    ) as gossip:
        theirs = _swap(side, gossip.address)
        gossip.connect({rank: gossip.address, 1 - rank: theirs}, greet=[1 - rank])
        for _ in range(1 + side.rounds):
            if side.initiates:
                gossip.send(0, "offer", Packet(body=model))
                gossip.recv("answer", 0)
            else:
                gossip.recv("offer", 1)
                gossip.send(1, "answer", Packet(body=model))
            yield
        gossip.finish(TIMEOUT_S)


def tcp(side: Side) -> Iterator[None]:
    """Our own, as between hosts that trust their network."""
    return dualrt(side, shares_memory=False)


def curve(side: Side) -> Iterator[None]:
    """Our own, as between hosts."""
    keys = Keys(*(half.encode() for half in side.keys))
    return dualrt(side, shares_memory=False, keys=keys)


def _swap(side: Side, mine: str) -> str:
    """Tell the other side our address, and hear its own."""
    if side.initiates:
        with _patiently(lambda: socket.create_connection((side.theirs, side.port))) as one:
            one.sendall(mine.encode())
            return one.recv(100).decode()
    with socket.create_server((side.mine, side.port)) as server:
        one, _ = server.accept()
        with one:
            one.sendall(mine.encode())
            return one.recv(100).decode()


def _patiently(connect: Callable[[], socket.socket]) -> socket.socket:
    until_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return connect()
        except ConnectionRefusedError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.02)


def _interface_of(address: str) -> str:
    if address == LOOPBACK:
        return "lo"
    shown = subprocess.run(
        ["ip", "-json", "addr", "show", "to", address], check=True, capture_output=True, text=True
    )
    return str(json.loads(shown.stdout)[0]["ifname"].split("@")[0])


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(peak.split()[1])


def one_side(medium: str, side: Side) -> dict[str, Any]:
    """Run one side to its end; the initiator tells its times."""
    torch.set_num_threads(1)
    torch.zeros(1)
    before = _peak_bytes()
    media = dict(zip(MEDIA, (raw, gloo, zeromq, dualrt, tcp, curve), strict=True))
    exchanges = media[medium](side)
    next(exchanges)  # connections, and memory touched for the first time
    seconds = []
    worked_s = time.process_time()
    for _ in range(side.rounds):
        began_s = time.perf_counter()
        next(exchanges)
        seconds.append(time.perf_counter() - began_s)
    worked_s = time.process_time() - worked_s
    peak = _peak_bytes()
    next(exchanges, None)
    return {
        "seconds": seconds,
        "processor_s": worked_s / side.rounds,
        "copies": (peak - before) / side.nbytes - 1,
    }


class Wire(NamedTuple):
    """Where the two processes live."""

    prefixes: Sequence[Sequence[str]]
    addresses: Sequence[str]


@contextmanager
def wire(gbit_per_s: float | None) -> Iterator[Wire]:
    """Loopback, or a cable of that speed between two hosts."""
    if gbit_per_s is None:
        yield Wire(((), ()), (LOOPBACK, LOOPBACK))
        return
    with cable(1000 * gbit_per_s) as hosts:
        yield Wire([host.prefix for host in hosts], [host.address for host in hosts])


def run(medium: str, where: Wire, rounds: int, nbytes: int, port: int) -> dict[str, Any]:
    """One medium on one link: the initiator's seconds, and what the worse side took."""
    told = []
    sides = []
    pair = Keys.make()
    keys = (pair.public.decode(), pair.secret.decode())
    for number in range(2):
        mine, theirs = where.addresses[number], where.addresses[1 - number]
        side = Side(bool(number), rounds, nbytes, mine, theirs, port, keys)
        command = [*where.prefixes[number], sys.executable, __file__, "--side", medium]
        words = [json.dumps(side._asdict())]
        sides.append(subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True))
    try:
        for process in sides:
            out, _ = process.communicate(timeout=4 * TIMEOUT_S)
            if process.returncode:
                raise SystemExit(f"{medium} failed with exit code {process.returncode}")
            told.append(json.loads(out))
    finally:
        for process in sides:
            process.kill()
    worst = {key: max(one[key] for one in told) for key in ("processor_s", "copies")}
    return {"seconds": told[1]["seconds"], **worst}


def measure(rounds: int, nbytes: int, links: list[float | None], turns: int) -> dict[str, Any]:
    """All figures."""
    goodput: dict[str, dict[str, float]] = {}
    processor_s: dict[str, dict[str, float]] = {}
    copies = 0.0
    port = 29_710
    for link in links:
        name = "loopback" if link is None else f"{link:g}gbit"
        with wire(link) as where:
            # Between hosts, no memory is shared: dualrt and tcp would be one.
            media = [one for one in MEDIA if link is None or one != "tcp"]
            seconds: dict[str, list[float]] = {medium: [] for medium in media}
            worked: dict[str, list[float]] = {medium: [] for medium in media}
            for _ in range(turns):
                for medium in media:
                    port += 1
                    told = run(medium, where, rounds, nbytes, port)
                    seconds[medium] += told["seconds"]
                    worked[medium].append(told["processor_s"])
                    if medium in {"dualrt", "tcp"}:
                        copies = max(copies, told["copies"])
        goodput[name] = {
            medium: 2 * nbytes / statistics.median(spent) for medium, spent in seconds.items()
        }
        processor_s[name] = {medium: statistics.median(turned) for medium, turned in worked.items()}
    figures: dict[str, Any] = dict.fromkeys(KEYS)
    if "loopback" in goodput:
        ours = goodput["loopback"]["dualrt"]
        for peer in ("raw", "gloo", "zeromq"):
            figures[f"goodput_ratio_{peer}"] = ours / goodput["loopback"][peer]
        through_sockets = goodput["loopback"]["tcp"]
        figures["goodput_ratio_raw_tcp"] = through_sockets / goodput["loopback"]["raw"]
        figures["goodput_ratio_curve_tcp"] = goodput["loopback"]["curve"] / through_sockets
    shaped = [
        goodput[f"{link:g}gbit"]["dualrt"] / (link * 1e9 / 8 * PAYLOAD)
        for link in links
        if link is not None
    ]
    figures["goodput_ratio_line"] = min(shaped, default=None)
    figures["copies"] = copies
    figures["goodput_bytes_per_s"] = goodput
    figures["processor_s"] = processor_s
    return figures


def tables(figures: dict[str, Any]) -> Iterator[Table]:
    """What each medium did on each link, and the ratios beside their goals."""
    for key, title, unit in (
        ("goodput_bytes_per_s", "Goodput of an exchange, MB/s", 1e6),
        ("processor_s", "Processor time of one side for an exchange, ms", 1e-3),
    ):
        shown = Table("link", *MEDIA, title=title)
        for link, by_medium in figures[key].items():
            cells = (
                f"{by_medium[name] / unit:,.0f}" if name in by_medium else "" for name in MEDIA
            )
            shown.add_row(link, *cells)
        yield shown
    ratios = Table("figure", "", "goal", "meaning")
    for key, meaning in KEYS.items():
        value = "not run" if figures[key] is None else f"{figures[key]:.3g}"
        ratios.add_row(key, value, GOALS.get(key, ""), meaning)
    yield ratios


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--side"]:
        print(json.dumps(one_side(sys.argv[2], Side(**json.loads(sys.argv[3])))))
        return
    parser = options(__doc__ or "", KEYS)
    parser.add_argument("--rounds", type=int, default=5, help="exchanges a turn")
    parser.add_argument("--turns", type=int, default=3, help="turns of every medium")
    parser.add_argument("--size-mb", type=float, default=164.62, help="the model, in MB")
    parser.add_argument(
        "--links", default="loopback,1,5", help="loopback, and Gb/s of links that are shaped"
    )
    chosen = parser.parse_args()
    nbytes = int(chosen.size_mb * 1e6) // 4 * 4
    links = [None if word == "loopback" else float(word) for word in chosen.links.split(",")]
    if any(links) and not can_be_made(cable(1000.0)):
        print("no shaped links: they need root, iproute2 and tbf", file=sys.stderr)
        links = [link for link in links if link is None]
    figures = measure(chosen.rounds, nbytes, links, chosen.turns)
    tell(figures, lambda told: Group(*tables(told)), as_json=chosen.json)


if __name__ == "__main__":
    main()
