"""dualrt: asynchronous decentralised SGD, on a real cluster or in a simulator of it.

A learner is ordinary code that awaits effects (`dualrt.core`); a driver decides whether an effect
happens (`dualrt.real`) or is simulated (`dualrt.sim`). `dualrt.api` runs a scenario in either mode,
and the command `dualrt` does so from a shell. docs/architecture.md explains the whole.

Importing this package imports nothing else.
"""

from __future__ import annotations

__version__ = "0.1.0"
