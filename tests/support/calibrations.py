"""A small run, and tables of figures that it is said to have had."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

LEARNERS = """
title = "Two learners"
learners = 2
[algorithm]
name = "ssgd"
[workload]
name = "phantom"
batch = 8
parameters_bytes = 1_000_000
samples_per_epoch = 160
[training]
epochs = 2
schedule = {kind = "constant", rate = 0.1}
[simulation]
numerics = false
"""

RUN = (
    LEARNERS
    + """
[cluster]
servers = 2
gpus_per_server = 1
nic_bytes_per_s = 1e9
host_memory_bytes_per_s = 1e10
[cluster.device]
flops_per_s = 4e12
memory_bytes_per_s = 1e11
"""
)

BANDWIDTH = ("bandwidth", "cluster.nic_bytes_per_s", 3e9, 1e7, 1e11)
LAUNCH = ("launch", "cluster.collective_launch_s", 1e-5, 1e-6, 1e-1)


def table(
    folder: Path,
    measured: Mapping[str, tuple[float, tuple[str, ...]]],
    *parameters: tuple[str, str, float, float, float],
    predicted: tuple[str, ...] = (),
) -> Path:
    """Write the run and a table of seconds an iteration: name -> (figure, --set texts).

    Parameters are (name, key, initial, low, high), and values of all points.
    """
    (folder / "run.toml").write_text(RUN)
    text = 'title = "A table"\n'
    for name, key, initial, low, high in parameters:
        text += (
            f'[[parameters]]\nname = "{name}"\nkey = "{key}"\npoints = {[*measured]}\n'
            f'initial = {initial}\nlow = {low}\nhigh = {high}\nwhy = "All share it."\n'
        )
    for name, (figure, texts) in measured.items():
        kind = "predictions" if name in predicted else "points"
        text += (
            f'[[{kind}]]\nname = "{name}"\nscenario = "run.toml"\nset = {[*texts]}\n'
            f'figure = "seconds_per_iteration"\nmeasured = {figure}\nsource = "nowhere"\n'
        )
    file = folder / "table.toml"
    file.write_text(text)
    return file
