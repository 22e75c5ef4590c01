"""Units: numbers as people read them.

Owns the wording of quantities, for tables and pictures alike. Takes SI base units; None is an en
dash, for what was not measured.
"""

from __future__ import annotations

import math

MISSING = "–"


def significant(value: float | None, digits: int = 3) -> str:
    """A plain decimal with thousands separated: 0.0123, 1.23, 12,346."""
    if value is None:
        return MISSING
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    # The exponent after rounding: 9.996 has two digits before its point once it is 10.0.
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{value:,.{max(0, digits - 1 - exponent)}f}"


def seconds(value: float | None) -> str:
    """2.00 µs, 15.0 ms, 1.23 s, 5,400 s."""
    if value is None:
        return MISSING
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if abs(value) * factor >= 1 or value == 0:
            return f"{significant(value * factor)} {unit}"
    return f"{significant(value * 1e9)} ns"


def hours(value: float | None) -> str:
    """5.20 h; less than a hundredth of an hour in seconds, as of a toy."""
    if value is None:
        return MISSING
    return f"{significant(value)} h" if value >= 0.01 else seconds(3600 * value)


def size(value: float | None) -> str:
    """164.62 million bytes are 165 MB: decimal prefixes, as links are rated."""
    if value is None:
        return MISSING
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= factor:
            return f"{significant(value / factor)} {unit}"
    return f"{value:.0f} B"


def cost(value: float | None) -> str:
    """1,302.40 of whatever currency the price was in; 0.00420 of a toy."""
    if value is None:
        return MISSING
    return f"{value:,.2f}" if value >= 1 else significant(value)


def percent(fraction: float | None) -> str:
    """0.8421 is 84.2 %."""
    return MISSING if fraction is None else f"{100 * fraction:.1f} %"


def count(value: int | None) -> str:
    """12,345."""
    return MISSING if value is None else f"{value:,}"


def counted(number: int | None, noun: str, plural: str | None = None) -> str:
    """1 round, 133 rounds; whose plural is no -s, gives it."""
    return f"{count(number)} {noun if number == 1 else plural or noun + 's'}"


def rate(per_s: float | None) -> str:
    """123 /s."""
    return MISSING if per_s is None else f"{significant(per_s)} /s"


def factor(value: float | None) -> str:
    """39.8x."""
    return MISSING if value is None else f"{significant(value)}×"
