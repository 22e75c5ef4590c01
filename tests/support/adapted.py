"""A module of which most is frozen."""

from __future__ import annotations

from torch import nn


class Adapted(nn.Sequential):
    """Two layers, of which the first is not trained."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(100, 100), nn.Linear(100, 2))
        self[0].requires_grad_(False)
