"""What a book says of bars, the slow and obvious way: all rows looked through again for every bar."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from bot.domain.instrument import Instrument
from tests.support.batches import INSTRUMENT
from tests.support.book_reference import (
    Row,
    decimal,
    flow_of,
    imbalance_of,
    is_known,
    mid_of,
    pressure_of,
    slope_of,
    spread_bps_of,
)

NAN = math.nan


@dataclass(frozen=True, kw_only=True)
class Bar:
    """The times of a bar."""

    open_ns: int
    close_ns: int
    known_ns: int


def book_bar(
    rows: Sequence[Row], bars: Sequence[Bar], place: int, *, depth: int, instrument: Instrument = INSTRUMENT
) -> dict[str, float]:
    """Return the columns of the bar at a place; the rows must be in order of time and of when they were known."""
    seen = _seen(rows, bars[place])
    before = _seen(rows, bars[place - 1]) if place else 0
    start = bars[place - 1].close_ns if place else bars[place].open_ns
    close = bars[place].close_ns
    made = dict.fromkeys(_NAMES, NAN)
    if seen == 0:
        return made
    fresh = [i for i in range(before, seen) if place or rows[i].ts_ns >= start]
    made["book_updates"] = len(fresh)
    made["book_age"] = (close - rows[seen - 1].ts_ns) / 1e9

    # How long each state stood: from its row, or the bar's start, until the next one's.
    stood: list[tuple[Row, int]] = []
    first = fresh[0] if fresh else seen
    begins = [(first - 1, start)] if first > 0 else []
    begins += [(i, max(rows[i].ts_ns, start)) for i in fresh]
    for number, (i, begin) in enumerate(begins):
        end = begins[number + 1][1] if number + 1 < len(begins) else close
        stood.append((rows[i], end - begin))
    known = [(row, time) for row, time in stood if is_known(row)]
    covered = sum(time for _, time in known)
    made["book_coverage"] = covered / (close - start) if close > start else float(is_known(rows[seen - 1]))
    if covered:
        made["book_spread_mean_bps"] = float(sum(spread_bps_of(row) * time for row, time in known) / covered)
    elif is_known(rows[seen - 1]):
        made["book_spread_mean_bps"] = float(spread_bps_of(rows[seen - 1]))
    changes = [(rows[i - 1], rows[i]) for i in fresh if i and is_known(rows[i]) and is_known(rows[i - 1])]
    if changes or covered or is_known(rows[seen - 1]):
        for levels in (1, 5):
            if levels <= depth:
                flow = sum(flow_of(earlier, row, level) for earlier, row in changes for level in range(levels))
                made[f"book_ofi_{levels}"] = decimal(flow, instrument.qty_step)
    if is_known(rows[seen - 1]):
        made |= _at_close(rows[seen - 1], depth, instrument)
    return made


def _seen(rows: Sequence[Row], bar: Bar) -> int:
    """Return how many rows a bar may see: those up to the first that happened too late or was known too late."""
    for number, row in enumerate(rows):
        if row.ts_ns >= bar.close_ns or row.known_ns > bar.known_ns:
            return number
    return len(rows)


def _at_close(row: Row, depth: int, instrument: Instrument) -> dict[str, float]:
    made = {
        "book_mid": decimal(mid_of(row), instrument.tick_size),
        "book_spread_bps": float(spread_bps_of(row)),
        "book_microprice_bps": float(_microprice_bps(row)),
    }
    made |= {f"book_imbalance_{levels}": float(imbalance_of(row, levels)) for levels in (1, 5, 10) if levels <= depth}
    if depth >= 10:
        made["book_pressure"] = float(pressure_of(row, 10))
        for name, side in (("bid", row.bids), ("ask", row.asks)):
            made[f"book_{name}_slope"] = decimal(slope_of(row, side, 10), instrument.qty_step)
            made[f"book_{name}_depth"] = decimal(sum(qty for _, qty in side[:10]), instrument.qty_step)
    return made


def _microprice_bps(row: Row) -> Fraction:
    (bid, bid_qty), (ask, ask_qty) = row.bids[0], row.asks[0]
    price = Fraction(ask * bid_qty + bid * ask_qty, bid_qty + ask_qty)
    return 10_000 * (price - mid_of(row)) / mid_of(row)


_NAMES = [
    "book_mid",
    "book_spread_bps",
    "book_spread_mean_bps",
    "book_microprice_bps",
    "book_imbalance_1",
    "book_imbalance_5",
    "book_imbalance_10",
    "book_pressure",
    "book_bid_slope",
    "book_ask_slope",
    "book_bid_depth",
    "book_ask_depth",
    "book_ofi_1",
    "book_ofi_5",
    "book_updates",
    "book_age",
    "book_coverage",
]
