"""What becomes of messages in the simulator where links are slow, or lose and repeat them."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import pytest

from dualrt.core.effects import Now, Packet, Recv, Send, Sleep
from dualrt.core.faults import Crash, Fault, Partition, SlowCard, SlowPair, Weather
from tests.support.befallen import Stage, Waiter, idle
from tests.support.stage import actors, daemon, main


class TestLinks:
    """A vector of 4 float64 and 64 bytes of header take 96 us at 1 MB/s."""

    def arrival_s(self, *faults: Fault) -> float:
        learners = actors([[], []])
        waiter = Waiter()

        async def talk() -> None:
            await Send(0, "t", Packet(body=learners[0].weights.snapshot().vector))
            await Sleep(1.0)

        Stage([[main(waiter)], [main(talk)]], *faults)
        ((time_s, _),) = waiter.got
        return time_s

    def test_a_slow_card_slows_all_that_crosses_it(self) -> None:
        assert self.arrival_s() == pytest.approx(96e-6)
        assert self.arrival_s(SlowCard(1, 0.1, 0.0)) == pytest.approx(960e-6)
        assert self.arrival_s(SlowCard(0, 0.1, 0.0)) == pytest.approx(960e-6)

    def test_two_at_once_multiply_and_each_ends(self) -> None:
        both = SlowCard(1, 0.1, 0.0, 480e-6), SlowCard(1, 0.5, 0.0, 480e-6)
        # 24 us' worth in the first 480 us, the rest at full speed.
        assert self.arrival_s(*both) == pytest.approx(480e-6 + 72e-6)

    def test_a_slow_pair_slows_nobody_else(self) -> None:
        assert self.arrival_s(SlowPair(frozenset({0, 1}), 0.1, 0.0)) == pytest.approx(960e-6)
        assert self.arrival_s(SlowPair(frozenset({0, 2}), 0.1, 0.0)) == pytest.approx(96e-6)
        assert self.arrival_s(SlowPair(frozenset({0, 1}), 0.1, 5.0)) == pytest.approx(96e-6)


class Body(NamedTuple):
    nbytes: int


class TestRounds:
    """Learner 0 sends a second's worth to 1, and at 0.1 s a tenth of one to 2, a round later."""

    def arrivals(self, *faults: Fault) -> list[Any]:
        """(receiver, time) of what arrives."""
        got: list[Any] = []

        async def listen(rank: int) -> None:
            while True:
                await Recv("t")
                got.append((rank, pytest.approx(await Now(), abs=1e-3)))

        async def talk() -> None:
            await Send(1, "t", Packet(body=Body(10**6)), 0)
            await Sleep(0.1)
            await Send(2, "t", Packet(body=Body(10**5)), 1)

        self.stage = Stage(
            [[main(talk)], *([main(idle), daemon(partial(listen, rank))] for rank in (1, 2))],
            *faults,
        )
        # Who is still there has idled, and no message keeps the run from its end.
        assert self.stage.elapsed_s <= 100.0
        return got

    def test_without_faults_the_second_leaves_when_the_first_is_through(self) -> None:
        assert self.arrivals() == [(1, 1.0), (2, 1.1)]

    def test_a_crash_of_the_first_ones_receiver(self) -> None:
        # What the dead one was sent still crosses its links, and the second leaves behind it.
        assert self.arrivals(Crash(1, at_s=0.5)) == [(2, 1.1)]
        assert self.stage.toll.lost == 1

    def test_its_return(self) -> None:
        crash = Crash(1, at_s=0.05, rejoin_after_s=0.5)
        assert self.arrivals(crash) == [(2, 1.1)]

    def test_a_crash_of_the_second_ones_receiver_leaves_nothing_behind(self) -> None:
        assert self.arrivals(Crash(2, at_s=0.5)) == [(1, 1.0)]
        assert self.stage.toll.lost == 1
        assert self.carried_bytes("server2.nic.in") == 0.0

    def test_a_crash_of_the_sender_has_none_begin_that_waits(self) -> None:
        assert self.arrivals(Crash(0, at_s=0.11)) == []
        assert self.stage.toll.lost == 2
        assert self.carried_bytes("server2.nic.in") == 0.0

    def carried_bytes(self, link: str) -> float:
        simulator = self.stage.simulator
        return simulator._network.carried_bytes(simulator.cluster.links[link])

    def test_a_message_that_a_partition_takes_is_through(self) -> None:
        assert self.arrivals(Partition(frozenset({1}), 0.5)) == [(2, 1.1)]

    def test_so_is_one_that_is_dropped_or_late(self) -> None:
        to_1 = frozenset({0, 1})
        assert self.arrivals(Weather(drop=1.0, pair=to_1)) == [(2, 1.1)]
        late = Weather(delay=1.0, delay_s=5.0, pair=to_1)
        assert self.arrivals(late) == [(2, 1.1), (1, 6.0)]

    def test_a_receiver_that_is_slow_is_waited_for(self) -> None:
        assert self.arrivals(SlowCard(1, 0.1, 0.0)) == [(1, 10.0), (2, 10.1)]


