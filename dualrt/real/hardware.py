"""Hardware: which device a process computes on.

Owns the choice, and its refusal when there are too few devices.
"""

from __future__ import annotations

import torch

from dualrt.core.errors import UsageError
from dualrt.real.rendezvous import Launch


def choose_device(wanted: str, launch: Launch) -> torch.device:
    """The device of this process: "cpu", "cuda", or "auto" for CUDA where each process has one.

    Raises UsageError if CUDA is asked for and this process finds no device of its own.
    """
    devices = torch.cuda.device_count()
    if wanted == "cpu" or (wanted == "auto" and launch.local_rank >= devices):
        return torch.device("cpu")
    if launch.local_rank >= devices:
        raise UsageError(
            f"process {launch.local_rank} of this host needs a device of its own, and there are "
            f"{devices}. Use --set real.device=cpu, or start no more processes than devices"
        )
    device = torch.device("cuda", launch.local_rank)
    torch.cuda.set_device(device)
    return device
