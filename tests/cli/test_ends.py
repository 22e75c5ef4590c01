"""However a real run ends, it ends whole: one message, the right exit code, no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from typer.core import TyperGroup

from tests.support import commands

SLEEPY = Path(__file__).parent / "scenarios" / "sleepy.toml"

FOR_HOURS = commands.settings("learners=3", "training.epochs=10000")


NOHUP = ["nohup", *commands.DUALRT]


class Started(NamedTuple):
    """A local run in which every learner has begun to train."""

    parent: subprocess.Popen[str]
    processes: set[commands.Process]
    """All of it, the parent included."""
    temporary: Path
    """Where its temporary files are."""
    here: Path
    """Where each learner has left its process's number."""
    ports: set[tuple[str, str]]
    """Where they listen."""
    shared: set[str]
    """What lay in shared memory before."""

    def pid(self, rank: int) -> int:
        """The process of a learner."""
        return int((self.here / str(rank)).read_text())


@pytest.fixture
def started(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Started]:
    """With other settings, if a test has some, than those that let it run for hours."""
    words = getattr(request, "param", [])
    command, settings = (words, []) if words == NOHUP else (commands.DUALRT, words)
    shared = commands.shared_files()
    temporary, here = tmp_path / "tmp", tmp_path / "started"
    temporary.mkdir()
    here.mkdir()
    env = {"TMPDIR": str(temporary), "DUALRT_TEST_STARTED": str(here)}
    words = ["train", str(SLEEPY), "--local", "3", *FOR_HOURS, *settings]
    with commands.start(*words, env=env, command=command) as parent:
        try:
            assert commands.await_(lambda: len(list(here.iterdir())) == 3)
            processes = commands.descendants(parent.pid)
            # The parent, three learners, and a child of each.
            assert len(processes) >= 7
            ports = commands.listening(processes)
            assert len(ports) >= 3
            yield Started(parent, processes, temporary, here, ports, shared)
        finally:
            parent.kill()


def leaves_nothing(started: Started) -> bool:
    """No process, port, temporary file, or file in shared memory, before long."""

    def left() -> list[object]:
        return [
            *commands.alive(started.processes),
            *(commands.ports() & started.ports),
            *started.temporary.iterdir(),
            *(commands.shared_files() - started.shared),
        ]

    if commands.await_(lambda: not left()):
        return True
    print("left behind:", left())
    return False


@pytest.mark.parametrize(
    ("started", "numbers", "code", "words"),
    [
        ([], [signal.SIGINT], 130, "interrupted"),
        ([], [signal.SIGHUP], 129, "ended by SIGHUP"),
        # To which closing the terminal is nothing.
        (NOHUP, [signal.SIGHUP, signal.SIGTERM], 143, "ended by SIGTERM"),
    ],
    indirect=["started"],
    ids=["SIGINT", "SIGHUP", "SIGTERM after a SIGHUP that nohup keeps away"],
)
def test_a_run_that_a_signal_ends_leaves_nothing(
    started: Started, numbers: list[signal.Signals], code: int, words: str
) -> None:
    if numbers == [signal.SIGHUP] and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        pytest.skip("these tests run under nohup, which dualrt respects")
    for number in numbers:
        started.parent.send_signal(number)
    out, err = started.parent.communicate(timeout=commands.PATIENCE_S)
    assert started.parent.returncode == code
    assert (out, err.splitlines()[-1]) == ("", f"dualrt: {words}")
    assert "Traceback" not in err
    assert leaves_nothing(started)


class Loading(ModuleType):
    """A module that a signal interrupts as it is loaded."""

    def __getattr__(self, name: str) -> object:
        signal.raise_signal(signal.SIGTERM)
        raise AttributeError(name)


