"""What a trading run refuses of a trained model before it trades, and what it asks of the past."""

from pathlib import Path
from typing import Any

import pytest

from bot.app.live_model import Served, check_live_model, with_scales
from bot.domain.errors import BotError, ConfigError
from bot.runtime.trade_settings import TradeSettings
from models.manifest import WEIGHTS
from models.serving.told import read_told
from strategies.registry import make_strategy
from tests.support.served import SIGNAL, write_served

MINUTE = 60 * 10**9
NAMES = ("BTCUSDT", "ETHUSDT")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for artefacts."""
    return tmp_path_factory.mktemp("artifacts")


def settings(path: Path, **sections: dict[str, Any]) -> TradeSettings:
    """Return settings of a run on two symbols by that artefact."""
    values: dict[str, Any] = {"predictor": {"kind": "artifact", "path": str(path)}, "strategy": {"params": {}}}
    for name, keys in sections.items():
        values[name] = values.get(name, {}) | keys
    return TradeSettings(**values, symbols=[{"symbol": name} for name in NAMES])


def check(chosen: TradeSettings) -> tuple[Served, Served | None] | None:
    return check_live_model(chosen, make_strategy(chosen.strategy.name, dict(chosen.strategy.params)))


def test_what_fits_is_taken_with_its_shadow(store: Path) -> None:
    """Its scales are among the bars of the settings that the run keeps; the past is asked for by its slowest one."""
    path, shadow = write_served(store, instruments=NAMES), write_served(store, instruments=NAMES, seed=5)
    chosen = settings(path, predictor={"shadow": str(shadow)}, bars={"scales": ["5m", "4h"]})
    found = check(chosen)
    assert found is not None
    served, beside = found
    assert beside is not None
    assert (served.told.name, beside.told.name) == (path.name, shadow.name)
    assert with_scales(chosen, [served]).bars.scales == tuple(n * MINUTE for n in (1, 5, 15, 240))
    slowest = served.told.scales[-1]
    assert served.history_ns >= (slowest.need + served.told.schema.warmup) * slowest.length_ns
    assert served.shape.instruments == NAMES


def test_without_forecasts_or_an_artefact_nothing_is_read(store: Path) -> None:
    assert check(settings(store / "nowhere", strategy={"name": "sma_cross"})) is None
    assert check(settings(store / "nowhere", predictor={"kind": "ewma_vol"})) is None


@pytest.mark.parametrize(
    ("made", "sections", "words"),
    [
        ({}, {"inference": {"deadline": "31s"}}, "write 30s at most"),
        ({"instruments": ("BTCUSDT",)}, {}, "was not trained on ETHUSDT"),
        ({}, {"strategy": {"params": {"horizon": "4h"}}}, "needs a forecast over 4h"),
        ({"heads": (SIGNAL,)}, {}, "needs a forecast over 1h"),
        ({"funding_interval": "4h"}, {}, "was trained with 4h"),
        ({"features": ("log_return", "volatility(5)", "funding_rate")}, {}, "reads funding"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    store: Path, made: dict[str, Any], sections: dict[str, Any], words: str
) -> None:
    path = write_served(store, **({"instruments": NAMES} | made))
    with pytest.raises(BotError, match=words) as refused:
        check(settings(path, **sections))
    assert "\n" not in str(refused.value)


def test_a_damaged_artefact_is_refused(store: Path, tmp_path: Path) -> None:
    path = write_served(store, instruments=NAMES, seed=7)
    content = bytearray((path / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (path / WEIGHTS).write_bytes(content)
    with pytest.raises(BotError, match=WEIGHTS):
        check(settings(path))
    with pytest.raises(ConfigError, match="no artefact"):
        check(settings(tmp_path / "none"))


def test_a_model_of_seconds_asks_for_no_more_of_the_past_than_minutes_can_give(store: Path) -> None:
    told = read_told(write_served(store, instruments=NAMES, bars=("5s", "15s", "30s"), seed=9))
    assert Served(store, told, NAMES).history_ns == 0
