"""One process of `train_peers.py`: it is told turns on stdin and tells stamps on stdout.

Imports torch once and then trains what it is told, by the medium that it is told: so all media of a
comparison run in the same processes, one after another, on the same model, mini-batches and initial
weights. Not to be run by hand.

A turn is a line {"task", "medium", "learners", "rank", "factors", "gradient_s", "steps", "port",
"address", "interface"}; `steps` are all learners' together. The reply is a line {"steps":
[[second, loss], ...], "processor": [[second, processor second], ...]}, on the machine's monotonic
clock, or {"skipped": reason}. The medium `alone` replies {"gradient_s": ...}: what a gradient of
the task takes.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.distributed.optim import PostLocalSGDOptimizer
from torch.nn.parallel import DistributedDataParallel

from dualrt import api
from dualrt.core.records import Lane, Row, Span, Update
from dualrt.real.rendezvous import Launch
from dualrt.scenario import load
from dualrt.workloads.pool import Pool
from dualrt.workloads.torch_task import Samples

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.train_peers_tasks import ON_DEVICE, SEED, TASKS, Learned, lag

LOOK_S = 0.05
"""Between two looks at the processor's clock."""
PERIOD = 4
"""Steps between two averages of local SGD, theirs and ours, and of AD-PSGD with a period."""
AHEAD = 16
"""Steps that AD-PSGD with an overlap takes beside one exchange, at most."""

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
HIVEMIND_S = 1.0
"""How long hivemind gathers peers for an average: it says 3 to 5 s for small local runs."""


class Turn(NamedTuple):
    """What this process is to do next."""

    task: str
    medium: str
    learners: int
    rank: int
    factors: Sequence[float]
    """How many times longer each learner's gradient takes."""
    gradient_s: float
    """What it takes by itself."""
    steps: int
    """Of all learners together."""
    port: int
    address: str
    """Where the first of them is."""
    interface: str | None
    """Of this process's host, through which the others are reached; None where all are on one."""

    @property
    def lags_s(self) -> list[float]:
        """By how much everyone's takes longer: the same for every medium."""
        return [(factor - 1) * self.gradient_s for factor in self.factors]

    @property
    def steps_in_step(self) -> int:
        """This process's steps where nobody is faster than another."""
        return max(2, self.steps // self.learners)

    @property
    def steps_alone(self) -> int:
        """This process's share of the steps where nobody waits."""
        speeds = [1 / factor for factor in self.factors]
        return max(2, round(self.steps * speeds[self.rank] / sum(speeds)))


class Stamps:
    """When this process's steps were over, and meanwhile its processor time; listens to dualrt.

    Inside its `with` a thread looks at the processor's clock, whoever trains: dualrt tells of steps
    too seldom for that.
    """

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []
        self.processor: list[tuple[float, float]] = []
        self._lead_s = math.inf
        """The clock's, of that of dualrt's run: the least that was seen between them."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="stamps", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def add(self, loss: float) -> None:
        """A step is over."""
        self.steps.append((time.monotonic(), loss))

    def span(self, span: Span) -> None:
        """Nothing: steps are what counts."""

    def update(self, time_s: float, update: Update) -> None:
        """A step of dualrt is over."""
        self.bulk_updates([(time_s, update)])

    def bulk_spans(self, lane: Lane, rows: Sequence[Row]) -> None:
        """Nothing."""

    def bulk_updates(self, applied: Sequence[tuple[float, Update]]) -> None:
        """Steps of dualrt are over."""
        if not applied:
            return
        now_s = time.monotonic()
        self._lead_s = min(self._lead_s, now_s - applied[-1][0])
        self.steps += [(time_s, update.loss or 0.0) for time_s, update in applied]

    def told(self) -> dict[str, Any]:
        """The reply: everything on the machine's clock."""
        lead_s = self._lead_s if math.isfinite(self._lead_s) else 0.0
        return {
            "steps": [(time_s + lead_s, loss) for time_s, loss in self.steps],
            "processor": self.processor,
        }

    def _look(self) -> None:
        while not self._over.is_set():
            self.processor.append((time.monotonic(), time.process_time()))
            self._over.wait(LOOK_S)


class Course:
    """The training loop of someone who uses torch: the task's model, mini-batches and straggler."""

    def __init__(self, turn: Turn, stamps: Stamps) -> None:
        self.turn, self.stamps, self.task = turn, stamps, TASKS[turn.task]
        workload = Learned(seed=SEED, learners=turn.learners, batch=self.task.batch, task=turn.task)
        self.module = self.task.module()
        start = workload.weights(turn.rank).snapshot().vector
        nn.utils.vector_to_parameters(start.clone(), self.module.parameters())
        self._samples = self.task.samples()
        self._pool = Pool(len(self._samples.inputs), self.task.batch, turn.learners, SEED)

    def sgd(self, parameters: Any) -> torch.optim.Optimizer:
        """Plain descent, in place and one tensor after another, which is fastest on a CPU."""
        return torch.optim.SGD(parameters, lr=self.task.rate, foreach=False)

    def run(self, steps: int, model: Callable[[Tensor], Tensor], optimizer: Any = None) -> None:
        """So many steps."""
        lag_s = self.turn.lags_s[self.turn.rank]
        for draw in range(steps):
            inputs, targets = self._batch(draw)
            if optimizer is not None:
                optimizer.zero_grad()
            loss = self.task.loss(model(inputs), targets)
            lag(lag_s)
            torch.autograd.backward(loss)
            told = loss.item()
            if optimizer is not None:
                optimizer.step()
            self.stamps.add(told)

    def _batch(self, draw: int) -> Samples:
        chosen = torch.from_numpy(self._pool.indices(self.turn.rank, draw))
        return Samples(self._samples.inputs[chosen], self._samples.targets[chosen])


@contextmanager
def gloo(turn: Turn) -> Iterator[None]:
    """The process group of a peer."""
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://{turn.address}:{turn.port}",
        rank=turn.rank,
        world_size=turn.learners,
    )
    try:
        yield
        # Whatever holds the group goes first: its last owner joins the group's threads, and one
        # that is garbage of Python's does so with the interpreter's lock, which they may want.
        gc.collect()
        dist.barrier()
    finally:
        dist.destroy_process_group()


