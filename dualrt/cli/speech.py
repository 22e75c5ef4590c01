"""What `dualrt asr prepare` does on the screen."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from dualrt.cli import show
from dualrt.core.errors import UsageError
from dualrt.workloads.asr.prepare import prepare as prepare_fotaq


def prepare(
    corpus: str, out: Path, source: Path | None, jobs: int, limit: int | None, as_json: bool
) -> None:
    """Prepare a corpus, with one bar for each stage."""
    if corpus != "fotaq":
        raise UsageError(f"corpus {corpus!r} is not known. There is: fotaq")
    with show.stages() as tell:
        report = prepare_fotaq(out, source, jobs=jobs, limit=limit, progress=tell)
    found = dataclasses.asdict(report)
    if as_json:
        print(json.dumps({"file": str(out), **found}, default=str))
        return
    for name, value in found.items():
        show.results.print(f"{name:>24}  {value}", markup=False, highlight=False)
    show.note(f"written: {out}")
