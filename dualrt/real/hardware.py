"""Hardware: which device a process computes on.

Owns the choice, and its refusal when there are too few devices.
"""

from __future__ import annotations

import torch

from dualrt.core.errors import UsageError
from dualrt.real.rendezvous import Launch, first_line


def choose_device(wanted: str, launch: Launch) -> torch.device:
    """The device of this process: "cpu", "cuda", or "auto" for CUDA where each process has one.

    All processes of a host choose alike. Raises UsageError if CUDA is asked for and there are fewer
    devices here than processes, and if the device is there and cannot be used.
    """
    devices, processes = (
        torch.cuda.device_count(),
        max(launch.local_learners, launch.local_rank + 1),
    )
    if wanted == "cpu" or (wanted == "auto" and processes > devices):
        return torch.device("cpu")
    if processes > devices:
        raise UsageError(
            f"process {launch.local_rank} of this host needs a device of its own, as each of the "
            f"{processes} does, and sees {devices}. Use --set real.device=cpu, start no more "
            "processes than devices, or let every process see all devices of its host"
        )
    device = torch.device("cuda", launch.local_rank)
    try:
        torch.cuda.set_device(device)
    except RuntimeError as error:
        raise UsageError(
            f"process {launch.local_rank} of this host cannot use {device}: {first_line(error)}. "
            "See that its driver fits this torch and that no other process holds it alone, or use "
            "--set real.device=cpu"
        ) from error
    return device
