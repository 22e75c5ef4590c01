from __future__ import annotations

from dataclasses import replace

from dualrt.workloads.asr.utterance import HELDOUT_ONE_IN, Utterance

UTTERANCE = Utterance("clip", "BOB1.DOG", "BOB", "JOE", "text", b"")


def test_a_group_is_held_out_as_a_whole() -> None:
    for number in range(200):
        one = replace(UTTERANCE, group=str(number))
        other = replace(one, clip="other", dialogue="BOB2.DOG", voice="BOB", text="else")
        assert one.heldout == other.heldout


def test_about_one_group_in_ten_is_held_out() -> None:
    held = sum(replace(UTTERANCE, group=str(number)).heldout for number in range(2000))
    assert abs(held - 2000 / HELDOUT_ONE_IN) < 50


def test_the_split_of_the_corpus_does_not_move() -> None:
    groups = ("BOB", "C73", "FAYE", "JOE", "WITCH")
    held = [group for group in groups if replace(UTTERANCE, group=group).heldout]
    assert held == ["C73", "FAYE", "WITCH"]
