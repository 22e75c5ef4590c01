"""Swarm: many simulations, each with other faults at random, and what must hold in all of them."""

from __future__ import annotations

from dualrt.swarm.draw import KINDS
from dualrt.swarm.invariants import INVARIANTS, Finding
from dualrt.swarm.run import Swarm, swarm
from dualrt.swarm.trial import Trial

__all__ = ["INVARIANTS", "KINDS", "Finding", "Swarm", "Trial", "swarm"]
