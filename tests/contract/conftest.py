"""The stages that every behaviour is shown on."""

from __future__ import annotations

from typing import cast

import pytest

from tests.support.stage import STAGES, Stage


@pytest.fixture(params=STAGES)
def perform(request: pytest.FixtureRequest) -> Stage:
    """Runs a script to its end: once in virtual time, once for real."""
    return STAGES[cast(str, request.param)]


@pytest.fixture(autouse=True)
def _on_one_thread(one_torch_thread: None) -> None:
    """Whoever performs."""
