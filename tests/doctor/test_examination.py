"""Processes that look at a run together: who is not there, whose keys differ, what fails once.

Threads stand for processes where no library has to add up, which serves one rank a process.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dualrt.doctor import examination
from dualrt.doctor.findings import Finding, Report, Verdict
from dualrt.real import hardware
from dualrt.real.keys import Keys
from dualrt.real.launcher import STORE
from dualrt.real.rendezvous import Launch
from dualrt.scenario import load
from tests.support.flaky import WORDS
from tests.support.processes import ended, started

LEARNERS = 3

Look = Callable[..., Mapping[str, list[Finding]]]


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """What is found, by check, by the learners that are there; each has its own settings too."""
    monkeypatch.setenv(STORE, str(tmp_path / "store"))
    monkeypatch.setattr(examination._Process, "_reduced_once", lambda *_: "")

    def looking(
        ranks: range, *settings: str, own: Callable[[int], str] | None = None
    ) -> Mapping[str, list[Finding]]:
        def part(rank: int) -> Report | None:
            mine = (*settings, own(rank)) if own else settings
            scenario = load("quadratic-sd-psgd", (f"learners={LEARNERS}", *mine))
            launch = Launch(rank, LEARNERS, rank, LEARNERS)
            return examination.examine(
                scenario, launch, alone=False, out=None, tell=lambda share: None
            )

        with ThreadPoolExecutor(len(ranks)) as threads:
            report, *others = threads.map(part, ranks)
        assert others == [None] * (len(ranks) - 1)
        assert report is not None
        found: dict[str, list[Finding]] = {}
        for finding in report.findings:
            found.setdefault(finding.check, []).append(finding)
        return found

    return looking


def test_a_process_that_is_not_there_is_named_and_nothing_else_is_blamed(look: Look) -> None:
    found = look(range(LEARNERS - 1), "real.timeout_s=2", "real.curve=off")
    (absent,) = found["rendezvous"]
    assert absent.verdict is Verdict.FAIL
    assert absent.said == "learner 2: not there after 2 s"
    assert "start them within real.timeout_s" in absent.remedy
    (gloo,) = found["gloo"]
    assert (gloo.verdict, gloo.said) == (Verdict.WARN, "not tried without learner 2")
    failed = {check for check, all_ in found.items() for one in all_ if one.verdict is Verdict.FAIL}
    assert failed == {"rendezvous"}


def test_keys_that_differ_are_named_with_whose_they_are_and_what_to_do(
    look: Look, tmp_path: Path
) -> None:
    made = [Keys.make(), Keys.make()]
    for number, keys in enumerate(made):
        keys.write(tmp_path / f"{number}.key")

    def own(rank: int) -> str:
        return f"real.keys={tmp_path / f'{rank // 2}.key'}"

    found = look(range(LEARNERS), "real.timeout_s=4", own=own)
    (differ,) = (one for one in found["keys"] if one.verdict is Verdict.FAIL)
    first, second = (f"keys {one.fingerprint}" for one in made)
    assert differ.said == (
        f"not the same everywhere: {first} at learners 0-1, {second} at learner 2"
    )
    assert differ.remedy == "Copy one key file to all hosts."
    # Those that have the same do reach each other.
    unreached = {one.said.split(" at tcp")[0] for one in found["peers"]}
    assert len(unreached) == 4
    assert all("learner 2" in said and "cannot reach" in said for said in unreached), unreached
    assert all("the same key file" in one.remedy for one in found["peers"])


def test_a_library_that_fails_once_is_tried_again_by_all_together() -> None:
    settings = ("learners=2", "algorithm.name=ssgd", "real.curve=off", "real.timeout_s=100")
    with started("tests.support.flaky", "1", "1", *settings, processes=2) as running:
        ends = [ended(process) for process in running]
    assert [code for code, _, _ in ends] == [0, 0], ends
    (gloo,) = (one for one in json.loads(ends[0][1])["findings"] if one["check"] == "gloo")
    assert gloo["verdict"] == "ok", gloo
    assert gloo["said"] == (
        f"allreduce between 2 processes, at the second attempt. At the first: learner 1: {WORDS}"
    )


def test_one_that_fails_twice_is_told_by_all_in_the_same_words(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        examination._Process,
        "_reduced_once",
        lambda self, name, library, device: WORDS if self._launch.rank else "",
    )
    (gloo,) = look(range(LEARNERS), "real.timeout_s=20", "real.curve=off")["gloo"]
    assert (gloo.verdict, gloo.learners) == (Verdict.WARN, ())
    assert gloo.said == (
        "no allreduce between 3 processes, in 2 attempts of 5 s. "
        f"At the last: learners 1-2: {WORDS}. sd-psgd has no use for it"
    )


@pytest.mark.parametrize(
    ("devices", "algorithm", "check", "verdict", "said"),
    [
        ("GPU-1 GPU-2 GPU-3", "ssgd", "NCCL", Verdict.OK, "allreduce between 3 processes"),
        ("GPU-1 GPU-2 GPU-1", "ssgd", "gloo on shared GPUs", Verdict.OK, "allreduce between 3"),
        ("GPU-1 cpu GPU-2", "ssgd", "device", Verdict.FAIL, "2 of 3 processes compute on GPUs"),
        ("GPU-1 cpu GPU-2", "sd-psgd", "device", Verdict.WARN, "2 of 3 processes compute on GPUs"),
    ],
)
def test_groups_are_tried_as_the_run_would_join_them(
    look: Look,
    monkeypatch: pytest.MonkeyPatch,
    devices: str,
    algorithm: str,
    check: str,
    verdict: Verdict,
    said: str,
) -> None:
    left = deque(devices.split())
    monkeypatch.setattr(hardware, "identity", lambda device: left.popleft())
    settings = ("real.timeout_s=20", "real.curve=off", f"algorithm.name={algorithm}")
    found = look(range(LEARNERS), *settings)
    # The process's own look at its device comes before.
    last = found[check][-1]
    assert last.verdict == verdict
    assert said in last.said
    assert [one.verdict for one in found["gloo"]] == [Verdict.OK]
