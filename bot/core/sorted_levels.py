"""Price levels in order, in compiled code: found, set and removed in a time that hardly grows with their number.

A side of a book is kept in blocks of `BLOCK` levels, sorted within and among themselves, keys ascending. A change
moves at most a block's levels; one that overflows is halved, and neighbours that would fit into half a block become
one. So N levels take at most 4 N / BLOCK + 2 blocks.

A side is one int64 array, because compiled code pays for every array that it hands on. With room for R blocks:

    [0], [1], [2]   R, blocks in use, levels in use
    [3 + b]         levels in use of block b
    [3 + R + p]     the number of the p-th block in order of their keys; behind those in use the free ones
    [3 + 2R + p]    a key that is not above that block's least, and above all of the block before
    then R * BLOCK keys, by block number, and as many quantities
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.domain.market import I64

BLOCK = 64
_HALF = BLOCK // 2
_ROOM, _BLOCKS, _LEVELS, _HEAD = range(4)


def blank_levels(levels: int) -> I64:
    """Return a side without a level, with room for so many."""
    room = 4 * levels // BLOCK + 4
    side = np.zeros(_HEAD + (3 + 2 * BLOCK) * room, dtype=np.int64)
    side[_ROOM] = room
    side[_HEAD + room : _HEAD + 2 * room] = np.arange(room)
    return side


def with_room(side: I64, more: int) -> I64:
    """Return the side with room for so many levels more."""
    if has_room(side, more):
        return side
    wanted = int(side[_LEVELS]) + more
    keys, qtys = all_levels(side)
    wider = blank_levels(2 * wanted)
    _build(wider, keys, qtys)
    return wider


def all_levels(side: I64) -> tuple[I64, I64]:
    """Return copies of all keys and quantities, keys ascending."""
    room, blocks = int(side[_ROOM]), int(side[_BLOCKS])
    used = side[_HEAD + room : _HEAD + room + blocks]
    in_use: NDArray[np.bool_] = np.arange(BLOCK) < side[_HEAD + used][:, None]
    keys, qtys = side[_HEAD + 3 * room :].reshape(2, room, BLOCK)
    return keys[used][in_use], qtys[used][in_use]


@njit(cache=True, nogil=True)
def has_room(side, more):  # type: ignore[no-untyped-def]
    """Return whether so many levels more fit, however they lie."""
    return 4 * (side[_LEVELS] + more) // BLOCK + 4 <= side[_ROOM]


@njit(cache=True, nogil=True)
def _build(side, keys, qtys):  # type: ignore[no-untyped-def]
    for i in range(keys.size):
        set_level(side, keys[i], qtys[i])


@njit(cache=True, nogil=True)
def clear_levels(side):  # type: ignore[no-untyped-def]
    """Remove all levels."""
    side[_BLOCKS] = side[_LEVELS] = 0


@njit(cache=True, nogil=True)
def has_levels(side):  # type: ignore[no-untyped-def]
    """Return whether there is any."""
    return side[_LEVELS] > 0


@njit(cache=True, nogil=True)
def best_key(side):  # type: ignore[no-untyped-def]
    """Return the greatest key; there must be one."""
    room = side[_ROOM]
    block = side[_HEAD + room + side[_BLOCKS] - 1]
    return side[_HEAD + 3 * room + block * BLOCK + side[_HEAD + block] - 1]


@njit(cache=True, nogil=True)
def copy_best(side, sign, out_ticks, out_steps):  # type: ignore[no-untyped-def]
    """Write the levels with the greatest keys, those first, as far as there is room; keys times `sign`."""
    room = side[_ROOM]
    made = 0
    for place in range(side[_BLOCKS] - 1, -1, -1):
        block = side[_HEAD + room + place]
        start = _HEAD + 3 * room + block * BLOCK
        for at in range(start + side[_HEAD + block] - 1, start - 1, -1):
            if made == out_ticks.size:
                return
            out_ticks[made] = side[at] * sign
            out_steps[made] = side[at + room * BLOCK]
            made += 1


@njit(cache=True, nogil=True)
def set_level(side, key, qty):  # type: ignore[no-untyped-def]
    """Set the quantity at a key, 0 removes it; return whether it was there."""
    room = side[_ROOM]
    if side[_BLOCKS] == 0:
        if qty == 0:
            return False
        _insert_block(side, 0, key)
    place = _last_not_above(side, key)
    block = side[_HEAD + room + place]
    start = _HEAD + 3 * room + block * BLOCK
    size = side[_HEAD + block]
    slot = _lower_bound(side, start, size, key)
    if slot < size and side[start + slot] == key:
        if qty > 0:
            side[start + slot + room * BLOCK] = qty
        else:
            _take(side, block, slot)
            _tidy(side, place)
        return True
    if qty > 0:
        if size == BLOCK:
            place, slot = _make_way(side, place, slot, key)
        _put(side, place, slot, key, qty)
    return False


@njit(cache=True, nogil=True)
def _last_not_above(side, key):  # type: ignore[no-untyped-def]
    """Return the last block that begins at the key or below it, the first where none does."""
    at = first = _HEAD + 2 * side[_ROOM]
    blocks = side[_BLOCKS]
    while blocks > 1:  # halving without a branch that the processor would have to guess
        half = blocks >> 1
        at += half * (side[at + half] <= key)
        blocks -= half
    return at - first


@njit(cache=True, nogil=True)
def _lower_bound(side, start, size, key):  # type: ignore[no-untyped-def]
    """Return how many of the sorted keys are below `key`."""
    at = start
    while size > 1:
        half = size >> 1
        at += half * (side[at + half - 1] < key)
        size -= half
    return at - start + (size == 1 and side[at] < key)


@njit(cache=True, nogil=True)
def _put(side, place, slot, key, qty):  # type: ignore[no-untyped-def]
    room = side[_ROOM]
    block = side[_HEAD + room + place]
    start = _HEAD + 3 * room + block * BLOCK
    for at in range(start + side[_HEAD + block], start + slot, -1):
        side[at] = side[at - 1]
    side[start + slot] = key
    start += room * BLOCK
    for at in range(start + side[_HEAD + block], start + slot, -1):
        side[at] = side[at - 1]
    side[start + slot] = qty
    side[_HEAD + block] += 1
    side[_LEVELS] += 1
    if slot == 0:
        side[_HEAD + 2 * room + place] = key


@njit(cache=True, nogil=True)
def _take(side, block, slot):  # type: ignore[no-untyped-def]
    room = side[_ROOM]
    side[_HEAD + block] -= 1
    side[_LEVELS] -= 1
    start = _HEAD + 3 * room + block * BLOCK
    for at in range(start + slot, start + side[_HEAD + block]):
        side[at] = side[at + 1]
    start += room * BLOCK
    for at in range(start + slot, start + side[_HEAD + block]):
        side[at] = side[at + 1]


@njit(cache=True, nogil=True)
def _make_way(side, place, slot, key):  # type: ignore[no-untyped-def]
    """Split a full block so that a key can be put into it; return where it goes then."""
    room = side[_ROOM]
    if slot == BLOCK and place == side[_BLOCKS] - 1:  # a side that is built upwards fills its blocks
        _insert_block(side, place + 1, key)
        return place + 1, 0
    if slot == 0 and place == 0:  # or downwards
        # What the old first block begins with may be long gone, and not above the key: it must be now.
        side[_HEAD + 2 * room] = side[_HEAD + 3 * room + side[_HEAD + room] * BLOCK]
        _insert_block(side, 0, key)
        return 0, 0
    lower = side[_HEAD + room + place]
    start = _HEAD + 3 * room + lower * BLOCK
    _insert_block(side, place + 1, side[start + _HALF])
    upper = side[_HEAD + room + place + 1]
    _move(side, lower, _HALF, upper, 0, BLOCK - _HALF)
    side[_HEAD + lower] = _HALF
    side[_HEAD + upper] = BLOCK - _HALF
    if slot > _HALF:
        return place + 1, slot - _HALF
    return place, slot


@njit(cache=True, nogil=True)
def _tidy(side, place):  # type: ignore[no-untyped-def]
    """After a level was taken from a block: drop the block if it is empty, join it to a neighbour if both are thin."""
    room = side[_ROOM]
    block = side[_HEAD + room + place]
    if side[_HEAD + block] == 0:
        _remove_block(side, place)
        # What now stand side by side may fit into one.
        if 0 < place < side[_BLOCKS]:
            _join_next(side, place - 1)
        return
    if place + 1 < side[_BLOCKS]:
        _join_next(side, place)
    if place > 0:
        _join_next(side, place - 1)


@njit(cache=True, nogil=True)
def _join_next(side, place):  # type: ignore[no-untyped-def]
    order = _HEAD + side[_ROOM]
    block, after = side[order + place], side[order + place + 1]
    size, more = side[_HEAD + block], side[_HEAD + after]
    if size + more <= _HALF:
        _move(side, after, 0, block, size, more)
        side[_HEAD + block] = size + more
        _remove_block(side, place + 1)


@njit(cache=True, nogil=True)
def _move(side, source, source_slot, target, target_slot, levels):  # type: ignore[no-untyped-def]
    """Copy levels from one block to another."""
    room = side[_ROOM]
    start = _HEAD + 3 * room
    for _ in range(2):  # keys, then quantities
        for i in range(levels):
            side[start + target * BLOCK + target_slot + i] = side[start + source * BLOCK + source_slot + i]
        start += room * BLOCK


@njit(cache=True, nogil=True)
def _insert_block(side, place, key):  # type: ignore[no-untyped-def]
    """Put a free block, empty, at a place among those in use."""
    room, blocks = side[_ROOM], side[_BLOCKS]
    order, first = _HEAD + room, _HEAD + 2 * room
    block = side[order + blocks]
    for at in range(blocks, place, -1):
        side[order + at] = side[order + at - 1]
        side[first + at] = side[first + at - 1]
    side[order + place] = block
    side[first + place] = key
    side[_HEAD + block] = 0
    side[_BLOCKS] = blocks + 1


@njit(cache=True, nogil=True)
def _remove_block(side, place):  # type: ignore[no-untyped-def]
    room, blocks = side[_ROOM], side[_BLOCKS] - 1
    order, first = _HEAD + room, _HEAD + 2 * room
    block = side[order + place]
    for at in range(place, blocks):
        side[order + at] = side[order + at + 1]
        side[first + at] = side[first + at + 1]
    side[order + blocks] = block
    side[_BLOCKS] = blocks
