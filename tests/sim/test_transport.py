"""Ordered connections over the flow network, and the mail at their ends."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest

from dualrt.core.effects import Cost, Delivery, Packet
from dualrt.sim.clock import Clock
from dualrt.sim.cluster import Cluster, ClusterSpec
from dualrt.sim.device import Device, DeviceSpec
from dualrt.sim.network import Network
from dualrt.sim.processors import Processors
from dualrt.sim.transport import HEADER_BYTES, Transport

BANDWIDTH, LATENCY_S = 1e6, 0.25


class Body(NamedTuple):
    nbytes: int


def sized(total_bytes: int) -> Packet:
    """A packet that weighs so much on the wire."""
    return Packet(body=Body(total_bytes - HEADER_BYTES))


class Office:
    """A transport between three servers, and what arrived when."""

    def __init__(self, *, gpus_per_server: int = 1, **spec: Any) -> None:
        self.env = Clock()
        network = Network(self.env)
        cluster = Cluster(
            ClusterSpec(
                servers=3,
                gpus_per_server=gpus_per_server,
                nic_bytes_per_s=BANDWIDTH,
                nic_latency_s=LATENCY_S / 2,
                host_memory_bytes_per_s=1e9,
                **spec,
            ),
            network,
        )
        self.transport = Transport(network, cluster)
        self.arrivals: list[tuple[float, Delivery]] = []

    def expect(self, receiver: int, tag: str, peer: int | None = None) -> Delivery | None:
        def wake(delivery: Delivery) -> None:
            self.arrivals.append((self.env.now, delivery))

        return self.transport.receive(receiver, tag, peer, wake)

    @property
    def times_s(self) -> list[float]:
        return [time_s for time_s, _ in self.arrivals]


def test_a_message_takes_latency_and_its_size_over_the_bandwidth() -> None:
    office = Office()
    assert office.expect(1, "t") is None
    office.transport.send(0, 1, "t", sized(1_000_000))
    office.env.run()
    assert office.times_s == [pytest.approx(LATENCY_S + 1.0)]


def test_versions_weigh_eight_bytes_each() -> None:
    office = Office()
    office.expect(1, "t")
    office.transport.send(0, 1, "t", Packet(versions=(0,) * 1000))
    office.env.run()
    expected_s = LATENCY_S + (HEADER_BYTES + 8000) / BANDWIDTH
    assert office.times_s == [pytest.approx(expected_s)]


def test_messages_of_one_connection_leave_one_after_another() -> None:
    office = Office()
    for _ in range(2):
        office.expect(1, "t")
        office.transport.send(0, 1, "t", sized(500_000))
    office.env.run()
    first_s, second_s = office.times_s
    assert first_s == pytest.approx(LATENCY_S + 0.5)
    assert first_s + 0.5 <= second_s <= first_s + 0.5 + LATENCY_S


def test_connections_share_what_they_both_cross() -> None:
    office = Office()
    for receiver in (1, 2):
        office.expect(receiver, "t")
        office.transport.send(0, receiver, "t", sized(500_000))
    office.env.run()
    assert office.times_s == [pytest.approx(LATENCY_S + 1.0)] * 2


def test_a_socket_and_software_have_their_own_limits() -> None:
    office = Office(socket_bytes_per_s=BANDWIDTH / 4, message_overhead_s=0.5)
    office.expect(1, "t")
    office.transport.send(0, 1, "t", sized(250_000))
    office.env.run()
    assert office.times_s == [pytest.approx(0.5 + LATENCY_S + 1.0)]


def test_a_message_to_oneself_is_there_at_once() -> None:
    office = Office(message_overhead_s=0.5)
    office.expect(0, "t")
    office.transport.send(0, 0, "t", sized(1_000_000))
    office.env.run()
    assert office.times_s == [0.0]


def test_mail_waits_for_whoever_wants_it() -> None:
    office = Office()
    office.transport.send(0, 1, "t", sized(1000))
    office.env.run()
    delivery = office.expect(1, "t")
    assert delivery == Delivery(0, sized(1000))
    assert office.expect(1, "t") is None


def test_one_who_waits_for_a_peer_is_not_served_by_another() -> None:
    office = Office()
    assert office.expect(2, "t", peer=1) is None
    assert office.expect(2, "t") is None
    office.transport.send(0, 2, "t", sized(1000))
    office.env.run()
    assert [delivery.sender for _, delivery in office.arrivals] == [0]
    office.transport.send(1, 2, "t", sized(1000))
    office.env.run()
    assert [delivery.sender for _, delivery in office.arrivals] == [0, 1]


def test_of_two_who_wait_the_first_is_served_first() -> None:
    office = Office()
    order: list[str] = []

    def note(name: str, _: Delivery) -> None:
        order.append(name)

    for name in ("first", "second"):
        office.transport.receive(1, "t", None, partial(note, name))
    for _ in range(2):
        office.transport.send(0, 1, "t", sized(1000))
    office.env.run()
    assert order == ["first", "second"]


def test_what_is_under_way_is_counted_until_it_arrives() -> None:
    office = Office()
    office.transport.send(0, 1, "t", sized(1000))
    office.transport.send(0, 1, "t", sized(1000))
    assert office.transport.in_flight == 2
    office.env.run()
    assert office.transport.in_flight == 0


def test_a_message_takes_of_the_processor_at_either_end() -> None:
    env = Clock()
    network = Network(env)
    spec = ClusterSpec(
        servers=2,
        gpus_per_server=1,
        nic_bytes_per_s=BANDWIDTH,
        nic_latency_s=LATENCY_S / 2,
        host_memory_bytes_per_s=1e9,
        processors_per_server=1.0,
        message_work_s=0.5,
    )
    cluster = Cluster(spec, network)
    device = DeviceSpec(flops_per_s=1.0, memory_bytes_per_s=1.0)
    devices = [Device(device, Random(0), np.random.default_rng(0)) for _ in range(2)]
    processors = Processors(env, cluster, devices)
    transport = Transport(network, cluster, processors)
    told: list[float] = []
    transport.receive(1, "offer", None, lambda _: told.append(env.now))
    # The receiver computes meanwhile: from 1.75 s on the message has half of its process.
    processors.compute(1, Cost("work", flops=10.0), lambda _: told.append(env.now))
    transport.send(0, 1, "offer", sized(1_000_000))
    env.run()
    assert told == pytest.approx([0.5 + LATENCY_S + 1.0 + 1.0, 10.5])


@pytest.mark.parametrize(
    ("rounds", "times_s"),
    [
        # The second leaves when the first has arrived.
        ((0, 1), [LATENCY_S + 0.5, 2 * (LATENCY_S + 0.5)]),
        # Both share the line from when the second comes to it, after its latency.
        ((0, 0), [LATENCY_S + 0.9, LATENCY_S + 1.0]),
        ((None, None), [LATENCY_S + 0.9, LATENCY_S + 1.0]),
        ((0, None), [LATENCY_S + 0.9, LATENCY_S + 1.0]),
        ((None, 0), [LATENCY_S + 0.9, LATENCY_S + 1.0]),
    ],
)
def test_a_round_leaves_when_earlier_ones_have_arrived(
    rounds: tuple[int | None, int | None], times_s: list[float]
) -> None:
    office = Office()
    for receiver in (1, 2):
        office.expect(receiver, "t")
    office.transport.send(0, 1, "t", sized(500_000), rounds[0])
    office.env.run(0.1)
    office.transport.send(0, 2, "t", sized(500_000), rounds[1])
    office.env.run()
    assert office.times_s == pytest.approx(times_s)


def test_rounds_of_one_connection_leave_as_any_messages_do() -> None:
    office = Office()
    for round_ in range(3):
        office.expect(1, "t")
        office.transport.send(0, 1, "t", sized(500_000), round_)
    office.env.run()
    in_rounds, office = office.times_s, Office()
    for _ in range(3):
        office.expect(1, "t")
        office.transport.send(0, 1, "t", sized(500_000))
    office.env.run()
    assert in_rounds == office.times_s


def test_what_is_sent_after_one_that_waits_waits_with_it() -> None:
    office = Office()
    for receiver in (1, 2, 2):
        office.expect(receiver, "t")
    office.transport.send(0, 1, "t", sized(500_000), 0)
    office.transport.send(0, 2, "t", sized(500_000), 1)
    office.transport.send(0, 2, "t", sized(1000))
    office.env.run()
    first_s, second_s, third_s = office.times_s
    assert (first_s, second_s) == pytest.approx((LATENCY_S + 0.5, 2 * LATENCY_S + 1.0))
    assert third_s > second_s


def test_inside_a_server_no_round_waits_and_none_is_waited_for() -> None:
    office = Office(gpus_per_server=2, pcie_bytes_per_s=100 * BANDWIDTH)
    for receiver in (2, 1, 4):
        office.expect(receiver, "t")
    office.transport.send(0, 1, "t", sized(50_000_000), 0)
    office.transport.send(0, 2, "t", sized(500_000), 1)
    office.env.run(0.1)
    office.transport.send(2, 3, "t", sized(1000), 7)
    office.transport.send(2, 4, "t", sized(1000), 6)
    office.env.run()
    assert len(office.arrivals) == 3
    assert max(office.times_s) == pytest.approx(LATENCY_S + 0.5, rel=0.1)


def test_senders_do_not_wait_for_each_other() -> None:
    office = Office()
    for receiver in (1, 2):
        office.expect(receiver, "t")
    office.transport.send(0, 1, "t", sized(500_000), 0)
    office.transport.send(1, 2, "t", sized(500_000), 1)
    office.env.run()
    assert office.times_s == pytest.approx([LATENCY_S + 0.5] * 2)


def test_all_rounds_arrive_and_in_order() -> None:
    chance, office, sent, round_ = Random(1), Office(), 0, 0
    for _ in range(60):
        round_ += chance.choice([0, 1])
        receiver = chance.choice([1, 2])
        office.expect(receiver, "t")
        packet = Packet(body=Body(chance.choice([1000, 300_000])), note=round_)
        office.transport.send(0, receiver, "t", packet, round_)
        sent += 1
        office.env.run(office.env.now + chance.random() / 4)
    office.env.run()
    notes = [delivery.packet.note for _, delivery in office.arrivals]
    assert len(notes) == sent
    assert notes == sorted(notes)
    assert office.transport.in_flight == 0
