"""Rules of shares: doubly stochastic where they should be, and as fast as published."""

from __future__ import annotations

import math
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given

from dualrt.core.errors import TopologyError
from dualrt.topology import checks, graphs, plans, specs, weights

from . import rates
from .strategies import connected_graphs


@given(connected_graphs())
def test_metropolis_shares_are_those_of_the_plan_that_learners_run(graph: nx.Graph[int]) -> None:
    found = weights.metropolis(graph).toarray()
    np.testing.assert_allclose(found, plans.neighbours(graph).matrix(0), atol=1e-15)


@given(connected_graphs())
def test_max_degree_shares_are_doubly_stochastic_on_any_graph(graph: nx.Graph[int]) -> None:
    checks.require_doubly_stochastic(weights.max_degree(graph).toarray())


@given(connected_graphs())
def test_uniform_shares_are_doubly_stochastic_on_regular_graphs_only(graph: nx.Graph[int]) -> None:
    found = weights.uniform(graph).toarray()
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    fair = bool(np.allclose(found.sum(axis=0), 1.0, rtol=0, atol=1e-9))
    # Fair where a learner's neighbours all have its own degree, which a connected graph spreads.
    assert fair == nx.is_regular(graph)


def test_the_fastest_mixing_of_a_path_of_three_is_known() -> None:
    """By hand: shares p on both edges leave eigenvalues 1 - p and 1 - 3 p, equal in size at 1/2."""
    pytest.importorskip("cvxpy")
    found = weights.fastest(graphs.path(3)).toarray()
    assert found[0, 1] == pytest.approx(0.5, abs=1e-4)
    assert rates.of_matrix(found) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("spec", ["star:8", "path:8", "hierarchical:3x3/path", "torus:3x4"])
def test_the_fastest_mixing_is_no_slower_than_any_other_rule(spec: str) -> None:
    pytest.importorskip("cvxpy")
    graph = specs.build(spec)
    found = weights.fastest(graph).toarray()
    checks.require_doubly_stochastic(found)
    assert not (found > 1e-9)[weights.adjacency(graph).toarray() + np.eye(len(found)) == 0].any()
    for rule in (weights.metropolis, weights.max_degree):
        other = rates.of_matrix(rule(graph).toarray())
        assert rates.of_matrix(found) <= other + 1e-4


@pytest.mark.parametrize("leaves", [2, 4, 7])
def test_of_either_sign_the_fastest_shares_of_a_star_are_known(leaves: int) -> None:
    """The Laplacian's eigenvalues 1 and n leave 1 - s and 1 - n s, equal in size at 2 / (n + 1)."""
    pytest.importorskip("cvxpy")
    found = weights.fdla(graphs.star(leaves + 1)).toarray()
    share = 2 / (leaves + 2)
    np.testing.assert_allclose(found[0, 1:], share, atol=1e-4)
    assert found[0, 0] == pytest.approx(1 - leaves * share, abs=1e-3)
    assert np.linalg.norm(found - 1 / len(found), 2) == pytest.approx(1 - share, abs=1e-4)


@pytest.mark.parametrize("spec", ["ring:8", "torus:3x4", "star:5", "hierarchical:3x3/path"])
def test_nothing_symmetric_is_faster_than_shares_of_either_sign(spec: str) -> None:
    pytest.importorskip("cvxpy")
    graph = specs.build(spec)
    found, held = weights.fdla(graph).toarray(), weights.fastest(graph).toarray()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(found, found.T)
    assert not found[weights.adjacency(graph).toarray() + np.eye(len(found)) == 0].any()
    norm = np.linalg.norm(found - 1 / len(found), 2)
    assert norm <= np.linalg.norm(held - 1 / len(held), 2) + 1e-6
    # The norm is convex in the shares: what no small step improves, nothing does.
    steps = np.random.default_rng(7)
    for _ in range(200):
        weighed = graph.copy()
        for edge in weighed.edges:
            weighed.edges[edge]["weight"] = steps.normal(scale=1e-2)
        other = found - nx.laplacian_matrix(weighed, nodelist=range(len(found))).toarray()
        assert np.linalg.norm(other - 1 / len(found), 2) >= norm - 1e-6
    if held.min() >= 0 and found.min() >= 0:
        assert norm == pytest.approx(np.linalg.norm(held - 1 / len(held), 2), abs=1e-5)


def test_a_share_below_0_is_refused_where_it_would_be_carried_out() -> None:
    pytest.importorskip("cvxpy")
    with pytest.raises(TopologyError, match=r"the matrix of fdla holds -0\.333.* at \(0, 0\)"):
        plans.plan("fdla", graphs.star(5))
    plan = plans.plan("fdla", graphs.ring(8))
    checks.check_mixing(plan)


def test_without_edges_the_fastest_keep_what_they_have() -> None:
    pytest.importorskip("cvxpy")
    np.testing.assert_array_equal(weights.fastest(nx.empty_graph(2)).toarray(), np.eye(2))


def test_too_large_a_graph_is_not_optimised() -> None:
    with pytest.raises(TopologyError, match="Use metropolis"):
        weights.fastest(graphs.ring(weights.LARGEST_OPTIMISED + 1))


@pytest.mark.parametrize("suffix", [".csv", ".npy"])
def test_a_matrix_of_ones_own_is_read(tmp_path: Path, suffix: str) -> None:
    mine = np.array([[0.75, 0.25, 0], [0.25, 0.5, 0.25], [0, 0.25, 0.75]])
    file = tmp_path / f"mine{suffix}"
    if suffix == ".npy":
        np.save(file, mine)
    else:
        np.savetxt(file, mine, delimiter=",")
    found = weights.weigh(f"matrix:mine{suffix}", graphs.path(3), tmp_path)
    np.testing.assert_array_equal(found.toarray(), mine)
    plan = plans.from_matrix(graphs.path(3), found)
    np.testing.assert_allclose(plan.matrix(0), mine)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1,2\n", "has shape (1, 2), but the graph has 3 learners"),
        ("0.5,0,0.5\n0,1,0\n0.5,0,0.5\n", "learner 0 gives 0.5 to 2, to which the graph has no"),
        ("a,b\n", "not a matrix that can be read"),
        ("", "not a matrix that can be read"),
        ("1,0,0\n0,1,0\n0,nan,1\n", "learner 2 gives nan to 1"),
    ],
)
def test_a_matrix_that_does_not_fit_says_why(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(TopologyError) as caught:
        weights.weigh("matrix:mine.csv", graphs.path(3), tmp_path)
    assert told in str(caught.value)


def test_a_file_that_only_looks_like_a_matrix_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.npy").touch()
    np.savez(tmp_path / "many.npz", mine=np.eye(3))
    (tmp_path / "many.npz").rename(tmp_path / "many.npy")
    for name in ("empty", "many", "absent"):
        with pytest.raises(TopologyError, match=f"{name}.npy: not a matrix that can be read"):
            weights.weigh(f"matrix:{name}.npy", graphs.path(3), tmp_path)


def test_an_unknown_rule_is_answered_with_the_names() -> None:
    with pytest.raises(TopologyError, match="Did you mean 'metropolis'"):
        weights.weigh("metropolitan", graphs.ring(4))


def test_shares_of_max_degree_on_a_star_are_one_in_n() -> None:
    found = weights.max_degree(graphs.star(5)).toarray()
    assert found[0, :2] == pytest.approx(1 / 5)
    assert found[1, 1] == pytest.approx(4 / 5)
    assert math.isclose(rates.of_matrix(found), 4 / 5)
