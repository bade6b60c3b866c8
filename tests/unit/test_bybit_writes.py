"""What goes out to Bybit and what its answers mean: requests, the table of errors, envelopes, hosts, credentials."""

import json
import pickle
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.answers import Answer, AnswerKind, Cause
from bot.domain.errors import ConfigError
from bot.domain.instrument import Side
from bot.domain.orders import (
    AmendOrder,
    CancelOrder,
    ChangeStops,
    Exit,
    OrderType,
    SubmitOrder,
    TimeInForce,
    Trigger,
    TriggerSource,
)
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.envelope import read_answers
from bot.venues.bybit.errors import TABLE, Write, clean, verdict_of_code, verdict_of_status
from bot.venues.bybit.hosts import HOSTS, REGIONS, host_of
from bot.venues.bybit.requests import (
    Listed,
    WriteRequest,
    amend,
    batch,
    cancel,
    cancel_all,
    change_stops,
    create,
    plain,
    set_leverage,
    set_position_mode,
    set_price_limits_refused,
)

PERPETUAL, SPOT = Listed("linear", "BTCUSDT"), Listed("spot", "BTCUSDT")

# The protocol's own classes, written down apart from the table.
DEFINITIVE = [
    *(10001, 10002, 10003, 10004, 10005, 10010, 33004, 10006),
    *(110003, 110004, 110007, 110012, 110017, 110020, 110094),
    *(170124, 170131, 170132, 170133, 170134, 170135, 170136, 170137, 170140),
]
AMBIGUOUS = [10000, 10016, 10019, 110079, 170001, 170007, 170146, 170149, 429, 10403, 10429, 20003, 500000]
EXISTS = [110072, 170141, 20006, 10014]


def order(**fields: Any) -> SubmitOrder:
    given: dict[str, Any] = {
        "client_order_id": "a-1",
        "order_number": 1,
        "instrument": "BTCUSDT",
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "qty": Decimal("0.010"),
        "limit_price": Decimal("60000.50"),
    }
    return SubmitOrder(**(given | fields))


def body(request: WriteRequest) -> Any:
    return json.loads(request.body)


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", DEFINITIVE)
def test_definitive_codes(code: int) -> None:
    assert verdict_of_code(code, "", Write.CREATE).kind is AnswerKind.REFUSED


@pytest.mark.parametrize("code", AMBIGUOUS)
@pytest.mark.parametrize("write", Write)
def test_ambiguous_codes(code: int, write: Write) -> None:
    assert verdict_of_code(code, "", write).kind is AnswerKind.UNKNOWN


@pytest.mark.parametrize("code", EXISTS)
def test_codes_that_say_it_exists(code: int) -> None:
    assert verdict_of_code(code, "", Write.CREATE).kind is AnswerKind.EXISTS


@given(code=st.integers(-(2**40), 2**40).filter(lambda code: code not in TABLE), text=st.text(max_size=40))
def test_a_code_that_is_not_in_the_table_is_unknown(code: int, text: str) -> None:
    for write in Write:
        assert verdict_of_code(code, text, write).kind is AnswerKind.UNKNOWN


def test_not_found_is_no_answer_to_a_create() -> None:
    assert verdict_of_code(110001, "", Write.CHANGE).cause is Cause.NOT_FOUND
    assert verdict_of_code(110001, "", Write.CREATE).kind is AnswerKind.UNKNOWN


@pytest.mark.parametrize("status", [200, 201, 301, 400, 404, 418, 429, 500, 502, 503, 504, 520])
def test_statuses_are_unknown_but_at_the_door(status: int) -> None:
    assert verdict_of_status(status).kind is AnswerKind.UNKNOWN


def test_the_echo_of_our_key_is_cut_out() -> None:
    text = clean("error sign! origin_string[1682321990138MYKEY5000category=linear]\x00\n")
    assert "MYKEY" not in text
    assert text.isprintable()
    assert "MYKEY" not in clean("origin_string[1682321990138MYKEY5000" + "x" * 500)


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_perpetuals_order() -> None:
    request = create(order(time_in_force=TimeInForce.POST_ONLY), PERPETUAL)
    assert body(request) == {
        "category": "linear",
        "symbol": "BTCUSDT",
        "side": "Buy",
        "orderType": "Limit",
        "qty": "0.01",
        "orderLinkId": "a-1",
        "price": "60000.5",
        "timeInForce": "PostOnly",
        "positionIdx": 0,
        "smpType": "CancelTaker",
    }
    assert (request.path, request.op, request.write) == ("/v5/order/create", "order.create", Write.CREATE)


