"""What gossip costs a training step that goes on beside it, and how fast weights are blended.

    python benchmarks/gpu_overlap.py [--json] [--device cuda|cpu] [--small] [--turns N]

A learner trains on the device, by the real runtime's driver, and a strand of its own exchanges its
weights all the while, as fast as it can, with a process that sends back what it is offered: down,
there, back, up and blended. Steps alone and steps beside that are timed by turns, in one run. It is
more gossip than AD-PSGD asks for, which starts one exchange a step and waits for it. Before that,
and after, a bare loop of torch's trains the same model: forward, backward, SGD, loss.item().

    blstm          the acoustic model of arXiv 1907.05701, mini-batches of 128 segments, float32
    transformer    12 layers of 768, 100 M parameters, 16 sequences of 256 tokens, bfloat16

A blend reads three vectors and writes one; a copy reads one and writes one. Both are timed on
vectors of the model's size.

Without CUDA it ends with exit code 2, unless `--device cpu` is said, where bodies go down and up
through the same buffers. `--small` is for that: models of no use but to go every way there is. It
needs torch and a few packages (docs/gpu.md says which, and how to bring them to a machine that
cannot download anything).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

ROOT = Path(__file__).resolve().parents[1]
# From a checkout on a machine where only torch was installed.
sys.path.insert(0, str(ROOT))

try:
    import torch
    from rich.table import Table
    from torch import Tensor, nn

    from benchmarks.figures import options, tell
    from dualrt.core.effects import Packet, Recv, Send
    from dualrt.core.learner import Layout, Learner, Seat, Strand
    from dualrt.core.progress import Constant, Progress
    from dualrt.core.records import Span, Update
    from dualrt.core.weights import Snapshot
    from dualrt.real import watchdog
    from dualrt.real.driver import RealDriver
    from dualrt.real.gossip import Gossip
    from dualrt.real.lanes import HostLane, Lanes
    from dualrt.workloads.asr.blstm import AcousticModel, frame_cross_entropy
    from dualrt.workloads.torch_task import Samples, TorchTask
    from dualrt.workloads.torch_weights import TorchWeights
except ModuleNotFoundError as missing:
    print(f"gpu_overlap: there is no {missing.name}; pip install '.[train]'", file=sys.stderr)
    raise SystemExit(2) from None

TIMEOUT_S = 120.0
PEER_TIMEOUT_S = 3600.0
"""The peer waits as long as the turns go on; it ends with its parent."""
WARM_STEPS = 3
RATE = 1e-4
TRAINER, PEER = 0, 1
MODELS = ("blstm", "transformer")

KEYS = {
    "device": "what computed, by its name",
    "torch": "version",
    "small": "whether the models were those of --small",
    "MODEL.parameters": "weights of the model",
    "MODEL.step_bare_ms": "a step of a bare loop of torch's; median of the turns",
    "MODEL.step_alone_ms": "a step with nothing beside it; median of the turns",
    "MODEL.step_beside_ms": "a step while weights are exchanged all the time; median of the turns",
    "MODEL.step_ratio": "beside / alone; goal: below 1.03",
    "MODEL.bare_ratio": "alone / bare",
    "MODEL.exchanges": "exchanges that were made meanwhile",
    "MODEL.exchanged_bytes_per_s": "bytes of the models that went there and back, meanwhile",
    "MODEL.blend_bytes_per_s": "four vectors / the time of a blend",
    "MODEL.copy_bytes_per_s": "two vectors / the time of a copy on the device",
    "MODEL.blend_ratio": "blend / copy; goal: 0.8 or more",
}


class Plan(NamedTuple):
    """How long, and of which size."""

    device: torch.device
    small: bool
    turns: int
    block_s: float
    """How long a turn's steps go on, alone and beside."""


