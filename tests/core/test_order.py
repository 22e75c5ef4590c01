"""Which of a learner's doings are turns."""

from __future__ import annotations

import inspect

from dualrt.core.order import CHANGES
from dualrt.core.weights import Weights

OUT_OF_ORDER = {"mean", "state", "restore", "unexplained", "dealings"}
"""Of vectors that are handed in, or asked for outside of any strand, where nothing is under way."""


def test_all_that_strands_do_with_their_weights_is_in_order() -> None:
    methods = {
        name
        for name, _ in inspect.getmembers(Weights, inspect.isfunction)
        if not name.startswith("_")
    }
    assert methods == {*CHANGES, *OUT_OF_ORDER}
