"""Result: what a calibration found, and how good it is.

Owns the form of the calibration's file. Must not know how values were found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dualrt.calibrate.table import Figure, Point
from dualrt.scenario import toml

DIGITS = 6
"""Significant digits in a file: far beyond what the measurements say."""


@dataclass(frozen=True, slots=True)
class Residual:
    """A measured figure beside the simulated one."""

    name: str
    figure: Figure
    measured: float
    simulated: float
    source: str

    @classmethod
    def of(cls, point: Point, simulated: float) -> Residual:
        """The figure that was simulated for a point."""
        return cls(point.name, point.figure, point.measured, simulated, point.source)

    @property
    def error(self) -> float:
        """Simulated over measured, less one: -0.1 is 10 % too fast."""
        return self.simulated / self.measured - 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A fitted parameter."""

    name: str
    key: str
    value: float
    standard_error: float | None
    """As a share of the value, from the scatter of the residuals; None if nothing is left to
    scatter, or the points do not determine the parameter."""
    determined_by: Mapping[str, float]
    """By how many per cent each point's figure changes where the parameter changes by one; points
    that do not matter are left out."""
    remark: str
    """Why the value is not to be trusted; empty if it is."""
    why: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """All that a calibration found; of a check, no estimates."""

    title: str
    estimates: Sequence[Estimate]
    residuals: Sequence[Residual]
    predictions: Sequence[Residual]

    @property
    def degrees_of_freedom(self) -> int:
        """Points less parameters: how many points the parameters could not simply be set to."""
        return len(self.residuals) - len(self.estimates)

    @property
    def rms_error(self) -> float:
        """Root of the mean square of log(simulated / measured) over the points."""
        squares = [math.log1p(residual.error) ** 2 for residual in self.residuals]
        return math.sqrt(math.fsum(squares) / len(squares))

    @property
    def worst(self) -> Residual:
        """The point that is furthest off."""
        return max(self.residuals, key=lambda residual: abs(math.log1p(residual.error)))

    def plain(self) -> dict[str, Any]:
        """As tables, for TOML and JSON; numbers are rounded to `DIGITS`. A check fitted nothing."""
        fitted = {
            "points_fitted": len(self.residuals),
            "parameters_fitted": len(self.estimates),
            "degrees_of_freedom": self.degrees_of_freedom,
        }
        return {
            "title": self.title,
            **(fitted if self.estimates else {}),
            "rms_error": _rounded(self.rms_error),
            "worst": self.worst.name,
            "parameters": {one.name: _estimate(one) for one in self.estimates},
            "points": {one.name: _residual(one) for one in self.residuals},
            "predictions": {one.name: _residual(one) for one in self.predictions},
        }

    def to_toml(self) -> str:
        """The calibration's file."""
        return toml.dumps(self.plain())


def _estimate(estimate: Estimate) -> dict[str, Any]:
    plain = {name: value for name, value in asdict(estimate).items() if value is not None}
    del plain["name"]
    if not estimate.remark:
        del plain["remark"]
    plain["determined_by"] = {name: round(by, 3) for name, by in estimate.determined_by.items()}
    return {name: _rounded(value) for name, value in plain.items()}


def _residual(residual: Residual) -> dict[str, Any]:
    plain = {**asdict(residual), "error": residual.error}
    del plain["name"]
    return {name: _rounded(value) for name, value in plain.items()}


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
