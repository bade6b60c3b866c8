"""The venue model on real captures of trades and book: every resting order's fill lies between its bounds.

The bounds are searched for in the columns, without the model: the first trade at the order's price or beyond, and the
first strictly beyond, of those after the order's arrival.
"""

from decimal import Decimal

import numpy as np
import pytest

from bot.core.matching import VenueModel
from bot.core.venue.account import VenueAccount
from bot.core.venue.book_tape import BookTape
from bot.core.venue.contract import ASSUMED_TIER, FeeRates, linear_contract
from bot.core.venue.facts import Execution
from bot.core.venue.market import FillModel, Market, Queue
from bot.core.venue.orders import Kind, NewOrder, OrderRecord, Tif, Told
from bot.core.venue.queue import Probabilistic, RiskAverse, Through, Touch
from bot.domain.instrument import Side
from tests.support.real_books import BOOK1000, SPOT_BTC, USDM_BTC, USDM_ETH, Capture, book_of
from tests.support.resting import NEVER, trades_of

CAPTURES = {"usdm-btc": USDM_BTC, "usdm-eth": USDM_ETH, "spot-btc": SPOT_BTC, "usdm-btc-2026": BOOK1000}
MODELS: dict[str, Queue] = {
    "touch": Touch(),
    "even": Probabilistic(kind="power", n=1),
    "averse": RiskAverse(),
    "through": Through(),
}
EVERY_NS, WAIT_NS = 1_000_000_000, 10_000_000_000


class Resting:
    """One order that was sent to rest, and when it filled."""

    def __init__(self, side: Side, ticks: int, at_ns: int, qty: Decimal) -> None:
        self.side, self.ticks, self.at_ns, self.left = side, ticks, at_ns, qty
        self.first_ns = self.full_ns = NEVER


def play(capture: Capture, queue: Queue) -> list[Resting]:
    """Rest an order on either side at the best price each second, for ten seconds, and return what became of each."""
    trades, deltas = trades_of(capture), book_of(capture)
    contract = linear_contract(capture.instrument, [ASSUMED_TIER], fees=FeeRates(taker=Decimal(0), maker=Decimal(0)))
    account = VenueAccount([contract])
    account.deposit(contract.settle_coin, Decimal("1e9"), ts_ns=0)
    book = BookTape(capture.instrument)
    venue = VenueModel([Market(contract, is_bars=False, book=book)], {"ours": account}, FillModel(queue=queue))
    venue.extend(trades, 0)
    venue.extend_book(deltas, 0)
    orders: dict[str, Resting] = {}
    leaving: list[tuple[int, str]] = []
    qty = capture.instrument.qty(max(1, int(trades.qty_steps.mean())))
    qty = max(
        qty,
        capture.instrument.qty_min,
        capture.instrument.round_qty(Decimal(10) / capture.instrument.price(int(trades.price_ticks[0]))),
    )

    resting = venue.markets[contract.name].resting

    def see(told: list[Told]) -> None:
        for each in told:
            fact = each.fact
            if isinstance(fact, Execution):
                order = orders[fact.order_id]
                assert fact.is_maker
                assert fact.price == capture.instrument.price(order.ticks)
                order.first_ns = min(order.first_ns, fact.ts_ns)
                order.left -= fact.qty
                if not order.left:
                    order.full_ns = fact.ts_ns

    start = max(int(trades.ts_ns[0]), int(deltas.ts_ns[0])) + EVERY_NS
    for now_ns in range(start, int(trades.ts_ns[-1]), EVERY_NS):
        see(venue.advance(now_ns))
        while leaving and leaving[0][0] <= now_ns:
            see(venue.cancel("ours", contract.name, leaving.pop(0)[1], now_ns)[1])
        book.advance(now_ns)
        for side in Side:
            best = book.best_bid() if side is Side.BUY else book.best_ask()
            if best is None:
                continue
            request = NewOrder(
                instrument=contract.name,
                side=side,
                kind=Kind.LIMIT,
                qty=qty,
                price=capture.instrument.price(best),
                time_in_force=Tif.POST_ONLY,
            )
            answer, told = venue.submit("ours", request, now_ns)
            # One that would meet an order of ours, which the market has left behind, does not rest.
            if isinstance(answer, OrderRecord) and answer.order_id in resting:
                orders[answer.order_id] = Resting(side, best, now_ns, qty)
                leaving.append((now_ns + WAIT_NS, answer.order_id))
            see(told)
    return list(orders.values())


def bounds(capture: Capture, order: Resting) -> tuple[int, int]:
    """Return when the order's price was first touched and first traded through."""
    trades = trades_of(capture)
    start = int(trades.ts_ns.searchsorted(order.at_ns, side="right"))
    prices = trades.price_ticks[start:]
    touched = np.flatnonzero(prices <= order.ticks if order.side is Side.BUY else prices >= order.ticks)
    through = np.flatnonzero(prices < order.ticks if order.side is Side.BUY else prices > order.ticks)
    times = trades.ts_ns[start:]
    return (int(times[touched[0]]) if len(touched) else NEVER, int(times[through[0]]) if len(through) else NEVER)


@pytest.mark.parametrize("name", CAPTURES)
def test_every_fill_is_bracketed(name: str) -> None:
    capture = CAPTURES[name]
    filled = {}
    for model, queue in MODELS.items():
        orders = play(capture, queue)
        assert len(orders) > 300
        for order in orders:
            touched_ns, through_ns = bounds(capture, order)
            assert order.first_ns >= touched_ns, (model, vars(order))
            if order.full_ns == NEVER:  # it left unfilled after ten seconds: nothing had gone through it by then
                assert through_ns > min(order.at_ns + WAIT_NS, int(trades_of(capture).ts_ns[-1]) - EVERY_NS)
            else:
                assert order.full_ns <= through_ns, (model, vars(order))
        filled[model] = sum(order.full_ns < NEVER for order in orders) / len(orders)
    assert filled["touch"] > filled["even"] >= filled["averse"] > filled["through"]
