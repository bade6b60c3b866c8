"""A second, plain opinion on what the benchmark's moving average strategy trades.

The replay tests compare the engine with this file, fill by fill and equity by equity. It shares
nothing with the engine: no import from `bot` or `strategies`, only the standard library, exact
`Decimal` throughout. It prefers being obviously right to being fast.

The rules: simple moving averages of the close over `fast` and `slow` bars. At a bar's close, once
`slow` closes exist: the fast one above the slow one by more than `threshold` and flat, buy `qty` at
market; below it by more than `threshold` and long, sell `qty`. Long or flat. Every fill pays the
taker fee; no slippage, no latency. On bars an order fills at the next bar's open, from trades at the
next trade. While an order waits for its fill, nothing further is decided.

Units: times are ns since the epoch, UTC; prices are quote currency per base unit; qty and position
are base currency; cash, fee and equity are quote currency; `threshold` is a price difference, not a
ratio; `fee_rate` is a fraction of the notional.

Source: shared/bench/README.md. On its market it says 13,578 fills on the bars and 235 from the trades.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal, FloatOperation, Inexact, InvalidOperation, localcontext

# A result that does not fit is an error, not a rounding, and so is a float: whatever this file
# returns is exact. It also holds inside a generator passed in as rows or trades, while it is read.
_EXACT = Context(prec=60, traps=[Inexact, InvalidOperation, FloatOperation])
_MINUTE_NS = 60 * 10**9


@dataclass(frozen=True)
class ReferenceFill:
    """One execution, and the account right after it."""

    ts_ns: int  # when it filled, ns since the epoch, UTC
    side: str  # "buy" or "sell"
    price: Decimal  # quote currency per base unit
    qty: Decimal  # base currency, always positive
    fee: Decimal  # quote currency, paid
    position: Decimal  # base currency, after this fill
    cash: Decimal  # quote currency, after this fill: equity at a price p is cash + position * p


def reference_on_bars(
    rows: Iterable[tuple[int, Decimal, Decimal, Decimal, Decimal]],
    *,
    fast: int = 20,
    slow: int = 100,
    threshold: Decimal = Decimal("0.0001"),
    qty: Decimal = Decimal("0.1"),
    fee_rate: Decimal = Decimal("0.00055"),
    cash: Decimal = Decimal(100000),
    interval_ns: int = _MINUTE_NS,
) -> tuple[list[ReferenceFill], list[tuple[int, Decimal]]]:
    """Trade closed bars; return the fills and the equity at every bar's close.

    An order decided at a bar's close fills at the next bar's open. That fill is not in the equity
    of the bar that decided it, but is in the next one's. An order decided on the last bar never
    fills. The high and the low are not used.

    Args:
        rows: (open time in ns, open, high, low, close), oldest first.
        fast, slow: lengths of the averages, in bars.
        threshold: how far apart the averages must be, quote currency per base unit.
        qty: size of every order, base currency.
        fee_rate: fraction of the notional paid on every fill.
        cash: starting cash, quote currency.
        interval_ns: length of a bar.
    Returns:
        the fills, and (close time in ns, equity in quote currency) of every bar, both oldest first.
    Raises:
        ValueError: the averages' lengths are not 0 < fast < slow, or a bar starts before the last one closed.
        decimal.Inexact: an amount needs more than 60 digits.
    """
    strategy = _Strategy(fast=fast, slow=slow, threshold=threshold)
    account = _Account(cash=cash, qty=qty, fee_rate=fee_rate)
    equity: list[tuple[int, Decimal]] = []
    side: str | None = None  # the order waiting for its fill
    close_ns: int | None = None
    with localcontext(_EXACT):
        for open_ns, open_price, _high, _low, close_price in rows:
            if close_ns is not None and open_ns < close_ns:
                raise ValueError(f"bar at {open_ns} starts before the last one closed at {close_ns}")
            if side is not None:
                account.fill(side, ts_ns=open_ns, price=open_price)
            close_ns = open_ns + interval_ns
            equity.append((close_ns, account.equity(close_price)))
            side = strategy.decide(close_price, position=account.position)
    return account.fills, equity


def reference_on_trades(
    trades: Iterable[tuple[int, Decimal, Decimal]],
    *,
    fast: int = 20,
    slow: int = 100,
    threshold: Decimal = Decimal("0.0001"),
    qty: Decimal = Decimal("0.1"),
    fee_rate: Decimal = Decimal("0.00055"),
    cash: Decimal = Decimal(100000),
    interval_ns: int = _MINUTE_NS,
) -> tuple[list[ReferenceFill], list[tuple[int, Decimal]]]:
    """Build bars from trades and trade them; return the fills and the equity at every bar's close.

    A bar covers [open, open + interval_ns), aligned to the epoch, and is known exactly at its close
    time. The first bar is the one the first trade is in, however late in it. From then on an
    interval without a trade is a flat bar at the previous close and counts in the averages. The
    bar still forming when the trades end never closes.

    An order fills at the first trade at or after the close that decided it, at that trade's price.
    Until then it waits, also across flat bars, and nothing further is decided. A bar's equity
    excludes fills at or after its close time. Trade sizes are not used.

    Args:
        trades: (time in ns, price, size in base currency), oldest first; equal times are fine.
        fast, slow: lengths of the averages, in bars.
        threshold: how far apart the averages must be, quote currency per base unit.
        qty: size of every order, base currency.
        fee_rate: fraction of the notional paid on every fill.
        cash: starting cash, quote currency.
        interval_ns: length of a bar.
    Returns:
        the fills, and (close time in ns, equity in quote currency) of every bar, both oldest first.
    Raises:
        ValueError: the averages' lengths are not 0 < fast < slow, or a trade is older than the one before it.
        decimal.Inexact: an amount needs more than 60 digits.
    """
    strategy = _Strategy(fast=fast, slow=slow, threshold=threshold)
    account = _Account(cash=cash, qty=qty, fee_rate=fee_rate)
    equity: list[tuple[int, Decimal]] = []
    side: str | None = None  # the order waiting for its fill
    last: tuple[int, Decimal] | None = None  # time and price of the trade before this one
    close_ns = 0  # of the bar that is forming; set by the first trade
    with localcontext(_EXACT):
        for ts_ns, price, _size in trades:
            if last is None:
                close_ns = ts_ns // interval_ns * interval_ns + interval_ns
            else:
                last_ns, last_price = last
                if ts_ns < last_ns:
                    raise ValueError(f"trade at {ts_ns} is older than the one before it, at {last_ns}")
                # The forming bar and any empty ones after it close first. All of them close at the
                # last price: a bar's close is its last trade's, and a flat bar repeats it.
                while close_ns <= ts_ns:
                    equity.append((close_ns, account.equity(last_price)))
                    decided = strategy.decide(last_price, position=account.position)
                    side = side if side is not None else decided
                    close_ns += interval_ns
            if side is not None:
                account.fill(side, ts_ns=ts_ns, price=price)
                side = None
            last = (ts_ns, price)
    return account.fills, equity


class _Strategy:
    """The two averages and the rule that compares them."""

    def __init__(self, *, fast: int, slow: int, threshold: Decimal) -> None:
        if not 0 < fast < slow:
            raise ValueError(f"need 0 < fast < slow, got fast={fast}, slow={slow}")
        self._fast = _WindowSum(fast)
        self._slow = _WindowSum(slow)
        self._threshold = threshold

    def decide(self, close: Decimal, *, position: Decimal) -> str | None:
        """Take in one bar's close; return the side to order, or None."""
        self._fast.add(close)
        self._slow.add(close)
        if not self._slow.is_full:
            return None
        # Both sides of "fast mean - slow mean > threshold" are multiplied by both lengths, because
        # a division could round and this cannot.
        lead = self._fast.total * self._slow.length - self._slow.total * self._fast.length
        margin = self._threshold * self._fast.length * self._slow.length
        if lead > margin and position == 0:
            return "buy"
        if -lead > margin and position > 0:
            return "sell"
        return None


class _WindowSum:
    """The sum of the last `length` values."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.total = Decimal(0)
        self._values: deque[Decimal] = deque()

    @property
    def is_full(self) -> bool:
        return len(self._values) == self.length

    def add(self, value: Decimal) -> None:
        self._values.append(value)
        self.total += value
        if len(self._values) > self.length:
            self.total -= self._values.popleft()


class _Account:
    """Cash, position and the fills that made them."""

    def __init__(self, *, cash: Decimal, qty: Decimal, fee_rate: Decimal) -> None:
        self.cash = cash
        self.position = Decimal(0)
        self.fills: list[ReferenceFill] = []
        self._qty = qty
        self._fee_rate = fee_rate

    def equity(self, price: Decimal) -> Decimal:
        return self.cash + self.position * price

    def fill(self, side: str, *, ts_ns: int, price: Decimal) -> None:
        signed_qty = self._qty if side == "buy" else -self._qty
        fee = price * self._qty * self._fee_rate
        self.position += signed_qty
        self.cash -= signed_qty * price + fee
        self.fills.append(
            ReferenceFill(
                ts_ns=ts_ns,
                side=side,
                price=price,
                qty=self._qty,
                fee=fee,
                position=self.position,
                cash=self.cash,
            )
        )
