"""Rendezvous: how the processes of a real run find each other.

Owns what the launcher says, and what all processes tell each other by the store that they share
(`dualrt.real.store`): addresses and the name of the run before the first step, and nothing
afterwards. Must not know what is sent later.

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

from torch.distributed import DistNetworkError, PrefixStore, Store

from dualrt.core.errors import RunError, StalledError, UsageError
from dualrt.real.events import Events
from dualrt.real.gate import SLOW_SHARE
from dualrt.real.launcher import INCARNATION, STORE
from dualrt.real.store import ANSWER_S, Place, SharedStore, UnreachedError, reached

Answer = TypeVar("Answer")

REQUIRED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

MOST_PORT = 2**16 - 1

MEANINGS = {
    "RANK": " (less than WORLD_SIZE)",
    "LOCAL_RANK": " (less than LOCAL_WORLD_SIZE)",
    "LOCAL_WORLD_SIZE": " (no more than WORLD_SIZE)",
    "GROUP_WORLD_SIZE": " (no more than WORLD_SIZE)",
}
"""Where the bounds of a number come from that the launcher says."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.05
"""How long to leave the store alone when somebody's word is not there yet: at first, and later."""


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
        learners = _number("WORLD_SIZE", 1)
        rank = _number("RANK", 0, learners - 1)
        local_learners = _number("LOCAL_WORLD_SIZE", 1, learners, absent=learners)
        if "MASTER_PORT" in required:
            _number("MASTER_PORT", 1, MOST_PORT)
        return cls(
            rank,
            learners,
            _number("LOCAL_RANK", 0, local_learners - 1, absent=rank),
            local_learners,
            _number("GROUP_WORLD_SIZE", 1, learners) if "GROUP_WORLD_SIZE" in os.environ else None,
            _number(INCARNATION, 0, absent=0),
        )


def _number(name: str, least: int, most: int | None = None, absent: int | None = None) -> int:
    """What an environment variable says, or `absent`; UsageError if it is not in the range."""
    if absent is not None and name not in os.environ:
        return absent
    said = os.environ[name]
    try:
        number = int(said)
    except ValueError:
        number = least - 1
    if number < least or (most is not None and number > most):
        bounds = f"{least} or more" if most is None else f"from {least} to {most}"
        raise UsageError(
            f"{name} = {said!r} in the environment, and it has to be a whole number, {bounds}"
            f"{MEANINGS.get(name, '')}. Start the processes with torchrun, or set it as torchrun "
            "does"
        )
    return number


