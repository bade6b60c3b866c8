"""What the depth of an order book says: statistics of each row of a `BookBatch`.

Prices are quote currency per base unit, quantities base units, distances basis points of the mid. Everything is NaN
where the book is not trusted or a side is empty. Nothing looks further than the row itself, order flow than the row
before it.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.domain.market import F64, I64, BookBatch


def is_known(batch: BookBatch) -> NDArray[np.bool_]:
    """Return the rows that are trusted and have both sides."""
    known: NDArray[np.bool_] = batch.is_trusted & (batch.bid_steps[:, 0] > 0) & (batch.ask_steps[:, 0] > 0)
    return known


def mid(batch: BookBatch) -> F64:
    """Return (a + b) / 2 of the best ask a and bid b, in quote currency per base unit."""
    return np.where(is_known(batch), batch.instrument.prices(batch.bid_ticks[:, 0] + batch.ask_ticks[:, 0]) / 2, np.nan)


def spread_bps(batch: BookBatch) -> F64:
    """Return 1e4 (a - b) / mid."""
    bid, ask = batch.bid_ticks[:, 0], batch.ask_ticks[:, 0]
    return _ratio(2e4 * (ask - bid), bid + ask, is_known(batch))


def microprice(batch: BookBatch) -> F64:
    """Return (a q_b + b q_a) / (q_a + q_b) of the best prices a, b and what rests there, in quote currency per base.

    Source:
        Gatheral and Oomen (2010), Zero-intelligence realized variance estimation: the mid that leans to the thin side.
    """
    return mid(batch) * (1 + microprice_bps(batch) / 1e4)


def microprice_bps(batch: BookBatch) -> F64:
    """Return 1e4 (microprice - mid) / mid, which is half the spread times the imbalance of the best level."""
    return spread_bps(batch) / 2 * imbalance(batch, 1)


def imbalance(batch: BookBatch, levels: int) -> F64:
    """Return (B - A) / (B + A) of the quantities B, A on the best levels of each side, within -1 and 1.

    Source:
        Cao, Hansch and Wang (2009), The information content of an open limit-order book; with one level the queue
        imbalance of Gould and Bonart (2016).
    """
    bids, asks = depth_steps(batch, levels)
    return _ratio(bids - asks, bids + asks, is_known(batch))


def depth_steps(batch: BookBatch, levels: int) -> tuple[I64, I64]:
    """Return what rests on the best levels of each side, in steps; 0 where there is nothing.

    Raises:
        ValueError: the batch holds fewer levels.
    """
    _check_depth(batch, levels)
    return batch.bid_steps[:, :levels].sum(axis=1), batch.ask_steps[:, :levels].sum(axis=1)


def pressure(batch: BookBatch, levels: int) -> F64:
    """Return (B - A) / (B + A), where a side's weight is the sum of q_i / d_i over its best levels, within -1 and 1.

    d_i is a level's distance from the mid: what rests near counts for more. Source: ours, the imbalance of the levels
    with each weighted by its nearness.
    """
    bids, asks = _by_side(_nearness, batch, levels)
    return _ratio(bids - asks, bids + asks, is_known(batch))


def slopes(batch: BookBatch, levels: int) -> tuple[F64, F64]:
    """Return how fast each side deepens away from the mid, bids first, in base units per basis point.

    The least-squares line through the origin, sum(d_i Q_i) / sum(d_i^2), of the cumulative quantity Q_i on the distance
    d_i from the mid in basis points, over a side's best levels. A regression in place of the mean of single
    elasticities of Naes and Skjeltorp (2006), Order book characteristics and the volume-volatility relation, which is
    not defined by a quantity of zero and leaps with the first level.
    """
    bids, asks = _by_side(_slope, batch, levels)
    unit = batch.instrument.qty_float(1)
    return bids * unit, asks * unit


class OrderFlow:
    """Order-flow imbalance by level, from row to row, carried on from batch to batch.

    The m-th level's is e = [b_n >= b_p] q_n - [b_n <= b_p] q_p - [a_n <= a_p] r_n + [a_n >= a_p] r_p, in base units: b
    and a are the level's bid and ask, q and r what rests there, n this row and p the one before. What was added to the
    bids or taken from the asks counts as buying.

    Source:
        Cont, Kukanov and Stoikov (2014), The price impact of order book events, for the best level; Xu, Gould and
        Howison (2018), Multi-level order-flow imbalance in a limit order book, for the same of each level.
    """

    def __init__(self, levels: int = 1) -> None:
        self._levels = levels
        self._before: BookBatch | None = None

    def update(self, batch: BookBatch) -> F64:
        """Return [rows, levels]; NaN unless this row and the one before are trusted and have both sides.

        Raises:
            ValueError: the batch holds fewer levels.
        """
        _check_depth(batch, self._levels)
        if not len(batch):
            return np.empty((0, self._levels))
        before, self._before = self._before, batch.rows(len(batch) - 1, len(batch))
        rows = batch if before is None else BookBatch.join([before, batch])
        known = is_known(rows)
        steps = np.zeros((len(rows), self._levels), dtype=np.int64)
        _flow_rows(rows.bid_ticks, rows.bid_steps, rows.ask_ticks, rows.ask_steps, steps)
        known[1:] &= known[:-1]
        known[0] = False
        flow: F64 = np.where(known[:, None], batch.instrument.qtys(steps), np.nan)
        return flow[len(rows) - len(batch) :]


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any], where: NDArray[np.bool_]) -> F64:
    result = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=result, where=where)
    return result


def _check_depth(batch: BookBatch, levels: int) -> None:
    if not 1 <= levels <= batch.depth:
        raise ValueError(f"{levels} levels of a book that shows {batch.depth}; ask the order book for more depth")


def _by_side(statistic, batch: BookBatch, levels: int) -> tuple[F64, F64]:  # type: ignore[no-untyped-def]
    _check_depth(batch, levels)
    known = is_known(batch)
    bids, asks = np.full(len(batch), np.nan), np.full(len(batch), np.nan)
    bid_ticks, ask_ticks = batch.bid_ticks, batch.ask_ticks
    statistic(bid_ticks, batch.bid_steps, bid_ticks, ask_ticks, known, levels, bids)
    statistic(ask_ticks, batch.ask_steps, bid_ticks, ask_ticks, known, levels, asks)
    return bids, asks


# Sums of floats stand in loops of our own: numpy's order of adding depends on how an array lies in memory, and so on
# how the input was cut.


@njit(cache=True, nogil=True)
def _nearness(ticks, steps, bid_ticks, ask_ticks, known, levels, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        if known[i]:
            twice_mid = np.float64(bid_ticks[i, 0] + ask_ticks[i, 0])
            total = 0.0
            for m in range(levels):
                if steps[i, m] > 0:
                    total += steps[i, m] / (1e4 * abs(2.0 * ticks[i, m] - twice_mid) / twice_mid)
            out[i] = total


@njit(cache=True, nogil=True)
def _slope(ticks, steps, bid_ticks, ask_ticks, known, levels, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        if known[i]:
            twice_mid = np.float64(bid_ticks[i, 0] + ask_ticks[i, 0])
            cumulative = products = squares = 0.0
            for m in range(levels):
                if steps[i, m] > 0:
                    distance = 1e4 * abs(2.0 * ticks[i, m] - twice_mid) / twice_mid
                    cumulative += steps[i, m]
                    products += distance * cumulative
                    squares += distance * distance
            out[i] = products / squares


@njit(cache=True, nogil=True)
def _flow_rows(bid_ticks, bid_steps, ask_ticks, ask_steps, out):  # type: ignore[no-untyped-def]
    for i in range(1, len(out)):
        for m in range(out.shape[1]):
            out[i, m] = flow_between(bid_ticks, bid_steps, ask_ticks, ask_steps, i, m)


@njit(cache=True, nogil=True)
def flow_between(bid_ticks, bid_steps, ask_ticks, ask_steps, i, m):  # type: ignore[no-untyped-def]
    """Return the order flow of level `m` between rows i - 1 and i, in steps.

    A level that is not there counts as one infinitely far away on which nothing rests: price 0 is below every bid, and
    what is above every ask is said here.
    """
    flow = np.int64(0)
    bid, bid_before = bid_ticks[i, m], bid_ticks[i - 1, m]
    if bid >= bid_before:
        flow += bid_steps[i, m]
    if bid <= bid_before:
        flow -= bid_steps[i - 1, m]
    far = np.int64(2**62)
    ask = ask_ticks[i, m] if ask_steps[i, m] > 0 else far
    ask_before = ask_ticks[i - 1, m] if ask_steps[i - 1, m] > 0 else far
    if ask <= ask_before:
        flow -= ask_steps[i, m]
    if ask >= ask_before:
        flow += ask_steps[i - 1, m]
    return flow
