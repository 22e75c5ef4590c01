"""The same work on many items, on several processes, in the items' order.

Owns processes and their end: whatever stops the caller (Ctrl-C, an error, no longer iterating), no
process is left behind. Knows nothing of speech.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from dualrt.core.errors import RunError

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 8  # large enough to make the queue's cost vanish, small enough to stop within a second


def map_in_order(
    build: Callable[[], Callable[[Item], Result]], items: Sequence[Item], *, jobs: int
) -> Generator[Result]:
    """The results of `build()(item)` for each of the `items`, in their order.

    `build` makes the worker once in each process (once in this process if `jobs` is 1), so it must
    be importable by name. Processes are spawned, not forked: the caller may hold threads. They end
    when the generator does; close it, if it may be left early.

    Raises:
        RunError: a process was killed.
    """
    if jobs == 1:
        yield from map(build(), items)
        return
    executor = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(build,)
    )
    try:
        with _interrupts_held():
            results = executor.map(_work, items, chunksize=_CHUNK)
        yield from results
    except BrokenProcessPool as broken:
        raise RunError(
            f"one of {jobs} worker processes died, perhaps for lack of memory. Use fewer jobs."
        ) from broken
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C, which the terminal sends to every process of the group, waits until the end.

    Processes started meanwhile never see it: they inherit the mask, and end when their pool does.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker: Callable[[Any], Any]


def _begin(build: Callable[[], Callable[[Any], Any]]) -> None:
    global _worker  # noqa: PLW0603 - a pool's initializer has no other way to reach its tasks
    _worker = build()


def _work(item: Any) -> Any:
    return _worker(item)
