"""Fit: the values at which the simulator comes nearest to the measured points.

Owns the search, and what the points say about each parameter. Must not know what is simulated.

Minimised is the sum over points of (weight * log(simulated / measured))^2, over the logarithms of
the parameters and within their bounds (scipy's trust-region reflective method). Logarithms make
twice as fast and twice as slow the same mistake, for a figure of hours as of milliseconds, and a
parameter's step a share of its value. Derivatives are central differences over `STEP`: a run is
made of whole iterations, and a shorter step would find the grain of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from dualrt.calibrate.residuals import Simulations
from dualrt.calibrate.result import Calibration, Estimate
from dualrt.calibrate.table import Table

Vector = npt.NDArray[np.float64]
"""[parameters] or [points]."""

Matrix = npt.NDArray[np.float64]
"""[points, parameters]."""

STEP = 0.02
"""Of a parameter's logarithm, to either side."""

TOLERANCE = 1e-4
"""The search ends when neither the sum nor any parameter changes by more, as a share."""

MATTERS = 0.05
"""Least change of a point's figure, as a share of the parameter's, by which it says something."""

TOGETHER = 0.2
"""Least part of a parameter in a combination that the points do not determine."""

OnSearch = Callable[[int, float], None]
"""Told the number of simulations so far, and the root of the sum of squares."""


def fit(table: Table, on_search: OnSearch | None = None) -> Calibration:
    """Fit a table's parameters to its points, and predict its predictions.

    The same table gives the same values. Raises UsageError for a scenario that cannot be simulated,
    RunError for a run that fails.
    """
    simulations = Simulations(table)
    low, high = (
        np.log([getattr(parameter, bound) for parameter in table.parameters])
        for bound in ("low", "high")
    )

    def residuals(at: Vector) -> Vector:
        found = np.array(simulations.logarithms(_values(at)))
        if on_search is not None:
            on_search(simulations.run, float(np.linalg.norm(found)))
        return found

    def slopes(at: Vector) -> Matrix:
        columns = []
        for place in range(len(at)):
            below, above = at.copy(), at.copy()
            below[place] = max(at[place] - STEP, low[place])
            above[place] = min(at[place] + STEP, high[place])
            columns.append((residuals(above) - residuals(below)) / (above[place] - below[place]))
        return np.stack(columns, axis=1)

    found = least_squares(
        residuals,
        np.log([parameter.initial for parameter in table.parameters]),
        jac=slopes,
        bounds=(low, high),
        xtol=TOLERANCE,
        ftol=TOLERANCE,
        gtol=TOLERANCE,
    )
    values = _values(found.x)
    return Calibration(
        table.title,
        _estimates(table, found.x, residuals(found.x), slopes(found.x)),
        simulations.residuals(table.points, values),
        simulations.residuals(table.predictions, values),
    )


def _values(at: Vector) -> list[float]:
    return [float(value) for value in np.exp(at)]


def _estimates(table: Table, at: Vector, residuals: Vector, slopes: Matrix) -> list[Estimate]:
    """What is known of each parameter, from the residuals and their derivatives where it ended."""
    remarks = _remarks(table, at, slopes)
    errors = _standard_errors(residuals, slopes)
    weights = [point.weight for point in table.points]
    return [
        Estimate(
            name=parameter.name,
            key=parameter.key,
            value=value,
            standard_error=None if remarks[place] else errors[place],
            determined_by={
                point.name: float(slope / weight)
                for point, slope, weight in zip(
                    table.points, slopes[:, place], weights, strict=True
                )
                if abs(slope / weight) >= MATTERS
            },
            remark=remarks[place],
            why=parameter.why,
        )
        for place, (parameter, value) in enumerate(zip(table.parameters, _values(at), strict=True))
    ]


def _standard_errors(residuals: Vector, slopes: Matrix) -> list[float | None]:
    """The usual linear ones; none where there are as many parameters as points."""
    points, parameters = slopes.shape
    if points <= parameters:
        return [None] * parameters
    variance = float(residuals @ residuals) / (points - parameters)
    covariance = variance * np.linalg.pinv(slopes.T @ slopes)
    return [math.sqrt(entry) for entry in np.diag(covariance)]


def _remarks(table: Table, at: Vector, slopes: Matrix) -> list[str]:
    """Why each parameter's value is not to be trusted, if so."""
    remarks = []
    combination = _undetermined(slopes)
    for place, parameter in enumerate(table.parameters):
        if np.abs(slopes[:, place]).max() < MATTERS:
            remarks.append("not determined: no point changes with it here")
        elif abs(combination[place]) > TOGETHER:
            others = [
                other.name
                for which, other in enumerate(table.parameters)
                if which != place and abs(combination[which]) > TOGETHER
            ]
            remarks.append(f"not determined: it can be traded for {', '.join(others)}")
        elif at[place] - math.log(parameter.low) < STEP:
            remarks.append("at its lower bound")
        elif math.log(parameter.high) - at[place] < STEP:
            remarks.append("at its upper bound")
        else:
            remarks.append("")
    return remarks


def _undetermined(slopes: Matrix) -> Sequence[float]:
    """The combination of parameters that changes the points least, if that is hardly at all."""
    points, parameters = slopes.shape
    known = np.abs(slopes).max(axis=0) >= MATTERS
    combination = np.zeros(parameters)
    if known.sum() > 1:
        _, singular, rows = np.linalg.svd(slopes[:, known])
        if known.sum() > points or singular[-1] < MATTERS * singular[0]:
            combination[known] = rows[-1]
    return [float(part) for part in combination]
