"""pybit's streams: public, private, and orders over WebSocket."""

import json
import threading
from decimal import Decimal
from typing import Any

import websocket

from tests.support.emulator import OTHER_KEY, OTHER_SECRET, Served
from tests.venue_conformance.conftest import Desk, Frames

LINEAR = {"category": "linear", "symbol": "BTCUSDT"}


def raw(desk: Desk, path: str) -> Any:
    """Return a plain connection: what pybit's helpers hide is seen here."""
    return websocket.create_connection(desk.venue.ws + path, timeout=10)


def ask(socket: Any, request: Any) -> dict[str, Any]:
    """Send a request and return its answer, whatever is pushed in between."""
    socket.send(request if isinstance(request, str) else json.dumps(request))
    while True:
        frame: dict[str, Any] = json.loads(socket.recv())
        if "topic" not in frame:
            return frame


# Public


def test_the_book_is_a_snapshot_then_an_unbroken_chain(shared_desk: Desk) -> None:
    frames = Frames()
    shared_desk.public(callback_function=frames).orderbook_stream(50, "BTCUSDT", frames)
    frames.wait(lambda frame: frame.get("type") == "delta", count=5)
    pushed = [frame for frame in frames.all if "topic" in frame]
    assert pushed[0]["type"] == "snapshot"
    updates = [frame["data"]["u"] for frame in pushed]
    assert updates == list(range(updates[0], updates[0] + len(updates)))
    sequence = [frame["data"]["seq"] for frame in pushed]
    assert sequence == sorted(sequence)


def test_a_book_built_of_deltas_is_the_rest_book(shared_desk: Desk) -> None:
    """The 1000-level stream and the REST book share their numbers."""
    frames = Frames()
    shared_desk.public(callback_function=frames).orderbook_stream(1000, "BTCUSDT", frames)
    frames.wait(lambda frame: frame.get("type") == "delta", count=2)
    whole = shared_desk.http.get_orderbook(**LINEAR, limit=1000)["result"]
    frames.wait(lambda frame: frame.get("data", {}).get("u", 0) >= whole["u"])
    book: dict[str, dict[str, str]] = {"b": {}, "a": {}}
    for frame in [frame for frame in frames.all if "topic" in frame and frame["data"]["u"] <= whole["u"]]:
        for side in ("b", "a"):
            book[side].update(dict(frame["data"][side]))
    for side in ("b", "a"):
        held = {price: size for price, size in book[side].items() if size != "0"}
        assert held == dict(whole[side])


def test_level_one_sends_snapshots_alone(shared_desk: Desk) -> None:
    frames = Frames()
    shared_desk.public(callback_function=frames).orderbook_stream(1, "BTCUSDT", frames)
    frames.wait(lambda frame: "topic" in frame, count=3)
    pushed = [frame for frame in frames.all if "topic" in frame]
    assert {frame["type"] for frame in pushed} == {"snapshot"}
    assert all(len(frame["data"]["b"]) == len(frame["data"]["a"]) == 1 for frame in pushed)


def test_trades(shared_desk: Desk) -> None:
    frames = Frames()
    shared_desk.public().trade_stream("BTCUSDT", frames)
    trade = frames.wait(count=2)["data"][0]
    assert trade["s"] == "BTCUSDT"
    assert isinstance(trade["T"], int)
    assert isinstance(trade["seq"], int)
    assert trade["L"] in ("PlusTick", "ZeroPlusTick", "MinusTick", "ZeroMinusTick")


def test_spot_trades_have_no_tick_direction(shared_desk: Desk) -> None:
    frames = Frames()
    shared_desk.public("spot").trade_stream("BTCUSDT", frames)
    trade = frames.wait()["data"][0]
    assert "L" not in trade
    assert trade["i"].isdigit()


def test_klines_form(shared_desk: Desk) -> None:
    frames = Frames()
    shared_desk.public().kline_stream(1, "BTCUSDT", frames)
    candle = frames.wait(count=2)["data"][0]
    assert candle["end"] - candle["start"] == 59_999
    assert isinstance(candle["confirm"], bool)


def test_tickers_are_merged_by_pybit(shared_desk: Desk) -> None:
    frames = Frames()
    shared_desk.public().ticker_stream("BTCUSDT", frames)
    merged = frames.wait(count=2)["data"]
    assert Decimal(merged["markPrice"]) > 0
    assert merged["fundingIntervalHour"] == "8"


