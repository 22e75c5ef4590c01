"""Pieces of a gradient: which are final while the backward pass goes on.

Owns the hooks that fill a flat vector, piece by piece, in the same order in every process. Must not
know who waits for a piece.

autograd finishes the last layers' gradients first, but promises no order, and a parameter that the
loss does not depend on gets none. Members of a group must average their pieces in one order. So a
piece waits for those before it, and what is missing at the end counts as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType

import torch
from torch import Tensor, nn


class Filling:
    """Inside its `with`, a backward pass fills `whole` instead of the parameters' `grad`.

    Parameters: `whole`, the flat vector of `share` times all `parameters`' gradients; `pieces`, the
    bytes of each piece, from the end of the vector on and along its tensors; `ready` is told each,
    in their order, and the last of them at the end of the `with`.
    """

    def __init__(
        self,
        whole: Tensor,
        parameters: Sequence[nn.Parameter],
        pieces: Sequence[int],
        share: float,
        ready: Callable[[Tensor], None],
    ) -> None:
        self._share, self._ready = share, ready
        self._bounds: list[tuple[Sequence[nn.Parameter], Tensor]] = []
        """The parameters and the memory of each piece."""
        self._missing: list[int] = []
        """Of how many parameters of each the gradient is not final."""
        self._next = 0
        self._homes: dict[nn.Parameter, int] = {}
        last, end = len(parameters), len(whole)
        for nbytes in pieces:
            first, start = last, end
            while (end - start) * whole.element_size() < nbytes:
                first -= 1
                start -= parameters[first].numel()
            members = parameters[first:last]
            self._homes |= dict.fromkeys(members, len(self._bounds))
            self._bounds.append((members, whole[start:end]))
            self._missing.append(len(members))
            last, end = first, start

    def __enter__(self) -> None:
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(self._accumulated)
            for parameter in self._homes
        ]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        if kind is None:
            while self._next < len(self._bounds):
                self._fill()
        for parameter in self._homes:
            parameter.grad = None

    def _accumulated(self, parameter: Tensor) -> None:
        self._missing[self._homes[parameter]] -= 1  # type: ignore[index]  # it is a parameter
        # The last piece is told when the backward pass is over, as it may be a parameter's second.
        while self._next < len(self._bounds) - 1 and not self._missing[self._next]:
            self._fill()

    def _fill(self) -> None:
        members, piece = self._bounds[self._next]
        self._next += 1
        parts = torch.split(piece, [parameter.numel() for parameter in members])
        for parameter, part in zip(members, parts, strict=True):
            if parameter.grad is None:
                part.zero_()
            else:
                torch.mul(parameter.grad.reshape(-1), self._share, out=part)
                parameter.grad = None
        self._ready(piece)
