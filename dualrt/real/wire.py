"""The bytes on the wire: what a message becomes, and what may become a message again.

Owns the frames, their limits and their checks. Must not know of sockets, threads or peers.

A message is an *opening* (tag, versions, note, and the form of its body) followed by the bytes of
the body, cut into chunks. Each chunk travels as one frame: a header, in msgpack, and beside it the
chunk's bytes, never copied on their way out. The opening rides in the header of chunk 0. A chunk
for a peer on the same host may leave its bytes in shared memory, and the header then says where.
Smaller frames keep the connection: hello and welcome or refusal, credit, bye; share and slots.

Learners of one run are of one version: a hello says which, and is refused by any other. So that it
can be, `Hello` and `Refusal` keep the fields that they have, in this order, in every protocol to
come; it may add to them, and what an older one does not know of it ignores.

Nothing is allocated for a body before its dtype, shape and size were checked against the limit of
this side, and whatever does not parse raises `WireError` and nothing else: a stranger's bytes must
not be able to end a run. Nothing is ever unpickled.

`position` numbers a message by what all messages before it on the same stream cost, as TCP numbers
bytes: one number tells order, loss and repetition apart and carries the flow control.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, Protocol, TypeAlias

import msgspec
import numpy as np
import torch
import xxhash

from dualrt import __version__
from dualrt.core.effects import Packet
from dualrt.core.errors import DualrtError
from dualrt.core.pool import Pool

PROTOCOL = 1
"""Grows whenever frames change, or what they mean."""

CHUNK_BYTES = 1024 * 1024
"""Bytes of body in a frame. Copy, checksum, wire and the receiver's copy of successive chunks then
overlap; a 165 MB body in one frame does all four one after the other. A smaller chunk pays the
fixed cost of a frame more often; a larger one leaves the CPU's caches between one and the next: of
0.25 to 2 MiB this was the fastest (docs/benchmarks.md)."""

MAX_HEADER_BYTES = 64 * 1024
"""Room for the versions of some 7,000 learners. A limit, so that an opening can't be a body."""

MESSAGE_COST_BYTES = 1024
"""What a message is charged beside its body, so that a flood of empty ones is bounded as well."""

MAX_DIMENSIONS = 8
"""More than any tensor of a model has; keeps the product of a stranger's shape cheap to check."""

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
}
"""The dtypes that may travel, by the name that they travel under."""

Buffer: TypeAlias = bytes | memoryview
Parts: TypeAlias = tuple[bytes] | tuple[bytes, memoryview]
"""What a frame is to a socket: the header, and the chunk's bytes if it has any."""

Count = Annotated[int, msgspec.Meta(ge=0)]


class WireError(DualrtError):
    """Bytes that are not a message of ours, or a packet that cannot become one."""


class Frame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What every frame begins with: the run and who sends. See the subclasses."""

    run: str
    sender: Count
    incarnation: Count
    """Grows with each start of the same learner, so that a dead one's frames are told apart."""


class Hello(Frame, frozen=True, tag="hello", forbid_unknown_fields=False):
    """ "I am about to send to you": answered by a welcome, before which nothing else is sent."""

    receiver: Count
    """Whom the sender believes to be talking to: a port may have found a new owner."""
    address: str = ""
    """Where the sender listens. A learner that was started again is not where it was before."""
    renewals: Count = 0
    """How often the sender's connection to the receiver has broken."""
    protocol: Count = PROTOCOL
    version: str = __version__
    """Of dualrt, at the sender."""

    @property
    def release(self) -> tuple[int, str]:
        """What both ends must have in common."""
        return self.protocol, self.version


class Welcome(Frame, frozen=True, tag="welcome"):
    """ "I am whom you meant, and I listen"."""


class Refusal(Frame, frozen=True, tag="refusal", forbid_unknown_fields=False):
    """ "I am not whom you meant": of another run, or of another version."""

    foreign: bool
    """Whether of another run, which is not named: who asks may be a stranger."""
    protocol: Count
    version: str


