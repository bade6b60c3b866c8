"""Trades, watermarks and bars of a source made by hand, and the bars they make in plain words."""

from collections.abc import Sequence
from typing import Any

from bot.core.bars import BarAggregator
from bot.domain.market import BarBatch, MarketSlab
from tests.support.bars_reference import ReferenceBar, ReferenceTrade
from tests.support.batches import INSTRUMENT, trades_of

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
START = 1_700_000_040 * SECOND  # on a minute, 2023-11-14T22:14:00Z
FOREVER = 2**61


def trade(ts_ns: int, price: int = 100, qty: int = 1, *, is_buy: bool = False) -> ReferenceTrade:
    return ReferenceTrade(ts_ns=ts_ns, price=price, qty=qty, is_buy=is_buy)


def aggregator(*scales_ns: int, lateness_ns: int = 0, gap_max_ns: int = FOREVER, **source: Any) -> BarAggregator:
    return BarAggregator(INSTRUMENT, scales_ns=scales_ns, lateness_ns=lateness_ns, gap_max_ns=gap_max_ns, **source)


def run(bars: BarAggregator, arrivals: Sequence[ReferenceTrade]) -> list[MarketSlab]:
    """Feed runs of trades as batches and watermarks between them."""
    slabs: list[MarketSlab] = []
    waiting: list[ReferenceTrade] = []
    row = 0
    for arrival in [*arrivals, None]:
        if arrival is not None and arrival.qty is not None:
            waiting.append(arrival)
            continue
        if waiting:
            slabs.append(bars.on_trades(trades_of(waiting, first_row=row)))
            row += len(waiting)
            waiting = []
        if arrival is not None:
            slabs.append(bars.on_watermark(arrival.ts_ns))
    return slabs


def watermark(ts_ns: int) -> ReferenceTrade:
    return ReferenceTrade(ts_ns=ts_ns)


def plain(bars: BarBatch) -> list[ReferenceBar]:
    """Return a batch as the reference writes bars."""
    columns = (
        bars.open_ns,
        bars.open_ticks,
        bars.high_ticks,
        bars.low_ticks,
        bars.close_ticks,
        bars.volume_steps,
        bars.turnover,
        bars.count,
        bars.buy_steps,
        bars.flags,
    )
    names = ("open_ns", "open", "high", "low", "close", "volume", "turnover", "count", "buy", "flags")
    return [
        ReferenceBar(**dict(zip(names, row, strict=True)))
        for row in zip(*(column.tolist() for column in columns), strict=True)
    ]


def source_bars(*rows: tuple[int, int, int, int, int, int]) -> list[ReferenceBar]:
    """Return 1 s bars from (second, open, high, low, close, flags)."""
    return [
        ReferenceBar(
            open_ns=START + second * SECOND,
            open=o,
            high=h,
            low=low,
            close=c,
            volume=1,
            turnover=c,
            count=1,
            flags=flags,
        )
        for second, o, h, low, c, flags in rows
    ]
