"""The group that all commands are in: a signal ends them alike, under every version of typer.

Owns that end. Must not know any command.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from typer.core import TyperGroup

from dualrt.real import watchdog


class Group(TyperGroup):
    """Commands that a signal ends alike under every version of typer."""

    def make_context(self, *given: Any, **named: Any) -> Any:
        """Read the command line."""
        with _as_asked():
            return super().make_context(*given, **named)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with _as_asked():
            return super().invoke(ctx)


@contextmanager
def _as_asked() -> Iterator[None]:
    """End as a signal asks, of which typer would make a code of its own."""
    try:
        yield
    except KeyboardInterrupt as asked:
        from dualrt.cli import show

        show.fail(watchdog.words(asked), "stopped")
        sys.exit(watchdog.exit_code(asked))
