"""The live desk's decisions one by one: what others do here, comparisons, protection, the kill switch."""

from decimal import Decimal

from msgspec.structs import replace

from bot.core.risk import Denial
from bot.core.submission.requests import Subject, Terms
from bot.domain.account_events import AccountUnsure, ExternalFill, ExternalOrder, TransferBooked
from bot.domain.answers import Absent, Answer, AnswerKind, Cause, Found, Place
from bot.domain.instrument import Side
from bot.domain.ledger import DoubtResolved, ExternalFillBooked, IntentDropped, RiskDenied, StopsReported
from bot.domain.ledger import TransferBooked as TransferEntry
from bot.domain.orders import (
    CancelOpen,
    CancelOrder,
    ForeignKind,
    SetStops,
    SubmitOrder,
)
from bot.domain.venue_records import (
    BookingRecord,
)
from tests.support.desk import NOW_NS
from tests.support.live_bench import MS, NOW_MS, Bench, alerts, execution, later, position, record, wallet_of
from tests.support.money import NAME, SECOND_NS, accepted, canceled, filled
from tests.support.venue_side import exit_at, stops_changed

# --- sending ----------------------------------------------------------------------------------------------------------


def test_a_decision_that_a_slow_disk_held_up_is_closed_unsent() -> None:
    bench = Bench()
    assert bench.send(bench.place(), wait_ns=1_500 * MS) == []
    (dropped,) = [entry for entry in bench.more.record if isinstance(entry, IntentDropped)]
    assert "durable" in dropped.why
    assert not any(bench.desk.orders.state.live.values())


def test_a_decision_whose_price_has_gone_is_closed_unsent() -> None:
    bench = Bench()
    work = bench.place()
    bench.price = Decimal("100.6")
    assert bench.send(work) == []


def test_a_cancel_that_a_slow_disk_held_up_is_signed_again() -> None:
    bench = Bench()
    bench.send(bench.place())
    work = bench.wish(CancelOpen(instrument=NAME))
    assert bench.send(work, wait_ns=2_000 * MS) == []
    (again,) = bench.send(bench.more)
    assert again.attempt == 2
    assert isinstance(again.command, CancelOrder)
    assert again.signed_ms == bench.now_ns // MS


