"""Every feature is what its docstring says: the value, the unit, the warm-up, the inputs, the bounds, the memory."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bot.core.bars import BarAggregator
from bot.core.durations import format_duration
from bot.core.features.catalogue import CATALOGUE
from bot.core.features.engine import FeatureEngine
from bot.core.features.expression import Node, ema_warmup
from bot.core.features.inputs import INPUTS
from bot.core.features.program import FeatureProgram
from bot.core.features.schema import FeatureSchema, FeatureSpec
from bot.domain.market import NO_FLOW, BarBatch, FeatureBatch
from tests.support.batches import join_bars
from tests.support.feature_inputs_reference import frame_of
from tests.support.feature_markets import (
    HOUR,
    MINUTE,
    SECOND,
    START,
    Joined,
    compute,
    instrument,
    made_bars,
    made_book,
    made_funding,
    real_bars,
    real_funding,
    row_at,
    without,
)
from tests.support.feature_variants import ALL, SLOW_CALLS, SPECS
from tests.support.features_reference import REFERENCE, reference
from tests.support.real_trades import REAL

F64 = NDArray[np.float64]


# --- what a docstring says --------------------------------------------------------------------------------------------

_STATED = re.compile(r"Unit: (?P<unit>.+?)\. Warm-up: (?P<warmup>.+?)\. From klines: (?P<from_klines>yes|no)\b")


def stated(name: str) -> dict[str, str]:
    """Return what a feature's docstring states: unit, warm-up, from_klines."""
    text = " ".join((CATALOGUE[name].build.__doc__ or "").split())
    match = _STATED.search(text)
    assert match is not None, f"{name} states no 'Unit: ... Warm-up: ... From klines: yes or no'"
    return match.groupdict()


def stated_bounds(name: str) -> tuple[float, float] | None:
    match = re.search(r"within (-?[0-9.]+) and (-?[0-9.]+)", stated(name)["unit"])
    return (float(match[1]), float(match[2])) if match else None


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_docstring_and_its_entry_say_the_same(name: str) -> None:
    """Unit, source and where it comes from are stated, and are the entry's own."""
    entry = CATALOGUE[name]
    assert (entry.build.__doc__ or "").startswith("Return ")
    assert re.split(r", | per ", stated(name)["unit"])[0] == entry.unit
    assert len(entry.source) > 3
    assert all(isinstance(default, (int, float, str)) for default in entry.defaults.values())


@pytest.mark.parametrize("name", SPECS)
def test_the_stated_warmup_is_the_formulas(name: str) -> None:
    """As a Python expression in the feature's parameters."""
    spec = SPECS[name]
    says = stated(spec.formula_id)["warmup"]
    assert eval(says, {"__builtins__": {}, "ema": ema_warmup, "max": max}, dict(spec.params)) == spec.warmup


@pytest.mark.parametrize("name", SPECS)
def test_what_klines_do_not_tell_says_so(name: str) -> None:
    spec = SPECS[name]
    assert spec.from_klines == (stated(spec.formula_id)["from_klines"] == "yes")


def test_every_feature_has_a_reference_and_is_tried() -> None:
    assert set(REFERENCE) == set(CATALOGUE) == {spec.formula_id for spec in SPECS.values()}


def test_the_unit_of_a_column_of_the_book_is_stated_in_the_schema() -> None:
    for spec in SPECS.values():
        if spec.formula_id == "book":
            assert spec.unit == INPUTS[str(spec.params["which"])].unit


def known_inputs(rows: int, *, seed: int = 3) -> dict[str, F64]:
    """Return every input, known from the first row on and never extreme."""
    rng = np.random.default_rng(seed)
    inputs = {name: np.exp(rng.normal(0, 0.3, rows)) for name in INPUTS}
    for name in ("open", "high", "low", "close", "mark_close", "ref_close"):
        inputs[name] = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, rows)))
    return inputs


def evaluate(formulas: Mapping[str, Node], inputs: Mapping[str, F64]) -> dict[str, F64]:
    values = FeatureProgram(list(formulas.values()), list(inputs)).update(np.array(list(inputs.values())))
    return dict(zip(formulas, values.T, strict=True))


def formulas_of(calls: tuple[str, ...]) -> dict[str, Node]:
    schema = FeatureSchema(calls, ["1m"])
    return dict(zip(schema.names, schema.formulas, strict=True))


