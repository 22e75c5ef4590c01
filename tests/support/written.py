"""Exact numbers that travel: a Fraction, written into the bytes of a tensor.

A real run sends tensors, and floats would round. So the vector is the text of the number.
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor


class Written:
    """The text of a number as a tensor of ASCII codes."""

    nbytes = 100

    def write(self, value: Fraction) -> Tensor:
        # Hexadecimal, because Python limits the decimal digits that it converts.
        text = f"{value.numerator:x}/{value.denominator:x}"
        return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)

    def read(self, vector: Tensor) -> Fraction:
        numerator, denominator = vector.numpy().tobytes().decode().split("/")
        return Fraction(int(numerator, 16), int(denominator, 16))
