"""Whose turn it is on a learner's way out of its host."""

from __future__ import annotations

import math
import random

from dualrt.real.line import LOOK_S, Line, Turn
from dualrt.real.tcp import Progress

BODY_BYTES = 1_000_000


class Host:
    """A line, its clock, and connections whose progress the tests make."""

    def __init__(
        self, *, in_flight_bytes: int = 0, bytes_per_s: float = 0.0, min_rtt_s: float = 0.0
    ) -> None:
        self.now_s = 100.0
        self.acked_bytes = dict.fromkeys(range(4), 77)
        """Of connections, by peer; 77: a hello was there before."""
        self.pace = in_flight_bytes, bytes_per_s, min_rtt_s
        self.looks = 0
        self.line = Line(self._progress, lambda: self.now_s)

    def _progress(self, peer: int) -> Progress | None:
        self.looks += 1
        acked_bytes = self.acked_bytes.get(peer)
        return None if acked_bytes is None else Progress(acked_bytes, *self.pace)

    def ask(self, peer: int, round_: int) -> Turn:
        turn = self.line.ask(peer, BODY_BYTES, round_)
        self.line.look()
        return turn

    def carry(self, peer: int, nbytes: int = BODY_BYTES) -> None:
        """So much more is there, and as often is looked as is asked for."""
        self.acked_bytes[peer] += nbytes
        if self.line.due_s < math.inf:
            self.now_s = max(self.now_s, self.line.due_s)
            self.line.look()


def test_a_round_leaves_when_all_of_the_rounds_before_it_is_through() -> None:
    host = Host()
    first, second = host.ask(1, 0), host.ask(2, 0)
    assert first.come
    assert second.come
    third, fourth = host.ask(1, 1), host.ask(2, 1)
    host.carry(1)
    host.carry(2, BODY_BYTES - 1)
    assert not third.come
    assert not fourth.come
    host.carry(2, 1)
    assert third.come
    assert fourth.come


def test_what_is_of_one_round_leaves_together_though_others_wait() -> None:
    host = Host()
    host.ask(1, 0)
    late = host.ask(2, 1)
    later = host.ask(3, 1)
    assert not late.come
    assert not later.come
    host.carry(1)
    assert late.come
    assert later.come
    assert host.ask(0, 1).come


def test_bodies_of_one_connection_are_through_one_behind_another() -> None:
    host = Host()
    host.ask(1, 0)
    host.ask(1, 0)
    waits = host.ask(2, 1)
    host.carry(1)
    assert not waits.come
    host.carry(1)
    assert waits.come


def test_it_counts_from_where_a_connection_was() -> None:
    host = Host()
    host.acked_bytes[1] = 5 * BODY_BYTES
    host.ask(1, 0)
    waits = host.ask(2, 1)
    host.carry(1, BODY_BYTES - 1)
    assert not waits.come
    host.carry(1, 1)
    assert waits.come


def test_what_is_on_a_long_way_is_through() -> None:
    host = Host(in_flight_bytes=10 * BODY_BYTES, bytes_per_s=1e7, min_rtt_s=0.02)
    host.ask(1, 0)
    waits = host.ask(2, 1)
    on_its_way_bytes = round(1e7 * (0.02 + LOOK_S))
    host.carry(1, BODY_BYTES - on_its_way_bytes - 1)
    assert not waits.come
    host.carry(1, 1)
    assert waits.come


def test_what_has_not_left_is_not_on_its_way_however_fast_the_connection_was() -> None:
    host = Host(in_flight_bytes=1000, bytes_per_s=1e12, min_rtt_s=0.02)
    host.ask(1, 0)
    waits = host.ask(2, 1)
    host.carry(1, BODY_BYTES - 1001)
    assert not waits.come
    host.carry(1, 1)
    assert waits.come


def test_nobody_waits_for_a_connection_of_which_nothing_is_known() -> None:
    host = Host()
    del host.acked_bytes[1]
    assert host.ask(1, 0).come
    assert host.ask(2, 1).come


def test_nobody_waits_for_a_connection_of_which_nothing_is_known_any_more() -> None:
    host = Host()
    host.ask(1, 0)
    waits = host.ask(2, 1)
    del host.acked_bytes[1]
    host.now_s = host.line.due_s
    host.line.look()
    assert waits.come


def test_a_connection_that_breaks_holds_up_nobody() -> None:
    host = Host()
    host.ask(1, 0)
    dropped, waits = host.ask(1, 1), host.ask(2, 2)
    host.line.drop(1)
    host.line.look()
    assert waits.come
    assert not dropped.come


def test_at_the_end_what_waits_is_over() -> None:
    host = Host()
    begun, waits = host.ask(1, 0), host.ask(2, 1)
    host.line.end()
    late = host.ask(3, 2)
    assert waits.over
    assert late.over
    assert not begun.over
    host.carry(1)
    assert not waits.come
    assert not late.come


def test_what_is_given_up_half_way_holds_up_nobody() -> None:
    host = Host()
    given_up, waits = host.ask(1, 0), host.ask(2, 1)
    host.carry(1, BODY_BYTES // 2)
    given_up.over = True
    host.carry(1, 0)
    assert waits.come
    # What is sent there next counts from where the connection is.
    host.carry(2)
    host.ask(1, 2)
    last = host.ask(2, 3)
    host.carry(1, BODY_BYTES - 1)
    assert not last.come
    host.carry(1, 1)
    assert last.come


def test_what_was_on_its_way_is_still_to_come_for_the_next_body_there() -> None:
    host = Host(in_flight_bytes=10 * BODY_BYTES, bytes_per_s=1e7, min_rtt_s=0.02)
    on_its_way_bytes = round(1e7 * (0.02 + LOOK_S))
    host.ask(1, 0)
    for round_ in range(1, 50):
        # The last is through but for what is on its way, so the next goes behind that.
        host.acked_bytes[1] = 77 + round_ * BODY_BYTES - on_its_way_bytes
        turn = host.ask(1, round_)
        assert turn.come
        assert turn.end_bytes == 77 + (round_ + 1) * BODY_BYTES


def test_it_looks_now_and_then_and_only_while_somebody_waits() -> None:
    host = Host()
    host.ask(1, 0)
    assert host.line.due_s == math.inf
    host.ask(2, 1)
    assert host.line.due_s == host.now_s + LOOK_S
    looks = host.looks
    host.line.look()
    assert host.looks == looks
    host.carry(1)
    assert host.looks > looks
    assert host.line.due_s == math.inf


def test_whatever_happens_rounds_leave_in_order_and_all_do() -> None:
    for seed in range(200):
        chance, host = random.Random(seed), Host()
        asked: list[Turn] = []
        round_ = 0
        for _ in range(30):
            round_ += chance.choice([0, 0, 1, 2])
            asked.append(host.ask(chance.randrange(4), round_))
            for peer in range(4):
                host.carry(peer, chance.choice([0, BODY_BYTES // 3, BODY_BYTES]))
            for place, turn in enumerate(asked):
                if turn.come and not turn.end_bytes:
                    raise AssertionError("all is known of these connections")
                waits_for = [older for older in asked[:place] if older.round_ < turn.round_]
                assert not turn.come or all(older.come for older in waits_for), seed
        for _ in asked:
            for peer in range(4):
                host.carry(peer)
        assert all(turn.come for turn in asked), seed
