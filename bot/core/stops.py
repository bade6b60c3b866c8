"""The exits that the venue keeps for a position, as it last told of them."""

from decimal import Decimal

import msgspec

from bot.domain.orders import ChangeStops, Exit, Leg, StopsChanged


class Stops(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue keeps for one position. None: nothing of the kind."""

    take_profit: Decimal | None = None  # prices, quote currency per base unit
    stop_loss: Decimal | None = None
    trailing_distance: Decimal | None = None  # behind the best price since
    ts_event_ns: int = 0  # since when, the venue's clock
    leg: Leg = Leg.NET  # whose they are

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is kept."""
        return self.take_profit is None and self.stop_loss is None and self.trailing_distance is None

    def is_like(self, other: "Stops") -> bool:
        """Return whether both keep the same, whenever that began."""
        is_of_one = self.leg is other.leg or self.is_empty
        return is_of_one and (self.take_profit, self.stop_loss, self.trailing_distance) == (
            other.take_profit,
            other.stop_loss,
            other.trailing_distance,
        )


def follow(held: Stops, event: StopsChanged) -> Stops:
    """Return the stops after `event`: the very same object where a later one overtook it.

    One leg is held at a time: that the other one has no exits is no news of these.
    """
    if event.ts_event_ns < held.ts_event_ns:
        return held
    is_empty = event.take_profit is None and event.stop_loss is None and event.trailing_distance is None
    is_of_other_leg = event.leg is not held.leg and Leg.NET not in (event.leg, held.leg)
    if is_of_other_leg and is_empty and not held.is_empty:
        return held
    return Stops(
        take_profit=event.take_profit,
        stop_loss=event.stop_loss,
        trailing_distance=event.trailing_distance,
        ts_event_ns=event.ts_event_ns,
        leg=event.leg,
    )


def loosens(held: Stops, change: ChangeStops, position_qty: Decimal) -> bool:
    """Return whether a position could be held longer with `change` than with what the venue keeps now."""
    direction = 1 if position_qty > 0 else -1
    return (
        _is_farther(held.take_profit, change.take_profit, direction)
        or _is_farther(held.stop_loss, change.stop_loss, -direction)
        or _is_wider(held.trailing_distance, change.trailing_distance)
    )


def _is_farther(held: Decimal | None, asked: Exit | None, away: int) -> bool:
    """Return whether an exit is taken away, or moves farther; `away` is the direction in which farther lies."""
    if held is None or asked is None:
        return False
    return not asked.price or (asked.price - held) * away > 0


def _is_wider(held: Decimal | None, asked: Decimal | None) -> bool:
    return held is not None and asked is not None and (not asked or asked > held)
