"""Which ledger a start takes up: not that of another environment, and not another account's."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bot.app.ledgers import describe, owner_of
from bot.app.trading_ledger import refuse_other_account
from bot.domain.errors import ConfigError
from bot.domain.ledger import OrderIntended
from bot.runtime.trade_settings import TradeSettings
from tests.support.live_ledgers import begin, deposit, open_ledger, round_trip


def _settings(environment: str = "emulator") -> TradeSettings:
    values: dict[str, Any] = {
        "venue": {"environment": environment},
        "symbols": [{"symbol": "BTCUSDT"}],
        "strategy": {"name": "sma_cross"},
    }
    return TradeSettings(**values)


def _write(directory: Path, *names: str, account: int | None = None) -> None:
    ledger = open_ledger(directory)
    begin(ledger, account=account)
    if ledger.head.seq == 0:
        ledger.write([deposit(), round_trip(1)[0]])
    intent = next(each for each in round_trip(1) if isinstance(each, OrderIntended))
    for name in names:
        ledger.write([replace(intent, order=replace(intent.order, client_order_id=name))])
    ledger.commit()
    ledger.abandon()


def test_a_ledger_whose_orders_are_of_another_environment_is_refused_in_a_line(tmp_path: Path) -> None:
    """The same settings with `venue.environment` changed alone would book one account's money into another's books."""
    _write(tmp_path, "e000001-sma_cross___-000000001")
    refuse_other_account(str(tmp_path), _settings(), None)
    with pytest.raises(ConfigError, match=r"its orders are of emulator, not of testnet; give each its own"):
        refuse_other_account(str(tmp_path), _settings("testnet"), None)


def test_a_ledger_without_an_order_is_of_any_environment(tmp_path: Path) -> None:
    _write(tmp_path)
    refuse_other_account(str(tmp_path), _settings(), None)
    refuse_other_account(str(tmp_path), _settings("testnet"), None)


def test_a_ledger_of_another_account_is_refused_in_a_line(tmp_path: Path) -> None:
    """Another key of the same environment would book one account's money into another's books, too."""
    _write(tmp_path, account=592324)
    refuse_other_account(str(tmp_path), _settings(), 592324)
    with pytest.raises(ConfigError, match=r"it is of account 592324, and the key of 592325; give each its own"):
        refuse_other_account(str(tmp_path), _settings(), 592325)
    assert describe(str(tmp_path))["account"] == 592324


def test_a_start_that_did_not_know_its_account_hides_none(tmp_path: Path) -> None:
    """Nor does one refuse: a ledger from before accounts were noted is anybody's, until somebody starts on it."""
    _write(tmp_path)
    assert owner_of(str(tmp_path)).account is None
    refuse_other_account(str(tmp_path), _settings(), 592325)
    _write(tmp_path, account=592324)
    _write(tmp_path)
    assert owner_of(str(tmp_path)).account == 592324
    refuse_other_account(str(tmp_path), _settings(), None)
