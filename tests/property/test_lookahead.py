"""Law 3 for any computation: planted leaks are found and named, clean computations are never accused.

The leaks and their clean counterparts are in `tests/support/leaks.py`. Strategies are in `tests/replay`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.bars import BarAggregator
from bot.core.durations import parse_duration
from bot.core.lookahead import Cause, Compute, Finding, Market, Outputs, Report, choose_cuts, compare, iso, probe
from bot.core.perturb import KINDS, Kind, Table, known_times
from bot.domain.market import BarBatch, ForecastBatch, TradeBatch, column_names
from bot.store.market_history import ParquetHistory
from models.systems.ewma_vol import EwmaVol, EwmaVolParams
from tests.support.batches import INSTRUMENT
from tests.support.examples import examples
from tests.support.leaks import CLEAN, LEAKS
from tests.support.shared_data import shared_file
from tests.support.streams import HOUR_NS, MINUTE_NS, generators, minute_bars, sample_streams, sample_trades

MARKET = sample_streams()
DAY_NS = 24 * HOUR_NS
# vmdpy divides zero by zero on a constant window: the values that come of it are NaN, the same on both sides.
quiet = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")


def tried(compute: Compute, market: Market = MARKET, *, seed: int = 1, **how: Any) -> Report:
    return probe(compute, market, make_generator=generators(seed), **({"cuts": 5, "kinds_per_cut": 3} | how))


# --- planted leaks and clean controls ---------------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_found_and_named(name: str) -> None:
    """Column, row and time are named, and that it is the future that it knows."""
    report = tried(LEAKS[name])
    assert not report.is_clean
    finding = report.findings[0]
    assert finding.column in ("feature", None)  # None: a row came or went
    assert finding.cut_ns in report.cuts_ns
    assert finding.cause is Cause.FUTURE
    assert finding.known_ns <= finding.cut_ns
    words = str(finding)
    assert iso(finding.known_ns) in words
    assert f"row {finding.row}" in words
    assert "it knows what comes" in words


@quiet
@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_computation_is_not_accused(name: str) -> None:
    """The same tools, used rightly, pass; and the harness had the means to see it move."""
    report = tried(CLEAN[name])
    assert report.is_clean, str(report.findings[0])
    assert report.values > 10_000
    calendar = {
        "hour of the day": {"minutes.feature"},
        "time since the last trade": {"trades.feature"},
        "columns of many types": {"minutes.open"},
    }
    assert set(report.unmoved) == calendar.get(name, set())


@quiet
@pytest.mark.soak
@pytest.mark.parametrize("name", [*LEAKS, *CLEAN])
def test_whatever_is_drawn(name: str) -> None:
    """With other moments, other draws and other markets, each leak is found and nobody is accused."""
    for seed in range(10):
        market = sample_streams(sample_trades(seed=100 + seed))
        report = tried((LEAKS | CLEAN)[name], market, seed=seed, cuts=16, kinds_per_cut=None)
        assert report.is_clean is (name in CLEAN), f"seed {seed}: {report.findings[:1]}"


def test_a_leak_that_scaling_cannot_see_and_one_that_shuffling_cannot() -> None:
    """Why there are several kinds: each alone is blind to something."""

    def sign_of_the_end(market: Market) -> Outputs:
        closes = market["bars"].closes
        sign = np.full(len(closes), np.sign(closes[-1] - closes[-2]))
        return {"minutes": Table(known_ns=market["bars"].known_ns, columns={"feature": sign})}

    def greatest_volume(market: Market) -> Outputs:
        volume = market["bars"].volume_steps
        most = np.full(len(volume), volume.max())
        return {"minutes": Table(known_ns=market["bars"].known_ns, columns={"feature": most})}

    cuts = [int(MARKET["bars"].known_ns[len(MARKET["bars"]) // 4])]
    assert tried(sign_of_the_end, cuts=cuts, kinds=[Kind.SCALE_UP], pieces=()).is_clean
    assert not tried(sign_of_the_end, cuts=cuts, kinds=KINDS, kinds_per_cut=None, pieces=()).is_clean
    assert tried(greatest_volume, cuts=cuts, kinds=[Kind.SHUFFLE, Kind.REVERSE], pieces=()).is_clean
    assert not tried(greatest_volume, cuts=cuts, kinds=[Kind.SCALE_UP], pieces=()).is_clean


def test_every_leaking_column_is_named_and_no_other() -> None:
    """One report for many columns: each with its first row, in the order of their times."""

    def many(market: Market) -> Outputs:
        closes = market["bars"].closes
        columns = {
            "next": np.append(closes[1:], closes[-1]),
            "now": closes,
            "mean": np.full(len(closes), closes.mean()),
            "past": np.append(closes[:1], closes[:-1]),
        }
        return {"minutes": Table(known_ns=market["bars"].known_ns, columns=columns)}

    report = tried(many)
    assert {finding.column for finding in report.findings} == {"next", "mean"}
    assert report.findings[0].column == "mean"
    assert report.findings[0].row == 0


def test_what_depends_on_the_cut_alone() -> None:
    """Restarting with each slab knows nothing of the future, and still the result is worth nothing."""

    def restarts(market: Market) -> Outputs:
        parts = [np.cumsum(slab.volume_steps) for slab in market.slabs("bars")]
        return {"minutes": Table(known_ns=market["bars"].known_ns, columns={"total": np.concatenate(parts)})}

    report = tried(restarts)
    assert [finding.cause for finding in report.findings] == [Cause.CUT]
    assert "depends on how the market is cut" in str(report.findings[0])


def test_what_depends_on_chance_is_not_called_look_ahead() -> None:
    """The same market twice, and two results: that is said, and nothing else."""
    throws = count()

    def coin(market: Market) -> Outputs:
        thrown = np.full(len(market["bars"]), next(throws))
        return {"minutes": Table(known_ns=market["bars"].known_ns, columns={"coin": thrown})}

    report = tried(coin)
    assert [finding.cause for finding in report.findings] == [Cause.CHANCE]
    assert "nothing can be said of look-ahead" in str(report.findings[0])


def test_what_does_not_read_the_market_is_said_not_to_move() -> None:
    """A table read from elsewhere may hold the whole future; the harness cannot know, and does not keep silent."""
    elsewhere = MARKET["bars"].closes

    def stored(market: Market) -> Outputs:
        closes = market["bars"].closes
        columns = {"stored": elsewhere[: len(closes)], "now": closes}
        return {"minutes": Table(known_ns=market["bars"].known_ns, columns=columns)}

    report = tried(stored)
    assert report.is_clean
    assert report.unmoved == ("minutes.stored",)


def test_the_same_seed_tries_the_same() -> None:
    """A finding can be found again; another seed tries other moments."""
    leak = LEAKS["centred window"]
    assert tried(leak) == tried(leak)
    assert tried(leak).cuts_ns != tried(leak, seed=2).cuts_ns


def test_progress_is_told() -> None:
    """Once for each trial."""
    told: list[tuple[int, int]] = []
    report = tried(
        CLEAN["shift(1)"], cuts=3, kinds_per_cut=2, on_trial=lambda done, trials: told.append((done, trials))
    )
    assert told == [(n, 8) for n in range(1, 9)]
    assert report.trials == 8


# --- comparing --------------------------------------------------------------------------------------------------------


def table(values: Any, known_ns: Any = None) -> Outputs:
    column = np.asarray(values)
    known = np.arange(len(column)) if known_ns is None else np.asarray(known_ns)
    return {"t": Table(known_ns=known, columns={"x": column})}


@given(
    values=st.lists(st.floats(), min_size=1, max_size=30),
    row=st.integers(0, 29),
    until=st.integers(-1, 30),
    other=st.floats(),
)
@settings(max_examples=examples(150), deadline=None)
def test_one_changed_value_is_found_where_it_is_known(values: list[float], row: int, until: int, other: float) -> None:
    """Bit for bit, -0.0 is not 0.0, and any NaN is any other; a row known later may be what it wants."""
    row %= len(values)
    changed = [*values[:row], other, *values[row + 1 :]]
    finding = compare(table(values), table(changed), until)
    is_same = np.float64(values[row]).tobytes() == np.float64(other).tobytes() or (
        values[row] != values[row] and other != other
    )
    if is_same or row > until:
        assert finding is None
    else:
        assert finding is not None
        assert (finding.table, finding.column, finding.row, finding.known_ns) == ("t", "x", row, row)
        assert (finding.before, finding.after) == (repr(values[row]), repr(other))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (table([1, 2, 3]), table([1, 2]), ("t", None, 2, "x 3", None)),
        (table([1, 2]), table([1, 2, 3]), ("t", None, 2, None, "x 3")),
        (table([1, 2, 3]), table([1, 3], [0, 2]), ("t", None, 1, "x 2", None)),
        (table([1, 3], [0, 2]), table([1, 2, 3]), ("t", None, 1, None, "x 2")),
        (table([1, 2]), {}, ("t", None, 0, "x 1", None)),
        ({}, table([1, 2]), ("t", None, 0, None, "x 1")),
        (table(["a", "b"]), table(["a", "c"]), ("t", "x", 1, "'b'", "'c'")),
        (table([[1, 2], [3, 4]]), table([[1, 2], [3, 5]]), ("t", "x", 1, "4", "5")),
        (table([True, True]), table([True, False]), ("t", "x", 1, "True", "False")),
        (
            table(np.array([0, 1], "datetime64[ns]")),
            table(np.array([0, 2], "datetime64[ns]")),
            ("t", "x", 1, "1970-01-01T00:00:00.000000001", "1970-01-01T00:00:00.000000002"),
        ),
        (table([1, 2]), table([[1], [2]]), ("t", "x", 0, "a shape of (2,)", "a shape of (2, 1)")),
    ],
)
def test_differences_of_every_kind(before: Outputs, after: Outputs, expected: tuple[Any, ...]) -> None:
    """A row that has gone or come, a word, a truth, a time, a part of a value, another shape."""
    finding = compare(before, after, 10)
    assert finding is not None
    assert (finding.table, finding.column, finding.row, finding.before, finding.after) == expected
    if before and before["t"].columns["x"].ndim == 2:
        assert finding.element == "[1]"


@pytest.mark.parametrize(
    "values",
    [
        [1.5, float("nan"), -0.0],
        np.array([1.5, np.nan], np.float32),
        np.array([1 + 2j, np.nan]),
        np.array(["NaT", 5], "datetime64[ns]"),
        np.array(["a", None, float("nan")], dtype=object),
        [[1.0, np.nan], [2.0, 3.0]],
        np.zeros((0, 3)),
    ],
)
def test_what_is_the_same_is_the_same(values: Any) -> None:
    """Of every type, with what is not a number in it."""
    assert compare(table(values), table(np.array(values, copy=True)), 10) is None


def test_a_column_that_turns_into_floats_is_no_finding() -> None:
    """As whole columns of pandas do because a NaN comes later; a value that changes is one."""
    assert compare(table([1, 2]), table([1.0, 2.0]), 10) is None
    finding = compare(table([1, 2]), table([1.0, 2.5]), 10)
    assert finding is not None
    assert (finding.before, finding.after) == ("2", "2.5")


def test_a_lost_column_is_a_finding() -> None:
    """A table is its columns."""
    before = {"t": Table(known_ns=np.arange(2), columns={"x": np.arange(2), "y": np.arange(2)})}
    finding = compare(before, table([0, 1]), 10)
    assert finding is not None
    assert (finding.column, finding.row, finding.before) == (None, 0, "x 0, y 0")


@pytest.mark.parametrize(
    ("ahead_ns", "words"),
    [
        (0, "it knows what comes after it"),
        (999_000_000, "at least 999ms after it"),
        (61 * 10**9, "at least 1m 1s after it"),
        (HOUR_NS, "at least 1h after it"),
        (25 * HOUR_NS + 1, "at least 1d 1h after it"),
    ],
)
def test_the_reach_is_told(ahead_ns: int, words: str) -> None:
    """How far ahead a value looks, at the least: from when it is known to what was changed."""
    finding = Finding(table="t", column="x", row=3, known_ns=0, before="1", after="2", kind=Kind.NOISE, cut_ns=ahead_ns)
    assert str(finding).startswith("t: column x, row 3, known at 1970-01-01T00:00:00Z: 1 became 2 when only what came")
    assert "(noise)" in str(finding)
    assert str(finding).endswith(words)


def test_times_are_written_with_the_digits_they_need() -> None:
    assert iso(1_704_067_200_000_000_000) == "2024-01-01T00:00:00Z"
    assert iso(1_704_067_200_250_000_000) == "2024-01-01T00:00:00.25Z"
    assert iso(1_704_067_200_000_000_001) == "2024-01-01T00:00:00.000000001Z"
    assert iso(2**63 - 1) == "never"


def test_the_example_of_the_document_finds_its_leak(capsys: pytest.CaptureFixture[str]) -> None:
    """The code that `docs/lookahead.md` shows, run as it stands."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "lookahead.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "lookahead.md", "exec"), {"bars": MARKET["bars"], "funding": MARKET["funding"]})
    assert capsys.readouterr().out.startswith("1m: column zscore, row 0, known at ")


