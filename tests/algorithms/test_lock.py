"""The papers' exchange: who has the turn, who waits for whom, and where it would deadlock."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualrt.algorithms.adpsgd import ADPSGD
from dualrt.algorithms.hierarchical import HierarchicalADPSGD
from dualrt.composition import Composition
from dualrt.core.effects import Delivery, Packet, Place, Recv
from dualrt.core.errors import DeadlockError, ScenarioError
from dualrt.core.learner import Learner
from dualrt.core.records import Span
from dualrt.scenario import load
from dualrt.sim.transport import HEADER_BYTES
from dualrt.workloads.phantom import Phantom
from tests.support.cases import FIXED, machines, two_sided
from tests.support.exact import ExactWorkload, imbalance, learners_of, seats
from tests.support.pushing import computed, first, number, reported, result, sent, value
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
    average = active.average(0)
    assert first(average) == Recv("turn", 1)
    request = sent(average.send(TURN), 0, "request")
    assert (request.body.value, request.note) == (2, 0.5)
    assert average.send(None) == Recv("answer", 0)
    sent(average.send(Delivery(0, Packet((4, 0), number(8)))), 0, "receipt")
    blend = average.send(None)
    computed(blend, "blend")
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


def run(exchange: str, slow: Mapping[int, float], algorithm: type[Learner] = ADPSGD) -> Log:
    """Eight learners on a ring; an update takes 3 % of a gradient's 10 ms, a message 10 ms."""
    of = {"learners_per_group": 1} if algorithm is HierarchicalADPSGD else {}
    case = Case(algorithm, 8, {**of, "exchange": exchange}, machine={"slow": slow, "step_cv": 0.3})
    workload = Phantom(
        seed=0, learners=8, batch=10, samples_per_epoch=10 * 8 * 100, parameters_bytes=10**8
    )
    return simulate(case.cast(workload), case.where())


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
def test_a_stragglers_neighbours_wait_longer_than_with_the_delta_exchange(
    algorithm: type[Learner],
) -> None:
    delta, lock = (run(way, {STRAGGLER: 10.0}, algorithm) for way in ("delta", "lock"))
    for neighbour in (STRAGGLER - 1, STRAGGLER + 1):
        assert waited_s(lock, neighbour) > 1.1 * waited_s(delta, neighbour)
        assert lock.steps(neighbour) < delta.steps(neighbour)


def test_a_stragglers_neighbours_wait_for_it_and_others_do_not() -> None:
    calm, slow = (run("lock", {STRAGGLER: factor}) for factor in (1.0, 10.0))
    more_s = [waited_s(slow, rank) - waited_s(calm, rank) for rank in range(8)]
    near = [more_s[STRAGGLER - 1], more_s[STRAGGLER + 1]]
    # The active learners on the other side of the ring.
    assert min(near) > 2 * max(abs(more_s[5]), abs(more_s[7]))


def test_who_is_passive_waits_with_its_update_while_its_answer_is_on_the_wire() -> None:
    log = run("lock", {})
    for learner in range(8):
        waits = [
            span.end_s - span.start_s
            for span in log.spans
            if (span.learner, span.strand, span.kind) == (learner, "train", "recv turn")
        ]
        assert (max(waits) > 5e-3) == (learner % 2 == 0)


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
        Composition(scenario, 1.0)
    assert key in str(refused.value)
    assert says in str(refused.value)
