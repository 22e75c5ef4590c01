"""The network: every flow ends when an independent max-min solver says it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualrt.core.errors import UsageError
from dualrt.sim.clock import Clock
from dualrt.sim.flows import Link, counted
from dualrt.sim.network import Network


@dataclass(frozen=True)
class Job:
    """A transfer to come, or a lockstep if it says so: `route` holds indices of links."""

    start_s: float
    route: tuple[int, ...]
    size_bytes: int
    cap_bytes_per_s: float = math.inf
    weight: float = 1.0
    lockstep: bool = False


@dataclass(frozen=True)
class Throttling:
    """A change of one link's capacity to come."""

    start_s: float
    link: int
    factor: float


def at(env: Clock, time_s: float, action: Callable[[], None]) -> None:
    """Call `action` when the clock stands at `time_s`."""
    env.timeout(time_s).callbacks.append(lambda _: action())


def simulated_ends_s(
    links: Sequence[Link], jobs: Sequence[Job], throttlings: Sequence[Throttling] = ()
) -> list[float]:
    """When each job ends in a `Network`; infinity for one that never does."""
    env = Clock()
    network = Network(env)
    ends_s = [math.inf] * len(jobs)

    def begin(number: int, job: Job) -> None:
        def note() -> None:
            ends_s[number] = env.now

        route = [links[index] for index in job.route]
        if job.lockstep:
            network.lockstep(
                counted(route),
                job.size_bytes,
                note,
                latency_s=sum(link.latency_s for link in route),
                cap_bytes_per_s=job.cap_bytes_per_s,
            )
            return
        network.transfer(
            route,
            job.size_bytes,
            note,
            cap_bytes_per_s=job.cap_bytes_per_s,
            weight=job.weight,
        )

    for number, job in enumerate(jobs):
        at(env, job.start_s, partial(begin, number, job))
    for change in throttlings:
        at(env, change.start_s, partial(network.throttle, links[change.link], change.factor))
    env.run()
    return ends_s


def fair_rates(
    capacities: Sequence[float], jobs: Sequence[Job], running: Sequence[int]
) -> dict[int, float]:
    """Weighted max-min fair rates by progressive filling, as in the textbook: one global level."""
    rates: dict[int, float] = {}
    while len(rates) < len(running):
        rising = [number for number in running if number not in rates]
        levels = {number: jobs[number].cap_bytes_per_s / jobs[number].weight for number in rising}
        for index, capacity in enumerate(capacities):
            users = [number for number in rising if index in jobs[number].route]
            taken = sum(rates[number] * jobs[number].route.count(index) for number in rates)
            total = sum(jobs[number].weight * jobs[number].route.count(index) for number in users)
            for number in users:
                levels[number] = min(levels[number], max(0.0, capacity - taken) / total)
        level = min(levels.values())
        for number in rising:
            if levels[number] <= level * (1 + 1e-12):
                rates[number] = level * jobs[number].weight
    return rates


def exact_ends_s(
    links: Sequence[Link], jobs: Sequence[Job], throttlings: Sequence[Throttling] = ()
) -> list[float]:
    """The oracle: every rate is found anew at every change, in time O(changes * flows * links)."""
    capacities = [link.capacity_bytes_per_s for link in links]
    admitted_s = [job.start_s + sum(links[i].latency_s for i in job.route) for job in jobs]
    remaining = [float(job.size_bytes) for job in jobs]
    ends_s = [math.inf] * len(jobs)
    for number, job in enumerate(jobs):
        if not job.size_bytes or not job.route:
            ends_s[number] = admitted_s[number]
    to_come = sorted(set(admitted_s) | {change.start_s for change in throttlings})
    now_s = 0.0
    while True:
        for change in throttlings:
            if change.start_s == now_s:
                capacities[change.link] = change.factor * links[change.link].capacity_bytes_per_s
        running = [
            number
            for number in range(len(jobs))
            if admitted_s[number] <= now_s and ends_s[number] == math.inf
        ]
        rates = fair_rates(capacities, jobs, running)
        left_s = {
            number: remaining[number] / rates[number] for number in running if rates[number] > 0
        }
        change_s = next((time_s for time_s in to_come if time_s > now_s), math.inf)
        step_s = min(min(left_s.values(), default=math.inf), change_s - now_s)
        if step_s == math.inf:
            return ends_s
        for number in running:
            remaining[number] -= rates[number] * step_s
            if left_s.get(number) == step_s:
                ends_s[number] = now_s + step_s
        now_s = change_s if step_s == change_s - now_s else now_s + step_s


