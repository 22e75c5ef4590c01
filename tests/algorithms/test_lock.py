"""The papers' exchange: who has the turn, who waits for whom, and where it would deadlock."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.hierarchical import HierarchicalADPSGD
from dualrt.composition import Composition
from dualrt.core.effects import Compute, Delivery, Packet, Place, Recv
from dualrt.core.errors import DeadlockError, ScenarioError
from dualrt.core.learner import Learner
from dualrt.core.records import Span
from dualrt.scenario import load
from dualrt.sim.transport import HEADER_BYTES
from dualrt.workloads.phantom import Phantom
from tests.support.cases import FIXED, machines, two_sided
from tests.support.exact import ExactWorkload, imbalance, learners_of, seats
from tests.support.pushing import body, computed, first, number, reported, result, sent, value
from tests.support.runs import Case
from tests.support.simulated import Log, machine, simulate
from tests.support.weather import DELAYS, weather

LOCK = {"exchange": "lock"}
TURN = Delivery(0, Packet())


def pair() -> list[ADPSGD]:
    """On a path of two: 0 is passive and begins at 1, 1 is active and begins at 2."""
    workload = ExactWorkload(learners=2, samples_per_epoch=100)
    return learners_of(ADPSGD, workload, 2, LOCK, graph="path")


def test_the_active_end_takes_its_turn_asks_and_confirms_before_it_averages() -> None:
    _, active = pair()
    average = body(active.average(0))
    assert first(average) == Recv("turn", 1)
    request = sent(average.send(TURN), 0, "request")
    assert (request.body.value, request.note) == (2, 0.5)
    assert average.send(None) == Recv("answer", 0)
    sent(average.send(Delivery(0, Packet((4, 0), number(8)))), 0, "receipt")
    blend = average.send(None)
    computed(blend, "blend")
    assert isinstance(blend, Compute)
    assert blend.on is Place.HOST
    assert value(active) == 5
    sent(average.send(None), 1, "turn")
    result(average)


def test_the_passive_end_answers_in_its_turn_and_averages_after_the_receipt() -> None:
    passive, _ = pair()
    serve = passive.exchange.answer()
    sent(first(serve), 0, "turn")
    assert serve.send(None) == Recv("request")
    request = Packet((0, 3), number(9), 0.5)
    assert serve.send(Delivery(1, request)) == Recv("turn", 0)
    assert sent(serve.send(TURN), 1, "answer").body.value == 1
    assert serve.send(None) == Recv("receipt", 1)
    computed(serve.send(Delivery(1, Packet())), "blend")
    assert value(passive) == 5
    sent(serve.send(None), 0, "turn")
    serve.close()


def test_an_update_takes_the_turn_and_gives_it_back() -> None:
    passive, _ = pair()
    read = passive.weights.snapshot()
    gradient = passive.seat.workload.gradient(read.vector, 0, 0)
    update = passive.update(gradient, read)
    assert first(update) == Recv("turn", 0)
    staleness = computed(update.send(TURN), "update")
    assert reported(update.send(staleness)).step == 1
    sent(update.send(None), 0, "turn")
    result(update)


def test_the_side_of_learner_0_starts_no_exchange() -> None:
    workload = ExactWorkload(learners=6, samples_per_epoch=100)
    for mixing in FIXED:
        team = learners_of(ADPSGD, workload, 6, LOCK, mixing=mixing)
        for learner in team:
            starts = [learner.mixing.initiates(round_) for round_ in range(2)]
            assert any(starts) == (learner.rank % 2 == 1)


def run(
    exchange: str,
    slow: Mapping[int, float],
    algorithm: type[Learner] = ADPSGD,
    nbytes: int = 10**8,
) -> Log:
    """Eight learners on a ring, where the odd ones start all exchanges in either way.

    A gradient takes 10 ms; with `nbytes` of 10**8 a message does too, and an update 0.3 ms.
    """
    of: dict[str, Any] = {"exchange": exchange}
    if algorithm is HierarchicalADPSGD:
        of["learners_per_group"] = 1
    workload = Phantom(
        seed=0, learners=8, batch=10, samples_per_epoch=10 * 8 * 100, parameters_bytes=nbytes
    )
    layout = algorithm.layout(8, **of)._replace(one_sided=True)
    team = [algorithm(seat, **of) for seat in seats(workload, layout, learners=8)]
    return simulate(team, machine(8, slow=slow, step_cv=0.3))


def waited_s(log: Log, learner: int) -> float:
    """What a learner's own training waited for the turn and for answers, an update."""
    waits = [
        span.end_s - span.start_s
        for span in log.spans
        if span.learner == learner
        and span.strand in {"train", "lead"}
        and span.kind in {"recv turn", "recv answer"}
    ]
    return sum(waits) / log.steps(learner)


def test_an_active_learners_step_is_request_answer_average_and_update() -> None:
    # Its partner computes one gradient for the whole run, so nobody else takes a turn.
    nbytes = 10**8
    case = Case(ADPSGD, 2, LOCK, graph="path", machine={"slow": {0: 1e6}})
    workload = Phantom(
        seed=0, learners=2, batch=10, samples_per_epoch=10 * 20, parameters_bytes=nbytes
    )
    log = simulate(case.cast(workload), case.where())
    steps_s = [
        after - before
        for (before, _), (after, _) in pairwise(one for one in log.updates if one[1].learner)
    ]
    wire_s = 2e-6 + (nbytes + HEADER_BYTES + 2 * 8) / 1e10
    expected_s = 2 * wire_s + 4 * nbytes / 1e11 + 3 * nbytes / 1e12
    assert len(steps_s) > 10
    assert steps_s == pytest.approx([expected_s] * len(steps_s), rel=1e-9)


