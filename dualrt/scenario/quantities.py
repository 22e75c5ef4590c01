"""Quantities: the types of a scenario's values, and the base of its tables.

Owns strictness: a number is a number (not a string that looks like one, nor a boolean), an unknown
key is an error, and a table does not change once it is read. Must not know which tables there are.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

LARGEST_INTEGER = 2**63 - 1
"""TOML's, and that of what records, digests and tables hold."""
LARGEST = 1e30
"""Beyond any machine, and so far below what a float holds that products of a few are finite."""

Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1, le=LARGEST_INTEGER)]
Index = Annotated[int, Field(strict=True, ge=0, le=LARGEST_INTEGER)]
# A bound of a field beside one of its type would not count: each has a type.
Learners = Annotated[int, Field(strict=True, ge=1, le=65_536)]
Machines = Learners
"""Servers, or devices of one: each is built, and no more than there are learners are of use."""
Sockets = Annotated[int, Field(strict=True, ge=1, le=32)]
"""Of a server: more than are built."""
Samples = Annotated[int, Field(strict=True, ge=1, le=2**40)]
"""Of a mini-batch: those of all learners together still are an integer of 64 bits."""
Threads = Annotated[int, Field(strict=True, ge=1, le=4_096)]
"""Of a process: more than a host has processors."""
Amount = Annotated[float, Field(strict=True, ge=0, le=LARGEST, allow_inf_nan=False)]
"""Zero or more, finite: a latency, a weight decay, a standard deviation."""
Positive = Annotated[float, Field(strict=True, gt=0, le=LARGEST, allow_inf_nan=False)]
"""More than zero, finite: a bandwidth, a learning rate, a number of epochs."""
Factor = Annotated[float, Field(strict=True, ge=1, le=LARGEST, allow_inf_nan=False)]
"""How many times as long something takes."""
Spread = Annotated[float, Field(strict=True, ge=0, le=10, allow_inf_nan=False)]
"""Of a random factor with mean 1. From about 10 on most draws are next to nothing, and the mean is
made by one of more than a run has."""
Cap = Annotated[float, Field(strict=True, gt=0)]
"""More than zero; infinity is no limit."""
Name = Annotated[str, StringConstraints(min_length=1)]
Text = Annotated[str, StringConstraints(strip_whitespace=True)]


def port_range(text: str) -> range:
    """The ports from FIRST-LAST, both included; none of an empty text. Raises ValueError."""
    if not text:
        return range(0)
    found = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text)
    first, last = map(int, found.groups()) if found else (0, 0)
    if not 1 <= first <= last <= 65_535:
        raise ValueError("should be two ports of 1 to 65535, the lower one first")
    return range(first, last + 1)


def _are_ports(text: str) -> str:
    port_range(text)
    return text


Ports = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_are_ports)]
"""A range of ports, "20000-20100"; empty: none in particular."""


def without_default(schema: JsonDict) -> None:
    """For a default of infinity, which JSON cannot show in the published schema."""
    del schema["default"]


class Table(BaseModel):
    """A TOML table whose keys are all known.

    Validators are built at the first load, not at import: the command line's `--help` is quick.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
