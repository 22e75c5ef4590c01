"""Parts of a torch vector: which entries an exchange averages, and their bytes on the wire.

Owns the choice, its error memory, the form and its checks. Must not know weights or a protocol.

An *offer* holds some entries of a vector and says which; the *answer* to it holds the same entries
of another vector, and says which others its sender wants to be offered next. Both are flat vectors
of bytes:

    offer     k places (int32, ascending)       k entries (the vectors' own type)
    answer    k // 2 places (int32, ascending)  k entries

Both ends know k, and so which is which. What comes from a peer is checked before it is used:
length, bounds, order, and with that repetition. An index is used for reading and writing memory.

The error memory is what has become of each entry since it was averaged last. An offer takes the
largest of it, beside what its receiver wanted; what is not taken, or is given up on the way,
remains and grows until it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dualrt.core.errors import RunError, UsageError
from dualrt.workloads.parts import entries, wanted
from dualrt.workloads.torch_order import Handed

PLACE = torch.int32

_AVERAGED, _WISHES = "top-k.averaged", "top-k.wanted by "

SAMPLE = 1 << 16
"""Entries, about, of which a long vector's largest are guessed."""


class Part(NamedTuple):
    """Some entries of a vector."""

    places: Tensor
    """Of shape [n], int64, ascending."""
    values: Tensor
    """Of shape [k]. In an offer k = n, and these are the entries at the places."""


class Parts:
    """One learner's choice of entries, for vectors like `vector`.

    Raises UsageError for vectors with more entries than there are places.
    """

    def __init__(self, vector: Tensor, fraction: float) -> None:
        self._size, self._dtype = len(vector), vector.dtype
        if self._size > torch.iinfo(PLACE).max:
            raise UsageError(
                f"training.wire = 'top-k' counts entries in 32 bits, and there are {self._size}. "
                "Use a wire of 16 bits"
            )
        self._entries = entries(self._size, fraction)
        self._wanted = wanted(self._entries)
        self._averaged = vector.clone()
        """Each entry as it was when it was averaged last."""
        self._wishes: dict[int, Handed] = {}
        """By peer, the places that it wants to be offered."""

    def offer(self, vector: Tensor, peer: int) -> Tensor:
        """The entries that the peer wanted, and our largest in the error memory."""
        wished = self._wishes.pop(peer, None)
        none = torch.empty(0, dtype=torch.int64, device=vector.device)
        wishes = none if wished is None else wished.taken()
        errors = self._errors(vector)
        # So that they are not chosen once more.
        errors[wishes] = -1.0
        ours = _largest(errors, self._entries - len(wishes))
        places = torch.cat((wishes, ours)).sort().values
        return _packed(places, vector[places])

    def answer(self, vector: Tensor, offer: Tensor) -> Tensor:
        """The same entries as an offer's, and our largest others in the error memory."""
        places = self._read(offer, self._entries).places
        errors = self._errors(vector)
        errors[places] = -1.0
        # With most entries in the offer there are fewer others; then some are wanted again.
        return _packed(_largest(errors, self._wanted).sort().values, vector[places])

    def heed(self, peer: int, answer: Tensor) -> None:
        """Keep what the peer wants for the next offer to it."""
        self._wishes[peer] = Handed.over(self._read(answer, self._wanted).places)

    def differences(self, theirs: Tensor, mine: Tensor) -> Part:
        """Their entries less ours, of an offer and its answer, whichever is ours.

        They then count as averaged. Raises RunError for what is no offer and its answer.
        """
        offers = self._length(self._entries)
        began = len(mine) == offers
        offer = self._read(mine if began else theirs, self._entries)
        answer = self._read(theirs if began else mine, self._wanted)
        own, their = (offer, answer) if began else (answer, offer)
        self._averaged[offer.places] = own.values
        return Part(offer.places, their.values - own.values)

    def state(self) -> dict[str, Tensor]:
        """The error memory, and what peers want, by names that `restore` knows; not copies."""
        wishes = {f"{_WISHES}{peer}": places.taken() for peer, places in self._wishes.items()}
        return {_AVERAGED: self._averaged, **wishes}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse. Raises RunError for those of other vectors."""
        averaged = tensors[_AVERAGED]
        if averaged.shape != self._averaged.shape:
            raise RunError(
                f"{_AVERAGED} has {averaged.numel()} entries, and there are {self._size} weights"
            )
        self._averaged.copy_(averaged)
        self._wishes = {
            int(name.removeprefix(_WISHES)): Handed.over(places.to(self._averaged.device))
            for name, places in tensors.items()
            if name.startswith(_WISHES)
        }

    def _errors(self, vector: Tensor) -> Tensor:
        # Another thread may be writing what it has averaged: only the choice depends on it.
        return torch.sub(vector, self._averaged).abs_()

    def _length(self, places: int) -> int:
        return places * PLACE.itemsize + self._entries * self._dtype.itemsize

    def _read(self, packed: Tensor, count: int) -> Part:
        """Raises RunError for anything but so many places of this vector and their entries."""
        if packed.dtype != torch.uint8 or packed.shape != (self._length(count),):
            raise RunError(
                f"a part of {self._entries} weights of {self._size}, {self._dtype}, takes "
                f"{self._length(count)} bytes, and what came is {packed.dtype}"
                f"{list(packed.shape)}. training.wire_fraction must be the same everywhere"
            )
        split = count * PLACE.itemsize
        # A clone begins where its type may begin.
        places = packed[:split].clone().view(PLACE).to(torch.int64)
        if count and not _ascend(places, self._size):
            raise RunError(
                f"a part of a vector names entries that are not ascending from 0 to "
                f"{self._size - 1}; its sender is no learner of this run"
            )
        return Part(places, packed[split:].clone().view(self._dtype))


def _ascend(places: Tensor, size: int) -> bool:
    """Whether they go up from 0 or more to less than `size`; asked once, as a GPU is waited for."""
    inside = (places[0] >= 0) & (places[-1] < size)
    return bool(inside & (places.diff() > 0).all())


def _largest(errors: Tensor, count: int) -> Tensor:
    """Places of the largest entries, in any order.

    Of a long vector a sample says above which value they are to be looked for, which is a few
    passes over memory. Where that would miss some, all are compared.
    """
    stride = len(errors) // SAMPLE
    if stride < 2 or not count:
        return errors.topk(count, sorted=False).indices
    sample = errors[::stride]
    expected = count * len(sample) / len(errors)
    # A tenth and four standard deviations more than are needed.
    likely = int(1.1 * expected + 4 * math.sqrt(expected) + 1)
    if likely < len(sample):
        least = sample.topk(likely, sorted=False).values.min()
        found = (errors >= least).nonzero().squeeze(1)
        if len(found) >= count:
            return found[errors[found].topk(count, sorted=False).indices]
    return errors.topk(count, sorted=False).indices


def _packed(places: Tensor, values: Tensor) -> Tensor:
    return torch.cat((places.to(PLACE).view(torch.uint8), values.view(torch.uint8)))
