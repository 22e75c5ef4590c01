"""`dualrt swarm`: its table, its JSON, its failures and the way back to them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from dualrt.scenario import load
from tests.support import commands
from tests.swarm.scenarios import broken

FEW = ("swarm-small", "--seeds", "3", "--jobs", "1")


def test_what_holds_is_a_table_and_exit_code_0() -> None:
    done = commands.here("swarm", *FEW)
    assert done.returncode == 0, done.stderr
    for words in ("3 seeds, 0 failed", "no deadlock", "conservation", "progress after healing"):
        assert words in done.stdout


def test_json_is_one_object() -> None:
    found = commands.result_here("swarm", *FEW, "--faults", "crashes,returns")
    assert (found["seeds"], found["first_seed"], found["failed"]) == (3, 1, [])
    assert found["faults"] == {"crashes": 3}
    assert found["checked"]["end"] == 3


def test_a_failure_is_printed_with_its_options_and_the_command_that_replays_it(
    tmp_path: Path,
) -> None:
    file = broken(tmp_path, workload="Forgetful")
    done = commands.here("swarm", file, "--seeds", "2", "--jobs", "1", "--faults", "delay")
    assert done.returncode == 1
    assert "seed 1" in done.stdout
    assert "conservation: nothing was lost" in done.stdout
    assert "[[faults.messages]]" in done.stdout or "messages = [" in done.stdout
    commanded = [line for line in done.stdout.splitlines() if line.startswith("  dualrt swarm")]
    assert len(commanded) == 2
    _, *words = shlex.split(commanded[1])
    replayed = commands.here(*words, "--json")
    assert replayed.returncode == 1
    (failure,) = json.loads(replayed.stdout)["failed"]
    assert failure["seed"] == 2
    # The full options are a scenario that stands by itself.
    alone = tmp_path / "alone.toml"
    alone.write_text(failure["scenario"])
    assert load(alone).faults.messages


def test_a_scenario_that_fails_without_faults_says_so(tmp_path: Path) -> None:
    file = broken(tmp_path, algorithm="Silent")
    done = commands.here("swarm", file, "--seeds", "1", "--jobs", "1")
    assert done.returncode == 1
    assert "every live strand waits" in done.stderr


def test_an_unknown_kind_is_exit_code_2() -> None:
    done = commands.here("swarm", "swarm-small", "--faults", "storms")
    assert done.returncode == 2
    assert "there is no kind 'storms'" in done.stderr


def test_ctrl_c_ends_it_and_leaves_nothing() -> None:
    words = ("swarm", "swarm-small", "--seeds", "100000", "--jobs", "2")
    # It, and two that work for it, with what keeps track of them.
    done = commands.interrupted(*words, once=commands.has_processes(4))
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr


def test_more_seeds_than_anybody_waits_for_are_refused() -> None:
    refused = commands.here("swarm", "swarm-small", "--seeds", "9" * 20)
    assert refused.returncode == 2
    assert "1000000" in refused.stderr
