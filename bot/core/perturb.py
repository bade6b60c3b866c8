"""Another future: market data changed after a moment, and only there.

`core.lookahead` asks whether anything that was known by then notices. What comes out is valid market data: prices on
the grid and positive, highs and lows around open and close, times that do not decrease. No single kind moves
everything (a sign is not moved by scaling, a maximum not by shuffling), so there are several.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bot.domain.market import EMPTY, I64, NO_FLOW, BarBatch, BookBatch, FundingBatch, TradeBatch


class Kind(StrEnum):
    """How the future is changed; in an order in which the first few alone already find most leaks."""

    SHUFFLE = "shuffle"  # the same rows in another order
    TRUNCATE = "truncate"  # no rows
    SCALE_UP = "scale_up"  # prices and quantities eightfold; what may be negative changes its sign as well
    REVERSE = "reverse"  # the same rows backwards
    NOISE = "noise"  # each value moved at random
    RETIME = "retime"  # fewer rows, and sooner
    SCALE_DOWN = "scale_down"  # an eighth
    CONSTANT = "constant"  # the last known price for ever


KINDS = tuple(Kind)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Table:
    """Named columns of any type, equally long, in the order in which their rows become known.

    As market data: columns whose name ends in `_ns` and columns of datetimes are times, which are never changed.
    """

    known_ns: I64
    columns: Mapping[str, NDArray[Any]]

    def rows(self, start: int, stop: int) -> "Table":
        """Return rows `start` to `stop` as views of the same memory."""
        cut = {name: column[start:stop] for name, column in self.columns.items()}
        return Table(known_ns=self.known_ns[start:stop], columns=cut)

    @classmethod
    def join(cls, parts: "list[Table]") -> "Table":
        """Return the rows of `parts`, which have the same columns, one after another."""
        joined = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
        return Table(known_ns=np.concatenate([part.known_ns for part in parts]), columns=joined)

    def __len__(self) -> int:
        return len(self.known_ns)


Rows = TradeBatch | BarBatch | BookBatch | FundingBatch | Table
"""Market data that can be changed: rows that each become known at a time."""

R = TypeVar("R", bound=Rows)


def known_times(rows: Rows) -> I64:
    """Return when each row becomes known: a trade and a funding rate at their time, the others say it themselves."""
    return rows.ts_ns if isinstance(rows, TradeBatch | FundingBatch) else rows.known_ns


def perturb(
    rows: R, after_ns: int, kind: Kind, generator: np.random.Generator, *, keep_forming_open: bool = False
) -> R:
    """Return `rows` with those changed that become known after `after_ns`; the others are the same, bit for bit.

    Args:
        rows: in the order in which they become known.
        after_ns: the last moment of the past.
        kind: how.
        generator: draws what is drawn.
        keep_forming_open: let a bar that has opened by `after_ns` exist and keep its open. A venue that fills against
            bars uses the open from the bar's opening on, so to it that one price is not of the future.

    Raises:
        ValueError: the rows are out of order.
    """
    known_ns = known_times(rows)
    if (np.diff(known_ns) < 0).any():
        raise ValueError("rows must be in the order in which they become known")
    keep = int(known_ns.searchsorted(after_ns, side="right"))
    past, future = rows.rows(0, keep), rows.rows(keep, len(rows))
    if not len(future):
        return rows
    changed: Any = future.rows(0, 0)
    forming = None
    if keep_forming_open and isinstance(future, BarBatch) and future.open_ns[0] <= after_ns:
        forming = future.rows(0, 1)
        changed = _flat(forming)
    if kind is not Kind.TRUNCATE:
        changed = _change(past, future, kind, generator, after_ns)
    if forming is not None:
        changed = _with_open(changed, forming)
    joined: Any = type(rows).join([past, changed])  # type: ignore[list-item]
    return joined  # type: ignore[no-any-return]


def _change(past: Any, future: Any, kind: Kind, generator: np.random.Generator, after_ns: int) -> Any:
    match future:
        case TradeBatch():
            return _change_trades(past, future, kind, generator, after_ns)
        case BarBatch():
            return _change_bars(past, future, kind, generator, after_ns)
        case BookBatch():
            return _change_book(past, future, kind, generator, after_ns)
        case FundingBatch():
            return _change_funding(past, future, kind, generator)
        case Table():
            return _change_table(past, future, kind, generator)
    raise TypeError(f"no way to change a {type(future).__name__}")


# --- trades -----------------------------------------------------------------------------------------------------------


def _change_trades(
    past: TradeBatch, future: TradeBatch, kind: Kind, generator: np.random.Generator, after_ns: int
) -> TradeBatch:
    price, qty, is_buy, count = future.price_ticks, future.qty_steps, future.is_buy, len(future)
    match kind:
        case Kind.SHUFFLE | Kind.REVERSE:
            order = _order(kind, count, generator)
            price, qty, is_buy = price[order], qty[order], is_buy[order]
        case Kind.SCALE_UP:
            price_factor, qty_factor = _factors(price, qty)
            price, qty = price * price_factor, qty * qty_factor
        case Kind.SCALE_DOWN:
            price, qty = _shrunk(price), _shrunk(qty)
        case Kind.CONSTANT:
            price = np.full(count, past.price_ticks[-1] if len(past) else price[0])
            qty, is_buy = np.ones(count, dtype=np.int64), np.ones(count, dtype=np.bool_)
        case Kind.NOISE:
            price, qty = _jolted(price, 0.05, generator), _jolted(qty, 1.0, generator)
            is_buy = generator.random(count) < 0.5
        case _:
            sooner: TradeBatch = _sooner(future, ("ts_ns",), after_ns, generator)
            return sooner
    return replace(future, price_ticks=price, qty_steps=qty, is_buy=is_buy)


# --- bars -------------------------------------------------------------------------------------------------------------

_PRICES = ("open_ticks", "high_ticks", "low_ticks", "close_ticks")
_FLOW = ("turnover", "count", "buy_steps")
_VALUES = (*_PRICES, "volume_steps", *_FLOW, "flags")


def _change_bars(
    past: BarBatch, future: BarBatch, kind: Kind, generator: np.random.Generator, after_ns: int
) -> BarBatch:
    values: dict[str, Any] = {name: getattr(future, name) for name in _VALUES}
    last = int(past.close_ticks[-1]) if len(past) else int(future.open_ticks[0])
    match kind:
        case Kind.SHUFFLE | Kind.REVERSE:
            order = _order(kind, len(future), generator)
            values = {name: column[order] for name, column in values.items()}
        case Kind.SCALE_UP:
            price_factor, qty_factor = _factors(future.high_ticks, future.volume_steps)
            values |= {name: values[name] * price_factor for name in _PRICES}
            values |= {name: values[name] * qty_factor for name in ("volume_steps", "count", "buy_steps")}
            values["turnover"] = values["turnover"] * (price_factor * qty_factor)
        case Kind.SCALE_DOWN:
            values |= {name: _shrunk(values[name]) for name in (*_PRICES, "volume_steps", "count")}
            values["buy_steps"] = values["buy_steps"] // _FACTOR
            values["turnover"] = _turnover(values)
        case Kind.CONSTANT:
            price, one = np.full(len(future), last), np.ones(len(future), dtype=np.int64)
            values |= dict.fromkeys(_PRICES, price) | {"volume_steps": one} | dict.fromkeys(("count", "buy_steps"), one)
            values |= {"turnover": price, "flags": future.flags & NO_FLOW}
        case Kind.NOISE:
            values |= _noisy_bars(future, generator)
        case _ if future.scale_ns:
            future = _fewer_bars(past, future, generator)
            values = {name: getattr(future, name) for name in _VALUES}
        case _:
            sooner: BarBatch = _sooner(future, ("open_ns", "end_ns", "known_ns"), after_ns, generator)
            return sooner
    return replace(future, **_consistent(values, last))


def _noisy_bars(bars: BarBatch, generator: np.random.Generator) -> dict[str, Any]:
    open_, close = (_jolted(prices, 0.05, generator) for prices in (bars.open_ticks, bars.close_ticks))
    reach = bars.high_ticks - bars.low_ticks + 1
    above, below = (generator.integers(0, reach + 1) for _ in range(2))
    volume, count = _jolted(bars.volume_steps, 1.0, generator), _jolted(bars.count, 1.0, generator)
    values = {
        "open_ticks": open_,
        "high_ticks": np.maximum(open_, close) + above,
        "low_ticks": np.maximum(np.minimum(open_, close) - below, 1),
        "close_ticks": close,
        "volume_steps": volume,
        "count": count,
        "buy_steps": generator.integers(0, volume + 1),
    }
    return values | {"turnover": _turnover(values)}


def _fewer_bars(past: BarBatch, future: BarBatch, generator: np.random.Generator) -> BarBatch:
    """Return the first two thirds: bars without holes with many of them quiet, bars with holes with a few more."""
    count = len(future) - len(future) // 3
    future = future.rows(0, count)
    opens_ns = future.open_ns if not len(past) else np.concatenate([past.open_ns[-1:], future.open_ns])
    chosen = generator.random(count) < 0.4
    if (np.diff(opens_ns) == future.scale_ns).all():
        flags = future.flags | np.where(chosen, EMPTY, 0).astype(np.uint8)
        return replace(future, flags=flags)
    # A bar between two that touch it may go: the new hole is as short as a hole can be.
    touches = np.diff(future.open_ns) == future.scale_ns
    chosen[1:] &= ~chosen[:-1]
    chosen[0] = chosen[-1] = False
    chosen[1:-1] &= touches[:-1] & touches[1:]
    kept: BarBatch = _where(future, ~chosen)
    return kept


def _consistent(values: dict[str, Any], last_ticks: int) -> dict[str, Any]:
    """Return bars in which empty ones are flat at the close before, and nothing tells what its source does not."""
    is_empty = (values["flags"] & EMPTY) != 0
    traded = np.maximum.accumulate(np.where(is_empty, -1, np.arange(len(is_empty))))
    close = np.where(traded >= 0, values["close_ticks"][traded], last_ticks)
    flat = {name: np.where(is_empty, close, values[name]) for name in _PRICES}
    has_flow = ~is_empty & ((values["flags"] & NO_FLOW) == 0)
    told = {name: np.where(has_flow, values[name], 0) for name in _FLOW}
    return values | flat | told | {"volume_steps": np.where(is_empty, 0, values["volume_steps"])}


def _turnover(values: Mapping[str, Any]) -> I64:
    turnover: I64 = (values["low_ticks"] + values["high_ticks"]) // 2 * values["volume_steps"]
    return turnover


def _flat(bar: BarBatch) -> BarBatch:
    """Return a bar in which nothing has happened since its open."""
    nothing = np.zeros(1, dtype=np.int64)
    values: dict[str, Any] = dict.fromkeys(_PRICES, bar.open_ticks) | dict.fromkeys(("volume_steps", *_FLOW), nothing)
    return replace(bar, **values | {"flags": bar.flags & NO_FLOW})


def _with_open(bars: BarBatch, forming: BarBatch) -> BarBatch:
    """Return `bars` with the first one's open as it was."""
    first, open_ = bars.rows(0, 1), forming.open_ticks
    flags: Any = first.flags & NO_FLOW  # no longer flat at the close before
    first = replace(
        first,
        open_ticks=open_,
        high_ticks=np.maximum(first.high_ticks, open_),
        low_ticks=np.minimum(first.low_ticks, open_),
        flags=flags,
    )
    return type(bars).join([first, bars.rows(1, len(bars))])


