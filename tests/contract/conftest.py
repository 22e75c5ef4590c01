"""The stages that every behaviour is shown on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
import torch

from tests.support.stage import STAGES, Stage


@pytest.fixture(params=STAGES)
def perform(request: pytest.FixtureRequest) -> Stage:
    """Runs a script to its end: once in virtual time, once for real."""
    return STAGES[cast(str, request.param)]


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
