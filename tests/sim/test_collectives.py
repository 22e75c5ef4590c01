"""Collectives: flows end when the formulas say on quiet links, and share links that are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualrt.sim.clock import Clock
from dualrt.sim.cluster import Cluster, ClusterSpec
from dualrt.sim.collective_costs import Algorithm
from dualrt.sim.collectives import Collectives, CollectiveSpec, Form
from dualrt.sim.granularity import Granularity
from dualrt.sim.network import Network
from tests.support.clusters import CAPPED, SPEC

MODEL_BYTES = 164_620_000
RING = CollectiveSpec(algorithm="ring")
ALGORITHMS: st.SearchStrategy[Algorithm] = st.sampled_from(get_args(Algorithm))
GRANULARITIES: st.SearchStrategy[Granularity] = st.sampled_from(get_args(Granularity))


class Stage:
    """A cluster with collectives, and when each thing that was begun on it ended."""

    def __init__(
        self,
        cluster: ClusterSpec = SPEC,
        spec: CollectiveSpec = RING,
        tensors_bytes: tuple[int, ...] = (),
    ) -> None:
        self.env = Clock()
        self.network = Network(self.env)
        self.cluster = Cluster(cluster, self.network)
        self.collectives = Collectives(self.cluster, self.network, spec, tensors_bytes)
        self.ends_s: dict[str, float] = {}

    def ending(self, name: str) -> Callable[[], None]:
        return lambda: self.ends_s.update({name: self.env.now})

    def allreduce(self, *ranks: int, size_bytes: int = MODEL_BYTES) -> None:
        self.collectives.allreduce(ranks, size_bytes, self.ending("allreduce"))

    def broadcast(self, *ranks: int, size_bytes: int = MODEL_BYTES) -> None:
        self.collectives.broadcast(ranks, ranks[0], size_bytes, self.ending("broadcast"))

    def gossip(self, sender: int, receiver: int, size_bytes: int = MODEL_BYTES) -> None:
        route = self.cluster.route(sender, receiver)
        self.network.transfer(route, size_bytes, self.ending("gossip"))

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        self.env.timeout(time_s).callbacks.append(lambda _: action())

    def run(self) -> dict[str, float]:
        self.env.run()
        return self.ends_s

    def carried_bytes(self) -> dict[str, float]:
        return {n: self.network.carried_bytes(link) for n, link in self.cluster.links.items()}


def both_forms(
    cluster: ClusterSpec, spec: CollectiveSpec, begin: Callable[[Stage], None]
) -> tuple[Stage, Stage]:
    """The same collective on its own, as a flow and in closed form."""
    stages = tuple(
        Stage(cluster, replace(spec, form=form), (400_000, 1_000, 250_000))
        for form in get_args(Form)
    )
    for stage in stages:
        begin(stage)
        stage.run()
    return stages[0], stages[1]


@settings(deadline=None)
@given(CAPPED, ALGORITHMS, GRANULARITIES, st.sampled_from([0, 1, 651_000, 10**9]))
def test_a_quiet_allreduce_flows_as_long_as_the_formula_says(
    cluster: ClusterSpec, algorithm: Algorithm, granularity: Granularity, size_bytes: int
) -> None:
    spec = CollectiveSpec(algorithm=algorithm, granularity=granularity)
    flow, closed = both_forms(
        cluster, spec, lambda stage: stage.allreduce(*range(cluster.gpus), size_bytes=size_bytes)
    )
    # What differs is rounding: alone, a flow runs at the formula's pace.
    assert flow.ends_s["allreduce"] == pytest.approx(closed.ends_s["allreduce"], rel=1e-9)
    assert flow.carried_bytes() == pytest.approx(closed.carried_bytes(), rel=1e-9)


@settings(deadline=None)
@given(CAPPED, GRANULARITIES, st.sampled_from([0, 1, 651_000, 10**9]))
def test_a_quiet_broadcast_flows_as_long_as_the_formula_says(
    cluster: ClusterSpec, granularity: Granularity, size_bytes: int
) -> None:
    flow, closed = both_forms(
        cluster,
        CollectiveSpec(granularity=granularity),
        lambda stage: stage.broadcast(*range(cluster.gpus), size_bytes=size_bytes),
    )
    assert flow.ends_s["broadcast"] == pytest.approx(closed.ends_s["broadcast"], rel=1e-9)
    assert flow.carried_bytes() == pytest.approx(closed.carried_bytes(), rel=1e-9)


@settings(deadline=None)
@given(CAPPED, ALGORITHMS, st.integers(1, 10**9))
def test_no_link_carries_more_than_it_can(
    cluster: ClusterSpec, algorithm: Algorithm, size_bytes: int
) -> None:
    stage = Stage(cluster, CollectiveSpec(algorithm=algorithm, form="closed"))
    stage.allreduce(*range(cluster.gpus), size_bytes=size_bytes)
    end_s = stage.run()["allreduce"]
    for name, carried in stage.carried_bytes().items():
        assert carried <= stage.cluster.links[name].capacity_bytes_per_s * end_s * (1 + 1e-9)


def test_gossip_through_a_card_slows_a_collective_and_is_slowed_by_it() -> None:
    quiet, gossip, both = Stage(), Stage(), Stage()
    quiet.allreduce(*range(64))
    gossip.gossip(15, 17)
    both.allreduce(*range(64))
    both.gossip(15, 17)
    alone = quiet.run() | gossip.run()
    together = both.run()
    # Each has half of a card until the gossip is over: that costs the collective as many bytes.
    delay_s = MODEL_BYTES / 12e9
    assert together["allreduce"] == pytest.approx(alone["allreduce"] + delay_s, rel=0.02)
    assert together["gossip"] == pytest.approx(2 * alone["gossip"], rel=0.05)


def test_gossip_that_comes_later_slows_a_collective_too() -> None:
    stage, quiet = Stage(), Stage()
    for each in (stage, quiet):
        each.allreduce(*range(64))
    stage.at(0.01, lambda: stage.gossip(15, 17, size_bytes=12_000_000))
    assert stage.run()["allreduce"] == pytest.approx(quiet.run()["allreduce"] + 0.001, rel=1e-6)


def test_two_groups_share_the_cards_that_both_cross() -> None:
    stage, quiet = Stage(), Stage()
    quiet.allreduce(0, 8)
    stage.allreduce(0, 8)
    stage.broadcast(1, 9, size_bytes=2 * MODEL_BYTES)
    alone_s, together_s = quiet.run()["allreduce"], stage.run()["allreduce"]
    # Card 0's way out and card 1's way in are shared.
    assert together_s == pytest.approx(2 * alone_s, rel=0.01)


def test_a_closed_form_feels_no_gossip() -> None:
    spec = CollectiveSpec(algorithm="ring", form="closed")
    stage, quiet = Stage(spec=spec), Stage(spec=spec)
    for each in (stage, quiet):
        each.allreduce(*range(64))
    stage.gossip(15, 17)
    assert stage.run()["allreduce"] == quiet.run()["allreduce"]


@pytest.mark.parametrize("form", get_args(Form))
def test_a_degraded_link_slows_a_collective(form: Form) -> None:
    stage = Stage(spec=CollectiveSpec(algorithm="ring", form=form))
    stage.network.throttle(stage.cluster.links["server1.nic.in"], 0.5)
    stage.allreduce(*range(16))
    moving_s = 2 * 15 / 16 * MODEL_BYTES / 6e9
    assert stage.run()["allreduce"] == pytest.approx(moving_s, rel=0.01)


def test_a_link_that_degrades_under_way_slows_a_collective_from_then_on() -> None:
    stage, whole = Stage(), Stage()
    for each in (stage, whole):
        each.allreduce(*range(16))
    link = stage.cluster.links["server1.nic.in"]
    stage.at(0.01, lambda: stage.network.throttle(link, 0.5))
    expected_s = 0.01 + 2 * (whole.run()["allreduce"] - 0.01)
    assert stage.run()["allreduce"] == pytest.approx(expected_s)


@pytest.mark.parametrize("form", get_args(Form))
def test_a_collective_over_a_cut_link_waits_until_it_heals(form: Form) -> None:
    stage = Stage(spec=CollectiveSpec(algorithm="ring", form=form))
    link = stage.cluster.links["server1.nic.in"]
    stage.network.throttle(link, 0.0)
    stage.allreduce(*range(16))
    stage.at(5.0, lambda: stage.network.throttle(link, 1.0))
    moving_s = 2 * 15 / 16 * MODEL_BYTES / 12e9
    assert stage.run()["allreduce"] == pytest.approx(5.0 + moving_s, rel=1e-6)


def test_a_model_cut_into_tensors_pays_the_latency_each_time() -> None:
    tensors = (600, 0, MODEL_BYTES - 600)
    cut = Stage(spec=CollectiveSpec(algorithm="ring", granularity="tensor"), tensors_bytes=tensors)
    whole, nothing = Stage(), Stage()
    cut.allreduce(*range(64))
    whole.allreduce(*range(64))
    nothing.allreduce(*range(64), size_bytes=0)
    latency_s = nothing.run()["allreduce"]
    assert cut.run()["allreduce"] == pytest.approx(whole.run()["allreduce"] + 2 * latency_s)
    assert cut.carried_bytes() == pytest.approx(whole.carried_bytes())


def test_what_is_not_the_model_is_not_cut_like_it() -> None:
    spec = CollectiveSpec(granularity="tensor")
    model, other = Stage(spec=spec, tensors_bytes=(600, 400)), Stage(spec=spec)
    model.broadcast(0, 8, size_bytes=1_000)
    other.broadcast(0, 8, size_bytes=1_000)
    assert model.run()["broadcast"] > 1.9 * other.run()["broadcast"]


@pytest.mark.parametrize("form", get_args(Form))
def test_a_group_of_one_ends_at_the_same_instant_but_not_within_the_call(form: Form) -> None:
    stage = Stage(spec=CollectiveSpec(form=form))
    stage.allreduce(5)
    assert stage.ends_s == {}
    assert stage.run() == {"allreduce": 0.0}
