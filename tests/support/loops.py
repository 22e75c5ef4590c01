"""Training loops as users write them, each of which tells what came of it.

    python -m tests.support.loops NAME...

runs some of them one after the other in this process and prints a JSON object with a key for each.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn

import dualrt
from dualrt.core.errors import DualrtError
from dualrt.loop.leftovers import Buffers

RANK, LEARNERS = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
DEVICE = os.environ.get("LOOPS_DEVICE", "cpu")
BATCH = 8
STEPS = 12


def batches(rank: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Mini-batches without end, others on every rank."""
    generator = torch.Generator().manual_seed(100 + rank)
    while True:
        inputs = torch.randn(BATCH, 4, generator=generator)
        yield inputs.to(DEVICE), inputs.sin().sum(1, keepdim=True).to(DEVICE)


def mine() -> Iterator[tuple[Tensor, Tensor]]:
    return islice(batches(RANK), STEPS)


def network(seed: int = RANK) -> nn.Sequential:
    """Another one on every rank, unless told otherwise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).to(DEVICE)


def loss_of(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    inputs, targets = batch
    return nn.functional.mse_loss(model(inputs), targets)


def flat(model: nn.Module) -> list[float]:
    """A model's state in numbers."""
    values: list[float] = torch.cat(
        [v.double().reshape(-1) for v in model.state_dict().values()]
    ).tolist()
    return values


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)


def synchronous() -> Any:
    """ssgd with Adam and accumulation, beside the same by hand."""
    model = network()
    optimizer = adam(model)
    with dualrt.join(model, optimizer, algorithm="ssgd") as group:
        stream = batches(RANK)
        for _ in range(STEPS):
            optimizer.zero_grad()
            for batch in islice(stream, 2):
                (loss_of(model, batch) / 2).backward()
            optimizer.step()
            group.step()
    expected = network(seed=0)
    optimizer = adam(expected)
    streams = [batches(rank) for rank in range(LEARNERS)]
    for _ in range(STEPS):
        optimizer.zero_grad()
        for stream in streams:
            for batch in islice(stream, 2):
                (loss_of(expected, batch) / 2 / LEARNERS).backward()
        optimizer.step()
    return {"model": flat(model), "expected": flat(expected)}


def decentralised() -> Any:
    """sd-psgd with weights that are averaged, beside the equation by hand."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with dualrt.join(model, optimizer, algorithm="sd-psgd") as group:
        for batch in mine():
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
            group.step()
    learners = [network(seed=0) for _ in range(LEARNERS)]
    streams = [batches(rank) for rank in range(LEARNERS)]
    for _ in range(STEPS):
        for learner, stream in zip(learners, streams, strict=True):
            learner.zero_grad()
            loss_of(learner, next(stream)).backward()
        averaged_descent(learners)
    return {
        "model": flat(model),
        "expected": [sum(w) / LEARNERS for w in zip(*map(flat, learners), strict=True)],
    }


@torch.no_grad()
def averaged_descent(learners: list[nn.Sequential]) -> None:
    for weights in zip(*(learner.parameters() for learner in learners), strict=True):
        mean = torch.stack([weight.data for weight in weights]).mean(0)
        for weight in weights:
            assert weight.grad is not None
            weight.copy_(mean - 0.1 * weight.grad)


def asynchronous() -> Any:
    """adpsgd with most of what a loop may do between two steps."""
    model = network()
    optimizer = adam(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    pool: Any = {"batch": 2 * BATCH, "samples_per_epoch": 64, "epochs": 4}
    with dualrt.join(model, optimizer, algorithm="adpsgd", audit=True, **pool) as group:
        group.follow(scheduler)
        stream = batches(RANK)
        rates = []
        while not group.finished:
            optimizer.zero_grad()
            for batch in islice(stream, 2):
                with torch.autocast(DEVICE, torch.bfloat16):
                    loss = loss_of(model, batch)
                loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            group.step(loss)
            rates.append((group.epoch, optimizer.param_groups[0]["lr"]))
    summary = group.summary
    return {
        "model": flat(model),
        "rates": rates,
        "moments": [float(state["step"]) for state in optimizer.state.values()],
        "summary": None if summary is None else json.loads(summary.to_json()),
    }


def one_cycle() -> Any:
    """adpsgd, half of the weights a message, with a rate that goes up and down once."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    cycle: Any = {"max_lr": 0.1, "total_steps": 16}
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, **cycle)
    pool: Any = {"batch": BATCH, "samples_per_epoch": 64, "epochs": 2, "audit": True}
    with dualrt.join(model, optimizer, wire="top-k", wire_fraction=0.5, **pool) as group:
        group.follow(scheduler, steps_per_epoch=8)
        rates = []
        for batch in batches(RANK):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
            group.step()
            rates.append((group.epoch, optimizer.param_groups[0]["lr"]))
            if group.finished:
                break
    beside = torch.optim.SGD(network().parameters(), lr=0.01)
    expected = torch.optim.lr_scheduler.OneCycleLR(beside, **cycle)
    course = [beside.param_groups[0]["lr"]]
    for _ in range(16):
        beside.step()
        expected.step()
        course.append(beside.param_groups[0]["lr"])
    summary = group.summary
    return {
        "model": flat(model),
        "rates": rates,
        "course": course,
        "summary": None if summary is None else json.loads(summary.to_json()),
    }


