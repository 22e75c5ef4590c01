"""Demands: what a scenario asks of a real run that cannot be, told before anything starts.

Owns these checks, and which crashes are a learner's own. Must not know how a run is started: it is
asked by whoever is about to, in a parent of processes, in each of them, and in `dualrt doctor`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dualrt.core.errors import UsageError
from dualrt.core.faults import Crash, Fault
from dualrt.core.learner import Layout
from dualrt.scenario import Scenario

if TYPE_CHECKING:
    from dualrt.real.rendezvous import Launch


def check_real(scenario: Scenario, *, returns: bool = True) -> None:
    """Raise ScenarioError for what only the simulator honours, so far.

    `returns` is whether whoever started this process starts learners again.
    """
    for key in scenario.faults.simulated_only():
        raise scenario.error(
            f"faults.{key}",
            "only the simulator honours it so far",
            f"Simulate it with `dualrt simulate`, or leave faults.{key} out.",
        )
    for number, crash in enumerate(scenario.faults.crashes):
        if crash.learner >= scenario.learners:
            raise scenario.error(
                f"faults.crashes.{number}.learner",
                f"there is no learner {crash.learner}",
                f"Name one of 0 to {scenario.learners - 1}.",
            )
        if not returns and crash.rejoin_after_s is not None:
            raise scenario.error(
                f"faults.crashes.{number}.rejoin_after_s",
                "only `dualrt train --local` starts a learner again",
                "Leave it out, or use --local.",
            )


def check_returns(scenario: Scenario, layout: Layout) -> None:
    """Raise ScenarioError if learners are to be started again that it cannot take back."""
    if layout.takes_back:
        return
    name = scenario.algorithm.name
    remedy = "Leave it out, or take adpsgd with exchange = 'delta'."
    if scenario.real.restarts:
        raise scenario.error(
            "real.restarts", f"{name} takes back no learner that is started again", remedy
        )
    for number, crash in enumerate(scenario.faults.crashes):
        if crash.rejoin_after_s is not None:
            raise scenario.error(
                f"faults.crashes.{number}.rejoin_after_s",
                f"{name} takes back no learner that is started again",
                remedy,
            )


def check_reachable(scenario: Scenario, launch: Launch) -> None:
    """Raise ScenarioError if others would not find this process, or the host has too few ports."""
    if launch.local_learners < launch.learners and scenario.real.interface.startswith("127."):
        raise scenario.error(
            "real.interface",
            f"learners on other hosts cannot reach this one there, and only {launch.local_learners}"
            f" of {launch.learners} run here",
            "Name the interface of the network between the hosts, say eth0.",
        )
    ports = scenario.real.port_range
    if ports and len(ports) < launch.local_learners:
        raise scenario.error(
            "real.ports",
            f"{len(ports)} ports, and {launch.local_learners} learners on this host need one each",
            "Name a wider range.",
        )


def check_processes(scenario: Scenario, launch: Launch) -> None:
    """Raise ScenarioError unless there is one process a learner."""
    if launch.learners == scenario.learners:
        return
    raise scenario.error(
        "learners",
        f"but the number of processes is {launch.learners}",
        f"Start {scenario.learners}, with --local {scenario.learners} or torchrun, or use "
        f"--set learners={launch.learners}.",
    )


def check_order(scenario: Scenario, out: Path | None, *, resume: bool) -> None:
    """Raise UsageError where the order of a run cannot be kept in `out`."""
    if out is None:
        raise UsageError("--keep-order goes with --out DIR, the folder to keep it in")
    if resume:
        raise UsageError(
            "--keep-order: a run that goes on from a checkpoint cannot be replayed, as its "
            "order begins in the midst of it. Leave out --resume or --keep-order"
        )
    if scenario.real.restarts:
        raise scenario.error(
            "real.restarts",
            "learners that are started again have no place in an order (--keep-order)",
            "Set it to 0, or leave out --keep-order.",
        )
    for number, crash in enumerate(scenario.faults.crashes):
        if crash.rejoin_after_s is not None:
            raise scenario.error(
                f"faults.crashes.{number}.rejoin_after_s",
                "learners that are started again have no place in an order (--keep-order)",
                "Leave it out, or leave out --keep-order.",
            )


def crashes_of(scenario: Scenario, rank: int, faults: Sequence[Crash] = ()) -> list[Crash]:
    """The crashes of one learner that the scenario asks for, in their order, and `faults`."""
    crashes = (*(crash.build() for crash in scenario.faults.crashes), *faults)
    return [crash for crash in crashes if crash.learner == rank]


def crashes_alone(faults: Sequence[Fault], learners: int) -> list[Crash]:
    """Faults of a real run, as far as they can be had. Raises UsageError for the others."""
    for fault in faults:
        if not isinstance(fault, Crash):
            raise UsageError(
                f"{fault}: a real run can have crashes alone. Simulate it, or leave it out"
            )
        if not 0 <= fault.learner < learners:
            raise UsageError(
                f"{fault}: there is no learner {fault.learner}. Count them from 0 to {learners - 1}"
            )
        if fault.rejoin_after_s is not None:
            raise UsageError(
                f"{fault}: a process cannot start itself again. Leave rejoin_after_s out, or put "
                "the crash into the scenario, and use `dualrt train --local`"
            )
    return [fault for fault in faults if isinstance(fault, Crash)]
