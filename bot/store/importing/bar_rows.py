"""Bars, mark prices and funding rates out of rows and columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.core.durations import format_duration
from bot.domain.errors import DataError
from bot.store.importing.chunks import Chunk, TableFile, TextFile
from bot.store.importing.options import ImportOptions
from bot.store.importing.part import Part
from bot.store.importing.scan import NUMBER, TIME, WORD
from bot.store.importing.sieve import I64, Sieve, Times
from bot.store.importing.trade_rows import Target

OHLC = ("open", "high", "low", "close")
RATE_MAX = 0.1  # no perpetual has settled a tenth of the position at once; such a number is a percentage by mistake
_DAY_NS = 86_400_000_000_000
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class BarLayout:
    """Where a file keeps what of its bars.

    Attributes:
        ts: the column of the bar's open.
        prices: the columns of open, high, low and close.
        volume: base currency; None in mark and index prices.
        turnover, count, buy_volume: None where there is no such column.
        offset_ns: added to `ts`, for a file whose clock is not UTC.
        time_unit: of `ts`; None finds out.
        interval_ns: the bars' length; None takes the least distance of two of the first rows.
        is_sure: whether `interval_ns` was given by the user rather than read from the file's name.
    """

    ts: str
    prices: tuple[str, str, str, str]
    volume: str | None
    turnover: str | None = None
    count: str | None = None
    buy_volume: str | None = None
    offset_ns: int = 0
    time_unit: str | None = None
    interval_ns: int | None = None
    is_sure: bool = False


def read_bars(
    file: TextFile | TableFile,
    layout: BarLayout,
    family: str,
    target: Target,
    options: ImportOptions,
) -> Iterator[Part]:
    """Yield the bars of a file; `family` is "bars", "mark" or "index".

    Raises:
        DataError: the file is damaged, or the unit of its times or the length of its bars cannot be told.
    """
    numbers = (*layout.prices, layout.volume, layout.turnover, layout.count, layout.buy_volume)
    wanted = {layout.ts: TIME} | {name: NUMBER for name in numbers if name is not None}
    times = Times(file.path, layout.ts, unit=layout.time_unit)
    interval_ns = layout.interval_ns
    checked = layout.is_sure
    for chunk in file.chunks(wanted, options):
        sieve = Sieve(chunk)
        open_ns = times.read(sieve, offset_ns=layout.offset_ns)
        if not checked and sieve.keep.any():
            interval_ns = _interval(file, open_ns[sieve.keep], interval_ns)
            checked = True
        if interval_ns is None:
            raise DataError(f"{file.path}: no row has a time, so nothing tells how long a bar is; give --interval")
        label = format_duration(interval_ns)
        sieve.reject(is_off_grid(open_ns, interval_ns), f"does not open on the {label} grid")
        yield _bars(chunk, sieve, open_ns, layout, f"{family}-{label}", target)


def is_off_grid(open_ns: I64, interval_ns: int) -> NDArray[np.bool_]:
    """Return which bars do not open where bars of that length do: from midnight UTC, weeks from Monday."""
    monday_ns = 4 * _DAY_NS if interval_ns % (7 * _DAY_NS) == 0 else 0  # 1970-01-01 was a Thursday
    return np.asarray((open_ns - monday_ns) % interval_ns != 0)


def _interval(file: TextFile | TableFile, open_ns: I64, named_ns: int | None) -> int:
    """Return the bars' length as the rows tell it; refuse one that contradicts the name."""
    gaps = np.diff(np.unique(open_ns))
    if not len(gaps):
        if named_ns is None:
            raise DataError(f"{file.path}: one row does not tell how long a bar is; give --interval, such as 1m")
        return named_ns
    least = int(gaps.min())
    common = int(np.gcd.reduce(gaps))
    if named_ns is None:
        if common % _SECOND_NS or common != least or not (_DAY_NS % common == 0 or common % _DAY_NS == 0):
            raise DataError(
                f"{file.path}: the rows are {least / 1e9:g} s apart or more, no usual length; "
                "give --interval, such as 1m"
            )
        return common
    if least < named_ns or (len(gaps) >= 10 and common >= 2 * named_ns):
        raise DataError(
            f"{file.path}: its name says bars of {format_duration(named_ns)}, its rows are {least / 1e9:g} s apart; "
            "say which with --interval"
        )
    return named_ns


