"""Table: the file that says what was measured, and what may be fitted to it.

Owns the form of the file and what in it cannot be. Must not know how a parameter is fitted, nor
what a scenario's keys mean: whoever loads a scenario with a value finds out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, PrivateAttr, ValidationError

from dualrt.core.errors import ScenarioError
from dualrt.core.names import nearest
from dualrt.scenario import Scenario, load
from dualrt.scenario.diagnosis import translate
from dualrt.scenario.keys import is_within
from dualrt.scenario.origin import Origin
from dualrt.scenario.quantities import Name, Positive, Text
from dualrt.scenario.quantities import Table as Strict
from dualrt.scenario.reading import is_file, locate, read

Figure: TypeAlias = Literal["seconds_per_iteration", "hours_per_epoch", "hours_total"]
"""What can be measured, with its unit: fields of a run's summary."""


class Point(Strict):
    """One measured figure, and the run that it was measured of."""

    name: Name = Field(description="What the point is called in this table.")
    scenario: Name = Field(
        description="The run: a path relative to this file, or the name of a shipped scenario."
    )
    set: tuple[str, ...] = Field(
        default=(), description='What differs in this run: texts of --set options, "learners=64".'
    )
    figure: Figure = Field(
        description="Which figure was measured: seconds_per_iteration, hours_per_epoch or "
        "hours_total, which is of all epochs of the scenario."
    )
    measured: Positive = Field(description="Its value.")
    source: Name = Field(description="Where it is published: paper and table.")
    weight: Positive = Field(
        default=1.0, description="Factor on its residual; a point with 2 counts like four."
    )


class Parameter(Strict):
    """One setting that the points of a table are to determine."""

    name: Name = Field(description="What the parameter is called in this table.")
    key: Name = Field(description="The dotted key that it is the value of: cluster.nic_latency_s.")
    points: tuple[Name, ...] = Field(
        min_length=1, description="Which points, and which predictions, are runs with this value."
    )
    initial: Positive = Field(description="Where the search begins.")
    low: Positive = Field(description="The least that it can be.")
    high: Positive = Field(description="The most that it can be.")
    why: Name = Field(description="What it stands for, and why those points share it.")


class Table(Strict):
    """Measured points, parameters, and points that are only predicted. Made by `read_table`."""

    title: Name = Field(description="What is calibrated.")
    about: Text = Field(default="", description="What there is to know about the measurements.")
    parameters: tuple[Parameter, ...] = Field(min_length=1, description="What is fitted.")
    points: tuple[Point, ...] = Field(min_length=1, description="What it is fitted to.")
    predictions: tuple[Point, ...] = Field(
        default=(), description="What is set beside the simulator, and never fitted to."
    )

    _origin: Origin = PrivateAttr(default_factory=lambda: Origin(Path("table")))

    def model_post_init(self, context: object, /) -> None:
        """Remember the file."""
        if isinstance(context, Origin):
            self._origin = context

    @property
    def file(self) -> Path:
        """The file that was read."""
        return self._origin.file

    def parameters_of(self, point: Point) -> tuple[int, ...]:
        """Which parameters are values of a point's run, by their place in the table."""
        return tuple(
            place
            for place, parameter in enumerate(self.parameters)
            if point.name in parameter.points
        )

    def scenario(self, point: Point, values: Sequence[str] = ()) -> Scenario:
        """The run of a point, with texts of --set options for its parameters, or with none.

        Raises ScenarioError for what cannot be loaded, or would take gradients; it names the
        parameter whose key takes no such value.
        """
        beside = self.file.parent / point.scenario
        file = beside if is_file(beside) else point.scenario
        try:
            scenario = load(file, [*point.set, *values])
        except ScenarioError as error:
            raise self._blame(point, file, values, error) from error
        if scenario.simulation.numerics:
            raise scenario.error(
                "simulation.numerics",
                f"a calibration, as in point {point.name!r} of {self.file}, is about time alone",
                "Set it to false, in the scenario or in the point's `set`.",
            )
        return scenario

    def _blame(
        self, point: Point, file: Path | str, values: Sequence[str], error: ScenarioError
    ) -> ScenarioError:
        """The error, in the table's terms where one of its parameters is what cannot be."""
        try:
            load(file, point.set)
        except ScenarioError:
            return error
        for place, text in zip(self.parameters_of(point), values, strict=True):
            try:
                load(file, [*point.set, text])
            except ScenarioError as found:
                key, name = self.parameters[place].key, point.name
                problem = f"cannot have such a value in point {name!r}: {found}"
                remedy = "A parameter's key is one that takes any number from low to high."
                return self._origin.error(f"parameters.{place}.key", key, problem, remedy)
        return error


def read_table(path: str | Path) -> Table:
    """Read the table in a file, or the shipped one of that name.

    Raises ScenarioError, which names file, key, value and remedy, for anything that cannot be.
    """
    file = locate(path, "calibrations", "table")
    origin = Origin(file)
    try:
        table = Table.model_validate(read(file), context=origin)
    except ValidationError as error:
        raise translate(error, Table, origin) from error
    for problem in _problems(table, origin):
        raise problem
    return table


def _problems(table: Table, origin: Origin) -> Iterator[ScenarioError]:
    """What concerns two entries at once."""
    known = [point.name for point in (*table.points, *table.predictions)]
    for place, point in enumerate((*table.points, *table.predictions)):
        if point.name in known[:place]:
            problem, remedy = "is there twice", "Give each point a name of its own."
            yield origin.error("points.name", point.name, problem, remedy)
    fitted = {point.name for point in table.points}
    for place, parameter in enumerate(table.parameters):
        at = f"parameters.{place}"
        if not parameter.low < parameter.initial < parameter.high:
            problem = f"is not between low = {parameter.low!r} and high = {parameter.high!r}"
            yield origin.error(f"{at}.initial", parameter.initial, problem, "Begin within bounds.")
        for name in parameter.points:
            if name not in known:
                remedy = f"{nearest(name, tuple(known))}Points are: {', '.join(known)}."
                yield origin.error(f"{at}.points", name, "is no point of this table", remedy)
        if not fitted & set(parameter.points):
            problem = "are predictions alone, which determine nothing"
            remedy = "Name at least one of [[points]], or leave the parameter out."
            yield origin.error(f"{at}.points", parameter.points, problem, remedy)
        for other in table.parameters[:place]:
            shared = set(parameter.points) & set(other.points)
            if parameter.name == other.name:
                problem, remedy = "is there twice", "Give each parameter a name of its own."
                yield origin.error(f"{at}.name", parameter.name, problem, remedy)
            if shared and parameter.key == other.key:
                problem = f"is also what {other.name!r} sets, for {min(shared)!r}"
                yield origin.error(
                    f"{at}.key", parameter.key, problem, "Give each point one value of a key."
                )
        for point in (*table.points, *table.predictions):
            set_here = [text.partition("=")[0].strip() for text in point.set]
            if point.name in parameter.points and any(
                is_within(parameter.key, key) for key in set_here
            ):
                problem = f"is fitted, and point {point.name!r} sets it"
                remedy = "Leave it out of the point's `set`, or the point out of `points`."
                yield origin.error(f"{at}.key", parameter.key, problem, remedy)