def test_the_first_value_comes_when_the_warmup_says() -> None:
    """Where all inputs are known from row 0: NaN before, and from then on never again."""
    longest = max(spec.warmup for spec in SPECS.values())
    values = evaluate(formulas_of(ALL), known_inputs(longest + 3))
    for call in SLOW_CALLS:
        values |= evaluate(formulas_of((call,)), known_inputs(FeatureSchema([call], ["1m"]).warmup + 3))
    for name, column in values.items():
        known = ~np.isnan(column)
        assert int(known.argmax()) == SPECS[name].warmup, name
        assert known[SPECS[name].warmup :].all(), name


# --- against the reference --------------------------------------------------------------------------------------------

# A feature agrees with the reference to this part of its value, or to its floor: a rounding of what the value is the
# difference of, of numbers near 1 if not listed.
RELATIVE = 1e-9
FLOOR = 1e-14
FLOORS = {
    "wavelet_detail": 1e-11,  # a log price of about 10 times taps that are right to 13 digits and cancel
    "wavelet_trend": 1e-11,
    "wavelet_component": 1e-12,  # a log price of about 10
    "vmd_mode": 1e-12,
    "mark_basis": 1e-10,  # in bps
    "book": 1e-9,  # distances from the mid and changes of what rests: differences of numbers of 1e4 and more
    "reference_beta": 1e-12,  # the mean of 60 returns is taken off each, and may be all of it
    "reference_correlation": 1e-12,
    "reference_spread": 1e-10,  # a log ratio less its mean, in deviations of as little as 1e-5
}


def complaints(specs: tuple[FeatureSpec, ...], values: F64, frame: Mapping[str, Any]) -> list[str]:
    """Return where values differ from the reference: the column, how many rows, the first of them."""
    found = []
    for spec, ours in zip(specs, values.T, strict=True):
        wanted = reference(spec.formula_id, spec.params, frame)
        with np.errstate(invalid="ignore"):
            is_close = np.abs(ours - wanted) <= RELATIVE * np.abs(wanted) + FLOORS.get(spec.formula_id, FLOOR)
        rows = np.flatnonzero(~is_close & ~(np.isnan(ours) & np.isnan(wanted)))
        if len(rows):
            row = int(rows[0])
            found.append(f"{spec.name}: {len(rows)} rows, first {row}: {ours[row]!r}, to be {wanted[row]!r}")
    return found


def compare(
    bars: BarBatch,
    joined: Joined,
    *,
    finest: BarBatch | None = None,
    calls: tuple[str, ...] = ALL,
    funding_hours: int = 8,
) -> tuple[FeatureSchema, F64]:
    """Fail unless engine and reference agree on every feature of these bars; return the schema and the values."""
    scale = format_duration(bars.scale_ns)
    finest_ns = None if finest is None else finest.scale_ns
    schema = FeatureSchema(calls, [scale], funding_interval_ns=funding_hours * HOUR, finest_ns=finest_ns)
    engine = FeatureEngine(schema, bars.instrument)
    together = [bars] if finest is None else [finest, bars]
    values = compute(engine, [together], joined)[scale].values
    frame = frame_of(
        bars,
        funding=joined.funding,
        marks=joined.marks,
        reference=next(iter(joined.references), None),
        finest=together[0],
        book=joined.book,
        funding_hours=funding_hours,
    )
    found = complaints(schema.specs, values, frame)
    assert not found, "\n".join(found)
    return schema, values


