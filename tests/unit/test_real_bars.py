"""Time bars of real trades: sixty 1 s bars are the 1 m bar, and ours are the venue's own."""

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from bot.core.bars import BarAggregator
from bot.domain.market import EMPTY, BarBatch, TradeBatch
from tests.support.batches import cut, join_bars
from tests.support.real_trades import REAL
from tests.support.shared_data import shared_file

SECOND = 1_000_000_000
MINUTE = 60 * SECOND


def bars_of(batch: TradeBatch, *scales_ns: int, rows: int, until_ns: int) -> dict[int, BarBatch]:
    """Return the bars that a market makes in batches of `rows`, all that close by `until_ns`."""
    bars = BarAggregator(batch.instrument, scales_ns=scales_ns, lateness_ns=0, gap_max_ns=3600 * SECOND)
    slabs = [bars.on_trades(part) for part in cut(batch, range(rows, len(batch), rows))]
    assert bars.late_count == 0
    return join_bars([*slabs, bars.on_watermark(until_ns)])


def folded(seconds: BarBatch, start: int) -> tuple[int, ...]:
    """Return what sixty 1 s bars add up to, the plain way: empty ones count for nothing unless all are."""
    part = seconds.rows(start, start + 60)
    traded = np.flatnonzero(part.count)
    told = traded if len(traded) else np.array([0])
    return (
        int(part.open_ticks[told[0]]),
        int(part.high_ticks[told].max()),
        int(part.low_ticks[told].min()),
        int(part.close_ticks[told[-1]]),
        int(part.volume_steps.sum()),
        int(part.turnover.sum()),
        int(part.count.sum()),
        int(part.buy_steps.sum()),
        0 if len(traded) else EMPTY,
    )


def told(bars: BarBatch, row: int) -> tuple[int, ...]:
    columns: tuple[Any, ...] = (
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
    return tuple(int(column[row]) for column in columns)


@pytest.mark.parametrize("name", REAL)
def test_sixty_1s_bars_of_real_trades_are_the_1m_bar(name: str) -> None:
    """Every column of every minute that the capture covers, quiet seconds and minutes included."""
    batch = REAL[name]()
    last_minute_ns = int(batch.ts_ns[-1]) // MINUTE * MINUTE
    made = bars_of(batch, SECOND, MINUTE, rows=5_000, until_ns=last_minute_ns)
    seconds, minutes = made[SECOND], made[MINUTE]
    assert minutes.open_ns[0] - seconds.open_ns[0] < MINUTE
    assert minutes.open_ns[-1] == last_minute_ns - MINUTE
    assert len(minutes) >= 4
    for row in range(len(minutes)):
        start = int(seconds.open_ns.searchsorted(minutes.open_ns[row]))
        assert seconds.open_ns[start + 59] == minutes.open_ns[row] + 59 * SECOND
        assert told(minutes, row) == folded(seconds, start), row


@pytest.mark.parametrize("name", REAL)
def test_1m_bars_of_real_trades_hold_each_trade_of_their_minute(name: str) -> None:
    """Straight from the trades of each minute, with no smaller bar between."""
    batch = REAL[name]()
    minutes = bars_of(batch, MINUTE, rows=777, until_ns=int(batch.ts_ns[-1]))[MINUTE]
    for row, open_ns in enumerate(minutes.open_ns.tolist()):
        inside = batch.rows(*batch.ts_ns.searchsorted([open_ns, open_ns + MINUTE]).tolist())
        if not len(inside):
            assert minutes.flags[row] == EMPTY
            continue
        assert told(minutes, row) == (
            int(inside.price_ticks[0]),
            int(inside.price_ticks.max()),
            int(inside.price_ticks.min()),
            int(inside.price_ticks[-1]),
            int(inside.qty_steps.sum()),
            int((inside.price_ticks * inside.qty_steps).sum()),
            len(inside),
            int(inside.qty_steps[inside.is_buy].sum()),
            0,
        )


def test_a_bar_of_captured_trades_is_the_venues_own_candle() -> None:
    """Binance BTCUSDT perpetual, 2024-08-08 23:55: the one candle of the shared data whose every trade is there too."""
    open_ns = 1_723_161_300 * SECOND
    batch = REAL["captured_perpetual"]()
    assert batch.ts_ns[0] < open_ns
    bars = bars_of(batch, SECOND, 5 * MINUTE, rows=1_000, until_ns=open_ns + 5 * MINUTE)[5 * MINUTE]
    assert bars.open_ns.tolist() == [open_ns]
    candles = pq.read_table(shared_file("data/btcusdt_binance_usdm_5m_2023-01_2025-08.parquet")).to_pandas()
    candle = candles[candles["ts"] == open_ns // 1_000_000].iloc[0]
    ours = [batch.instrument.price_float(int(column[0])) for column in _prices(bars)]
    assert ours == [candle["open"], candle["high"], candle["low"], candle["close"]]
    assert batch.instrument.qty_float(int(bars.volume_steps[0])) == candle["volume"]


def _prices(bars: BarBatch) -> tuple[Any, ...]:
    return bars.open_ticks, bars.high_ticks, bars.low_ticks, bars.close_ticks
