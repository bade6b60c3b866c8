"""The orders: side, price, and the trades that each leaves."""

from math import floor, sqrt
from typing import NamedTuple

import numpy as np
from numba import njit

from bot.core.sample_market.portable import exp
from bot.core.sample_market.spec import DAY_S, Flags, SampleMarketSpec, SampleTrades
from bot.core.sample_market.weather import DayWeather
from bot.domain.market import F64, I64

_MILLISECOND_NS = 1_000_000

# Trades per order are geometric, and a few orders sweep the book. Most small orders leave the price be.
_TRADES_GEOMETRIC = 0.5
_SWEEP_SHARE = 0.01
_SWEEP_FACTOR = 10
TRADES_PER_ORDER = 1.0 / _TRADES_GEOMETRIC * (1.0 + _SWEEP_SHARE * (_SWEEP_FACTOR - 1))
_LARGE_TRADES = 3  # an order is large from so many trades on
_LARGE_SHARE = (1.0 - _TRADES_GEOMETRIC) ** 2 * (1.0 - _SWEEP_SHARE) + _SWEEP_SHARE
_MOVES_SHARE_SMALL = 0.20  # of small orders that move the price
_MOVES_SHARE_LARGE = 0.70
_MOVES_SHARE = _MOVES_SHARE_SMALL * (1.0 - _LARGE_SHARE) + _MOVES_SHARE_LARGE * _LARGE_SHARE
_JUMP_TRADES = 12  # at least so many in the order that jumps

# The taker's side: three memories, counted in orders, together near a power law.
_FLOW_MEMORY = (3.0, 20.0, 200.0)
_FLOW_WEIGHT = (0.25, 0.30, 0.35)
_IMPACT_CORRELATION = 0.45  # of a moving order's return with the surprise in its side
_WALKED_SHARE = 0.3  # of such a return that the order itself ate; the quotes moved the rest just before
_RETURN_MAX = 0.05  # of one order, a fraction, jumps apart

# Sizes: log-normal, one in a hundred stretched by a power law, some cut to 1, 2 or 5 times a power of ten.
_QTY_LOG_DEVIATION = 1.9
_QTY_STRETCHED_SHARE = 0.01
_QTY_STRETCH_EXPONENT = 1.5
_QTY_ROUND_SHARE = 0.30
_QTY_MAX_RATIO = 5_000  # over the median: the venue's largest order


class Flow(NamedTuple):
    """What the next order depends on."""

    mid_ticks: float  # the efficient price, between bid and ask
    side_fast: float  # recent sides, -1 to 1, by length of memory
    side_medium: float
    side_slow: float


def trades_of_day(
    spec: SampleMarketSpec, rng: np.random.Generator, flow: Flow, day: DayWeather, *, midnight_ns: int
) -> tuple[Flow, SampleTrades]:
    """Draw one day's orders and scan them."""
    second_of_order = np.repeat(np.arange(DAY_S, dtype=np.int64), day.orders)
    order_count = len(second_of_order)
    ts_ms = second_of_order * 1_000 + rng.integers(0, 1_000, order_count)
    ts_ms.sort()  # seconds are in order already, so this sorts within each

    trades_of_order = rng.geometric(_TRADES_GEOMETRIC, order_count).astype(np.int64)
    trades_of_order[rng.random(order_count) < _SWEEP_SHARE] *= _SWEEP_FACTOR
    is_first = np.diff(second_of_order, prepend=-1) > 0
    jump = np.where(is_first, day.jump[second_of_order], 0.0)
    np.maximum(trades_of_order, _JUMP_TRADES, out=trades_of_order, where=jump != 0.0)

    flow, price_ticks, is_buy_of_order = _scan_orders(
        flow,
        trades_of_order,
        day.order_deviation[second_of_order],
        day.order_drift[second_of_order],
        day.spread_ticks[second_of_order],
        jump,
        rng.standard_normal(order_count),
        rng.random((2, order_count)),
    )
    trade_count = len(price_ticks)
    qty_steps = _scan_sizes(
        spec.qty_median_steps,
        rng.standard_normal(trade_count),
        rng.standard_exponential(trade_count),
        rng.random((2, trade_count)),
    )
    ts_ns = np.repeat(midnight_ns + ts_ms * _MILLISECOND_NS, trades_of_order)
    return flow, SampleTrades(ts_ns, price_ticks, qty_steps, np.repeat(is_buy_of_order, trades_of_order))


