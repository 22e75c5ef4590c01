"""Memory that two processes share: what is written is read, and what is no ring is refused."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrt.real.ring import (
    HEAD_BYTES,
    NAME,
    NONCE_BYTES,
    RING_BYTES,
    SLOT_BYTES,
    SLOTS,
    RingError,
    RingReader,
    RingWriter,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs memfd")

NONCE = bytes(NONCE_BYTES)


@pytest.fixture
def writer() -> Iterator[RingWriter]:
    with closing(RingWriter()) as made:
        yield made


def reader_of(writer: RingWriter) -> RingReader:
    return RingReader(writer.pid, writer.fd, writer.nonce, writer.written)


def rings_here() -> int:
    """How many files and maps of this process are rings."""
    maps = Path("/proc/self/maps").read_text().count("dualrt-ring")
    names = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            names.append(str(fd.readlink()))
        except FileNotFoundError:
            continue  # the folder's own
    return maps + sum("dualrt-ring" in name for name in names)


def test_what_is_written_is_read_in_every_round(writer: RingWriter) -> None:
    with closing(reader_of(writer)) as reader:
        for round_ in range(3 * SLOTS + 1):
            data = os.urandom(1 + round_)
            number = writer.write(memoryview(data))
            assert number == round_
            assert bytes(reader.read(number, len(data))) == data
            reader.free(number + 1)
            writer.free(reader.freed)


def test_a_whole_slot_leaves_its_neighbours_alone(writer: RingWriter) -> None:
    bodies = [bytes([value]) * SLOT_BYTES for value in range(1, SLOTS + 1)]
    with closing(reader_of(writer)) as reader:
        for body in bodies:
            writer.write(memoryview(body))
        assert [bytes(reader.read(number, SLOT_BYTES)) for number in range(SLOTS)] == bodies
        assert reader.nonce == writer.nonce


@given(st.lists(st.none() | st.integers(0, 4 * SLOTS), max_size=60))
def test_no_slot_is_filled_before_it_was_freed(steps: list[int | None]) -> None:
    """None writes, where there is room; a number frees that many slots in all."""
    freed = 0
    with closing(RingWriter()) as writer:
        for step in steps:
            if step is not None:
                writer.free(step)
                freed = min(max(freed, step), writer.written)
            elif not writer.full:
                assert writer.write(memoryview(b"x")) < freed + SLOTS
            assert writer.full == (writer.written == freed + SLOTS)


@given(
    st.integers(0, 3 * SLOTS),
    st.integers(0, 2**64 - 1) | st.integers(0, 4 * SLOTS),
    st.integers(0, 2 * SLOT_BYTES),
)
def test_only_bytes_of_a_slot_that_is_due_are_read(freed: int, number: int, nbytes: int) -> None:
    with (
        closing(RingWriter()) as writer,
        closing(RingReader(writer.pid, writer.fd, writer.nonce, freed)) as reader,
    ):
        try:
            data = reader.read(number, nbytes)
        except RingError:
            assert not freed <= number < freed + SLOTS or nbytes > SLOT_BYTES
        else:
            assert len(data) == nbytes
            data.release()


def test_the_sender_is_told_of_every_quarter_of_the_slots(writer: RingWriter) -> None:
    with closing(reader_of(writer)) as reader:
        told = [reader.free(count) for count in range(1, SLOTS + 1)]
        assert told.count(True) == 4
        assert told[-1]
        assert not reader.free(3)
        assert reader.freed == SLOTS


def test_nobody_can_resize_it(writer: RingWriter) -> None:
    for size in (0, 2 * RING_BYTES):
        with pytest.raises(PermissionError):
            os.truncate(writer.fd, size)


def test_a_reader_cannot_write(writer: RingWriter) -> None:
    writer.write(memoryview(b"x"))
    with closing(RingReader(writer.pid, writer.fd, writer.nonce, 0)) as reader:
        assert reader.read(0, 1).readonly


def test_a_reader_keeps_the_memory_when_the_writer_is_gone() -> None:
    writer = RingWriter()
    reader = reader_of(writer)
    number = writer.write(memoryview(b"last words"))
    writer.close()
    assert bytes(reader.read(number, 10)) == b"last words"
    reader.close()


def test_nothing_is_left_of_it() -> None:
    before = rings_here()
    writer = RingWriter()
    reader = reader_of(writer)
    assert rings_here() > before
    reader.close()
    writer.close()
    assert rings_here() == before


def memfd(size: int, seals: int) -> int:
    fd = os.memfd_create(NAME, os.MFD_ALLOW_SEALING)
    os.truncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def unsealed(_: Path) -> int:
    return memfd(RING_BYTES, 0)


def half_sealed(_: Path) -> int:
    return memfd(RING_BYTES, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)


def too_short(_: Path) -> int:
    return memfd(HEAD_BYTES, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)


def of_another_name(_: Path) -> int:
    fd = os.memfd_create("ring", os.MFD_ALLOW_SEALING)
    os.truncate(fd, RING_BYTES)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return fd


def on_a_disk(folder: Path) -> int:
    path = folder / "file"
    path.write_bytes(NONCE)
    os.truncate(path, RING_BYTES)
    return os.open(path, os.O_RDONLY)


def pipe_that_would_wait(folder: Path) -> int:
    path = folder / "pipe"
    os.mkfifo(path)
    return os.open(path, os.O_RDWR)


def connection(_: Path) -> int:
    return socket.socket().detach()


def device(_: Path) -> int:
    return os.open("/dev/zero", os.O_RDONLY)


def folder_itself(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY)


@pytest.mark.parametrize(
    "opened",
    [
        unsealed,
        half_sealed,
        too_short,
        of_another_name,
        on_a_disk,
        pipe_that_would_wait,
        connection,
        device,
        folder_itself,
    ],
)
def test_what_is_no_ring_is_refused(opened: Callable[[Path], int], tmp_path: Path) -> None:
    fd = opened(tmp_path)
    try:
        with pytest.raises(RingError):
            RingReader(os.getpid(), fd, NONCE, 0)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("pid", "fd"),
    [(0, 0), (2**22 + 1, 0), (os.getpid(), 2**31), (1, 2**64)],
    # The same in every process that collects it.
    ids=["nobody", "nobody that can be", "no file of ours", "no number of a file"],
)
def test_what_is_not_there_is_refused(pid: int, fd: int) -> None:
    with pytest.raises(RingError):
        RingReader(pid, fd, NONCE, 0)


@pytest.mark.parametrize("nonce", [NONCE, b"", bytes(NONCE_BYTES - 1), bytes(HEAD_BYTES)])
def test_a_ring_of_somebody_else_is_refused(nonce: bytes, writer: RingWriter) -> None:
    before = rings_here()
    with pytest.raises(RingError, match="another's"):
        RingReader(writer.pid, writer.fd, nonce, 0)
    with pytest.raises(RingError, match="another's"):
        RingReader(writer.pid, writer.fd, writer.nonce[:1], 0)
    assert rings_here() == before
