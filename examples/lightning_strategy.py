"""A Lightning `Strategy`: Trainer has the loop, dualrt averages.

    torchrun --standalone --nproc-per-node 2 examples/lightning_strategy.py

For automatic optimisation with one optimizer, on one device a process. What is averaged is the
LightningModule; metrics, checkpoints and loggers are those of each process. ssgd is not for it:
Lightning computes gradients in a closure inside `optimizer.step()`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

import dualrt

BATCH, EPOCHS = 16, 20


class DualrtStrategy(SingleDeviceStrategy):
    """Averages after every step of the optimizer; `settings` are those of `dualrt.join`."""

    def __init__(self, device: str = "cpu", **settings: Any) -> None:
        super().__init__(device)
        self.group: dualrt.loop.Group | None = None
        self._settings, self._joined = settings, ExitStack()

    def setup(self, trainer: lightning.Trainer) -> None:
        """Join once module and optimizer are where they stay."""
        super().setup(trainer)
        if self.optimizers:
            assert self.model is not None
            (optimizer,) = self.optimizers
            joined = dualrt.join(self.model, optimizer, **self._settings)
            self.group = self._joined.enter_context(joined)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        model: Any = None,
        **kwargs: Any,
    ) -> Any:
        """The step, the average, and the end when all have made their epochs."""
        loss = super().optimizer_step(optimizer, closure, model, **kwargs)
        assert self.group is not None
        self.group.step(loss)
        if self.group.finished:
            self.lightning_module.trainer.should_stop = True
        return loss

    @property
    def is_global_zero(self) -> bool:
        """Whether to write what is written once."""
        return self.group is None or self.group.rank == 0

    def on_exception(self, exception: BaseException) -> None:
        """Tell the other processes."""
        self._joined.pop_all().__exit__(type(exception), exception, exception.__traceback__)

    def teardown(self) -> None:
        """Leave with the mean model."""
        self._joined.close()
        super().teardown()


class Digits(lightning.LightningModule):
    """A small network for handwritten digits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 10))

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        """The loss of a mini-batch."""
        images, labels = batch
        return nn.functional.cross_entropy(self.layers(images), labels)

    def configure_optimizers(self) -> Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.2)


if __name__ == "__main__":
    torch.set_num_threads(1)
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
    strategy = DualrtStrategy(batch=BATCH, samples_per_epoch=len(data), epochs=EPOCHS)
    trainer = lightning.Trainer(
        strategy=strategy,
        max_epochs=-1,  # the group knows the end
        gradient_clip_val=5.0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
    )
    model = Digits()
    trainer.fit(model, DataLoader(data, BATCH, shuffle=True, drop_last=True))
    if strategy.is_global_zero and strategy.group is not None:
        with torch.no_grad():
            right = (model.layers(data.tensors[0]).argmax(1) == data.tensors[1]).float().mean()
        print(f"{strategy.group.learners} learners, training accuracy {right:.3f}")
