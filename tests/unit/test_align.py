"""Streams side by side: the rules of `bot/core/align.py` on examples small enough to check by eye, and on real bars."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from bot.core.align import NEVER_NS, AlignedBatch, Aligner, AsOfJoin, as_of
from bot.core.bars import BarAggregator
from bot.domain.errors import InvariantBroken
from bot.domain.market import EMPTY, GAP, NO_FLOW, BarBatch
from tests.support.bars_reference import ReferenceBar
from tests.support.batches import bars_of, cut, join
from tests.support.shared_data import shared_file

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
END = 2**63 - 1


def times(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, dtype=np.int64)


def minutes(*at: int, flags: Sequence[int] = (), lateness_ns: int = 0, first_row: int = 0) -> BarBatch:
    """Return 1 m bars that open at these minutes."""
    rows = [
        ReferenceBar(open_ns=n * MINUTE, open=1, high=1, low=1, close=1, flags=flags[i] if flags else 0)
        for i, n in enumerate(at)
    ]
    return bars_of(rows, scale_ns=MINUTE, lateness_ns=lateness_ns, first_row=first_row)


def align(aligner: Aligner, **streams: BarBatch) -> AlignedBatch:
    """Return what the whole streams make."""
    return join([aligner.extend(name, bars, END) for name, bars in streams.items()])


# --- as_of ------------------------------------------------------------------------------------------------------------


def test_as_of_takes_the_newest_row_known_by_then() -> None:
    """Known at that very time counts; of several known at one time the last does; before the first there is none."""
    known = times(10, 20, 20, 30)
    assert as_of(times(9, 10, 19, 20, 29, 30, 99, 0), known).tolist() == [-1, 0, 0, 2, 2, 3, 3, -1]
    assert as_of(times(5), times()).tolist() == [-1]
    assert as_of(times(), known).tolist() == []


def test_as_of_refuses_rows_out_of_order() -> None:
    with pytest.raises(ValueError, match="in the order in which they became known"):
        as_of(times(1), times(2, 1))


def test_a_join_carries_its_last_row_over_batches() -> None:
    """The row before the cut still stands after it, under its own number."""
    join_ = AsOfJoin()
    join_.extend(times(10, 20), 25, first_row=7)
    assert join_.at(times(5, 10, 24)).row.tolist() == [-1, 7, 8]
    join_.forget(25)
    join_.extend(times(30), 40)
    found = join_.at(times(25, 29, 30, 39))
    assert found.row.tolist() == [8, 8, 9, 9]
    assert found.known_ns.tolist() == [20, 20, 30, 30]


def test_a_join_answers_no_time_that_is_not_decided() -> None:
    """At the watermark itself another row may still come."""
    join_ = AsOfJoin()
    join_.extend(times(10), 20)
    with pytest.raises(ValueError, match="not decided"):
        join_.at(times(20))
    join_.forget(15)
    with pytest.raises(ValueError, match="must move on"):
        join_.at(times(14))
    with pytest.raises(ValueError, match="must move on"):
        join_.at(times(17, 16))


def test_a_stream_that_breaks_its_promise_halts() -> None:
    """A row known before the watermark, before an earlier row, or with a number that leaves a hole."""
    with pytest.raises(InvariantBroken, match="watermark"):
        _told(times(10), 20).extend(times(19), 30)
    with pytest.raises(InvariantBroken, match="earlier row"):
        _told(times(10), 5).extend(times(9), 30)
    with pytest.raises(InvariantBroken, match="earlier row"):
        _told(times(10), 5).extend(times(12, 11), 30)
    with pytest.raises(InvariantBroken, match="go on at 2 instead of 1"):
        _told(times(10), 5).extend(times(12), 30, first_row=2)


def _told(known_ns: np.ndarray[tuple[int], np.dtype[np.int64]], watermark_ns: int) -> AsOfJoin:
    join_ = AsOfJoin()
    join_.extend(known_ns, watermark_ns, first_row=0)
    return join_


# --- the aligner ------------------------------------------------------------------------------------------------------


def test_a_symbol_that_misses_bars_is_told_by_its_age() -> None:
    """B has no minutes 2 and 3: its old row stays beside A's times, says how old it is, and is not present."""
    made = align(Aligner(["A", "B"], lead="A", age_max_ns=0), A=minutes(1, 2, 3, 4), B=minutes(1, 4))
    assert made.streams == ("A", "B")
    assert made.ts_ns.tolist() == [n * MINUTE for n in (2, 3, 4, 5)]
    assert made.row.tolist() == [[0, 0], [1, 0], [2, 0], [3, 1]]
    assert (made.age_ns // MINUTE).tolist() == [[0, 0], [0, 1], [0, 2], [0, 0]]
    assert made.is_present.tolist() == [[True, True], [True, False], [True, False], [True, True]]


def test_a_symbol_that_has_not_begun_is_not_there() -> None:
    """No row is -1, and its age fails every limit."""
    made = align(Aligner(["A", "B"], lead="A", age_max_ns=NEVER_NS), A=minutes(1, 2), B=minutes(2))
    assert made.row.tolist() == [[0, -1], [1, 0]]
    assert made.age_ns.tolist() == [[0, NEVER_NS], [0, 0]]
    assert made.is_present.tolist() == [[True, False], [True, True]]


def test_a_bar_that_is_known_later_does_not_stand_beside_one_known_earlier() -> None:
    """B waits a second for late trades: at the time A's bar is known, B's of the same minute is not."""
    made = align(Aligner(["A", "B"], lead="A", age_max_ns=MINUTE), A=minutes(1, 2), B=minutes(1, 2, lateness_ns=SECOND))
    assert made.row.tolist() == [[0, -1], [1, 0]]
    assert made.age_ns[1, 1] == MINUTE - SECOND


def test_a_filled_hole_is_not_present() -> None:
    """A flat bar that stands for a missing one has a row and an age of zero, but says nothing of the market."""
    quiet_and_gap = minutes(1, 2, 3, flags=(0, EMPTY, EMPTY | GAP))
    made = align(Aligner(["A", "B"], lead="A", age_max_ns=0), A=minutes(1, 2, 3), B=quiet_and_gap)
    assert made.row[:, 1].tolist() == [0, 1, 2]
    assert made.is_present[:, 1].tolist() == [True, True, False]


def test_a_grid_has_a_row_wherever_anyone_told_something_new() -> None:
    """On a grid of two minutes: bars known at 1, 2, 5 and 12 minutes make rows at 2, 6 and 12."""
    made = align(Aligner(["A", "B"], grid_ns=2 * MINUTE, age_max_ns=MINUTE), A=minutes(0, 4), B=minutes(1, 11))
    assert (made.ts_ns // MINUTE).tolist() == [2, 6, 12]
    assert made.row.tolist() == [[0, 0], [1, 0], [1, 1]]
    assert (made.age_ns // MINUTE).tolist() == [[1, 0], [1, 4], [7, 0]]
    assert made.is_present.tolist() == [[True, True], [True, False], [False, True]]


def test_a_grid_may_stand_where_bars_become_known() -> None:
    """With an offset of the lateness, a bar counts at the very time it is known and not a step later."""
    known = minutes(1, 2, lateness_ns=SECOND)
    made = align(Aligner(["A"], grid_ns=MINUTE, offset_ns=SECOND, age_max_ns=0), A=known)
    assert made.ts_ns.tolist() == known.known_ns.tolist()
    assert made.is_present.all()
    late = align(Aligner(["A"], grid_ns=MINUTE, age_max_ns=0), A=known)
    assert late.ts_ns.tolist() == [3 * MINUTE, 4 * MINUTE]


def test_each_bar_of_the_lead_has_a_row_of_its_own() -> None:
    """Also of several known at one time, as event bars may be: each stands in its own row."""
    lead = replace(minutes(1, 2, 3), known_ns=times(9 * MINUTE, 9 * MINUTE, 9 * MINUTE))
    made = align(Aligner(["A", "B"], lead="A", age_max_ns=0), A=lead, B=minutes(8))
    assert made.row.tolist() == [[0, 0], [1, 0], [2, 0]]


def test_nothing_is_decided_beyond_the_lowest_watermark() -> None:
    """A silent stream holds up all others until its watermark moves; its silence then shows."""
    aligner = Aligner(["A", "B"], lead="A", age_max_ns=0)
    assert not len(aligner.extend("A", minutes(1, 2, 3), END))
    assert not len(aligner.extend("B", minutes(1), 2 * MINUTE))
    assert aligner.extend("B", None, 3 * MINUTE).ts_ns.tolist() == [2 * MINUTE]
    rest = aligner.extend("B", None, END)
    assert rest.ts_ns.tolist() == [3 * MINUTE, 4 * MINUTE]
    assert rest.first_row == 1
    assert not rest.is_present[:, 1].any()


def test_row_numbers_are_those_of_the_streams() -> None:
    """A stream that does not begin at row 0 keeps its own count."""
    made = align(Aligner(["A", "B"], lead="A", age_max_ns=0), A=minutes(1, 2, first_row=40), B=minutes(2, first_row=9))
    assert made.row.tolist() == [[40, -1], [41, 9]]


def test_memory_does_not_grow_with_what_is_decided() -> None:
    """A long stream is held as one row, and not as a view of the batch it came in."""
    aligner = Aligner(["A", "B"], lead="A", age_max_ns=0)
    for n in range(1, 200):
        for name in ("A", "B"):
            aligner.extend(name, minutes(n, first_row=n), (n + 1) * MINUTE)
    for join_ in aligner._joins.values():
        assert sum(len(part) for part in join_._known) <= 3
        assert all(part.base is None for part in join_._known)


@pytest.mark.parametrize(
    ("streams", "how", "words"),
    [
        (["A"], {}, "either a leading stream or a grid"),
        (["A"], {"lead": "A", "grid_ns": 1}, "either a leading stream or a grid"),
        (["A"], {"lead": "B"}, "B leads, but is not among the streams: A"),
        (["A"], {"grid_ns": 0}, "positive step"),
        (["A"], {"grid_ns": 1, "age_max_ns": -1}, "not negative"),
        (["A", "A"], {"grid_ns": 1}, "names of their own"),
        ([], {"grid_ns": 1}, "names of their own"),
    ],
)
def test_what_cannot_be_aligned_is_refused(streams: list[str], how: dict[str, int | str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Aligner(streams, **{"age_max_ns": 0, **how})  # type: ignore[arg-type]


# --- real bars --------------------------------------------------------------------------------------------------------

ROWS = 20_000


def bitfinex(symbol: str) -> BarBatch:
    """Return the first minutes of 2018 of a symbol on Bitfinex, which writes no bar for a minute without a trade."""
    file = pq.ParquetFile(shared_file(f"data/{symbol}_bitfinex_spot_1m_2018.parquet"))
    open_ns = next(file.iter_batches(ROWS, columns=["ts"]))["ts"].to_numpy() * 1_000_000
    rows = [ReferenceBar(open_ns=ts, open=1, high=1, low=1, close=1, flags=NO_FLOW) for ts in open_ns.tolist()]
    return bars_of(rows, scale_ns=MINUTE)


def test_real_symbols_with_holes_are_aligned_as_pandas_would() -> None:
    """BTC and LTC on Bitfinex: a second opinion on every row, in one piece and in pieces that take turns."""
    btc, ltc = bitfinex("btcusd"), bitfinex("ltcusd")
    whole = align(Aligner(["btc", "ltc"], lead="btc", age_max_ns=0), btc=btc, ltc=ltc)
    right = pd.DataFrame({"known": ltc.known_ns, "row": np.arange(len(ltc)), "told": ltc.known_ns})
    want = pd.merge_asof(pd.DataFrame({"known": btc.known_ns}), right, on="known")
    assert whole.row[:, 1].tolist() == want["row"].fillna(-1).astype(int).tolist()
    is_there = np.isin(btc.open_ns, ltc.open_ns)
    assert 1_000 < is_there.sum() < len(btc)
    assert whole.is_present[:, 1].tolist() == is_there.tolist()

    aligner = Aligner(["btc", "ltc"], lead="btc", age_max_ns=0)
    parts = []
    for btc_part, ltc_part in zip(cut(btc, range(0, ROWS, 700)), cut(ltc, range(0, ROWS, 700)), strict=True):
        for name, part, all_of in (("ltc", ltc_part, ltc), ("btc", btc_part, btc)):
            end = part.first_row + len(part)
            parts.append(aligner.extend(name, part, int(all_of.known_ns[end]) if end < len(all_of) else END))
    assert plain(join(parts)) == plain(whole)


def test_real_symbols_whose_holes_were_filled_are_told_apart_by_the_flag() -> None:
    """After the aggregator both have a bar in every minute; what was missing is still marked."""
    btc, ltc = bitfinex("btcusd"), bitfinex("ltcusd")
    made = {}
    for name, bars in (("btc", btc), ("ltc", ltc)):
        folded = BarAggregator(
            bars.instrument, scales_ns=(MINUTE,), lateness_ns=0, gap_max_ns=3600 * MINUTE, source_scale_ns=MINUTE
        )
        made[name] = folded.on_bars(bars).bars[MINUTE]
    aligned = align(Aligner(["btc", "ltc"], lead="btc", age_max_ns=0), **made)
    assert (np.diff(aligned.ts_ns) == MINUTE).all()
    for column, bars in enumerate((btc, ltc)):
        assert aligned.is_present[:, column].tolist() == np.isin(aligned.ts_ns - MINUTE, bars.open_ns).tolist()


def plain(batch: AlignedBatch) -> list[list[object]]:
    return [getattr(batch, name).tolist() for name in ("ts_ns", "row", "age_ns", "is_present")]
