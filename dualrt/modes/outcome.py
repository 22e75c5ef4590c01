"""Outcome: what a run gives, in either mode, and the folder in which it is kept.

Owns the arithmetic from the replicas' final weights to figures. Must not know how they came about.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from dualrt.composition import Composition
from dualrt.core.faults import Toll
from dualrt.core.workload import Workload
from dualrt.observe.summary import Summary, summarise
from dualrt.observe.tally import Tally
from dualrt.parting import Final, delivered, hashed, imbalance
from dualrt.scenario import Scenario

SCENARIO, MODEL = "scenario.toml", "model.safetensors"
"""What they are called in the folder."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gives: its figures, the tally they were made from, and the delivered model."""

    summary: Summary
    tally: Tally
    model: Any
    """The mean over replicas, each by its mass, in the workload's own vectors."""
    warnings: tuple[str, ...] = ()
    """What the scenario sets and this run had no use for."""
    toll: Toll | None = None
    """What faults did; None where nothing but stragglers was to go wrong."""


def summed_up(
    composition: Composition,
    workload: Workload[Any],
    finals: Sequence[Final],
    tally: Tally,
    **figures: Any,
) -> tuple[Summary, Any]:
    """The summary, and the delivered model: the mean of the replicas' final weights.

    `figures` are those of the mode, as `dualrt.observe.summary.summarise` takes them.
    """
    scenario = composition.scenario
    vectors = [final.weights for final in finals]
    model, distance = delivered(workload, finals)
    summary = summarise(
        tally,
        title=scenario.title,
        algorithm=scenario.algorithm.name,
        batch=workload.batch,
        samples_per_epoch=workload.samples_per_epoch,
        epochs_total=scenario.training.epochs,
        extrapolated=composition.epochs < scenario.training.epochs,
        evaluation=workload.evaluate(model),
        consensus_distance=distance,
        conservation_error=imbalance(workload, finals, composition.layout),
        numerics_digest=hashed(workload.digest(vector) for vector in vectors),
        **figures,
    )
    return summary, model


def keep(scenario: Scenario, outcome: Outcome, out: Path | None) -> Outcome:
    """Write what was run and what came of it beside the records in `out`; returns the outcome."""
    if out is not None:
        keep_scenario(scenario, out)
        (out / "summary.json").write_text(outcome.summary.to_json() + "\n")
        (out / "tally.json").write_bytes(msgspec.json.encode(outcome.tally.to_builtins()))
        keep_model(outcome.model, out / MODEL)
    return outcome


def keep_scenario(scenario: Scenario, out: Path) -> None:
    """Write what is run."""
    (out / SCENARIO).write_text(scenario.to_toml())


def keep_model(model: Any, file: Path) -> None:
    """Write the delivered model as the tensor "weights", if the workload has numbers.

    For a torch module that is all its parameters in their order:
    `torch.nn.utils.vector_to_parameters(weights, module.parameters())` puts them back.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.Tensor):
        from safetensors.torch import save_file

        save_file({"weights": model.cpu()}, file)
