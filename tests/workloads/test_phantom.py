from __future__ import annotations

import subprocess
import sys

import pytest

from dualrt.core.effects import Cost
from dualrt.core.errors import UsageError
from dualrt.core.weights import Snapshot
from dualrt.core.workload import Workload
from dualrt.workloads.phantom import AcousticPhantom, Phantom, PhantomVector, acoustic_tensors


def test_a_phantom_costs_what_its_settings_say() -> None:
    phantom = Phantom(
        seed=0,
        learners=4,
        batch=32,
        parameters_bytes=400,
        samples_per_epoch=640,
        flops_per_sample=2.5,
        bytes_per_sample=3,
    )
    assert phantom.gradient_cost == Cost("gradient", samples=32, flops=80.0, bytes_moved=96)
    assert (phantom.batch, phantom.samples_per_epoch) == (32, 640)
    assert phantom.weights(1).nbytes == 400


def test_a_phantom_has_size_and_no_figures() -> None:
    phantom = Phantom(seed=0, learners=2, batch=1, parameters_bytes=8)
    vector = PhantomVector(8)
    assert phantom.gradient(vector, 0, 0) == (vector, None)
    assert phantom.evaluate(vector) == {}
    assert phantom.consensus([vector, vector]) == (vector, None)
    assert phantom.digest(vector) == b""


def test_phantom_weights_count_versions_like_any_others() -> None:
    phantom = Phantom(seed=0, learners=2, batch=1)
    mine, theirs = phantom.weights(0), phantom.weights(1)
    read = mine.snapshot()
    gradient = phantom.gradient(read.vector, 0, 0).vector
    theirs.descend(gradient, 0.1, (0, 0))
    mine.blend(read, theirs.snapshot(), 0.5)
    staleness = mine.descend(gradient, 0.1, read.versions)
    assert (staleness.steps, staleness.missed) == (1, 1)
    assert mine.versions.freeze() == (1, 1)
    assert mine.mean([read.vector, read.vector]) == read.vector
    mine.adopt(Snapshot(read.vector, (5, 7)))
    assert mine.versions.freeze() == (5, 7)


def test_a_shadow_has_the_costs_of_its_workload_to_the_last_bit() -> None:
    class Odd(Phantom):
        """A workload whose costs do not divide by its batch."""

    odd = Odd(seed=3, learners=5, batch=7, parameters_bytes=44, samples_per_epoch=91)
    odd.gradient_cost = Cost("gradient", samples=7, flops=0.1, bytes_moved=10)
    shadow = Phantom.like(odd)
    assert type(shadow) is Phantom
    assert shadow.gradient_cost == odd.gradient_cost
    assert (shadow.batch, shadow.samples_per_epoch) == (7, 91)
    assert shadow.weights(4).nbytes == 44
    assert len(shadow.weights(4).versions) == 5


def test_the_acoustic_model_has_the_size_that_the_papers_print() -> None:
    acoustic: Workload[PhantomVector] = AcousticPhantom(seed=0, learners=16, batch=128)
    nbytes = acoustic.weights(0).nbytes
    # 1907.05701: over 43 M parameters; 2112.01433: 164.62 MB.
    assert nbytes == 4 * 43_154_944
    assert f"{nbytes / 2**20:.2f}" == "164.62"
    assert acoustic.samples_per_epoch == 31_870_000
    # A V100 of 15.7 TFLOP/s takes 0.110 to 0.184 s for this batch (1904.04956, 2002.10502).
    assert 0.2 < acoustic.gradient_cost.flops / 15.7e12 / 0.184 < 1


def test_the_acoustic_model_has_the_tensors_of_its_module() -> None:
    torch = pytest.importorskip("torch")
    from dualrt.workloads.asr.blstm import AcousticModel

    with torch.device("meta"):
        module = AcousticModel(260, 6, 512, 256, 32_000)
    sizes = tuple(parameter.numel() for parameter in module.parameters())
    assert sizes == acoustic_tensors()
    shadow = AcousticPhantom(seed=0, learners=1, batch=1)
    assert shadow.weights(0).tensors_bytes == tuple(4 * size for size in sizes)


def test_a_phantom_has_the_tensors_that_it_is_given() -> None:
    whole = Phantom(seed=0, learners=1, batch=1, parameters_bytes=60)
    assert whole.weights(0).tensors_bytes == (60,)
    parts = Phantom(seed=0, learners=1, batch=1, parameters_bytes=60, tensors_bytes=(40, 20))
    assert parts.weights(0).tensors_bytes == (40, 20)
    assert Phantom.like(parts).weights(0).tensors_bytes == (40, 20)


@pytest.mark.parametrize("tensors", [(40,), (70, -10)])
def test_tensors_make_up_their_vector(tensors: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"tensors_bytes = \["):
        Phantom(seed=0, learners=1, batch=1, parameters_bytes=60, tensors_bytes=tensors)


def test_the_corpus_of_the_acoustic_model_is_a_setting() -> None:
    small = AcousticPhantom(seed=0, learners=1, batch=1, corpus="SWB-300")
    assert small.samples_per_epoch == 4_000_000
    with pytest.raises(UsageError, match=r"corpus = 'TIMIT': .*SWB-2000 and SWB-300"):
        AcousticPhantom(seed=0, learners=1, batch=1, corpus="TIMIT")


def test_phantoms_need_no_torch() -> None:
    check = (
        "import sys; from dualrt.workloads.phantom import AcousticPhantom; AcousticPhantom"
        "(seed=0, learners=2, batch=4).weights(0).snapshot();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
