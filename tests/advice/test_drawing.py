"""Drawings and plots: every form is written, and says what it should."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dualrt.advice import pictures
from dualrt.advice.compare import course
from dualrt.advice.drawing import draw_html, draw_picture
from dualrt.advice.pictures import compare_picture
from dualrt.advice.setting import setting
from dualrt.core.errors import UsageError
from dualrt.topology import specs


def test_equal_topologies_give_equal_pictures(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.png" for name in ("one", "other")]
    for file in files:
        draw_picture(file, specs.read("hierarchical:2x4/ring"), setting(8, "a-4x4-p100"))
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_page_holds_the_drawing_and_every_link(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    draw_html(file, specs.read("ring:12"), setting(12, "p9-v100"))
    text = file.read_text()
    assert "<svg" in text
    assert not re.search(r'(src|href)="(?!#|data:)', text)
    assert {"server0.nic.out", "server1.gpu0.nvlink.in"} <= set(re.findall(r"<td>([^<]*)", text))


def test_racks_are_drawn_under_their_spine(tmp_path: Path) -> None:
    file = tmp_path / "racks.html"
    draw_html(file, specs.read("ring:96"), setting(96, "leaf-spine-10g"))
    text = file.read_text()
    assert {"rack0.up", "rack1.down"} <= set(re.findall(r"<td>([^<]*)", text))
    assert {"spine", "rack0", "rack1"} <= set(re.findall(r"<!-- (\w+) -->", text))


@pytest.mark.parametrize(
    ("spec", "arc"), [("one-peer-exponential:4", "push"), ("ring:4", "exchange")]
)
def test_an_arc_is_called_what_happens_along_it(tmp_path: Path, spec: str, arc: str) -> None:
    file = tmp_path / "arcs.svg"
    draw_picture(file, specs.read(spec), setting(4))
    assert f"<!-- {arc} within a server -->" in file.read_text()


def test_a_comparison_shows_the_fast_beside_the_slow() -> None:
    assert pictures._shown([10.0, 500.0, 20.0], [8.0, 400.0, None]) == [10.0, 96.0, 20.0]
    assert pictures._shown([10.0], [None]) == [10.0]


def test_the_legend_says_who_does_not_agree_as_far_as_the_picture_goes() -> None:
    errors = [1.0, 0.5, 0.25, 1e-4]
    assert pictures._short(errors, 3.0) == ""
    assert "not to 1e-3 in the 2 rounds shown" in pictures._short(errors, 2.5)


def test_a_line_without_a_limit_has_its_legend(tmp_path: Path) -> None:
    file = tmp_path / "legend.svg"
    draw_picture(file, specs.read("ring:4"), setting(4))
    assert "<!-- no limit of its own -->" in file.read_text()


def test_too_many_learners_for_a_page_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a page holds 256"):
        draw_picture(tmp_path / "x.png", specs.read("ring:257"), setting(257))


@pytest.mark.parametrize("draw", [draw_html, draw_picture])
def test_a_page_that_a_full_disk_does_not_take_is_an_error_in_words(
    draw: Callable[..., None], tmp_path: Path
) -> None:
    full = tmp_path / "full.svg"
    full.symlink_to("/dev/full")
    with pytest.raises(UsageError, match=r"full.svg cannot be written: No space left on device"):
        draw(full, specs.read("ring:4"), setting(4))


def test_a_comparison_is_drawn(tmp_path: Path) -> None:
    where = setting(8, model_bytes=1000)
    courses = [course(specs.read(spec), where) for spec in ("ring:8", "one-peer-exponential:8")]
    compare_picture(tmp_path / "compare.svg", courses, where)
    assert (tmp_path / "compare.svg").stat().st_size > 10_000
