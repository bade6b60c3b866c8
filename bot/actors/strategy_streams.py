"""The rows a strategy is told of: bars, forecasts and the timer's times, each with its place in the calendar."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.core.calendar import NEVER, Class, Key
from bot.domain.market import BarBatch, ForecastBatch


class BarStream:
    """The bars of one instrument and one scale or rule: those known, and those that the slabs already hold."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.bars: BarBatch | None = None
        self.columns: dict[str, NDArray[Any]] = {}
        self.count = 0
        self.cursor = 0  # rows before it have been passed

    def extend(self, bars: BarBatch, columns: Mapping[str, NDArray[Any]], now_ns: int, lookback: int) -> None:
        if self.bars is None:
            self.bars, self.columns, self.count = bars, dict(columns), len(bars)
            return
        self.skip(now_ns)
        drop = max(0, self.cursor - lookback)
        self.bars = type(bars).join([self.bars.rows(drop, len(self.bars)), bars])
        self.columns = {name: np.concatenate([c[drop:], columns[name]]) for name, c in self.columns.items()}
        self.count = len(self.bars)
        self.cursor -= drop

    def skip(self, now_ns: int) -> None:
        """Pass the rows known before now: they were there to be acted upon and nobody did."""
        if self.bars is not None:
            self.cursor = max(self.cursor, int(self.bars.known_ns.searchsorted(now_ns)))

    def key(self, row: int) -> Key:
        assert self.bars is not None
        return int(self.bars.known_ns[row]), Class.BAR, self.number, self.bars.first_row + row


class ForecastStream:
    """The forecasts of one instrument."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.forecasts: ForecastBatch | None = None
        self.cursor = 0

    def extend(self, forecasts: ForecastBatch, now_ns: int) -> None:
        if self.forecasts is None:
            self.forecasts = forecasts
            return
        self.skip(now_ns)
        rest = self.forecasts.rows(self.cursor, len(self.forecasts))
        # Of another model nothing is left to be told once its successor speaks.
        self.forecasts = forecasts if rest.model_id != forecasts.model_id else ForecastBatch.join([rest, forecasts])
        self.cursor = 0

    def skip(self, now_ns: int) -> None:
        if self.forecasts is not None:
            self.cursor = max(self.cursor, int(self.forecasts.known_ns.searchsorted(now_ns)))

    def key(self, row: int) -> Key:
        assert self.forecasts is not None
        return int(self.forecasts.known_ns[row]), Class.FORECAST, self.number, self.forecasts.first_row + row


class Timer:
    """The strategy's timer: whole multiples of its interval since the epoch, from the first slab on."""

    def __init__(self, number: int, interval_ns: int) -> None:
        self._number = number
        self._interval_ns = interval_ns
        self.next_ns = 0

    def start(self, now_ns: int) -> None:
        if not self.next_ns:
            self.next_ns = (now_ns // self._interval_ns + 1) * self._interval_ns

    def pass_one(self) -> None:
        self.next_ns += self._interval_ns

    def key(self) -> Key:
        return self.next_ns, Class.TIMER, self._number, 0


Stream = BarStream | ForecastStream | Timer
Due = tuple[Key, Stream | None, int]
NOTHING: Due = (NEVER, None, 0)
