"""Keeps what the charts of a live run need, while it runs: bars with position and profit, forecasts, the shadow's.

It looks on: slabs, durable entries and forecasts are told to it in passing, and cost a list's append. Every few seconds
what is new is written beside the event loop. A bar is settled ten minutes after its close, when every execution of its
time has been reported; until then it is written anew each time. What cannot be written is given up, with a word: charts
are no reason to stop trading.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol

import numpy as np
import structlog

from bot.actors.tape_rows import tape_rows
from bot.core.equity import ProfitCurve
from bot.domain.errors import StorageError
from bot.domain.instrument import Instrument
from bot.domain.ledger import (
    ExternalFillBooked,
    FeeBooked,
    FillBooked,
    FundingBooked,
    LedgerEntry,
    PositionCutBooked,
)
from bot.domain.market import BarBatch, ForecastBatch, MarketSlab
from bot.ports import Clock, OffLoop, TapeRows

log = structlog.get_logger()

FLUSH_S = 2.0
_SETTLED_AFTER_NS = 10 * 60_000_000_000
_WAITING_MAX = 100_000  # rows that the disk has not taken: beyond, it has stopped


class RowWriter(Protocol):
    """Where rows of one kind go. It blocks."""

    def write(self, settled: Sequence[TapeRows | ForecastBatch], newest: Sequence[TapeRows | ForecastBatch]) -> None:
        """Write rows that will not change, and those that may, which take the place of the last ones."""

    def finish(self) -> None:
        """Nothing more will come."""


class LiveTape:
    """The tape of one run.

    Args:
        writers: of "tape", "forecasts" and "shadow".
        instruments: by name. positions: what is held of them at the start, signed.
        scale_ns: of the bars.
        clock: the market's. off_loop: where writing is done.
        on_broken: told why nothing more is kept.
        flush_s: how often it writes, in seconds of the event loop.
    """

    def __init__(
        self,
        writers: Mapping[str, RowWriter],
        instruments: Mapping[str, Instrument],
        positions: Mapping[str, Decimal],
        *,
        scale_ns: int,
        clock: Clock,
        off_loop: OffLoop,
        on_broken: Callable[[str], None] = lambda why: None,
        flush_s: float = FLUSH_S,
    ) -> None:
        self._writers, self._off_loop, self._on_broken = writers, off_loop, on_broken
        self._clock, self._flush_s, self._scale_ns = clock, flush_s, scale_ns
        self._began_ns = clock.now_ns()
        self._lines = {
            name: _Line(instrument, positions.get(name, Decimal(0))) for name, instrument in instruments.items()
        }
        self._said: dict[str, list[ForecastBatch]] = {"forecasts": [], "shadow": []}
        self._is_changed = False
        self._is_broken = False
        self._is_closed = False

    # --- what it is told ----------------------------------------------------------------------------------------------

    def see_slab(self, slab: MarketSlab) -> None:
        """Take a slab's bars, those since the start."""
        bars = slab.bars.get(self._scale_ns)
        if bars is None or self._is_broken:
            return
        bars = bars.rows(int(np.searchsorted(bars.close_ns, self._began_ns, side="right")), len(bars))
        if len(bars):
            self._lines[slab.instrument.name].add(bars)
            self._is_changed = True

    def see_entries(self, entries: Sequence[LedgerEntry]) -> None:
        """Take what changed positions and cash."""
        for entry in entries:
            match entry:
                case FillBooked(fill=done) | ExternalFillBooked(fill=done) | PositionCutBooked(cut=done):
                    self._lines[done.instrument].trade(
                        done.ts_event_ns, done.qty * done.side.sign, done.price, done.fee
                    )
                case FundingBooked(funding=paid):
                    self._lines[paid.instrument].curve.receive(paid.ts_event_ns, paid.amount)
                case FeeBooked(fee=fee, value=value) if value is not None:
                    self._lines[fee.instrument].give_away(fee.ts_event_ns, fee.amount, fee.price, value)
                case _:
                    continue
            self._is_changed = True

    def see_forecasts(self, forecasts: ForecastBatch) -> None:
        """Take forecasts that are traded by."""
        self._keep("forecasts", forecasts)

    def see_shadow(self, forecasts: ForecastBatch) -> None:
        """Take forecasts of the shadow."""
        self._keep("shadow", forecasts)

    def _keep(self, name: str, forecasts: ForecastBatch) -> None:
        if not self._is_broken:
            self._said[name].append(forecasts)
            self._is_changed = True

    # --- writing ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what is new, until canceled."""
        while not self._is_broken:
            await asyncio.sleep(self._flush_s)
            if self._is_changed:
                await self._write(self._clock.now_ns() - _SETTLED_AFTER_NS)

    async def close(self) -> None:
        """Write the rest, and have it made whole."""
        if self._is_closed:
            return
        self._is_closed = True
        if not self._is_broken:
            await self._write(2**62)
        if not self._is_broken:
            await self._do(self._finish)

    def _finish(self) -> None:
        for each in self._writers.values():
            each.finish()

    async def _write(self, until_ns: int) -> None:
        self._is_changed = False
        settled = [rows for line in self._lines.values() for rows in line.settle(until_ns)]
        newest = [rows for line in self._lines.values() for rows in line.newest()]
        said, self._said = self._said, {name: [] for name in self._said}
        if sum(len(each.close_ns) for each in newest) > _WAITING_MAX:
            self._break("more bars than can be held")
            return

        def work() -> None:
            self._writers["tape"].write(settled, newest)
            for name, forecasts in said.items():
                if forecasts:
                    self._writers[name].write(forecasts, ())

        await self._do(work)

    async def _do(self, work: Callable[[], object]) -> None:
        try:
            await self._off_loop(work)
        except StorageError as error:
            self._break(str(error))

    def _break(self, why: str) -> None:
        self._is_broken = True
        log.error("tape.broken", why=why)
        self._on_broken(f"the charts of this run end here: {why}")


