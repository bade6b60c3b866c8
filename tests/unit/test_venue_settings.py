"""The venue's settings: what a run writes down of them can be read back, and what cannot be is said."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.app.venue_model import fill_model
from bot.domain.errors import BotError, ConfigError
from bot.runtime.settings import Settings, load
from tests.support.replays import file_market, run, settings_with, write_trades

TIERS = [
    {"limit_value": "300000", "initial_rate": "0.0066", "maintenance_rate": "0.0033", "leverage_max": "150"},
    {"limit_value": "2000000", "initial_rate": "0.01", "maintenance_rate": "0.005", "leverage_max": "100"},
]


def with_tiers(path: Path, tiers: list[dict[str, str]]) -> dict[str, Any]:
    market = file_market(path, "trades")
    market["instruments"][0]["tiers"] = tiers
    return market


def test_tiers_survive_the_runs_own_config(tmp_path: Path) -> None:
    """A table inside a table inside a list is the one place where TOML is easily written wrong."""
    settings = settings_with(tmp_path, [], with_tiers(tmp_path / "t.parquet", TIERS))
    (tmp_path / "config.toml").write_text(settings.to_toml())
    assert load(tmp_path / "config.toml") == settings
    assert settings.market.instruments[0].tiers[1].limit_value == Decimal(2_000_000)


@pytest.mark.parametrize(
    ("tiers", "words"),
    [
        ([TIERS[0] | {"leverage_max": "50"}, TIERS[1]], "cannot allow more leverage"),
        ([TIERS[0], TIERS[1] | {"maintenance_rate": "0.001"}], "rates must not fall"),
    ],
)
def test_tiers_that_are_no_ladder_are_named(tiers: list[dict[str, str]], words: str, tmp_path: Path) -> None:
    count = 50
    ts_ms = [1_700_000_000_000 + n for n in range(count)]
    path = write_trades(tmp_path / "t.parquet", ts_ms, [50_000.0] * count, [1.0] * count, [1] * count)
    settings = settings_with(tmp_path, ["strategy.name=buy_and_hold"], with_tiers(path, tiers))
    with pytest.raises(BotError, match=words):
        run(settings)


def test_a_tier_with_a_typo_is_named(tmp_path: Path) -> None:
    """The message has the tier's place and the key that was meant."""
    text = settings_with(tmp_path, [], with_tiers(tmp_path / "t.parquet", TIERS)).to_toml()
    (tmp_path / "config.toml").write_text(text.replace('leverage_max = "100"', 'leverage_mx = "100"'))
    with pytest.raises(ConfigError, match=r'tiers\.1\.leverage_mx: no such key; did you mean "leverage_max"'):
        load(tmp_path / "config.toml")


def test_slippage_is_doubled_and_dropped() -> None:
    """What the three make of `venue.slippage_bps`; only the pessimistic one charges for size."""
    models = {
        preset: fill_model(load(None, [f"venue.fills={preset}", "venue.slippage_bps=2.5"]))
        for preset in ("pessimistic", "neutral", "optimistic")
    }
    assert [model.slippage for model in models.values()] == [Decimal("0.0005"), Decimal("0.00025"), 0]
    assert [model.impact is not None for model in models.values()] == [True, False, False]


def test_fills_are_part_of_what_identifies_a_config() -> None:
    assert Settings().config_hash() != load(None, ["venue.fills=pessimistic"]).config_hash()
