"""What every reader of market data hands to the market store: rows of one kind of one symbol, in exact columns."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rejected:
    """One row of a source that cannot be right, and why."""

    row: int  # row or line number in the source file, counted from 0 (data rows, header not counted)
    reason: str  # one clear clause
    text: str  # the offending text, cut to 200 characters


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """A stretch of rows of one kind of one symbol, in the source's order.

    Prices and quantities are int64 mantissas: `value = mantissa * 10**exponent`. Times are int64 ns, UTC.
    `bot.store.market_format` says which columns a kind has, and what is put in for those that a source does not tell.
    """

    venue: str  # "bybit-linear", "binance-spot", ...
    symbol: str  # as the venue spells it
    kind: str  # "trades", "bars-1m", "mark-1h", "index-1h", "funding", "book", "quotes"
    price_exponent: int  # of every price column; for funding of the rate
    qty_exponent: int
    columns: dict[str, NDArray[Any]]
    rejected: tuple[Rejected, ...] = ()
    # Rows of two sources cannot be told to be the same where the sources number or time them differently: one file of
    # the store holds trades or books of one source only. Empty: as the venue's own streams number and time them.
    source: str = ""
    repeated: int = 0  # rows that the reader has dropped as exact repeats
    rounded: int = 0  # values that the reader had to round

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0
