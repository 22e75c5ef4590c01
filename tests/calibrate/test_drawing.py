"""The picture of a calibration."""

from __future__ import annotations

from pathlib import Path

from dualrt.calibrate import Calibration, Residual
from dualrt.calibrate.drawing import draw


def residual(name: str, simulated: float) -> Residual:
    return Residual(name, "hours_total", 10.0, simulated, "nowhere")


FOUND = Calibration(
    "A calibration",
    (),
    (residual("too slow", 12.0), residual("too fast", 8.0)),
    (residual("foretold", 25.0),),
)


def test_every_point_is_named_and_predictions_are_apart(tmp_path: Path) -> None:
    draw(tmp_path / "errors.svg", FOUND)
    text = (tmp_path / "errors.svg").read_text()
    for word in ("too slow", "too fast", "foretold", "calibration set", "predicted"):
        assert f"<!-- {word} -->" in text


def test_equal_calibrations_give_equal_pictures(tmp_path: Path) -> None:
    for name in ("one.svg", "other.svg"):
        draw(tmp_path / name, FOUND)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_without_predictions_there_is_one_kind_of_mark(tmp_path: Path) -> None:
    draw(tmp_path / "errors.svg", Calibration("Fitted", (), FOUND.residuals, ()))
    assert "<!-- predicted -->" not in (tmp_path / "errors.svg").read_text()
