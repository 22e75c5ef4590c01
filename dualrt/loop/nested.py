"""Nested: a `state_dict` of any depth as named tensors and what JSON can say, and back.

Owns that form. Must not know whose state it is.

A tensor is left in the tree as {"$tensor": its name}; tuples and tables whose keys are no texts,
which JSON does not know, as {"$tuple": [...]} and {"$table": [[key, value], ...]}, and numbers that
it does not know as {"$float": "inf"}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dualrt.core.errors import RunError

_TENSOR, _TUPLE, _TABLE, _FLOAT = "$tensor", "$tuple", "$table", "$float"


def taken_apart(name: str, value: Any, tensors: dict[str, Tensor]) -> Any:
    """The tree of `value`; copies of its tensors go to `tensors`, by names that begin with `name`.

    Raises RunError, with the place, for what no checkpoint can hold.
    """
    if isinstance(value, Tensor):
        if value.layout != torch.strided or type(value) not in (Tensor, torch.nn.Parameter):
            raise RunError(
                f"{name} is a {type(value).__name__}, {value.layout}; only plain dense "
                "tensors can be kept"
            )
        while name in tensors:
            # Keys may have dots of their own.
            name += "+"
        tensors[name] = value.detach().clone().cpu()
        return {_TENSOR: name}
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        parts = [taken_apart(f"{name}.{at}", part, tensors) for at, part in enumerate(value)]
        return {_TUPLE: parts} if isinstance(value, tuple) else parts
    if isinstance(value, Mapping):
        parts_by_key = {
            key: taken_apart(f"{name}.{key}", part, tensors) for key, part in value.items()
        }
        if all(isinstance(key, str) and not key.startswith("$") for key in parts_by_key):
            return parts_by_key
        return {_TABLE: [[taken_apart(name, key, {}), part] for key, part in parts_by_key.items()]}
    raise RunError(
        f"{name} is a {type(value).__name__}, which no checkpoint can hold: numbers, texts, "
        "tensors, and lists and tables of these can be kept"
    )


def put_together(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse; tensors are copies on the host. Raises RunError if one is missing."""
    if isinstance(tree, list):
        return [put_together(part, tensors) for part in tree]
    if not isinstance(tree, Mapping):
        return tree
    match tree:
        case {"$tensor": name}:
            if name not in tensors:
                raise RunError(f"it has no tensor {name}")
            return tensors[name].clone()
        case {"$float": text}:
            return float(text)
        case {"$tuple": parts}:
            return tuple(put_together(parts, tensors))
        case {"$table": rows}:
            return {put_together(key, tensors): put_together(one, tensors) for key, one in rows}
    return {key: put_together(part, tensors) for key, part in tree.items()}
