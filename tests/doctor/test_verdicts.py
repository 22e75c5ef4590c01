"""What is said of the figures: which way is slow, whose clock is wrong, who has another version."""

from __future__ import annotations

from itertools import combinations

from dualrt.doctor import verdicts
from dualrt.doctor.findings import Finding, Report, Verdict, Way, listed, merged, ok, warn

HOSTS = ("one 10.0.0.1", "two 10.0.0.2", "three 10.0.0.3")


def way(
    a: int,
    b: int,
    *,
    there: float = 1e9,
    back: float = 1e9,
    trip_s: float = 1e-4,
    ahead_s: float = 0,
) -> Way:
    return Way(a, b, trip_s, there, back, ahead_s, trip_s / 2)


def said(ways: list[Way], hosts: tuple[str, ...] = HOSTS) -> dict[str, Finding]:
    return {finding.check: finding for finding in verdicts.between(ways, hosts, 1_000_000)}


def test_ways_that_are_alike_are_well() -> None:
    found = said([way(a, b) for a, b in combinations(range(3), 2)])
    assert {one.verdict for one in found.values()} == {Verdict.OK}
    assert set(found) == {"bandwidth between hosts", "latency between hosts", "clocks"}


def test_one_slow_direction_is_named_and_no_other() -> None:
    found = said([way(0, 1), way(0, 2, back=1e6), way(1, 2)])["bandwidth between hosts"]
    assert found.verdict is Verdict.WARN
    assert f"learner 2 ({HOSTS[2]}) to learner 0 ({HOSTS[0]}) 1.00 MB/s" in found.said
    assert "learner 1" not in found.said
    assert "at an end of each" not in found.said


def test_the_host_that_all_slow_ways_have_in_common_is_named() -> None:
    found = said([way(0, 1), way(0, 2, back=1e6), way(1, 2, back=1e6)])["bandwidth between hosts"]
    assert f"Host {HOSTS[2]} is at an end of each" in found.said


def test_a_way_inside_a_host_is_not_held_against_one_between_two() -> None:
    found = said([way(0, 1, there=9e9, back=9e9), way(0, 2), way(1, 2)], (HOSTS[0], *HOSTS[:2]))
    assert {one.verdict for one in found.values()} == {Verdict.OK}
    assert "bandwidth inside a host" in found


def test_what_is_slow_inside_a_host_is_no_cables_fault() -> None:
    ways = [way(0, 1, back=1e6), way(0, 2, back=1e6), way(1, 2)]
    found = said(ways, (HOSTS[0],) * 3)["bandwidth inside a host"]
    assert found.verdict is Verdict.WARN
    assert found.remedy.startswith("Look at what else runs on that host")
    assert "Learner 0 is at an end of each" in found.said


def test_a_late_way_is_named() -> None:
    found = said([way(0, 1), way(0, 2, trip_s=0.05), way(1, 2)])["latency between hosts"]
    assert found.verdict is Verdict.WARN
    assert "learners 0 and 2" in found.said


def test_a_clock_that_is_off_is_named_with_why_it_matters() -> None:
    found = said([way(0, 1, ahead_s=-2.0), way(0, 2), way(1, 2, ahead_s=2.0)])["clocks"]
    assert found.verdict is Verdict.WARN
    assert f"{HOSTS[0]} is 2.00 s ahead of {HOSTS[1]}" in found.said
    assert f"Host {HOSTS[1]} is at an end of each" in found.said
    assert "timelines" in found.said
    assert "NTP" in found.remedy


def test_an_offset_within_the_error_is_none() -> None:
    found = said([way(0, 1, ahead_s=0.3, trip_s=0.5)])["clocks"]
    assert found.verdict is Verdict.OK


def test_another_dualrt_is_a_failure_and_another_torch_a_warning() -> None:
    alike = {"dualrt": "1", "torch": "2"}
    found = list(verdicts.versions({0: alike, 1: {**alike, "dualrt": "0"}, 2: alike}))
    assert [one.verdict for one in found] == [Verdict.FAIL]
    assert found[0].said == "dualrt is 1 at learners 0, 2, 0 at learner 1"
    (other,) = verdicts.versions({0: alike, 1: {**alike, "torch": "3"}})
    assert other.verdict is Verdict.WARN


def test_other_keys_are_a_failure() -> None:
    assert list(verdicts.alike("keys", {0: "keys a", 1: "keys a"})) == []
    (found,) = verdicts.alike("keys", {0: "keys a", 1: "no keys"})
    assert found.verdict is Verdict.FAIL
    assert "no keys at learner 1" in found.said


def test_what_several_have_found_is_said_once() -> None:
    low = warn("cores", "few", "Add some.")
    found = merged([(0, ok("a", "b")), (1, low), (1, ok("a", "b")), (2, ok("a", "b")), (2, low)], 3)
    assert [(one.check, one.learners) for one in found] == [("a", ()), ("cores", (1, 2))]


def test_ranks_are_listed_in_spans() -> None:
    assert listed([5, 0, 1, 2, 7, 8]) == "learners 0-2, 5, 7-8"
    assert listed([3]) == "learner 3"


def test_a_report_comes_back_from_its_json() -> None:
    import msgspec

    report = Report(2, (ok("a", "b"), warn("c", "d", "e")), (way(0, 1),), HOSTS[:2])
    told = msgspec.json.decode(report.to_json())
    assert told["healthy"] is True
    assert Report.from_builtins(told) == report
