"""Numerics: gradients that are under way at the same time are taken together.

Owns when the work of a computation is evaluated, and for how long its result is kept. Must not know
a model, nor when a computation starts and ends: the driver says so.

A gradient depends on the weights that were read, and not on the time that passes meanwhile. So all
that have begun and not ended are independent, and a workload that gains by it takes them in one go.
They wait in a *bundle*, which is *open* until it is full or the first of its results is needed.
Then all of it is evaluated, and each result is kept until its own time. So nothing is evaluated
that nobody asked for, and no more is kept than a gradient for each computation under way (and for
those that a crash ended, until the rest of their bundle is through).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from dualrt.core.weights import Gradient
from dualrt.core.workload import GradientOf, JointWorkload, Workload


class Numerics:
    """Decides when the work of computations is evaluated.

    Parameters: `together`, whether to take gradients together where their workload offers it.
    Without it, and for all other work, that is when the time has passed.
    """

    def __init__(self, *, together: bool) -> None:
        self._together = together
        self._bundles: dict[int, Bundle | None] = {}

    def begin(self, work: Callable[[], Any]) -> Callable[[], Any]:
        """What to call, once, in place of `work` when its time has passed.

        It raises what `work` would raise.
        """
        if not (self._together and isinstance(work, GradientOf)):
            return work
        workload = work.workload
        # By identity: equality may look into the data. The learners keep it alive.
        key = id(workload)
        if key not in self._bundles:
            self._bundles[key] = _bundle(workload)
        bundle = self._bundles[key]
        if bundle is None:
            return work
        if not bundle.open:
            bundle = self._bundles[key] = bundle.another()
        return bundle.join(work)


class Bundle:
    """Gradients of one workload, `most` or fewer, that are evaluated in one go."""

    __slots__ = ("_asked", "_evaluated", "_most", "_ready", "_workload", "open")

    def __init__(self, workload: JointWorkload[Any], most: int) -> None:
        self._workload, self._most = workload, most
        self._asked: dict[int, GradientOf[Any]] = {}
        self._ready: dict[int, Gradient[Any]] = {}
        self._evaluated = False
        self.open = True

    def another(self) -> Bundle:
        """An empty one for the same workload."""
        return Bundle(self._workload, self._most)

    def join(self, work: GradientOf[Any]) -> Callable[[], Gradient[Any]]:
        """What gives the result of `work`, once."""
        place = len(self._asked)
        self._asked[place] = work
        self.open = place + 1 < self._most
        return partial(self._take, place)

    def _take(self, place: int) -> Gradient[Any]:
        if not self._evaluated:
            self._evaluate()
        work = self._asked.pop(place)
        gradient = self._ready.pop(place, None)
        return work() if gradient is None else gradient

    def _evaluate(self) -> None:
        self._evaluated, self.open = True, False
        if len(self._asked) < 2:
            return
        try:
            gradients = self._workload.gradients(tuple(self._asked.values()))
        except Exception:
            # A user's model failed, and whose gradient it was is not known: each is taken alone at
            # its own time, so that the error arises in the strand that asked for it.
            return
        self._ready = dict(enumerate(gradients))


def _bundle(workload: Workload[Any]) -> Bundle | None:
    if not isinstance(workload, JointWorkload) or workload.gradients_at_once < 2:
        return None
    return Bundle(workload, workload.gradients_at_once)
