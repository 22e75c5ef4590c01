"""Whatever a failure's text is, the others hear of it, and the run ends here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dualrt.core.errors import RunError
from dualrt.real.failures import FAILURE, MOST_BYTES
from dualrt.real.gossip import Gossip
from dualrt.real.session import Session
from tests.support.gossips import team

LEARNERS = 3


class Failing:
    """Process 1 of a run, whose gossip is `gossip`; its driver only counts how often it stops."""

    def __init__(self, gossip: Any) -> None:
        self.stops = 0
        self._session = object.__new__(Session)
        self._session._launch = cast(Any, SimpleNamespace(rank=1, learners=LEARNERS))
        self._session._gossip = cast(Gossip, gossip)
        self._session._driver = cast(Any, self)

    def stop(self, error: object) -> None:
        self.stops += 1

    def fail(self, why: str) -> None:
        self._session.fail(why)


@pytest.mark.parametrize(
    ("why", "told"),
    [
        ("no such file", "no such file"),
        ("x" * 40_000, "x" * MOST_BYTES + " ... (cut: 40000 bytes in all)"),
        # Three bytes each, so that the limit falls inside of one.
        ("\N{EURO SIGN}" * 2000, "\N{EURO SIGN}" * 1365 + " ... (cut: 6000 bytes in all)"),
        ("caf\udce9.txt", r"caf\udce9.txt"),
    ],
    ids=["short", "long", "long and wide", "no character"],
)
def test_a_text_that_cannot_be_sent_as_it_is_is_told_as_far_as_it_can(why: str, told: str) -> None:
    with team(LEARNERS) as gossips:
        failing = Failing(gossips[1])
        failing.fail(why)
        for peer in (0, 2):
            assert gossips[peer].recv(FAILURE, 1).packet.note == told
    assert failing.stops == 1


def test_the_run_ends_here_though_nobody_can_be_told() -> None:
    class Broken:
        def say_last(self, *_: object) -> None:
            raise RunError("the gossip failed")

    failing = Failing(Broken())
    with pytest.raises(RunError, match="the gossip failed"):
        failing.fail("why")
    assert failing.stops == 1
