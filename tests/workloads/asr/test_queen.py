from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.errors import UsageError
from dualrt.workloads.asr import queen

from .containers import container, cutscene, dialogue, remarks


def texts(name: str, script: bytes) -> dict[str, str]:
    return {clip: line.text for clip, line in queen.lines({name: script}).items()}


def test_members_are_the_files_in_the_order_of_the_table() -> None:
    files = {"020006J1.SB": b"one", "BOB1.DOG": b"", "AND1.DOG": b"three"}
    assert list(queen.members(container(files), "it").items()) == list(files.items())


def test_a_line_is_spoken_in_one_clip_a_segment() -> None:
    script = dialogue(2, lead=[(6, "At least*15I fly.*04*03")], other=[(0xBE, "Oh")])
    assert texts("AND1.DOG", script) == {
        "020006J1": "At least",
        "020006J2": "I fly.",
        "020006J3": "",
        "020006J4": "",
        "0200BEP1": "Oh",
    }


def test_the_lead_opens_and_both_greet_with_clips_of_their_own() -> None:
    script = dialogue(31, lead=[(0, "Hi")], other=[(0, "Yes?")], greetings=("You!", "Me"))
    assert texts("BOB1.DOG", script) == {
        "31SSSSJ1": "Hi",
        "310000P1": "Yes?",
        "31XXXXP1": "You!",
        "31XXXXJ1": "Me",
    }


def test_lines_behind_an_empty_line_are_found() -> None:
    script = dialogue(1, lead=[(1, ""), (2, "Two")], other=[(3, ""), (4, "Four")], levels=3)
    found = texts("BOB1.DOG", script)
    assert found["010002J1"] == "Two"
    assert found["010004P1"] == "Four"


def test_voices_and_groups_come_from_the_name_of_the_script() -> None:
    found = queen.lines(
        {
            "BOB2.DOG": dialogue(1, lead=[(1, "Me")], other=[(1, "You")]),
            "C100A.CUT": cutscene("*FR", ["Who?"]),
        }
    )
    assert (found["010001J1"].group, found["010001J1"].voice) == ("BOB", queen.LEAD)
    assert (found["010001P1"].group, found["010001P1"].voice) == ("BOB", "BOB")
    assert (found["C100A011"].group, found["C100A011"].voice) == ("C100", queen.UNTAGGED)


def test_a_cutscene_numbers_its_actions_whether_they_speak_or_not() -> None:
    script = cutscene("*FL", ["*", "Look!*XY00(237,112)There", "#credit1.crd", "End"])
    found = {clip: text for clip, text in texts("GM.CUT", script).items() if text != "*"}
    assert found == {"GM___021": "Look!", "GM___022": "There", "GM___041": "End"}


def test_more_than_nine_segments_are_numbered_in_hexadecimal() -> None:
    found = texts("C1A.CUT", cutscene("", ["*03".join("abcdefghijk")]))
    assert found["C1A__01A"] == "j"
    assert found["C1A__01B"] == "k"


def test_remarks_are_the_responses_and_then_the_descriptions() -> None:
    found = texts("QUEEN2.JAS", remarks({1: "A rock*24", 1188: "No", 1227: "Never"}))
    assert found["JOE00011"] == "No"
    assert found["JOE00401"] == "Never"
    assert found["JOE00411"] == "A rock"


def test_the_other_list_of_strings_is_not_read() -> None:
    assert queen.lines({"QUEEN.JAS": b"\0\1"}) == {}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it: cut short"),
        (b"RIFFxxxxxxxxxxxxxx", "it: not a data file.*queen.1c"),
        (container({"A.SB": b"x"}, compression=2), "it: clips are stored with compression 2"),
        (container({"A.SB": b"abc"})[:-1], "it: cut short or damaged: bytes 36 to 39"),
        (container({"A.SB": b"", "B.SB": b""})[:40], "it: cut short"),
    ],
)
def test_a_damaged_data_file_is_named(data: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        queen.members(data, "it")


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("BOB1.DOG", dialogue(1, lead=[(1, "Two words")], other=[])[:-8]),
        ("C1A.CUT", cutscene("*", ["Two words"])[:-4]),
        ("QUEEN2.JAS", b"one\r\ntwo"),
    ],
)
def test_a_damaged_script_is_named(name: str, script: bytes) -> None:
    with pytest.raises(UsageError, match=name):
        queen.lines({name: script})


@given(st.binary(max_size=200), st.sampled_from([b"", b"QTBL", b"QTBLCEM10\0\0\0\1\0\3"]))
def test_any_bytes_are_a_data_file_or_a_usage_error(data: bytes, start: bytes) -> None:
    with suppress(UsageError):
        found = queen.members(start + data, "it")
        assert all(len(member) <= len(start + data) for member in found.values())


@given(st.binary(max_size=400), st.sampled_from(["A.DOG", "A.CUT", "QUEEN2.JAS", "A.SB", ".DOG"]))
def test_any_bytes_are_a_script_or_a_usage_error(data: bytes, name: str) -> None:
    with suppress(UsageError):
        found = queen.lines({name: data})
        assert all(line.script == name for line in found.values())
