"""What is asked in vain changes nothing: the venue looks again, and finds what it had found before."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.matching import VenueModel
from bot.core.venue.account import VenueAccount
from bot.core.venue.contract import ASSUMED_TIER, Contract, btcusdt_linear, btcusdt_spot, linear_contract
from bot.core.venue.facts import Execution, Refusal
from bot.core.venue.market import FillModel, Market, Queue
from bot.core.venue.orders import Kind, NewOrder, Told
from bot.core.venue.queue import RiskAverse, Through, Touch
from bot.domain.instrument import Side
from bot.domain.market import TradeBatch
from tests.support.bars_reference import ReferenceTrade
from tests.support.batches import INSTRUMENT, trades_of
from tests.support.examples import examples

HOUR_NS = 3_600_000_000_000
MIDDLE = 10_000  # ticks
STEP_NS = 1_000

# Before the hour, one visit of one price: whoever rests later has 30 times its quantity ahead.
BEFORE = [ReferenceTrade(ts_ns=1, price=MIDDLE, qty=1, is_buy=True)]
moves = st.lists(st.tuples(st.integers(-3, 3), st.integers(1, 20), st.booleans()), min_size=5, max_size=60)
levels = st.lists(st.tuples(st.sampled_from(list(Side)), st.integers(0, 3)), min_size=1, max_size=6)


def tape(steps: list[tuple[int, int, bool]]) -> TradeBatch:
    """Return trades after the first hour, each some ticks from the middle."""
    rows = [
        ReferenceTrade(ts_ns=HOUR_NS + (number + 2) * STEP_NS, price=MIDDLE + move, qty=qty, is_buy=is_buy)
        for number, (move, qty, is_buy) in enumerate(steps)
    ]
    return trades_of([*BEFORE, *rows])


def order(side: Side, ticks: int) -> NewOrder:
    return NewOrder(
        instrument=INSTRUMENT.name,
        side=side,
        kind=Kind.LIMIT,
        qty=INSTRUMENT.qty(2_000),
        price=INSTRUMENT.price(ticks),
    )


def story(trades: TradeBatch, orders: list[NewOrder], queue: Queue, vain_ns: list[int]) -> list[Told]:
    """Return all that is told where orders rest, and something outside the price band is asked for now and then."""
    contract = linear_contract(INSTRUMENT, [ASSUMED_TIER])
    account = VenueAccount([contract])
    account.deposit(contract.settle_coin, Decimal(10**9), ts_ns=0)
    venue = VenueModel([Market(contract, is_bars=False)], {"a": account}, FillModel(queue=queue))
    venue.extend(trades, 0)
    told = venue.advance(HOUR_NS)
    for wanted in orders:
        told += venue.submit("a", wanted, HOUR_NS + 1)[1]
    for now_ns in sorted(vain_ns):
        answer, meanwhile = venue.submit("a", order(Side.BUY, MIDDLE * 2), now_ns)
        assert isinstance(answer, Refusal)
        told += meanwhile
    return told + venue.advance(2 * HOUR_NS)


@pytest.mark.parametrize("queue", [Touch(), RiskAverse(), Through()])
@settings(deadline=None, max_examples=examples(60))
@given(steps=moves, wanted=levels, offsets=st.lists(st.integers(1, 62 * STEP_NS), max_size=8))
def test_what_is_refused_leaves_no_trace(
    queue: Queue, steps: list[tuple[int, int, bool]], wanted: list[tuple[Side, int]], offsets: list[int]
) -> None:
    """Places in the queue, and when they fill, are the same however often the market was looked at in between."""
    orders = [order(side, MIDDLE - side.sign * (1 + away)) for side, away in wanted]
    quiet = story(tape(steps), orders, queue, [])
    asked = story(tape(steps), orders, queue, [HOUR_NS + 1 + offset for offset in offsets])
    assert fills(asked) == fills(quiet)


def fills(told: list[Told]) -> list[tuple[int, Side, Decimal, Decimal]]:
    """Return the executions without the ids, which count what is refused as well."""
    return [(f.ts_ns, f.side, f.price, f.qty) for _, f in told if isinstance(f, Execution)]


@pytest.mark.parametrize("contract", [btcusdt_linear(), btcusdt_spot()])
@given(mark=st.integers(1, 10**9), index=st.integers(1, 10**9))
def test_a_side_of_the_band_in_ticks_is_the_band(contract: Contract, mark: int, index: int) -> None:
    """Reckoned in whole numbers or in decimals, the bound of a side is the same."""
    price = contract.instrument.price
    buy, sell = contract.price_band(mark=price(mark), index=price(index))
    assert price(contract.band_ticks(Side.BUY, mark=mark, index=index)) == buy
    assert price(contract.band_ticks(Side.SELL, mark=mark, index=index)) == sell
