"""When to leave a position: stop loss, take profit, trailing stop, break-even and time, judged at closed bars.

    exits = Exits([stop_loss(Decimal("0.02")), time_exit(parse_duration("1d"))])

A strategy hands over its fills and the bars of one scale, and is answered with a target of nothing and the reason:

    def on_fill(self, fill):
        self.exits.on_fill(fill, self.position(fill.instrument))

    def on_bar(self, bar):
        if target := self.exits.on_bar(bar):
            return target

The order goes out once the bar is known and fills at what the market then is, not at the level.

`Kept` puts stop loss, take profit and trailing stop at the venue instead, where they protect the position while the bot
is away. Then what `on_fill` and `on_event` answer must be returned, and the venue's own executions handed over as well:

    def on_fill(self, fill):
        return self.exits.on_fill(fill, self.position(fill.instrument), self.instrument(fill.instrument))

    on_cut = on_fill

    def on_event(self, event):
        self.exits.on_event(event)

What is remembered depends on fills and rows alone, so it is the same however the market is cut.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from pydantic import Field

from bot.core.durations import Duration, format_duration
from bot.domain.account import Position
from bot.domain.errors import ConfigError
from bot.domain.instrument import Instrument, Side
from bot.domain.ledger import RiskDenied
from bot.domain.orders import (
    AccountEvent,
    Exit,
    OrderFilled,
    PlaceOrder,
    PositionCut,
    SetStops,
    StopsChanged,
    StopsRejected,
    Target,
)
from strategies.base import StrategyParams
from strategies.inputs import Bar

Look = Literal["close", "range"]
"""What of a bar is judged: its close alone, or also its high and low.

Within a bar nobody knows what came first, so with "range" the worst order is assumed: the best price raises a trailing
stop or arms break-even before the worst price is held against it, and a stop counts before a profit.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A position since it was opened. Prices are quote currency per base unit."""

    direction: int  # 1 long, -1 short
    entry: Decimal  # average, of all that was added
    qty: Decimal  # unsigned
    since_ns: int  # the fill that opened it
    best: Decimal  # the most favourable price judged since


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What of a bar is judged."""

    best: Decimal  # the price most in favour of the position
    worst: Decimal  # the price most against it
    close_ns: int


Rule = Callable[[Held, Seen], str | None]
"""From a position and what a bar showed to the reason to leave, None to stay."""


def stop_loss(fraction: Decimal) -> Rule:
    """Leave where the price is `fraction` of the entry or more against the position."""

    def rule(held: Held, seen: Seen) -> str | None:
        is_hit = held.direction * (seen.worst - held.entry) <= -fraction * held.entry
        return f"stop loss: {seen.worst} against an entry of {_short(held.entry)}" if is_hit else None

    return rule


def take_profit(fraction: Decimal) -> Rule:
    """Leave where the price is `fraction` of the entry or more in favour of the position."""

    def rule(held: Held, seen: Seen) -> str | None:
        is_hit = held.direction * (seen.best - held.entry) >= fraction * held.entry
        return f"take profit: {seen.best} against an entry of {_short(held.entry)}" if is_hit else None

    return rule


def trailing_stop(fraction: Decimal) -> Rule:
    """Leave where the price is `fraction` of the best price since the entry, or more, away from that."""

    def rule(held: Held, seen: Seen) -> str | None:
        is_hit = held.direction * (seen.worst - held.best) <= -fraction * held.best
        return f"trailing stop: {seen.worst} after {_short(held.best)}" if is_hit else None

    return rule


def break_even(after: Decimal, *, margin: Decimal = Decimal(0)) -> Rule:
    """Leave at the entry or worse, once the price has been `after` of the entry in favour.

    `margin` moves the exit that fraction of the entry into profit, to cover what the trades cost.
    """

    def rule(held: Held, seen: Seen) -> str | None:
        is_armed = held.direction * (held.best - held.entry) >= after * held.entry
        is_hit = is_armed and held.direction * (seen.worst - held.entry) <= margin * held.entry
        return f"break-even: {seen.worst} after {_short(held.best)}, entry {_short(held.entry)}" if is_hit else None

    return rule


