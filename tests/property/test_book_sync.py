"""Laws of trust in a book: any cut gives the same, the slow book of dictionaries agrees, and no gap goes unseen."""

import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.market import BookBatch, is_same
from bot.venues.bybit.book_judge import Break
from bot.venues.bybit.book_sync import BookBreak, BookLimits, BookSync
from bot.venues.bybit.frames import read_frame
from bot.venues.bybit.instrument_feed import InstrumentFeed
from bot.venues.bybit.market_streams import Wanted
from bot.venues.bybit.topics import book_topic
from bot.venues.bybit.wire import (
    BookFrame,
    Refused,
    TickerFrame,
)
from tests.support.batches import INSTRUMENT
from tests.support.book_messages import tell
from tests.support.book_sync_reference import ReferenceSync, Row, Told
from tests.support.bybit_market import INSTRUMENT as BTC
from tests.support.bybit_market import MS, SYMBOL, SampleBookStream, Sent, book_message, message, price
from tests.support.examples import examples

LEVELS = 4
LIMITS = BookLimits(
    late_ns=50, future_ns=20, level1_ns=30, ticker_ns=60, ticker_ppm=20_000, mark_ns=40, mark_ppm=60_000, stale_ns=100
)

bid_levels = st.tuples(st.integers(92, 100), st.sampled_from([0, 0, 1, 2, 5]))
ask_levels = st.tuples(st.integers(100, 108), st.sampled_from([0, 0, 1, 2, 5]))


@st.composite
def markets(draw: st.DrawFn) -> list[Told]:
    """Return events of a market in which everything goes wrong now and then."""
    events: list[Told] = []
    now, update, seq, ts = 1_000, draw(st.integers(1, 50)), 500, 1_000
    for _ in range(draw(st.integers(1, 40))):
        now += draw(st.sampled_from([0, 1, 5, 10, 25, 120]))
        kind = draw(st.sampled_from(["book"] * 5 + ["quote"] * 3 + ["ticker"] * 2))
        if kind == "quote":
            bid = draw(st.integers(95, 100))
            events.append(
                Told(kind=kind, known_ns=now, bid=draw(st.sampled_from([0, bid])), ask=bid + draw(st.integers(1, 4)))
            )
        elif kind == "ticker":
            bid, mark = draw(st.integers(94, 101)), draw(st.sampled_from([0, 90, 97, 98, 99, 100, 103, 112]))
            events.append(Told(kind=kind, known_ns=now, bid=bid, ask=bid + 2, mark=Fraction(mark)))
        else:
            what = draw(st.sampled_from(["next"] * 9 + ["snapshot"] * 4 + ["gap", "repeat", "anew", "back", "late"]))
            if what == "repeat" and any(each.kind == "book" for each in events):
                last = [each for each in events if each.kind == "book"][-1]
                events.append(replace(last, known_ns=now))
                continue
            update = 1 if what == "anew" else update + (3 if what == "gap" else 1)
            seq += draw(st.integers(0, 5)) if what != "back" else -draw(st.integers(0, 30))
            ts = now - draw(st.sampled_from([0, 1, 2, 3])) - (70 if what == "late" else 0)
            ts -= draw(st.sampled_from([0] * 9 + [-25, 12]))
            is_snapshot = what in ("snapshot", "anew")
            bids = draw(st.lists(bid_levels, max_size=5 if is_snapshot else 3))
            asks = draw(st.lists(ask_levels, max_size=5 if is_snapshot else 3))
            told = draw(st.sampled_from([0, seq, seq, seq]))
            events.append(
                Told(
                    kind=kind,
                    known_ns=now,
                    ts_ns=ts,
                    sent_ns=draw(st.sampled_from([0, ts + 1, now - 1])) if is_snapshot else 0,
                    update=update,
                    seq=told,
                    is_snapshot=is_snapshot,
                    bids=tuple(bids),
                    asks=tuple(asks),
                )
            )
    return events


def run(parts: list[list[Told]]) -> tuple[BookBatch, list[BookBreak], BookSync]:
    sync = BookSync(INSTRUMENT, levels=LEVELS, limits=LIMITS)
    made, breaks, first = [], [], 0
    for part in parts:
        rows, found = tell(sync, part, first=first)
        first += len(part)
        made.append(rows)
        breaks += found
    for earlier, later in itertools.pairwise(made):
        assert later.first_row == earlier.first_row + len(earlier)
    return BookBatch.join(made), breaks, sync


