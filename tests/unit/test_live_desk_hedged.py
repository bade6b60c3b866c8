"""The live desk in hedge mode: both legs open are a difference, never netted; every request is of its leg."""

from decimal import Decimal
from typing import Any

import pytest

from bot.core.order import Status
from bot.core.submission.requests import Send, Subject
from bot.domain.account_events import ExternalFill
from bot.domain.answers import Absent, Answer, AnswerKind, Cause, Found, Place
from bot.domain.instrument import Side
from bot.domain.ledger import StopsReported
from bot.domain.orders import ChangeStops, Leg, OrderCanceled, OrderType, SetStops, StopsChanged, SubmitOrder, Target
from bot.domain.venue_records import OrderState, PositionRecord
from tests.support.desk import NOW_NS
from tests.support.live_bench import MS, NOW_MS, Bench, alerts, execution, later, position, record, wallet_of
from tests.support.money import NAME, SECOND_NS, accepted, canceled, filled
from tests.support.venue_side import exit_at

LOST = Answer(kind=AnswerKind.UNKNOWN, cause=Cause.NETWORK, code="timeout", recv_ns=0)
LONG, SHORT = Leg.LONG, Leg.SHORT


def legs(long: str, short: str, **more: Any) -> tuple[PositionRecord, ...]:
    """Return both legs as the venue shows them, the flat ones too."""
    return position(long, mode_index=1, **more), position(f"-{short}", mode_index=2, **more)


def command(send: Send) -> SubmitOrder:
    assert isinstance(send.command, SubmitOrder)
    return send.command


def hedged(**policy: Any) -> Bench:
    return Bench(is_hedged=True, **policy)


def is_halted(bench: Bench) -> bool:
    hold = bench.desk.orders.state.hold(NAME)
    return hold is not None and hold.state == "halted"


# --- comparing --------------------------------------------------------------------------------------------------------


def test_one_leg_is_what_we_hold() -> None:
    bench = hedged()
    bench.hold(qty="2")
    bench.now_ns += 9 * SECOND_NS
    for _ in range(2):
        work = bench.desk.reconcile(bench.snapshot(positions=legs("2", "0")), bench.now_ns)
        assert (alerts(work), work.look_up) == ([], [])
    assert not is_halted(bench)


def test_both_legs_are_never_netted() -> None:
    """A long and a short that cancel out are no flat position: a person is told, and nothing is sent."""
    bench = hedged()
    work = bench.desk.reconcile(bench.snapshot(positions=legs("2", "2")), bench.now_ns)
    assert alerts(work) == ["BOTH_LEGS"]
    assert is_halted(bench)
    assert bench.place().send == []
    bench.desk.resume("I know", bench.now_ns)
    assert alerts(bench.desk.reconcile(bench.snapshot(positions=legs("2", "2")), bench.now_ns)) == ["BOTH_LEGS"]
    bench.desk.resume("closed by hand", bench.now_ns)
    assert alerts(bench.desk.reconcile(bench.snapshot(positions=legs("0", "0")), bench.now_ns)) == []
    assert len(bench.place().send) == 1


def test_an_account_in_the_other_mode_is_told_once_and_halted() -> None:
    bench = hedged()
    snapshot = bench.snapshot(positions=(position("0"),))
    assert alerts(bench.desk.reconcile(snapshot, bench.now_ns)) == ["POSITION_MODE"]
    assert is_halted(bench)
    assert alerts(bench.desk.reconcile(snapshot, bench.now_ns)) == []


def test_a_hand_that_opens_the_other_leg_is_booked_told_and_compared() -> None:
    """An execution does not say of which leg it is. Whatever `run.foreign` says, nothing goes on before it is known."""
    bench = hedged(holds_back_foreign=False)
    bench.hold()
    sold = execution(qty=Decimal(1), price=Decimal(104), fee=Decimal(0))
    work = bench.desk.told(ExternalFill(ts_event_ns=NOW_NS, ts_recv_ns=NOW_NS, execution=sold), bench.now_ns)
    assert alerts(work) == ["FOREIGN_FILL"]
    assert work.reconcile
    assert is_halted(bench)
    bench.now_ns += 9 * SECOND_NS
    assert bench.desk.orders.state.position_qty(NAME) == 0
    snapshot = bench.snapshot(
        positions=(
            position("1", mode_index=1, entry_price=Decimal(100)),
            position("-1", mode_index=2, entry_price=Decimal(104)),
        ),
        wallet=wallet_of("100000"),  # what we take for a profit of 4 is none yet: the two are open there
    )
    for n in range(2):
        assert alerts(bench.desk.reconcile(later(snapshot, n * 2), bench.now_ns)) == ["BOTH_LEGS"]


