"""Awaiting an effect yields the effect itself and returns the driver's answer."""

from __future__ import annotations

from fractions import Fraction

import pytest

from dualrt.core.effects import (
    AllReduce,
    Broadcast,
    Compute,
    Cost,
    Delivery,
    Group,
    Now,
    Packet,
    Place,
    Recv,
    Send,
    Sleep,
    Together,
    describe,
)
from tests.support.exact import Number


async def hello() -> float:
    await Send(1, "hello", Packet(note="there"))
    sender, packet = await Recv("hello")
    noted: float = packet.note
    return sender + noted + await Now()


def test_a_strand_is_exhausted_by_pushing_answers_in() -> None:
    strand = hello()
    assert strand.send(None) == Send(1, "hello", Packet(note="there"))
    assert strand.send(None) == Recv("hello")
    assert strand.send(Delivery(2, Packet(note=40))) == Now()
    with pytest.raises(StopIteration) as returned:
        strand.send(0.5)
    assert returned.value.value == 42.5


def test_an_error_of_the_driver_arises_at_the_await() -> None:
    async def careful() -> str:
        try:
            await Sleep(1.0)
        except TimeoutError:
            return "late"
        return "in time"

    strand = careful()
    strand.send(None)
    with pytest.raises(StopIteration) as returned:
        strand.throw(TimeoutError())
    assert returned.value.value == "late"


def test_a_packet_is_as_large_as_its_body() -> None:
    assert Packet(note="small").nbytes == 0
    assert Packet(body=Number(Fraction(1), 1000)).nbytes == 1000


def test_every_effect_has_a_description_without_its_payload() -> None:
    group = Group("node 0", (0, 1))
    body = hello()
    told = [
        describe(effect)
        for effect in (
            Compute(lambda: None, Cost("gradient"), Place.DEVICE),
            Send(3, "offer", Packet()),
            Recv("answer", 3),
            Recv("offer"),
            AllReduce(group, None),
            Broadcast(group, 0),
            Sleep(0.5),
            Now(),
            Together(body),
        )
    ]
    body.close()
    assert told == [
        "Compute gradient on device",
        "Send offer to 3, 0 bytes",
        "Recv answer from 3",
        "Recv offer from anyone",
        "AllReduce in node 0",
        "Broadcast in node 0 from 0",
        "Sleep(duration_s=0.5)",
        "Now()",
        "Together(hello)",
    ]
