"""Our bookings against the lines of the venue's own ledger: each has its match, or is named."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from typer.testing import CliRunner

from bot.actors.balancer import LAG_MS, Balancer
from bot.cli.ledger import ledger_app
from bot.core.balancing import Balance, balance, transfer_id
from bot.core.submission.messages import AccountBalanced
from bot.core.venue.contract import btcusdt_linear, btcusdt_spot
from bot.domain.account import Posting
from bot.domain.instrument import Side
from bot.domain.ledger import FeeBooked, FillBooked, FundingBooked, LedgerEntry, TransferBooked
from bot.domain.orders import Transferred
from bot.domain.venue_records import BookingRecord
from bot.store.live_audit import audit_live
from tests.support.examples import examples
from tests.support.live_ledgers import begin, open_ledger
from tests.support.money import dec, filled, funding_paid
from tests.support.venue_side import fee_paid

NAME = "BTCUSDT"
PERPETUAL = btcusdt_linear().instrument
SPOT = replace(btcusdt_spot(NAME).instrument, kind="spot")
FROM_MS, TO_MS = 1_000_000, 2_000_000
MS = 1_000_000
NO_LEGS: tuple[Posting, ...] = ()


def line(trade: str, change: str, *, at_ms: int = 1_500_000, **more: Any) -> BookingRecord:
    """Return a line of the venue's."""
    fields: dict[str, Any] = {
        "market": "linear",
        "booking_id": f"b-{trade}",
        "kind": "TRADE",
        "currency": "USDT",
        "instrument": NAME,
        "trade_id": trade,
        "qty": None,
        "cash_flow": dec(change),
        "funding": dec(0),
        "fee": dec(0),
        "change": dec(change),
        "balance": dec(100),
        "booked_ms": at_ms,
    }
    return BookingRecord(**(fields | more))


def fill(trade: int, *, realized: str = "0", fee: str = "0.5", at_ms: int = 1_500_000, **more: Any) -> FillBooked:
    """Return an entry of ours; `t` and the number name its execution."""
    after = more.pop("position", "0")
    made = filled(trade=trade, fee=fee, at_ns=at_ms * MS, **more)
    return FillBooked(
        ts_ns=at_ms * MS,
        status="filled",
        fill=made,
        position_qty=dec(after),
        realized_pnl=dec(realized),
        postings=NO_LEGS,
    )


def held(
    bookings: Sequence[BookingRecord], entries: Sequence[LedgerEntry], *, is_spot: bool = False, **span: int
) -> Balance:
    instruments = {NAME: SPOT if is_spot else PERPETUAL}
    about = {"from_ms": FROM_MS, "to_ms": TO_MS} | span
    return balance(bookings, entries, instruments=instruments, currency="USDT", **about)


def test_every_line_finds_its_entry() -> None:
    """A perpetual moves cash by profit and fee, and funding by itself."""
    paid = FundingBooked(ts_ns=1, funding=replace(funding_paid("-0.25"), ts_event_ns=1_600_000 * MS), postings=NO_LEGS)
    entries = [fill(1), fill(2, realized="12.5"), paid]
    bookings = [
        line("t1", "-0.5", fee=dec("0.5")),
        line("t2", "12", cash_flow=dec("12.5"), fee=dec("0.5")),
        line("", "-0.25", kind="SETTLEMENT", funding=dec("-0.25"), at_ms=1_600_002),
    ]
    found = held(bookings, entries)
    assert found.is_whole
    assert (found.lines, found.matched) == (3, 3)
    assert found.sums == (("USDT", dec("11.25"), dec("11.25")),)


def test_a_spot_execution_has_a_line_for_each_coin() -> None:
    """The fee is in the one that it brings."""
    buy = fill(1, fee="0", qty="0.1", price="50000")
    paid = replace(fee_paid("t1", "0.0001", "BTC", price="50000"), ts_event_ns=1_500_000 * MS)
    fee = FeeBooked(ts_ns=1, fee=paid, value=dec(5), position_qty=dec("0.0999"), realized_pnl=dec(0), postings=NO_LEGS)
    sale = fill(2, fee="2.5", qty="0.05", price="50000", side=Side.SELL)
    bookings = [
        line("t1", "-5000"),
        line("t1", "0.0999", currency="BTC", fee=dec("0.0001")),
        line("t2", "2497.5", fee=dec("2.5")),
        line("t2", "-0.05", currency="BTC"),
    ]
    assert held(bookings, [buy, fee, sale], is_spot=True).is_whole
    without = held(bookings, [buy, sale], is_spot=True)
    assert without.differences == ("TRADE t1 of BTCUSDT: a fee of 0.0001 BTC there, 0 here",)