@njit(cache=True, nogil=True)
def _scan_orders(
    flow: Flow,
    trades_N: I64,
    deviation_N: F64,
    drift_N: F64,
    spread_ticks_N: I64,
    jump_N: F64,
    noise_N: F64,
    uniform_2N: F64,
) -> tuple[Flow, I64, Flags]:
    """Walk the N orders of a day; return the state after it, each trade's price and each order's side.

    The return of an order is decided before it trades, so who has seen a trade knows nothing of the next
    return: the side is predictable, but only what was not predicted of it moves the price. Within one order
    the trades do walk, all in the same millisecond.

    Args:
        trades_N: how many trades each order leaves.
        deviation_N, drift_N, jump_N: of the return each order stands for, fractions.
        noise_N: standard normal, for the return.
        uniform_2N: from 0 to 1, for the side and for whether the order moves the price.
    """
    mid, side_fast, side_medium, side_slow = flow
    price_ticks = np.empty(trades_N.sum(), dtype=np.int64)
    is_buy = np.empty(len(trades_N), dtype=np.bool_)
    noise_share = sqrt(1.0 - _IMPACT_CORRELATION * _IMPACT_CORRELATION)
    trade = 0
    for order in range(len(trades_N)):
        expected = _FLOW_WEIGHT[0] * side_fast + _FLOW_WEIGHT[1] * side_medium + _FLOW_WEIGHT[2] * side_slow
        side = 1.0 if uniform_2N[0, order] < 0.5 * (1.0 + expected) else -1.0
        if jump_N[order] != 0.0:
            side = 1.0 if jump_N[order] > 0.0 else -1.0
        surprise = (side - expected) / sqrt(1.0 - expected * expected)
        side_fast += (side - side_fast) / _FLOW_MEMORY[0]
        side_medium += (side - side_medium) / _FLOW_MEMORY[1]
        side_slow += (side - side_slow) / _FLOW_MEMORY[2]
        is_buy[order] = side > 0.0

        moves_share = _MOVES_SHARE_LARGE if trades_N[order] >= _LARGE_TRADES else _MOVES_SHARE_SMALL
        move = drift_N[order]
        if uniform_2N[1, order] < moves_share:
            shape = _IMPACT_CORRELATION * surprise + noise_share * noise_N[order]
            move += shape * deviation_N[order] / sqrt(_MOVES_SHARE)
        before = mid
        mid *= 1.0 + min(max(move, -_RETURN_MAX), _RETURN_MAX) + jump_N[order]
        mid = max(mid, 1.0)

        # An order that moved the price its own way ate through the book; else all its trades are at the best.
        walked = before if (mid - before) * side > 0.0 else mid
        if jump_N[order] == 0.0:
            walked = mid - _WALKED_SHARE * (mid - walked)
        offset_ticks = spread_ticks_N[order] if side > 0.0 else 0
        for nth in range(1, trades_N[order] + 1):
            at = walked + (mid - walked) * (nth / trades_N[order])
            price_ticks[trade] = max(floor(at) + offset_ticks, 1)
            trade += 1
    return Flow(mid, side_fast, side_medium, side_slow), price_ticks, is_buy


@njit(cache=True, nogil=True)
def _scan_sizes(median_steps: int, noise_N: F64, exponential_N: F64, uniform_2N: F64) -> I64:
    """Return the N trades' quantities in steps.

    Args:
        noise_N, exponential_N: standard, for the body and for the tail.
        uniform_2N: from 0 to 1, for whether the size is of the tail and whether it is a round lot.
    """
    qty_steps = np.empty(len(noise_N), dtype=np.int64)
    for trade in range(len(noise_N)):
        log_ratio = _QTY_LOG_DEVIATION * noise_N[trade]
        if uniform_2N[0, trade] < _QTY_STRETCHED_SHARE:
            log_ratio += exponential_N[trade] / _QTY_STRETCH_EXPONENT
        qty = median_steps * min(exp(log_ratio), float(_QTY_MAX_RATIO))
        qty_steps[trade] = max(floor(qty + 0.5), 1)
        if uniform_2N[1, trade] < _QTY_ROUND_SHARE:
            qty_steps[trade] = _round_lot(qty_steps[trade])
    return qty_steps


@njit(cache=True, nogil=True)
def _round_lot(qty_steps: int) -> int:
    """Return the largest 1, 2 or 5 times a power of ten that is at most `qty_steps`."""
    power = 1
    while power * 10 <= qty_steps:
        power *= 10
    if qty_steps >= 5 * power:
        return 5 * power
    return 2 * power if qty_steps >= 2 * power else power
