"""Under torch's own launcher, which is how a run gets on several machines."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import commands

QUADRATIC = ["quadratic-sd-psgd", *commands.settings("training.epochs=0.1")]


def test_torchrun_starts_a_run_and_the_first_process_prints() -> None:
    two = commands.settings("learners=2")
    words = ["train", *QUADRATIC, *two, "--json", "--log-level", "info"]
    done = commands.run(*words, command=commands.TORCHRUN)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    # Each process says so itself.
    assert "learner 0 of 2 takes part in run" in done.stderr
    assert "learner 1 of 2 takes part in run" in done.stderr
    assert (figures["mode"], figures["learners"]) == ("real", 2)
    assert figures["digest"] == commands.result_here("simulate", *QUADRATIC, *two)["digest"] | {
        "timing": figures["digest"]["timing"]
    }


def test_learners_do_not_outlive_a_killed_launcher(tmp_path: Path) -> None:
    sleepy = Path(__file__).parent / "scenarios" / "sleepy.toml"
    for_hours = commands.settings("learners=2", "training.epochs=10000")
    env = {"DUALRT_TEST_STARTED": str(tmp_path)}
    with commands.start(
        "train", sleepy, *for_hours, command=commands.TORCHRUN, env=env
    ) as launcher:
        assert commands.await_(lambda: len(list(tmp_path.iterdir())) == 2)
        processes = commands.descendants(launcher.pid)
        # torchrun, two learners, and a child of each.
        assert len(processes) >= 5
        launcher.kill()
        launcher.wait(commands.PATIENCE_S)
        assert commands.await_(lambda: not commands.alive(processes))


def test_another_number_of_processes_than_learners_is_refused() -> None:
    done = commands.run("train", *QUADRATIC, command=commands.TORCHRUN)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "learners = 4: but the number of processes is 2" in done.stderr
    assert "use --set learners=2" in done.stderr


def test_a_folder_in_use_is_refused_under_a_launcher_as_without(tmp_path: Path) -> None:
    (tmp_path / "records-0.jsonl").touch()
    alone = commands.settings("learners=1")
    done = commands.run("train", *QUADRATIC, *alone, "--out", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--out {tmp_path} is there already. Name a new folder" in done.stderr


def test_local_processes_are_not_started_by_a_process_of_a_launcher() -> None:
    done = commands.run("train", *QUADRATIC, "--local", "4", env={"RANK": "0"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "Leave --local out" in done.stderr


def test_a_gpu_is_refused_where_there_is_none() -> None:
    alone = commands.settings("learners=1", "real.device=cuda")
    done = commands.run("train", *QUADRATIC, *alone, env={"CUDA_VISIBLE_DEVICES": ""})
    assert (done.returncode, done.stdout) == (2, "")
    assert "real.device = 'cuda'" in done.stderr
    assert "--set real.device=cpu" in done.stderr
    assert "Traceback" not in done.stderr
