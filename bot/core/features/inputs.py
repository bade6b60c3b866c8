"""What formulas may read: the columns of closed bars, and what is joined to them by the time it was known."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numba import njit

from bot.core.book_features import BOOK_COLUMNS
from bot.domain.instrument import Instrument
from bot.domain.market import F64, GAP, I64, NO_FLOW, BarBatch

_DAY_NS: Final = 86_400_000_000_000


class Origin(StrEnum):
    """Where an input comes from, and so what a live start needs before it is there."""

    KLINES = "klines"  # open, high, low, close, volume, turnover: the venue serves years of them
    CLOCK = "clock"  # the bar's own close
    FUNDING = "funding"  # settled rates: the venue serves their history
    MARK = "mark"  # mark-price klines: the same
    REFERENCE = "reference"  # another instrument's klines
    FINER = "finer"  # the smallest bars inside a bar
    TRADES = "trades"  # who took, how often: klines do not say
    BOOK = "book"  # the order book: no history is served

    @property
    def from_klines(self) -> bool:
        """Return whether the venue's history alone can supply it."""
        return self not in (Origin.TRADES, Origin.BOOK)


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One column that formulas may read."""

    origin: Origin
    unit: str
    meaning: str


def _bars(unit: str, meaning: str, origin: Origin = Origin.KLINES) -> Input:
    return Input(origin=origin, unit=unit, meaning=meaning)


INPUTS: Final[dict[str, Input]] = {
    "open": _bars("quote/base", "first price"),
    "high": _bars("quote/base", "highest price"),
    "low": _bars("quote/base", "lowest price"),
    "close": _bars("quote/base", "last price"),
    "volume": _bars("base", "volume"),
    "turnover": _bars("quote", "sum of price times quantity; not known where the source has volume alone"),
    "is_empty": _bars("1", "1 where nothing traded, else 0"),
    "is_gap": _bars("1", "1 where the source has no row: the bar is flat because unknown, else 0"),
    "count": _bars("1", "number of trades", Origin.TRADES),
    "buy_volume": _bars("base", "volume of the trades whose taker bought", Origin.TRADES),
    "day_phase": _bars("turn", "time of day at the close, UTC, as a part of the day", Origin.CLOCK),
    "week_phase": _bars("turn", "the same of the week, from Monday", Origin.CLOCK),
    "month_phase": _bars("turn", "the same of the calendar month, however long", Origin.CLOCK),
    "year_phase": _bars("turn", "the same of the calendar year, however long", Origin.CLOCK),
    "funding_phase": _bars("turn", "time since the last settlement as a part of the funding interval", Origin.CLOCK),
    "realised_variance": _bars("1", "sum of the squared log returns of the smallest bars inside the bar", Origin.FINER),
    "funding_rate": _bars("1", "the newest rate settled by the close", Origin.FUNDING),
    "mark_close": _bars("quote/base", "the newest mark price known by the time the bar is", Origin.MARK),
    "ref_close": _bars("quote/base", "the reference instrument's close of the same interval", Origin.REFERENCE),
} | {name: _bars(unit, "see core.book_features", Origin.BOOK) for name, unit in BOOK_COLUMNS.items()}


# The inputs that bars and their times supply by themselves, in the order in which `fill_bar_inputs` writes them.
BAR_INPUTS: Final = tuple(INPUTS)[:15]


def units_of(instrument: Instrument) -> F64:
    """Return numerator and denominator of a tick and of a step, as `fill_bar_inputs` takes them."""
    return np.array([*instrument.tick_size.as_integer_ratio(), *instrument.qty_step.as_integer_ratio()], np.float64)


def fill_bar_inputs(bars: BarBatch, close_ns: I64, units: F64, out_IN: F64, *, funding_interval_ns: int) -> None:
    """Write `BAR_INPUTS` into the first rows of `out_IN`, one column a bar; NaN where the source does not tell.

    A source may tell the turnover and yet not who took: klines do.
    """
    _fill(
        out_IN,
        bars.open_ticks,
        bars.high_ticks,
        bars.low_ticks,
        bars.close_ticks,
        bars.volume_steps,
        bars.turnover,
        bars.count,
        bars.buy_steps,
        bars.flags,
        close_ns,
        units,
        funding_interval_ns,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(  # type: ignore[no-untyped-def]
    out, open_, high, low, close, volume, turnover, count, buy, flags, close_ns, units, funding_interval_ns
):
    # One multiplication by an exact integer and one division, as in `Instrument.prices`: the nearest double.
    for i in range(close.size):
        out[0, i] = open_[i] * units[0] / units[1]
        out[1, i] = high[i] * units[0] / units[1]
        out[2, i] = low[i] * units[0] / units[1]
        out[3, i] = close[i] * units[0] / units[1]
        out[4, i] = volume[i] * units[2] / units[3]
        traded = volume[i] > 0
        unknown = flags[i] & (NO_FLOW | GAP) != 0
        value = turnover[i] * units[0] / units[1] * units[2] / units[3]
        out[5, i] = math.nan if unknown or (traded and turnover[i] <= 0) else value
        out[6, i] = 0.0 if traded else 1.0
        out[7, i] = 1.0 if flags[i] & GAP != 0 else 0.0
        takers_unknown = unknown or (traded and count[i] <= 0)
        out[8, i] = math.nan if takers_unknown else count[i] * 1.0
        out[9, i] = math.nan if takers_unknown else buy[i] * units[2] / units[3]
        ns = close_ns[i]
        day = ns // _DAY_NS
        time = ns - day * _DAY_NS
        out[10, i] = time / _DAY_NS
        # 1970-01-01 was a Thursday.
        out[11, i] = ((day + 3) % 7 * _DAY_NS + time) / (7 * _DAY_NS)
        out[12, i], out[13, i] = _phases_of_month_and_year(day, time)
        out[14, i] = ns % funding_interval_ns / funding_interval_ns


@njit(cache=True, nogil=True, error_model="numpy")
def _phases_of_month_and_year(day, time):  # type: ignore[no-untyped-def]
    """Return how much of the calendar month and year has passed.

    Source: Howard Hinnant, "chrono-compatible low-level date algorithms": years are counted from March, so that the
    odd day comes last, in eras of 400 years.
    """
    shifted = day + 719_468
    era = shifted // 146_097
    of_era = shifted - era * 146_097
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * of_year + 2) // 153  # from 0, March
    of_month = of_year - (153 * month + 2) // 5
    year = year_of_era + era * 400 + (1 if month >= 10 else 0)
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if month == 11:
        days = 29 if is_leap else 28
    else:
        days = 30 if month in (1, 3, 6, 8) else 31
    # of_year counts from 1 March; 306 days of a year lie from there to its end.
    since_january = of_year - 306 if month >= 10 else of_year + (60 if is_leap else 59)
    part = time / _DAY_NS
    return (of_month + part) / days, (since_january + part) / (366 if is_leap else 365)
