"""One run in a page of figures."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given

from dualrt.core.errors import UsageError
from dualrt.observe.recorder import Applied, Record
from dualrt.observe.summary import Summary
from dualrt.observe.tally import Tally
from tests.observe.examples import a_run, runs, span, summed_up, tallied, update

REQUIRED = {
    "algorithm",
    "batch",
    "bytes_sent",
    "busiest_links",
    "consensus_distance",
    "conservation_error",
    "cost_total",
    "digest",
    "elapsed_s",
    "epochs_total",
    "extrapolated",
    "hours_per_epoch",
    "hours_total",
    "learner_steps_per_s",
    "learners",
    "loss",
    "missed_mean",
    "mode",
    "seconds_per_iteration",
    "server_hours_total",
    "servers",
    "speedup_over_one",
    "staleness",
    "steps",
    "steps_by_learner",
    "title",
    "train_loss",
    "wait_fraction",
    "wall_s",
}


def four_steps() -> Tally:
    """Two learners, 3 steps and 1 in 10 s, 8 s of computing; 40 of 100 samples."""
    return tallied(
        [
            span("gradient", 0, 2, step=1),
            span("gradient", 2, 4, step=2),
            span("gradient", 4, 6, step=3),
            span("gradient", 0, 1, learner=1, step=1),
            span("update", 1, 2, learner=1, step=1),
            span("send offer", 0, 1, size=500),
            *(Applied(2.0 * step, update(8.0 / step, staleness=step % 2)) for step in range(1, 5)),
            span("recv end", 9, 10, strand="hear"),
        ],
        learners=2,
    )


def test_what_is_heard_after_the_end_is_no_part_of_the_run() -> None:
    summary = summed_up(four_steps(), elapsed_s=8.0, gradient_s=1.5)
    assert summary.elapsed_s == 8
    assert summary.hours_total == pytest.approx(16 * 8 / 3600 / 0.4)
    assert summary.seconds_per_iteration == 8 * 2 / 4
    assert summary.speedup_over_one == 4 * 1.5 / 8
    assert summary.wait_fraction == pytest.approx(1 - 8 / 16)


def test_the_figures_follow_their_definitions() -> None:
    summary = summed_up(four_steps(), gradient_s=1.5)
    assert summary.elapsed_s == 10
    assert (summary.steps, summary.steps_by_learner) == (4, (3, 1))
    assert summary.seconds_per_iteration == 10 * 2 / 4
    assert summary.hours_per_epoch == pytest.approx(10 / 3600 / 0.4)
    assert summary.hours_total == pytest.approx(16 * 10 / 3600 / 0.4)
    assert summary.speedup_over_one == 4 * 1.5 / 10
    assert summary.wait_fraction == pytest.approx(1 - 8 / 20)
    assert summary.learner_steps_per_s == 4 / 2.0
    assert summary.bytes_sent == 500
    assert (summary.staleness.mean, summary.staleness.p50, summary.staleness.max) == (0.5, 0, 1)
    assert summary.train_loss == 2.0


def test_json_has_the_names_that_scripts_rely_on() -> None:
    keys = json.loads(summed_up(four_steps()).to_json())
    assert keys.keys() >= REQUIRED
    assert keys["staleness"].keys() == {"mean", "p50", "p99", "max"}
    assert keys["digest"].keys() == {"timing", "numerics"}


def test_accuracy_is_a_key_only_where_there_is_one() -> None:
    without = summed_up(four_steps(), evaluation={"loss": 1.5})
    graded = summed_up(four_steps(), evaluation={"loss": 1.5, "accuracy": 0.75})
    assert "accuracy" not in json.loads(without.to_json())
    assert json.loads(graded.to_json())["accuracy"] == 0.75
    assert without.loss == graded.loss == 1.5


@given(runs)
def test_json_gives_the_summary_back(records: list[Record]) -> None:
    summary = summed_up(
        tallied(records),
        timing_digest="ab",
        evaluation={"accuracy": 0.5},
        links=[("nic", 0.5)],
    )
    assert Summary.from_json(summary.to_json()) == summary


def test_a_summary_is_one_line() -> None:
    assert "\n" not in summed_up(four_steps(), title="two\nlines").to_json()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_run_that_diverged_has_no_nan_in_its_json(bad: float) -> None:
    summary = summed_up(
        tallied([span(), Applied(1.0, update(bad))]),
        evaluation={"loss": bad, "accuracy": bad},
        consensus_distance=bad,
        conservation_error=bad,
    )

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    figures = json.loads(summary.to_json(), parse_constant=refuse)
    for key in ("loss", "train_loss", "consensus_distance", "conservation_error"):
        assert figures[key] is None, key
    assert Summary.from_json(summary.to_json()) == summary


def test_a_run_in_which_nothing_happened_can_be_summed_up() -> None:
    summary = summed_up(Tally(2), gradient_s=1.0, wall_s=0.0)
    assert summary.seconds_per_iteration is None
    assert summary.hours_per_epoch is None
    assert summary.hours_total is None
    assert summary.speedup_over_one is None
    assert summary.learner_steps_per_s is None
    assert summary.wait_fraction is None
    assert Summary.from_json(summary.to_json()) == summary


def test_the_speedup_is_unknown_where_one_device_is() -> None:
    assert summed_up(four_steps(), gradient_s=None).speedup_over_one is None


def test_all_servers_are_paid_for_the_whole_experiment() -> None:
    paid = summed_up(four_steps(), servers=3, price_per_server_hour=2.0)
    assert paid.hours_total is not None
    assert paid.server_hours_total == 3 * paid.hours_total
    assert paid.cost_total == 6 * paid.hours_total
    assert summed_up(four_steps(), servers=3).cost_total is None
    assert summed_up(four_steps(), price_per_server_hour=2.0).server_hours_total is None
    assert summed_up(Tally(2), servers=3, price_per_server_hour=2.0).cost_total is None


def test_a_summary_of_before_there_were_prices_can_be_read() -> None:
    old = json.loads(summed_up(four_steps()).to_json())
    for key in ("servers", "server_hours_total", "cost_total"):
        del old[key]
    assert Summary.from_json(json.dumps(old)) == summed_up(four_steps())


def test_devices_never_wait_less_than_nothing() -> None:
    busy = tallied([span(end_s=1.0 + 1e-9), span(start_s=1.0, end_s=1.0)], learners=1)
    assert summed_up(busy).wait_fraction == 0.0


def test_links_are_sorted_busiest_first() -> None:
    summary = summed_up(four_steps(), links=[("b", 0.1), ("c", 0.9), ("a", 0.1)])
    assert [name for name, _ in summary.busiest_links] == ["c", "a", "b"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"title": 3}'])
def test_what_is_no_summary_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not the summary of a run"):
        Summary.from_json(text)


def test_both_modes_are_summed_up_alike() -> None:
    simulated = json.loads(summed_up(tallied(a_run())).to_json())
    real = json.loads(summed_up(tallied(a_run()), mode="real").to_json())
    assert {key for key in real if real[key] != simulated[key]} == {"mode"}
