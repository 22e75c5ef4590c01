"""The algorithms, one a file, each beside the equation that it follows. Imports core only."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "ssgd": "dualrt.algorithms.ssgd:SSGD",
        "sd-psgd": "dualrt.algorithms.sdpsgd:SDPSGD",
        "adpsgd": "dualrt.algorithms.adpsgd:ADPSGD",
        "delay-by-one": "dualrt.algorithms.delay_by_one:DelayByOne",
        "h-adpsgd": "dualrt.algorithms.hierarchical:HierarchicalADPSGD",
        "asgd": "dualrt.algorithms.asgd:ASGD",
        "sgp": "dualrt.algorithms.sgp:SGP",
        "local-sgd": "dualrt.algorithms.local_sgd:LocalSGD",
    }
)
"""What a scenario calls them, and where they are."""
