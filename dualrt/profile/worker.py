"""Worker: a process that measures what it is told to, `python -m dualrt.profile.worker`.

Owns its side of the talk with `crew`: an order a line on stdin, {"do": name, ...}, and an answer a
line on stdout, {"answer": ...} or {"error": text, "usage": bool}. Whatever else is printed goes to
stderr. It ends with its stdin, or with its parent.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from dualrt.core.errors import DualrtError, UsageError

WHOLE = ("training.accumulate=1",)
"""Batches are measured as a whole: a run in parts takes a part's time so many times."""


def main() -> None:
    """Obey orders until there are no more."""
    from dualrt.real import watchdog

    # Ctrl-C is the parent's to take.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watchdog.end_with(os.getppid())
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        bench: Any = None
        for line in sys.stdin:
            order = json.loads(line)
            do = order.pop("do")
            answer: dict[str, Any]
            try:
                if do == "begin":
                    bench = _bench(**order)
                    answer = {"answer": bench.about()}
                else:
                    answer = {"answer": getattr(bench, do)(**order)}
            except DualrtError as error:
                answer = {"error": str(error), "usage": isinstance(error, UsageError)}
            print(json.dumps(answer), file=answers, flush=True)


def _bench(
    file: str, overrides: list[str], seed: int | None, rank: int, processes: int, device: str
) -> Any:
    from dualrt.profile.bench import Bench
    from dualrt.scenario import Scenario, load

    def scenario(batch: int) -> Scenario:
        return load(file, [*overrides, f"workload.batch={batch}", *WHOLE], seed)

    return Bench(scenario, rank, processes, device)


if __name__ == "__main__":
    main()
