"""How fast the venue model is: whole replays with exits and resting orders at the venue, and the model by itself.

Engine time is counted: no start of the interpreter, no compilation, no report.
`python -m benchmarks.bench_venue NAME` measures one figure in this process.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from benchmarks import market
from benchmarks.bench_replay import SMA, replay_seconds, settings
from benchmarks.measure import RUNS, Figure, figure, main
from benchmarks.sampler import shares
from bot.app.replay import replay
from bot.core.delays import Delay
from bot.core.matching import VenueModel
from bot.core.venue.account import VenueAccount
from bot.core.venue.contract import ASSUMED_TIER, linear_contract
from bot.core.venue.desk import Desk
from bot.core.venue.market import Market, neutral
from bot.domain.instrument import Side
from bot.domain.market import BarBatch, FundingBatch, TradeBatch
from bot.domain.orders import AmendOrder, ChangeStops, Exit, OrderType, SubmitOrder
from bot.ports import Histories
from bot.runtime.env import Stopwatch
from bot.store.market_history import ParquetHistory

EXITS = (*SMA, 'strategy.params.exits={stop_loss=0.01,take_profit=0.02,at="venue"}')
QUOTES = (
    *(override for override in SMA if not override.startswith("strategy")),
    "strategy.name=benchmarks.quoter:Quoter",
    "strategy.params.nearest=0.02",  # nothing but amendments: hardly any fills
    "risk.open_orders_max=500",
    "risk.orders_per_second_max=1000",
)
BUSY = 1_500  # trades a minute: BTC perpetuals trade 1.5 to 2.5 million times a day
QUIET = 300  # the benchmark market as it is made
PARTS = {
    "bot/core/venue/": "the venue model",
    "bot/core/matching.py": "the venue model",
    "bot/core/tape.py": "the venue model",
    "bot/venues/": "the venue model",
    "bot/actors/strategy": "strategy",
    "strategies/": "strategy",
    "bot/actors/ledger.py": "ledger",
    "bot/store/": "ledger",
    "bot/actors/order_executor.py": "order executor",
    "bot/core/orders.py": "order executor",
    "bot/core/sender.py": "order executor",
    "bot/core/rules.py": "order executor",
    "bot/core/execution/": "order executor",
    "bot/core/risk.py": "order executor",
    "bot/actors/bar_aggregator.py": "market half",
    "bot/actors/replay_feed.py": "market half",
    "bot/runtime/virtual_loop.py": "event loop",
}


class TimedHistory:
    """Trades in memory at so many a minute, whatever their own times are."""

    source_scale_ns: int | None = None

    def __init__(self, rows: int, per_minute: int) -> None:
        loaded = market.LoadedHistory(market.open_history(market.trades_file(), "trades"))
        whole = TradeBatch.join([batch for batch in loaded.slabs(1 << 20) if isinstance(batch, TradeBatch)])
        ts_ns = whole.ts_ns[0] + np.arange(rows) * market.MINUTE_NS // per_minute
        self._trades = dataclasses.replace(whole.rows(0, rows), ts_ns=ts_ns)

    def span_ns(self) -> tuple[int, int]:
        """See `ports.MarketHistory`."""
        return int(self._trades.ts_ns[0]), int(self._trades.ts_ns[-1]) + 1

    def slabs(self, rows: int) -> Iterator[TradeBatch]:
        """See `ports.MarketHistory`."""
        for start in range(0, len(self._trades), rows):
            yield self._trades.rows(start, min(start + rows, len(self._trades)))

    def funding(self) -> FundingBatch | None:
        """See `ports.MarketHistory`."""
        return None


def exits_at_venue() -> Figure:
    """Replay one million bars with a stop and a target at the venue for every position, all ledger rows."""
    seconds = replay_seconds(market.open_history(market.bars_file(), "bars"), EXITS)
    return figure(
        "replay 1 M bars, 13,578 fills, stop and target at the venue, from Parquet",
        "bars/s",
        seconds,
        lambda s: 1e6 / s,
    )


def exits_at_venue_slow() -> Figure:
    """Replay the same with averages over two and six hours: two or three positions a day instead of ten."""
    slower = (*EXITS, "strategy.params.fast=120", "strategy.params.slow=360")
    seconds = replay_seconds(market.open_history(market.bars_file(), "bars"), slower)
    return figure(
        "replay 1 M bars, 3,302 fills, stop and target at the venue, from Parquet",
        "bars/s",
        seconds,
        lambda s: 1e6 / s,
    )


def one_amended_busy() -> Figure:
    """Replay trades with 100 orders resting, one of them amended each minute, in a busy market."""
    return _quotes(amended=1, per_minute=BUSY, rows=5_000_000)


def one_amended_quiet() -> Figure:
    """Replay the same in a market that trades a fifth as often."""
    return _quotes(amended=1, per_minute=QUIET, rows=1_000_000)


def all_amended_busy() -> Figure:
    """Replay trades with 100 orders resting, each of them amended each minute."""
    return _quotes(amended=100, per_minute=BUSY, rows=200_000)


def _quotes(*, amended: int, per_minute: int, rows: int) -> Figure:
    seconds = replay_seconds(TimedHistory(rows, per_minute), (*QUOTES, f"strategy.params.amended={amended}"))
    name = f"replay trades, {per_minute:,} a minute, 100 resting orders, {amended} amended a minute"
    return figure(name, "trades/s", seconds, lambda s: rows / s)


def market_order() -> Figure:
    """Tell what a market order takes at the venue model alone, from its arrival to its fill, on bars."""
    return _per_request("a market order at the venue alone, on bars", _market_orders)


def stops_changed() -> Figure:
    """Tell what giving a position a stop and a target takes at the venue model alone, on bars."""
    return _per_request("a stop and a target set at the venue alone, on bars", _stop_changes)


def amendment() -> Figure:
    """Tell what a new price of one of 100 resting orders takes at the venue model alone, on trades."""
    return _per_request("an order's amendment at the venue alone, among 100, on trades", _amendments)


def venue_share() -> Figure:
    """Tell which part of the CPU time of the replay with exits is the venue model's."""
    return _share("the venue model")


