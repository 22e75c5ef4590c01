from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dualrt.core.errors import UsageError
from dualrt.core.weights import Snapshot
from dualrt.workloads.torch_optimizer import OptimizerFactory, sgd
from dualrt.workloads.torch_vectors import consensus, digest
from dualrt.workloads.torch_weights import TorchWeights

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def normal(seed: int, size: int = 100) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def vector_of(weights: TorchWeights) -> Tensor:
    return weights.snapshot().vector


def adam(tensors: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.Adam(tensors)


def nesterov_by_the_path_that_writes_to_gradients(tensors: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(tensors, lr=0.1, momentum=0.9, nesterov=True, foreach=True)


class Scribbler(torch.optim.SGD):
    """An optimizer that clips the gradient where it stands."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]  # no closure here
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.clamp_(-1, 1)


def test_weights_know_the_tensors_that_they_were_flattened_from() -> None:
    assert TorchWeights(0, 1, normal(0)).tensors_bytes == (400,)
    assert TorchWeights(0, 1, normal(0), tensors=[90, 10]).tensors_bytes == (360, 40)
    with pytest.raises(UsageError, match="tensors of 91 parameters"):
        TorchWeights(0, 1, normal(0), tensors=[90, 1])


def test_weights_start_as_a_copy_of_what_they_are_given() -> None:
    initial = normal(0)
    weights = TorchWeights(0, 1, initial)
    kept = initial.clone()
    initial.zero_()
    assert torch.equal(vector_of(weights), kept)
    assert weights.nbytes == 400


def test_a_step_of_plain_descent_is_w_minus_a_g() -> None:
    initial, gradient = normal(0), normal(1)
    weights = TorchWeights(0, 1, initial)
    weights.descend(gradient, 0.25, (0,))
    assert torch.equal(vector_of(weights), initial.sub(gradient, alpha=0.25))


def test_each_step_takes_the_learning_rate_that_it_is_given() -> None:
    weights = TorchWeights(0, 1, torch.zeros(1))
    for rate in (1.0, 0.5, 0.125):
        weights.descend(torch.ones(1), rate, (0,))
    assert vector_of(weights).item() == -1.625


def test_momentum_is_kept_from_step_to_step_and_for_each_learner_alone() -> None:
    mine, theirs = (TorchWeights(rank, 2, torch.zeros(1), sgd(momentum=0.5)) for rank in (0, 1))
    for _ in range(3):
        mine.descend(torch.ones(1), 1.0, (0, 0))
    theirs.descend(torch.ones(1), 1.0, (0, 0))
    assert vector_of(mine).item() == -(1 + 1.5 + 1.75)
    assert vector_of(theirs).item() == -1


@pytest.mark.parametrize(
    "optimizer",
    [
        sgd(),
        sgd(momentum=0.9, weight_decay=0.1),
        sgd(momentum=0.9, weight_decay=0.1, nesterov=True),
        nesterov_by_the_path_that_writes_to_gradients,
        adam,
    ],
)
def test_a_gradient_is_only_read(optimizer: OptimizerFactory) -> None:
    gradient = normal(1)
    kept = gradient.clone()
    weights = TorchWeights(0, 1, normal(0), optimizer)
    for _ in range(3):
        before = vector_of(weights)
        weights.descend(gradient, 0.1, (0,))
        assert not torch.equal(vector_of(weights), before)
    assert torch.equal(gradient, kept)


def test_an_optimizer_that_writes_to_the_gradient_is_caught() -> None:
    weights = TorchWeights(0, 1, torch.zeros(2), lambda tensors: Scribbler(tensors, lr=0.1))
    with pytest.raises(UsageError, match="optimizer Scribbler: it writes to the gradient"):
        weights.descend(torch.ones(2), 0.1, (0,))


def test_an_optimizer_that_needs_a_closure_is_refused() -> None:
    with pytest.raises(UsageError, match="optimizer LBFGS"):
        TorchWeights(0, 1, torch.zeros(2), torch.optim.LBFGS)


@pytest.mark.parametrize("initial", [torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64)])
def test_weights_that_are_no_flat_vector_are_refused(initial: Tensor) -> None:
    with pytest.raises(UsageError, match="one flat vector of floating-point numbers"):
        TorchWeights(0, 1, initial)


def test_a_snapshot_outlives_all_mutations() -> None:
    weights = TorchWeights(0, 2, normal(0))
    read = weights.snapshot()
    kept = read.vector.clone()
    weights.descend(normal(1), 0.1, read.versions)
    weights.blend(read, Snapshot(normal(2), (0, 0)), 0.5)
    weights.adopt(Snapshot(normal(3), (0, 0)))
    assert torch.equal(read.vector, kept)


@pytest.mark.parametrize("optimizer", [sgd(), sgd(momentum=0.5)])
@pytest.mark.parametrize("size", [100, 300_000])
def test_a_snapshot_is_no_copy_and_the_next_change_goes_elsewhere(
    optimizer: OptimizerFactory | None, size: int
) -> None:
    weights = TorchWeights(0, 1, normal(0, size), optimizer)
    free = Snapshot(normal(2, size), (0,))
    changes: list[Callable[[], object]] = [
        lambda: weights.descend(normal(1, size), 0.1, (0,)),
        lambda: weights.blend(free, Snapshot(normal(3, size), (0,)), 0.5),
        lambda: weights.adopt(free),
    ]
    for change in changes:
        shown = vector_of(weights)
        assert shown.data_ptr() == vector_of(weights).data_ptr()
        kept = shown.clone()
        change()
        assert torch.equal(shown, kept)
        changed = vector_of(weights)
        assert changed.data_ptr() != shown.data_ptr()
        assert not torch.equal(changed, kept)


def test_weights_that_nobody_was_shown_change_where_they_are() -> None:
    weights = TorchWeights(0, 1, normal(0))
    before = vector_of(weights)
    weights.descend(normal(1), 0.1, (0,))
    alone = weights._flat.data_ptr()
    weights.descend(normal(1), 0.1, (0,))
    assert vector_of(weights).data_ptr() == alone != before.data_ptr()


def test_a_view_follows_the_weights_and_they_stay_where_they_are() -> None:
    weights = TorchWeights(0, 1, normal(0))
    seen = weights.view()
    for _ in range(3):
        weights.descend(normal(1), 0.1, seen.versions)
        assert torch.equal(weights.view().vector, seen.vector)
    assert weights.view().vector.data_ptr() == seen.vector.data_ptr()
    assert not torch.equal(seen.vector, normal(0))


def test_a_view_of_weights_that_a_snapshot_shows_does_not_change_the_snapshot() -> None:
    weights = TorchWeights(0, 1, normal(0))
    kept = weights.snapshot()
    weights.descend(normal(1), 0.1, weights.view().versions)
    assert torch.equal(kept.vector, normal(0))
    assert not torch.equal(weights.view().vector, normal(0))


def test_what_is_written_to_a_view_is_shown_by_no_snapshot_of_before() -> None:
    weights = TorchWeights(0, 1, normal(0))
    kept = weights.snapshot()
    weights.view().vector.zero_()
    assert torch.equal(kept.vector, normal(0))


def test_a_view_that_was_written_to_is_adopted_where_it_is() -> None:
    weights = TorchWeights(0, 2, normal(0))
    mine = weights.view().vector
    mine.add_(1)
    weights.adopt(Snapshot(mine, (0, 3)))
    assert weights.view().vector.data_ptr() == mine.data_ptr()
    assert weights.known() == (0, 3)
    assert torch.equal(mine, normal(0) + 1)


def test_adopting_copies() -> None:
    weights = TorchWeights(0, 2, normal(0))
    theirs = normal(1)
    weights.adopt(Snapshot(theirs, (0, 0)))
    weights.descend(normal(2), 0.1, (0, 0))
    assert torch.equal(theirs, normal(1))


@pytest.mark.parametrize("size", [100, 3 * (1 << 16) + 5])
@pytest.mark.parametrize("narrow", [torch.float32, torch.bfloat16])
def test_a_blend_has_the_same_bits_whether_or_not_a_snapshot_shows_the_weights(
    size: int, narrow: torch.dtype
) -> None:
    mine, theirs = normal(1, size).to(narrow), normal(2, size).to(narrow)
    expected = torch.add(normal(0, size), theirs.float() - mine.float(), alpha=0.3)
    for shown in (False, True):
        weights = TorchWeights(0, 2, normal(0, size))
        if shown:
            weights.snapshot()
        weights.blend(Snapshot(mine, (0, 0)), Snapshot(theirs, (0, 0)), 0.3)
        assert torch.equal(vector_of(weights), expected)
        assert torch.equal(theirs, normal(2, size).to(narrow))


def test_an_exchange_of_halves_meets_in_the_middle() -> None:
    learners = [TorchWeights(rank, 2, normal(rank)) for rank in (0, 1)]
    first, second = (learner.snapshot() for learner in learners)
    learners[0].blend(first, second, 0.5)
    learners[1].blend(second, first, 0.5)
    middle = (normal(0) + normal(1)) / 2
    for learner in learners:
        torch.testing.assert_close(vector_of(learner), middle)
    assert torch.equal(first.vector, normal(0))
    assert torch.equal(second.vector, normal(1))


@pytest.mark.parametrize("size", [1, (1 << 16) - 1, (1 << 16) + 1, 150_000])
def test_a_blend_reaches_every_weight_of_a_vector_of_any_length(size: int) -> None:
    initial, mine, theirs = (normal(seed, size) for seed in range(3))
    weights = TorchWeights(0, 1, initial)
    weights.blend(Snapshot(mine, (0,)), Snapshot(theirs, (0,)), 0.25)
    torch.testing.assert_close(vector_of(weights), initial + 0.25 * (theirs - mine))


class Memory(TorchDispatchMode):
    """Notes the bytes of every new storage."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.new: dict[int, Any] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # To skip the compiler, torch would load it.

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            storage = out.untyped_storage()
            self.new[storage.data_ptr()] = storage
        return out


@pytest.mark.parametrize("wire", [None, torch.bfloat16])
@pytest.mark.parametrize("lent", [False, True])
def test_a_blend_takes_no_memory_but_a_block(lent: bool, wire: torch.dtype | None) -> None:
    size, block = 1_000_000, 1 << 16
    weights = TorchWeights(0, 1, normal(0, size))
    mine, theirs = (Snapshot(normal(seed, size).to(wire or torch.float32), (0,)) for seed in (1, 2))
    weights.blend(mine, theirs, 0.5)
    known = {mine.vector.data_ptr(), theirs.vector.data_ptr(), weights._flat.data_ptr()}
    if lent:
        weights.snapshot()
    with Memory() as memory:
        weights.blend(mine, theirs, 0.5)
    known.add(weights._flat.data_ptr())
    sizes = [one.nbytes() for address, one in memory.new.items() if address not in known]
    # Where the result goes elsewhere, the difference has room there.
    assert bool(sizes) == (not lent or wire is not None)
    assert max(sizes, default=0) <= 4 * block


@given(st.integers(0, 2**32), st.integers(2, 6))
def test_whatever_lands_during_an_exchange_the_sum_is_conserved(seed: int, learners: int) -> None:
    random = Random(seed)
    group = [
        TorchWeights(rank, learners, normal(rank, 8), sgd(momentum=0.9), audit=True)
        for rank in range(learners)
    ]
    initial = sum(vector_of(one).double() for one in group)
    under_way = []
    for step in range(60):
        initiator, responder = random.sample(range(learners), 2)
        match random.choice(["offer", "answer", "descend"]):
            case "offer":
                under_way.append((group[initiator], group[initiator].snapshot(), group[responder]))
            case "answer" if under_way:
                asker, offer, answerer = under_way.pop(random.randrange(len(under_way)))
                answer = answerer.snapshot()
                answerer.blend(answer, offer, 0.5)
                asker.blend(offer, answer, 0.5)
            case _:
                group[initiator].descend(normal(step, 8), 0.1, (0,) * learners)
    applied = sum(one.applied for one in group if one.applied is not None)
    final = sum(vector_of(one).double() for one in group)
    torch.testing.assert_close(final, initial + applied, rtol=0, atol=1e-4)


def test_the_audit_holds_every_change_that_descent_made() -> None:
    weights = TorchWeights(0, 1, normal(0), sgd(momentum=0.9, weight_decay=0.1), audit=True)
    for seed in range(5):
        weights.descend(normal(seed), 0.1, (0,))
    assert weights.applied is not None
    torch.testing.assert_close(
        weights.applied, vector_of(weights).double() - normal(0).double(), rtol=0, atol=1e-12
    )


def test_without_audit_nothing_is_held() -> None:
    assert TorchWeights(0, 1, normal(0)).applied is None


def test_consensus_is_the_mean_and_the_distance_to_it() -> None:
    mean, distance = consensus([torch.tensor([0.0, 0.0]), torch.tensor([6.0, 8.0])])
    assert mean.tolist() == [3.0, 4.0]
    assert mean.dtype == torch.float32
    assert distance == 5.0


def test_equal_vectors_are_at_distance_zero() -> None:
    mean, distance = consensus([normal(0)] * 7)
    assert torch.equal(mean, normal(0))
    assert distance < 1e-12


def test_the_mean_is_summed_in_float64() -> None:
    # In float32 each of the small terms would drown in the first.
    vectors = [torch.tensor([2.0**24]), *[torch.tensor([1.0])] * 7, torch.tensor([-(2.0**24)])]
    exact = torch.tensor(7 / 9).item()
    assert consensus(vectors)[0].item() == exact
    assert TorchWeights(0, 9, torch.zeros(1)).mean(vectors).item() == exact


def test_the_mean_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no vectors"):
        consensus([])


def test_a_digest_tells_the_last_bit() -> None:
    vector = normal(0)
    assert digest(vector) == digest(vector.clone())
    one_ulp = vector.clone().view(torch.int32)
    one_ulp[17] += 1
    assert digest(vector) != digest(one_ulp.view(torch.float32))
    assert len(digest(vector)) == 16


def test_a_digest_takes_types_that_numpy_lacks() -> None:
    assert digest(normal(0).bfloat16()) != digest(normal(1).bfloat16())