class _Line:
    """One instrument: bars that are not settled, and what was held."""

    def __init__(self, instrument: Instrument, held: Decimal) -> None:
        self.curve = ProfitCurve(instrument)
        self._instrument = instrument
        self._held = held  # at the start; its profit counts from the first bar's open
        self._early: list[tuple[int, Decimal, Decimal, Decimal]] = []  # executions before it
        self._waiting: list[BarBatch] = []

    def add(self, bars: BarBatch) -> None:
        if self._held:
            open_price = self._instrument.price(int(bars.open_ticks[0]))
            self.curve.trade(-(2**61), self._held, open_price, Decimal(0))
            self._held = Decimal(0)
            for each in self._early:
                self.curve.trade(*each)
            self._early.clear()
        self._waiting.append(bars)

    def trade(self, ts_ns: int, signed_qty: Decimal, price: Decimal, fee: Decimal) -> None:
        if self._held:
            self._early.append((ts_ns, signed_qty, price, fee))
        else:
            self.curve.trade(ts_ns, signed_qty, price, fee)

    def give_away(self, ts_ns: int, amount: Decimal, price: Decimal, value: Decimal) -> None:
        """Take a fee that was paid in the pair's own coin: a sale that brought nothing; or in another coin."""
        if amount * price == value:
            self.trade(ts_ns, -amount, price, value)
        else:
            self.trade(ts_ns, Decimal(0), price, value)

    def settle(self, until_ns: int) -> list[TapeRows]:
        """Return the bars that nothing can change any more, once."""
        if len(self._waiting) > 1:
            self._waiting = [BarBatch.join(self._waiting)]
        if not self._waiting:
            return []
        bars = self._waiting[0]
        done = int(np.searchsorted(bars.close_ns, until_ns, side="right"))
        if not done:
            return []
        self._waiting = [bars.rows(done, len(bars))] if done < len(bars) else []
        bars = bars.rows(0, done)
        return [self._rows(bars, *self.curve.at(bars.close_ns, bars.close_ticks))]

    def newest(self) -> list[TapeRows]:
        """Return the others, as they are now."""
        return [self._rows(each, *self.curve.peek(each.close_ns, each.close_ticks)) for each in self._waiting]

    def _rows(self, bars: BarBatch, position: np.ndarray, profit: np.ndarray) -> TapeRows:
        return tape_rows(self._instrument, bars, position, profit)
