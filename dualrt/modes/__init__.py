"""Modes: a scenario, run in the simulator or for real.

Owns what each mode is made of and in which order: `simulated` from a scenario to the simulator,
`real` one process's part of a run. What they share is in modules of its own: `observers` (who is
told records, and what they hold open), `outcome` (the figures at the end). `demands` says what a
real run cannot have of a scenario. Part of the composition root: others import `dualrt.api`.
"""
