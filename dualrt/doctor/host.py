"""Host: what one process can see by itself: its software, its devices, its machine.

Owns one function for each thing that is looked at; each returns what it found, and raises nothing
for what is wrong. Must not know of other processes.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dualrt import __version__
from dualrt.api import check_reachable, check_real
from dualrt.composition import Composition
from dualrt.core.effects import Group
from dualrt.core.errors import DualrtError, UsageError
from dualrt.doctor.findings import Finding, fail, ok, warn
from dualrt.observe.units import counted, size
from dualrt.real import descriptors, keys
from dualrt.real.hardware import SHARED, choose_device, idle
from dualrt.real.rendezvous import Launch
from dualrt.real.reports import REPORTS
from dualrt.real.ring import RingError, RingWriter
from dualrt.real.session import lack_of_files
from dualrt.real.wire import PROTOCOL
from dualrt.scenario import Scenario
from dualrt.writable import refusal

SHM = Path("/dev/shm")
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")

MODELS_ON_A_DEVICE = 4
"""Weights, their gradient, what is sent and what arrives."""

KEPT_BYTES = 1_000_000_000
"""What the records of a long run may take."""


def versions() -> dict[str, str]:
    """What all processes are to have alike, by name."""
    import torch
    import zmq

    return {
        "dualrt": f"{__version__} (protocol {PROTOCOL})",
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "ZeroMQ": zmq.zmq_version(),
    }


def software() -> Finding:
    """Whether all that a real run needs is there."""
    import zmq

    said = ", ".join(f"{name} {version}" for name, version in versions().items())
    if not zmq.has("curve"):
        return fail(
            "software",
            f"{said}: ZeroMQ has no CURVE, so gossip cannot be encrypted",
            "Install pyzmq from a wheel, or build libzmq with libsodium.",
        )
    return ok("software", f"{said}, with CURVE")


class Fit(NamedTuple):
    """Whether a scenario suits these processes, and what it needs of them."""

    findings: list[Finding]
    model_bytes: int = 0
    """0 if that is not known."""
    calls_collectives: bool = True


def fit(scenario: Scenario, launch: Launch, alone: bool) -> Fit:
    """Make what the run would be made of; `alone` is whether no launcher started this process."""
    try:
        check_real(scenario, returns=REPORTS in os.environ)
        check_reachable(scenario, launch)
    except UsageError as error:
        return Fit([fail("scenario", str(error))])
    if alone and scenario.learners > 1:
        found = warn(
            "scenario",
            f"{scenario.learners} learners, and no launcher: nothing between them is looked at",
            f"Use --local {scenario.learners}, or torchrun, as for the run.",
        )
    elif launch.learners != scenario.learners:
        remedy = f"Start {scenario.learners}, or use --set learners={launch.learners}."
        said = f"learners = {scenario.learners}, and WORLD_SIZE is {launch.learners}"
        return Fit([fail("scenario", said, remedy)])
    else:
        found = ok("scenario", f"{scenario.title}: {counted(scenario.learners, 'learner')}")
    try:
        per_node = scenario.learners if alone else launch.learners_per_node
        composition = Composition(scenario, scenario.training.epochs, per_node)
        workload = composition.workload()
        nbytes = composition.learner(launch.rank, workload).weights.nbytes
    except DualrtError as error:
        return Fit([fail("scenario", str(error))])
    findings = [found, ok("model", f"{size(nbytes)} of weights")]
    if launch.learners > 1 and launch.local_rank == 0:
        findings.append(files(launch, composition.layout.groups))
    return Fit(findings, nbytes, bool(composition.layout.groups))


def files(launch: Launch, groups: Sequence[Group]) -> Finding:
    """Whether a process of this host may have as many files open as the run takes."""
    lacking = lack_of_files(launch, groups)
    if lacking:
        return fail("open files", lacking)
    return ok("open files", f"a process may have {descriptors.limits()[1]:g}")


def device(scenario: Scenario, launch: Launch, model_bytes: int) -> Finding:
    """Where this process computes, and whether the model has room there."""
    import torch

    try:
        chosen = choose_device(scenario.real.device, launch)
    except UsageError as error:
        return fail("device", str(error))
    gpus = idle(scenario.real.device, chosen)
    if gpus:
        remedy = f"Start fewer processes, or set real.device to {SHARED}, or to cpu."
        return warn("device", f"the processor, though there are GPUs: {gpus} of them", remedy)
    if chosen.type != "cuda":
        return ok("device", "the processor" + ("" if torch.cuda.is_available() else "; no CUDA"))
    free_bytes, all_bytes = torch.cuda.mem_get_info(chosen)
    sharers = math.ceil(launch.local_learners / torch.cuda.device_count())
    said = f"{torch.cuda.get_device_name(chosen)}, {size(free_bytes)} of {size(all_bytes)} free"
    if sharers > 1:
        said += f", for {sharers} processes"
    if free_bytes < sharers * MODELS_ON_A_DEVICE * model_bytes:
        remedy = "End what else uses it, or use a smaller model or batch."
        return warn("device", f"{said}, and the model is {size(model_bytes)}", remedy)
    return ok("device", said)


def cores(scenario: Scenario, launch: Launch) -> Finding:
    """Whether the threads of this host's learners have a core each."""
    available, needed = usable_cores(), launch.local_learners * scenario.real.threads_per_learner
    said = f"{available:g} cores for {needed} threads of {launch.local_learners} learners here"
    if needed > available:
        return warn(
            "cores",
            f"{said}: they wait for each other",
            "Start fewer learners a host, or lower real.threads_per_learner.",
        )
    return ok("cores", said)


