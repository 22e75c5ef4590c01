"""Calibrate: settings of a scenario, fitted to what somebody measured.

A table names measured points, each a scenario and a figure, and the parameters to fit. `fit` finds
the values at which the simulator comes nearest to all points; `check` sets the simulator as it is
beside them. Knows neither the command line nor how results are shown.
"""

from __future__ import annotations

from dualrt.calibrate.fit import fit
from dualrt.calibrate.residuals import check
from dualrt.calibrate.result import Calibration, Estimate, Residual
from dualrt.calibrate.table import Table, read_table

__all__ = ["Calibration", "Estimate", "Residual", "Table", "check", "fit", "read_table"]
