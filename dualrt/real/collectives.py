"""Collectives between processes, through torch.distributed.

Owns the process groups and the one thread that calls them. Must not know what is reduced or why.

NCCL deadlocks when two threads call it, even on separate streams (pytorch#175145), so every
collective of a process is called from one thread, in the order in which its strands asked. Strands
wait for the result at a gate, which bounds the wait and ends it when the run is stopped, or when a
member of the group is lost; a call that hangs inside the library cannot be interrupted, so its
thread is a daemon.

On a GPU each thread may use a CUDA stream of its own. So the collectives' thread has its own
stream, which waits for what the asker's was doing when it asked, and does not say that a call is
over before the device is done with it: NCCL itself returns when its work is queued. NCCL would end
the process from a thread of its own where a member is gone or late; here that is for who waits, who
knows whom for. So it is told not to, and what hangs in it is aborted when the collectives are
closed.

A group cannot shrink in gloo or NCCL. So one that was not there at the start, as those that outlive
a member of theirs ask for, is formed when it is first called, by its members alone: the first of
them serves a store of its own, since whoever served the run's may be the one that is lost. The
thread is a new one too, as the old one may hang in a call with the lost.
"""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from typing import Any, TypeAlias, cast

import torch
import torch.distributed as dist
from torch.distributed import DistNetworkError, HashStore, Store, TCPStore

from dualrt.core.effects import Group, Packet
from dualrt.core.errors import Loss, PeerLostError, RunError, StalledError
from dualrt.real.events import Events, Sparingly
from dualrt.real.gate import Gate
from dualrt.real.interfaces import name_of
from dualrt.real.lanes import HOST, CudaLane
from dualrt.real.ports import ANY, in_turn, none_left
from dualrt.real.rendezvous import first_line, lost
from dualrt.real.wire import Assembly, Bodies, Body, Buffer, HostBodies, WireError, seal

GLOO, NCCL = "gloo", "nccl"
"""The libraries, as torch.distributed names them."""

NAMING_S = 1.0
"""How long an error of the library waits to be explained: it may notice a death before we do, and
does not say whose it was."""

LEAVING_S = 1.0
"""How long to leave the groups may take, and so may a call that hangs once it was aborted."""

PATIENCE = 2
"""By how much NCCL's bound of a call is longer than ours: who waits is to be the one to give up."""


_left_behind: list[threading.Thread] = []
"""Threads of groups that were closed, and were not through with leaving them when last seen."""


_formed: list[dist.ProcessGroup] = []
"""Groups that were formed anew, as a member was lost. Kept, because to drop one waits for its
calls, and one of these may be with somebody who was lost in turn."""


def formed_anew() -> int:
    """How many groups this process has formed so.

    If any, the interpreter's own end may wait for the library for ever, or be aborted by it:
    threads of ours, and of the library, may be in a call with the lost that nothing ends.
    """
    return len(_formed)


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
    return dist.is_initialized()


def library_for(devices: Sequence[str]) -> str:
    """What joins processes that compute on these, each named as by `hardware.identity`.

    NCCL on GPUs, but where two processes share one, which it refuses: there gloo takes what is on
    them through the host.
    """
    on_gpus = "cpu" not in devices
    return NCCL if on_gpus and len(set(devices)) == len(devices) else GLOO


