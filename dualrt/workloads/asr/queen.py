"""The byte layout of the game "Flight of the Amazon Queen": its data file and its scripts.

Owns how clips and lines of text lie in the bytes, and the names that tie a line to its clips. Knows
nothing of where the file comes from, nor which release it is: every offset is checked, so any bytes
at all give either an answer or a `UsageError`.

All integers are big-endian.

Data file: `QTBL`, version (6 bytes), 2 bytes of padding, compression (u8; 1 is MP3), number of
entries (u16); then an entry of 21 bytes for each member: name (12 bytes, padded with zeros), bundle
(u8), offset (u32, from the start of the file), size (u32).

A string is a length (u8) and that many bytes; whatever follows a string that is not empty is
aligned to 2 bytes (4 in the lists of a dialogue). Offsets in scripts count from behind a header of
20 bytes.

A line of text holds stage commands: `*` and two characters, or `*XYnn(xxx,yyy)`. Each command ends
a segment; the n-th segment (n a hexadecimal digit) of the line `L` is spoken in the clip `Ln.SB`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from dualrt.core.errors import UsageError

MAGIC: Final = b"QTBL"
CLIP_SUFFIX: Final = ".SB"

_TABLE: Final = 15
_ENTRY: Final = struct.Struct(">12sBII")
_MP3: Final = 1
_SCRIPT_HEADER: Final = 20
_NOTHING: Final = "0"  # stands where a greeting is left out
_COMMAND: Final = re.compile(r"\*(?:XY.{11}|..)", re.DOTALL)

_RESPONSES: Final = 40  # numbered JOE0001 to JOE0040; the descriptions of things follow
_FIRST_RESPONSE: Final = 1187  # its line in QUEEN2.JAS, counted from 0
_DESCRIPTIONS: Final = 724  # the first lines of QUEEN2.JAS

LEAD: Final = "JOE"
"""The voice of the lead character, who takes part in nearly every dialogue."""

UNTAGGED: Final = "untagged"
"""The voice of a cutscene's line: the script does not say in words who speaks."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one clip says: its `text`, the script it stands in, and the `voice` that speaks it."""

    script: str
    group: str
    voice: str
    text: str


def members(data: bytes, origin: str) -> dict[str, bytes]:
    """The files inside the data file `data`, in the order of its table.

    Raises:
        UsageError: `data` is foreign, cut short, or its clips are not MP3; names `origin`.
    """
    source = _Source(data, origin)
    if source.raw(0, len(MAGIC)) != MAGIC:
        raise UsageError(
            f"{origin}: not a data file of Flight of the Amazon Queen: it does not begin with "
            f"{MAGIC.decode()}. Give the file queen.1c, the Debian package, or its unpacked folder."
        )
    if (compression := source.u8(12)) != _MP3:
        raise UsageError(
            f"{origin}: clips are stored with compression {compression}, but only {_MP3} (MP3) can "
            "be read. Give the file queen.1c of Debian's package flight-of-the-amazon-queen."
        )
    found = {}
    for index in range(source.u16(13)):
        name, _, offset, size = _ENTRY.unpack(source.raw(_TABLE + index * _ENTRY.size, _ENTRY.size))
        found[name.rstrip(b"\0").decode("latin-1").upper()] = source.raw(offset, size)
    return found


def lines(files: Mapping[str, bytes]) -> dict[str, Line]:
    """What each clip says, by the clip's name without suffix, from all scripts among `files`.

    Clips need not exist: the scripts also hold lines that were never recorded.

    Raises:
        UsageError: a script points outside itself; names the script.
    """
    spoken: dict[str, Line] = {}
    for name, data in files.items():
        match PurePath(name).suffix:
            case ".DOG":
                spoken.update(_dialogue(_Source(data, name)))
            case ".CUT":
                spoken.update(_cutscene(_Source(data, name)))
            case ".JAS" if name == "QUEEN2.JAS":
                spoken.update(_remarks(data, name))
    return spoken


