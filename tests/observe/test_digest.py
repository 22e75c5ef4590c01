"""One hash of what happened when."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.observe.digest import TimingDigest
from dualrt.observe.recorder import Applied, Record
from tests.observe.examples import a_run, runs, show, show_in_bulk, span, update


def digest(records: Iterable[Record]) -> str:
    taken = TimingDigest()
    show(records, taken)
    return taken.hexdigest()


KNOWN = "447a00d6e88d4b6b98906bf257e01e59"


def known_records() -> list[Record]:
    return [
        span("gradient", 0.0, 0.25),
        span("send offer", 0.25, 0.5, peer=1, size=164_620_000, strand="geschwätz"),
        Applied(0.5, update(2.0, staleness=1, missed=3)),
    ]


def test_the_digest_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert digest(known_records()) == KNOWN


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_digest_does_not_depend_on_pythons_hash_seed(seed: str) -> None:
    code = (
        "from tests.observe.test_digest import digest, known_records;print(digest(known_records()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == KNOWN


@given(runs)
def test_equal_runs_have_equal_digests(records: list[Record]) -> None:
    assert digest(records) == digest(list(records))


@pytest.mark.parametrize(
    "change",
    [
        {"learner": 1},
        {"strand": "other"},
        {"kind": "blend"},
        {"start_s": 0.0 + 5e-324},
        {"end_s": 1.0 + 2**-52},
        {"bytes": 1},
        {"peer": 0},
        {"step": 1},
    ],
)
def test_every_field_of_a_span_counts(change: dict[str, Any]) -> None:
    assert digest([span()]) != digest([span()._replace(**change)])


@pytest.mark.parametrize(
    "change",
    [{"learner": 1}, {"step": 2}, {"epoch": 0.6}, {"staleness": 1}, {"missed": 1}, {"samples": 9}],
)
def test_every_field_of_an_update_that_tells_of_timing_counts(change: dict[str, Any]) -> None:
    plain = update()
    assert digest([Applied(1.0, plain)]) != digest([Applied(1.0, plain._replace(**change))])


def test_the_time_of_an_update_counts() -> None:
    assert digest([Applied(1.0, update())]) != digest([Applied(2.0, update())])


def test_numerics_do_not_count() -> None:
    """A run with numerics and one without do the same things at the same times."""
    with_loss = Applied(1.0, update(2.0, learning_rate=0.1))
    without = Applied(1.0, update(None, learning_rate=0.3))
    assert digest([with_loss]) == digest([without])


def test_order_counts_within_a_lane() -> None:
    one, other = span(start_s=0.0), span(start_s=0.5)
    assert digest([one, other]) != digest([other, one])


def test_order_counts_among_a_learner_s_updates() -> None:
    one, other = Applied(1.0, update()), Applied(1.0, update(staleness=1))
    assert digest([one, other]) != digest([other, one])


def test_between_lanes_and_between_learners_only_times_tell_the_order() -> None:
    one, other = span("gradient"), span("blend")
    mine, theirs = Applied(1.0, update()), Applied(1.0, update(learner=1))
    assert digest([one, mine, other, theirs]) == digest([theirs, other, mine, one])


def test_swapped_names_are_another_run() -> None:
    """The names are hashed, and not only that there are two lanes."""
    assert digest([span("a", strand="b")]) != digest([span("b", strand="a")])


@given(runs, st.integers(1, 20))
def test_in_bulk_or_one_by_one_is_the_same(records: list[Record], size: int) -> None:
    in_bulk = TimingDigest()
    show_in_bulk(records, size, in_bulk)
    assert in_bulk.hexdigest() == digest(records)


def test_asking_for_the_digest_midway_changes_nothing() -> None:
    records = a_run()
    curious = TimingDigest()
    seen = []
    for record in records:
        show([record], curious)
        seen.append(curious.hexdigest())
    assert seen[-1] == digest(records)
    assert len(set(seen)) == len(seen)
