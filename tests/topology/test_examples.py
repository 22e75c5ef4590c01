"""The examples in the docstrings of the package are run as tests."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from dualrt.topology import (
    colouring,
    graphs,
    orientation,
    placement,
    plans,
    pushing,
    specs,
)


@pytest.mark.parametrize(
    "module",
    [colouring, graphs, orientation, placement, plans, pushing, specs],
    ids=lambda module: module.__name__,
)
def test_the_examples_in_a_module_hold(module: ModuleType) -> None:
    failed, attempted = doctest.testmod(module)
    assert attempted > 0
    assert failed == 0
