"""Which ledger a start takes up: not that of another environment."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bot.app.trading_ledger import refuse_other_environment
from bot.domain.errors import ConfigError
from bot.domain.ledger import OrderIntended
from bot.runtime.trade_settings import TradeSettings
from tests.support.live_ledgers import begin, deposit, open_ledger, round_trip


def _settings(environment: str) -> TradeSettings:
    values: dict[str, Any] = {
        "venue": {"environment": environment},
        "symbols": [{"symbol": "BTCUSDT"}],
        "strategy": {"name": "sma_cross"},
    }
    return TradeSettings(**values)


def _write(directory: Path, *names: str) -> None:
    ledger = open_ledger(directory)
    begin(ledger)
    ledger.write([deposit(), round_trip(1)[0]])
    intent = next(each for each in round_trip(1) if isinstance(each, OrderIntended))
    for name in names:
        ledger.write([replace(intent, order=replace(intent.order, client_order_id=name))])
    ledger.commit()
    ledger.abandon()


def test_a_ledger_whose_orders_are_of_another_environment_is_refused_in_a_line(tmp_path: Path) -> None:
    """The same settings with `venue.environment` changed alone would book one account's money into another's books."""
    _write(tmp_path, "e000001-sma_cross___-000000001")
    refuse_other_environment(str(tmp_path), _settings("emulator"))
    with pytest.raises(ConfigError, match=r"its orders are of emulator, not of testnet; give each its own"):
        refuse_other_environment(str(tmp_path), _settings("testnet"))


def test_a_ledger_without_an_order_is_of_any_environment(tmp_path: Path) -> None:
    _write(tmp_path)
    refuse_other_environment(str(tmp_path), _settings("emulator"))
    refuse_other_environment(str(tmp_path), _settings("testnet"))