def test_cash_that_the_legs_do_not_explain_is_told() -> None:
    bench = hedged()
    snapshot = bench.snapshot(
        positions=(
            position("1", mode_index=1, entry_price=Decimal(100)),
            position("-1", mode_index=2, entry_price=Decimal(104)),
        ),
        wallet=wallet_of("99000"),
    )
    found = [alerts(bench.desk.reconcile(later(snapshot, n * 2), bench.now_ns + 9 * SECOND_NS)) for n in range(2)]
    assert found == [["BOTH_LEGS"], ["BOTH_LEGS", "BALANCE_DIFFERS"]]


# --- out of it --------------------------------------------------------------------------------------------------------


def test_flattening_closes_each_leg_by_itself() -> None:
    """Also where they cancel out; and each only reduces, whatever has become of it meanwhile."""
    bench = hedged()
    bench.desk.reconcile(bench.snapshot(positions=legs("2", "3")), bench.now_ns)
    work = bench.desk.flatten(NAME, "a person says so", bench.marks, bench.now_ns)
    sent = [command(send) for send in work.send]
    assert [(each.side, each.qty, each.leg, each.reduce_only) for each in sent] == [
        (Side.SELL, 2, LONG, True),
        (Side.BUY, 3, SHORT, True),
    ]
    assert len(bench.send(work)) == 2
    assert bench.desk.flatten(NAME, "again", bench.marks, bench.now_ns).send == []  # they are under way
    for number, each in enumerate(sent):
        fill = filled(each.client_order_id, trade=f"c{number}", qty=each.qty, side=each.side, at_ns=bench.now_ns)
        bench.desk.told(fill, bench.now_ns)
    assert bench.desk.orders.state.torn == {}
    assert bench.desk.flatten(NAME, "again", bench.marks, bench.now_ns).send != []  # of what the books still hold


def test_a_leg_that_is_closed_in_part_is_closed_to_the_end() -> None:
    bench = hedged()
    bench.desk.reconcile(bench.snapshot(positions=legs("2", "3")), bench.now_ns)
    first, second = bench.send(bench.desk.flatten(NAME, "home", bench.marks, bench.now_ns))
    about: dict[str, Any] = {"at_ns": bench.now_ns}
    bench.desk.told(filled(command(first).client_order_id, trade="a", qty=2, side=Side.SELL, **about), bench.now_ns)
    bench.desk.told(filled(command(second).client_order_id, trade="b", qty=1, side=Side.BUY, **about), bench.now_ns)
    bench.desk.told(canceled(command(second).client_order_id, **about), bench.now_ns)
    bench.now_ns += SECOND_NS
    bench.desk.reconcile(bench.snapshot(positions=legs("0", "2")), bench.now_ns)
    assert bench.desk.orders.state.torn == {}


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_a_position_without_protection_is_closed_on_its_leg(side: Side) -> None:
    bench = hedged(protect_within_ns=SECOND_NS)
    bench.hold(side)
    bench.now_ns += SECOND_NS
    (send,) = bench.desk.tick(bench.marks, bench.now_ns).send
    assert (command(send).leg, command(send).reduce_only) == (LONG if side is Side.BUY else SHORT, True)


def test_a_stop_of_the_other_leg_protects_nothing() -> None:
    bench = hedged(protect_within_ns=SECOND_NS)
    bench.hold(Side.SELL)
    about: dict[str, Any] = {"ts_event_ns": NOW_NS, "ts_recv_ns": NOW_NS, "instrument": NAME}
    bench.desk.told(StopsChanged(**about, stop_loss=Decimal(90), leg=LONG), bench.now_ns)
    bench.now_ns += SECOND_NS
    assert alerts(bench.desk.tick(bench.marks, bench.now_ns)) == ["UNPROTECTED"]


def test_an_exit_of_the_leg_that_is_gone_is_an_orphan() -> None:
    """The venue cancels it by itself; where it does not, we do, though the other leg is held."""
    bench = hedged()
    bench.hold()
    (exit_,) = bench.send(bench.place(Side.SELL, "1", "110"))
    name = command(exit_).client_order_id
    bench.desk.told(accepted(name, at_ns=NOW_NS), bench.now_ns)
    resting = record(name, side=Side.SELL, limit_price=Decimal(110), reduce_only=True)
    bench.now_ns += 9 * SECOND_NS
    snapshot = bench.snapshot(open_orders=(resting,), positions=legs("1", "0"))
    assert bench.desk.reconcile(snapshot, bench.now_ns).send == []
    bench.hold(Side.SELL)
    bench.hold(Side.SELL)
    assert bench.desk.orders.state.position_qty(NAME) == -1
    bench.now_ns += 9 * SECOND_NS
    snapshot = bench.snapshot(open_orders=(resting,), positions=legs("0", "1"))
    (send,) = bench.desk.reconcile(snapshot, bench.now_ns).send
    assert getattr(send.command, "client_order_id", "") == name


