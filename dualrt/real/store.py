"""Store: the table of a launch, which all its processes read and write; torch's.

Owns who serves it, the one connection that a process has to it, and the thread that asks. Must not
know what is kept there, nor who waits for it.

While a thread is inside the library it hears no signal, and not every call there has a bound: one
to a store that has stopped, or to a port where something else listens, may never return. So a
thread of ours makes the calls, and whoever asks waits for the answer as Python waits. Nor does
anybody wait in the library for what is not there yet, which would hold the connection from all
others, and be written to stderr where it takes too long.

A connection outlives the meetings that it was for: a store that rank 0 serves would be gone with
the last who holds it there, while others look for it. So each process keeps what it has reached
until it ends, and reaches it anew only where it does not answer.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from torch.distributed import FileStore, Store, TCPStore

from dualrt.real.launcher import STORE

Answer = TypeVar("Answer")

AGENT = "TORCHELASTIC_USE_AGENT_STORE"
"""Environment variable by which torchrun says that it serves the store itself."""

CONNECT_S = 5.0
"""How long to try one connection: who serves the store may not be there yet, and a network that
answers nothing asks for the next only after ever longer."""

AGAIN_S = 0.05
"""How long after one was refused."""

ANSWER_S = 0.5
"""How soon a store answers that does: a connection of before that takes longer is made anew."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is, and whether this process is the one to serve it."""

    file: str | None
    host: str
    port: int
    serves: bool

    @classmethod
    def from_environment(cls, rank: int) -> Place:
        """What the launcher says, which `Launch.from_environment` has checked."""
        file = os.environ.get(STORE)
        if file is not None:
            return cls(file, "", 0, serves=False)
        serves = rank == 0 and os.environ.get(AGENT) != str(True)
        return cls(None, os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), serves)

    def __str__(self) -> str:
        return self.file or f"{self.host}:{self.port}"


class UnreachedError(Exception):
    """There is no such store, or it is not reached in time; says why."""


class Desk:
    """One thread, a daemon, which makes the calls that others ask for, one after another."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="store", daemon=True).start()

    def ask(self, call: Callable[[], Answer], timeout_s: float) -> Answer:
        """What a call returns or raises; TimeoutError if it does neither in time."""
        answer: Future[Answer] = Future()

        def work() -> None:
            try:
                answer.set_result(call())
            except Exception as error:  # raised again where somebody waits
                answer.set_exception(error)

        self._calls.put(work)
        return answer.result(timeout_s)

    def close(self) -> None:
        """Have the thread end, after the call that it is in."""
        self._calls.put(None)

    def _serve(self) -> None:
        while (work := self._calls.get()) is not None:
            work()


class SharedStore:
    """A store as one process has reached it; UnreachedError if it does not within `timeout_s`.

    Any thread may ask.
    """

    def __init__(self, place: Place, timeout_s: float) -> None:
        self._desk = Desk()
        self._until_s = time.monotonic() + timeout_s
        self._trouble = "it does not answer"
        try:
            self.store: Store = self._desk.ask(lambda: self._reached(place, timeout_s), timeout_s)
        except BaseException as error:
            self._until_s = 0.0
            self.close()
            if isinstance(error, TimeoutError):
                raise UnreachedError(f"{self._trouble}, after {timeout_s:g} s") from error
            if isinstance(error, (RuntimeError, OSError)):
                raise UnreachedError(str(error)) from error
            raise

    def ask(self, question: Callable[[], Answer], timeout_s: float) -> Answer:
        """What the store answers. Raises DistNetworkError if it is gone, TimeoutError if late."""
        return self._desk.ask(question, timeout_s)

    def answers(self) -> bool:
        """Whether it still does, at once."""
        try:
            self.ask(lambda: self.store.check(["whether it answers"]), ANSWER_S)
        except (RuntimeError, TimeoutError):
            return False
        return True

    def close(self) -> None:
        """Answer nothing any more; what is served here still is."""
        self._desk.close()

    def _reached(self, place: Place, timeout_s: float) -> Store:
        if place.file is not None:
            # Its own count of users would remove it when the first of them leaves.
            return FileStore(place.file, -1)
        if not place.serves:
            self._await_listener(place)
            # torch says nothing of it, and waits.
            self._trouble = "what listens there does not answer as torch's store does"
        return TCPStore(
            place.host,
            place.port,
            None,
            place.serves,
            timeout=timedelta(seconds=timeout_s),
            # For others nobody waits in the library.
            wait_for_workers=False,
            # A program may serve one of its own there.
            multi_tenant=place.serves,
            use_libuv=os.environ.get("USE_LIBUV", "1") == "1",
        )

    def _await_listener(self, place: Place) -> None:
        """Until somebody listens there; torch would write to stderr that nobody does yet."""
        while (left_s := self._until_s - time.monotonic()) > 0:
            try:
                address = place.host, place.port
                socket.create_connection(address, min(left_s, CONNECT_S)).close()
            except OSError as error:
                self._trouble = str(error)
                time.sleep(AGAIN_S)
            else:
                return
        raise TimeoutError


_stores: dict[Place, SharedStore] = {}
_serving: list[SharedStore] = []
"""Those that did not answer at once. They may serve others nevertheless."""


def reached(place: Place, timeout_s: float) -> SharedStore:
    """The store of this launch; UnreachedError if it is not reached within the timeout."""
    before = _stores.pop(place, None)
    if before is not None and not before.answers():
        before.close()
        if place.serves:
            _serving.append(before)
        before = None
    store = _stores[place] = before or SharedStore(place, timeout_s)
    return store
