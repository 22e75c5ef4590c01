"""Kinds: what a span's kind says that the learner was doing.

Owns the reading of `Span.kind`. A kind is a word, or a word and a tag: "gradient", "send offer",
"recv answer", "allreduce all"; the first word decides. Must not know who emits spans.
"""

from __future__ import annotations

from enum import Enum
from functools import cache

GRADIENT = "gradient"
"""The kind of one mini-batch's gradient: a learner step."""

SENT_BYTES = frozenset({"send", "allreduce", "broadcast"})
"""First words of kinds whose bytes leave the learner. A "recv" shows the same bytes a second time,
and the bytes of computations move in memory only."""


class Activity(Enum):
    """Where a learner's time goes, coarse enough to be one colour each; the value is its label."""

    GRADIENT = "gradient"
    UPDATE = "update"
    BLEND = "blend"
    COMMUNICATION = "send, collectives"
    WAITING = "waiting for a message"
    OTHER = "other"


DEVICE = (Activity.GRADIENT, Activity.UPDATE)
"""What keeps the accelerator busy."""

EXCHANGE = (Activity.BLEND, Activity.COMMUNICATION, Activity.WAITING, Activity.OTHER)
"""What goes on beside it."""

_ACTIVITIES = {
    "gradient": Activity.GRADIENT,
    "update": Activity.UPDATE,
    "blend": Activity.BLEND,
    "send": Activity.COMMUNICATION,
    "allreduce": Activity.COMMUNICATION,
    "broadcast": Activity.COMMUNICATION,
    "recv": Activity.WAITING,
    "sleep": Activity.WAITING,
}


@cache
def word(kind: str) -> str:
    """The first word of a kind, in lower case."""
    return kind.partition(" ")[0].lower()


@cache
def activity(kind: str) -> Activity:
    """What a span of this kind counts as; a kind of an algorithm's own making is OTHER."""
    return _ACTIVITIES.get(word(kind), Activity.OTHER)