@given(events=markets(), cuts=st.lists(st.integers(0, 40), max_size=6))
@settings(max_examples=examples(40), deadline=None)
def test_trust_does_not_depend_on_the_cut(events: list[Told], cuts: list[int]) -> None:
    """Whole, cut anywhere, and an event at a time."""
    whole, breaks, sync = run([events])
    edges = [0, *sorted(min(place, len(events)) for place in cuts), len(events)]
    for parts in ([events[a:b] for a, b in itertools.pairwise(edges)], [[each] for each in events]):
        rows, same_breaks, same = run(parts)
        assert is_same(rows, whole)
        assert same_breaks == breaks
        assert (same.is_trusted, same.reason, same.top) == (sync.is_trusted, sync.reason, sync.top)


@given(events=markets())
@settings(max_examples=examples(80), deadline=None)
def test_trust_is_that_of_the_slow_book(events: list[Told]) -> None:
    """Each row with all its levels, each break with its reason and time."""
    reference = ReferenceSync(levels=LEVELS, limits=LIMITS)
    for event in events:
        reference.tell(event)
    rows, breaks, sync = run([events])
    assert [row_of(rows, at) for at in range(len(rows))] == reference.rows
    assert [(each.reason, each.known_ns) for each in breaks] == reference.breaks
    assert sync.is_trusted == reference.is_open
    end_ns = events[-1].known_ns + 1_000
    closed = sync.check(end_ns)
    reference.expire(end_ns)
    if closed is None:
        assert not rows.is_trusted[-1:].any() or not sync.is_trusted
    else:
        assert (closed[1].reason, closed[1].known_ns) == reference.breaks[-1]
        assert row_of(closed[0], 0) == reference.rows[-1]
        assert closed[0].first_row == len(rows)


def row_of(rows: BookBatch, at: int) -> Row:
    def side(ticks: str, steps: str) -> tuple[tuple[int, int], ...]:
        pairs = zip(getattr(rows, ticks)[at].tolist(), getattr(rows, steps)[at].tolist(), strict=True)
        return tuple(level for level in pairs if level[1])

    return Row(
        known_ns=int(rows.known_ns[at]),
        update=int(rows.update[at]),
        is_trusted=bool(rows.is_trusted[at]),
        bids=side("bid_ticks", "bid_steps"),
        asks=side("ask_ticks", "ask_steps"),
    )


# --- gaps -------------------------------------------------------------------------------------------------------------

DEPTH = 50
STEPS = 30
Stream = list[Sent]


def drop_one(stream: Stream, at: int, dice: random.Random) -> Stream:
    return stream[:at] + stream[at + 1 :]


def drop_some(stream: Stream, at: int, dice: random.Random) -> Stream:
    return stream[:at] + stream[at + dice.randint(2, 6) :]


def swap(stream: Stream, at: int, dice: random.Random) -> Stream:
    after = next(place for place in range(at + 1, len(stream)) if stream[place].kind == "delta")
    turned = list(stream)
    turned[at], turned[after] = stream[after], stream[at]
    return turned


def number_again(stream: Stream, at: int, dice: random.Random) -> Stream:
    sent = stream[at]
    return changed(stream, at, renumbered(sent, sent.update - 1))


def number_back(stream: Stream, at: int, dice: random.Random) -> Stream:
    sent = stream[at]
    return changed(stream, at, renumbered(sent, sent.update - dice.randint(2, 500)))


def number_ahead(stream: Stream, at: int, dice: random.Random) -> Stream:
    sent = stream[at]
    return changed(stream, at, renumbered(sent, sent.update + dice.randint(1, 500)))


def cross(stream: Stream, at: int, dice: random.Random) -> Stream:
    sent = stream[at]
    asks = [(min(sent.asks) - dice.randint(0, 3) - (min(sent.asks) - max(sent.bids)), 5)]
    return changed(stream, at, rebuilt(sent, sent.change[0], asks))


def wrong_number(stream: Stream, at: int, dice: random.Random) -> Stream:
    raw = book_message(stream[at].ts_ns, stream[at].update, [(1, 1)], [], levels=DEPTH)
    text = dice.choice(["60000.05", "x", "-1", "1e5", "", "0"])
    return changed(stream, at, raw.replace(b'[["0.1"', f'[["{text}"'.encode()))


def wrong_type(stream: Stream, at: int, dice: random.Random) -> Stream:
    field = dice.choice([b'"u":', b'"b":', b'"type":', b'"data":', b'"s":'])
    return changed(stream, at, stream[at].raw.replace(field, field[:-2] + b'x":', 1))


def cut_off(stream: Stream, at: int, dice: random.Random) -> Stream:
    return changed(stream, at, stream[at].raw[: dice.randint(1, len(stream[at].raw) - 1)])


def too_deep(stream: Stream, at: int, dice: random.Random) -> Stream:
    sent = stream[at]
    bids = [(min(sent.bids) - 1 - k, 5) for k in range(dice.randint(1, 5))]
    return changed(stream, at, rebuilt(sent, sent.change[0] + bids, sent.change[1]))


def sequence_back(stream: Stream, at: int, dice: random.Random) -> Stream:
    sent = stream[at]
    return changed(stream, at, rebuilt(sent, *sent.change, seq=dice.randint(1, 5_000_000)))


