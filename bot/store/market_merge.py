"""Joins rows that arrive with rows that are there: nothing twice, the newer import wins where they disagree.

What makes two rows the same depends on the kind:

* bars, mark and index prices, funding: the time.
* trades: the venue's number. Trades without one are the same where time, price, quantity and side are; as many of them
  are kept as the one of both sides that has more holds, so equal trades of one file stay apart and a file imported
  twice changes nothing.
* quotes: time and values, counted as above.
* book: a message, which is the rows that share time, number and whether they are a snapshot. Inside one import none is
  dropped: a level may be set twice.

All functions are pure, take columns with the same exponents on both sides and change none of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.store.market_format import Columns, Layout, join

I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Merged:
    """The rows of one file after an import, and what became of those that came.

    Attributes:
        columns: all rows, in order.
        new, repeated, replaced: how many of the rows that came were not there, were there already, and changed what
            was there. Their sum is the number that came.
    """

    columns: Columns
    new: int
    repeated: int
    replaced: int


def merge(layout: Layout, old: Columns | None, came: Columns) -> Merged:
    """Join the rows of one file of the store; where nothing changes, `columns` is `old` itself."""
    if old is not None and is_equal(layout, old, came):
        return Merged(columns=old, new=0, repeated=len(came[layout.time]), replaced=0)
    if layout.family == "trades":
        merged = _merge_trades(layout, old, came)
    elif layout.family == "quotes":
        merged = _merge_quotes(layout, old, came)
    elif layout.family == "book":
        merged = _merge_book(old, came)
    else:
        merged = _merge_keyed(layout, old, came)
    if old is not None and merged.new == 0 and is_equal(layout, old, merged.columns):
        # A source that contradicts itself replaces its own rows again: what counts is what is there in the end.
        return Merged(columns=old, new=0, repeated=len(came[layout.time]), replaced=0)
    return merged


def is_sorted(times: I64) -> bool:
    """Return whether times never go back."""
    return bool((times[1:] >= times[:-1]).all())


def is_equal(layout: Layout, old: Columns, came: Columns) -> bool:
    """Return whether rows are the same in every column."""
    if len(old[layout.time]) != len(came[layout.time]):
        return False
    return all(np.array_equal(old[name], came[name], equal_nan=of == "float64") for name, of in layout.columns.items())


def _sorted(columns: Columns, name: str) -> Columns:
    if is_sorted(columns[name]):
        return columns
    return _take(columns, np.argsort(columns[name], kind="stable"))


def _take(columns: Columns, rows: NDArray[Any]) -> Columns:
    return {name: values[rows] for name, values in columns.items()}


# --- bars, mark, index, funding ---------------------------------------------------------------------------------------


def _merge_keyed(layout: Layout, old: Columns | None, came: Columns) -> Merged:
    """Join rows of which there is one for each time."""
    time = layout.time
    came = _sorted(came, time)
    times = came[time]
    is_last = np.ones(len(times), np.bool_)  # of equal times the last to come wins
    is_last[:-1] = times[1:] != times[:-1]
    losers = np.flatnonzero(~is_last)
    same = _values_equal(layout, _take(came, losers), _take(came, losers + 1))
    repeated, replaced = int(same.sum()), int((~same).sum())
    came = _take(came, is_last)
    if old is None:
        return Merged(columns=came, new=len(came[time]), repeated=repeated, replaced=replaced)
    at = np.searchsorted(old[time], came[time])
    known = np.zeros(len(came[time]), np.bool_)
    inside = at < len(old[time])
    known[inside] = old[time][at[inside]] == came[time][inside]
    before, after = _take(old, at[known]), _take(came, known)
    after = _filled(layout, before, after)
    same = _values_equal(layout, before, after)
    columns = {name: values.copy() for name, values in old.items()}
    for name in layout.columns:
        columns[name][at[known]] = after[name]
    fresh = _take(came, ~known)
    columns = _take(joined := join([columns, fresh]), np.argsort(joined[time], kind="stable"))
    return Merged(
        columns=columns,
        new=len(fresh[time]),
        repeated=repeated + int(same.sum()),
        replaced=replaced + int((~same).sum()),
    )


def _filled(layout: Layout, before: Columns, after: Columns) -> Columns:
    """Keep what only the older import told, where the newer one says the same of all else."""
    told = [name for name in layout.columns if name not in layout.defaults]
    same = np.all([before[name] == after[name] for name in told], axis=0)
    filled = dict(after)
    for name, default in layout.defaults.items():
        untold = np.isnan(after[name]) if np.isnan(default) else after[name] == default
        filled[name] = np.where(same & untold, before[name], after[name])
    return filled


def _values_equal(layout: Layout, left: Columns, right: Columns) -> Mask:
    same = np.ones(len(left[layout.time]), np.bool_)
    for name, of in layout.columns.items():
        a, b = left[name], right[name]
        same &= (a == b) | (np.isnan(a) & np.isnan(b)) if of == "float64" else a == b
    return same


# --- trades and quotes ------------------------------------------------------------------------------------------------

_TRADE = ("price", "qty", "is_buy")


def _merge_trades(layout: Layout, old: Columns | None, came: Columns) -> Merged:
    came = _sorted(came, "ts_ns")
    numbered = came["trade_id"] != 0
    drop = np.zeros(len(numbered), np.bool_)
    repeated = replaced = 0
    if not numbered.all():
        unnumbered = _take(came, ~numbered) if numbered.any() else came
        drop[~numbered] = _repeats(layout, old, unnumbered, _TRADE)
        repeated = int(drop.sum())
    if numbered.any():
        mine = np.flatnonzero(numbered)
        theirs = np.flatnonzero(old["trade_id"] != 0) if old is not None else np.empty(0, np.int64)
        names = ("ts_ns", *_TRADE)
        contest = _contest(
            old["trade_id"][theirs] if old is not None else theirs,
            _content(old, theirs, names) if old is not None else theirs,
            came["trade_id"][mine],
            _content(came, mine, names),
        )
        drop[mine[contest.lost]] = True
        repeated += int(contest.repeats.sum())
        replaced = int(contest.replaces.sum())
        if old is not None and contest.beaten.any():
            keep = np.ones(len(old["ts_ns"]), np.bool_)
            keep[theirs[contest.beaten]] = False
            old = _take(old, keep)
    columns = _put_among(old, _take(came, ~drop) if drop.any() else came, "ts_ns", "trade_id")
    return Merged(columns=columns, new=len(drop) - repeated - replaced, repeated=repeated, replaced=replaced)


def _merge_quotes(layout: Layout, old: Columns | None, came: Columns) -> Merged:
    came = _sorted(came, "ts_ns")
    drop = _repeats(layout, old, came, ("bid", "bid_qty", "ask", "ask_qty"))
    columns = _put_among(old, _take(came, ~drop) if drop.any() else came, "ts_ns", None)
    return Merged(columns=columns, new=int((~drop).sum()), repeated=int(drop.sum()), replaced=0)


def _repeats(layout: Layout, old: Columns | None, came: Columns, values: tuple[str, ...]) -> Mask:
    """Return which of the rows that came are there already, each row there standing for one."""
    time = layout.time
    drop = np.zeros(len(came[time]), np.bool_)
    if old is None or not len(drop) or not len(old[time]):
        return drop
    first, last = int(came[time][0]), int(came[time][-1])
    low, high = np.searchsorted(old[time], first), np.searchsorted(old[time], last, side="right")
    near = {name: old[name][low:high] for name in (time, *values)}
    if layout.family == "trades":
        unnumbered = old["trade_id"][low:high] == 0
        near = _take(near, unnumbered)
    both = {name: np.concatenate([near[name], came[name]]) for name in near}
    is_new = np.concatenate([np.zeros(len(near[time]), np.bool_), np.ones(len(drop), np.bool_)])
    order = np.lexsort((is_new, *(both[name] for name in values), both[time]))
    starts = np.zeros(len(order), np.bool_)
    starts[:1] = True
    for name in both:
        ranked = both[name][order]
        starts[1:] |= ranked[1:] != ranked[:-1]
    group = np.cumsum(starts) - 1
    is_new = is_new[order]
    there = np.bincount(group, weights=~is_new).astype(np.int64)
    begins = np.flatnonzero(starts)
    nth = np.arange(len(order)) - begins[group] - there[group]  # of the new ones in its group, the old come first
    repeats = is_new & (nth < there[group])
    drop[order[repeats] - len(near[time])] = True
    return drop


# --- book -------------------------------------------------------------------------------------------------------------


def _merge_book(old: Columns | None, came: Columns) -> Merged:
    """Join messages; each side keeps its own order, which is the venue's, where its times go back as well."""
    mine = _Messages(came)
    repeated = replaced = 0
    if old is not None:
        theirs = _Messages(old)
        contest = _contest(theirs.keys, theirs.content, mine.keys, mine.content)
        repeated = int(contest.repeats[mine.of_row].sum())
        replaced = int(contest.replaces[mine.of_row].sum())
        old = _take(old, ~contest.beaten[theirs.of_row]) if contest.beaten.any() else old
        came = _take(came, ~contest.lost[mine.of_row]) if contest.lost.any() else came
    fresh = {**came, "at": np.maximum.accumulate(came["ts_ns"])}
    there = None if old is None else {**old, "at": np.maximum.accumulate(old["ts_ns"])}
    columns = _put_among(there, fresh, "at", "update")
    del columns["at"]
    return Merged(columns=columns, new=len(mine.of_row) - repeated - replaced, repeated=repeated, replaced=replaced)


