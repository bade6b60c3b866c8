"""A second, plain opinion on what features may read of a closed bar: the columns of a frame, bar by bar.

It looks at all rows at once and asks of every bar what was known. Units as in `bot.core.features.inputs`. It shares no
code with the engine; of `bot` it reads batches alone.
"""

import itertools
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.domain.market import BarBatch, BookBatch, FundingBatch

F64 = NDArray[np.float64]

_EMPTY, _GAP, _NO_FLOW = 1, 2, 8
_NAN = float("nan")


def frame_of(
    bars: BarBatch,
    *,
    funding: FundingBatch | None = None,
    marks: BarBatch | None = None,
    reference: BarBatch | None = None,
    finest: BarBatch | None = None,
    book: BookBatch | None = None,
    funding_hours: int = 8,
) -> dict[str, Any]:
    """Return the frame of whole streams; a stream that is not there is not known.

    Args:
        bars: closed bars of one scale.
        funding: settled rates of the same instrument.
        marks: its mark-price bars, of any length.
        reference: another instrument's bars of the same scale.
        finest: its own smallest bars.
        book: its order book.
        funding_hours: the time between two settlements.
    """
    frame = _own_columns(bars)
    rows = len(bars)
    frame["funding_hours"] = np.full(rows, funding_hours)
    frame["funding_rate"] = np.full(rows, _NAN)
    frame["mark_close"] = np.full(rows, _NAN)
    frame["ref_close"] = np.full(rows, _NAN)
    frame["realised_variance"] = np.full(rows, _NAN)
    rates = [int(rate) / 1e8 for rate in funding.rate_e8] if funding is not None else []
    mark_prices = _prices(marks, marks.close_ticks) if marks is not None else []
    its_prices = _prices(reference, reference.close_ticks) if reference is not None else []
    logs = np.log(_prices(finest, finest.close_ticks)) if finest is not None else np.empty(0)
    for row in range(rows):
        close_ns, known_ns = bars.close_at(row), int(bars.known_ns[row])
        if funding is not None:
            frame["funding_rate"][row] = _newest(rates, np.flatnonzero(funding.ts_ns <= close_ns))
        if marks is not None:
            frame["mark_close"][row] = _newest(mark_prices, np.flatnonzero(marks.known_ns <= known_ns))
        if reference is not None:
            same = (reference.open_ns == bars.open_ns[row]) & (reference.close_ns == close_ns)
            known = np.flatnonzero(same & (reference.known_ns <= known_ns))
            frame["ref_close"][row] = _newest(its_prices, known)
        if finest is not None:
            frame["realised_variance"][row] = _variance(finest, logs, int(bars.open_ns[row]), close_ns)
    nothing = {name: np.full(rows, _NAN) for name in BOOK}
    return frame | (book_columns(bars, book) if book is not None else nothing)


def _own_columns(bars: BarBatch) -> dict[str, Any]:
    step = bars.instrument.qty_step
    unit = bars.instrument.tick_size * step
    flags, volume = bars.flags.tolist(), bars.volume_steps.tolist()
    turnover, count, bought = bars.turnover.tolist(), bars.count.tolist(), bars.buy_steps.tolist()
    # A bar that traded without a turnover, or without a trade, is of a source that does not tell.
    no_turnover = [f & (_NO_FLOW | _GAP) or (v and not t) for f, v, t in zip(flags, volume, turnover, strict=True)]
    no_takers = [f & (_NO_FLOW | _GAP) or (v and not c) for f, v, c in zip(flags, volume, count, strict=True)]
    columns = {
        "open": _prices(bars, bars.open_ticks),
        "high": _prices(bars, bars.high_ticks),
        "low": _prices(bars, bars.low_ticks),
        "close": _prices(bars, bars.close_ticks),
        "volume": [float(step * v) for v in volume],
        "turnover": [_NAN if no else float(unit * t) for no, t in zip(no_turnover, turnover, strict=True)],
        "count": [_NAN if no else float(c) for no, c in zip(no_takers, count, strict=True)],
        "buy_volume": [_NAN if no else float(step * b) for no, b in zip(no_takers, bought, strict=True)],
    }
    frame: dict[str, Any] = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
    frame["has_no_row"] = np.array([bool(f & _GAP) for f in flags], dtype=np.bool_)
    frame["close_ns"] = bars.close_ns
    return frame


def _prices(bars: BarBatch, ticks: NDArray[np.int64]) -> list[float]:
    size: Decimal = bars.instrument.tick_size
    return [float(size * each) for each in ticks.tolist()]


def _newest(values: Sequence[float], rows: NDArray[Any]) -> float:
    return values[int(rows[-1])] if len(rows) else _NAN


def _variance(finest: BarBatch, logs: F64, open_ns: int, close_ns: int) -> float:
    """Return the sum of the squared log returns of the bars inside; NaN unless all are there, and the one before."""
    ends = finest.close_ns
    inside = np.flatnonzero((ends > open_ns) & (ends <= close_ns))
    if len(inside) * finest.scale_ns != close_ns - open_ns or inside[0] == 0:
        return _NAN
    return float((np.diff(logs[inside[0] - 1 : inside[-1] + 1]) ** 2).sum())


# --- order book -------------------------------------------------------------------------------------------------------


