"""Orders that the venue has taken and shows nowhere: closed by evidence, with whatever was in doubt about them."""

from decimal import Decimal
from typing import Any

import pytest

from bot.core.submission.missing import MISSING
from bot.core.submission.work import Work
from bot.domain.answers import Absent, Answer, AnswerKind, Cause, Place
from bot.domain.ledger import DoubtResolved, LookUpMade, OrderReported
from bot.domain.orders import Action, AmendOpen, CancelOpen, OrderCanceled, SubmitOrder
from bot.store.request_audit import check_requests
from tests.support.live_bench import MS, Bench, alerts
from tests.support.money import NAME, SECOND_NS, accepted, filled

LOST = Answer(kind=AnswerKind.UNKNOWN, cause=Cause.NETWORK, code="timeout", recv_ns=0)
EVERYWHERE = (Place.OPEN, Place.HISTORY, Place.EXECUTIONS)
DAY_NS = 24 * 3_600 * SECOND_NS


class Resting(Bench):
    """A desk with an order in the book, all of whose entries are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Any] = []
        (send,) = self.send(self.keep(self.place()))
        assert isinstance(send.command, SubmitOrder)
        self.name = send.command.client_order_id
        self.keep(self.desk.told(accepted(self.name, at_ns=self.now_ns), self.now_ns))

    def keep(self, work: Work) -> Work:
        self.entries += work.record
        return work

    def doubt(self, action: Action) -> str:
        """Ask for something that nobody answers; return the request."""
        (send,) = self.send(self.keep(self.wish(action)))
        self.keep(self.desk.answered(send.request, 1, LOST, self.now_ns))
        return send.request

    def look(self, seconds: int, *, places: tuple[Place, ...] = EVERYWHERE) -> list[Work]:
        """Let so much time pass, a look-up every two seconds that finds nothing."""
        works = []
        for _ in range(seconds // 2):
            self.now_ns += 2 * SECOND_NS
            absent = Absent(places=places, server_time_ms=self.now_ns // MS, recv_ns=self.now_ns)
            works.append(self.keep(self.desk.looked_up(self.name, absent, self.now_ns)))
            # Cancels that are asked again meanwhile find nothing either.
            for send in self.send(self.keep(self.desk.tick(self.marks, self.now_ns))):
                none = Answer(kind=AnswerKind.REFUSED, cause=Cause.NOT_FOUND, code="110001", recv_ns=0)
                self.keep(self.desk.answered(send.request, send.attempt, none, self.now_ns))
        return works

    @property
    def outcomes(self) -> dict[str, str]:
        return {each.request: each.outcome for each in self.entries if isinstance(each, DoubtResolved)}


def _change(name: str) -> AmendOpen:
    return AmendOpen(instrument=NAME, client_order_id=name, limit_price=Decimal("99"))


@pytest.mark.parametrize("kind", ["cancel", "amend"])
def test_a_doubtful_change_of_an_order_that_is_nowhere_comes_to_an_end(kind: str) -> None:
    """The order is closed with its evidence, a person is told, and nothing is looked up any more."""
    bench = Resting()
    asked = CancelOpen(instrument=NAME, client_order_id=bench.name) if kind == "cancel" else _change(bench.name)
    request = bench.doubt(asked)
    works = bench.look(20)
    assert bench.outcomes[request] == "moot"
    assert bench.desk.submissions.doubtful == []
    assert not bench.desk.orders.state.live[NAME]
    assert [code for work in works for code in alerts(work)] == ["ORDER_MISSING"]
    (closed,) = [
        each.event
        for each in bench.entries
        if isinstance(each, OrderReported) and isinstance(each.event, OrderCanceled)
    ]
    assert closed.reason == MISSING
    looked = [each for each in bench.entries if isinstance(each, LookUpMade) and each.request.startswith("create:")]
    assert len(looked) >= 5
    assert all(set(each.places) >= {"open", "history"} for each in looked)
    assert list(check_requests(bench.entries)) == []
    assert bench.desk.orders.state.hold(NAME) is not None, "the venue should remember it: a person is to look"
    bench.now_ns += 60 * SECOND_NS
    assert bench.desk.tick(bench.marks, bench.now_ns).look_up == []


def test_what_the_venue_has_had_time_to_forget_halts_nothing() -> None:
    """After a day away the order is closed, as after every day away."""
    bench = Resting()
    request = bench.doubt(CancelOpen(instrument=NAME, client_order_id=bench.name))
    bench.now_ns += DAY_NS
    bench.look(20)
    assert bench.outcomes[request] == "moot"
    assert bench.desk.orders.state.hold(NAME) is None


def test_a_look_or_a_place_too_few_is_no_evidence() -> None:
    """Neither a lag of the lists nor half of them closes an order."""
    bench = Resting()
    bench.doubt(CancelOpen(instrument=NAME, client_order_id=bench.name))
    bench.look(60, places=(Place.OPEN,))
    assert bench.desk.orders.state.live[NAME]
    bench.look(8)
    assert bench.desk.orders.state.live[NAME]


def test_an_order_that_shows_itself_again_was_never_missing() -> None:
    """What was looked for in vain before is forgotten."""
    bench = Resting()
    bench.doubt(CancelOpen(instrument=NAME, client_order_id=bench.name))
    bench.look(12)
    bench.keep(bench.desk.told(accepted(bench.name, at_ns=bench.now_ns), bench.now_ns))
    bench.look(8)
    assert bench.desk.orders.state.live[NAME]


def test_a_fill_that_comes_late_is_booked_all_the_same() -> None:
    """It is money, whatever the books say of the order."""
    bench = Resting()
    bench.doubt(CancelOpen(instrument=NAME, client_order_id=bench.name))
    bench.look(20)
    bench.desk.told(filled(bench.name, trade="late", qty="1", at_ns=bench.now_ns), bench.now_ns)
    assert bench.desk.orders.state.position_qty(NAME) == 1


def test_the_audit_wants_the_evidence() -> None:
    """An order that is called missing on fewer look-ups is named."""
    bench = Resting()
    bench.doubt(CancelOpen(instrument=NAME, client_order_id=bench.name))
    bench.look(20)
    looks = [each for each in bench.entries if isinstance(each, LookUpMade) and each.request.startswith("create:")]
    thinned = [each for each in bench.entries if each not in looks[1:]]
    assert any("is called missing on 1 look-ups" in line for line in check_requests(thinned))
