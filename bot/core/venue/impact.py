"""How liquid the market was, and what it costs to take from it where there is no book to walk.

`TradedHours` counts what traded in whole hours. Its answers at a time are of the hours that had ended by then, never of
the hour at hand, so nothing of the future is in them. All counts are integers: how the tape is cut changes no answer.

Prices are ticks, quantities steps; an impact is a fraction of the price, the only float here.
"""

import math
from decimal import Decimal
from typing import Protocol

import msgspec
import numpy as np
from numba import njit

from bot.domain.instrument import Side
from bot.domain.market import I64, BarBatch, EventBarBatch, TradeBatch

HOUR_NS = 3_600_000_000_000
_DAY = 24
_VOLUME, _VISITS, _HIGH, _LOW = range(4)
_PARKINSON = math.sqrt(4 * math.log(2))


class TradedHours:
    """What traded in each hour of UTC: volume, visits of prices, highest and lowest price.

    A *visit* is a stretch of trades of one taker side at one price, ended by that side's trading elsewhere: the other
    side's trades in between do not end it, or the bounce between bid and ask would count as change. Of a bar, which
    tells no order, it is taken that every price from low to high was visited once, but no more than there were trades.

    Args:
        hours_max: how far back may be asked.
    """

    def __init__(self, *, hours_max: int = _DAY) -> None:
        self._hours_max = hours_max
        self._hours: dict[int, list[int]] = {}
        self._levels: dict[tuple[int, int], int | None] = {}  # answers of `level_qty` until more is counted
        self._last_ticks = np.zeros(2, dtype=np.int64)  # of the last trade of each taker side: sellers, buyers

    def extend(self, batch: TradeBatch | BarBatch, now_ns: int) -> None:
        """Count `batch`, and forget what is too old to be asked for at `now_ns` or later.

        A bar longer than an hour counts for its last one, or it would be known before it closed. Rows without volume
        or without a price are left out.

        Raises:
            ValueError: bars that the clock does not close; what they are made of can be counted.
        """
        self._levels.clear()
        for hour, *counts in self._counted(batch).tolist():
            held = self._hours.setdefault(hour, counts)
            if held is not counts:
                held[_VOLUME] += counts[_VOLUME]
                held[_VISITS] += counts[_VISITS]
                held[_HIGH] = max(held[_HIGH], counts[_HIGH])
                held[_LOW] = min(held[_LOW], counts[_LOW])
        if len(self._hours) > 2 * self._hours_max:
            oldest = now_ns // HOUR_NS - self._hours_max
            self._hours = {hour: counts for hour, counts in self._hours.items() if hour >= oldest}

    def volume(self, at_ns: int, hours: int = _DAY) -> int:
        """Return what traded in the whole hours before `at_ns`, in steps; 0 also where nothing is known.

        Raises:
            ValueError: more hours than are kept.
        """
        return sum(counts[_VOLUME] for counts in self._before(at_ns, hours))

    def range_volatility(self, at_ns: int, hours: int = _DAY) -> float | None:
        """Return ln(high / low) / sqrt(4 ln 2) of the whole hours before `at_ns`, None where nothing traded.

        It is the deviation of the log return over those hours, or over as many of them as are known.

        Raises:
            ValueError: more hours than are kept.

        Source:
            Parkinson (1980), The extreme value method for estimating the variance of the rate of return.
        """
        before = self._before(at_ns, hours)
        if not before:
            return None
        high, low = max(counts[_HIGH] for counts in before), min(counts[_LOW] for counts in before)
        return math.log(high / low) / _PARKINSON

    def level_qty(self, at_ns: int, hours: int = _DAY) -> int | None:
        """Return volume / visits of the whole hours before `at_ns`, in steps, rounded up; None where nothing traded.

        So much was taken from a price before that side moved on. What rests at one is several times as much, for most
        of it leaves untraded: see `core.venue.queue.assumed_ahead`.

        Raises:
            ValueError: more hours than are kept.
        """
        key = at_ns // HOUR_NS, hours
        if key not in self._levels:
            before = self._before(at_ns, hours)
            visits = sum(counts[_VISITS] for counts in before)
            volume = sum(counts[_VOLUME] for counts in before)
            self._levels[key] = -(-volume // max(1, visits)) if before else None
        return self._levels[key]

    def _before(self, at_ns: int, hours: int) -> list[list[int]]:
        if not 1 <= hours <= self._hours_max:
            raise ValueError(f"{hours} hours were asked for; from 1 to {self._hours_max} are kept")
        now = at_ns // HOUR_NS
        return [counts for hour in range(now - hours, now) if (counts := self._hours.get(hour)) is not None]

    def _counted(self, batch: TradeBatch | BarBatch) -> I64:
        """Return rows of hour, volume, visits, high and low; an hour may come more than once."""
        if isinstance(batch, EventBarBatch):
            raise ValueError(f"{batch.rule} bars may span hours; count the trades that they are made of")
        if isinstance(batch, TradeBatch):
            hours = batch.ts_ns // HOUR_NS
            out = _blank(hours)
            _count_trades(
                hours, batch.price_ticks, batch.qty_steps, batch.is_buy.astype(np.int64), self._last_ticks, out
            )
        else:
            hours = (batch.close_ns - 1) // HOUR_NS
            out = _blank(hours)
            _count_bars(hours, batch.high_ticks, batch.low_ticks, batch.volume_steps, batch.count, out)
        return out[out[:, 1 + _VOLUME] > 0]


class SquareRootImpact(msgspec.Struct, frozen=True, kw_only=True):
    """What a taker pays beyond the price, from its size and the day before.

    Args:
        coefficient: of the law, of order one.
        fraction_unknown: taken where no whole hour of history is known: some fifty times what an order of a hundred
            thousandth of the day's volume pays at a daily volatility of 3 %.
        fraction_max: never more, for the venue's price band would cancel the rest of such an order.
    """

    coefficient: float = 1.0
    fraction_unknown: float = 0.005
    fraction_max: float = 0.05

    def __post_init__(self) -> None:
        if not (self.coefficient >= 0 and 0 <= self.fraction_unknown <= self.fraction_max < 1):
            raise ValueError(
                f"an impact needs a coefficient of 0 or more and 0 <= fraction_unknown <= fraction_max < 1, not {self}"
            )

    def fraction(self, traded: TradedHours, qty_steps: int, at_ns: int) -> float:
        """Return how far an order of `qty_steps` that comes at `at_ns` moves the price, a fraction of it."""
        volatility = traded.range_volatility(at_ns)
        if volatility is None:
            return self.fraction_unknown
        moved = square_root_impact(
            qty=qty_steps, volume=traded.volume(at_ns), volatility=volatility, coefficient=self.coefficient
        )
        return min(moved, self.fraction_max)


def square_root_impact(*, qty: float, volume: float, volatility: float, coefficient: float = 1.0) -> float:
    """Return coefficient * volatility * sqrt(qty / volume): how far an order moves the price by its end, a fraction.

    Two thirds of it are the mean over the order's own fills; to charge it all errs against us. As volatility grows with
    the root of time and volume with time, it hardly matters over how long both are measured, if it is the same time.

    Args:
        qty: of the order, in any unit.
        volume: traded over some time, in the same unit.
        volatility: deviation of the log return over that time.
        coefficient: of order one.

    Raises:
        ValueError: the volume is not positive, or another argument is negative.

    Source:
        Toth et al. (2011), Anomalous price impact and the critical nature of liquidity in financial markets; Donier and
        Bonart (2015), A million metaorder analysis of market impact on the Bitcoin. The law was found on orders worked
        over minutes to days; for one that takes all at once a book, where there is one, says more.
    """
    if not (qty >= 0 and volume > 0 and volatility >= 0 and coefficient >= 0):
        raise ValueError(f"no impact of {qty} in {volume} at a volatility of {volatility} and a factor {coefficient}")
    return coefficient * volatility * math.sqrt(qty / volume)


class Spread(Protocol):
    """What a taker meets on the other side, where trades or bars tell only the last price."""

    def taker_ticks(self, side: Side, last_ticks: int, quote: tuple[int, int] | None = None) -> int:
        """Return the best price for a taker of `side`, in ticks.

        Args:
            side: the taker's.
            last_ticks: the last price, taken for the middle.
            quote: best bid and ask, where they are known.
        """


class FixedSpread(msgspec.Struct, frozen=True, kw_only=True, tag="fixed"):
    """Ask and bid stand so many ticks apart, half of it rounded up on either side of the last price.

    Raises:
        ValueError: it is negative.
    """

    spread_ticks: int

    def __post_init__(self) -> None:
        if self.spread_ticks < 0:
            raise ValueError(f"a spread must not be negative: {self.spread_ticks} ticks")

    def taker_ticks(self, side: Side, last_ticks: int, quote: tuple[int, int] | None = None) -> int:
        """See `Spread`."""
        return _away(side, last_ticks, -(-self.spread_ticks // 2))


class FractionalSpread(msgspec.Struct, frozen=True, kw_only=True, tag="fractional"):
    """Ask and bid stand a fraction of the last price apart, half of it rounded up to whole ticks on either side.

    Raises:
        ValueError: it is not from 0 to below 1.
    """

    fraction: Decimal

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise ValueError(f"a spread must be a fraction from 0 to below 1, not {self.fraction}")

    def taker_ticks(self, side: Side, last_ticks: int, quote: tuple[int, int] | None = None) -> int:
        """See `Spread`."""
        numerator, denominator = self.fraction.as_integer_ratio()
        return _away(side, last_ticks, -(-last_ticks * numerator // (2 * denominator)))


class QuotedSpread(msgspec.Struct, frozen=True, kw_only=True, tag="quoted"):
    """Ask and bid are those quoted; while there are none, they stand as `otherwise` says."""

    otherwise: FixedSpread | FractionalSpread

    def taker_ticks(self, side: Side, last_ticks: int, quote: tuple[int, int] | None = None) -> int:
        """See `Spread`."""
        if quote is None:
            return self.otherwise.taker_ticks(side, last_ticks)
        return quote[1] if side is Side.BUY else quote[0]


def _away(side: Side, ticks: int, by: int) -> int:
    """Return the price so much worse for a taker, and never nothing."""
    return max(1, ticks + by * side.sign)


def _blank(hours: I64) -> I64:
    """Return a row without counts for each stretch of one hour."""
    starts = np.flatnonzero(np.append(True, hours[1:] != hours[:-1])) if len(hours) else np.empty(0, dtype=np.int64)
    out = np.zeros((len(starts), 5), dtype=np.int64)
    out[:, 0] = hours[starts]
    out[:, 1 + _LOW] = np.iinfo(np.int64).max
    return out


@njit(cache=True, nogil=True)
def _count_trades(hours, price, qty, is_buy, last, out):  # type: ignore[no-untyped-def]
    at = 0
    for i in range(hours.size):
        at += hours[i] != out[at, 0]
        if price[i] > 0 and qty[i] > 0:
            _count(out[at], price[i], price[i], qty[i], price[i] != last[is_buy[i]])
            last[is_buy[i]] = price[i]


@njit(cache=True, nogil=True)
def _count_bars(hours, high, low, volume, count, out):  # type: ignore[no-untyped-def]
    at = 0
    for i in range(hours.size):
        at += hours[i] != out[at, 0]
        if low[i] > 0 and volume[i] > 0:
            prices = high[i] - low[i] + 1
            _count(out[at], high[i], low[i], volume[i], min(prices, count[i]) if count[i] > 0 else prices)


@njit(cache=True, nogil=True)
def _count(row, high, low, volume, visits):  # type: ignore[no-untyped-def]
    row[1 + _VOLUME] += volume
    row[1 + _VISITS] += visits
    row[1 + _HIGH] = max(row[1 + _HIGH], high)
    row[1 + _LOW] = min(row[1 + _LOW], low)
