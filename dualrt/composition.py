"""Composition: from a scenario to learners, the same for both modes.

Owns the making of everything that does not depend on how effects are answered: algorithm,
workload, communication graph, progress, seats. Must not know a driver; `dualrt.api` hands the
learners to one.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dualrt import topology
from dualrt.algorithms import BUILT_IN as ALGORITHMS
from dualrt.core.effects import Cost
from dualrt.core.errors import ScenarioError, TopologyError, UsageError
from dualrt.core.faults import Slowdown
from dualrt.core.learner import Layout, Learner, Seat, Shares
from dualrt.core.progress import Progress
from dualrt.core.weights import TOP_K, Weights
from dualrt.core.workload import Workload
from dualrt.scenario import Scenario
from dualrt.settings import as_scenario_error, check_settings, find_class
from dualrt.workloads import SHIPPED as WORKLOADS
from dualrt.workloads.phantom import Phantom

ALWAYS = ("seed", "learners", "batch")
"""Arguments that every workload is made with."""

MOST_BYTES = 2**50
"""Of a model, 1 PiB: sums over its messages still are integers of 64 bits."""

WITH_NUMBERS = ("optimizer", "device", "audit", "precision", "accumulate")
"""Arguments that a workload is made with if its constructor has them."""

WIRE_FRACTION = 0.01
"""`training.wire_fraction` where it is left out."""

OF_NODES = "learners_per_node"
"""An argument that `Learner.layout` is called with if it has it."""

IS_WORKLOAD = tuple(name for name in vars(Workload) if not name.startswith("_"))
"""What a workload must have."""


class Row:
    """One vertex's rows of a mixing plan, by rank: what a learner is handed instead of a graph.

    Parameters: the `plan`; the learner's `vertex` in it; the `ranks` of all vertices.
    """

    __slots__ = ("_initiated", "_period", "_plan", "_ranks", "_rows", "_vertex")

    def __init__(
        self, plan: topology.Mixing | topology.Pushes, vertex: int, ranks: tuple[int, ...]
    ) -> None:
        self._plan, self._vertex, self._ranks = plan, vertex, ranks
        self._period = plan.period
        # A plan that repeats is asked for the same few rows in every step.
        self._rows: dict[int, Shares] = {}
        self._initiated: dict[int, Shares] = {}

    def row(self, round_: int) -> Shares:
        """Everyone that this learner averages with in a round."""
        return self._known(self._rows, self._plan.row, round_)

    def initiates(self, round_: int) -> Shares:
        """Those of the round's exchanges that it starts."""
        return self._known(self._initiated, self._plan.initiates, round_)

    def peers(self, rank: int) -> tuple[int, ...]:
        """Everyone that learner `rank` averages with in some round."""
        # Asked for around those that are lost alone: a table in each learner's row would be large.
        return tuple(self._ranks[vertex] for vertex in self._plan.peers(self._ranks.index(rank)))

    def _known(
        self, known: dict[int, Shares], ask: Callable[[int, int], Shares], round_: int
    ) -> Shares:
        if self._period is None:
            return self._by_rank(ask(self._vertex, round_))
        place = round_ % self._period
        shares = known.get(place)
        if shares is None:
            shares = known[place] = self._by_rank(ask(self._vertex, place))
        return shares

    def _by_rank(self, shares: Shares) -> Shares:
        return tuple((self._ranks[vertex], share) for vertex, share in shares)


