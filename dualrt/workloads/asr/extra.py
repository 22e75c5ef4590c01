"""The packages of the `asr` extra, imported where they are used.

Owns the one place that turns a missing package into an error with a remedy. Knows nothing of what
the packages do.
"""

from __future__ import annotations

import importlib
from typing import Any

from dualrt.core.errors import MissingExtraError


def needed(module: str, purpose: str) -> Any:
    """Import `module`, or say which extra brings it.

    `Any`, because none of these packages ships type hints.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name != module:
            raise
        raise MissingExtraError(module.replace("_", "-"), "asr", purpose) from missing