def _dialogue(source: _Source) -> Iterator[tuple[str, Line]]:
    """A dialogue of the lead with one other character.

    Behind the header: levels (i16), a key of its own, the key of its clips, the numbers of lines of
    the lead and of the other (i16 each); at 22, 24, 26 the offsets (u16) of the other's lines, of
    the cutscene that follows, and of the greetings of a second meeting. The lead's lines begin
    behind the 96 bytes of each level. A line is two unused bytes, an identifier (u16), a string.
    """
    levels, _, key, lead_count, other_count = (source.i16(_SCRIPT_HEADER + 2 * i) for i in range(5))
    stem = PurePath(source.name).stem
    group = stem.rstrip("0123456789") or stem
    lead = _SCRIPT_HEADER + 32 + abs(levels) * 96
    other = _SCRIPT_HEADER + source.u16(_SCRIPT_HEADER + 22)

    def said(identifier: str, letter: str, text: str) -> Iterator[tuple[str, Line]]:
        if text == _NOTHING:
            return
        voice = LEAD if letter == "J" else group
        for number, segment in _segments(text):
            clip = f"{key:02d}{identifier}{letter}{number}"
            yield clip, Line(source.name, group, voice, segment)

    for letter, start, count in (("J", lead, lead_count), ("P", other, other_count)):
        at = start
        for _ in range(count):
            number = source.u16(at + 2)
            text, at = source.string(at + 4, origin=_SCRIPT_HEADER, align=4)
            opening = letter == "J" and number == 0
            yield from said("SSSS" if opening else f"{number:04X}", letter, text)

    at = _SCRIPT_HEADER + source.u16(_SCRIPT_HEADER + 26)
    for letter in "PJ":
        text, at = source.string(at, origin=_SCRIPT_HEADER)
        yield from said("XXXX", letter, text)


def _cutscene(source: _Source) -> Iterator[tuple[str, Line]]:
    """A scene that plays by itself.

    Behind the header, at 2 the number of actions (i16; its sign is a flag), at 8 the offset (u16)
    of the strings: one that sets the scene, then one for each action.
    """
    stem = PurePath(source.name).stem
    group = re.sub(r"(?<=\d)[A-Z]$", "", stem)
    actions = abs(source.i16(_SCRIPT_HEADER + 2))
    strings = _SCRIPT_HEADER + source.u16(_SCRIPT_HEADER + 8)
    _, at = source.string(strings, origin=_SCRIPT_HEADER)
    for action in range(1, actions + 1):
        text, at = source.string(at, origin=_SCRIPT_HEADER)
        if text.startswith("#"):  # the name of a file of credits to roll
            continue
        for number, segment in _segments(text):
            yield f"{stem:_<5}{action:02d}{number}", Line(source.name, group, UNTAGGED, segment)


def _remarks(data: bytes, name: str) -> Iterator[tuple[str, Line]]:
    """What the lead says about things, and when something can't be done."""
    rows = data.decode("latin-1").split("\r\n")
    remarks = rows[_FIRST_RESPONSE : _FIRST_RESPONSE + _RESPONSES] + rows[:_DESCRIPTIONS]
    if len(rows) < _FIRST_RESPONSE + _RESPONSES:
        raise UsageError(
            f"{name}: has {len(rows)} lines, but the remarks end at line "
            f"{_FIRST_RESPONSE + _RESPONSES}. Fetch the data file again."
        )
    for index, text in enumerate(remarks, start=1):
        for number, segment in _segments(text):
            yield f"JOE{index:04d}{number}", Line(name, LEAD, LEAD, segment)


def _segments(text: str) -> Iterator[tuple[str, str]]:
    for number, segment in enumerate(_COMMAND.split(text), start=1):
        yield f"{number:X}", segment


class _Source:
    """Bytes with a name, that answer every read outside them with an error that says so."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name = data, name

    def raw(self, at: int, size: int) -> bytes:
        if at + size > len(self.data):
            raise UsageError(
                f"{self.name}: cut short or damaged: bytes {at} to {at + size} are needed, but it "
                f"has {len(self.data)}. Fetch the data file again."
            )
        return self.data[at : at + size]

    def u8(self, at: int) -> int:
        return self.raw(at, 1)[0]

    def u16(self, at: int) -> int:
        return int.from_bytes(self.raw(at, 2))

    def i16(self, at: int) -> int:
        return int.from_bytes(self.raw(at, 2), signed=True)

    def string(self, at: int, *, origin: int, align: int = 2) -> tuple[str, int]:
        """The string at `at`, and where what follows begins; alignment counts from `origin`."""
        size = self.u8(at)
        text = self.raw(at + 1, size).decode("latin-1")
        end = at + 1 + size
        return text, end + (origin - end) % align if size else end