def scaled() -> Any:
    """ssgd, where the gradient of one learner overflows once and GradScaler skips its step."""
    model = network()
    optimizer = adam(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    course = []
    with dualrt.join(model, optimizer, algorithm="ssgd") as group:
        for number, batch in enumerate(mine()):
            optimizer.zero_grad()
            overflow = float("inf") if (number, RANK) == (3, 1) else 1.0
            scaler.scale(loss_of(model, batch) * overflow).backward()
            scaler.step(optimizer)
            scaler.update()
            group.step()
            course.append(flat(model))
    return {"course": course, "scale": scaler.get_scale()}


def everything_untouched() -> Any:
    """sd-psgd, where scaling, clipping and accumulation are the loop's own, and the same by hand.

    Also with several steps of the optimizer between two of the group's.
    """
    return {
        "one step": scaled_and_clipped(network(), optimizer_steps=1),
        "three steps": scaled_and_clipped(network(), optimizer_steps=3),
        "one step, expected": by_hand(optimizer_steps=1),
        "three steps, expected": by_hand(optimizer_steps=3),
    }


def scaled_and_clipped(model: nn.Module, optimizer_steps: int) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    scaler = torch.amp.GradScaler(DEVICE, init_scale=2.0**10)
    stream = batches(RANK)
    with dualrt.join(model, optimizer, algorithm="sd-psgd") as group:
        for _ in range(STEPS):
            for _ in range(optimizer_steps):
                optimizer.zero_grad()
                for batch in islice(stream, 4):
                    scaler.scale(loss_of(model, batch) / 4).backward()
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                scaler.step(optimizer)
                scaler.update()
            group.step()
    return flat(model)


def by_hand(optimizer_steps: int) -> list[float]:
    """All learners here, on whole batches in float32, with what each adds to the mean."""
    learners = [network(seed=0) for _ in range(LEARNERS)]
    optimizers = [torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.5) for one in learners]
    streams = [batches(rank) for rank in range(LEARNERS)]
    for _ in range(STEPS):
        before = [nn.utils.parameters_to_vector(one.parameters()).detach() for one in learners]
        for learner, optimizer, stream in zip(learners, optimizers, streams, strict=True):
            for _ in range(optimizer_steps):
                optimizer.zero_grad()
                inputs, targets = map(torch.cat, zip(*islice(stream, 4), strict=True))
                loss_of(learner, (inputs, targets)).backward()
                nn.utils.clip_grad_norm_(learner.parameters(), 0.5)
                optimizer.step()
        mean = torch.stack(before).mean(0)
        for learner, start in zip(learners, before, strict=True):
            change = nn.utils.parameters_to_vector(learner.parameters()).detach() - start
            nn.utils.vector_to_parameters(mean + change, learner.parameters())
    return [sum(w) / LEARNERS for w in zip(*map(flat, learners), strict=True)]


def buffers() -> Any:
    """Batch normalisation: what it was before the end, and after, for each setting."""
    settings: tuple[Buffers, ...] = get_args(Buffers)
    return {setting: normalised(setting) for setting in settings}


