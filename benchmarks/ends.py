"""How long a run takes to end after a signal, until no process of it is left.

    python benchmarks/ends.py [--json] [--learners N] [--repeats N]

Starts runs that would take hours, on this machine: with `dualrt train --local`, under torchrun, and
without gossip (SSGD, whose learners may be inside a collective). Once all learners
train, whoever started them is sent a signal, a little later each time. `ended_s` is from the signal
to the end of that process, `gone_s` to that of the last of all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import options, tell

KEYS = {
    "run": "what is ended, and by which signal",
    "ended_s": "until the process that was sent the signal had ended: longest of all repeats",
    "gone_s": "until no process of the run was left: longest of all repeats; goal: 3",
    "code": "its exit code; torchrun has its own",
}
"""What `--json` prints of each of `runs`, key by key."""

BEGUN_S = 1.0
"""How long learners train before the signal, and a part of it longer each time."""

PATIENCE_S = 60.0

DUALRT = [sys.executable, "-m", "dualrt"]


class Case(NamedTuple):
    """A run, and what ends it."""

    name: str
    command: list[str]
    options: list[str]
    number: signal.Signals


def cases(learners: int) -> list[Case]:
    """All that is measured."""
    local, ssgd = ["--local", str(learners)], ["--set", "algorithm.name=ssgd"]
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun = [*launched, "--nproc-per-node", str(learners), "-m", "dualrt"]
    return [
        Case("--local, Ctrl-C", DUALRT, local, signal.SIGINT),
        Case("--local, SIGTERM", DUALRT, local, signal.SIGTERM),
        Case("--local, ssgd, SIGTERM", DUALRT, [*local, *ssgd], signal.SIGTERM),
        Case("torchrun, SIGTERM", torchrun, [], signal.SIGTERM),
    ]


def ended(case: Case, learners: int, after_s: float) -> tuple[float, float, int]:
    """Start, wait, send the signal: seconds until its process and all had ended; its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        words = ["train", "digits-adpsgd", "--out", str(out), "--set", f"learners={learners}"]
        words += ["--set", "training.epochs=1000000"]
        process = subprocess.Popen(
            [*case.command, *words, *case.options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            await_begun(process, out, learners)
            time.sleep(after_s)
            everyone = descendants(process.pid)
            began_s = time.monotonic()
            process.send_signal(case.number)
            code = process.wait(PATIENCE_S)
            ended_s = time.monotonic() - began_s
            while any(Path("/proc", str(pid)).exists() for pid in everyone):
                time.sleep(0.01)
                if time.monotonic() - began_s > PATIENCE_S:
                    raise SystemExit(f"{case.name}: processes are left")
            return ended_s, time.monotonic() - began_s, code
        finally:
            process.kill()


def await_begun(process: subprocess.Popen[bytes], out: Path, learners: int) -> None:
    """Wait until all have made updates: records are written after a second of them."""
    end_s = time.monotonic() + PATIENCE_S
    while sum(file.stat().st_size > 0 for file in out.glob("records-*.jsonl")) < learners:
        if process.poll() is not None or time.monotonic() > end_s:
            raise SystemExit("the run did not begin")
        time.sleep(0.05)


def descendants(root: int) -> set[int]:
    """The processes that come from `root`, itself included."""
    found, fresh = {root}, [root]
    while fresh:
        pid = fresh.pop()
        for task in Path("/proc", str(pid), "task").iterdir():
            with suppress(OSError):
                children = map(int, (task / "children").read_text().split())
                fresh += [child for child in children if child not in found]
        found.update(fresh)
    return found


def measured(case: Case, learners: int, repeats: int) -> dict[str, object]:
    """The longest of all repeats."""
    all_ = [ended(case, learners, BEGUN_S * (1 + one / repeats)) for one in range(repeats)]
    codes = sorted({code for _, _, code in all_})
    return {
        "run": case.name,
        "ended_s": max(ended_s for ended_s, _, _ in all_),
        "gone_s": max(gone_s for _, gone_s, _ in all_),
        "code": codes[0] if len(codes) == 1 else codes,
    }


def table(figures: dict[str, Any]) -> Table:
    """A row a run."""
    made = Table("run", "ended_s", "gone_s", "code")
    for one in figures["runs"]:
        row = f"{one['ended_s']:.2f}", f"{one['gone_s']:.2f}", str(one["code"])
        made.add_row(one["run"], *row)
    return made


def main() -> None:
    """Measure and print."""
    parser = options(__doc__ or "", KEYS)
    parser.add_argument("--learners", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    found = [measured(case, chosen.learners, chosen.repeats) for case in cases(chosen.learners)]
    tell({"runs": found}, table, as_json=chosen.json)


if __name__ == "__main__":
    main()
