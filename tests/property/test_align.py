"""Streams side by side: law 1 for any cut and interleaving, law 3, and a second opinion on every row."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.align import NEVER_NS, AlignedBatch, Aligner, AsOfJoin, as_of
from bot.domain.market import EMPTY, GAP, BarBatch, is_same
from tests.support.bars_reference import ReferenceBar
from tests.support.batches import bars_of, cut, join
from tests.support.examples import examples

SCALE = 10
NAMES = ("A", "B", "C")
END = 2**63 - 1


@dataclass(frozen=True)
class How:
    """The settings of an aligner."""

    lead: str | None
    grid_ns: int | None
    offset_ns: int
    age_max_ns: int


hows = st.builds(
    lambda lead, grid_ns, offset_ns, age_max_ns: How(lead, None if lead else grid_ns, offset_ns, age_max_ns),
    lead=st.sampled_from([None, None, "A", "C"]),
    grid_ns=st.sampled_from([1, 4, 10, 25]),
    offset_ns=st.sampled_from([0, 3]),
    age_max_ns=st.sampled_from([0, 9, 10, 35]),
)


@st.composite
def streams(draw: st.DrawFn) -> dict[str, BarBatch]:
    """Return bars of three symbols on one scale, with holes, each with a lateness of its own; some may have none."""
    made = {}
    for name in NAMES:
        open_ns = SCALE * draw(st.integers(5, 9))
        rows = []
        for steps, flags in draw(
            st.lists(
                st.tuples(st.sampled_from([1, 1, 1, 2, 7]), st.sampled_from([0, 0, EMPTY, EMPTY | GAP])), max_size=12
            )
        ):
            open_ns += SCALE * steps
            rows.append(ReferenceBar(open_ns=open_ns, open=1, high=1, low=1, close=1, flags=flags))
        batch = bars_of(rows, scale_ns=SCALE, lateness_ns=draw(st.sampled_from([0, 3, 12])))
        if draw(st.booleans()):
            # As event bars may be: several known at one time.
            batch = replace(batch, known_ns=batch.known_ns // 40 * 40 + 40)
        made[name] = replace(batch, first_row=draw(st.sampled_from([0, 5])))
    return made


Message = tuple[str, BarBatch | None, int]


def message_of(part: BarBatch, name: str, later: Sequence[BarBatch], slack_ns: int) -> Message:
    """Return a message whose watermark is true: nothing of `later` is known before it."""
    following = [int(batch.known_ns[0]) for batch in later if len(batch)]
    return name, part if len(part) else None, (following[0] if following else END) - slack_ns


@st.composite
def interleaved(draw: st.DrawFn, market: Mapping[str, BarBatch]) -> list[Message]:
    """Return the streams cut anywhere, with true watermarks, told in any order that keeps each stream's own."""
    queues = {}
    for name, batch in market.items():
        parts = cut(batch, draw(st.lists(st.integers(0, 12), max_size=5)))
        queues[name] = [
            message_of(part, name, parts[number + 1 :], draw(st.sampled_from([0, 1, 30])))
            for number, part in enumerate(parts)
        ]
        queues[name].append((name, None, END))
    turns = draw(st.permutations([name for name, queue in queues.items() for _ in queue]))
    return [queues[name].pop(0) for name in turns]


def aligned(messages: Sequence[Message], how: How) -> AlignedBatch:
    """Return what an aligner makes of the messages."""
    aligner = Aligner(NAMES, lead=how.lead, grid_ns=how.grid_ns, offset_ns=how.offset_ns, age_max_ns=how.age_max_ns)
    return join([aligner.extend(*message) for message in messages])


def at_once(market: Mapping[str, BarBatch]) -> list[Message]:
    return [(name, batch, END) for name, batch in market.items()]


Row = tuple[int, list[int], list[int], list[bool]]


def plain(batch: AlignedBatch) -> list[Row]:
    return list(
        zip(batch.ts_ns.tolist(), batch.row.tolist(), batch.age_ns.tolist(), batch.is_present.tolist(), strict=True)
    )


