"""Event bars for tests: made by the scan in any cut, and as the reference writes them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from bot.core.event_bars import EventBarScan
from bot.core.event_rules import parse_event_rule
from bot.domain.market import EventBarBatch, TradeBatch
from tests.support.bars_reference import ReferenceTrade
from tests.support.batches import INSTRUMENT, cut, join, trades_of
from tests.support.event_bars_reference import ReferenceEventBar, ReferenceRule, event_bars_of_trades

KINDS = tuple(f"{measure}{shape}" for shape in ("", "_imbalance", "_run") for measure in ("tick", "volume", "dollar"))

_WORDS = {
    "open_ns": "open_ns",
    "end_ns": "end_ns",
    "known_ns": "known_ns",
    "open": "open_ticks",
    "high": "high_ticks",
    "low": "low_ticks",
    "close": "close_ticks",
    "volume": "volume_steps",
    "turnover": "turnover",
    "count": "count",
    "buy": "buy_steps",
}


def scan_of(rule: str, *, lateness_ns: int = 0) -> EventBarScan:
    """Return a fresh scan of the tests' instrument."""
    return EventBarScan(INSTRUMENT, parse_event_rule(rule), lateness_ns=lateness_ns)


def event_bars(batch: TradeBatch, rule: str, *, places: Iterable[int] = (), lateness_ns: int = 0) -> EventBarBatch:
    """Return the bars of a batch that is cut before each of these rows."""
    scan = EventBarScan(batch.instrument, parse_event_rule(rule), lateness_ns=lateness_ns)
    return join([scan.scan(part) for part in cut(batch, places)])


def scan_arrivals(scan: EventBarScan, arrivals: Sequence[ReferenceTrade]) -> EventBarBatch:
    """Return the bars of trades that come one by one, with watermarks between them."""
    parts = [scan.scan(trades_of([]))]
    for row, arrival in enumerate(arrivals):
        if arrival.qty is None:
            scan.pass_watermark(arrival.ts_ns)
        else:
            parts.append(scan.scan(trades_of([arrival], first_row=row)))
    return join(parts)


def plain(bars: EventBarBatch) -> list[ReferenceEventBar]:
    """Return bars as the reference writes them."""
    columns = [getattr(bars, name).tolist() for name in _WORDS.values()]
    return [ReferenceEventBar(**dict(zip(_WORDS, row, strict=True))) for row in zip(*columns, strict=True)]


def arrivals_of(batch: TradeBatch) -> list[ReferenceTrade]:
    """Return a batch as plain rows."""
    columns = (batch.ts_ns, batch.price_ticks, batch.qty_steps, batch.is_buy)
    return [
        ReferenceTrade(ts_ns=ts, price=price, qty=qty, is_buy=is_buy)
        for ts, price, qty, is_buy in zip(*(column.tolist() for column in columns), strict=True)
    ]


def reference_bars(batch: TradeBatch, rule: str, *, lateness_ns: int = 0) -> list[ReferenceEventBar]:
    """Return what the reference makes of a batch."""
    return reference_arrivals(
        arrivals_of(batch),
        rule,
        lateness_ns=lateness_ns,
        tick_size=batch.instrument.tick_size,
        qty_step=batch.instrument.qty_step,
    )


def reference_arrivals(
    arrivals: Sequence[ReferenceTrade],
    rule: str,
    *,
    lateness_ns: int = 0,
    tick_size: Decimal = INSTRUMENT.tick_size,
    qty_step: Decimal = INSTRUMENT.qty_step,
) -> list[ReferenceEventBar]:
    """Return what the reference makes of trades and watermarks."""
    return event_bars_of_trades(
        arrivals, read_rule(rule), tick_size=tick_size, qty_step=qty_step, lateness_ns=lateness_ns
    )


def read_rule(text: str) -> ReferenceRule:
    """Return a rule's text as the reference takes it, read the plain way."""
    head, *options = text.split(",")
    kind, size = head.split(":")
    measure, _, shape = kind.partition("_")
    rule = ReferenceRule(measure=measure, shape=shape or "sum", size=Decimal(size))
    for option in options:
        word, value = option.split("=")
        if word == "span":
            rule = replace(rule, span=int(value))
        elif word == "min":
            rule = replace(rule, factor_min=Decimal(value))
        else:
            rule = replace(rule, factor_max=Decimal(value))
    return rule
