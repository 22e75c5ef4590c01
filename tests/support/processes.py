"""Several processes that find each other as torchrun's do, without a launcher's start-up time.

The store is served from here, at a port that is bound before anyone hears of it, or by rank 0.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed import TCPStore

ROOT = Path(__file__).resolve().parents[2]

PATIENCE_S = 90.0
"""For what takes a few seconds on a machine that is not busy."""


@contextmanager
def started(
    module: str,
    *words: str,
    processes: int = 0,
    nodes: tuple[int, ...] = (),
    first_serves: bool = False,
) -> Iterator[list[subprocess.Popen[str]]]:
    """Run a module of the tests in so many processes; whatever is left of them is killed.

    They are all of one node, or of `nodes` of so many processes each. With `first_serves`, rank 0
    serves the store, as it does where a launcher sets nothing but an address.
    """
    nodes = nodes or (processes,)
    places = [
        {"GROUP_RANK": str(node), "LOCAL_RANK": str(here), "LOCAL_WORLD_SIZE": str(size)}
        for node, size in enumerate(nodes)
        for here in range(size)
    ]
    kept = _port()
    port = int(kept.getsockname()[1])
    # Kept here until all have ended.
    store = (
        None if first_serves else TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    )
    launched = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TORCHELASTIC_USE_AGENT_STORE": str(store is not None),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port if store is None else store.port),
        "WORLD_SIZE": str(len(places)),
        "GROUP_WORLD_SIZE": str(len(nodes)),
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=ROOT,
            env={**launched, **place, "RANK": str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, place in enumerate(places)
    ]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.communicate()
        kept.close()


def _port() -> socket.socket:
    """A port that nobody else is given, and that another process may serve at nevertheless."""
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return kept


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for its end; returns its exit code and what it printed, out and err."""
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err
