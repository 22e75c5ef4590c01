"""Shipped: the scenarios, cluster descriptions and calibrations that come with dualrt.

Owns where they lie: at the root of a checkout, inside the package once it is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["sims", "topologies", "calibrations"]

_PACKAGE = Path(__file__).resolve().parents[1]


def folder(kind: Kind) -> Path:
    """The folder that holds the shipped files of one kind."""
    installed = _PACKAGE / "shipped" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / kind


def names(kind: Kind) -> tuple[str, ...]:
    """Names of the shipped files of one kind, without `.toml`, in alphabetical order."""
    return tuple(sorted(path.stem for path in folder(kind).glob("*.toml")))


def find(kind: Kind, name: str) -> Path | None:
    """The shipped file called `name`; "desk", "desk.toml" and "topologies/desk.toml" are one."""
    stem = name.removeprefix(f"{kind}/").removesuffix(".toml")
    return folder(kind) / f"{stem}.toml" if stem in names(kind) else None
