"""Options, markers and settings that all tests share."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Generator, Iterator

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


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """What a test leaves in this process's environment and loggers would reach all after it.

    So does a library's choice of interface (GLOO_SOCKET_IFNAME), which children inherit.
    """
    environment, logger = dict(os.environ), logging.getLogger("dualrt")
    handlers, level, propagates = list(logger.handlers), logger.level, logger.propagate
    yield
    if dict(os.environ) != environment:
        os.environ.clear()
        os.environ.update(environment)
    logger.handlers[:], logger.propagate, logger.disabled = handlers, propagates, False
    logger.setLevel(level)


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """What torch computes meanwhile, one thread does: the bits of a sum depend on how many do."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def alone(item: pytest.Item) -> bool:
    """Whether it must run beside no other test."""
    return item.get_closest_marker("alone") is not None
