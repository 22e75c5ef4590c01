"""What a run's figures say that nobody may have looked for."""

from __future__ import annotations

import math

from dualrt.observe.remarks import AT_LEAST, remarks
from dualrt.observe.tally import Tally
from tests.observe.examples import span, tallied, update


def run(steps: list[int], exchange_s: list[float], loss: float = 1.0) -> Tally:
    """A run of 10 s: so many steps of each learner, and seconds in its exchanges."""
    spans = [span(learner=learner) for learner, made in enumerate(steps) for _ in range(made)]
    waits = [
        span("recv answer", learner=learner, start_s=0.0, end_s=waited_s)
        for learner, waited_s in enumerate(exchange_s)
        if waited_s
    ]
    tally = tallied([*spans, *waits])
    tally.update(10.0, update(loss=loss))
    return tally


def test_a_run_in_which_all_make_their_steps_is_worth_no_word() -> None:
    assert remarks(run([300, 310, 290], [6.0, 0.0, 6.0]), faults=False) == ()
    assert remarks(Tally(3), faults=False) == ()


def test_who_waits_for_exchanges_and_makes_few_steps_is_named() -> None:
    (told,) = remarks(run([20, 400, 390], [8.0, 0.0, 1.0]), faults=False)
    assert told.startswith(
        "learner 0 made 20 steps where learner 1 made 400: it waited for its exchanges 80 % of the"
    )
    assert "algorithm.overlap" in told
    (told,) = remarks(run([20, 400, 30], [8.0, 0.0, 7.0]), faults=False)
    assert "and 1 more made less than a quarter of these" in told


def test_where_somebody_was_lost_others_may_well_have_waited() -> None:
    assert remarks(run([20, 400, 390], [8.0, 0.0, 1.0]), faults=True) == ()


def test_a_slow_device_is_no_exchange_and_few_steps_tell_nothing() -> None:
    assert remarks(run([20, 400, 400], [1.0, 0.0, 0.0]), faults=False) == ()
    assert remarks(run([2, AT_LEAST - 1, 90], [9.0, 0.0, 0.0]), faults=False) == ()


def test_a_run_that_diverged_says_so() -> None:
    for loss in (math.nan, math.inf):
        (told,) = remarks(run([300, 300, 300], [0.0, 0.0, 0.0], loss=loss), faults=False)
        assert "is not finite from epoch" in told
        assert "training.schedule" in told
