"""From figures to a cluster that can be simulated."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.advice.setting import setting
from dualrt.api import simulate
from dualrt.profile.description import described, rising
from dualrt.profile.measure import Pcie, Software, interference, timing
from dualrt.scenario import load, load_cluster
from dualrt.sim.device import described as device
from tests.profile.reports import REPORT


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "here.toml"
    found.write_text(described(REPORT))
    return found


def test_a_description_is_a_cluster_that_can_be_loaded(file: Path) -> None:
    cluster = load_cluster(file)
    assert cluster.host_memory_bytes_per_s == 6e9
    assert cluster.host_thread_bytes_per_s == 4e9
    assert (cluster.socket_bytes_per_s, cluster.message_overhead_s) == (5e8, 5e-4)
    assert cluster.pcie_bytes_per_s == 7e8
    assert cluster.gpus_per_server is None
    assert 'A "fast" processor, 2 cores, torch 2.9; load 0.1' in cluster.source


def test_the_device_takes_what_was_measured(file: Path) -> None:
    spec = device(load_cluster(file).device.model_dump(exclude_none=True))
    assert spec.profiles == {"gradient": ((8, 0.010), (16, 0.030))}
    assert spec.step_cv == pytest.approx(0.2)
    assert spec.interference == 0.25
    assert spec.device_sigma == pytest.approx(0.02)
    assert spec.flops_per_s == pytest.approx(3e9 / (0.030 - 0.0002), rel=1e-3)
    assert spec.memory_bytes_per_s == pytest.approx(3 * 4e6 / 0.002)


def test_a_simulation_on_it_takes_the_measured_time(file: Path) -> None:
    options = [
        f"cluster.file={file}",
        "cluster.device.step_cv=0.0",
        "cluster.device.device_sigma=0.0",
        "cluster.device.interference=0.0",
        "learners=2",
        "simulation.numerics=false",
        "simulation.epochs=0.5",
    ]
    summary = simulate(load("digits-adpsgd", options)).summary
    # The scenario's own profile says 2 ms; the exchange hides behind the gradient.
    assert summary.seconds_per_iteration == pytest.approx(0.0302, rel=0.05)


def test_learners_on_processors_share_them_with_messages_and_the_runtime(tmp_path: Path) -> None:
    file = tmp_path / "here.toml"
    gradients = tuple(replace(one, mean_s=9.0, work_s=0.010) for one in REPORT.gradients)
    software = Software(step_s=0.002, message_s=0.001)
    busy = replace(REPORT, gradients=gradients, software=software, message_s=0.005)
    file.write_text(described(busy))
    cluster = load_cluster(file)
    assert cluster.processors_per_server == 2
    assert cluster.message_work_s == 0.001
    assert cluster.message_overhead_s == pytest.approx(0.003)
    assert cluster.device.interference is None
    # Eight learners that never talk, on two processors: four times what one of them takes.
    options = [
        f"cluster.file={file}",
        "cluster.device.step_cv=0.0",
        "cluster.device.device_sigma=0.0",
        "algorithm={name='local-sgd', period=1000000}",
        "learners=8",
        "simulation.numerics=false",
        "simulation.epochs=1",
    ]
    summary = simulate(load("digits-adpsgd", options)).summary
    step_s = summary.elapsed_s / (summary.updates / 8)
    assert step_s == pytest.approx(4 * 0.012, rel=0.05)


def test_a_topology_can_be_judged_on_it(file: Path) -> None:
    assert setting(2, str(file), batch=16).gradient_s == 0.030


def test_recorded_steps_are_written_when_they_are_asked_for() -> None:
    without = tomllib.loads(described(REPORT))
    recorded = tomllib.loads(described(REPORT, record=True))
    assert "step_factors" not in without["device"]
    assert recorded["device"]["step_factors"] == {"gradient": [0.5, 1.5, 1.0]}


def test_with_a_gpu_the_slower_direction_of_pcie_counts() -> None:
    report = replace(REPORT, pcie=Pcie(1.2e10, 1.1e10, 9e-6))
    cluster = tomllib.loads(described(report))
    assert (cluster["pcie_bytes_per_s"], cluster["pcie_latency_s"]) == (1.1e10, 9e-6)


def test_an_update_as_quick_as_none_has_a_bandwidth_all_the_same() -> None:
    quick = replace(REPORT, update_s=REPORT.launch_s * 0.9)
    assert tomllib.loads(described(quick))["device"]["memory_bytes_per_s"] > 0


times = st.lists(st.floats(1e-6, 10), min_size=1, max_size=6)


@given(times)
def test_times_that_rise_are_kept_and_others_pooled(times_s: list[float]) -> None:
    risen = rising(times_s)
    assert risen == pytest.approx(sorted(risen))
    assert sum(risen) == pytest.approx(sum(times_s))
    assert rising(sorted(times_s)) == pytest.approx(sorted(times_s))


def test_noise_is_pooled_with_its_neighbours() -> None:
    assert rising([1.0, 4.0, 2.0, 5.0]) == [1.0, 3.0, 3.0, 5.0]


@given(st.floats(0.01, 10), st.floats(0.01, 10), st.floats(0, 8))
def test_interference_is_found_again_from_what_it_does(
    alone_s: float, exchange_s: float, factor: float
) -> None:
    # As dualrt.sim.interference has it: what overlaps takes 1 + factor times as long.
    overlapping_s = min(alone_s, exchange_s / (1 + factor))
    disturbed_s = alone_s + factor * overlapping_s
    assert interference(alone_s, disturbed_s, exchange_s) == pytest.approx(factor, abs=1e-6)


def test_a_gradient_that_was_quicker_beside_an_exchange_was_not_disturbed() -> None:
    assert interference(1.0, 0.9, 1.0) == 0.0


def test_a_round_that_was_disturbed_does_not_count() -> None:
    quiet = [[1.0, 3.0], [2.0, 2.0]]
    assert timing([*quiet, [100.0, 300.0]]) == (2.0, 0.5)
