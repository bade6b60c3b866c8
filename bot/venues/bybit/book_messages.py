"""Messages of an order book as compiled code reads them: one run of bytes in, a row for each level out.

Books come in thousands, and alone: what is made for a message by itself costs more than reading it. So the messages at
hand become one buffer, a head of fixed size for each and the JSON of their sides behind them all, and no array is made
of any of them before compiled code has read it.
"""

import struct
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.venues.bybit.numbers import NOT_LEVELS, NOT_POSITIVE, number_at, skip_blanks
from bot.venues.bybit.wire import BookFrame

# A head's values. Numbers are `u`; `seq` and the time of sending are 0 where they are not told. Arrival is the place
# among all frames of the instrument, and two lengths in bytes follow.
TS, KNOWN, UPDATE, IS_SNAPSHOT, SEQ, SENT, ARRIVAL, _BIDS, _ASKS = range(9)
_HEAD = struct.Struct("=9q")
_HEAD_BYTES = _HEAD.size
_LEVEL_BYTES_MIN = 9  # ["1","2"]

Packed = NDArray[np.uint8]


def pack_books(frames: Sequence[BookFrame], arrivals: Sequence[int]) -> Packed:
    """Return messages as `scan_levels` reads them."""
    parts: list[object] = [
        _HEAD.pack(f.ts_ns, f.known_ns, f.update, f.is_snapshot, f.seq, f.sent_ns, arrival, len(f.bids), len(f.asks))
        for f, arrival in zip(frames, arrivals, strict=True)
    ]
    for frame in frames:
        parts += (frame.bids, frame.asks)
    return np.frombuffer(b"".join(parts), dtype=np.uint8)  # type: ignore[arg-type]  # `Raw` is a buffer


@njit(cache=True, nogil=True)
def heads_of(packed, count):  # type: ignore[no-untyped-def]
    """Return [count, 9] the heads of packed messages."""
    return packed[: count * _HEAD_BYTES].view(np.int64).reshape(count, _ASKS + 1)


@njit(cache=True, nogil=True)
def room_for(packed, count):  # type: ignore[no-untyped-def]
    """Return how many rows packed messages make at the most."""
    return (packed.size - count * _HEAD_BYTES) // _LEVEL_BYTES_MIN + count


@njit(cache=True, nogil=True)
def scan_levels(  # type: ignore[no-untyped-def]
    packed, count, price_places, price_unit, qty_places, qty_unit, columns, flags, reasons
):
    """Read the levels of packed messages; return how many rows they made, and how many messages were refused.

    A message without levels makes one row of zeros. One that is refused makes one row of price 0 and quantity 1,
    which no book takes: whoever applies it loses its trust there.

    Args:
        packed, count: the messages.
        price_places, price_unit, qty_places, qty_unit: the grids.
        columns: [6, rows] receives of each level its message's time, time of receipt, number, the number that must
            have come before, the price and the quantity.
        flags: [3, rows] receives whether the message is a snapshot, whether it ends here, and whether it is a bid.
        reasons: [count] receives 0, or why a message was refused.
    """
    heads = heads_of(packed, count)
    is_last, is_bid, price, qty = flags[1], flags[2], columns[4], columns[5]
    made = wrong = 0
    start = count * _HEAD_BYTES
    for m in range(count):
        first = made
        reason = 0
        for side in range(2):
            stop = start + heads[m, _BIDS + side]
            if reason == 0:
                before = made
                made, reason = _side(
                    packed, start, stop, price_places, price_unit, qty_places, qty_unit, price, qty, made
                )
                is_bid[before:made] = side == 0
            start = stop
        reasons[m] = reason
        if reason != 0 or made == first:
            made = first + 1
            price[first] = 0
            qty[first] = 1 if reason != 0 else 0
            is_bid[first] = False
            wrong += reason != 0
        is_snapshot = heads[m, IS_SNAPSHOT] == 1
        for row in range(first, made):
            columns[0, row], columns[1, row], columns[2, row] = heads[m, TS], heads[m, KNOWN], heads[m, UPDATE]
            columns[3, row] = -1 if is_snapshot else heads[m, UPDATE] - 1
            flags[0, row] = is_snapshot
            is_last[row] = row == made - 1
    return made, wrong


@njit(cache=True, nogil=True)
def _side(data, at, stop, price_places, price_unit, qty_places, qty_unit, price, qty, made):  # type: ignore[no-untyped-def]
    """Read [["price","qty"],...]; return how many rows there are now, and 0 or a reason."""
    at = skip_blanks(data, at, stop)
    if at >= stop or data[at] != 91:
        return made, NOT_LEVELS
    at = skip_blanks(data, at + 1, stop)
    if at < stop and data[at] == 93:
        return made, 0
    while at < stop and data[at] == 91:
        value, at = number_at(data, skip_blanks(data, at + 1, stop), stop, price_places, price_unit)
        if value <= 0:
            return made, (value if value < 0 else NOT_POSITIVE)
        at = skip_blanks(data, at, stop)
        if at >= stop or data[at] != 44:
            return made, NOT_LEVELS
        amount, at = number_at(data, skip_blanks(data, at + 1, stop), stop, qty_places, qty_unit)
        if amount < 0:
            return made, amount
        at = skip_blanks(data, at, stop)
        if at >= stop or data[at] != 93:
            return made, NOT_LEVELS
        price[made] = value
        qty[made] = amount
        made += 1
        at = skip_blanks(data, at + 1, stop)
        if at < stop and data[at] == 93:
            return made, 0
        if at >= stop or data[at] != 44:
            return made, NOT_LEVELS
        at = skip_blanks(data, at + 1, stop)
    return made, NOT_LEVELS
