"""The same command on several hosts: two network namespaces, joined by a virtual cable.

Needs root and iproute2; skipped elsewhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks.hosts import Host, cable, cut_off
from dualrt.real.keys import Keys
from tests.support import commands
from tests.support.namespaces import MARKS, PORT, torchrun

pytestmark = MARKS


@pytest.fixture
def keys(tmp_path: Path) -> str:
    """The setting that names the run's keys, as every host has them."""
    Keys.make().write(tmp_path / "run.key")
    return f"real.keys={tmp_path / 'run.key'}"


@pytest.fixture
def hosts() -> Iterator[Sequence[Host]]:
    with cable() as both:
        yield both


def command(hosts: Sequence[Host], number: int, interface: str, *options: str) -> list[str]:
    settings = commands.settings(f"real.interface={interface}", *options)
    return torchrun(hosts, number, "train", "digits-adpsgd", "--json", *settings)


def commands_that_keep(folder: Path, hosts: Sequence[Host], *options: str) -> list[list[str]]:
    """Those of all hosts; what each keeps is in a folder of its name."""
    return [
        [
            *command(hosts, number, host.address, *options),
            *("--out", str(folder / host.name), "--log-format", "json"),
        ]
        for number, host in enumerate(hosts)
    ]


@contextmanager
def started(all_words: Sequence[Sequence[str]], folder: Path) -> Iterator[Callable[[], list[str]]]:
    """Processes, and what waits until they have ended well: it returns what each has printed.

    What they say meanwhile is in the folder, for `events`.
    """
    processes = []
    for number, words in enumerate(all_words):
        with (folder / f"said-{number}").open("w") as said:
            processes.append(
                subprocess.Popen(words, stdout=subprocess.PIPE, stderr=said, text=True)
            )

    def join() -> list[str]:
        printed = [process.communicate(timeout=100)[0] for process in processes]
        codes = [process.returncode for process in processes]
        assert codes == [0, 0], [said.read_text() for said in folder.glob("said-*")]
        return printed

    try:
        yield join
    finally:
        for process in processes:
            process.kill()


SUPER_LEARNERS = ("algorithm.name=h-adpsgd", "training.epochs=2", "training.audit=true")


def test_super_learners_on_two_hosts_train_together(
    hosts: Sequence[Host], keys: str, tmp_path: Path
) -> None:
    """Those of a host are one; each is told its address or the name of its interface."""
    first_host = command(hosts, 0, hosts[0].address, keys, *SUPER_LEARNERS)
    second_host = command(hosts, 1, hosts[1].interface, keys, *SUPER_LEARNERS)
    with started([first_host, second_host], tmp_path) as join:
        told, told_by_second = join()
    summary = json.loads(told)
    assert summary["learners"] == 4
    assert summary["conservation_error"] < 1e-5
    first, second, third, fourth = summary["steps_by_learner"]
    assert (first, third) == (second, fourth)
    assert summary["updates"] == first + third
    # Results are rank 0's to tell.
    assert told_by_second == ""


def test_hosts_that_are_cut_off_train_on_and_take_each_other_back(
    hosts: Sequence[Host], keys: str, tmp_path: Path
) -> None:
    slow = ", ".join(f"{{learner = {rank}, factor = 15}}" for rank in range(4))
    options = (
        keys,
        f"faults.stragglers=[{slow}]",
        "workload.batch=16",
        "training.epochs=25",
        "real.timeout_s=15",
    )
    with started(commands_that_keep(tmp_path, hosts, *options), tmp_path) as join:
        assert trained_on(tmp_path)
        assert answers_between_hosts(tmp_path)
        before = events(tmp_path)
        with cut_off(hosts[0]):
            assert commands.await_(lambda: learners_told(tmp_path, "peer_lost") >= BETWEEN_HOSTS)
            # Whoever waited for the other host has noticed in time: after a quarter of the timeout
            # it would have said that it waits, and to notice takes less than a 10th.
            said = [one for one in events(tmp_path) if one not in before]
            assert [one for one in said if one["event"] == "slow_wait"] == []
            assert trained_on(tmp_path)
            apart = answers_between_hosts(tmp_path)
            # Nobody stands still, and nothing comes through.
            assert trained_on(tmp_path)
            assert answers_between_hosts(tmp_path) == apart
        assert commands.await_(lambda: learners_told(tmp_path, "peer_found") >= BETWEEN_HOSTS)
        join()
    assert answers_between_hosts(tmp_path) > apart


