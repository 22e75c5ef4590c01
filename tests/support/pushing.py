"""A test as a driver: push an answer in, look at the effect that comes out."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, TypeVar

from dualrt.core.effects import AllReduce, Awaited, Body, Compute, Effect, Packet, Report, Send
from dualrt.core.learner import Learner
from dualrt.core.records import Update
from tests.support.exact import Number

T = TypeVar("T")

NBYTES = 1_000_000
"""What the exact workload's vectors weigh unless told otherwise."""


def number(value: int | Fraction) -> Number:
    """A vector to answer with."""
    return Number(Fraction(value), NBYTES)


def value(learner: Learner) -> Fraction:
    """The learner's weights now."""
    vector: Number = learner.weights.snapshot().vector
    return vector.value


def body(awaited: Awaited[T]) -> Body[T]:
    """What is awaited, which is no single effect."""
    assert not isinstance(awaited, Effect)
    return awaited


def first(awaited: Awaited[Any]) -> Effect[Any]:
    """Start a strand, or what it awaits."""
    return awaited if isinstance(awaited, Effect) else awaited.send(None)


def computed(effect: Effect[Any], kind: str) -> Any:
    """Do the work of a computation of this kind; its result is what to push next."""
    assert isinstance(effect, Compute)
    assert effect.cost.kind == kind
    return effect.work()


def sent(effect: Effect[Any], peer: int, tag: str) -> Packet:
    """The packet that is sent to this peer."""
    assert isinstance(effect, Send)
    assert (effect.peer, effect.tag) == (peer, tag)
    return effect.packet


def reduced(effect: Effect[Any], group: str) -> Fraction:
    """What is brought to an allreduce of this group."""
    assert isinstance(effect, AllReduce)
    assert effect.group.name == group
    vector: Number = effect.vector
    return vector.value


def reported(effect: Effect[Any]) -> Update:
    """The update that is reported."""
    assert isinstance(effect, Report)
    return effect.update


def result(awaited: Awaited[Any], answer: Any = None) -> Any:
    """Push the last answer; what comes of it all."""
    if isinstance(awaited, Effect):
        return answer
    try:
        effect = awaited.send(answer)
    except StopIteration as returned:
        return returned.value
    raise AssertionError(f"it asks for more: {effect!r}")
