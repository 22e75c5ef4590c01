"""How fast a matrix or a plan mixes, in one word for tests."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from dualrt.topology import Mixing, schedules, spectrum


def of_matrix(matrix: npt.NDArray[np.float64]) -> float:
    """What a round of the matrix leaves of a disagreement, in the long run."""
    return spectrum.second_eigenvalue(schedules.constant(csr_matrix(matrix)))


def of_plan(plan: Mixing) -> float:
    """The same of a round of a plan."""
    return spectrum.second_eigenvalue(schedules.of_plan(plan))
