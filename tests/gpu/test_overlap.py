"""The benchmark of training beside gossip goes every way that it measures."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from benchmarks import gpu_overlap

SHORT = ("--small", "--turns", "1", "--block-s", "0.1", "--json")


def told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["gpu_overlap.py", *words])
    code = gpu_overlap.main()
    return code, *capsys.readouterr()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_it_trains_gossips_and_tells_what_its_help_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], device: str
) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    code, out, err = told(monkeypatch, capsys, "--device", device, *SHORT)
    assert (code, err) == (0, "")
    figures = json.loads(out)
    named = {
        key if isinstance(value, str | bool) else f"MODEL.{inner}"
        for key, value in figures.items()
        for inner in (value if isinstance(value, dict) else [key])
    }
    assert named == set(gpu_overlap.KEYS)
    for model in gpu_overlap.MODELS:
        assert all(figure > 0 for figure in figures[model].values())
        assert figures[model]["exchanges"] > 1


def test_the_models_are_those_that_they_are_said_to_be() -> None:
    with torch.device("meta"):
        transformer = gpu_overlap.Transformer(19_200, 768, 12, 12, 256)
    parameters = sum(parameter.numel() for parameter in transformer.parameters())
    assert parameters == pytest.approx(100e6, rel=0.01)
    assert not list(transformer.buffers())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = told(monkeypatch, capsys)
    assert (code, out) == (2, "")
    assert "no CUDA device here; --device cpu" in err
