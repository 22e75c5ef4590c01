"""What a gate was closed with ends the waits of many threads."""

from __future__ import annotations

import traceback

import pytest

from dualrt.core.errors import RunError
from dualrt.real.gate import Gate


def test_waits_that_end_by_one_error_do_not_add_up_in_its_traceback() -> None:
    gate, error = Gate(), RunError("why")
    gate.close(error)
    lengths = []
    for _ in range(5):
        with pytest.raises(RunError, match="why") as raised, gate:
            gate.wait(lambda: False, 1.0)
        lengths.append(len(traceback.extract_tb(raised.value.__traceback__)))
    assert lengths == 5 * [lengths[0]]