def made_market(seed: int, rows: int, *, scale_ns: int = MINUTE) -> tuple[BarBatch, Joined]:
    """Return bars and all that can be joined to them, with holes and delays of their own."""
    bars = made_bars(seed, rows, scale_ns=scale_ns, lateness_ns=SECOND)
    other = made_bars(seed + 1, rows, scale_ns=scale_ns, lateness_ns=SECOND, of=instrument("YUSDT"))
    return bars, Joined(
        funding=made_funding(seed, bars, every_ns=4 * HOUR),
        marks=made_bars(seed + 2, rows // 7, scale_ns=7 * scale_ns, lateness_ns=2 * SECOND),
        references=[without(other, 0.02, seed)],
        book=made_book(seed, bars, 4 * rows, late_ns=20 * SECOND),
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_every_feature_equals_the_reference_on_made_up_bars(seed: int) -> None:
    """With jumps, flat bars, quiet stretches, holes and a stretch without flow; every feature is known somewhere."""
    bars, joined = made_market(seed, 1_000)
    schema, values = compare(bars, joined, funding_hours=4)
    known = dict(zip(schema.names, (~np.isnan(values)).sum(axis=0).tolist(), strict=True))
    assert min(known.values()) > 100, known


def test_every_feature_equals_the_reference_on_bars_made_of_smaller_ones() -> None:
    """Realised volatility reads those; the reference instrument's bars are as coarse."""
    smallest, joined = made_market(5, 1_600)
    folds = []
    for each in (smallest, made_bars(6, 1_600, lateness_ns=SECOND, of=instrument("YUSDT"))):
        aggregator = BarAggregator(
            each.instrument, scales_ns=[5 * MINUTE], lateness_ns=SECOND, gap_max_ns=0, source_scale_ns=MINUTE
        )
        folds.append(aggregator.on_bars(each).bars[5 * MINUTE])
    compare(folds[0], replace(joined, references=[folds[1]]), finest=smallest, funding_hours=4)


@pytest.mark.parametrize("seed", [3, 4])
def test_every_decomposition_equals_the_reference(seed: int) -> None:
    """Bar by bar on trailing windows, among them flat ones and ones with a jump."""
    bars = made_bars(seed, 150)
    flat = replace(bars, close_ticks=np.where(np.arange(150) // 40 == 2, 300_017, bars.close_ticks))
    calls = tuple(call for call in SLOW_CALLS if not call.startswith("vmd"))
    compare(flat, Joined(), calls=calls)
    compare(bars.rows(0, 50), Joined(), calls=tuple(call for call in SLOW_CALLS if call.startswith("vmd")))


def test_the_slowest_mode_of_a_flat_window_is_the_price() -> None:
    """Less the log price it is 0, as it nearly is in a window that moves by a tick; the others are 0."""
    bars = made_bars(1, 34)
    for ticks in (160_000, 133_000, 300_017):
        flat = replace(bars, close_ticks=np.full(34, ticks, dtype=np.int64))
        compare(flat, Joined(), calls=("vmd_mode(0, 4, 32)", "vmd_mode(3, 4, 32)"))


def test_a_ratio_of_prices_that_has_not_moved_is_no_deviation_away() -> None:
    """As when both markets stand still; 0 says the docstring."""
    for seed in range(20):
        close, ref_close = np.random.default_rng(seed).uniform(1, 1e5, (2, 1)) * np.ones(70)
        values = evaluate(formulas_of(("reference_spread",)), {"close": close, "ref_close": ref_close})
        assert values["reference_spread_60"][-1] == 0.0


def test_trade_size_is_the_log_of_the_bars_mean_trade_over_the_usual_one() -> None:
    """As its docstring says, and 0 where nothing traded."""
    values = evaluate(
        formulas_of(("trade_size(2)",)),
        {"volume": np.array([4.0, 4.0, 0.0, 0.0, 9.0]), "count": np.array([2.0, 2.0, 0.0, 0.0, 3.0])},
    )["trade_size_2"]
    np.testing.assert_allclose(values, [np.nan, 0.0, 0.0, 0.0, 0.0], atol=1e-15)


def test_empty_share_is_of_bars_in_which_nothing_traded() -> None:
    """Candles of a halted market carry volume 0 and no mark, as BNBUSDT's on Bybit and all of Binance's halts."""
    bars = made_bars(1, 30, has_flow=False)
    silent = replace(bars, volume_steps=np.where(np.arange(30) >= 20, 0, 5), flags=np.full(30, NO_FLOW, dtype=np.uint8))
    compare(silent, Joined(), calls=("empty_share(4)",))


# --- on real bars -----------------------------------------------------------------------------------------------------

BYBIT_FUNDING, BINANCE_FUNDING = "funding_bybit_linear_8h_2021-01_2025-08", "funding_binance_usdm_8h_2020-01_2025-08"


def candles(file: str, other: str, *, scale_ns: int, from_ns: int, rows: int = 1_200) -> tuple[BarBatch, Joined]:
    """Return candles from a time on, and another instrument's beside them, each with its holes filled."""
    parts = []
    for name in (file, other):
        told = real_bars(name, first=row_at(name, from_ns), rows=rows, scale_ns=scale_ns)
        aggregator = BarAggregator(
            told.instrument, scales_ns=[scale_ns], lateness_ns=0, gap_max_ns=6 * HOUR, source_scale_ns=scale_ns
        )
        parts.append(aggregator.on_bars(told).bars[scale_ns])
    return parts[0], Joined(references=[parts[1]])


def bybit_1m() -> tuple[BarBatch, Joined]:
    """BTCUSDT with its funding, beside ETHUSDT."""
    files = "btcusdt_bybit_linear_1m_2025-05_2025-06", "ethusdt_bybit_linear_1m_2025-05_2025-06"
    bars, joined = candles(*files, scale_ns=MINUTE, from_ns=1_748_560_000 * SECOND)
    return bars, replace(joined, funding=real_funding(BYBIT_FUNDING, "BTCUSDT", bars.instrument))


def bybit_quiet_1m() -> tuple[BarBatch, Joined]:
    """BNBUSDT from its first minute without a trade on, beside SOLUSDT."""
    file = "bnbusdt_bybit_linear_1m_2025-05_2025-06"
    told = real_bars(file, rows=44_493, scale_ns=MINUTE)
    first = int(told.open_ns[np.flatnonzero(told.volume_steps == 0)[0]])
    return candles(
        file, "solusdt_bybit_linear_1m_2025-05_2025-06", scale_ns=MINUTE, from_ns=first - 60 * MINUTE, rows=900
    )


def bitfinex_crash_1m() -> tuple[BarBatch, Joined]:
    """XRPUSD through 2018-04-25 10:30, when it lost 40 % within the minute, with its missing minutes."""
    files = "xrpusd_bitfinex_spot_1m_2018", "ltcusd_bitfinex_spot_1m_2018"
    return candles(*files, scale_ns=MINUTE, from_ns=1_524_639_600 * SECOND)


def bitfinex_outage_1m() -> tuple[BarBatch, Joined]:
    """LTCUSD through the three hours of 2018-03-21 in which the venue was down."""
    files = "ltcusd_bitfinex_spot_1m_2018", "btcusd_bitfinex_spot_1m_2018"
    return candles(*files, scale_ns=MINUTE, from_ns=1_521_600_000 * SECOND, rows=700)


def binance_5m() -> tuple[BarBatch, Joined]:
    """BTCUSDT with its funding and mark price over the turn of February and March of a leap year, beside SOLUSDT."""
    files = "btcusdt_binance_usdm_5m_2023-01_2025-08", "solusdt_binance_usdm_5m_2023-11_2025-08"
    bars, joined = candles(*files, scale_ns=5 * MINUTE, from_ns=START - 12 * HOUR)
    marks = real_bars("btcusdt_binance_usdm_mark_1h_2024-01_2025-08", rows=2_000, scale_ns=HOUR)
    funding = real_funding(BINANCE_FUNDING, "BTCUSDT", bars.instrument)
    return bars, replace(joined, funding=funding, marks=marks)


def binance_halt_5m() -> tuple[BarBatch, Joined]:
    """SOLUSDT through its first halt, beside BTCUSDT."""
    file = "solusdt_binance_usdm_5m_2023-11_2025-08"
    told = real_bars(file, rows=192_960, scale_ns=5 * MINUTE)
    first = int(told.open_ns[np.flatnonzero(told.volume_steps == 0)[0]])
    other = "btcusdt_binance_usdm_5m_2023-01_2025-08"
    return candles(file, other, scale_ns=5 * MINUTE, from_ns=first - 60 * 5 * MINUTE, rows=600)


@pytest.mark.parametrize(
    "market", [bybit_1m, bybit_quiet_1m, bitfinex_crash_1m, bitfinex_outage_1m, binance_5m, binance_halt_5m]
)
def test_every_feature_equals_the_reference_on_real_candles(market: Callable[[], tuple[BarBatch, Joined]]) -> None:
    """Neither turnover nor takers are told: what needs them is NaN."""
    bars, joined = market()
    schema, values = compare(bars, joined)
    known = dict(zip(schema.names, (~np.isnan(values)).sum(axis=0).tolist(), strict=True))
    assert known["reference_spread_60"] > 300
    assert not known["vwap_9"] or bars.flags.max() > NO_FLOW


@pytest.mark.parametrize("name", ["ltc_spot", "ape_perpetual"])
def test_every_feature_equals_the_reference_on_bars_of_real_trades(name: str) -> None:
    """These tell the turnover, how many trades, and who took."""
    trades = REAL[name]()
    aggregator = BarAggregator(trades.instrument, scales_ns=[10 * SECOND, MINUTE], lateness_ns=SECOND, gap_max_ns=HOUR)
    bars = join_bars([aggregator.on_trades(trades)])
    schema, values = compare(bars[MINUTE], Joined(), finest=bars[10 * SECOND])
    known = dict(zip(schema.names, (~np.isnan(values)).sum(axis=0).tolist(), strict=True))
    assert min(known[each] for each in ("vwap_9", "trade_intensity_20", "orderflow_imbalance_1")) > 500


# --- bounds -----------------------------------------------------------------------------------------------------------


@cache
def extremes() -> tuple[tuple[tuple[str, ...], F64], ...]:
    """Return all features of markets that press against the bounds, with their columns' names."""
    bars, joined = made_market(8, 900)
    twin = replace(bars, instrument=instrument("YUSDT"))
    mirror = replace(twin, close_ticks=10**9 // bars.close_ticks)
    bought = replace(bars, buy_steps=bars.volume_steps)
    made = []
    for each, other in ((bars, twin), (bars, mirror), (bought, twin), (replace(bars, buy_steps=bars.count * 0), twin)):
        schema = FeatureSchema(ALL, ["1m"])
        engine = FeatureEngine(schema, each.instrument)
        values = compute(engine, [[each]], replace(joined, references=[other]))["1m"].values
        made.append((schema.names, values))
    return tuple(made)


def bounded() -> list[Any]:
    return [name for name in CATALOGUE if stated_bounds(name)]


@pytest.mark.parametrize("name", bounded())
def test_a_bounded_feature_stays_within_its_bounds(name: str) -> None:
    """To the bit, also against its own twin, its mirror image, and buyers alone; and it comes near both ends."""
    bounds = stated_bounds(name)
    assert bounds is not None
    low, high = bounds
    for names, values in extremes():
        for column, values_N in zip(names, values.T, strict=True):
            if SPECS[column].formula_id == name:
                known = values_N[~np.isnan(values_N)]
                assert len(known) > 100
                assert low <= known.min()
                assert known.max() <= high, known.max() - high


def test_waves_of_the_calendar_stay_within_one() -> None:
    for name in CATALOGUE:
        if "wave" in CATALOGUE[name].defaults:
            for names, values in extremes():
                of = [column for column, each in enumerate(names) if SPECS[each].formula_id == name]
                assert np.abs(values[:, of]).max() <= 1.0


# --- memory -----------------------------------------------------------------------------------------------------------


def features_from(start: int, bars: BarBatch, joined: Joined, calls: tuple[str, ...]) -> FeatureBatch:
    """Return the features of bars by an engine that was started at a later one."""
    engine = FeatureEngine(FeatureSchema(calls, ["1m"]), bars.instrument)
    return compute(engine, [[bars.rows(start, len(bars))]], joined)["1m"]


@pytest.mark.parametrize("start", [1, 37, 600])
def test_what_is_not_recursive_forgets_where_the_stream_began(start: int) -> None:
    """Bit for bit, from its warm-up on: a live start needs that many bars and no more."""
    bars, joined = made_market(9, 1_300)
    calls = tuple(call for call in ALL if not FeatureSchema([call], ["1m"]).specs[0].is_recursive)
    whole, late = features_from(0, bars, joined, calls), features_from(start, bars, joined, calls)
    for column, name in enumerate(FeatureSchema(calls, ["1m"]).names):
        spec = SPECS[name]
        # The first bar of all has no smaller bar before it, and its realised variance is not known.
        warm = start + spec.warmup + (1 if "realised_variance" in spec.inputs else 0)
        want, have = whole.values[warm:, column], late.values[warm - start :, column]
        assert want.tobytes() == have.tobytes(), name


def test_what_is_recursive_forgets_it_a_hundredfold_with_every_warmup() -> None:
    """After four warm-ups the start weighs 1e-8; on calm data that is less than 1e-5 of a feature's own range."""
    calls = tuple(call for call in ALL if FeatureSchema([call], ["1m"]).specs[0].is_recursive)
    assert len(calls) > 10
    rows, start = 1_500, 200
    inputs = known_inputs(rows)
    whole = evaluate(formulas_of(calls), inputs)
    late = evaluate(formulas_of(calls), {name: column[start:] for name, column in inputs.items()})
    for name, column in whole.items():
        warm = 4 * SPECS[name].warmup
        assert start + warm + 100 < rows, name
        away = np.abs(late[name][warm:] - column[start + warm :]).max()
        assert away <= 1e-5 * np.ptp(column[start:]), name


def test_an_average_is_hidden_until_its_start_weighs_less_than_a_hundredth() -> None:
    """By the sum of the weights that values before the first would have had, over many rates."""
    for span in range(1, 400):
        alpha = 2.0 / (span + 1.0)
        values = ema_warmup(alpha) + 1  # so many make the first average shown
        assert (1.0 - alpha) ** values <= 0.01 * (1 + 1e-12)
        assert values == 1 or (1.0 - alpha) ** (values - 1) > 0.01 * (1 - 1e-12)