def test_spot_tickers_are_snapshots_without_quotes(shared_desk: Desk) -> None:
    frames = Frames()
    shared_desk.public("spot").ticker_stream("BTCUSDT", frames)
    frame = frames.wait()
    assert frame["type"] == "snapshot"
    assert "bid1Price" not in frame["data"]


def test_each_stream_has_its_own_dialect(shared_desk: Desk) -> None:
    linear, spot = raw(shared_desk, "/v5/public/linear"), raw(shared_desk, "/v5/public/spot")
    private, trade = raw(shared_desk, "/v5/private"), raw(shared_desk, "/v5/trade")
    ping = {"op": "ping"}
    assert ask(linear, ping) | {"conn_id": ""} == {
        "success": True,
        "ret_msg": "pong",
        "conn_id": "",
        "req_id": "",
        "op": "ping",
    }
    assert "req_id" not in ask(spot, ping)
    answer = ask(private, ping)
    assert (answer["op"], len(answer["args"])) == ("pong", 1)
    answer = ask(trade, ping)
    assert (answer["op"], answer["retCode"], len(answer["data"])) == ("pong", 0, 1)
    subscribe = {"op": "subscribe", "args": ["orderbook.1.BTCUSDT"], "req_id": "7"}
    assert ask(linear, subscribe)["ret_msg"] == ""
    assert ask(spot, subscribe)["ret_msg"] == "subscribe"
    assert ask(linear, {**subscribe, "op": "unsubscribe"})["op"] == "unsubscribe"
    for socket in (linear, spot, private, trade):
        socket.close()


def test_one_bad_topic_refuses_all(shared_desk: Desk) -> None:
    """The first bad one is named, the connection stays, and nothing is followed."""
    socket = raw(shared_desk, "/v5/public/linear")
    for bad in (
        "orderbook.50.NOPEUSDT",
        "orderbook.500.BTCUSDT",
        "orderbook.50.btcusdt",
        "order",
        "kline.7.BTCUSDT",
        "nonsense",
    ):
        args = ["publicTrade.BTCUSDT", bad, "worse"]
        answer = ask(socket, {"op": "subscribe", "args": args, "req_id": "x"})
        assert (answer["success"], answer["ret_msg"]) == (False, f"error:handler not found,topic:{bad}")
    good = {"op": "subscribe", "args": ["publicTrade.BTCUSDT"]}
    assert ask(socket, good)["success"] is True
    again = ask(socket, good)
    assert again["ret_msg"] == "error:already subscribed,topic:publicTrade.BTCUSDT"
    socket.close()


def test_spot_takes_ten_topics_at_a_time(shared_desk: Desk) -> None:
    socket = raw(shared_desk, "/v5/public/spot")
    topics = [f"kline.{interval}.BTCUSDT" for interval in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720, "D")]
    assert ask(socket, {"op": "subscribe", "args": topics})["ret_msg"] == "args size >10"
    assert ask(socket, {"op": "subscribe", "args": topics[:10]})["success"] is True
    socket.close()


def test_nonsense_leaves_the_connection_open(shared_desk: Desk) -> None:
    socket = raw(shared_desk, "/v5/public/linear")
    assert ask(socket, "hello")["ret_msg"].startswith("Failed to decode incoming data:")
    assert ask(socket, {"op": "nope"})["ret_msg"] == "error:invalid op"
    assert ask(socket, "[1]")["success"] is False
    assert ask(socket, {"op": "ping"})["ret_msg"] == "pong"
    socket.close()


# Private


