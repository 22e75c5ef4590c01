"""Staging: vectors on their way between a device and the gossip's chunks.

Owns the two buffers that a copy goes through by turns, and when each may be used again. Must not
know of frames, sockets or peers.

Down, what is sent: while the device copies one piece into a buffer, the piece before it is taken
from the other to where the courier cuts chunks, and is on the wire before the vector is all down.

Up, what arrives: the courier leaves each chunk's bytes in a buffer, from where the device takes
them while the next chunk is on its way.

A buffer is taken from, or written to again, only once the mark of its copy has passed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import final

import torch
from torch import Tensor

from dualrt.real.lanes import Lane, Mark
from dualrt.real.wire import Buffer, copy


def bring_down(
    lane: Lane, vector: Tensor, to: memoryview, arrived: Callable[[int], object]
) -> None:
    """Copy a vector on the lane's device into the host's memory, of as many bytes.

    `arrived` is told after each piece how many bytes are there, from the first on. When it returns,
    all are, and the vector is not read any more.
    """
    source = vector.detach().contiguous().reshape(-1).view(torch.uint8)
    most = len(lane.buffers[0])
    under_way: tuple[slice, Tensor, Mark] | None = None
    for number, start in enumerate(range(0, len(source), most)):
        place = slice(start, min(start + most, len(source)))
        buffer = lane.buffers[number % 2][: place.stop - place.start]
        lane.copy(buffer, source[place])
        following = place, buffer, lane.mark()
        if under_way is not None:
            _take(under_way, to, arrived)
        under_way = following
    if under_way is not None:
        _take(under_way, to, arrived)


def _take(
    under_way: tuple[slice, Tensor, Mark], to: memoryview, arrived: Callable[[int], object]
) -> None:
    place, buffer, mark = under_way
    mark.wait()
    copy(to[place], buffer.numpy().data)
    arrived(place.stop)


@final
class DeviceBodies:
    """Memory on a device for bodies that arrive; see `dualrt.real.wire.Bodies`.

    For one thread, whose `lane` it is: bodies may be filled by turns.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self._numbers = count()
        self._marks: list[Mark | None] = [None, None]
        """Of the copy that read each buffer last."""

    def take(self, nbytes: int) -> DeviceBody:
        """Room for a body."""
        return DeviceBody(self, self.lane.room(nbytes))

    def bring_up(self, data: Buffer, to: Tensor) -> None:
        """Have the device copy bytes, at most as many as a buffer holds; `data` is free at once."""
        turn = next(self._numbers) % 2
        last = self._marks[turn]
        if last is not None:
            last.wait()
        buffer = self.lane.buffers[turn][: len(data)]
        copy(buffer.numpy().data, data)
        self.lane.copy(to, buffer)
        self._marks[turn] = self.lane.mark()

    def finish(self) -> None:
        """Wait until all is up, for any thread to read."""
        for mark in self._marks:
            if mark is not None:
                mark.wait()


@final
class DeviceBody:
    """A body that is filled on a device."""

    def __init__(self, bodies: DeviceBodies, memory: Tensor) -> None:
        self._bodies, self._memory = bodies, memory

    def __len__(self) -> int:
        return len(self._memory)

    def fill(self, start: int, data: Buffer) -> None:
        """Put bytes in their place."""
        most = len(self._bodies.lane.buffers[0])
        for begin in range(0, len(data), most):
            piece = data[begin : begin + most]
            at = start + begin
            self._bodies.bring_up(piece, self._memory[at : at + len(piece)])

    def tensor(self, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """What has arrived, for any thread."""
        self._bodies.finish()
        return self._memory.view(dtype).reshape(shape)
