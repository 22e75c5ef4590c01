"""Belongings: what of a loop goes into a checkpoint beside the learner's own state.

Owns which objects these are, and that each process gets its own back: the optimizer, followed
schedulers, buffers and frozen parameters, the number of steps, and what else the loop has named.
Must not know when a state is taken, except that the loop's thread waits meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dualrt.core.errors import RunError, UsageError
from dualrt.core.keeping import State
from dualrt.loop.nested import put_together, taken_apart

NAME = "loop"
"""What the names of all of it begin with."""


@runtime_checkable
class Stateful(Protocol):
    """What has a state that can be kept: an optimizer, a scheduler, GradScaler, many loaders."""

    def state_dict(self) -> dict[str, Any]:
        """Numbers, texts, tensors, and lists and tables of these."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object:
        """Be as when that state was taken."""


@final
class Belongings:
    """Of one process's loop. `further` are objects that the loop has named.

    Raises UsageError for one of them that has no state.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, further: Mapping[str, Stateful]
    ) -> None:
        for name, one in further.items():
            if not isinstance(one, Stateful):
                raise UsageError(
                    f"dualrt.join: keep = {{{name!r}: ...}}: a {type(one).__name__} has no "
                    "state_dict and load_state_dict. Give an object with both"
                )
        self.steps = 0
        """That this process's loop has made, those before a checkpoint included."""
        self._model, self._optimizer = model, optimizer
        self._further = {f"keep.{name}": one for name, one in further.items()}
        self._followed: list[LRScheduler] = []
        self._found: list[dict[str, Any]] = []
        """Of schedulers, from a checkpoint, in the order in which they were followed."""

    def follow(self, scheduler: LRScheduler) -> None:
        """From now on this one too; if there is a state for it, it takes it.

        Schedulers are told apart by the order in which they are followed.
        """
        place = len(self._followed)
        self._followed.append(scheduler)
        if place < len(self._found):
            scheduler.load_state_dict(self._found[place])

    def add_to(self, state: State) -> None:
        """Copies of all of it. Raises RunError for what no checkpoint can hold."""
        self._await_device()
        parts = {
            "steps": self.steps,
            "optimizer kind": type(self._optimizer).__name__,
            "optimizer": self._optimizer.state_dict(),
            "schedulers": [one.state_dict() for one in self._followed],
            "untrained": self._untrained(),
            **{name: one.state_dict() for name, one in self._further.items()},
        }
        state.values[NAME] = {
            name: taken_apart(f"{NAME}.{name}", part, state.tensors) for name, part in parts.items()
        }

    def take_from(self, state: State) -> None:
        """Be as when that was kept. Raises RunError for a state that does not fit."""
        if NAME not in state.values:
            raise RunError("it was not kept inside dualrt.join, and has no optimizer's state")
        parts = {
            name: put_together(tree, state.tensors) for name, tree in state.values[NAME].items()
        }
        missing = sorted(self._further.keys() - parts.keys())
        if missing:
            raise RunError(f"it holds no {missing[0]}, which is to be taken from it")
        kind, ours = parts["optimizer kind"], type(self._optimizer).__name__
        if kind != ours:
            # torch would take a state of any kind that has as many parameters.
            raise RunError(f"its optimizer is of {kind}, and here it is of {ours}")
        self._take_untrained(parts["untrained"])
        _load("optimizer", self._optimizer, parts["optimizer"])
        for name, one in self._further.items():
            _load(name, one, parts[name])
        self.steps, self._found = parts["steps"], parts["schedulers"]
        self._await_device()

    def _untrained(self) -> dict[str, Tensor]:
        """Buffers and frozen parameters, by name, each once."""
        frozen = {n: p for n, p in self._model.named_parameters() if not p.requires_grad}
        return {**dict(self._model.named_buffers()), **frozen}

    def _take_untrained(self, found: Mapping[str, Tensor]) -> None:
        present = self._untrained()
        if present.keys() != found.keys():
            odd = sorted(present.keys() ^ found.keys())[0]
            raise RunError(f"buffer or frozen parameter {odd} is on one side only")
        with torch.no_grad():
            for name, tensor in present.items():
                if tensor.shape != found[name].shape:
                    raise RunError(
                        f"{name} is {list(found[name].shape)} there, and here {list(tensor.shape)}"
                    )
                tensor.copy_(found[name])

    def _await_device(self) -> None:
        """Another thread reads, or writes, what the loop's has asked for."""
        if any(parameter.is_cuda for parameter in self._model.parameters()):
            torch.cuda.synchronize()


def _load(name: str, one: Stateful, state: dict[str, Any]) -> None:
    try:
        one.load_state_dict(state)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise RunError(f"its {name} does not fit: {error}") from error
