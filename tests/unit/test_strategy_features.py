"""A strategy's feature columns are the features that models are given."""

import numpy as np
import pytest

from bot.core.features.engine import FeatureEngine
from bot.core.features.schema import FeatureSchema
from bot.domain.errors import ConfigError
from strategies.features import FeatureColumns
from tests.support.bars_reference import ReferenceBar
from tests.support.batches import INSTRUMENT, bars_of

MINUTE_NS = 60_000_000_000


def bars(count: int = 80) -> list[ReferenceBar]:
    """Return a wandering minute each."""
    closes = 1_000 + np.random.default_rng(5).integers(-5, 6, count).cumsum()
    return [
        ReferenceBar(
            open_ns=n * MINUTE_NS,
            open=int(close) + 1,
            high=int(close) + 4,
            low=int(close) - 3,
            close=int(close),
            volume=n % 7,
            turnover=int(close) * (n % 7),
            count=n % 7,
            buy=n % 3,
            flags=0,
        )
        for n, close in enumerate(closes)
    ]


def test_columns_are_the_engine_s() -> None:
    """Bit for bit, in pieces and for two streams that do not disturb each other."""
    batch = bars_of(bars(), scale_ns=MINUTE_NS)
    five = bars_of(bars()[::5], scale_ns=5 * MINUTE_NS)
    schema = FeatureSchema(["rsi(14)", "volatility(20)"], ["1m"])
    expected = FeatureEngine(schema, INSTRUMENT).on_bars([batch])["1m"].values
    columns = FeatureColumns("rsi(14)", "volatility(20)")
    parts = []
    for start, stop in ((0, 1), (1, 1), (1, 40), (40, 80)):
        parts.append(columns.of(batch.rows(start, stop)))
        columns.of(five.rows(start // 5, stop // 5))
    for number, name in enumerate(("rsi_14", "volatility_20")):
        whole = np.concatenate([part[name] for part in parts])
        assert whole.tobytes() == np.ascontiguousarray(expected[:, number]).tobytes()


@pytest.mark.parametrize(
    ("feature", "word"),
    [("rsi(", "rsi("), ("nonsense", "nonsense"), ("funding_rate", "funding_rate"), ("reference_beta", "bars alone")],
)
def test_what_bars_cannot_give_is_refused(feature: str, word: str) -> None:
    with pytest.raises(ConfigError, match="strategy's features") as refused:
        FeatureColumns(feature)
    assert word in str(refused.value)