# --- books, funding, plain columns ------------------------------------------------------------------------------------


def _change_book(
    past: BookBatch, future: BookBatch, kind: Kind, generator: np.random.Generator, after_ns: int
) -> BookBatch:
    if kind is Kind.RETIME:
        sooner: BookBatch = _sooner(future, ("ts_ns", "known_ns"), after_ns, generator)
        return sooner
    names = ("bid_ticks", "bid_steps", "ask_ticks", "ask_steps", "is_trusted")
    values: dict[str, Any] = {name: getattr(future, name) for name in names}
    if kind in (Kind.SHUFFLE, Kind.REVERSE):
        order = _order(kind, len(future), generator)
        return replace(future, **{name: column[order] for name, column in values.items()})
    if kind is Kind.CONSTANT:
        source = past.rows(len(past) - 1, len(past)) if len(past) else future.rows(0, 1)
        values = {name: np.repeat(getattr(source, name), len(future), axis=0) for name in names}
        return replace(future, **values)
    for side in ("bid", "ask"):
        ticks, steps = values[f"{side}_ticks"], values[f"{side}_steps"]
        if kind is Kind.SCALE_UP:
            values |= {f"{side}_ticks": ticks * _FACTOR, f"{side}_steps": steps * _FACTOR}
        else:
            spread = 1.0 if kind is Kind.NOISE else 0.0
            values[f"{side}_steps"] = _jolted(steps, spread, generator) if spread else _shrunk(steps)
    if kind is not Kind.SCALE_UP:
        values |= _shifted_prices(future, kind, generator)
    return replace(future, **values)


