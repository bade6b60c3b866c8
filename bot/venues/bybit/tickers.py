"""Tickers of one instrument to columns: mark and index price, funding, best quote; changes are merged."""

from collections.abc import Callable, Sequence

import numpy as np

from bot.domain.instrument import Instrument
from bot.domain.market import TickerBatch
from bot.venues.bybit.decode import refuse
from bot.venues.bybit.numbers import NOT_POSITIVE, REASONS, TOO_LARGE, Grid, grid_of, nearest, units_of
from bot.venues.bybit.wire import Refused, TickerFrame

_MS = 1_000_000
_HOUR_NS = 3_600_000 * _MS
_NOTHING_KNOWN = dict.fromkeys(TickerBatch.COLUMNS[2:], 0)  # a ticker's state, in the order of its columns


class TickerDecoder:
    """A ticker and its changes to rows that hold all that is known.

    Changes before the first whole ticker are left out, and likewise after one that was refused: what it would have
    changed is unknown, so it gives a row in which nothing is known.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        price, qty = grid_of(instrument.tick_size), grid_of(instrument.qty_step)
        self._price_exponent = -max(8, min(17, price.places + 4))
        self._fields = _ticker_fields(price, qty, -self._price_exponent)
        self._state: dict[str, int] | None = None
        self._rows = 0
        self.unseeded = 0  # changes left out

    def forget(self) -> None:
        """Wait for a whole ticker."""
        self._state = None

    def decode(self, frames: Sequence[TickerFrame]) -> tuple[TickerBatch, list[int], list[Refused]]:
        """Return a row for each frame that says something, the places of those frames, and what was refused."""
        rows: list[tuple[int, ...]] = []
        places: list[int] = []
        refused: list[Refused] = []
        for place, frame in enumerate(frames):
            if self._state is None and not frame.is_snapshot:
                self.unseeded += 1
                continue
            try:
                changed = self._read(frame)
            except ValueError as error:
                refused.append(refuse(frame, str(error)))
                self._state, state = None, _NOTHING_KNOWN
            else:
                before = _NOTHING_KNOWN if self._state is None or frame.is_snapshot else self._state
                self._state = state = before | changed
            rows.append((frame.ts_ns, frame.known_ns, *state.values()))
            places.append(place)
        return self._batch(rows), places, refused

    def _read(self, frame: TickerFrame) -> dict[str, int]:
        changed: dict[str, int] = {}
        for key, name, read in self._fields:
            text = getattr(frame.values, key)
            if text is not None:
                try:
                    changed[name] = read(text) if text else 0
                except ValueError as error:
                    raise ValueError(f"{key} {text!r}: {error}") from None
                if name == "funding_rate_e8":
                    changed["has_funding"] = int(text != "")
        return changed

    def _batch(self, rows: list[tuple[int, ...]]) -> TickerBatch:
        table = np.array(rows, dtype=np.int64).reshape(len(rows), len(TickerBatch.COLUMNS))
        columns = dict(zip(TickerBatch.COLUMNS, np.ascontiguousarray(table.T), strict=True))
        first_row, self._rows = self._rows, self._rows + len(rows)
        return TickerBatch(
            instrument=self._instrument,
            first_row=first_row,
            price_exponent=self._price_exponent,
            **{**columns, "has_funding": columns["has_funding"] == 1},
        )


def _ticker_fields(price: Grid, qty: Grid, places: int) -> tuple[tuple[str, str, Callable[[str], int]], ...]:
    """Return each field with its place in the state and what reads it; `places` are of mark and index."""

    def ticks(text: str) -> int:
        return units_of(text, price)

    def steps(text: str) -> int:
        return units_of(text, qty)

    def fine(text: str) -> int:
        return _not_negative(nearest(text, places))

    def rate(text: str) -> int:
        return nearest(text, 8)

    def near_steps(text: str) -> int:
        fine_steps, half = _not_negative(nearest(text, qty.places)), qty.unit // 2
        return (fine_steps + half) // qty.unit

    def ms(text: str) -> int:
        return _whole(text, 4_102_444_800_000) * _MS  # until 2100

    def hours(text: str) -> int:
        return _whole(text, 1_000) * _HOUR_NS

    return (
        ("last_price", "last_ticks", ticks),
        ("bid1_price", "bid_ticks", ticks),
        ("bid1_size", "bid_steps", steps),
        ("ask1_price", "ask_ticks", ticks),
        ("ask1_size", "ask_steps", steps),
        ("mark_price", "mark", fine),
        ("index_price", "index", fine),
        ("usd_index_price", "index", fine),
        ("open_interest", "open_interest_steps", near_steps),
        ("funding_rate", "funding_rate_e8", rate),
        ("next_funding_time", "next_funding_ns", ms),
        ("funding_interval_hour", "funding_interval_ns", hours),
    )


def _whole(text: str, most: int) -> int:
    value = _not_negative(nearest(text, 0))
    if value > most:
        raise ValueError(REASONS[TOO_LARGE])
    return value


def _not_negative(value: int) -> int:
    if value < 0:
        raise ValueError(REASONS[NOT_POSITIVE])
    return value
