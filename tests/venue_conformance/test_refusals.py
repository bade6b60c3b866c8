"""Every code that a bot can bring about is brought about by pybit, over the wire."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pybit.exceptions import FailedRequestError, InvalidRequestError

from bot.emulator.exchange import Exchange
from bot.emulator.wire import Request
from tests.support.emulator import (
    KEY,
    READ_ONLY_KEY,
    READ_ONLY_SECRET,
    SECRET,
    Served,
    make_world,
    served,
)
from tests.venue_conformance.conftest import Desk

LINEAR = {"category": "linear", "symbol": "BTCUSDT"}
SPOT = {"category": "spot", "symbol": "BTCUSDT"}
ORDER = {**LINEAR, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59900"}


def refusal(call: Callable[..., Any], **fields: Any) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as raised:
        call(**{name: value for name, value in fields.items() if value is not None})
    return raised.value


# What of an order is other than it should be, the code, and what its text must hold.
BAD_ORDERS: dict[str, tuple[dict[str, Any], int, str]] = {
    "category": ({"category": "futures"}, 10001, "Illegal category"),
    "symbol": ({"symbol": "NOPEUSDT"}, 10001, "symbol"),
    "lower-case symbol": ({"symbol": "btcusdt"}, 10001, "symbol"),
    "side": ({"side": "Long"}, 10001, "side invalid"),
    "type": ({"orderType": "Stop"}, 10001, "orderType"),
    "no quantity": ({"qty": None}, 10001, "Qty"),
    "a quantity in scientific words": ({"qty": "ten"}, 10001, "qty"),
    "not a number": ({"qty": "NaN"}, 10001, "qty"),
    "too small": ({"qty": "0.0001"}, 10001, "minimum"),
    "too large": ({"qty": "5000"}, 10001, "Qty"),
    "below the least value": ({"symbol": "ETHUSDT", "qty": "0.01", "price": "120"}, 110094, "minimum order value"),
    "off the tick": ({"price": "59900.05"}, 110003, "price"),
    "no price": ({"price": None}, 10001, "price"),
    "negative price": ({"price": "-1"}, 110003, "price"),
    "more than the balance": ({"qty": "400"}, 110007, "not enough"),
    "client id too long": ({"orderLinkId": "x" * 37}, 10001, "OrderLinkId"),
    "client id of odd letters": ({"orderLinkId": "a b"}, 10001, "OrderLinkId"),
    "time in force": ({"timeInForce": "GTD"}, 10001, "timeInForce"),
    "position mode": ({"positionIdx": 1}, 10001, "position idx not match position mode"),
    "reduce only without a position": ({"side": "Sell", "reduceOnly": True}, 110017, "current position is zero"),
    "trigger without a direction": ({"triggerPrice": "59500"}, 10001, "TriggerDirection"),
    "a rise that has happened": ({"triggerPrice": "59500", "triggerDirection": 1}, 110092, ""),
    "a fall that has happened": ({"triggerPrice": "60500", "triggerDirection": 2}, 110093, ""),
    "take profit on the wrong side": ({"takeProfit": "50000"}, 10001, ""),
    "stop loss on the wrong side": ({"stopLoss": "70000"}, 10001, ""),
    "exits on what only reduces": ({"reduceOnly": True, "stopLoss": "50000"}, 110057, ""),
    "a limited exit of the whole position": (
        {"takeProfit": "61000", "tpOrderType": "Limit", "tpLimitPrice": "61000"},
        110058,
        "",
    ),
    "spot symbol": ({**SPOT, "symbol": "NOPEUSDT"}, 170121, "Invalid symbol"),
    "spot price off the tick": ({**SPOT, "price": "59900.05"}, 170134, ""),
    "spot quantity off the step": ({**SPOT, "qty": "0.00000001"}, 170137, ""),
    "spot value too small": ({**SPOT, "qty": "0.00001"}, 170140, ""),
    "spot quantity too large": ({**SPOT, "qty": "100"}, 170124, ""),
    "spot balance": ({**SPOT, "qty": "40"}, 170131, "Insufficient"),
    "spot buy above the band": ({**SPOT, "price": "70000"}, 170193, ""),
    "spot sell below the band": ({**SPOT, "side": "Sell", "price": "50000"}, 170194, ""),
    "spot amount too small": ({**SPOT, "orderType": "Market", "price": None, "qty": "1"}, 170140, ""),
}


@pytest.mark.parametrize(("changed", "code", "text"), BAD_ORDERS.values(), ids=BAD_ORDERS)
def test_an_order_is_refused(shared_desk: Desk, changed: dict[str, Any], code: int, text: str) -> None:
    error = refusal(shared_desk.http.place_order, **{**ORDER, **changed})
    assert error.status_code == code
    assert text in error.message


def test_a_client_id_is_used_once(desk: Desk) -> None:
    desk.order(orderLinkId="once")
    assert refusal(desk.order, orderLinkId="once").status_code == 110072
    desk.http.cancel_order(**LINEAR, orderLinkId="once")
    assert refusal(desk.order, orderLinkId="once").status_code == 110072
    desk.order(**SPOT, orderLinkId="other")
    assert refusal(desk.order, **SPOT, orderLinkId="other").status_code == 170141


# An endpoint's method, what it is given, and the code.
BAD_CALLS: dict[str, tuple[str, dict[str, Any], int]] = {
    "cancel nothing": ("cancel_order", {**LINEAR, "orderId": "no-such-order"}, 110001),
    "cancel nothing on spot": ("cancel_order", {**SPOT, "orderId": "1600000000000000001"}, 170213),
    "cancel without an id": ("cancel_order", LINEAR, 10001),
    "amend nothing": ("amend_order", {**LINEAR, "orderId": "no-such-order", "price": "1"}, 110001),
    "cancel all of nothing named": ("cancel_all_orders", {"category": "linear"}, 10001),
    "the same leverage": ("set_leverage", {**LINEAR, "buyLeverage": "10", "sellLeverage": "10"}, 110043),
    "too much leverage": ("set_leverage", {**LINEAR, "buyLeverage": "500", "sellLeverage": "500"}, 110013),
    "two leverages": ("set_leverage", {**LINEAR, "buyLeverage": "5", "sellLeverage": "6"}, 10001),
    "the same mode": ("switch_position_mode", {**LINEAR, "mode": 0}, 110025),
    "no such mode": ("switch_position_mode", {**LINEAR, "mode": 7}, 10001),
    "stops without a position": ("set_trading_stop", {**LINEAR, "positionIdx": 0, "stopLoss": "1000"}, 10001),
    "positions of everything": ("get_positions", {"category": "linear"}, 10001),
    "positions of spot": ("get_positions", SPOT, 10001),
    "orders of everything": ("get_open_orders", {"category": "linear"}, 10001),
    "a cursor that nobody gave": ("get_open_orders", {**LINEAR, "cursor": "abc"}, 10001),
    "a cursor encoded twice": ("get_open_orders", {**LINEAR, "cursor": "page_token%253D1%2526"}, 10001),
    "eight days": ("get_executions", {**LINEAR, "startTime": 0, "endTime": 8 * 86_400_000}, 10001),
    "an upside-down range": ("get_executions", {**LINEAR, "startTime": 10_000, "endTime": 1}, 10001),
    "another account type": ("get_wallet_balance", {"accountType": "SPOT"}, 10001),
    "a candle of seven minutes": ("get_kline", {**LINEAR, "interval": 7}, 10001),
    "funding from a start alone": ("get_funding_rate_history", {**LINEAR, "startTime": 1}, 10001),
    "a book of nothing": ("get_orderbook", {"category": "linear"}, 10001),
    "a batch too long": ("place_batch_order", {"category": "linear", "request": [{}] * 21}, 10001),
    "a spot batch too long": ("place_batch_order", {"category": "spot", "request": [{}] * 11}, 10001),
}


@pytest.mark.parametrize(("method", "fields", "code"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_a_call_is_refused(shared_desk: Desk, method: str, fields: dict[str, Any], code: int) -> None:
    assert refusal(getattr(shared_desk.http, method), **fields).status_code == code


def test_an_amendment_that_changes_nothing(desk: Desk) -> None:
    ids = desk.order()
    error = refusal(desk.http.amend_order, **LINEAR, orderId=ids["orderId"], price="59900")
    assert error.status_code == 10001
    assert "remains unchanged" in error.message


def test_an_order_that_has_filled_cannot_be_canceled(desk: Desk) -> None:
    ids = desk.market()
    assert refusal(desk.http.cancel_order, **LINEAR, orderId=ids["orderId"]).status_code == 110001
    assert refusal(desk.http.amend_order, **LINEAR, orderId=ids["orderId"], qty="9").status_code == 110001


def test_mode_cannot_change_under_a_position_or_an_order(desk: Desk) -> None:
    desk.order()
    assert refusal(desk.http.switch_position_mode, **LINEAR, mode=3).status_code == 110028
    desk.http.cancel_all_orders(**LINEAR)
    desk.market()
    assert refusal(desk.http.switch_position_mode, **LINEAR, mode=3).status_code == 110024


def test_stops_that_are_so_already(desk: Desk) -> None:
    desk.market()
    stops = {**LINEAR, "positionIdx": 0, "tpslMode": "Full", "stopLoss": "58000"}
    desk.http.set_trading_stop(**stops)
    assert refusal(desk.http.set_trading_stop, **stops).status_code == 34040


def test_rejecting_mode_refuses_what_the_default_moves(desk: Desk) -> None:
    assert (
        desk.http._submit_request(
            method="POST",
            path=f"{desk.http.endpoint}/v5/account/set-limit-px-action",
            query={"category": "linear", "modifyEnable": False},
            auth=True,
        )["retMsg"]
        == "success"
    )
    assert refusal(desk.order, price="70000").status_code == 110003


def test_ten_conditional_orders_are_all(desk: Desk) -> None:
    trigger = {"triggerPrice": "59500", "triggerDirection": 2}
    orders = [{**ORDER, **trigger} for _ in range(10)]
    answer = desk.http.place_batch_order(category="linear", request=orders)
    assert {each["code"] for each in answer["retExtInfo"]["list"]} == {0}
    assert refusal(desk.order, **trigger).status_code == 110009


# Who asks.


def test_a_wrong_secret(shared_desk: Desk) -> None:
    error = refusal(shared_desk.client(KEY, "WRONG").get_wallet_balance, accountType="UNIFIED")
    assert error.status_code == 10004
    assert "error sign! origin_string[" in error.message


def test_an_unknown_key_gets_an_empty_401(shared_desk: Desk) -> None:
    with pytest.raises(FailedRequestError) as raised:
        shared_desk.client("NOSUCHKEY", SECRET).get_wallet_balance(accountType="UNIFIED")
    assert raised.value.status_code == 401


def test_a_read_only_key_reads_and_does_not_write(shared_desk: Desk) -> None:
    client = shared_desk.client(READ_ONLY_KEY, READ_ONLY_SECRET)
    assert client.get_api_key_information()["result"]["readOnly"] == 1
    client.get_wallet_balance(accountType="UNIFIED")
    assert refusal(client.place_order, **ORDER).status_code == 10005


def test_a_path_that_is_none(shared_desk: Desk) -> None:
    with pytest.raises(FailedRequestError) as raised:
        shared_desk.http.get_option_delivery_price(category="option")
    assert raised.value.status_code == 404


@pytest.mark.parametrize("ahead_ms", [2_000, -6_000], ids=["two seconds ahead", "six seconds behind"])
def test_a_clock_that_is_off(shared_desk: Desk, ahead_ms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock ahead fails however wide the window is; one behind fails beyond it."""
    import pybit._helpers as helpers

    true_time = helpers.generate_timestamp
    monkeypatch.setattr(helpers, "generate_timestamp", lambda: true_time() + ahead_ms)
    client = shared_desk.client(recv_window=5_000, retry_codes={1})
    error = refusal(client.get_wallet_balance, accountType="UNIFIED")
    assert error.status_code == 10002
    assert "server_timestamp" in error.message


