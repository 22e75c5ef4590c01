"""What kinds of spans count as."""

from __future__ import annotations

import pytest

from dualrt.observe.kinds import Activity, activity, word


@pytest.mark.parametrize(
    ("kind", "doing"),
    [
        ("gradient", Activity.GRADIENT),
        ("update", Activity.UPDATE),
        ("apply", Activity.OTHER),
        ("blend", Activity.BLEND),
        ("send offer", Activity.EXCHANGE),
        ("recv answer", Activity.EXCHANGE),
        ("allreduce all", Activity.EXCHANGE),
        ("broadcast", Activity.EXCHANGE),
        ("quantise", Activity.OTHER),
    ],
)
def test_the_first_word_decides(kind: str, doing: Activity) -> None:
    assert activity(kind, trains=True) is doing


def test_a_wait_for_a_message_is_no_exchange_in_a_strand_that_only_answers() -> None:
    assert activity("recv offer", trains=False) is Activity.LISTENING
    assert activity("send answer", trains=False) is Activity.EXCHANGE


def test_a_tag_is_no_part_of_the_word() -> None:
    assert word("recv send") == "recv"