def reference(market: Mapping[str, BarBatch], how: How) -> list[Row]:
    """Return the aligned rows by asking, at every time, every row of every stream whether it was known."""
    if how.lead is not None:
        times = market[how.lead].known_ns.tolist()
    else:
        assert how.grid_ns is not None
        known = [ts for batch in market.values() for ts in batch.known_ns.tolist()]
        times = sorted(
            {next(ts for ts in range(k, k + how.grid_ns) if (ts - how.offset_ns) % how.grid_ns == 0) for k in known}
        )
    made: list[Row] = []
    for number, time_ns in enumerate(times):
        row, age, present = [], [], []
        for name, batch in market.items():
            index = -1
            for candidate, known_ns in enumerate(batch.known_ns.tolist()):
                if known_ns <= time_ns:
                    index = candidate
            if name == how.lead:
                index = number
            age_ns = time_ns - int(batch.known_ns[index]) if index >= 0 else NEVER_NS
            row.append(index + batch.first_row if index >= 0 else -1)
            age.append(age_ns)
            present.append(index >= 0 and age_ns <= how.age_max_ns and not batch.flags[index] & GAP)
        made.append((time_ns, row, age, present))
    return made


@given(market=streams(), how=hows, data=st.data())
@settings(max_examples=examples(200), deadline=None)
def test_alignment_depends_neither_on_the_cut_nor_on_the_interleaving(
    market: dict[str, BarBatch], how: How, data: st.DataObject
) -> None:
    """Whole streams one after another, or torn to pieces and told in any order: the same rows, numbered alike."""
    whole = aligned(at_once(market), how)
    assert plain(whole) == reference(market, how)
    assert whole.first_row == 0
    for _ in range(2):
        messages = data.draw(interleaved(market), label="messages")
        assert is_same(aligned(messages, how), whole)


@given(market=streams(), how=hows, data=st.data())
@settings(max_examples=examples(100), deadline=None)
def test_a_row_is_decided_as_soon_as_it_can_be_and_never_sooner(
    market: dict[str, BarBatch], how: How, data: st.DataObject
) -> None:
    """After each message, exactly the rows before the lowest watermark are out."""
    messages = data.draw(interleaved(market), label="messages")
    want = reference(market, how)
    aligner = Aligner(NAMES, lead=how.lead, grid_ns=how.grid_ns, offset_ns=how.offset_ns, age_max_ns=how.age_max_ns)
    watermarks = dict.fromkeys(NAMES, -1)
    out: list[Row] = []
    for name, bars, watermark_ns in messages:
        out += plain(aligner.extend(name, bars, watermark_ns))
        watermarks[name] = max(watermarks[name], watermark_ns)
        assert out == [row for row in want if row[0] < min(watermarks.values())]


def check_nothing_from_the_future(batch: AlignedBatch, market: Mapping[str, BarBatch]) -> None:
    """Fail where a row stands beside a time at which it was not known, or is said to be younger than it is."""
    for column, (name, bars) in enumerate(market.items()):
        for ts_ns, row, age_ns in zip(
            batch.ts_ns.tolist(), batch.row[:, column].tolist(), batch.age_ns[:, column].tolist(), strict=True
        ):
            if row >= 0:
                known_ns = int(bars.known_ns[row - bars.first_row])
                assert known_ns <= ts_ns, f"{name} row {row} stands at {ts_ns} and was known at {known_ns}"
                assert age_ns == ts_ns - known_ns


@given(market=streams(), how=hows)
@settings(max_examples=examples(100), deadline=None)
def test_no_row_stands_at_a_time_at_which_it_was_not_known(market: dict[str, BarBatch], how: How) -> None:
    check_nothing_from_the_future(aligned(at_once(market), how), market)


@given(market=streams(), how=hows, now_ns=st.integers(60, 250), shift=st.integers(1, 9))
@settings(max_examples=examples(100), deadline=None)
def test_the_future_changes_no_aligned_row(market: dict[str, BarBatch], how: How, now_ns: int, shift: int) -> None:
    """Bars known after now come later than they did: what stood at a time until now stands there still."""
    changed = {
        name: replace(bars, known_ns=np.where(bars.known_ns > now_ns, bars.known_ns + shift, bars.known_ns))
        for name, bars in market.items()
    }
    before, after = (
        [row for row in plain(aligned(at_once(each), how)) if row[0] <= now_ns] for each in (market, changed)
    )
    assert before == after


# --- what the checks above would catch --------------------------------------------------------------------------------