def executor_share() -> Figure:
    """Tell which part is the order executor's: gate, orders, books."""
    return _share("order executor")


def strategy_share() -> Figure:
    """Tell which part is the strategy's: its actor and its own code."""
    return _share("strategy")


def _share(part: str) -> Figure:
    path = market.bars_file()
    start_ns, _ = market.open_history(path, "bars").span_ns()
    history = ParquetHistory(
        market.INSTRUMENT,
        path,
        kind="bars",
        scale_ns=market.MINUTE_NS,
        to_ns=start_ns + 200_000 * market.MINUTE_NS,
    )
    market_data: Histories = [(market.INSTRUMENT, history)]
    found = []
    with tempfile.TemporaryDirectory() as out:
        chosen = settings(out, EXITS)
        for _ in range(RUNS):
            split = shares(lambda: replay(chosen, market_data), PARTS)
            found.append(split.get(part, 0.0))
    return figure(f"of the replay with stops and targets: {part}", "%", found, lambda share: share * 100)


Requests = Callable[[], float]


def _per_request(name: str, measure: Requests) -> Figure:
    measure()
    return figure(name, "us", [measure() for _ in range(RUNS)], lambda s: s * 1e6)


def _desk(*batches: TradeBatch | BarBatch) -> Desk:
    """Return our account at a venue that has all of a market before it."""
    contract = linear_contract(market.INSTRUMENT, [ASSUMED_TIER])
    account = VenueAccount([contract])
    account.deposit(contract.settle_coin, Decimal(1_000_000), ts_ns=0)
    is_bars = isinstance(batches[0], BarBatch)
    model = VenueModel(
        [Market(contract, is_bars=is_bars, is_counted=not is_bars)], {"ours": account}, neutral(Decimal(0))
    )
    desk = Desk(model, "ours", Delay(seed=0, stream=0, base_ns=0, jitter_ns=0))
    for batch in batches:
        desk.extend(batch, now_ns=0)
    return desk


def _bars() -> BarBatch:
    slabs = market.open_history(market.bars_file(), "bars").slabs(1 << 20)
    return BarBatch.join([slab for slab in slabs if isinstance(slab, BarBatch)]).rows(0, 200_000)


