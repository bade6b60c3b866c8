"""How fast features are made: the whole set at six scales, over a slab of history and one live bar at a time."""

import gc
from typing import Any

import numpy as np

from benchmarks import market
from benchmarks.measure import RUNS, figure, main
from bot.core.bars import BarAggregator
from bot.core.durations import format_duration
from bot.core.features.engine import FeatureEngine
from bot.core.features.schema import FeatureSchema
from bot.domain.market import BarBatch, FundingBatch
from bot.runtime.env import Stopwatch

LIVE_BARS = 20_000


def bars_and_features() -> dict[str, Any]:
    """Fold one million minute bars from memory into six scales, and make all features of each."""
    history = market.LoadedHistory(market.open_history(market.bars_file(), "bars"))
    seconds = []
    for _ in range(RUNS + 1):
        aggregator, engine = stages()
        watch = Stopwatch()
        for slab in history.slabs(65_536):
            engine.on_bars(list(aggregator.on_bars(slab).bars.values()))
        seconds.append(watch.seconds())
    name = f"1 M minute bars to six scales, {len(schema().names)} features of each"
    return figure(name, "bars/s", seconds[1:], lambda s: 1e6 / s)


def live_p99() -> dict[str, Any]:
    """Tell the 99th percentile of a live minute bar: all scales that it closes, all features."""
    return live("one live bar, p99", lambda seconds, scales: float(np.percentile(seconds, 99)))


def live_midnight() -> dict[str, Any]:
    """Tell the 99th percentile of the bars at which all six scales close at once."""
    return live("one live bar that closes all six scales, p99", lambda s, n: float(np.percentile(s[n == 6], 99)))


def live(name: str, percentile: Any) -> dict[str, Any]:
    """Return a percentile of the time that single bars take."""
    history = market.LoadedHistory(market.open_history(market.bars_file(), "bars"))
    slab = next(iter(history.slabs(LIVE_BARS * RUNS)))
    assert isinstance(slab, BarBatch)
    values = []
    for run in range(RUNS):
        aggregator, engine = stages()
        times, scales = np.empty(LIVE_BARS), np.empty(LIVE_BARS, dtype=np.int64)
        gc.collect()
        gc.freeze()
        for row in range(LIVE_BARS):
            bar = slab.rows(run * LIVE_BARS + row, run * LIVE_BARS + row + 1)
            watch = Stopwatch()
            made = engine.on_bars(list(aggregator.on_bars(bar).bars.values()))
            times[row] = watch.seconds()
            scales[row] = len(made)
        values.append(percentile(times[100:], scales[100:]))
    return figure(name, "us", values, lambda s: s * 1e6)


def schema() -> FeatureSchema:
    """Return the full set at the six scales."""
    return FeatureSchema(["full"], [format_duration(scale_ns) for scale_ns in market.SCALES_NS])


def stages() -> tuple[BarAggregator, FeatureEngine]:
    """Return both stages, with funding every eight hours known."""
    aggregator = BarAggregator(
        market.INSTRUMENT,
        scales_ns=market.SCALES_NS,
        lateness_ns=0,
        gap_max_ns=10**15,
        source_scale_ns=market.MINUTE_NS,
    )
    engine = FeatureEngine(schema(), market.INSTRUMENT)
    times = np.arange(5_000, dtype=np.int64) * 8 * 60 * market.MINUTE_NS + 1_577_836_800 * 10**9
    engine.on_funding(
        FundingBatch(instrument=market.INSTRUMENT, first_row=0, ts_ns=times, rate_e8=np.full(5_000, 10_000))
    )
    return aggregator, engine


BENCHMARKS = {function.__name__: function for function in (bars_and_features, live_p99, live_midnight)}

if __name__ == "__main__":
    main(BENCHMARKS, __doc__)
