"""The figures of one run, for tests of this folder."""

from __future__ import annotations

from dualrt.sweep.rows import Figures

FIGURES = Figures(
    loss=0.5,
    accuracy=None,
    error=None,
    train_loss=None,
    seconds_per_iteration=0.001,
    hours_per_epoch=0.25,
    hours_total=4.0,
    speedup_over_one=0.0,
    servers=2,
    server_hours_total=8.0,
    cost_total=None,
    ci_percent=None,
    elapsed_s=1.0,
    steps=10,
    updates=10,
    staleness_mean=1.5,
    staleness_p99=3,
    staleness_max=4,
    consensus_distance=0.1,
    wait_fraction=0.0,
    bytes_sent=1000,
    timing_digest="aa",
    numerics_digest=None,
    wall_s=2.0,
)
