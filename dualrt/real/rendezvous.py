"""Rendezvous: how the processes of a real run find each other.

Owns what the launcher says and the store that all processes share, which carries addresses and the
name of the run before the first step, and nothing afterwards. Must not know what is sent later.

Any launcher will do that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun does. Ours
names a file instead of an address (`dualrt.real.launcher`), and says how often a learner was
started before: one that comes back finds the addresses of the others where they were published.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from torch.distributed import DistNetworkError, FileStore, PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from dualrt.core.errors import RunError, StalledError, UsageError
from dualrt.real.events import Events
from dualrt.real.gate import SLOW_SHARE
from dualrt.real.launcher import INCARNATION, STORE

Answer = TypeVar("Answer")

REQUIRED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

LEAST_WAIT_S = 0.05
"""For those whose word should be there already."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What the launcher told this process."""

    rank: int
    learners: int
    local_rank: int
    """Rank among the processes of this host, which chooses the device."""
    local_learners: int
    """Processes of this host."""
    nodes: int | None = None
    """Hosts, if the launcher tells."""
    incarnation: int = 0
    """How often this learner was started before, in this run."""

    @property
    def learners_per_node(self) -> int | None:
        """Processes of every host; None if they are not alike, as far as is known here.

        Alike means equally many, with ranks one after another.
        """
        size = self.local_learners
        nodes = self.learners / size if self.nodes is None else self.nodes
        alike = nodes * size == self.learners and self.rank % size == self.local_rank
        return size if alike and self.learners % size == 0 else None

    @classmethod
    def from_environment(cls) -> Launch | None:
        """None if no launcher started this process; raises UsageError if one did by halves."""
        if "RANK" not in os.environ:
            return None
        required = REQUIRED[:2] if STORE in os.environ else REQUIRED
        missing = [name for name in required if name not in os.environ]
        if missing:
            raise UsageError(
                f"RANK is set but {', '.join(missing)} is not. Start the processes with torchrun, "
                "or set all of " + ", ".join(REQUIRED)
            )
        rank, learners = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        return cls(
            rank,
            learners,
            int(os.environ.get("LOCAL_RANK", rank)),
            int(os.environ.get("LOCAL_WORLD_SIZE", learners)),
            int(os.environ["GROUP_WORLD_SIZE"]) if "GROUP_WORLD_SIZE" in os.environ else None,
            int(os.environ.get(INCARNATION, "0")),
        )