class Credit(Frame, frozen=True, tag="credit"):
    """ "Your messages up to this total cost no longer occupy me". Cumulative: may be lost."""

    taken: Count


class Share(Frame, frozen=True, tag="share"):
    """ "Bytes of mine may lie in this memory": answered by slots. See `dualrt.real.ring`."""

    pid: Count
    fd: Count
    nonce: bytes
    written: Count
    """Slots that were filled before: what has not been read of them was lost on its way."""


class Slots(Frame, frozen=True, tag="slots"):
    """ "I have read that many slots of your memory". Cumulative: may be lost."""

    nonce: bytes
    freed: Count | None
    """None: this memory cannot be had from here."""


class Bye(Frame, frozen=True, tag="bye"):
    """ "I need nothing more of you, and answer until you need nothing of me"."""


class Chunk(Frame, frozen=True, tag="chunk"):
    """One piece of a message."""

    position: Count
    index: Count
    checksum: Count
    """XXH3 of the bytes beside this header, seeded by that of the opening: 10 GB/s where CRC-32
    makes 4. Bytes in a slot have none: they never leave the memory that the model lives in."""
    opening: bytes = b""
    """An encoded `Opening` in chunk 0, empty in all others."""
    slot: Count | None = None
    """Where in shared memory the bytes are; None: beside this header."""
    nbytes: Count = 0
    """How many of them are there."""

    def matches(self, data: Buffer) -> bool:
        """Whether `data`, the bytes of this chunk, are those that were sent."""
        return self.checksum == _checksum(self.opening, data if self.slot is None else b"")


AnyFrame: TypeAlias = Hello | Welcome | Refusal | Credit | Share | Slots | Bye | Chunk


class Form(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The form of a body. Its size in bytes follows, and is therefore not sent."""

    dtype: str
    shape: tuple[Count, ...]

    def nbytes(self, max_body_bytes: int) -> int:
        """Size of such a body. Raises `WireError` unless torch can make one within the limit."""
        dtype = DTYPES.get(self.dtype)
        if dtype is None:
            raise WireError(f"dtype {self.dtype!r} cannot travel; send one of {', '.join(DTYPES)}")
        if len(self.shape) > MAX_DIMENSIONS:
            raise WireError(f"a body of {len(self.shape)} dimensions; at most {MAX_DIMENSIONS} can")
        # A zero among the dimensions makes the size 0 but does not stop the strides from
        # overflowing, so the limit holds for the others.
        extent_bytes = math.prod(filter(None, self.shape)) * dtype.itemsize
        if extent_bytes > max_body_bytes:
            raise WireError(
                f"a body {self.dtype}{list(self.shape)} exceeds the limit of {max_body_bytes} "
                "bytes; raise max_body_bytes for every learner of the run"
            )
        return 0 if 0 in self.shape else extent_bytes


class Opening(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a message says before its body."""

    tag: str
    versions: tuple[int, ...]
    note: Any
    form: Form | None


_frames: msgspec.msgpack.Decoder[AnyFrame] = msgspec.msgpack.Decoder(AnyFrame)
_openings = msgspec.msgpack.Decoder(Opening)
_encoder = msgspec.msgpack.Encoder()
# All that msgspec raises on a stranger's bytes: not UTF-8, and nested without end, included.
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)


def encode(frame: Frame) -> bytes:
    """The header of a frame."""
    return _encoder.encode(frame)


def decode(header: Buffer) -> AnyFrame:
    """The frame that a header stands for. Raises `WireError` if it stands for none."""
    if len(header) > MAX_HEADER_BYTES:
        raise WireError(f"a header of {len(header)} bytes; at most {MAX_HEADER_BYTES} are read")
    try:
        return _frames.decode(header)
    except _UNREADABLE as error:
        raise WireError(f"not a header: {error}") from error


def cost_bytes(body_bytes: int) -> int:
    """What a message with such a body is charged against the window of its receiver."""
    return body_bytes + MESSAGE_COST_BYTES


class Growth:
    """How much of a body is there already. One thread adds to it, another looks."""

    def __init__(self) -> None:
        self.nbytes = 0
        self.given_up = False
        """Whether no more will come."""


