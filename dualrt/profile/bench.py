"""Bench: what one process measures, each figure by doing what a real learner does.

Owns the things that are timed and the timing of them. Must not know what the others do meanwhile,
nor what becomes of the figures.

Every method whose result is a list of seconds repeats one thing for a while, at least
`LEAST_REPEATS` times, after having done it once untimed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dualrt.composition import Composition
from dualrt.core.effects import Packet
from dualrt.core.errors import UsageError
from dualrt.scenario import Scenario

if TYPE_CHECKING:
    import torch

    from dualrt.core.workload import Workload
    from dualrt.real.gossip import Gossip

LEAST_REPEATS = 3
MOST_REPEATS = 5_000

TINY = 4
"""Entries of a vector whose update takes no time but that of being asked for."""

COPY_BYTES = 1 << 26
"""Size of the block whose copy shows the memory's bandwidth: more than caches hold."""


class Bench:
    """The measurements of one process.

    Parameters: `scenario` for a batch; the process's `rank`, and the number of all; the `device`,
    "auto", "cpu" or "cuda". Raises UsageError if that device is not there.
    """

    def __init__(
        self, scenario: Callable[[int], Scenario], rank: int, processes: int, device: str
    ) -> None:
        import torch

        from dualrt.real.hardware import choose_device
        from dualrt.real.rendezvous import Launch

        self._scenario, self._rank = scenario, rank
        self._device = choose_device(device, Launch(rank, processes, rank, processes))
        self._torch = torch
        self._workload: Workload[Any] | None = None
        self._draw = 0
        self._gossip: Gossip | None = None

    def about(self) -> dict[str, Any]:
        """What computes here."""
        torch = self._torch
        cuda = self._device.type == "cuda"
        name = torch.cuda.get_device_name(self._device) if cuda else ""
        return {"device": self._device.type, "device_name": name, "torch": torch.__version__}

    def load(self, batch: int) -> dict[str, Any]:
        """Make the workload with that batch; returns its sizes and costs.

        Raises UsageError for a workload without numbers, and for a batch that it cannot have.
        """
        self._workload = None  # What was there may be large.
        scenario = self._scenario(batch)
        self._torch.set_num_threads(scenario.real.threads_per_learner)
        workload = Composition(scenario, scenario.training.epochs, scenario.learners).workload(
            device=str(self._device)
        )
        # There may be more processes than learners.
        self._seat = self._rank % scenario.learners
        self._weights = workload.weights(self._seat)
        self._vector = self._weights.snapshot().vector
        if not isinstance(self._vector, self._torch.Tensor):
            raise UsageError(
                f"workload {scenario.workload.name!r} has no numbers, so there is nothing to "
                f"measure. Profile one that computes: digits, speech, quadratic, or your own"
            )
        self._workload, self._draw, self._batch = workload, 0, batch
        cost = workload.gradient_cost
        return {
            "parameters_bytes": self._weights.nbytes,
            "flops": cost.flops,
            "threads": scenario.real.threads_per_learner,
        }

    def gradient(self, for_s: float) -> list[float]:
        """Of a mini-batch, another one each time."""
        return self._repeated(self._one_gradient, for_s)

    def _one_gradient(self) -> None:
        assert self._workload is not None
        self._workload.gradient(self._vector, self._seat, self._draw)
        self._draw += 1

    @contextmanager
    def _computing(self, busy: bool) -> Iterator[list[float]]:
        """Have gradients computed by a thread of their own meanwhile, as in a run; gives times."""
        times_s: list[float] = []
        if not busy:
            yield times_s
            return
        enough = threading.Event()

        def compute() -> None:
            while not enough.is_set():
                times_s.append(self._timed(self._one_gradient))

        thread = threading.Thread(target=compute)
        thread.start()
        try:
            yield times_s
        finally:
            enough.set()
            thread.join()

    def gradient_work(self, for_s: float) -> list[float]:
        """The same, in seconds of a processor: however often others had their turns meanwhile."""
        return self._repeated(self._one_gradient, for_s, time.process_time)

    def train(self, learners: int, steps: int) -> dict[str, float]:
        """Train by AD-PSGD with the others, as many steps by all of them; what it takes of a
        processor, and how many steps this process has made.

        It is the transport's last use: `listen` anew for another.
        """
        from dualrt.observe.tally import Tally
        from dualrt.real.driver import RealDriver

        scenario, gossip = self._scenario(self._batch), self._gossip
        assert gossip is not None
        scenario = scenario.model_copy(
            update={
                "learners": learners,
                "algorithm": scenario.algorithm.model_validate({"name": "adpsgd"}),
                "topology": type(scenario.topology)(),
            }
        )
        composition = Composition(scenario, scenario.training.epochs, learners)
        workload = composition.workload(device=str(self._device))
        epochs = steps * self._batch / workload.samples_per_epoch
        composition = Composition(scenario, epochs, learners)
        learner = composition.learner(self._rank, workload, 0)
        began_s = time.process_time()
        RealDriver(
            learner,
            gossip,
            None,
            Tally(learners),
            timeout_s=scenario.real.timeout_s,
            device=self._device,
        ).run()
        return {"work_s": time.process_time() - began_s, "steps": learner.step}

    def update(self, for_s: float) -> list[float]:
        """Of the weights by a gradient, with the scenario's optimizer."""
        gradient, read = self._torch.zeros_like(self._vector), self._weights.versions.freeze()
        return self._repeated(lambda: self._weights.descend(gradient, 0.0, read), for_s)

    def launch(self, for_s: float) -> list[float]:
        """Of an update of next to nothing."""
        from dualrt.workloads.torch_weights import TorchWeights

        tiny = TorchWeights(0, 1, self._torch.zeros(TINY, device=self._device))
        gradient, read = tiny.snapshot().vector, tiny.versions.freeze()
        return self._repeated(lambda: tiny.descend(gradient, 0.0, read), for_s)

    def blend(self, for_s: float) -> list[float]:
        """Of the weights with a peer's."""
        mine, theirs = self._weights.snapshot(), self._weights.snapshot()
        return self._repeated(lambda: self._weights.blend(mine, theirs, 0.5), for_s)

    def copy(self, for_s: float) -> list[float]:
        """Of a block of `COPY_BYTES` in the host's memory."""
        source = self._torch.zeros(COPY_BYTES, dtype=self._torch.uint8)
        target = self._torch.empty_like(source)
        return self._repeated(lambda: target.copy_(source), for_s)

    def up(self, for_s: float, nbytes: int) -> list[float]:
        """Of so many bytes on their way from the device to the host's memory, as they are sent."""
        from dualrt.real.lanes import Lanes
        from dualrt.real.staging import bring_down

        there = self._torch.zeros(max(1, nbytes), dtype=self._torch.uint8, device=self._device)
        # When it is there: this waits for it.
        lane = Lanes.of(self._device).of_strand(daemon=True)
        here = memoryview(bytearray(len(there)))
        with lane.use():
            return self._repeated(lambda: bring_down(lane, there, here, int), for_s)

    def down(self, for_s: float, nbytes: int) -> list[float]:
        """The same, to the device."""
        from dualrt.real.lanes import Lanes
        from dualrt.real.staging import DeviceBodies

        lane = Lanes.of(self._device).of_strand(daemon=True)
        here, bodies = bytes(max(1, nbytes)), DeviceBodies(lane)

        def bring_up() -> None:
            body = bodies.take(len(here))
            body.fill(0, here)
            body.tensor(self._torch.uint8, (len(here),))

        with lane.use():
            return self._repeated(bring_up, for_s)

    def listen(self, body_bytes: int) -> str:
        """Open the transport for bodies of that size; returns its address."""
        from dualrt.real.gossip import Gossip

        real = self._scenario(1).real
        self._gossip = Gossip(
            self._rank,
            run_id="profile",
            timeout_s=real.timeout_s,
            interface=real.interface,
            ports=real.port_range,
            shares_memory=real.shared_memory,
            max_body_bytes=max(1, body_bytes),
        )
        return self._gossip.address

    def connect(self, addresses: Mapping[str, str]) -> None:
        """Make the others known, and wait until they answer."""
        assert self._gossip is not None
        known = {int(rank): address for rank, address in addresses.items()}
        self._gossip.connect(known, greet=known)

    def exchange(
        self, peer: int, nbytes: int, for_s: float, busy: bool = False
    ) -> dict[str, list[float]]:
        """Of an offer and its answer, with bodies of that size, while the peer calls `answer`.

        If `busy`, a gradient begins with each and is waited for, as in a step of a run.
        """
        assert self._gossip is not None
        gossip, body = self._gossip, self._body(nbytes)

        def once(more: bool = True) -> None:
            gossip.send(peer, "offer", Packet(body=body, note=more))
            gossip.recv("answer", peer)

        if not busy:
            times_s = self._repeated(once, for_s)
            once(more=False)
            return {"exchanges": times_s, "gradients": []}
        exchanges_s: list[float] = []
        gradients_s: list[float] = []

        def step() -> None:
            helper = threading.Thread(target=lambda: exchanges_s.append(self._timed(once)))
            helper.start()
            gradients_s.append(self._timed(self._one_gradient))
            helper.join()

        self._repeated(step, for_s)
        once(more=False)
        return {"exchanges": exchanges_s[1:], "gradients": gradients_s[1:]}

    def answer(self, peer: int, nbytes: int, busy: bool = False) -> dict[str, list[float]]:
        """Answer offers until the peer says that there are no more.

        If `busy`, gradients are computed one after another meanwhile.
        """
        assert self._gossip is not None
        gossip, body = self._gossip, self._body(nbytes)
        more = True
        with self._computing(busy) as gradients_s:
            while more:
                more = bool(gossip.recv("offer", peer).packet.note)
                gossip.send(peer, "answer", Packet(body=body))
        return {"exchanges": [], "gradients": gradients_s}

    def hang_up(self) -> None:
        """Close the transport, if it is open."""
        if self._gossip is not None:
            self._gossip.close()
            self._gossip = None

    def _body(self, nbytes: int) -> torch.Tensor | None:
        return self._torch.zeros(nbytes, dtype=self._torch.uint8) if nbytes else None

    def _repeated(
        self,
        once: Callable[[], object],
        for_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> list[float]:
        self._timed(once)
        times_s: list[float] = []
        end_s = time.perf_counter() + for_s
        while len(times_s) < LEAST_REPEATS or time.perf_counter() < end_s:
            times_s.append(self._timed(once, clock))
            if len(times_s) == MOST_REPEATS:
                break
        return times_s

    def _timed(
        self, once: Callable[[], object], clock: Callable[[], float] = time.perf_counter
    ) -> float:
        began_s = clock()
        once()
        if self._device.type == "cuda":
            self._torch.cuda.current_stream(self._device).synchronize()
        return clock() - began_s
