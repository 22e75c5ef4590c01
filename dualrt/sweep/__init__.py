"""Sweep: one scenario, simulated for every combination of values.

Knows neither the command line nor how rows are shown. `sweep` runs them, `over_seeds` sums them up.
"""

from __future__ import annotations

from dualrt.sweep.axes import Axis
from dualrt.sweep.rows import Row, Spread, over_seeds
from dualrt.sweep.run import sweep

__all__ = ["Axis", "Row", "Spread", "over_seeds", "sweep"]
