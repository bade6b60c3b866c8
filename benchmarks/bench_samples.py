"""How long three years of 5-minute samples of four instruments take to label, build, split and gather.

Prices are a random walk with a bar every 5 minutes; the features are all that candles give, at six scales.
`python -m benchmarks.bench_samples NAME` measures one figure; `tour` prints every step.
"""

from collections.abc import Iterator
from decimal import Decimal

import numpy as np

from benchmarks.measure import Figure, figure, main
from bot.core.bars import BarAggregator
from bot.core.features.engine import FeatureEngine
from bot.core.features.schema import FeatureSchema
from bot.domain.instrument import Instrument
from bot.domain.market import NO_FLOW, BarBatch
from bot.runtime.env import Stopwatch, peak_memory_bytes
from models.training.barriers import Costs, triple_barrier
from models.training.labels import ewma_volatility, join_labels, returns_after, volatility_after
from models.training.samples import SampleSet, Source, build_samples
from models.training.splits import combinatorial_purged, walk_forward
from models.training.weights import average_uniqueness

MINUTE_NS = 60 * 10**9
DAY_NS = 1440 * MINUTE_NS
BAR_NS = 5 * MINUTE_NS
YEARS = 3.0
START_NS = 1_640_995_200 * 10**9  # 2022-01-01
LENGTHS = {"5m": 288, "15m": 192, "30m": 168, "1h": 168, "4h": 120, "1d": 60}
SCALES_NS = {"5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")


def training_set() -> Figure:
    """Build the set: bars, features, labels, samples."""
    list(sources(0.1))  # compile
    seconds = []
    for _ in range(3):
        watch = Stopwatch()
        build_samples(sources(YEARS), lengths=LENGTHS)
        seconds.append(watch.seconds())
    return figure("training set: 3 years of 5m, 4 symbols, 6 scales, built", "s", seconds, lambda s: s)


def training_set_memory() -> Figure:
    """Tell the peak memory of a process that builds the set."""
    samples = build_samples(sources(YEARS), lengths=LENGTHS)
    name = f"the same, {len(samples):,} samples: peak memory of the process"
    return figure(name, "MB", [peak_memory_bytes() / 1e6], lambda x: x)


def tour() -> Figure:
    """Print what each step takes."""
    list(sources(0.1))  # compile
    watch = Stopwatch()
    for _ in sources(YEARS):
        pass
    report("bars, features and labels", watch.seconds())

    watch = Stopwatch()
    samples = build_samples(sources(YEARS), lengths=LENGTHS)
    report("the same, and built", watch.seconds())
    size = sum(stream.values.nbytes for stream in samples.streams) / 1e6
    report(f"{len(samples):,} samples of {len(samples.streams)} streams, {size:,.0f} MB; peak memory so far", None)
    print(f"  left out: {dict(samples.excluded)}")

    watch = Stopwatch()
    samples = samples.with_weights(average_uniqueness(samples.known_ns, samples.label_end_ns, samples.instrument))
    report("uniqueness", watch.seconds())
    splits(samples)
    gather(samples)
    return figure("peak memory", "MB", [peak_memory_bytes() / 1e6], lambda x: x)


def splits(samples: SampleSet) -> None:
    """Split by walk-forward and by CPCV."""
    development, _ = samples.timeline().hold_out(from_ns=int(samples.known_ns.max()) - 90 * DAY_NS, embargo_ns=DAY_NS)
    watch = Stopwatch()
    days = (int(development.start_ns.max()) - int(development.start_ns.min())) // DAY_NS
    folds = walk_forward(
        development, train_ns=days // 3 * DAY_NS, validation_ns=30 * DAY_NS, test_ns=30 * DAY_NS, embargo_ns=DAY_NS
    )
    rows = sum(len(fold.test) for fold in folds)
    report(f"walk-forward, {len(folds)} folds checked and made, {rows:,} tested", watch.seconds())
    watch = Stopwatch()
    paths = combinatorial_purged(development, groups=10, tested=2, embargo_ns=DAY_NS)
    rows = sum(len(fold.train) for fold in paths)
    report(f"CPCV, {len(paths)} splits, {rows:,} rows trained on", watch.seconds())


