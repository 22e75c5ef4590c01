"""Beside Accelerate, which prepares data and optimizer, accumulates and clips; dualrt averages.

    torchrun --standalone --nproc-per-node 2 examples/accelerate_recipe.py

`prepare` gets everything but the model, which it would wrap for an averaging of its own.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dualrt

BATCH, ACCUMULATED, EPOCHS = 16, 2, 20

torch.set_num_threads(1)
torch.manual_seed(1)
images, labels = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))

accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATED)
model = nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 10)).to(accelerator.device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.4)

joined = dualrt.join(
    model,
    optimizer,
    batch=BATCH * ACCUMULATED,
    samples_per_epoch=len(data),
    epochs=EPOCHS,
)
with joined as group:
    prepared = accelerator.prepare(optimizer)
    loader = accelerator.prepare(DataLoader(data, BATCH, shuffle=True, drop_last=True))
    while not group.finished:
        for x, y in loader:
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(x), y)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 5.0)
                prepared.step()
                prepared.zero_grad()
            if accelerator.sync_gradients:
                group.step(loss)
            if group.finished:
                break

if accelerator.is_main_process:
    with torch.no_grad():
        right = (model(data.tensors[0]).argmax(1) == data.tensors[1]).float().mean()
    print(f"{group.learners} learners, training accuracy {right:.3f}")
accelerator.end_training()
