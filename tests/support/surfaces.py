"""Settings of a run whose surfaces are looked at."""

from typing import Any

from bot.runtime.trade_settings import TradeSettings


def only_status() -> TradeSettings:
    """Return settings of a run that is looked at and tells nobody."""
    return TradeSettings(symbols=[{"symbol": "BTCUSDT"}], status={"port": 0})


def told_by_nobody() -> TradeSettings:
    """Return settings of a run without any surface."""
    return TradeSettings(symbols=[{"symbol": "BTCUSDT"}], status={"enabled": False})


def told_by_hook(**more: Any) -> TradeSettings:
    """Return settings of a run that tells a webhook on this machine; its address is in BOT_WEBHOOK_URL."""
    hook = {"enabled": True, "allow_plain_http": True}
    given: dict[str, Any] = {
        "symbols": [{"symbol": "BTCUSDT"}],
        "status": {"enabled": False},
        "alerts": {"webhook": hook},
    }
    return TradeSettings(**given | more)