def _shifted_prices(book: BookBatch, kind: Kind, generator: np.random.Generator) -> dict[str, I64]:
    """Return every row's prices moved by one distance, which keeps them in order and apart."""
    prices = np.concatenate([book.bid_ticks, book.ask_ticks], axis=1)
    lowest = np.where(prices > 0, prices, prices.max(initial=1)).min(axis=1)
    if kind is Kind.NOISE:
        shift = _jolted(lowest, 0.05, generator) - lowest
    else:
        shift = np.full(len(book), _shrunk(lowest.min(keepdims=True))[0] - lowest.min())
    return {
        name: np.where(ticks > 0, ticks + shift[:, None], 0)
        for name, ticks in (("bid_ticks", book.bid_ticks), ("ask_ticks", book.ask_ticks))
    }


_RATE_MAX_E8 = 9_999_999  # just inside what a funding file may hold


def _change_funding(
    past: FundingBatch, future: FundingBatch, kind: Kind, generator: np.random.Generator
) -> FundingBatch:
    rate, count = future.rate_e8, len(future)
    match kind:
        case Kind.SHUFFLE | Kind.REVERSE:
            rate = rate[_order(kind, count, generator)]
        case Kind.SCALE_UP:
            rate = rate * -_FACTOR
        case Kind.SCALE_DOWN:
            rate = -rate // _FACTOR
        case Kind.CONSTANT:
            rate = np.full(count, past.rate_e8[-1] if len(past) else rate[0])
        case Kind.NOISE:
            rate = rate + generator.integers(-50_000, 50_001, count)
        case _:
            fewer: FundingBatch = _where(future, _thinned(count, generator))
            return fewer
    return replace(future, rate_e8=np.clip(rate, -_RATE_MAX_E8, _RATE_MAX_E8))