def test_every_count_of_the_document_is_right() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "lookahead.md").read_text(encoding="utf-8")
    assert f"{len(LEAKS)} planted leaks" in text
    assert f"{len(CLEAN)} clean counterparts" in text
    assert {f"`{kind}`" for kind in KINDS} <= set(re.findall(r"`\w+`", text))


# --- moments ----------------------------------------------------------------------------------------------------------


def test_moments_lie_where_a_look_ahead_shows() -> None:
    """Past before each and future after; borders of days and hours, settlements and the last rows are among them."""
    own = np.unique(np.concatenate([known_times(rows) for rows in MARKET.streams.values()]))
    known = minute_bars(MARKET["trades"]).known_ns
    chosen: set[int] = set()
    for seed in range(20):
        cuts_ns = choose_cuts(MARKET, 12, generators(seed)("cuts"), times=[known])
        assert len(cuts_ns) == 12
        assert list(cuts_ns) == sorted(set(cuts_ns))
        assert own[0] < cuts_ns[0]
        assert cuts_ns[-1] < own[-1]
        chosen |= set(cuts_ns)
    assert {MARKET["trades"].ts_ns[0] // DAY_NS * DAY_NS + DAY_NS + late_ns for late_ns in (-1, 0, 1)} <= chosen
    settled = set(MARKET["funding"].ts_ns.tolist())
    assert len(chosen & settled) > 2
    assert chosen & set(known.tolist())
    assert chosen & set(own[-4:].tolist())


def test_a_short_market_has_fewer_moments() -> None:
    """As many as there are, without end."""
    market = Market.of(bars=MARKET["bars"].rows(0, 3))
    cuts_ns = choose_cuts(market, 12, generators(1)("cuts"))
    assert 0 < len(cuts_ns) <= 12
    assert tried(CLEAN["close known a second late"], market).is_clean


def test_a_market_that_ends_in_a_hole_ends_where_it_began() -> None:
    """Flat bars of a hole are made when the bar after it comes: without that bar, there are none to compare."""
    bars = MARKET["bars"]
    keep = np.ones(len(bars), dtype=np.bool_)
    keep[100:110] = False
    holey = replace(bars, **{name: getattr(bars, name)[keep] for name in column_names(BarBatch)})
    market = Market.of(bars=holey)
    assert market.before_holes(int(bars.known_ns[99])) == bars.known_ns[99]
    assert market.before_holes(int(bars.known_ns[104]) + 7) == bars.known_ns[99]
    assert market.before_holes(int(bars.known_ns[110])) == bars.known_ns[110]
    inside = [int(bars.known_ns[row]) for row in (99, 100, 104, 109, 110)]
    assert tried(pipeline(MINUTE_NS), market, cuts=inside, kinds=[Kind.TRUNCATE]).is_clean


def test_a_market_that_ends_earlier_is_known_no_further() -> None:
    """Else what closes bars by the watermark would find a hole up to the old end."""
    after_ns = int(MARKET["bars"].known_ns[500])
    for kind in KINDS:
        changed = MARKET.changed(after_ns, kind, generators(1))
        last_ns = max(int(known_times(rows)[-1]) for rows in changed.streams.values() if len(rows))
        match kind:
            case Kind.TRUNCATE:
                assert changed.watermark_ns == after_ns
            case Kind.RETIME:
                assert after_ns < changed.watermark_ns == last_ns < MARKET.watermark_ns
            case _:
                assert changed.watermark_ns == MARKET.watermark_ns


# --- the pipeline's own stages ----------------------------------------------------------------------------------------

SCALES_NS = tuple(parse_duration(text) for text in ("1m", "5m", "15m", "1h", "4h", "1d"))
LATENESS_NS = 250_000_000


def pipeline(source_scale_ns: int | None, stream: str = "bars", scales_ns: tuple[int, ...] = SCALES_NS) -> Compute:
    """Return what makes bars of all scales, and forecasts of them, slab by slab."""

    def compute(market: Market) -> Outputs:
        aggregator = BarAggregator(
            market[stream].instrument,
            scales_ns=scales_ns,
            lateness_ns=LATENESS_NS,
            gap_max_ns=2**61,
            source_scale_ns=source_scale_ns,
        )
        decision_scale_ns = sorted(scales_ns)[1]
        predictor = EwmaVol(
            EwmaVolParams(decision_scale_ns=decision_scale_ns, scales_ns=scales_ns, horizons_ns=(HOUR_NS, DAY_NS))
        )
        made: dict[str, list[Any]] = {}
        fold: Callable[[Any], Any] = aggregator.on_bars if source_scale_ns else aggregator.on_trades
        slabs = [fold(rows) for rows in market.slabs(stream)]
        for slab in [*slabs, aggregator.on_watermark(market.watermark_ns)]:
            for scale_ns, bars in slab.bars.items():
                made.setdefault(f"bars of {scale_ns // 10**9} s", []).append(bars)
            forecasts = predictor.predict(slab.bars)
            if forecasts is not None:
                made.setdefault("forecasts", []).append(forecasts)
        return {name: as_table(type(parts[0]).join(parts)) for name, parts in made.items()}

    return compute


def as_table(batch: BarBatch | ForecastBatch) -> Table:
    columns: Mapping[str, Any] = {
        name: getattr(batch, name) for name in column_names(type(batch)) if name != "known_ns"
    }
    return Table(known_ns=batch.known_ns, columns=columns)


def assert_clean(report: Report) -> None:
    """Nothing found, and what was looked at did move."""
    assert report.is_clean, str(report.findings[0])
    moving = (".close_ticks", ".volume_steps", ".quantiles")
    assert not [name for name in report.unmoved if name.endswith(moving) and "86400" not in name]
    assert report.values > 100_000


def test_bars_and_forecasts_of_trades_know_nothing_of_the_future() -> None:
    """All scales, every column, and the forecasts of all of them."""
    market = Market.of(trades=sample_trades(days=4))
    assert_clean(tried(pipeline(None, "trades"), market, cuts=12, pieces=(3, 400)))


def test_bars_and_forecasts_of_bars_know_nothing_of_the_future() -> None:
    """The same of a source of bars."""
    assert_clean(tried(pipeline(MINUTE_NS), Market.of(bars=MARKET["bars"]), cuts=12, pieces=(3, 400)))


def history(name: str, kind: Any, rows: int, **how: Any) -> Any:
    """Return the first rows of a file of the shared data."""
    scale_ns = MINUTE_NS if kind == "bars" else None
    file = ParquetHistory(
        INSTRUMENT, shared_file(f"data/{name}"), kind=kind, scale_ns=scale_ns, off_grid="round", **how
    )
    return next(iter(file.slabs(rows)))


@pytest.mark.parametrize(
    ("name", "from_ns"),
    [
        ("btcusdt_bybit_linear_1m_2025-05_2025-06.parquet", None),
        ("xrpusd_bitfinex_spot_1m_2018.parquet", 1_521_504_000_000_000_000),  # 2018-03-20: holes, an outage
    ],
)
def test_real_bars(name: str, from_ns: int | None) -> None:
    """Minutes of a perpetual without a hole, and of a spot market with many."""
    bars = history(name, "bars", 6_000, from_ns=from_ns)
    assert_clean(tried(pipeline(MINUTE_NS), Market.of(bars=bars), cuts=12, pieces=(3, 400)))


def test_real_trades() -> None:
    """A day of a spot market, trade by trade."""
    trades = history("trades_binance_spot_ltcusdt_2025-06-21.parquet", "trades", 30_000)
    assert isinstance(trades, TradeBatch)
    assert len(trades) == 30_000
    scales_ns = tuple(parse_duration(text) for text in ("1s", "10s", "1m", "5m", "1h"))
    assert_clean(tried(pipeline(None, "trades", scales_ns), Market.of(trades=trades), cuts=8, pieces=(3, 400)))


@pytest.mark.parametrize("name", ["left label joined as of its label", "shift(-1)", "wavelet over the whole series"])
def test_leaks_are_found_on_real_bars(name: str) -> None:
    bars = history("btcusdt_bybit_linear_1m_2025-05_2025-06.parquet", "bars", 3_000)
    assert tried(LEAKS[name], Market.of(bars=bars)).findings[0].column == "feature"


def test_an_early_aggregator_is_found() -> None:
    """The pipeline with one planted slip: bars that are known before they have closed."""

    def early(market: Market) -> Outputs:
        made = pipeline(MINUTE_NS)(market)
        return {name: Table(known_ns=t.known_ns - MINUTE_NS, columns=t.columns) for name, t in made.items()}

    report = tried(early, Market.of(bars=MARKET["bars"]), cuts=16)
    assert {finding.table for finding in report.findings} >= {"bars of 60 s", "bars of 3600 s", "forecasts"}
    assert all(finding.cause is Cause.FUTURE for finding in report.findings)