def time_back(stream: Stream, at: int, dice: random.Random) -> Stream:
    sent = stream[at]
    raw = book_message(sent.ts_ns - 30 * MS, sent.update, *sent.change, levels=DEPTH, seq=sent.seq)
    return changed(stream, at, raw)


def lag(stream: Stream, at: int, dice: random.Random) -> Stream:
    # All is right, and comes 2 s late from here on.
    return stream[:at] + [replace(sent, ts_ns=sent.ts_ns + 2_100 * MS) for sent in stream[at:]]


def silence(stream: Stream, at: int, dice: random.Random) -> Stream:
    # Nothing for 11 s, and then it goes on as if nothing had been.
    shift = 11_000 * MS
    return stream[:at] + [
        replace(sent, ts_ns=sent.ts_ns + shift, raw=sent.raw if sent.kind != "delta" else later(sent, shift))
        for sent in stream[at:]
    ]


def later(sent: Sent, shift_ns: int) -> bytes:
    return book_message(sent.ts_ns + shift_ns, sent.update, *sent.change, levels=DEPTH, seq=sent.seq)


def changed(stream: Stream, at: int, raw: bytes) -> Stream:
    return [*stream[:at], replace(stream[at], raw=raw), *stream[at + 1 :]]


def rebuilt(sent: Sent, bids: list[tuple[int, int]], asks: list[tuple[int, int]], seq: int | None = None) -> bytes:
    return book_message(sent.ts_ns, sent.update, bids, asks, levels=DEPTH, seq=sent.seq if seq is None else seq)


def renumbered(sent: Sent, update: int) -> bytes:
    return book_message(sent.ts_ns, update, *sent.change, levels=DEPTH, seq=sent.seq)


# What breaks the stream from a change of the book on, and how that is called when it is found. Two topics that differed
# for a moment when everything fell silent have differed all the while.
KINDS: dict[str, tuple[Callable[[Stream, int, random.Random], Stream], set[Break]]] = {
    "drop one": (drop_one, {Break.GAP}),
    "drop some": (drop_some, {Break.GAP}),
    "swap": (swap, {Break.GAP}),
    "number again": (number_again, {Break.GAP}),
    "number back": (number_back, {Break.GAP}),
    "number ahead": (number_ahead, {Break.GAP}),
    "cross": (cross, {Break.BAD}),
    "wrong number": (wrong_number, {Break.BAD}),
    "wrong type": (wrong_type, {Break.OUTSIDE}),
    "cut off": (cut_off, {Break.OUTSIDE}),
    "too deep": (too_deep, {Break.DEPTH}),
    "sequence back": (sequence_back, {Break.SEQUENCE}),
    "time back": (time_back, {Break.TIME}),
    "lag": (lag, {Break.LATE, Break.LEVEL1}),
    "silence": (silence, {Break.STALE, Break.LEVEL1}),
}


class Watcher:
    """Looks at the book after each frame, as a strategy may that decides then: what is believed must be the truth."""

    def __init__(self, truth: dict[int, Sent]) -> None:
        self.feed = InstrumentFeed(BTC, Wanted(instrument=BTC).topics(), shown_levels=10)
        self.truth = truth

    def see(self, sent: Sent) -> Break | None:
        """Take a frame, tell of a refused one as a session does, and return why the book is not believed."""
        sync = self.feed.sync
        assert sync is not None
        frame = read_frame(sent.raw, known_ns=sent.ts_ns + 5 * MS)
        if isinstance(frame, Refused):
            self.feed.distrust(book_topic(SYMBOL, DEPTH), sent.ts_ns + 5 * MS)
        else:
            assert isinstance(frame, BookFrame | TickerFrame)
            self.feed.on_frames([frame])
        assert sync.is_trusted == (sync.reason is None)
        if sync.is_trusted:
            true = self.truth[sync.update]
            assert (levels_of(sync, "bid"), levels_of(sync, "ask")) == (true.bids, true.asks), (sent.kind, sent.update)
        return sync.reason


def levels_of(sync: BookSync, side: Literal["bid", "ask"]) -> dict[int, int]:
    ticks, steps = sync.book.levels(side)
    return dict(zip(ticks.tolist(), steps.tolist(), strict=True))


