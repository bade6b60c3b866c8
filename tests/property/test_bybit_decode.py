"""Laws of decoding: exact whatever the digits, the same whatever the cut, and nothing raised whatever the bytes."""

import itertools
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.instrument import Instrument
from bot.domain.market import Columns, is_same
from bot.venues.bybit.frames import read_frame
from bot.venues.bybit.instrument_feed import Doubt, InstrumentFeed, MarketRows, Missing
from bot.venues.bybit.market_streams import Wanted
from bot.venues.bybit.numbers import grid_of, read_numbers, units_of
from bot.venues.bybit.stream_effects import Deliver, SessionEffect
from bot.venues.bybit.stream_session import StreamSession
from bot.venues.bybit.topics import STATUS_TOPIC, Topic
from bot.venues.bybit.wire import (
    Answer,
    Pong,
    Refused,
    StatusFrame,
)
from tests.support.bybit_market import (
    INSTRUMENT,
    MS,
    START_NS,
    SampleBookStream,
    kline_message,
    message,
    ticker_message,
    trade_message,
)
from tests.support.examples import examples

C = TypeVar("C", bound=Columns)
MINUTE_NS = 60_000 * MS

steps = st.sampled_from(["0.1", "0.5", "0.25", "0.00001", "1", "10", "5", "0.0000001"])


@given(step=steps, count=st.integers(0, 2**40), zeros=st.integers(0, 4))
@settings(deadline=None)
def test_what_is_on_the_grid_is_read_exactly(step: str, count: int, zeros: int) -> None:
    value = Decimal(step) * count
    text = f"{value:f}" + ("" if not zeros else "0" * zeros if "." in f"{value:f}" else "." + "0" * zeros)
    grid = grid_of(Decimal(step))
    assert read_numbers([msgspec.Raw(msgspec.json.encode(text))], grid).tolist() == [count]
    assert units_of(text, grid) == count


@given(step=steps, text=st.from_regex(r"[0-9]{1,14}(\.[0-9]{1,9})?", fullmatch=True))
@settings(deadline=None)
def test_the_grid_decides_as_decimals_do(step: str, text: str) -> None:
    """What Decimal says is a multiple is one, and nothing else."""
    count = Decimal(text) / Decimal(step)
    is_on = Decimal(text) % Decimal(step) == 0
    (compiled,) = read_numbers([msgspec.Raw(msgspec.json.encode(text))], grid_of(Decimal(step))).tolist()
    assert compiled == int(count) if is_on and count <= 2**53 else compiled < 0


@given(texts=st.lists(st.text(max_size=12) | st.from_regex(r"[0-9]+\.?[0-9]*", fullmatch=True), max_size=8))
@settings(deadline=None)
def test_any_texts_are_numbers_or_refused_each_by_itself(texts: list[str]) -> None:
    grid = grid_of(Decimal("0.01"))
    raws = [msgspec.Raw(msgspec.json.encode(text)) for text in texts]
    together = read_numbers(raws, grid).tolist()
    assert together == [read_numbers([raw], grid).tolist()[0] for raw in raws]
    for text, value in zip(texts, together, strict=True):
        try:
            assert units_of(text, grid) == value
        except ValueError:
            assert value < 0


# --- any cut ----------------------------------------------------------------------------------------------------------


def market(seed: int, count: int) -> list[bytes]:
    """Return frames of all topics of one instrument, with some that are refused and a hole."""
    dice = random.Random(seed)
    stream = SampleBookStream(seed)
    raws: list[bytes] = []
    minute_ns = START_NS // MINUTE_NS * MINUTE_NS
    for number, sent in enumerate(stream.frames(count)):
        raw = sent.raw
        if dice.random() < 0.03:
            raw = raw.replace(b'["', b'["x', 1)
        if dice.random() > 0.02:
            raws.append(raw)
        if dice.random() < 0.3:
            trades = [(600_000 + dice.randint(-9, 9), dice.randint(0, 9), True) for _ in range(dice.randint(1, 4))]
            raws.append(trade_message(sent.ts_ns, trades, first_id=dice.randint(0, 60)))
        if dice.random() < 0.1:
            raws.append(ticker_message(sent.ts_ns, lastPrice=dice.choice(["60000.0", "60000.05", ""])))
        if dice.random() < 0.1:
            start_ns = minute_ns + dice.randint(0, number) // 5 * MINUTE_NS
            raws.append(kline_message(start_ns, sent.ts_ns, confirm=dice.random() < 0.7))
        if dice.random() < 0.05:
            raws.append(stream.snapshot().raw)
    return raws


def wanted() -> Wanted:
    return Wanted(instrument=INSTRUMENT, kline_intervals=("1",), has_price_limits=True)


