"""Hosts for one strategy or several, and what each of them begins with."""

from collections.abc import Sequence
from typing import Any

from bot.actors.strategy_host import StrategyHost
from bot.actors.strategy_hosts import StrategyHosts
from bot.core.money_state import MoneyState
from bot.domain.errors import ConfigError
from bot.domain.instrument import Instrument
from strategies.base import Strategy


def make_host(strategy: Strategy[Any], instruments: Sequence[Instrument]) -> StrategyHost | StrategyHosts:
    """Return what lets a strategy, or several, walk the market."""
    if len(strategy.parts) == 1:
        return StrategyHost(strategy, instruments)
    return StrategyHosts(strategy.parts, instruments)


def take_up(host: StrategyHost | StrategyHosts, state: MoneyState) -> None:
    """Let strategies begin with what an earlier run left: one with all of it, several each with its own book.

    Raises:
        ConfigError: something is held that is in no book of theirs.
    """
    orders = [order for live in state.live.values() for order in live.values()]
    if isinstance(host, StrategyHost):
        host.take_up(list(state.portfolio.positions.values()), orders, dict(state.stops))
        return
    books = state.strategy_books
    assert books is not None
    strangers = books.strangers(state.portfolio.positions)
    if strangers:
        raise ConfigError(
            f"strategies: {'; '.join(strangers)}: flatten first with the settings that it was traded with, or name the "
            "strategy whose book it is"
        )
    for name in books.strategies:
        own = [order for order in orders if state.strategy_of.get(order.request.client_order_id) == name]
        host.take_up_own(name, list(books.books[name].values()), own, dict(state.stops))
