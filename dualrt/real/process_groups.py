"""The process groups of torch.distributed, and every call of it.

Owns which library joins processes (gloo or NCCL), how groups are made, formed later, left and
aborted, and what is asked of them. Must not know threads, nor who waits or is lost: all of it is
called from one thread, that of `dualrt.real.collectives`, but for `abort`.

A group cannot shrink in gloo or NCCL. So one that was not there at the start, as those that outlive
a member of theirs ask for, is formed when it is first called, by its members alone: the first of
them serves a store of its own, since whoever served the run's may be the one that is lost.

NCCL would end the process from a thread of its own where a member is gone or late; here that is for
who waits, who knows whom for. So it is told not to.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from typing import TypeAlias, cast

import torch
import torch.distributed as dist
from torch.distributed import DistNetworkError, HashStore, Store, TCPStore

from dualrt.core.effects import Group, Packet
from dualrt.core.errors import RunError
from dualrt.real.interfaces import name_of
from dualrt.real.ports import ANY, in_turn, none_left
from dualrt.real.rendezvous import first_line, lost
from dualrt.real.wire import (
    MAX_HEADER_BYTES,
    Assembly,
    Bodies,
    Body,
    Buffer,
    HostBodies,
    WireError,
    seal,
)

GLOO, NCCL = "gloo", "nccl"
"""The libraries, as torch.distributed names them."""

DESCRIPTORS_A_GROUP = 4
"""What gloo opens for a group beside a connection to each other member."""

PATIENCE = 2
"""By how much NCCL's bound of a call is longer than ours: who waits is to be the one to give up."""

Introduce: TypeAlias = Callable[[Group, int | None], str]
"""Tells the other members of a group at which port the first one's store is, or with None hears of
it; returns its address, host:port."""

_formed: list[dist.ProcessGroup] = []
"""Groups that were formed anew, as a member was lost. Kept, because to drop one waits for its
calls, and one of these may be with somebody who was lost in turn."""


def formed_anew() -> int:
    """How many groups this process has formed so.

    If any, the interpreter's own end may wait for the library for ever, or be aborted by it:
    threads of ours, and of the library, may be in a call with the lost that nothing ends.
    """
    return len(_formed)


def initialised() -> bool:
    """Whether torch.distributed has groups, whoever made them."""
    return dist.is_initialized()


def library_for(devices: Sequence[str]) -> str:
    """What joins processes that compute on these, each named as by `hardware.identity`.

    NCCL on GPUs, but where two processes share one, which it refuses: there gloo takes what is on
    them through the host.
    """
    on_gpus = "cpu" not in devices
    return NCCL if on_gpus and len(set(devices)) == len(devices) else GLOO


def files_of(rank: int, learners: int, groups: Sequence[Group]) -> int:
    """How many files gloo opens for the groups of a process, and for the one of all beside them."""
    wide = [group.ranks for group in groups if len(group.ranks) > 1]
    sizes = [learners, *(len(ranks) for ranks in wide if rank in ranks)] if wide else []
    return sum(size - 1 + DESCRIPTORS_A_GROUP for size in sizes)


