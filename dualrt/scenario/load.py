"""Load: from a file's name to a checked `Scenario`.

Owns the order of things: read, override, lay over the cluster's description, validate, and check
what concerns two tables at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from dualrt.core.names import nearest
from dualrt.scenario import overrides as overriding
from dualrt.scenario import shipped
from dualrt.scenario.cluster import ClusterDescription
from dualrt.scenario.diagnosis import translate
from dualrt.scenario.faults import Partition, Period
from dualrt.scenario.keys import Table, is_within, leaves, overlay
from dualrt.scenario.models import Scenario
from dualrt.scenario.origin import Origin
from dualrt.scenario.reading import absolute, is_file, locate, read

M = TypeVar("M", bound=BaseModel)

DEFAULT_CLUSTER = "desk.toml"


def load(
    path: str | Path,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    *,
    beside: Path | None = None,
) -> Scenario:
    """Read the scenario in a file, or the shipped one of that name ("digits-adpsgd").

    `overrides` are the texts of `--set` options, "training.epochs=2", applied in order; `seed`
    replaces the file's. A `cluster.file` among them brings its own device: what the scenario's file
    says of the device does not apply to it, what other options say does. Relative paths start in
    the file's folder, or `beside` whatever else it was written for.

    Raises ScenarioError, which names file, key, value and remedy, for anything that cannot be.
    """
    file = locate(path)
    table = read(file)
    options: dict[str, str] = {}
    parsed = [overriding.parse(text, file) for text in overrides]
    if any(override.key == "cluster.file" for override in parsed):
        _forget_device(table)
    for override in parsed:
        overriding.apply(table, override)
        options[override.key] = override.option
    if seed is not None:
        table["seed"] = seed
        options["seed"] = f"--seed {seed}"
    origin = Origin(file, options, tuple(leaves(table)), beside)
    scenario = _validated(Scenario, {**table, "cluster": _cluster(table, origin)}, origin)
    _check(scenario)
    return scenario


def made(table: Table, source: str) -> Scenario:
    """A scenario that no file says but a program, which errors call `source`.

    Paths in it start at the current folder. Raises ScenarioError for anything that cannot be.
    """
    origin = Origin(Path(source), {}, tuple(leaves(table)))
    scenario = _validated(Scenario, {**table, "cluster": _cluster(table, origin)}, origin)
    _check(scenario)
    return scenario


def _forget_device(table: Table) -> None:
    """What the file says of the device was said of another cluster than the one to be named."""
    cluster = table.get("cluster")
    if isinstance(cluster, dict):
        cluster.pop("device", None)


def load_cluster(file: Path) -> ClusterDescription:
    """Read a file that describes a cluster; raises ScenarioError for anything that cannot be."""
    return _validated(ClusterDescription, read(file), Origin(file))


def _validated(model: type[M], table: Table, origin: Origin) -> M:
    try:
        return model.model_validate(table, context=origin)
    except ValidationError as error:
        raise translate(error, model, origin) from error


def _cluster(table: Table, origin: Origin) -> object:
    """The `[cluster]` table laid over the description that it names."""
    cluster = table.get("cluster", {"file": DEFAULT_CLUSTER})
    if not isinstance(cluster, dict):
        return cluster
    options = (key.removeprefix("cluster.") for key in origin.options)
    cluster = _unmarked(cluster, options)
    if "file" not in cluster:
        _require_complete(cluster, origin)
    if not isinstance(cluster.get("file"), str):
        return cluster
    described = load_cluster(_cluster_file(cluster["file"], origin)).model_dump(exclude_none=True)
    device = cluster.get("device")
    if isinstance(device, dict) and "name" in device:
        # Another device: nothing that the file says of its own applies to it.
        del described["device"]
        described = _unmarked(described, ["device"])
    return overlay(_unmarked(described, leaves(cluster)), cluster)


def _unmarked(cluster: Table, changed: Iterable[str]) -> Table:
    """Without the marks on fitted values that other values have replaced."""
    marks = cluster.get("fitted")
    if not isinstance(marks, dict):
        return cluster
    others = tuple(changed)
    standing = {
        key: mark
        for key, mark in marks.items()
        if not any(is_within(key, other) or is_within(other, key) for other in others)
    }
    rest = {name: value for name, value in cluster.items() if name != "fitted"}
    return {**rest, "fitted": standing} if standing else rest


def _require_complete(cluster: Table, origin: Origin) -> None:
    required = [name for name, key in ClusterDescription.model_fields.items() if key.is_required()]
    lacking = [name for name in required if name not in cluster]
    if lacking:
        raise origin.error(
            "cluster",
            cluster,
            f"names no description and lacks {', '.join(lacking)}",
            f'Add a description for these keys to be laid over, file = "{DEFAULT_CLUSTER}", or '
            "else all that is lacking.",
        )


def _cluster_file(name: str, origin: Origin) -> Path:
    """A relative path starts where it was written: at the scenario's file, or at the shell."""
    base = Path() if "cluster.file" in origin.options else origin.file.parent
    if is_file(base / name):
        return base / name
    found = shipped.find("topologies", name)
    if found is None:
        known = shipped.names("topologies")
        raise origin.error(
            "cluster.file",
            name,
            f"there is neither the file {absolute(base / name)} nor a shipped description of that "
            "name",
            f"{nearest(name, known)}Shipped are: {', '.join(known)}.",
        )
    return found


def _check(scenario: Scenario) -> None:
    """What concerns two values at once."""
    for kind, faults in scenario.faults:
        for position, fault in enumerate(faults if isinstance(faults, tuple) else ()):
            _check_fault(scenario, f"faults.{kind}.{position}", fault)


def _check_fault(scenario: Scenario, key: str, fault: BaseModel) -> None:
    """Whom it befalls must be there, and it must end after it starts."""
    servers = scenario.cluster_fields()["servers"]
    for what, there_are, names in (
        ("learner", scenario.learners, ("learner", "learners", "pair")),
        ("server", servers, ("server", "servers")),
    ):
        for name in names:
            befallen = getattr(fault, name, None)
            numbers = befallen if isinstance(befallen, tuple) else (befallen,)
            if any(number is not None and number >= there_are for number in numbers):
                raise scenario.error(
                    f"{key}.{name}",
                    f"there is no such {what} among {there_are}",
                    f"Count {what}s from 0, up to {there_are - 1}.",
                )
    pair = getattr(fault, "pair", None)
    if pair is not None and pair[0] == pair[1]:
        raise scenario.error(f"{key}.pair", "is one learner", "Name two.")
    if isinstance(fault, Partition):
        side = fault.side(scenario.learners, scenario.cluster_fields()["gpus_per_server"])
        if not 0 < len(side) < scenario.learners:
            raise scenario.error(
                f"{key}.{'servers' if fault.learners is None else 'learners'}",
                f"parts nobody of {scenario.learners} learners",
                "Name some of them, not all.",
            )
    if isinstance(fault, Period) and fault.end_s <= fault.start_s:
        raise scenario.error(
            f"{key}.end_s",
            f"ends before it starts, at {fault.start_s} s",
            "Give an end_s after start_s, or leave it out.",
        )
