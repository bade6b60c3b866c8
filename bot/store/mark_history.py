"""Mark prices out of the market store."""

from pathlib import Path

import numpy as np

from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import NO_FLOW, BarBatch
from bot.store.grid import to_grid
from bot.store.market_dataset import Dataset


def read_marks(instrument: Instrument, directory: Path, from_ns: int | None, to_ns: int | None) -> BarBatch:
    """Return the mark-price bars that open within [from_ns, to_ns), their prices at the nearest tick.

    Args:
        instrument: whose.
        directory: a dataset of mark prices, such as `data/market/bybit-linear/BTCUSDT/mark-1h`.
        from_ns, to_ns: the range; None for as far as the data go.

    Raises:
        DataError: there is no such dataset, or it holds something else.
    """
    dataset = Dataset(directory)
    if dataset.layout.family != "mark":
        raise DataError(f"{directory}: holds {dataset.layout.kind}, not mark prices; name a folder such as mark-1h")
    scale_ns = dataset.layout.interval_ns
    assert scale_ns is not None  # as of every kind that is bars
    dataset.refuse_other_symbol(instrument.name)
    names = ("open_ns", "open", "high", "low", "close")
    parts: dict[str, list[np.ndarray[tuple[int], np.dtype[np.int64]]]] = {name: [] for name in names}
    for stretch in dataset.read(names, *_range(from_ns, to_ns)):
        parts["open_ns"].append(stretch.columns["open_ns"])
        for name in names[1:]:
            on_grid = to_grid(stretch.columns[name], stretch.header.price_exponent, instrument.tick_size)
            if on_grid.first_beyond >= 0:
                row = stretch.first_row + on_grid.first_beyond
                raise DataError(f"{stretch.path}: row {row:,} has an impossible {name} price")
            parts[name].append(on_grid.counts)
    columns = {name: np.concatenate(found or [np.empty(0, np.int64)]) for name, found in parts.items()}
    nothing = np.zeros(len(columns["open_ns"]), dtype=np.int64)
    return BarBatch(
        instrument=instrument,
        scale_ns=scale_ns,
        first_row=0,
        open_ns=columns["open_ns"],
        known_ns=columns["open_ns"] + scale_ns,
        open_ticks=columns["open"],
        high_ticks=columns["high"],
        low_ticks=columns["low"],
        close_ticks=columns["close"],
        volume_steps=nothing,
        turnover=nothing,
        count=nothing,
        buy_steps=nothing,
        flags=np.full(len(nothing), NO_FLOW, dtype=np.uint8),
    )


def _range(from_ns: int | None, to_ns: int | None) -> tuple[int, int]:
    return -(2**62) if from_ns is None else from_ns, 2**62 if to_ns is None else to_ns
