"""What cannot be is one message that names file, key, value and remedy, and exit code 2.

The commands run in this process, which is quick; `test_modes` and others run real ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dualrt.cli import main
from dualrt.sweep.ledger import Ledger
from tests.support import commands

Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must fail as bad input does; gives its stderr."""

    def run(*words: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["dualrt", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (2, "")
        assert err.startswith("dualrt: ")
        assert len(err.splitlines()) == 1
        return err

    return run


QUADRATIC = "quadratic-sd-psgd"
DIGITS = "digits-adpsgd"
PHANTOM = "workload={name='phantom',batch=4}"

BAD = [
    # scenario, settings, what the message says
    (QUADRATIC, ["learnerz=3"], "learnerz = 3: is not a known key. Did you mean 'learners'?"),
    (QUADRATIC, ["topology.graf=ring"], "topology.graf = 'ring'", "Did you mean 'graph'?"),
    (QUADRATIC, ["learners=four"], "learners = 'four': should be a valid integer"),
    (QUADRATIC, ["learners=0"], "learners = 0: should be greater than or equal to 1"),
    (QUADRATIC, ["training.schedule.rate=fast"], "training.schedule.rate = 'fast'"),
    (
        QUADRATIC,
        ["learners=6", "topology.graph=hypercube"],
        "topology.graph = 'hypercube'",
        "power of two",
        "Take 4 or 8",
    ),
    (QUADRATIC, ["topology.graph=rings"], "topology.graph = 'rings'", "Did you mean 'ring'?"),
    (QUADRATIC, ["topology.graph=no.graphml"], "topology.graph = 'no.graphml'", "no such file"),
    (QUADRATIC, ["topology.mixing=random-pairs"], "topology.mixing =", "Give a complete graph"),
    (QUADRATIC, ["topology.mixing=neighbors"], "topology.mixing =", "Did you mean 'neighbours'?"),
    (QUADRATIC, ["topology.mixing=matrix:no.csv"], "topology.mixing =", "no.csv"),
    (
        QUADRATIC,
        ["topology.graph=star", "topology.mixing=uniform"],
        "topology.mixing = 'uniform'",
        "not symmetric",
    ),
    (QUADRATIC, ["algorithm.name=sgd"], "algorithm.name = 'sgd'", "Did you mean 'ssgd'?"),
    (QUADRATIC, ["algorithm.name=nowhere:Mine"], "no module 'nowhere'", "beside the scenario"),
    (QUADRATIC, ["algorithm.name=:Mine"], "does not name a module", "module:name"),
    (QUADRATIC, ["algorithm.name=..mine:Mine"], "does not name a module"),
    (QUADRATIC, ["algorithm.name=json:Encoder"], "Did you mean 'JSONEncoder'?"),
    (QUADRATIC, ["algorithm.name=json:JSONEncoder"], "is no learner"),
    (
        QUADRATIC,
        ["algorithm.name=h-adpsgd", "cluster.servers=2", "cluster.gpus_per_server=3"],
        "algorithm.learners_per_group = (not given): the 4 learners are not spread evenly",
        "Start equally many in each node",
    ),
    (
        QUADRATIC,
        ["algorithm.name=h-adpsgd", "algorithm.learners_per_group=3"],
        "algorithm.learners_per_group = 3: does not divide 4 learners",
        "Choose a divisor of 4",
    ),
    (
        QUADRATIC,
        ["algorithm.name=h-adpsgd", "algorithm.learners_per_group=two"],
        "algorithm.learners_per_group = 'two': is none of what it may be",
        "What belongs here: Union[int, Literal['node']], by default 'node'",
    ),
    (QUADRATIC, ["workload.name=squares"], "workload.name = 'squares'", "There are: phantom"),
    (QUADRATIC, ["workload.name=builtins:dict"], "does not tell its parameters"),
    (QUADRATIC, ["workload.dimensions=3"], "Did you mean 'dimension'?", "condition_number"),
    (QUADRATIC, ["workload.dimension=3.5"], "workload.dimension = 3.5", "int, by default 64"),
    (QUADRATIC, ['workload.dimension="3"'], "workload.dimension = '3'", "int, by default 64"),
    (QUADRATIC, ["workload.dimension=0"], "workload.dimension = 0", "Choose 1 or more"),
    (QUADRATIC, ["workload.dtype=int8"], "workload.dtype = 'int8'", "Use float32 or float64"),
    (DIGITS, ["workload.hidden=[50, wide]"], "workload.hidden = '[50, wide]'", "quote"),
    (DIGITS, ['workload.hidden=[50, "wide"]'], "workload.hidden.1 = 'wide'", "Sequence[int]"),
    (DIGITS, ["workload.hidden=[0]"], "workload.hidden = [0]", "width is 1 or more"),
    (DIGITS, ["workload.batch=5000"], "workload.batch = 5000", "Choose a batch from 1 to 1437"),
    (
        QUADRATIC,
        ["cluster.gpus_per_server=2"],
        "learners = 4: the cluster has 2 GPUs",
        "--set cluster.servers=2",
    ),
    (
        QUADRATIC,
        ["learners=60000", "cluster.gpus_per_server=2", "topology.graph=complete"],
        "learners = 60000: the cluster has 2 GPUs",
    ),
    (
        QUADRATIC,
        [
            "algorithm.name=ssgd",
            "learners=3",
            "cluster.servers=2",
            "cluster.collectives.algorithm=hierarchical",
        ],
        "cluster.collectives.algorithm = 'hierarchical': ",
        "3 learners on 2 servers",
    ),
    *(
        (
            QUADRATIC,
            [PHANTOM, f"workload.flops_per_sample={rate}"],
            f"flops_per_sample = {rate}: a gradient",
        )
        for rate in ("nan", "inf")
    ),
    (QUADRATIC, [PHANTOM, f"workload.parameters_bytes={2**63}"], "parameters_bytes = 9", "64 bits"),
    (
        QUADRATIC,
        [PHANTOM, f"workload.parameters_bytes={2**60}"],
        "parameters_bytes = 1",
        "at most 1 PiB",
    ),
    (
        QUADRATIC,
        [f"workload.batch={2**40 - 1}", "training.accumulate=2"],
        "training.accumulate = 2",
        "Choose one of 1, 3, 5, 11",
    ),
    (QUADRATIC, ["cluster.device.name=A100"], "cluster.device.name = 'A100'", "Known are P100"),
    (QUADRATIC, ["faults.stragglers=[{learner=4, factor=2}]"], "faults.stragglers.0.learner = 4"),
    (QUADRATIC, ["nonsense"], "--set nonsense", "key=value"),
    (QUADRATIC, ["=3"], "--set =3", "names no key"),
    (QUADRATIC, ["learners=[1, 2"], "learners = '[1, 2'", "Close every bracket"),
]


@pytest.mark.parametrize(
    ("scenario", "settings", "said"),
    [(scenario, settings, said) for scenario, settings, *said in BAD],
    ids=[" ".join(settings) for _, settings, *_ in BAD],
)
def test_a_scenario_that_cannot_be_says_what_to_write_instead(
    refused: Refused, scenario: str, settings: list[str], said: list[str]
) -> None:
    message = refused("simulate", scenario, *commands.settings(*settings))
    assert f"{scenario}.toml" in message
    assert all(words in message for words in said), message


MINE = """
from dualrt.core.learner import Learner

class Empty:
    def __init__(self, *, seed, learners, batch): pass

class Bare:
    pass

class Idle(Learner):
    pass

class Greedy(Learner):
    def __init__(self, seat, extra): pass
    def strands(self): return ()
"""

FOREIGN = [
    ("workload.name=foreign:Empty", "lacks samples_per_epoch, batch, gradient_cost, weights"),
    ("workload.name=foreign:Bare", "Bare cannot be made of (seed, learners, batch)"),
    ("algorithm.name=foreign:Idle", "lacks strands"),
    ("algorithm.name=foreign:Greedy", "missing a required argument: 'extra'"),
]


@pytest.mark.parametrize(("setting", "said"), FOREIGN, ids=[setting for setting, _ in FOREIGN])
def test_a_class_found_in_the_current_directory_is_told_what_it_lacks(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str, said: str
) -> None:
    (tmp_path / "foreign.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "foreign", raising=False)
    assert said in refused("simulate", QUADRATIC, "--set", setting)


def test_the_option_at_fault_is_named(refused: Refused) -> None:
    message = refused("simulate", QUADRATIC, "--set", "learners=4", "--set", "workload.batch=x")
    assert "with --set workload.batch=x: workload.batch = 'x'" in message


def test_the_file_at_fault_is_named_with_line_and_column(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('title = "x"\nlearners = \n')
    assert f"{file}:2:12: is not TOML" in refused("simulate", file)


def test_a_scenario_that_is_not_there_is_told_with_those_that_are(refused: Refused) -> None:
    message = refused("simulate", "digits-adpsdg")
    assert "Did you mean 'digits-adpsgd'?" in message
    assert "Shipped are: " in message


def test_a_picture_that_cannot_be_drawn_is_refused_at_once(
    refused: Refused, tmp_path: Path
) -> None:
    assert "must end in .png" in refused("simulate", QUADRATIC, "--picture", "run.doc")
    nowhere = tmp_path / "nowhere" / "run.png"
    assert "Make it first" in refused("simulate", QUADRATIC, "--picture", nowhere)
    folder = tmp_path / "run.png"
    folder.mkdir()
    assert "is a folder" in refused("simulate", QUADRATIC, "--picture", folder)


def test_a_folder_that_cannot_be_made_is_refused_at_once(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "Name another folder" in refused("simulate", QUADRATIC, "--out", file / "run")
    assert "Name a new folder" in refused("simulate", QUADRATIC, "--out", file)


def test_a_workload_without_numbers_is_not_trained(refused: Refused) -> None:
    message = refused("train", "swb2000-ssgd-16", "--local", "2", "--set", "learners=2")
    assert "workload.name = 'acoustic-phantom': it has no numbers" in message
    assert "Simulate it" in message


def test_a_folder_that_is_no_kept_run_is_not_compared(refused: Refused, tmp_path: Path) -> None:
    assert "is no kept run" in refused("compare", tmp_path)


OVER = [
    (["seed"], "key=v1,v2"),
    (["seed=1,,2"], "a value is missing"),
    (["seed=1,1"], "1 is there twice"),
    (["seed=1", "seed=2"], "Put all its values into one"),
    (["learners=4,0"], "learners = 0"),
    (["workload.dtype=float32,int8"], "workload.dtype = 'int8'"),
    (["topology.graph=ring,hypercube", "learners=4,6"], "Take 4 or 8"),
]


@pytest.mark.parametrize(("over", "said"), OVER, ids=[" ".join(over) for over, _ in OVER])
def test_a_sweep_is_refused_whole_if_one_combination_cannot_be(
    refused: Refused, over: list[str], said: str, tmp_path: Path
) -> None:
    options = [word for one in over for word in ("--over", one)]
    file = tmp_path / "sweep.csv"
    message = refused("sweep", QUADRATIC, *options, "--jobs", "1", "--out", file)
    assert said in message
    assert not file.exists()


@pytest.mark.parametrize("what", ["part", "lock"])
def test_a_sweep_that_could_keep_no_row_is_refused_before_it_runs(
    refused: Refused, what: str, tmp_path: Path
) -> None:
    file = tmp_path / "sweep.csv"
    (tmp_path / f"sweep.csv.{what}").mkdir()
    message = refused("sweep", QUADRATIC, "--over", "seed=1", "--jobs", "1", "--out", file)
    assert f"--out {file}: nothing can be written beside it: Is a directory" in message
    assert not file.exists()


def test_a_sweep_is_not_kept_where_no_files_are(refused: Refused) -> None:
    message = refused("sweep", QUADRATIC, "--over", "seed=1", "--jobs", "1", "--out", "/proc/y.csv")
    assert "--out /proc/y.csv: nothing can be written beside it" in message


def test_a_sweep_is_refused_a_file_that_another_is_at_work_on(
    refused: Refused, tmp_path: Path
) -> None:
    file = tmp_path / "sweep.csv"
    with Ledger.alone(file, ["seed"]):
        message = refused("sweep", QUADRATIC, "--over", "seed=1", "--jobs", "1", "--out", file)
    assert f"--out {file}: another sweep is at work on it" in message
