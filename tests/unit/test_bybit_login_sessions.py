"""Order entry and the account's streams as decisions: no socket, no clock, every event by hand."""

import json
from typing import Any

import pytest

from bot.domain.answers import AnswerKind, Cause
from bot.domain.orders import CancelOrder
from bot.venues.bybit.backoff import ConnectBudget
from bot.venues.bybit.clock import VenueClock
from bot.venues.bybit.connection_life import BAN_NS, Phase
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.login_session import REFUSED_NS, LoginSession, Lost, Ready
from bot.venues.bybit.private_session import Gap, PrivateSession, Told
from bot.venues.bybit.rate_budget import RateBudget
from bot.venues.bybit.requests import Listed, cancel, create
from bot.venues.bybit.stream_effects import Alert, Close, Connect, Send
from bot.venues.bybit.trade_session import Answered, TradeSession
from tests.support.live_account import order
from tests.support.private_frames import NOW_MS, NOW_NS, frame

S = 10**9
PERPETUAL = Listed("linear", "BTCUSDT")
AUTH_OK = {"trade": {"retCode": 0, "retMsg": "OK", "op": "auth"}, "private": {"success": True, "op": "auth"}}


class Wire:
    """A session, driven by hand."""

    def __init__(self, session: LoginSession, clock: VenueClock) -> None:
        self.session = session
        self.clock = clock
        self.now_ns = NOW_NS
        self.sent: list[dict[str, Any]] = []
        self.out: list[Any] = []

    def take(self, effects: list[Any]) -> list[Any]:
        for effect in effects:
            if isinstance(effect, Send):
                self.sent.append(json.loads(effect.data))
            self.out.append(effect)
        return effects

    def say(self, **message: Any) -> list[Any]:
        raw = json.dumps(message).encode()
        return self.take(self.session.on_messages(self.session.connection, [(self.now_ns, raw)]))

    def raw(self, raw: bytes) -> list[Any]:
        return self.take(self.session.on_messages(self.session.connection, [(self.now_ns, raw)]))

    def wait(self, seconds: float) -> list[Any]:
        end_ns = self.now_ns + int(seconds * S)
        heard: list[Any] = []
        while self.now_ns < end_ns:
            self.now_ns = min(end_ns, max(self.now_ns + 1, self.session.next_time_ns()))
            heard += self.take(self.session.on_time(self.now_ns))
        return heard

    def open(self) -> None:
        self.take(self.session.start(self.now_ns))
        self.take(self.session.on_open(self.session.connection, self.now_ns))


def make_trade() -> Wire:
    clock = known_clock()
    session = TradeSession(Credentials(key="K", secret="S"), clock, prefix="e7", rates=RateBudget(), seed=1)
    return Wire(session, clock)


def make_private() -> Wire:
    clock = known_clock()
    return Wire(PrivateSession(Credentials(key="K", secret="S"), clock, seed=1), clock)


def known_clock() -> VenueClock:
    clock = VenueClock()
    clock.note(sent_ns=NOW_NS, recv_ns=NOW_NS, server_ms=NOW_MS)
    return clock


def trading() -> Wire:
    wire = make_trade()
    wire.open()
    wire.say(**AUTH_OK["trade"])
    assert wire.session.is_ready
    return wire


def listening() -> Wire:
    wire = make_private()
    wire.open()
    wire.say(**AUTH_OK["private"])
    wire.say(success=True, op="subscribe", ret_msg="")
    assert wire.session.is_ready
    return wire


def submit(wire: Wire, token: str, order_id: str = "mine-1") -> list[Any]:
    assert isinstance(wire.session, TradeSession)
    effects = wire.session.submit(
        token, create(order(order_id), PERPETUAL), timestamp_ms=NOW_MS, recv_window_ms=2_500, now_ns=wire.now_ns
    )
    return wire.take(effects)


def answer(wire: Wire, req_id: str, **changes: Any) -> list[Any]:
    message = {"reqId": req_id, "retCode": 0, "retMsg": "OK", "op": "order.create", "data": {"orderId": "v-1"}}
    return wire.say(**(message | {"header": {"Timenow": str(NOW_MS + 5)}} | changes))


def answered(effects: list[Any]) -> list[Answered]:
    return [effect for effect in effects if isinstance(effect, Answered)]


