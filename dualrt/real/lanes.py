"""Lanes: the orders in which a device does what threads ask of it.

Owns what is asked of a device besides arithmetic: an order for each thread (a CUDA stream), marks
in it (events), copies, and memory that the device reaches by itself (pinned). Must not know what is
computed, copied or sent.

A thread that has asked a GPU for something goes on before it is done, and a Python lock orders who
asks, not what is done. So each thread has a lane of its own, which is why gossip does not wait for
the gradient's kernels; and whatever one thread hands to another is ordered by a mark. Parts of a
strand are forked and joined, lanes like bodies: a part's lane begins after what its strand had
asked for, and the strand's goes on after all of the part.

On the CPU all is done when it was asked for. `HOST` is the one lane there, and costs next to
nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Protocol, final

import torch
from torch import Tensor

BUFFER_BYTES = 1024 * 1024
"""Of a copy between device and host, what is under way at once: as much as a chunk of gossip."""


class Mark(Protocol):
    """A place in a lane's order."""

    def wait(self) -> None:
        """Have this thread wait until the device has done all that was asked for before."""


class Lane(ABC):
    """What one thread asks of a device, in that order."""

    apart = True
    """Whether the device has a memory of its own."""

    @abstractmethod
    def use(self) -> AbstractContextManager[object]:
        """What this thread asks torch for inside the `with` goes into the lane."""

    @abstractmethod
    def mark(self) -> Mark:
        """The place after all that was asked for so far."""

    @abstractmethod
    def begin_after(self, mark: Mark) -> None:
        """What is asked for from now on is done after the mark, of any lane of this device."""

    @abstractmethod
    def copy(self, to: Tensor, source: Tensor) -> None:
        """Ask for a copy of bytes, one of both on the device and one in a buffer."""

    @abstractmethod
    def room(self, nbytes: int) -> Tensor:
        """Memory of the device, of shape [nbytes], for what is asked for in this lane."""

    @cached_property
    def buffers(self) -> tuple[Tensor, Tensor]:
        """Two of `BUFFER_BYTES` on the host, for one copy at a time to go through by turns."""
        return self._buffer(), self._buffer()

    @abstractmethod
    def _buffer(self) -> Tensor: ...


class _Now:
    def wait(self) -> None:
        """It is done."""


_NOW = _Now()


class HostLane(Lane):
    """The lane of the CPU."""

    apart = False
    _nothing = nullcontext()

    def use(self) -> AbstractContextManager[object]:
        return self._nothing

    def mark(self) -> Mark:
        return _NOW

    def begin_after(self, mark: Mark) -> None:
        pass

    def copy(self, to: Tensor, source: Tensor) -> None:
        to.copy_(source)

    def room(self, nbytes: int) -> Tensor:
        return torch.empty(nbytes, dtype=torch.uint8)

    def _buffer(self) -> Tensor:
        return torch.empty(BUFFER_BYTES, dtype=torch.uint8)


HOST = HostLane()


class _CudaMark:
    def __init__(self, event: torch.cuda.Event, device: torch.device) -> None:
        self.event, self._device = event, device

    def wait(self) -> None:
        with torch.cuda.device(self._device):
            self.event.synchronize()


@final
class CudaLane(Lane):
    """A CUDA stream; of an `urgent` one, kernels are begun before those of others.

    A thread's current device is the first, unless it says otherwise. To call CUDA there, or to go
    back there from a stream elsewhere, makes a context on the first GPU in every process of a host.
    So the device is always chosen with the stream, and in the way that makes none on leaving.
    """

    def __init__(self, device: torch.device, *, urgent: bool = False) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device, priority=-1 if urgent else 0)

    def use(self) -> AbstractContextManager[object]:
        return self._used()

    @contextmanager
    def _used(self) -> Iterator[None]:
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            yield

    def mark(self) -> Mark:
        # Blocking: who waits sleeps, and leaves the core to others.
        event = torch.cuda.Event(blocking=True)
        with torch.cuda.device(self._device):
            event.record(self._stream)
        return _CudaMark(event, self._device)

    def begin_after(self, mark: Mark) -> None:
        assert isinstance(mark, _CudaMark)
        with torch.cuda.device(self._device):
            self._stream.wait_event(mark.event)

    def copy(self, to: Tensor, source: Tensor) -> None:
        with self.use():
            to.copy_(source, non_blocking=True)

    def room(self, nbytes: int) -> Tensor:
        with self.use():
            return torch.empty(nbytes, dtype=torch.uint8, device=self._device)

    def _buffer(self) -> Tensor:
        with torch.cuda.device(self._device):
            return torch.empty(BUFFER_BYTES, dtype=torch.uint8, pin_memory=True)


class Lanes:
    """The lanes of one learner's threads. Parameters: `make` makes one, urgent or not."""

    def __init__(self, make: Callable[[bool], Lane]) -> None:
        self._make = make
        # A list's ends are popped and appended to by any thread.
        self._idle: list[Lane] = []

    @staticmethod
    def of(device: torch.device) -> Lanes:
        """Those of a device; CUDA streams on a GPU, and nothing at all on the CPU.

        On a GPU it waits until all that was asked for so far, by whatever stream, is done.
        """
        if device.type != "cuda":
            return Lanes(lambda urgent: HOST)
        torch.cuda.synchronize(device)
        return Lanes(lambda urgent: CudaLane(device, urgent=urgent))

    def of_strand(self, *, daemon: bool) -> Lane:
        """For a strand; training goes before answering."""
        return self._make(not daemon)

    def fork(self, lane: Lane) -> Lane:
        """For a part of a strand, which begins after what the strand has asked for."""
        try:
            part = self._idle.pop()
        except IndexError:
            part = self._make(False)
        part.begin_after(lane.mark())
        return part

    def join(self, lane: Lane, part: Lane) -> None:
        """The part is over: the strand goes on after all that it has asked for."""
        lane.begin_after(part.mark())
        self._idle.append(part)
