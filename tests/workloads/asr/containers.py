"""Tiny data files of the game, written from the layout that `queen` documents."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

HEADER = b"\xee" * 20


def container(files: Mapping[str, bytes], *, magic: bytes = b"QTBL", compression: int = 1) -> bytes:
    offset = 15 + 21 * len(files)
    table = magic + b"CEM10\0" + bytes(2) + bytes([compression]) + struct.pack(">H", len(files))
    for name, data in files.items():
        table += struct.pack(">12sBII", name.encode(), 1, offset, len(data))
        offset += len(data)
    return table + b"".join(files.values())


def string(text: str, at: int, align: int) -> bytes:
    """A string that begins `at` bytes behind the header."""
    body = bytes([len(text)]) + text.encode()
    return body + bytes(-(at + len(body)) % align if text else 0)


def dialogue(
    key: int,
    lead: Sequence[tuple[int, str]],
    other: Sequence[tuple[int, str]],
    greetings: tuple[str, str] = ("0", "0"),
    levels: int = -1,
) -> bytes:
    body = bytearray(32 + 96 * abs(levels))

    def spoken(lines: Sequence[tuple[int, str]]) -> int:
        start = len(body)
        for number, text in lines:
            body.extend(struct.pack(">HH", 0xEEEE, number))
            body.extend(string(text, len(body), 4))
        return start

    spoken(lead)
    other_at = spoken(other)
    greetings_at = len(body)
    for text in greetings:
        body.extend(string(text, len(body), 2))
    struct.pack_into(">5h", body, 0, levels, 7, key, len(lead), len(other))
    struct.pack_into(">3H", body, 22, other_at, greetings_at, greetings_at)
    return HEADER + bytes(body)


def cutscene(setting: str, lines: Sequence[str]) -> bytes:
    body = bytearray(struct.pack(">2HhHHH", 0, len(lines), 1, 12, 12, 12))
    for text in (setting, *lines):
        body.extend(string(text, len(body), 2))
    return HEADER + bytes(body)


def remarks(said: Mapping[int, str]) -> bytes:
    """QUEEN2.JAS, in which line n (from 1) is `said[n]`."""
    return "\r\n".join(said.get(row, "filler") for row in range(1, 1301)).encode()