def test_what_is_missing_here_and_what_is_missing_there_are_told_apart() -> None:
    found = held([line("t9", "-1")], [fill(1)])
    assert [each.trade_id for each in found.missing] == ["t9"]
    assert found.differences == ("execution t1 of BTCUSDT: -0.5 USDT here, and no line of it there",)
    assert found.matched == 0


def test_a_line_that_comes_twice_counts_once_and_one_that_was_booked_twice_does_not() -> None:
    """Pages overlap; a second booking has another balance after it."""
    told = line("t1", "-0.5", fee=dec("0.5"))
    assert held([told, told], [fill(1)]).is_whole
    twice = held([told, replace(told, balance=dec("99.5"))], [fill(1)])
    assert twice.differences == ("TRADE t1 of BTCUSDT: a fee of 1.0 USDT there, 0.5 here",)


def test_a_line_of_an_unknown_kind_is_money_to_be_booked() -> None:
    """Whatever the venue calls it; once it is booked it has its match."""
    odd = line("", "-3", kind="SOLAR_LEVY", instrument="")
    found = held([odd], [])
    assert found.unbooked == (odd,)
    made = Transferred(
        ts_event_ns=odd.booked_ms * MS, ts_recv_ns=1, transfer_id=transfer_id(odd), kind=odd.kind, amount=odd.change
    )
    again = held([odd], [TransferBooked(ts_ns=1, transfer=made, postings=NO_LEGS)])
    assert again.is_whole
    assert again.sums == (("USDT", dec(-3), dec(-3)),)


def test_a_line_that_does_not_say_of_which_execution_it_is_is_matched_by_what_it_says() -> None:
    """A liquidation's may not; taken for a line of no execution, it would be booked twice."""
    nameless = line("", "-9.5", kind="LIQUIDATION", fee=dec("0.5"), qty=dec("0.02"), at_ms=1_500_001)
    made_good = line("", "9.5", kind="LIQUIDATION", at_ms=1_500_001)
    found = held([nameless, made_good], [fill(1, realized="-9")])
    assert (found.missing, found.unbooked, found.differences) == ((), (made_good,), ())
    assert held([nameless], []).missing == (nameless,)
    far = held([replace(nameless, booked_ms=1_600_000)], [fill(1, realized="-9")])
    assert len(far.missing) == len(far.differences) == 1


def test_lines_with_the_same_id_are_different_lines() -> None:
    odd = line("", "-3", kind="INTEREST", instrument="")
    assert transfer_id(odd) != transfer_id(replace(odd, balance=dec(97)))


def test_profits_that_were_split_otherwise_are_explained_if_they_even_out() -> None:
    """Which part of a position was closed at which price depends on the order of booking."""
    bookings = [line("t1", "10", cash_flow=dec("10.5"), fee=dec("0.5")), line("t2", "4", fee=dec("0.5"))]
    even = held(bookings, [fill(1, realized="12.5"), fill(2, realized="2.5")])
    assert even.is_whole
    assert len(even.explained) == 2
    uneven = held(bookings, [fill(1, realized="12.5"), fill(2, realized="4.5")])
    assert uneven.differences == ("TRADE t1 of BTCUSDT: 10 USDT there, 12.0 here",)
    still = held(bookings, [fill(1, realized="12.5"), fill(2, realized="4.5", position="1")])
    assert still.is_whole
    assert "open position" in still.explained[0]


def test_a_span_is_judged_by_itself_and_matched_across_its_edges() -> None:
    """A booking and its line may lie on two sides of an edge: nobody counts them twice or misses them."""
    late = line("t1", "-0.5", fee=dec("0.5"), at_ms=TO_MS + 2)
    found = held([late], [fill(1, at_ms=TO_MS - 2)])
    assert found.is_whole
    before = line("t2", "-0.5", fee=dec("0.5"), at_ms=FROM_MS - 2)
    assert held([before], []).is_whole


def test_the_report_of_a_very_bad_day_ends_somewhere() -> None:
    found = held([line(f"x{n}", "-1", balance=dec(n)) for n in range(5_000)], [])
    assert len(found.entry(1).differences) == 201


