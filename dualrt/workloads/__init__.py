"""What is being learned: model, data, loss and cost behind `dualrt.core.workload.Workload`.

Owns the names under which a scenario finds a workload. Must not import any of them: most need
torch, and a timing-only simulation runs without it.

Every workload is constructed by keyword: `seed`, `learners` and `batch`, which the run sets, and
then its own settings, each with a default. A class of the user's own that keeps to this is named
`module:Class` in the scenario and needs no registration.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SHIPPED: Mapping[str, str] = MappingProxyType(
    {
        "phantom": "dualrt.workloads.phantom:Phantom",
        "acoustic-phantom": "dualrt.workloads.phantom:AcousticPhantom",
        "module-phantom": "dualrt.workloads.module_phantom:ModulePhantom",
        "quadratic": "dualrt.workloads.quadratic:Quadratic",
        "digits": "dualrt.workloads.digits:Digits",
        "speech": "dualrt.workloads.speech:Speech",
    }
)
"""Where the workloads that come with dualrt live, by the name that scenarios use."""
