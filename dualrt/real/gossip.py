"""Gossip: how learners send to each other, each message on its own, with no group to be formed.

Owns what a strand sees of the transport: send, receive, and a clean beginning and end. Must not
know of frames or sockets, which belong to the courier's thread.

    create            bound to a port; the address can be published
    connect           the other learners' addresses are known; the chosen ones have answered
    send, recv        from any thread
    finish            everyone is told that we need nothing more, and still gets answers
    close             the port is free, the thread gone, all waits ended
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Self, TypeAlias

from dualrt import __version__
from dualrt.core.effects import Delivery, Packet
from dualrt.core.errors import RunError, UsageError
from dualrt.core.faults import Detection
from dualrt.core.pool import Pool
from dualrt.real import descriptors, ring, sockets
from dualrt.real.courier import LINGER_S, Courier
from dualrt.real.events import Events, Sparingly
from dualrt.real.keys import Keys
from dualrt.real.lanes import HOST, Lane
from dualrt.real.mailbox import Mailbox
from dualrt.real.ports import ANY
from dualrt.real.roster import Roster
from dualrt.real.staging import bring_down
from dualrt.real.wire import Bodies, Frame, Letter, cost_bytes, seal
from dualrt.real.word import Word

Watcher: TypeAlias = Callable[[int, str | None], None]
"""Is told of a peer that is lost, and why, or that is found, with None."""

GREETINGS_A_TIMEOUT = 20
"""How often a silent peer is greeted before it counts as silent."""


class Gossip:
    """The transport of one learner. Its methods may be called from any thread.

    Parameters
    - `rank`: the learner.
    - `run_id`: the same for all learners of a run; messages of other runs are dropped.
    - `timeout_s`: the bound of every wait that is not given its own.
    - `interface`: the address or network interface of this host that peers reach it by.
    - `ports`: those that it may listen at; by default the system chooses one.
    - `version`: of dualrt, the same for all learners of a run.
    - `max_body_bytes`: the largest body of any message, the same for all learners of a run. At most
      two such bodies a peer wait here to be taken, and two a peer to be sent.
    - `shares_memory`: whether large bodies to and from peers on this host go through memory that
      both ends share, where they can.
    - `silence_s`: how long a connection may be silent before its peer counts as lost; by default a
      heartbeat, a 20th of the timeout.
    - `keys`: with them nobody without them is heard, and gossip is encrypted if they are no word.
    - `newcomer`: whether the run may be under way, and peers may be gone already.
    - `events`: what is told to whoever operates the run; by default under the rank alone.

    A peer whose process has ended, or that cannot be reached, is *lost* until it answers again:
    what is sent to it vanishes, and who waits for a message of it gets `PeerLostError`.

    A learner that is started again is a new incarnation: what its dead self had under way is
    dropped. Raises `UsageError` if the interface cannot be bound, or all ports are taken.

    After `close`, and if the transport fails, every method that may wait raises `ClosedError` or
    the `RunError` that says what failed.
    """

    def __init__(
        self,
        rank: int,
        *,
        run_id: str,
        timeout_s: float,
        interface: str = "127.0.0.1",
        ports: range = ANY,
        version: str = __version__,
        max_body_bytes: int,
        shares_memory: bool = True,
        silence_s: float | None = None,
        newcomer: bool = False,
        keys: Keys | Word | None = None,
        events: Events | None = None,
    ) -> None:
        self.rank = rank
        self._events = events or Events(rank)
        self._slow_waits = Sparingly(timeout_s)
        self._timeout_s = timeout_s
        self._max_body_bytes, self._shares_memory = max_body_bytes, shares_memory
        self._mailbox = Mailbox()
        self._roster = Roster(max_body_bytes)
        # Of bodies that are brought down from a device: as many as a learner has under way.
        self._bodies = Pool(2)
        self._others: tuple[int, ...] = ()
        self._watchers: list[Watcher] = []
        self._courier = Courier(
            # The time of birth grows from one incarnation to the next, with no state to be kept.
            Frame(run_id, rank, incarnation=time.time_ns()),
            interface=interface,
            ports=ports,
            version=version,
            max_body_bytes=max_body_bytes,
            greet_interval_s=timeout_s / GREETINGS_A_TIMEOUT,
            silence_s=Detection.within(timeout_s).detect_s if silence_s is None else silence_s,
            newcomer=newcomer,
            shares_memory=shares_memory,
            keys=keys,
            mailbox=self._mailbox,
            roster=self._roster,
            watch=self._tell,
            events=self._events,
        )
        self._address = self._courier.start(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Where the peers find this learner: "tcp://ip:port"."""
        return self._address

    @property
    def counters(self) -> dict[str, int]:
        """Frames that were dropped so far, by reason: see `dualrt.real.drops.Drop`."""
        return {reason.value: count for reason, count in self._courier.counters.items()}

    @property
    def lost(self) -> frozenset[int]:
        """The learners that are lost just now."""
        return self._roster.lost

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` of each peer that is lost, and why, and of each that is found, with None.

        From the transport's own thread: it must not wait.
        """
        self._watchers.append(watcher)

    def tell_what_is_taken(self, taken: Callable[[str, int], None]) -> None:
        """Tell `taken` the tag and the sender of each message, in the thread that takes it.

        Nothing else is taken meanwhile.
        """
        self._mailbox.taken = taken

    def _tell(self, peer: int, why: str | None) -> None:
        who, fields = f"learner {self.rank}", {"peer": peer}
        if why is None:
            self._events.warning("peer_found", f"{who} has found learner {peer} again", **fields)
        elif self._roster.has_parted(peer):
            self._events.debug("peer_left", f"{who}: learner {peer} has left", **fields)
        else:
            said = f"{who} has lost learner {peer}: {why}"
            self._events.warning("peer_lost", said, **fields, why=why)
        for watcher in self._watchers:
            watcher(peer, why)

    def connect(self, addresses: Mapping[int, str], greet: Iterable[int] = ()) -> None:
        """Make the learners of the run known, once; ours may be among them.

        Waits until each peer in `greet` has answered, or, for a newcomer, until it is lost; any
        other is connected to when it is first sent to. Until this call, what peers send waits.

        Raises `UsageError` for what is no address, where this process may not have so many
        connections, and if one of `greet` is of another run or version; `SilentError` that names
        who did not answer.
        """
        for rank, address in addresses.items():
            if not re.fullmatch(r"tcp://[^\s:/]+:\d{1,5}", address):
                raise UsageError(f"learner {rank}: {address!r} is no address; write tcp://ip:port")
        others = {rank: address for rank, address in addresses.items() if rank != self.rank}
        at_home = [at for at in others.values() if _host(at) == _host(self._address)]
        descriptors.make_room(
            len(others) * sockets.DESCRIPTORS_A_PEER,
            f"learner {self.rank} connects to {len(others)} others",
            len(at_home) * ring.DESCRIPTORS_A_PEER if self._shares_memory else 0,
        )
        self._roster.enrol(others)
        self._others = tuple(others)
        self._courier.post(partial(self._courier.listen, others))
        greeted = [rank for rank in greet if rank != self.rank]
        for peer in greeted:
            self._courier.post(partial(self._courier.greet, peer))

        def slow(waited_s: float, silent: list[int]) -> None:
            self._say_slow(f"learners {silent} to answer", self._timeout_s, silent, waited_s)

        self._roster.await_greeted(greeted, self._timeout_s, slow)

    def send(
        self,
        peer: int,
        tag: str,
        packet: Packet,
        lane: Lane = HOST,
        round_: int | None = None,
    ) -> None:
        """Send a packet, whose body must not be written to any more; returns when it is queued.

        With a `round_`, it leaves the host when all of earlier rounds has. A body on the device of
        this thread's `lane` is brought down first, and its first chunks are on the wire meanwhile.
        Waits while the peer is two bodies behind. What is sent to oneself is there at once, and
        what is sent to a peer that is lost is dropped.

        Raises `WireError` for a packet that cannot travel, `UsageError` for a peer that is not in
        the run, `StalledError` if the peer takes nothing for `timeout_s`.
        """
        if peer == self.rank:
            lane.mark().wait()
            self._mailbox.put(Delivery(peer, packet), tag)
            return
        grows = lane.apart and packet.nbytes > 0
        body = memoryview(self._bodies.take(packet.nbytes)).cast("B") if grows else None
        letter = seal(tag, packet, self._max_body_bytes, body)
        slow = partial(self._slow_send, peer, tag)
        if self._roster.reserve(peer, letter.cost_bytes, self._timeout_s, slow):
            self._courier.post(partial(self._courier.enqueue, peer, letter, round_))
            self._grow(letter, packet, lane)

    def say_last(self, tag: str, packet: Packet) -> None:
        """Tell all others, before all bodies that were to be sent to them, which are dropped.

        For who ends without them: it waits for nobody, and `close` has it sent if it can be. Raises
        `WireError` as `send` does, and what all waits were ended with.
        """
        letter = seal(tag, packet, self._max_body_bytes)
        # Who was told to stop has no more to say: the others are told the same, or said it.
        self._roster.check()
        for peer in self._others:
            self._courier.post(partial(self._courier.say_last, peer, letter))

    def _grow(self, letter: Letter, packet: Packet, lane: Lane) -> None:
        """Bring a letter's body down, and have the courier send as much as is there."""
        growth = letter.growth
        if growth is None:
            return

        def arrived(nbytes: int) -> None:
            growth.nbytes = nbytes
            self._courier.post(self._courier.look)

        try:
            bring_down(lane, packet.body, letter.body, arrived)
        finally:
            # Should it have failed: what is sent after it, such as why, must not wait for it.
            growth.given_up = True
            self._courier.post(self._courier.look)

    def land(self, bodies: Bodies | None) -> None:
        """Have bodies that begin to arrive from now on put there; None: into the host's memory."""
        self._courier.post(partial(self._courier.land, bodies))

    def recv(self, tag: str, peer: int | None = None, timeout_s: float | None = None) -> Delivery:
        """The oldest message with this tag, from `peer` or, when that is None, from anyone.

        Messages with the same sender and tag come in the order that they were sent in.

        Raises `StalledError` if none comes within `timeout_s`, by default the transport's own
        (`math.inf` waits until there is one, or `close`), and `PeerLostError` if `peer` is lost.
        """
        patience_s = self._timeout_s if timeout_s is None else timeout_s
        slow = partial(self._slow_recv, tag, peer, patience_s)
        delivery = self._mailbox.get(tag, peer, patience_s, slow)
        sender, packet = delivery
        if sender != self.rank and self._roster.release(sender, cost_bytes(packet.nbytes)):
            self._courier.post(partial(self._courier.credit, sender))
        return delivery

    def finish(self, timeout_s: float) -> frozenset[int]:
        """Tell all others that we need nothing more, and wait until all have said the same.

        Messages come and go as before meanwhile, so strands that answer others can go on. When a
        learner has said it, all that it sent before has arrived. Nobody waits for the lost. Returns
        the other ranks that had not said it within `timeout_s`: empty, when all ended well.
        """
        for peer in self._others:
            self._courier.post(partial(self._courier.part, peer))

        def slow(waited_s: float, unheard: list[int]) -> None:
            self._say_slow(f"learners {unheard} to end", timeout_s, unheard, waited_s)

        return self._roster.await_byes(timeout_s, slow)

    def await_quiet(self, strands: int, timeout_s: float) -> bool:
        """Wait until so many strands wait for a message and there is none for any of them.

        After `finish`, when nobody sends any more, all that was sent has then been worked off.
        Returns whether that was so within `timeout_s`.
        """
        return self._mailbox.await_quiet(strands, timeout_s)

    def _slow_send(self, peer: int, tag: str, waited_s: float) -> None:
        self._say_slow(f"learner {peer} to take {tag!r}", self._timeout_s, [peer], waited_s)

    def _slow_recv(self, tag: str, peer: int | None, patience_s: float, waited_s: float) -> None:
        whom, peers = ("anyone", []) if peer is None else (f"learner {peer}", [peer])
        self._say_slow(f"{tag!r} of {whom}", patience_s, peers, waited_s)

    def _say_slow(self, what: str, patience_s: float, peers: list[int], waited_s: float) -> None:
        if self._slow_waits.count(what):
            self._events.warning(
                "slow_wait",
                f"learner {self.rank} has waited {waited_s:g} s for {what}, and gives up after "
                f"{patience_s:g} s",
                peers=peers,
                waited_s=waited_s,
                patience_s=patience_s,
            )

    def stop_waiting(self, error: BaseException | None = None) -> None:
        """End all waits, now and later, with `error` or `ClosedError`; the rest goes on."""
        self._mailbox.close(error)
        self._roster.close(error)

    def close(self) -> None:
        """End all waits and the thread, and free the port. May be called again."""
        self._courier.post(self._courier.stop)
        if not self._courier.join(LINGER_S + self._timeout_s):
            raise RunError(f"the gossip thread of learner {self.rank} does not end")


def _host(address: str) -> str:
    return address.rpartition(":")[0]
