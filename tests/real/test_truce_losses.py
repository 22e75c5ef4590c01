"""What becomes of an agreement when a learner is lost: word by word, with no transport."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.sdpsgd import SDPSGD
from dualrt.core.effects import Packet
from dualrt.core.errors import DualrtError
from dualrt.core.keeping import State
from dualrt.core.learner import Learner
from dualrt.real.attempts import Keeping, Letters, Party
from dualrt.real.checkpoint import Checkpoints
from dualrt.real.events import Events
from dualrt.real.gossip import Gossip
from dualrt.real.truce import Truce
from tests.support.exact import ExactWorkload, learners_of

LEARNERS = 3


class Silence:
    """A gossip that carries nothing, and knows who is lost."""

    def __init__(self) -> None:
        self.lost: frozenset[int] = frozenset()
        self.sent: list[tuple[int, Any]] = []

    def watch(self, watcher: object) -> None:
        pass

    def send(self, peer: int, tag: str, packet: Packet) -> None:
        self.sent.append((peer, packet.note))


class Table:
    """One learner's end, to which words are said."""

    def __init__(self, folder: Path, rank: int, algorithm: type[Learner]) -> None:
        workload = ExactWorkload(learners=LEARNERS, samples_per_epoch=100)
        self.learner = learners_of(algorithm, workload, LEARNERS)[rank]
        self.gossip = Silence()
        self.ended: list[DualrtError] = []
        self.checkpoints = Checkpoints(folder, rank, {})
        keeping = Keeping(self.checkpoints, 10, None, 2, 0)
        self.truce = Truce(
            Party(self.learner, cast(Gossip, self.gossip), keeping, 30.0, Events(rank)),
            quiet=lambda timeout_s: True,
            stop=self.ended.append,
        )

    def lose(self, rank: int) -> Letters:
        self.gossip.lost |= {rank}
        return self.truce.heed(self.learner.rank, "lost", rank)

    def begin(self) -> int:
        """As the leader; the attempt's number."""
        letters = self.truce.heed(0, "start")
        assert [peer for peer, _ in letters] == [0, 1, 2]
        word, attempt, last = letters[0][1]
        assert (word, last) == ("when", False)
        return int(attempt)


@pytest.fixture
def gossiping(tmp_path: Path) -> Table:
    return Table(tmp_path, 0, ADPSGD)


def test_all_go_on_with_the_word_of_those_that_are_left(gossiping: Table) -> None:
    attempt = gossiping.begin()
    assert gossiping.truce.heed(0, "ready", attempt, 12) == []
    assert gossiping.truce.heed(1, "ready", attempt, 15) == []
    take = ("take", attempt, 15 // LEARNERS)
    assert gossiping.lose(2) == [(0, take), (1, take)]


def test_a_set_that_is_called_off_as_its_state_is_taken_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(tmp_path, 1, SDPSGD)
    truce = table.truce

    def taken() -> State:
        truce.heed(0, "off", 7, "no room", False)
        return State({}, {})

    monkeypatch.setattr(table.learner, "state", taken)
    truce.heed(0, "when", 7, False)
    truce.heed(0, "take", 7, 1)
    assert truce.due()
    truce.keep()
    truce.close()
    assert table.gossip.sent[-1][1][0] == "written"
    assert table.checkpoints.numbers() == []


@pytest.mark.parametrize(("whole", "left"), [(False, []), (True, [0])])
def test_a_set_whose_leader_is_lost_stays_only_if_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool, left: list[int]
) -> None:
    table = Table(tmp_path, 1, SDPSGD)
    truce, checkpoints = table.truce, table.checkpoints
    monkeypatch.setattr(table.learner, "state", lambda: State({}, {}))
    truce.heed(0, "when", 7, False)
    truce.heed(0, "take", 7, 1)
    assert truce.due()
    truce.keep()
    # Ends with what was being written.
    truce.close()
    word, _, (number, part), _ = table.gossip.sent[-1][1]
    assert word == "written"
    if whole:
        checkpoints.complete(number, {1: part}, 2)
    assert checkpoints.numbers() == [number]
    table.lose(0)
    truce.close()
    assert checkpoints.numbers() == left


def test_a_set_without_the_lost_is_whole(gossiping: Table) -> None:
    heed, attempt = gossiping.truce.heed, gossiping.begin()
    heed(0, "ready", attempt, 12)
    heed(1, "ready", attempt, 15)
    gossiping.lose(2)
    heed(0, "taken", attempt)
    assert heed(1, "taken", attempt) == [(0, ("go", attempt)), (1, ("go", attempt))]
    parts = [gossiping.checkpoints.of(rank).write(5, State({}, {})) for rank in range(2)]
    heed(0, "written", attempt, (5, parts[0]), None)
    complete = ("complete", attempt, str(gossiping.checkpoints.path(5)))
    written = heed(1, "written", attempt, (5, parts[1]), None)
    assert written == [(0, complete), (1, complete)]
    assert gossiping.checkpoints.load(5) == State({}, {})
    assert gossiping.checkpoints.of(2).load(5) is None


def test_where_nobody_is_taken_back_a_loss_calls_it_off(tmp_path: Path) -> None:
    table = Table(tmp_path, 0, SDPSGD)
    attempt = table.begin()
    off = ("off", attempt, "learner 2 is lost", False)
    assert table.lose(2) == [(0, off), (1, off), (2, off)]
    assert table.truce.heed(0, "start") == []


def test_a_leader_that_is_lost_is_not_waited_for(tmp_path: Path) -> None:
    table = Table(tmp_path, 1, ADPSGD)
    assert table.truce.heed(0, "when", 7, False) == []
    assert table.truce.due()
    table.lose(0)
    assert not table.truce.due()
    # The next leader's attempt is another one.
    assert table.truce.heed(1, "take", 7, 5) == []


def test_who_is_asked_to_end_asks_the_next_leader(tmp_path: Path) -> None:
    table = Table(tmp_path, 2, ADPSGD)
    assert table.truce.heed(2, "asked") == [(0, ("asked",))]
    assert table.lose(0) == [(1, ("asked",))]


def test_who_becomes_the_leader_begins_what_it_was_asked_for(tmp_path: Path) -> None:
    table = Table(tmp_path, 1, ADPSGD)
    assert table.truce.heed(1, "asked") == [(0, ("asked",))]
    assert table.lose(0) == [(1, ("asked",))]
    begun = table.truce.heed(1, "asked")
    assert [(peer, word[0], word[2]) for peer, word in begun] == [
        (1, "when", True),
        (2, "when", True),
    ]


def test_a_second_attempt_is_refused_while_one_is_under_way(tmp_path: Path) -> None:
    table = Table(tmp_path, 2, ADPSGD)
    table.truce.heed(0, "when", 7, False)
    told = table.truce.heed(1, "when", 9, False)
    assert told == [(1, ("ready", 9, None, "another one is under way"))]


def test_who_is_over_calls_it_off_without_a_warning(
    gossiping: Table, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = gossiping.begin()
    off = ("off", attempt, "", False)
    assert gossiping.truce.heed(1, "ready", attempt, None) == [(0, off), (1, off), (2, off)]
    assert caplog.records == []
