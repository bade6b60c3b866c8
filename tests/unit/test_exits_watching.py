"""Whether bars of an open position must be looked at: not while the venue keeps all that there is to keep."""

from decimal import Decimal

import pytest

from bot.domain.account import Position
from bot.domain.instrument import Side
from strategies.exits import ExitParams, Exits
from tests.support.money import BTC, NAME, filled
from tests.support.venue_side import stops_changed, stops_rejected


def entered(**asked: object) -> Exits:
    """Return the exits after an entry."""
    exits = ExitParams.model_validate(asked).make()
    assert exits is not None
    position = Position(instrument=NAME, qty=Decimal(1), entry_value=Decimal(100))
    exits.on_fill(filled(side=Side.BUY, qty="1", price="100", instrument=NAME), position, BTC)
    return exits


def test_what_the_venue_keeps_needs_no_bars() -> None:
    """Until the venue has answered it may refuse; then nothing is left to judge here."""
    exits = entered(stop_loss="0.01", take_profit="0.02", at="venue")
    assert exits.watches(NAME)
    exits.on_event(stops_changed(profit="102", loss="99"))
    assert not exits.watches(NAME)


def test_what_the_venue_refuses_is_judged_at_bars() -> None:
    exits = entered(stop_loss="0.01", at="venue")
    exits.on_event(stops_rejected("s1", instrument=NAME))
    assert exits.watches(NAME)


@pytest.mark.parametrize(
    "asked",
    [
        {"stop_loss": "0.01"},  # judged here
        {"stop_loss": "0.01", "time_limit": "1d", "at": "venue"},  # the venue knows no time limit
        {"trailing_stop": "0.01", "at": "venue"},  # a later refusal needs the best price of all bars
    ],
)
def test_what_is_judged_here_needs_every_bar(asked: dict[str, object]) -> None:
    exits = entered(**asked)
    exits.on_event(stops_changed(loss="99"))
    assert exits.watches(NAME)