def usable_cores() -> float:
    """Those that this process may run on, and of these what its container is given."""
    granted = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = CGROUP_QUOTA.read_text().split()
    except (OSError, ValueError):
        return granted
    return granted if quota == "max" else min(granted, int(quota) / int(period))


def memory(scenario: Scenario, launch: Launch, model_bytes: int) -> list[Finding]:
    """Memory that processes of this host share, by us and by others."""
    found = []
    if scenario.real.shared_memory and launch.local_learners > 1:
        try:
            RingWriter().close()
        except RingError as error:
            remedy = "Nothing to do: weights go through sockets instead, more slowly."
            found.append(warn("shared memory", str(error), remedy))
    if not SHM.is_dir():
        return [*found, warn("/dev/shm", "there is none", "NCCL and data loaders want one.")]
    free_bytes = shutil.disk_usage(SHM).free
    said = f"{size(free_bytes)} free, a model is {size(model_bytes)}"
    if free_bytes < model_bytes:
        return [
            *found,
            warn(
                "/dev/shm",
                f"{said}. Gossip needs none of it, but NCCL and data loaders do",
                "Enlarge it: docker run --shm-size, or a Kubernetes volume with medium Memory.",
            ),
        ]
    return [*found, ok("/dev/shm", said)]


def keys_file(scenario: Scenario, environment: Mapping[str, str] = os.environ) -> Finding:
    """Whether the run's keys are there, and nobody else's to read."""
    real = scenario.real
    try:
        pair = keys.chosen(real.curve, real.keys, real.interface, environment)
    except UsageError as error:
        return fail("keys", str(error))
    if pair is None:
        return ok("keys", f"none, and gossip on {real.interface} is not encrypted")
    path = Path(real.keys or environment[keys.KEYS])
    said = f"{path}, mode {stat.S_IMODE(path.stat().st_mode):04o}, begins with {pair.fingerprint}"
    return ok("keys", said)


def disk(out: Path, model_bytes: int, *, new: bool) -> Finding:
    """Whether `--out` can be made here, has room for the results and, if asked for, is `new`."""
    check = f"--out {out}"
    if new and out.exists() and (not out.is_dir() or any(out.iterdir())):
        return fail(check, "is there already", "Name a new folder, or remove it.")
    there = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    why = refusal(there)
    if why is not None:
        return fail(check, f"{there} cannot be written to ({why})", "Name another folder.")
    free_bytes, needed_bytes = shutil.disk_usage(there).free, 2 * model_bytes + KEPT_BYTES
    if free_bytes < needed_bytes:
        said = f"{size(free_bytes)} free; a run may keep {size(needed_bytes)}"
        return warn(check, said, "Make room, or name a folder elsewhere.")
    return ok(check, f"{size(free_bytes)} free")
