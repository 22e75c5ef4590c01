"""Order: that what threads ask of a GPU about one vector is done in the order in which they asked.

Owns the event of the last change, and that memory is not given to others before its readers are
done. Must not know what a vector is for.

A Python lock orders who asks for a change. Each thread may ask in a CUDA stream of its own, and the
streams' kernels run when they please. So every change begins after the event of the one before, in
whatever stream it was, and leaves an event of its own; who reads begins after the last of them.

torch gives the memory of a tensor that is gone to the next one of the stream that it was made in,
at once, as that stream will not use it before. Another stream that reads it must be known to it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, final

import torch
from torch import Tensor


class Order(Protocol):
    """Of the changes to one vector."""

    def begin(self, *vectors: Tensor) -> None:
        """What this thread asks for from now on is done after the last change.

        It may read the `vectors`, whichever stream they were made in.
        """

    def end(self) -> None:
        """All that this thread has asked for so far is the last change."""


@final
class AtOnce:
    """On the CPU all is done when it was asked for."""

    def begin(self, *vectors: Tensor) -> None:
        """Nothing to wait for."""

    def end(self) -> None:
        """Nothing to tell."""


@final
class ByEvents:
    """On a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last: torch.cuda.Event | None = None

    def begin(self, *vectors: Tensor) -> None:
        """Has the stream wait, and not the thread."""
        stream = torch.cuda.current_stream(self._device)
        if self._last is not None:
            stream.wait_event(self._last)
        for vector in vectors:
            # Some optimizers count their steps on the host.
            if vector.is_cuda:
                vector.record_stream(stream)

    def end(self) -> None:
        """Leave an event."""
        self._last = torch.cuda.current_stream(self._device).record_event()


_AT_ONCE = AtOnce()


def order_on(device: torch.device) -> Order:
    """A new one for a vector there, to which nothing was done yet."""
    return ByEvents(device) if device.type == "cuda" else _AT_ONCE


class Handed(NamedTuple):
    """A vector on its way from one thread to another."""

    vector: Tensor
    order: Order

    @staticmethod
    def over(vector: Tensor) -> Handed:
        """As it is once all is done that this thread has asked for so far."""
        order = order_on(vector.device)
        order.end()
        return Handed(vector, order)

    def taken(self) -> Tensor:
        """The vector, for what this thread asks for from now on."""
        self.order.begin(self.vector)
        return self.vector
