"""Examination: one process's part in looking at all, from the launcher's word to the one report.

Owns the order of things, and that what is wrong in one place does not keep the rest from being
looked at. Must not know what follows from the figures (`verdicts`), nor how it is shown.

Processes tell each other what they find through the rendezvous' store, and not by gossip: that is
what may not work. Rank 0 has the report. Every wait derives from `real.timeout_s`; those for what
takes no time where it works at all are a quarter of it.
"""

from __future__ import annotations

import json
import socket
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from dualrt.core.effects import Group
from dualrt.core.errors import DualrtError, SilentError, UsageError
from dualrt.doctor import exchange, host, verdicts
from dualrt.doctor.findings import Finding, Report, Way, fail, listed, merged, ok, warn
from dualrt.doctor.schedule import rounds
from dualrt.real import keys
from dualrt.real.gossip import Gossip
from dualrt.real.rendezvous import Launch, Rendezvous
from dualrt.scenario import Scenario

QUARTER = 4

ATTEMPTS = 2
"""How often a collective is tried."""

Tell = Callable[[float], None]


def examine(
    scenario: Scenario, launch: Launch, *, alone: bool, out: Path | None, tell: Tell
) -> Report | None:
    """This process's part; the report at rank 0, None elsewhere.

    `alone` is whether no launcher started it; `tell` is told the share that is done. Raises
    StalledError at any other rank than 0 that does not reach the rendezvous.
    """
    here = _Process(scenario, launch, alone)
    here.look_around(out)
    tell(0.1)
    try:
        here.meet()
    except DualrtError as error:
        if launch.rank != 0:
            raise
        remedy = "Name an address and a port of the first host that all others reach."
        here.found.append(fail("rendezvous", str(error), remedy))
        return here.alone_report()
    tell(0.2)
    if launch.learners > 1:
        here.greet()
        tell(0.3)
        here.exchange(lambda share: tell(0.3 + 0.5 * share))
        here.reduce()
        tell(0.9)
    report = here.report()
    tell(1.0)
    return report


