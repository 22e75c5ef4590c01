"""Weights that are one flat torch tensor.

Owns when it is read and changed: descent, blending, what is kept. Must not know a model or its
data, nor how vectors are added (`dualrt.workloads.torch_vectors`).

A vector that came from outside (a gradient, a peer's weights) is only read: simulated learners
share it.

On a GPU each method begins after the last change, and returns before its own is done
(`dualrt.workloads.torch_order`).

A snapshot costs no copy: it is the vector itself, and the next change goes into memory of its own.
Weights that are read, changed, read, changed are so moved once a step and not twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dualrt.core.errors import RunError, UsageError
from dualrt.core.keeping import State
from dualrt.core.weights import Partner, Snapshot, Weights
from dualrt.workloads.torch_optimizer import OptimizerFactory, checked
from dualrt.workloads.torch_order import Order, order_on
from dualrt.workloads.torch_parts import Part, Parts
from dualrt.workloads.torch_scattered import Scattered
from dualrt.workloads.torch_vectors import clipped, fresh_like, fused_blend, kept_copy, mean_of

# On a CPU a block and its temporary stay in the cache: a blend of 20 M weights took 46 ms instead
# of 145 ms. On a GPU, where there is no fused blend, only the size of the temporary matters, and
# launching many kernels costs time.
_CPU_BLOCK = 1 << 16
_GPU_BLOCK = 1 << 24

_OPTIMIZER, _APPLIED, _START, _PARTS = "optimizer.", "audit.applied", "audit.start", "top-k."
"""What the names of what is kept begin with."""

_WIRES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchWeights(Weights[Tensor]):
    """One learner's weights as a flat floating-point tensor, and its optimizer.

    Parameters: `initial` has shape [parameters], and is copied. `tensors` are the sizes, in
    parameters, of the tensors that it was flattened from; left out, it is one. `optimizer` makes
    any optimizer of torch that treats each weight alone (SGD with momentum, Adam; not LBFGS, nor
    one that looks at a matrix or a layer), and its learning rate is set before every step; without
    one a step is w <- w - a g. `order` is by default that of their device. With `audit`, `applied`
    holds in float64 the sum of all changes that descent made, each times the mass m_i at that time,
    and `dealings` as much for each partner that is told of, so that over any number of learners

        sum_i m_i w_i = sum_i initial_i + sum_i applied_i

    to within rounding: averaging conserves the sum. Each partner is a vector more.

    Raises:
        UsageError: `initial` is not flat or not floating-point, `tensors` are not of its size, or
            the optimizer cannot be used.
    """

    def __init__(
        self,
        rank: int,
        learners: int,
        initial: Tensor,
        optimizer: OptimizerFactory | None = None,
        *,
        tensors: Sequence[int] | None = None,
        audit: bool = False,
        order: Order | None = None,
    ) -> None:
        super().__init__(rank, learners)
        if initial.dim() != 1 or not initial.is_floating_point():
            raise UsageError(
                f"initial weights of shape {tuple(initial.shape)} and type {initial.dtype}: "
                "weights are one flat vector of floating-point numbers. Flatten and cast them."
            )
        self._flat = initial.detach().clone()
        self._lent = False
        """Whether a snapshot shows the vector."""
        self._tensors = (len(initial),) if tensors is None else tuple(tensors)
        if sum(self._tensors) != len(initial):
            raise UsageError(
                f"tensors of {sum(self._tensors)} parameters in all for a vector of "
                f"{len(initial)}: they must be the same. Give the sizes of all its tensors."
            )
        self._parts: Parts | None = None
        """From the first exchange on, where it is of parts."""
        self._block = _CPU_BLOCK if initial.device.type == "cpu" else _GPU_BLOCK
        self.optimizer = None if optimizer is None else checked(optimizer([self._flat]))
        self.applied = torch.zeros_like(self._flat, dtype=torch.float64) if audit else None
        self._start = self._flat.clone() if audit else None
        self._dealings: dict[Partner, Tensor] = {}
        self._order = order_on(initial.device) if order is None else order
        self._fused = fused_blend(initial.device.type)
        self._order.end()

    @property
    def nbytes(self) -> int:
        return self._flat.nbytes

    @property
    def tensors_bytes(self) -> tuple[int, ...]:
        return tuple(size * self.entry_bytes for size in self._tensors)

    @property
    def entry_bytes(self) -> int:
        return self._flat.element_size()

    def mean(self, vectors: Sequence[Tensor]) -> Tensor:
        """Summed in float64, in the order given, and rounded once."""
        return mean_of(vectors).to(self._flat.dtype)

    def unexplained(self) -> Tensor | None:
        """In float64, what averaging moved in; None without `audit`."""
        if self.applied is None or self._start is None:
            return None
        self._order.begin(self._flat, self.applied)
        return self.mass * self._flat.double() - self._start - self.applied

    def dealings(self) -> Mapping[Partner, Tensor]:
        """In float64, by partner; empty without `audit`."""
        self._order.begin(*self._dealings.values())
        return dict(self._dealings)

    def _note(self, partner: Partner, share: float, theirs: Tensor, mine: Tensor) -> None:
        if self.applied is None:
            return
        moved = self._dealings.get(partner)
        if moved is None:
            moved = self._dealings[partner] = torch.zeros_like(self.applied)
        self._order.begin(moved, theirs, mine)
        if self._parts is None:
            moved.add_(self._difference(theirs, mine), alpha=share)
        else:
            part = self._parts.differences(theirs, mine)
            moved.index_add_(0, part.places, part.values.double(), alpha=share)
        self._order.end()

    def _begin_anew(self) -> None:
        self._dealings.clear()
        if self.applied is not None and self._start is not None:
            self._order.begin(self._flat, self.applied, self._start)
            self._start.copy_(self._flat)
            self.applied.zero_()
            self._order.end()

    def snapshot(self) -> Snapshot[Tensor]:
        """As of any weights, for what this thread asks for from now on."""
        taken = super().snapshot()
        self._order.begin(taken.vector)
        return taken

    def _kept(self) -> State:
        self._order.begin()
        on_host = self._flat.device.type == "cpu"
        tensors = {"weights": self._copy() if on_host else self._flat.cpu()}
        values: dict[str, Any] = {}
        for name, one in self._memory().items():
            if isinstance(one, Tensor):
                tensors[_OPTIMIZER + name] = kept_copy(one)
            elif one is None or isinstance(one, int | float | str):
                values[_OPTIMIZER + name] = one
            else:
                raise RunError(
                    f"optimizer {type(self.optimizer).__name__} keeps {name}, a "
                    f"{type(one).__name__}, which no checkpoint can hold"
                )
        if self.applied is not None and self._start is not None:
            tensors[_APPLIED], tensors[_START] = map(kept_copy, (self.applied, self._start))
        if self._parts is not None:
            tensors |= {name: kept_copy(one) for name, one in self._parts.state().items()}
        return State(tensors, values)

    def _take_back(self, state: State) -> None:
        tensors, values = state
        flat, found = self._flat, tensors["weights"]
        if (found.shape, found.dtype) != (flat.shape, flat.dtype):
            raise RunError(
                f"its weights are {found.dtype}{list(found.shape)}, and those of this model "
                f"{flat.dtype}{list(flat.shape)}"
            )
        self._order.begin()
        memory = {
            name.removeprefix(_OPTIMIZER): self._taken_back(one)
            for name, one in (*tensors.items(), *values.items())
            if name.startswith(_OPTIMIZER)
        }
        if self.applied is not None and self._start is not None:
            if _APPLIED not in tensors:
                raise RunError("it was kept without training.audit, which is on here")
            self._dealings.clear()
            self.applied.copy_(tensors[_APPLIED])
            self._start.copy_(tensors[_START])
        if any(name.startswith(_PARTS) for name in tensors):
            self._parts = Parts(flat, self.wire_fraction)
            self._parts.restore({n: one for n, one in tensors.items() if n.startswith(_PARTS)})
        self._replace(found)
        if self.optimizer is not None:
            self.optimizer.state[flat] = memory
        self._order.end()

    def _memory(self) -> Mapping[str, Any]:
        """What the optimizer remembers of the vector."""
        return {} if self.optimizer is None else self.optimizer.state.get(self._flat, {})

    def _taken_back(self, one: Any) -> Any:
        """Of the optimizer's: on the device if it is of the vector's size, as it was else."""
        if not isinstance(one, Tensor):
            return one
        return one.to(self._flat.device if one.shape == self._flat.shape else one.device).clone()

    def _copy(self) -> Tensor:
        self._lent = True
        return self._flat.detach()

    def _live(self) -> Tensor:
        self._order.begin(self._flat)
        # It may come to be written to, which no snapshot is to show.
        self._move_from_snapshots()
        self._order.end()
        return self._flat.detach()

    def _target(self) -> Tensor:
        """Where a change is to be written: the vector itself, unless a snapshot shows it."""
        return fresh_like(self._flat) if self._lent else self._flat

    def _move_from_snapshots(self) -> None:
        if self._lent:
            self._settle(fresh_like(self._flat).copy_(self._flat))

    def _settle(self, changed: Tensor) -> None:
        """The weights are in `changed` from now on."""
        if self._lent:
            # The tensor stays the same one: the optimizer knows it.
            self._flat.data = changed
            self._lent = False

    def _descend(self, gradient: Tensor | Scattered, learning_rate: float) -> None:
        if isinstance(gradient, Scattered):
            if self._goes_along(gradient):
                self._step_along(gradient, learning_rate)
                return
            gradient = gradient.gathered(out=fresh_like(self._flat))
        self._order.begin(self._flat, gradient)
        if self.clip_norm is not None:
            gradient = clipped(gradient, self.clip_norm)
        if self.applied is not None:
            self.applied.sub_(self._flat, alpha=self.mass)
        self._step(gradient, learning_rate)
        if self.applied is not None:
            self.applied.add_(self._flat, alpha=self.mass)
        self._order.end()

    def _goes_along(self, gradient: Scattered) -> bool:
        """Whether a step can be made tensor by tensor, each of which is looked at once."""
        plain = self.optimizer is None and self.clip_norm is None and self.applied is None
        # In place, a tensor that is in the vector would change while it is read.
        return plain and (self._lent or gradient.is_beside(self._flat))

    def _step_along(self, gradient: Scattered, learning_rate: float) -> None:
        target = self._target()
        sizes = list(self._tensors)
        places = (torch.split(vector, sizes) for vector in (target, self._flat))
        for changed, own, tensor in zip(*places, gradient.tensors, strict=True):
            torch.add(own, tensor.reshape(-1), alpha=-learning_rate, out=changed)
        self._settle(target)

    def _step(self, gradient: Tensor, learning_rate: float) -> None:
        if self.optimizer is None:
            target = self._target()
            self._settle(torch.add(self._flat, gradient, alpha=-learning_rate, out=target))
            return
        self._move_from_snapshots()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        for kept in self.optimizer.state.values():
            self._order.begin(*(one for one in kept.values() if isinstance(one, Tensor)))
        writes = gradient._version
        self._flat.grad = gradient
        self.optimizer.step()
        self._flat.grad = None
        if gradient._version != writes:
            raise UsageError(
                f"optimizer {type(self.optimizer).__name__}: it writes to the gradient, which "
                "other learners read. Choose one that leaves its gradient alone."
            )

    def _add(self, share: float, theirs: Tensor, mine: Tensor) -> None:
        self._order.begin(self._flat, theirs, mine)
        if self._parts is not None:
            self._add_part(share, self._parts.differences(theirs, mine))
        elif self._fused is not None:
            self._flat.data = self._fused(self._flat, theirs, mine, share)
            self._lent = False
        else:
            self._add_by_blocks(share, theirs, mine)
        self._order.end()

    def _add_by_blocks(self, share: float, theirs: Tensor, mine: Tensor) -> None:
        target = self._target()
        vectors = (target, self._flat, theirs, mine)
        # Cutting one block out costs more than blending it.
        blocks = [vectors]
        if self._flat.numel() > self._block:
            blocks = list(zip(*(torch.split(one, self._block) for one in vectors), strict=True))
        for changed, own, their, my in blocks:
            # The difference goes where the sum will be, unless something is there to be added to.
            difference = self._difference(their, my, out=changed if self._lent else None)
            torch.add(own, difference, alpha=share, out=changed)
        self._settle(target)

    def _add_part(self, share: float, part: Part) -> None:
        target = self._target()
        if self._lent:
            target.copy_(self._flat)
        self._settle(target.index_add_(0, part.places, part.values, alpha=share))

    def _difference(self, theirs: Tensor, mine: Tensor, out: Tensor | None = None) -> Tensor:
        """In full precision, which both ends then agree on but for the sign."""
        return torch.sub(theirs.to(self._flat.dtype), mine.to(self._flat.dtype), out=out)

    def _narrowed(self, vector: Tensor, wire: str) -> Tensor:
        return vector.to(_WIRES[wire])

    def _part_to_offer(self, vector: Tensor, peer: int) -> Tensor:
        return self._in_parts(vector).offer(vector, peer)

    def _part_to_answer(self, vector: Tensor, offer: Tensor) -> Tensor:
        return self._in_parts(vector).answer(vector, offer)

    def heed(self, peer: int, answer: Tensor) -> None:
        if self._parts is not None:
            self._parts.heed(peer, answer)

    def _in_parts(self, vector: Tensor) -> Parts:
        with self._lock:
            self._order.begin()
            if self._parts is None:
                self._parts = Parts(vector, self.wire_fraction)
                self._order.end()
            return self._parts

    def _replace(self, vector: Tensor) -> None:
        self._order.begin(self._flat, vector)
        # What was written to the vector itself is there.
        if vector.data_ptr() != self._flat.data_ptr():
            self._settle(self._target().copy_(vector))
        self._order.end()