# --- doubts -----------------------------------------------------------------------------------------------------------


def flip(bench: Bench) -> Send:
    """Hold 1, want -1; return the half that closes."""
    bench.hold()
    (close,) = bench.send(bench.wish(Target(instrument=NAME, qty=Decimal(-1))))
    assert (command(close).leg, command(close).reduce_only) == (LONG, True)
    return close


def test_a_close_in_doubt_keeps_the_other_leg_closed() -> None:
    """Until it is found: then its fill brings the half that opens."""
    bench = hedged()
    close = flip(bench)
    name = command(close).client_order_id
    bench.desk.answered(close.request, 1, LOST, bench.now_ns)
    bench.now_ns += 2 * SECOND_NS
    assert not [
        each for each in bench.desk.work(bench.marks, bench.now_ns).send if isinstance(each.command, SubmitOrder)
    ]
    found = record(
        name,
        side=Side.SELL,
        order_type=OrderType.MARKET,
        limit_price=None,
        reduce_only=True,
        leg=LONG,
        state=OrderState.FILLED,
        filled_qty=Decimal(1),
    )
    result = Found(order=found, place=Place.HISTORY, server_time_ms=NOW_MS + 2_000, recv_ns=0)
    work = bench.desk.looked_up(name, result, bench.now_ns)
    assert not bench.desk.submissions.doubtful
    assert work.send == []  # its execution is to come
    bench.desk.told(filled(name, trade="c", side=Side.SELL, at_ns=bench.now_ns), bench.now_ns)
    (opening,) = bench.desk.work(bench.marks, bench.now_ns).send
    assert (command(opening).side, command(opening).qty, command(opening).leg) == (Side.SELL, 1, SHORT)
    assert not command(opening).reduce_only


def test_a_close_that_never_was_is_sent_again_before_anything_opens() -> None:
    bench = hedged()
    close = flip(bench)
    bench.desk.answered(close.request, 1, LOST, bench.now_ns)
    for second in (5, 7):
        absent = Absent(places=(Place.OPEN, Place.HISTORY), server_time_ms=NOW_MS + second * 1_000, recv_ns=0)
        bench.desk.looked_up(command(close).client_order_id, absent, bench.now_ns + second * SECOND_NS)
    bench.now_ns += 9 * SECOND_NS
    assert bench.desk.tick(bench.marks, bench.now_ns).send == []
    bench.now_ns += SECOND_NS
    (again,) = bench.desk.tick(bench.marks, bench.now_ns).send
    assert command(again).client_order_id != command(close).client_order_id
    assert (command(again).side, command(again).leg, command(again).reduce_only) == (Side.SELL, LONG, True)


def test_an_opening_in_doubt_keeps_its_own_leg_and_the_other_from_being_opened() -> None:
    bench = hedged()
    close = flip(bench)
    bench.desk.told(filled(command(close).client_order_id, side=Side.SELL, at_ns=bench.now_ns), bench.now_ns)
    (opening,) = bench.send(bench.desk.work(bench.marks, bench.now_ns))
    bench.desk.answered(opening.request, 1, LOST, bench.now_ns)
    work = bench.wish(Target(instrument=NAME, qty=Decimal(1)))
    assert work.send == []
    name = command(opening).client_order_id
    bench.desk.told(filled(name, trade="o", side=Side.SELL, at_ns=bench.now_ns), bench.now_ns)
    assert bench.desk.orders.state.position_qty(NAME) == -1
    (send,) = bench.send(bench.wish(Target(instrument=NAME, qty=Decimal(1))))
    assert (command(send).side, command(send).leg, command(send).reduce_only) == (Side.BUY, SHORT, True)


def test_an_order_that_comes_to_life_beside_the_other_leg_stops_everything() -> None:
    """It was given up by evidence, and the other leg was opened since: the fence was wrong, and a person is needed."""
    bench = hedged()
    (first,) = bench.send(bench.place(Side.BUY, "1", None))
    bench.desk.answered(first.request, 1, LOST, bench.now_ns)
    name = command(first).client_order_id
    for second in (5, 7):
        absent = Absent(places=(Place.OPEN, Place.HISTORY), server_time_ms=NOW_MS + second * 1_000, recv_ns=0)
        bench.desk.looked_up(name, absent, bench.now_ns + second * SECOND_NS)
    bench.now_ns += 9 * SECOND_NS
    bench.hold(Side.SELL)
    bench.desk.told(accepted(name, at_ns=bench.now_ns), bench.now_ns)
    work = bench.desk.told(filled(name, trade="z", at_ns=bench.now_ns), bench.now_ns)
    assert "BOTH_LEGS" in alerts(work)
    assert work.reconcile
    assert is_halted(bench)