class _Process:
    """What one process has found so far, and those that it has met."""

    def __init__(self, scenario: Scenario, launch: Launch, alone: bool) -> None:
        self._scenario, self._launch, self._alone = scenario, launch, alone
        self._timeout_s = scenario.real.timeout_s
        self._model_bytes, self._calls_collectives = 0, True
        self.found: list[Finding] = []
        self._ways: list[Way] = []
        self._meeting: Rendezvous | None = None
        self._gossip: Gossip | None = None
        self._met: dict[int, dict[str, Any]] = {}
        """What each process that is there said of itself."""
        self._silent: dict[int, tuple[int, ...]] = {}
        """Whom each of them cannot reach."""

    def look_around(self, out: Path | None) -> None:
        """What needs no other process; what is the host's, once a host."""
        scenario, launch = self._scenario, self._launch
        fit = host.fit(scenario, launch, self._alone)
        self._model_bytes, self._calls_collectives = fit.model_bytes, fit.calls_collectives
        device = host.device(scenario, launch, self._model_bytes)
        self.found += [host.software(), *fit.findings, device]
        if launch.local_rank == 0:
            self.found.append(host.cores(scenario, launch))
            self.found += host.memory(scenario, launch, self._model_bytes)
        if scenario.learners > 1:
            self.found.append(host.keys_file(scenario))
        if out is not None and launch.local_rank == 0:
            # As a run does: the first process makes the folder, which all hosts may share.
            self.found.append(host.disk(out, self._model_bytes, new=launch.rank == 0))

    def meet(self) -> None:
        """Open the transport as a run would, and tell all others where; learn the same of them.

        Raises StalledError if the rendezvous is not reached.
        """
        real, launch = self._scenario.real, self._launch
        self._meeting = Rendezvous(launch, self._timeout_s)
        run_id = self._meeting.run_id()
        address, pair = "", None
        try:
            if launch.learners > 1:
                pair = keys.chosen(real.curve, real.keys, real.interface)
            self._gossip = Gossip(
                launch.rank,
                run_id=f"doctor {run_id}",
                timeout_s=self._timeout_s / QUARTER,
                interface=real.interface,
                ports=real.port_range,
                max_body_bytes=exchange.MOST_BYTES,
                shares_memory=real.shared_memory,
                silence_s=self._timeout_s / QUARTER,
                keys=pair,
            )
            address = self._gossip.address
            self.found.append(
                ok("listening", f"on {real.interface}, {'' if pair else 'not '}encrypted")
            )
        except DualrtError as error:
            # Of the keys, that was said.
            if not any(one.check == "keys" and str(error) == one.said for one in self.found):
                self.found.append(fail("listening", str(error)))
        self._met = {
            rank: json.loads(said)
            for rank, said in self._meeting.share(
                "doctor",
                json.dumps(
                    {
                        "address": address,
                        "host": socket.gethostname(),
                        "versions": host.versions(),
                        "keys": "no keys" if pair is None else f"keys {pair.fingerprint}",
                    }
                ),
            ).items()
        }
        absent = [rank for rank in range(launch.learners) if rank not in self._met]
        if absent and launch.rank == 0:
            self.found.append(
                fail(
                    "rendezvous",
                    f"{listed(absent)}: not there after {self._timeout_s:g} s",
                    "Look at what their processes say; start them within real.timeout_s.",
                )
            )

    def greet(self) -> None:
        """Find out who answers; and of whom does not, why, as far as TCP tells."""
        assert self._meeting is not None
        silent: tuple[int, ...] = ()
        addresses = {rank: said["address"] for rank, said in self._met.items() if said["address"]}
        if self._gossip is not None:
            try:
                self._gossip.connect(addresses, greet=addresses)
            except SilentError as error:
                silent = error.peers
            except UsageError as error:
                self.found.append(fail("peers", str(error)))
            # Who hangs up on us, as one with other keys does, has not answered either.
            silent = tuple(sorted({*silent, *self._gossip.lost}))
        if silent:
            # At once: one after another they would take longer than others wait for us.
            with ThreadPoolExecutor(len(silent)) as threads:
                self.found += threads.map(self._unreachable, silent)
        told = self._meeting.share("silent", json.dumps(silent), tuple(self._met))
        self._silent = {rank: tuple(json.loads(said)) for rank, said in told.items()}

    def _unreachable(self, peer: int) -> Finding:
        rank, address = self._launch.rank, self._met[peer]["address"]
        why, remedy = probe(address, self._timeout_s / QUARTER)
        ours, theirs = self._named(rank), self._met[peer]["host"]
        said = f"learner {rank} ({ours}) cannot reach learner {peer} ({theirs}) at {address}: {why}"
        return fail("peers", said, remedy)

    def exchange(self, tell: Tell) -> None:
        """Measure the way to each peer that can be reached, in rounds that all have alike."""
        if self._gossip is None:
            return
        rank = self._launch.rank
        plan = list(rounds(self._by_host()))
        for number, pairs in enumerate(plan):
            for a, b in pairs:
                if rank in (a, b) and self._both_reach(a, b):
                    self._measure(a, b)
            tell((number + 1) / len(plan))
        if not any(self._silent.values()):
            # So that nobody takes who is done for one that is lost.
            self._gossip.finish(self._timeout_s / QUARTER)

    def _both_reach(self, a: int, b: int) -> bool:
        return b not in self._silent.get(a, (b,)) and a not in self._silent.get(b, (a,))

    def _by_host(self) -> list[list[int]]:
        together: defaultdict[str, list[int]] = defaultdict(list)
        for rank, said in sorted(self._met.items()):
            if said["address"]:
                together[_place(said["address"])].append(rank)
        return list(together.values())

    def _measure(self, a: int, b: int) -> None:
        assert self._gossip is not None
        try:
            if self._launch.rank == a:
                self._ways.append(Way(a, b, *exchange.ask(self._gossip, b)))
            else:
                exchange.answer(self._gossip, a)
        except DualrtError as error:
            remedy = "Look at the way between them: it works, but not for long."
            self.found.append(fail("peers", f"learners {a} and {b} broke off: {error}", remedy))

    def reduce(self) -> None:
        """Have all processes add up a vector with gloo, and as a run would where it is on GPUs."""
        import torch

        from dualrt.real.hardware import SHARED, choose_device, identity
        from dualrt.real.process_groups import GLOO, NCCL, library_for

        assert self._meeting is not None
        # Who had few ways to measure would wait for the others, and blame the library for it.
        ready = self._meeting.share("measured", "", tuple(self._met))
        missing = [rank for rank in range(self._launch.learners) if rank not in ready]
        if missing:
            said = f"not tried without {listed(missing)}"
            self.found.append(warn("gloo", said, "Look at what keeps them away, and look again."))
            return
        device = torch.device("cpu")
        self.found.append(self._reduced("gloo", GLOO, device))
        if any(one.check == "device" and one.verdict != "fail" for one in self.found):
            device = choose_device(self._scenario.real.device, self._launch)
        devices = list(self._meeting.share("devices", identity(device)).values())
        gpus = [one for one in devices if one != "cpu"]
        if gpus and len(gpus) < len(devices):
            said = f"{len(gpus)} of {len(devices)} processes compute on GPUs, and the rest does not"
            remedy = (
                f"Set real.device to cpu, or to {SHARED}, or start as many processes on each host "
                "as it has GPUs: groups are of one kind."
            )
            self.found.append((fail if self._calls_collectives else warn)("device", said, remedy))
        elif library_for(devices) == NCCL:
            self.found.append(self._reduced("NCCL", NCCL, device))
        elif gpus:
            self.found.append(self._reduced("gloo on shared GPUs", GLOO, device))

    def _reduced(self, called: str, library: str, device: Any) -> Finding:
        """What all processes find together, and so all in the same words.

        They try once more before they blame anybody: who was late the first time found the others
        gone.
        """
        assert self._meeting is not None
        learners, problems = self._launch.learners, [""]
        for attempt in range(ATTEMPTS):
            name = f"{called} {attempt}"
            said = self._meeting.share(name, self._reduced_once(name, library, device))
            problems.append(_problems(said, learners))
            if not problems[-1]:
                before = f", at the second attempt. At the first: {problems[1]}" if attempt else ""
                return ok(called, f"allreduce between {learners} processes{before}")
        needed = self._calls_collectives
        return (fail if needed else warn)(
            called,
            f"no allreduce between {learners} processes, in {ATTEMPTS} attempts of "
            f"{self._timeout_s / QUARTER:g} s. At the last: {problems[-1]}"
            + ("" if needed else f". {self._scenario.algorithm.name} has no use for it"),
            "It chooses its ports itself (docs/launching.md): let all between these hosts "
            "through, or use an algorithm without groups, as adpsgd.",
        )

    def _reduced_once(self, name: str, library: str, device: Any) -> str:
        """What was wrong here, if anything was."""
        import torch
        from torch.distributed import PrefixStore

        from dualrt.real.collectives import Collectives
        from dualrt.real.process_groups import ProcessGroups
        from dualrt.real.rendezvous import first_line

        assert self._meeting is not None
        assert self._meeting.store is not None
        rank, learners = self._launch.rank, self._launch.learners
        everyone = Group("everyone", tuple(range(learners)))
        groups = ProcessGroups(
            rank,
            device=device,
            library=library,
            timeout_s=self._timeout_s / QUARTER,
            max_body_bytes=1,
            interface=self._scenario.real.interface,
        )
        try:
            with closing(Collectives(groups)) as collectives:
                collectives.join(PrefixStore(name, self._meeting.store), learners, (everyone,))
                mine = torch.full((1000,), float(rank), device=device)
                mean = collectives.allreduce(everyone, mine, spent=True)
        # Whatever a library raises is what was to be found.
        except (DualrtError, RuntimeError, ValueError) as error:
            # Ours has a remedy, and so have we.
            return first_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
        right = torch.tensor((learners - 1) / 2, device=device)
        return "" if torch.allclose(mean, right) else f"it gave {mean[0].item():g}, not {right:g}"

    def report(self) -> Report | None:
        """Tell rank 0 what was found; there, all of it as one."""
        if self._gossip is not None:
            self._gossip.close()
        assert self._meeting is not None
        told = json.dumps(
            {
                "findings": msgspec.to_builtins(self.found),
                "ways": msgspec.to_builtins(self._ways),
            }
        )
        if self._launch.rank != 0:
            self._meeting.tell("findings", told)
            return None
        everything = {
            rank: json.loads(said)
            for rank, said in self._meeting.share("findings", told, tuple(self._met)).items()
        }
        ways = [msgspec.convert(way, Way) for said in everything.values() for way in said["ways"]]
        all_found = [
            (rank, msgspec.convert(finding, Finding))
            for rank, said in everything.items()
            for finding in said["findings"]
        ]
        hosts = tuple(self._named(rank) for rank in range(self._launch.learners))
        findings = merged(all_found, self._launch.learners)
        findings += verdicts.versions({rank: said["versions"] for rank, said in self._met.items()})
        findings += verdicts.alike("keys", {rank: said["keys"] for rank, said in self._met.items()})
        findings += verdicts.between(ways, hosts, self._model_bytes)
        return Report(self._launch.learners, tuple(findings), tuple(sorted(ways, key=_pair)), hosts)

    def alone_report(self) -> Report:
        """What this process has found by itself."""
        return Report(self._launch.learners, tuple(self.found), ())

    def _named(self, rank: int) -> str:
        said: Mapping[str, Any] = self._met.get(rank, {})
        if not said:
            return "absent"
        return f"{said['host']} {_place(said['address']) or 'not listening'}"


