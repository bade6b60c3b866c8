"""Market history out of the native store: a dataset of trades or bars as a replay reads it.

The store's integers become ticks and steps without passing through a float. Rows were checked when they were imported;
what is checked here is that they lie on the instrument's grid and in order.
"""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import I64, NO_FLOW, BarBatch, FundingBatch, TradeBatch
from bot.store.funding_history import read_funding
from bot.store.grid import to_grid
from bot.store.market_dataset import Dataset, Stretch

_OHLC = ("open", "high", "low", "close")
_TRADES = ("ts_ns", "price", "qty", "is_buy")
_BARS = ("open_ns", *_OHLC, "volume", "turnover", "count", "buy_volume")


class StoreHistory:
    """One instrument's trades or bars within [from_ns, to_ns), a `ports.MarketHistory`.

    Args:
        instrument: gives the grid that prices and quantities are brought to.
        directory: a dataset of trades or bars, such as `data/market/bybit-linear/BTCUSDT/trades`.
        funding_path: settled funding rates, a dataset or a Parquet file; None for none.
        from_ns, to_ns: the range; None for as far as the data go.
        off_grid: "refuse" prices and quantities between ticks or steps, or "round" them to the nearest.

    Attributes:
        rounded_count: values that were off the grid and rounded to it.

    Raises:
        DataError: there is no such dataset, it is of another symbol, or it holds neither trades nor bars.
    """

    def __init__(
        self,
        instrument: Instrument,
        directory: Path,
        *,
        funding_path: Path | None = None,
        from_ns: int | None = None,
        to_ns: int | None = None,
        off_grid: Literal["refuse", "round"] = "refuse",
    ) -> None:
        self._instrument = instrument
        self._funding_path = funding_path
        self._from_ns = from_ns if from_ns is not None else -(2**62)
        self._to_ns = to_ns if to_ns is not None else 2**62
        self._off_grid = off_grid
        self.dataset = Dataset(directory)
        if self.dataset.layout.family not in ("trades", "bars"):
            raise DataError(f"{directory}: a replay reads trades or bars; name a folder of those")
        self.dataset.refuse_other_symbol(instrument.name)
        self.rounded_count = 0

    @property
    def source_scale_ns(self) -> int | None:
        """See `ports.MarketHistory`."""
        return self.dataset.layout.interval_ns

    def span_ns(self) -> tuple[int, int]:
        """See `ports.MarketHistory`."""
        span_ns = self.dataset.span_ns(self._from_ns, self._to_ns)
        if span_ns is None:
            raise DataError(
                f"{self.dataset.directory}: nothing in the range asked for; `bot data list` shows its range"
            )
        return span_ns[0], span_ns[1] + (self.source_scale_ns or 1)

    def slabs(self, rows: int) -> Iterator[TradeBatch] | Iterator[BarBatch]:
        """See `ports.MarketHistory`."""
        return self._slabs(rows)  # type: ignore[return-value]

    def funding(self) -> FundingBatch | None:
        """See `ports.MarketHistory`."""
        return read_funding(self._instrument, self._funding_path, self._from_ns, self._to_ns)

    def _slabs(self, rows: int) -> Iterator[TradeBatch | BarBatch]:
        is_trades = self.dataset.layout.family == "trades"
        first_row = 0
        last_ns = -(2**62)
        for stretch in self.dataset.read(_TRADES if is_trades else _BARS, self._from_ns, self._to_ns):
            times = np.array(stretch.columns[self.dataset.layout.time])
            self._refuse_disorder(stretch, times, last_ns)
            last_ns = int(times[-1])
            make = self._trades if is_trades else self._bars
            batch = make(stretch, times, first_row)
            first_row += len(batch)
            for start in range(0, len(batch), rows):
                yield batch.rows(start, min(start + rows, len(batch)))

    def _refuse_disorder(self, stretch: Stretch, times: I64, last_ns: int) -> None:
        least_ns = self.source_scale_ns or 0
        wrong = np.empty(len(times), np.bool_)
        wrong[:1] = times[0] - last_ns < least_ns
        wrong[1:] = times[1:] - times[:-1] < least_ns
        if wrong.any():
            self._refuse(
                stretch, int(np.argmax(wrong)), "comes too early after the row before it; import its data again"
            )

    def _trades(self, stretch: Stretch, ts_ns: I64, first_row: int) -> TradeBatch:
        price_ticks = self._on_grid(stretch, "price")
        qty_steps = self._on_grid(stretch, "qty")
        for name, values in (("price", price_ticks), ("quantity", qty_steps)):
            if values.min() <= 0:
                self._refuse(stretch, int(np.argmin(values)), f"has a {name} that is not positive on the grid")
        return TradeBatch(
            instrument=self._instrument,
            first_row=first_row,
            ts_ns=ts_ns,
            price_ticks=price_ticks,
            qty_steps=qty_steps,
            is_buy=np.array(stretch.columns["is_buy"]),
        )

    def _bars(self, stretch: Stretch, open_ns: I64, first_row: int) -> BarBatch:
        scale_ns = self.source_scale_ns
        assert scale_ns is not None
        open_, high, low, close = (self._on_grid(stretch, name) for name in _OHLC)
        if low.min() <= 0:
            self._refuse(stretch, int(np.argmin(low)), "has a price that is not positive on the grid")
        volume = self._on_grid(stretch, "volume")
        turnover, flow_known = _turnover(self._instrument, stretch.columns["turnover"], low, high, volume)
        told = stretch.columns["buy_volume"]
        takers_known = flow_known & (stretch.columns["count"] >= 0) & (told >= 0)
        buys = self._on_grid(stretch, "buy_volume", np.where(takers_known, told, 0))
        return BarBatch(
            instrument=self._instrument,
            scale_ns=scale_ns,
            first_row=first_row,
            open_ns=open_ns,
            known_ns=open_ns + scale_ns,
            open_ticks=open_,
            high_ticks=high,
            low_ticks=low,
            close_ticks=close,
            volume_steps=volume,
            turnover=turnover,
            count=np.where(takers_known, stretch.columns["count"], 0),
            buy_steps=np.minimum(buys, volume),
            flags=np.where(flow_known, 0, NO_FLOW).astype(np.uint8),
        )

    def _on_grid(self, stretch: Stretch, name: str, values: I64 | None = None) -> I64:
        is_price = name in ("price", *_OHLC)
        unit = self._instrument.tick_size if is_price else self._instrument.qty_step
        exponent = stretch.header.price_exponent if is_price else stretch.header.qty_exponent
        values = stretch.columns[name] if values is None else values
        found = to_grid(values, exponent, unit)
        if found.first_beyond >= 0:
            value = Decimal(int(values[found.first_beyond])).scaleb(exponent)
            self._refuse(stretch, found.first_beyond, f"has the {name} {value}, which is too large; correct or drop it")
        if found.off_count and self._off_grid == "refuse":
            value = Decimal(int(values[found.first_off])).scaleb(exponent)
            self._refuse(
                stretch,
                found.first_off,
                f"has the {name} {value}, which is not a multiple of {unit}; correct the instrument's "
                f'{"tick_size" if is_price else "qty_step"}, or set its off_grid = "round"',
            )
        self.rounded_count += found.off_count
        return found.counts

    def _refuse(self, stretch: Stretch, row: int, complaint: str) -> None:
        raise DataError(f"{stretch.path}: row {stretch.first_row + row:,} {complaint}")


def _turnover(
    instrument: Instrument, quote: NDArray[np.float64], low: I64, high: I64, volume: I64
) -> tuple[I64, NDArray[np.bool_]]:
    """Return turnovers as sums of ticks times steps, and which of them can be trusted; 0 where not.

    A venue tells it in quote currency as a float: it is rounded to one tick times one step, far below what a bar can
    tell apart. It is trusted where it is a whole number that a float holds, and lies between the volume at the low and
    at the high: a figure in another currency, or of another volume, does not.
    """
    tick, step = instrument.tick_size.as_integer_ratio(), instrument.qty_step.as_integer_ratio()
    with np.errstate(over="ignore", invalid="ignore"):
        counts = np.rint(quote * (tick[1] * step[1]) / (tick[0] * step[0]))
        slack = 1 + 1e-12 * np.abs(counts)
        known = (np.abs(counts) < 2.0**53) & (counts >= low.astype(np.float64) * volume - slack)
        known &= counts <= high.astype(np.float64) * volume + slack
    return np.where(known, counts, 0).astype(np.int64), known
