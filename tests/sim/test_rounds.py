"""In which order a sender's messages to other servers begin."""

from __future__ import annotations

from random import Random

from dualrt.sim.rounds import Rounds


class Sender:
    """One of several connections, a letter each; of each, at most one message has come."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.rounds = Rounds[str](self.begun.append)

    def send(self, **rounds: int) -> str:
        """On idle connections; who has begun since the beginning."""
        for round_ in rounds.values():
            self.rounds.add(round_)
        for way, round_ in rounds.items():
            self.rounds.come(round_, way)
        return "".join(self.begun)

    def over(self, round_: int) -> str:
        self.rounds.over(round_)
        return "".join(self.begun)


def test_what_is_of_one_round_begins_together() -> None:
    assert Sender().send(a=3, b=3, c=3) == "abc"


def test_a_round_begins_when_all_of_the_earlier_ones_have_arrived() -> None:
    sender = Sender()
    assert sender.send(a=1, b=1) == "ab"
    assert sender.send(c=2, d=3) == "ab"
    assert sender.over(1) == "ab"
    assert sender.over(1) == "abc"
    assert sender.over(2) == "abcd"


def test_what_has_not_come_yet_is_waited_for_as_well() -> None:
    sender = Sender()
    sender.send(a=1)
    # Behind the first, on its connection.
    sender.rounds.add(1)
    assert sender.send(b=2) == "a"
    sender.rounds.come(1, "a")
    assert sender.over(1) == "aa"
    assert sender.over(1) == "aab"


def test_one_of_an_earlier_round_passes_those_that_wait() -> None:
    sender = Sender()
    sender.send(a=5)
    assert sender.send(b=6) == "a"
    assert sender.send(c=5) == "ac"
    assert sender.over(5) == "ac"
    assert sender.over(5) == "acb"


def test_what_is_lost_is_not_waited_for() -> None:
    sender = Sender()
    sender.send(a=1)
    sender.send(b=2)
    sender.send(c=3)
    assert sender.rounds.withdraw("b")
    assert not sender.rounds.withdraw("a")
    sender.rounds.lose(2)
    assert sender.over(1) == "ac"


def test_whatever_happens_all_begin_once_and_in_order() -> None:
    for seed in range(200):
        chance, sender = Random(seed), Sender()
        round_of: dict[str, int] = {}
        left: list[str] = []
        round_ = 0
        for place in range(40):
            round_ += chance.choice([0, 0, 1])
            way = f"<{place}>"
            round_of[way] = round_
            sender.send(**{way: round_})
            left.append(way)
            arrived = [one for one in left if one in sender.begun and chance.random() < 0.4]
            for one in arrived:
                left.remove(one)
                sender.rounds.over(round_of[one])
            begun = [round_of[one] for one in sender.begun]
            assert begun == sorted(begun), seed
        while left:
            one = next(one for one in left if one in sender.begun)
            left.remove(one)
            sender.rounds.over(round_of[one])
        assert sorted(sender.begun) == sorted(round_of), seed
