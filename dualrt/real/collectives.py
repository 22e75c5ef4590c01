"""Collectives between processes: who asks for them, and who waits.

Owns the one thread that calls the library, the order of its calls, and the waits. Must not know
what is reduced or why, nor how a library is called (`dualrt.real.process_groups`).

NCCL deadlocks when two threads call it, even on separate streams (pytorch#175145), so every
collective of a process is called from one thread, in the order in which its strands asked. Strands
wait for the result at a gate, which bounds the wait and ends it when the run is stopped, or when a
member of the group is lost; a call that hangs inside the library cannot be interrupted, so its
thread is a daemon, and what hangs is aborted, where the library can, when the collectives are
closed. With a group that is formed anew the thread is a new one too, as the old one may hang in a
call with the lost.

On a GPU each thread may use a CUDA stream of its own. So the collectives' thread has its own
stream, which waits for what the asker's was doing when it asked, and does not say that a call is
over before the device is done with it: NCCL itself returns when its work is queued.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.distributed import Store

from dualrt.core.effects import Group, Packet
from dualrt.core.errors import Loss, PeerLostError, RunError, StalledError
from dualrt.real.events import Events, Sparingly
from dualrt.real.gate import Gate
from dualrt.real.lanes import HOST, CudaLane
from dualrt.real.process_groups import ProcessGroups, initialised

NAMING_S = 1.0
"""How long an error of the library waits to be explained: it may notice a death before we do, and
does not say whose it was."""

LEAVING_S = 1.0
"""How long to leave the groups may take, and so may a call that hangs once it was aborted."""

_left_behind: list[threading.Thread] = []
"""Threads of groups that were closed, and were not through with leaving them when last seen."""


def in_use(rank: int, timeout_s: float) -> bool:
    """Whether torch.distributed has groups already, by whoever uses it beside us.

    Waits until our own of before are left: what came after would take them for another's, and in
    this process alone. Raises StalledError if they are not within `timeout_s`.
    """
    end_s = time.monotonic() + timeout_s
    for thread in _left_behind:
        thread.join(max(0.0, end_s - time.monotonic()))
    _left_behind[:] = [thread for thread in _left_behind if thread.is_alive()]
    if _left_behind:
        raise StalledError(
            f"learner {rank} has not left the groups of its last run within {timeout_s:g} s: a "
            "call of theirs hangs in the library. Start the process again"
        )
    return initialised()


class Call:
    """A collective that a strand waits for, or will."""

    def __init__(self, work: Callable[[], Any], group: Group | None = None) -> None:
        self.work, self.group = work, group
        self.over = False
        self.over_s = math.inf
        """When, on the monotonic clock."""
        self.result: Any = None
        self.error: BaseException | None = None
        self.asked: torch.cuda.Event | None = None
        """On a GPU, the end of what the asker's stream was given before."""


