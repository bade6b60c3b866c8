"""Messages to frames: every dialect of answers, every way of being wrong, and nothing raised."""

import json

import msgspec
import pytest

from bot.venues.bybit.frames import FRAME_BYTES_MAX, read_frame
from bot.venues.bybit.topics import (
    PATIENCE,
    Kind,
    Topic,
    UnknownTopic,
    book_topic,
    kline_topic,
    parse_topic,
    patience_of,
    ticker_topic,
    trade_topic,
)
from bot.venues.bybit.wire import (
    Answer,
    BookFrame,
    NoticeState,
    Pong,
    Refused,
    StatusFrame,
    TickerFrame,
)
from tests.support.bybit_market import START_NS, SYMBOL, book_message, message, ticker_message, trade_message

BOOK = book_message(START_NS, 7, [(600_000, 5)], [(600_001, 6)])


def refusal(raw: bytes) -> Refused:
    frame = read_frame(raw, known_ns=3)
    assert isinstance(frame, Refused)
    assert frame.known_ns == 3
    return frame


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '{"success":true,"ret_msg":"pong","conn_id":"c","req_id":"","op":"ping"}',  # linear
        '{"success":true,"ret_msg":"pong","conn_id":"c","op":"ping"}',  # spot
        '{"req_id":"","op":"pong","args":["1675418560633"],"conn_id":"c"}',  # private
        '{"retCode":0,"retMsg":"OK","op":"pong","data":["1711002002529"],"connId":"c"}',  # order entry
    ],
)
def test_pongs_of_all_dialects(text: str) -> None:
    assert read_frame(text.encode()) == Pong(req_id="")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (
            '{"success":true,"ret_msg":"","conn_id":"c","req_id":"4","op":"subscribe"}',
            Answer(op="subscribe", req_id="4", is_ok=True, text=""),
        ),
        (
            '{"success":true,"ret_msg":"subscribe","conn_id":"c","op":"subscribe"}',
            Answer(op="subscribe", req_id="", is_ok=True, text="subscribe"),
        ),
        (
            '{"success":false,"ret_msg":"error:invalid op","req_id":null,"op":null}',
            Answer(op="", req_id="", is_ok=False, text="error:invalid op"),
        ),
        (
            '{"success":true,"conn_id":"c","data":{"failTopics":["b"],"successTopics":["a"]},"type":"COMMAND_RESP"}',
            Answer(op="", req_id="", is_ok=False, text="", failed=("b",)),
        ),
        (
            '{"success":true,"ret_msg":"","op":"unsubscribe","req_id":"9","conn_id":"c","news":{"a":[1]}}',
            Answer(op="unsubscribe", req_id="9", is_ok=True, text=""),
        ),
    ],
)
def test_answers_of_all_dialects(text: str, answer: Answer) -> None:
    assert read_frame(text.encode()) == answer


def test_a_failed_ping_is_no_pong() -> None:
    frame = read_frame(b'{"success":false,"ret_msg":"pong","op":"ping"}')
    assert isinstance(frame, Answer)
    assert not frame.is_ok


# --- frames -----------------------------------------------------------------------------------------------------------


def test_keys_come_in_any_order_and_with_company() -> None:
    turned = dict(reversed(json.loads(BOOK).items())) | {"news": [1, {"a": None}]}
    turned["data"] = dict(reversed(turned["data"].items())) | {"x": 1}
    frame = read_frame(json.dumps(turned).encode())
    plain = read_frame(BOOK)
    assert isinstance(frame, BookFrame)
    assert isinstance(plain, BookFrame)
    assert (frame.topic, frame.ts_ns, frame.update, frame.seq) == (plain.topic, plain.ts_ns, plain.update, plain.seq)
    assert bytes(frame.bids) == b'[["60000.0", "0.005"]]'
    assert json.loads(bytes(plain.bids)) == [["60000.0", "0.005"]]


def test_a_book_s_time_is_the_matching_engine_s_where_it_is_told() -> None:
    frame = read_frame(BOOK)
    assert isinstance(frame, BookFrame)
    assert frame.ts_ns == START_NS
    old = json.loads(BOOK)
    del old["cts"]
    frame = read_frame(json.dumps(old).encode())
    assert isinstance(frame, BookFrame)
    assert frame.ts_ns == START_NS + 2_000_000


def test_number_one_is_a_whole_book() -> None:
    frame = read_frame(book_message(START_NS, 1, [(1, 1)], []))
    assert isinstance(frame, BookFrame)
    assert frame.is_snapshot


def test_fields_that_did_not_change_are_none_and_those_without_a_value_empty() -> None:
    frame = read_frame(ticker_message(START_NS, markPrice="1.5", fundingRate=""))
    assert isinstance(frame, TickerFrame)
    assert (frame.values.mark_price, frame.values.funding_rate, frame.values.index_price) == ("1.5", "", None)


def test_an_unknown_word_for_a_state_is_kept_apart() -> None:
    notice = {"id": "1", "state": "frozen", "begin": "1751596902000", "end": "1751597011000"}
    frame = read_frame(json.dumps({"topic": "system.status", "ts": 1751596902000, "data": [notice]}).encode())
    assert isinstance(frame, StatusFrame)
    assert frame.notices[0].state is NoticeState.UNKNOWN


def test_a_topic_that_was_not_asked_for_is_refused() -> None:
    wanted = {topic.text: topic for topic in [trade_topic(SYMBOL)]}
    assert not isinstance(read_frame(trade_message(START_NS, []), topics=wanted), Refused)
    frame = read_frame(BOOK, topics=wanted)
    assert isinstance(frame, Refused)
    assert (frame.reason, frame.topic) == ("its topic was not asked for", "orderbook.50.BTCUSDT")


