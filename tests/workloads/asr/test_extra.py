from __future__ import annotations

import math
import sys

import pytest

from dualrt.core.errors import MissingExtraError
from dualrt.workloads.asr.extra import needed


def test_a_package_that_is_there_is_imported() -> None:
    assert needed("math", "counting") is math


def test_a_missing_package_names_the_extra_that_brings_it() -> None:
    with pytest.raises(MissingExtraError, match=r"counting needs .*'no-such-thing'.*dualrt\[asr\]"):
        needed("no_such_thing", "counting")


def test_a_package_that_lacks_another_says_so_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "math", None)
    with pytest.raises(MissingExtraError, match="'math'"):
        needed("math", "counting")
