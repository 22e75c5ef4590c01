from __future__ import annotations

import math
from pathlib import Path

import pytest

from dualrt.core.errors import MissingExtraError
from dualrt.workloads.asr.extra import needed


def test_a_package_that_is_there_is_imported() -> None:
    assert needed("math", "counting") is math


def test_a_missing_package_names_the_extra_that_brings_it() -> None:
    with pytest.raises(MissingExtraError, match=r"counting needs .*'no-such-thing'.*dualrt\[asr\]"):
        needed("no_such_thing", "counting")


def test_a_package_that_lacks_another_says_so_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_there.py").write_text("import no_such_thing")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_thing"):
        needed("half_there", "counting")