def _order(number: int, side: Side, limit_price: Decimal | None = None) -> SubmitOrder:
    return SubmitOrder(
        client_order_id=f"o{number}",
        order_number=number,
        instrument=market.INSTRUMENT.name,
        side=side,
        order_type=OrderType.MARKET if limit_price is None else OrderType.LIMIT,
        qty=Decimal("0.01"),
        limit_price=limit_price,
    )


def _market_orders() -> float:
    """Return the seconds that an order takes: in and out of a position by turns."""
    bars = _bars()
    desk = _desk(bars)
    arrivals = bars.open_ns[100 : 100 + 40 * 4_000 : 40].tolist()
    orders = [_order(number + 1, Side.SELL if number % 2 else Side.BUY) for number in range(len(arrivals))]
    watch = Stopwatch()
    for order, now_ns in zip(orders, arrivals, strict=True):
        desk.handle(order, now_ns)
        desk.next_ns()
    return watch.seconds() / len(orders)


def _stop_changes() -> float:
    """Return the seconds that a change takes; positions are opened and closed in between, unmeasured."""
    bars = _bars()
    desk = _desk(bars)
    tick, seconds, count = market.INSTRUMENT.tick_size, 0.0, 2_000
    for turn in range(count):
        row = 100 + 80 * turn
        now_ns = int(bars.open_ns[row])
        _let_pass(desk, now_ns)
        desk.handle(_order(3 * turn + 1, Side.BUY), now_ns)
        change = ChangeStops(
            request_id=f"s{turn}",
            order_number=3 * turn + 2,
            instrument=market.INSTRUMENT.name,
            take_profit=Exit(price=tick * (int(bars.open_ticks[row]) * 12 // 10)),
            stop_loss=Exit(price=tick * (int(bars.open_ticks[row]) * 8 // 10)),
        )
        watch = Stopwatch()
        desk.handle(change, now_ns)
        desk.next_ns()
        seconds += watch.seconds()
        desk.handle(_order(3 * turn + 3, Side.SELL), int(bars.open_ns[row + 40]))
    return seconds / count


def _amendments() -> float:
    """Return the seconds that an amendment takes: every four seconds one order follows the market."""
    slabs = list(TimedHistory(400_000, BUSY).slabs(65_536))
    trades = TradeBatch.join(slabs)
    desk, instrument = _desk(*slabs), market.INSTRUMENT
    start_ns, count, orders = int(trades.ts_ns[0]) + 61 * market.MINUTE_NS, 2_000, 100

    def price(now_ns: int, number: int, side: Side) -> Decimal:
        last = instrument.price(int(trades.price_ticks[trades.ts_ns.searchsorted(now_ns) - 1]))
        return instrument.round_price(last * (1 - side.sign * (30 + number // 2) * Decimal("0.001")), side)

    sides = [Side.BUY, Side.SELL] * (orders // 2)
    for number, side in enumerate(sides):
        desk.handle(_order(number, side, price(start_ns, number, side)), start_ns)
    seconds = 0.0
    for turn in range(count):
        now_ns, number = start_ns + turn * 4_000_000_000, turn % orders
        amend = AmendOrder(
            client_order_id=f"o{number}",
            order_number=number,
            amend_number=turn // orders + 1,
            instrument=instrument.name,
            limit_price=price(now_ns, number, sides[number]),
        )
        _let_pass(desk, now_ns)
        watch = Stopwatch()
        desk.handle(amend, now_ns)
        desk.next_ns()
        seconds += watch.seconds()
    return seconds / count


def _let_pass(desk: Desk, now_ns: int) -> None:
    while (due_ns := desk.next_ns()) is not None and due_ns < now_ns:
        desk.advance(due_ns)


BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    function.__name__: function
    for function in (
        exits_at_venue,
        exits_at_venue_slow,
        one_amended_busy,
        one_amended_quiet,
        all_amended_busy,
        market_order,
        stops_changed,
        amendment,
        venue_share,
        executor_share,
        strategy_share,
    )
}


if __name__ == "__main__":
    main(BENCHMARKS, __doc__)
