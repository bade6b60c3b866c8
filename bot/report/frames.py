"""Read the frames of a run: rows as named tuples, the tape as one set of columns for each instrument."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bot.report.run_data import RunData

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class InstrumentTape:
    """The bars of one instrument, ascending, with what was held and earned at each close."""

    instrument: str
    close_ns: I64
    open: F64
    high: F64
    low: F64
    close: F64
    position: F64  # base currency, signed
    profit: F64  # quote currency since the start of the run

    def price_at(self, ts_ns: I64) -> F64:
        """Return the last close known at each of these times; NaN before the first and after the last."""
        row = np.searchsorted(self.close_ns, ts_ns, side="right") - 1
        price: F64 = np.where(row >= 0, self.close[np.maximum(row, 0)], np.nan)
        price[ts_ns > self.close_ns[-1]] = np.nan
        return price


def rows(frame: pd.DataFrame) -> Iterator[Any]:
    """Return the rows as named tuples; none where there are no rows, whatever columns are missing."""
    return iter(frame.itertuples(index=False)) if len(frame) else iter(())


def cause_of(fill: Any) -> str:
    """Return why the venue made an execution of its own; nothing for one of an order of ours."""
    cause = getattr(fill, "cause", None)
    return cause if isinstance(cause, str) else ""


def tapes(data: RunData) -> list[InstrumentTape]:
    """Return the tape of each instrument, in order of first appearance."""
    if not len(data.tape):
        return []
    codes, names = pd.factorize(data.tape["instrument"])
    found = []
    for code, name in enumerate(names):
        bars = data.tape if len(names) == 1 else data.tape[codes == code]
        columns = {column: _floats(bars, column) for column in ("open", "high", "low", "close", "position", "profit")}
        close_ns = bars["close_ns"].to_numpy(dtype=np.int64)
        found.append(InstrumentTape(instrument=str(name), close_ns=close_ns, **columns))
    return found


def last_marks(data: RunData) -> dict[str, tuple[int, Decimal]]:
    """Return when each instrument's last bar closed, and at what price."""
    last = data.tape.drop_duplicates("instrument", keep="last") if len(data.tape) else data.tape
    # The shortest text of the double is the price the venue quoted: the tape holds the double nearest to it.
    return {str(row.instrument): (int(row.close_ns), Decimal(repr(float(row.close)))) for row in rows(last)}


def _floats(frame: pd.DataFrame, column: str) -> F64:
    return frame[column].to_numpy(dtype=np.float64)
