"""dualrt: asynchronous decentralised SGD, on a real cluster or in a simulator of it.

A learner is ordinary code that awaits effects (`dualrt.core`); a driver decides whether an effect
happens (`dualrt.real`) or is simulated (`dualrt.sim`). `dualrt.api` runs a scenario in either mode,
and the command `dualrt` does so from a shell; `dualrt.join` is for a training loop of one's own.
docs/architecture.md explains the whole.

Importing this package imports nothing else.
"""

from __future__ import annotations

TYPE_CHECKING = False  # As type checkers know it; `typing` is slow to import.
if TYPE_CHECKING:
    from dualrt.loop import join as join

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`dualrt.join`, which brings torch along, when it is first asked for."""
    if name != "join":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from dualrt.loop import join
    except ModuleNotFoundError as error:
        from dualrt.core.errors import MissingExtraError

        if error.name not in ("torch", "xxhash", "zmq"):
            raise
        raise MissingExtraError(error.name, "train", "dualrt.join") from error
    globals()["join"] = join
    return join