# --- logging in -------------------------------------------------------------------------------------------------------


def test_the_login_is_signed_at_the_venues_time() -> None:
    clock = VenueClock()
    clock.note(sent_ns=NOW_NS, recv_ns=NOW_NS, server_ms=NOW_MS + 3_000)  # the venue is three seconds ahead
    wire = Wire(TradeSession(Credentials(key="K", secret="S"), clock, prefix="p", rates=RateBudget(), seed=1), clock)
    wire.open()
    (login,) = wire.sent
    assert (login["op"], login["args"][0], login["args"][1]) == ("auth", "K", NOW_MS + 13_000)


def test_without_the_venues_time_nothing_is_signed() -> None:
    wire = Wire(PrivateSession(Credentials(key="K", secret="S"), VenueClock(), seed=1), VenueClock())
    wire.open()
    assert wire.sent == []
    assert wire.session.phase is Phase.WAITING


@pytest.mark.parametrize(
    ("make", "refusal"),
    [
        (make_trade, {"retCode": 10003, "retMsg": "Invalid apikey K", "op": "auth", "success": False}),
        (make_private, {"success": False, "ret_msg": "error K", "op": "auth"}),
    ],
)
def test_a_key_that_is_not_taken_waits(make: Any, refusal: dict[str, Any]) -> None:
    wire = make()
    wire.open()
    effects = wire.say(**refusal)
    (alert,) = [effect for effect in effects if isinstance(effect, Alert)]
    assert alert.code == "login.refused"
    assert " K" not in alert.text
    assert wire.session.next_time_ns() == NOW_NS + REFUSED_NS


@pytest.mark.parametrize("make", [make_trade, make_private])
def test_it_gives_up_on_what_does_not_log_in_or_does_not_live(make: Any) -> None:
    wire = make()
    wire.open()
    assert any(isinstance(each, Close) and "logged in" in each.reason for each in wire.wait(5.2))


def test_pings_and_silence() -> None:
    wire = trading()
    wire.wait(20.1)
    assert wire.sent[-1]["op"] == "ping"
    wire.say(retCode=0, retMsg="OK", op="pong", data=["1"])
    assert not [each for each in wire.wait(19) if isinstance(each, Close)]
    lost = wire.wait(7)  # the next ping stays unanswered
    assert any(isinstance(each, Close) for each in lost)
    assert any(isinstance(each, Lost) for each in lost)


def test_a_ban_is_ten_minutes() -> None:
    wire = make_trade()
    wire.take(wire.session.start(wire.now_ns))
    wire.take(wire.session.on_closed(1, "403", wire.now_ns, is_banned=True))
    assert wire.session.next_time_ns() == NOW_NS + BAN_NS


def test_what_comes_of_an_old_connection_is_nobodys() -> None:
    wire = trading()
    submit(wire, "a")
    wire.take(wire.session.on_closed(1, "gone", wire.now_ns))
    wire.wait(1)
    assert wire.session.connection == 2
    wire.take(wire.session.on_open(2, wire.now_ns))
    before = len(wire.out)
    wire.take(wire.session.on_messages(1, [(wire.now_ns, json.dumps(AUTH_OK["trade"]).encode())]))
    assert wire.out[before:] == []
    assert not wire.session.is_ready


def test_the_first_attempt_to_come_back_is_at_once_and_flapping_is_not_trusted() -> None:
    wire = trading()
    for number in range(3):
        wire.take(wire.session.on_closed(wire.session.connection, "gone", wire.now_ns))
        if number == 0:
            assert wire.session.next_time_ns() - wire.now_ns <= 250_000_000
        wire.wait(3)
        wire.take(wire.session.on_open(wire.session.connection, wire.now_ns))
        wire.say(**AUTH_OK["trade"])
    assert wire.session.is_ready
    assert not wire.session.is_stable
    for _ in range(7):
        wire.wait(10)
        wire.say(retCode=0, retMsg="OK", op="pong", data=["1"])
    assert wire.session.is_stable


