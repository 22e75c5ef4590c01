"""Options, markers and settings that all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

from tests.support.floor import Floor

# Learners times threads must not exceed cores, and results must not depend on the number of cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts background jobs with SIGINT ignored, and processes that tests interrupt inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("dualrt", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("dualrt")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="takes minutes; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


FLOOR = Floor()


# Outermost, so that a test's time does not begin before it may run.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    FLOOR.take(alone=alone(item))
    try:
        return (yield)
    finally:
        if not (alone(item) and nextitem is not None and alone(nextitem)):
            FLOOR.leave()


def alone(item: pytest.Item) -> bool:
    """Whether it must run beside no other test."""
    return item.get_closest_marker("alone") is not None
