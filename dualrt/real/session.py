"""Session: one process's part in a real run, from the launcher's word to the gathered results.

Owns the order of things: rendezvous, transport, groups, run, gathering, end. Must not know any
algorithm or workload; learner and observers are handed in.

At the end the *collector*, rank 0 or the lowest that is left, has everyone's weights and whatever
small thing each process adds (its figures), sent by the same gossip that trained. It keeps all of
that until all have sent, so its memory holds the weights of all replicas once. Who is lost adds
nothing.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from dualrt import __version__
from dualrt.core.effects import Group, Packet
from dualrt.core.errors import DualrtError, RunError, UsageError
from dualrt.core.faults import Crash, Slowdown
from dualrt.core.learner import Learner
from dualrt.core.order import Witness
from dualrt.core.records import Observer
from dualrt.real import descriptors, ring, sockets, word
from dualrt.real.attempts import Keeping
from dualrt.real.collectives import Collectives, in_use
from dualrt.real.driver import RealDriver
from dualrt.real.events import Events
from dualrt.real.failures import FAILURE, message
from dualrt.real.gathering import Contribution, Gathering
from dualrt.real.gossip import Gossip
from dualrt.real.hardware import SHARED, identity
from dualrt.real.keys import Keys, is_loopback
from dualrt.real.ports import ANY
from dualrt.real.process_groups import GLOO, NCCL, ProcessGroups, files_of, library_for
from dualrt.real.rendezvous import Launch, Rendezvous
from dualrt.real.reports import OverError, have_met, is_over
from dualrt.real.wire import PROTOCOL
from dualrt.real.word import Word

SLACK_BYTES = 64 * 1024 * 1024
"""What a body may be larger than the weights: figures that are gathered at the end."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a scenario says of a real run."""

    timeout_s: float
    interface: str
    shared_memory: bool
    device: torch.device
    outlives_peers: bool = False
    """Whether the algorithm goes on without a peer: then one that is silent for a heartbeat is
    given up. Where its loss ends the run, half a timeout of silence is taken for one, or a
    connection that breaks."""
    takes_back: bool = False
    """Whether a learner that is started again can go on."""
    keys: Keys | None = None
    """Those of the run; None where gossip is not encrypted."""
    ports: range = ANY
    """Where this process may listen."""


