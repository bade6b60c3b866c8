"""Strategies that look ahead, each in a way that the pipeline lets pass, and honest ones that come close to it.

`python -m bot replay --check-lookahead --set strategy.name=tests.support.leaky_strategies:SlabPeek` finds the first.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.core.durations import parse_duration
from bot.domain.instrument import Side
from bot.domain.market import BarBatch
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar, Forecast

QUARTER_NS = parse_duration("15m")
ONE = Decimal("0.1")


class _Quarters(Strategy[StrategyParams]):
    """Long while `wants` says so, told of every quarter of an hour."""

    name = "quarters"

    @property
    def scales_ns(self) -> tuple[int, ...]:
        return (QUARTER_NS,)

    def wants(self, bar: Bar) -> bool:
        raise NotImplementedError

    def on_bar(self, bar: Bar) -> Actions:
        qty = ONE if self.wants(bar) else Decimal(0)
        if qty == self.position(bar.instrument).qty:
            return None
        return self.target(bar.instrument, qty, reason="wanted" if qty else "not wanted")


# --- leaks ------------------------------------------------------------------------------------------------------------


class SlabPeek(_Quarters):
    """`columns` reads the next bar, which its slab already holds."""

    def columns(self, bars: BarBatch) -> Mapping[str, NDArray[Any]]:
        return {"is_up": np.append(bars.close_ticks[1:] > bars.close_ticks[:-1], False)}

    def wants(self, bar: Bar) -> bool:
        return bool(bar["is_up"])


class SlabMean(_Quarters):
    """`columns` compares each bar with the mean of all bars it was handed."""

    def columns(self, bars: BarBatch) -> Mapping[str, NDArray[Any]]:
        return {"distance": bars.closes - bars.closes.mean()}

    def wants(self, bar: Bar) -> bool:
        return bool(bar["distance"] < 0)


class BestRow(_Quarters):
    """`next_row` picks the lowest bar ahead to buy at, and the highest to sell at."""

    def next_row(self, bars: BarBatch, columns: Mapping[str, NDArray[Any]], start: int) -> int:
        ahead: Any = bars.close_ticks[start : start + 20]
        return start + int(ahead.argmax() if self.position(bars.instrument.name).qty else ahead.argmin())

    def wants(self, bar: Bar) -> bool:
        return not self.position(bar.instrument).qty


class BaseOfView(_Quarters):
    """Reads on in the memory that its bars are views of."""

    def wants(self, bar: Bar) -> bool:
        past = self.bars(bar.instrument, bar.scale_ns, 1).close_ticks
        close = int(past[-1])
        if past.base is None:
            return bool(close % 2)  # there is nothing to be seen: go by something that is no secret
        start, memory = past.base.__array_interface__["data"][0], past.base.ravel()
        after = (past.__array_interface__["data"][0] - start) // 8 + 1
        return after < len(memory) and close < int(memory[after]) < 2 * close


class InsideTheBar(_Quarters):
    """Takes the batch out of the bar it is told of, and reads the row after its own."""

    def wants(self, bar: Bar) -> bool:
        row = bar._row + 1
        return row < len(bar._bars) and bool(bar._bars.close_ticks[row] > bar._bars.close_ticks[row - 1])


class KeptBatch(_Quarters):
    """Keeps the batch that `columns` is handed, and looks an hour ahead in it."""

    def columns(self, bars: BarBatch) -> Mapping[str, NDArray[Any]]:
        self._kept = bars
        return {}

    def wants(self, bar: Bar) -> bool:
        ahead = int(self._kept.open_ns.searchsorted(bar.open_ns + 4 * bar.scale_ns))
        price = self._kept.instrument.price(int(self._kept.close_ticks[min(ahead, len(self._kept) - 1)]))
        return price > bar.close_price


class FormingDay(_Quarters):
    """Knows whether the day will end higher: joins the day's last close to each of its bars."""

    def columns(self, bars: BarBatch) -> Mapping[str, NDArray[Any]]:
        days = bars.open_ns // parse_duration("1d")
        last = np.searchsorted(days, days, side="right") - 1
        return {"rest_of_day": bars.close_ticks[last] - bars.close_ticks}

    def wants(self, bar: Bar) -> bool:
        return bool(bar["rest_of_day"] > 0)


class NextForecast(Strategy[StrategyParams]):
    """Acts on the forecast after the one it is told of."""

    name = "next"
    wants_forecasts = True
    horizons_ns = (parse_duration("1h"),)

    def on_forecast(self, forecast: Forecast) -> Actions:
        row = forecast._row + 1
        if row >= len(forecast._forecasts) or row % 6:
            return None
        ahead = Forecast(forecast._forecasts, row)
        qty = ONE if ahead.median(self.horizons_ns[0]) > forecast.median(self.horizons_ns[0]) else Decimal(0)
        return self.target(forecast.instrument, qty, reason="next forecast")


LEAKY = (SlabPeek, SlabMean, BestRow, BaseOfView, InsideTheBar, KeptBatch, FormingDay, NextForecast)


