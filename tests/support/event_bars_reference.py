"""A second, plain opinion on what event bars a list of trades makes.

The tests of `bot/core/event_bars.py` compare the compiled scan with this file, bar by bar. It shares nothing with it:
no import from `bot`, no numpy, no float. Sums are Python's integers, averages and thresholds decimals of sixty digits,
and a bar is the list of its trades.

The rules: a bar takes trades in the order of their arrival until what is counted reaches the threshold. What is counted
is the number of trades, their quantity or their price times quantity: of all, of buys less sells without its sign, or
of the side that has more. The threshold is the size, of the first bar; of an imbalance or run rule then what the bars
before expect, kept between two factors times the size. A bar is known at the newest time so far plus the lateness.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal

from tests.support.bars_reference import ReferenceTrade

_EXACT = Context(prec=60)
_DUST = _EXACT.divide(Decimal(2**40 - 1), Decimal(2**40))  # the part of an expectation that is asked for


@dataclass(frozen=True, kw_only=True)
class ReferenceRule:
    """What closes a bar; `size` in trades, base currency or quote currency."""

    measure: str
    shape: str
    size: Decimal
    span: int = 20
    factor_min: Decimal = Decimal("0.25")
    factor_max: Decimal = Decimal(4)


@dataclass(frozen=True, kw_only=True)
class ReferenceEventBar:
    """One closed bar."""

    open_ns: int
    end_ns: int
    known_ns: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    turnover: int
    count: int
    buy: int


def event_bars_of_trades(
    arrivals: Sequence[ReferenceTrade],
    rule: ReferenceRule,
    *,
    tick_size: Decimal,
    qty_step: Decimal,
    lateness_ns: int = 0,
) -> list[ReferenceEventBar]:
    """Return the closed bars of the trades, in the order of their arrival; one without a quantity is a watermark."""
    unit = {"tick": Decimal(1), "volume": qty_step, "dollar": _EXACT.multiply(tick_size, qty_step)}[rule.measure]
    start = _EXACT.divide(rule.size, unit)
    closed: list[list[ReferenceTrade]] = []
    known_ns: list[int] = []
    forming: list[ReferenceTrade] = []
    buys = sells = newest_ns = 0
    threshold = start
    expectation = _Expectation(rule, start)
    for arrival in arrivals:
        newest_ns = max(newest_ns, arrival.ts_ns)
        if arrival.qty is None:
            continue
        forming.append(arrival)
        buys += _counted(arrival, rule) if arrival.is_buy else 0
        sells += 0 if arrival.is_buy else _counted(arrival, rule)
        reached = {"sum": buys + sells, "imbalance": abs(buys - sells), "run": max(buys, sells)}[rule.shape]
        if reached >= threshold:
            closed.append(forming)
            known_ns.append(newest_ns + lateness_ns)
            if rule.shape != "sum":
                threshold = expectation.threshold(forming)
            forming, buys, sells = [], 0, 0
    return [_bar(trades, known) for trades, known in zip(closed, known_ns, strict=True)]


def _counted(trade: ReferenceTrade, rule: ReferenceRule) -> int:
    assert trade.qty is not None
    return {"tick": 1, "volume": trade.qty, "dollar": trade.price * trade.qty}[rule.measure]


class _Average:
    """The newest value times 2 / (span + 1), and what the average was before times the rest; the first alone."""

    def __init__(self, rule: ReferenceRule) -> None:
        self._weight = _EXACT.divide(Decimal(2), Decimal(rule.span + 1))
        self._rest = _EXACT.divide(Decimal(rule.span - 1), Decimal(rule.span + 1))
        self.value: Decimal | None = None

    def take(self, part: int, whole: int) -> None:
        """Take the value `part` / `whole`; where `whole` is zero there is none."""
        if whole:
            value = _EXACT.divide(Decimal(part), Decimal(whole))
            if self.value is not None:
                newest, rest = _EXACT.multiply(value, self._weight), _EXACT.multiply(self.value, self._rest)
                value = _EXACT.add(newest, rest)
            self.value = value


class _Expectation:
    """What the bars before lead to expect of the next one."""

    def __init__(self, rule: ReferenceRule, start: Decimal) -> None:
        self._rule = rule
        self._length, self._signed, self._share, self._buy, self._sell = (_Average(rule) for _ in range(5))
        self._least, self._most = (
            _EXACT.multiply(start, factor).to_integral_value(ROUND_CEILING)
            for factor in (rule.factor_min, rule.factor_max)
        )

    def threshold(self, bar: Sequence[ReferenceTrade]) -> Decimal:
        """Return the threshold of the bar after `bar`."""
        buys = [_counted(trade, self._rule) for trade in bar if trade.is_buy]
        sells = [_counted(trade, self._rule) for trade in bar if not trade.is_buy]
        self._length.take(len(bar), 1)
        self._signed.take(sum(buys) - sum(sells), len(bar))
        self._share.take(len(buys), len(bar))
        self._buy.take(sum(buys), len(buys))
        self._sell.take(sum(sells), len(sells))
        length, signed, share = self._length.value, self._signed.value, self._share.value
        assert length is not None
        assert signed is not None
        assert share is not None
        if self._rule.shape == "imbalance":
            expected = _EXACT.multiply(length, abs(signed))
        else:
            up = _EXACT.multiply(share, self._buy.value or Decimal(0))
            down = _EXACT.multiply(_EXACT.subtract(Decimal(1), share), self._sell.value or Decimal(0))
            expected = _EXACT.multiply(length, max(up, down))
        wanted = _EXACT.multiply(expected, _DUST).to_integral_value(ROUND_CEILING)
        return min(max(wanted, self._least), self._most)


def _bar(trades: Sequence[ReferenceTrade], known_ns: int) -> ReferenceEventBar:
    prices = [trade.price for trade in trades]
    return ReferenceEventBar(
        open_ns=trades[0].ts_ns,
        end_ns=trades[-1].ts_ns,
        known_ns=known_ns,
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=sum(trade.qty or 0 for trade in trades),
        turnover=sum(trade.price * (trade.qty or 0) for trade in trades),
        count=len(trades),
        buy=sum(trade.qty or 0 for trade in trades if trade.is_buy),
    )
