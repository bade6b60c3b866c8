"""Folding a ledger's past: however it is cut, and adding up to what was booked."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bot.core.past_trades import BookedFill, BookedFunding, PastTrades
from bot.domain.history import Result

DAY = 86_400_000_000_000
START = 20_000 * DAY  # a Friday
ZERO = Decimal(0)


@st.composite
def ledgers(draw: st.DrawFn) -> list[BookedFill | BookedFunding]:
    """Return bookings as a ledger has them: positions follow from the fills, and profits from average prices."""
    held: dict[str, tuple[Decimal, Decimal]] = {}  # quantity, entry price
    bookings: list[BookedFill | BookedFunding] = []
    for n in range(draw(st.integers(0, 25))):
        name = draw(st.sampled_from(["AUSDT", "BUSDT"]))
        ts_ns = START + n * DAY // 3
        if draw(st.integers(0, 4)) == 0:
            amount = Decimal(draw(st.integers(-50, 50))) / 100
            bookings.append(BookedFunding(seq=2 * n + 1, ts_ns=ts_ns, instrument=name, amount=amount))
            continue
        side, qty, price = (
            draw(st.sampled_from(["buy", "sell"])),
            Decimal(draw(st.integers(1, 5))),
            draw(st.integers(90, 110)),
        )
        signed = qty if side == "buy" else -qty
        before, entry = held.get(name, (ZERO, ZERO))
        closing = min(abs(before), qty) if before * signed < 0 else ZERO
        pnl = closing * (price - entry) * (1 if before > 0 else -1)
        after = before + signed
        if closing == 0:
            entry = (abs(before) * entry + qty * price) / abs(after)
        elif qty > closing:
            entry = Decimal(price)
        held[name] = (after, entry)
        bookings.append(
            BookedFill(
                seq=2 * n + 1,
                ts_ns=ts_ns,
                instrument=name,
                side=side,
                price=Decimal(price),
                qty=qty,
                fee=Decimal(draw(st.integers(-3, 9))) / 100,
                position_qty=after,
                realized_pnl=pnl,
            )
        )
    return bookings


def fold(bookings: Sequence[BookedFill | BookedFunding]) -> PastTrades:
    past = PastTrades()
    past.add(bookings)
    return past


def everything(past: PastTrades, now_ns: int) -> tuple[object, ...]:
    periods = [past.periods(unit, 12, now_ns) for unit in ("day", "week", "month")]
    return (past.seq, past.total(), past.by_instrument(), past.trades(100), *periods)


@given(bookings=ledgers(), cuts=st.lists(st.integers(0, 25), max_size=5))
def test_however_it_is_cut_the_result_is_the_same(bookings: list[BookedFill | BookedFunding], cuts: list[int]) -> None:
    past = PastTrades()
    edges = [0, *sorted(cuts), len(bookings)]
    for start, stop in pairwise(edges):
        past.add(bookings[start:stop])
        past.add(bookings[:start])  # what was taken already is passed over
    now_ns = START + 9 * DAY
    assert everything(past, now_ns) == everything(fold(bookings), now_ns)


def is_same(one: Decimal, other: Decimal) -> bool:
    """Return whether two sums of the same differ by no more than the order in which they were rounded."""
    return abs(one - other) <= Decimal("1e-20")


@given(bookings=ledgers())
def test_every_sum_is_what_was_booked(bookings: list[BookedFill | BookedFunding]) -> None:
    past = fold(bookings)
    net = ZERO
    for each in bookings:
        net += each.realized_pnl - each.fee if isinstance(each, BookedFill) else each.amount
    assert is_same(past.total().net_pnl, net)
    assert is_same(sum((each.net_pnl for each in past.by_instrument()), ZERO), net)
    now_ns = START + 10 * DAY
    for unit in ("day", "week", "month"):
        results: Sequence[Result] = past.periods(unit, 60, now_ns)
        assert is_same(sum((each.net_pnl for each in results), ZERO), net)
        assert sum(each.trades for each in results) == len(past.trades(100)) == past.total().trades


@given(bookings=ledgers())
def test_the_trades_of_an_instrument_that_is_flat_add_up_to_its_result(
    bookings: list[BookedFill | BookedFunding],
) -> None:
    """But for funding while flat, which no trade earned."""
    past = fold(bookings)
    flat: dict[str, bool] = {}
    stray: dict[str, Decimal] = {}
    for each in bookings:
        if isinstance(each, BookedFill):
            flat[each.instrument] = each.position_qty == 0
        elif flat.get(each.instrument, True):
            stray[each.instrument] = stray.get(each.instrument, ZERO) + each.amount
    for result in past.by_instrument():
        if flat.get(result.name, True):
            trades = [trade for trade in past.trades(100) if trade.instrument == result.name]
            earned = sum((trade.net_pnl for trade in trades), ZERO) + stray.get(result.name, ZERO)
            assert is_same(earned, result.net_pnl)


def test_a_fill_that_turns_around_ends_one_trade_and_begins_another() -> None:
    def fill(seq: int, side: str, qty: int, fee: str, *, held: int, pnl: int) -> BookedFill:
        return BookedFill(
            seq=seq,
            ts_ns=seq,
            instrument="AUSDT",
            side=side,
            price=Decimal(100),
            qty=Decimal(qty),
            fee=Decimal(fee),
            position_qty=Decimal(held),
            realized_pnl=Decimal(pnl),
        )

    past = fold(
        [
            fill(1, "buy", 1, "0.1", held=1, pnl=0),
            fill(2, "sell", 3, "0.3", held=-2, pnl=5),
            fill(3, "buy", 2, "0.2", held=0, pnl=7),
        ]
    )
    short, long = past.trades(5)
    assert (long.direction, long.fees, long.net_pnl) == ("long", Decimal("0.2"), Decimal("4.8"))
    assert (short.direction, short.fees, short.net_pnl) == ("short", Decimal("0.4"), Decimal("6.6"))


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    past = fold([])
    assert [each.start_ns // DAY for each in past.periods("week", 2, START)] == [19_989, 19_996]  # Mondays before it
    assert [each.start_ns // DAY for each in past.periods("month", 2, START)] == [19_967, 19_997]
    assert [each.start_ns // DAY for each in past.periods("day", 2, START)] == [19_999, 20_000]
