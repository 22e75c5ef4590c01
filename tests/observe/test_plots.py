"""The pictures of a run, as files."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pytest

from dualrt.core.records import Span
from dualrt.observe.plots import comparison_picture, run_picture, timeline
from dualrt.observe.tally import Tally
from tests.observe.examples import NICS, a_run, summed_up, tallied

PNG = b"\x89PNG\r\n\x1a\n"


def draw_run(path: Path) -> None:
    tally = tallied(a_run())
    run_picture(path, summed_up(tally, links=NICS, evaluation={"loss": 1.2}), tally)


def draw_comparison(path: Path) -> None:
    tallies = [tallied(a_run()), tallied(a_run(seed=1))]
    runs = [(summed_up(tallies[0]), tallies[0]), (summed_up(tallies[1], mode="real"), tallies[1])]
    comparison_picture(path, runs, title="Simulated and real")


def draw_timeline(path: Path) -> None:
    spans = [one for one in a_run() if isinstance(one, Span)]
    timeline(path, spans, range(3), (0.0, 4.0))


DRAWINGS = [draw_run, draw_comparison, draw_timeline]


@pytest.mark.parametrize("draw", DRAWINGS)
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_equal_records_give_equal_files(
    tmp_path: Path, draw: Callable[[Path], None], suffix: str
) -> None:
    one, other = tmp_path / f"one{suffix}", tmp_path / f"other{suffix}"
    draw(one)
    draw(other)
    assert one.read_bytes() == other.read_bytes()


def test_the_suffix_decides_the_format(tmp_path: Path) -> None:
    draw_timeline(tmp_path / "a.png")
    draw_timeline(tmp_path / "a.svg")
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


def test_the_readers_own_style_changes_nothing(tmp_path: Path) -> None:
    draw_run(tmp_path / "plain.png")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 10}):
        draw_run(tmp_path / "styled.png")
        assert mpl.rcParams["font.size"] == 30, "and its style is left as it was"
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "styled.png").read_bytes()


@pytest.mark.parametrize("loss", [True, False])
@pytest.mark.parametrize("learners", [1, 64])
@pytest.mark.parametrize("links", [(), NICS])
def test_runs_of_all_sorts_can_be_drawn(
    tmp_path: Path, loss: bool, learners: int, links: tuple[tuple[str, float], ...]
) -> None:
    tally = tallied(a_run(learners, 3, loss=loss), learners)
    run_picture(tmp_path / "run.png", summed_up(tally, links=links, gradient_s=1.0), tally)
    assert (tmp_path / "run.png").read_bytes().startswith(PNG)


def test_a_run_in_which_nothing_happened_can_be_drawn(tmp_path: Path) -> None:
    empty = Tally(2)
    run_picture(tmp_path / "run.png", summed_up(empty), empty)
    comparison_picture(tmp_path / "two.png", [(summed_up(empty), empty)] * 2, title="Nothing")
    timeline(tmp_path / "line.png", [], range(2), (0.0, 1.0))
    assert {file.name for file in tmp_path.iterdir()} == {"run.png", "two.png", "line.png"}


def test_runs_with_and_without_loss_can_be_compared(tmp_path: Path) -> None:
    tallies = [tallied(a_run(loss=loss)) for loss in (True, False)]
    for several in (tallies, tallies[1:], tallies * 4):
        comparison_picture(
            tmp_path / "runs.png", [(summed_up(tally), tally) for tally in several], title="Runs"
        )
        assert (tmp_path / "runs.png").stat().st_size > 10_000
        (tmp_path / "runs.png").unlink()


def test_dollars_in_a_title_are_no_mathematics(tmp_path: Path) -> None:
    tally = tallied(a_run())
    run_picture(tmp_path / "run.png", summed_up(tally), tally, title=r"costs $5 and $\frac")
    assert (tmp_path / "run.png").stat().st_size > 10_000


def test_pictures_need_no_global_state_and_matplotlib_is_not_imported_before(
    tmp_path: Path,
) -> None:
    code = f"""
import sys
from pathlib import Path
from dualrt.observe import plots, tables, trace
assert "matplotlib" not in sys.modules
from tests.observe.test_plots import draw_timeline
draw_timeline(Path({str(tmp_path)!r}) / "a.png")
assert "matplotlib.pyplot" not in sys.modules
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
