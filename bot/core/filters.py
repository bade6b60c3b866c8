"""What the venue lets orders be, as it tells from day to day: what has changed, and what no longer fits.

New orders must fit into the newest filters. What is held already was right by older ones: nothing is done about it by
itself, but a person must know of a position that no order can close any more.
"""

from collections.abc import Iterable
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from bot.core.money_state import MoneyState
from bot.core.order import Order
from bot.domain.account import Position
from bot.domain.instrument import Instrument

TRADING = "Trading"
"""The status of an instrument in which orders are taken."""

CHANGED, CLOSED, UNFIT = "FILTERS_CHANGED", "NOT_TRADING", "NO_LONGER_FITS"

_WORDS = {
    "tick_size": "tick size",
    "qty_step": "quantity step",
    "qty_min": "least quantity",
    "qty_max": "greatest quantity",
    "notional_min": "least notional",
}


class FiltersTold(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What the venue says today that orders in an instrument must fit into."""

    instrument: Instrument
    status: str = TRADING  # the venue's word


class FilterWatch:
    """Compares what is told with what is in force, and says each thing once."""

    def __init__(self) -> None:
        self._status: dict[str, str] = {}
        self._unfit: dict[str, list[str]] = {}

    def see(self, told: FiltersTold, state: MoneyState) -> list[tuple[str, str]]:
        """Return what a person should know, as (code, line); `state` is not changed."""
        name = told.instrument.name
        before = state.instruments[name]
        found = [(CHANGED, f"the venue changed {line}") for line in _changes(before, told.instrument)]
        was = self._status.get(name, TRADING)
        self._status[name] = told.status
        held = state.portfolio.positions[name]
        if told.status != was:
            holding = f"; {held.qty:f} is held" if held.qty else ""
            found.append((CLOSED, f"the venue's status of it was {was} and is {told.status}{holding}"))
        after = refit(before, told.instrument)
        unfit = _resting_unfit(state.live[name].values(), after)
        # What fees in the base coin leave of a spot position lies off the grid all the time.
        if after != before or before.kind == "linear":
            unfit += _held_unfit(held, after)
        found += [(UNFIT, line) for line in unfit if line not in self._unfit.get(name, ())]
        self._unfit[name] = unfit
        return found


def refit(before: Instrument, told: Instrument) -> Instrument:
    """Return an instrument with the filters that were told; what it is stays."""
    return replace(before, **{field: getattr(told, field) for field in _WORDS})


def _changes(before: Instrument, told: Instrument) -> list[str]:
    pairs = ((words, getattr(before, field), getattr(told, field)) for field, words in _WORDS.items())
    return [f"the {words} from {_plain(old)} to {_plain(new)}" for words, old, new in pairs if old != new]


def _held_unfit(held: Position, instrument: Instrument) -> list[str]:
    qty = abs(held.qty)
    if not qty:
        return []
    if qty < instrument.qty_min:
        return [f"{_plain(held.qty)} is held, and an order is at least {_plain(instrument.qty_min)}: none can close it"]
    left = qty % instrument.qty_step
    if left:
        step = _plain(instrument.qty_step)
        return [f"{_plain(held.qty)} is held, and the step is {step}: {_plain(left)} of it no order can close"]
    return []


def _resting_unfit(live: Iterable[Order], instrument: Instrument) -> list[str]:
    found = []
    for order in live:
        price, request = order.limit_price, order.request
        is_off = order.remaining_qty % instrument.qty_step or (price is not None and price % instrument.tick_size)
        if is_off:
            found.append(f"order {request.client_order_id} lies off the new grid: it can be canceled, not amended")
    return found


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"
