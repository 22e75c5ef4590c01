"""The modes as functions: what the command line calls, and what a program can.

Owns these names alone; what they do is in `dualrt.modes`. Neither torch nor a driver is imported
before it is needed.
"""

from __future__ import annotations

from dualrt.modes.demands import check_order, check_reachable, check_real, check_returns, crashes_of
from dualrt.modes.observers import OnProgress
from dualrt.modes.outcome import Outcome
from dualrt.modes.real import train
from dualrt.modes.replayed import Replays, Stop, replay
from dualrt.modes.simulated import check, simulate

__all__ = [
    "OnProgress",
    "Outcome",
    "Replays",
    "Stop",
    "check",
    "check_order",
    "check_reachable",
    "check_real",
    "check_returns",
    "crashes_of",
    "replay",
    "simulate",
    "train",
]
