"""What `--metrics` may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualrt.core.errors import MissingExtraError, UsageError
from dualrt.observe import metrics
from dualrt.observe.metrics import Prometheus, TensorBoard, parse


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("tensorboard:runs", TensorBoard(Path("runs"))),
        ("tensorboard:/a:b/c", TensorBoard(Path("/a:b/c"))),
        ("prometheus:127.0.0.1:9100", Prometheus("127.0.0.1", 9100)),
        ("prometheus:[::1]:0", Prometheus("::1", 0)),
    ],
)
def test_it_names_a_folder_or_an_address(text: str, target: metrics.Target) -> None:
    assert parse(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "runs",
        "tensorboard",
        "tensorboard:",
        "prometheus:9100",
        "prometheus::9100",
        "prometheus:127.0.0.1:x",
        "prometheus:127.0.0.1:65536",
        "statsd:127.0.0.1:9100",
    ],
)
def test_anything_else_is_refused_with_what_it_may_be(text: str) -> None:
    with pytest.raises(UsageError, match=r"--metrics .*Write tensorboard:DIR or prometheus:HOST"):
        parse(text)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is no folder"):
        TensorBoard(tmp_path / "file").check()


@pytest.mark.parametrize("target", [TensorBoard(Path("runs")), Prometheus("lo", 1)])
def test_a_package_that_is_not_there_is_named_with_its_extra(
    target: metrics.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualrt.core.errors.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dualrt\[metrics\]'"):
        target.check()
