"""A torch module with its data, as a workload.

Owns the way from a flat vector into a module and from its gradient back into a flat vector. Must
not know which model, and must not know who averages.

The module is a workbench, not state: each call loads the vector that it is asked about. So one
object serves every learner of a process, but only one call at a time: it is **not thread-safe**,
and two threads need an object each. On the CPU, with one number of threads, the same call gives
the same bits in every process.

What a call does besides its arithmetic is seen in a real run's rate, so a trial at the beginning
finds out what a module needs: a large vector is not copied into a module that only reads its
parameters, and no random stream is made for one that draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dualrt.core.effects import BFLOAT16, FLOAT32, Cost
from dualrt.core.errors import UsageError
from dualrt.core.pool import SMALLEST_BYTES
from dualrt.core.seeds import derive
from dualrt.core.weights import Gradient
from dualrt.core.workload import GradientOf
from dualrt.workloads import flops
from dualrt.workloads.phantom import weights_passes
from dualrt.workloads.pool import Pool
from dualrt.workloads.torch_joint import FEW, JointModule
from dualrt.workloads.torch_optimizer import OptimizerFactory
from dualrt.workloads.torch_pieces import Filling
from dualrt.workloads.torch_scattered import LEAST_BYTES, Scattered
from dualrt.workloads.torch_vectors import consensus, digest, fresh_like
from dualrt.workloads.torch_weights import TorchWeights

Figure: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""A mean over samples, of the module's outputs and the targets; shape []."""

_EVALUATION_CHUNK = 1024

_COUNTED_SAMPLES = 2
"""Samples whose gradient is taken once to count what one takes; modules may mishandle a single."""


class Samples(NamedTuple):
    """Inputs and targets; the first dimension of both counts samples."""

    inputs: Tensor
    targets: Tensor


