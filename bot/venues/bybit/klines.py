"""The venue's own bars of one instrument and interval to columns: each closed bar once, and which are missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bot.domain.instrument import Instrument
from bot.domain.market import NO_FLOW, BarBatch
from bot.venues.bybit.decode import refuse
from bot.venues.bybit.history_pages import INTERVALS
from bot.venues.bybit.numbers import decimal_of, grid_of, units_of
from bot.venues.bybit.wire import KlineFrame, Refused, WireKline

_MS = 1_000_000
_INTERVAL_NS = {interval: scale_ns for scale_ns, interval in INTERVALS.items()}


@dataclass(kw_only=True, slots=True)
class KlineCounts:
    """What was left out of a stream of klines, and why."""

    open: int = 0  # not closed yet
    repeated: int = 0  # told closed again, the same
    changed: int = 0  # told closed again, and otherwise: the first is kept


class KlineDecoder:
    """The venue's own closed bars, each once and in order; where some are missing, which.

    A bar that is not closed says nothing that may be acted upon, and gives no row.
    """

    def __init__(self, instrument: Instrument, interval: str) -> None:
        if interval not in _INTERVAL_NS:
            raise ValueError(f"klines of interval {interval} have no fixed length")
        self._instrument = instrument
        self._scale_ns = _INTERVAL_NS[interval]
        self._price, self._qty = grid_of(instrument.tick_size), grid_of(instrument.qty_step)
        self._rows = 0
        self._last: WireKline | None = None
        self.counts = KlineCounts()

    def decode(self, frames: Sequence[KlineFrame]) -> tuple[BarBatch, list[tuple[int, int]], list[Refused]]:
        """Return the bars that closed, the ranges [from_ns, to_ns) missing among them, and what was refused."""
        rows: list[tuple[int, ...]] = []
        missing: list[tuple[int, int]] = []
        refused: list[Refused] = []
        for frame in frames:
            for kline in frame.klines:
                if not self._is_news(kline):
                    continue
                try:
                    row = self._row(kline, frame.known_ns)
                except ValueError as error:
                    refused.append(refuse(frame, str(error)))
                    continue
                if self._last is not None and kline.start * _MS > self._last.start * _MS + self._scale_ns:
                    missing.append((self._last.start * _MS + self._scale_ns, kline.start * _MS))
                self._last = kline
                rows.append(row)
        return self._batch(rows), missing, refused

    def _is_news(self, kline: WireKline) -> bool:
        if not kline.confirm:
            self.counts.open += 1
            return False
        if self._last is None or kline.start > self._last.start:
            return True
        said = (kline.open, kline.high, kline.low, kline.close, kline.volume)
        last = self._last
        if kline.start == last.start and said != (last.open, last.high, last.low, last.close, last.volume):
            self.counts.changed += 1
        else:
            self.counts.repeated += 1
        return False

    def _row(self, kline: WireKline, known_ns: int) -> tuple[int, ...]:
        open_ns = kline.start * _MS
        if open_ns % self._scale_ns or (kline.end + 1) * _MS != open_ns + self._scale_ns:
            raise ValueError("a bar that does not lie on its interval's grid")
        open_, high, low, close = (
            units_of(text, self._price) for text in (kline.open, kline.high, kline.low, kline.close)
        )
        volume = units_of(kline.volume, self._qty)
        if not 0 < low <= min(open_, close) <= max(open_, close) <= high:
            raise ValueError("a bar whose prices contradict each other")
        turnover, is_told = self._turnover(kline.turnover, low * volume, high * volume)
        flags = 0 if is_told else NO_FLOW
        known_ns = max(known_ns, open_ns + self._scale_ns)
        return (open_ns, known_ns, open_, high, low, close, volume, turnover, 0, 0, flags)

    def _turnover(self, text: str, least: int, most: int) -> tuple[int, bool]:
        """Return a turnover in ticks times steps, and whether it can be: between all at the low and all at the high."""
        unit = self._instrument.tick_size * self._instrument.qty_step
        turnover = int((decimal_of(text) / unit).to_integral_value())
        is_told = least - 1 <= turnover <= most + 1 and turnover < 2**62
        return (turnover if is_told else 0), is_told

    def _batch(self, rows: list[tuple[int, ...]]) -> BarBatch:
        table = np.array(rows, dtype=np.int64).reshape(len(rows), len(BarBatch.COLUMNS))
        columns = dict(zip(BarBatch.COLUMNS, np.ascontiguousarray(table.T), strict=True))
        first_row, self._rows = self._rows, self._rows + len(rows)
        return BarBatch(
            instrument=self._instrument,
            scale_ns=self._scale_ns,
            first_row=first_row,
            **{**columns, "flags": columns["flags"].astype(np.uint8)},
        )