def test_a_super_learner_that_is_cut_in_two_goes_on_as_two_and_is_one_again(
    hosts: Sequence[Host], keys: str, tmp_path: Path
) -> None:
    slow = ", ".join(f"{{learner = {rank}, factor = 15}}" for rank in range(4))
    options = (
        keys,
        "algorithm={name='h-adpsgd', learners_per_group=4, on_member_lost='go-on'}",
        f"faults.stragglers=[{slow}]",
        "workload.batch=16",
        "training.epochs=14",
        "real.timeout_s=10",
    )
    with started(commands_that_keep(tmp_path, hosts, *options), tmp_path) as join:
        assert commands.await_(lambda: bool(updates(tmp_path)[0]))
        with cut_off(hosts[0]):
            assert commands.await_(lambda: len(updates(tmp_path)[2]) > 5)
        join()
    first, second, third, fourth = updates(tmp_path).values()
    assert not second
    assert not fourth
    # The third leads while they are apart, and no more.
    assert first[0] < third[0]
    assert sum(time_s > third[-1] for time_s in first) > 5


def test_between_hosts_keys_are_asked_for(hosts: Sequence[Host]) -> None:
    done = alone(hosts[0], command(hosts, 0, hosts[0].address, *SUPER_LEARNERS))
    assert done.returncode == 2
    assert "real.keys" in done.stderr
    assert "dualrt keys FILE" in done.stderr


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """What all processes have written so far."""
    for file in folder.glob("*/records-*.jsonl"):
        for line in file.read_text().splitlines():
            with suppress(json.JSONDecodeError):  # it may be in the middle of a line
                yield json.loads(line)


def updates(folder: Path) -> dict[int, list[float]]:
    """When each learner made its updates."""
    times_s: dict[int, list[float]] = {rank: [] for rank in range(4)}
    for record in records(folder):
        if "update" in record:
            time_s, (learner, *_) = record["update"]
            times_s[learner].append(time_s)
    return times_s


def trained_on(folder: Path) -> bool:
    """Whether every learner makes updates from now on."""
    # They are written once a second: the first that are new may have been made before.
    return more_updates(folder, 1) and more_updates(folder, 10)


def more_updates(folder: Path, number: int) -> bool:
    """Whether so many more of every learner come to be written."""
    before = updates(folder)

    def there() -> bool:
        now = updates(folder)
        return all(len(now[rank]) >= len(before[rank]) + number for rank in before)

    return commands.await_(there)


def answers_between_hosts(folder: Path) -> int:
    """How many have arrived that came from the other host."""
    spans = [record["span"] for record in records(folder) if "span" in record]
    return sum(
        kind == "recv answer" and nbytes > 0 and learner // 2 != peer // 2
        for learner, _, kind, _, _, nbytes, peer, _ in spans
    )


BETWEEN_HOSTS = {(a, b) for a in range(4) for b in range(4) if a // 2 != b // 2}
"""Each learner with each of the other host."""


def events(folder: Path) -> list[dict[str, Any]]:
    """What all processes have said so far."""
    found = []
    for file in folder.glob("said-*"):
        for line in file.read_text().splitlines():
            with suppress(json.JSONDecodeError):  # torchrun has its own words
                found.append(json.loads(line))
    return found


def learners_told(folder: Path, event: str) -> set[tuple[int, int]]:
    """Which learners have told it of which peers."""
    return {(one["rank"], one["fields"]["peer"]) for one in events(folder) if one["event"] == event}


def test_loopback_is_refused_between_hosts(hosts: Sequence[Host]) -> None:
    done = alone(hosts[0], command(hosts, 0, "127.0.0.1", *SUPER_LEARNERS))
    assert done.returncode == 2
    assert "real.interface = '127.0.0.1'" in done.stderr
    assert "--set real.interface=" in done.stderr


def alone(host: Host, words: list[str]) -> subprocess.CompletedProcess[str]:
    """A process as torchrun would start it, so that the other host need not be there."""
    environment = {
        **os.environ,
        "RANK": "0",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": host.address,
        "MASTER_PORT": str(PORT),
    }
    return subprocess.run(
        [*host.prefix, sys.executable, *words[words.index("-m") :]],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