class Session:
    """The transport of one process. Use as a context: leaving it frees every port and thread.

    `body_bytes` is the most that a message carries, `number` how many sessions these processes had
    before, `objection` why this process refuses to take part, if it does: that ends all of them.
    Raises UsageError for that, and for groups that cannot do what is asked of them, StalledError if
    the others are not there within the timeout, RunError for a learner that was started again and
    that the algorithm cannot take back, or that is back too late (OverError).
    """

    def __init__(
        self,
        launch: Launch,
        terms: Terms,
        groups: Sequence[Group],
        body_bytes: int,
        number: int = 0,
        objection: str = "",
    ) -> None:
        self._launch, self._terms = launch, terms
        self._events = Events(launch.rank, launch.incarnation)
        self._driver: RealDriver | None = None
        self._asked_to_end = False
        self._under_way = threading.Lock()
        """Guards these two: whoever asks may do so just when the run begins."""
        newcomer = launch.incarnation > 0
        if newcomer and not terms.takes_back:
            raise RunError(
                f"learner {launch.rank} was started again, and its algorithm needs all learners "
                "from the beginning to the end. Start the run again"
            )
        if newcomer and is_over():
            raise OverError(launch.rank)
        meeting = self._meeting = Rendezvous(launch, terms.timeout_s, number, self._events)
        meeting.agree(
            "dualrt versions",
            f"{__version__} (protocol {PROTOCOL})",
            "install the same version on all hosts",
        )
        objection = objection or lack_of_files(launch, groups)
        refused = next((one for one in meeting.exchange("objections", objection) if one), "")
        if refused:
            raise UsageError(refused)
        meeting.agree(
            "keys",
            "none" if terms.keys is None else f"those that begin with {terms.keys.fingerprint}",
            "give all processes the same real.curve and the same key file",
        )
        library = GLOO
        if groups:
            meeting.agree(
                "groups",
                "; ".join(f"{group.name}: {list(group.ranks)}" for group in groups),
                "start equally many processes on every node, or give groups a size",
            )
            # Some would call NCCL and some gloo, and all would wait.
            meeting.agree(
                "kinds of device",
                terms.device.type,
                "set real.device to cpu, start as many processes on each host as it has GPUs, or "
                f"have them share with {SHARED}",
            )
            library = library_for(meeting.exchange("devices", identity(terms.device)))
            if terms.outlives_peers and library == NCCL:
                raise UsageError(
                    "groups that go on without a lost member are formed anew, which is for gloo "
                    f"alone so far, and vectors are on {terms.device}; stop where one is lost "
                    "(algorithm.on_member_lost), or use real.device = 'cpu'"
                )
            # Groups are made within those that are there already, or else by all from scratch.
            meeting.agree(
                "torch.distributed's groups",
                "there" if in_use(launch.rank, terms.timeout_s) else "not there",
                "call torch.distributed.init_process_group in all processes, or in none",
            )
        keys: Keys | Word | None = terms.keys
        if keys is None and launch.learners > 1 and is_loopback(terms.interface):
            # A newcomer is one of a launcher's, which has given all of them a word.
            keys = word.given() or (
                None if newcomer else word.handed_out(launch.rank, meeting.exchange)
            )
        # The audit's vectors are float64, twice as large.
        max_body_bytes = 2 * body_bytes + SLACK_BYTES
        run_id = meeting.run_id()
        self._gossip = Gossip(
            launch.rank,
            run_id=run_id,
            timeout_s=terms.timeout_s,
            interface=terms.interface,
            ports=terms.ports,
            max_body_bytes=max_body_bytes,
            shares_memory=terms.shared_memory,
            silence_s=None if terms.outlives_peers else terms.timeout_s / 2,
            newcomer=newcomer,
            keys=keys,
            events=self._events,
        )
        self._gathering = Gathering(self._gossip, launch.learners, terms.timeout_s, self._events)
        self._collectives: Collectives | None = None
        try:
            # Everyone has answered before anyone starts, so that clocks begin together.
            addresses = meeting.publish(self._gossip.address)
            self._gossip.connect(addresses, greet=addresses)
            self._began_ago_s = meeting.began_ago_s()
            if groups:
                process_groups = ProcessGroups(
                    launch.rank,
                    device=terms.device,
                    library=library,
                    timeout_s=terms.timeout_s,
                    max_body_bytes=max_body_bytes,
                    interface=terms.interface,
                    ports=terms.ports,
                    introduce=self._introduce if terms.outlives_peers else None,
                )
                self._collectives = Collectives(process_groups, self._events)
                self._collectives.join(meeting.store, launch.learners, groups)
            have_met(launch.rank, launch.incarnation)
        except BaseException:
            self.close()
            raise
        self._say_begun(run_id, addresses)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def collector(self) -> int:
        """Who has everything in the end."""
        return self._gathering.collector

    @property
    def address(self) -> str:
        """Where peers reach this process."""
        return self._gossip.address

    def run(
        self,
        learner: Learner,
        observer: Observer,
        slowdowns: Sequence[Slowdown] = (),
        crash: Crash | None = None,
        keeping: Keeping | None = None,
        rejoins: bool = False,
        witness: Witness | None = None,
    ) -> float:
        """Run the learner to its end; returns its seconds. Raises as `RealDriver.run` does."""
        driver = RealDriver(
            learner,
            self._gossip,
            self._collectives,
            observer,
            timeout_s=self._terms.timeout_s,
            device=self._terms.device,
            slowdowns=slowdowns,
            crash=crash,
            began_ago_s=self._began_ago_s,
            events=self._events,
            keeping=keeping,
            rejoins=rejoins,
            witness=witness,
        )
        with self._under_way:
            self._driver, asked = driver, self._asked_to_end
        if asked:
            driver.preempt()
        took_s = driver.run()
        rejected = {reason: count for reason, count in self.rejected.items() if count}
        self._events.info(
            "ended",
            f"learner {learner.rank} has ended after {learner.draws} steps, {took_s:.1f} s"
            + (f"; frames dropped: {rejected}" if rejected else ""),
            steps=learner.draws,
            updates=learner.updates,
            seconds=took_s,
            rejected_frames=rejected,
        )
        return took_s

    @property
    def lost(self) -> frozenset[int]:
        """The learners that are lost just now."""
        return self._gossip.lost

    @property
    def rejected(self) -> dict[str, int]:
        """Frames that were dropped so far, by reason: see `dualrt.real.drops.Drop`."""
        return self._gossip.counters

    def stop(self, error: DualrtError | None = None) -> None:
        """End the run from another thread."""
        if self._driver is not None:
            self._driver.stop(error)

    def preempt(self) -> None:
        """Keep the state of all learners and end, once the run is under way; from any thread."""
        with self._under_way:
            self._asked_to_end, driver = True, self._driver
        if driver is not None:
            driver.preempt()

    def exchange(self, what: str, ours: str) -> list[str]:
        """What all processes say of `what`, by rank; before the run, and of each thing once.

        Raises StalledError if one says nothing within the timeout.
        """
        return self._meeting.exchange(what, ours)

    def fail(self, why: str) -> None:
        """Tell all others that this process fails, which ends the run there and here."""
        try:
            self._gossip.say_last(FAILURE, message(why))
        finally:
            self.stop()

    def spread(self, packet: Packet | None = None) -> Packet:
        """The collector's packet, at everyone once everyone has it; the others bring none.

        Raises PeerLostError if the collector is lost. Who else is lost is not waited for.
        """
        return self._gathering.spread(packet)

    def gather(self, mine: Contribution) -> dict[int, Contribution]:
        """Contributions by rank, in order, at the collector; empty elsewhere.

        Whoever is lost on the way is left out; if it is the collector, the next one collects.
        """
        return self._gathering.gather(mine)

    def _introduce(self, group: Group, port: int | None) -> str:
        """The address of a store that the first of a group serves: see `Introduce`."""
        first, *others = group.ranks
        # A tag of its own: a thread may still wait to be introduced to a group that was left.
        tag = f"store of {group.name}"
        if port is None:
            return str(self._gossip.recv(tag, first).packet.note)
        host = self._gossip.address.removeprefix("tcp://").rpartition(":")[0]
        for peer in others:
            self._gossip.send(peer, tag, Packet(note=f"{host}:{port}"))
        return f"{host}:{port}"

    def _say_begun(self, run_id: str, addresses: Mapping[int, str]) -> None:
        launch, terms = self._launch, self._terms
        again = f", at its start number {launch.incarnation + 1}" if launch.incarnation else ""
        self._events.info(
            "begun",
            f"learner {launch.rank} of {launch.learners} takes part in run {run_id} at "
            f"{self.address}, on {terms.device}, "
            f"{'encrypted' if terms.keys else 'not encrypted'}{again}",
            run=run_id,
            address=self.address,
            learners=launch.learners,
            device=str(terms.device),
            encrypted=terms.keys is not None,
            pid=os.getpid(),
            host=socket.gethostname(),
        )
        self._events.debug(
            "peers",
            f"learner {launch.rank}: the others are at {dict(addresses)}",
            addresses={str(rank): address for rank, address in addresses.items()},
        )

    def close(self) -> None:
        """Free every port and thread; idempotent."""
        self._gossip.close()
        if self._collectives is not None:
            self._collectives.close()
        if self._driver is not None:
            self._driver.join()


def lack_of_files(launch: Launch, groups: Sequence[Group]) -> str:
    """Why this process cannot have as many files open as a run takes; empty if, now, it can."""
    others = launch.learners - 1
    try:
        descriptors.make_room(
            others * sockets.DESCRIPTORS_A_PEER + files_of(launch.rank, launch.learners, groups),
            f"learner {launch.rank} on {socket.gethostname()} connects to {others} others",
            (launch.local_learners - 1) * ring.DESCRIPTORS_A_PEER,
        )
    except UsageError as error:
        return str(error)
    return ""