class Letter(NamedTuple):
    """A packet that is ready to travel. Shares the memory of its body, which must not change."""

    opening: bytes
    body: memoryview
    growth: Growth | None = None
    """Of a body that is still on its way here; None: all of it is there."""

    @property
    def cost_bytes(self) -> int:
        """What it is charged against the window of its receiver."""
        return cost_bytes(len(self.body))


def seal(
    tag: str, packet: Packet, max_body_bytes: int, growing: memoryview | None = None
) -> Letter:
    """Make a packet ready to travel; copies nothing that is contiguous.

    The bytes of a body that is on a device are still to be put into `growing`, of its size, as the
    letter's growth says. Raises `WireError` for a body that is neither None nor a tensor, or on a
    device without that, or too large, and for a note that would not arrive as it is.
    """
    body = packet.body
    form: Form | None = None
    if body is not None:
        away = growing is None and isinstance(body, torch.Tensor) and body.device.type != "cpu"
        if away or not isinstance(body, torch.Tensor):
            raise WireError(f"a body must be a torch tensor on the CPU or None, not {_kind(body)}")
        form = _form_of(body.dtype, body.shape, max_body_bytes)
    try:
        note = _note(packet.note, nested=tuple)
        opening = _encoder.encode(Opening(tag, tuple(packet.versions), note, form))
    except (UnicodeError, OverflowError, RecursionError) as error:
        raise WireError(f"tag {tag!r}, note {packet.note!r} cannot travel: {error}") from error
    if len(opening) > MAX_HEADER_BYTES // 2:
        raise WireError(
            f"tag, versions and note take {len(opening)} bytes; at most {MAX_HEADER_BYTES // 2} "
            "can travel: send the note's data as a body"
        )
    if growing is not None:
        return Letter(opening, growing, Growth())
    return Letter(opening, memoryview(b"") if body is None else _bytes_of(body))


def beside(_data: memoryview) -> None:
    """Put a chunk's bytes nowhere: they travel beside their header."""