class ProcessGroups:
    """The groups of one process.

    Parameters: `device` is where vectors live, `library` what joins them. `ports` are those that a
    store of ours may listen at; the libraries choose theirs themselves. `introduce` is how the
    members of a group that is formed later find each other; without it none is.
    """

    def __init__(
        self,
        rank: int,
        *,
        device: torch.device,
        library: str,
        timeout_s: float,
        max_body_bytes: int,
        interface: str,
        ports: range = ANY,
        introduce: Introduce | None = None,
    ) -> None:
        self.rank, self.device, self.timeout_s = rank, device, timeout_s
        self._library, self._max_body_bytes = library, max_body_bytes
        self._interface, self._ports, self._introduce = interface, ports, introduce
        self._bodies: Bodies | None = None if device.type == "cuda" else HostBodies(1)
        """None: what is broadcast stays where the vectors live."""
        self._groups: dict[Group, dist.ProcessGroup] = {}
        self._joined: list[dist.ProcessGroup] = []
        """Those that torch.distributed knows of."""
        self._stores: list[Store] = []
        """Of the groups that were formed later: a store is served as long as it is kept."""
        self._ours = False
        """Whether torch.distributed was brought up here."""
        name = name_of(interface)
        if name is not None:
            # Otherwise each library listens where it sees fit: gloo where the host's name points.
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
            # Without the sign it is the beginning of names.
            os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={name}")

    def __contains__(self, group: Group) -> bool:
        return group in self._groups

    def join(self, store: Store, learners: int, groups: Sequence[Group]) -> None:
        """Make all groups of a run, in the same order everywhere; `store` is what all share.

        When it returns, members have heard of each other, and need the store no more. Where
        torch.distributed is in use already, they are made within it, and it stays. Raises RunError.
        """
        initialised = dist.is_initialized()
        try:
            self._make(store, learners, groups)
        except (RuntimeError, ValueError) as error:
            if not initialised:
                self._ours = False
                _forget_groups()
            gone = _gone(store, error)
            if gone is not None:
                raise lost(self.rank, gone) from error
            raise RunError(
                f"learner {self.rank} could not join its groups: {first_line(error)}. The library "
                "chooses its ports itself: let all between these hosts through, see that no "
                "process of the run has ended, and start again; `dualrt doctor` looks at it"
            ) from error

    def _make(self, store: Store, learners: int, groups: Sequence[Group]) -> None:
        patience = PATIENCE if self._library == NCCL else 1
        timeout = timedelta(seconds=patience * self.timeout_s)
        if not dist.is_initialized():
            self._ours = True
            # Where it is in use already, whoever brought it up has decided on that.
            os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
            dist.init_process_group(
                self._library, store=store, rank=self.rank, world_size=learners, timeout=timeout
            )
        # Every process must make every group, in the same order, also those that it is not in.
        for group in groups:
            made = dist.new_group(list(group.ranks), timeout, self._library)
            self._groups[group] = made
            self._joined.append(made)
        for group in groups:
            if self.rank in group.ranks:
                self._begin(group)

    def _begin(self, group: Group) -> None:
        """Call the library once, and wait for it.

        NCCL connects a group, by way of the store, in its first call. If that fails, or whoever
        serves the store is gone, it is to be said here and not in a strand's first step.
        """
        with self._place():
            self.sum(group, torch.zeros(1, device=self.device)).item()

    @property
    def may_form(self) -> bool:
        """Whether a group that is not there can be formed."""
        return self._introduce is not None

    def form(self, group: Group) -> None:
        """Form a group that was not there at the start, with its other members."""
        assert self._introduce is not None
        timeout, place = timedelta(seconds=self.timeout_s), group.ranks.index(self.rank)
        if place == 0:
            served = self._store_of_our_own(timeout)
            self._introduce(group, served.port)
        else:
            host, _, port = self._introduce(group, None).rpartition(":")
            served = TCPStore(host, int(port), is_master=False, timeout=timeout)
        self._stores.append(served)
        # As a process group of its own: torch.distributed makes groups by the run's store alone.
        formed = dist.ProcessGroupGloo(served, place, len(group.ranks), timeout)
        # It has the methods that are called here.
        group_itself = cast(dist.ProcessGroup, formed)
        _formed.append(group_itself)
        self._groups[group] = group_itself

    def _store_of_our_own(self, timeout: timedelta) -> TCPStore:
        held: DistNetworkError | None = None
        for port in in_turn(self._ports, self.rank):
            try:
                return TCPStore(
                    "localhost", port, is_master=True, wait_for_workers=False, timeout=timeout
                )
            except DistNetworkError as error:
                held = error
        assert held is not None
        raise none_left(self._ports, self._interface, "in use") from held

    def sum(self, group: Group, vector: torch.Tensor) -> torch.Tensor:
        """The sum of the group's vectors, in place."""
        dist.all_reduce(vector, group=self._groups[group])
        return vector

    def mean(self, group: Group, vector: torch.Tensor) -> torch.Tensor:
        """The mean of the group's vectors, in place."""
        return self.sum(group, vector).div_(len(group.ranks))

    def broadcast(self, group: Group, root: int, packet: Packet | None) -> Packet:
        """The packet of the rank `root`, which brings it; the others bring none.

        Raises WireError for what is no packet, or larger than one may be, or not all there.
        """
        members, place = self._groups[group], group.ranks.index(root)

        def send(tensor: torch.Tensor) -> torch.Tensor:
            there = tensor.to(self.device)
            members.broadcast(there, place).wait()
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
        if not (0 < opening_bytes <= MAX_HEADER_BYTES and 0 <= body_bytes <= self._max_body_bytes):
            raise WireError(
                f"learner {root} broadcasts an opening of {opening_bytes} bytes and a body of "
                f"{body_bytes}; at most {MAX_HEADER_BYTES} and {self._max_body_bytes} can be"
            )
        opening = send(torch.empty(opening_bytes, dtype=torch.uint8)).cpu().numpy().tobytes()
        came = torch.empty(body_bytes, dtype=torch.uint8, device=self.device)
        if body_bytes:
            came = send(came)
        if self._bodies is None:
            return Assembly(opening, self._max_body_bytes, _Whole(came)).packet()
        assembly = Assembly(opening, self._max_body_bytes, self._bodies)
        if not assembly.add(0, came.numpy().data):
            raise WireError(
                f"learner {root} broadcasts a body of {body_bytes} bytes, and its opening says more"
            )
        return assembly.packet()

    def leave(self) -> None:
        """Leave all groups of the run; those that were formed later are kept."""
        with self._place():
            if self._ours:
                dist.destroy_process_group()
            else:
                for group in self._joined:
                    dist.destroy_process_group(group)
        # Their threads and connections live as long as anybody holds them, whoever holds us.
        self._groups.clear()
        self._joined.clear()

    def _place(self) -> AbstractContextManager[object]:
        """NCCL makes and leaves what it needs on the thread's current device."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    @property
    def may_abort(self) -> bool:
        """Whether calls that hang inside the library can be ended from another thread."""
        return self._library == NCCL

    def abort(self) -> None:
        """Have all calls end, as a member is gone. torch 2.5 and later can; this may hang too."""
        abort = getattr(dist.distributed_c10d, "_abort_process_group", None)
        if abort is not None:
            for group in [None] if self._ours else self._joined:
                abort(group)


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
