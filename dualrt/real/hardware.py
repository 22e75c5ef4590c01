"""Hardware: which device a process computes on.

Owns the choice, its refusal when there are too few devices, and what tells one device from another.
"""

from __future__ import annotations

import socket

import torch

from dualrt.core.errors import UsageError
from dualrt.real.rendezvous import Launch, first_line

SHARED = "cuda-shared"
"""The setting with which processes of a host take its devices by turns."""


def choose_device(wanted: str, launch: Launch) -> torch.device:
    """The device of this process: "cpu", "cuda", or "auto" for CUDA where each process has one.

    All processes of a host choose alike; with "cuda-shared" they take its devices by turns, several
    to a device where there are more of them. Raises UsageError if CUDA is asked for and there are
    fewer devices here than processes, or none to share, and if the device is there and cannot be
    used.
    """
    devices, processes = (
        torch.cuda.device_count(),
        max(launch.local_learners, launch.local_rank + 1),
    )
    if wanted == "cpu" or (wanted == "auto" and processes > devices):
        return torch.device("cpu")
    if devices == 0 and wanted == SHARED:
        raise UsageError(
            f"process {launch.local_rank} of this host sees no device to share. Use --set "
            "real.device=cpu, or let every process see the devices of its host"
        )
    if processes > devices and wanted != SHARED:
        share = f", real.device={SHARED}" if devices else ""
        raise UsageError(
            f"process {launch.local_rank} of this host needs a device of its own, as each of the "
            f"{processes} does, and sees {devices}. Use --set real.device=cpu{share}, start no "
            "more processes than devices, or let every process see all devices of its host"
        )
    device = torch.device("cuda", launch.local_rank % devices)
    try:
        torch.cuda.set_device(device)
    except RuntimeError as error:
        raise UsageError(
            f"process {launch.local_rank} of this host cannot use {device}: {first_line(error)}. "
            "See that its driver fits this torch and that no other process holds it alone, or use "
            "--set real.device=cpu"
        ) from error
    return device


def idle(wanted: str, device: torch.device) -> int:
    """GPUs of this host that "auto" has left alone, as there is none for each process."""
    return torch.cuda.device_count() if wanted == "auto" and device.type == "cpu" else 0


def identity(device: torch.device) -> str:
    """A name that no other device has; all processors are "cpu".

    With torch before 2.5 that of a GPU goes by the host's name, which containers may not share.
    """
    if device.type != "cuda":
        return device.type
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return str(uuid) if uuid is not None else f"{socket.gethostname()}/{device}"
