"""One public connection: subscriptions, silence, and what is not understood."""

import json

import pytest

from bot.venues.bybit.connection_life import ALERT_NS, PING_NS, STABLE_NS
from bot.venues.bybit.stream_effects import Alert, Backfill, Connect, Distrust, Trust
from bot.venues.bybit.stream_session import StreamSession
from bot.venues.bybit.subscriptions import NEXT, Happening, Status, Verdict, judge
from bot.venues.bybit.topics import price_limit_topic, trade_topic
from bot.venues.bybit.wire import Answer
from tests.support.bybit_market import (
    MS,
    START_NS,
    SYMBOL,
    SampleBookStream,
    ticker_message,
    trade_message,
)
from tests.support.bybit_venue import FakeVenue
from tests.support.session_desk import ALL, BOOK, LEVEL1, TICKER, TRADES, S, desk, first_data, keep_alive, live

# --- subscribing ------------------------------------------------------------------------------------------------------


def test_trust_needs_the_answer_and_the_first_data() -> None:
    made = desk(venue=FakeVenue())
    made.start()
    assert {made.session.status(topic.text) for topic in ALL} == {Status.CONFIRMED}
    assert [effect.topic for effect in made.of(Trust)] == [TRADES.text]  # it may have nothing to tell
    made.say(*first_data(TICKER.text))
    assert [effect.topic for effect in made.of(Trust)] == [TRADES.text, TICKER.text]
    assert not made.session.is_ready


def test_trades_that_nobody_makes_are_asked_after_and_a_subscription_that_was_forgotten_leaves_a_hole() -> None:
    """In a quiet market trust stands; where the venue takes us for new, what came meanwhile is asked for."""
    made = desk([TRADES], venue=FakeVenue())
    made.start()
    assert made.session.is_ready
    made.wait(61 * S)
    assert [each["op"] for each in made.venue.requests].count("subscribe") == 2
    assert made.of(Backfill) == []
    made.venue.subscribed.clear()
    made.wait(60 * S)
    (hole,) = made.of(Backfill)
    assert hole.from_ns == START_NS
    assert made.of(Distrust) == []
    assert made.session.is_ready


def test_data_may_come_before_the_answer() -> None:
    venue = FakeVenue()
    venue.is_mute = True
    made = desk(venue=venue)
    made.start()
    made.say(*first_data(TICKER.text))
    assert made.session.status(TICKER.text) is Status.EARLY
    assert made.of(Trust) == []
    made.say(json.dumps({"success": True, "ret_msg": "", "op": "subscribe", "req_id": "1"}).encode())
    assert [effect.topic for effect in made.of(Trust)] == [TRADES.text, TICKER.text]


def test_a_book_or_a_ticker_begins_with_the_whole() -> None:
    made = desk(venue=FakeVenue())
    made.start()
    made.say(SampleBookStream(1).delta().raw, ticker_message(START_NS, markPrice="1"))
    assert [effect.topic for effect in made.of(Trust)] == [TRADES.text]
    assert len(made.delivered) == 2  # what to do with them is not decided here


@pytest.mark.parametrize("category", ["linear", "spot"])
def test_topics_are_asked_for_in_requests_the_venue_takes(category: str) -> None:
    topics = [trade_topic(f"COIN{number}USDT") for number in range(120)]
    made = desk(topics, venue=FakeVenue(category))
    made.start()
    sizes = [len(request["args"]) for request in made.venue.requests]
    assert max(sizes) == (10 if category == "spot" else 50)
    assert sum(sizes) == len(made.venue.subscribed) == 120
    assert len({request["req_id"] for request in made.venue.requests}) == len(sizes)