def test_a_spot_market_buy_counts_in_the_base_coin() -> None:
    wanted = order(order_type=OrderType.MARKET, limit_price=None)
    fields = body(create(wanted, SPOT))
    assert fields["marketUnit"] == "baseCoin"
    assert fields["isLeverage"] == 0
    assert "positionIdx" not in fields
    assert "price" not in fields


def test_conditional_orders() -> None:
    trigger = Trigger(price=Decimal(61_000), is_rise=False, source=TriggerSource.MARK)
    fields = body(create(order(trigger=trigger, reduce_only=True), PERPETUAL))
    assert (fields["triggerPrice"], fields["triggerDirection"], fields["triggerBy"]) == ("61000", 2, "MarkPrice")
    assert fields["reduceOnly"] is True
    spot = body(create(order(trigger=Trigger(price=Decimal(61_000), is_rise=True)), SPOT))
    assert spot["orderFilter"] == "StopOrder"
    gone = CancelOrder(client_order_id="a-1", order_number=1, instrument="BTCUSDT")
    assert body(cancel(gone, SPOT, is_conditional=True))["orderFilter"] == "StopOrder"
    assert "orderFilter" not in body(cancel(gone, PERPETUAL, is_conditional=True))


def test_exits() -> None:
    fields = body(create(order(stop_loss=Exit(price=Decimal(50_000), source=TriggerSource.MARK)), PERPETUAL))
    assert (fields["stopLoss"], fields["slTriggerBy"], fields["tpslMode"]) == ("50000", "MarkPrice", "Full")
    change = ChangeStops(
        request_id="s",
        order_number=1,
        instrument="BTCUSDT",
        take_profit=Exit(price=Decimal(0)),
        trailing_distance=Decimal("100.0"),
    )
    fields = body(change_stops(change, PERPETUAL))
    assert (fields["takeProfit"], fields["trailingStop"], fields["positionIdx"]) == ("0", "100", 0)
    assert "stopLoss" not in fields


@pytest.mark.parametrize(
    ("fields", "listed"),
    [
        ({"client_order_id": "x" * 37}, PERPETUAL),
        ({"client_order_id": "a.b"}, PERPETUAL),
        ({"client_order_id": ""}, PERPETUAL),
        ({"client_order_id": "ünï"}, PERPETUAL),
        ({"qty": Decimal(0)}, PERPETUAL),
        ({"qty": Decimal("NaN")}, PERPETUAL),
        ({"qty": Decimal("Infinity")}, PERPETUAL),
        ({"limit_price": None}, PERPETUAL),
        ({"limit_price": Decimal(-1)}, PERPETUAL),
        ({"order_type": OrderType.MARKET}, PERPETUAL),
        ({"reduce_only": True, "stop_loss": Exit(price=Decimal(1))}, PERPETUAL),
        ({"stop_loss": Exit(price=Decimal(0))}, PERPETUAL),
        ({"reduce_only": True}, SPOT),
        ({"trigger": Trigger(price=Decimal(1), is_rise=True, source=TriggerSource.MARK)}, SPOT),
        ({}, Listed("linear", "BTC/USDT")),
    ],
)
def test_what_the_venue_cannot_have_is_not_built(fields: dict[str, Any], listed: Listed) -> None:
    with pytest.raises(ValueError, match=r"client order id|positive|limit|exits|reduces|last price|symbol"):
        create(order(**fields), listed)


def test_an_amendment_names_what_changes() -> None:
    change = AmendOrder(
        client_order_id="a-1", order_number=1, amend_number=1, instrument="BTCUSDT", limit_price=Decimal("1E+3")
    )
    assert body(amend(change, PERPETUAL))["price"] == "1000"
    with pytest.raises(ValueError, match="changes nothing"):
        amend(msgspec.structs.replace(change, limit_price=None), PERPETUAL)


def test_cancel_all_covers_every_kind() -> None:
    assert {body(each)["orderFilter"] for each in cancel_all("spot")} >= {"Order", "tpslOrder", "StopOrder"}
    (only,) = cancel_all("linear")
    assert body(only) == {"category": "linear", "settleCoin": "USDT"}
    assert only.is_cancel


