"""What a command says on stderr, in either form, and from whichever process."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest

from dualrt.cli import logs
from dualrt.real.events import Events
from tests.support import commands

SHORT = ["digits-adpsgd", *commands.settings("learners=2", "training.epochs=0.2")]


def lines(err: str) -> list[dict[str, Any]]:
    """Every line of stderr, each an object."""
    return [json.loads(line) for line in err.splitlines()]


@pytest.fixture(scope="module")
def spoken() -> list[dict[str, Any]]:
    words = ["--json", "--log-format", "json", "--log-level", "info"]
    done = commands.run("train", *SHORT, "--local", "2", *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] > 0
    return lines(done.stderr)


def test_as_json_everything_on_stderr_is_one_object_a_line(spoken: list[dict[str, Any]]) -> None:
    keys = {"time", "level", "rank", "incarnation", "event", "message", "fields"}
    assert all(record.keys() == keys for record in spoken)
    assert [record["time"] for record in spoken] != []
    (note,) = [record for record in spoken if record["event"] == "note"]
    assert note["message"].startswith("2 processes, 1 thread each")


def test_learners_tell_through_their_parent_where_they_are_and_that_they_end(
    spoken: list[dict[str, Any]],
) -> None:
    begun = {record["rank"]: record["fields"] for record in spoken if record["event"] == "begun"}
    assert sorted(begun) == [0, 1]
    assert begun[0]["run"] == begun[1]["run"]
    assert begun[0]["address"] != begun[1]["address"]
    started = [record for record in spoken if record["event"] == "learner_started"]
    assert [record["rank"] for record in started] == [None, None]
    assert {record["fields"]["pid"] for record in started} == {begun[0]["pid"], begun[1]["pid"]}
    ended = [record["rank"] for record in spoken if record["event"] == "ended"]
    assert sorted(ended) == [0, 1]


def test_as_json_an_error_is_a_record_too() -> None:
    done = commands.here("train", *SHORT, "--local", "2", "--log-format", "json", "--set", "a=1")
    assert (done.returncode, done.stdout) == (2, "")
    (record,) = lines(done.stderr)
    assert (record["level"], record["event"]) == ("error", "failed")
    assert "a = 1: is not a known key" in record["message"]


def test_a_level_above_warnings_leaves_errors_alone() -> None:
    one = [*SHORT, "--local", "1", "--log-level", "error"]
    done = commands.here("train", *one, "--set", "training.schedule.rate=fast")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_a_command_leaves_logging_as_it_was() -> None:
    logger = logging.getLogger("dualrt")
    before = list(logger.handlers), logger.level, logger.propagate
    commands.here("train", *SHORT, "--local", "2", "--log-format", "json", "--set", "a=1")
    assert (list(logger.handlers), logger.level, logger.propagate) == before


class Stuck(logging.Handler):
    """A terminal that was stopped: it takes what it is given when it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.taken: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert self.goes_on.wait(60.0)
        self.taken.append(record.getMessage())


def test_a_learner_does_not_wait_until_somebody_takes_what_it_says() -> None:
    stuck, logger = Stuck(), logging.getLogger("dualrt")
    with logs.heard():
        logger.handlers[:] = [stuck]
        with logs.beside():
            for number in range(3):
                Events(0).warning("happened", f"number {number}")
            assert stuck.taken == []
            stuck.goes_on.set()
        assert stuck.taken == ["number 0", "number 1", "number 2"]


def test_what_a_learner_relays_is_repeated_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DUALRT_REPORTS", "folder")
    with logs.heard(), logs.beside():
        Events(1, incarnation=2).warning("happened", "learner 1 :warning: [red]", peer=3)
    said = json.loads(capsys.readouterr().out.removeprefix("\x1e"))
    monkeypatch.delenv("DUALRT_REPORTS")
    with logs.heard():
        logs.choose(form=logs.Form.JSON)
        logs.repeat(said["record"])
        logs.choose()
        logs.repeat(said["record"])
    first, second = capsys.readouterr().err.splitlines()
    repeated = json.loads(first)
    assert (repeated["rank"], repeated["incarnation"], repeated["event"]) == (1, 2, "happened")
    assert (repeated["level"], repeated["fields"]) == ("warning", {"peer": 3})
    assert second.endswith(" warning: learner 1 :warning: [red]")