def test_more_topics_than_a_connection_carries_are_refused() -> None:
    topics = [trade_topic(f"COIN{number}USDT") for number in range(1000)]
    with pytest.raises(ValueError, match="one connection carries 21,000"):
        StreamSession(topics, category="linear", seed=1)
    with pytest.raises(ValueError, match="each of them once"):
        StreamSession([BOOK, BOOK], category="linear", seed=1)


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_bad_topics_do_not_spoil_the_others(bad: int) -> None:
    """The venue refuses a request as a whole and names the first bad topic: the rest is asked for again."""
    gone = [trade_topic(f"GONE{number}USDT") for number in range(bad)]
    topics = [gone[0], *ALL, *gone[1:]]
    made = desk(topics, venue=FakeVenue(bad=[topic.text for topic in gone], on_subscribed=first_data))
    made.start()
    assert {made.session.status(topic.text) for topic in ALL} == {Status.LIVE}
    assert {made.session.status(topic.text) for topic in gone} == {Status.REFUSED}
    assert not made.session.is_ready
    assert [effect.code for effect in made.of(Alert)] == ["topic.refused"]  # one a minute, the others counted


def test_a_refused_topic_is_tried_again_by_itself_and_rarely() -> None:
    gone = trade_topic("GONEUSDT")
    made = desk([gone, *ALL], venue=FakeVenue(bad=[gone.text], on_subscribed=first_data))
    made.start()
    asked = len(made.venue.requests)
    keep_alive(made, 600)
    again = [r["args"] for r in made.venue.requests[asked:] if r["op"] == "subscribe"]
    assert 2 <= len(again) <= 15
    assert all(args == [gone.text] for args in again)
    made.venue.bad.clear()
    made.venue.on_subscribed = lambda topic: first_data(topic) or [trade_for("GONEUSDT")]
    keep_alive(made, 700)
    assert made.session.is_ready


def trade_for(symbol: str) -> bytes:
    return trade_message(START_NS, [(600_000, 5, True)]).replace(SYMBOL.encode(), symbol.encode())


def test_already_subscribed_is_success() -> None:
    made = desk()
    made.venue.connect = lambda: made.venue.subscribed.append(TRADES.text)  # type: ignore[method-assign]
    made.start()
    made.say(*first_data(TRADES.text))
    assert made.session.is_ready


@pytest.mark.parametrize(
    ("topics", "text", "verdict"),
    [
        (["a", "b"], "error:handler not found,topic:b", Verdict(refused=["b"], again=[["a"]])),
        (["a", "b"], "error:already subscribed,topic:a", Verdict(already=["a"], again=[["b"]])),
        (["a"], "error:already subscribed,topic:a", Verdict(already=["a"])),
        (["a", "b", "c"], "args size >10", Verdict(again=[["a"], ["b", "c"]])),
        (["a", "b"], "error:handler not found,topic:other", Verdict(again=[["a"], ["b"]])),
        (["a"], "Invalid topic: a", Verdict(refused=["a"])),
    ],
)
def test_what_a_refusal_says_of_whom(topics: list[str], text: str, verdict: Verdict) -> None:
    assert judge(topics, Answer(op="subscribe", req_id="1", is_ok=False, text=text)) == verdict


def test_a_dialect_that_lists_what_failed() -> None:
    answer = Answer(op="", req_id="", is_ok=False, text="", failed=("b",))
    assert judge(["a", "b"], answer) == Verdict(confirmed=["a"], refused=["b"])


def test_an_answer_without_an_id_is_taken_where_it_can_be_only_one_request_s() -> None:
    venue = FakeVenue()
    venue.is_mute = True
    made = desk([TRADES], venue=venue)
    made.start()
    made.say(b'{"success":true,"ret_msg":"","op":"subscribe","req_id":""}')
    assert made.session.status(TRADES.text) is Status.CONFIRMED
    both = desk([trade_topic(f"C{number}USDT") for number in range(60)], venue=venue)  # two requests
    both.start()
    both.say(b'{"success":true,"ret_msg":"","op":"subscribe","req_id":""}')
    assert both.session.status("publicTrade.C1USDT") is Status.ASKED


def test_an_unanswered_request_is_made_again_and_then_the_connection_given_up() -> None:
    venue = FakeVenue(on_subscribed=first_data)
    made = desk(venue=venue)
    venue.is_mute = True
    made.start()
    for _ in range(10):  # it says something, but no answer
        made.say(b'{"success":true,"ret_msg":"pong","op":"ping"}')
        made.wait(S)
    asked = [request["args"] for request in venue.requests if request["op"] == "subscribe"]
    assert asked[0] == [topic.text for topic in ALL]
    assert asked[1:5] == [[topic.text] for topic in ALL]
    made.wait(2 * S)
    assert made.closes[0] == "no answer to subscribe"


