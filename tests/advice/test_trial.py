"""What the simulator measures is what the spectrum says."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest

from dualrt.advice import compare
from dualrt.advice.compare import course
from dualrt.advice.setting import setting
from dualrt.advice.trial import contraction, pace
from dualrt.topology import files, schedules, specs

TEN = (
    "ring:8", "ring:16", "path:6", "star:8", "torus:4x4", "hypercube:16", "exponential:16",
    "bipartite-exponential:16", "random-regular:16x4", "hierarchical:4x4/ring",
)  # fmt: skip


@pytest.mark.parametrize("spec", [*TEN, "alternating-ring:8", "complete:6"])
def test_the_measured_contraction_is_the_eigenvalues(spec: str) -> None:
    topology = specs.read(spec)
    found = course(topology, setting(topology.schedule.learners, model_bytes=1000))
    assert found.measured == pytest.approx(found.second_eigenvalue, rel=0.05, abs=1e-9)


def test_a_random_ring_contracts_by_its_mean_square_root() -> None:
    found = course(specs.read("random-ring:16", seed=5), setting(16, model_bytes=1000))
    assert found.measured == pytest.approx(found.second_eigenvalue, rel=0.05)


def test_random_matching_contracts_no_slower_than_its_mean_square_root() -> None:
    """One draw of it goes by the mean logarithm, which lies below the root mean square."""
    found = course(specs.read("random-matching:16", seed=5), setting(16, model_bytes=1000))
    assert found.measured is not None
    assert 0.8 * found.second_eigenvalue < found.measured < found.second_eigenvalue


def test_one_peer_exponential_is_exact_after_three_rounds_of_sgp() -> None:
    found = course(specs.read("one-peer-exponential:8"), setting(8))
    assert found.measured == found.second_eigenvalue == 0
    assert found.errors[3] < 1e-12 < found.errors[2]


def test_what_takes_too_many_messages_is_followed_by_its_matrices() -> None:
    where = setting(200, model_bytes=1000)
    found = course(specs.read("complete:200"), where)
    assert found.measured is None
    assert found.errors[1] < 1e-12
    assert found.round_s >= where.gradient_s


def test_the_long_run_is_measured_where_matrices_lead_if_it_is_too_far_to_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compare, "MOST_ROUNDS", 10)
    for spec in ("ring:48", "alternating-ring:24"):
        topology = specs.read(spec)
        slow = course(topology, setting(topology.schedule.learners, model_bytes=1000))
        assert slow.consensus_rounds is not None
        assert len(slow.errors) < slow.consensus_rounds / 10
        assert slow.settled
        assert slow.measured is not None
        # The first ten rounds leave less of a disagreement, by far.
        assert (slow.errors[10] / slow.errors[5]) ** (1 / 5) < 0.98 * slow.second_eigenvalue
        assert 1 - slow.measured == pytest.approx(1 - slow.second_eigenvalue, rel=1e-3)


def test_what_was_measured_of_a_few_rounds_of_pushing_is_not_taken_for_the_long_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write(nx.cycle_graph(8, create_using=nx.DiGraph), tmp_path / "oneway.json")
    topology = specs.read(str(tmp_path / "oneway.json"))
    assert course(topology, setting(8, model_bytes=1000)).settled
    monkeypatch.setattr(compare, "MOST_ROUNDS", 10)
    assert not course(topology, setting(8, model_bytes=1000)).settled


def test_a_comparison_is_told_how_far_it_is() -> None:
    told: list[float] = []
    course(specs.read("ring:4"), setting(4, model_bytes=1000), told.append)
    assert told == sorted(told)
    assert told[-1] == 1


def test_push_sum_agrees_at_the_rate_of_its_second_eigenvalue(tmp_path: Path) -> None:
    lopsided: nx.DiGraph[int] = nx.DiGraph(
        [*nx.cycle_graph(6, create_using=nx.DiGraph).edges, (0, 3), (4, 1)]
    )
    files.write(lopsided, tmp_path / "oneway.json")
    topology = specs.read(str(tmp_path / "oneway.json"))
    found = course(topology, setting(6))
    assert schedules.flaw(topology.schedule) is not None
    assert found.measured is not None
    # Complex eigenvalues turn a disagreement as they shrink it: many rounds make a steady rate.
    later, span = len(found.errors) - 1, len(found.errors) // 2
    factor = (found.errors[later] / found.errors[later - span]) ** (1 / span)
    assert factor == pytest.approx(found.second_eigenvalue, rel=0.05)


def test_rounds_take_the_time_of_their_messages() -> None:
    plan = specs.read("ring:4").plan
    assert plan is not None
    small, large = (
        contraction(plan(), setting(4, "desktops-4x1g", size), 4) for size in (1000, 10**9)
    )
    assert small.errors == large.errors
    # Two models leave each card in a round.
    assert large.times_s[-1] == pytest.approx(4 * 2 * 10**9 / 0.125e9, rel=0.1)
    assert small.times_s[-1] < 1


def test_a_step_waits_for_its_own_exchange_and_staleness_is_counted() -> None:
    plan = specs.read("ring:4").plan
    assert plan is not None
    found = pace(plan(), setting(4, "desktops-4x1g", 10**9), 8)
    assert found.step_s == pytest.approx(2 * 10**9 / 0.125e9, rel=0.15)
    assert found.staleness_mean >= 1


@pytest.mark.parametrize("spec", ["ring:4", "path:3", "one-peer-exponential:4", "ring:1"])
def test_a_step_takes_no_less_than_its_gradient(spec: str) -> None:
    """On machines that do not vary, with messages that take no time, it takes that."""
    topology = specs.read(spec)
    where = setting(topology.schedule.learners, "desktops-4x1g", model_bytes=1)
    assert pace(topology.run(), where, 16).step_s == pytest.approx(where.gradient_s, rel=0.01)
