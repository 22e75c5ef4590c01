"""`dualrt sweep`: tables, JSON, a file to go on with, and its end."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.support import commands

SLEEPY = Path(__file__).parent / "scenarios" / "sleepy.toml"

SHORT = ["quadratic-sd-psgd", *commands.settings("training.epochs=0.05", "learners=2")]

HERE = ["--jobs", "1"]
"""One at a time, which needs no process."""

OVER = ["--over", "algorithm.name=ssgd,sd-psgd", "--over", "seed=1,2"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sweep") / "sweep.csv"
    done = commands.run("sweep", *SHORT, *OVER, "--out", file)
    assert done.returncode == 0, done.stderr
    assert "held-out loss over seeds" in done.stdout
    assert "kept in" in done.stderr
    return file


def test_a_sweep_gives_the_figures_of_single_runs(kept: Path) -> None:
    swept = commands.result_here("sweep", *SHORT, *OVER, "--out", kept)
    assert swept["over"] == {"algorithm.name": ["ssgd", "sd-psgd"], "seed": [1, 2]}
    last = swept["runs"][-1]
    assert (last["algorithm.name"], last["seed"], last["failed"]) == ("sd-psgd", 2, "")
    single = commands.result_here("simulate", *SHORT, "--seed", "2")
    assert last["numerics_digest"] == single["digest"]["numerics"]
    assert last["timing_digest"] == single["digest"]["timing"]
    assert last["loss"] == single["loss"]
    assert last["staleness_mean"] == single["staleness"]["mean"]


def test_a_sweep_is_summed_up_over_seeds(kept: Path) -> None:
    swept = commands.result_here("sweep", *SHORT, *OVER, "--out", kept)
    losses = [run["loss"] for run in swept["runs"] if run["algorithm.name"] == "ssgd"]
    first, second = swept["by"]
    assert first == {
        "combination": {"algorithm.name": "ssgd"},
        "figure": "loss",
        "seeds": 2,
        "without": 0,
        "mean": pytest.approx(sum(losses) / 2),
        "min": min(losses),
        "max": max(losses),
    }
    assert second["combination"] == {"algorithm.name": "sd-psgd"}


def test_a_sweep_of_timing_alone_has_no_spread_and_speaks_of_no_failure() -> None:
    timing = commands.settings("simulation.numerics=false")
    done = commands.here("sweep", *SHORT, *timing, "--over", "seed=1,2", *HERE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "over seeds" not in done.stdout
    assert "failed" not in done.stdout


def test_a_sweep_is_drawn_and_kept_as_parquet(tmp_path: Path) -> None:
    file, picture = tmp_path / "sweep.parquet", tmp_path / "sweep.png"
    timing = ["swb2000-ssgd-16", *commands.settings("simulation.epochs=0.001")]
    words: list[str | Path] = ["sweep", *timing, "--over", "workload.batch=32,160", "--out", file]
    drawn = commands.here(*words, *HERE, "--plot", picture, "--y", "speedup_over_one")
    assert drawn.returncode == 0, drawn.stderr
    listed = " ".join(drawn.stdout.split())
    assert "fitted to measurements: cluster.host_memory_bytes_per_s" in listed
    assert picture.read_bytes().startswith(b"\x89PNG")
    kept = file.read_bytes()
    again = commands.result_here(*words, *HERE)
    assert [run["workload.batch"] for run in again["runs"]] == [32, 160]
    assert {run["fitted"] for run in again["runs"]} == {"cluster.host_memory_bytes_per_s"}
    assert file.read_bytes() == kept


RENT: list[str | Path] = [
    "sweep",
    "swb2000-ssgd-16",
    *commands.settings("simulation.epochs=0.001", "cluster.price_per_server_hour=20"),
    "--over",
    "learners=4,8",
    *HERE,
]


def test_a_sweep_says_what_to_rent(tmp_path: Path) -> None:
    four, eight = commands.result_here(*RENT)["runs"]
    assert [run["servers"] for run in (four, eight)] == [1, 2]
    assert four["cost_total"] == pytest.approx(20 * four["hours_total"])
    assert eight["server_hours_total"] == pytest.approx(2 * eight["hours_total"])
    soon = ["--max", f"hours_total={eight['hours_total']}"]
    chosen = commands.result_here(*RENT, "--best", "cost_total")["choice"]
    assert chosen["figure"] == "cost_total"
    assert [one["combination"]["learners"] for one in chosen["will_do"]] == [4, 8]
    assert chosen["why_none"] is None
    picture = tmp_path / "rent.svg"
    drawn = commands.here(*RENT, *soon, "--plot", picture, "--x", "hours_total")
    assert drawn.returncode == 0, drawn.stderr
    assert "best by cost_total within hours_total <= " in drawn.stdout
    assert "learners=8 (cost_total " in drawn.stdout
    assert "cost_total over hours_total" in picture.read_text()
    across = commands.result_here(*RENT, "--best", "cost_total", "--across", "learners")["choice"]
    assert [one["combination"] for one in across["will_do"]] == [{}]


def test_a_sweep_in_which_nothing_will_do_says_how_near_it_came() -> None:
    done = commands.here(*RENT, "--max", "hours_total=1", "--min", "speedup_over_one=2")
    assert done.returncode == 1
    assert "no combination is within hours_total <= 1 and speedup_over_one >= 2" in done.stderr
    assert "with learners=8" in done.stderr
    free = commands.here(*RENT[:4], *RENT[6:], "--best", "cost_total")
    assert free.returncode == 1
    assert "no run has cost_total, so none is best. Say what a server costs" in free.stderr
    # The rows are there all the same.
    assert "speed-up" in free.stdout


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--plot", "sweep.xls"], "--plot sweep.xls: its name must end in"),
        (["--plot", "sweep.png", "--y", "speed"], "no figure has that name"),
        (["--y", "loss"], "--y goes with --plot"),
        (["--x", "loss"], "--x goes with --plot"),
        (["--plot", "sweep.png", "--x", "speed"], "--x speed: no figure has that name"),
        (["--max", "hours_total"], "does not have the form FIGURE=VALUE"),
        (["--best", "price"], "--best price: no figure has that name"),
        (["--across", "learners"], "--across learners: it is not swept"),
        (["--out", "sweep.xls"], "must end in .csv or .parquet"),
        (["--engine", "spark"], "Known are loky, dask and ray"),
    ],
)
def test_what_a_sweep_cannot_do_is_said_before_it_runs(words: list[str], problem: str) -> None:
    done = commands.here("sweep", *SHORT, "--over", "seed=1", *words)
    assert done.returncode == 2
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sweep_goes_on_where_it_was_broken_off(kept: Path) -> None:
    header, *rows = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join([header, rows[0], *rows[2:]]))
    more = ["--over", "algorithm.name=ssgd,sd-psgd", "--over", "seed=1,2,3"]
    swept = commands.result_here("sweep", *SHORT, *more, "--out", kept, *HERE)
    assert [run["seed"] for run in swept["runs"]] == [1, 2, 3, 1, 2, 3]
    after = kept.read_text().splitlines(keepends=True)
    # To the letter, the time that each took included: these were not run again.
    assert set(after) > {rows[0], *rows[2:]}
    assert len(after) == 1 + 6


def test_a_run_that_fails_is_a_row_and_the_exit_code() -> None:
    raising = ["--over", "algorithm.name=plugins:Raising,adpsgd"]
    short = commands.settings("training.epochs=0.2")
    done = commands.run("sweep", SLEEPY, *raising, *short, "--json")
    assert done.returncode == 1
    failed, fine = json.loads(done.stdout)["runs"]
    assert "the third step is one too many" in failed["failed"]
    assert "loss" not in failed
    assert fine["failed"] == ""
    assert fine["steps"] >= 20
    assert "algorithm.name=plugins:Raising failed: learner 1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_sweep_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    for_hours = commands.settings("training.epochs=10000", "learners=2")
    env = {"DUALRT_TEST_STARTED": str(tmp_path)}
    with commands.start("sweep", SLEEPY, *for_hours, "--over", "seed=1,2", env=env) as parent:
        try:
            assert commands.await_(lambda: len(list(tmp_path.iterdir())) == 2)
            processes = commands.descendants(parent.pid)
            assert len(processes) >= 3
            parent.send_signal(number)
            _, err = parent.communicate(timeout=commands.PATIENCE_S)
        finally:
            parent.kill()
    assert parent.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in err
    assert commands.await_(lambda: not commands.alive(processes))
