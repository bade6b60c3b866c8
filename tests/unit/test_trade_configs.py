"""The shipped files of paper and live trading: each loads, and none trades real money by itself."""

from pathlib import Path

import pytest

from bot.app.trading_parts import check_mode
from bot.domain.errors import ConfigError
from bot.runtime.setting_files import write_toml
from bot.runtime.trade_settings import REAL_MONEY, load_trade
from strategies.registry import make_strategy

CONFIG = Path(__file__).parents[2] / "config"


@pytest.mark.parametrize(
    ("name", "environment"),
    [("paper-offline", "emulator"), ("paper-model", "emulator"), ("paper-testnet", "testnet"), ("paper-demo", "demo")],
)
def test_a_shipped_paper_file_is_paper(name: str, environment: str) -> None:
    settings = load_trade(CONFIG / f"{name}.toml")
    assert settings.venue.environment == environment
    check_mode(settings, "paper")
    make_strategy(settings.strategy.name, dict(settings.strategy.params))
    with pytest.raises(ConfigError, match="real money alone"):
        check_mode(settings, "live")


def test_the_live_file_is_refused_until_it_is_confirmed() -> None:
    """Nobody trades real money by running what came with the project."""
    settings = load_trade(CONFIG / "live.toml")
    make_strategy(settings.strategy.name, dict(settings.strategy.params))
    assert settings.venue.uid is None  # a start asks for it, too
    with pytest.raises(ConfigError, match=REAL_MONEY):
        check_mode(settings, "live")
    with pytest.raises(ConfigError, match="is real money"):
        check_mode(settings, "paper")
    check_mode(load_trade(CONFIG / "live.toml", [f"live.confirm={REAL_MONEY}"]), "live")


def test_the_live_file_risks_less_than_the_others() -> None:
    """What is copied without a thought must be the smallest."""
    live, others = load_trade(CONFIG / "live.toml"), [load_trade(each) for each in CONFIG.glob("paper-*.toml")]
    for other in others:
        assert live.risk.order_notional_max <= other.risk.order_notional_max
        assert live.risk.leverage_max <= other.risk.leverage_max
        assert live.protections.daily_loss_halt <= other.protections.daily_loss_halt
    assert live.run.foreign == "halt"
    assert live.run.protect_within is not None
    assert not live.venue.allow_unbound_key


@pytest.mark.parametrize(
    "address", ["postgresql://bot:hunter2@host:5432/ledger", "postgresql://bot:hunter2@[host/ledger"]
)
def test_a_run_keeps_no_password_of_its_ledger(address: str) -> None:
    settings = load_trade(CONFIG / "paper-offline.toml", [f"ledger.at={address}"])
    assert "hunter2" not in write_toml(settings.public())
    assert settings.ledger.at == address
