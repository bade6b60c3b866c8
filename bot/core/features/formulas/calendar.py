"""The calendar, funding and the mark price."""

from typing import Final

from bot.core.features.expression import Node, column, cos_turn, ln, sin_turn
from bot.core.features.formulas.chapter import Chapter
from bot.core.features.formulas.columns import CLOSE

CHAPTER = Chapter()
feature = CHAPTER.feature

_WAVES: Final = {"sin": sin_turn, "cos": cos_turn}


def _harmonic(wave: str, phase: str, harmonic: int) -> Node:
    if wave not in _WAVES or harmonic < 1:
        raise ValueError(f"{wave!r} number {harmonic}: use sin or cos, and whole numbers from 1")
    return _WAVES[wave](float(harmonic) * column(phase))


@feature(unit="1", source="S1 1.7, 1.12; S3 3.1")
def time_of_day(wave: str = "sin", harmonic: int = 1) -> Node:
    """Return the sine or cosine of so many turns a day, at the close, UTC.

    Unit: 1. Warm-up: 0. From klines: yes.
    """
    return _harmonic(wave, "day_phase", harmonic)


@feature(unit="1", source="S1 1.12; S3 3.1")
def day_of_week(wave: str = "sin", harmonic: int = 1) -> Node:
    """Return the sine or cosine of so many turns a week, from Monday, UTC.

    Unit: 1. Warm-up: 0. From klines: yes.
    """
    return _harmonic(wave, "week_phase", harmonic)


@feature(unit="1", source="S3 3.1, with the month's true length, so that its last day meets its first")
def day_of_month(wave: str = "sin", harmonic: int = 1) -> Node:
    """Return the sine or cosine of so many turns a calendar month.

    Unit: 1. Warm-up: 0. From klines: yes.
    """
    return _harmonic(wave, "month_phase", harmonic)


@feature(unit="1", source="S3 3.1, with the year's true length")
def day_of_year(wave: str = "sin", harmonic: int = 1) -> Node:
    """Return the sine or cosine of so many turns a calendar year.

    Unit: 1. Warm-up: 0. From klines: yes.
    """
    return _harmonic(wave, "year_phase", harmonic)


@feature(unit="1", source="S1 1.7, 1.12")
def funding_clock(wave: str = "sin", harmonic: int = 1) -> Node:
    """Return the sine or cosine of so many turns from one funding settlement to the next.

    Unit: 1. Warm-up: 0. From klines: yes.
    """
    return _harmonic(wave, "funding_phase", harmonic)


@feature(unit="bps", source="S1 1.12")
def funding_rate() -> Node:
    """Return the newest settled funding rate; positive is paid by longs to shorts. Never the one still forming.

    Unit: bps per funding interval. Warm-up: 0. From klines: yes, with the venue's funding history.
    """
    return 10_000.0 * column("funding_rate")


@feature(unit="bps", source="ours")
def mark_basis() -> Node:
    """Return ln(c / mark price).

    Unit: bps. Warm-up: 0. From klines: yes, with mark-price klines.
    """
    return 10_000.0 * ln(CLOSE / column("mark_close"))
