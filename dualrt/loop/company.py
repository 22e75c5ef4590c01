"""Company: whom a loop averages with: the learners of other processes, or nobody.

Owns the learner's whole life beside the loop: it starts as all others do, runs on threads of its
own, and ends with what all agree on. Must not know what the user calls, nor an optimizer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, final

import torch
from torch import Tensor

from dualrt.composition import Ensemble
from dualrt.core.effects import Packet
from dualrt.core.errors import DualrtError, PreemptedError, UsageError
from dualrt.core.progress import Progress
from dualrt.core.records import Span, Update
from dualrt.keeping import begin
from dualrt.loop.belongings import Belongings
from dualrt.loop.leftovers import Buffers, Leftovers
from dualrt.loop.logbook import Logbook
from dualrt.loop.parameters import FlatParameters
from dualrt.loop.preemption import told
from dualrt.loop.solo import Kept, Solo
from dualrt.loop.workload import OwnLoop
from dualrt.observe.meter import Transport
from dualrt.parting import Final, Whole, delivered, gather
from dualrt.real.attempts import Keeping
from dualrt.real.gathering import Contribution
from dualrt.real.rendezvous import Launch
from dualrt.real.session import Session
from dualrt.terms import terms


class Company(Protocol):
    """What a loop's group does beside it. All methods are the loop's thread's."""

    going: bool
    """Whether the loop has a step to make; False at once where a checkpoint is of the end."""

    @property
    def updates(self) -> int:
        """Updates by all learners together, as far as is known here."""

    def step(self) -> bool:
        """Average what the loop did since the last turn; returns whether there is another turn."""

    def mean_gradient(self, gradient: Tensor) -> Tensor:
        """What to apply instead of a gradient."""

    def leave(self) -> Whole | None:
        """Come to the common end, with the delivered model; rank 0 gets the run as a whole."""

    def preempt(self) -> None:
        """Have the loop's next steps end with `PreemptedError`, once its state is kept.

        Any thread may call this. A loop that comes to its end meanwhile ends as always.
        """

    def fail(self, why: str) -> None:
        """End because the loop has raised; returns once everything of ours is gone."""


@final
class Alone:
    """One process: there is nobody to average with, and the loop is as it would be without us."""

    def __init__(
        self,
        parameters: FlatParameters,
        logbook: Logbook,
        progress: Progress,
        belongings: Belongings,
        kept: Kept | None,
    ) -> None:
        self._parameters, self._logbook, self._progress = parameters, logbook, progress
        self._began_s = time.monotonic()
        self._turn_s = 0.0
        self.updates = 0
        self._asked = threading.Event()
        self._solo: Solo | None = None
        if kept is not None:
            self._solo = Solo(kept, parameters.vector, belongings)
            self.updates = self._solo.updates
        self.going = not progress.finished(self.updates)

    def step(self) -> bool:
        """Count."""
        now_s, epoch = time.monotonic() - self._began_s, self._progress.epoch(self.updates)
        self._logbook.span(Span(0, "train", "gradient", self._turn_s, now_s, 0, -1, self.updates))
        self.updates, self._turn_s = self.updates + 1, now_s
        samples = self._progress.samples_per_update
        self._logbook.update(now_s, Update(0, self.updates, epoch, 0.0, None, 0, 0, samples))
        going = not self._progress.finished(self.updates)
        if self._solo is not None:
            if going and self._asked.is_set():
                raise told(0, self._solo.last(self.updates))
            self._solo.keep_in_time(self.updates)
        return going

    def mean_gradient(self, gradient: Tensor) -> Tensor:
        """The same."""
        return gradient

    def leave(self) -> Whole:
        """Everything is here."""
        final = Final(self._parameters.vector)
        digest = self._logbook.digest.hexdigest()
        return Whole([final], [0], 0, 0, 0, self._logbook.tally, 0, digest)

    def preempt(self) -> None:
        """In the loop's own thread, after its next step."""
        self._asked.set()

    def fail(self, why: str) -> None:
        """Nobody has to be told."""


def refuse(launch: Launch, ensemble: Ensemble, number: int, why: UsageError) -> None:
    """Have all processes end with what this one cannot go on for, as they would wait for it."""
    device, layout = torch.device("cpu"), ensemble.layout
    with suppress(DualrtError):
        Session(launch, terms(ensemble.scenario, layout, device), (), 0, number, str(why)).close()