# A coarse grid of starts provokes changes at the same instant; floats provoke the rest.
STARTS_S = st.one_of(
    st.integers(0, 4).map(float), st.floats(0, 5, allow_nan=False, allow_subnormal=False)
)


@st.composite
def loads(draw: st.DrawFn) -> tuple[list[Link], list[Job], list[Throttling]]:
    """Links, jobs over them, and throttlings that never cut for good."""
    capacities = draw(st.lists(st.floats(0.5, 100), min_size=1, max_size=6))
    links = [
        Link(f"link{index}", capacity, draw(st.sampled_from([0.0, 0.0, 0.25, 1e-6])))
        for index, capacity in enumerate(capacities)
    ]
    indices = st.integers(0, len(links) - 1)
    job = st.builds(
        Job,
        start_s=STARTS_S,
        route=st.lists(indices, max_size=4, unique=True).map(tuple),
        size_bytes=st.integers(0, 300),
        cap_bytes_per_s=st.one_of(st.just(math.inf), st.floats(0.5, 50)),
        weight=st.one_of(st.just(1.0), st.floats(0.1, 10)),
    )
    lockstep = st.builds(
        Job,
        start_s=STARTS_S,
        route=st.lists(indices, max_size=9).map(tuple),
        size_bytes=st.integers(0, 300),
        cap_bytes_per_s=st.floats(0.5, 50),
        lockstep=st.just(True),
    )
    throttling = st.builds(
        Throttling, start_s=STARTS_S, link=indices, factor=st.sampled_from([0.0, 0.3, 1.0])
    )
    jobs = draw(st.lists(st.one_of(job, job, lockstep), min_size=1, max_size=12))
    changes = draw(st.lists(throttling, max_size=4, unique_by=lambda change: change.start_s))
    healed = [Throttling(6.0 + index, index, 1.0) for index in range(len(links))]
    return links, jobs, changes + healed


@settings(deadline=None, max_examples=400)
@given(loads())
def test_every_flow_ends_when_progressive_filling_says(
    load: tuple[list[Link], list[Job], list[Throttling]],
) -> None:
    expected_s = exact_ends_s(*load)
    assert simulated_ends_s(*load) == pytest.approx(expected_s, rel=1e-9, abs=1e-9)


