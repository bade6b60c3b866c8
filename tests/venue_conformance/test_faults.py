"""What goes wrong on purpose goes wrong for pybit, and each firing is counted."""

from typing import Any

import pytest
import requests
import websocket
from pybit.exceptions import FailedRequestError, InvalidRequestError

from tests.venue_conformance.conftest import Desk, Frames

LINEAR = {"category": "linear", "symbol": "BTCUSDT"}
ORDER = {**LINEAR, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59900"}
CREATE = {"path": "/v5/order/create"}


def in_the_book(desk: Desk) -> list[str]:
    rows = desk.http.get_open_orders(**LINEAR)["result"]["list"]
    return [row["orderLinkId"] for row in rows]


def fails(desk: Desk, error: type[Exception], **options: Any) -> Any:
    client = desk.client(timeout=0.5, retry_codes={1}, **options)
    with pytest.raises(error) as raised:
        client.place_order(**ORDER, orderLinkId="it")
    return raised.value


def test_a_lost_request_places_nothing(desk: Desk) -> None:
    desk.venue.add_fault(kind="lost_request", where=CREATE, count=1)
    fails(desk, requests.exceptions.ReadTimeout)
    assert in_the_book(desk) == []
    assert desk.venue.fired("lost_request") == 1


def test_a_lost_answer_leaves_the_order_alive(desk: Desk) -> None:
    """Who sends it again under its own id is told that it is there."""
    desk.venue.add_fault(kind="lost_ack", where=CREATE, count=1)
    fails(desk, requests.exceptions.ReadTimeout)
    assert in_the_book(desk) == ["it"]
    with pytest.raises(InvalidRequestError) as raised:
        desk.order(orderLinkId="it")
    assert raised.value.status_code == 110072


def test_a_request_that_comes_within_its_window_counts(desk: Desk) -> None:
    frames = Frames()
    desk.private().order_stream(frames)
    desk.venue.add_fault(kind="late_request", where=CREATE, count=1, delay_ns=700_000_000)
    fails(desk, requests.exceptions.ReadTimeout)
    assert frames.record(orderLinkId="it")["orderStatus"] == "New"


def test_one_that_comes_after_its_window_does_not(desk: Desk) -> None:
    desk.venue.add_fault(kind="late_request", where=CREATE, count=1, delay_ns=400_000_000)
    error = fails(desk, InvalidRequestError, recv_window=200)
    assert error.status_code == 10002
    assert in_the_book(desk) == []


def test_a_late_answer(desk: Desk) -> None:
    desk.venue.add_fault(kind="late_ack", where=CREATE, count=1, delay_ns=1_500_000_000)
    fails(desk, requests.exceptions.ReadTimeout)
    assert in_the_book(desk) == ["it"]


@pytest.mark.parametrize("code", [10000, 10016, 10019, 10429, 10403])
@pytest.mark.parametrize(("kind", "count"), [("error_before", 0), ("error_after", 1)])
def test_ambiguous_codes(desk: Desk, code: int, kind: str, count: int) -> None:
    """The same words, with and without an order behind them."""
    desk.venue.add_fault(kind=kind, where=CREATE, count=1, code=code)
    assert fails(desk, InvalidRequestError).status_code == code
    assert len(in_the_book(desk)) == count


def test_codes_that_pybit_repeats_by_itself(desk: Desk) -> None:
    desk.venue.add_fault(kind="error_before", where={"path": "/v5/account/info"}, count=1, code=10002)
    client = desk.client()
    client.max_retries = 3
    client.retry_delay = 0
    assert client.get_account_info()["retCode"] == 0
    assert desk.venue.fired("error_before") == 1


@pytest.mark.parametrize("status", [401, 403, 429, 500, 502, 503])
def test_statuses(desk: Desk, status: int) -> None:
    text = "" if status == 401 else "<html>no</html>"
    desk.venue.add_fault(kind="http_status", where=CREATE, count=1, status=status, text=text)
    assert fails(desk, FailedRequestError).status_code == status


def test_a_reset_in_the_middle_of_an_answer(desk: Desk) -> None:
    desk.venue.add_fault(kind="reset", where=CREATE, count=1, after_bytes=20)
    fails(desk, requests.exceptions.RequestException)
    assert in_the_book(desk) == ["it"]


def test_a_half_open_connection(desk: Desk) -> None:
    desk.venue.add_fault(kind="half_open", where=CREATE, count=1)
    fails(desk, requests.exceptions.ReadTimeout)
    assert desk.venue.fired("half_open") == 1


def test_an_answer_in_pieces(desk: Desk) -> None:
    desk.venue.add_fault(kind="split", where={"path": "/v5/account/info"}, chunk_bytes=7)
    assert desk.http.get_account_info()["retCode"] == 0
    desk.venue.add_fault(kind="slow", where={"path": "/v5/user/*"}, chunk_bytes=200, delay_ns=10_000_000)
    assert desk.http.get_api_key_information()["retCode"] == 0


def test_a_frame_in_pieces(desk: Desk) -> None:
    desk.venue.add_fault(kind="split", where={"topic": "tickers.BTCUSDT"}, chunk_bytes=3, count=2)
    frames = Frames()
    desk.public().ticker_stream("BTCUSDT", frames)
    frames.wait(count=2)
    assert desk.venue.fired("split") == 2


def test_a_reset_in_the_middle_of_a_frame_and_pybit_comes_back(desk: Desk) -> None:
    desk.venue.add_fault(kind="reset", where={"topic": "publicTrade.*"}, after_bytes=30, count=1)
    frames = Frames()
    desk.public().trade_stream("BTCUSDT", frames)
    frames.wait(count=1)
    assert desk.venue.fired("reset") == 1


def test_maintenance(desk: Desk) -> None:
    """All connections end, nobody is let in for a while, and the status page says so."""
    socket = websocket.create_connection(desk.venue.ws + "/v5/public/linear", timeout=5)
    desk.venue.add_fault(kind="maintenance", delay_ns=600_000_000_000, text="upgrade")
    assert socket.recv_data(control_frame=True)[0] == websocket.ABNF.OPCODE_CLOSE
    socket.close()
    with pytest.raises(FailedRequestError) as raised:
        desk.http.get_account_info()
    assert raised.value.status_code == 503
    with pytest.raises(websocket.WebSocketBadStatusException):
        websocket.create_connection(desk.venue.ws + "/v5/private", timeout=5)
    assert desk.http.get_system_status()["result"]["list"][0]["title"] == "upgrade"


def test_a_revoked_key(desk: Desk) -> None:
    frames = Frames()
    trade = desk.trade()
    trade.place_order(frames, **ORDER, orderLinkId="before")
    frames.wait()
    desk.venue.add_fault(kind="key_revoked", where={"account": "first"})
    desk.venue.do(lambda exchange, now_ns: exchange.advance(now_ns))
    assert fails(desk, FailedRequestError).status_code == 401
    refused = Frames()
    trade.place_order(frames, refused, **ORDER, orderLinkId="after")
    assert refused.wait()["retCode"] == 10003
    assert desk.other.get_account_info()["retCode"] == 0


def forced(desk: Desk, kind: str) -> tuple[Frames, Frames]:
    executions, orders = Frames(), Frames()
    private = desk.private()
    private.execution_stream(executions)
    private.order_stream(orders)
    desk.market(qty="1", takeProfit="65000")
    executions.record(execType="Trade")
    desk.venue.add_fault(kind=kind, where={"account": "first", "symbol": "BTCUSDT"})
    return executions, orders


def test_deleveraging(desk: Desk) -> None:
    executions, _ = forced(desk, "adl")
    record = executions.record(execType="AdlTrade")
    assert (record["orderLinkId"], record["createType"]) == ("", "CreateByAdl_PassThrough")
    held = desk.http.get_positions(**LINEAR)["result"]["list"][0]
    assert (held["size"], held["positionStatus"]) == ("0.5", "Adl")


def test_liquidation(desk: Desk) -> None:
    """An execution of an order that nobody placed, and the position is gone."""
    executions, orders = forced(desk, "liquidation")
    record = executions.record(execType="BustTrade")
    assert (record["orderLinkId"], record["createType"]) == ("", "CreateByTakeOver_PassThrough")
    orders.record(cancelType="CancelByTpSlTsClear")
    assert desk.http.get_positions(**LINEAR)["result"]["list"][0]["size"] == "0"


def test_a_position_closed_by_hand(desk: Desk) -> None:
    executions, orders = forced(desk, "manual_close")
    record = executions.record(side="Sell")
    assert (record["orderLinkId"], record["createType"]) == ("", "CreateByClosing")
    assert orders.record(orderId=record["orderId"])["createType"] == "CreateByClosing"


def test_values_and_keys_that_nobody_knows(desk: Desk) -> None:
    desk.venue.add_fault(kind="unknown_enum", where={"topic": "execution"})
    desk.venue.add_fault(kind="extra_keys", where={"topic": "execution"})
    frames = Frames()
    desk.private().execution_stream(frames)
    desk.market()
    record = frames.wait()["data"][0]
    assert record["execType"] == "SomethingNew"
    assert "newInThisRelease" in record


def test_a_fill_told_twice(desk: Desk) -> None:
    desk.venue.add_fault(kind="second_filled", count=1)
    frames = Frames()
    desk.private().order_stream(frames)
    desk.market(orderLinkId="it")
    again = frames.record(orderStatus="Filled", rejectReason="EC_OrigClOrdIDDoesNotExist")
    assert again["cancelType"] == "CancelByUser"


def test_a_symbol_that_is_delisted(desk: Desk) -> None:
    desk.venue.add_fault(kind="instrument_status", where={"symbol": "BTCUSDT"}, text="Closed")
    desk.venue.do(lambda exchange, now_ns: exchange.advance(now_ns))
    with pytest.raises(InvalidRequestError) as raised:
        desk.order()
    assert raised.value.status_code == 110074
    listed = desk.http.get_instruments_info(category="linear")["result"]["list"]
    assert [each["symbol"] for each in listed] == ["ETHUSDT"]
