"""Stochastic gradient push: what it computes, what it conserves, and where it is refused."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import cast

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dualrt import api, parting
from dualrt.algorithms.sgp import SGP
from dualrt.core.errors import TopologyError, UsageError
from dualrt.core.learner import Layout
from dualrt.parting import Final, delivered
from dualrt.scenario import load
from dualrt.topology import pushes, schedules
from dualrt.topology.pushing import along
from dualrt.workloads.quadratic import Quadratic
from tests.support.exact import ExactWeights, ExactWorkload, imbalance, learners_of, seats
from tests.support.simulated import machine, simulate


def lopsided() -> nx.DiGraph[int]:
    """A cycle with shortcuts, all of them towards learner 0: columns sum to 1, rows do not."""
    graph = nx.DiGraph((i, (i + 1) % 6) for i in range(6))
    graph.add_edges_from([(2, 0), (3, 0), (4, 1)])
    return graph


LOPSIDED = "tests.algorithms.test_sgp:lopsided"


def values(learners: list[SGP]) -> list[Fraction]:
    return [cast(ExactWeights, learner.weights).value for learner in learners]


def run(
    learners: int, graph: str, rounds: int, *, gradients: bool = True, **where: object
) -> list[SGP]:
    workload = ExactWorkload(
        learners=learners, samples_per_epoch=learners * rounds, gradients=gradients
    )
    made = learners_of(SGP, workload, learners, graph=graph)
    simulate(made, machine(learners, **where))  # type: ignore[arg-type]  # passed on by name
    return made


@pytest.mark.parametrize("rounds", [1, 2, 7])
def test_models_and_masses_are_those_of_the_matrices(rounds: int) -> None:
    learners = run(6, LOPSIDED, rounds, gradients=False)
    matrix = schedules.of_pushes(along(lopsided())).at(0).toarray()
    np.testing.assert_allclose(matrix.sum(axis=0), 1.0)
    assert not np.allclose(matrix.sum(axis=1), 1.0)
    power = np.linalg.matrix_power(matrix, rounds)
    mass = power @ np.ones(6)
    model = power @ np.array([rank * rank + 1 for rank in range(6)]) / mass
    np.testing.assert_allclose([learner.mass for learner in learners], mass)
    np.testing.assert_allclose(np.array(values(learners), dtype=float), model)


@settings(max_examples=20)
@given(
    st.sampled_from([(6, LOPSIDED), (5, "star"), (7, "path"), (8, "one-peer-exponential")]),
    st.integers(1, 6),
    st.sampled_from([0.0, 1.0, 3.0]),
    st.integers(0, 2**16),
)
def test_the_sum_of_mass_times_model_is_conserved_but_for_gradients(
    where: tuple[int, str], rounds: int, step_cv: float, seed: int
) -> None:
    count, graph = where
    learners = run(count, graph, rounds, step_cv=step_cv, seed=seed)
    workload = learners[0].seat.workload
    pulled = sum(
        workload.gradient(None, rank, draw).vector.value
        for rank in range(count)
        for draw in range(rounds)
    )
    started = sum(rank * rank + 1 for rank in range(count))
    held = sum(
        learner.mass * float(at) for learner, at in zip(learners, values(learners), strict=True)
    )
    assert held == pytest.approx(started - 0.5 * float(pulled), abs=1e-9)
    assert sum(learner.mass for learner in learners) == pytest.approx(count, abs=1e-12)


@pytest.mark.parametrize("learners", [2, 8, 16])
def test_one_peer_exponential_reaches_the_exact_average_in_log2_n_rounds(learners: int) -> None:
    made = run(learners, "one-peer-exponential", learners.bit_length() - 1, gradients=False)
    mean = Fraction(sum(rank * rank + 1 for rank in range(learners)), learners)
    assert values(made) == [mean] * learners
    assert [learner.mass for learner in made] == [1.0] * learners


def test_on_a_doubly_stochastic_schedule_the_plain_sum_is_conserved_exactly() -> None:
    made = run(8, "one-peer-exponential", 5, step_cv=1.0)
    assert imbalance(made) == 0


@pytest.mark.parametrize("wire", ["full", "bfloat16"])
@pytest.mark.parametrize("graph", ["star", "path", LOPSIDED])
def test_mass_times_model_is_conserved_whatever_is_sent_of_it(graph: str, wire: str) -> None:
    workload = Quadratic(
        seed=3, learners=6, batch=1, dimension=30, samples_per_epoch=120, audit=True
    )
    made = learners_of(SGP, workload, 6, graph=graph, rate=0.02)
    generator = torch.Generator().manual_seed(5)
    for learner in made:
        learner.weights.wire = wire
        start = torch.randn(30, generator=generator, dtype=torch.float64)
        learner.weights.begin_from(learner.weights.snapshot()._replace(vector=start))
    simulate(made, machine(6))
    finals = [Final.of(learner) for learner in made]
    assert max(final.mass for final in finals) > 1.1
    error = parting.imbalance(workload, finals, SGP.layout(6))
    assert error is not None
    assert error < 1e-12


def test_no_blend_is_paid_for_where_the_mass_stays() -> None:
    def blends(graph: str) -> int:
        workload = Quadratic(seed=3, learners=6, batch=1, dimension=3, samples_per_epoch=60)
        made = learners_of(SGP, workload, 6, graph=graph, rate=0.02)
        for learner in made:
            learner.weights.wire = "bfloat16"
        log = simulate(made, machine(6))
        return sum(span.kind == "blend" for span in log.spans)

    assert blends("ring") == 6 * 10 * 2
    assert blends("path") > 10 * 10


def test_the_delivered_model_is_the_mean_that_pushing_conserves() -> None:
    workload = Quadratic(seed=3, learners=3, batch=1, dimension=4, samples_per_epoch=60)
    rows = [torch.full((4,), float(rank), dtype=torch.float64) for rank in range(3)]
    finals = [Final(row, mass=mass) for row, mass in zip(rows, (0.5, 0.25, 2.25), strict=True)]
    model, distance = delivered(workload, finals)
    torch.testing.assert_close(model, torch.full((4,), (0.25 + 4.5) / 3, dtype=torch.float64))
    assert distance == workload.consensus(rows)[1]
    alike, _ = delivered(workload, [Final(row) for row in rows])
    assert torch.equal(alike, workload.consensus(rows)[0])


@pytest.mark.parametrize("wire", ["full", "bfloat16"])
def test_the_audit_of_a_run_counts_by_mass(wire: str) -> None:
    settings = ["algorithm.name=sgp", "topology.graph=star", "training.audit=true"]
    run = api.simulate(load("swarm-small", [*settings, f"training.wire={wire}"]))
    assert run.summary.conservation_error is not None
    assert run.summary.conservation_error < 1e-12


def test_it_is_refused_without_a_graph() -> None:
    workload = ExactWorkload(learners=2, samples_per_epoch=40)
    seat, _ = seats(workload, Layout(replicas=(0, 1)), learners=2)
    with pytest.raises(UsageError, match=r"give it a \[topology\]"):
        SGP(seat)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (lambda: nx.DiGraph([(0, 1), (1, 2)]), "no way from learner 0 to 1 and back"),
        (lambda: nx.DiGraph([(0, 1), (1, 0), (1, 1)]), "joins 1 to itself"),
        (lambda: nx.DiGraph([(1, 2), (2, 1)]), "no simple graph on learners 0 to 1"),
        (lambda: nx.MultiDiGraph([(0, 1), (1, 0)]), "no simple graph"),
    ],
)
def test_a_graph_on_which_nobody_could_agree_is_refused(
    graph: Callable[[], nx.Graph[int]], message: str
) -> None:
    with pytest.raises(TopologyError, match=message):
        along(graph())


def test_an_undirected_graph_is_pushed_along_both_ways() -> None:
    plan = pushes("star:4")
    assert plan.initiates(0, 3) == ((1, 0.25), (2, 0.25), (3, 0.25))
    assert plan.row(0, 3) == ((1, 0.5), (2, 0.5), (3, 0.5))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("random-ring:8", "nothing is exchanged by pushing"),
        ("one-peer-exponential:1", "nobody to push to"),
        ("ring:7", "has 7 learners, but 8 are asked for"),
    ],
)
def test_what_cannot_be_pushed_along_is_refused(spec: str, message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        pushes(spec, 8)
