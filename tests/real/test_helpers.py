from __future__ import annotations

import threading

from dualrt.real.helpers import Helpers


def helping() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "helper"}


def test_one_part_after_another_needs_one_thread() -> None:
    helpers, ran_on = Helpers(), set[int]()
    for _ in range(20):
        helpers.start(lambda: ran_on.add(threading.get_ident()))()
    helpers.close()
    assert len(ran_on) == 1
    assert threading.get_ident() not in ran_on


def test_parts_that_wait_for_each_other_run_at_once() -> None:
    helpers, meeting = Helpers(), threading.Barrier(3)

    def meet() -> None:
        meeting.wait(30)

    waits = [helpers.start(meet) for _ in range(3)]
    for wait in waits:
        wait()
    helpers.close()
    assert not meeting.broken


def test_the_end_of_a_part_is_waited_for() -> None:
    helpers, go, done = Helpers(), threading.Event(), list[str]()

    def part() -> None:
        go.wait(30)
        done.append("part")

    wait = helpers.start(part)
    assert not done
    go.set()
    wait()
    helpers.close()
    assert done == ["part"]


def test_closing_ends_the_idle_and_who_is_busy_afterwards() -> None:
    # Those of the tests before may still be about to end.
    before, helpers, go = helping(), Helpers(), threading.Event()

    def busy() -> None:
        go.wait(30)

    wait = helpers.start(busy)
    helpers.start(lambda: None)()
    threads = helping() - before
    assert len(threads) == 2
    helpers.close()
    go.set()
    wait()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
