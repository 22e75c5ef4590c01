"""Timing digests of one run of each algorithm, as JSON on standard output."""

from __future__ import annotations

import json

from dualrt.workloads.phantom import Phantom
from tests.support.runs import ALGORITHMS, Case, label
from tests.support.simulated import digest_of

JITTERY = {"step_cv": 0.5, "device_sigma": 0.2, "nic_bytes_per_s": 1e9, "slow": {1: 3.0}}


def digests(seed: int, **machine: object) -> dict[str, str]:
    """By the label of the algorithm; on a jittery machine unless another is given."""
    made = {}
    for algorithm, settings in ALGORITHMS:
        on = machine or JITTERY
        case = Case(algorithm, 8, settings, graph="torus", seed=seed, machine=on)
        if algorithm.layout(8, **settings).gossipers != tuple(range(8)):
            case = Case(algorithm, 8, settings, seed=seed, machine=on)
        workload = Phantom(
            seed=seed, learners=8, batch=1, samples_per_epoch=160, parameters_bytes=1_000_000
        )
        made[label(algorithm, settings)] = digest_of(case.cast(workload), case.where())
    return made


if __name__ == "__main__":
    print(json.dumps(digests(seed=7)))