def campaign(kind: str, seed: int, count: int) -> Counter[Break | None]:
    """Break `count` streams in one way each; return the reasons that were found."""
    found: Counter[Break | None] = Counter()
    dice = random.Random(seed)
    for number in range(count):
        market = SampleBookStream(1000 * seed + number, levels=DEPTH)
        stream = market.frames(STEPS)
        truth = {sent.update: sent for sent in stream if sent.kind in ("snapshot", "delta")}
        places = [place for place, sent in enumerate(stream) if sent.kind == "delta"][3:-5]
        at = dice.choice(places)
        broken = KINDS[kind][0](stream, at, dice)
        watcher = Watcher(truth)
        reasons = [watcher.see(sent) for sent in broken]
        assert not any(reasons[:at]), f"{kind}, number {number}: not believed before it"
        # The next frame of the book is at the fault's place; another topic's may bring it to light before.
        first = at if reasons[at] else next(place for place in range(at, len(broken)) if broken[place].kind == "delta")
        assert all(reasons[first:]), f"{kind}, number {number}: believed after it"
        found[reasons[first]] += 1
        market.now_ns = broken[-1].ts_ns
        healed = market.snapshot()
        truth[healed.update] = healed
        assert watcher.see(healed) is None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_gap_is_seen_before_the_next_decision(kind: str) -> None:
    """And what is believed before and after is the truth, level by level."""
    assert set(campaign(kind, seed=1, count=4)) <= KINDS[kind][1]


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_gaps(kind: str) -> None:
    """The same, 670 of each of fifteen kinds."""
    assert set(campaign(kind, seed=2, count=670)) == KINDS[kind][1]


@pytest.mark.parametrize("seed", range(8))
def test_a_whole_stream_is_believed_throughout(seed: int) -> None:
    stream = SampleBookStream(seed, levels=DEPTH).frames(100)
    truth = {sent.update: sent for sent in stream if sent.kind in ("snapshot", "delta")}
    watcher = Watcher(truth)
    assert not any(watcher.see(sent) for sent in stream)


@pytest.mark.parametrize("seed", range(8))
def test_a_ghost_at_the_top_is_found_by_the_level_1_book_within_its_limit(seed: int) -> None:
    """A best bid that is not there any more, in a chain of numbers that is whole."""
    market = SampleBookStream(seed, levels=DEPTH)
    feed = InstrumentFeed(BTC, Wanted(instrument=BTC).topics())
    assert feed.sync is not None
    snapshot = market.snapshot()
    ghost = min(snapshot.asks) - 1 if min(snapshot.asks) - 1 not in snapshot.bids else None
    bids, asks = list(snapshot.bids.items()), list(snapshot.asks.items())
    if ghost is None:  # no room within the spread: the best ask is lost instead
        asks = asks[1:]
    else:
        bids = [*bids[:-1], (ghost, 7)]
    start_ns = market.now_ns
    feed.on_frames([read_frame(book_message(start_ns, 100, bids, asks, is_snapshot=True), known_ns=start_ns)])  # type: ignore[list-item]
    assert feed.sync.is_trusted
    lost_ns = None
    for step in range(200):
        now_ns = start_ns + step * 10 * MS
        level1 = market.level1()
        frame = read_frame(level1.raw, known_ns=now_ns)
        rows, doubts = feed.on_frames([frame])  # type: ignore[list-item]
        if not feed.sync.is_trusted:
            assert [each.reason for each in doubts] == ["level1 after update 100"]  # type: ignore[union-attr]
            assert rows.books is not None
            assert rows.books.is_trusted.tolist() == [False]
            lost_ns = now_ns
            break
    assert lost_ns is not None
    assert 1_000 * MS < lost_ns - start_ns <= 1_010 * MS


def test_a_book_that_stands_still_while_the_market_moves_is_found_by_ticker_and_mark() -> None:
    """Frozen contents under fresh numbers and times."""
    for field, reason, limit_ns in (("bid1Price", Break.TICKER, 5_000 * MS), ("markPrice", Break.MARK, 1_000 * MS)):
        market = SampleBookStream(1, levels=DEPTH)
        sync_feed = InstrumentFeed(BTC, Wanted(instrument=BTC).topics())
        assert sync_feed.sync is not None
        snapshot = market.snapshot()
        bids, asks = list(snapshot.bids.items()), list(snapshot.asks.items())
        far = {"bid1Price": price(590_000), "ask1Price": price(590_001)} if field == "bid1Price" else {}
        far |= {"markPrice": price(500_000)} if field == "markPrice" else {}
        start_ns = market.now_ns
        lost_ns = None
        for step in range(700):
            now_ns = start_ns + step * 10 * MS
            raws = [
                book_message(
                    now_ns, 100 + step, bids if step == 0 else [], asks if step == 0 else [], is_snapshot=step == 0
                ),
                message("tickers.BTCUSDT", "snapshot", now_ns, {"symbol": "BTCUSDT", **far}),
            ]
            sync_feed.on_frames([read_frame(raw, known_ns=now_ns) for raw in raws])  # type: ignore[misc]
            if not sync_feed.sync.is_trusted:
                lost_ns = now_ns
                break
        assert lost_ns is not None
        assert sync_feed.sync.reason is reason
        assert limit_ns < lost_ns - start_ns <= limit_ns + 10 * MS