def _change_table(past: Table, future: Table, kind: Kind, generator: np.random.Generator) -> Table:
    if kind is Kind.RETIME:
        fewer: Table = _where(future, _thinned(len(future), generator))
        return fewer
    order = _order(kind, len(future), generator) if kind in (Kind.SHUFFLE, Kind.REVERSE) else None
    changed = dict(future.columns)
    for name, column in future.columns.items():
        if name.endswith("_ns") or column.dtype.kind in "mM":
            continue
        if order is not None:
            changed[name] = column[order]
        elif kind is Kind.CONSTANT:
            last = past.columns[name][-1:] if len(past) else column[:1]
            changed[name] = np.repeat(last, len(column), axis=0)
        else:
            changed[name] = _moved(column, kind, generator)
    return Table(known_ns=future.known_ns, columns=changed)


def _moved(column: NDArray[Any], kind: Kind, generator: np.random.Generator) -> NDArray[Any]:
    """Return a column of any type scaled or made noisy, in its own type."""
    if column.dtype.kind == "b":
        chosen = {Kind.SCALE_UP: 1.0, Kind.SCALE_DOWN: 0.0}.get(kind, 0.5)  # how many are to be true
        return generator.random(column.shape) < chosen
    if column.dtype.kind not in "iuf":
        return column[generator.integers(0, len(column), len(column))]
    finite = column[np.isfinite(column)]
    is_positive = bool((finite > 0).all())
    sign = 1 if is_positive or column.dtype.kind == "u" else -1
    if kind is Kind.NOISE:
        draws = generator.standard_normal(column.shape)
        spread = float(finite.std()) if finite.size else 0.0
        moved = column * np.exp(0.3 * draws) if is_positive else column + draws * (spread or 1.0)
    else:
        moved = column * (sign * (float(_FACTOR) if kind is Kind.SCALE_UP else 1 / _FACTOR))
    if column.dtype.kind == "f":
        return np.asarray(moved, dtype=column.dtype)
    least = 1 if is_positive else 0 if column.dtype.kind == "u" else -np.inf
    whole: NDArray[Any] = np.maximum(np.rint(moved), least).astype(column.dtype)
    return whole


