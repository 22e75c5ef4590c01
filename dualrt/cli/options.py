"""Options that several commands take, in one set of words.

Owns their names and their help, and how they are written for another process. Must not know what a
command does with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer


def repeatable(name: str, metavar: str, text: str) -> Any:
    """An option that may be given any number of times, none included."""
    return typer.Option(
        name,
        metavar=metavar,
        default_factory=list,
        show_default=False,  # it would be "<class 'list'>"
        help=f"{text}; repeatable.",
    )


File = Annotated[
    str, typer.Argument(metavar="FILE", help="A scenario file, or the name of a shipped one.")
]
Set = Annotated[list[str], repeatable("--set", "KEY=VALUE", "Override any key of the scenario")]
Seed = Annotated[int | None, typer.Option("--seed", help="Override the scenario's seed.")]
Local = Annotated[
    int | None,
    typer.Option("--local", metavar="N", min=1, help="Start N processes on this machine."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Keep records, results, picture: a new folder."),
]
Written = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE.toml", help="Write what was found there."),
]
Picture = Annotated[
    Path | None,
    typer.Option("--picture", metavar="FILE", help="Draw it there (.png, .svg or .pdf)."),
]
Metrics = Annotated[
    list[str],
    repeatable(
        "--metrics",
        "WHERE",
        "Show figures while it runs: tensorboard:DIR, or prometheus:HOST:PORT of a real run",
    ),
]


def written(overrides: Sequence[str]) -> list[str]:
    """Overrides of a scenario as words of a command line."""
    return [word for override in overrides for word in ("--set", override)]
