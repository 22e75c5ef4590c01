"""`dualrt topology`, as a shell runs it: exit codes, and one JSON object."""

from __future__ import annotations

import json

import pytest

from tests.support import commands

KEYS = {
    "connected", "bipartite", "doubly_stochastic", "second_eigenvalue", "spectral_gap",
    "consensus_rounds", "diameter", "degree_max", "bytes_per_step", "bottleneck", "verdict",
}  # fmt: skip


def test_a_check_that_passes_prints_one_object_and_exits_with_0() -> None:
    found = commands.result_here("topology", "check", "ring:6", "--cluster", "v100-cloud-100g")
    assert set(found) >= KEYS
    assert found["second_eigenvalue"] == pytest.approx(2 / 3)
    assert found["spectral_gap"] == pytest.approx(1 / 3)
    assert found["bottleneck"]["link"].startswith("server0.")


def test_a_check_that_fails_exits_with_1_and_says_why() -> None:
    done = commands.run("topology", "check", "ring:5", "--protocol", "lock", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["verdict"].startswith("ring:5 fails: it is not bipartite")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("check", "rnig:5"), "Did you mean 'ring'?"),
        (("check", "ring:5", "--cluster", "nowhere"), "there is no such cluster: neither the file"),
        (("check", "ring:5", "--protocol", "prayer"), "Use delta or lock"),
        (("check", "one-peer-exponential:4", "--protocol", "lock"), "pushed and not exchanged"),
        (("check", "ring:5", "--mixing", "shaken"), "no mixing is called 'shaken'"),
        (("compare", "ring:4", "star:4", "--mixing", "uniform"), "not doubly stochastic"),
        (("draw", "ring:4", "--out", "ring.gif"), "its name must end in .svg"),
        # Nobody makes files there, not even root, who may write everywhere else.
        (("draw", "ring:4", "--out", "/proc/self/ring.svg"), "/proc/self/ring.svg"),
        (("draw", "ring:4", "--out", "/proc/self/ring.html"), "/proc/self/ring.html"),
        (("draw", "ring:4", "--out", "no-such-folder/ring.svg"), "there is no folder"),
    ],
)
def test_input_that_cannot_be_exits_with_2_and_no_traceback(
    words: tuple[str, ...], told: str
) -> None:
    done = commands.here("topology", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cut_that_flows_find_is_a_plain_number_in_json() -> None:
    found = commands.result_here("topology", "check", "hierarchical:8x8/ring")
    assert (found["min_cut"], found["diameter_exact"]) == (2, True)


def test_a_thousand_learners_are_checked_with_all_figures() -> None:
    found = commands.result_here("topology", "check", "torus:32x32")
    assert (found["learners"], found["diameter"], found["min_cut"]) == (1024, 32, 4)
    assert found["diameter_exact"] is found["min_cut_exact"] is True


def test_a_comparison_has_an_entry_for_each() -> None:
    found = commands.result_here(
        "topology", "compare", "ring:8", "exponential:8", "--bytes", "1000"
    )
    assert [one["spec"] for one in found["topologies"]] == ["ring:8", "exponential:8"]
    assert all(one["errors"][0] == 1 for one in found["topologies"])