def test_the_budget_of_connections_is_kept() -> None:
    clock = known_clock()
    budget = ConnectBudget(count=1)
    session = TradeSession(
        Credentials(key="K", secret="S"), clock, prefix="p", rates=RateBudget(), seed=1, budget=budget
    )
    wire = Wire(session, clock)
    wire.open()
    wire.take(session.on_closed(1, "gone", wire.now_ns))
    assert not [each for each in wire.wait(299) if isinstance(each, Connect)]
    assert [each for each in wire.wait(2) if isinstance(each, Connect)]


# --- order entry ------------------------------------------------------------------------------------------------------


def test_answers_find_their_requests_in_any_order() -> None:
    wire = trading()
    submit(wire, "a", "mine-1")
    submit(wire, "b", "mine-2")
    ids = [each["reqId"] for each in wire.sent if each["op"] == "order.create"]
    assert len(set(ids)) == 2
    assert all(each.startswith("e7-") and len(each) <= 36 for each in ids)
    (second,) = answered(answer(wire, ids[1], data={"orderId": "v-2", "orderLinkId": "mine-2"}))
    (first,) = answered(answer(wire, ids[0]))
    assert (second.token, second.answers[0].venue_order_id) == ("b", "v-2")
    assert (first.token, first.answers[0].kind, first.answers[0].server_time_ms) == (
        "a",
        AnswerKind.ACCEPTED,
        NOW_MS + 5,
    )


def test_the_window_and_the_body_go_out_as_given() -> None:
    wire = trading()
    submit(wire, "a")
    sent = wire.sent[-1]
    assert sent["header"] == {"X-BAPI-TIMESTAMP": str(NOW_MS), "X-BAPI-RECV-WINDOW": "2500"}
    assert sent["args"] == [json.loads(create(order("mine-1"), PERPETUAL).body)]


def test_answers_twice_late_and_to_nobody() -> None:
    wire = trading()
    assert isinstance(wire.session, TradeSession)
    submit(wire, "a")
    req_id = wire.sent[-1]["reqId"]
    (given_up,) = answered(wire.wait(2.1))
    assert (given_up.answers[0].kind, given_up.answers[0].code) == (AnswerKind.UNKNOWN, "timeout")
    (late,) = answered(answer(wire, req_id))
    assert (late.token, late.is_late, late.answers[0].kind) == ("a", True, AnswerKind.ACCEPTED)
    assert answered(answer(wire, req_id)) == []
    assert answered(answer(wire, "e6-s1")) == []
    assert wire.session.strays == 2


def test_an_answer_without_an_id_is_nobodys() -> None:
    """With one request under way it would be a guess, and a guess is no evidence."""
    wire = trading()
    submit(wire, "a")
    effects = wire.say(retCode=10005, retMsg="Permission denied", op="order.create")
    assert answered(effects) == []
    assert any(isinstance(each, Alert) and each.code == "answer.nameless" for each in effects)
    assert answered(wire.wait(2.1))[0].answers[0].kind is AnswerKind.UNKNOWN


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"op": "order.cancel"}, AnswerKind.UNKNOWN),
        ({"data": {"orderId": "v", "orderLinkId": "another"}}, AnswerKind.UNKNOWN),
        ({"data": None}, AnswerKind.ACCEPTED),
        ({"retCode": 20006, "data": {}}, AnswerKind.EXISTS),
        ({"retCode": 110007, "data": {}}, AnswerKind.REFUSED),
        ({"retCode": 10403, "data": {}}, AnswerKind.UNKNOWN),
        ({"retCode": 10006, "data": {}}, AnswerKind.REFUSED),
    ],
)
def test_what_answers_mean(changes: dict[str, Any], kind: AnswerKind) -> None:
    wire = trading()
    submit(wire, "a")
    (got,) = answered(answer(wire, wire.sent[-1]["reqId"], **changes))
    assert got.answers[0].kind is kind


def test_a_lost_connection_settles_all_and_keeps_nothing() -> None:
    wire = trading()
    assert isinstance(wire.session, TradeSession)
    submit(wire, "a", "mine-1")
    submit(wire, "b", "mine-2")
    effects = wire.take(wire.session.on_closed(1, "reset", wire.now_ns))
    assert {(each.token, each.answers[0].kind) for each in answered(effects)} == {
        ("a", AnswerKind.UNKNOWN),
        ("b", AnswerKind.UNKNOWN),
    }
    assert isinstance(effects[-1], Lost)
    (unsent,) = answered(submit(wire, "c"))
    assert (unsent.answers[0].kind, unsent.answers[0].cause) == (AnswerKind.REFUSED, Cause.UNSENT)
    wire.wait(1)
    wire.take(wire.session.on_open(2, wire.now_ns))
    wire.say(**AUTH_OK["trade"])
    assert [each["op"] for each in wire.sent].count("order.create") == 2
    assert answered(wire.wait(4)) == []  # each outcome is told once