def two_symbols(lateness_ns: int = 0) -> dict[str, BarBatch]:
    """Return three symbols that trade through, whose bars are known at their close plus a lateness."""
    rows = [ReferenceBar(open_ns=n * SCALE, open=1, high=1, low=1, close=1) for n in range(5, 15)]
    return {name: bars_of(rows, scale_ns=SCALE, lateness_ns=lateness_ns) for name in NAMES}


LEAD = How(lead="A", grid_ns=None, offset_ns=0, age_max_ns=0)


def test_a_join_on_open_times_is_caught() -> None:
    """The oldest mistake: a bar beside the time at which it opened. The check sees it, and so does the reference."""
    market = two_symbols()
    mistaken = {
        name: market[name] if name == "A" else replace(bars, known_ns=bars.open_ns) for name, bars in market.items()
    }
    wrong = aligned(at_once(mistaken), LEAD)
    with pytest.raises(AssertionError, match="was known at"):
        check_nothing_from_the_future(wrong, market)
    assert plain(wrong) != reference(market, LEAD)


def test_a_join_on_close_times_that_forgets_the_lateness_is_caught() -> None:
    """Closed is not yet known."""
    market = {**two_symbols(lateness_ns=3), "A": two_symbols()["A"]}
    mistaken = {name: replace(bars, known_ns=bars.close_ns) for name, bars in market.items()}
    with pytest.raises(AssertionError, match="was known at"):
        check_nothing_from_the_future(aligned(at_once(mistaken), LEAD), market)


def test_a_join_that_decides_before_the_last_of_equal_times_is_caught() -> None:
    """A watermark equal to a time does not decide it: the next message may hold a row known at that very time."""
    market = two_symbols()
    known_ns = market["A"].known_ns
    first, second = cut(market["B"], [1])
    aligner = Aligner(NAMES, lead="A", age_max_ns=0)
    aligner.extend("A", market["A"], END)
    aligner.extend("C", market["C"], END)
    assert not len(aligner.extend("B", None, int(known_ns[0])))
    assert not len(aligner.extend("B", first, int(known_ns[0])))
    assert plain(aligner.extend("B", second, END)) == reference(market, LEAD)


# --- as_of ------------------------------------------------------------------------------------------------------------

times = st.lists(st.integers(0, 30), max_size=30)


@given(left=times, right=times)
@settings(max_examples=examples(200), deadline=None)
def test_as_of_is_the_newest_row_known_at_or_before(left: list[int], right: list[int]) -> None:
    """Each time asks all rows; of equal ones the last."""
    right = sorted(right)
    want = [max((row for row, known in enumerate(right) if known <= time), default=-1) for time in left]
    assert as_of(np.array(left, dtype=np.int64), np.array(right, dtype=np.int64)).tolist() == want


@given(left=times, right=times, edges=st.lists(st.integers(0, 30), max_size=5), asks=st.lists(st.integers(0, 30)))
@settings(max_examples=examples(200), deadline=None)
def test_the_streaming_join_is_as_of_of_the_whole(
    left: list[int], right: list[int], edges: list[int], asks: list[int]
) -> None:
    """However the right rows are cut, and in however many questions the left times are asked."""
    known = np.array(sorted(right), dtype=np.int64)
    want = as_of(np.array(sorted(left), dtype=np.int64), known)
    stream = AsOfJoin()
    got: list[int] = []
    for asked_ns in sorted({*asks, *edges, 31}):
        start, stop = known.searchsorted([stream.watermark_ns, asked_ns]).tolist()
        stream.extend(known[start:stop], asked_ns)
        due = [time for time in sorted(left) if time < asked_ns][len(got) :]
        got += stream.at(np.array(due, dtype=np.int64)).row.tolist()
        stream.forget(asked_ns)
    assert got == want.tolist()


def test_every_interleaving_of_two_short_streams_gives_the_same() -> None:
    """All of them, one row a message."""
    market = two_symbols()
    short = {name: bars.rows(0, 3) for name, bars in market.items()}
    queue = {
        name: [(name, bars.rows(row, row + 1), int(bars.known_ns[row])) for row in range(3)]
        for name, bars in short.items()
        if name != "C"
    }
    want = reference(short, LEAD)
    for turns in set(itertools.permutations("AAABBB")):
        waiting = {name: list(messages) for name, messages in queue.items()}
        messages: list[Message] = [("C", short["C"], END)]
        messages += [waiting[name].pop(0) for name in turns]
        messages += [("A", None, END), ("B", None, END)]
        assert plain(aligned(messages, LEAD)) == want