# --- honest -----------------------------------------------------------------------------------------------------------


class CarriedMean(_Quarters):
    """Compares each bar with a mean that is carried from batch to batch."""

    def on_start(self) -> None:
        self._means: dict[str, float] = {}

    def columns(self, bars: BarBatch) -> Mapping[str, NDArray[Any]]:
        distance, name = np.empty(len(bars)), bars.instrument.name
        for row, close in enumerate(bars.closes.tolist()):
            mean = self._means.get(name, close)
            self._means[name] = mean + 0.1 * (close - mean)
            distance[row] = close - self._means[name]
        return {"distance": distance}

    def wants(self, bar: Bar) -> bool:
        return bool(bar["distance"] < 0)


class LookBack(_Quarters):
    """Compares the newest bar with those before it, in all the memory it is given."""

    def wants(self, bar: Bar) -> bool:
        past = self.bars(bar.instrument, bar.scale_ns, 50)
        return len(past) > 1 and bool(past.close_ticks[-1] < past.close_ticks[:-1].mean())


class ByTheClock(Strategy[StrategyParams]):
    """Buys and sells at fixed hours, whatever the market does."""

    name = "by_the_clock"
    timer_ns = parse_duration("6h")

    def on_timer(self, now_ns: int) -> Actions:
        qty = ONE if now_ns // parse_duration("6h") % 2 else Decimal(0)
        return self.target("SAMPLEUSDT", qty, reason="it is time")


class Resting(Strategy[StrategyParams]):
    """Rests bids below the market and offers above it, and takes them back on a timer."""

    name = "resting"
    timer_ns = parse_duration("20m")

    def on_start(self) -> None:
        self._seen: dict[str, bool] = {}

    @property
    def scales_ns(self) -> tuple[int, ...]:
        return (QUARTER_NS,)

    def on_bar(self, bar: Bar) -> Actions:
        self._seen[bar.instrument] = True
        qty = self.position(bar.instrument).qty
        if self.open_orders(bar.instrument):
            return None
        side, factor = (Side.SELL, Decimal("1.001")) if qty else (Side.BUY, Decimal("0.999"))
        price = self.instrument(bar.instrument).round_price(bar.close_price * factor, side)
        return self.limit_order(bar.instrument, side, ONE, price, reason="rest")

    def on_timer(self, now_ns: int) -> Actions:
        return [self.cancel(name, reason="too old") for name in self._seen if self.open_orders(name)]


HONEST = (CarriedMean, LookBack, ByTheClock, Resting)


class ByChance(_Quarters):
    """Throws a coin that nobody seeded: not a look ahead, but nothing can be proven of it either."""

    _throws = 0

    def wants(self, bar: Bar) -> bool:
        type(self)._throws += 1  # goes on from run to run, as a coin does
        return type(self)._throws * 2654435761 % 2**32 < 2**31


class Silent(_Quarters):
    """Never wants anything."""

    def wants(self, bar: Bar) -> bool:
        return False


class EventPeek(_Quarters):
    """Reads the next of the bars that volume closes, and the honest form of it."""

    is_honest = False

    @property
    def scales_ns(self) -> tuple[int, ...]:
        return ()

    @property
    def event_rules(self) -> tuple[str, ...]:
        return ("volume:5",)

    def on_start(self) -> None:
        self._last: dict[str, int] = {}

    def columns(self, bars: BarBatch) -> Mapping[str, NDArray[Any]]:
        close = bars.close_ticks
        before = np.append(self._last.get(bars.instrument.name, close[0]), close[:-1])
        self._last[bars.instrument.name] = int(close[-1])
        return {"is_up": close > before if self.is_honest else np.append(close[1:] > close[:-1], False)}

    def wants(self, bar: Bar) -> bool:
        return bool(bar["is_up"])


class EventLookBack(EventPeek):
    """Reads the bar before."""

    is_honest = True


class Fragile(_Quarters):
    """Fails on prices it has never seen."""

    def wants(self, bar: Bar) -> bool:
        if not 20_000 < bar.close < 200_000:
            raise RuntimeError(f"what a price: {bar.close}")
        return bar.close < bar.open


class Broken(_Quarters):
    """Fails at once."""

    def wants(self, bar: Bar) -> bool:
        raise RuntimeError("no idea")


class BrokenColumns(_Quarters):
    """Fails before that."""

    def columns(self, bars: BarBatch) -> Mapping[str, NDArray[Any]]:
        return {"x": bars.closes / [1.0, 2.0, 3.0]}

    def wants(self, bar: Bar) -> bool:
        return False


class OtherColumns(BrokenColumns):
    """Gives other columns every time."""

    def columns(self, bars: BarBatch) -> Mapping[str, NDArray[Any]]:
        return {f"after {bars.first_row}": bars.closes}


class ShortColumns(BrokenColumns):
    """Gives fewer values than there are bars."""

    def columns(self, bars: BarBatch) -> Mapping[str, NDArray[Any]]:
        return {"x": bars.closes[1:]}
