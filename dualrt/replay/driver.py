"""The driver of a replay: answers effects at once, each in the turn that it had.

Owns the answer to each effect, and the end. Must not know any algorithm, nor where turns come from.

What was a time is none: a computation is done when it is asked for, and nothing is waited for but
turns, messages and the others of a group. It goes on until nobody can, which is the end of the run,
or of what is known of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from dualrt.core.bodies import Story, drop, exhaust, new_story, told
from dualrt.core.effects import (
    AllReduce,
    Awaited,
    Body,
    Broadcast,
    Compute,
    Effect,
    Group,
    MeanGradient,
    Now,
    Packet,
    Recv,
    Report,
    Send,
    Sleep,
    Together,
)
from dualrt.core.errors import RunError, StrandError
from dualrt.core.learner import Learner, Strand
from dualrt.core.order import put_in_order
from dualrt.core.records import Update
from dualrt.replay.fibers import Fiber, Fibers
from dualrt.replay.given import AS_IT_WAS, DivergedError, Given, Turn
from dualrt.replay.sums import Sums


class _Course(NamedTuple):
    """A strand, or a part of one."""

    given: Given
    strand: str
    path: str
    """What it is called in the order."""
    story: Story

    def part(self, place: int) -> _Course:
        return self._replace(path=f"{self.path}.{place}", story=new_story())


class _Call(NamedTuple):
    """A member's arrival at a collective."""

    fiber: Fiber
    brought: Any
    answer: list[Any]
    """To be filled when all are there."""