def chunks(
    letter: Letter,
    origin: Frame,
    position: int,
    place: Callable[[memoryview], int | None] = beside,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[Parts | None]:
    """The frames of a letter from `origin`, each made when it is asked for.

    None where the next one's bytes are not there yet; none follows once the rest was given up.
    `place` is given the bytes of each, and returns the slot that it has put them into, or None if
    they are to travel beside the header.
    """
    growth = letter.growth
    for index, start in enumerate(range(0, max(len(letter.body), 1), chunk_bytes)):
        data = letter.body[start : start + chunk_bytes]
        while growth is not None and growth.nbytes < start + len(data):
            if growth.given_up:
                return
            yield None
        opening = letter.opening if index == 0 else b""
        slot = place(data)
        header = encode(
            Chunk(
                origin.run,
                origin.sender,
                origin.incarnation,
                position,
                index,
                _checksum(opening, data if slot is None else b""),
                opening,
                slot,
                0 if slot is None else len(data),
            )
        )
        yield (header, data) if data and slot is None else (header,)


class Body(Protocol):
    """The memory of a body that arrives."""

    def __len__(self) -> int:
        """Its bytes."""

    def fill(self, start: int, data: Buffer) -> None:
        """Put bytes in their place; `data` is not read any more afterwards."""

    def tensor(self, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
        """All that was put there, once it is all."""


class Bodies(Protocol):
    """Where bodies that arrive get their memory from."""

    def take(self, nbytes: int) -> Body:
        """Memory with anything in it, which is nobody else's."""


class HostBodies:
    """Of the host, from a pool that keeps at most `spare` buffers of a size."""

    def __init__(self, spare: int) -> None:
        self._pool = Pool(spare)

    def take(self, nbytes: int) -> Body:
        """Memory for a body."""
        return _HostBody(self._pool, nbytes)


class _HostBody:
    def __init__(self, pool: Pool, nbytes: int) -> None:
        self._memory = pool.take(nbytes)
        self._view = memoryview(self._memory).cast("B")

    def __len__(self) -> int:
        return len(self._view)

    def fill(self, start: int, data: Buffer) -> None:
        copy(self._view[start : start + len(data)], data)

    def tensor(self, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.frombuffer(self._memory, dtype=dtype).reshape(shape)


class Assembly:
    """A message on its way in: checked, given memory of `bodies` once, then filled chunk by chunk.

    Raises `WireError` if `opening` does not parse, or announces more than `max_body_bytes`.
    """

    def __init__(self, opening: bytes, max_body_bytes: int, bodies: Bodies) -> None:
        try:
            self._opening = _openings.decode(opening)
            self._note = _note(self._opening.note, nested=list)
        except _UNREADABLE as error:
            raise WireError(f"not an opening: {error}") from error
        form = self._opening.form
        body_bytes = 0 if form is None else form.nbytes(max_body_bytes)
        self._body = bodies.take(body_bytes)
        self._filled = 0
        self._next_index = 0

    @property
    def tag(self) -> str:
        """The message's tag."""
        return self._opening.tag

    @property
    def cost_bytes(self) -> int:
        """What the sender was charged for the message."""
        return cost_bytes(len(self._body))

    def add(self, index: int, data: Buffer) -> bool:
        """Put the next chunk in its place; returns whether that was the last.

        Raises `WireError` for a chunk that does not follow the one before, or does not fit.
        """
        end = self._filled + len(data)
        if index != self._next_index or end > len(self._body):
            raise WireError(
                f"chunk {index} of {len(data)} bytes, where chunk {self._next_index} was to "
                f"continue at {self._filled} of {len(self._body)}"
            )
        if data:
            self._body.fill(self._filled, data)
        self._filled = end
        self._next_index += 1
        return self._filled == len(self._body)

    def packet(self) -> Packet:
        """The packet, once the last chunk is in its place. Its body is nobody else's."""
        return Packet(self._opening.versions, self._tensor(), self._note)

    def _tensor(self) -> torch.Tensor | None:
        form = self._opening.form
        if form is None:
            return None
        dtype = DTYPES[form.dtype]
        if not len(self._body):
            return torch.empty(form.shape, dtype=dtype)
        return self._body.tensor(dtype, form.shape)


def copy(to: memoryview, data: Buffer) -> None:
    """Copy bytes as a slice assignment does, but without the interpreter's lock.

    The copy of a chunk takes a tenth of a millisecond or more, for which the thread that computes
    gradients would have to wait whenever it comes back from the library.
    """
    np.copyto(np.frombuffer(to, np.uint8), np.frombuffer(data, np.uint8))


@lru_cache(maxsize=64)
def _form_of(dtype: torch.dtype, shape: torch.Size, max_body_bytes: int) -> Form:
    """A run has few, and makes each in every step."""
    form = Form(str(dtype).removeprefix("torch."), tuple(shape))
    form.nbytes(max_body_bytes)
    return form


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    # Weights are all this already. After a gradient that another device computed nothing is in the
    # caches, and each call of torch takes 0.03 ms.
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.dim() != 1 or not tensor.is_contiguous():
        tensor = tensor.contiguous().reshape(-1)
    # By way of uint8, because numpy has no bfloat16.
    return tensor.view(torch.uint8).numpy().data


def _checksum(opening: bytes, data: Buffer) -> int:
    return xxhash.xxh3_64_intdigest(data, xxhash.xxh3_64_intdigest(opening))


def _note(value: object, nested: type[tuple[Any, ...]] | type[list[Any]]) -> object:
    """A note with its nested sequences as tuples: on the way out from tuples, in from lists.

    Types are compared exactly: a named tuple or a numpy scalar would arrive as something else.
    """
    if value is None or type(value) in {bool, int, float, str}:
        return value
    if isinstance(value, nested) and type(value) is nested:
        return tuple(_note(item, nested) for item in value)
    raise WireError(
        f"a note may hold None, bool, int, float, str and tuples of these, not {_kind(value)}"
    )


def _kind(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor on {value.device}"
    return f"a {type(value).__qualname__}"