def normalised(setting: Buffers) -> Any:
    first, norm = nn.Linear(4, 3), nn.BatchNorm1d(3)
    model = nn.Sequential(first, norm, nn.Linear(3, 1))
    first.bias.requires_grad_(False).fill_(float(RANK))
    running = norm.running_mean
    assert running is not None
    assert norm.num_batches_tracked is not None
    running.fill_(10.0 * RANK)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with dualrt.join(model, optimizer, buffers=setting) as group:
        start = running.tolist()
        for batch in islice(mine(), 3 + RANK):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
            group.step()
        before = running.tolist()
    return {
        "frozen": first.bias.tolist(),
        "start": start,
        "before": before,
        "after": running.tolist(),
        "batches": norm.num_batches_tracked.item(),
    }


def hierarchical() -> Any:
    """h-adpsgd in two super-learners; followers take part in every step of theirs."""
    return in_super_learners(learners_per_group=2)


def by_nodes() -> Any:
    """h-adpsgd in as many super-learners as the launcher started nodes, at an address of all."""
    return in_super_learners(interface="lo")


def by_uneven_nodes() -> Any:
    """Refused in every process."""
    return said_by(by_nodes)


def in_super_learners(**settings: Any) -> Any:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pool: Any = {"batch": BATCH, "samples_per_epoch": 128, "epochs": 2}
    with dualrt.join(
        model, optimizer, algorithm="h-adpsgd", audit=True, **pool, **settings
    ) as group:
        steps = 0
        for batch in batches(RANK):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
            group.step()
            steps += 1
            if group.finished:
                break
    summary = group.summary
    return {
        "model": flat(model),
        "steps": steps,
        "summary": None if summary is None else json.loads(summary.to_json()),
    }


def periodic() -> Any:
    """local-sgd: alike after every period, and not in between."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    course = []
    with dualrt.join(model, optimizer, algorithm="local-sgd", period=3) as group:
        for batch in mine():
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
            group.step()
            course.append(flat(model))
    return {"course": course, "model": flat(model)}


def beside_torch_distributed() -> Any:
    """A script that uses torch.distributed for itself."""
    dist.init_process_group("gloo")
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with dualrt.join(model, optimizer, algorithm="ssgd") as group:
        for batch in mine():
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
            group.step()
    ranks = torch.tensor([float(RANK)])
    dist.all_reduce(ranks)
    dist.destroy_process_group()
    return {"model": flat(model), "ranks": ranks.item()}


def another_model() -> Any:
    """Rank 1 brings another model than rank 0."""
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1 + RANK))
    return said_by(lambda: endless(model))


def in_a_row() -> Any:
    """Joined again and again, after once in vain; descriptors then, and with garbage collected."""
    said = another_model()
    with_garbage = [joined_once(number) for number in range(4)]
    gc.collect()
    without = []
    for number in range(4):
        without.append(joined_once(number))
        gc.collect()
    return {"said": said, "with garbage": with_garbage, "without": without}


def joined_once(number: int) -> int:
    """Join, with groups every other time; how many files this process then has open."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    algorithm = ("adpsgd", "local-sgd")[number % 2]
    with dualrt.join(model, optimizer, algorithm=algorithm, timeout_s=20.0) as group:
        for batch in islice(mine(), 2):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
            group.step()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def an_error() -> Any:
    """The loop of rank 1 raises in its third step; that of rank 0 would go on for ever."""
    return said_by(lambda: endless(network(), lambda step: 1 / (3 - step) if RANK else None))


def a_signal() -> Any:
    """Goes on until a signal comes."""
    endless(network(), lambda step: print("going", flush=True) if step == 3 else None)


def used_by_one() -> Any:
    """ssgd where process 1 uses torch.distributed besides, by itself, and process 0 does not."""
    if RANK == 1:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        return said_by(synchronous)
    finally:
        if RANK == 1:
            dist.destroy_process_group()


def said_by(loop: Callable[[], object]) -> str:
    try:
        loop()
    except (DualrtError, ZeroDivisionError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def endless(model: nn.Module, meanwhile: Callable[[int], object] = id) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with dualrt.join(model, optimizer, timeout_s=600.0) as group:
        for step, (inputs, _) in enumerate(batches(RANK)):
            optimizer.zero_grad()
            model(inputs).square().mean().backward()
            optimizer.step()
            group.step()
            meanwhile(step)


if __name__ == "__main__":
    print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}))
