"""The page about fidelity says what the calibration says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from dualrt.calibrate import fit, read_table
from dualrt.observe import units

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "fidelity.md").read_text()
KEPT: dict[str, Any] = tomllib.loads((ROOT / "calibrations" / "papers-fitted.toml").read_text())
POINTS: dict[str, Any] = {**KEPT["points"], **KEPT["predictions"]}


@pytest.mark.parametrize("name", POINTS)
def test_every_point_stands_on_the_page_with_its_error(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \|((?:[^|]*\|){{3}}[^|]*)\|$", PAGE, re.MULTILINE)
    _, published, simulated, error = (cell.strip() for cell in row.split("|"))
    point = POINTS[name]
    assert float(published.split()[0]) == point["measured"]
    assert simulated == units.significant(point["simulated"])
    assert error == f"{100 * point['error']:+.0f} %"


@pytest.mark.parametrize("name", KEPT["parameters"])
def test_every_parameter_stands_on_the_page_with_what_determines_it(name: str) -> None:
    (row,) = re.findall(rf"^\| {name}: (.*)\|$", PAGE, re.MULTILINE)
    _, value, error, by = (cell.strip() for cell in row.split("|"))
    parameter = KEPT["parameters"][name]
    assert value == f"{units.significant(parameter['value'] / 1e9)} GB/s"
    assert error == f"{100 * parameter['standard_error']:.0f} %"
    for point, elasticity in parameter["determined_by"].items():
        assert f"`{point}` {elasticity:.2f}" in by


def test_the_example_table_can_be_fitted(tmp_path: Path) -> None:
    example, _ = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "table.toml").write_text(example)
    found = fit(read_table(tmp_path / "table.toml"))
    assert [one.remark for one in found.estimates] == [""]
    assert abs(found.residuals[0].error) < 0.01


def test_the_page_gives_the_degrees_of_freedom_and_the_error_of_all() -> None:
    assert (KEPT["points_fitted"], KEPT["parameters_fitted"]) == (7, 2)
    assert KEPT["degrees_of_freedom"] == 5
    assert "leave **five degrees of freedom**" in PAGE
    assert f"is {100 * KEPT['rms_error']:.1f} %." in PAGE