def test_an_orders_life_on_the_private_stream(desk: Desk) -> None:
    orders, executions, positions, wallets = Frames(), Frames(), Frames(), Frames()
    private = desk.private()
    for subscribe, frames in (
        (private.order_stream, orders),
        (private.execution_stream, executions),
        (private.position_stream, positions),
        (private.wallet_stream, wallets),
    ):
        subscribe(frames)
    desk.http.get_wallet_balance(accountType="UNIFIED")
    rest = desk.order(orderLinkId="rests")
    assert orders.record(orderLinkId="rests")["orderStatus"] == "New"
    desk.http.amend_order(**LINEAR, orderId=rest["orderId"], price="59800")
    assert orders.record(orderLinkId="rests", price="59800")["orderStatus"] == "New"
    desk.http.cancel_order(**LINEAR, orderId=rest["orderId"])
    gone = orders.record(orderLinkId="rests", orderStatus="Cancelled")
    assert (gone["cancelType"], gone["leavesQty"]) == ("CancelByUser", "0")
    fill = desk.market(qty="0.1")
    execution = executions.record(orderId=fill["orderId"])
    assert (execution["execType"], execution["isMaker"]) == ("Trade", False)
    held = positions.record(side="Buy")
    assert "entryPrice" in held
    assert "avgPrice" not in held
    assert wallets.wait()["data"][0]["accountType"] == "UNIFIED"


def test_no_history_is_sent_on_subscribing(desk: Desk) -> None:
    desk.order(orderLinkId="before")
    frames = Frames()
    desk.private().order_stream(frames)
    desk.order(orderLinkId="after")
    frames.record(orderLinkId="after")
    assert [record["orderLinkId"] for frame in frames.all for record in frame["data"]] == ["after"]


def test_fast_executions_hide_a_makers_client_id(desk: Desk) -> None:
    maker, taker = Frames(), Frames()
    desk.private().fast_execution_stream(maker)
    desk.private(OTHER_KEY, OTHER_SECRET).fast_execution_stream(taker)
    # Between bid and ask there is no room: the maker joins the bid, and the taker sells more than rests there.
    best = desk.http.get_orderbook(**LINEAR, limit=1)["result"]["b"][0][0]
    desk.order(price=best, qty="0.5", orderLinkId="maker")
    desk.market(side="Sell", qty="100", client=desk.other, orderLinkId="taker")
    assert taker.wait()["data"][0]["orderLinkId"] == "taker"
    record = maker.wait()["data"][0]
    assert (record["orderLinkId"], record["isMaker"]) == ("", True)
    assert "execFee" not in record


def test_each_account_hears_of_itself_alone(desk: Desk) -> None:
    mine, theirs = Frames(), Frames()
    desk.private().order_stream(mine)
    desk.private(OTHER_KEY, OTHER_SECRET).order_stream(theirs)
    desk.order(orderLinkId="mine")
    desk.order(desk.other, orderLinkId="theirs")
    mine.record(orderLinkId="mine")
    theirs.record(orderLinkId="theirs")
    assert {record["orderLinkId"] for frame in mine.all for record in frame["data"]} == {"mine"}


