"""The courier: the one thread that owns every ZeroMQ socket of a learner.

Owns the context, the sockets and the order in which they are served. Must not know what messages
mean. Other threads reach it through `post` alone; all else here runs on its thread.

Each learner binds one ROUTER, on which it hears everybody, and connects one DEALER to each peer
that it sends to. On a connection, messages and goodbyes go one way; welcomes and credits come back
the other, where no bulk is in front of them:

    DEALER of the sender                            ROUTER of the receiver
        hello  ------------------------------------->
               <-------------------------------------  welcome, or a refusal
        chunk, chunk, ..., bye  -------------------->
               <-------------------------------------  credit
        share (on the same host)  ------------------>
               <-------------------------------------  slots

The ROUTER is bound before its address is published, and is read only from the moment that the
learners of the run are known: until then, ZeroMQ keeps what early peers send. Nothing but a hello
goes to a peer that has not answered one, and nothing at all into a connection that does not stand.
So it does not matter who starts first.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial

import zmq

from dualrt.core.effects import Delivery
from dualrt.core.errors import DualrtError, RunError, UsageError
from dualrt.real import sockets, tcp
from dualrt.real.calls import Calls
from dualrt.real.drops import Drop, DroppedError, Drops
from dualrt.real.events import Events
from dualrt.real.keys import Keys
from dualrt.real.line import Line
from dualrt.real.link import BURST_FRAMES, Link
from dualrt.real.mailbox import Mailbox
from dualrt.real.presence import BROKE, Presence
from dualrt.real.ring import RingError
from dualrt.real.roster import Roster
from dualrt.real.source import Landing, Source
from dualrt.real.stream import Positions
from dualrt.real.wire import (
    PROTOCOL,
    Bodies,
    Buffer,
    Bye,
    Chunk,
    Credit,
    Frame,
    Hello,
    Letter,
    Parts,
    Refusal,
    Share,
    Slots,
    Welcome,
    WireError,
    cost_bytes,
    decode,
    encode,
)
from dualrt.real.word import Word

LINGER_S = 0.5
"""How long a learner that closes waits for its last frames to leave."""


class Courier:
    """The thread, its sockets, and what it does with them.

    Parameters: `origin` says who we are, of which `version`; `interface` is what the ROUTER binds,
    at one of `ports`; a peer that does not answer is greeted again every `greet_interval_s`;
    `shares_memory` is whether to share memory with peers on this host. A peer is lost when its
    connection breaks, or is silent for `silence_s`; for a `newcomer`, which comes to a run that is
    under way, so is one that does not answer for so long. Deliveries go to `mailbox`, what is
    learnt of the peers to `roster`, and who is lost or found, and why it is lost, to `watch`
    besides; frames that are dropped are counted, and told to `events` now and then. With `keys`,
    nobody without them is heard, and, if they are no mere word, nothing is readable on the way. If
    the thread ends by an error, all waits on mailbox and roster end with it.
    """

    def __init__(
        self,
        origin: Frame,
        *,
        version: str,
        interface: str,
        ports: range,
        max_body_bytes: int,
        greet_interval_s: float,
        silence_s: float,
        newcomer: bool,
        shares_memory: bool,
        keys: Keys | Word | None,
        mailbox: Mailbox,
        roster: Roster,
        watch: Callable[[int, str | None], None],
        events: Events,
    ) -> None:
        self._drops = Drops(origin.sender, events)
        self._origin, self._version = origin, version
        self._interface, self._ports = interface, ports
        self._max_body_bytes = max_body_bytes
        self._greet_interval_s = greet_interval_s
        self._silence_s = silence_s
        self._newcomer = newcomer
        self._shares_memory, self._keys = shares_memory, keys
        self._mailbox = mailbox
        self._roster = roster
        self._bodies = Landing()
        self._calls = Calls()
        self._address: Future[str] = Future()
        self._addresses: dict[int, str] = {}
        self._links: dict[int, Link] = {}
        self._positions: defaultdict[int, Positions] = defaultdict(Positions)
        self._line = Line(self._progress)
        self._sources: dict[int, Source] = {}
        self._monitors: dict[int, zmq.Socket[bytes]] = {}
        """What tells that the connection to a peer was made, or broke."""
        self._presence = Presence(mailbox, roster, watch)
        self._parting: dict[int, None] = {}
        """To whom we have said goodbye, or will when we find them."""
        self._ends_s = math.inf
        """When the thread ends, or before, if nothing waits to be sent."""
        # A daemon, so that a program which ends without closing its gossip does end.
        self._thread = threading.Thread(
            target=self._run, name=f"gossip-{origin.sender}", daemon=True
        )

    # For any thread.

    @property
    def counters(self) -> Mapping[Drop, int]:
        """Frames that were dropped, by reason."""
        return self._drops.counters

    def start(self, timeout_s: float) -> str:
        """Start the thread; returns the address that it is bound to. Raises `UsageError`."""
        self._thread.start()
        return self._address.result(timeout_s)

    def post(self, call: Callable[[], None]) -> None:
        """Have the thread make a call to one of the methods below. Ignored once it has ended."""
        self._calls.post(call)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; returns whether it did."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # For other threads to post.

    def listen(self, addresses: Mapping[int, str]) -> None:
        """Begin to read the ROUTER; `addresses` has all other learners of the run."""
        self._addresses = dict(addresses)
        self._poller.register(self._router, zmq.POLLIN)
        if self._newcomer:
            for peer in addresses:
                self._expect(peer, "it does not answer who was started again")

    def greet(self, peer: int) -> None:
        """Connect to a peer, unless that was done."""
        self._link(peer)

    def enqueue(self, peer: int, letter: Letter, round_: int | None = None) -> None:
        """Send a letter after all that was to be sent to this peer before, unless it is lost.

        If it is of a round, it leaves after what is of earlier rounds, for whomever.
        """
        if self._presence.lost(peer):
            self._positions[peer].take(letter)
        else:
            self._link(peer).add(letter, round_)

    def say_last(self, peer: int, letter: Letter) -> None:
        """Send a letter before all bodies that were to be sent to this peer, which are dropped."""
        if not self._presence.lost(peer):
            self._link(peer).add_last(letter)

    def look(self) -> None:
        """Go on with what is there by now of a letter that was not all there."""
        # Whatever wakes the thread has it look at every link.

    def land(self, bodies: Bodies | None) -> None:
        """Have messages that begin to arrive from now on put there; None: into the host's memory.

        It is used by this thread alone.
        """
        self._bodies.chosen = bodies

    def part(self, peer: int) -> None:
        """Say goodbye after all that was to be sent to this peer before; again if it is found."""
        self._parting[peer] = None
        self._link(peer).add_frames(self._farewell(peer))

    def credit(self, peer: int) -> None:
        """Tell a peer how much of what it has sent takes no room here any more."""
        source = self._sources.get(peer)
        if source is None:
            # Of a process that is gone.
            return
        # Less than nothing, while messages of the peer's previous incarnation are still held.
        taken = max(0, source.incoming.settled_bytes - self._roster.held_bytes(peer))
        self._reply(source.route, Credit(*self._signature(), taken))

    def stop(self) -> None:
        """End the thread, once what waits to be sent has left, or `LINGER_S` are over."""
        self._ends_s = min(self._ends_s, time.monotonic() + LINGER_S)
        # What waits must not wait for rounds that will not end.
        self._line.end()

    # The thread.

    def _run(self) -> None:
        failure: DualrtError | None = None
        self._context = sockets.context()
        try:
            self._open()
            while not self._over():
                self._turn()
        except BaseException as error:  # Of any kind: a thread that dies in silence hangs a run.
            failure = self._failure(error)
            if not self._address.done():
                self._address.set_exception(error)
        finally:
            # Waiters first: frames may linger.
            self._mailbox.close(failure)
            self._roster.close(failure)
            self._calls.close()
            self._close()
            left_s = min(LINGER_S, max(0.0, self._ends_s - time.monotonic()))
            self._context.destroy(linger=round(1000 * left_s))

    def _failure(self, error: BaseException) -> DualrtError:
        """What those raise who wait when the thread ends."""
        if isinstance(error, UsageError):
            return error
        failure = RunError(
            f"the gossip of learner {self._origin.sender} failed: {type(error).__name__}: {error}"
        )
        failure.__cause__ = error
        return failure

    def _open(self) -> None:
        self._poller = zmq.Poller()
        self._poller.register(self._calls.fileno(), zmq.POLLIN)
        self._door: zmq.Socket[bytes] | None = None
        if self._keys is not None:
            self._door = sockets.doorkeeper(self._context)
            self._poller.register(self._door, zmq.POLLIN)
        self._router = sockets.router(self._context, self._keys)
        bound = sockets.bind(self._router, self._interface, self._ports, self._origin.sender)
        self._address.set_result(bound)

    @property
    def _ending(self) -> bool:
        return self._ends_s < math.inf

    def _over(self) -> bool:
        if not self._ending:
            return False
        sent = all(link.idle or not link.ready for link in self._links.values())
        return sent or time.monotonic() >= self._ends_s

    def _turn(self) -> None:
        """Wait for something to happen, and serve every socket once."""
        events = dict(self._poller.poll(self._patience_ms()))
        if self._calls.fileno() in events:
            self._calls.run()
        if self._door is not None and self._keys is not None and self._door in events:
            stranger = sockets.refused(self._door, self._keys)
            if stranger is not None:
                self._drops.count(Drop.REFUSED, stranger)
        if self._router in events:
            self._read(self._router, self._hear)
        now_s = time.monotonic()
        for peer, link in list(self._links.items()):
            if self._monitors[peer] in events:
                self._hear_monitor(peer, link, now_s)
            if events.get(link.dealer, 0) & sockets.READABLE:
                self._read(link.dealer, partial(self._hear_reply, peer, link))
        self._line.look()
        for link in self._links.values():
            if events.get(link.dealer, 0) & sockets.WRITABLE or not link.awaits_room:
                self._push(link, now_s)
        if not self._ending:
            # Who leaves later, as all do, is no loss.
            self._presence.look(now_s)

    def _patience_ms(self) -> int | None:
        """Until a link has something to say again; None if none has."""
        due_s = min(
            (link.due_s for link in self._links.values() if not link.awaits_room),
            default=math.inf,
        )
        due_s = min(due_s, self._line.due_s, self._ends_s if self._ending else self._presence.due_s)
        return None if due_s == math.inf else max(0, math.ceil(1000 * (due_s - time.monotonic())))

    def _close(self) -> None:
        for link in self._links.values():
            link.unshare()
        for source in self._sources.values():
            source.close()

    # Losing and finding peers.

    def _hear_monitor(self, peer: int, link: Link, now_s: float) -> None:
        changes = list(sockets.changes(self._monitors[peer]))
        if None in changes:
            link.renew()
            self._presence.fade(peer, now_s)
        if changes:
            link.connection = changes[-1]

    def _hear_hello(self, source: Source, hello: Hello) -> None:
        """Who greets is there, and may have lost us without our noticing.

        It counts as found from now on, though our own way to it may not be open yet: it waits for
        answers to what it sends next. What it had sent or was to send before is lost.
        """
        peer, known = hello.sender, source.renewals
        source.renewals = max(known or 0, hello.renewals)
        if known is not None and hello.renewals > known:
            self._presence.lose(peer, BROKE)
        if not self._presence.lost(peer):
            return
        link = self._link(peer)
        self._find(peer)
        if not link.ready:
            link.hurry()
            self._expect(peer, "it does not answer")

    def _expect(self, peer: int, why: str) -> None:
        by_s = time.monotonic() + max(self._silence_s, sockets.SILENCE_LEAST_S)
        self._presence.expect(peer, by_s, why)

    def _find(self, peer: int) -> None:
        if self._presence.find(peer) and peer in self._parting:
            self._links[peer].add_frames(self._farewell(peer))

    def _move(self, peer: int, address: str) -> None:
        """A peer was started again, and listens elsewhere."""
        self._addresses[peer] = address
        link = self._links.pop(peer, None)
        if link is not None:
            link.unshare()
            link.dealer.disable_monitor()
            self._line.drop(peer)
            for socket in (link.dealer, self._monitors.pop(peer)):
                self._poller.unregister(socket)
                socket.close(linger=0)
            self._presence.lose(peer, "it was started again")
        self._link(peer)

    # Sending.

    def _link(self, peer: int) -> Link:
        link = self._links.get(peer)
        if link is None:
            address = self._addresses[peer]
            at_home = _host(address) == _host(self._address.result())
            dealer, monitor = sockets.dealer(self._context, address, self._silence_s, self._keys)
            self._monitors[peer] = monitor
            link = self._links[peer] = Link(
                dealer,
                self._origin,
                peer,
                address=self._address.result(),
                version=self._version,
                patience_s=self._greet_interval_s,
                shares=self._shares_memory and at_home,
                positions=self._positions[peer],
                line=None if at_home else self._line,
            )
            self._poller.register(dealer, zmq.POLLIN)
            self._poller.register(monitor, zmq.POLLIN)
        return link

    def _progress(self, peer: int) -> tcp.Progress | None:
        link = self._links.get(peer)
        # One that has not answered may take nothing, though its system does for a while.
        if link is None or not link.ready or link.connection is None:
            return None
        return tcp.progress(link.connection)

    def _push(self, link: Link, now_s: float) -> None:
        """Send what the socket takes, and have the poller tell when it takes the rest."""
        awaits_room = link.push(now_s)
        if awaits_room != link.awaits_room:
            link.awaits_room = awaits_room
            self._poller.register(
                link.dealer, zmq.POLLIN | zmq.POLLOUT if awaits_room else zmq.POLLIN
            )

    def _farewell(self, peer: int) -> Iterator[Parts]:
        yield (encode(Bye(*self._signature())),)
        # The next frame is asked for when this one was sent.
        self._roster.said_bye(peer)

    def _reply(self, route: Buffer, frame: Frame) -> None:
        if not sockets.reply(self._router, route, encode(frame)):
            self._drops.count(Drop.UNREACHABLE)

    # Receiving.

    def _read(self, socket: zmq.Socket[bytes], hear: Callable[[list[memoryview]], None]) -> None:
        """Show a burst of frames to `hear`, and count those that it cannot use."""
        for _ in range(BURST_FRAMES):
            parts = sockets.fetch(socket)
            if parts is None:
                return
            try:
                hear(parts)
            except DroppedError as dropped:
                self._drops.count(dropped.reason)
            except WireError as error:
                self._drops.count(Drop.MALFORMED, str(error))

    def _hear(self, parts: list[memoryview]) -> None:
        route, header, data = _three(parts)
        frame = decode(header)
        if isinstance(frame, Hello):
            self._turn_away(frame, route)
        self._admit(frame)
        source = self._source(frame, bytes(route))
        match frame:
            case Hello():
                if frame.address not in ("", self._addresses[frame.sender]):
                    self._move(frame.sender, frame.address)
                self._hear_hello(source, frame)
                self._reply(route, Welcome(*self._signature()))
            case Chunk(slot=None):
                self._collect(source, frame, data)
            case Chunk(slot=int(slot)):
                self._collect_shared(source, frame, slot, data)
            case Share():
                free = self._share(source, frame)
                self._reply(source.route, Slots(*self._signature(), frame.nonce, free))
            case Bye():
                self._roster.heard_bye(frame.sender)
            case _:
                raise WireError(f"{type(frame).__name__} is a reply, and comes the other way")

    def _hear_reply(self, peer: int, link: Link, parts: list[memoryview]) -> None:
        frame = decode(parts[0])
        self._admit(frame)
        if frame.sender != peer:
            raise DroppedError(Drop.UNKNOWN)
        match frame:
            case Welcome():
                link.ready = True
                self._find(peer)
            case Refusal():
                self._be_turned_away(peer, link, frame)
            case Credit():
                self._roster.credit(peer, frame.taken)
            case Slots():
                link.hear_slots(frame)
            case _:
                raise WireError(f"{type(frame).__name__} is no reply")

    def _turn_away(self, hello: Hello, route: Buffer) -> None:
        """Tell who greets us in error, since it waits; raises DroppedError if it is of the run."""
        if hello.run != self._origin.run:
            # By the names that it has used: ours are no business of a stranger's.
            self._refuse(route, hello.run, hello.receiver, foreign=True)
            return
        ours = PROTOCOL, self._version
        if hello.sender in self._addresses and hello.release != ours:
            self._refuse(route, hello.run, self._origin.sender, foreign=False)
            raise DroppedError(Drop.VERSION)

    def _refuse(self, route: Buffer, run: str, sender: int, *, foreign: bool) -> None:
        self._reply(route, Refusal(run, sender, 0, foreign, PROTOCOL, self._version))

    def _be_turned_away(self, peer: int, link: Link, refusal: Refusal) -> None:
        """Before the run has begun that ends it; later the peer is lost, if it was not already."""
        if link.ready:
            # It has answered by now, so this is about a connection of before.
            return
        where = f"learner {peer} at {self._addresses[peer]}"
        if refusal.foreign:
            why = f"{where} is of another run; end what is left of that, and start again"
        else:
            why = (
                f"{where} has dualrt {refusal.version} (protocol {refusal.protocol}), and learner "
                f"{self._origin.sender} has dualrt {self._version} (protocol {PROTOCOL}); install "
                "the same version on all hosts"
            )
        self._roster.refuse(peer, why)
        self._presence.lose(peer, why)

    def _admit(self, frame: Frame) -> None:
        if frame.run != self._origin.run:
            raise DroppedError(Drop.FOREIGN)
        if frame.sender not in self._addresses:
            raise DroppedError(Drop.UNKNOWN)
        if isinstance(frame, Hello) and frame.receiver != self._origin.sender:
            raise DroppedError(Drop.UNKNOWN)

    def _source(self, frame: Frame, route: bytes) -> Source:
        source = self._sources.get(frame.sender)
        if source is None or source.incarnation < frame.incarnation:
            if source is not None:
                source.close()
            source = Source(frame.incarnation, self._max_body_bytes, self._bodies)
            self._sources[frame.sender] = source
        elif source.incarnation > frame.incarnation:
            raise DroppedError(Drop.STALE)
        source.route = route
        return source

    def _share(self, source: Source, share: Share) -> int | None:
        """Have a look at a peer's ring; returns what is free of it, if anything."""
        if not self._shares_memory:
            return None
        try:
            return source.look(share)
        except RingError:
            self._drops.count(Drop.UNSHARED)
            return None

    def _collect_shared(self, source: Source, chunk: Chunk, slot: int, beside: Buffer) -> None:
        data = source.read(chunk, slot, beside)
        try:
            self._collect(source, chunk, data)
        finally:
            data.release()
            told = source.free(slot)
            if told is not None:
                self._reply(source.route, Slots(*self._signature(), *told))

    def _collect(self, source: Source, chunk: Chunk, data: Buffer) -> None:
        incoming, sender = source.incoming, chunk.sender
        settled_bytes = incoming.settled_bytes
        arrival = None
        try:
            arrival = incoming.accept(chunk, data)
        finally:
            # Room that a lost message took comes free now: no strand will ever take it.
            if arrival is None and incoming.settled_bytes > settled_bytes:
                self.credit(sender)
        if arrival is not None:
            self._roster.hold(sender, cost_bytes(arrival.packet.nbytes))
            self._mailbox.put(Delivery(sender, arrival.packet), arrival.tag)

    def _signature(self) -> tuple[str, int, int]:
        return self._origin.run, self._origin.sender, self._origin.incarnation


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def _three(parts: list[memoryview]) -> tuple[memoryview, memoryview, Buffer]:
    """The route, the header and the chunk's bytes; most frames have none."""
    match parts:
        case [route, header]:
            return route, header, b""
        case [route, header, data]:
            return route, header, data
        case _:
            raise WireError(f"a frame of {len(parts)} parts")
