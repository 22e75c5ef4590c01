"""Draw: the faults of one seed.

Owns what is likely. Must not know a scenario, nor what faults do.

In two stages, as in swarm testing (Groce and others, ISSTA 2012): first which kinds of faults there
are, each with `CHANCE` and at least one; then how many of each, whom they befall, when and how
badly. A run with every fault at once shows less than many runs with a few: faults hide each other.
For the same reason every second seed or so has none that loses anything: only then the sum over
learners must be right.

All faults lie in the first `HEALED` of the calm run's length and are over then, but for crashes
without return. So each run has a phase in which anything may happen, and only what must hold always
is checked; and one in which nothing does, and progress is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from dualrt.core.seeds import stream

CHANCE = 0.35
"""Of each kind of fault, in a run."""

HARMLESS = 0.4
"""Of a run in which nothing is lost."""

FIRST, HEALED = 0.05, 0.6
"""When faults begin at the earliest and are over at the latest, in parts of the calm run."""

Table: TypeAlias = dict[str, Any]


class Field(NamedTuple):
    """Where faults befall learners, and on what scales."""

    learners: int
    servers: int
    calm_s: float
    """Length of the run without faults."""
    detect_s: float
    timeout_s: float


class _Dice:
    """Draws that several kinds of faults need."""

    def __init__(self, random: Random, field: Field) -> None:
        self.random, self.field = random, field

    def period(self) -> Table:
        """One that is over in time; as likely short as long, on the scale of the timeouts too."""
        first_s, last_s = (part * self.field.calm_s for part in (FIRST, HEALED))
        shortest_s = min(self.field.detect_s / 4, last_s - first_s)
        length_s = shortest_s * ((last_s - first_s) / shortest_s) ** self.random.random()
        start_s = self.random.uniform(first_s, last_s - length_s)
        return {"start_s": start_s, "end_s": start_s + length_s}

    def some(self, most: int) -> list[int]:
        """A few learners, from 1 to `most`."""
        number = self.random.randint(1, max(1, most))
        return sorted(self.random.sample(range(self.field.learners), number))

    def pair(self) -> list[int]:
        """Two learners."""
        return sorted(self.random.sample(range(self.field.learners), 2))

    def late_s(self) -> float:
        """How late a message is: less than what is noticed, about that, or more than a timeout."""
        field = self.field
        return self.random.choice((field.detect_s / 2, field.detect_s * 4, field.timeout_s * 1.5))

    def messages(self, fate: str, probabilities: Sequence[float], *, late: bool) -> Table:
        """A period of bad weather, mostly for everyone."""
        table = {fate: self.random.choice(probabilities), **self.period()}
        if late:
            table["delay_s"] = self.late_s()
        if self.random.random() < 0.3 and self.field.learners > 1:
            table["pair"] = self.pair()
        return table


def _stragglers(dice: _Dice) -> Sequence[Table]:
    return [
        {"learner": learner, "factor": dice.random.choice((2.0, 5.0, 20.0)), **dice.period()}
        for learner in dice.some(2)
    ]


def _crashes(dice: _Dice) -> Sequence[Table]:
    """For good; at least half of the learners are left."""
    return [
        {"learner": learner, "at_s": dice.period()["start_s"]}
        for learner in dice.some(dice.field.learners // 4)
    ]


def _returns(dice: _Dice) -> Sequence[Table]:
    periods = [(learner, dice.period()) for learner in dice.some(dice.field.learners // 2)]
    return [
        {
            "learner": learner,
            "at_s": period["start_s"],
            "rejoin_after_s": period["end_s"] - period["start_s"],
        }
        for learner, period in periods
    ]


def _partitions(dice: _Dice) -> Sequence[Table]:
    return [
        {"learners": dice.some(dice.field.learners - 1), **dice.period()}
        for _ in range(dice.random.randint(1, 2))
    ]


def _links(dice: _Dice) -> Sequence[Table]:
    def link() -> Table:
        factor = dice.random.choice((0.5, 0.1, 0.01))
        if dice.random.random() < 0.5:
            where: Table = {"server": dice.random.randrange(dice.field.servers)}
        else:
            where = {"pair": dice.pair()}
        return {**where, "factor": factor, **dice.period()}

    return [link() for _ in range(dice.random.randint(1, 2))]


_KINDS: Mapping[str, tuple[str, Callable[[_Dice], Sequence[Table]]]] = MappingProxyType(
    {
        "stragglers": ("stragglers", _stragglers),
        "crashes": ("crashes", _crashes),
        "returns": ("crashes", _returns),
        "partitions": ("partitions", _partitions),
        "links": ("links", _links),
        "drop": ("messages", lambda dice: [dice.messages("drop", (0.01, 0.1, 0.5), late=False)]),
        "delay": ("messages", lambda dice: [dice.messages("delay", (0.01, 0.1), late=True)]),
        "duplicate": ("messages", lambda dice: [dice.messages("duplicate", (0.1, 0.5), late=True)]),
        "reorder": ("messages", lambda dice: [dice.messages("reorder", (0.01, 0.1), late=True)]),
    }
)
"""For each kind, the key of `[faults]` that it is written under, and its dice."""

KINDS = tuple(_KINDS)

LOSING = ("crashes", "returns", "partitions", "drop")
"""Kinds by which a learner or a message is lost."""

NEEDS: Mapping[str, str] = MappingProxyType(
    {"returns": "takes_back", "duplicate": "bears_disorder", "reorder": "bears_disorder"}
)
"""Which field of an algorithm's `Layout` says that it bears a kind; the others all have to."""

DISORDER = ("duplicate", "reorder")
"""Kinds that are refused where they are not borne."""


def faults(seed: int, kinds: Sequence[str], field: Field) -> Table:
    """The table `[faults]` of a seed, of these kinds."""
    random = stream(seed, "swarm")
    harmless = [kind for kind in kinds if kind not in LOSING]
    if harmless and random.random() < HARMLESS:
        kinds = harmless
    # All are asked in the same order, so that leaving a kind out does not move what others draw.
    chosen = [kind for kind in KINDS if random.random() < CHANCE and kind in kinds]
    table: Table = {"detect_s": field.detect_s}
    for kind in chosen or [random.choice(kinds)]:
        key, draw = _KINDS[kind]
        dice = _Dice(stream(seed, "swarm", kind), field)
        table.setdefault(key, []).extend(draw(dice))
    return table


def healed_s(table: Table) -> float:
    """When the last of these faults is over; a crash for good is over at once.

    A message may have been held up at the last moment, behind another one.
    """
    ends = [0.0]
    for key, tables in table.items():
        if key == "crashes":
            ends += [one["at_s"] + one.get("rejoin_after_s", 0.0) for one in tables]
        elif key != "detect_s":
            ends += [one["end_s"] + 2 * one.get("delay_s", 0.0) for one in tables]
    return max(ends)
