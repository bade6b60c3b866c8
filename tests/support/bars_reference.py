"""A second, plain opinion on what bars a market makes.

The tests of `bot/core/bars.py` compare the compiled scans with this file, bar by bar. It shares nothing with them: no
import from `bot`, no numpy, no running state that could be cut. It looks at all rows at once and asks of every
interval which trades belong to it, so it is slow and easy to check by eye.

The rules: intervals are half open and aligned to the epoch. The watermark is the newest trade time or watermark seen.
A base bar closes when the watermark reaches its close plus `lateness_ns`; a trade that arrives after that is late and
left out. The first trade to arrive opens the first interval; what is older than that interval is late as well. An
interval without trades is a flat bar at the previous close. A coarser bar is made of its base bars, all of them.

Units: times are ns since the epoch; prices ticks, quantities steps; turnover their product.
"""

from collections.abc import Sequence
from dataclasses import dataclass

EMPTY, GAP, PARTIAL, NO_FLOW = 1, 2, 4, 8


@dataclass(frozen=True, kw_only=True)
class ReferenceTrade:
    """One trade as it arrived; a `qty` of None makes it a mere watermark."""

    ts_ns: int
    price: int = 0
    qty: int | None = None
    is_buy: bool = False


@dataclass(frozen=True, kw_only=True)
class ReferenceBar:
    """One closed bar."""

    open_ns: int
    open: int
    high: int
    low: int
    close: int
    volume: int = 0
    turnover: int = 0
    count: int = 0
    buy: int = 0
    flags: int = 0


def bars_of_trades(
    arrivals: Sequence[ReferenceTrade], *, base_ns: int, scale_ns: int, lateness_ns: int
) -> tuple[list[ReferenceBar], int]:
    """Return the closed bars of `scale_ns`, made of base bars of `base_ns`, and how many trades were late.

    Args:
        arrivals: trades and watermarks, in the order of their arrival.
        base_ns: the length of the bars that trades join.
        scale_ns: the length of the bars to return, a multiple of `base_ns`.
        lateness_ns: how long after its close a base bar waits for trades.
    """
    watermark_ns = 0
    first: int | None = None  # the interval of the first trade to arrive
    members: dict[int, list[tuple[int, int, ReferenceTrade]]] = {}
    late_count = 0
    for number, arrival in enumerate(arrivals):
        interval = arrival.ts_ns // base_ns
        is_closed = (interval + 1) * base_ns + lateness_ns <= watermark_ns
        watermark_ns = max(watermark_ns, arrival.ts_ns)
        if arrival.qty is None:
            continue
        if is_closed or (first is not None and interval < first):
            late_count += 1
            continue
        first = interval if first is None else first
        members.setdefault(interval, []).append((arrival.ts_ns, number, arrival))
    base: list[ReferenceBar] = []
    interval = first if first is not None else 0
    while first is not None and (interval + 1) * base_ns + lateness_ns <= watermark_ns:
        base.append(_bar(interval * base_ns, members.get(interval, []), base))
        interval += 1
    return coarser(base, base_ns=base_ns, scale_ns=scale_ns), late_count


def bars_of_bars(source: Sequence[ReferenceBar], *, base_ns: int, scale_ns: int) -> list[ReferenceBar]:
    """Return the closed bars of `scale_ns` that the source's own bars of `base_ns` make, holes filled."""
    filled: list[ReferenceBar] = []
    for bar in source:
        while filled and filled[-1].open_ns + base_ns < bar.open_ns:
            filled.append(_flat(filled[-1].open_ns + base_ns, filled[-1].close, EMPTY | GAP))
        filled.append(bar)
    return coarser(filled, base_ns=base_ns, scale_ns=scale_ns)


def coarser(base: Sequence[ReferenceBar], *, base_ns: int, scale_ns: int) -> list[ReferenceBar]:
    """Return the bars of `scale_ns` of which `base`, without holes, holds every part."""
    groups: dict[int, list[ReferenceBar]] = {}
    for bar in base:
        groups.setdefault(bar.open_ns // scale_ns, []).append(bar)
    return [
        _merged(number * scale_ns, parts)
        for number, parts in sorted(groups.items())
        if len(parts) * base_ns == scale_ns
    ]


def _merged(open_ns: int, parts: Sequence[ReferenceBar]) -> ReferenceBar:
    traded = [bar for bar in parts if not bar.flags & EMPTY]
    told = traded or parts[:1]
    flags = 0
    if not traded:
        flags |= EMPTY
    if all(bar.flags & GAP for bar in parts):
        flags |= GAP
    elif any(bar.flags & (GAP | PARTIAL) for bar in parts):
        flags |= PARTIAL
    if any(bar.flags & NO_FLOW for bar in parts):
        flags |= NO_FLOW
    return ReferenceBar(
        open_ns=open_ns,
        open=told[0].open,
        high=max(bar.high for bar in told),
        low=min(bar.low for bar in told),
        close=told[-1].close,
        volume=sum(bar.volume for bar in parts),
        turnover=sum(bar.turnover for bar in parts),
        count=sum(bar.count for bar in parts),
        buy=sum(bar.buy for bar in parts),
        flags=flags,
    )


def _bar(
    open_ns: int, members: Sequence[tuple[int, int, ReferenceTrade]], earlier: Sequence[ReferenceBar]
) -> ReferenceBar:
    if not members:
        return _flat(open_ns, earlier[-1].close, EMPTY)
    # By time, and by arrival where times are equal: the open is the first of these, the close the last.
    trades = [trade for _, _, trade in sorted(members, key=lambda member: member[:2])]
    prices = [trade.price for trade in trades]
    return ReferenceBar(
        open_ns=open_ns,
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=sum(trade.qty or 0 for trade in trades),
        turnover=sum(trade.price * (trade.qty or 0) for trade in trades),
        count=len(trades),
        buy=sum(trade.qty or 0 for trade in trades if trade.is_buy),
    )


def _flat(open_ns: int, price: int, flags: int) -> ReferenceBar:
    return ReferenceBar(open_ns=open_ns, open=price, high=price, low=price, close=price, flags=flags)