class Collectives:
    """The collectives of one process, which `library` does for it and for nobody else."""

    def __init__(self, library: ProcessGroups, events: Events | None = None) -> None:
        self._library = library
        self._rank, self._device = library.rank, library.device
        self._timeout_s = library.timeout_s
        self._events = events or Events(self._rank)
        self._slow_waits = Sparingly(self._timeout_s)
        self._lane = CudaLane(self._device) if self._device.type == "cuda" else HOST
        self._leaving = False
        """Whether the thread is about to leave the groups, or has nothing to leave any more."""
        self._gate = Gate()
        self._calls: queue.SimpleQueue[Call | None]
        self._lost: dict[int, str] = {}
        """Who is lost, and why."""
        self._left: dict[Group, int] = {}
        """Groups that this process has done with, each after which of its members."""
        self._start_thread()

    def join(self, store: Store | None, learners: int, groups: Sequence[Group]) -> None:
        """Make all groups of a run, in the same order everywhere, before any other call.

        `store` is what all processes share; a single one has none. Raises RunError, StalledError;
        what there is by then is for `close`.
        """
        wide = [group for group in groups if len(group.ranks) > 1]
        if wide and store is not None:
            self._wait(lambda: self._library.join(store, learners, wide))

    def allreduce(self, group: Group, vector: torch.Tensor, *, spent: bool) -> torch.Tensor:
        """The mean of the group's vectors: a new tensor, or `vector` itself if that is `spent`."""
        mine = vector if spent else vector.clone()
        if len(group.ranks) == 1:
            return mine
        self._form(group)
        mean: torch.Tensor = self._wait(lambda: self._library.mean(group, mine), group)
        return mean

    def begin_sum(self, group: Group, vector: torch.Tensor) -> Call:
        """Begin to take the sum of the group's vectors, which `vector` holds when it is over."""
        if len(group.ranks) == 1:
            return self._begin(lambda: None, None)
        self._form(group)
        return self._begin(lambda: self._library.sum(group, vector), group)

    def finish(self, call: Call) -> Any:
        """Wait for what was begun; its result.

        Raises its error, StalledError, and PeerLostError if a member is lost meanwhile, or the
        group is left.
        """
        with self._gate:
            over = self._gate.wait(
                lambda: call.over or self._gone(call.group) is not None,
                self._timeout_s,
                partial(self._say_slow, call),
            )
            if not over:
                raise StalledError(
                    f"learner {self._rank}: a collective {self._whose(call)} was not over within "
                    f"{self._timeout_s:g} s"
                )
            if call.over and call.error is None:
                return call.result
            if call.error is not None and call.group is not None:
                self._gate.wait(
                    lambda: self._gone(call.group) is not None, min(NAMING_S, self._timeout_s)
                )
            gone = self._gone(call.group)
            if gone is not None:
                raise PeerLostError(*gone) from call.error
        assert call.error is not None
        raise call.error

    def _say_slow(self, call: Call, waited_s: float) -> None:
        if not self._slow_waits.count(_members(call)):
            return
        self._events.warning(
            "slow_wait",
            f"learner {self._rank} has waited {waited_s:g} s for a collective {self._whose(call)}, "
            f"and gives up after {self._timeout_s:g} s",
            peers=self._others(call),
            waited_s=waited_s,
            patience_s=self._timeout_s,
        )

    def _others(self, call: Call) -> list[int]:
        return [rank for rank in _members(call) if rank != self._rank]

    def _whose(self, call: Call) -> str:
        others = self._others(call)
        return f"of the group with {others}" if others else "that sets up the groups of all"

    def broadcast(self, group: Group, root: int, packet: Packet | None) -> Packet:
        """The packet of the rank `root`; its body is nobody else's, save at the root."""
        if self._rank == root and packet is None:
            raise ValueError(f"learner {root} is the root of a broadcast and brought no packet")
        if packet is not None and len(group.ranks) == 1:
            return packet
        self._form(group)
        sent: Packet = self._wait(lambda: self._library.broadcast(group, root, packet), group)
        return sent

    def note(self, rank: int, why: str | None) -> None:
        """A learner is lost, and why, or with None is found; any thread may call this."""
        with self._gate:
            if why is None:
                self._lost.pop(rank, None)
            else:
                self._lost[rank] = why
            self._gate.announce()

    def leave(self, group: Group, peer: int) -> None:
        """Have done with a group, as its member `peer` has; any thread may call this."""
        with self._gate:
            self._left[group] = peer
            self._gate.announce()

    def stop(self, error: BaseException | None = None) -> None:
        """End every wait, now and later, with `error`."""
        self._gate.close(error)

    def close(self) -> None:
        """Leave the process groups, and abort them first if a call hangs; idempotent."""
        if not self._thread.is_alive():
            return
        self._calls.put(None)
        self._thread.join(LEAVING_S)
        if self._library.may_abort and self._thread.is_alive():
            if not self._leaving:
                self._leaving = True
                # To abort may hang as well.
                threading.Thread(target=self._library.abort, name="abort", daemon=True).start()
            self._thread.join(LEAVING_S)
        if self._thread.is_alive() and self._thread not in _left_behind:
            _left_behind.append(self._thread)

    def _form(self, group: Group) -> None:
        """See that a group is there."""
        if group in self._library:
            return
        if not self._library.may_form:
            raise RunError(f"there is no group {group.name!r} of {group.ranks}")
        self._calls.put(None)
        self._start_thread()
        self._wait(lambda: self._library.form(group), group)
        self._events.info(
            "group_formed",
            f"learner {self._rank} is one of a new group {group.name!r}: {list(group.ranks)}",
            group=group.name,
            ranks=list(group.ranks),
        )

    def _wait(self, work: Callable[[], Any], group: Group | None = None) -> Any:
        """Have the thread do it. Raises PeerLostError if a member of `group` is lost meanwhile."""
        with self._gate:
            gone = self._gone(group)
            if gone is not None:
                raise PeerLostError(*gone, Loss.KNOWN)
            call = self._begin(work, group)
        return self.finish(call)

    def _begin(self, work: Callable[[], Any], group: Group | None) -> Call:
        call = Call(work, group)
        if self._device.type == "cuda":
            # Of the vectors' device: a thread's current one is the first unless it has said so.
            call.asked = torch.cuda.current_stream(self._device).record_event()
        self._calls.put(call)
        return call

    def _gone(self, group: Group | None) -> tuple[int, str] | None:
        """Who of a group is lost or has done with it, and why; the gate is held."""
        if group is None:
            return None
        after = self._left.get(group)
        if after is not None:
            return after, f"it has done with group {group.name!r}"
        lost = next((rank for rank in group.ranks if rank in self._lost), None)
        return None if lost is None else (lost, self._lost[lost])

    def _start_thread(self) -> None:
        self._calls = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._serve, args=(self._calls,), name="collectives", daemon=True
        )
        self._thread.start()

    def _serve(self, calls: queue.SimpleQueue[Call | None]) -> None:
        while (call := calls.get()) is not None:
            try:
                call.result = self._done(call)
            except Exception as error:  # raised again where the strand waits
                call.error = error
            with self._gate:
                call.over, call.over_s = True, time.monotonic()
                self._gate.announce()
        if calls is not self._calls or self._leaving:
            return
        self._leaving = True
        self._library.leave()

    def _done(self, call: Call) -> Any:
        """What a call comes to, once the device is done with it too."""
        if call.asked is None:
            return call.work()
        with self._lane.use():
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(call.asked)
            result = call.work()
            stream.synchronize()
            return result


def _members(call: Call) -> tuple[int, ...]:
    return () if call.group is None else call.group.ranks
