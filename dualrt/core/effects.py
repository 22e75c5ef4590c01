"""Effects: everything a learner may ask for that takes time or crosses a boundary.

Owns the vocabulary between learners and drivers, and nothing else: it must not know who answers.

A strand is an `async def` that awaits effects. There is no event loop underneath: awaiting an
effect yields *the effect itself* to whoever exhausts the coroutine, and returns what that driver
sends back. The simulator lets virtual time pass and answers; the real runtime does the thing and
answers. So the algorithm cannot tell the two apart, and a unit test is a third driver: it pushes an
answer in and compares the effect that comes out.

    effect                         answer
    ---------------------------    -----------------------------------------------------------
    Compute(work, cost, on)        what `work()` returned
    Send(peer, tag, packet, ...)   None, once buffered (not: once received)
    Recv(tag, peer=None)           Delivery(sender, packet), in order for each (sender, tag)
    AllReduce(group, vector)       the mean over the group's vectors
    MeanGradient(work, group, ...) the mean over the group's gradients, averaged piece by piece
    Broadcast(group, root, packet) the root's packet
    Sleep(duration_s), Now()       None; seconds since the run began
    Together(a, b, ...)            the tuple of all results
    Report(update)                 None, at once: tells the observers of an applied update
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import (
    Any,
    Generic,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypeVar,
    dataclass_transform,
    overload,
)

from dualrt.core.records import Update
from dualrt.core.weights import Gradient

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

Class = TypeVar("Class", bound=type)


@dataclass_transform(frozen_default=True)
def value(cls: Class) -> Class:
    """A dataclass that nobody may assign to, which the type checker sees to and not the class.

    A frozen dataclass sets each field by way of `object.__setattr__`: three times the cost of an
    effect, of which a simulation makes some hundred thousand a second.
    """
    return dataclass(slots=True)(cls)  # type: ignore[return-value]  # slots make a new class


Body: TypeAlias = Coroutine["Effect[Any]", Any, T]
"""A running strand, or a part of one: a coroutine that yields effects and returns a `T`."""

Awaited: TypeAlias = "Body[T] | Effect[T]"
"""What may be awaited: a body, or one effect, which needs none around it."""


class Vector(Protocol):
    """Model-sized data that learners pass on and never look into: a flat tensor, or a phantom."""

    @property
    def nbytes(self) -> int:
        """Size in bytes, which is what it costs to move."""


FLOAT32 = "float32"
"""The type of weights, and what a gradient is computed in unless something else is said."""

BFLOAT16 = "bfloat16"
"""Half the bits, of which the exponent has as many as float32's."""


class Place(Enum):
    """What a computation occupies."""

    DEVICE = "device"
    """The learner's accelerator: one kernel sequence at a time."""
    HOST = "host"
    """The memory of the learner's server, which all learners of that server share."""


class Cost(NamedTuple):
    """What a computation asks of its place; the device model turns it into seconds.

    `kind` names the computation in records and in measured profiles ("gradient", "blend").
    `samples` is the batch size where a profile T(batch) applies; `flops` and `bytes_moved` serve a
    roofline where none does. They are of all of it, also where it is done in `parts` of equally
    many samples, one after another. `precision` is the type that most of the arithmetic is in.
    """

    kind: str
    samples: int = 0
    flops: float = 0.0
    bytes_moved: int = 0
    parts: int = 1
    precision: str = FLOAT32


class Group(NamedTuple):
    """An ordered set of learners that call collectives together, known before the run starts."""

    name: str
    ranks: tuple[int, ...]


@value
class Packet:
    """What a message carries: the sender's versions, a model-sized body, and a small note.

    The note must survive a trip over a wire: None, bool, int, float, str, or tuples of these.
    """

    versions: Sequence[int] = ()
    body: Any = None
    note: Any = None

    @property
    def nbytes(self) -> int:
        """Bytes of the body; headers are the transport's own affair."""
        body: Vector | None = self.body
        return 0 if body is None else body.nbytes


class Delivery(NamedTuple):
    """A received message."""

    sender: int
    packet: Packet


class Effect(Generic[T_co]):
    """A request to the driver; awaiting it gives the driver's answer, of type `T_co`."""

    __slots__ = ()

    def __await__(self) -> Generator[Effect[Any], Any, T_co]:
        # The only place in dualrt that yields to a driver.
        answer: T_co = yield self
        return answer


@value
class Compute(Effect[T]):
    """Run `work()` on a place. State that `work` changes, changes when the time has passed."""

    work: Callable[[], T]
    cost: Cost
    on: Place = Place.DEVICE


