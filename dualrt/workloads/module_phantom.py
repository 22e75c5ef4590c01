"""The shadow of a torch module: what its gradient takes, counted, and none of its numbers.

Owns the counting of a module that nobody has data for yet: it is made on torch's "meta" device,
where tensors have sizes and no entries, so one that would not fit on this machine is counted in
seconds all the same. Must not know what a device makes of the figures.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dualrt.core.effects import FLOAT32, Cost
from dualrt.core.errors import UsageError
from dualrt.workloads import flops
from dualrt.workloads.phantom import Phantom, weights_passes

_FP32_BYTES = 4

_COUNTED_SAMPLES = 2
"""Work is in proportion to samples; with one of them, batch norm refuses to train."""


class ModulePhantom(Phantom):
    """A `Phantom` with the sizes and costs of a torch module.

    Parameters: `module` is "package.module:name" of what makes it, a class or a function, called
    with `arguments`. `inputs` are the shapes of what one sample gives to `forward`, one an
    argument, without the batch, which comes first; `dtypes` their types ("int64" for indices), by
    default all float32. `samples_per_epoch` is the size of the pool. `precision` and `accumulate`
    as in `Phantom`.

    Parameters that need no gradient are neither trained nor sent. The loss is taken to cost nothing
    beside what the module gives.

    Raises:
        UsageError: there is no such module, it cannot be made of these arguments or take such
            inputs, what it does depends on numbers, or nothing in it is to be trained.
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
        with torch.device("meta"):
            made = _made(module, arguments)
            parameters = [one for one in made.parameters() if one.requires_grad]
            if not parameters:
                raise UsageError(f"module = {module!r}: it has no parameter that needs a gradient.")
            given = [
                torch.zeros(_COUNTED_SAMPLES, *shape, dtype=dtype)
                for shape, dtype in zip(inputs, types, strict=True)
            ]
            work = _counted(module, made, given, parameters)
        sizes = tuple(_FP32_BYTES * one.numel() for one in parameters)
        frozen = _FP32_BYTES * sum(one.numel() for one in made.parameters()) - sum(sizes)
        super().__init__(
            seed=seed,
            learners=learners,
            batch=batch,
            parameters_bytes=sum(sizes),
            tensors_bytes=sizes,
            samples_per_epoch=samples_per_epoch,
        )
        activation_bytes = flops.PASSES * work.activation_bytes * batch // _COUNTED_SAMPLES
        self.gradient_cost = Cost(
            "gradient",
            samples=batch,
            flops=work.flops * batch / _COUNTED_SAMPLES,
            # What is frozen is read forward and backward, in each part.
            bytes_moved=weights_passes(accumulate) * sum(sizes)
            + 2 * accumulate * frozen
            + activation_bytes,
            parts=accumulate,
            precision=precision,
        )


def _types(inputs: Sequence[Sequence[int]], dtypes: Sequence[str]) -> list[torch.dtype]:
    names = dtypes or ["float32"] * len(inputs)
    if len(names) != len(inputs):
        raise UsageError(
            f"dtypes = {list(names)!r}: there are {len(inputs)} inputs. Name a type for each."
        )
    types = [getattr(torch, name, None) for name in names]
    for name, found in zip(names, types, strict=True):
        if not isinstance(found, torch.dtype):
            raise UsageError(
                f"dtypes: torch has no type {name!r}. Name one of torch's: float32, int64, bool ..."
            )
    return [found for found in types if isinstance(found, torch.dtype)]


def _made(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    where, colon, what = name.partition(":")
    if not (where and colon and what):
        raise UsageError(
            f"module = {name!r}: it does not say where it is. Write package.module:name."
        )
    try:
        found = importlib.import_module(where)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"module = {name!r}: {error}. Put the file beside the scenario or into this folder, or "
            "install its package."
        ) from error
    make = getattr(found, what, None)
    if not callable(make):
        raise UsageError(
            f"module = {name!r}: {where} has no class or function {what}. Name one that it has."
        )
    try:
        made = make(**arguments)
    except Exception as error:
        raise UsageError(
            f"module = {name!r}: it cannot be made with arguments = {dict(arguments)!r}: "
            f"{type(error).__name__}: {error}."
        ) from error
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"module = {name!r}: it makes a {type(made).__name__}. Name a torch.nn.Module, or a "
            "function that returns one."
        )
    return made


def _counted(
    name: str, made: nn.Module, given: Sequence[Tensor], parameters: Sequence[Tensor]
) -> flops.Work:
    def loss() -> Tensor:
        leaves = tree_leaves(made(*given))
        felt = [one for one in leaves if isinstance(one, Tensor) and one.requires_grad]
        if not felt:
            raise TypeError("what it gives depends on no parameter")
        return torch.stack([one.sum() for one in felt]).sum()

    try:
        return flops.count(loss, parameters)
    except Exception as error:
        shapes = ", ".join(str(tuple(one.shape)) for one in given)
        raise UsageError(
            f"module = {name!r}: its gradient cannot be counted for inputs of shape {shapes} "
            f"(samples first): {type(error).__name__}: {error}. Nothing is computed, so what it "
            "does must not depend on numbers."
        ) from error