Introduce: TypeAlias = Callable[[Group, int | None], str]
"""Tells the other members of a group at which port the first one's store is, or with None hears of
it; returns its address, host:port."""


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
    """The collectives of one process.

    Parameters: `store` is what all processes share (None for a single one), `groups` all groups of
    the run in the same order everywhere, `device` where vectors live, `library` what joins them.
    `ports` are those that a store of ours may listen at; the libraries choose theirs themselves.
    `introduce` is how the members of a group that is formed later find each other. Where
    torch.distributed is in use already, the groups are made within it, and it stays.
    """

    def __init__(
        self,
        store: Store | None,
        rank: int,
        learners: int,
        groups: Sequence[Group],
        *,
        device: torch.device,
        library: str = GLOO,
        timeout_s: float,
        max_body_bytes: int,
        interface: str,
        ports: range = ANY,
        introduce: Introduce | None = None,
        events: Events | None = None,
    ) -> None:
        self._events, self._slow_waits = events or Events(rank), Sparingly(timeout_s)
        self._introduce, self._interface, self._ports = introduce, interface, ports
        self._stores: list[Store] = []
        """Of the groups that were formed later: a store is served as long as it is kept."""
        self._rank, self._device, self._library = rank, device, library
        self._timeout_s, self._max_body_bytes = timeout_s, max_body_bytes
        cuda = device.type == "cuda"
        self._bodies: Bodies | None = None if cuda else HostBodies(1)
        """None: what is broadcast stays where the vectors live."""
        self._lane = CudaLane(device) if cuda else HOST
        self._abort = _abort if library == NCCL else None
        """Ends calls of a group that hang inside the library; with None, of all groups."""
        self._leaving = False
        """Whether the thread is about to leave the groups, or has nothing to leave any more."""
        self._gate = Gate()
        self._calls: queue.SimpleQueue[Call | None]
        self._groups: dict[Group, dist.ProcessGroup] = {}
        self._joined: list[dist.ProcessGroup] = []
        """Those that torch.distributed knows of."""
        self._lost: dict[int, str] = {}
        """Who is lost, and why."""
        self._left: dict[Group, int] = {}
        """Groups that this process has done with, each after which of its members."""
        self._ours = False
        """Whether torch.distributed was brought up here."""
        self._start_thread()
        name = name_of(interface)
        if name is not None:
            # Otherwise each library listens where it sees fit: gloo where the host's name points.
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
            # Without the sign it is the beginning of names.
            os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={name}")
        wide = [group for group in groups if len(group.ranks) > 1]
        if wide and store is not None:
            try:
                self._wait(lambda: self._join(store, learners, wide))
            except BaseException:
                self.close()
                raise

    def allreduce(self, group: Group, vector: torch.Tensor, *, spent: bool) -> torch.Tensor:
        """The mean of the group's vectors: a new tensor, or `vector` itself if that is `spent`."""
        mine = vector if spent else vector.clone()
        if len(group.ranks) == 1:
            return mine
        handle = self._handle(group)
        mean: torch.Tensor = self._wait(lambda: _allreduce(handle, mine), group)
        return mean

    def begin_sum(self, group: Group, vector: torch.Tensor) -> Call:
        """Begin to take the sum of the group's vectors, which `vector` holds when it is over."""
        if len(group.ranks) == 1:
            return self._begin(lambda: None, None)
        handle = self._handle(group)
        return self._begin(lambda: dist.all_reduce(vector, group=handle), group)

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
        handle = self._handle(group)
        place = group.ranks.index(root)
        sent: Packet = self._wait(lambda: self._broadcast(handle, place, packet), group)
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
        if self._abort is not None and self._thread.is_alive():
            if not self._leaving:
                self._leaving = True
                # To abort may hang as well.
                abort = partial(self._abort_all, self._abort)
                threading.Thread(target=abort, name="abort", daemon=True).start()
            self._thread.join(LEAVING_S)
        if self._thread.is_alive() and self._thread not in _left_behind:
            _left_behind.append(self._thread)

    def _abort_all(self, abort: Callable[[dist.ProcessGroup | None], object]) -> None:
        for group in [None] if self._ours else self._joined:
            abort(group)

    def _handle(self, group: Group) -> dist.ProcessGroup:
        if group not in self._groups:
            if self._introduce is None:
                raise RunError(f"there is no group {group.name!r} of {group.ranks}")
            self._calls.put(None)
            self._start_thread()
            introduce = self._introduce
            self._groups[group] = self._wait(lambda: self._form(group, introduce), group)
            self._events.info(
                "group_formed",
                f"learner {self._rank} is one of a new group {group.name!r}: {list(group.ranks)}",
                group=group.name,
                ranks=list(group.ranks),
            )
        return self._groups[group]

    def _form(self, group: Group, introduce: Introduce) -> dist.ProcessGroup:
        timeout, place = timedelta(seconds=self._timeout_s), group.ranks.index(self._rank)
        if place == 0:
            served = self._store_of_our_own(timeout)
            introduce(group, served.port)
        else:
            host, _, port = introduce(group, None).rpartition(":")
            served = TCPStore(host, int(port), is_master=False, timeout=timeout)
        self._stores.append(served)
        # As a process group of its own: torch.distributed makes groups by the run's store alone.
        formed = dist.ProcessGroupGloo(served, place, len(group.ranks), timeout)
        # It has the methods that are called here.
        group_itself = cast(dist.ProcessGroup, formed)
        _formed.append(group_itself)
        return group_itself

    def _store_of_our_own(self, timeout: timedelta) -> TCPStore:
        held: DistNetworkError | None = None
        for port in in_turn(self._ports, self._rank):
            try:
                return TCPStore(
                    "localhost", port, is_master=True, wait_for_workers=False, timeout=timeout
                )
            except DistNetworkError as error:
                held = error
        assert held is not None
        raise none_left(self._ports, self._interface, "in use") from held

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
        with self._place():
            if self._ours:
                dist.destroy_process_group()
                return
            for group in self._joined:
                dist.destroy_process_group(group)

    def _place(self) -> AbstractContextManager[object]:
        """NCCL makes and leaves what it needs on the thread's current device."""
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()

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

    def _join(self, store: Store, learners: int, groups: Sequence[Group]) -> None:
        initialised = dist.is_initialized()
        try:
            self._make(store, learners, groups)
        except (RuntimeError, ValueError) as error:
            if not initialised:
                self._ours = False
                _forget_groups()
            gone = _gone(store, error)
            if gone is not None:
                raise lost(self._rank, gone) from error
            raise RunError(
                f"learner {self._rank} could not join its groups: {first_line(error)}. The library "
                "chooses its ports itself: let all between these hosts through, see that no "
                "process of the run has ended, and start again; `dualrt doctor` looks at it"
            ) from error

    def _make(self, store: Store, learners: int, groups: Sequence[Group]) -> None:
        backend, patience = self._library, PATIENCE if self._library == NCCL else 1
        timeout = timedelta(seconds=patience * self._timeout_s)
        if not dist.is_initialized():
            self._ours = True
            # Where it is in use already, whoever brought it up has decided on that.
            os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
            dist.init_process_group(
                backend, store=store, rank=self._rank, world_size=learners, timeout=timeout
            )
        # Every process must make every group, in the same order, also those that it is not in.
        for group in groups:
            made = self._groups[group] = dist.new_group(list(group.ranks), timeout, backend)
            self._joined.append(made)

    def _broadcast(self, group: dist.ProcessGroup, place: int, packet: Packet | None) -> Packet:
        def send(tensor: torch.Tensor) -> torch.Tensor:
            there = tensor.to(self._device)
            group.broadcast(there, place).wait()
            return there

        if packet is not None:
            # The form of its body goes with the opening; the bytes may be on a device.
            opening = seal("broadcast", packet, self._max_body_bytes, memoryview(b"")).opening
            send(torch.tensor([len(opening), packet.nbytes]))
            send(torch.frombuffer(bytearray(opening), dtype=torch.uint8))
            if packet.nbytes:
                send(packet.body.detach().contiguous().reshape(-1).view(torch.uint8))
            return packet
        opening_bytes, body_bytes = send(torch.zeros(2, dtype=torch.int64)).tolist()
        opening = send(torch.empty(opening_bytes, dtype=torch.uint8)).cpu().numpy().tobytes()
        came = torch.empty(body_bytes, dtype=torch.uint8, device=self._device)
        if body_bytes:
            came = send(came)
        if self._bodies is None:
            return Assembly(opening, self._max_body_bytes, _Whole(came)).packet()
        assembly = Assembly(opening, self._max_body_bytes, self._bodies)
        if body_bytes:
            assembly.add(0, came.numpy().data)
        return assembly.packet()