def top1_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of targets whose class has the largest output; outputs are [..., classes]."""
    return (outputs.argmax(-1) == targets).float().mean()


class TorchTask:
    """The workload of training a module on samples that fit into memory.

    Parameters: `module` makes the model, with torch's own random initialisation, which is seeded
    here; its trainable parameters, in the order of `parameters()`, are the flat vector. `training`
    is the pool, `held_out` what `evaluate` uses. `loss` and `accuracy` are means over samples.
    `optimizer` and `audit` are those of `TorchWeights`. All data are moved to `device` once.
    `precision` is what gradients are computed in, "float32", or "bfloat16" by torch.autocast, for
    weights and gradients of float32 all the same, and on a GPU for recurrent layers too;
    `accumulate` in how many equal parts of a mini-batch, one after another.

    Raises:
        UsageError: the module has buffers, no parameters, or parameters of several types; or
            inputs and targets differ in number; or there is no such precision, or a batch has no so
            many equal parts; or, from `gradient`, the module writes to its parameters now and then.
    """

    def __init__(
        self,
        *,
        seed: int,
        learners: int,
        batch: int,
        module: Callable[[], nn.Module],
        training: Samples,
        held_out: Samples,
        loss: Figure,
        accuracy: Figure | None = None,
        optimizer: OptimizerFactory | None = None,
        device: str = "cpu",
        audit: bool = False,
        precision: str = FLOAT32,
        accumulate: int = 1,
    ) -> None:
        if precision not in {FLOAT32, BFLOAT16}:
            raise UsageError(
                f"precision = {precision!r}: gradients are computed in {FLOAT32} or {BFLOAT16}. "
                "Choose one of these."
            )
        if accumulate < 1 or batch % accumulate:
            raise UsageError(
                f"accumulate = {accumulate}: a mini-batch of {batch} has no so many equal parts. "
                "Choose a number that divides it."
            )
        self._seed, self._learners, self._batch = seed, learners, batch
        self._optimizer, self._audit = optimizer, audit
        self._device = torch.device(device)
        self._precision, self._accumulate = precision, accumulate
        self._training = _moved(training, self._device)
        self._held_out = _moved(held_out, self._device)
        self._pool = Pool(len(training.inputs), batch, learners, seed)
        self._loss = loss
        self._figures = {"loss": loss} if accuracy is None else {"loss": loss, "accuracy": accuracy}

        # Made on the CPU, so that every device starts from the same weights.
        with _seeded(derive(seed, "init"), torch.device("cpu")):
            made = module()
        self._module = made.to(self._device).train()
        if precision == BFLOAT16 and self._device.type == "cuda":
            keep_recurrent_full(made, self._device.type)
        self._parameters = [p for p in made.parameters() if p.requires_grad]
        _check(made, self._parameters)
        self._sizes = [p.numel() for p in self._parameters]
        self._initial = _flat(self._parameters).detach()
        self._bench = self._one_bench()
        nbytes = self._initial.nbytes
        self._scatters = (
            self._device.type == "cpu"
            and accumulate == 1
            and nbytes >= max(SMALLEST_BYTES, LEAST_BYTES * len(self._sizes))
        )
        """Whether a gradient costs less where autograd leaves it; smaller ones lie where the next
        is computed."""
        self._joint = JointModule(made, loss)

        # Until the trial has shown otherwise.
        self._draws_numbers = self._writes = True
        self._gradient_cost = self._counted_cost()

    @property
    def samples_per_epoch(self) -> int:
        """Samples of one pass over the pool, without those that would not fill a batch."""
        return self._pool.samples_per_pass

    @property
    def batch(self) -> int:
        """Samples of one learner's mini-batch."""
        return self._batch

    @property
    def gradient_cost(self) -> Cost:
        """Arithmetic and memory traffic of one gradient, counted as `flops.count` does."""
        return self._gradient_cost

    def weights(self, rank: int) -> TorchWeights:
        """The seeded initial weights, with an optimizer of the learner's own."""
        return TorchWeights(
            rank,
            self._learners,
            self._initial,
            self._optimizer,
            tensors=self._sizes,
            audit=self._audit,
        )

    def gradient(self, at: Tensor, rank: int, draw: int) -> Gradient[Tensor]:
        """Mean gradient over learner `rank`'s mini-batch number `draw`; a new flat vector.

        Random layers such as dropout draw from a stream of (seed, rank, draw).
        """
        whole, told = fresh_like(self._initial), list[Tensor]()
        with self._losses_at(at, rank, draw) as losses:
            for number, loss in enumerate(losses):
                parts = torch.autograd.grad(loss, self._parameters, materialize_grads=True)
                told.append(loss.detach())
                if number == 0:
                    _flat(parts, out=whole)
                    continue
                for sum_, part in zip(torch.split(whole, self._sizes), parts, strict=True):
                    sum_.add_(part.reshape(-1))
        return Gradient(whole, sum(one.item() for one in told))

    def loose_gradient(self, at: Tensor, rank: int, draw: int) -> Gradient[Any]:
        """The same; of many weights on the CPU, as autograd leaves it.

        Not where a subclass has a gradient of its own, nor where the module writes to its
        parameters: a gradient that is one of them would be gone with the next.
        """
        own = type(self).gradient is not TorchTask.gradient
        if own or self._writes or not self._scatters:
            return self.gradient(at, rank, draw)
        with self._losses_at(at, rank, draw) as losses:
            [loss] = losses
            parts = torch.autograd.grad(loss, self._parameters, materialize_grads=True)
            return Gradient(Scattered(parts), loss.item())

    def gradient_in_pieces(
        self,
        at: Tensor,
        rank: int,
        draw: int,
        pieces: Sequence[int],
        share: float,
        ready: Callable[[Tensor], None],
    ) -> Gradient[Tensor]:
        """`share` of the same, with each piece told as the backward pass goes on."""
        whole, told = fresh_like(self._initial), list[Tensor]()
        filling = Filling(whole, self._parameters, pieces, share, ready)
        with self._losses_at(at, rank, draw) as losses:
            for number, loss in enumerate(losses, 1):
                told.append(loss.detach())
                # What is ready is known in the last part alone; autograd adds up those before.
                with filling if number == self._accumulate else nullcontext():
                    loss.backward()
        return Gradient(whole, sum(one.item() for one in told))

    @cached_property
    def gradients_at_once(self) -> int:
        """1 unless the module is small and `torch.vmap` takes it: no LSTM, no dropout.

        Stacks are of float32, and would take the memory that parts of a mini-batch save.
        """
        if self._precision != FLOAT32 or self._accumulate > 1:
            return 1
        two = np.stack([self._pool.indices(0, 0)] * 2)
        return self._joint.at_once(self._gradient_cost.flops, *self._chosen(two))

    def gradients(self, asked: Sequence[GradientOf[Tensor]]) -> list[Gradient[Tensor]]:
        """What `gradient` gives for each, to rounding; new flat vectors."""
        if len(asked) < FEW:
            return [one() for one in asked]
        batches = np.stack([self._pool.indices(one.rank, one.draw) for one in asked])
        return self._joint.gradients([one.at for one in asked], *self._chosen(batches))

    def evaluate(self, at: Tensor) -> Mapping[str, float]:
        """Held-out "loss", and "accuracy" if the task has one; empty without held-out samples."""
        samples = len(self._held_out.inputs)
        if samples == 0:
            return {}
        self._load(at)
        sums = dict.fromkeys(self._figures, 0.0)
        chunks = zip(
            *(torch.split(part, _EVALUATION_CHUNK) for part in self._held_out), strict=True
        )
        self._module.eval()
        with torch.no_grad():
            for inputs, targets in chunks:
                outputs = self._module(inputs)
                for name, figure in self._figures.items():
                    sums[name] += figure(outputs, targets).item() * len(inputs)
        self._module.train()
        return {name: total / samples for name, total in sums.items()}

    def consensus(self, vectors: Sequence[Tensor]) -> tuple[Tensor, float]:
        """The mean model and the consensus distance; see `torch_vectors.consensus`."""
        return consensus(vectors)

    def digest(self, vector: Tensor) -> bytes:
        """A hash of the vector's exact bits; 16 bytes."""
        return digest(vector)

    @contextmanager
    def _losses_at(self, at: Tensor, rank: int, draw: int) -> Iterator[Iterator[Tensor]]:
        """The loss of a mini-batch in its parts, whose sum it is.

        The backward pass of each is to be taken inside, before the next is asked for.
        """
        self._load(at)
        writes = self._written()
        chosen = self._chosen(self._pool.indices(rank, draw))
        with self._numbers_for(rank, draw):
            yield self._losses(chosen)
        if not self._writes and self._written() != writes:
            raise UsageError(
                f"module {type(self._module).__name__}: it wrote to its parameters, and did not "
                "when it was tried first. Have it write in every forward pass, or in none."
            )

    def _losses(self, samples: Samples) -> Iterator[Tensor]:
        if self._accumulate == 1:
            yield self._mean_loss(*samples)
            return
        size = self._batch // self._accumulate
        for part in zip(*(torch.split(one, size) for one in samples), strict=True):
            yield self._mean_loss(*part) / self._accumulate

    def _chosen(self, indices: NDArray[np.int64]) -> Samples:
        """The samples of a batch, or of a stack of them: shape [*indices.shape, ...]."""
        chosen = torch.from_numpy(indices.reshape(-1)).to(self._device)
        # A third of the time of part[chosen], which allows for any kind of index.
        taken = (part.index_select(0, chosen) for part in self._training)
        return Samples(*(part.unflatten(0, indices.shape) for part in taken))

    def _mean_loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        if self._precision == FLOAT32:
            return self._loss(self._module(inputs), targets)
        with torch.autocast(self._device.type, torch.bfloat16):
            return self._loss(self._module(inputs), targets)

    def _numbers_for(self, rank: int, draw: int) -> AbstractContextManager[None]:
        """The stream that random layers draw from."""
        if not self._draws_numbers:
            return nullcontext()
        return _seeded(derive(self._seed, "layers", rank, draw), self._device)

    def _counted_cost(self) -> Cost:
        """The trial: a gradient over few samples, which shows what the module does besides."""
        few = self._chosen(np.arange(min(_COUNTED_SAMPLES, len(self._training.inputs))))
        writes = self._written()
        with _seeded(derive(self._seed, "count"), self._device):
            untouched = _generators(self._device)
            work = flops.count(lambda: self._mean_loss(*few), self._parameters)
            touched = _generators(self._device)
        self._draws_numbers = not all(map(torch.equal, untouched, touched))
        self._writes = self._written() != writes
        weights_bytes = weights_passes(self._accumulate) * self._initial.nbytes
        activation_bytes = flops.PASSES * work.activation_bytes * self._batch // len(few.inputs)
        return Cost(
            "gradient",
            samples=self._batch,
            flops=work.flops * self._batch / len(few.inputs),
            bytes_moved=weights_bytes + activation_bytes,
            parts=self._accumulate,
            precision=self._precision,
        )

    def _one_bench(self) -> Tensor | None:
        """One vector for all parameters to be views into, so that a load is one copy, or none.

        None on a GPU for a recurrent module, whose parameters cuDNN wants where the module put
        them.
        """
        recurrent = any(isinstance(part, nn.RNNBase) for part in self._module.modules())
        if recurrent and self._device.type != "cpu":
            return None
        bench = self._initial.clone()
        self._lay_over(bench)
        return bench

    def _written(self) -> int:
        """Counts what was written to parameters in place."""
        return sum(parameter._version for parameter in self._parameters)

    def _load(self, at: Tensor) -> None:
        if self._bench is None:
            self._copy_each(at)
        elif self._writes or at.nbytes < SMALLEST_BYTES:
            # A copy keeps what the module writes (an embedding with a maximal norm does) out of
            # the vector; a small one is quicker than new views.
            self._bench.copy_(at)
        else:
            self._lay_over(at)

    def _copy_each(self, at: Tensor) -> None:
        with torch.no_grad():
            for parameter, part in zip(self._parameters, torch.split(at, self._sizes), strict=True):
                parameter.copy_(part.view_as(parameter))

    def _lay_over(self, at: Tensor) -> None:
        for parameter, part in zip(self._parameters, torch.split(at, self._sizes), strict=True):
            parameter.data = part.view_as(parameter)


