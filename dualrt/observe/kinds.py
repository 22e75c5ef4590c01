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

RECEIVED_BYTES = frozenset({"recv", "allreduce", "broadcast"})
"""First words of kinds whose bytes come to the learner."""


class Activity(Enum):
    """Where a learner's time goes, coarse enough to be one colour each; the value is its label."""

    GRADIENT = "gradient"
    UPDATE = "update"
    BLEND = "blend"
    EXCHANGE = "exchange"
    """Sends, collectives, and the wait for what this learner's own training needs."""
    LISTENING = "listening"
    """The wait for whatever others may send, in a strand that does not train: no loss of time."""
    OTHER = "other"


DEVICE = (Activity.GRADIENT, Activity.UPDATE)
"""What keeps the accelerator busy."""

BESIDE = (Activity.BLEND, Activity.EXCHANGE, Activity.OTHER)
"""What goes on beside it."""

_ACTIVITIES = {
    "gradient": Activity.GRADIENT,
    "update": Activity.UPDATE,
    "apply": Activity.OTHER,  # an update on the host, which keeps no device busy
    "blend": Activity.BLEND,
    "send": Activity.EXCHANGE,
    "recv": Activity.EXCHANGE,
    "allreduce": Activity.EXCHANGE,
    "broadcast": Activity.EXCHANGE,
}


@cache
def word(kind: str) -> str:
    """The first word of a kind, in lower case."""
    return kind.partition(" ")[0].lower()


@cache
def activity(kind: str, *, trains: bool) -> Activity:
    """What a span of this kind counts as; a kind of an algorithm's own making is OTHER.

    `trains` says whether the span's strand computes gradients: only then does a "recv" hold
    anything up.
    """
    if word(kind) == "recv" and not trains:
        return Activity.LISTENING
    return _ACTIVITIES.get(word(kind), Activity.OTHER)
