"""Parameters: a model's trainable parameters as views into one flat buffer.

Owns the buffer, and the views' staying what they are. Must not know who averages, nor the
optimizer, which goes on working on the same `Parameter` objects and keeps its state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dualrt.core.errors import UsageError


class FlatParameters:
    """The trainable parameters of a model, each once however often the model uses it.

    Making one moves the parameters into the buffer; `model.state_dict()` has the same keys, shapes
    and values as before. Memory formats (`channels_last`) are kept. What saves tensors one by one
    and refuses views, as safetensors does, needs clones of them, or `release`.

    Raises UsageError for parameters that no one flat buffer can hold: none at all, several types or
    devices, or such as are not plain dense tensors.
    """

    def __init__(self, model: nn.Module) -> None:
        self._named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self._kind = type(model).__name__
        self._check()
        tensors = [parameter for _, parameter in self._named]
        self.sizes = tuple(tensor.numel() for tensor in tensors)
        first = tensors[0]
        self.vector = torch.empty(sum(self.sizes), dtype=first.dtype, device=first.device)
        """The buffer, of shape [parameters]."""
        with torch.no_grad():
            for part, parameter in zip(self._parts(self.vector), tensors, strict=True):
                view = _like(part, parameter)
                parameter.data = view.copy_(parameter)
        self._addresses = [tensor.data_ptr() for tensor in tensors]

    def require(self, tensors: Sequence[Tensor]) -> None:
        """Raise UsageError if an optimizer steps tensors that are not among the parameters."""
        ours = {id(parameter) for _, parameter in self._named}
        strangers = sum(id(tensor) not in ours for tensor in tensors if tensor.requires_grad)
        if strangers:
            raise UsageError(
                f"the optimizer steps {strangers} tensors that are no parameters of "
                f"{self._kind}, and would not be averaged. Give join() a module that holds all "
                "that is trained, say an nn.ModuleList of the parts"
            )

    def check(self) -> None:
        """Raise UsageError if a parameter is no view into the buffer any more."""
        for (name, parameter), address in zip(self._named, self._addresses, strict=True):
            if parameter.data_ptr() != address or parameter.dtype != self.vector.dtype:
                raise UsageError(
                    f"parameter {name} of {self._kind} was moved out of the buffer that is "
                    "averaged. Cast, move or reassign a model (.to, .half, flatten_parameters, "
                    "load_state_dict(assign=True)) before join(), not inside"
                )

    def release(self) -> None:
        """Give each parameter a tensor of its own again, with the values that it has."""
        for _, parameter in self._named:
            parameter.data = parameter.data.clone()

    def gradient(self) -> Tensor:
        """The parameters' gradients as one new vector; zeros where there is none."""
        gathered = torch.zeros_like(self.vector)
        for part, (_, parameter) in zip(self._parts(gathered), self._named, strict=True):
            if parameter.grad is not None:
                _like(part, parameter).copy_(parameter.grad)
        return gathered

    def set_gradient(self, vector: Tensor) -> None:
        """Give each parameter its part of the vector as its gradient.

        One that has none, and that nobody had one for, is left without: optimizers pass it over.
        """
        for part, (_, parameter) in zip(self._parts(vector), self._named, strict=True):
            given = _like(part, parameter)
            if parameter.grad is not None:
                parameter.grad.copy_(given)
            elif part.any():
                parameter.grad = given.clone()

    def _parts(self, vector: Tensor) -> Sequence[Tensor]:
        return torch.split(vector, list(self.sizes))

    def _check(self) -> None:
        if not self._named:
            raise UsageError(f"{self._kind} has no parameter that requires a gradient")
        for name, parameter in self._named:
            if type(parameter) is not nn.Parameter or parameter.layout != torch.strided:
                raise UsageError(
                    f"parameter {name} of {self._kind} is a {type(parameter).__name__}, "
                    f"{parameter.layout}; only plain dense parameters can be averaged. Call join() "
                    "once they are made, and on a model that is not sharded"
                )
            if parameter.is_meta:
                raise UsageError(f"parameter {name} of {self._kind} has no values; call to_empty()")
        self._check_one("types", lambda parameter: str(parameter.dtype))
        self._check_one("devices", lambda parameter: str(parameter.device))

    def _check_one(self, what: str, of: Callable[[nn.Parameter], str]) -> None:
        found = sorted({of(parameter) for _, parameter in self._named})
        if len(found) > 1:
            raise UsageError(
                f"{self._kind} has trainable parameters of several {what} ({', '.join(found)}), "
                "and they are averaged as one vector. Have all of one, and use torch.autocast for "
                "mixed precision"
            )


def _like(part: Tensor, parameter: Tensor) -> Tensor:
    """A part of a flat vector in the shape of a parameter, and in its order of memory."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    memory = formats.get(parameter.dim())
    if parameter.is_contiguous() or memory is None:
        return part.view(parameter.shape)
    if parameter.is_contiguous(memory_format=memory):
        strides = torch.empty(parameter.shape, device="meta", memory_format=memory).stride()
        return part.as_strided(parameter.shape, strides)
    return part.view(parameter.shape)
