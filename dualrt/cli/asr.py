"""`dualrt asr`: real speech, made into training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dualrt.cli.options import Json

app = typer.Typer(
    name="asr", help="Speech: make training data of a real corpus.", no_args_is_help=True
)


@app.callback()
def group() -> None:
    """Speech: make training data of a real corpus."""


@app.command()
def prepare(
    corpus: Annotated[str, typer.Argument(help="The corpus; fotaq is the one there is.")],
    out: Annotated[Path, typer.Option("--out", metavar="DATA", help="The HDF5 file to write.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="A .deb, its unpacked folder or queen.1c; else fetched."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes that align.")] = 2,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only so many utterances.")
    ] = None,
    json: Json = False,
) -> None:
    """Fetch, align and store a speech corpus: features, phone labels, tied-state labels."""
    from dualrt.cli import speech

    speech.prepare(corpus, out, source, jobs, limit, json)
