"""Published figures of how fast graphs mix, and that large graphs give the same as small ones."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given

from dualrt.topology import graphs, mixing, plans, pushing, schedules, specs, spectrum

from . import rates
from .strategies import connected_graphs


def second(spec: str, mix: str | None = None) -> float:
    return spectrum.second_eigenvalue(specs.read(spec, mix).schedule)


@pytest.mark.parametrize("learners", [3, 4, 7, 16, 64, 600, 1024, 10_000])
def test_a_ring_has_the_second_eigenvalue_of_its_closed_form(learners: int) -> None:
    """1/3 + 2/3 cos(2 pi / L), arXiv 2002.01119."""
    closed = 1 / 3 + 2 / 3 * math.cos(2 * math.pi / learners)
    assert second(f"ring:{learners}") == pytest.approx(closed, abs=1e-10)


@pytest.mark.parametrize("learners", [4, 8, 64, 1024])
def test_a_hypercube_has_the_second_eigenvalue_of_its_closed_form(learners: int) -> None:
    """(d - 1) / (d + 1): one of d bits differs."""
    dimensions = learners.bit_length() - 1
    closed = (dimensions - 1) / (dimensions + 1)
    assert second(f"hypercube:{learners}") == pytest.approx(closed, abs=1e-10)


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (4, 4), (5, 8), (32, 32), (25, 40)])
def test_a_torus_has_the_second_eigenvalue_of_its_closed_form(rows: int, columns: int) -> None:
    """(1 + 2 cos a + 2 cos b) / 5 over the angles of both rings, by modulus."""
    found = [
        abs(1 + 2 * math.cos(2 * math.pi * i / rows) + 2 * math.cos(2 * math.pi * j / columns)) / 5
        for i in range(rows)
        for j in range(columns)
        if i or j
    ]
    assert second(f"torus:{rows}x{columns}") == pytest.approx(max(found), abs=1e-9)


@pytest.mark.parametrize("spec", ["exponential", "bipartite-exponential"])
@pytest.mark.parametrize("learners", [8, 16, 100, 1024])
def test_a_circulant_has_the_second_eigenvalue_of_its_closed_form(spec: str, learners: int) -> None:
    """(1 + sum over hops h of cos(2 pi h k / n)) / (1 + d), the largest modulus over k."""
    graph = specs.build(spec, learners)
    hops = sorted(graph[0])
    angles = 2 * math.pi * np.outer(np.arange(1, learners), hops) / learners
    closed = np.abs((1 + np.cos(angles).sum(axis=1)) / (1 + len(hops))).max()
    assert second(f"{spec}:{learners}") == pytest.approx(closed, abs=1e-9)


@pytest.mark.parametrize("learners", [4, 8, 16, 600])
def test_alternating_ring_pairs_leave_the_cosine_of_two_steps(learners: int) -> None:
    """The product of both rounds leaves cos(2 pi / L)^2."""
    closed = math.cos(2 * math.pi / learners)
    assert second(f"alternating-ring:{learners}") == pytest.approx(closed, abs=1e-7)


@pytest.mark.parametrize("learners", [2, 4, 16, 1024])
def test_one_peer_exponential_is_exact_in_log2_n_rounds(learners: int) -> None:
    """arXiv 2110.13363, lemma 1."""
    schedule = schedules.of_pushes(pushing.one_peer_exponential(learners))
    assert schedule.period == math.log2(learners)
    state = np.arange(learners, dtype=float)
    for matrix in schedule.rounds():
        state = np.asarray(matrix @ state)
    np.testing.assert_allclose(state, (learners - 1) / 2)
    assert spectrum.second_eigenvalue(schedule) == 0.0
    assert spectrum.consensus_rounds(schedule, 0.0) == math.log2(learners)


@pytest.mark.parametrize("learners", [3, 6, 12, 100])
def test_one_peer_exponential_is_not_exact_for_other_numbers(learners: int) -> None:
    assert (
        spectrum.second_eigenvalue(schedules.of_pushes(pushing.one_peer_exponential(learners)))
        > 0.1
    )


@pytest.mark.parametrize("learners", [4, 16, 65, 1024])
def test_a_random_ring_stays_within_its_bound(learners: int) -> None:
    """E ||Pi T - T_u|| <= sqrt(L-1) / sqrt(3)^k, arXiv 2110.11199: a factor of 1 / sqrt(3)."""
    found = second(f"random-ring:{learners}")
    assert found == pytest.approx(math.sqrt((learners - 3) / (3 * (learners - 1))))
    assert found <= 1 / math.sqrt(3)


def test_a_random_ring_of_three_has_one_order_only() -> None:
    assert second("random-ring:3") == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("learners", [4, 16, 1024])
def test_random_matching_leaves_half_of_the_square(learners: int) -> None:
    """A projection of rank n / 2 leaves (n/2 - 1) / (n - 1) of a square, on average."""
    closed = math.sqrt((learners / 2 - 1) / (learners - 1))
    assert second(f"random-matching:{learners}") == pytest.approx(closed)


def test_a_random_regular_graph_is_near_the_least_there_can_be() -> None:
    """Friedman 2003: the adjacency's second eigenvalue comes close to 2 sqrt(d - 1)."""
    ramanujan = (1 + 2 * math.sqrt(3)) / 5
    assert second("random-regular:1024x4") == pytest.approx(ramanujan, rel=0.03)


