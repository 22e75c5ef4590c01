"""Verdict: whether a topology should be used, and why, in words.

Owns the conditions under which one is refused, and how its figures are told. Must not know how they
were found.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from dualrt.advice.loads import Load
from dualrt.advice.report import Demand, Report
from dualrt.observe import units
from dualrt.topology.checks import listed

LONGER: Final = 1.05
"""A step that takes this many gradients does not hide its averaging."""


def judged(report: Report, demand: Demand, wrong: str | None, uneven: str | None) -> Report:
    """The report with its verdict.

    `wrong` is why its shares are not doubly stochastic, `uneven` who gives each other different
    ones; None if they are, and nobody does.
    """
    problems = (*_problems_of_shares(report, wrong, uneven), *_problems(report, demand))
    with_problems = replace(report, problems=problems, passed=not problems)
    return replace(with_problems, verdict=_verdict(with_problems))


def protocols(*, bipartite: bool, pushes: bool) -> dict[str, str]:
    """What being bipartite means for each way to exchange."""
    if pushes:
        return {"push": "safe: weights go one way and nobody waits for an answer"}
    lock = (
        "safe: one class initiates and the other responds, so no cycle of waiting can close"
        if bipartite
        else "deadlocks: on an odd cycle learners can wait for one another in a circle"
    )
    return {"delta": "safe: no lock is held across the network, on any graph", "lock": lock}


def _problems_of_shares(report: Report, wrong: str | None, uneven: str | None) -> list[str]:
    if wrong is not None and not report.pushes:
        return [
            f"{report.mixing} shares are not doubly stochastic here: {wrong}. Use metropolis",
        ]
    if uneven is not None:
        return [f"an exchange has one share for both, but {uneven}. Use metropolis"]
    return []


def _problems(report: Report, demand: Demand) -> list[str]:
    found = []
    if not report.connected:
        what, back = ("pushes", " and back") if report.pushes else ("exchanges", "")
        found.append(
            f"it is not connected: no {what} lead from learner 0 to {listed(report.cut_off)}"
            f"{back}, so they never agree"
        )
    if demand.protocol == "lock" and not report.bipartite:
        found.append("it is not bipartite: the lock-based protocol can deadlock on it")
    if report.connected and report.second_eigenvalue is not None:
        rounds = report.consensus_rounds
        if rounds is None:
            found.append(
                "disagreement never dies out: an eigenvalue beside the first has modulus 1 or more"
            )
        elif rounds > demand.rounds:
            found.append(
                f"it mixes slowly: {rounds:,} rounds to a thousandth, more than {demand.rounds:,}"
            )
    busiest = report.bottleneck
    if not report.cluster_assumed and busiest and busiest.busy_s > report.gradient_s:
        found.append(
            f"link {busiest.link} is busy for {units.seconds(busiest.busy_s)} a step, and the "
            f"gradient that it should hide behind takes {units.seconds(report.gradient_s)}"
        )
    return found


def _verdict(report: Report) -> str:
    if report.problems:
        return f"{report.spec} fails: {'; '.join(report.problems)}."
    notes = [
        f"consensus to a thousandth in {units.counted(report.consensus_rounds, 'round')}",
        _waiting(report),
    ]
    busiest = report.bottleneck
    if busiest is not None:
        busy = f"the busiest link {busiest.link} takes {units.seconds(busiest.busy_s)} a step"
        notes.append(f"{busy}, {_against_the_gradient(report, busiest)}")
    if report.single_points:
        lost = report.single_points
        which = f"learner {lost[0]}" if len(lost) == 1 else f"any of {len(lost)} learners"
        notes.append(f"the loss of {which} would split it")
    return f"{report.spec} passes: {'; '.join(notes)}."


def _waiting(report: Report) -> str:
    if report.pushes:
        return "no deadlock, as nothing is answered"
    return "no deadlock" if report.bipartite else "no deadlock with the delta exchange"


def _against_the_gradient(report: Report, busiest: Load) -> str:
    """Whether averaging hides behind the gradient, which is what it should do."""
    gradient = units.seconds(report.gradient_s)
    if busiest.busy_s > report.gradient_s:
        # A cluster that was named fails then; one that is assumed refuses nothing.
        return (
            f"longer than the gradient's {gradient}, on servers that are assumed: name yours with "
            "--cluster to have its links judged"
        )
    if report.step_time_s > LONGER * report.gradient_s:
        # No link is full, but an exchange crosses several, one after another.
        whole = units.seconds(report.step_time_s)
        return f"within the gradient's {gradient}, but with a whole exchange a step takes {whole}"
    return f"hidden behind the gradient's {gradient}"