def run(parts: list[list[bytes]]) -> tuple[dict[str, Columns], list[Doubt | Missing], InstrumentFeed]:
    """Return all rows by what they are, and all that was found wrong."""
    feed = InstrumentFeed(INSTRUMENT, wanted().topics(), shown_levels=5)
    batches: dict[str, list[Columns]] = {}
    found: list[Doubt | Missing] = []
    number = 0
    for part in parts:
        frames = []
        for raw in part:
            frame = read_frame(raw, known_ns=START_NS + number * 10 * MS)
            number += 1
            assert not isinstance(frame, Refused | Pong | Answer)
            frames.append(frame)
        rows, wrong = feed.on_frames(frames)
        found += wrong
        for name, batch in columns(rows):
            batches.setdefault(name, []).append(batch)
    return {name: join(parts) for name, parts in batches.items()}, found, feed


def columns(rows: MarketRows) -> Iterator[tuple[str, Columns]]:
    for name in ("trades", "books", "quotes", "tickers"):
        batch = getattr(rows, name)
        if batch is not None:
            yield name, batch
    yield from rows.klines.items()


def join(parts: list[C]) -> C:
    for earlier, later in itertools.pairwise(parts):
        assert later.first_row == earlier.first_row + len(earlier)  # type: ignore[attr-defined]
    return type(parts[0]).join(parts)


@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 120), max_size=8))
@settings(max_examples=25, deadline=None)
def test_rows_do_not_depend_on_the_cut(seed: int, cuts: list[int]) -> None:
    """All topics together: whole, cut anywhere, and a frame at a time."""
    raws = market(seed, 30)
    whole, found, feed = run([raws])
    assert {"trades", "books", "quotes", "tickers"} <= set(whole)
    edges = [0, *sorted(min(place, len(raws)) for place in cuts), len(raws)]
    for parts in ([raws[a:b] for a, b in itertools.pairwise(edges)], [[raw] for raw in raws]):
        rows, same_found, same = run(parts)
        assert set(rows) == set(whole)
        for name, batch in whole.items():
            assert is_same(rows[name], batch), name
        assert sorted(map(str, same_found)) == sorted(map(str, found))
        assert same.trades.counts == feed.trades.counts
        assert same.sync is not None
        assert feed.sync is not None
        assert (same.sync.reason, same.sync.top) == (feed.sync.reason, feed.sync.top)


# --- any bytes --------------------------------------------------------------------------------------------------------

STREAM = SampleBookStream(7)
BASES: dict[str, bytes] = {
    "book": STREAM.snapshot().raw,
    "change": STREAM.delta().raw,
    "level1": STREAM.level1().raw,
    "trades": trade_message(START_NS, [(600_000, 5, True), (600_001, 7, False)]),
    "ticker": ticker_message(START_NS, is_snapshot=True, markPrice="60000.07", fundingRate="0.0001", bid1Price="60000"),
    "kline": kline_message(START_NS // MINUTE_NS * MINUTE_NS, START_NS, confirm=True),
    "price limit": message("priceLimit.BTCUSDT", "x", START_NS, {"symbol": "BTCUSDT", "buyLmt": "2.5", "sellLmt": ""}),
    "status": message("system.status", "x", START_NS, [{"id": "1", "state": "ongoing", "begin": "1", "end": "2"}]),
    "answer": b'{"success":false,"ret_msg":"error:already subscribed,topic:tickers.BTCUSDT","op":"subscribe"}',
    "pong": b'{"success":true,"ret_msg":"pong","conn_id":"c","req_id":"","op":"ping"}',
}

# What takes a value's place: other types, numbers beyond reason, what Python's own parsers take and nobody means.
VALUES = [
    b"null", b"true", b"-1", b"0", b"1", b"1e999", b"1.5", b"NaN", b"9" * 5000, b"[]", b"{}", b"[[]]", b'""', b'"x"',
    b'"-1"', b'"1e5"', b'"NaN"', b'"Infinity"', b'"1_0"', b'"0x1"', b'"\\u0031"', b'"\xd9\xa1"', b'"\xff"',
    b'"\\ud800"', b'"9' + b"9" * 400 + b'"', b'"0.' + b"0" * 300 + b'1"', b"[" * 2000, b'{"a":' * 2000,
    b'[["1","1"],["1"]]', b'"2"', b'"60000.05"', b"1760000000000000", b"4102444800000", b'"Buy"', b'"delta"',
    b'"snapshot"', b'"BTCUSDT"',
]  # fmt: skip


def mutated(raw: bytes, dice: random.Random) -> bytes:
    """Return a message with one to three things wrong with it."""
    for _ in range(dice.randint(1, 3)):
        raw = dice.choice(MUTATIONS)(raw, dice)
    return raw


def flip(raw: bytes, dice: random.Random) -> bytes:
    changed = bytearray(raw or b"x")
    changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed)


def cut(raw: bytes, dice: random.Random) -> bytes:
    return raw[: dice.randrange(len(raw) + 1)]