def time_exit(limit_ns: int) -> Rule:
    """Leave at the first bar that closes `limit_ns` or more after the entry."""

    def rule(held: Held, seen: Seen) -> str | None:
        return f"time: held for {format_duration(limit_ns)}" if seen.close_ns - held.since_ns >= limit_ns else None

    return rule


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What the venue is to keep for a position, as fractions of the entry; None is nothing of the kind.

    Prices are rounded to the tick that is nearer to the entry.
    """

    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    trailing_stop: Decimal | None = None  # a fixed distance behind the best price, not a fraction of that

    def of(self, held: Held, instrument: Instrument) -> SetStops:
        """Return the wish for them."""
        distance = None
        if self.trailing_stop is not None:
            distance = max(instrument.round_price(held.entry * self.trailing_stop, Side.BUY), instrument.tick_size)
        return SetStops(
            instrument=instrument.name,
            stop_loss=_leg(held, instrument, self.stop_loss, -held.direction),
            take_profit=_leg(held, instrument, self.take_profit, held.direction),
            trailing_distance=distance,
            reason=f"exits for an entry of {_short(held.entry)}",
        )


def _leg(held: Held, instrument: Instrument, fraction: Decimal | None, beyond: int) -> Exit | None:
    """Return an exit `fraction` of the entry away from it; none where no price is that far below."""
    if fraction is None:
        return None
    price = held.entry * (1 + beyond * fraction)
    price = instrument.round_price(price, Side.BUY if beyond > 0 else Side.SELL)
    return Exit(price=price) if price > 0 else None


class InstrumentExits:
    """The rules' memory of one instrument: the position as its fills made it, and the best price since."""

    def __init__(self, rules: Sequence[Rule], look: Look = "close") -> None:
        self.rules = tuple(rules)
        self._look = look
        self.held: Held | None = None

    def on_fill(self, fill: OrderFilled | PositionCut, position: Position) -> None:
        """Take note of a fill that made the position what it is. Adding moves the entry, not the time nor the best."""
        entry = position.entry_price
        if entry is None:
            self.held = None
            return
        direction = 1 if position.qty > 0 else -1
        if self.held is None or self.held.direction != direction:
            qty, since_ns = abs(position.qty), fill.ts_event_ns
            self.held = Held(direction=direction, entry=entry, qty=qty, since_ns=since_ns, best=entry)
        else:
            self.held = replace(self.held, entry=entry, qty=abs(position.qty))

    def on_bar(self, bar: Bar) -> str | None:
        """Return the first rule's reason to leave, None to stay or where nothing is held."""
        held = self.held
        if held is None or bar.close_ns <= held.since_ns:
            return None
        # What a bar did before the fill says nothing of the position, and of the fill's own bar only the close is
        # known to come after.
        is_ranged = self._look == "range" and bar.open_ns >= held.since_ns
        high, low = (bar.high_price, bar.low_price) if is_ranged else (bar.close_price, bar.close_price)
        best, worst = (high, low) if held.direction > 0 else (low, high)
        if held.direction * (best - held.best) > 0:
            held = self.held = replace(held, best=best)
        seen = Seen(best=best, worst=worst, close_ns=bar.close_ns)
        return next((reason for rule in self.rules if (reason := rule(held, seen))), None)


