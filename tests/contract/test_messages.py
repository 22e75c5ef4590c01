"""Send and Recv, in virtual time and for real."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dualrt.core.effects import Packet, Recv, Send
from dualrt.core.errors import StrandError, UsageError
from tests.support.stage import Stage, main


def test_a_packet_arrives_whole(perform: Stage) -> None:
    arrived: list[Any] = []

    async def send() -> None:
        await Send(1, "offer", Packet((3, 1), torch.arange(5.0), (0.5, "x", None, True)))

    async def receive() -> None:
        arrived.append(await Recv("offer"))

    perform([[main(send)], [main(receive)]])
    [(sender, packet)] = arrived
    assert sender == 0
    assert packet.versions == (3, 1)
    assert packet.body.tolist() == [0, 1, 2, 3, 4]
    assert packet.note == (0.5, "x", None, True)


def test_messages_of_one_sender_and_tag_come_in_the_order_sent(perform: Stage) -> None:
    numbers: list[int] = []

    async def send() -> None:
        for number in range(20):
            # By turns large and small, so that a small one could overtake.
            body = torch.zeros(200_000) if number % 2 == 0 else None
            await Send(1, "count", Packet(body=body, note=number))

    async def receive() -> None:
        for _ in range(20):
            numbers.append((await Recv("count")).packet.note)

    perform([[main(send)], [main(receive)]])
    assert numbers == list(range(20))


def test_a_recv_from_one_peer_leaves_the_mail_of_others(perform: Stage) -> None:
    notes: list[Any] = []

    async def early() -> None:
        await Send(2, "t", Packet(note="early"))
        await Send(1, "go", Packet())

    async def late() -> None:
        await Recv("go", 0)
        await Send(2, "t", Packet(note="late"))
        await Send(2, "ready", Packet())

    async def receive() -> None:
        # By now both have arrived, or the first is still on its way; either must be kept.
        await Recv("ready", 1)
        notes.append((await Recv("t", 1)).packet.note)
        notes.append((await Recv("t")).packet.note)

    perform([[main(early)], [main(late)], [main(receive)]])
    assert notes == ["late", "early"]


def test_a_recv_of_one_tag_leaves_the_mail_of_others(perform: Stage) -> None:
    notes: list[Any] = []

    async def send() -> None:
        await Send(1, "a", Packet(note=1))
        await Send(1, "b", Packet(note=2))

    async def receive() -> None:
        notes.append((await Recv("b")).packet.note)
        notes.append((await Recv("a")).packet.note)

    perform([[main(send)], [main(receive)]])
    assert notes == [2, 1]


def test_two_strands_that_wait_for_different_peers_each_get_theirs(perform: Stage) -> None:
    notes: dict[int, Any] = {}

    def receive(peer: int) -> Any:
        async def body() -> None:
            notes[peer] = (await Recv("t", peer)).packet.note

        return body

    def send(note: str) -> Any:
        async def body() -> None:
            await Send(0, "t", Packet(note=note))

        return body

    perform(
        [[main(receive(1), "one"), main(receive(2), "two")], [main(send("1"))], [main(send("2"))]]
    )
    assert notes == {1: "1", 2: "2"}


def test_a_learner_can_send_to_itself(perform: Stage) -> None:
    arrived: list[Any] = []

    async def monologue() -> None:
        await Send(0, "note", Packet((7,), torch.ones(2), "to self"))
        arrived.append(await Recv("note", 0))

    perform([[main(monologue)]])
    [(sender, packet)] = arrived
    assert (sender, packet.versions, packet.body.tolist(), packet.note) == (
        0,
        (7,),
        [1, 1],
        "to self",
    )


def test_a_send_is_answered_before_anyone_receives(perform: Stage) -> None:
    order: list[str] = []

    async def send() -> None:
        await Send(1, "early", Packet(body=torch.zeros(1000)))
        order.append("sent")
        await Send(1, "go", Packet())

    async def receive() -> None:
        await Recv("go")
        order.append("received")
        await Recv("early")

    perform([[main(send)], [main(receive)]])
    assert order == ["sent", "received"]


@pytest.mark.parametrize("peer", [-1, 2])
def test_a_send_to_a_learner_that_does_not_exist_raises(perform: Stage, peer: int) -> None:
    async def send() -> None:
        await Send(peer, "t", Packet())

    async def idle() -> None:
        pass

    with pytest.raises(StrandError, match=f"there is no learner {peer} to talk to") as raised:
        perform([[main(send)], [main(idle)]])
    assert isinstance(raised.value.__cause__, UsageError)
