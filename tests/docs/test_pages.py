"""Pages lead where they say, and name what the code has."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path
from textwrap import dedent

import pytest

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.core import effects
from dualrt.observe.summary import Summary

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("benchmarks/*.md")])
LINK = re.compile(r"\]\((?P<target>[^)\s#]*)(?:#(?P<place>[^)]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def places(page: Path) -> set[str]:
    """The names that headings of a page have in a link."""
    headings = HEADING.findall(FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_inside_the_project_leads_somewhere(page: Path) -> None:
    for found in LINK.finditer(page.read_text()):
        target = found["target"]
        if "://" in target:
            continue
        led = page.parent / target if target else page
        assert led.exists(), f"{named(page)}: {target}"
        if found["place"]:
            assert found["place"] in places(led), f"{named(page)}: {target}#{found['place']}"


def test_the_architecture_explains_every_effect() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    # A driver may have effects of its own, between parts of itself.
    kinds = [
        kind.__name__
        for kind in effects.Effect.__subclasses__()
        if kind.__module__ == effects.__name__
    ]
    assert kinds
    assert [kind for kind in kinds if f"`{kind}" not in page] == []


def test_every_figure_of_a_run_is_explained() -> None:
    page = (ROOT / "docs" / "figures.md").read_text()
    assert [field.name for field in fields(Summary) if f"`{field.name}`" not in page] == []


def test_the_readme_shows_the_loop_that_runs() -> None:
    [shown] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown in dedent(inspect.getsource(ADPSGD.train)).replace("\n    ", "\n")


def test_every_decision_is_listed_and_says_what_was_rejected() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text()
    decisions = sorted(folder.glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        text = path.read_text()
        assert f"({path.name})" in listed, path.name
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
            "Context",
            "Decision",
            "Rejected",
            "Consequences",
        ], path.name
