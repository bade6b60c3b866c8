"""Whatever bytes come on private connections: nothing raises, and what is refused changes nothing."""

import json
import random

import pytest

from bot.core.venue.contract import btcusdt_spot
from bot.domain.answers import AnswerKind
from bot.venues.bybit.account_stream import AccountStream
from bot.venues.bybit.backoff import ConnectBudget
from bot.venues.bybit.clock import VenueClock
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.envelope import Reply, Unread, read_answers, read_reply
from bot.venues.bybit.private_frames import PrivateFrame, read_private
from bot.venues.bybit.private_session import PrivateSession, Told
from bot.venues.bybit.rate_budget import RateBudget
from bot.venues.bybit.requests import Listed, batch, create
from bot.venues.bybit.stream_effects import Connect, Send
from bot.venues.bybit.trade_session import Answered, TradeSession
from bot.venues.bybit.wire import Refused
from tests.support.emulator import BTC
from tests.support.live_account import order
from tests.support.mutations import mutated
from tests.support.private_frames import NOW_MS, NOW_NS, frame

PERPETUAL = Listed("linear", "BTCUSDT")
ID_KEY = "mine-it"
BASES = {
    "order": [frame("order"), frame("order", {"orderStatus": "Filled", "cumExecQty": "1"}, {"orderId": "v-2"})],
    "execution": [frame("execution"), frame("execution", {"execType": "Funding", "orderLinkId": ""})],
    "execution.fast": [frame("execution.fast"), frame("execution.fast", {"orderLinkId": ""})],
    "position": [frame("position"), frame("position", {"seq": 9, "stopLoss": "50000"})],
    "wallet": [frame("wallet")],
}


def session() -> PrivateSession:
    """Return a session that is ready."""
    clock = VenueClock()
    clock.note(sent_ns=NOW_NS, recv_ns=NOW_NS, server_ms=NOW_MS)
    own = PrivateSession(
        Credentials(key="K", secret="S"),
        clock,
        topics=tuple(BASES),
        seed=1,
        budget=ConnectBudget(count=10**7, window_ns=1),
    )
    revive(own)
    return own


