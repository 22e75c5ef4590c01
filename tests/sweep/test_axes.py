"""`key=v1,v2`, and the combinations of several."""

from __future__ import annotations

import pytest

from dualrt.core.errors import UsageError
from dualrt.sweep.axes import Axis, combinations, options


def test_values_are_toml_or_bare_words() -> None:
    axis = Axis.parse('algorithm.name = ssgd, 2, 0.5, true, "a word"')
    assert axis.key == "algorithm.name"
    assert axis.values == ("ssgd", 2, 0.5, True, "a word")


def test_a_comma_in_brackets_or_quotes_belongs_to_its_value() -> None:
    axis = Axis.parse("faults.stragglers=[],[{learner=0, factor=2}, {learner=1, factor=3}]")
    assert axis.values == ([], [{"learner": 0, "factor": 2}, {"learner": 1, "factor": 3}])
    assert Axis.parse("title='a, b',\"c, ]\"").values == ("a, b", "c, ]")


def test_the_last_axis_varies_fastest() -> None:
    found = combinations([Axis.parse("a=x,y"), Axis.parse("seed=1,2")])
    assert [options(combination) for combination in found] == [
        ["a=x", "seed=1"],
        ["a=x", "seed=2"],
        ["a=y", "seed=1"],
        ["a=y", "seed=2"],
    ]


@pytest.mark.parametrize("option", ["seed", "=1", "seed=", "seed=1,", "seed=1,1"])
def test_an_axis_without_key_or_values_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="--over"):
        Axis.parse(option)


def test_a_key_is_swept_once() -> None:
    with pytest.raises(UsageError, match="--over seed is there twice"):
        combinations([Axis.parse("seed=1"), Axis.parse("seed=2")])