STRAGGLER = 2
"""Passive, as its number is even; its neighbours are active."""


@pytest.mark.parametrize("algorithm", [ADPSGD, HierarchicalADPSGD], ids=lambda cls: cls.__name__)
def test_a_stragglers_neighbours_wait_for_it_with_the_lock_only(
    algorithm: type[Learner],
) -> None:
    # Its update takes 0.3 s, in which it gives no answer; a message takes 0.1 s.
    more_s = {}
    for exchange in ("delta", "lock"):
        calm, slow = (run(exchange, {STRAGGLER: f}, algorithm, 10**9) for f in (1.0, 100.0))
        more_s[exchange] = [waited_s(slow, rank) - waited_s(calm, rank) for rank in range(8)]
    for neighbour in (STRAGGLER - 1, STRAGGLER + 1):
        assert more_s["lock"][neighbour] > 10e-3
        assert more_s["delta"][neighbour] < 1e-3
        # The active learners on the other side of the ring wait for those who wait.
        assert more_s["lock"][neighbour] > 1.5 * max(more_s["lock"][5], more_s["lock"][7])


def test_who_is_passive_waits_with_its_update_while_its_answer_is_on_the_wire() -> None:
    delta, lock = (run(exchange, {}) for exchange in ("delta", "lock"))
    for passive in range(0, 8, 2):
        assert waited_s(delta, passive) == 0
        # A message takes 10 ms.
        assert waited_s(lock, passive) > 2e-3
    # The same updates take longer.
    assert lock.elapsed_s > 1.05 * delta.elapsed_s


@pytest.mark.parametrize("exchange", ["delta", "lock"])
def test_updates_and_averages_interleave_only_without_the_lock(exchange: str) -> None:
    log = run(exchange, {})
    overlaps = 0
    for learner in range(8):
        changes = sorted(_changes(log, learner), key=lambda span: span.start_s)
        overlaps += sum(after.start_s < before.end_s for before, after in pairwise(changes))
    assert (overlaps == 0) == (exchange == "lock")


def _changes(log: Log, learner: int) -> list[Span]:
    """Updates, and exchanges from the first message that shows the weights to the averaging."""
    mine = [span for span in log.spans if span.learner == learner]
    found = [span for span in mine if span.kind == "update"]
    for strand in ("train", "answer"):
        begins: Span | None = None
        for span in (span for span in mine if span.strand == strand):
            if span.kind in {"send request", "send offer", "send answer"}:
                begins = span
            elif span.kind == "blend" and begins is not None:
                found.append(span._replace(start_s=begins.start_s))
    return found


@settings(max_examples=60)
@given(st.data(), st.integers(2, 9), st.sampled_from(sorted(DELAYS)))
def test_whatever_the_delays_a_bipartite_graph_does_not_deadlock_and_conserves_the_sum(
    data: st.DataObject, learners: int, delay: str
) -> None:
    case = Case(
        ADPSGD,
        learners,
        LOCK,
        graph=data.draw(two_sided(learners)),
        mixing=data.draw(st.sampled_from(FIXED)),
        machine=data.draw(machines(learners)),
    )
    team = case.cast(ExactWorkload(learners=learners, samples_per_epoch=40))
    with weather(DELAYS[delay], case.seed):
        log = simulate(team, case.where())
    assert len(log.updates) >= 40
    assert imbalance(team) == 0


@pytest.mark.parametrize("learners", [3, 5, 8])
def test_where_all_initiate_around_a_ring_the_lock_deadlocks(learners: int) -> None:
    # Why an odd ring is refused; on an even one, it is the sides that save it.
    workload = ExactWorkload(learners=learners, samples_per_epoch=40)
    layout = ADPSGD.layout(learners, exchange="lock")
    around = seats(
        workload, layout._replace(one_sided=False), learners=learners, mixing="neighbours"
    )
    with pytest.raises(DeadlockError, match="every live strand waits"):
        simulate([ADPSGD(seat, exchange="lock") for seat in around], machine(learners))


@pytest.mark.parametrize(
    ("overrides", "key", "says"),
    [
        (("learners=5",), "topology.graph = 'ring'", "not bipartite"),
        (("topology.mixing='random-ring'",), "topology.mixing = 'random-ring'", "at random"),
        (("algorithm.exchange='locked'",), "algorithm.exchange = 'locked'", "'delta' or 'lock'"),
    ],
)
def test_a_graph_without_two_sides_is_refused_by_its_key(
    overrides: tuple[str, ...], key: str, says: str
) -> None:
    scenario = load(
        "quadratic-sd-psgd", ("algorithm.name='adpsgd'", "algorithm.exchange='lock'", *overrides)
    )
    with pytest.raises(ScenarioError) as refused:
        Composition(scenario, 1.0, scenario.learners)
    assert key in str(refused.value)
    assert says in str(refused.value)
