"""Leftovers: what belongs to a model and is not trained: buffers and frozen parameters.

Owns their being alike everywhere at the start, and what becomes of buffers at the end. Must not
know how bytes travel.

Buffers are looked up whenever they are needed: a module may put a new tensor in an old one's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

Buffers: TypeAlias = Literal["mean", "broadcast", "local"]
"""What becomes of buffers, such as BatchNorm's running figures, at the end. They are each process's
own while it trains. "mean": those of floating point become the mean over processes, and all others
rank 0's; "broadcast": all become rank 0's; "local": each process keeps its own."""


class Leftovers:
    """What of a model no gradient changes."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        return sum(tensor.nbytes for tensor in self._all())

    def form(self) -> str:
        """A hash over the names, shapes and types of all parameters and buffers of the model."""
        kinds = [
            (name, tuple(tensor.shape), str(tensor.dtype), tensor.requires_grad)
            for named in (self._model.named_parameters(), self._model.named_buffers())
            for name, tensor in named
        ]
        return blake2b(repr(kinds).encode(), digest_size=16).hexdigest()

    def packed(self) -> Tensor:
        """Everything, as bytes on the CPU."""
        return _packed(self._all())

    def unpack(self, packed: Tensor) -> None:
        """Become what was `packed` elsewhere, of a model of the same form."""
        _unpack(packed, self._all())

    def figures(self) -> Tensor:
        """All buffers of floating point, in float64 on the CPU, as one vector."""
        parts = [buffer.detach().cpu().double().reshape(-1) for buffer in self._floating()]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    def set_figures(self, figures: Tensor) -> None:
        """The inverse of `figures`."""
        buffers = self._floating()
        sizes = [buffer.numel() for buffer in buffers]
        with torch.no_grad():
            for buffer, part in zip(buffers, torch.split(figures, sizes), strict=True):
                buffer.copy_(part.view(buffer.shape))

    def _floating(self) -> list[Tensor]:
        return [buffer for buffer in self._model.buffers() if buffer.is_floating_point()]

    def _all(self) -> list[Tensor]:
        frozen = (tensor for tensor in self._model.parameters() if not tensor.requires_grad)
        return [*self._model.buffers(), *frozen]


def _packed(tensors: Sequence[Tensor]) -> Tensor:
    parts = [
        tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        for tensor in tensors
        if tensor.numel()
    ]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.uint8)


def _unpack(packed: Tensor, tensors: Sequence[Tensor]) -> None:
    sizes = [tensor.nbytes for tensor in tensors]
    with torch.no_grad():
        for tensor, part in zip(tensors, torch.split(packed, sizes), strict=True):
            # A clone begins where its type may begin.
            tensor.copy_(part.clone().view(tensor.dtype).view(tensor.shape))
