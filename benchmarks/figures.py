"""What benchmarks have in common: their options, and the two forms in which they tell figures.

Owns `--json`, the list of its keys in the help, and the table for people. Must not know what is
measured.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table


def options(description: str, keys: Mapping[str, str]) -> ArgumentParser:
    """A parser that knows `--json`; `keys` are those of its object, each with its meaning."""
    width = max(map(len, keys), default=0) + 2
    listed = "\n".join(f"  {key:{width}}{meaning}" for key, meaning in keys.items())
    parser = ArgumentParser(
        description=description,
        epilog=f"keys of --json:\n{listed}" if listed else None,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one object on stdout alone")
    return parser


def tell(figures: Any, shown: Callable[[Any], RenderableType], *, as_json: bool) -> None:
    """Print what was measured, as one JSON object or as tables."""
    if as_json:
        print(json.dumps(figures))
    else:
        Console().print(shown(figures))


def tabled(
    title: str,
    figures: Mapping[str, Any],
    meanings: Mapping[str, str],
    goals: Mapping[str, str],
    shown: Callable[[Any], str],
) -> Table:
    """A row a figure, with its goal, if there is one, and its meaning."""
    made = Table("figure", "", "goal", "meaning", title=title)
    made.columns[1].justify = "right"
    for key, figure in figures.items():
        made.add_row(key, shown(figure), goals.get(key, ""), meanings[key])
    return made