class Exits:
    """The rules for every instrument of a strategy. The first rule that wants to leave gives the reason.

    Args:
        rules: are judged at bars.
        look: what of a bar.
        kept: what the venue keeps instead.
        instead: the rules for what is kept, in force here only where the venue has refused to keep it.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        look: Look = "close",
        *,
        kept: Kept | None = None,
        instead: Sequence[Rule] = (),
    ) -> None:
        self._rules = tuple(rules)
        self._look = look
        self._kept = kept
        self._instead = tuple(instead)
        self._instruments: dict[str, InstrumentExits] = {}
        self._unanswered: set[str] = set()

    def on_fill(
        self, fill: OrderFilled | PositionCut, position: Position, instrument: Instrument | None = None
    ) -> SetStops | None:
        """Take note of an execution; return what the venue is now to keep, None if that is nothing new.

        Args:
            fill: of one of the strategy's own orders, or of the venue's.
            position: counts it already.
            instrument: whose; needed where the venue keeps exits.

        Raises:
            ConfigError: it was needed.
        """
        name = fill.instrument
        if name not in self._instruments:
            self._instruments[name] = InstrumentExits(self._rules, self._look)
        one = self._instruments[name]
        before = one.held
        one.on_fill(fill, position)
        if self._kept is None:
            return None
        if instrument is None:
            raise ConfigError("exits at the venue need the instrument: write on_fill(fill, position, instrument)")
        if one.held is None or before is None or before.direction != one.held.direction:
            one.rules = self._rules  # the venue is asked anew
        if one.held is None:
            self._unanswered.discard(name)
            return None
        if before is not None and before.direction == one.held.direction and one.held.qty <= before.qty:
            return None  # a smaller position has the same entry
        self._unanswered.add(name)
        return self._kept.of(one.held, instrument)

    def on_event(self, event: AccountEvent | RiskDenied) -> None:
        """Take note of whether the venue keeps what it was asked to; where it does not, bars are judged instead."""
        match event:
            case StopsChanged():
                self._unanswered.discard(event.instrument)
            case StopsRejected() | RiskDenied() if event.instrument in self._unanswered:
                self._unanswered.discard(event.instrument)
                self._instruments[event.instrument].rules = self._instead + self._rules

    def watches(self, instrument: str) -> bool:
        """Return whether a bar of what is held could matter: it cannot while the venue keeps all there is to keep."""
        if self._kept is None or self._kept.trailing_stop is not None or instrument in self._unanswered:
            return True  # what is unanswered may be refused, and a trailing stop needs the best price by then
        one = self._instruments.get(instrument)
        return one is not None and bool(one.rules)

    def on_bar(self, bar: Bar) -> Target | PlaceOrder | None:
        """Return the wish to hold nothing, None to stay. It is told of every bar while a position is open."""
        one = self._instruments.get(bar.instrument)
        reason = one.on_bar(bar) if one is not None else None
        if one is None or one.held is None or reason is None:
            return None
        if self._kept is None:
            return Target(instrument=bar.instrument, qty=Decimal(0), reason=reason)
        # The venue may just have left by itself: what comes on top must not open a position.
        side = Side.SELL if one.held.direction > 0 else Side.BUY
        return PlaceOrder(instrument=bar.instrument, side=side, qty=one.held.qty, reduce_only=True, reason=reason)


_MOVABLE = ("stop_loss", "trailing_stop", "take_profit")
"""What the venue can keep. That a position was once ahead, or is old, it does not know."""


class ExitParams(StrategyParams):
    """Exits as a strategy's parameter, such as `exits = {stop_loss = 0.02, look = "range"}`; None is no such rule."""

    stop_loss: Decimal | None = Field(None, gt=0, lt=1, description="loss to leave at, a fraction of the entry")
    trailing_stop: Decimal | None = Field(None, gt=0, lt=1, description="fall from the best price, a fraction of it")
    break_even: Decimal | None = Field(None, gt=0, description="profit that moves the stop to the entry, a fraction")
    take_profit: Decimal | None = Field(None, gt=0, description="profit to leave at, a fraction of the entry")
    time_limit: Duration | None = Field(None, description="longest time to hold")
    look: Look = Field("close", description="judge closes, or also highs and lows")
    at: Literal["strategy", "venue"] = Field(
        "strategy", description="who keeps stop loss, take profit and trailing stop"
    )

    def make(self) -> Exits | None:
        """Return the exits, stops before profits, None where there are none."""
        named = (
            ("stop_loss", stop_loss),
            ("trailing_stop", trailing_stop),
            ("break_even", break_even),
            ("take_profit", take_profit),
        )
        rules = {name: rule(fraction) for name, rule in named if (fraction := getattr(self, name)) is not None}
        if self.time_limit is not None:
            rules["time_limit"] = time_exit(self.time_limit)
        if not rules:
            return None
        movable = {name: getattr(self, name) for name in _MOVABLE if name in rules}
        if self.at == "strategy" or not movable:
            return Exits(list(rules.values()), self.look)
        return Exits(
            [rule for name, rule in rules.items() if name not in movable],
            self.look,
            kept=Kept(**movable),
            instead=[rules[name] for name in movable],
        )


def _short(price: Decimal) -> str:
    """Return an average price without the digits that division leaves."""
    return f"{price:.10g}"
