from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.errors import TopologyError
from dualrt.topology import checks, drawn, graphs, mixing, plans, weights
from dualrt.topology.mixing import Mixing
from dualrt.topology.plans import (
    PLANS,
    neighbours,
    pairwise,
    plan,
    random_pairs,
    random_ring,
)

from . import rates
from .strategies import connected_graphs

SEEDS = st.integers(0, 2**64 - 1)
ROUNDS = st.integers(0, 2**40)


def owned_edges(plan: Mixing, round: int) -> list[tuple[int, int]]:
    return sorted(
        (min(learner, peer), max(learner, peer))
        for learner in range(plan.learners)
        for peer, _ in plan.initiates(learner, round)
    )


def edges(plan: Mixing, round: int) -> list[tuple[int, int]]:
    matrix = plan.matrix(round)
    return [
        (i, j) for i in range(plan.learners) for j in range(i + 1, plan.learners) if matrix[i, j]
    ]


@given(connected_graphs())
def test_plans_on_any_connected_graph_pass_the_checks(graph: nx.Graph[int]) -> None:
    for made in (pairwise(graph), neighbours(graph)):
        checks.check_mixing(made)


@given(st.integers(1, 20), SEEDS, ROUNDS)
def test_each_round_of_a_random_plan_is_doubly_stochastic_and_owned_once(
    learners: int, seed: int, round: int
) -> None:
    for made in (random_ring(learners, seed), random_pairs(learners, seed)):
        checks.require_doubly_stochastic(made.matrix(round))
        assert owned_edges(made, round) == edges(made, round)


@given(connected_graphs())
def test_each_exchange_has_one_owner(graph: nx.Graph[int]) -> None:
    for made in (pairwise(graph), neighbours(graph)):
        assert made.period is not None
        for round in range(made.period):
            assert owned_edges(made, round) == edges(made, round)


@given(connected_graphs())
def test_a_period_meets_exactly_the_neighbours_in_the_graph(graph: nx.Graph[int]) -> None:
    for made in (pairwise(graph), neighbours(graph)):
        assert made.period is not None
        met = [edge for round in range(made.period) for edge in edges(made, round)]
        assert sorted(met) == sorted((min(e), max(e)) for e in graph.edges)
        for learner in graph:
            assert made.peers(learner) == tuple(sorted(graph[learner]))


@given(connected_graphs())
def test_starting_all_neighbour_exchanges_is_shared_evenly(graph: nx.Graph[int]) -> None:
    made = neighbours(graph)
    for learner, degree in graph.degree:
        assert abs(len(made.initiates(learner, 0)) - degree / 2) <= 0.5


@given(connected_graphs(), st.integers(0, 30))
def test_pairwise_exchanges_of_deltas_carry_out_the_matrix(
    graph: nx.Graph[int], round: int
) -> None:
    made = pairwise(graph)
    before = np.arange(made.learners, dtype=float) ** 2
    after = before.copy()
    for learner in range(made.learners):
        for peer, share in made.initiates(learner, round):
            delta = share * (after[peer] - after[learner])
            after[learner] += delta
            after[peer] -= delta
    np.testing.assert_allclose(after, before @ made.matrix(round), atol=1e-12)


@pytest.mark.parametrize("learners", [3, 4, 7, 16])
def test_on_a_ring_each_learner_starts_one_exchange_to_its_right(learners: int) -> None:
    made = neighbours(graphs.ring(learners))
    for learner in range(learners):
        assert made.initiates(learner, 5) == (((learner + 1) % learners, 1 / 3),)


def test_a_ring_of_fixed_mixing_has_thirds_on_its_three_diagonals() -> None:
    expected = (np.eye(5) + np.roll(np.eye(5), 1, axis=0) + np.roll(np.eye(5), -1, axis=0)) / 3
    np.testing.assert_allclose(neighbours(graphs.ring(5)).matrix(3), expected)


def test_pairwise_on_an_even_ring_alternates_and_even_learners_initiate() -> None:
    made = pairwise(graphs.ring(6))
    assert made.period == 2
    assert [made.initiates(learner, 0) for learner in range(6)] == [
        ((1, 0.5),), (), ((3, 0.5),), (), ((5, 0.5),), ()
    ]  # fmt: skip
    assert [made.initiates(learner, 1) for learner in range(6)] == [
        ((5, 0.5),), (), ((1, 0.5),), (), ((3, 0.5),), ()
    ]  # fmt: skip


def test_pairwise_off_bipartite_graphs_is_started_by_the_lower_number() -> None:
    made = pairwise(graphs.ring(5))
    assert made.period == 3
    for round in range(3):
        for learner in range(5):
            assert all(peer > learner for peer, _ in made.initiates(learner, round))


