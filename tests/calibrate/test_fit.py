"""Fits of figures that are known to come from somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualrt import api
from dualrt.calibrate import Calibration, check, fit, read_table
from dualrt.scenario import load
from tests.support.calibrations import BANDWIDTH, LAUNCH, RUN, table

TRUE_BYTES_PER_S, TRUE_LAUNCH_S = 5e8, 3e-3
TRUE = (
    f"cluster.nic_bytes_per_s={TRUE_BYTES_PER_S}",
    f"cluster.collective_launch_s={TRUE_LAUNCH_S}",
)
SIZES = ("workload.parameters_bytes=1_000_000", "workload.parameters_bytes=4_000_000")


def figure(folder: Path, *texts: str) -> float:
    (folder / "run.toml").write_text(RUN)
    found = api.simulate(load(folder / "run.toml", texts)).summary.seconds_per_iteration
    assert found is not None
    return found


def fitted(
    folder: Path, errors: tuple[float, ...], *parameters: tuple[str, str, float, float, float]
) -> Calibration:
    """To figures of the true values, each off by a factor."""
    sizes = [f"workload.parameters_bytes={10**6 * (1 + place)}" for place in range(len(errors))]
    measured = {
        f"size{place}": (error * figure(folder, *TRUE, size), (size,))
        for place, (error, size) in enumerate(zip(errors, sizes, strict=True))
    }
    return fit(read_table(table(folder, measured, *parameters)))


def test_a_fit_finds_the_values_that_made_the_figures(tmp_path: Path) -> None:
    found = fitted(tmp_path, (1, 1, 1), BANDWIDTH, LAUNCH)
    bandwidth, launch = found.estimates
    assert bandwidth.value == pytest.approx(TRUE_BYTES_PER_S, rel=1e-3)
    assert launch.value == pytest.approx(TRUE_LAUNCH_S, rel=1e-3)
    assert found.rms_error < 1e-4
    assert bandwidth.remark == launch.remark == ""
    assert found.degrees_of_freedom == 1


def test_the_same_table_gives_the_same_calibration(tmp_path: Path) -> None:
    first, second = (fitted(tmp_path, (1.1, 0.9), BANDWIDTH) for _ in range(2))
    assert first == second


def test_noise_comes_back_as_standard_error_and_residuals(tmp_path: Path) -> None:
    launch = ("launch", "cluster.collective_launch_s", TRUE_LAUNCH_S, 1e-6, 1e-1)
    found = fitted(tmp_path, (1.05, 0.95, 1.05, 0.95), BANDWIDTH, launch)
    assert 0.03 < found.rms_error < 0.06
    for estimate in found.estimates:
        assert estimate.standard_error is not None
        assert 0.02 < estimate.standard_error < 2


def test_with_as_many_parameters_as_points_there_is_no_standard_error(tmp_path: Path) -> None:
    found = fitted(tmp_path, (1.0, 1.1), BANDWIDTH, LAUNCH)
    assert found.degrees_of_freedom == 0
    assert [one.standard_error for one in found.estimates] == [None, None]
    assert found.rms_error < 1e-3


def test_a_parameter_says_which_points_determine_it(tmp_path: Path) -> None:
    sizes = {"small": "workload.parameters_bytes=100", "large": SIZES[1]}
    measured = {name: (figure(tmp_path, TRUE[0], size), (size,)) for name, size in sizes.items()}
    (bandwidth,) = fit(read_table(table(tmp_path, measured, BANDWIDTH))).estimates
    assert set(bandwidth.determined_by) == {"large"}
    assert -1 <= bandwidth.determined_by["large"] < -0.5


def test_a_parameter_that_nothing_depends_on_is_not_determined(tmp_path: Path) -> None:
    socket = ("socket", "cluster.socket_bytes_per_s", 1e9, 1e8, 1e10)
    _, socketed = fitted(tmp_path, (1, 1, 1), BANDWIDTH, socket).estimates
    assert "no point changes" in socketed.remark
    assert socketed.standard_error is None
    assert socketed.determined_by == {}


def test_parameters_that_can_be_traded_for_each_other_say_so(tmp_path: Path) -> None:
    hop = ("hop", "cluster.collective_network_hop_s", 1e-3, 1e-6, 1e-1)
    launch = ("launch", "cluster.collective_launch_s", 1e-3, 1e-6, 1e-1)
    found = fitted(tmp_path, (1, 1, 1), hop, launch)
    assert [one.remark.rpartition(" ")[2] for one in found.estimates] == ["launch", "hop"]
    assert [one.standard_error for one in found.estimates] == [None, None]


def test_a_parameter_at_its_bound_says_so(tmp_path: Path) -> None:
    fast = ("bandwidth", "cluster.nic_bytes_per_s", 3e9, 2e9, 1e11)
    (bandwidth,) = fitted(tmp_path, (1, 1), fast).estimates
    assert bandwidth.value == pytest.approx(2e9, rel=0.02)
    assert bandwidth.remark == "at its lower bound"


def test_a_heavier_point_is_fitted_better(tmp_path: Path) -> None:
    sizes = {"light": (0.01, SIZES[:1]), "heavy": (0.01, SIZES[1:])}
    file = table(tmp_path, sizes, BANDWIDTH)
    file.write_text(
        file.read_text().replace("source", "weight = 10\nsource").replace("weight = 10\n", "", 1)
    )
    errors = {one.name: abs(one.error) for one in fit(read_table(file)).residuals}
    assert errors["heavy"] < 0.1 * errors["light"]


def test_a_prediction_has_the_fitted_value_and_does_not_pull_at_it(tmp_path: Path) -> None:
    true = {
        f"{place}": (figure(tmp_path, TRUE[0], size), (size,)) for place, size in enumerate(SIZES)
    }
    true["1"] = (100.0, SIZES[1:])
    found = fit(read_table(table(tmp_path, true, BANDWIDTH, predicted=("1",))))
    (predicted,) = found.predictions
    assert found.estimates[0].value == pytest.approx(TRUE_BYTES_PER_S, rel=1e-3)
    assert predicted.simulated == pytest.approx(figure(tmp_path, TRUE[0], SIZES[1]), rel=1e-3)


def test_a_check_takes_the_files_as_they_are(tmp_path: Path) -> None:
    file = table(tmp_path, {"one": (0.02, ())}, BANDWIDTH)
    (residual,) = check(read_table(file)).residuals
    assert residual.simulated == figure(tmp_path)
    assert residual.error == pytest.approx(figure(tmp_path) / 0.02 - 1)