class TestWeather:
    def arrivals(self, weather: Weather, messages: int = 4, tag: str = "t") -> list[Any]:
        """(time in whole seconds, number) of what arrives of messages sent at 0, 1, 2 ... s."""
        got: list[Any] = []

        async def listen() -> None:
            while True:
                number = (await Recv("t")).packet.note
                got.append((int(await Now()), number))

        async def talk() -> None:
            for number in range(messages):
                await Send(1, tag, Packet(note=number))
                await Sleep(1.0)
            await Sleep(20.0)

        self.stage = Stage([[main(talk)], [daemon(listen)]], weather)
        return got

    def test_none_is_none(self) -> None:
        assert self.arrivals(Weather()) == [(0, 0), (1, 1), (2, 2), (3, 3)]

    def test_a_dropped_message_never_comes(self) -> None:
        assert self.arrivals(Weather(drop=1.0, start_s=0.5, end_s=2.5)) == [(0, 0), (3, 3)]
        assert self.stage.toll.lost == 2

    def test_a_repeated_message_comes_again_later(self) -> None:
        weather = Weather(duplicate=1.0, delay_s=10.0, end_s=0.5)
        assert self.arrivals(weather) == [(0, 0), (1, 1), (2, 2), (3, 3), (10, 0)]
        assert self.stage.toll.duplicated == 1

    def test_a_delayed_message_holds_up_those_behind_it(self) -> None:
        weather = Weather(delay=1.0, delay_s=2.5, end_s=0.5)
        assert self.arrivals(weather) == [(2, 0), (2, 1), (2, 2), (3, 3)]
        assert self.stage.toll.delayed == 1

    def test_a_reordered_message_is_overtaken(self) -> None:
        weather = Weather(reorder=1.0, delay_s=2.5, end_s=0.5)
        assert self.arrivals(weather) == [(1, 1), (2, 2), (2, 0), (3, 3)]
        assert self.stage.toll.reordered == 1

    def test_a_probability_is_one(self) -> None:
        arrived = len(self.arrivals(Weather(drop=0.3), messages=1000))
        assert 640 < arrived < 760

    def test_it_may_concern_one_pair_or_certain_messages_only(self) -> None:
        everything = [(0, 0), (1, 1), (2, 2), (3, 3)]
        assert self.arrivals(Weather(drop=1.0, tags=frozenset({"u"}))) == everything
        assert self.arrivals(Weather(drop=1.0, pair=frozenset({0, 2}))) == everything
        assert self.arrivals(Weather(drop=1.0, pair=frozenset({0, 1}))) == []
        assert self.arrivals(Weather(drop=1.0, tags=frozenset({"t"}))) == []

    def test_what_one_sends_to_oneself_arrives(self) -> None:
        async def talk() -> None:
            await Send(0, "t", Packet())
            await Recv("t", 0)

        Stage([[main(talk)]], Weather(drop=1.0))
