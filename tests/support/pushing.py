"""A test as a driver: push an answer in, look at the effect that comes out."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from dualrt.core.effects import AllReduce, Body, Compute, Effect, Packet, Report, Send
from dualrt.core.learner import Learner
from dualrt.core.records import Update
from tests.support.exact import Number

NBYTES = 1_000_000
"""What the exact workload's vectors weigh unless told otherwise."""


def number(value: int | Fraction) -> Number:
    """A vector to answer with."""
    return Number(Fraction(value), NBYTES)


def value(learner: Learner) -> Fraction:
    """The learner's weights now."""
    vector: Number = learner.weights.snapshot().vector
    return vector.value


def first(body: Body[Any]) -> Effect[Any]:
    """Start a strand."""
    return body.send(None)


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


def result(body: Body[Any], answer: Any = None) -> Any:
    """Push the last answer; what the body returns."""
    try:
        effect = body.send(answer)
    except StopIteration as returned:
        return returned.value
    raise AssertionError(f"it asks for more: {effect!r}")