def test_batches() -> None:
    items = [create(order(client_order_id=f"a-{n}"), PERPETUAL) for n in range(20)]
    request = batch(items)
    assert request.client_order_ids == tuple(f"a-{n}" for n in range(20))
    assert (request.count, request.path, request.op) == (20, "/v5/order/create-batch", "order.create-batch")
    assert "category" not in body(request)["request"][0]
    for wrong in (
        [],
        items * 2,
        [*items, create(order(client_order_id="b"), PERPETUAL)],
        [create(order(client_order_id=f"s-{n}"), SPOT) for n in range(11)],
        [items[0], create(order(client_order_id="b"), SPOT)],
        [set_position_mode(PERPETUAL, is_hedged=True)],
        [request],
    ):
        with pytest.raises(ValueError, match="batch"):
            batch(wrong)


def test_settings() -> None:
    assert body(set_leverage(PERPETUAL, Decimal("5.0"))) == {
        "category": "linear",
        "symbol": "BTCUSDT",
        "buyLeverage": "5",
        "sellLeverage": "5",
    }
    for is_hedged, mode in ((False, 0), (True, 3)):
        request = set_position_mode(PERPETUAL, is_hedged=is_hedged)
        assert body(request) == {"category": "linear", "symbol": "BTCUSDT", "mode": mode}
        assert (request.path, request.write) == ("/v5/position/switch-mode", Write.SETTING)
    assert body(set_price_limits_refused("linear")) == {"category": "linear", "modifyEnable": False}


@given(
    st.tuples(st.integers(1, 10**6), st.integers(-6, 3), st.integers(1, 10**6), st.sampled_from(["a", "b"])),
    st.tuples(st.integers(1, 10**6), st.integers(-6, 3), st.integers(1, 10**6), st.sampled_from(["a", "b"])),
)
def test_the_hash_is_of_the_content(one: tuple[int, int, int, str], two: tuple[int, int, int, str]) -> None:
    """Two requests have one hash exactly if they ask the same; how a number is written is not part of it."""

    def make(qty: int, places: int, price: int, order_id: str) -> WriteRequest:
        return create(
            order(qty=Decimal(qty).scaleb(places), limit_price=Decimal(price), client_order_id=order_id), PERPETUAL
        )

    same = (Decimal(one[0]).scaleb(one[1]), *one[2:]) == (Decimal(two[0]).scaleb(two[1]), *two[2:])
    assert (make(*one).content_hash == make(*two).content_hash) is same
    assert make(*one).content_hash == make(*one).content_hash


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("1e-15"), max_value=Decimal("1e15")))
def test_numbers_are_plain(value: Decimal) -> None:
    text = plain(value)
    assert "e" not in text.lower()
    assert Decimal(text) == value


# --- answers ----------------------------------------------------------------------------------------------------------


def answers(request: WriteRequest, **envelope: Any) -> tuple[Answer, ...]:
    return read_answers(200, json.dumps({"retCode": 0, "time": 1_700_000_000_000, **envelope}).encode(), request, 7)


THREE = batch([create(order(client_order_id=each), PERPETUAL) for each in "abc"])
A, B, C = ({"orderId": f"v{each}", "orderLinkId": each} for each in "abc")
OK, NO = {"code": 0, "msg": "OK"}, {"code": 110007, "msg": "no"}
UNKNOWN, ACCEPTED, REFUSED = AnswerKind.UNKNOWN, AnswerKind.ACCEPTED, AnswerKind.REFUSED