def test_transitions_stay_in_the_table() -> None:
    """Every status can be entered and left, and loss of the connection is no row: it ends them all."""
    assert {status for status, _ in NEXT} == set(Status)
    assert {*NEXT.values()} == set(Status)
    assert {happening for _, happening in NEXT} == set(Happening)
    assert [status for status, happening in NEXT if happening is Happening.CONFIRM] == [Status.ASKED, Status.EARLY]


# --- alive or not -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", ["linear", "spot"])
def test_pings_keep_a_connection(category: str) -> None:
    made = desk([TRADES], venue=FakeVenue(category, on_subscribed=first_data))
    made.start()
    made.wait(300 * S)
    pings = [request for request in made.venue.requests if request["op"] == "ping"]
    assert len(pings) in (14, 15)
    assert made.closes == []


def test_a_half_open_connection_is_given_up_within_five_seconds_of_the_ping() -> None:
    made = desk([TRADES])
    made.start()
    made.venue.is_mute = True
    made.wait(PING_NS + 5 * S + 200 * MS)
    assert made.closes == ["nothing was heard after a ping"]
    assert [effect.topic for effect in made.of(Distrust)] == [TRADES.text]


def test_data_without_a_pong_prove_the_connection() -> None:
    made = live()
    made.venue.is_mute = True
    keep_alive(made, 100)
    assert made.closes == []


def test_a_connection_that_does_not_open_is_given_up() -> None:
    made = desk()
    (effect,) = made.session.start(START_NS)
    assert effect == Connect(connection=1)
    assert made.session.on_time(START_NS + 9 * S) == []
    (closed,) = made.session.on_time(START_NS + 11 * S)
    assert closed.reason == "it did not open in time"  # type: ignore[union-attr]


def test_a_silent_topic_is_noticed_asked_for_again_and_then_a_new_connection_made() -> None:
    """The level-1 book is silent while all else speaks and pongs come."""
    made = live()
    made.venue.on_subscribed = lambda topic: first_data(topic) if topic != LEVEL1.text else []
    keep_alive(made, 11, LEVEL1)
    (lost,) = made.of(Distrust)
    assert (lost.topic, lost.reason) == (LEVEL1.text, "silent for 10 s")
    assert lost.known_ns <= START_NS + 10 * S + 100 * MS + S // 2
    assert [(r["op"], r["args"]) for r in made.venue.requests[-2:]] == [
        ("unsubscribe", [LEVEL1.text]),
        ("subscribe", [LEVEL1.text]),
    ]
    keep_alive(made, 6, LEVEL1)
    assert made.closes == [f"{LEVEL1.text} stayed without data for 5 s"]
    keep_alive(made, 600, LEVEL1)
    assert len(made.closes) == 1  # once; the others must not suffer for ever
    assert made.session.status(TRADES.text) is Status.LIVE
    assert "topic.silent" in [effect.code for effect in made.of(Alert)]


def test_silence_that_is_normal_is_asked_about_and_costs_no_trust() -> None:
    made = live()
    keep_alive(made, 500, TRADES)
    assert made.of(Distrust) == []
    probes = [r["args"] for r in made.venue.requests if r["op"] == "subscribe"][1:]
    assert 3 <= len(probes) <= 4
    assert all(args == [TRADES.text] for args in probes)


def test_a_subscription_that_the_venue_forgot_is_noticed_and_its_hole_filled() -> None:
    made = live()
    made.venue.subscribed.remove(TRADES.text)
    keep_alive(made, 125, TRADES)
    (backfill,) = made.of(Backfill)
    assert (backfill.topic, backfill.from_ns) == (TRADES.text, START_NS)
    assert START_NS + 120 * S <= backfill.to_ns <= START_NS + 122 * S


# --- what is not understood -------------------------------------------------------------------------------------------


