from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dualrt.core.errors import MissingExtraError, UsageError
from dualrt.workloads import workload_class
from dualrt.workloads.phantom import AcousticPhantom, Phantom


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    # Remembers that these are absent, and removes them at the end.
    for name in ("garden", "shed"):
        monkeypatch.setitem(sys.modules, name, sys)
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def test_shipped_workloads_have_names() -> None:
    assert workload_class("phantom") is Phantom
    assert workload_class("acoustic-phantom") is AcousticPhantom
    assert workload_class("quadratic").__name__ == "Quadratic"
    assert workload_class("digits").__name__ == "Digits"


def test_a_class_of_the_users_own_is_found_by_module_and_name(elsewhere: Path) -> None:
    (elsewhere / "garden.py").write_text("class Roses: pass")
    assert workload_class("garden:Roses").__name__ == "Roses"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no workload 'digit'\. Did you mean 'digits'\?"):
        workload_class("digit")
    with pytest.raises(UsageError, match=r"no workload 'xyz'\. Shipped are phantom, "):
        workload_class("xyz")


@pytest.mark.parametrize("name", [":Roses", "garden:", ":"])
def test_half_a_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="name one of your own as 'module:Class'"):
        workload_class(name)


@pytest.mark.parametrize(
    ("name", "missing"), [("garden:Roses", "garden"), ("garden.beds:Roses", "garden")]
)
def test_a_missing_module_is_told_from_a_missing_class(
    elsewhere: Path, name: str, missing: str
) -> None:
    with pytest.raises(UsageError, match=f"no module '{missing}' on the import path"):
        workload_class(name)


def test_a_missing_class_is_answered_with_the_nearest(elsewhere: Path) -> None:
    (elsewhere / "garden.py").write_text("class Roses: pass\ntulip = 1")
    with pytest.raises(UsageError, match=r"no class 'Rose'\. Did you mean 'Roses'\?"):
        workload_class("garden:Rose")
    with pytest.raises(UsageError, match=r"no class 'tulip'\. Write"):
        workload_class("garden:tulip")


def test_a_module_that_lacks_a_package_says_which(elsewhere: Path) -> None:
    (elsewhere / "garden.py").write_text("import shed")
    with pytest.raises(UsageError, match="'garden' imports 'shed', which is not installed"):
        workload_class("garden:Roses")


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(module: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(MissingExtraError, match=r"workload 'digits' .*dualrt\[train\]"):
        workload_class("digits")