class Rendezvous:
    """The store that all processes of a run share. Raises StalledError if it is not reached.

    `number` tells apart the runs of one launch, whose store is the same. Every wait for another
    process takes `timeout_s` at most, and is told to `events` when it is long; its StalledError
    names who has not come, and what was to be said. A signal ends each of them.
    """

    def __init__(
        self, launch: Launch, timeout_s: float, number: int = 0, events: Events | None = None
    ) -> None:
        self._launch, self._timeout = launch, timedelta(seconds=timeout_s)
        self._events = events or Events(launch.rank, launch.incarnation)
        self.store: Store | None = None
        if launch.learners > 1:
            self._shared = self._reached()
            # A restarted launch may find the store of the last one.
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            self.store = PrefixStore(f"dualrt/{attempt}/{number}", self._shared.store)
            self.store.set_timeout(self._timeout)

    def _reached(self) -> SharedStore:
        place = Place.from_environment(self._launch.rank)
        try:
            return reached(place, self._timeout.total_seconds())
        except UnreachedError as error:
            does, remedy = "reach", "that learner 0 runs, and that its port is open"
            if place.serves:
                does, remedy = "serve", "that no other program listens there, or take another port"
            raise StalledError(
                f"learner {self._launch.rank} cannot {does} the rendezvous at {place}: "
                f"{first_line(error)}. See {remedy}"
            ) from error

    def run_id(self) -> str:
        """A name that no other run has, the same in all processes."""
        if self.store is None:
            return secrets.token_hex(8)
        if self._launch.rank == 0:
            # Unless its dead self has.
            self._ask("run", lambda store: store.compare_set("run", "", secrets.token_hex(8)))
        return self._heard({0: "run"}, "the name of the run")[0]

    def began_ago_s(self) -> float:
        """Seconds since the run began: for its first processes it begins now."""
        if self.store is None:
            return 0.0
        if self._launch.rank == 0:
            self._ask("began", lambda store: store.compare_set("began", "", repr(time.time())))
        if self._launch.incarnation == 0:
            return 0.0
        began = self._heard({0: "began"}, "when the run began")[0]
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
        everyone = {peer: f"{what}/{peer}" for peer in range(self._launch.learners)}
        return list(self._heard(everyone, what, own=True).values())

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
            try:
                if self._missing([key], end_s - time.monotonic()):
                    continue
            except RunError:
                break
            said[peer] = self._value(key)
        return said

    def _set(self, key: str, value: str) -> None:
        self._ask(key, lambda store: store.set(key, value))

    def _value(self, key: str) -> str:
        return self._ask(key, lambda store: store.get(key)).decode()

    def _heard(self, keys: Mapping[int, str], what: str, own: bool = False) -> dict[int, str]:
        """What stands there, once it does, by the rank that says it.

        `own` is whether each says `what` of itself. Raises StalledError that says who has not told.
        """
        timeout_s = self._timeout.total_seconds()
        first_s = SLOW_SHARE * timeout_s
        peers = {key: peer for peer, key in keys.items()}
        missing = self._missing(list(peers), first_s)
        if missing:
            absent = [peers[key] for key in missing]
            self._events.warning(
                "slow_wait",
                f"learner {self._launch.rank} has waited {first_s:g} s for {_named(absent)} to "
                f"say {_whose(absent) if own else ''}{what}, and gives up after {timeout_s:g} s",
                peers=absent,
                waited_s=first_s,
                patience_s=timeout_s,
            )
            missing = self._missing(missing, timeout_s - first_s)
        if missing:
            absent = [peers[key] for key in missing]
            raise StalledError(
                f"{_named(absent)} {'has' if len(absent) == 1 else 'have'} not said "
                f"{_whose(absent) if own else ''}{what} within {timeout_s:g} s, and may not be "
                "there, or do something else. See what is said there; all processes of a run "
                "start together, and join the same groups in the same order"
            )
        return {peer: self._value(key) for peer, key in keys.items()}

    def _missing(self, keys: Sequence[str], timeout_s: float) -> list[str]:
        """Wait until something stands at all of these; returns those where it did not in time.

        By asking again and again: see `dualrt.real.store`.
        """
        end_s, pause_s = time.monotonic() + timeout_s, FIRST_PAUSE_S
        while not self._there(keys, timeout_s):
            left_s = end_s - time.monotonic()
            if left_s <= 0.0:
                return [key for key in keys if not self._there([key], ANSWER_S)]
            time.sleep(min(pause_s, left_s))
            pause_s, timeout_s = min(2 * pause_s, LONGEST_PAUSE_S), left_s
        return []

    def _there(self, keys: Sequence[str], timeout_s: float) -> bool:
        seconds = max(timeout_s, ANSWER_S)
        return self._ask(keys[0], lambda store: store.check(list(keys)), seconds)

    def _ask(
        self, key: str, question: Callable[[Store], Answer], timeout_s: float | None = None
    ) -> Answer:
        """Raises StalledError if the store does not answer in time, RunError without it."""
        assert self.store is not None
        store, seconds = self.store, timeout_s or self._timeout.total_seconds()
        try:
            return self._shared.ask(lambda: question(store), seconds)
        except DistNetworkError as error:
            raise lost(self._launch.rank, error) from error
        except (RuntimeError, TimeoutError) as error:
            raise StalledError(
                f"the rendezvous at {_where(self._launch.rank)} has not answered about {key!r} "
                f"within {seconds:g} s"
            ) from error


def lost(rank: int, error: Exception) -> RunError:
    """The error to raise where the store answers no more, which torch tells by `error`."""
    return RunError(
        f"learner {rank} lost the rendezvous at {_where(rank)} before all had met: who serves it, "
        f"torchrun or learner 0, has ended ({first_line(error)}). Start again"
    )


def first_line(error: Exception) -> str:
    """What torch says, without the trace of its C++ that follows."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _where(rank: int) -> str:
    return str(Place.from_environment(rank))


def _named(ranks: Sequence[int]) -> str:
    return f"process{'' if len(ranks) == 1 else 'es'} {', '.join(map(str, ranks))}"


def _whose(ranks: Sequence[int]) -> str:
    return "its " if len(ranks) == 1 else "their "
