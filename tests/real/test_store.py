"""The store by which processes met is needed no more once they have."""

from __future__ import annotations

import json

from tests.support.processes import ended, started


def test_who_serves_the_store_may_die_and_the_others_gossip_on() -> None:
    words = ("0@20", "learners=3", "training.epochs=6", "real.timeout_s=30.0")
    with started("tests.support.dying", *words, processes=3, first_serves=True) as running:
        ends = [ended(process) for process in running]
    assert ends[0][0] < 0
    for code, _, err in ends[1:]:
        assert code == 0, err
    told = json.loads(ends[1][1])
    assert told["faults"]["down_at_the_end"] == [0]
    # 6 epochs of 1,437 samples are 538 mini-batches of 16, of which the dead one made about 20.
    assert min(told["steps_by_learner"][1:]) > 100
    assert told["accuracy"] > 0.8
