"""States of any depth, taken apart and put together again."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from dualrt.core.errors import RunError
from dualrt.loop.nested import put_together, taken_apart


def there_and_back(value: Any) -> Any:
    tensors: dict[str, torch.Tensor] = {}
    tree = json.loads(json.dumps(taken_apart("it", value, tensors), allow_nan=False))
    return put_together(tree, tensors)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1, 2.5, "text", True, None],
        (0.9, (0.999,)),
        {0: {"step": 3}, 1: {}},
        {"$tensor": "a text of the user's own", "b": []},
        {(1, "key"): -math.inf},
    ],
)
def test_what_is_no_tensor_is_as_it_was(value: Any) -> None:
    assert there_and_back(value) == value


def test_no_number_is_one_afterwards() -> None:
    assert math.isnan(there_and_back([math.nan])[0])


def test_tensors_keep_type_shape_and_bits_even_if_their_names_are_alike() -> None:
    value: dict[str, Any] = {
        "a": {"b": torch.arange(6.0).view(2, 3).bfloat16()},
        "a.b": torch.tensor(7),
    }
    found = there_and_back(value)
    assert found["a"]["b"].dtype == torch.bfloat16
    assert torch.equal(found["a"]["b"], value["a"]["b"])
    assert found["a.b"].item() == 7


def test_an_optimizer_s_state_is_what_it_was() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    parameter.grad = torch.ones(3)
    optimizer.step()
    found = there_and_back(optimizer.state_dict())
    assert found["param_groups"] == optimizer.state_dict()["param_groups"]
    assert torch.equal(found["state"][0]["exp_avg"], optimizer.state[parameter]["exp_avg"])


def test_what_is_taken_apart_is_a_copy() -> None:
    live, tensors = torch.zeros(2), dict[str, torch.Tensor]()
    tree = taken_apart("it", live, tensors)
    live.add_(1)
    assert put_together(tree, tensors).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [object()]}, r"it\.a\.0 is a object, which no checkpoint can hold"),
        (torch.eye(2).to_sparse(), r"it is a Tensor, torch.sparse_coo; only plain dense"),
    ],
)
def test_what_no_checkpoint_can_hold_is_named(value: Any, message: str) -> None:
    with pytest.raises(RunError, match=message):
        taken_apart("it", value, {})


def test_a_tensor_that_is_missing_is_named() -> None:
    with pytest.raises(RunError, match=r"it has no tensor a\.b"):
        put_together({"$tensor": "a.b"}, {})
