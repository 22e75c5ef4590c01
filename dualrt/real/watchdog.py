"""Watchdog: the ways in which a process of a run must end whatever else it does.

Owns signals, what they make the exit code, the death of the launcher, and the last resort. Must not
know what the process does.

A signal that asks for an end becomes an exception in the main thread, as Ctrl-C does, so that every
`with` on the way is left. A signal that whoever started the process has it ignore stays ignored,
but for SIGTERM: that is what `nohup` is for, and how a shell keeps Ctrl-C from what it runs in the
background.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

GRACE_S = 1.5
"""How long a clean end may take after a signal: a call that hangs in a library cannot be ended."""

POLL_S = 0.5
"""How often the launcher is looked for."""

TORCHRUN = "TORCHELASTIC_RUN_ID"
"""Environment variable that torchrun sets."""

STARTED_BY = os.getppid()
"""Who started this process, asked as early as can be: it may be gone soon."""

INIT = 1
"""The process that those without a parent are given to."""

INIT_WORDS = Path("/proc/1/cmdline")

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C; a launcher, or a scheduler that wants the machine; a terminal that is closed."""


_excused: set[int] = set()
"""Signals of which the next that comes asks for no end."""

_heard: list[int] = []
"""The signals that were raised, in the innermost of the contexts that raise them."""


class Ended(KeyboardInterrupt):
    """A signal asks this process to end. Who catches Ctrl-C catches it too."""

    def __init__(self, number: int) -> None:
        self.number = signal.Signals(number)
        super().__init__(self.number.name)


def asked_to_end() -> Ended | None:
    """What `signals_raise` has raised first, whatever has become of it on its way."""
    return Ended(_heard[0]) if _heard else None


def exit_code(asked: KeyboardInterrupt) -> int:
    """What a process that ends so returns: 128 and the signal's number, as shells have it."""
    return 128 + (asked.number if isinstance(asked, Ended) else signal.SIGINT)


def words(asked: KeyboardInterrupt) -> str:
    """The same for people."""
    if exit_code(asked) == 128 + signal.SIGINT:
        return "interrupted"
    return f"ended by {asked}"


@contextmanager
def signals_raise() -> Iterator[None]:
    """Meanwhile, signals that ask for an end raise `Ended`; each as often as it comes."""
    _heard.clear()
    with _handling(_raise):
        yield


@contextmanager
def signals_raise_once() -> Iterator[None]:
    """The same once, with a bound on what comes after: then the process ends in any case.

    The bound holds also where the main thread is inside a library, for which Python's handlers
    wait; unless the program has a wakeup file of its own, as an event loop has while it runs.
    """
    with _handling(_raise_once), _listening():
        yield


@contextmanager
def first_asks(ask: Callable[[], None]) -> Iterator[None]:
    """Meanwhile, the first SIGTERM calls `ask`, on a thread; a second does what it did before."""
    before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    # Of what a thread can wait for, the only thing that a signal handler may safely touch.
    asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
    handled = False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal handled
        handled = True
        signal.signal(number, before)
        asked.put(True)

    def wait() -> None:
        if asked.get():
            ask()

    threading.Thread(target=wait, name="preemption", daemon=True).start()
    _excused.add(signal.SIGTERM)
    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if not handled:
            # Else it is up to who listens, who may not have got that far.
            _excused.discard(signal.SIGTERM)
        asked.put(False)


def leave(code: int) -> NoReturn:
    """End this process, but not through the interpreter's own end.

    That would end daemon threads as they come back from native code, which C++ takes for an error
    and aborts.
    """
    for stream in (sys.stdout, sys.stderr):
        # Nobody may read any more, and there may be none.
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(code)


def end_with(parent: int) -> None:
    """End this process when `parent`, which started it, is gone."""
    threading.Thread(target=_watch, args=(parent,), name="watchdog", daemon=True).start()


def end_with_torchrun() -> None:
    """The same, if torchrun started it; at once, if that was gone before it could be asked for."""
    if TORCHRUN not in os.environ:
        return
    if is_orphan(STARTED_BY):
        end_at_once()
    end_with(STARTED_BY)


def is_orphan(parent: int) -> bool:
    """Whether no Python program can be this `parent`, as it is the system's first process.

    In a container, the first process may be the launcher itself.
    """
    if parent != INIT:
        return False
    try:
        return b"python" not in INIT_WORDS.read_bytes()
    except OSError:
        # No Linux.
        return False


def end_at_once() -> NoReturn:
    """End this process, and whatever it has started if it leads a group of processes."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    # None is a handler that was not set from Python, and cannot be set again.
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in ENDING}
    for number, handled in before.items():
        if handled is not signal.SIG_IGN or number is signal.SIGTERM:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


def _raise(number: int, _: FrameType | None) -> None:
    _heard.append(number)
    raise Ended(number)


def _raise_once(number: int, _: FrameType | None) -> None:
    for one in ENDING:
        signal.signal(one, signal.SIG_IGN)
    _end_in_time(number)
    raise Ended(number)


def _end_in_time(number: int) -> None:
    last_resort = threading.Timer(GRACE_S, os._exit, args=(128 + number,))
    last_resort.daemon = True
    last_resort.start()


@contextmanager
def _listening() -> Iterator[None]:
    """Meanwhile, a thread hears of signals as they come, whatever the main thread does."""
    _excused.clear()
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    before = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    if before != -1:
        signal.set_wakeup_fd(before)
    threading.Thread(target=_listen, args=(ear,), name="signals", daemon=True).start()
    try:
        yield
    finally:
        now = signal.set_wakeup_fd(-1)
        if now != mouth:
            signal.set_wakeup_fd(now)
        os.close(mouth)


def _listen(ear: int) -> None:
    """Give each signal that `_raise_once` is to handle its bound, until nobody can say any more."""
    while numbers := os.read(ear, 64):
        for number in numbers:
            if number in _excused:
                _excused.discard(number)
            elif signal.getsignal(number) is _raise_once:
                _end_in_time(number)
    os.close(ear)


def _watch(parent: int) -> None:
    tick = threading.Event()
    while os.getppid() == parent:
        tick.wait(POLL_S)
    end_at_once()
