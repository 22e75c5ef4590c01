"""A device on the CPU that does what it is asked for later, as late as it may.

What is asked for waits in a lane until a test lets the device go on, or somebody waits for a mark:
then it does what that takes, and nothing else. So what is not ordered by marks is done out of
order, sooner or later, and the numbers show it. In between it goes on by whim, if it has one.

Copies of bytes are asked for by `dualrt.real.lanes.Lane`'s methods. Of torch, every operation
inside `LateLane.use()` is asked for: new memory is there at once, with anything in it, and so are
views. Memory that one lane made and another uses must have been lent, or it could be given to
others too early: `LateDevice.unlent` tells.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from dualrt.real.lanes import Lane, Mark

GARBAGE = 0xA5
BUFFER_BYTES = 7


class LateMark:
    def __init__(self, device: LateDevice, lane: LateLane) -> None:
        self.device, self.lane, self.passed = device, lane, False

    def wait(self) -> None:
        while not self.passed:
            self.device.step(self.lane)


class LateDevice:
    """Its lanes, and what it has done. `whim` says of each request how many steps it takes then."""

    def __init__(self, whim: Callable[[], int] = int) -> None:
        self.lanes: list[LateLane] = []
        self.unlent: list[str] = []
        """Operations that used another lane's memory without its having been lent."""
        self._whim = whim
        self._turn = 0
        self.current: LateLane | None = None
        self.owners: dict[int, tuple[LateLane, Any]] = {}
        """By address, which lane made a storage; kept, so that no address serves twice."""
        self.lent: set[tuple[int, LateLane]] = set()

    def lane(self) -> LateLane:
        self.lanes.append(LateLane(self))
        return self.lanes[-1]

    def ask(self, lane: LateLane, work: Callable[[], object]) -> None:
        lane.waiting.append(work)
        for _ in range(self._whim()):
            self._turn += 1
            self.step(self.lanes[self._turn % len(self.lanes)])

    def step(self, lane: LateLane) -> None:
        """Do the next thing of a lane, and whatever it has to come after."""
        if not lane.waiting:
            return
        first = lane.waiting[0]
        if isinstance(first, LateMark) and first.lane is not lane:
            first.wait()
        lane.waiting.popleft()
        if isinstance(first, LateMark):
            first.passed |= first.lane is lane
        else:
            first()

    def settle(self) -> None:
        """Do all that was asked for."""
        for lane in self.lanes:
            while lane.waiting:
                self.step(lane)


class LateLane(Lane):
    def __init__(self, device: LateDevice) -> None:
        self.device = device
        self.waiting: deque[LateMark | Callable[[], object]] = deque()

    def use(self) -> AbstractContextManager[object]:
        return self._used()

    @contextmanager
    def _used(self) -> Iterator[None]:
        before, self.device.current = self.device.current, self
        try:
            with _Asking(self):
                yield
        finally:
            self.device.current = before

    def mark(self) -> LateMark:
        mark = LateMark(self.device, self)
        self.waiting.append(mark)
        return mark

    def begin_after(self, mark: Mark) -> None:
        assert isinstance(mark, LateMark)
        if mark.lane is not self:
            self.waiting.append(mark)

    def copy(self, to: Tensor, source: Tensor) -> None:
        self.device.ask(self, lambda: to.copy_(source))

    def room(self, nbytes: int) -> Tensor:
        return torch.full((nbytes,), GARBAGE, dtype=torch.uint8)

    def _buffer(self) -> Tensor:
        return torch.full((BUFFER_BYTES,), GARBAGE, dtype=torch.uint8)


class HastyLane(LateLane):
    """Of which nobody waits for a mark, though the device would have them."""

    def mark(self) -> LateMark:
        mark = super().mark()
        mark.wait = lambda: None  # type: ignore[method-assign]  # that is the mistake
        return mark


class LateOrder:
    """`dualrt.workloads.torch_order.Order` on such a device, by the lane that is in use."""

    def __init__(self, device: LateDevice) -> None:
        self._device = device
        self._last: LateMark | None = None

    def begin(self, *vectors: Tensor) -> None:
        lane = self._device.current
        if lane is None:
            return
        if self._last is not None:
            lane.begin_after(self._last)
        self._device.lent |= {(address(vector), lane) for vector in vectors}

    def end(self) -> None:
        lane = self._device.current
        if lane is not None:
            self._last = lane.mark()


def address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class _Asking(TorchDispatchMode):
    """Asks the device for every operation of torch."""

    def __init__(self, lane: LateLane) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self._lane, self._device = lane, lane.device

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # To skip the compiler, torch would load it.

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        name = str(func)
        if _is_view(func) or name.startswith("profiler."):
            return func(*args, **options)
        if name.startswith("aten._local_scalar_dense"):
            self._lane.mark().wait()
            return func(*args, **options)
        # A launched kernel has addresses: what becomes of a tensor later is nothing to it.
        seen = tree_map(_alias, (args, options))
        self._check(name, seen)
        if func._schema.is_mutable:
            self._device.ask(self._lane, lambda: func(*seen[0], **seen[1]))
            return options.get("out", args[0])
        made = func(*args, **options)
        self._own(made)
        if not name.startswith("aten.empty"):
            made.fill_(float("nan") if made.is_floating_point() else 0)
            self._device.ask(self._lane, lambda: made.copy_(func(*seen[0], **seen[1])))
        return made

    def _own(self, made: Tensor) -> None:
        self._device.owners[address(made)] = self._lane, made.untyped_storage()

    def _check(self, name: str, seen: Any) -> None:
        for tensor in torch.utils._pytree.tree_leaves(seen):
            if not isinstance(tensor, Tensor):
                continue
            owner, _ = self._device.owners.get(address(tensor), (self._lane, None))
            if owner is not self._lane and (address(tensor), self._lane) not in self._device.lent:
                self._device.unlent.append(name)


def _is_view(func: Any) -> bool:
    aliases = [result.alias_info for result in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _alias(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