@pytest.mark.parametrize(
    ("placed", "codes", "kinds"),
    [
        ([A, B, C], [OK, NO, OK], [ACCEPTED, REFUSED, ACCEPTED]),
        ([C, A, B], [OK, NO, OK], [REFUSED, ACCEPTED, ACCEPTED]),  # in another order: each is named
        ([A, {"orderId": "", "orderLinkId": ""}, C], [OK, NO, OK], [ACCEPTED, REFUSED, ACCEPTED]),  # by place
        ([A, B], [OK, OK], [ACCEPTED, ACCEPTED, UNKNOWN]),  # one is missing
        ([A, {"orderId": "", "orderLinkId": ""}], [OK, NO], [ACCEPTED, UNKNOWN, UNKNOWN]),
        ([A, B, C], [OK, OK], [UNKNOWN] * 3),  # which code is whose?
        ([A, A, C], [OK, OK, OK], [UNKNOWN] * 3),
        ([A, {"orderId": "x", "orderLinkId": "z"}, C], [OK, OK, OK], [ACCEPTED, UNKNOWN, ACCEPTED]),
        ([A, {"orderId": "", "orderLinkId": "b"}, C], [OK, OK, OK], [ACCEPTED, UNKNOWN, ACCEPTED]),  # accepted what?
        ([], [], [UNKNOWN] * 3),
    ],
)
def test_each_item_of_a_batch_has_its_own_answer(placed: Any, codes: Any, kinds: list[AnswerKind]) -> None:
    got = answers(THREE, result={"list": placed}, retExtInfo={"list": codes})
    assert [each.kind for each in got] == kinds


@pytest.mark.parametrize("envelope", [{}, {"result": None}, {"result": {"list": None}}, {"result": []}])
def test_a_batch_without_its_lists_is_unknown(envelope: dict[str, Any]) -> None:
    assert {each.kind for each in answers(THREE, **envelope)} == {UNKNOWN}


def test_the_whole_batch_may_be_refused() -> None:
    assert {each.kind for each in answers(THREE, retCode=10006)} == {REFUSED}
    assert {each.kind for each in answers(THREE, retCode=10016)} == {UNKNOWN}


def test_a_time_that_cannot_be_is_none() -> None:
    (answer,) = answers(create(order(), PERPETUAL), time=0, result={"orderId": "v", "orderLinkId": "a-1"})
    assert (answer.kind, answer.server_time_ms, answer.venue_order_id) == (ACCEPTED, None, "v")


# --- hosts and credentials --------------------------------------------------------------------------------------------


def test_hosts() -> None:
    assert host_of("testnet").rest == "https://api-testnet.bybit.com"
    assert host_of("demo").trade_path is None
    assert host_of("demo").public_path("linear") == "wss://stream.bybit.com/v5/public/linear"
    assert host_of("mainnet").is_real_money
    assert not any(host.is_real_money for name, host in HOSTS.items() if name != "mainnet")
    for region in REGIONS:
        assert host_of("mainnet", region=region).is_real_money
    assert all(address.startswith(("https://", "wss://")) for host in HOSTS.values() for address in _addresses(host))
    assert host_of("emulator", url="http://127.0.0.1:8765").private_path == "ws://127.0.0.1:8765/v5/private"


def _addresses(host: Any) -> list[str]:
    return [each for each in (host.rest, host.public, host.private, host.trade) if each]


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ("main", {}),
        ("testnet", {"region": "eu"}),
        ("mainnet", {"region": "us"}),
        ("mainnet", {"url": "http://127.0.0.1:1"}),
        ("emulator", {}),
        ("emulator", {"url": "https://api.bybit.com"}),
        ("emulator", {"url": "http://127.0.0.1.evil.example:80"}),
        ("emulator", {"url": "http://127.0.0.1:80@evil.example"}),
        ("emulator", {"url": "http://127.0.0.1:80/path"}),
    ],
)
def test_addresses_that_are_not_dialled(environment: str, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        host_of(environment, **options)


def test_credentials_do_not_show_themselves() -> None:
    own = Credentials(key="KEY0123", secret="SECRET0123")
    shown = f"{own} {own!r} {[own]} {vars(Credentials)}"
    assert "KEY0123" not in shown
    assert "SECRET0123" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(own)
    assert own.without("xKEY0123ySECRET0123z") == "x[key]y[secret]z"
    with pytest.raises(ConfigError) as refused:
        Credentials(key="KEY0123", secret="SEC RET")
    assert "SEC RET" not in str(refused.value)


def test_headers_are_the_published_vector() -> None:
    own = Credentials(key="TESTKEY0001", secret="TESTSECRET0001")
    headers = own.rest_headers(
        timestamp_ms=1_700_000_000_000, recv_window_ms=5_000, payload=b"category=linear&symbol=BTCUSDT"
    )
    assert headers["X-BAPI-SIGN"] == "01d815f1e23d1deca8771d2ff41424ba721353cac43b375fae6c01fc31c6495e"
