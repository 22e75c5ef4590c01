"""One observer that is several."""

from __future__ import annotations

from dualrt.core.records import BulkObserver, Span, Update
from dualrt.observe.digest import TimingDigest
from dualrt.observe.fan import BulkObservers, Observers, fan
from dualrt.observe.tally import Tally
from tests.observe.examples import a_run, show, show_in_bulk, span


class Diary:
    """Writes down what it hears into a book that it may share."""

    def __init__(self, name: str, book: list[tuple[str, object]]) -> None:
        self.name, self.book = name, book

    def span(self, span: Span) -> None:
        self.book.append((self.name, span))

    def update(self, time_s: float, update: Update) -> None:
        self.book.append((self.name, (time_s, update)))


def test_every_member_hears_every_record_in_order() -> None:
    one: list[tuple[str, object]] = []
    other: list[tuple[str, object]] = []
    records = a_run()
    show(records, Observers(Diary("one", one), Diary("other", other)))
    assert [record for _, record in one] == records
    assert [record for _, record in other] == records


def test_members_hear_in_the_order_they_were_given() -> None:
    book: list[tuple[str, object]] = []
    Observers(Diary("first", book), Diary("second", book)).span(span())
    assert [name for name, _ in book] == ["first", "second"]


def test_a_fan_in_a_fan_is_flattened() -> None:
    book: list[tuple[str, object]] = []
    a, b, c = (Diary(name, book) for name in "abc")
    assert Observers(a, Observers(b, Observers(c))).members == (a, b, c)
    assert fan(a, fan(b, fan(c))).members == (a, b, c)


def test_it_takes_records_in_bulk_if_each_member_does() -> None:
    both = fan(Tally(1), fan(TimingDigest()))
    assert isinstance(both, BulkObserver)
    assert not isinstance(fan(both, Diary("one by one", [])), BulkObserver)


def test_every_member_hears_in_bulk() -> None:
    one, other = TimingDigest(), TimingDigest()
    members = fan(one, other)
    assert isinstance(members, BulkObservers)
    show_in_bulk(a_run(), 7, members)
    alone = TimingDigest()
    show(a_run(), alone)
    assert one.hexdigest() == other.hexdigest() == alone.hexdigest()


def test_nobody_may_listen() -> None:
    show(a_run(), Observers())
