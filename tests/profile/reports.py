"""A report as a measurement would give it, in round figures."""

from __future__ import annotations

from dualrt.profile.measure import Bandwidth, Gradient, Report

REPORT = Report(
    workload="digits",
    learners=2,
    threads=1,
    device="cpu",
    host='A "fast" processor',
    cores=2,
    torch="2.9",
    measured_at="2026-01-01T00:00:00+00:00",
    took_s=20.0,
    load_before=0.1,
    parameters_bytes=4_000_000,
    flops=3e9,
    gradients=(
        Gradient(8, mean_s=0.010, cv=0.1, sigma=0.01, alone_s=0.008, work_s=0.010),
        Gradient(16, mean_s=0.030, cv=0.3, sigma=0.03, alone_s=0.020, work_s=0.030),
    ),
    update_s=0.0022,
    launch_s=0.0002,
    blend=Bandwidth(4e9, 6e9),
    copy=Bandwidth(8e9, 9e9),
    gossip=Bandwidth(5e8, 7e8),
    message_s=1e-4,
    busy_message_s=5e-4,
    software=None,
    interference=0.25,
    pcie=None,
    recorded=(0.5, 1.5, 1.0),
)
