"""What a scenario says of a real run, in the runtime's own terms.

Owns the translation, and the warning that gossip can be read. Both who runs a whole scenario
(`dualrt.api`) and who runs the learner of somebody's loop (`dualrt.loop`) need it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dualrt.core.errors import UsageError
from dualrt.core.learner import Layout
from dualrt.scenario.models import Scenario
from dualrt.settings import as_scenario_error

if TYPE_CHECKING:
    import torch

    from dualrt.real.session import Terms


def terms(scenario: Scenario, layout: Layout, device: torch.device) -> Terms:
    """The terms of a process whose vectors are on `device`.

    Raises a UsageError that names the setting, or the variable, for keys that are missing or cannot
    be read.
    """
    from dualrt.real import keys
    from dualrt.real.session import Terms

    real = scenario.real
    try:
        pair = keys.chosen(real.curve, real.keys, real.interface) if scenario.learners > 1 else None
    except UsageError as error:
        if not real.keys and os.environ.get(keys.KEYS):
            raise UsageError(f"{keys.KEYS}: {error}") from error
        raise as_scenario_error(scenario, "real.keys", error) from error
    return Terms(
        real.timeout_s,
        real.interface,
        real.shared_memory,
        device,
        layout.outlives_peers,
        layout.takes_back,
        pair,
        real.port_range,
    )


def readable(scenario: Scenario) -> list[str]:
    """A warning, if gossip goes over a network where everybody can read it, and take part."""
    from dualrt.real.keys import is_loopback

    real = scenario.real
    if real.curve != "off" or is_loopback(real.interface):
        return []
    return [f"real.curve = 'off': whoever reaches {real.interface} may read and change the weights"]
