"""Residuals: the simulator beside the measurements, for given values of the parameters.

Owns the short simulations, each of which is run once. Must not know which values are tried, or why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dualrt import api
from dualrt.calibrate.result import Calibration, Residual
from dualrt.calibrate.table import Point, Table
from dualrt.core.errors import UsageError


class Simulations:
    """Figures of a table's points, by the values of its parameters."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._known: dict[tuple[str, tuple[str, ...]], float] = {}

    @property
    def run(self) -> int:
        """How many simulations there were so far."""
        return len(self._known)

    def figure(self, point: Point, values: Sequence[float]) -> float:
        """The simulated figure of a point.

        `values` are those of all parameters, in the order of the table; none leaves the scenario as
        it is. Raises UsageError for a scenario that cannot be simulated, RunError for a run that
        fails.
        """
        table = self._table
        options = tuple(
            f"{table.parameters[place].key}={values[place]!r}"
            for place in (table.parameters_of(point) if values else ())
        )
        known = self._known.get((point.name, options))
        if known is None:
            known = self._known[point.name, options] = self._simulated(point, options)
        return known

    def _simulated(self, point: Point, options: tuple[str, ...]) -> float:
        scenario = self._table.scenario(point, options)
        found: float | None = getattr(api.simulate(scenario).summary, point.figure)
        if found is None:
            raise UsageError(
                f"{self._table.file}: point {point.name!r} is over before its first update. "
                "Simulate more: --set simulation.epochs, in the point's `set`"
            )
        return found

    def residuals(self, points: Sequence[Point], values: Sequence[float]) -> list[Residual]:
        """Each point's measured and simulated figure."""
        return [Residual.of(point, self.figure(point, values)) for point in points]

    def logarithms(self, values: Sequence[float]) -> list[float]:
        """weight * log(simulated / measured) of the points that are fitted to."""
        return [
            point.weight * math.log(self.figure(point, values) / point.measured)
            for point in self._table.points
        ]


def check(table: Table, on_progress: api.OnProgress | None = None) -> Calibration:
    """The simulator as its files are, beside all points and predictions; nothing is fitted.

    Raises UsageError for a scenario that cannot be simulated, RunError for a run that fails.
    """
    simulations = Simulations(table)
    points = (*table.points, *table.predictions)
    found = []
    for done, point in enumerate(points, 1):
        found += simulations.residuals([point], ())
        if on_progress is not None:
            on_progress(done / len(points))
    split = len(table.points)
    return Calibration(table.title, (), found[:split], found[split:])