@given(connected_graphs())
def test_lanczos_finds_what_all_eigenvalues_say(graph: nx.Graph[int]) -> None:
    # ARPACK wants more than its 40 vectors: each learner gets a chain of its own.
    learners = graph.number_of_nodes()
    for chain in range(1, -(-50 // learners)):
        at = chain * learners
        graph.add_edges_from((at - learners + i, at + i) for i in range(learners))
    matrix = schedules.of_plan(plans.neighbours(graph)).at(0)
    assert spectrum._lanczos(matrix) == pytest.approx(spectrum._dense([matrix]), abs=1e-8)


@pytest.mark.parametrize("learners", [1, 2, 5, 16])
def test_a_complete_graph_averages_in_one_round(learners: int) -> None:
    assert rates.of_plan(plans.neighbours(graphs.complete(learners))) == 0.0


def test_learners_that_never_mix_keep_all_of_a_disagreement() -> None:
    assert rates.of_matrix(np.eye(4)) == pytest.approx(1)


def test_an_eigenvalue_of_minus_one_counts_by_its_modulus() -> None:
    assert rates.of_matrix(np.array([[0.0, 1.0], [1.0, 0.0]])) == pytest.approx(1)


@given(connected_graphs())
def test_a_connected_plan_mixes(graph: nx.Graph[int]) -> None:
    for made in (plans.pairwise(graph), plans.neighbours(graph)):
        assert 0 <= rates.of_plan(made) < 1 - 1e-6


def test_what_many_rounds_leave_is_not_lost_in_rounding() -> None:
    lazy = [mixing.Exchange(a, b, 0.2) for a, b in graphs.complete(4).edges]
    assert rates.of_plan(mixing.Periodic(4, [lazy] * 8)) == pytest.approx(0.2)


def test_an_eigenvalue_near_minus_one_counts_in_large_graphs_too() -> None:
    """Whoever keeps nothing for itself on a bipartite graph swaps for ever."""
    from dualrt.topology.weights import adjacency

    swap = adjacency(graphs.ring(1000)) / 2
    assert spectrum.second_eigenvalue(schedules.constant(swap.tocsr())) == pytest.approx(1)


@pytest.mark.parametrize("spec", ["ring:16", "star:9", "path:5", "complete:7"])
def test_a_plan_of_pairs_leaves_what_the_product_of_its_matrices_leaves(spec: str) -> None:
    made = specs.read(spec, "pairwise")
    assert made.plan is not None
    plan = made.plan()
    assert plan.period is not None
    learners = plan.learners
    product = np.eye(learners)
    for round in range(plan.period):
        product = plan.matrix(round) @ product
    left = np.abs(np.linalg.eigvals(product - 1 / learners)).max()
    assert rates.of_plan(plan) == pytest.approx(left ** (1 / plan.period), abs=1e-6)


@pytest.mark.parametrize("learners", [16, 33, 64, 600])
def test_pairs_of_a_complete_graph_mix_about_as_fast_as_pairs_drawn_at_random(
    learners: int,
) -> None:
    """In the order of a tournament they mix as an alternating ring: 0.995 for 64."""
    assert second(f"complete:{learners}", "pairwise") < 0.72


def test_a_long_period_that_leaves_next_to_nothing_is_not_exact() -> None:
    """A hundred rounds that leave two thirds each leave 1e-18 together."""
    made = specs.read("random-regular:128x100", "pairwise")
    state = np.cos(np.arange(128.0))
    logs = []
    for _ in range(10):
        for matrix in made.schedule.rounds():
            state = matrix @ (state - state.mean())
            logs.append(math.log(float(np.linalg.norm(state))))
            state /= np.linalg.norm(state)
    found = spectrum.second_eigenvalue(made.schedule)
    assert found == pytest.approx(math.exp(float(np.mean(logs))), rel=0.01)
    rounds = spectrum.consensus_rounds(made.schedule, found)
    assert rounds is not None
    assert rounds < 30


def test_an_average_that_is_exact_before_its_period_ends_takes_the_rounds_until_then() -> None:
    cube = [
        [mixing.Exchange(i, i | bit, 0.5) for i in range(8) if not i & bit] for bit in (1, 2, 4)
    ]
    plan = mixing.Periodic(8, [*cube, *cube[:2]])
    schedule = schedules.of_plan(plan)
    assert rates.of_plan(plan) == 0.0
    assert spectrum.consensus_rounds(schedule, 0.0) == 3


@pytest.mark.parametrize("learners", [64, 700])
def test_iteration_finds_what_a_period_of_pairs_leaves(learners: int) -> None:
    rounds = specs.read(f"random-regular:{learners}x24", "pairwise").schedule.rounds()
    assert spectrum._arnoldi(rounds, 0.7) == pytest.approx(spectrum._dense(rounds), rel=1e-6)


def test_where_iteration_finds_nothing_all_eigenvalues_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = specs.read("star:100", "pairwise").schedule.rounds()
    monkeypatch.setattr(spectrum, "ROUNDS", 0)
    assert spectrum._arnoldi(rounds, 1.0) == pytest.approx(spectrum._dense(rounds))


def test_shares_below_0_may_put_an_eigenvalue_lower_than_what_is_kept_allows() -> None:
    """Shares of 0.53 and -0.06 one and two places on a ring: 0.06 + 1.06 cos a - 0.12 cos 2 a."""
    places = np.arange(1000)
    matrix = 0.06 * np.eye(1000)
    for hop, share in ((1, 0.53), (2, -0.06)):
        matrix[places, (places + hop) % 1000] = matrix[(places + hop) % 1000, places] = share
    assert rates.of_matrix(matrix) == pytest.approx(1.12)


@pytest.mark.parametrize(
    ("factor", "rounds"), [(0.1, 3), (0.5, 10), (0.999, 6905), (1.0, None), (0.0, 1)]
)
def test_rounds_to_a_thousandth_follow_from_the_factor(factor: float, rounds: int | None) -> None:
    schedule = specs.read("ring:4").schedule
    assert spectrum.consensus_rounds(schedule, factor) == rounds
