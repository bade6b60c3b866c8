"""When to leave a position: stop loss, take profit, trailing stop, break-even and time, judged at closed bars.

    exits = Exits([stop_loss(Decimal("0.02")), time_exit(parse_duration("1d"))])

A strategy hands over its fills and the bars of one scale, and is answered with a target of nothing and the reason:

    def on_fill(self, fill):
        self.exits.on_fill(fill, self.position(fill.instrument))

    def on_bar(self, bar):
        if target := self.exits.on_bar(bar):
            return target

The order goes out once the bar is known and fills at what the market then is, not at the level. Nothing here rests at
the venue: where a position must be protected while the bot is away, that is no exit's business.

What is remembered depends on fills and rows alone, so it is the same however the market is cut.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from pydantic import Field

from bot.core.durations import Duration, format_duration
from bot.domain.account import Position
from bot.domain.orders import OrderFilled, Target
from strategies.base import Bar, StrategyParams

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


class InstrumentExits:
    """The rules' memory of one instrument: the position as its fills made it, and the best price since."""

    def __init__(self, rules: Sequence[Rule], look: Look = "close") -> None:
        self._rules = tuple(rules)
        self._look = look
        self.held: Held | None = None

    def on_fill(self, fill: OrderFilled, position: Position) -> None:
        """Take note of a fill that made the position what it is. Adding moves the entry, not the time nor the best."""
        entry = position.entry_price
        if entry is None:
            self.held = None
            return
        direction = 1 if position.qty > 0 else -1
        if self.held is None or self.held.direction != direction:
            self.held = Held(direction=direction, entry=entry, since_ns=fill.ts_event_ns, best=entry)
        else:
            self.held = replace(self.held, entry=entry)

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
        return next((reason for rule in self._rules if (reason := rule(held, seen))), None)


class Exits:
    """The rules for every instrument of a strategy. The first rule that wants to leave gives the reason."""

    def __init__(self, rules: Sequence[Rule], look: Look = "close") -> None:
        self._rules = tuple(rules)
        self._look = look
        self._instruments: dict[str, InstrumentExits] = {}

    def on_fill(self, fill: OrderFilled, position: Position) -> None:
        """Take note of one of the strategy's own fills; `position` counts it already."""
        if fill.instrument not in self._instruments:
            self._instruments[fill.instrument] = InstrumentExits(self._rules, self._look)
        self._instruments[fill.instrument].on_fill(fill, position)

    def on_bar(self, bar: Bar) -> Target | None:
        """Return the wish to hold nothing, None to stay. It is told of every bar while a position is open."""
        one = self._instruments.get(bar.instrument)
        reason = one.on_bar(bar) if one is not None else None
        return None if reason is None else Target(instrument=bar.instrument, qty=Decimal(0), reason=reason)


class ExitParams(StrategyParams):
    """Exits as a strategy's parameter, such as `exits = {stop_loss = 0.02, look = "range"}`; None is no such rule."""

    stop_loss: Decimal | None = Field(None, gt=0, lt=1, description="loss to leave at, a fraction of the entry")
    trailing_stop: Decimal | None = Field(None, gt=0, lt=1, description="fall from the best price, a fraction of it")
    break_even: Decimal | None = Field(None, gt=0, description="profit that moves the stop to the entry, a fraction")
    take_profit: Decimal | None = Field(None, gt=0, description="profit to leave at, a fraction of the entry")
    time_limit: Duration | None = Field(None, description="longest time to hold")
    look: Look = Field("close", description="judge closes, or also highs and lows")

    def make(self) -> Exits | None:
        """Return the exits, stops before profits, None where there are none."""
        rules: list[Rule] = []
        for fraction, rule in (
            (self.stop_loss, stop_loss),
            (self.trailing_stop, trailing_stop),
            (self.break_even, break_even),
            (self.take_profit, take_profit),
        ):
            if fraction is not None:
                rules.append(rule(fraction))
        if self.time_limit is not None:
            rules.append(time_exit(self.time_limit))
        return Exits(rules, self.look) if rules else None


def _short(price: Decimal) -> str:
    """Return an average price without the digits that division leaves."""
    return f"{price:.10g}"