class Ensemble:
    """An algorithm and its learners, whatever they learn: who averages with whom, and how.

    Parameters: `learners_per_node` says how they are spread over hosts or simulated servers; None
    if not evenly. Raises ScenarioError for what cannot be.
    """

    def __init__(self, scenario: Scenario, learners_per_node: int | None) -> None:
        self.scenario, self._learners_per_node = scenario, learners_per_node
        name = scenario.algorithm.name
        self.algorithm: type[Learner] = find_class(scenario, "algorithm.name", name, ALGORITHMS)
        if not issubclass(self.algorithm, Learner):
            raise scenario.error(
                "algorithm.name", "is no learner", "Name a subclass of dualrt.core.Learner."
            )
        lacking = sorted(self.algorithm.__abstractmethods__)
        if lacking:
            raise scenario.error(
                "algorithm.name", f"lacks {', '.join(lacking)}", "Define it, as learners must."
            )
        self.settings = check_settings(scenario, "algorithm", self.algorithm)
        self._check_call("algorithm.name", self.algorithm, "seat", **self.settings)
        self.layout = self._layout()
        layout = self.layout
        if scenario.training.wire == TOP_K and layout.gossipers and not layout.in_parts:
            raise scenario.error(
                "training.wire",
                f"{name} has no exchange in which both ends know which weights are sent",
                "Take adpsgd or h-adpsgd, or a wire of 16 bits.",
            )
        self._plan = self._mixing_plan()

    def seated(
        self, workload: Workload[Any], weights: Weights[Any], progress: Progress, incarnation: int
    ) -> Learner:
        """The learner that these weights are of, in its seat."""
        training = self.scenario.training
        weights.clip_norm = training.clip_norm
        weights.wire = training.wire
        weights.wire_fraction = training.wire_fraction or WIRE_FRACTION
        seat = Seat(
            rank=weights.rank,
            learners=self.scenario.learners,
            weights=weights,
            workload=workload,
            progress=progress,
            layout=self.layout,
            mixing=self._row(weights.rank),
            incarnation=incarnation,
        )
        return self.algorithm(seat, **self.settings)

    def _check_call(self, key: str, cls: type[Any], *given: object, **settings: object) -> None:
        """Raise ScenarioError unless the constructor takes what it will be given, and no more."""
        try:
            inspect.signature(cls).bind(*given, **settings)
        except TypeError as error:
            takes = ", ".join((*map(str, given), *settings))
            raise self.scenario.error(
                key,
                f"{cls.__name__} cannot be made of ({takes}): {error}",
                "Declare its own settings as keyword-only parameters, after a `*`.",
            ) from None

    def _layout(self) -> Layout:
        scenario, settings = self.scenario, dict(self.settings)
        if OF_NODES in inspect.signature(self.algorithm.layout).parameters:
            settings[OF_NODES] = self._learners_per_node
        try:
            return self.algorithm.layout(scenario.learners, **settings)
        except UsageError as error:
            raise as_scenario_error(
                scenario, "learners", error, "algorithm", self._all_settings()
            ) from error

    def _all_settings(self) -> dict[str, Any]:
        """The algorithm's settings, with those that were left out."""
        parameters = inspect.signature(self.algorithm).parameters.values()
        return {
            one.name: self.settings.get(one.name, one.default)
            for one in parameters
            if one.kind is inspect.Parameter.KEYWORD_ONLY
        }

    def _mixing_plan(self) -> topology.Mixing | topology.Pushes | None:
        scenario, vertices = self.scenario, len(self.layout.gossipers)
        if not vertices:
            return None
        try:
            if self.layout.directed:
                return topology.pushes(scenario.topology.graph, vertices, base=scenario.folder)
            graph = topology.build(scenario.topology.graph, vertices, base=scenario.folder)
            if self.layout.one_sided:
                topology.require_bipartite(graph)
        except TopologyError as error:
            raise as_scenario_error(scenario, "topology.graph", error) from error
        try:
            plan = topology.plan(
                scenario.topology.mixing, graph, scenario.seed, base=scenario.folder
            )
            return topology.one_sided(plan) if self.layout.one_sided else plan
        except TopologyError as error:
            raise as_scenario_error(scenario, "topology.mixing", error) from error

    def _row(self, rank: int) -> Row | None:
        ranks = self.layout.gossipers
        vertex = dict(self.layout.heirs).get(rank, rank)
        if self._plan is None or vertex not in ranks:
            return None
        return Row(self._plan, ranks.index(vertex), ranks)


