"""Buy a close above the highest high of `entry` bars before it; leave at a close below the lowest low of `exit` bars.

`docs/strategies.md` walks through this file. `Breakout` is the plain form: it looks back at every bar. `FastBreakout`
computes the same levels for many bars at once and says which bars could matter. Both leave the very same ledger:

    bot replay --set strategy.name=docs/examples/breakout.py:Breakout
    bot replay --set strategy.name=docs/examples/breakout.py:FastBreakout
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import Field

from bot.core.durations import Duration, parse_duration
from bot.domain.market import I64, BarBatch
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar


class BreakoutParams(StrategyParams):
    """What may be tuned; `strategy.params` in the settings."""

    scale: Duration = Field(parse_duration("1h"), description="length of the bars")
    entry: int = Field(48, ge=1, le=400, description="bars whose highest high is to be broken")
    exit: int = Field(24, ge=1, le=400, description="bars whose lowest low ends it")
    qty: Decimal = Field(Decimal("0.5"), gt=0, description="what to hold while long, base currency")


class Breakout(Strategy[BreakoutParams]):
    """The plain form."""

    name = "breakout"
    Params = BreakoutParams

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """Return the one scale it is told of."""
        return (self.params.scale,)

    def on_bar(self, bar: Bar) -> Actions:
        """Compare the newest close with the bars before it."""
        entry, leave = self.params.entry, self.params.exit
        longest = max(entry, leave)
        past = self.bars(bar.instrument, bar.scale_ns, longest + 1)
        if len(past) <= longest:
            return None  # not enough history yet
        close = past.close_ticks[-1]
        holding = bool(self.position(bar.instrument).qty)
        if not holding and close > past.high_ticks[-1 - entry : -1].max():
            return self.target(bar.instrument, self.params.qty, reason=f"above the high of {entry} bars")
        if holding and close < past.low_ticks[-1 - leave : -1].min():
            return self.target(bar.instrument, Decimal(0), reason=f"below the low of {leave} bars")
        return None


class FastBreakout(Breakout):
    """The same decisions from columns."""

    def on_start(self) -> None:
        """Begin without history."""
        self._before: dict[str, tuple[I64, I64]] = {}

    def columns(self, bars: BarBatch) -> Mapping[str, NDArray[Any]]:
        """Return at which bars the close breaks out (`up`) or breaks down (`down`)."""
        longest = max(self.params.entry, self.params.exit)
        name = bars.instrument.name
        nothing = np.empty(0, dtype=np.int64)
        highs, lows = self._before.get(name, (nothing, nothing))
        highs, lows = np.concatenate([highs, bars.high_ticks]), np.concatenate([lows, bars.low_ticks])
        self._before[name] = highs[-longest:], lows[-longest:]
        up, down = np.zeros(len(bars), dtype=bool), np.zeros(len(bars), dtype=bool)
        ready = max(len(highs) - longest, 0)  # so many of the newest bars have enough bars before them
        if ready:
            closes = bars.close_ticks[-ready:]
            up[-ready:] = closes > sliding_window_view(highs[:-1], self.params.entry)[-ready:].max(axis=1)
            down[-ready:] = closes < sliding_window_view(lows[:-1], self.params.exit)[-ready:].min(axis=1)
        return {"up": up, "down": down}

    def next_row(self, bars: BarBatch, columns: Mapping[str, NDArray[Any]], start: int) -> int:
        """Return the next bar that speaks against the position as it is now."""
        wanted = columns["down" if self.position(bars.instrument.name).qty else "up"][start:]
        row = int(wanted.argmax())
        return start + row if wanted[row] else len(bars)

    def on_bar(self, bar: Bar) -> Actions:
        """Act where the columns say so."""
        holding = bool(self.position(bar.instrument).qty)
        if not holding and bar["up"]:
            reason = f"above the high of {self.params.entry} bars"
            return self.target(bar.instrument, self.params.qty, reason=reason)
        if holding and bar["down"]:
            reason = f"below the low of {self.params.exit} bars"
            return self.target(bar.instrument, Decimal(0), reason=reason)
        return None
