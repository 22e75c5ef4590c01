"""Flops: the arithmetic and the memory that a gradient takes, counted from the gradient itself.

Owns the counting. Must not know which module, nor what a device makes of the figures.

A loss is computed once and differentiated, and what happens is counted:

- *flops*: those of matrix products, convolutions and attention, forward and backward, by the
  formulas of torch's own counter (`torch.utils.flop_counter`): 2 a multiplication with its
  addition, and no gradient for an input that needs none. What is done element by element (norms,
  activations, biases, the look-up of embeddings) is bound by memory and not by arithmetic, and
  counts there alone.
- *activations*: the bytes that autograd keeps from forward for backward, parameters apart.

All of it also for tensors on the "meta" device, which have sizes and no entries.

What torch's counter makes of a convolution's backward pass is not taken: it has a kernel of all
channels where there are groups, for a depthwise one as many times too many as it has channels.

torch counts no fused recurrent layer: oneDNN's LSTM (CPU) and cuDNN's are one opaque operation. So
both libraries are switched off meanwhile, and torch's own recurrent layers, which are made of
matrix products, are counted in their place. Its attention for CPUs is counted here, by torch's
formulas for the same attention on a GPU; so is attention on the meta device, where torch would
write out all scores, which no GPU does (`_Attention`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode

PASSES = 4
"""Times that an activation crosses the memory bus: written and read forward, and its gradient
written and read backward."""


class Work(NamedTuple):
    """What a gradient takes."""

    flops: int
    activation_bytes: int


def count(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], others: Sequence[Tensor] = ()
) -> Work:
    """What it takes to compute a loss, shape [], and its gradient by the `parameters`.

    `others` are no activations either: parameters that need no gradient, buffers.
    Other threads must not compute meanwhile: the libraries are switched off for the process. Draws
    from torch's global generators where the loss does.
    """
    counter = _Counter()
    with _kept_bytes((*parameters, *others)) as kept, _unfused(), _fused_on_meta(counter), counter:
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
    """The bytes of each storage that autograd keeps, by storage; a view keeps all of its own.

    All of them are alive until the backward pass, so none is taken for another. Not by the address
    of their entries, as there are none on the meta device.
    """
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage()._cdata for parameter in parameters}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


_attention = functional.scaled_dot_product_attention

_GIVEN = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


@contextmanager
def _fused_on_meta(counter: _Counter) -> Iterator[None]:
    """Have attention on the meta device done by `_Attention`, whose flops `counter` is told."""

    def attend(*args: Any, **options: Any) -> Tensor:
        given = {**dict(zip(_GIVEN, args, strict=False)), **options}
        query, key, value, mask = (given.get(name) for name in _GIVEN[:4])
        if query is None or query.device.type != "meta":
            return _attention(*args, **options)
        fused: Callable[..., Tensor] = _Attention.apply
        return fused(query, key, value, mask, counter)

    # Under the name that torch's own layers look up, and for who has taken the function before.
    functional.scaled_dot_product_attention = attend
    try:
        with _Instead(attend):
            yield
    finally:
        functional.scaled_dot_product_attention = _attention


class _Instead(TorchFunctionMode):
    """Calls a function where torch's attention is called; not inside torch's other functions."""

    def __init__(self, attend: Callable[..., Tensor]) -> None:
        super().__init__()
        self._attend = attend

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return (self._attend if func is _attention else func)(*args, **(kwargs or {}))


class _Attention(torch.autograd.Function):
    """Sizes and flops of attention as GPUs do it (Dao et al., 2022, arXiv 2205.14135).

    Kept for the backward pass are query, key, value, what came out, and a number a row, from which
    the scores are computed once more.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        counter: _Counter,
    ) -> Tensor:
        counter.flops += flop_counter.sdpa_flop_count(*map(_four, (query, key, value)))
        # Laid out as the query is, so that who joins the heads again copies nothing.
        same = value.shape[-1] == query.shape[-1]
        shape = (*query.shape[:-1], value.shape[-1])
        out = torch.empty_like(query) if same else query.new_empty(shape)
        ctx.save_for_backward(query, key, value, mask, out, query.new_empty(query.shape[:-1]))
        ctx.counter = counter
        return out

    @staticmethod
    def backward(ctx: Any, *out_gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mask, _, _ = ctx.saved_tensors
        (out_gradient,) = out_gradients
        ctx.counter.flops += flop_counter.sdpa_backward_flop_count(
            *map(_four, (out_gradient, query, key, value))
        )
        of_mask = torch.empty_like(mask) if ctx.needs_input_grad[3] else None
        return (*map(torch.empty_like, (query, key, value)), of_mask, None)


def _four(tensor: Tensor) -> tuple[int, ...]:
    """Its shape as torch's formulas want it: batch, heads, rows, width."""
    *outer, rows, width = tensor.shape
    return (prod(outer[:-1]), *(outer[-1:] or [1]), rows, width)


@contextmanager
def _unfused() -> Iterator[None]:
    set_flags: Callable[..., tuple[Any, ...]] = torch.backends.mkldnn.set_flags
    one_dnn, *_ = set_flags(False)
    try:
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        set_flags(one_dnn)


def _convolution_backward_flops(
    out_gradient: Tensor,
    inputs: Tensor,
    weight: Tensor,
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    wanted: Sequence[bool],
    **_: Any,
) -> int:
    """Each product of the forward pass has one in the input's gradient, and one in the weight's."""
    forward: int = flop_counter.conv_flop_count(
        list(inputs.shape), list(weight.shape), list(out_gradient.shape), transposed
    )
    return forward * sum(wanted[:2])


_aten = torch.ops.aten
_known = flop_counter.flop_registry

_FORMULAS: Mapping[Any, Callable[..., int]] = {
    **_known,
    _aten.convolution_backward: _convolution_backward_flops,
    _aten._scaled_dot_product_flash_attention_for_cpu: _known[
        _aten._scaled_dot_product_flash_attention
    ],
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _known[
        _aten._scaled_dot_product_flash_attention_backward
    ],
}
"""By operation; a formula is called as the operation was, and with what that returned."""
