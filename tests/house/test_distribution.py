"""What people install: the wheel, made of the source distribution, and what it says of itself."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

import dualrt

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> ZipFile:
    (found,) = dist.glob("*.whl")
    return ZipFile(found)


@pytest.mark.parametrize("kind", ["sims", "topologies", "calibrations"])
def test_the_wheel_ships_every_scenario_and_cluster(wheel: ZipFile, kind: str) -> None:
    shipped = {name for name in wheel.namelist() if name.startswith(f"dualrt/shipped/{kind}/")}
    here = {f"dualrt/shipped/{kind}/{path.name}" for path in (ROOT / kind).iterdir()}
    assert here
    assert shipped == here


def test_the_wheel_holds_every_module_and_the_licence(wheel: ZipFile) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "dualrt").rglob("*.py")}
    info = f"dualrt-{dualrt.__version__}.dist-info"
    assert modules | {"dualrt/py.typed", f"{info}/licenses/LICENSE"} <= set(wheel.namelist())


def test_the_wheel_holds_nothing_else(wheel: ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"dualrt", f"dualrt-{dualrt.__version__}.dist-info"}


def test_the_source_distribution_holds_what_development_needs(dist: Path) -> None:
    (found,) = dist.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "constraints.txt", "CONTRIBUTING.md", "tests/conftest.py"} <= names


def test_the_version_is_said_once_and_repeated_right(wheel: ZipFile) -> None:
    metadata = Parser().parsestr(
        wheel.read(f"dualrt-{dualrt.__version__}.dist-info/METADATA").decode()
    )
    assert metadata["Version"] == PROJECT["version"] == dualrt.__version__


def test_a_plain_install_brings_no_torch() -> None:
    assert not [name for name in PROJECT["dependencies"] if name.startswith(("torch", "pyzmq"))]