def independent(turn: Turn, stamps: Stamps) -> None:
    """Nobody talks: the limit."""
    course = Course(turn, stamps)
    with gloo(turn):  # for its barriers: all begin and end together
        dist.barrier()
        course.run(turn.steps_alone, course.module, course.sgd(course.module.parameters()))


def ddp(turn: Turn, stamps: Stamps, **options: Any) -> None:
    """DistributedDataParallel: gradients in buckets, reduced while backward goes on."""
    course = Course(turn, stamps)
    with gloo(turn):
        model = DistributedDataParallel(course.module, **options)
        course.run(turn.steps_in_step, model, course.sgd(model.parameters()))
        del model


def ddp_one_bucket(turn: Turn, stamps: Stamps) -> None:
    """The same with all gradients in one bucket, so that nothing overlaps."""
    first = dist._DEFAULT_FIRST_BUCKET_BYTES
    dist._DEFAULT_FIRST_BUCKET_BYTES = sys.maxsize
    try:
        ddp(turn, stamps, bucket_cap_mb=1 << 20)
    finally:
        dist._DEFAULT_FIRST_BUCKET_BYTES = first


def post_local_sgd(turn: Turn, stamps: Stamps) -> None:
    """Steps alone, and the mean of all models every few steps."""
    course = Course(turn, stamps)
    with gloo(turn):
        optimizer = PostLocalSGDOptimizer(
            optim=course.sgd(course.module.parameters()),
            averager=PeriodicModelAverager(period=PERIOD),
        )
        course.run(turn.steps_in_step, course.module, optimizer)


def decent_dp(turn: Turn, stamps: Stamps) -> None:
    """decent-dp: the mean with a neighbour, started in one backward and taken in the next.

    Raises ModuleNotFoundError where it is not installed.
    """
    os.environ.setdefault("LOGURU_LEVEL", "ERROR")
    wrapped = import_module("decent_dp.ddp").DecentralizedDataParallel
    course = Course(turn, stamps)
    with gloo(turn):
        model = wrapped(
            course.module,
            optim_fn=lambda named: course.sgd([tensor for _, tensor in named]),
            topology="ring" if turn.learners > 2 else "complete",
            _local_world_size=turn.learners,
        )
        model.train()
        course.run(turn.steps_in_step, model)
        del model


