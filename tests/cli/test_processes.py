"""What a parent makes of the lines of its processes, and who of them says how far it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from dualrt.cli import processes, show, talk
from dualrt.core.errors import UsageError


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is noted on stderr."""
    noted: list[str] = []
    monkeypatch.setattr(show, "note", noted.append)
    return noted


def line(**said: object) -> str:
    return f"{talk.SAYS}{json.dumps(said)}\n"


def test_what_is_printed_is_noted_and_what_is_said_is_sorted(notes: list[str]) -> None:
    shares: list[float] = []
    others: list[Mapping[str, Any]] = []
    hear = processes.listener(shares.append, others.append)
    for one in ("hello\n", line(progress=0.5), f"half a line{line(summary={'loss': 1})}", "\n"):
        hear(one)
    assert notes == ["hello", "half a line", ""]
    assert shares == [0.5]
    assert others == [{"summary": {"loss": 1}}]


def test_rank_0_alone_says_how_far_it_is_and_by_the_hundredth(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with processes.telling("training", rank=1, heard=True) as silent:
        assert silent is None
    with processes.telling("training", rank=0, heard=True) as tell:
        assert tell is not None
        for thousandth in range(1001):
            tell(thousandth / 1000)
    # Not splitlines, for which the mark ends a line as well.
    lines = capsys.readouterr().out.split("\n")[:-1]
    told = [talk.heard(one).said["progress"] for one in lines]
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert 95 <= len(told) <= 101


def test_user_code_does_not_print_where_the_result_goes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with processes.telling("training", rank=0, heard=False):
        print("a user's own words")
    out, err = capsys.readouterr()
    assert out == ""
    assert "a user's own words" in err


def test_a_process_of_a_launcher_starts_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    processes.refuse_local_inside()
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UsageError, match="Leave --local out"):
        processes.refuse_local_inside()