def test_pairwise_on_a_hypercube_averages_exactly_in_a_period() -> None:
    made = pairwise(graphs.hypercube(16))
    product = np.linalg.multi_dot([made.matrix(round) for round in range(4)])
    np.testing.assert_array_equal(product, np.full((16, 16), 1 / 16))


@pytest.mark.parametrize("name", plans.PLANS)
def test_a_lone_learner_has_nobody_to_mix_with(name: str) -> None:
    made = plan(name, graphs.complete(1), seed=1)
    assert made.row(0, 3) == made.initiates(0, 3) == ()
    assert made.peers(0) == ()
    np.testing.assert_array_equal(made.matrix(3), [[1.0]])


@pytest.mark.parametrize("name", plans.PLANS)
def test_two_learners_have_half_each_and_one_of_them_initiates(name: str) -> None:
    made = plan(name, graphs.ring(2), seed=1)
    np.testing.assert_array_equal(made.matrix(3), [[0.5, 0.5], [0.5, 0.5]])
    assert owned_edges(made, 3) == [(0, 1)]


@pytest.mark.parametrize("draw", [random_ring, random_pairs])
class TestRandomPlans:
    def test_agree_between_learners_that_share_a_seed(
        self, draw: Callable[[int, int], Mixing]
    ) -> None:
        first = [draw(12, 5).matrix(round).tolist() for round in range(20)]
        drawn._shuffled.cache_clear()
        again = [draw(12, 5).matrix(round).tolist() for round in reversed(range(20))]
        assert first == again[::-1]

    def test_differ_between_seeds_and_between_rounds(
        self, draw: Callable[[int, int], Mixing]
    ) -> None:
        drawn = {draw(12, seed).matrix(round).tobytes() for seed in (5, 6) for round in range(20)}
        assert len(drawn) >= 39  # one coincidence among 10,395 matchings is likely enough

    def test_may_meet_anybody(self, draw: Callable[[int, int], Mixing]) -> None:
        made = draw(7, 3)
        met = {peer for round in range(100) for peer, _ in made.row(2, round)}
        assert made.period is None
        assert made.peers(2) == (0, 1, 3, 4, 5, 6) == tuple(sorted(met))

    def test_start_exchanges_evenly(self, draw: Callable[[int, int], Mixing]) -> None:
        made = draw(8, 3)
        started = Counter(
            learner
            for round in range(400)
            for learner in range(8)
            if made.initiates(learner, round)
        )
        answered = Counter(
            peer
            for round in range(400)
            for learner in range(8)
            for peer, _ in made.initiates(learner, round)
        )
        for learner in range(8):
            assert abs(started[learner] - answered[learner]) <= 80  # four standard deviations

    @pytest.mark.parametrize("seed", [-1, 2**64])
    def test_take_a_seed_of_64_bits(self, draw: Callable[[int, int], Mixing], seed: int) -> None:
        with pytest.raises(TopologyError, match=f"seed = {seed} is not a 64-bit number"):
            draw(8, seed)

    def test_need_learners(self, draw: Callable[[int, int], Mixing]) -> None:
        with pytest.raises(TopologyError, match="Give at least 1"):
            draw(0, 1)


def test_a_random_ring_is_one_ring_through_everybody() -> None:
    made = random_ring(9, seed=4)
    for round in range(20):
        joined = nx.Graph(edges(made, round))
        assert nx.is_connected(joined)
        assert all(degree == 2 for _, degree in joined.degree)


def test_the_random_ring_is_the_same_on_every_platform_and_release() -> None:
    made = random_ring(8, seed=7)
    at, walked = 0, [0]
    while (at := made.initiates(at, 2)[0][0]) != 0:
        walked.append(at)
    assert walked == [0, 1, 5, 3, 2, 6, 7, 4]


@pytest.mark.parametrize(("learners", "idle"), [(8, 0), (9, 1)])
def test_random_pairs_leave_at_most_one_learner_idle(learners: int, idle: int) -> None:
    made = random_pairs(learners, seed=4)
    for round in range(20):
        rows = [made.row(learner, round) for learner in range(learners)]
        assert rows.count(()) == idle
        assert all(share == 0.5 for row in rows for _, share in row)


def test_random_pairs_are_uniform() -> None:
    made = random_pairs(4, seed=11)
    mates = Counter(made.row(0, round)[0][0] for round in range(3000))
    assert all(abs(mates[peer] - 1000) < 104 for peer in (1, 2, 3))  # four standard deviations


