"""Summaries for a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from dualrt.observe.summary import FittedKey, RoomFigures, Summary
from dualrt.observe.tables import comparison_table, summary_table
from tests.observe.examples import NICS, a_run, summed_up, tallied


def printed(table: RenderableType, width: int = 160) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def row(text: str, label: str) -> str:
    """The one line that begins with a label, without it, and with single blanks."""
    (found,) = (line for line in text.splitlines() if line.strip().startswith(label))
    return " ".join(found.strip().removeprefix(label).split())


@pytest.fixture
def simulated() -> Summary:
    return summed_up(
        tallied(a_run()),
        title="[SWB] of 16",
        gradient_s=1.0,
        evaluation={"loss": 1.46, "accuracy": 0.62},
        consensus_distance=0.25,
        conservation_error=1e-7,
        timing_digest="0123abcd",
        links=NICS,
        extrapolated=True,
    )


@pytest.fixture
def real(simulated: Summary) -> Summary:
    assert simulated.seconds_per_iteration is not None
    return replace(
        simulated,
        mode="real",
        title="on the desk",
        loss=1.49,
        accuracy=0.6,
        seconds_per_iteration=2 * simulated.seconds_per_iteration,
        consensus_distance=None,
    )


def test_a_summary_has_units(simulated: Summary) -> None:
    text = printed(summary_table(simulated))
    assert row(text, "an iteration").endswith(" s")
    assert row(text, "sent") == "2.47 GB"
    assert row(text, "held-out accuracy") == "62.0 %"
    assert row(text, "conservation error") == "1.0e-07"
    assert row(text, "link nic 0") == "95.0 % used"
    assert row(text, "digest of timing") == "0123abcd"
    assert "virtual time" in text


def test_a_name_with_brackets_is_no_markup(simulated: Summary, real: Summary) -> None:
    assert "[SWB] of 16" in printed(summary_table(simulated))
    assert "[SWB] of 16" in printed(comparison_table([simulated, real]))
    assert "[SWB] of 16" in printed(comparison_table([simulated]))


def test_a_projection_says_so(simulated: Summary) -> None:
    assert "16 epochs, projected" in printed(summary_table(simulated))
    assert "projected" not in printed(summary_table(replace(simulated, extrapolated=False)))


def test_what_is_not_there_is_left_out_or_a_dash(simulated: Summary) -> None:
    text = printed(summary_table(replace(simulated, accuracy=None, loss=None)))
    assert "accuracy" not in text
    assert row(text, "held-out loss") == "–"


def test_two_runs_are_compared_figure_by_figure(simulated: Summary, real: Summary) -> None:
    text = printed(comparison_table([simulated, real]))
    assert row(text, "held-out loss") == "1.460 1.490 +0.0300"
    assert row(text, "held-out accuracy") == "62.0 % 60.0 % −2.0 points"
    assert row(text, "an iteration").endswith(" 2.00×")
    assert row(text, "consensus distance") == "0.250 – –"
    assert "adpsgd, simulated" in text
    assert "adpsgd, real" in text


def test_figures_that_no_run_has_are_left_out(simulated: Summary, real: Summary) -> None:
    without = [replace(run, loss=None, accuracy=None) for run in (simulated, real)]
    text = printed(comparison_table(without))
    assert "held-out" not in text
    assert "an iteration" in text


@pytest.mark.parametrize("seeds", [1, 3, 8])
def test_any_other_number_of_runs_gets_a_run_a_row(simulated: Summary, seeds: int) -> None:
    runs = [replace(simulated, title=f"seed {seed}", loss=1 + seed / 10) for seed in range(seeds)]
    text = printed(comparison_table(runs))
    for seed in range(seeds):
        assert f"{1 + seed / 10:.3f}" in row(text, f"seed {seed}")


def test_no_runs_are_an_empty_table() -> None:
    assert "run" in printed(comparison_table([]))


def test_numbers_stay_whole_on_a_narrow_terminal(simulated: Summary) -> None:
    text = printed(comparison_table([replace(simulated, title="long " * 20)] * 3), width=110)
    assert text.count("62.0 %") == 3
    assert "…" not in text


def test_a_first_figure_of_zero_has_no_ratio(simulated: Summary) -> None:
    still = replace(simulated, consensus_distance=0.0)
    text = printed(comparison_table([still, simulated]))
    assert row(text, "consensus distance") == "0 0.250 –"


def test_a_fitted_value_says_what_it_was_fitted_to(simulated: Summary) -> None:
    assert "fitted" not in printed(summary_table(simulated))
    key = FittedKey("cluster.socket_bytes_per_s", 1.25e9, "calibrations/mine", ("one", "other"))
    text = printed(summary_table(replace(simulated, fitted=(key,))))
    assert row(text, "fitted") == (
        "cluster.socket_bytes_per_s = 1.25e+09 (calibrations/mine, 2 points)"
    )
    unsure = replace(key, rms_error=0.095)
    text = printed(summary_table(replace(simulated, fitted=(unsure,))))
    assert "(calibrations/mine, 2 points, 9.5 % off (rms))" in row(text, "fitted")


def test_what_it_costs_is_said_where_there_is_a_price(simulated: Summary) -> None:
    assert "cost" not in printed(summary_table(simulated))
    paid = replace(simulated, servers=8, cost_total=1234.5)
    assert row(printed(summary_table(paid)), "cost") == "1,234.50 for 8 servers"


def test_what_a_device_has_to_hold_is_said_where_its_memory_is_known(simulated: Summary) -> None:
    assert "memory" not in printed(summary_table(simulated))
    known = replace(simulated, memory=RoomFigures(2_000_000_000, 16e9))
    said = row(printed(summary_table(known)), "memory of a device")
    assert said == "2.00 GB of 16.0 GB without activations"
    small = replace(simulated, memory=RoomFigures(2_000_000_000, 1e9))
    said = row(printed(summary_table(small)), "memory of a device")
    assert said == "2.00 GB of 1.00 GB without activations: it does not fit"
