"""Handwritten digits in a loop of one's own: a plain PyTorch script, and three lines of dualrt.

python examples/torchrun_digits.py                                      # one process
torchrun --standalone --nproc-per-node 4 examples/torchrun_digits.py    # four, on a ring
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import dualrt

BATCH, EPOCHS, HELD_OUT = 16, 20, 360

torch.set_num_threads(1)
torch.manual_seed(1)
images, labels = load_digits(return_X_y=True)
order = torch.randperm(len(images))
inputs = torch.tensor(images / 16, dtype=torch.float32)[order]
targets = torch.tensor(labels)[order]
training = TensorDataset(inputs[HELD_OUT:], targets[HELD_OUT:])

model = nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.2)

joined = dualrt.join(  # 1
    model,
    optimizer,
    algorithm="adpsgd",
    topology="ring",
    batch=BATCH,
    samples_per_epoch=len(training),
    epochs=EPOCHS,
)
with joined as group:
    sampler: DistributedSampler[int] = DistributedSampler(training, group.learners, group.rank)
    while not group.finished:  # 2
        sampler.set_epoch(int(group.epoch))
        for x, y in DataLoader(training, BATCH, sampler=sampler, drop_last=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            group.step(loss)  # 3
            if group.finished:
                break

if group.summary is not None:
    with torch.no_grad():
        right = (model(inputs[:HELD_OUT]).argmax(1) == targets[:HELD_OUT]).float().mean()
    staleness = group.summary.staleness.mean
    print(f"{group.learners} learners, {group.summary.updates} updates")
    print(f"held-out accuracy {right:.3f}, mean staleness {staleness:.2f}")