def test_private_topics_by_category_and_conflicts(desk: Desk) -> None:
    import hashlib
    import hmac

    from tests.support.emulator import KEY, SECRET

    socket = raw(desk, "/v5/private")
    refused = ask(socket, {"op": "subscribe", "args": ["order"]})
    assert refused["success"] is False
    expires = int(desk.http.get_server_time()["result"]["timeNano"]) // 10**6 + 10_000
    wrong = ask(socket, {"op": "auth", "args": [KEY, expires, "0" * 64]})
    assert wrong["success"] is False
    sign = hmac.new(SECRET.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
    assert ask(socket, {"op": "auth", "args": [KEY, expires, sign]})["success"] is True
    answer = ask(socket, {"op": "subscribe", "args": ["order.linear", "ticketInfo"], "req_id": "z"})
    assert answer["req_id"] == "z"
    assert answer["ret_msg"].startswith("Batch subscription partially succeeded")
    assert "[order.linear]" in answer["ret_msg"]
    assert ask(socket, {"op": "subscribe", "args": ["order"]})["success"] is False
    desk.order(category="spot")
    desk.order(orderLinkId="heard")
    frame = json.loads(socket.recv())
    assert frame["topic"] == "order.linear"
    assert frame["data"][0]["orderLinkId"] == "heard"
    socket.close()


# Orders over WebSocket


class Answers:
    """What a trade stream has answered."""

    def __init__(self) -> None:
        self.good, self.bad = Frames(), Frames()

    def options(self) -> dict[str, Any]:
        return {"callback": self.good, "error_callback": self.bad}


def test_an_order_over_websocket(desk: Desk) -> None:
    answers = Answers()
    trade = desk.trade()
    trade.place_order(**answers.options(), **LINEAR, side="Buy", orderType="Limit", qty="0.01", price="59900")
    answer = answers.good.wait()
    assert (answer["op"], answer["retCode"]) == ("order.create", 0)
    assert {"X-Bapi-Limit", "X-Bapi-Limit-Status", "X-Bapi-Limit-Reset-Timestamp"} <= set(answer["header"])
    order_id = answer["data"]["orderId"]
    trade.amend_order(**answers.options(), **LINEAR, orderId=order_id, price="59800")
    assert answers.good.wait(count=2)["op"] == "order.amend"
    trade.cancel_order(**answers.options(), **LINEAR, orderId=order_id)
    assert answers.good.wait(count=3)["op"] == "order.cancel"
    trade.cancel_order(**answers.options(), **LINEAR, orderId=order_id)
    assert answers.bad.wait()["retCode"] == 110001
    assert answers.bad.all[0]["data"] == {}


def test_a_batch_over_websocket(desk: Desk) -> None:
    answers = Answers()
    order = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59900"}
    request = [order, {**order, "positionIdx": 1}]
    desk.trade().place_batch_order(**answers.options(), category="linear", request=request)
    answer = answers.good.wait()
    assert [each["code"] for each in answer["retExtInfo"]["list"]] == [0, 10001]
    assert [bool(each["orderId"]) for each in answer["data"]["list"]] == [True, False]


def test_refusals_over_websocket(desk: Desk) -> None:
    answers = Answers()
    trade = desk.trade()
    trade.place_order(
        **answers.options(), category="futures", symbol="BTCUSDT", side="Buy", orderType="Market", qty="1"
    )
    assert answers.bad.wait()["retCode"] == 10404
    trade.place_order(**answers.options(), **LINEAR, side="Buy", orderType="Limit", qty="0.0001", price="59900")
    assert answers.bad.wait(count=2)["retCode"] == 10001


def test_what_only_a_careless_client_sends(desk: Desk) -> None:
    """No sign-in, an unknown op, a stale time, an id twice: each has its code and leaves the connection open."""
    import hashlib
    import hmac

    from tests.support.emulator import KEY, SECRET

    socket = raw(desk, "/v5/trade")

    def now_ms() -> int:
        return int(desk.http.get_server_time()["result"]["timeNano"]) // 10**6

    def request(op: str = "order.create", **changed: Any) -> dict[str, Any]:
        asked = {"op": op, "header": {"X-BAPI-TIMESTAMP": str(now_ms())}, "args": [dict(LINEAR)]}
        return ask(socket, {**asked, **changed})

    assert request()["retCode"] == 10004
    assert ask(socket, {"op": "auth", "args": ["only a key"]})["retCode"] == 10001
    expires = now_ms() + 10_000
    assert ask(socket, {"op": "auth", "args": [KEY, expires, "0" * 64]})["retCode"] == 10004
    sign = hmac.new(SECRET.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
    assert ask(socket, {"op": "auth", "args": [KEY, expires, sign]})["retCode"] == 0
    assert ask(socket, {"op": "auth", "args": [KEY, expires, sign]})["retCode"] == 20001
    assert request("order.destroy")["retCode"] == 10404
    assert request("subscribe")["retCode"] == 10404
    assert request(header={"X-BAPI-TIMESTAMP": str(now_ms() - 60_000)})["retCode"] == 10002
    assert request(header={})["retCode"] == 10001
    assert request(args=[])["retCode"] == 10001
    assert request(reqId="same", args=[{**LINEAR, "orderId": "x"}])["reqId"] == "same"
    assert request(reqId="same")["retCode"] == 20006
    assert ask(socket, {"op": "ping"})["op"] == "pong"
    socket.close()


def test_protocol_pings_are_answered(shared_desk: Desk) -> None:
    """pybit sends its own ping only when the protocol's has been answered."""
    answered = threading.Event()
    app = websocket.WebSocketApp(
        shared_desk.venue.ws + "/v5/public/linear", on_pong=lambda ws, data: (answered.set(), ws.close())
    )
    thread = threading.Thread(target=lambda: app.run_forever(ping_interval=0.2, ping_timeout=0.1), daemon=True)
    thread.start()
    assert answered.wait(5)
    thread.join(5)


def test_the_venue_still_answers(venue: Served, shared_desk: Desk) -> None:
    assert shared_desk.http.get_server_time()["retCode"] == 0
