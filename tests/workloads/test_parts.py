"""Few entries on the wire: which, that the sum stays what it is, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dualrt import api
from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.composition import Composition
from dualrt.core.effects import Cost, Packet
from dualrt.core.errors import RunError, ScenarioError
from dualrt.core.learner import Learner
from dualrt.core.weights import Gradient
from dualrt.real.wire import Assembly, HostBodies, seal
from dualrt.scenario import load
from dualrt.workloads import torch_parts
from dualrt.workloads.parts import entries
from dualrt.workloads.torch_parts import Parts
from dualrt.workloads.torch_weights import TorchWeights
from tests.support.exact import learners_of
from tests.support.runs import Case
from tests.support.simulated import simulate
from tests.support.stage import train
from tests.support.weather import DELAYS, weather

SIZE = 12
DIGITS = ("digits-adpsgd", ["training.epochs=10"])


class Integral:
    """Gradients of whole numbers for weights of 12 of them.

    With shares of 1/2 and few steps nothing is ever rounded in float64, so sums are exact.
    """

    samples_per_epoch, batch = 24, 1
    gradient_cost = Cost("gradient", samples=1, flops=1e9)

    def __init__(self, learners: int, fraction: float) -> None:
        self._learners, self._fraction = learners, fraction

    def weights(self, rank: int) -> TorchWeights:
        start = torch.arange(SIZE, dtype=torch.float64) * (rank + 1)
        made = TorchWeights(rank, self._learners, start, audit=True)
        made.wire, made.wire_fraction = "top-k", self._fraction
        return made

    def gradient(self, at: Tensor, rank: int, draw: int) -> Gradient[Tensor]:
        numbers = [(rank * 31 + draw * 17 + entry * 7) % 13 - 6 for entry in range(SIZE)]
        return Gradient(torch.tensor(numbers, dtype=torch.float64), None)

    def evaluate(self, at: Tensor) -> dict[str, float]:
        return {}

    def consensus(self, vectors: Any) -> Any:
        return vectors[0], None

    def digest(self, vector: Tensor) -> bytes:
        return b""


def moved_in(learners: Sequence[Learner]) -> list[list[Fraction]]:
    """By learner and entry, what averaging has brought."""
    moved = [learner.weights.unexplained() for learner in learners]
    return [list(map(Fraction, vector.tolist())) for vector in moved if vector is not None]


def in_all(moved: list[list[Fraction]]) -> list[Fraction]:
    """By entry, over all learners."""
    return [sum(entry, Fraction(0)) for entry in zip(*moved, strict=True)]


fractions = st.sampled_from([0.01, 0.2, 0.5, 1.0])


@settings(max_examples=60)
@given(
    learners=st.integers(2, 5),
    fraction=fractions,
    exchange=st.sampled_from(["delta", "lock"]),
    delay=st.sampled_from(["none", *DELAYS]),
    seed=st.integers(0, 99),
)
def test_the_sum_is_conserved_exactly_whatever_the_delays(
    learners: int, fraction: float, exchange: str, delay: str, seed: int
) -> None:
    case = Case(ADPSGD, learners, {"exchange": exchange}, graph="path", seed=seed)
    team = case.cast(Integral(learners, fraction))
    with weather(DELAYS.get(delay, lambda _: 0.0), seed):
        log = simulate(team, case.where())
    moved = moved_in(team)
    assert in_all(moved) == [0] * SIZE
    # Though each was moved.
    assert all(any(vector) for vector in moved)
    assert len(log.updates) >= Integral.samples_per_epoch


@pytest.mark.parametrize("exchange", ["delta", "lock"])
def test_the_sum_is_conserved_exactly_by_real_threads(exchange: str) -> None:
    team = learners_of(ADPSGD, Integral(3, 0.3), 3, {"exchange": exchange}, graph="path")
    train(team)
    assert in_all(moved_in(team)) == [0] * SIZE


def pair(fraction: float, *vectors: list[float]) -> list[TorchWeights]:
    """Learners that start at zero, and then descend to these vectors."""
    made = []
    for rank, vector in enumerate(vectors):
        weights = TorchWeights(rank, len(vectors), torch.zeros(len(vector)))
        weights.wire, weights.wire_fraction = "top-k", fraction
        # The first offer is where the error memory begins.
        weights.offer(1 - rank)
        weights.descend(-torch.tensor(vector), 1.0, [0] * len(vectors))
        made.append(weights)
    return made


def exchange(first: TorchWeights, second: TorchWeights, share: float = 0.5) -> None:
    offer = first.offer(second.rank)
    answer = second.answer(offer.vector)
    second.blend(answer, offer, share)
    first.heed(second.rank, answer.vector)
    first.blend(offer, answer, share)


def now(weights: TorchWeights) -> list[float]:
    vector: list[float] = weights.snapshot().vector.tolist()
    return vector


def test_what_changed_most_is_averaged_and_the_rest_keeps_its_turn() -> None:
    first, second = pair(0.25, [1.0, 8.0, 2.0, 4.0], [0.0] * 4)
    exchange(first, second)
    assert now(first) == [1.0, 4.0, 2.0, 4.0]
    assert now(second) == [0.0, 4.0, 0.0, 0.0]
    for _ in range(6):
        exchange(first, second)
    assert now(first) == now(second) == [0.5, 4.0, 1.0, 2.0]


def test_who_only_answers_is_heard_by_the_next_offer() -> None:
    first, second = pair(0.5, [0.0] * 4, [0.0, 0.0, 0.0, 8.0])
    exchange(first, second)
    exchange(first, second)
    assert now(first) == now(second) == [0.0, 0.0, 0.0, 4.0]


def test_what_is_given_up_on_its_way_is_offered_again() -> None:
    first, second = pair(0.25, [1.0, 8.0, 2.0, 5.0], [0.0] * 4)
    lost, again = first.offer(1), first.offer(1)
    assert torch.equal(lost.vector, again.vector)
    exchange(first, second)
    assert not torch.equal(first.offer(1).vector[:4], again.vector[:4])


def test_the_largest_of_a_long_vector_are_all_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_parts, "SAMPLE", 256)
    generator = torch.Generator().manual_seed(5)
    spread = torch.randn(20_000, generator=generator).abs()
    # And one whose large entries a sample of every 78th does not meet.
    hidden = torch.zeros(20_000)
    hidden[1:200:2] = 1.0
    for vector in (spread, hidden):
        parts = Parts(torch.zeros(20_000), 0.005)
        offer = parts.offer(vector, 1)
        values = offer[entries(20_000, 0.005) * 4 :].clone().view(torch.float32)
        assert torch.equal(values.sort().values, vector.topk(100).values.sort().values)


def places(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32).view(torch.uint8)


VALUES = torch.tensor([1.0, 2.0]).view(torch.uint8)


@pytest.mark.parametrize(
    ("offer", "says"),
    [
        (torch.cat((places(0, 4), VALUES)), "not ascending from 0 to 3"),
        (torch.cat((places(-1, 2), VALUES)), "not ascending from 0 to 3"),
        (torch.cat((places(2, 2), VALUES)), "not ascending from 0 to 3"),
        (torch.cat((places(3, 1), VALUES)), "not ascending from 0 to 3"),
        (torch.cat((places(0, 1, 2), VALUES)), "takes 16 bytes"),
        (VALUES[:0], "takes 16 bytes"),
        (torch.zeros(4), "what came is torch.float32"),
        (torch.zeros(4, 4, dtype=torch.uint8), "takes 16 bytes"),
    ],
)
def test_a_part_that_is_none_is_refused_before_it_is_used(offer: Tensor, says: str) -> None:
    weights, peer = pair(0.5, [1.0, 2.0, 3.0, 4.0], [0.0] * 4)
    before, answer = now(weights), weights.answer(peer.offer(0).vector)
    with pytest.raises(RunError, match=says):
        weights.answer(offer)
    with pytest.raises(RunError, match=says):
        weights.blend(answer, answer._replace(vector=offer), 0.5)
    assert now(weights) == before


def test_an_answer_is_checked_like_an_offer() -> None:
    weights = pair(0.5, [1.0, 2.0, 3.0, 4.0], [0.0] * 4)[0]
    offer = weights.offer(1)
    for wish in (4, -1):
        with pytest.raises(RunError, match="not ascending from 0 to 3"):
            weights.heed(1, torch.cat((places(wish), VALUES)))
    with pytest.raises(RunError, match="takes 12 bytes"):
        weights.blend(offer, offer, 0.5)


@settings(max_examples=200)
@given(st.binary(max_size=40))
def test_no_bytes_at_all_do_more_than_be_refused(data: bytes) -> None:
    weights = pair(0.5, [1.0, 2.0, 3.0, 4.0], [0.0] * 4)[0]
    offer = torch.tensor(list(data), dtype=torch.uint8)
    try:
        answer = weights.answer(offer)
    except RunError:
        return
    assert offer.shape == (16,)
    assert answer.vector.shape == (12,)


def test_a_part_crosses_the_wire_as_it_is() -> None:
    offer = pair(0.5, [1.0, 2.0, 3.0, 4.0], [0.0] * 4)[0].offer(1).vector
    letter = seal("offer", Packet(body=offer), 1000)
    assembly = Assembly(letter.opening, 1000, HostBodies(1))
    assert assembly.add(0, letter.body)
    assert torch.equal(assembly.packet().body, offer)


def test_digits_are_learned_as_well_from_a_tenth_and_agree_less_the_less_is_sent() -> None:
    name, whole = DIGITS
    runs = [
        api.simulate(load(name, [*whole, *more]))
        for more in (
            [],
            ["training.wire=top-k", "training.wire_fraction=0.1", "training.audit=true"],
            ["training.wire=top-k", "training.wire_fraction=0.001"],
        )
    ]
    full, tenth, thousandth = (run.summary for run in runs)
    assert full.accuracy is not None
    assert tenth.accuracy is not None
    assert tenth.accuracy > full.accuracy - 0.02
    assert tenth.conservation_error is not None
    assert tenth.conservation_error < 1e-5
    distances = [one.consensus_distance or 0.0 for one in (full, tenth, thousandth)]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_the_simulator_charges_the_same_bytes_without_numbers() -> None:
    name, whole = DIGITS
    settings_ = [*whole, "simulation.epochs=1", "training.wire=top-k"]
    numbers = api.simulate(load(name, settings_)).tally
    shadow = api.simulate(load(name, [*settings_, "simulation.numerics=false"])).tally
    full = api.simulate(load(name, [*whole, "simulation.epochs=1"])).tally
    assert numbers.bytes_sent == shadow.bytes_sent
    # An offer is 2 % of a model of fp32 at 1 % of its entries, an answer 1.5 %.
    share = (numbers.bytes_sent / numbers.steps) / (full.bytes_sent / full.steps)
    assert share == pytest.approx(0.0175, rel=0.05)


@pytest.mark.parametrize(
    ("settings_", "says"),
    [
        (["algorithm.name=sd-psgd", "training.wire=top-k"], "training.wire = 'top-k': sd-psgd has"),
        (["training.wire_fraction=0.1"], "is for wire = 'top-k' alone"),
        (["training.wire=top-k", "training.wire_fraction=0.0"], "training.wire_fraction = 0.0"),
        (["training.wire=top-k", "training.wire_fraction=2.0"], "training.wire_fraction = 2.0"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(settings_: list[str], says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        Composition(load("digits-adpsgd", settings_), 1.0, 4)