class _Messages:
    """The messages of a book's rows: all rows, wherever they stand, that share time, number and kind of message.

    Attributes:
        keys, content: of each message, what identifies it and a number that stands for its rows in order.
        of_row: for each row the number of its message.
    """

    def __init__(self, columns: Columns) -> None:
        every = np.arange(len(columns["ts_ns"]))
        keys = _content(columns, every, ("ts_ns", "update", "is_snapshot"))
        rows = _content(columns, every, ("previous", "is_bid", "price", "qty"))
        self.keys, of_row = np.unique(keys, return_inverse=True)
        self.of_row = of_row.astype(np.int64)
        self.content = np.zeros(len(self.keys), np.int64)
        _fold_rows(rows, self.of_row, self.content)


# --- what they share --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Contest:
    """Who is kept of rows with the same key: what came last, unless it says what was there.

    `lost`, `repeats` and `replaces` speak of the rows that came, `beaten` of those that were there.
    """

    lost: Mask
    repeats: Mask
    replaces: Mask
    beaten: Mask


def _contest(old_keys: I64, old_content: I64, keys: I64, content: I64) -> _Contest:
    """Compare rows by key; no two of the old ones have the same."""
    repeats, replaces = np.zeros(len(keys), np.bool_), np.zeros(len(keys), np.bool_)
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    is_last = np.ones(len(keys), np.bool_)
    is_last[:-1] = ranked[1:] != ranked[:-1]
    winner = order[np.flatnonzero(is_last)[np.cumsum(is_last) - is_last]]
    losers, winners = order[~is_last], winner[~is_last]
    same = content[losers] == content[winners]
    repeats[losers[same]] = True
    replaces[losers[~same]] = True
    lost = np.zeros(len(keys), np.bool_)
    lost[losers] = True
    beaten = np.zeros(len(old_keys), np.bool_)
    if len(old_keys):
        old_order = np.argsort(old_keys, kind="stable")
        last = order[is_last]
        at = np.minimum(np.searchsorted(old_keys[old_order], keys[last]), len(old_keys) - 1)
        rows = old_order[at]
        known = old_keys[rows] == keys[last]
        same = known & (old_content[rows] == content[last])
        lost[last[same]] = True
        repeats[last[same]] = True
        replaces[last[known & ~same]] = True
        beaten[rows[known & ~same]] = True
    return _Contest(lost=lost, repeats=repeats, replaces=replaces, beaten=beaten)


