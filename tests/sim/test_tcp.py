"""Slow start: what a message is held up by, and when a connection begins anew."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.sim.clock import Clock
from dualrt.sim.cluster import Cluster, ClusterSpec
from dualrt.sim.lossy import LossyTransport
from dualrt.sim.network import Network
from dualrt.sim.tcp import Path, SlowStart, ramp
from tests.sim.test_transport import sized

TEN_SEGMENTS = 14_600
FAR = Path(rate_bytes_per_s=1e6, rtt_s=0.1)
"""It holds 100 kB: more than windows of 14.6, 29.2 and 58.4 kB, less than one of 116.8."""


def test_a_long_message_waits_in_every_round_before_the_window_fills_the_path() -> None:
    waits = [0.1 - window / 1e6 for window in (14_600, 29_200, 58_400)]
    held_up_s, window_bytes = ramp(1e6, TEN_SEGMENTS, FAR)
    assert held_up_s == pytest.approx(sum(waits))
    assert window_bytes == 8 * TEN_SEGMENTS


@pytest.mark.parametrize(
    ("size", "rounds"), [(14_600, 0), (14_601, 1), (43_800, 1), (43_801, 2), (102_201, 3)]
)
def test_nobody_waits_after_the_last_byte(size: int, rounds: int) -> None:
    waited_s = rounds * 0.1 - 14_600 * (2**rounds - 1) / 1e6
    assert ramp(size, TEN_SEGMENTS, FAR).held_up_s == pytest.approx(waited_s)


def test_in_a_rack_the_initial_window_nearly_fills_the_path() -> None:
    # 10 Gb/s and 22 us there and back hold 27.5 kB: one wait of 10 us, whatever the size.
    near = Path(rate_bytes_per_s=1.25e9, rtt_s=22e-6)
    assert ramp(172e6, TEN_SEGMENTS, near).held_up_s == pytest.approx(22e-6 - 14_600 / 1.25e9)


SIZES = st.floats(1, 1e9)
PATHS = st.builds(Path, st.floats(1e5, 1e10), st.floats(1e-6, 0.3))


@given(SIZES, st.floats(1e3, 1e6), PATHS)
def test_the_window_never_shrinks_and_the_wait_is_bounded_by_the_round_trips(
    size: float, window: float, path: Path
) -> None:
    held_up_s, after = ramp(size, window, path)
    assert after >= window
    doublings = math.log2(max(1.0, path.rate_bytes_per_s * path.rtt_s / window))
    assert 0 <= held_up_s <= (math.ceil(doublings) + 1e-9) * path.rtt_s


@given(SIZES, SIZES, st.floats(1e3, 1e6), PATHS)
def test_a_longer_message_and_a_smaller_window_wait_no_less(
    one: float, other: float, window: float, path: Path
) -> None:
    small, large = sorted((one, other))
    assert ramp(small, window, path).held_up_s <= ramp(large, window, path).held_up_s
    assert ramp(large, 2 * window, path).held_up_s <= ramp(large, window, path).held_up_s


class Line:
    """Two servers with slow start between them, and how long a message takes."""

    def __init__(self, gpus_per_server: int = 1, **spec: Any) -> None:
        self.env = Clock()
        network = Network(self.env)
        self.cluster = Cluster(
            ClusterSpec(
                servers=2,
                gpus_per_server=gpus_per_server,
                nic_bytes_per_s=1e6,
                nic_latency_s=0.025,
                host_memory_bytes_per_s=1e9,
                tcp_initial_window_bytes=TEN_SEGMENTS,
                **spec,
            ),
            network,
        )
        self.transport = LossyTransport(self.env, network, self.cluster, faults=(), seed=0)

    def send(self, total_bytes: int, receiver: int = 1) -> float:
        """Seconds that a message takes, of which 0.05 are latency."""
        began_s = self.env.now
        self.transport.receive(receiver, "t", 0, lambda _: None)
        self.transport.send(0, receiver, "t", sized(total_bytes))
        self.env.run()
        return float(self.env.now - began_s)


HELD_UP_S = 0.3 - 7 * 14_600 / 1e6


def test_the_first_message_is_held_up_and_the_next_is_not() -> None:
    line = Line()
    assert line.send(1_000_000) == pytest.approx(0.05 + 1.0 + HELD_UP_S)
    assert line.send(1_000_000) == pytest.approx(0.05 + 1.0)


@pytest.mark.parametrize(("idle_s", "again"), [(0.29, False), (0.31, True)])
def test_an_idle_connection_begins_anew_after_its_timeout(idle_s: float, again: bool) -> None:
    line = Line()
    line.send(1_000_000)
    line.env.run(until=line.env.now + idle_s)
    assert line.send(1_000_000) == pytest.approx(0.05 + 1.0 + (HELD_UP_S if again else 0.0))


def test_a_learner_that_comes_back_is_connected_to_anew() -> None:
    line = Line()
    line.send(1_000_000)
    line.transport.take_down(1)
    line.transport.bring_up(1)
    assert line.send(1_000_000) == pytest.approx(0.05 + 1.0 + HELD_UP_S)


def test_a_short_message_opens_the_window_by_as_much_as_it_sends() -> None:
    line = Line()
    assert line.send(10_000) == pytest.approx(0.05 + 0.01)
    held_up_s, _ = ramp(1_000_000, 24_600, FAR)
    assert 0 < held_up_s < HELD_UP_S
    assert line.send(1_000_000) == pytest.approx(0.05 + 1.0 + held_up_s)


def test_each_connection_has_a_window_of_its_own() -> None:
    line = Line(gpus_per_server=2)
    for receiver in (2, 3):
        assert line.send(1_000_000, receiver) == pytest.approx(0.05 + 1.0 + HELD_UP_S)


def test_within_a_server_there_is_no_slow_start() -> None:
    quick, plain = Line(gpus_per_server=2), Line(gpus_per_server=2)
    assert quick.send(10**6, receiver=1) == plain.send(10**6, receiver=1)
    assert SlowStart(quick.cluster).begin(0, 1, 10**9, 0.0) == 0.0
    assert SlowStart(quick.cluster).begin(0, 2, 10**9, 0.0) > 0.0


def test_the_narrowest_of_links_socket_and_thread_is_what_a_window_has_to_fill() -> None:
    # At 0.1 MB/s the path holds 10 kB, less than ten segments.
    for line in (Line(socket_bytes_per_s=1e5), Line(io_thread_bytes_per_s=1e5)):
        assert line.send(1_000_000) == pytest.approx(0.05 + 10.0)


def test_a_closed_connection_begins_anew() -> None:
    line = Line()
    windows = SlowStart(line.cluster)
    first_s = windows.begin(0, 1, 10**6, 0.0)
    windows.close(0, 1)
    windows.end(0, 1, 1.0)
    assert windows.begin(0, 1, 10**6, 1.1) == first_s