class Transformer(nn.Module):
    """Predicts each token from those before it. Embedding and output are one matrix."""

    def __init__(self, words: int, width: int, heads: int, layers: int, tokens: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.places = nn.Parameter(torch.zeros(tokens, width))
        nn.init.normal_(self.words.weight, std=0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits `[batch, tokens, words]` of `[batch, tokens]`."""
        hidden = self.words(tokens) + self.places
        mask = nn.Transformer.generate_square_subsequent_mask(
            tokens.shape[1], device=tokens.device, dtype=hidden.dtype
        )
        for layer in self.layers:
            hidden = layer(hidden, src_mask=mask, is_causal=True)
        return nn.functional.linear(self.norm(hidden), self.words.weight)


class Block:
    """Steps one after another, for a while."""

    def __init__(self, for_s: float) -> None:
        self._for_s, self._began_s = for_s, time.perf_counter()
        self._passed_s, self._steps = 0.0, -1

    def goes_on(self) -> bool:
        """Whether another step is to be taken; asked before each."""
        self._steps += 1
        self._passed_s = time.perf_counter() - self._began_s
        return self._passed_s < self._for_s or self._steps < 2

    @property
    def step_s(self) -> float:
        """What one took."""
        return self._passed_s / self._steps


class Recipe(NamedTuple):
    """What is trained, whoever trains it."""

    module: Callable[[], nn.Module]
    batch: int
    training: Samples
    precision: str = "float32"

    def task(self, plan: Plan) -> TorchTask:
        """For a learner."""
        return TorchTask(
            seed=1,
            learners=2,
            batch=self.batch,
            module=self.module,
            training=self.training,
            held_out=Samples(*(part[:0] for part in self.training)),
            loss=frame_cross_entropy,
            device=str(plan.device),
            precision=self.precision,
        )

    def bare(self, plan: Plan) -> Callable[[], object]:
        """A step of a loop that any user of torch would write."""
        module = self.module().to(plan.device)
        optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
        inputs, targets = (part[: self.batch].to(plan.device) for part in self.training)

        def step() -> float:
            optimizer.zero_grad()
            narrow = self.precision != "float32"
            with torch.autocast(plan.device.type, torch.bfloat16, enabled=narrow):
                loss = frame_cross_entropy(module(inputs), targets)
            torch.autograd.backward(loss)
            optimizer.step()
            return loss.item()

        return step


def blstm(plan: Plan) -> Recipe:
    """The paper's acoustic model on noise."""
    layers, cells, projection, states = (2, 16, 8, 50) if plan.small else (6, 512, 256, 32_000)
    batch = 8 if plan.small else 128
    generator = torch.Generator().manual_seed(1)
    training = Samples(
        torch.randn(4 * batch, 21, 260, generator=generator),
        torch.randint(0, states, (4 * batch, 21), generator=generator),
    )
    return Recipe(lambda: AcousticModel(260, layers, cells, projection, states), batch, training)


def transformer(plan: Plan) -> Recipe:
    """A language model on noise, in bfloat16."""
    words, width, heads, layers = (200, 32, 2, 2) if plan.small else (19_200, 768, 12, 12)
    batch, tokens = (4, 16) if plan.small else (16, 256)
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(0, words, (4 * batch, tokens + 1), generator=generator)
    training = Samples(drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous())
    return Recipe(
        lambda: Transformer(words, width, heads, layers, tokens), batch, training, "bfloat16"
    )


@final
class Trainer(Learner):
    """Trains by turns alone and beside gossip, and keeps what a step took."""

    def __init__(self, seat: Seat, plan: Plan) -> None:
        super().__init__(seat)
        self._plan = plan
        self._enough = False
        self.alone_s: list[float] = []
        self.beside_s: list[float] = []
        self.exchanges = 0
        self.gossiped_s = 0.0

    def strands(self) -> Sequence[Strand]:
        return Strand("train", self._train), Strand("gossip", self._gossip, daemon=True)

    async def _train(self) -> None:
        for _ in range(WARM_STEPS):
            await self._step()
        # Not timed: whatever is compiled and allocated for the first time.
        await self._beside()
        self.beside_s.clear()
        self.exchanges, self.gossiped_s = 0, 0.0
        for _ in range(self._plan.turns):
            self.alone_s.append(await self._step_s())
            await self._beside()
        await Send(PEER, "over", Packet())

    async def _beside(self) -> None:
        self._enough = False
        began_s = time.perf_counter()
        await Send(TRAINER, "go", Packet())
        self.beside_s.append(await self._step_s())
        self._enough = True
        await Recv("halted")
        self.gossiped_s += time.perf_counter() - began_s

    async def _step_s(self) -> float:
        """What a step takes. The driver waits for the device after each computation."""
        block = Block(self._plan.block_s)
        while block.goes_on():
            await self._step()
        return block.step_s

    async def _step(self) -> None:
        read = self.weights.snapshot()
        await self.descend(await self.gradient(read), read)

    async def _gossip(self) -> None:
        while True:
            await Recv("go")
            while not self._enough:
                mine = self.weights.offer(PEER)
                await Send(PEER, "offer", Packet(mine.versions, mine.vector))
                _, answer = await Recv("answer", PEER)
                await self.blend(mine, Snapshot(answer.body, answer.versions), 0.5)
                self.exchanges += 1
            await Send(TRAINER, "halted", Packet())


@final
class Answerer(Learner):
    """Answers every offer with the same, and computes nothing."""

    def strands(self) -> Sequence[Strand]:
        return Strand("wait", self._wait), Strand("answer", self._answer, daemon=True)

    async def _wait(self) -> None:
        await Recv("over")

    async def _answer(self) -> None:
        while True:
            _, offer = await Recv("offer")
            await Send(TRAINER, "answer", offer)


class _Nobody:
    def span(self, span: Span) -> None:
        """Not kept."""

    def update(self, time_s: float, update: Update) -> None:
        """Not kept."""


class _Apart(HostLane):
    """The CPU as if its memory were not the host's, so that bodies go down and up."""

    apart = True


def _seat(rank: int, weights: TorchWeights, workload: Any) -> Seat:
    endless = Progress(
        epochs=float("inf"), samples_per_epoch=1, samples_per_update=1, schedule=Constant(RATE)
    )
    layout = Layout(replicas=(TRAINER, PEER))
    return Seat(rank, 2, weights, workload, endless, layout, mixing=None)


def _gossip(rank: int, nbytes: int) -> Gossip:
    most = 2 * nbytes + (1 << 20)
    return Gossip(rank, run_id="overlap", timeout_s=TIMEOUT_S, max_body_bytes=most)


def answer(address: str, parameters: int) -> None:
    """What the other process does: tell its address, and answer until it is over."""
    watchdog.end_with(os.getppid())
    weights = TorchWeights(PEER, 2, torch.zeros(parameters))
    with _gossip(PEER, weights.nbytes) as gossip:
        print(gossip.address, flush=True)
        gossip.connect({TRAINER: address, PEER: gossip.address})
        learner = Answerer(_seat(PEER, weights, None))
        host = torch.device("cpu")
        RealDriver(learner, gossip, None, _Nobody(), timeout_s=PEER_TIMEOUT_S, device=host).run()


def measured(name: str, plan: Plan) -> dict[str, Any]:
    """The figures of one model."""
    recipe = {"blstm": blstm, "transformer": transformer}[name](plan)
    bare_s = bare_steps_s(recipe, plan)
    workload = recipe.task(plan)
    weights = workload.weights(TRAINER)
    parameters = len(weights.snapshot().vector)
    with _gossip(TRAINER, weights.nbytes) as gossip:
        words = ["--answer", gossip.address, "--parameters", str(parameters)]
        peer = subprocess.Popen(
            [sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True
        )
        try:
            assert peer.stdout is not None
            gossip.connect(
                {TRAINER: gossip.address, PEER: peer.stdout.readline().strip()}, greet=[PEER]
            )
            learner = Trainer(_seat(TRAINER, weights, workload), plan)
            lanes = None if plan.device.type == "cuda" else Lanes(lambda urgent: _Apart())
            RealDriver(
                learner,
                gossip,
                None,
                _Nobody(),
                timeout_s=TIMEOUT_S,
                device=plan.device,
                lanes=lanes,
            ).run()
            peer.wait(TIMEOUT_S)
        finally:
            peer.kill()
            peer.communicate()
    bare_s += bare_steps_s(recipe, plan)
    bare, alone_s, beside_s = map(statistics.median, (bare_s, learner.alone_s, learner.beside_s))
    moved = learner.exchanges * 2 * weights.nbytes
    blend, copied = blend_and_copy_bytes_per_s(weights, plan)
    return {
        "parameters": parameters,
        "step_bare_ms": 1e3 * bare,
        "step_alone_ms": 1e3 * alone_s,
        "step_beside_ms": 1e3 * beside_s,
        "step_ratio": beside_s / alone_s,
        "bare_ratio": alone_s / bare,
        "exchanges": learner.exchanges,
        "exchanged_bytes_per_s": moved / learner.gossiped_s,
        "blend_bytes_per_s": blend,
        "copy_bytes_per_s": copied,
        "blend_ratio": blend / copied,
    }


def bare_steps_s(recipe: Recipe, plan: Plan) -> list[float]:
    """What a step of a bare loop takes, in each of some blocks."""
    step = recipe.bare(plan)
    for _ in range(WARM_STEPS):
        step()
    blocks = []
    for _ in range((plan.turns + 1) // 2):
        block = Block(plan.block_s)
        while block.goes_on():
            step()
        blocks.append(block.step_s)
    return blocks


def blend_and_copy_bytes_per_s(weights: TorchWeights, plan: Plan) -> tuple[float, float]:
    """Of a blend, which moves four vectors, and of a copy, which moves two."""
    mine = weights.snapshot()
    theirs = Snapshot(mine.vector + 1, mine.versions)
    there = torch.empty_like(mine.vector)

    def per_s(work: Callable[[], object], vectors: int) -> float:
        times_s = []
        for _ in range(7):
            _await(plan.device)
            began_s = time.perf_counter()
            for _ in range(rounds):
                work()
            _await(plan.device)
            times_s.append((time.perf_counter() - began_s) / rounds)
        return vectors * weights.nbytes / statistics.median(times_s)

    rounds = 20 if plan.device.type == "cuda" else 2
    blend = per_s(lambda: weights.blend(mine, theirs, 0.5), 4)
    return blend, per_s(lambda: there.copy_(mine.vector), 2)


def _await(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def main() -> int:
    """Print the figures of both models."""
    parser = options((__doc__ or "").partition("\n")[0], KEYS)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="models that a CPU steps in no time")
    parser.add_argument("--turns", type=int, default=5, help="of steps alone and steps beside")
    parser.add_argument("--block-s", type=float, default=2.0, help="how long the steps of a turn")
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    parser.add_argument("--parameters", type=int, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.answer is not None:
        answer(words.answer, words.parameters)
        return 0
    if words.device == "cuda" and not torch.cuda.is_available():
        print("gpu_overlap: there is no CUDA device here; --device cpu --small", file=sys.stderr)
        return 2
    device = torch.device("cuda", 0) if words.device == "cuda" else torch.device("cpu")
    plan = Plan(device, words.small, words.turns, words.block_s)
    told: dict[str, Any] = {
        "device": _named(device),
        "torch": torch.__version__,
        "small": plan.small,
        **{name: measured(name, plan) for name in MODELS},
    }
    tell(told, table, as_json=words.json)
    return 0


def table(figures: dict[str, Any]) -> Table:
    """A column a model."""
    small = ", small models" if figures["small"] else ""
    made = Table("", *MODELS, title=f"{figures['device']}, torch {figures['torch']}{small}")
    keys = {key: None for name in MODELS for key in figures[name]}
    for key in keys:
        cells = (figures[name].get(key) for name in MODELS)
        made.add_row(key, *("" if cell is None else f"{cell:,.6g}" for cell in cells))
    return made


if __name__ == "__main__":
    sys.exit(main())
