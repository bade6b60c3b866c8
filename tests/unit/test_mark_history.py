"""Mark prices out of the market store, and what features see of them."""

from pathlib import Path

import numpy as np
import pytest

from bot.core.features.engine import FeatureEngine
from bot.core.features.schema import FeatureSchema
from bot.domain.errors import DataError
from bot.store.importing.part import Part
from bot.store.mark_history import read_marks
from bot.store.market_store import MarketStore
from tests.support.bars_reference import ReferenceBar
from tests.support.batches import INSTRUMENT, bars_of

HOUR_NS = 3_600_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> MarketStore:
    """Return a store with four hours of mark prices, 1,000.02, 1,010.02 and so on: a fifth of a tick off the grid."""
    store = MarketStore(tmp_path)
    close = 100_002 + 1_000 * np.arange(4)
    columns = {"open_ns": (400_000 + np.arange(4)) * HOUR_NS, **dict.fromkeys(("open", "high", "low", "close"), close)}
    part = Part(
        venue="bybit-linear", symbol="XUSDT", kind="mark-1h", price_exponent=-2, qty_exponent=0, columns=columns
    )
    store.write(part, name="made up")
    return store


def test_marks_are_read_at_the_nearest_tick(store: MarketStore) -> None:
    """All of them, or those that open within the range; each is known from its close on."""
    directory = store.directory("bybit-linear", "XUSDT", "mark-1h")
    marks = read_marks(INSTRUMENT, directory, None, None)
    assert marks.close_ticks.tolist() == [10_000, 10_100, 10_200, 10_300]
    assert marks.known_ns.tolist() == [(400_001 + hour) * HOUR_NS for hour in range(4)]
    some = read_marks(INSTRUMENT, directory, 400_001 * HOUR_NS, 400_003 * HOUR_NS)
    assert some.close_ticks.tolist() == [10_100, 10_200]


def test_a_bar_sees_the_mark_that_was_known_by_then(store: MarketStore) -> None:
    """Not the hour that is still forming: ln(1,000 / 1,000) at 400,001:59, against 1,010 from 400,002:00 on."""
    engine = FeatureEngine(FeatureSchema(["mark_basis"], ["1m"]), INSTRUMENT)
    engine.on_marks(read_marks(INSTRUMENT, store.directory("bybit-linear", "XUSDT", "mark-1h"), None, None))
    rows = [
        ReferenceBar(
            open_ns=400_002 * HOUR_NS - minutes * 60_000_000_000,
            **dict.fromkeys(("open", "high", "low", "close"), 10_000),
            **dict.fromkeys(("volume", "turnover", "count", "buy", "flags"), 0),
        )
        for minutes in (2, 1)
    ]
    values = engine.on_bars([bars_of(rows, scale_ns=60_000_000_000)])["1m"].values[:, 0]
    assert values.tolist() == [0.0, 10_000 * np.log(1_000 / 1_010)]


def test_another_kind_is_refused(store: MarketStore) -> None:
    directory = store.directory("bybit-linear", "XUSDT", "funding")
    directory.mkdir(parents=True)
    with pytest.raises(DataError, match="not mark prices"):
        read_marks(INSTRUMENT, directory, None, None)
    with pytest.raises(DataError, match="no such folder"):
        read_marks(INSTRUMENT, directory / "mark-1h", None, None)