def _content(columns: Columns, rows: I64, names: tuple[str, ...]) -> I64:
    """Return a number for each row that stands for the values of these columns: equal ones have equal numbers.

    Different ones share a number once in about 2**64 comparisons.
    """
    mixed = np.full(len(rows), -3_750_763_034_362_895_579, np.int64)
    for name in names:
        _mix(columns[name][rows].astype(np.int64, copy=False), mixed)
    return mixed


@njit(cache=True, nogil=True)
def _mix(values, mixed):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        mixed[i] = _mixed(mixed[i], values[i])


@njit(cache=True, nogil=True)
def _fold_rows(rows, of_row, content):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        content[of_row[i]] = _mixed(content[of_row[i]], rows[i])


@njit(cache=True, nogil=True)
def _mixed(state, value):  # type: ignore[no-untyped-def]
    """Return both stirred together, by the finishing steps of SplitMix64."""
    x = np.uint64(state) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(value)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64(x ^ (x >> np.uint64(31)))


def _put_among(old: Columns | None, fresh: Columns, time: str, number: str | None) -> Columns:
    """Return the rows of both in order of time, each side keeping its own order.

    At equal times the venue's numbers decide where both sides have them and are ordered by them; else what was there
    stands first.
    """
    if old is None or not len(old[time]):
        return fresh
    if not len(fresh[time]):
        return old
    both = join([old, fresh])
    if old[time][-1] < fresh[time][0]:
        return both
    if number is not None and _is_ranked(old, time, number) and _is_ranked(fresh, time, number):
        return _take(both, np.lexsort((both[number], both[time])))
    return _take(both, np.argsort(both[time], kind="stable"))


def _is_ranked(columns: Columns, time: str, number: str) -> bool:
    numbers, times = columns[number], columns[time]
    if not (numbers > 0).all():
        return False
    return bool(((times[1:] > times[:-1]) | (numbers[1:] >= numbers[:-1])).all())