def test_an_order_on_another_leg_than_asked_is_not_the_one_that_was_asked_for() -> None:
    bench = hedged()
    (send,) = bench.send(bench.place())
    bench.desk.answered(send.request, 1, LOST, bench.now_ns)
    found = Found(
        order=record(command(send).client_order_id, leg=SHORT), place=Place.OPEN, server_time_ms=NOW_MS, recv_ns=0
    )
    work = bench.desk.looked_up(command(send).client_order_id, found, bench.now_ns)
    assert "CONTENT_DIFFERS" in alerts(work)
    assert is_halted(bench)


def test_a_refusal_for_the_mode_halts_the_instrument() -> None:
    """The account was switched behind our back: the next order says so, before any comparison."""
    bench = hedged()
    (send,) = bench.send(bench.place())
    no = Answer(kind=AnswerKind.REFUSED, cause=Cause.MODE, code="10001", text="position idx not match", recv_ns=0)
    work = bench.desk.answered(send.request, 1, no, bench.now_ns)
    assert alerts(work) == ["POSITION_MODE"]
    assert is_halted(bench)
    assert not any(bench.desk.orders.state.live.values())


@pytest.mark.parametrize("other", ["90", None])
def test_a_stop_in_doubt_is_read_off_its_own_leg(other: str | None) -> None:
    """What the other leg keeps says nothing of it, whichever comes first."""
    bench = hedged()
    bench.hold()
    (send,) = bench.send(bench.wish(SetStops(instrument=NAME, stop_loss=exit_at("90"))))
    assert isinstance(send.command, ChangeStops)
    assert send.command.leg is LONG
    bench.desk.answered(send.request, 1, LOST, bench.now_ns)
    stop = None if other is None else Decimal(other)
    for second in (1, 6, 8):
        at_ns = bench.now_ns + second * SECOND_NS
        works = [
            bench.desk.position_looked_up(NAME, position("0", mode_index=2, stop_loss=stop), at_ns // MS, at_ns),
        ]
        assert bench.desk.submissions.doubtful
        assert not any(isinstance(entry, StopsReported) for work in works for entry in work.record)
    held = position("1", mode_index=1, stop_loss=Decimal(90))
    bench.desk.position_looked_up(NAME, held, (bench.now_ns + 9 * SECOND_NS) // MS, bench.now_ns + 9 * SECOND_NS)
    assert not bench.desk.submissions.doubtful


def test_a_record_that_says_more_has_filled_is_waited_for() -> None:
    """A look-up finds the order canceled with a part that no execution has told of."""
    bench = hedged()
    (send,) = bench.send(bench.place())
    name = command(send).client_order_id
    bench.desk.told(accepted(name, at_ns=NOW_NS), bench.now_ns)
    gone = record(name, state=OrderState.CANCELED, filled_qty=Decimal("0.4"), leg=LONG)
    found = Found(order=gone, place=Place.HISTORY, server_time_ms=NOW_MS, recv_ns=0)
    work = bench.desk.looked_up(name, found, bench.now_ns)
    order = bench.desk.orders.state.orders[name]
    assert (order.status, order.owed_qty) == (Status.CANCELED, Decimal("0.4"))
    assert bench.wish(Target(instrument=NAME, qty=Decimal(-1))).send == []
    bench.now_ns += 2 * SECOND_NS
    asked = bench.desk.tick(bench.marks, bench.now_ns).look_up
    assert [each.subject for each in asked] == [Subject.FILLS]
    bench.desk.told(filled(name, trade="late", qty="0.4", at_ns=bench.now_ns), bench.now_ns)
    (close,) = bench.desk.work(bench.marks, bench.now_ns).send
    assert (command(close).qty, command(close).leg, command(close).reduce_only) == (Decimal("0.4"), LONG, True)
    assert not any(isinstance(entry, OrderCanceled) and entry.owed_qty for entry in work.record)


def test_what_is_owed_and_never_comes_is_forgotten_at_the_next_comparison() -> None:
    """Which has asked for all executions before it compares."""
    bench = hedged()
    (send,) = bench.send(bench.place())
    name = command(send).client_order_id
    bench.desk.told(accepted(name, at_ns=NOW_NS), bench.now_ns)
    gone = record(name, state=OrderState.CANCELED, filled_qty=Decimal("0.4"), leg=LONG)
    found = Found(order=gone, place=Place.HISTORY, server_time_ms=NOW_MS, recv_ns=0)
    bench.desk.looked_up(name, found, bench.now_ns)
    bench.now_ns += SECOND_NS
    assert bench.desk.orders.state.owing == {name: NOW_NS}
    bench.desk.reconcile(bench.snapshot(positions=legs("0", "0")), bench.now_ns)
    assert bench.desk.orders.state.owing == {}
    (opening,) = bench.wish(Target(instrument=NAME, qty=Decimal(-1))).send
    assert command(opening).leg is SHORT
