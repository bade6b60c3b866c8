"""Real captures of another venue told as Bybit tells: the best levels as a numbered chain, trades as they were."""

import json
from collections.abc import Iterator

import numpy as np

from bot.domain.instrument import Instrument
from bot.domain.market import BookDeltaBatch, TradeBatch

MS = 1_000_000
Side = dict[int, int]


def book_frames(deltas: BookDeltaBatch, levels: int, count: int) -> Iterator[tuple[int, bytes, tuple[Side, Side]]]:
    """Yield when each message was received, the frame, and the best levels that it leads to.

    Begins with the first snapshot. A change beyond the window is no news to Bybit's clients and gives no frame.
    """
    sides: tuple[Side, Side] = ({}, {})
    shown: tuple[Side, Side] = ({}, {})
    update, made, has_begun = 0, 0, False
    start = 0
    for stop in (np.flatnonzero(deltas.is_last) + 1).tolist():
        if deltas.is_snapshot[start]:
            sides, has_begun = ({}, {}), True
        rows = zip(
            *(getattr(deltas, n)[start:stop].tolist() for n in ("is_bid", "price_ticks", "qty_steps")), strict=True
        )
        for is_bid, ticks, steps in rows:
            side = sides[0 if is_bid else 1]
            if steps:
                side[ticks] = steps
            else:
                side.pop(ticks, None)
        row, start = start, stop
        if not has_begun:
            continue
        best = _best(sides[0], levels, is_bid=True), _best(sides[1], levels, is_bid=False)
        changes = [_changes(old, new) for old, new in zip(shown, best, strict=True)]
        is_first, shown = made == 0, best
        if not any(changes):
            continue
        update += 1
        made += 1
        ts_ns, known_ns = int(deltas.ts_ns[row]), int(deltas.known_ns[row])
        yield known_ns, _frame(deltas.instrument, levels, update, ts_ns, changes, is_snapshot=is_first), best
        if made == count:
            return


def _best(side: Side, levels: int, *, is_bid: bool) -> Side:
    return {ticks: side[ticks] for ticks in sorted(side, reverse=is_bid)[:levels]}


def _changes(before: Side, after: Side) -> list[tuple[int, int]]:
    return [(p, 0) for p in before if p not in after] + [(p, q) for p, q in after.items() if before.get(p) != q]


def _frame(
    instrument: Instrument,
    levels: int,
    update: int,
    ts_ns: int,
    changes: list[list[tuple[int, int]]],
    *,
    is_snapshot: bool,
) -> bytes:
    texts = [
        [[f"{instrument.price(p):f}", f"{instrument.qty(q):f}" if q else "0"] for p, q in each] for each in changes
    ]
    data = {"s": instrument.name, "b": texts[0], "a": texts[1], "u": update, "seq": update}
    kind = "snapshot" if is_snapshot else "delta"
    return _message(f"orderbook.{levels}.{instrument.name}", kind, ts_ns, data, cts=ts_ns // MS)


def trade_frames(trades: TradeBatch, each: int = 3) -> Iterator[bytes]:
    """Yield trades as frames of a few; times are cut to ms, as Bybit tells them."""
    instrument = trades.instrument
    for start in range(0, len(trades), each):
        rows = range(start, min(start + each, len(trades)))
        data = [
            {
                "T": int(trades.ts_ns[row]) // MS,
                "s": instrument.name,
                "S": "Buy" if trades.is_buy[row] else "Sell",
                "v": f"{instrument.qty(int(trades.qty_steps[row])):f}",
                "p": f"{instrument.price(int(trades.price_ticks[row])):f}",
                "i": f"trade-{row}",
                "BT": False,
            }
            for row in rows
        ]
        yield _message(f"publicTrade.{instrument.name}", "snapshot", int(trades.ts_ns[rows[-1]]), data)


def _message(topic: str, kind: str, ts_ns: int, data: object, **more: int) -> bytes:
    return json.dumps({"topic": topic, "type": kind, "ts": ts_ns // MS, "data": data, **more}).encode()