def book_columns(bars: BarBatch, book: BookBatch) -> dict[str, F64]:
    """Return the order book's columns at each close, of rows whose times do not go back.

    A bar takes, in their order, the rows with a time before its close that are known when it is.
    """
    states = [_state(book, row) for row in range(len(book))]
    ts_ns, known_ns = book.ts_ns.tolist(), book.known_ns.tolist()
    taken = 0
    start_ns = int(bars.open_ns[0]) if len(bars) else 0
    made: dict[str, list[float]] = {}
    for bar in range(len(bars)):
        close_ns = bars.close_at(bar)
        first = taken
        while taken < len(book) and ts_ns[taken] < close_ns and known_ns[taken] <= bars.known_ns[bar]:
            taken += 1
        if bar == 0:
            while first < taken and ts_ns[first] < start_ns:
                first += 1
        for name, value in _at_bar(states, ts_ns, first, taken, start_ns, close_ns).items():
            made.setdefault(name, []).append(value)
        start_ns = close_ns
    return {name: np.array(values, dtype=np.float64) for name, values in made.items()}


def _at_bar(
    states: list[dict[str, Any] | None], ts_ns: list[int], first: int, taken: int, start_ns: int, close_ns: int
) -> dict[str, float]:
    """Return the columns of one bar that took rows `first` to `taken`, and knew those before them."""
    now = states[taken - 1] if taken else None
    columns = dict.fromkeys(BOOK_STATE, _NAN) if now is None else {name: now[name] for name in BOOK_STATE}
    columns["book_updates"] = float(taken - first) if taken else _NAN
    columns["book_age"] = (close_ns - ts_ns[taken - 1]) / 1e9 if taken else _NAN
    edges = [start_ns, *(max(ts, start_ns) for ts in ts_ns[first:taken]), close_ns]
    weighted = covered = 0.0
    for row, (since, until) in enumerate(itertools.pairwise(edges), first - 1):
        state = states[row] if row >= 0 else None
        if state is not None:
            weighted += state["book_spread_bps"] * (until - since)
            covered += until - since
    flows = [
        _flow(before, after)
        for before, after in zip(states[max(first - 1, 0) : taken], states[max(first, 1) : taken], strict=False)
        if before is not None and after is not None
    ]
    is_known = bool(flows) or covered > 0 or now is not None
    columns["book_spread_mean_bps"] = weighted / covered if covered else _NAN
    columns["book_coverage"] = covered / (close_ns - start_ns) if taken else _NAN
    columns["book_ofi_1"] = sum(flow[0] for flow in flows) if is_known else _NAN
    columns["book_ofi_5"] = sum(sum(flow[:5]) for flow in flows) if is_known else _NAN
    return columns


BOOK_STATE = (
    "book_mid",
    "book_spread_bps",
    "book_microprice_bps",
    "book_imbalance_1",
    "book_imbalance_5",
    "book_imbalance_10",
    "book_pressure",
    "book_bid_slope",
    "book_ask_slope",
    "book_bid_depth",
    "book_ask_depth",
)
BOOK = (*BOOK_STATE, "book_updates", "book_age", "book_spread_mean_bps", "book_coverage", "book_ofi_1", "book_ofi_5")


def _state(book: BookBatch, row: int) -> dict[str, Any] | None:
    """Return what one row says; None if it is not trusted or a side is empty."""
    tick, step = book.instrument.tick_size, book.instrument.qty_step
    sides = {}
    for side, ticks, steps in (("bid", book.bid_ticks, book.bid_steps), ("ask", book.ask_ticks, book.ask_steps)):
        pairs = zip(ticks[row].tolist(), steps[row].tolist(), strict=True)
        sides[side] = [(float(tick * price), float(step * qty)) for price, qty in pairs]
    (bid, bid_qty), (ask, ask_qty) = sides["bid"][0], sides["ask"][0]
    if not (book.is_trusted[row] and bid_qty and ask_qty):
        return None
    middle = (bid + ask) / 2.0
    micro = (ask * bid_qty + bid * ask_qty) / (bid_qty + ask_qty)
    state: dict[str, Any] = {
        "sides": sides,
        "book_mid": middle,
        "book_spread_bps": 1e4 * (ask - bid) / middle,
        "book_microprice_bps": 1e4 * (micro - middle) / middle,
    }
    near = {}
    for side, levels in sides.items():
        there = [(1e4 * abs(price - middle) / middle, qty) for price, qty in levels[:10] if qty]
        resting = np.cumsum([qty for _, qty in there])
        away = np.array([distance for distance, _ in there])
        near[side] = float(np.sum([qty / distance for distance, qty in there]))
        state[f"book_{side}_slope"] = float(np.sum(away * resting) / np.sum(away**2))
        state[f"book_{side}_depth"] = float(resting[-1])
    state["book_pressure"] = (near["bid"] - near["ask"]) / (near["bid"] + near["ask"])
    for depth in (1, 5, 10):
        bids, asks = (sum(qty for _, qty in sides[side][:depth]) for side in ("bid", "ask"))
        state[f"book_imbalance_{depth}"] = (bids - asks) / (bids + asks)
    return state


def _flow(before: dict[str, Any], after: dict[str, Any]) -> list[float]:
    """Return the order-flow imbalance of every level: Cont, Kukanov and Stoikov (2014), equation 3."""
    flows = []
    for (b0, q0), (b1, q1), (a0, r0), (a1, r1) in zip(
        before["sides"]["bid"],
        after["sides"]["bid"],
        before["sides"]["ask"],
        after["sides"]["ask"],
        strict=True,
    ):
        a0, a1 = a0 if r0 else float("inf"), a1 if r1 else float("inf")
        flow = (q1 if b1 >= b0 else 0.0) - (q0 if b1 <= b0 else 0.0)
        flow += (r0 if a1 >= a0 else 0.0) - (r1 if a1 <= a0 else 0.0)
        flows.append(flow)
    return flows