def revive(own: PrivateSession | TradeSession) -> None:
    """Bring a session that has given up on its connection back to being ready."""
    now_ns = max(own._now_ns, own.next_time_ns() if own.next_time_ns() < 2**62 else NOW_NS)
    own._venue_clock.note(sent_ns=now_ns, recv_ns=now_ns, server_ms=now_ns // 10**6)
    effects = own.on_time(now_ns) or own.start(now_ns)
    assert any(isinstance(effect, Connect) for effect in effects)
    own.on_open(own.connection, now_ns)
    if isinstance(own, TradeSession):
        own.on_messages(own.connection, [(now_ns, b'{"retCode":0,"retMsg":"OK","op":"auth","connId":"c"}')])
    else:
        own.on_messages(own.connection, [(now_ns, b'{"success":true,"ret_msg":"","op":"auth"}')])
        own.on_messages(own.connection, [(now_ns, b'{"success":true,"ret_msg":"","op":"subscribe"}')])
    assert own.is_ready


def account_state(account: AccountStream) -> str:
    return repr(sorted((name, value) for name, value in vars(account).items() if name != "_is_ours"))


def throw_at_streams(topic: str, count: int, seed: int) -> int:
    """Throw mutated messages; return how many were refused."""
    dice = random.Random(seed)
    spot = btcusdt_spot().instrument
    account = AccountStream(
        {("linear", "BTCUSDT"): BTC, ("spot", "BTCUSDT"): spot}, is_ours=lambda each: each.startswith("mine-")
    )
    own = session()
    refused = 0
    for number in range(count):
        if number % 2_000 == 0:  # so that its state stays small enough to look at
            account = AccountStream(
                {("linear", "BTCUSDT"): BTC, ("spot", "BTCUSDT"): spot}, is_ours=lambda each: each.startswith("mine-")
            )
        raw = mutated(dice.choice(BASES[topic]), dice)
        got = read_private(raw, known_ns=own._now_ns)
        is_looked_at = dice.random() < 0.01
        before = account_state(account) if is_looked_at else ""
        told = [effect for effect in own.on_messages(own.connection, [(own._now_ns, raw)]) if isinstance(effect, Told)]
        if isinstance(got, PrivateFrame) and got.topic in BASES:
            assert len(told) == 1
            is_fast = told[0].frame.kind == "execution.fast"
            account.on_records(told[0].frame.records, own._now_ns, is_fast=is_fast)
        else:
            refused += isinstance(got, Refused)
            assert told == []
            if is_looked_at:
                assert account_state(account) == before
        if not own.is_ready:
            revive(own)
    return refused


def throw_at_order_entry(count: int, seed: int) -> int:
    """Throw mutated answers; return how many requests were told as accepted: those whose answer says so to the byte."""
    dice = random.Random(seed)
    clock = VenueClock()
    clock.note(sent_ns=NOW_NS, recv_ns=NOW_NS, server_ms=NOW_MS)
    budget = ConnectBudget(count=10**7, window_ns=1)
    own = TradeSession(
        Credentials(key="K", secret="S"), clock, prefix="p", rates=RateBudget(share=1.0), seed=1, budget=budget
    )
    revive(own)
    request = create(order(), PERPETUAL)
    accepted = 0
    asked: dict[str, str] = {}  # what each token's request was sent as
    for number in range(count):
        if not own.is_ready:
            revive(own)
        now_ns = own._now_ns + 200_000_000
        effects = own.submit(str(number), request, timestamp_ms=now_ns // 10**6, recv_window_ms=2_500, now_ns=now_ns)
        sent = next((effect for effect in effects if isinstance(effect, Send)), None)
        if sent is None:  # an answer has told of a limit: wait for it
            own.on_time(now_ns + 61 * 10**9)
            continue
        req_id = asked[str(number)] = json.loads(sent.data)["reqId"]
        code = dice.choice((0, 0, 10016, 110007, 110072))
        answer = {
            "reqId": req_id,
            "retCode": code,
            "retMsg": "OK",
            "op": "order.create",
            "data": {"orderId": "v-1", "orderLinkId": ID_KEY},
            "retExtInfo": {},
            "header": {"X-Bapi-Limit": "10000", "X-Bapi-Limit-Status": "9999", "Timenow": str(NOW_MS)},
        }
        raw = mutated(json.dumps(answer).encode(), dice)
        for effect in own.on_messages(own.connection, [(now_ns, raw)]):
            if isinstance(effect, Answered) and effect.answers[0].kind is AnswerKind.ACCEPTED:
                accepted += 1
                said = json.loads(raw)
                # A turned digit can make it the answer of one before that nobody answered: then it is told as late.
                assert (said["retCode"], said["reqId"], said["op"]) == (0, asked[effect.token], "order.create")
                assert effect.is_late == (effect.token != str(number))
                assert said.get("data") is None or said["data"].get("orderLinkId", "") in ("", ID_KEY)
        own.on_time(now_ns + 1)
        if own.in_flight:  # the answer was of nobody: the request's time goes by
            own.on_time(now_ns + 3 * 10**9)
            assert own.in_flight == 0
    return accepted


@pytest.mark.parametrize("topic", BASES)
def test_streams(topic: str) -> None:
    assert throw_at_streams(topic, 2_500, seed=1) > 500


def test_order_entry() -> None:
    assert throw_at_order_entry(2_500, seed=2) > 50


def test_rest_answers() -> None:
    assert throw_at_rest(4_000, seed=3) > 100


def throw_at_rest(count: int, seed: int) -> int:
    """Return how many answers were taken for good ones."""
    accepted = 0
    dice = random.Random(seed)
    single = create(order(), PERPETUAL)
    several = batch([create(order(f"mine-{number}"), PERPETUAL) for number in range(3)])
    placed = [{"orderId": f"v{number}", "orderLinkId": f"mine-{number}"} for number in range(3)]
    codes = [{"code": code, "msg": "OK"} for code in (0, 110007, 0)]
    bases = [
        (single, {"retCode": 0, "result": {"orderId": "v", "orderLinkId": ID_KEY}, "time": NOW_MS}),
        (several, {"retCode": 0, "result": {"list": placed}, "retExtInfo": {"list": codes}, "time": NOW_MS}),
    ]
    for _ in range(count):
        request, envelope = dice.choice(bases)
        raw = mutated(json.dumps(envelope).encode(), dice)
        answers = read_answers(200, raw, request, 7)
        assert len(answers) == request.count
        reply = read_reply(200, raw, 7)
        assert isinstance(reply, Reply | Unread)
        if any(answer.kind is AnswerKind.ACCEPTED for answer in answers):
            accepted += 1
            assert json.loads(raw)["retCode"] == 0
    return accepted


@pytest.mark.soak
@pytest.mark.parametrize("topic", BASES)
def test_streams_in_full(topic: str) -> None:
    assert throw_at_streams(topic, 1_000_000, seed=11) > 200_000


@pytest.mark.soak
def test_order_entry_in_full() -> None:
    assert throw_at_order_entry(1_000_000, seed=12) > 20_000


@pytest.mark.soak
def test_rest_answers_in_full() -> None:
    assert throw_at_rest(1_000_000, seed=13) > 25_000
