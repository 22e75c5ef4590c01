from __future__ import annotations

import subprocess
import sys
from statistics import median

import pytest
import torch

from dualrt.core.errors import MissingExtraError, UsageError
from dualrt.workloads.digits import Digits
from dualrt.workloads.torch_optimizer import sgd

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SEEDS = range(5)
LEARNERS, BATCH, RATE, EPOCHS = 16, 64, 1.4, 100


def test_the_vector_has_the_weights_and_biases_of_every_layer() -> None:
    workload = Digits(seed=0, learners=2, batch=64, hidden=[7])
    assert workload.weights(0).nbytes == 4 * (64 * 7 + 7 + 7 * 10 + 10)


def test_the_network_of_the_paper_is_the_default() -> None:
    parameters = 64 * 50 + 50 + 50 * 50 + 50 + 50 * 10 + 10
    assert Digits(seed=0, learners=2, batch=64).weights(0).nbytes == 4 * parameters


def test_without_hidden_layers_the_model_is_linear() -> None:
    assert Digits(seed=0, learners=2, batch=64, hidden=()).weights(0).nbytes == 4 * 650


def test_an_epoch_is_the_training_split_in_whole_batches() -> None:
    assert Digits(seed=0, learners=2, batch=64).samples_per_epoch == 1_437 // 64 * 64


def test_the_split_does_not_depend_on_the_seed() -> None:
    one, two = (Digits(seed=seed, learners=1, batch=64) for seed in (1, 2))
    at = one.weights(0).snapshot().vector
    assert one.evaluate(at) == two.evaluate(at)
    assert not torch.equal(two.weights(0).snapshot().vector, at)


def test_one_learner_learns() -> None:
    workload = Digits(seed=0, learners=1, batch=64)
    weights = workload.weights(0)
    for draw in range(20 * 22):
        read = weights.snapshot()
        weights.descend(workload.gradient(read.vector, 0, draw).vector, 0.5, read.versions)
    assert workload.evaluate(weights.snapshot().vector)["accuracy"] >= 0.95


def test_the_optimizer_reaches_the_weights() -> None:
    weights = Digits(seed=0, learners=1, batch=64, optimizer=sgd(momentum=0.9)).weights(0)
    assert weights.optimizer is not None
    assert weights.optimizer.param_groups[0]["momentum"] == 0.9


def test_a_layer_without_cells_is_refused() -> None:
    with pytest.raises(UsageError, match=r"hidden = \[50, 0\]"):
        Digits(seed=0, learners=1, batch=64, hidden=[50, 0])


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"'scikit-learn'.*dualrt\[train\]"):
        Digits(seed=0, learners=1, batch=64)


def test_naming_the_class_does_not_import_scikit_learn() -> None:
    check = "import sys, dualrt.workloads.digits; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def ssgd_error(seed: int) -> float:
    """Held-out error after descent along the mean of all learners' gradients."""
    workload = Digits(seed=seed, learners=LEARNERS, batch=BATCH)
    weights = workload.weights(0)
    for draw in range(EPOCHS * workload.samples_per_epoch // (LEARNERS * BATCH)):
        read = weights.snapshot()
        gradients = [workload.gradient(read.vector, i, draw).vector for i in range(LEARNERS)]
        weights.descend(weights.mean(gradients), RATE, read.versions)
    return 1 - workload.evaluate(weights.snapshot().vector)["accuracy"]


def ring_error(seed: int) -> float:
    """The same for the mean model of learners that average with the left or the right neighbour,
    in turn (1907.05701, eq. 7)."""
    workload = Digits(seed=seed, learners=LEARNERS, batch=BATCH)
    group = [workload.weights(rank) for rank in range(LEARNERS)]
    for draw in range(EPOCHS * workload.samples_per_epoch // (LEARNERS * BATCH)):
        reads = [weights.snapshot() for weights in group]
        for rank, weights in enumerate(group):
            partner = (rank + (1 if (rank + draw) % 2 == 0 else -1)) % LEARNERS
            gradient = workload.gradient(reads[rank].vector, rank, draw).vector
            weights.blend(reads[rank], reads[partner], 0.5)
            weights.descend(gradient, RATE, reads[rank].versions)
    mean, _ = workload.consensus([weights.snapshot().vector for weights in group])
    return 1 - workload.evaluate(mean)["accuracy"]


@pytest.mark.slow
def test_at_a_large_batch_and_rate_averaging_weights_learns_where_averaging_gradients_fails() -> (
    None
):
    # Medians, because a single run at the edge of stability turns on the last bit.
    assert median(ssgd_error(seed) for seed in SEEDS) > 0.6
    assert median(ring_error(seed) for seed in SEEDS) < 0.1