def probe(address: str, timeout_s: float) -> tuple[str, str]:
    """What TCP says of a peer that does not answer, and what to do."""
    place, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        socket.create_connection((place, int(port)), timeout=timeout_s).close()
    except TimeoutError:
        return (
            f"nothing comes back from that port within {timeout_s:g} s",
            "A firewall drops it, or the network does not lead there: let real.ports through, and "
            "name the right interface (real.interface).",
        )
    except ConnectionRefusedError:
        return (
            "the connection is refused",
            "Nobody listens there by that address: is real.interface one that others reach?",
        )
    except OSError as error:
        return f"{error.strerror or error}", "Name the network that leads there (real.interface)."
    return (
        "the port is open, but nobody there answers as a learner of this run",
        "Give all hosts the same key file; or another program took the port.",
    )


def _problems(said: Mapping[int, str], learners: int) -> str:
    """What processes say is wrong, with who says it; empty if nothing is."""
    at: defaultdict[str, list[int]] = defaultdict(list)
    for rank in range(learners):
        at[said.get(rank, "nothing was heard any more")].append(rank)
    at.pop("", None)
    return "; ".join(f"{listed(ranks)}: {problem}" for problem, ranks in at.items())


def _place(address: str) -> str:
    return address.removeprefix("tcp://").rpartition(":")[0]


def _pair(way: Way) -> tuple[int, int]:
    return way.a, way.b
