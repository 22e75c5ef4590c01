from __future__ import annotations

from typing import Any

import pytest

from dualrt.core.errors import UsageError
from dualrt.workloads.speech import Speech


@pytest.mark.parametrize("setting", ["layers", "cells", "projection"])
def test_a_model_without_a_part_is_refused_before_the_data_is_read(setting: str) -> None:
    sizes: dict[str, Any] = {setting: 0}
    with pytest.raises(UsageError, match=f"^{setting} = 0: "):
        Speech(seed=1, learners=1, batch=1, data="nowhere.h5", **sizes)
