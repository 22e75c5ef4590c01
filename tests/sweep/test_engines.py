"""Where a sweep's simulations run: here, or on a cluster of dask's or ray's."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from dualrt.core.errors import MissingExtraError, UsageError
from dualrt.sweep.engines import engine
from tests.support import commands

TIMING = "swb2000-adpsgd-16"
"""Time alone, which needs no torch: loading that would take most of these tests' time."""

SHORT: list[str | Path] = [TIMING, *commands.settings("simulation.epochs=0.001")]

NOBODY = "tcp://127.0.0.1:9"
"""Discard: no machine that runs tests has anything there."""


class Cluster(NamedTuple):
    """One that is there already."""

    words: tuple[str, ...]
    """The options that name it."""
    env: Mapping[str, str]


@pytest.fixture(scope="module")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("dask")
    file = folder / "scheduler.json"
    where = ("--scheduler-file", file)
    scheduler = commands.start(
        *where,
        *("--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
        command=[sys.executable, "-m", "distributed.cli.dask_scheduler"],
    )
    worker = commands.start(
        *where,
        *("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", folder),
        command=[sys.executable, "-m", "distributed.cli.dask_worker"],
    )
    try:
        assert commands.await_(file.exists)
        address = json.loads(file.read_text())["address"]
        yield Cluster(("--engine", "dask", "--engine-address", address), {})
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.communicate(timeout=commands.PATIENCE_S)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Cluster]:
    if find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install 'dualrt[ray]'")
    # Newer rays let nobody in without a token; this cluster has its own.
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    # Another process of the same suite may have a cluster too. pytest's folders have names too long
    # for the sockets that ray makes in its own.
    port, client_port = (str(one) for one in free_ports(2))
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        head = subprocess.Popen(
            [
                *(Path(sys.executable).with_name("ray"), "start", "--head", "--block"),
                *("--num-cpus", "2", "--node-ip-address", "127.0.0.1", "--port", port),
                *("--ray-client-server-port", client_port, "--temp-dir", folder),
                "--include-dashboard=false",
            ],
            env={**os.environ, **env, "RAY_USAGE_STATS_ENABLED": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert head.stdout is not None
        try:
            assert any("Ray runtime started" in line for line in head.stdout)
            yield Cluster(("--engine", "ray", "--engine-address", f"127.0.0.1:{port}"), env)
        finally:
            head.terminate()
            head.communicate(timeout=commands.PATIENCE_S)


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens at just now."""
    with ExitStack() as opened:
        listeners = [opened.enter_context(socket.socket()) for _ in range(number)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


@pytest.fixture(params=["dask_cluster", "ray_cluster"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    found: Cluster = request.getfixturevalue(request.param)
    return found


def test_a_cluster_gives_what_this_machine_gives_and_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    file = tmp_path / "sweep.csv"
    here = commands.result_here("sweep", *SHORT, "--over", "learners=2,3", "--jobs", "1")
    words: list[str | Path] = ["sweep", *SHORT, *cluster.words, "--out", file]
    part = commands.result(*words, "--over", "learners=2", env=cluster.env)
    (row,) = file.read_text().splitlines(keepends=True)[1:]
    there = commands.result(*words, "--over", "learners=2,3", env=cluster.env)
    # To the letter, the time that it took included: it was not run again.
    assert row in file.read_text()
    assert part["runs"] == there["runs"][:1]
    for one, other in zip(here["runs"], there["runs"], strict=True):
        assert one["timing_digest"] == other["timing_digest"]
        assert one["hours_total"] == other["hours_total"]
        assert one["scenario"] == other["scenario"]


def test_what_cannot_be_is_found_on_a_cluster_before_anything_runs(cluster: Cluster) -> None:
    bad = ["--over", "learners=2,20"]
    done = commands.run("sweep", *SHORT, *bad, *cluster.words, env=cluster.env)
    assert done.returncode == 2, done.stderr
    assert "each learner needs one" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_sweep_keeps_what_is_done_and_leaves_the_cluster_usable(
    cluster: Cluster, tmp_path: Path
) -> None:
    file = tmp_path / "sweep.csv"
    longer = commands.settings("simulation.epochs=0.03")
    words = ["sweep", TIMING, *longer, "--over", "seed=1,2,3,4,5,6", *cluster.words]
    done = commands.interrupted(
        *words, "--out", file, env=cluster.env, once=lambda _: file.exists()
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    kept = file.read_text().splitlines()[1:]
    assert 1 <= len(kept) < 6
    after = commands.result(*words, "--out", file, env=cluster.env)
    assert len(after["runs"]) == 6
    assert set(kept) < set(file.read_text().splitlines())


@pytest.mark.parametrize(
    ("name", "address", "jobs", "problem"),
    [
        ("spark", None, None, "Known are loky, dask and ray"),
        ("loky", "tcp://host:1", None, "--engine-address goes with"),
        ("dask", "tcp://host:1", 4, "--jobs has no effect"),
        ("dask", None, None, "DASK_SCHEDULER_ADDRESS"),
        ("dask", NOBODY, None, "no dask cluster that answers"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(
    name: str, address: str | None, jobs: int | None, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualrt.sweep.engines.CONNECT_S", 0.2)
    with pytest.raises(UsageError, match=problem), engine(name, address, jobs):
        pass


@pytest.mark.parametrize(("name", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_an_engine_that_is_not_installed_says_which_extra_brings_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualrt.sweep.engines.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=rf"dualrt\[{name}\]"), engine(name, "x:1", None):
        pass


def test_what_ray_says_by_itself_does_not_mix_with_the_result(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def say(*_: object, **__: object) -> None:
        os.write(1, b"said by C++\n")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=say, shutdown=say))
    monkeypatch.setattr("dualrt.sweep.engines.find_spec", lambda _: object())
    with engine("ray", "auto", None):
        say()
    print("the result")
    out, err = capfd.readouterr()
    assert out == "the result\n"
    assert err == 3 * "said by C++\n"