class _Whole:
    """The memory of a body that has arrived already: one for `Assembly`, and its only body."""

    def __init__(self, memory: torch.Tensor) -> None:
        self._memory = memory

    def take(self, nbytes: int) -> Body:
        if nbytes != len(self):
            raise WireError(f"a body of {len(self)} bytes, and its opening says {nbytes}")
        return self

    def __len__(self) -> int:
        return len(self._memory)

    def fill(self, start: int, data: Buffer) -> None:
        raise AssertionError("it is there")

    def tensor(self, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
        return self._memory.view(dtype).reshape(shape)


def _members(call: Call) -> tuple[int, ...]:
    return () if call.group is None else call.group.ranks


def _gone(store: Store, error: Exception) -> Exception | None:
    """What says that the store answers no more: it may be hidden in what a library says."""
    if isinstance(error, DistNetworkError):
        return error
    try:
        store.check(["whether it answers"])
    except DistNetworkError as silence:
        return silence
    return None


def _forget_groups() -> None:
    """As if none had been made, so that another attempt finds the same state in all processes.

    torch names groups by their number, counts those that came to nothing too, and begins anew with
    a default group that is left; so there must be one to leave.
    """
    with suppress(RuntimeError):
        if not dist.is_initialized():
            dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
        dist.destroy_process_group()


def _allreduce(group: dist.ProcessGroup, vector: torch.Tensor) -> torch.Tensor:
    """The mean, in place."""
    dist.all_reduce(vector, group=group)
    return vector.div_(group.size())


def _abort(group: dist.ProcessGroup | None) -> None:
    """Have a group's calls end, or all groups', as a member is gone. torch 2.5 and later can."""
    abort = getattr(dist.distributed_c10d, "_abort_process_group", None)
    if abort is not None:
        abort(group)