def test_many_flows_through_a_crossbar_end_when_progressive_filling_says() -> None:
    ports = 12
    links = [Link(f"port{index}", 10.0 + index, 0.0) for index in range(2 * ports)]
    jobs = [
        Job(0.01 * number, (number % ports, ports + (number * 7 + number // 5) % ports), 50)
        for number in range(100)
    ]
    assert simulated_ends_s(links, jobs) == pytest.approx(exact_ends_s(links, jobs), rel=1e-9)


def test_a_flow_alone_takes_latency_plus_bytes_over_the_slowest_link() -> None:
    links = [Link("a", 100.0, 0.5), Link("b", 50.0, 0.25)]
    assert simulated_ends_s(links, [Job(1.0, (0, 1), 200)]) == [1.0 + 0.75 + 4.0]


def test_two_equal_flows_share_a_link_equally() -> None:
    link = Link("a", 10.0, 0.0)
    assert simulated_ends_s([link], [Job(0.0, (0,), 100), Job(0.0, (0,), 100)]) == [20.0, 20.0]


def test_a_flow_speeds_up_when_the_other_ends() -> None:
    link = Link("a", 10.0, 0.0)
    assert simulated_ends_s([link], [Job(0.0, (0,), 50), Job(0.0, (0,), 100)]) == [10.0, 15.0]


def test_weights_divide_a_link_in_their_proportion() -> None:
    link = Link("a", 12.0, 0.0)
    jobs = [Job(0.0, (0,), 90, weight=3.0), Job(0.0, (0,), 30, weight=1.0)]
    assert simulated_ends_s([link], jobs) == [10.0, 10.0]


def test_what_a_capped_flow_leaves_goes_to_the_others() -> None:
    link = Link("a", 10.0, 0.0)
    jobs = [Job(0.0, (0,), 20, cap_bytes_per_s=2.0), Job(0.0, (0,), 80)]
    assert simulated_ends_s([link], jobs) == [10.0, 10.0]


def test_a_flow_held_up_elsewhere_leaves_its_share_to_the_others() -> None:
    # One flow on both links, two more on the narrow one: 10/3 each there, the rest of the wide one.
    links = [Link("narrow", 10.0, 0.0), Link("wide", 30.0, 0.0)]
    jobs = [Job(0.0, (0, 1), 100), Job(0.0, (0,), 100), Job(0.0, (0,), 100), Job(0.0, (1,), 800)]
    assert simulated_ends_s(links, jobs) == pytest.approx([30.0, 30.0, 30.0, 30.0])


def test_a_flow_in_lockstep_takes_its_rate_once_for_each_crossing() -> None:
    def ends_s(*jobs: Job) -> list[float]:
        return simulated_ends_s([Link("wide", 30.0, 0.0), Link("narrow", 10.0, 0.0)], jobs)

    job = Job(0.0, (0, 0, 0, 1), 100, cap_bytes_per_s=50.0, lockstep=True)
    assert ends_s(job) == pytest.approx([10.0])
    assert ends_s(job, Job(0.0, (0,), 75)) == pytest.approx([12.5, 10.0])


def test_a_flow_in_lockstep_is_as_fast_as_its_most_throttled_link() -> None:
    def end_s(*throttlings: Throttling) -> float:
        links = [Link("a", 30.0, 0.0), Link("b", 30.0, 0.0)]
        job = Job(0.0, (0, 0, 1), 100, cap_bytes_per_s=10.0, lockstep=True)
        return simulated_ends_s(links, [job], throttlings)[0]

    assert end_s(Throttling(5.0, 0, 0.5)) == pytest.approx(5 + 50 / 7.5)
    assert end_s(Throttling(7.0, 1, 0.0), Throttling(8.0, 1, 1.0)) == pytest.approx(11.0)


def test_without_bytes_only_the_latency_passes() -> None:
    assert simulated_ends_s([Link("a", 1.0, 0.5)], [Job(1.0, (0,), 0)]) == [1.5]


def test_an_empty_route_ends_at_the_same_instant_but_not_within_the_call() -> None:
    env = Clock()
    done: list[float] = []
    Network(env).transfer((), 1_000_000, lambda: done.append(env.now))
    assert done == []
    env.run()
    assert done == [0.0]


def test_overhead_passes_before_the_bytes() -> None:
    env = Clock()
    done: list[float] = []
    link = Link("a", 10.0, 0.5)
    Network(env).transfer([link], 10, lambda: done.append(env.now), overhead_s=2.0)
    env.run()
    assert done == [3.5]


def test_callbacks_of_one_instant_come_in_the_order_of_transfers_contested_or_not() -> None:
    env = Clock()
    network = Network(env)
    links = [Link(f"link{index}", 10.0, 0.0) for index in range(3)]
    done: list[str] = []
    network.transfer([links[2]], 30, lambda: done.append("first"))
    network.transfer([links[0]], 15, lambda: done.append("second"))
    network.transfer([links[0]], 15, lambda: done.append("third"))
    network.transfer([links[1]], 30, lambda: done.append("fourth"))
    env.run()
    assert done == ["first", "fourth", "second", "third"]
    assert env.now == 3.0


def test_a_transfer_begun_in_a_callback_shares_with_those_still_running() -> None:
    env = Clock()
    network = Network(env)
    link = Link("a", 10.0, 0.0)
    done: dict[str, float] = {}

    def then() -> None:
        done["short"] = env.now
        network.transfer([link], 25, lambda: done.update(next=env.now))

    network.transfer([link], 50, then)
    network.transfer([link], 75, lambda: done.update(long=env.now))
    env.run()
    assert done == {"short": 10.0, "next": 15.0, "long": 15.0}


def test_a_flow_whose_latency_passes_slows_nobody() -> None:
    links = [Link("a", 10.0, 0.0), Link("b", 100.0, 2.0)]
    jobs = [Job(0.0, (0, 1), 20), Job(0.5, (0,), 10), Job(1.0, (0,), 10)]
    # Until 2 s the second and the third share the first link; then the first comes there too.
    assert simulated_ends_s(links, jobs) == pytest.approx([4.5, 2.0, 3.0])


def test_a_link_has_not_carried_what_is_still_under_latency() -> None:
    env = Clock()
    network, link = Network(env), Link("a", 10.0, 2.0)
    network.transfer([link], 20, lambda: None)
    env.run(until=1.0)
    assert network.carried_bytes(link) == 0.0
    env.run(until=3.0)
    assert network.carried_bytes(link) == 10.0


def test_a_cut_link_holds_its_flows_until_it_heals() -> None:
    link = Link("a", 10.0, 0.0)
    cut = [Throttling(1.0, 0, 0.0), Throttling(4.0, 0, 1.0)]
    assert simulated_ends_s([link], [Job(0.0, (0,), 20)], cut) == [5.0]


def test_a_flow_that_arrives_at_a_cut_link_waits() -> None:
    link = Link("a", 10.0, 0.0)
    cut = [Throttling(0.0, 0, 0.0), Throttling(4.0, 0, 0.5)]
    assert simulated_ends_s([link], [Job(1.0, (0,), 20)], cut) == [8.0]


def test_a_flow_over_a_link_that_never_heals_never_ends() -> None:
    link = Link("a", 10.0, 0.0)
    assert simulated_ends_s([link], [Job(0.0, (0,), 20)], [Throttling(1.0, 0, 0.0)]) == [math.inf]


def test_ends_of_flows_that_share_nothing_do_not_depend_on_each_other() -> None:
    links = [Link("a", 3.0, 0.0), Link("b", 7.0, 0.0)]
    alone = simulated_ends_s(links, [Job(0.1, (0,), 10)])
    assert simulated_ends_s(links, [Job(0.1, (0,), 10), Job(0.3, (1,), 10)])[:1] == alone


def test_ends_are_exact_late_on_the_clock() -> None:
    # A fifth of a millisecond after eleven days: the clock has 1e-10 s of resolution left.
    links = [Link("a", 1e9, 0.0), Link("b", 1e9, 0.0)]
    start_s = 1e6
    jobs = [Job(start_s, (0,), 200_000), Job(start_s, (0, 1), 200_000), Job(start_s, (1,), 1)]
    ends_s = simulated_ends_s(links, jobs)
    assert [end_s - start_s for end_s in ends_s] == pytest.approx([4e-4, 4e-4, 2e-9], abs=1e-9)


def test_rates_that_change_a_thousand_times_leave_no_trail() -> None:
    env = Clock()
    network = Network(env)
    link = Link("a", 10.0, 0.0)
    done: list[float] = []
    network.transfer([link], 100_000, lambda: done.append(env.now))
    for number in range(500):
        at(env, 0.5 * number, partial(network.transfer, [link], 1, lambda: None))
    env.run(until=1_000.0)
    assert len(network._ends) < 100
    env.run()
    assert done == [pytest.approx(10_050.0)]


def test_a_link_counts_what_is_done_under_way_and_charged() -> None:
    env = Clock()
    network = Network(env)
    link, idle = Link("a", 10.0, 0.0), Link("b", 10.0, 0.0)
    network.transfer([link], 20, lambda: None)
    network.transfer([link], 100, lambda: None)
    env.run(until=6.0)
    assert network.carried_bytes(link) == pytest.approx(60.0)
    assert network.utilisation(link, 6.0) == pytest.approx(1.0)
    network.charge(link, 30.0)
    assert network.carried_bytes(link) == pytest.approx(90.0)
    assert network.utilisation(idle, 6.0) == 0.0
    assert network.utilisation(idle, 0.0) == 0.0


def test_a_link_counts_what_moved_before_rates_change_at_this_instant() -> None:
    env = Clock()
    network, link = Network(env), Link("a", 10.0, 0.0)
    carried: list[float] = []

    def count(_: None) -> None:
        carried.append(network.carried_bytes(link))

    network.transfer([link], 10, lambda: env.at_last(lambda _: env.at_last(count, None), None))
    network.transfer([link], 20, lambda: None)
    env.run()
    # 5 bytes/s each for two seconds; and then the other one goes on, faster.
    assert carried == [20.0]


def test_a_link_counts_every_crossing_of_a_flow_in_lockstep() -> None:
    env = Clock()
    network = Network(env)
    often, once = Link("often", 10.0, 0.0), Link("once", 10.0, 0.0)
    route = [often, once, often]
    network.lockstep(counted(route), 50.0, lambda: None, latency_s=1.0, cap_bytes_per_s=5.0)
    env.run(until=5.0)
    assert (network.carried_bytes(often), network.carried_bytes(once)) == (40.0, 20.0)
    env.run()
    assert (network.carried_bytes(often), network.carried_bytes(once)) == (100.0, 50.0)


@pytest.mark.parametrize(
    ("capacity", "latency_s"), [(0.0, 0.0), (-1.0, 0.0), (math.inf, 0.0), (1.0, -1e-6)]
)
def test_a_link_that_cannot_be_is_refused(capacity: float, latency_s: float) -> None:
    with pytest.raises(UsageError, match="link wire"):
        Link("wire", capacity, latency_s)


def test_a_transfer_that_cannot_be_is_refused() -> None:
    network = Network(Clock())
    link = Link("wire", 1.0, 0.0)
    with pytest.raises(UsageError, match="-1 bytes"):
        network.transfer([link], -1, lambda: None)
    with pytest.raises(UsageError, match="overhead -1"):
        network.transfer([link], 1, lambda: None, overhead_s=-1.0)
    with pytest.raises(UsageError, match="cap 0"):
        network.transfer([link], 1, lambda: None, cap_bytes_per_s=0.0)
    with pytest.raises(UsageError, match="weight 0"):
        network.transfer([link], 1, lambda: None, weight=0.0)
    with pytest.raises(UsageError, match="crosses a link twice"):
        network.transfer([link, link], 1, lambda: None)
    with pytest.raises(UsageError, match="lockstep of -1 bytes"):
        network.lockstep(counted([link]), -1, lambda: None, latency_s=0.0, cap_bytes_per_s=1.0)
    with pytest.raises(UsageError, match="latency -1"):
        network.lockstep(counted([link]), 1, lambda: None, latency_s=-1.0, cap_bytes_per_s=1.0)
    with pytest.raises(UsageError, match="cap inf"):
        network.lockstep(counted([link]), 1, lambda: None, latency_s=0.0, cap_bytes_per_s=math.inf)
    with pytest.raises(UsageError, match=r"factor 1\.5"):
        network.throttle(link, 1.5)
