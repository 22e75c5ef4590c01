"""The tutorials are true: every block is executed in order, as a reader would.

A block is fenced, and its info string says what it is:

    ```python file=lazy.py     a file that the reader saves
    ```sh                      commands that the reader types, all of which succeed
    ```sh fails                commands of which the last does not
    ```text                    what the commands before it print, among other things
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
FENCED = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.timeout(400)


class Block(NamedTuple):
    """What stands between two fences, and the words after the first."""

    words: tuple[str, ...]
    text: str


@dataclass
class Reader:
    """Someone who does what a tutorial says, in a folder of their own."""

    folder: Path
    said: str = field(default="", init=False)

    def follow(self, block: Block) -> None:
        """Do what one block asks for."""
        match block.words:
            case (_, file) if file.startswith("file="):
                (self.folder / file.removeprefix("file=")).write_text(block.text)
            case ("sh",):
                assert self._type(block.text) == 0, self.said
            case ("sh", "fails"):
                assert self._type(block.text) != 0, self.said
            case ("text",):
                assert block.text.strip() in self.said
            case words:
                pytest.fail(f"no reader knows what to do with a block of {' '.join(words)!r}")

    def _type(self, commands: str) -> int:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.said = run.stdout
        return run.returncode

    def summary(self, run: str) -> Any:
        """The figures of a run that was kept."""
        return json.loads((self.folder / run / "summary.json").read_text())


def blocks(page: Path) -> Iterator[Block]:
    for found in FENCED.finditer(page.read_text()):
        yield Block(tuple(found["info"].split()), found["text"])


def follower(tutorial: str) -> Callable[..., Reader]:
    """A fixture: someone who has followed it to its end."""

    @pytest.fixture(scope="module")
    def someone(tmp_path_factory: pytest.TempPathFactory) -> Reader:
        reader = Reader(tmp_path_factory.mktemp(tutorial))
        for block in blocks(TUTORIALS / f"{tutorial}.md"):
            reader.follow(block)
        return reader

    return someone


reader = follower("your-own-algorithm")
owner = follower("your-own-loop")
planner = follower("your-own-model")


def test_there_is_no_tutorial_that_is_not_followed() -> None:
    pages = sorted(page.name for page in TUTORIALS.glob("*.md"))
    assert pages == ["your-own-algorithm.md", "your-own-loop.md", "your-own-model.md"]


def test_every_fence_of_a_tutorial_is_closed() -> None:
    for page in TUTORIALS.glob("*.md"):
        fences = sum(line.startswith("```") for line in page.read_text().splitlines())
        assert fences == 2 * sum(1 for _ in blocks(page)), page.name


@pytest.mark.parametrize("run", ["lazy", "eager", "real"])
def test_the_tumours_are_told_apart_in_either_mode(reader: Reader, run: str) -> None:
    assert reader.summary(run)["accuracy"] > 0.95


def test_the_lazy_run_sends_about_a_quarter_of_the_bytes(reader: Reader) -> None:
    lazy, eager = (reader.summary(run)["bytes_sent"] for run in ("lazy", "eager"))
    assert 3 < eager / lazy < 5


def test_a_real_run_sends_no_more_than_the_simulated_one_but_for_chance(reader: Reader) -> None:
    # With two learners only one starts exchanges. The whole run takes a tenth of a second, in which
    # the other may hardly get to answer it: so there is no floor.
    simulated, real = (reader.summary(run)["bytes_sent"] for run in ("lazy", "real"))
    assert 0 < real < 3 * simulated


def test_the_two_runs_are_shown_beside_each_other(reader: Reader) -> None:
    assert (reader.folder / "compare.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("run", ["alone", "two", "synchronous"])
def test_a_loop_of_ones_own_makes_the_agreed_number_of_updates(owner: Reader, run: str) -> None:
    # 12 epochs of 400 samples in batches of 16, and what was under way when they were over.
    assert 300 <= owner.summary(run)["updates"] <= 400


def test_a_loop_alone_is_never_stale_and_a_synchronous_one_neither(owner: Reader) -> None:
    assert owner.summary("alone")["staleness"]["max"] == 0
    assert owner.summary("synchronous")["staleness"]["max"] == 0


def test_the_loops_are_shown(owner: Reader) -> None:
    for picture in ("compare.png", "when.png"):
        assert (owner.folder / picture).read_bytes().startswith(b"\x89PNG")


def test_a_model_of_ones_own_is_simulated_with_its_sizes(planner: Reader) -> None:
    figures = planner.summary("gpt")
    assert (figures["learners"], figures["servers"]) == (64, 8)
    # Offers and answers of GPT-2's 124,439,808 parameters, and messages without weights.
    vectors, rest = divmod(figures["bytes_sent"], 4 * 124_439_808)
    assert vectors > 100
    assert rest == 0


def test_what_it_would_cost_is_kept_and_drawn(planner: Reader) -> None:
    assert (planner.folder / "gpt.png").read_bytes().startswith(b"\x89PNG")
    assert (planner.folder / "gpt.csv").read_text().count("h-adpsgd") == 2
