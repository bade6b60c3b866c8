"""A small market as streams for look-ahead probes: trades, their minute bars, funding, a book, a revised statistic."""

import numpy as np

from bot.core.bars import BarAggregator
from bot.core.lookahead import MakeGenerator, Market
from bot.core.perturb import Table
from bot.core.sample_market.funding import generate_funding
from bot.core.sample_market.market import generate_trades
from bot.core.sample_market.spec import SampleMarketSpec
from bot.domain.market import BarBatch, BookBatch, FundingBatch, TradeBatch
from tests.support.batches import INSTRUMENT

MINUTE_NS = 60_000_000_000
HOUR_NS = 60 * MINUTE_NS


def generators(seed: int) -> MakeGenerator:
    """Return what makes a generator for each named stream."""
    return lambda stream: np.random.default_rng([seed, *stream.encode()])


def sample_trades(days: int = 2, trades_per_day: int = 4_000, seed: int = 3) -> TradeBatch:
    """Return trades with quiet nights, so that some minutes are empty."""
    spec = SampleMarketSpec(days=days, trades_per_day=trades_per_day)
    trades = generate_trades(spec, generators(seed)("trades"))
    return TradeBatch(instrument=INSTRUMENT, first_row=0, **trades._asdict())


def sample_funding(trades: TradeBatch, seed: int = 3) -> FundingBatch:
    """Return the funding settled in the days of `trades`."""
    day_ns = 24 * HOUR_NS
    start_ns = int(trades.ts_ns[0]) // day_ns * day_ns
    spec = SampleMarketSpec(start_ns=start_ns, days=int(trades.ts_ns[-1] - start_ns) // day_ns + 1)
    hours = np.unique(trades.ts_ns // HOUR_NS, return_index=True)[1]
    funding = generate_funding(
        spec, generators(seed)("funding"), ts_ns=trades.ts_ns[hours], price_ticks=trades.price_ticks[hours]
    )
    return FundingBatch(instrument=INSTRUMENT, first_row=0, **funding._asdict())


def minute_bars(trades: TradeBatch, scale_ns: int = MINUTE_NS) -> BarBatch:
    """Return the closed bars of `trades`, known at their close."""
    aggregator = BarAggregator(INSTRUMENT, scales_ns=[scale_ns], lateness_ns=0, gap_max_ns=2**61)
    return aggregator.on_trades(trades).bars[scale_ns]


def revisions(trades: TradeBatch, seed: int = 3) -> Table:
    """Return a statistic of every other hour, first told an hour after it and corrected four hours later."""
    event_ns = np.repeat(np.arange(trades.ts_ns[0], trades.ts_ns[-1], 2 * HOUR_NS), 2)
    known_ns = event_ns + np.tile([HOUR_NS, 5 * HOUR_NS], len(event_ns) // 2)
    order = np.argsort(known_ns, kind="stable")
    told = generators(seed)("revisions").standard_normal(len(order))
    return Table(known_ns=known_ns[order], columns={"event_ns": event_ns[order], "x": told[order]})


def sample_book(trades: TradeBatch, levels: int = 3, every: int = 40) -> BookBatch:
    """Return a book around some of the trades' prices; every fifth row lacks its deepest ask, every eleventh trust."""
    some = trades.rows(0, len(trades))
    ts_ns, price = some.ts_ns[::every], some.price_ticks[::every]
    depth = np.arange(1, levels + 1) * 3
    ask_ticks, ask_steps = price[:, None] + depth, np.tile(depth, (len(price), 1))
    bid_ticks, bid_steps = price[:, None] - depth, np.tile(depth, (len(price), 1))
    ask_ticks[::5, -1] = ask_steps[::5, -1] = 0
    for column in (bid_ticks, bid_steps, ask_ticks, ask_steps):
        column[::11] = 0
    return BookBatch(
        instrument=INSTRUMENT,
        first_row=0,
        ts_ns=ts_ns,
        known_ns=ts_ns + 5_000_000,
        update=np.arange(len(price)),
        bid_ticks=bid_ticks,
        bid_steps=bid_steps,
        ask_ticks=ask_ticks,
        ask_steps=ask_steps,
        is_trusted=bid_ticks[:, 0] > 0,
    )


def sample_streams(trades: TradeBatch | None = None) -> Market:
    """Return all of them as one market."""
    trades = sample_trades() if trades is None else trades
    return Market.of(
        trades=trades, bars=minute_bars(trades), funding=sample_funding(trades), revisions=revisions(trades)
    )
