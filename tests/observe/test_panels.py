"""One question about a run on one pair of axes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dualrt.observe import panels
from dualrt.observe.canvas import COLOURS
from dualrt.observe.kinds import Activity
from dualrt.observe.panels import Run
from dualrt.observe.tally import Tally
from tests.observe.examples import NICS, a_run, span, summed_up, tallied, update


@pytest.fixture
def axes() -> Axes:
    return Figure().add_subplot()


def a_pair(learners: int = 3, steps: int = 50, *, loss: bool = True, seed: int = 0) -> Run:
    tally = tallied(a_run(learners, steps, loss=loss, seed=seed), learners)
    return summed_up(tally, evaluation={"loss": 1.25} if loss else {}), tally


def bars(axes: Axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_a_device_stack_fills_the_run(axes: Axes) -> None:
    _, tally = run = a_pair()
    panels.device_time(axes, run)
    heights = np.array([bar.get_height() for bar in bars(axes)]).reshape(3, 3)
    assert heights.sum(axis=0) == pytest.approx([100.0] * 3)
    busy = 100 * np.array(tally.busy_s) / tally.last_s
    assert heights[:2].sum(axis=0) == pytest.approx(busy)


def test_what_goes_on_beside_the_device_leaves_listening_out(axes: Axes) -> None:
    _, tally = run = a_pair()
    panels.exchange_time(axes, run)
    seconds = tally.seconds_by_activity(1)
    assert seconds[Activity.LISTENING] > 0
    expected = 100 * (seconds[Activity.BLEND] + seconds[Activity.EXCHANGE]) / tally.last_s
    assert sum(bar.get_height() for bar in bars(axes)[1::3]) == pytest.approx(expected)


def test_shares_are_of_the_run_and_not_of_what_was_heard_after_it(axes: Axes) -> None:
    tally = tallied([span("gradient", 0, 1), span("recv end", 0, 100, strand="hear")], learners=1)
    panels.device_time(axes, (summed_up(tally, elapsed_s=2.0), tally))
    assert [bar.get_height() for bar in bars(axes)] == [50, 50]


def test_exchanges_that_overlap_may_pass_the_whole(axes: Axes) -> None:
    tally = tallied([span(), *[span("send offer")] * 3], learners=1)
    panels.exchange_time(axes, (summed_up(tally), tally))
    assert axes.get_ylim()[1] > 300


@pytest.mark.parametrize("learners", [1, 16, 64, 1000])
def test_every_learner_has_a_bar_and_few_have_a_label(axes: Axes, learners: int) -> None:
    tally = tallied([span(learner=learners - 1)], learners)
    panels.device_time(axes, (summed_up(tally), tally))
    assert len(bars(axes)) == 2 * learners
    assert len(axes.get_xticks()) <= 16


def test_staleness_bars_are_shares_of_all_updates(axes: Axes) -> None:
    run = a_pair()
    panels.staleness(axes, [run])
    heights = [bar.get_height() for bar in bars(axes)]
    assert sum(heights) == pytest.approx(100)
    counts = dict(run[1].staleness.counts())
    assert heights[:4] == pytest.approx([100 * counts[v] / run[1].updates for v in range(4)])
    assert "median" in axes.get_title("right")


def test_a_long_tail_of_staleness_has_bars_of_equally_many_values(axes: Axes) -> None:
    tally = Tally(1)
    for value in range(1000):
        tally.update(1.0, update(staleness=value))
    panels.staleness(axes, [(summed_up(tally), tally)])
    heights = [bar.get_height() for bar in bars(axes)]
    assert len(heights) == 40
    assert heights == pytest.approx([2.5] * 40)


def test_runs_stand_side_by_side_in_staleness(axes: Axes) -> None:
    panels.staleness(axes, [a_pair(), a_pair(seed=1)])
    one, other = bars(axes)[0], bars(axes)[len(bars(axes)) // 2]
    assert one.get_x() + one.get_width() == pytest.approx(other.get_x())


def test_the_loss_is_drawn_in_a_unit_that_suits_the_run(axes: Axes) -> None:
    run = a_pair(steps=200)
    panels.loss_over_time(axes, [run])
    assert axes.get_xlabel() == "virtual time [min]"
    raw, _, held_out = axes.lines
    assert np.max(np.asarray(raw.get_xdata())) == pytest.approx(run[1].last_s / 60)
    assert list(np.asarray(held_out.get_ydata())) == [1.25, 1.25]


def test_the_running_mean_neither_leaves_the_data_nor_bridges_a_gap(axes: Axes) -> None:
    tally = Tally(1)
    for number in range(1000):
        loss = math.nan if 400 <= number < 500 else 2.0
        tally.update(float(number), update(loss, epoch=number / 1000))
    panels.loss_over_time(axes, [(summed_up(tally), tally)])
    mean = np.asarray(axes.lines[1].get_ydata(), dtype=float)
    assert np.isnan(mean[400:500]).all()
    assert mean[:400] == pytest.approx(2.0)
    assert mean[500:] == pytest.approx(2.0)


def test_progress_runs_forward_though_learners_know_it_differently(axes: Axes) -> None:
    tally = Tally(2)
    for number in range(100):
        epoch = (number + 5 * (number % 2)) / 100
        tally.update(float(number), update(1.0, epoch=epoch))
    panels.loss_over_epochs(axes, [(summed_up(tally), tally)])
    assert (np.diff(np.asarray(axes.lines[0].get_xdata(), dtype=float)) >= 0).all()


def test_throughput_integrates_to_the_samples(axes: Axes) -> None:
    run = a_pair(steps=100)
    panels.throughput(axes, [run])
    (steps,) = axes.patches
    values, edges, _ = steps.get_data()  # type: ignore[attr-defined]  # StepPatch has it
    assert axes.get_xlabel() == "virtual time [s]"
    assert float(np.sum(values * np.diff(edges))) == pytest.approx(run[1].samples)


def test_links_are_named_with_their_use(axes: Axes) -> None:
    long = "rack 12, server 3, network interface 1 to switch 4, port 17, outward"
    panels.busiest_links(axes, [*NICS, (long, 0.125)])
    nic, _, shortened = (text.get_text() for text in axes.texts)
    assert nic == "nic 0  95.0 %"
    assert len(shortened) < 60
    assert shortened.startswith("rack 12")
    assert shortened.endswith("outward  12.5 %")
    assert [bar.get_width() for bar in bars(axes)] == [95.0, 40.0, 12.5]


def test_labels_tell_runs_apart() -> None:
    run, other = a_pair(), a_pair(seed=1)
    real = (summed_up(run[1], mode="real"), run[1])
    assert panels.labels([run, real]) == ["adpsgd, simulated", "adpsgd, real"]
    named = (summed_up(other[1], title="Another"), other[1])
    assert panels.labels([run, named]) == [
        "A run: adpsgd, simulated",
        "Another: adpsgd, simulated",
    ]
    assert panels.labels([run, other]) == ["1. adpsgd, simulated", "2. adpsgd, simulated"]


def test_iterations_of_runs_have_a_bar_each(axes: Axes) -> None:
    run = a_pair()
    panels.iteration_time(axes, [run, run])
    assert run[0].seconds_per_iteration is not None
    assert axes.get_xlabel() == "time [ms]"
    assert [bar.get_width() for bar in bars(axes)] == [1000 * run[0].seconds_per_iteration] * 2


def test_a_run_without_numerics_has_no_loss() -> None:
    assert panels.has_loss(a_pair()[1])
    assert not panels.has_loss(a_pair(loss=False)[1])
    assert not panels.has_loss(Tally(1))


@pytest.mark.parametrize(
    ("longest_s", "name"), [(7300, "h"), (130, "min"), (2.5, "s"), (1.5, "ms"), (1e-5, "µs")]
)
def test_an_axis_of_time_has_a_unit_that_gives_small_numbers(longest_s: float, name: str) -> None:
    assert panels.time_unit(longest_s)[1] == name


def test_every_activity_has_a_colour_of_its_own() -> None:
    assert COLOURS.keys() == set(Activity)
    assert len(set(COLOURS.values())) == len(Activity)