class Rendezvous:
    """The store that all processes of a run share. Raises StalledError if it is not reached.

    `number` tells apart the runs of one launch, whose store is the same. Every wait for another
    process takes `timeout_s` at most, and is told to `events` when it is long; its StalledError
    names the process, and what it was to say.
    """

    def __init__(
        self, launch: Launch, timeout_s: float, number: int = 0, events: Events | None = None
    ) -> None:
        self._launch, self._timeout = launch, timedelta(seconds=timeout_s)
        self._events = events or Events(launch.rank, launch.incarnation)
        self.store: Store | None = None
        if launch.learners > 1:
            store = self._shared()
            # A restarted launch may find the store of the last one.
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            self.store = PrefixStore(f"dualrt/{attempt}/{number}", store)
            self.store.set_timeout(self._timeout)

    def _shared(self) -> Store:
        file = os.environ.get(STORE)
        if file is not None:
            # Its own count of users would remove it when the first of them leaves.
            return FileStore(file, -1)
        try:
            store: Store = next(iter(rendezvous("env://", timeout=self._timeout)))[0]
        except (RuntimeError, ValueError, OSError) as error:
            raise StalledError(
                f"learner {self._launch.rank} cannot reach the rendezvous at {_served()}: {error}"
            ) from error
        return store

    def run_id(self) -> str:
        """A name that no other run has, the same in all processes."""
        if self.store is None:
            return secrets.token_hex(8)
        if self._launch.rank == 0:
            # Unless its dead self has.
            self._ask("run", lambda store: store.compare_set("run", "", secrets.token_hex(8)))
        return self._get("run", 0, "the name of the run")

    def began_ago_s(self) -> float:
        """Seconds since the run began: for its first processes it begins now."""
        if self.store is None:
            return 0.0
        if self._launch.rank == 0:
            self._ask("began", lambda store: store.compare_set("began", "", repr(time.time())))
        if self._launch.incarnation == 0:
            return 0.0
        began = self._get("began", 0, "when the run began")
        return max(0.0, time.time() - float(began))

    def publish(self, address: str) -> Mapping[int, str]:
        """Tell all others our address, and learn theirs."""
        if self.store is None:
            return {self._launch.rank: address}
        return dict(enumerate(self.exchange("address", address)))

    def exchange(self, what: str, ours: str) -> list[str]:
        """What all processes say of `what`, by rank."""
        if self.store is None:
            return [ours]
        self._set(f"{what}/{self._launch.rank}", ours)
        return [self._of(peer, what) for peer in range(self._launch.learners)]

    def agree(self, what: str, ours: str, remedy: str) -> None:
        """Raise UsageError in every process unless all say the same of `what`."""
        said = self.exchange(what, ours)
        for peer in range(1, len(said)):
            if said[peer] != said[0]:
                raise UsageError(
                    f"{what} are {said[0]} in process 0 and {said[peer]} in process {peer}; "
                    f"{remedy}"
                )

    def tell(self, what: str, ours: str) -> None:
        """Say something that others may ask for."""
        if self.store is not None:
            self._set(f"{what}/{self._launch.rank}", ours)

    def share(self, what: str, ours: str, ranks: Sequence[int] | None = None) -> dict[int, str]:
        """What each of `ranks`, or else all, says of `what`; without who says nothing in time."""
        if self.store is None:
            return {self._launch.rank: ours}
        self.tell(what, ours)
        end_s = time.monotonic() + self._timeout.total_seconds()
        said: dict[int, str] = {}
        for peer in range(self._launch.learners) if ranks is None else ranks:
            key = f"{what}/{peer}"
            left_s = max(LEAST_WAIT_S, end_s - time.monotonic())
            try:
                self.store.wait([key], timedelta(seconds=left_s))
            except DistNetworkError:
                break
            except RuntimeError:
                continue
            said[peer] = self._of(peer, what)
        return said

    def _of(self, peer: int, what: str) -> str:
        return self._get(f"{what}/{peer}", peer, f"its {what}")

    def _set(self, key: str, value: str) -> None:
        self._ask(key, lambda store: store.set(key, value))

    def _get(self, key: str, peer: int, what: str) -> str:
        """What stands there, once it does. Raises StalledError that says who has not told what."""
        timeout_s = self._timeout.total_seconds()
        first_s = SLOW_SHARE * timeout_s
        if not self._there(key, first_s):
            self._events.warning(
                "slow_wait",
                f"learner {self._launch.rank} has waited {first_s:g} s for process {peer} to "
                f"say {what}, and gives up after {timeout_s:g} s",
                peers=[peer],
                waited_s=first_s,
                patience_s=timeout_s,
            )
            if not self._there(key, timeout_s - first_s):
                raise StalledError(
                    f"process {peer} has not said {what} within {timeout_s:g} s: it is not there, "
                    "or does something else. See what it says; all processes of a run start "
                    "together, and join the same groups in the same order"
                )
        return self._ask(key, lambda store: store.get(key)).decode()

    def _there(self, key: str, timeout_s: float) -> bool:
        """Wait until something stands there; whether it came in time."""
        assert self.store is not None
        try:
            self.store.wait([key], timedelta(seconds=max(timeout_s, LEAST_WAIT_S)))
        except DistNetworkError as error:
            raise lost(self._launch.rank, error) from error
        except RuntimeError:
            return False
        return True

    def _ask(self, key: str, question: Callable[[Store], Answer]) -> Answer:
        """Raises StalledError if the store does not answer in time, RunError without it."""
        assert self.store is not None
        try:
            return question(self.store)
        except DistNetworkError as error:
            raise lost(self._launch.rank, error) from error
        except RuntimeError as error:
            seconds = self._timeout.total_seconds()
            raise StalledError(
                f"the rendezvous at {_served()} has not answered about {key!r} within {seconds:g} s"
            ) from error


def lost(rank: int, error: Exception) -> RunError:
    """The error to raise where the store answers no more, which torch tells by `error`."""
    return RunError(
        f"learner {rank} lost the rendezvous at {_served()} before all had met: who serves it, "
        f"torchrun or learner 0, has ended ({first_line(error)}). Start again"
    )


def first_line(error: Exception) -> str:
    """What torch says, without the trace of its C++ that follows."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _served() -> str:
    if STORE in os.environ:
        return os.environ[STORE]
    return f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
