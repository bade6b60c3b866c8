"""Settled funding rates, out of a dataset of the native store or a Parquet file."""

from decimal import Decimal
from pathlib import Path

import numpy as np

from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import F64, I64, FundingBatch
from bot.store.grid import to_grid
from bot.store.market_dataset import Dataset
from bot.store.parquet_files import check_schema, guarded, open_parquet, times_ns, when

_RATE_MAX = 0.1  # no perpetual has settled a tenth of the position at once
_RATE_UNIT = Decimal("1e-8")


def read_funding(instrument: Instrument, path: Path | None, from_ns: int, to_ns: int) -> FundingBatch | None:
    """Return the settled funding rates of an instrument within [from_ns, to_ns), None without a path.

    Args:
        instrument: whose.
        path: a dataset's folder, or a Parquet file with `ts` (UTC, ms), `symbol` and `funding_rate`.
        from_ns, to_ns: the range.

    Raises:
        DataError: what there is is damaged or impossible.
    """
    if path is None:
        return None
    read = _of_dataset if path.is_dir() else _of_file
    ts_ns, rates, rate_e8 = read(instrument, path, from_ns, to_ns)
    bad = ~(np.abs(rates) <= _RATE_MAX) | (np.diff(ts_ns, prepend=-(2**62)) <= 0)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{path}: the rate of {instrument.name} at {when(int(ts_ns[row]))} is {rates[row]} or out of order; check "
            "the file: a rate is a fraction such as 0.0001"
        )
    return FundingBatch(instrument=instrument, first_row=0, ts_ns=ts_ns, rate_e8=rate_e8)


def _of_file(instrument: Instrument, path: Path, from_ns: int, to_ns: int) -> tuple[I64, F64, I64]:
    names = ["ts", "symbol", "funding_rate"]
    file = open_parquet(path)
    check_schema(file, path, names, "funding")
    table = guarded(path, lambda: file.read(names))
    ts_ns = times_ns(table, path, 0)
    keep = (table["symbol"].to_numpy(zero_copy_only=False) == instrument.name) & (ts_ns >= from_ns) & (ts_ns < to_ns)
    rates = table["funding_rate"].to_numpy(zero_copy_only=False).astype(np.float64)[keep]
    usable = np.where(np.abs(rates) <= _RATE_MAX, rates, 0.0)
    return ts_ns[keep], rates, np.rint(usable * 1e8).astype(np.int64)


def _of_dataset(instrument: Instrument, directory: Path, from_ns: int, to_ns: int) -> tuple[I64, F64, I64]:
    dataset = Dataset(directory)
    if dataset.layout.family != "funding":
        raise DataError(f"{directory}: holds {dataset.layout.kind}, not funding; name a folder called funding")
    dataset.refuse_other_symbol(instrument.name)
    times, rates, rates_e8 = [np.empty(0, np.int64)], [np.empty(0)], [np.empty(0, np.int64)]
    for stretch in dataset.read(("ts_ns", "rate"), from_ns, to_ns):
        exponent = stretch.header.rate_exponent
        times.append(stretch.columns["ts_ns"])
        rates.append(stretch.columns["rate"] / 10.0**-exponent)
        # No venue settles finer than 1e-8; a source that computes its rates is brought to that.
        rates_e8.append(to_grid(stretch.columns["rate"], exponent, _RATE_UNIT).counts)
    return np.concatenate(times), np.concatenate(rates), np.concatenate(rates_e8)
