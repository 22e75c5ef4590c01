"""Flops: the arithmetic and the memory that a gradient takes, counted from the gradient itself.

Owns the counting. Must not know which module, nor what a device makes of the figures.

A loss is computed once and differentiated, and what happens is counted:

- *flops*: those of matrix products, convolutions and attention, forward and backward, by the
  formulas of torch's own counter (`torch.utils.flop_counter`): 2 a multiplication with its
  addition, and no gradient for an input that needs none. What is done element by element (norms,
  activations, biases, the look-up of embeddings) is bound by memory and not by arithmetic, and
  counts there alone.
- *activations*: the bytes that autograd keeps from forward for backward, parameters apart.

torch counts no fused recurrent layer: oneDNN's LSTM (CPU) and cuDNN's are one opaque operation. So
both libraries are switched off meanwhile, and torch's own recurrent layers, which are made of
matrix products, are counted in their place. Its attention for CPUs is counted here, by torch's
formulas for the same attention on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode

PASSES = 4
"""Times that an activation crosses the memory bus: written and read forward, and its gradient
written and read backward."""


class Work(NamedTuple):
    """What a gradient takes."""

    flops: int
    activation_bytes: int


def count(loss: Callable[[], Tensor], parameters: Sequence[Tensor]) -> Work:
    """What it takes to compute a loss, shape [], and its gradient by the `parameters`.

    Other threads must not compute meanwhile: the libraries are switched off for the process. Draws
    from torch's global generators where the loss does.
    """
    with _kept_bytes(parameters) as kept, _unfused(), _Counter() as counter:
        torch.autograd.grad(loss(), parameters, materialize_grads=True)
    return Work(counter.flops, sum(kept.values()))


class _Counter(TorchDispatchMode):
    """Adds up the flops of every operation that torch has a formula for.

    Not torch's `FlopCounterMode`, which loads torch's compiler: seconds in every process.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # To skip the compiler, torch would load it.

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        out = func(*args, **options)
        formula = _FORMULAS.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **options, out_val=out)
        return out


@contextmanager
def _kept_bytes(parameters: Sequence[Tensor]) -> Iterator[dict[int, int]]:
    """The bytes of each storage that autograd keeps, by address; a view keeps all of its storage.

    All of them are alive until the backward pass, so no address is used twice before.
    """
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


@contextmanager
def _unfused() -> Iterator[None]:
    set_flags: Callable[..., tuple[Any, ...]] = torch.backends.mkldnn.set_flags
    one_dnn, *_ = set_flags(False)
    try:
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        set_flags(one_dnn)


_aten = torch.ops.aten
_known = flop_counter.flop_registry

_FORMULAS: Mapping[Any, Callable[..., int]] = {
    **_known,
    _aten._scaled_dot_product_flash_attention_for_cpu: _known[
        _aten._scaled_dot_product_flash_attention
    ],
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _known[
        _aten._scaled_dot_product_flash_attention_backward
    ],
}
"""By operation; a formula is called as the operation was, and with what that returned."""