@value
class Send(Effect[None]):
    """Hand a packet to the transport. The body must not be written to afterwards.

    With a `round_`, it leaves the host when all that this learner has sent in earlier rounds, to
    whomever, has left it; what is sent in one round leaves together. A learner's rounds never fall.
    It is for algorithms in lock-step, which wait for the slowest anyway.
    """

    peer: int
    tag: str
    packet: Packet
    round_: int | None = None


@value
class Recv(Effect[Delivery]):
    """Wait for a message with this tag, from `peer` or, when that is None, from anyone.

    Raises PeerLostError at the await if `peer` is named and lost (`dualrt.core.faults`).
    """

    tag: str
    peer: int | None = None


@value
class AllReduce(Effect[Any]):
    """Mean of one vector a member; every member of the group must call it.

    The simulator sums in rank order; gloo and NCCL choose theirs, so the last bits may differ. With
    `spent`, nobody reads the vector afterwards, and the mean may be written into its memory.
    """

    group: Group
    vector: Any
    spent: bool = False


class Piecewise(Protocol):
    """A gradient that is asked for, as a whole or in pieces."""

    def __call__(self) -> Gradient[Any]:
        """The gradient."""

    def in_pieces(
        self, pieces: Sequence[int], share: float, ready: Callable[[Any], None]
    ) -> Gradient[Any]:
        """`share` times the same, and `ready` is told each piece of it as soon as it is final.

        `pieces` are their bytes, in the order in which they are ready. Each shares the memory of
        the vector that is returned, and is not read or written any more once `ready` has it.
        """


@value
class MeanGradient(Effect[Gradient[Any]]):
    """Compute a gradient on the device, and its mean over the group meanwhile.

    The answer has the mean, and the member's own loss. The mean of a piece is taken from the moment
    that all members have it, one piece after another, so that all but the last is hidden by the
    rest of the computation. `pieces` are their bytes, in the order in which they are ready, the
    same for every member. Numbers, and the rules of AllReduce, are as if one followed the other.
    """

    work: Piecewise
    cost: Cost
    group: Group
    pieces: Sequence[int]


@value
class Broadcast(Effect[Packet]):
    """The packet of the member `root`; the others pass None."""

    group: Group
    root: int
    packet: Packet | None = None


@value
class Leave(Effect[None]):
    """Have done with a group, as its member `peer` has; takes no time.

    Whatever else this learner waits for in it, or calls later, raises PeerLostError for that peer.
    """

    group: Group
    peer: int


@value
class Sleep(Effect[None]):
    """Let time pass."""

    duration_s: float


@value
class Now(Effect[float]):
    """Seconds since the run began."""


@value
class Report(Effect[None]):
    """Tell the observers that an update was applied. Takes no time."""

    update: Update


class Together(Effect[T_co]):
    """Run several bodies at once and wait for all: structured, so that none outlives the wait.

    A child may also be an effect, as if a body awaited it and returned the answer.

    If one raises, the run ends with its error.
    """

    __slots__ = ("children",)

    @overload
    def __init__(self: Together[tuple[A]], a: Awaited[A], /) -> None: ...
    @overload
    def __init__(self: Together[tuple[A, B]], a: Awaited[A], b: Awaited[B], /) -> None: ...
    @overload
    def __init__(
        self: Together[tuple[A, B, C]], a: Awaited[A], b: Awaited[B], c: Awaited[C], /
    ) -> None: ...
    @overload
    def __init__(self: Together[tuple[A, ...]], *children: Awaited[A]) -> None: ...

    def __init__(self, *children: Awaited[Any]) -> None:
        self.children = children

    def __repr__(self) -> str:
        return f"Together({', '.join(map(_name, self.children))})"


def _name(child: Awaited[Any]) -> str:
    if isinstance(child, Effect):
        return describe(child)
    return getattr(child, "__qualname__", repr(child))


def describe(effect: Effect[Any]) -> str:
    """One short line for a story or a log: what was asked for, without the payload."""
    match effect:
        case Compute(cost=cost, on=on):
            return f"Compute {cost.kind} on {on.value}"
        case Send(peer=peer, tag=tag, packet=packet):
            of = "" if effect.round_ is None else f", of round {effect.round_}"
            return f"Send {tag} to {peer}, {packet.nbytes} bytes{of}"
        case Recv(tag=tag, peer=peer):
            return f"Recv {tag} from {'anyone' if peer is None else peer}"
        case AllReduce(group=group):
            return f"AllReduce in {group.name}"
        case MeanGradient(group=group, pieces=pieces):
            return f"MeanGradient in {group.name}, {len(pieces)} pieces"
        case Broadcast(group=group, root=root):
            return f"Broadcast in {group.name} from {root}"
        case Leave(group=group, peer=peer):
            return f"Leave {group.name} after {peer}"
        case Report(update=update):
            return f"Report update {update.step}"
        case _:
            return repr(effect)