# How often.


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    def world(now_ns: int) -> Any:
        return make_world(now_ns, each_s=2.0, seconds=60, has_address_limit=True)

    with served(world) as venue:
        desk = Desk(venue, monkeypatch)
        yield desk
        desk.close()


def test_the_eleventh_cancel_in_a_second(limited: Desk) -> None:
    """The headers tell what is left; a limited answer names a time to come."""
    client = limited.client(return_response_headers=True, retry_codes={1})
    left: list[int] = []

    def cancel_often() -> None:
        for _ in range(30):
            _, _, headers = client.cancel_all_orders(**LINEAR)
            left.append(int(headers["X-Bapi-Limit-Status"]))
            assert headers["X-Bapi-Limit"] == "10"

    with pytest.raises(InvalidRequestError) as raised:
        cancel_often()
    assert raised.value.status_code == 10006
    assert left[:3] == [9, 8, 7]
    reset = int(raised.value.resp_headers["X-Bapi-Limit-Reset-Timestamp"])
    stamp = int(limited.http.get_server_time()["result"]["timeNano"]) // 10**6
    assert reset > stamp - 1000


def test_a_batch_beyond_the_limit_is_done_in_part(limited: Desk) -> None:
    answer = limited.http.place_batch_order(category="linear", request=[ORDER] * 15)
    codes = [each["code"] for each in answer["retExtInfo"]["list"]]
    assert codes == [0] * 10 + [10006] * 5


def test_six_hundred_requests_ban_the_address(limited: Desk) -> None:
    client = limited.client(None, None)
    client.get_server_time()

    def ask_often(exchange: Exchange, now_ns: int) -> None:
        for _ in range(600):
            exchange.handle_request(Request(method="GET", path="/v5/market/time"), now_ns)

    limited.venue.do(ask_often)
    with pytest.raises(FailedRequestError) as raised:
        client.get_server_time()
    assert raised.value.status_code == 403
    with pytest.raises(FailedRequestError):
        limited.http.get_wallet_balance(accountType="UNIFIED")


def test_the_venue_survived_all_of_it(venue: Served, shared_desk: Desk) -> None:
    """After every refusal above the shared venue still answers, and none of them left an order."""
    assert shared_desk.http.get_open_orders(category="linear", settleCoin="USDT")["result"]["list"] == []