@final
class Others:
    """The learners of several processes.

    When it is made, all processes have rank 0's model, and the learner runs. Raises UsageError if
    the models differ in form, RunError if other processes are not there or fail.
    """

    def __init__(
        self,
        launch: Launch,
        ensemble: Ensemble,
        loop: OwnLoop,
        parameters: FlatParameters,
        leftovers: Leftovers,
        buffers: Buffers,
        logbook: Logbook,
        progress: Progress,
        number: int,
        kept: Kept | None,
    ) -> None:
        self._rank, self._loop, self._logbook = launch.rank, loop, logbook
        self._parameters, self._leftovers, self._buffers = parameters, leftovers, buffers
        vector = parameters.vector
        self._session = Session(
            launch,
            terms(ensemble.scenario, ensemble.layout, vector.device),
            ensemble.layout.groups,
            # Float buffers travel in float64, four times as large as the smallest of them.
            max(vector.nbytes, 4 * leftovers.nbytes),
            number,
        )
        try:
            self._begin_alike()
            self._learner = ensemble.seated(loop, loop.weights(launch.rank), progress, 0)
            keeping, absent = None, False
            if kept is not None:
                keeping, absent = begin(kept.scenario, self._session, self._learner, kept.wish)
            logbook.watch(lambda: Transport(len(self._session.lost), self._session.rejected))
            self._thread = threading.Thread(
                target=self._run, args=(keeping, absent), name="learner", daemon=True
            )
            self._thread.start()
            self.going = loop.await_turn()
        except BaseException as error:
            self.fail(f"{type(error).__name__}: {error}")
            raise

    @property
    def updates(self) -> int:
        """Updates by all learners together, as far as is known here."""
        return self._learner.updates

    def step(self) -> bool:
        """Give the learner what the loop did, and wait for its next turn."""
        if self._loop.gives_gradients:
            self._loop.give_step()
        else:
            self._loop.give_update()
        self.going = self._loop.await_turn()
        return self.going

    def mean_gradient(self, gradient: Tensor) -> Tensor:
        """The mean over all learners."""
        return self._loop.exchange_gradient(gradient)

    def leave(self) -> Whole | None:
        """The learner ends when all others have; then all models become their mean."""
        try:
            self._logbook.close_updates()
            if self.going:
                self._loop.leave()
                self._loop.await_turn()
            self._thread.join()
            device = self._parameters.vector.device
            whole = gather(
                self._session, self._learner, self._logbook.tally, self._logbook.digest, device
            )
            self._deliver(whole)
        finally:
            self._session.close()
        return whole

    def preempt(self) -> None:
        """All learners together; whichever process was asked, all end."""
        self._session.preempt()

    def fail(self, why: str) -> None:
        """Tell the others."""
        # If ours was the learner that failed, or another's, the transport is closed already.
        with suppress(DualrtError):
            self._session.fail(why)
        self._session.close()

    def _begin_alike(self) -> None:
        form, vector = self._leftovers.form(), self._parameters.vector
        first = self._from_first(lambda: Packet(note=form, body=vector.cpu()))
        rest = self._from_first(lambda: Packet(body=self._leftovers.packed()))
        # Not before: rank 0 waits until everyone has taken both.
        if first.note != form:
            raise UsageError(
                f"the model of process {self._rank} is not the one of process 0: names, shapes or "
                "types of parameters or buffers differ. Make the same model everywhere"
            )
        vector.copy_(first.body)
        self._leftovers.unpack(rest.body)

    def _deliver(self, whole: Whole | None) -> None:
        """The mean over replicas to everyone's model, and buffers as they were asked for."""

        def mean() -> Packet:
            assert whole is not None
            model, _ = delivered(self._loop, whole.finals)
            return Packet(body=model.cpu())

        self._parameters.vector.copy_(self._from_first(mean).body)
        if self._buffers == "mean":
            gathered = self._session.gather(Contribution((self._leftovers.figures(),), b""))
            if gathered:
                figures, _ = self._loop.consensus([part.vectors[0] for part in gathered.values()])
                self._leftovers.set_figures(figures)
        if self._buffers != "local":
            rest = self._from_first(lambda: Packet(body=self._leftovers.packed()))
            self._leftovers.unpack(rest.body)

    def _from_first(self, packet: Callable[[], Packet]) -> Packet:
        spreads = self._rank == self._session.collector
        return self._session.spread(packet() if spreads else None)

    def _run(self, keeping: Keeping | None, absent: bool) -> None:
        try:
            self._session.run(self._learner, self._logbook, keeping=keeping, rejoins=absent)
        except PreemptedError as error:
            self._loop.close(told(self._rank, error))
        except BaseException as error:
            # Whatever it is: the loop's thread waits, and is the one that can raise it.
            self._loop.close(error)
        else:
            self._loop.end()
