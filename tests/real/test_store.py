"""The store by which processes meet: lost before they have, it is named; after that, not needed."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from datetime import timedelta

import pytest
import torch
from torch.distributed import PrefixStore, TCPStore

from dualrt.core.effects import Group
from dualrt.core.errors import RunError
from dualrt.real.collectives import Collectives
from dualrt.real.process_groups import GLOO, ProcessGroups
from tests.support.commands import await_
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
    # 6 epochs of 1,437 samples are 538 mini-batches of 16, of which the dead one made about 20; who
    # of the others makes how many of the rest is up to the machine.
    assert told["steps_by_learner"][0] == 0
    assert sum(told["steps_by_learner"]) > 500
    # A guess is right in 0.1.
    assert told["accuracy"] > 0.5


def test_one_that_is_lost_while_groups_are_joined_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)]
    port, keys = held[0].port, held[0].num_keys()
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    ours = TCPStore("127.0.0.1", port, timeout=timedelta(seconds=60))
    pair = Group("pair", (0, 1))

    def lose() -> None:
        # Learner 1 has said where it is, and waits for learner 0.
        await_(lambda: held[0].num_keys() > keys)
        held.clear()

    losing = threading.Thread(target=lose)
    losing.start()
    said = rf"learner 1 lost the rendezvous at 127\.0\.0\.1:{port} before.*Start again"
    groups = ProcessGroups(
        1,
        device=torch.device("cpu"),
        library=GLOO,
        timeout_s=60.0,
        max_body_bytes=1,
        interface="127.0.0.1",
    )
    with closing(Collectives(groups)) as collectives, pytest.raises(RunError, match=said):
        collectives.join(PrefixStore("groups", ours), 2, (pair,))
    losing.join()