class Composition(Ensemble):
    """What a scenario says, as objects.

    `epochs` is where the run is to end; the rest is as for `Ensemble`.
    """

    def __init__(self, scenario: Scenario, epochs: float, learners_per_node: int | None) -> None:
        super().__init__(scenario, learners_per_node)
        self.epochs = epochs
        self._workload_class: type[Any] = find_class(
            scenario, "workload.name", scenario.workload.name, WORKLOADS
        )
        self._workload_settings = check_settings(
            scenario, "workload", self._workload_class, (*ALWAYS, *WITH_NUMBERS)
        )
        self._check_call(
            "workload.name",
            self._workload_class,
            **self._workload_settings,
            **dict.fromkeys(ALWAYS),
            **dict.fromkeys(self._with_numbers()),
        )
        batch, parts = scenario.workload.batch, scenario.training.accumulate
        if batch % parts:
            raise scenario.error(
                "training.accumulate",
                f"a mini-batch of workload.batch = {batch} samples has no so many equal parts",
                f"Choose one of {', '.join(map(str, _divisors(batch)))}.",
            )

    def check_trainable(self) -> None:
        """Raise ScenarioError for a workload without numbers: there is nothing to train."""
        if issubclass(self._workload_class, Phantom):
            raise self.scenario.error(
                "workload.name",
                "it has no numbers, so there is nothing to train",
                "Simulate it with `dualrt simulate`, or name one that computes: digits, speech, "
                "quadratic, or your own.",
            )

    def workload(self, *, device: str = "cpu") -> Workload[Any]:
        """A new workload object; each thread that computes gradients needs one of its own."""
        scenario, cls = self.scenario, self._workload_class
        settings = dict(self._workload_settings)
        accepted = self._with_numbers()
        if "optimizer" in accepted:
            # Here, because it brings torch along.
            from dualrt.workloads.torch_optimizer import sgd

            options = scenario.training.optimizer
            settings["optimizer"] = sgd(options.momentum, options.weight_decay, options.nesterov)
        if "device" in accepted:
            settings["device"] = device
        if "audit" in accepted:
            settings["audit"] = scenario.training.audit
        if "precision" in accepted:
            settings["precision"] = scenario.training.precision
        if "accumulate" in accepted:
            settings["accumulate"] = scenario.training.accumulate
        settings["batch"] = scenario.workload.batch
        try:
            made: Workload[Any] = cls(seed=scenario.seed, learners=scenario.learners, **settings)
        except UsageError as error:
            raise as_scenario_error(
                scenario, "workload.name", error, "workload", settings
            ) from error
        lacking = [name for name in IS_WORKLOAD if not hasattr(made, name)]
        if lacking:
            raise scenario.error(
                "workload.name",
                f"is no workload, as it lacks {', '.join(lacking)}",
                "Name a class that has all of dualrt.core.workload.Workload.",
            )
        self._check_cost(made.gradient_cost, settings)
        return made

    def learner(self, rank: int, workload: Workload[Any], incarnation: int = 0) -> Learner:
        """Learner `rank`, in its seat; `incarnation` says how often it was started before."""
        progress = Progress(
            epochs=self.epochs,
            samples_per_epoch=workload.samples_per_epoch,
            samples_per_update=workload.batch * self.layout.batches_per_update,
            schedule=self.scenario.training.schedule.build(),
        )
        weights = workload.weights(rank)
        if weights.nbytes > MOST_BYTES:
            raise self._about_workload(
                "parameters_bytes",
                f"a model of {weights.nbytes} bytes is more than a run can count the messages of",
                "Choose a model of at most 1 PiB.",
            )
        return self.seated(workload, weights, progress, incarnation)

    def _check_cost(self, cost: Cost, settings: Mapping[str, Any]) -> None:
        """Raise ScenarioError for a gradient that takes no number of operations or bytes."""
        if math.isfinite(cost.flops) and math.isfinite(cost.bytes_moved):
            return
        amiss = [
            name
            for name, value in settings.items()
            if isinstance(value, float) and not math.isfinite(value)
        ]
        raise self._about_workload(
            next(iter(amiss), "flops_per_sample"),
            f"a gradient takes {cost.flops} flops and moves {cost.bytes_moved} bytes, and these "
            "must be finite",
            "Choose a finite amount for each sample.",
        )

    def _about_workload(self, setting: str, problem: str, remedy: str) -> ScenarioError:
        """About that setting if the scenario has it, else about the workload as such."""
        name = setting if setting in self._workload_settings else "name"
        return self.scenario.error(f"workload.{name}", problem, remedy)

    def slowdowns(self, rank: int) -> Sequence[Slowdown]:
        """When learner `rank` is a straggler."""
        return tuple(
            Slowdown(straggler.start_s, straggler.end_s, straggler.factor)
            for straggler in self.scenario.faults.stragglers
            if straggler.learner == rank
        )

    def warnings(self) -> list[str]:
        """What the scenario sets and this run has no use for."""
        idle = {}
        if not self.layout.gossipers:
            idle["topology"] = f"{self.scenario.algorithm.name} uses no communication graph"
            for key in ("training.wire", "training.wire_fraction"):
                idle[key] = f"{self.scenario.algorithm.name} sends no weights to neighbours"
        elif self.layout.directed:
            idle["topology.mixing"] = (
                f"{self.scenario.algorithm.name} pushes the same part along every edge"
            )
        if not self.layout.groups:
            idle["cluster.collectives"] = f"{self.scenario.algorithm.name} calls no collective"
        if not hasattr(self._workload_class, "gradient_in_pieces"):
            idle["algorithm.bucket_bytes"] = (
                f"workload {self.scenario.workload.name} gives its gradients as a whole"
            )
        accepted = self._with_numbers()
        name = self.scenario.workload.name
        for key in ("optimizer", "audit"):
            if key not in accepted:
                idle[f"training.{key}"] = f"workload {name} has no numbers"
        for key in ("precision", "accumulate"):
            if key not in accepted:
                idle[f"training.{key}"] = f"workload {name} takes gradients in a way of its own"
        return [
            f"{self.scenario.source}: {key} has no effect: {why}"
            for key in self.scenario.given_keys()
            for prefix, why in idle.items()
            if key == prefix or key.startswith(prefix + ".")
        ]

    def _with_numbers(self) -> tuple[str, ...]:
        accepted = inspect.signature(self._workload_class).parameters
        return tuple(name for name in WITH_NUMBERS if name in accepted)


def _divisors(number: int) -> list[int]:
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return sorted({*small, *(number // divisor for divisor in small)})
