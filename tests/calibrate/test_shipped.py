"""The shipped calibration: made from its table, of 16 GPUs, and carried by the clusters' files."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from dualrt.calibrate import Calibration, Table, check, fit, read_table
from dualrt.scenario import load_cluster, shipped

FITTED = "calibrations/papers-fitted.toml"
CLUSTERS = {
    "x86-host": ("a-4x4-p100", "b-4x8-v100", "p100-16x4", "x-8x8-v100"),
    "p9-host": ("p9-v100",),
}


@pytest.fixture(scope="module")
def table() -> Table:
    return read_table("papers")


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    return tomllib.loads((shipped.folder("calibrations") / "papers-fitted.toml").read_text())


@pytest.fixture(scope="module")
def checked(table: Table) -> Calibration:
    return check(table)


def test_only_runs_of_sixteen_gpus_without_stragglers_are_fitted_to(table: Table) -> None:
    for point in table.points:
        scenario = table.scenario(point)
        assert scenario.learners == 16, point.name
        assert not scenario.faults.stragglers
        assert scenario.cluster.nic_latency_s == 0.5e-6


def test_there_are_more_points_than_parameters(table: Table) -> None:
    assert len(table.points) - len(table.parameters) == 5


def test_every_cluster_has_the_fitted_value_and_says_so(table: Table, kept: dict[str, Any]) -> None:
    points = {point.name for point in table.points}
    for parameter in table.parameters:
        value = kept["parameters"][parameter.name]["value"]
        key = parameter.key.removeprefix("cluster.")
        for name in CLUSTERS[parameter.name]:
            cluster = load_cluster(shipped.folder("topologies") / f"{name}.toml")
            assert cluster.fitted is not None
            mark = cluster.fitted[key]
            assert cluster.fitted_values() == {key: pytest.approx(value, rel=0.005)}, name
            assert mark.calibration == FITTED
            assert set(mark.points) == points & set(parameter.points)
            assert mark.rms_error == pytest.approx(kept["rms_error"], rel=0.01)


def test_the_kept_residuals_are_those_of_the_shipped_clusters(
    checked: Calibration, kept: dict[str, Any]
) -> None:
    known = {**kept["points"], **kept["predictions"]}
    for residual in (*checked.residuals, *checked.predictions):
        was = known[residual.name]
        assert was["measured"] == residual.measured
        assert residual.simulated == pytest.approx(was["simulated"], rel=0.01), residual.name
    assert checked.rms_error < 0.1


def test_sixty_four_gpus_are_predicted_from_sixteen_within_five_per_cent(
    checked: Calibration,
) -> None:
    (headline,) = (one for one in checked.predictions if one.name == "x-h-adpsgd-64")
    assert headline.measured == 5.2
    assert abs(headline.error) < 0.05


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_table_gives_the_kept_calibration(table: Table, kept: dict[str, Any]) -> None:
    for estimate in fit(table).estimates:
        assert estimate.value == pytest.approx(kept["parameters"][estimate.name]["value"], rel=0.01)
        assert not estimate.remark