def test_a_frame_that_is_not_understood_costs_its_topic_the_trust() -> None:
    made = live()
    drifted = first_data(TICKER.text)[0].replace(b'"ts":', b'"ts":"x","t":')
    made.say(drifted)
    (lost,) = made.of(Distrust)
    assert lost.topic == TICKER.text
    assert made.session.is_ready  # it was asked for again, and came
    (alert,) = made.of(Alert)
    assert (alert.code, alert.raw) == ("message.refused", drifted)


def test_a_garbled_message_costs_the_connection() -> None:
    made = live()
    made.say(first_data(TRADES.text)[0][:-7])
    assert made.closes[0].startswith("a garbled message")


def test_a_message_of_a_new_kind_is_told_and_costs_nothing() -> None:
    made = live()
    made.say(b'{"hello":"world"}', *first_data(TRADES.text))
    assert made.closes == []
    assert made.of(Distrust) == []
    assert made.session.refused == 1


def test_alerts_of_a_kind_are_told_once_a_minute() -> None:
    made = live()
    for _ in range(50):
        made.say(b'{"hello":"world"}')
    keep_alive(made, ALERT_NS // S)
    made.say(b'{"hello":"world"}')
    told = [effect for effect in made.of(Alert) if effect.code == "message.refused"]
    assert [effect.suppressed for effect in told] == [0, 49]


def test_resubscribing_often_is_spaced_out() -> None:
    made = live()
    for _ in range(3000):  # five minutes in which the book breaks again as soon as it is there
        made.carry_out(made.session.resubscribe(BOOK.text, "gap", made.now_ns))
        made.wait(100 * MS)
        made.say(*first_data(LEVEL1.text), *first_data(TICKER.text))
    asked = [r for r in made.venue.requests if r["op"] == "unsubscribe"]
    assert 10 < len(asked) < 40
    assert STABLE_NS == 60 * S


def test_how_messages_are_cut_makes_no_difference() -> None:
    messages = [
        *first_data(BOOK.text),
        b'{"hello":"world"}',
        *first_data(TRADES.text),
        first_data(TICKER.text)[0].replace(b'"ts":', b'"ts":"x","t":'),
        *first_data(LEVEL1.text),
        first_data(BOOK.text)[0][:-9],
        *first_data(TRADES.text),
    ]
    timed = [(START_NS + number * 40 * MS, raw) for number, raw in enumerate(messages)]
    whole, single = live(), live()
    together = whole.session.on_messages(1, timed)
    one_by_one = [effect for each in timed for effect in single.session.on_messages(1, [each])]
    assert [each for each in together if not hasattr(each, "frames")] == [
        each for each in one_by_one if not hasattr(each, "frames")
    ]
    frames = [
        [frame for each in effects if hasattr(each, "frames") for frame in each.frames]
        for effects in (together, one_by_one)
    ]
    assert [frame.raw for frame in frames[0]] == [frame.raw for frame in frames[1]]


def test_price_limits_are_a_topic_like_others() -> None:
    topic = price_limit_topic(SYMBOL)
    frame = b'{"topic":"priceLimit.BTCUSDT","data":{"symbol":"BTCUSDT","buyLmt":"2","sellLmt":"1"},"ts":1750059683782}'
    made = desk([topic], venue=FakeVenue(on_subscribed=lambda topic: [frame]))
    made.start()
    assert made.session.is_ready


def test_a_book_whose_snapshot_was_lost_is_asked_for_anew() -> None:
    """The venue answers that it is subscribed already, and tells the whole to new subscriptions alone."""
    told: list[str] = []

    def tell(topic: str) -> list[bytes]:
        told.append(topic)
        return [] if topic == BOOK.text and told.count(topic) == 1 else first_data(topic)

    made = desk(venue=FakeVenue(on_subscribed=tell))
    made.start()
    assert made.session.status(BOOK.text) is Status.CONFIRMED
    keep_alive(made, 7, BOOK)
    assert made.session.status(BOOK.text) is Status.LIVE
    assert told.count(BOOK.text) == 2
    assert made.session.connection == 1
