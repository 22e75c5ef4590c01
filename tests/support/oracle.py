"""SimGrid as an oracle: when it is there, and what it says of fabrics.

    python -m tests.support.oracle

writes tests/sim/simgrid_ends.json anew: the ends of every `EVERY`-th flow of each fabric, so that
the network is held against SimGrid also where SimGrid is not installed.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from tests.support.fabrics import Fabric, fabric, racks

PYTHON = "/usr/bin/python3"
"""Debian's: its package python3-simgrid binds to no other."""

SCRIPT = Path(__file__).parent / "simgrid_flows.py"
RECORDED = Path(__file__).parents[1] / "sim" / "simgrid_ends.json"
FABRICS = 50
RACKS = 10
EVERY = 25


@cache
def lacking() -> str | None:
    """Why SimGrid cannot be asked; None if it can."""
    if not Path(PYTHON).exists():
        return f"there is no {PYTHON}"
    tried = subprocess.run([PYTHON, "-c", "import simgrid"], capture_output=True, check=False)
    return f"{PYTHON} cannot import simgrid: install python3-simgrid" if tried.returncode else None


def ends_s(fabrics: Sequence[Fabric]) -> list[list[float]]:
    """When each flow of each fabric ends, in seconds."""
    described = json.dumps([asdict(one) for one in fabrics])
    told = subprocess.run(
        [PYTHON, str(SCRIPT)], input=described, capture_output=True, text=True, check=True
    )
    ends: list[list[float]] = json.loads(told.stdout)
    return ends


@cache
def asked() -> list[Fabric]:
    """All fabrics: those with links of their own, then those of cluster descriptions."""
    return [*map(fabric, range(FABRICS)), *map(racks, range(RACKS))]


def main() -> None:
    """Record."""
    every = [ends[::EVERY] for ends in ends_s(asked())]
    rows = ",\n".join(f" {json.dumps(ends)}" for ends in every)
    RECORDED.write_text(f"[\n{rows}\n]\n")


if __name__ == "__main__":
    main()