def leave_out(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw) + 1)
    return raw[:at] + raw[at + dice.randint(1, 20) :]


def put_in(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw) + 1)
    return raw[:at] + dice.randbytes(dice.randint(1, 6)) + raw[at:]


def twice(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw) + 1)
    end = at + dice.randint(1, 60)
    return raw[:end] + raw[at:]


def other_value(raw: bytes, dice: random.Random) -> bytes:
    """Put something else where a value stands: behind a colon, a comma or a bracket."""
    places = [place for place, byte in enumerate(raw) if byte in b":,["]
    if not places:
        return raw
    start = dice.choice(places) + 1
    end = min(
        (place for place in (raw.find(mark, start) for mark in (b",", b"}", b"]")) if place >= 0), default=len(raw)
    )
    return raw[:start] + dice.choice(VALUES) + raw[end:]


def other_key(raw: bytes, dice: random.Random) -> bytes:
    keys = [b'"u"', b'"b"', b'"a"', b'"s"', b'"p"', b'"v"', b'"T"', b'"ts"', b'"topic"', b'"type"', b'"data"', b'"S"']
    return raw.replace(dice.choice(keys), dice.choice(keys), 1)


MUTATIONS = (flip, flip, cut, leave_out, put_in, twice, other_value, other_value, other_value, other_key)


def throw_at(name: str, count: int, seed: int) -> tuple[int, int]:
    """Throw mutated messages at everything that reads; return how many were refused at sight, and by their numbers."""
    dice = random.Random(seed)
    base = BASES[name]
    topics = {topic.text: topic for topic in [*wanted().topics(), STATUS_TOPIC]}
    refused = doubted = 0
    waiting = []
    for number in range(count):
        frame = read_frame(mutated(base, dice), known_ns=START_NS, topics=topics)
        if isinstance(frame, Refused):
            assert frame.reason
            refused += 1
        elif not isinstance(frame, Pong | Answer | StatusFrame):
            waiting.append(frame)
        if len(waiting) >= 3 or number == count - 1:
            feed = InstrumentFeed(INSTRUMENT, wanted().topics(), shown_levels=5)  # one that has not seen its trades
            doubted += len(feed.on_frames(waiting)[1])
            waiting = []
    assert not isinstance(read_frame(base, topics=topics), Refused)
    return refused, doubted


@pytest.mark.parametrize("name", BASES)
def test_no_bytes_raise(name: str) -> None:
    """Bits turned, cut, doubled and left out; values and keys of other kinds."""
    refused, doubted = throw_at(name, 3_000, seed=1)
    assert refused > 600
    assert doubted > 0 or name in ("status", "answer", "pong")


@pytest.mark.soak
@pytest.mark.parametrize("name", BASES)
def test_a_million_messages_raise_nothing(name: str) -> None:
    refused, _ = throw_at(name, 1_000_000, seed=2)
    assert refused > 200_000


def test_a_session_survives_them_too() -> None:
    """It never hands on what was refused."""
    dice = random.Random(3)
    topics: list[Topic] = wanted().topics()
    session = StreamSession(topics, category="linear", seed=1)
    now_ns = START_NS
    session.start(now_ns)
    session.on_open(1, now_ns)
    delivered = 0
    for _ in range(5_000):
        now_ns = max(now_ns + 7 * MS, session.next_time_ns())
        raw = mutated(dice.choice(list(BASES.values())), dice)
        effects: list[SessionEffect] = session.on_messages(session.connection, [(now_ns, raw)])
        effects += session.on_time(now_ns)
        if session.phase == "connecting":
            effects += session.on_open(session.connection, now_ns)
        for effect in effects:
            if isinstance(effect, Deliver):
                assert not any(isinstance(frame, Refused | Answer | Pong) for frame in effect.frames)
                delivered += len(effect.frames)
    assert delivered > 100
    assert session.refused > 1_000


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["topic", "type", "ts", "cts", "data", "op", "success", "ret_msg", "s", "u", "b", "a"]),
                x,
            )
        ),
    )
)
@settings(max_examples=examples(100), deadline=None)
def test_any_json_is_read_or_refused(document: object) -> None:
    told = read_frame(json.dumps(document).encode())
    assert isinstance(document, dict) or isinstance(told, Refused)


def test_another_grid_refuses_what_this_one_takes() -> None:
    """A tick size that changed is noticed with the first message that shows it."""
    coarse = msgspec.structs.replace(INSTRUMENT, tick_size=Decimal("0.5"))
    assert isinstance(coarse, Instrument)
    feed = InstrumentFeed(coarse, wanted().topics())
    frame = read_frame(BASES["book"], known_ns=START_NS)
    _, found = feed.on_frames([frame])  # type: ignore[list-item]
    assert isinstance(found[0], Doubt)
    assert "ask the venue for its filters again" in found[0].reason
    assert found[0].raw == BASES["book"]