def test_a_signal_that_comes_while_it_begins_is_told_as_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While modules are loaded, and while the command line is read."""

    def interrupted(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as loading:
        loading.setitem(sys.modules, "dualrt.cli.app", Loading("dualrt.cli.app"))
        ends = [commands.here("scenarios")]
    monkeypatch.setattr(TyperGroup, "make_context", interrupted)
    ends.append(commands.here("scenarios"))
    for end in ends:
        assert (end.returncode, end.stdout) == (143, "")
        assert end.stderr == "dualrt: ended by SIGTERM\n"


def test_a_killed_parent_leaves_nothing(started: Started) -> None:
    started.parent.kill()
    started.parent.wait(commands.PATIENCE_S)
    assert leaves_nothing(started)


def test_a_process_that_no_launcher_started_outlives_the_shell_that_did(tmp_path: Path) -> None:
    here, out = tmp_path / "started", tmp_path / "out"
    here.mkdir()
    alone = commands.settings("learners=1", "algorithm.name=ssgd", "training.epochs=0.2")
    shell = ["sh", "-c", '"$0" "$@" & wait', *commands.DUALRT]
    words = ["train", str(SLEEPY), *alone, "--out", str(out)]
    with commands.start(*words, command=shell, env={"DUALRT_TEST_STARTED": str(here)}) as started:
        assert commands.await_((here / "0").exists)
        started.kill()
        assert commands.await_((out / "summary.json").exists)


@pytest.mark.parametrize("started", [commands.settings("algorithm.name=sd-psgd")], indirect=True)
def test_a_killed_learner_that_everyone_needs_ends_the_run_and_is_named(started: Started) -> None:
    os.kill(started.pid(1), signal.SIGKILL)
    out, err = started.parent.communicate(timeout=commands.PATIENCE_S)
    assert (started.parent.returncode, out) == (1, "")
    assert "learner 1 was killed by SIGKILL" in err
    assert "PeerLostError: learner 1 is lost" in err
    assert "Traceback" not in err
    assert leaves_nothing(started)


@pytest.mark.parametrize("started", [commands.settings("training.epochs=6")], indirect=True)
def test_a_killed_learner_costs_the_others_nothing_that_they_need(started: Started) -> None:
    # The first, which usually collects the results.
    os.kill(started.pid(0), signal.SIGKILL)
    out, err = started.parent.communicate(timeout=commands.PATIENCE_S)
    assert started.parent.returncode == 0, err
    assert "warning: learner 0 was killed by SIGKILL, and is not started again" in err
    assert "AD-PSGD" in out or "adpsgd" in out
    assert leaves_nothing(started)


# Half of the timeout is how long a silent one is borne with.
LOCK_STEP = commands.settings("algorithm.name=ssgd", "real.timeout_s=12")


@pytest.mark.parametrize("started", [LOCK_STEP], indirect=True)
@pytest.mark.parametrize(
    ("rank", "number", "said"),
    [
        (0, signal.SIGKILL, "learner 0 was killed by SIGKILL"),
        (0, signal.SIGSTOP, ""),
        (2, signal.SIGSTOP, ""),
    ],
    ids=["first killed", "first stopped", "last stopped"],
)
def test_a_group_that_loses_a_member_stops_and_names_it(
    started: Started, rank: int, number: signal.Signals, said: str
) -> None:
    os.kill(started.pid(rank), number)
    out, err = started.parent.communicate(timeout=commands.PATIENCE_S)
    assert (started.parent.returncode, out) == (1, "")
    assert said in err
    assert f"PeerLostError: learner {rank} is lost" in err
    assert "Traceback" not in err
    assert leaves_nothing(started)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_death_before_all_have_met_ends_the_run_at_once(rank: int) -> None:
    patient = commands.settings("real.timeout_s=10000")
    with commands.start("train", SLEEPY, "--local", "3", *FOR_HOURS, *patient) as parent:
        try:
            os.kill(commands.learner(parent.pid, rank), signal.SIGKILL)
            out, err = parent.communicate(timeout=commands.PATIENCE_S)
        finally:
            parent.kill()
    assert (parent.returncode, out) == (1, "")
    assert f"learner {rank} was killed by SIGKILL before it had met the others" in err


def test_a_learner_that_is_back_too_late_is_no_part_of_the_run() -> None:
    crash = "faults.crashes=[{learner=0, at_step=3, rejoin_after_s=0.01}]"
    late = commands.settings("learners=3", "training.epochs=0.3", "workload.name=plugins:Late")
    done = commands.run("train", SLEEPY, "--local", "3", *late, "--set", crash, "--json")
    assert done.returncode == 0, done.stderr
    assert "the run was over before learner 0 was back" in done.stderr
    told = commands.only_object(done.stdout)
    assert told["faults"]["down_at_the_end"] == [0]
    assert told["steps_by_learner"][1] > 3


@pytest.mark.parametrize(
    "started", [commands.settings("training.epochs=3", "real.restarts=1")], indirect=True
)
def test_the_file_by_which_they_met_may_be_gone(started: Started) -> None:
    """The others train on, though nobody who is started again finds them."""
    (store,) = started.temporary.glob("*/store")
    store.unlink()
    os.kill(started.pid(1), signal.SIGKILL)
    out, err = started.parent.communicate(timeout=commands.PATIENCE_S)
    assert started.parent.returncode == 0, err
    assert "adpsgd" in out
    assert "the run was over before learner 1 was back" in err
    assert leaves_nothing(started)


def test_a_scenario_s_crash_is_one_and_is_counted() -> None:
    crash = commands.settings(
        "learners=3", "training.epochs=2", "faults.crashes=[{learner=1, at_step=3}]"
    )
    told = commands.result("train", SLEEPY, "--local", "3", *crash)
    assert told["faults"]["crashes"] == 1
    assert told["faults"]["down_at_the_end"] == [1]
    assert told["faults"]["messages_lost"] is None


@pytest.fixture(scope="module")
def failed() -> subprocess.CompletedProcess[str]:
    raising = commands.settings("algorithm.name=plugins:Raising", "learners=3")
    return commands.run("train", SLEEPY, "--local", "3", *raising)


def test_a_learner_that_raises_ends_the_run_with_its_story(
    failed: subprocess.CompletedProcess[str],
) -> None:
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "learner 1, strand 'train', step 3: ArithmeticError" in failed.stderr
    assert "the third step is one too many" in failed.stderr
    assert "Compute gradient on device" in failed.stderr


def test_the_end_of_a_learner_is_told_without_a_traceback(
    failed: subprocess.CompletedProcess[str],
) -> None:
    assert "Traceback" not in failed.stderr
    assert "torch" not in failed.stderr


def test_a_learner_that_raises_in_the_simulator_is_told_alike() -> None:
    raising = commands.settings("algorithm.name=plugins:Raising")
    done = commands.run("simulate", SLEEPY, *raising)
    assert (done.returncode, done.stdout) == (1, "")
    assert "learner 1, strand 'train', step 3: ArithmeticError" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (["algorithm.name=ssgd", "real.restarts=1"], "real.restarts"),
        (
            ["algorithm.name=h-adpsgd", "algorithm.learners_per_group=2", "real.restarts=1"],
            "real.restarts",
        ),
        (
            ["algorithm.name=sgp", "faults.crashes=[{learner=1, at_s=1, rejoin_after_s=1}]"],
            "faults.crashes.0.rejoin_after_s",
        ),
    ],
)
def test_nobody_is_started_again_whom_the_algorithm_does_not_take_back(
    settings: list[str], key: str
) -> None:
    done = commands.run("train", "digits-adpsgd", "--local", "4", *commands.settings(*settings))
    assert (done.returncode, done.stdout) == (2, "")
    assert key in done.stderr
    assert "takes back no learner that is started again" in done.stderr