@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_whatever_is_left_out_or_changed_is_named(data: st.DataObject) -> None:
    """Of lines and entries that fit, in any order, one is taken away or changed: it is found, and nothing else."""
    count = data.draw(st.integers(1, 12))
    entries = [fill(n, realized=str(n), at_ms=1_100_000 + n) for n in range(count)]
    bookings = [
        line(f"t{n}", str(Decimal(n) - Decimal("0.5")), fee=dec("0.5"), at_ms=1_100_000 + n) for n in range(count)
    ]
    which = data.draw(st.integers(0, count - 1))
    what = data.draw(st.sampled_from(["nothing", "line", "entry", "change", "fee"]))
    match what:
        case "line":
            del bookings[which]
        case "entry":
            del entries[which]
        case "change":
            bookings[which] = replace(bookings[which], change=bookings[which].change + 1)
        case "fee":
            bookings[which] = replace(bookings[which], fee=dec(3))
    found = held(data.draw(st.permutations(bookings)), data.draw(st.permutations(entries)))
    assert found.is_whole == (what == "nothing")
    assert len(found.differences) + len(found.missing) == (what != "nothing")
    assert found.matched == count - (what != "nothing")


class Source:
    """A venue's own ledger, some of whose answers are wrong; and our ledger, into which executions come home."""

    def __init__(
        self, bookings: Sequence[BookingRecord], entries: list[LedgerEntry], late: Sequence[FillBooked]
    ) -> None:
        self.lines, self.entries, self.late = list(bookings), entries, late
        self.without: list[set[str]] = []  # of the next answers, the executions that are left out
        self.refusals = 0
        self.asked: list[tuple[int, int]] = []

    async def bookings(self, from_ms: int, to_ms: int) -> tuple[BookingRecord, ...] | str:
        self.asked.append((from_ms, to_ms))
        if self.refusals:
            self.refusals -= 1
            return "busy"
        without = self.without.pop(0) if self.without else set()
        return tuple(each for each in self.lines if each.trade_id not in without)

    async def tell_executions(self, from_ms: int, to_ms: int) -> None:
        self.entries += [each for each in self.late if from_ms <= each.fill.ts_event_ns // MS <= to_ms]

    async def read(self, from_ms: int) -> Sequence[LedgerEntry]:
        return list(self.entries)


def balanced(source: Source, *, now_ms: int = TO_MS + LAG_MS) -> tuple[bool, list[AccountBalanced]]:
    home: list[AccountBalanced] = []
    balancer = Balancer(
        source,
        source.read,
        home.append,
        instruments={NAME: PERPETUAL},
        currency="USDT",
        venue_ms=lambda: now_ms,
        from_ms=FROM_MS,
        every_ms=1_000,
        speed=1e6,
    )
    return asyncio.run(balancer.balance(now_ms)), home


def test_a_missed_fill_is_fetched_booked_and_explained() -> None:
    """However old it is: nothing else would ask for it again."""
    source = Source([line("t1", "-0.5", fee=dec("0.5")), line("t2", "-0.5", fee=dec("0.5"))], [fill(1)], [fill(2)])
    is_done, (told,) = balanced(source)
    assert is_done
    assert told.balance.is_whole
    assert told.explained == ("TRADE t2 of BTCUSDT, -0.5 USDT: missed, and booked late",)


def test_a_page_that_was_left_out_once_is_no_difference() -> None:
    source = Source([line("t1", "-0.5", fee=dec("0.5"))], [fill(1)], [])
    source.without = [{"t1"}]
    _, (told,) = balanced(source)
    assert told.balance.is_whole
    source.without = [{"t1"}, {"t1"}]
    _, (told,) = balanced(source)
    assert len(told.balance.differences) == 1


def test_what_could_not_be_asked_is_asked_for_again_from_where_it_was() -> None:
    source = Source([], [], [])
    source.refusals = 1
    is_done, home = balanced(source)
    assert (is_done, home) == (False, [])


def test_the_command_prints_what_a_run_found(tmp_path: Path) -> None:
    """The newest last; one with a difference ends with exit code 1."""
    ledger = open_ledger(tmp_path)
    begin(ledger)
    ledger.write([held([], []).entry(1)])
    ledger.commit()
    shown = CliRunner().invoke(ledger_app, ["balance", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    assert "0 of 0 lines" in shown.output
    ledger.write([held([line("t9", "-1")], [fill(1)]).entry(2)])
    ledger.commit()
    ledger.abandon()
    shown = CliRunner().invoke(ledger_app, ["balance", str(tmp_path)])
    assert shown.exit_code == 1
    assert "DIFFERS    TRADE t9 of BTCUSDT, -1 USDT is not booked here" in shown.output
    plain = CliRunner().invoke(ledger_app, ["balance", str(tmp_path), "--json"])
    newest = msgspec.json.decode(plain.stdout)[-1]
    assert (newest["lines"], newest["matched"], newest["sums"]) == (1, 0, [["USDT", "-0.5", "-1"]])
    assert not [each for each in audit_live(str(tmp_path)).problems if "balancings" in each]
