"""Descriptors: how many files a process may have open, sockets among them, and room for more.

Owns the limit (RLIMIT_NOFILE), and the words for when it is too low. Must not know what is opened.

The soft limit is 1024 nearly everywhere, for the sake of programs that call select(2), and the hard
one many times that. So the first is raised where a run needs it, and left alone where not.
"""

from __future__ import annotations

import math
import resource
from pathlib import Path

from dualrt.core.errors import UsageError

SPARE = 128
"""How many are left for all else, where the hard limit has them: data, records, libraries."""


def make_room(more: int, what: str, besides: int = 0) -> None:
    """Raise the soft limit, if need be, so that `what` may open so many more.

    And so many `besides`, if the hard limit has them. Raises UsageError if it has not even `more`.
    """
    needed = opened() + more
    wanted = needed + besides + SPARE
    soft, hard = limits()
    if wanted <= soft:
        return
    if needed > hard:
        raise too_few(what, needed, hard)
    try:
        resource.setrlimit(
            resource.RLIMIT_NOFILE,
            (int(min(wanted, hard)), resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        )
    except (ValueError, OSError) as error:
        # macOS has a maximum beside the hard limit.
        if needed > soft:
            raise too_few(what, needed, soft) from error


def opened() -> int:
    """How many are open in this process."""
    try:
        return len(list(Path("/dev/fd").iterdir()))
    except OSError:
        # There is no such folder, or none is left to look into it with.
        return 0


def limits() -> tuple[float, float]:
    """The soft and the hard one; infinity for none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    return (math.inf if soft == infinite else soft, math.inf if hard == infinite else hard)


def too_few(what: str, needed: int, limit: float) -> UsageError:
    """The error to raise where `what` takes more of them than there may be."""
    return UsageError(
        f"{what}: that takes {needed} open files in this process, and its limit (RLIMIT_NOFILE) is "
        f"{limit:g}. Raise it before the start: `ulimit -n {needed}` as root, LimitNOFILE of a "
        f"service, or `docker run --ulimit nofile={needed}`"
    )