# --- what they share --------------------------------------------------------------------------------------------------

_FACTOR = 8
_TURNOVER_MAX = 2**60  # of the whole future together, so that no bar's turnover comes near an int64's end


def _order(kind: Kind, count: int, generator: np.random.Generator) -> I64:
    return np.arange(count)[::-1] if kind is Kind.REVERSE else generator.permutation(count)


def _factors(price: I64, qty: I64) -> tuple[int, int]:
    """Return by how much prices and quantities can be scaled up."""
    turnover = int(price.max()) * int(qty.sum())
    for price_factor, qty_factor in ((8, 8), (8, 2), (8, 1), (2, 1)):
        if turnover * price_factor * qty_factor < _TURNOVER_MAX:
            return price_factor, qty_factor
    return 1, 1


def _shrunk(values: I64) -> I64:
    """Return an eighth; what was positive stays so."""
    return np.maximum(values // _FACTOR, np.minimum(values, 1))


def _jolted(values: I64, spread: float, generator: np.random.Generator) -> I64:
    """Return each value times a random factor and moved a little; what was positive stays so, and 0 stays 0."""
    factors = np.exp(spread * generator.standard_normal(values.shape))
    moved = np.rint(values * factors).astype(np.int64) + generator.integers(-2, 3, values.shape)
    return np.where(values > 0, np.maximum(moved, 1), values)


def _thinned(count: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return which rows stay: the first, of the first two thirds about two in three, and no two neighbours go."""
    gone = generator.random(count) < 0.5
    gone[1:] &= ~gone[:-1]
    gone[count - count // 3 :] = True
    gone[0] = False
    return ~gone


def _where(rows: Any, keep: NDArray[np.bool_]) -> Any:
    if isinstance(rows, Table):
        return Table(known_ns=rows.known_ns[keep], columns={name: c[keep] for name, c in rows.columns.items()})
    return replace(rows, **{name: getattr(rows, name)[keep] for name in rows._columns()})


def _sooner(rows: Any, names: tuple[str, ...], after_ns: int, generator: np.random.Generator) -> Any:
    """Return fewer rows, each a little less than half as long after `after_ns` as before, whole milliseconds kept."""
    rows = _where(rows, _thinned(len(rows), generator))
    times = {name: getattr(rows, name) for name in names}
    unit = 1_000_000 if all((column % 1_000_000 == 0).all() for column in times.values()) else 1
    for name, column in times.items():
        since = np.maximum((column - after_ns) // 20 * 9, 1)
        sooner = -(-(after_ns + since) // unit) * unit
        times[name] = np.where(column > after_ns, sooner, column)
    return replace(rows, **times)