def test_a_cancel_that_is_refused_again_and_again_is_told_once_a_minute() -> None:
    bench = Bench()
    bench.send(bench.place())
    work = bench.wish(CancelOpen(instrument=NAME))
    told_s = []
    for _ in range(70):
        for send in bench.send(work):
            refusal = Answer(kind=AnswerKind.REFUSED, cause=Cause.KEY, code="10003", text="no", recv_ns=bench.now_ns)
            if "CANCEL_REFUSED" in alerts(bench.desk.answered(send.request, send.attempt, refusal, bench.now_ns)):
                told_s.append((bench.now_ns - NOW_NS) // SECOND_NS)
        bench.now_ns += SECOND_NS
        work = bench.desk.tick(bench.marks, bench.now_ns)
    assert len(told_s) == 2
    assert told_s[1] - told_s[0] >= 60


def test_nothing_new_while_in_doubt_but_exits() -> None:
    bench = Bench()
    bench.hold(qty="2")
    (send,) = bench.send(bench.place())
    lost = Answer(kind=AnswerKind.UNKNOWN, cause=Cause.NETWORK, code="timeout", recv_ns=0)
    bench.desk.answered(send.request, 1, lost, bench.now_ns)
    (denied,) = [entry for entry in bench.place().record if isinstance(entry, RiskDenied)]
    assert denied.code == Denial.IN_DOUBT
    assert len(bench.place(Side.SELL, "2", None).send) == 1


def test_a_refused_resend_says_nothing_of_the_sending_before_it() -> None:
    """The first is still on its way: the order is not given up, and lives when it comes."""
    bench = Bench()
    (send,) = bench.send(bench.place())
    assert isinstance(send.command, SubmitOrder)
    name = send.command.client_order_id
    lost = Answer(kind=AnswerKind.UNKNOWN, cause=Cause.NETWORK, code="timeout", recv_ns=0)
    bench.desk.answered(send.request, 1, lost, bench.now_ns)
    absent = Absent(places=(Place.OPEN, Place.HISTORY), server_time_ms=NOW_MS + 300, recv_ns=0)
    bench.desk.looked_up(name, absent, bench.now_ns)
    bench.now_ns += SECOND_NS
    (again,) = bench.send(bench.desk.tick(bench.marks, bench.now_ns))
    assert (again.request, again.attempt, again.command) == (send.request, 2, send.command)
    no = Answer(kind=AnswerKind.REFUSED, cause=Cause.FUNDS, code="110007", recv_ns=0)
    work = bench.desk.answered(send.request, 2, no, bench.now_ns)
    assert work.publish == []
    assert [request.key for request in bench.desk.submissions.doubtful] == [send.request]
    work = bench.desk.told(accepted(name, at_ns=bench.now_ns), bench.now_ns)
    assert [entry.outcome for entry in work.record if isinstance(entry, DoubtResolved)] == ["accepted"]
    assert bench.desk.orders.state.orders[name].is_live
    assert bench.desk.orders.state.hold(NAME) is None


def test_an_order_whose_every_sending_was_too_late_to_leave_is_over() -> None:
    """A slow disk twice in a row: nothing has left, so nothing is open, and nobody has to cancel it."""
    bench = Bench(Terms(recv_window_ms=1_000))
    work = bench.place()
    assert bench.send(work, wait_ns=800 * MS) == []  # its window had nearly passed: it is signed again
    assert [send.attempt for send in bench.more.send] == [2]
    assert bench.send(bench.more, wait_ns=1_600 * MS) == []
    name = work.send[0].command.client_order_id  # type: ignore[union-attr]
    assert [type(each.event).__name__ for each in bench.more.publish] == ["OrderRejected"]
    assert not bench.desk.orders.state.live.get(NAME)
    assert bench.desk.submissions.doubtful == []
    assert bench.wish(CancelOpen(instrument=NAME, client_order_id=name)).send == []


def test_too_late_may_be_said_of_a_copy() -> None:
    """The network repeats requests: the copy that came too late says nothing of the one that did not."""
    bench = Bench()
    (send,) = bench.send(bench.place())
    late = Answer(kind=AnswerKind.REFUSED, cause=Cause.CLOCK, code="10002", recv_ns=0)
    assert bench.desk.answered(send.request, 1, late, bench.now_ns).publish == []
    assert [request.key for request in bench.desk.submissions.doubtful] == [send.request]


def test_an_id_that_exists_is_adopted_if_it_is_ours_and_halts_the_instrument_if_not() -> None:
    for side, outcome in ((Side.BUY, "accepted"), (Side.SELL, "refused")):
        bench = Bench()
        (send,) = bench.send(bench.place())
        assert isinstance(send.command, SubmitOrder)
        name = send.command.client_order_id
        exists = Answer(kind=AnswerKind.EXISTS, code="110072", recv_ns=0)
        bench.desk.answered(send.request, 1, exists, bench.now_ns)
        found = Found(order=record(name, side=side), place=Place.OPEN, server_time_ms=NOW_MS, recv_ns=0)
        work = bench.desk.looked_up(name, found, bench.now_ns)
        (resolved,) = [entry for entry in work.record if isinstance(entry, DoubtResolved)]
        assert resolved.outcome == outcome
        assert (bench.desk.orders.state.hold(NAME) is not None) is (outcome == "refused")


def test_a_stop_in_doubt_is_read_off_the_position() -> None:
    for stop, reported in (("90", False), (None, True)):
        bench = Bench()
        bench.hold()
        (send,) = bench.send(bench.wish(SetStops(instrument=NAME, stop_loss=exit_at("90"))))
        lost = Answer(kind=AnswerKind.UNKNOWN, cause=Cause.NETWORK, code="timeout", recv_ns=0)
        bench.desk.answered(send.request, 1, lost, bench.now_ns)
        works = []
        for second in (1, 6, 8):
            held = position("1", stop_loss=None if stop is None else Decimal(stop))
            at_ns = bench.now_ns + second * SECOND_NS
            works.append(bench.desk.position_looked_up(NAME, held, at_ns // MS, at_ns))
        entries = [entry for work in works for entry in work.record]
        assert any(isinstance(entry, StopsReported) for entry in entries) is reported
        assert not bench.desk.submissions.doubtful


def test_an_order_that_comes_to_life_after_all_is_canceled_and_the_instrument_halted() -> None:
    """The fence was wrong: the worst lag seen is allowed for from now on."""
    bench = Bench()
    (send,) = bench.send(bench.place())
    assert isinstance(send.command, SubmitOrder)
    name = send.command.client_order_id
    lost = Answer(kind=AnswerKind.UNKNOWN, cause=Cause.NETWORK, code="timeout", recv_ns=0)
    bench.desk.answered(send.request, 1, lost, bench.now_ns)
    for second in (5, 7):
        absent = Absent(places=(Place.OPEN, Place.HISTORY), server_time_ms=NOW_MS + second * 1_000, recv_ns=0)
        bench.desk.looked_up(name, absent, bench.now_ns + second * SECOND_NS)
    assert not any(bench.desk.orders.state.live.values())
    late_ns = bench.now_ns + 20 * SECOND_NS
    work = bench.desk.told(accepted(name, at_ns=NOW_NS + SECOND_NS), late_ns)
    assert "ORDER_RESURFACED" in alerts(work)
    assert any(isinstance(each.command, CancelOrder) for each in work.send)
    assert bench.desk.orders.state.hold(NAME) is not None
    assert bench.desk.submissions.journal.margin_ms == 9_000  # half as much again as the 6 s seen
    bench.desk.told(filled(name, trade="z", at_ns=late_ns), late_ns)
    bench.desk.told(canceled(name, at_ns=late_ns), late_ns)
    assert bench.desk.orders.state.position_qty(NAME) == 1


# --- others on the account --------------------------------------------------------------------------------------------


def test_what_somebody_else_trades_is_booked_once_told_and_halts_the_instrument() -> None:
    bench = Bench()
    bench.hold()
    event = ExternalFill(ts_event_ns=NOW_NS, ts_recv_ns=NOW_NS, execution=execution())
    work = bench.desk.told(event, bench.now_ns)
    (booked,) = [entry for entry in work.record if isinstance(entry, ExternalFillBooked)]
    assert (booked.fill.kind, booked.position_qty) == (ForeignKind.ORDER, Decimal("0.5"))
    assert alerts(work) == ["FOREIGN_FILL"]
    assert bench.desk.told(event, bench.now_ns).record == []
    assert len([e for e in bench.place().record if isinstance(e, RiskDenied)]) == 1


def test_a_foreign_order_is_told_once_and_never_touched() -> None:
    bench = Bench()
    event = ExternalOrder(ts_event_ns=NOW_NS, ts_recv_ns=NOW_NS, order=record("by-hand"))
    assert alerts(bench.desk.told(event, bench.now_ns)) == ["FOREIGN_ORDER"]
    assert bench.desk.told(event, bench.now_ns).is_empty


def test_cash_from_outside_is_booked_and_told() -> None:
    bench = Bench()
    booking = BookingRecord(
        market="",
        booking_id="b1",
        kind="TRANSFER_IN",
        currency="USDT",
        instrument="",
        trade_id="",
        qty=None,
        cash_flow=Decimal(50),
        funding=Decimal(0),
        fee=Decimal(0),
        change=Decimal(50),
        balance=Decimal(100_050),
        booked_ms=NOW_MS,
    )
    event = TransferBooked(ts_event_ns=NOW_NS, ts_recv_ns=NOW_NS, booking=booking)
    work = bench.desk.told(event, bench.now_ns)
    assert alerts(work) == ["TRANSFER"]
    assert any(isinstance(entry, TransferEntry) for entry in work.record)
    assert bench.desk.orders.state.portfolio.cash == 100_050
    assert bench.desk.told(event, bench.now_ns).is_empty


def test_a_fill_of_an_order_that_nobody_knows_is_money_all_the_same() -> None:
    bench = Bench()
    work = bench.desk.told(filled("l000001-sma_________-000000005", trade="q", at_ns=NOW_NS), bench.now_ns)
    assert alerts(work) == ["CONTRADICTION"]
    assert work.reconcile
    assert bench.desk.orders.state.position_qty(NAME) == 1


def test_an_unsure_stream_closes_the_door_until_the_next_comparison() -> None:
    bench = Bench()
    event = AccountUnsure(ts_event_ns=NOW_NS, ts_recv_ns=NOW_NS, instrument="", reason="the stream was cut")
    assert bench.desk.told(event, bench.now_ns).reconcile == "the stream was cut"
    assert bench.place().send == []
    bench.desk.reconcile(bench.snapshot(), bench.now_ns)
    assert len(bench.place().send) == 1


# --- comparisons ------------------------------------------------------------------------------------------------------


def test_a_position_that_differs_twice_halts_the_instrument() -> None:
    bench = Bench()
    bench.hold()
    bench.now_ns += 10 * SECOND_NS
    snapshot = bench.snapshot(positions=(position("3"),))
    work = bench.desk.reconcile(snapshot, bench.now_ns)
    assert [wanted.subject for wanted in work.look_up] == [Subject.FILLS]
    assert alerts(work) == []
    work = bench.desk.reconcile(later(snapshot, 1), bench.now_ns)
    assert (alerts(work), work.look_up) == ([], [])  # what is news on its way may be as old
    assert not bench.desk.tick(bench.marks, bench.now_ns + SECOND_NS).reconcile
    assert bench.desk.tick(bench.marks, bench.now_ns + 2 * SECOND_NS).reconcile
    work = bench.desk.reconcile(later(snapshot), bench.now_ns)
    assert alerts(work) == ["POSITION_DIFFERS"]
    hold = bench.desk.orders.state.hold(NAME)
    assert hold is not None
    assert hold.why.detail == f"of {NAME} we hold 1, and the venue says 3"


def test_hedge_mode_is_told_once_and_halts_the_instrument() -> None:
    """A long and a short that cancel out are no flat position."""
    bench = Bench()
    sides = (position("2", mode_index=1), position("-2", mode_index=2))
    work = bench.desk.reconcile(bench.snapshot(positions=sides), bench.now_ns)
    assert alerts(work) == ["POSITION_MODE"]
    hold = bench.desk.orders.state.hold(NAME)
    assert hold is not None
    assert hold.state == "halted"
    assert alerts(bench.desk.reconcile(bench.snapshot(positions=sides), bench.now_ns)) == []


def test_a_position_that_has_just_moved_is_not_judged() -> None:
    bench = Bench()
    bench.hold()
    for _ in range(3):
        assert bench.desk.reconcile(bench.snapshot(), bench.now_ns).look_up == []


def test_an_order_that_is_open_here_alone_is_looked_up() -> None:
    bench = Bench()
    (send,) = bench.send(bench.place())
    assert isinstance(send.command, SubmitOrder)
    bench.desk.told(accepted(send.command.client_order_id, at_ns=NOW_NS), bench.now_ns)
    work = bench.desk.reconcile(bench.snapshot(), bench.now_ns)
    assert [wanted.client_order_id for wanted in work.look_up] == [send.command.client_order_id]


def test_an_order_that_stays_open_there_alone_halts_the_instrument() -> None:
    bench = Bench()
    (send,) = bench.send(bench.place())
    assert isinstance(send.command, SubmitOrder)
    name = send.command.client_order_id
    bench.desk.told(accepted(name, at_ns=NOW_NS), bench.now_ns)
    bench.desk.told(canceled(name, at_ns=NOW_NS), bench.now_ns)
    snapshot = bench.snapshot(open_orders=(record(name),))
    assert bench.desk.reconcile(snapshot, bench.now_ns).look_up
    assert alerts(bench.desk.reconcile(later(snapshot, 1), bench.now_ns)) == []
    assert alerts(bench.desk.reconcile(later(snapshot), bench.now_ns)) == ["OPEN_THERE_ALONE"]


def test_answers_from_before_an_order_ended_say_nothing_of_it_however_late_they_come() -> None:
    bench = Bench()
    (send,) = bench.send(bench.place())
    assert isinstance(send.command, SubmitOrder)
    name = send.command.client_order_id
    bench.desk.told(accepted(name, at_ns=NOW_NS), bench.now_ns)
    stale = bench.snapshot(open_orders=(record(name),))
    bench.desk.told(canceled(name, at_ns=stale.at_ms * 1_000_000 + 4 * SECOND_NS), bench.now_ns)
    for answer in (stale, replace(later(stale), at_ms=stale.at_ms + 2_000)):
        work = bench.desk.reconcile(answer, bench.now_ns)
        assert not work.look_up
        assert alerts(work) == []
    fresh = replace(later(stale, 4), at_ms=stale.at_ms + 4_001)
    assert [wanted.client_order_id for wanted in bench.desk.reconcile(fresh, bench.now_ns).look_up] == [name]


def test_an_order_with_our_name_that_the_ledger_does_not_know_halts_the_instrument() -> None:
    bench = Bench()
    work = bench.desk.reconcile(
        bench.snapshot(open_orders=(record("l000002-sma_________-000000001"), record("by-hand"))), bench.now_ns
    )
    assert alerts(work) == ["UNKNOWN_OF_OURS", "FOREIGN_ORDER"]
    assert bench.desk.orders.state.hold(NAME) is not None


def test_an_exit_of_nothing_is_canceled() -> None:
    bench = Bench()
    bench.hold()
    (send,) = bench.send(bench.place(Side.SELL, "1", "110", reduce_only=True))
    assert isinstance(send.command, SubmitOrder)
    name = send.command.client_order_id
    bench.desk.told(accepted(name, at_ns=NOW_NS), bench.now_ns)
    bench.desk.told(ExternalFill(ts_event_ns=1, ts_recv_ns=1, execution=execution(qty=Decimal(1))), bench.now_ns)
    bench.now_ns += 10 * SECOND_NS
    there = record(name, side=Side.SELL, limit_price=Decimal(110), reduce_only=True)
    work = bench.desk.reconcile(bench.snapshot(open_orders=(there,)), bench.now_ns)
    assert [each.command for each in work.send if isinstance(each.command, CancelOrder)]


def test_a_balance_that_nothing_explains_lets_only_exits_pass() -> None:
    bench = Bench()
    wallet = wallet_of("99999")
    assert alerts(bench.desk.reconcile(bench.snapshot(wallet=wallet), bench.now_ns)) == []
    assert alerts(bench.desk.reconcile(later(bench.snapshot(wallet=wallet)), bench.now_ns)) == ["BALANCE_DIFFERS"]
    assert bench.place().send == []


def test_cash_may_differ_by_what_the_open_position_has_cost() -> None:
    """Executions that came in another order: more profit here is a dearer rest, and nothing is wrong."""
    bench = Bench()
    bench.hold(qty="2")  # at 100; there one of them was sold dearer before the other was bought
    snapshot = bench.snapshot(positions=(position("2", entry_price=Decimal("102.5")),), wallet=wallet_of("100005"))
    for _ in range(2):
        assert alerts(bench.desk.reconcile(snapshot, bench.now_ns + 9 * SECOND_NS)) == []
    off = bench.snapshot(positions=(position("2", entry_price=Decimal("102.5")),), wallet=wallet_of("100006"))
    found = [alerts(bench.desk.reconcile(later(off, n * 2), bench.now_ns + 9 * SECOND_NS)) for n in range(3)]
    assert found == [[], ["BALANCE_DIFFERS"], []], "a person is told once"


# --- protection and the kill switch -----------------------------------------------------------------------------------


def test_a_position_without_protection_is_closed_within_a_second() -> None:
    bench = Bench(protect_within_ns=SECOND_NS)
    bench.hold()
    assert bench.desk.next_due_ns is not None
    assert bench.desk.next_due_ns <= bench.now_ns + SECOND_NS
    assert bench.desk.tick(bench.marks, bench.now_ns + SECOND_NS - 1).send == []
    bench.now_ns += SECOND_NS
    work = bench.desk.tick(bench.marks, bench.now_ns)
    assert alerts(work) == ["UNPROTECTED"]
    (send,) = work.send
    assert isinstance(send.command, SubmitOrder)
    assert (send.command.side, send.command.qty, send.command.reduce_only) == (Side.SELL, 1, True)
    assert bench.desk.tick(bench.marks, bench.now_ns + SECOND_NS).send == []  # it is under way


def test_a_position_with_a_stop_at_the_venue_is_left_alone() -> None:
    bench = Bench(protect_within_ns=SECOND_NS)
    bench.hold()
    bench.desk.told(stops_changed(loss="90", at_ns=NOW_NS), bench.now_ns)
    bench.now_ns += 10 * SECOND_NS
    assert bench.desk.tick(bench.marks, bench.now_ns).send == []


def test_the_kill_switch_stops_even_what_is_durable_and_only_the_host_opens_it() -> None:
    bench = Bench()
    (resting,) = bench.send(bench.place())
    work = bench.place()  # durable in a moment
    killed = bench.desk.kill("the red button", bench.marks, bench.now_ns)
    assert killed.cancel_all == [NAME]
    canceled_ids = {each.command.client_order_id for each in killed.send if isinstance(each.command, CancelOrder)}
    assert len(canceled_ids) == 2
    assert isinstance(resting.command, SubmitOrder)
    assert resting.command.client_order_id in canceled_ids
    assert bench.send(work) == []
    bench.desk.resume("a message from afar", bench.now_ns)
    assert bench.desk.orders.rules.is_killed
    assert bench.place().send == []
    bench.desk.re_arm("at the host", bench.now_ns)
    assert not bench.desk.orders.rules.is_killed
    assert len(bench.place().send) == 1


def test_a_killed_bot_starts_killed_and_cancels() -> None:
    bench = Bench()
    entries = list(bench.desk.deposit(Decimal(1), NOW_NS).record)
    entries += bench.place().record
    entries += bench.desk.kill("the red button", bench.marks, bench.now_ns).record
    again = Bench()
    again.desk.orders.state.portfolio.cash = Decimal(0)
    again.desk.restore(entries)
    work = again.desk.recover(again.now_ns)
    assert again.desk.orders.rules.is_killed
    assert work.cancel_all == [NAME]
