"""The shadow of a torch module: what its gradient takes, counted, and none of its numbers.

Owns the counting of a module that nobody has data for yet: it is made on torch's "meta" device,
where tensors have sizes and no entries, so one that would not fit on this machine is counted in
seconds all the same. Must not know what a device makes of the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dualrt.core.effects import FLOAT32, Cost
from dualrt.core.errors import UsageError
from dualrt.core.names import find
from dualrt.workloads import flops
from dualrt.workloads.phantom import Phantom, weights_passes

_FP32_BYTES = 4

_FEW, _MORE, _MOST = 2, 4, 6
"""Samples that are counted with; work lies on a line. Of one, batch norm takes no gradient."""


class ModulePhantom(Phantom):
    """A `Phantom` with the sizes and costs of a torch module.

    Parameters: `module` is "package.module:name" of what makes it, a class or a function, called
    with `arguments`. `inputs` are the shapes of what one sample gives to `forward`, one an
    argument, without the batch, which comes first; `dtypes` their types ("int64" for indices), by
    default all float32. `samples_per_epoch` is the size of the pool. `precision` and `accumulate`
    as in `Phantom`.

    Parameters that need no gradient are neither trained nor sent. The loss is taken to keep as much
    as the module gives. Everything is counted in float32, whatever types the module has.

    Raises:
        UsageError: there is no such module, it cannot be made of these arguments or take such
            inputs, what it does depends on numbers or does not grow evenly with the batch, or
            nothing in it is to be trained.
    """

    def __init__(
        self,
        *,
        seed: int,
        learners: int,
        batch: int,
        module: str,
        inputs: tuple[tuple[int, ...], ...],
        dtypes: tuple[str, ...] = (),
        arguments: Mapping[str, Any] = {},
        samples_per_epoch: int = 1_000_000,
        precision: str = FLOAT32,
        accumulate: int = 1,
    ) -> None:
        types = _types(inputs, dtypes)
        # Outside the meta device: its file may make tensors of its own.
        make = find(module, "class or function", callable, partial(_refused, module))
        with torch.device("meta"):
            made = _made(module, make, arguments)
            trained = [one for one in made.parameters() if one.requires_grad]
            if not trained:
                raise UsageError(f"module = {module!r}: it has no parameter that needs a gradient.")
            shapes = list(zip(inputs, types, strict=True))
            flops_of, bytes_of = _counted(module, made, shapes, batch)
        sizes = tuple(_FP32_BYTES * one.numel() for one in trained)
        frozen = _FP32_BYTES * sum(one.numel() for one in made.parameters()) - sum(sizes)
        super().__init__(
            seed=seed,
            learners=learners,
            batch=batch,
            parameters_bytes=sum(sizes),
            tensors_bytes=sizes,
            samples_per_epoch=samples_per_epoch,
        )
        self.frozen_bytes = frozen
        self.gradient_cost = Cost(
            "gradient",
            samples=batch,
            flops=float(flops_of),
            # What is frozen is read forward and backward, in each part.
            bytes_moved=weights_passes(accumulate) * sum(sizes)
            + 2 * accumulate * frozen
            + flops.PASSES * bytes_of,
            parts=accumulate,
            precision=precision,
        )


def _types(inputs: Sequence[Sequence[int]], dtypes: Sequence[str]) -> list[torch.dtype]:
    if any(size < 1 for shape in inputs for size in shape):
        raise UsageError(
            f"inputs = {[list(shape) for shape in inputs]!r}: a size is less than 1. Write the "
            "shape of one sample, without the batch."
        )
    names = dtypes or ["float32"] * len(inputs)
    if len(names) != len(inputs):
        raise UsageError(
            f"dtypes = {list(names)!r}: there are {len(inputs)} inputs. Name a type for each."
        )
    types = [getattr(torch, name, None) for name in names]
    for name, found in zip(names, types, strict=True):
        if not isinstance(found, torch.dtype):
            raise UsageError(
                f"dtypes: torch has no type {name!r}. Name one of torch's, say float32 or int64."
            )
    return [found for found in types if isinstance(found, torch.dtype)]


def _refused(name: str, problem: str, remedy: str) -> UsageError:
    return UsageError(f"module = {name!r}: {problem}. {remedy}")


def _made(name: str, make: Callable[..., Any], arguments: Mapping[str, Any]) -> nn.Module:
    try:
        made = make(**arguments)
    except Exception as error:
        raise UsageError(
            f"module = {name!r}: it cannot be made with arguments = {dict(arguments)!r}"
            f"{_because(error)}"
        ) from error
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"module = {name!r}: it makes a {type(made).__name__}. Name a torch.nn.Module, or a "
            "function that returns one."
        )
    return made


def _counted(
    name: str,
    made: nn.Module,
    inputs: Sequence[tuple[Sequence[int], torch.dtype]],
    batch: int,
) -> tuple[int, int]:
    """Flops, and bytes of activations, of a gradient of that many samples."""
    counted = {samples: _of(name, made, inputs, samples) for samples in (_FEW, _MORE, _MOST)}
    few, more, most = counted.values()
    if any(
        last - middle != middle - first for first, middle, last in zip(few, more, most, strict=True)
    ):
        raise UsageError(
            f"module = {name!r}: its work does not grow evenly with the samples: {few[0]}, "
            f"{more[0]} and {most[0]} flops for {_FEW}, {_MORE} and {_MOST}. The batch has to be "
            "the first dimension of each input: torch's transformer layers take batch_first = true."
        )
    # What does not depend on the batch, say a table of positions, is done once.
    flops_of, bytes_of = (
        first + (second - first) * (batch - _FEW) // (_MORE - _FEW)
        for first, second in zip(few, more, strict=True)
    )
    return flops_of, bytes_of


def _of(
    name: str, made: nn.Module, inputs: Sequence[tuple[Sequence[int], torch.dtype]], samples: int
) -> flops.Work:
    given = [torch.zeros(samples, *shape, dtype=dtype) for shape, dtype in inputs]
    outputs: list[Tensor] = []

    def loss() -> Tensor:
        outputs[:] = [one for one in _tensors(made(*given)) if one.requires_grad]
        if not outputs:
            raise TypeError("no tensor that it gives depends on a parameter")
        return torch.stack([one.float().sum() for one in outputs]).sum()

    trained = [one for one in made.parameters() if one.requires_grad]
    try:
        work = flops.count(loss, trained, (*made.parameters(), *made.buffers()))
    except Exception as error:
        shapes = ", ".join(str(tuple(one.shape)) for one in given)
        raise UsageError(
            f"module = {name!r}: its gradient cannot be counted for inputs of shape {shapes}, "
            f"samples first{_because(error)}"
        ) from error
    # A loss keeps about as much as it is given, say the logarithms of probabilities.
    of_loss = sum(one.nbytes for one in outputs)
    return work._replace(activation_bytes=work.activation_bytes + of_loss)


def _tensors(outputs: Any) -> list[Tensor]:
    """All that a module gives, in whatever containers."""
    if is_dataclass(outputs) and not isinstance(outputs, Mapping):
        outputs = vars(outputs)
    return [one for one in tree_leaves(outputs) if isinstance(one, Tensor)]


def _because(error: Exception) -> str:
    """The error, and what is behind it where tensors without entries are."""
    told = f": {type(error).__name__}: {str(error).rstrip('.')}."
    if isinstance(error, RuntimeError):
        told += " Tensors have no entries here, so what it does must not depend on them."
    return told