def test_stopping_settles_all() -> None:
    wire = trading()
    submit(wire, "a")
    effects = wire.take(wire.session.stop(wire.now_ns))
    assert answered(effects)[0].answers[0].kind is AnswerKind.UNKNOWN
    assert wire.session.phase is Phase.IDLE


def test_a_garbled_message_ends_the_connection() -> None:
    wire = trading()
    submit(wire, "a")
    effects = wire.raw(b'{"reqId":')
    assert answered(effects)[0].answers[0].kind is AnswerKind.UNKNOWN
    assert any(isinstance(each, Close) for each in effects)


@pytest.mark.parametrize("make", [make_trade, make_private])
def test_no_alert_shows_the_key(make: Any) -> None:
    wire = make()
    wire.session._credentials = Credentials(key="KEY0123", secret="SECRET0123")
    wire.open()
    wire.raw(b'{"op":"KEY0123","ret_msg":"origin_string[17KEY0123","topic":"KEY0123"} SECRET0123')
    (alert,) = [each for each in wire.out if isinstance(each, Alert)]
    assert "KEY0123" not in str(alert)
    assert "SECRET0123" not in str(alert)
    assert b"[secret]" in alert.raw


def test_our_limit_keeps_room_for_cancels() -> None:
    wire = trading()
    assert isinstance(wire.session, TradeSession)
    outcomes = [answered(submit(wire, str(number), f"mine-{number}")) for number in range(8)]
    assert [bool(each) for each in outcomes] == [False] * 6 + [True] * 2
    assert outcomes[-1][0].answers[0].cause is Cause.LIMITED
    gone = CancelOrder(client_order_id="mine-0", order_number=1, instrument="BTCUSDT")
    sent = len(wire.sent)
    wire.take(
        wire.session.submit("x", cancel(gone, PERPETUAL), timestamp_ms=NOW_MS, recv_window_ms=2_500, now_ns=wire.now_ns)
    )
    assert len(wire.sent) == sent + 1


# --- the account's streams --------------------------------------------------------------------------------------------


def test_data_may_overtake_the_answer_to_the_subscription() -> None:
    wire = make_private()
    wire.open()
    wire.say(**AUTH_OK["private"])
    assert wire.sent[-1]["args"] == ["order", "execution", "position", "wallet"]
    assert wire.raw(frame("order")) == []
    ready, told = wire.say(success=True, op="subscribe", ret_msg="")
    assert isinstance(ready, Ready)
    assert isinstance(told, Told)


def test_half_a_subscription_is_none() -> None:
    wire = make_private()
    wire.open()
    wire.say(**AUTH_OK["private"])
    effects = wire.say(success=False, op="subscribe", ret_msg="Batch subscription partially succeeded")
    assert any(isinstance(each, Close) for each in effects)
    assert not wire.session.is_ready


def test_a_message_that_cannot_be_read_is_a_gap() -> None:
    wire = listening()
    effects = wire.raw(frame("execution", {"execQty": "NaN"}))
    assert [type(each) for each in effects] == [Alert, Gap]
    assert wire.session.is_ready
    effects = wire.raw(b"\xff")
    assert [type(each) for each in effects] == [Gap, Close, Lost]  # of one code one alert in a minute
    assert not [each for each in wire.out if isinstance(each, Told)]


def test_a_topic_that_was_not_asked_for() -> None:
    wire = listening()
    assert not [each for each in wire.raw(frame("execution.fast")) if isinstance(each, Told)]


@pytest.mark.parametrize("topics", [(), ("order", "order.linear"), ("order.linear", "order.linear"), ("wallet.spot",)])
def test_topics_that_the_venue_would_refuse(topics: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="topic"):
        PrivateSession(Credentials(key="K", secret="S"), VenueClock(), topics=topics, seed=1)
