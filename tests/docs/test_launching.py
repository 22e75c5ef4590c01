"""The recipes for launchers: they parse, fit together, and their shell parts train."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from dualrt.real.rendezvous import REQUIRED
from tests.support import commands

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "launching.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(PAGE) if kind == language]


def test_every_shell_part_parses() -> None:
    assert len(blocks("sh")) == 5
    for script in blocks("sh"):
        parsed = subprocess.run(
            ["bash", "-n"], input=script, text=True, capture_output=True, check=False
        )
        assert (parsed.returncode, parsed.stderr) == (0, "")


def test_the_variables_that_dualrt_needs_are_told() -> None:
    assert [name for name in REQUIRED if f"`{name}`" not in PAGE] == []


def test_the_parts_of_the_job_fit_together() -> None:
    [text] = blocks("yaml")
    service, job = yaml.safe_load_all(text)
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert service["metadata"]["name"] == pod["subdomain"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    environment = {each["name"]: each["value"] for each in container["env"]}
    first = f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert environment["MASTER_ADDR"] == first
    assert spec["completions"] == spec["parallelism"]
    assert f"--nnodes {spec['completions']} " in container["args"][0]
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert f"--nproc-per-node {gpus} " in container["args"][0]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts.keys() == {each["name"] for each in pod["volumes"]}
    keys = Path(environment["DUALRT_KEYS"])
    assert mounts["keys"] == str(keys.parent)
    # dualrt refuses keys that others can read.
    [secret] = [each["secret"] for each in pod["volumes"] if "secret" in each]
    assert secret["defaultMode"] & 0o077 == 0


def trained(script: str, hosts: Sequence[Mapping[str, str]], folder: Path) -> None:
    """Run it once for each environment, small and on loopback; one of them has the results."""
    small = commands.settings(
        "learners=2", "training.epochs=1", "real.interface=127.0.0.1", "real.timeout_s=30"
    )
    script = re.sub(r"\S*run\.toml", "digits-adpsgd", script)
    script = re.sub(r"--set \S+|--out \S+", "", script)
    script = script.rstrip().removesuffix("'").rstrip() + f" --json {' '.join(small)}"
    started = [
        commands.start(
            "-euc",
            script,
            env={"PATH": f"{BIN}:/usr/bin:/bin", "DUALRT_KEYS": str(folder / "run.key"), **host},
            command=["bash"],
        )
        for host in hosts
    ]
    try:
        ended = [process.communicate(timeout=commands.PATIENCE_S) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * len(hosts), ended
    [summary] = [json.loads(out) for out, _ in ended if out]
    assert summary["learners"] == 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert commands.here("keys", tmp_path / "run.key").returncode == 0
    return tmp_path


def test_what_srun_starts_trains(folder: Path) -> None:
    [job] = [script for script in blocks("sh") if "srun" in script]
    step = job.split("bash -euc '", 1)[1]
    common = {
        "SLURM_NTASKS": "2",
        "SLURM_NNODES": "1",
        "SLURM_NTASKS_PER_NODE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    ranks = [{**common, "SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in "01"]
    trained(step, ranks, folder)


def test_what_a_pod_starts_trains(folder: Path) -> None:
    _, job = yaml.safe_load_all(blocks("yaml")[0])
    [script] = job["spec"]["template"]["spec"]["containers"][0]["args"]
    # One pod: two on one host would be told that loopback leads from neither to the other.
    script = re.sub(r"--nnodes \d+", "--nnodes 1", script)
    script = re.sub(r"--nproc-per-node \d+", "--nproc-per-node 2", script)
    script = re.sub(r"--master-port \d+", f"--master-port {free_port()}", script)
    trained(script, [{"JOB_COMPLETION_INDEX": "0", "MASTER_ADDR": "127.0.0.1"}], folder)