class Replay:
    """Runs learners once more.

    Parameters: the `learners` in rank order, as they were in the beginning; the `turns` of each;
    `report` is told of every update, and may call `stop`. `timeout_s` bounds what gloo does.
    """

    def __init__(
        self,
        learners: Sequence[Learner],
        turns: Sequence[Sequence[Turn]],
        report: Callable[[Update], None],
        *,
        timeout_s: float,
    ) -> None:
        self._learners, self._report = learners, report
        self._fibers, self._sums = Fibers(), Sums(timeout_s)
        self.given = [
            Given(learner.rank, its, self._fibers)
            for learner, its in zip(learners, turns, strict=True)
        ]
        self._calls: dict[Group, dict[int, _Call]] = {}
        self.ended: set[int] = set()
        """Learners whose strands have all returned, but for those that only answer others."""

    def run(self) -> None:
        """Until nobody can go on, or `stop`.

        Raises StrandError where a learner raised, DivergedError where one does not do what it did.
        """
        for learner, given in zip(self._learners, self.given, strict=True):
            put_in_order(learner, given)
            strands = learner.strands()
            mains = [strand for strand in strands if not strand.daemon]
            for strand in strands:
                self._fibers.start(partial(self._strand, given, strand, mains))
        try:
            self._fibers.run()
        finally:
            self._sums.close()

    def check_over(self) -> None:
        """Raise DivergedError unless all that was kept has been done; of a whole run."""
        for given in self.given:
            given.check_over()
            if given.rank not in self.ended:
                raise DivergedError(
                    f"learner {given.rank} goes on after its last turn, and did not in the run. "
                    + AS_IT_WAS
                )

    def stop(self) -> None:
        """End it where it is; from `report`."""
        self._fibers.end()

    def _strand(self, given: Given, strand: Strand, mains: list[Strand]) -> None:
        course = _Course(given, strand.name, strand.name, new_story())
        self._whole(course, partial(self._exhaust, course, strand.body()))
        if not strand.daemon:
            mains.remove(strand)
            if not mains:
                self.ended.add(given.rank)

    def _whole(self, course: _Course, run: Callable[[], Any]) -> Any:
        """What `run` makes of a whole course, whose error ends all as it ended the run."""
        try:
            with course.given.on(course.path):
                return run()
        except DivergedError as diverged:
            error: RunError = diverged
        except (Exception, SystemExit) as cause:
            rank, story = course.given.rank, [told(effect) for effect in course.story]
            step = self._learners[rank].draws
            error = StrandError(rank, course.strand, step, story, cause)
            error.__cause__ = cause
        # Whoever awaits it goes on no more than in the run.
        raise self._fibers.over_with(error)

    def _exhaust(self, course: _Course, body: Body[Any]) -> Any:
        return exhaust(body, partial(self._answer, course), course.story)

    def _answer(self, course: _Course, effect: Effect[Any]) -> Any:
        given = course.given
        match effect:
            case Compute(work=work):
                return work()
            case Recv(tag=tag, peer=peer):
                return given.take(tag, peer)
            case Send(peer=peer, tag=tag, packet=packet):
                given.send(tag, peer, self.given[peer], packet)
            case Report(update=update):
                self._report(update)
                if self._fibers.ending:
                    # Here: a strand may report again before it waits for anything.
                    self._fibers.pause()
            case Together(children=children):
                return self._together(course, children)
            case AllReduce(group=group, vector=vector, spent=spent):
                mine = vector if spent else vector.clone()
                return self._sum(given.rank, group, mine, len(group.ranks))
            case MeanGradient():
                return self._mean_gradient(given.rank, effect)
            case Broadcast(group=group, root=root, packet=packet):
                return self._meet(given.rank, group, packet, partial(_spread, group, root))
            case Now():
                return given.knew("now", 0.0)
            case Sleep():
                given.knew("slept", 0.0)
            case _:
                raise RunError(f"a replay does not know the effect {effect!r}")
        return None

    def _together(self, course: _Course, children: Sequence[Awaited[Any]]) -> Any:
        """All but the first in fibers of their own; the first error of any ends the replay."""
        results: list[Any] = [None] * len(children)
        parent, left = self._fibers.running, len(children)

        def part(place: int, child: Awaited[Any]) -> None:
            nonlocal left
            its = course.part(place)
            if isinstance(child, Effect):
                its.story.append(child)
                run = partial(self._answer, its, child)
            else:
                run = partial(self._exhaust, its, child)
            results[place] = self._whole(its, run)
            left -= 1
            if not left:
                self._fibers.wake(parent)

        for place, child in enumerate(children[1:], 1):
            self._fibers.start(partial(part, place, child), partial(drop, child))
        for child in children[:1]:
            part(0, child)
        while left:
            self._fibers.pause()
        return tuple(results)

    def _mean_gradient(self, rank: int, effect: MeanGradient) -> Any:
        """Piece by piece, as each was added by itself."""
        pieces: list[Tensor] = []
        group = effect.group
        gradient = effect.work.in_pieces(effect.pieces, 1 / len(group.ranks), pieces.append)
        for piece in pieces:
            self._sum(rank, group, piece)
        return gradient

    def _sum(self, rank: int, group: Group, vector: Tensor, parts: int = 1) -> Tensor:
        """The sum of the group's vectors, in this one, divided by `parts`."""

        def add(vectors: Sequence[Tensor]) -> Sequence[Tensor]:
            self._sums.add(group, vectors)
            # All at once: a vector may be a learner's weights, and the end may come in between.
            return [one.div_(parts) for one in vectors]

        summed: Tensor = self._meet(rank, group, vector, add)
        return summed

    def _meet(
        self,
        rank: int,
        group: Group,
        brought: Any,
        collect: Callable[[Sequence[Any]], Sequence[Any]],
    ) -> Any:
        """Wait for the others of the group; the last to come collects for all."""
        calls, answer = self._calls.setdefault(group, {}), list[Any]()
        calls[rank] = _Call(self._fibers.running, brought, answer)
        if len(calls) == len(group.ranks):
            del self._calls[group]
            members = [calls[member] for member in group.ranks]
            results = collect([call.brought for call in members])
            for call, result in zip(members, results, strict=True):
                call.answer.append(result)
                self._fibers.wake(call.fiber)
        while not answer:
            self._fibers.pause()
        return answer[0]


def _spread(group: Group, root: int, packets: Sequence[Packet | None]) -> Sequence[Packet | None]:
    return [packets[group.ranks.index(root)]] * len(packets)