def gather(samples: SampleSet, batches: int = 20, rows: int = 256) -> None:
    """Gather random batches."""
    chosen = np.random.default_rng(0).integers(len(samples), size=(batches, rows))
    samples.gather(chosen[0])
    watch = Stopwatch()
    size = 0
    for batch in chosen:
        size += sum(window.nbytes for window in samples.gather(batch).inputs)
    seconds = watch.seconds()
    report(f"gathering {batches} batches of {rows}, {size / seconds / 1e9:.1f} GB/s", seconds)


def sources(years: float) -> Iterator[Source]:
    """Yield bars, features and labels of one instrument after another."""
    for number, name in enumerate(SYMBOLS):
        yield source(name, years, np.random.default_rng(number))


def source(name: str, years: float, generator: np.random.Generator) -> Source:
    """Return bars, features and labels of one instrument."""
    base = bars(name, int(years * 365.25 * DAY_NS) // BAR_NS, generator)
    aggregator = BarAggregator(
        base.instrument,
        scales_ns=[minutes * MINUTE_NS for minutes in SCALES_NS.values()],
        lateness_ns=0,
        gap_max_ns=DAY_NS,
        source_scale_ns=BAR_NS,
    )
    made = aggregator.on_bars(base).bars
    decisions = made[BAR_NS]
    features = FeatureEngine(FeatureSchema(["ohlcv"], list(SCALES_NS)), base.instrument).on_bars(list(made.values()))
    width = ewma_volatility(decisions, half_life=288, warm_up=288) * np.sqrt(12)
    horizons_ns = [15 * MINUTE_NS, 60 * MINUTE_NS, DAY_NS]
    labels = join_labels(
        [
            returns_after(decisions, decisions, horizons_ns=horizons_ns, hole_max_ns=0),
            volatility_after(decisions, decisions, horizons_ns=[DAY_NS], hole_max_ns=0),
            triple_barrier(
                decisions,
                decisions,
                horizon_ns=60 * MINUTE_NS,
                profit=2 * width,
                stop=width,
                costs=Costs(fee_rate=0.00055, spread_bps=1),
                hole_max_ns=0,
            ).labels(),
        ]
    )
    return Source(features=features, labels=labels)


def bars(name: str, count: int, generator: np.random.Generator) -> BarBatch:
    """Return a random walk of `count` bars."""
    close = np.rint(300_000 * np.exp(np.cumsum(generator.normal(0, 0.0015, count)))).astype(np.int64)
    open_ = np.concatenate([close[:1], close[:-1]])
    reach = generator.integers(0, 300, (2, count))
    zeros = np.zeros(count, dtype=np.int64)
    open_ns = START_NS + BAR_NS * np.arange(count)
    return BarBatch(
        instrument=Instrument(
            name=name,
            base=name[:3],
            quote="USDT",
            tick_size=Decimal("0.1"),
            qty_step=Decimal("0.001"),
            qty_min=Decimal("0.001"),
            qty_max=Decimal(1000),
        ),
        scale_ns=BAR_NS,
        first_row=0,
        open_ns=open_ns,
        known_ns=open_ns + BAR_NS,
        open_ticks=open_,
        high_ticks=np.maximum(open_, close) + reach[0],
        low_ticks=np.minimum(open_, close) - reach[1],
        close_ticks=close,
        volume_steps=zeros + 1000,
        turnover=zeros,
        count=zeros,
        buy_steps=zeros,
        flags=np.full(count, NO_FLOW, dtype=np.uint8),
    )


def report(what: str, seconds: float | None) -> None:
    """Print one line."""
    figure = f"{peak_memory_bytes() / 1e6:10,.0f} MB" if seconds is None else f"{seconds:10.2f} s "
    print(f"{figure}  {what}")


BENCHMARKS = {function.__name__: function for function in (training_set, training_set_memory)}

if __name__ == "__main__":
    main(BENCHMARKS | {"tour": tour}, __doc__)