def test_random_mixing_contracts_within_its_bound() -> None:
    """E ||Pi T - T_u|| <= sqrt(L-1) / sqrt(3)^k, arXiv 2110.11199, in the Frobenius norm.

    The mean square is known exactly: over random orders, E[T T'] = r I on what T_u leaves, with
    r = (tr T^2 - 1) / (L - 1) = (L - 3) / (3 (L - 1)).
    """
    learners, draws = 16, 200
    norms = np.zeros((draws, 6))
    for seed in range(draws):
        made, product = random_ring(learners, seed), np.eye(learners)
        for k in range(6):
            product = product @ made.matrix(k)
            norms[seed, k] = np.linalg.norm(product - 1 / learners)
    rounds = np.arange(1, 7)
    assert (norms.mean(axis=0) <= math.sqrt(learners - 1) / math.sqrt(3) ** rounds).all()
    exact = (learners - 1) * ((learners - 3) / (3 * (learners - 1))) ** rounds
    np.testing.assert_allclose((norms**2).mean(axis=0), exact, rtol=0.1)


def test_random_mixing_beats_fixed_mixing() -> None:
    ring = graphs.ring(32)
    fixed, random = neighbours(ring), random_ring(32, seed=1)
    assert 1 - rates.of_plan(random) > 10 * (1 - rates.of_plan(fixed))


def test_an_unknown_plan_is_answered_with_the_names() -> None:
    with pytest.raises(TopologyError) as caught:
        plan("neighbors", graphs.ring(4))
    assert "no mixing is called 'neighbors'. Did you mean 'neighbours'?" in str(caught.value)
    assert all(name in str(caught.value) for name in (*PLANS, *weights.RULES, "matrix:FILE"))


@pytest.mark.parametrize("rule", ["max-degree", "uniform", "metropolis"])
def test_a_rule_of_shares_is_a_plan_of_its_matrix(rule: str) -> None:
    graph = graphs.torus(3, 4)
    made = plan(rule, graph)
    assert made.period == 1
    np.testing.assert_allclose(made.matrix(0), weights.weigh(rule, graph).toarray(), atol=1e-15)


def test_a_matrix_of_ones_own_is_a_plan(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("0.75,0.25\n0.25,0.75\n")
    made = plan("matrix:mine.csv", graphs.path(2), base=tmp_path)
    assert (made.row(0, 5), made.row(1, 5)) == (((1, 0.25),), ((0, 0.25),))


def test_the_shares_know_the_names_that_they_leave_to_the_plans() -> None:
    assert tuple(PLANS) == weights.PLANNED


@pytest.mark.parametrize(
    ("name", "graph"), [("random-ring", graphs.star(5)), ("random-pairs", graphs.ring(5))]
)
def test_a_random_plan_is_refused_on_a_graph_that_it_would_leave(
    name: str, graph: nx.Graph[int]
) -> None:
    with pytest.raises(TopologyError, match=f"{name} joins any two learners, but the graph has"):
        plan(name, graph)


def test_a_random_ring_is_taken_on_a_ring_and_on_a_complete_graph() -> None:
    on_ring = plan("random-ring", graphs.ring(8), seed=3)
    on_complete = plan("random-ring", graphs.complete(8), seed=3)
    assert on_ring.row(0, 9) == on_complete.row(0, 9) == random_ring(8, 3).row(0, 9)


@pytest.mark.parametrize("make", [pairwise, neighbours])
def test_a_plan_needs_a_connected_graph(make: Callable[[nx.Graph[int]], Mixing]) -> None:
    with pytest.raises(TopologyError, match="is not connected"):
        make(nx.empty_graph(3))


def test_a_periodic_plan_needs_a_round() -> None:
    with pytest.raises(TopologyError, match="has 0 rounds"):
        mixing.Periodic(3, [])


def test_a_ring_that_is_drawn_needs_three_learners() -> None:
    with pytest.raises(TopologyError, match="random ring of 2 learners"):
        drawn.RandomRing(2, seed=0)


PRINT_PLANS = """
import sys
from dualrt.topology import build, plan
for name, spec in [
    ("pairwise", "exponential:11"), ("pairwise", "torus:3x5"), ("neighbours", "exponential:11"),
    ("random-ring", "ring:11"), ("random-pairs", "complete:11"),
]:
    made = plan(name, build(spec), seed=3)
    print([[made.initiates(i, k) for i in range(made.learners)] for k in range(7)])
    print([made.row(i, 3) for i in range(made.learners)], made.peers(5))
print("torch" in sys.modules)
"""


def test_plans_do_not_depend_on_hash_seeds_and_do_without_torch() -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", PRINT_PLANS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert told[0].endswith("False\n")
