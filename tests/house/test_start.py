"""What is loaded, and when: importing torch takes seconds, so what can do without does."""

from __future__ import annotations

import subprocess
import sys

import pytest

RUN = """
import sys
{before}
sys.argv = ["dualrt", *{arguments!r}]
from dualrt.cli import main
try:
    main()
except SystemExit as stop:
    code = stop.code or 0
else:
    code = 0
print("loaded:", *sorted({{name.split(".")[0] for name in sys.modules}}))
raise SystemExit(code)
"""

HIDE_TORCH = """
class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] == "torch"
        return None if hidden else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Hiding, sys.meta_path)
"""
"""An installation without the extra `train`, as far as imports can tell."""

TIMING_ONLY = ("simulate", "swb2000-ssgd-16", "--set", "simulation.epochs=0.0001", "--json")


def dualrt(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """The command line in an interpreter of its own, which says at last what it has loaded."""
    code = RUN.format(arguments=list(arguments), before=before)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def loaded(run: subprocess.CompletedProcess[str]) -> set[str]:
    assert run.returncode == 0, run.stderr
    return set(run.stdout.splitlines()[-1].removeprefix("loaded: ").split())


def test_importing_dualrt_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import dualrt; print(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) <= {"dualrt", "__future__"}


def test_help_loads_no_part_that_does_work() -> None:
    heavy = {"torch", "numpy", "matplotlib", "networkx", "simpy", "zmq", "sklearn"}
    assert loaded(dualrt("--help")) & heavy == set()


def test_a_timing_only_simulation_loads_no_torch() -> None:
    modules = loaded(dualrt(*TIMING_ONLY))
    assert "simpy" in modules
    assert modules & {"torch", "sklearn", "zmq", "tensorboard", "prometheus_client"} == set()


def test_a_timing_only_simulation_needs_no_torch() -> None:
    assert "simpy" in loaded(dualrt(*TIMING_ONLY, before=HIDE_TORCH))


@pytest.mark.parametrize(
    "arguments",
    [("train", "digits-adpsgd", "--local", "2"), ("simulate", "digits-adpsgd")],
    ids=["train", "simulate with numerics"],
)
def test_what_needs_torch_says_which_extra_brings_it(arguments: tuple[str, ...]) -> None:
    run = dualrt(*arguments, before=HIDE_TORCH)
    assert run.returncode == 2
    assert "pip install 'dualrt[train]'" in run.stderr
    assert "Traceback" not in run.stderr
