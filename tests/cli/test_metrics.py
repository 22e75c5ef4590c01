"""A run is watched from outside while it goes on."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.support import commands

SLEEPY = Path(__file__).parent / "scenarios" / "sleepy.toml"
FOR_HOURS = commands.settings("learners=2", "training.epochs=10000")


def scraped(where: str) -> dict[str, float]:
    """The values without further labels of a page, by name."""
    with urlopen(where, timeout=20) as answer:
        text = answer.read().decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def grows(where: str, name: str, least: float) -> bool:
    """Whether a value becomes larger than that before long."""
    return commands.await_(lambda: scraped(where)[name] > least)


def test_a_real_run_is_scraped_and_drawn_while_it_goes_on(tmp_path: Path) -> None:
    words = ["train", str(SLEEPY), "--local", "2", *FOR_HOURS]
    words += ["--log-format", "json", "--log-level", "info"]
    words += ["--metrics", "prometheus:127.0.0.1:0", "--metrics", f"tensorboard:{tmp_path}"]
    with commands.start(*words) as run:
        try:
            assert run.stderr is not None
            pages: dict[int, str] = {}
            while len(pages) < 2:
                told = json.loads(run.stderr.readline())
                if told["event"] == "metrics" and told["fields"]["where"].startswith("http"):
                    pages[told["rank"]] = told["fields"]["where"]
            for page in pages.values():
                assert grows(page, "dualrt_steps_total", 3)
                first = scraped(page)
                assert grows(page, "dualrt_samples_total", first["dualrt_samples_total"])
                assert first["dualrt_lost_peers"] == 0
                assert first["dualrt_sent_bytes_total"] > 0
                assert 0 < first["dualrt_goodput_ratio"] <= 1
            run.send_signal(signal.SIGTERM)
            run.communicate(timeout=commands.PATIENCE_S)
            assert run.returncode == 143
        finally:
            run.kill()
    for rank in (0, 1):
        events = EventAccumulator(str(tmp_path / "adpsgd" / f"rank-{rank}"))
        events.Reload()
        assert events.Scalars("epoch")[-1].value > 0
        assert events.Histograms("staleness")


def test_a_port_that_is_taken_is_named_before_anything_runs() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        where = f"prometheus:127.0.0.1:{port}"
        done = commands.here("train", SLEEPY, "--local", "2", *FOR_HOURS, "--metrics", where)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--metrics {where}: process 0 of this host needs port {port}" in done.stderr


def test_a_simulation_is_drawn_in_virtual_time_and_is_the_same(tmp_path: Path) -> None:
    words = ["simulate", "quadratic-sd-psgd", *commands.settings("training.epochs=0.1")]
    plain = commands.result_here(*words)
    drawn = commands.result_here(*words, "--metrics", f"tensorboard:{tmp_path}")
    assert drawn["digest"] == plain["digest"]
    events = EventAccumulator(str(tmp_path / "sd-psgd" / "simulated"))
    events.Reload()
    last = events.Scalars("samples")[-1]
    assert (last.value, last.step) == (plain["samples"], plain["updates"])
    assert last.wall_time == pytest.approx(plain["elapsed_s"])


def test_nobody_scrapes_a_simulation() -> None:
    done = commands.here("simulate", "quadratic-sd-psgd", "--metrics", "prometheus:127.0.0.1:0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Use --metrics tensorboard:DIR" in done.stderr


@pytest.mark.parametrize("command", [["simulate"], ["train", "--local", "2"]])
def test_what_cannot_be_watched_is_refused_before_anything_runs(command: list[str]) -> None:
    done = commands.here(*command, "quadratic-sd-psgd", "--metrics", "graphite:here")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--metrics graphite:here" in done.stderr