def _bars(chunk: Chunk, sieve: Sieve, open_ns: I64, layout: BarLayout, kind: str, target: Target) -> Part:
    prices = [sieve.numbers(name) for name in layout.prices]
    for name, price in zip(OHLC, prices, strict=True):
        sieve.reject(price.value <= 0, f"{name} is not positive")
    price_exponent, (open_, high, low, close) = sieve.exact(*prices)
    sieve.reject(high < np.maximum(open_, close), "high is below open or close")
    sieve.reject(low > np.minimum(open_, close), "low is above open or close")
    columns: dict[str, NDArray[Any]] = {"open_ns": open_ns, "open": open_, "high": high, "low": low, "close": close}
    qty_exponent = 0
    if layout.volume is not None:
        volumes = [sieve.numbers(layout.volume)]
        sieve.reject(volumes[0].value < 0, "volume is negative")
        if layout.buy_volume is not None:
            volumes.append(sieve.numbers(layout.buy_volume))
        qty_exponent, mantissas = sieve.exact(*volumes)
        columns["volume"] = mantissas[0]
        if layout.buy_volume is not None:
            sieve.reject((mantissas[1] < 0) | (mantissas[1] > mantissas[0]), "buy volume is not within the volume")
            columns["buy_volume"] = mantissas[1]
        if layout.turnover is not None:
            turnover = sieve.numbers(layout.turnover, may_lack=True).floats()
            sieve.reject(turnover < 0, "turnover is negative")
            columns["turnover"] = turnover
        if layout.count is not None:
            count = sieve.numbers(layout.count)
            sieve.reject((count.places != 0) | (count.value < 0), "count is not a whole number")
            columns["count"] = count.value
    return Part(
        venue=target.venue,
        symbol=target.symbol,
        kind=kind,
        price_exponent=price_exponent,
        qty_exponent=qty_exponent,
        columns=sieve.cut(columns),
        rejected=sieve.rejected(),
        source=target.source,
        rounded=sieve.rounded,
    )


def read_funding(
    file: TextFile | TableFile,
    *,
    ts: str,
    rate: str,
    symbol: str | Target,
    venue: str,
    options: ImportOptions,
) -> Iterator[Part]:
    """Yield the settled funding rates of a file, of one symbol or of many.

    Args:
        file: the file.
        ts, rate: its columns of time and rate, a fraction.
        symbol: its column of symbols, or the dataset that all rows are of.
        venue: of all rows.
        options: the unit of `ts`, and how rates are rounded.

    Raises:
        DataError: the file is damaged, or the unit of its times cannot be told.
    """
    wanted = {ts: TIME, rate: NUMBER} | ({symbol: WORD} if isinstance(symbol, str) else {})
    times = Times(file.path, ts, unit=options.time_unit)
    for chunk in file.chunks(wanted, options):
        sieve = Sieve(chunk)
        ts_ns = times.read(sieve)
        rates = sieve.numbers(rate)
        sieve.reject(np.abs(rates.floats()) > RATE_MAX, f"{rate} is more than {RATE_MAX:g}; a rate is a fraction")
        exponent, (mantissas,) = sieve.exact(rates)
        if isinstance(symbol, Target):
            groups = [(symbol.symbol, sieve.keep)]
        else:
            words = chunk.columns[symbol]
            sieve.reject(words.places < 0, f"{symbol} is missing")
            firsts = np.unique(words.value[sieve.keep], return_index=True)[1]
            rows = np.flatnonzero(sieve.keep)[np.sort(firsts)]
            groups = [
                (chunk.field(row, symbol), sieve.keep & (words.value == words.value[row])) for row in rows.tolist()
            ]
        rejected, rounded = sieve.rejected(), sieve.rounded
        if rejected and not groups:
            raise DataError(f"{file.path}: no row can be used; the first: {rejected[0].reason} ({rejected[0].text})")
        for name, keep in groups:
            yield Part(
                venue=venue,
                symbol=name,
                kind="funding",
                price_exponent=exponent,
                qty_exponent=0,
                columns={"ts_ns": ts_ns[keep], "rate": mantissas[keep]},
                rejected=rejected,
                rounded=rounded,
            )
            rejected, rounded = (), 0
