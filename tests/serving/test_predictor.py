"""An artefact as a predictor: the same in any cut, nothing from the future, silent where something is missing."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.bars import BarAggregator
from bot.core.calibration import CalibrationParams
from bot.domain.market import BarBatch, ForecastBatch, MarketSlab, TradeBatch, is_same
from models.serving.engine import Engine, open_engine
from models.serving.predictor import ArtifactPredictor
from tests.serving.conftest import Served
from tests.support.batches import INSTRUMENT, cut, join
from tests.support.served import SERVED, SIGNAL
from tests.support.systems import CONFIGS, MINUTE

FROM_NS = 28_401_120 * MINUTE  # 2024-01-01
CALIBRATION = CalibrationParams(rate=0.05, half_life=20.0)


def trades(rows: int = 2_000, *, seed: int = 1) -> TradeBatch:
    """Return about four trades a minute."""
    generator = np.random.default_rng(seed)
    ts_ns = FROM_NS + np.cumsum(generator.exponential(MINUTE / 4, rows)).astype(np.int64)
    return TradeBatch(
        instrument=INSTRUMENT,
        first_row=0,
        ts_ns=ts_ns,
        price_ticks=100_000 + np.cumsum(generator.integers(-40, 41, rows)),
        qty_steps=generator.integers(1, 9, rows),
        is_buy=generator.random(rows) < 0.5,
    )


def slabs(parts: Sequence[TradeBatch]) -> list[MarketSlab]:
    scales_ns = (MINUTE, 5 * MINUTE, 15 * MINUTE)
    aggregator = BarAggregator(INSTRUMENT, scales_ns=scales_ns, lateness_ns=10**9, gap_max_ns=10**18)
    return [aggregator.on_trades(part) for part in parts]


def forecasts(engine: Engine, given_slabs: Sequence[MarketSlab]) -> ForecastBatch:
    calibration = CALIBRATION if engine.told.horizons_ns else None
    predictor = ArtifactPredictor(engine, INSTRUMENT, asset=0, calibration=calibration)
    return join([made for slab in given_slabs if (made := predictor.predict(slab.bars)) is not None])


@pytest.mark.parametrize("name", SERVED)
def test_any_cut_gives_the_same_bytes(name: str, served: Served) -> None:
    """Law 1 for each system: whole, in slabs of some rows, and trade by trade where that is quick."""
    engine = open_engine(served(name, instruments=(INSTRUMENT.name,)))
    market = trades()
    whole = forecasts(engine, slabs([market]))
    assert len(whole) > 100
    assert np.isfinite(whole.quantiles).all()
    assert (np.diff(whole.quantiles, axis=2) >= 0).all()
    for places in ([700, 1_301, 1_760], [1_800, 1_802, 1_804, 1_809]):
        assert is_same(forecasts(engine, slabs(cut(market, places))), whole)


@given(places=st.lists(st.integers(0, 2_000), max_size=8), seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_any_cut_whatever_is_drawn(served: Served, places: list[int], seed: int) -> None:
    engine = open_engine(served(instruments=(INSTRUMENT.name,)))
    market = trades(seed=seed)
    whole = forecasts(engine, slabs([market]))
    assert is_same(forecasts(engine, slabs(cut(market, places))), whole)


@pytest.mark.parametrize("name", SERVED)
def test_another_future_changes_no_forecast_before_it(name: str, served: Served) -> None:
    """Law 3: whatever follows, what was known by then is forecast the same, bit for bit."""
    engine = open_engine(served(name, instruments=(INSTRUMENT.name,)))
    market = trades()
    rows = 1_700
    until_ns = int(market.ts_ns[rows])
    changed = market.rows(0, rows)
    tail = trades()
    contrary = TradeBatch(
        instrument=INSTRUMENT,
        first_row=0,
        ts_ns=tail.ts_ns,
        price_ticks=np.where(np.arange(2_000) < rows, tail.price_ticks, 2 * tail.price_ticks[rows] - tail.price_ticks),
        qty_steps=np.where(np.arange(2_000) < rows, tail.qty_steps, 50),
        is_buy=tail.is_buy,
    )
    for future in (changed, contrary):
        made, whole = (forecasts(engine, slabs([each])) for each in (future, market))
        stop, stop_whole = (int((each.known_ns <= until_ns).sum()) for each in (made, whole))
        assert stop == stop_whole > 30
        assert is_same(made.rows(0, stop), whole.rows(0, stop))
    assert not is_same(forecasts(engine, slabs([contrary])), forecasts(engine, slabs([market])))


def test_where_a_run_begins_changes_nothing_once_warm(served: Served) -> None:
    """Blocks lie by the clock: of a run that begins later the last forecasts are those of the whole, to rounding.

    Not to the bit: a recursive volatility remembers for ever, and ever less, where it began.
    """
    engine = open_engine(served(instruments=(INSTRUMENT.name,)))
    whole = slabs([trades(4_800)])[0]
    late = {scale: bars.rows(300 * MINUTE // scale, len(bars)) for scale, bars in whole.bars.items()}
    first, second = (
        ArtifactPredictor(engine, INSTRUMENT, asset=0, calibration=None).predict(bars) for bars in (whole.bars, late)
    )
    assert first is not None
    assert second is not None
    assert len(first) - len(second) == 300
    assert np.array_equal(first.close_ns[300:], second.close_ns)
    np.testing.assert_allclose(second.quantiles[-100:], first.quantiles[-100:], rtol=0.05, atol=1e-4)


def test_nothing_is_said_where_a_bar_is_missing(served: Served) -> None:
    """After a hole no decision is answered until all that a network needs has passed."""
    engine = open_engine(served(instruments=(INSTRUMENT.name,)))
    whole = slabs([trades(4_800)])[0]
    predictor = ArtifactPredictor(engine, INSTRUMENT, asset=0, calibration=CALIBRATION)
    made = predictor.predict(
        {
            scale: BarBatch.join([bars.rows(0, 500 * MINUTE // scale), bars.rows(540 * MINUTE // scale, len(bars))])
            for scale, bars in whole.bars.items()
        }
    )
    assert made is not None
    minute = (made.close_ns - FROM_NS) // MINUTE
    inside = (minute > 500) & (minute <= 540)
    need = max(scale.need * scale.length_ns for scale in engine.told.scales) // MINUTE
    assert not inside.any()
    assert not ((minute > 540) & (minute < 540 + need - 15)).any()
    assert (minute > 540 + need + 30).any()


@pytest.mark.parametrize(
    ("name", "heads", "says"),
    [
        ("flagship", None, ["up:5m", "up:1h"]),
        ("trading", None, ["regime:0", "regime:2", "loss:5m:0.95", "loss:1h:0.99"]),
        ("longctx", None, ["weight"]),
        ("dlinear", (SIGNAL,), ["sell:1h", "hold:1h", "buy:1h"]),
    ],
)
def test_other_answers_come_by_name(name: str, heads: object, says: list[str], served: Served) -> None:
    """Probabilities are probabilities, losses are not negative, and coverage travels with what forecasts returns."""
    how = {} if heads is None else {"heads": heads}
    engine = open_engine(served(name, instruments=(INSTRUMENT.name,), **how))
    made = forecasts(engine, slabs([trades()]))
    column = {each: made.answers[:, at] for at, each in enumerate(made.answer_names)}
    assert set(says) <= set(column)
    assert np.isfinite(made.answers).all()
    for each, values in column.items():
        kind = each.partition(":")[0]
        if kind in ("up", "sell", "hold", "buy", "regime", "coverage", "shrink", "drift"):
            assert ((values >= 0) & (values <= 1)).all()
        if kind == "loss":
            assert (values >= 0).all()
    if name == "trading":
        assert np.allclose(sum(column[f"regime:{n}"] for n in range(3)), 1)
        assert (column["loss:1h:0.99"] >= column["loss:1h:0.95"]).all()
    assert ("shrink:1h" in column) == (name != "dlinear")
    assert made.quantiles.shape[1:] == ((0, 0) if name == "dlinear" else (2, 5))


def test_every_tiny_system_is_served_or_refused() -> None:
    """No system is forgotten here: those that are not served read grids."""
    assert set(CONFIGS) - set(SERVED) == {"orderbook", "portfolio"}