def keep_recurrent_full(module: nn.Module, device_type: str) -> None:
    """Have recurrent layers compute in float32 whatever torch.autocast says.

    For cuDNN's it makes no bfloat16 of its own, but float16 (ATen/cudnn/AutocastRNN.cpp), in which
    small gradients are lost unless the loss is scaled.
    """
    for part in module.modules():
        if isinstance(part, nn.RNNBase):
            # As an attribute it goes before the class's, and is no part of the module's state.
            part.forward = partial(_in_full, part.forward, device_type)


def _in_full(
    forward: Callable[..., Any], device_type: str, inputs: Any, *state: Any, **named: Any
) -> Any:
    with torch.autocast(device_type, enabled=False):
        return forward(inputs.float(), *state, **named)


def _flat(parts: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts], out=out)


def _moved(samples: Samples, device: torch.device) -> Samples:
    inputs, targets = samples
    if len(inputs) != len(targets):
        raise UsageError(
            f"{len(inputs)} inputs and {len(targets)} targets: each sample has one of both. "
            "Make the first dimensions equal."
        )
    return Samples(inputs.to(device), targets.to(device))


def _check(module: nn.Module, parameters: Sequence[nn.Parameter]) -> None:
    kind = type(module).__name__
    buffers = [name for name, _ in module.named_buffers()]
    if buffers:
        raise UsageError(
            f"module {kind}: it has buffers ({', '.join(buffers)}). A buffer such as BatchNorm's "
            "running mean is no parameter, so it has no gradient and would not be averaged: each "
            "learner's would drift, and the delivered model would have none that fits it. Use "
            "layers without buffers, such as LayerNorm or GroupNorm."
        )
    types = sorted({str(parameter.dtype) for parameter in parameters})
    if len(types) != 1:
        raise UsageError(
            f"module {kind}: its trainable parameters have the types ({', '.join(types)}); one "
            "flat vector needs exactly one. Cast the module to one floating-point type."
        )


def _generators(device: torch.device) -> list[Tensor]:
    """The state of torch's global generators that a module on this device draws from."""
    states = [torch.default_generator.get_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for what uses no other, and put them back afterwards."""
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        # Not torch.manual_seed, which seeds every device of the process.
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield
