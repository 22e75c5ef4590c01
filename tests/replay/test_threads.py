"""A run of threads, and its replay: the same weights to the bit, whoever came first."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.asgd import ASGD
from dualrt.algorithms.sdpsgd import SDPSGD
from dualrt.core.errors import RunError, StrandError
from dualrt.core.learner import Learner
from dualrt.core.records import Update
from dualrt.observe.order import (
    TURNS_PER_FLUSH,
    Header,
    Order,
    OrderWriter,
    read_orders,
)
from dualrt.replay.driver import Replay
from dualrt.replay.given import DivergedError
from dualrt.workloads.quadratic import Quadratic
from tests.support.runs import Case
from tests.support.stage import train

pytestmark = pytest.mark.usefixtures("one_torch_thread")

LEARNERS = 4


def quadratic(seed: int = 0) -> Quadratic:
    return Quadratic(
        seed=seed, learners=LEARNERS, batch=1, dimension=50, dtype="float32", samples_per_epoch=200
    )


def cast(case: Case, wire: str = "full", seed: int = 0) -> list[Learner]:
    learners = case.cast(quadratic(seed))
    for learner in learners:
        learner.weights.wire = wire
        learner.weights.wire_fraction = 0.2
    return learners


def run(case: Case, folder: Path, wire: str = "full") -> list[Learner]:
    """For real; its order is kept in `folder`."""
    learners = cast(case, wire)
    with ExitStack() as stack:

        def witness(rank: int) -> OrderWriter:
            header = Header(
                rank=rank, learners=LEARNERS, learners_per_node=None, device="cpu", folder="."
            )
            return stack.enter_context(OrderWriter(folder, header))

        train(learners, witness=witness)
    return learners


def again(case: Case, orders: list[Order], wire: str = "full", seed: int = 0) -> list[Learner]:
    learners = cast(case, wire, seed)
    Replay(learners, [order.turns for order in orders], lambda _: None, timeout_s=30.0).run()
    return learners


def bits(learners: list[Learner]) -> list[bytes]:
    return [learner.weights.snapshot().vector.numpy().tobytes() for learner in learners]


def course(learners: list[Learner]) -> list[list[int]]:
    return [list(learner.weights.known()) for learner in learners]


CASES: list[tuple[type[Learner], Mapping[str, Any], str, str]] = [
    (ADPSGD, {}, "ring", "full"),
    (ADPSGD, {}, "complete", "full"),
    (ADPSGD, {"exchange": "lock"}, "ring", "full"),
    (ADPSGD, {"period": 3}, "ring", "full"),
    (ADPSGD, {"overlap": 4}, "ring", "full"),
    (ADPSGD, {}, "ring", "bfloat16"),
    (ADPSGD, {}, "complete", "top-k"),
    (ASGD, {}, "ring", "full"),
    (SDPSGD, {}, "ring", "full"),
]


@pytest.mark.parametrize(("algorithm", "settings", "graph", "wire"), CASES)
def test_a_replay_comes_to_the_same_bits_and_the_same_versions(
    algorithm: type[Learner], settings: Mapping[str, Any], graph: str, wire: str, tmp_path: Path
) -> None:
    case = Case(algorithm, LEARNERS, settings, graph=graph, mixing="neighbours")
    if settings.get("exchange") == "lock":
        case = Case(algorithm, LEARNERS, settings, graph=graph)
    there = run(case, tmp_path, wire)
    orders = read_orders(tmp_path)
    here = again(case, orders, wire)
    assert bits(here) == bits(there)
    assert course(here) == course(there)
    # It is worth nothing if all that happens is the same in any order.
    assert len(set(bits(there))) > 1


@pytest.mark.parametrize("step", [2, 3, 4, 7])
def test_an_end_comes_where_it_is_asked_for_though_a_strand_might_go_on(
    step: int, tmp_path: Path
) -> None:
    case = Case(ADPSGD, LEARNERS, {"overlap": 4}, graph="complete", mixing="neighbours")
    run(case, tmp_path)
    learners = cast(case)

    def report(update: Update) -> None:
        if (update.learner, update.step) == (0, step):
            replay.stop()

    turns = [order.turns for order in read_orders(tmp_path)]
    replay = Replay(learners, turns, report, timeout_s=30.0)
    replay.run()
    assert learners[0].step == step


def test_strands_come_to_their_weights_in_between_each_other(tmp_path: Path) -> None:
    # Else there would be nothing to replay.
    run(Case(ADPSGD, LEARNERS, graph="complete", mixing="neighbours"), tmp_path)
    courses = [turn.course for order in read_orders(tmp_path) for turn in order.turns]
    changes = sum(one != other for one, other in itertools.pairwise(courses))
    assert changes > 100


def test_another_order_comes_to_other_bits(tmp_path: Path) -> None:
    """Blends that come after a descent, and not before: all are there, and rounding tells."""
    case = Case(ADPSGD, LEARNERS, graph="complete", mixing="neighbours")
    there = run(case, tmp_path)
    orders = read_orders(tmp_path)
    assert sum(map(put_off, orders))
    assert bits(again(case, orders)) != bits(there)


def put_off(order: Order) -> int:
    """Put blends off until after the next descent; returns how many."""
    turns, moved = order.turns, 0
    for place, turn in enumerate(turns):
        if (turn.course, turn.what) != ("answer", "blend"):
            continue
        after = next((n for n in range(place, len(turns)) if turns[n].what == "descend"), place)
        if after > place and all(one.course != "answer" for one in turns[place + 1 : after]):
            turns.insert(after, turns.pop(place))
            moved += 1
    return moved


def test_a_learner_that_does_something_else_is_named(tmp_path: Path) -> None:
    case = Case(ADPSGD, LEARNERS)
    run(case, tmp_path)
    orders = read_orders(tmp_path)
    place = next(n for n, turn in enumerate(orders[2].turns) if turn.what == "descend")
    orders[2].turns[place] = orders[2].turns[place]._replace(what="adopt")
    told = rf"learner 2, turn {place + 1} of \d+: 'train' comes to 'descend', and not to 'adopt'"
    with pytest.raises(DivergedError, match=told):
        again(case, orders)


def test_what_was_sent_to_another_is_named(tmp_path: Path) -> None:
    case = Case(ADPSGD, LEARNERS)
    run(case, tmp_path)
    orders = read_orders(tmp_path)
    turns, place = next(
        (order.turns, place)
        for order in orders
        for place, turn in enumerate(order.turns)
        if turn.what == "send offer"
    )
    turns[place] = turns[place]._replace(number=(turns[place].number + 2) % LEARNERS)
    with pytest.raises(DivergedError, match=r"sends 'offer' to learner \d, and not to \d"):
        again(case, orders)


def test_it_goes_as_far_as_the_order_is_known(tmp_path: Path) -> None:
    case = Case(ADPSGD, LEARNERS)
    there = run(case, tmp_path)
    orders = read_orders(tmp_path)
    known = len(orders[1].turns) // 2
    del orders[1].turns[known:]
    learners = cast(case)
    replay = Replay(learners, [one.turns for one in orders], lambda _: None, timeout_s=30.0)
    replay.run()
    assert replay.given[1].taken == known
    assert 1 not in replay.ended
    assert 0 < learners[1].step <= there[1].step


def test_a_whole_run_that_does_not_come_to_its_end_is_no_success(tmp_path: Path) -> None:
    case = Case(ADPSGD, LEARNERS)
    run(case, tmp_path)
    orders = read_orders(tmp_path)
    rank, took = next(
        (order.header.rank, turn)
        for order in orders
        for turn in order.turns
        if turn.what == "took offer"
    )
    # It waits for an offer more of this one than there are.
    turns = orders[rank].turns
    turns.append(took)
    learners = cast(case)
    replay = Replay(learners, [one.turns for one in orders], lambda _: None, timeout_s=30.0)
    replay.run()
    last = len(turns)
    told = f"learner {rank}, turn {last} of {last}: 'answer' does not come to 'took offer'"
    with pytest.raises(DivergedError, match=told):
        replay.check_over()


def test_it_stops_where_it_is_told_to(tmp_path: Path) -> None:
    case = Case(ADPSGD, LEARNERS)
    run(case, tmp_path)
    learners = cast(case)
    turns = [order.turns for order in read_orders(tmp_path)]

    def look(update: Update) -> None:
        if (update.learner, update.step) == (3, 5):
            replay.stop()

    replay = Replay(learners, turns, look, timeout_s=30.0)
    replay.run()
    assert learners[3].step == 5
    assert not replay.ended


def test_what_a_learner_raises_arises(tmp_path: Path) -> None:
    case = Case(ADPSGD, LEARNERS)
    run(case, tmp_path)

    def look(update: Update) -> None:
        raise ZeroDivisionError("of a learner's own")

    turns = [order.turns for order in read_orders(tmp_path)]
    with pytest.raises(StrandError, match="ZeroDivisionError: of a learner's own"):
        Replay(cast(case), turns, look, timeout_s=30.0).run()


def test_a_loss_ends_what_is_known(tmp_path: Path) -> None:
    header = Header(rank=0, learners=1, learners_per_node=None, device="cpu", folder=".")
    with OrderWriter(tmp_path, header) as writer, writer.on("train"):
        writer.knew("finished", 0)
        writer.lost(3)
        writer.knew("finished", 1)
    [order] = read_orders(tmp_path)
    assert [turn.what for turn in order.turns] == ["finished"]
    assert (order.lost, order.weights) == (3, None)


@pytest.mark.parametrize("when", ["while it runs", "as it ends"])
def test_a_full_disk_ends_the_run_and_is_named(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - the writer closes it
    monkeypatch.setattr(Path, "open", lambda *_, **__: full)
    header = Header(rank=0, learners=1, learners_per_node=None, device="cpu", folder=".")
    writer = OrderWriter(tmp_path, header)

    def keep(turns: int) -> None:
        with writer, writer.on("train"):
            for _ in range(turns):
                writer.knew("finished", 0)

    told = "order-0.jsonl cannot be written: No space left on device. Make room, or leave out"
    with pytest.raises(RunError, match=told):
        keep(TURNS_PER_FLUSH if when == "while it runs" else 1)
    # What comes after a gap is worth nothing, and nothing fails a second time.
    assert full.closed
    writer.close()
