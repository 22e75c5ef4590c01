"""Room: whether what a learner keeps fits the memory of its device.

Owns the least that it keeps, which is counted, and the warning. Must not know what activations
take, nor how long anything does.
"""

from __future__ import annotations

from typing import Any

from dualrt.core.weights import Weights
from dualrt.core.workload import Workload
from dualrt.observe import units
from dualrt.observe.summary import RoomFigures
from dualrt.scenario import Scenario


def room(scenario: Scenario, workload: Workload[Any], weights: Weights[Any]) -> RoomFigures | None:
    """The least that a learner of such weights keeps; None where its device's memory is not known.

    A workload may know of more, `frozen_bytes`: of parameters that are not trained, nor in weights.
    """
    device_bytes = scenario.cluster.device.memory_bytes
    if device_bytes is None:
        return None
    # Weights, gradient, and what the optimizer sums up.
    vectors = 3 if scenario.training.optimizer.momentum else 2
    frozen_bytes: int = getattr(workload, "frozen_bytes", 0)
    return RoomFigures(vectors * weights.nbytes + frozen_bytes, device_bytes)


def too_small(scenario: Scenario, found: RoomFigures | None) -> str | None:
    """What to say where it does not fit."""
    if found is None or found.fits:
        return None
    momentum = ", momentum" if scenario.training.optimizer.momentum else ""
    return (
        f"{scenario.source}: cluster.device.memory_bytes = {found.device_bytes:g}: a learner keeps "
        f"{units.size(found.least_bytes)} at least, weights, gradient{momentum}, and activations "
        "beside. Take a smaller model, or a device with more"
    )