# --- what is wrong ----------------------------------------------------------------------------------------------------


def changed(raw: bytes, **fields: object) -> bytes:
    """Return a message with some keys of the envelope changed, and those of None left out."""
    body = json.loads(raw) | fields
    return json.dumps({key: value for key, value in body.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (changed(BOOK, ts=str(START_NS), cts=None), "Expected `int | null`, got `str` - at `$.ts`"),
        (changed(BOOK, ts=None, cts=None), "it has no time"),
        (changed(BOOK, ts=5, cts=None), "Expected `int` >= 978307200000 - at `$.ts`"),
        (changed(BOOK, type="partial"), "its type is 'partial', neither snapshot nor delta"),
        (changed(BOOK, type=None), "its type is 'None', neither snapshot nor delta"),
        (changed(BOOK, data={"s": SYMBOL, "b": [], "a": []}), "Object missing required field `u`"),
        (changed(BOOK, data={"s": "ETHUSDT", "b": [], "a": [], "u": 4}), "it is about 'ETHUSDT'"),
        (changed(BOOK, data={"s": SYMBOL, "b": [], "a": [], "u": -1}), "Expected `int` >= 0 - at `$.u`"),
        (changed(BOOK, data={"s": SYMBOL, "b": [], "a": [], "u": True}), "Expected `int`, got `bool` - at `$.u`"),
        (changed(BOOK, data=[]), "Expected `object`, got `array`"),
        (trade_message(START_NS, [(1, 1, True)], S="Both"), "a trade whose taker's side is 'Both'"),
        (trade_message(START_NS, [(1, 1, True)], T="1"), "Expected `int`, got `str` - at `$[0].T`"),
        (trade_message(START_NS, [(1, 1, True)], s="ETHUSDT"), "it is about 'ETHUSDT'"),
        (ticker_message(START_NS, markPrice="1" * 101), "Expected `str` of length <= 100 - at `$.markPrice`"),
        (message(f"kline.5.{SYMBOL}", "snapshot", START_NS, [{}]), "Object missing required field `start` - at `$[0]`"),
    ],
)
def test_frames_that_are_not_what_they_were_are_refused_by_topic(raw: bytes, reason: str) -> None:
    frame = refusal(raw)
    assert frame.reason == reason
    assert frame.topic == json.loads(raw)["topic"]
    assert frame.raw == raw
    assert not frame.is_garbled


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("order", "not a market stream: order"),
        ("order.linear", "not a market stream: order"),
        ("orderbook", "its topic is of no known kind"),
        ("orderbook.50.btcusdt", "its topic is of no known kind"),
        ("orderbook.51.BTCUSDT", "not read: books of depth 51"),
        ("kline.7.BTCUSDT", "not read: klines of interval 7"),
        ("publicTrade.", "its topic is of no known kind"),
        ("publicTrade.BTC/USDT", "its topic is of no known kind"),
        ("system.other", "its topic is of no known kind"),
        ("x" * 81, "its topic is too long to be one"),
    ],
)
def test_topics_that_are_not_read(topic: str, reason: str) -> None:
    assert refusal(message(topic, "snapshot", START_NS, {})).reason == reason


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello",
        b"null",
        b"[]",
        b"{",
        BOOK[:-1],
        BOOK + b"x",
        b"\xef\xbb\xbf" + BOOK,
        BOOK.replace(b"BTCUSDT", b"\xff\xfe"),
        b"[" * 300_000,
        b'{"data":' + b"[" * 300_000,
        b"{" + b" " * FRAME_BYTES_MAX + b"}",
    ],
)
def test_what_is_no_json_object_is_garbled(raw: bytes) -> None:
    frame = refusal(raw)
    assert frame.is_garbled
    assert frame.topic == ""


@pytest.mark.parametrize("ts", ["1e400", "-1", "9" * 5000, "1.5", "NaN", "Infinity", "01", "true", '"\\ud800"'])
def test_numbers_that_python_s_own_parsers_stumble_over(ts: str) -> None:
    refusal(BOOK.replace(b'"ts":', b'"t":').replace(b"{", b'{"ts":' + ts.encode() + b",", 1))


# --- topics -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", [book_topic(SYMBOL, 200), trade_topic("1000PEPEUSDT"), kline_topic(SYMBOL, "D")])
def test_a_topic_is_what_its_text_says(topic: Topic) -> None:
    assert parse_topic(topic.text) == topic


def test_depths_that_are_no_longer_streamed_cannot_be_asked_for() -> None:
    assert parse_topic("orderbook.500.BTCUSDT").depth == 500  # the archive has it
    with pytest.raises(ValueError, match="no stream of books of 500 levels"):
        book_topic(SYMBOL, 500)


def test_lower_case_symbols_are_none() -> None:
    with pytest.raises(UnknownTopic):
        ticker_topic("btcusdt")


def test_every_kind_has_its_patience() -> None:
    assert set(PATIENCE) == set(Kind)
    assert not patience_of(book_topic(SYMBOL, 1), "spot").is_quiet_normal  # repeated every 3 s
    assert patience_of(ticker_topic(SYMBOL), "spot").is_quiet_normal
    assert not patience_of(ticker_topic(SYMBOL), "linear").is_quiet_normal


def test_frames_are_cheap_to_keep() -> None:
    """They hold the message's own bytes, not copies of its parts."""
    frame = read_frame(BOOK)
    assert isinstance(frame, BookFrame)
    assert frame.raw is BOOK
    assert isinstance(frame.bids, msgspec.Raw)