def hivemind(turn: Turn, stamps: Stamps) -> None:
    """hivemind.Optimizer with local updates: models averaged in the background, in rounds.

    As often as it is able to: a round is due every few steps, and takes it seconds to arrange.
    Raises ModuleNotFoundError where it is not installed.
    """
    peer = import_module("hivemind")
    course = Course(turn, stamps)
    with gloo(turn):
        told: list[list[str]] = [[]]
        first = peer.DHT(start=True, host_maddrs=[LOOPBACK]) if turn.rank == 0 else None
        if first is not None:
            told = [[str(address) for address in first.get_visible_maddrs()]]
        dist.broadcast_object_list(told)
        dht = first or peer.DHT(start=True, host_maddrs=[LOOPBACK], initial_peers=told[0])
        optimizer = peer.Optimizer(
            dht=dht,
            run_id=f"turn-{turn.port}",
            target_batch_size=PERIOD * turn.learners * course.task.batch,
            batch_size_per_step=course.task.batch,
            optimizer=course.sgd(course.module.parameters()),
            use_local_updates=True,
            matchmaking_time=HIVEMIND_S,
            averaging_timeout=4 * HIVEMIND_S,
        )
        try:
            dist.barrier()
            course.run(turn.steps_alone, course.module, optimizer)
        finally:
            optimizer.shutdown()
            dht.shutdown()


def ours(turn: Turn, stamps: Stamps, medium: str = "", **settings: Any) -> None:
    """dualrt, by the function that `dualrt train` calls in each process."""
    task = TASKS[turn.task]
    samples = len(task.samples().inputs) // task.batch * task.batch
    overrides = {
        "seed": SEED,
        "learners": turn.learners,
        "algorithm.name": json.dumps(medium or turn.medium),
        "workload": f'{{ name = "{Learned.__module__}:Learned", batch = {task.batch}, '
        f'task = "{turn.task}", '
        f"lags_s = {turn.lags_s} }}",
        "training.epochs": turn.steps * task.batch / samples,
        "training.schedule.rate": task.rate,
        **{f"algorithm.{key}": value for key, value in settings.items()},
    }
    if turn.interface is not None:
        # Nothing is encrypted, as with the peers.
        overrides |= {"real.interface": turn.interface, "real.curve": "off"}
    scenario = load("digits-adpsgd", [f"{key}={value}" for key, value in overrides.items()])
    os.environ.update(
        RANK=str(turn.rank),
        WORLD_SIZE=str(turn.learners),
        MASTER_ADDR=turn.address,
        MASTER_PORT=str(turn.port),
    )
    if turn.interface is not None:
        os.environ.update(LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", GROUP_WORLD_SIZE=str(turn.learners))
    launch = Launch.from_environment()
    assert launch is not None
    api.train(scenario, launch, observer=stamps)


def gradient_s(turn: Turn) -> float:
    """What a gradient takes: of the processor's time, which others do not add to, or the device's.

    The least of several medians, as the first ones warm up.
    """
    workload = Learned(seed=SEED, learners=1, batch=TASKS[turn.task].batch, task=turn.task)
    at = workload.weights(0).view().vector
    clock = time.monotonic if turn.task in ON_DEVICE else time.thread_time

    def once(draw: int) -> float:
        began_s = clock()
        workload.gradient(at, 0, draw)
        return clock() - began_s

    return min(median(once(draw) for draw in range(9)) for _ in range(3))


MEDIA: Mapping[str, Callable[[Turn, Stamps], None]] = {
    "independent": independent,
    "ddp": ddp,
    "ddp-one-bucket": ddp_one_bucket,
    "post-local-sgd": post_local_sgd,
    "decent-dp": decent_dp,
    "hivemind": hivemind,
    "ssgd": ours,
    "local-sgd": lambda turn, stamps: ours(turn, stamps, period=PERIOD),
    "sd-psgd": ours,
    "adpsgd": ours,
    "adpsgd-4th": lambda turn, stamps: ours(turn, stamps, "adpsgd", period=PERIOD),
    "adpsgd-ahead": lambda turn, stamps: ours(turn, stamps, "adpsgd", overlap=AHEAD),
}


def reply(turn: Turn) -> dict[str, Any]:
    """Take a turn."""
    if turn.medium == "alone":
        return {"gradient_s": gradient_s(turn)}
    stamps = Stamps()
    try:
        with stamps:
            MEDIA[turn.medium](turn, stamps)
    except ModuleNotFoundError as missing:
        return {"skipped": f"{missing.name} is not installed"}
    return stamps.told()


def main() -> None:
    """Answer until stdin ends."""
    torch.set_num_threads(1)
    # What libraries print, gloo's C++ too, must not get between the replies.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(reply(Turn(**json.loads(line)))), file=answers, flush=True)


if __name__ == "__main__":
    main()
