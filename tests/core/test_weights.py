"""Weights change in single steps; a delta blend conserves the sum whatever lands in between."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from dualrt.core.versions import Staleness
from tests.support.exact import ExactWeights, Number, Plain

WHOLE = st.integers(-(10**6), 10**6).map(Fraction)


def weights(rank: int, value: Fraction) -> ExactWeights:
    return ExactWeights(rank, 2, value, Plain(nbytes=8))


def gradient(value: int) -> Number:
    return Number(Fraction(value), 8)


def test_a_snapshot_does_not_follow_later_changes() -> None:
    mine = weights(0, Fraction(3))
    before = mine.snapshot()
    mine.descend(gradient(1), 1.0, before.versions)
    assert before.vector.value == 3
    assert mine.snapshot().vector.value == 2
    assert mine.snapshot().versions == (1, 0)


def test_snapshots_share_a_copy_until_the_weights_change() -> None:
    mine = weights(0, Fraction(3))
    one = mine.snapshot()
    mine.hear((0, 5))
    assert mine.snapshot().vector is one.vector
    assert mine.snapshot().versions == (0, 5)
    changes: list[Callable[[], object]] = [
        lambda: mine.descend(gradient(1), 1.0, one.versions),
        lambda: mine.blend(one, one, 0.5),
        lambda: mine.adopt(one),
    ]
    for change in changes:
        before = mine.snapshot()
        change()
        assert mine.snapshot().vector is not before.vector


@given(WHOLE, WHOLE, st.integers(-9, 9), st.integers(-9, 9), st.sampled_from([0.5, 0.25, 1 / 3]))
def test_an_exchange_conserves_the_sum_with_updates_in_between(
    a: Fraction, b: Fraction, ga: int, gb: int, share: float
) -> None:
    """The gradients land after the snapshots were taken and before the differences are applied."""
    initiator, responder = weights(0, a), weights(1, b)
    offer, answer = initiator.snapshot(), responder.snapshot()
    initiator.descend(gradient(ga), 1.0, offer.versions)
    responder.descend(gradient(gb), 1.0, answer.versions)
    responder.blend(answer, offer, share)
    initiator.blend(offer, answer, share)
    assert initiator.value + responder.value == a + b - ga - gb


def test_a_gradient_is_as_stale_as_what_entered_since_its_read() -> None:
    mine, theirs = weights(0, Fraction(0)), weights(1, Fraction(0))
    for _ in range(3):
        theirs.descend(gradient(1), 1.0, theirs.snapshot().versions)
    read = mine.snapshot()
    mine.blend(read, theirs.snapshot(), 0.5)
    assert mine.descend(gradient(1), 1.0, read.versions) == Staleness(steps=3, missed=3)


def test_adopting_takes_values_and_versions() -> None:
    mine, theirs = weights(0, Fraction(0)), weights(1, Fraction(7))
    theirs.descend(gradient(2), 1.0, (0, 0))
    mine.adopt(theirs.snapshot())
    assert mine.snapshot().vector.value == 5
    assert mine.snapshot().versions == (0, 1)
