"""What goes wrong with requests, answers and pages: each kind fires, and shows what the venue shows."""

import json
from decimal import Decimal
from typing import Any

import pytest

from bot.emulator.faults import Fault
from tests.support.emulator import OTHER_KEY, OTHER_SECRET, SECOND, Driver, make_world

LINEAR = {"category": "linear", "symbol": "BTCUSDT"}
QUERY = "category=linear&symbol=BTCUSDT"
ORDER = {**LINEAR, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59000"}
CREATE = {"path": "/v5/order/create"}


@pytest.fixture
def driver() -> Driver:
    return Driver(make_world(rate_scale=0))


def break_(driver: Driver, kind: Any, **fields: Any) -> None:
    driver.exchange.faults.add(Fault(kind=kind, **fields))


def fired(driver: Driver, kind: str) -> int:
    return driver.exchange.faults.fired[kind]


def open_links(driver: Driver) -> list[str]:
    rows = driver.get("/v5/order/realtime", QUERY)["result"]["list"]
    return [row["orderLinkId"] for row in rows]


# Requests and answers, by endpoint, socket and account


@pytest.mark.parametrize(
    ("kind", "is_answered", "is_done"),
    [("lost_request", False, False), ("lost_ack", False, True), ("late_ack", True, True)],
)
def test_what_is_lost_is_lost_for_one_endpoint_of_one_account(
    driver: Driver, kind: str, is_answered: bool, is_done: bool
) -> None:
    break_(driver, kind, where={**CREATE, "account": "first"}, count=1, delay_ns=SECOND)
    theirs = driver.order(key=OTHER_KEY, secret=OTHER_SECRET)
    assert theirs["retCode"] == 0
    assert open_links(driver) == []
    body = json.dumps({**ORDER, "orderLinkId": "it"}).encode()
    response = driver.request("POST", "/v5/order/create", body=body)
    assert (response.status is not None) == is_answered
    assert response.delay_ns >= SECOND if kind == "late_ack" else response.delay_ns < SECOND
    assert open_links(driver) == (["it"] if is_done else [])
    assert fired(driver, kind) == 1


@pytest.mark.parametrize(
    ("kind", "answers", "is_done"),
    [("lost_request", 0, False), ("lost_ack", 0, True), ("late_ack", 0, True), ("late_request", 0, False)],
)
def test_what_is_lost_on_a_socket_is_lost_for_one_op(driver: Driver, kind: str, answers: int, is_done: bool) -> None:
    trade = driver.private(path="/v5/trade")
    break_(driver, kind, where={"socket": "trade", "op": "order.create"}, count=1, delay_ns=2 * SECOND)
    said = driver.trade(trade, "order.create", {**ORDER, "orderLinkId": "it"}, req_id="1")
    assert len(said) == answers
    assert driver.trade(trade, "order.cancel", {**LINEAR, "orderLinkId": "no"}, req_id="2")[0]["retCode"] == 110001
    assert open_links(driver) == (["it"] if is_done else [])
    driver.wait(2.2)
    late = [frame for frame in driver.frames[trade] if frame.get("reqId") == "1"]
    assert len(late) == (1 if kind.startswith("late") else 0)
    assert open_links(driver) == ([] if kind == "lost_request" else ["it"])


def test_a_request_that_arrives_twice(driver: Driver) -> None:
    """Its client hears that it was taken; the second arrival is refused for its id, or does the thing again."""
    break_(driver, "duplicate_request", where=CREATE, count=2)
    assert driver.order(orderLinkId="it")["retCode"] == 0
    assert open_links(driver) == ["it"]
    assert driver.order()["retCode"] == 0
    assert open_links(driver) == ["", "", "it"]  # without an id of its own there are two


def test_a_frame_that_arrives_twice(driver: Driver) -> None:
    trade = driver.private(path="/v5/trade")
    break_(driver, "duplicate_request", where={"socket": "trade", "op": "order.create"}, count=1)
    said = driver.trade(trade, "order.create", {**ORDER, "orderLinkId": "it"}, req_id="1")
    assert sorted(frame["retCode"] for frame in said) == [0, 20006]
    assert open_links(driver) == ["it"]


def test_all_of_an_accounts_endpoints_fail_by_chance_and_by_seed(driver: Driver) -> None:
    """A probability of a half loses about half, and the same half each time."""

    def lost(driver: Driver) -> list[bool]:
        break_(driver, "lost_ack", where={"path": "/v5/order/*"}, probability=0.5)
        return [
            driver.request("POST", "/v5/order/create", body=json.dumps(ORDER).encode()).status is None
            for _ in range(40)
        ]

    first = lost(driver)
    assert first == lost(Driver(make_world(rate_scale=0)))
    assert 10 <= sum(first) <= 30


@pytest.mark.parametrize("code", [10003, 20001, 20006, 10016, 10019])
def test_codes_on_the_trade_socket(driver: Driver, code: int) -> None:
    trade = driver.private(path="/v5/trade")
    break_(driver, "error_before", where={"op": "order.create"}, code=code, count=1)
    (said,) = driver.trade(trade, "order.create", ORDER, req_id="1")
    assert (said["retCode"], said["data"]) == (code, {})
    assert open_links(driver) == []


def test_too_many_sessions(driver: Driver) -> None:
    break_(driver, "error_before", where={"op": "auth"}, code=10003, text="Too many sessions under the same UID")
    trade = driver.private(path="/v5/trade")
    assert driver.frames[trade][0]["retCode"] == 10003
    (said,) = driver.trade(trade, "order.create", ORDER)
    assert said["retCode"] == 10004


def test_the_hundred_and_first_session_is_one_too_many(driver: Driver) -> None:
    for _ in range(100):
        driver.private(path="/v5/trade")
    last = driver.private(path="/v5/trade")
    assert driver.frames[last][0]["retCode"] == 10003


def test_signing_in_twice_and_asking_twice(driver: Driver) -> None:
    trade = driver.private(path="/v5/trade")
    said = driver.say(trade, {"op": "auth", "args": ["k", driver.now_ns // 10**6 + 10_000, "s"]})
    assert said[0]["retCode"] == 20001
    assert driver.trade(trade, "order.create", ORDER, req_id="same")[0]["retCode"] == 0
    assert driver.trade(trade, "order.create", ORDER, req_id="same")[0]["retCode"] == 20006
    assert len(open_links(driver)) == 1


# The clock


@pytest.mark.parametrize(
    ("skew_ms", "is_taken"), [(400, True), (900, True), (4_900, True), (5_100, False), (-900, True), (-1_100, False)]
)
def test_the_servers_clock_is_off(driver: Driver, skew_ms: int, is_taken: bool) -> None:
    """Requests are judged by the clock that `/v5/market/time` tells."""
    break_(driver, "clock_skew", skew_ns=skew_ms * 10**6)
    answer = driver.get("/v5/account/info")
    assert answer["retCode"] == (0 if is_taken else 10002)
    told = driver.get("/v5/market/time")
    assert int(told["result"]["timeNano"]) == driver.now_ns + skew_ms * 10**6
    assert told["time"] == answer["time"] == int(told["result"]["timeNano"]) // 10**6
    now_ms = (driver.now_ns + skew_ms * 10**6) // 10**6
    fixed = driver.request("GET", "/v5/account/info", stamp_ms=now_ms)  # a client that follows the server's clock
    assert json.loads(fixed.body)["retCode"] == 0
    trade = driver.private(path="/v5/trade")
    (said,) = driver.trade(trade, "order.create", ORDER)
    assert said["retCode"] == (0 if is_taken else 10002)
    assert int(said["header"]["Timenow"]) == pytest.approx(now_ms, abs=100)


def test_a_step_of_the_servers_clock(driver: Driver) -> None:
    break_(driver, "clock_skew", skew_ns=-3 * SECOND, from_ns=SECOND, until_ns=2 * SECOND)
    codes = []
    for _ in range(3):
        codes.append(driver.get("/v5/account/info")["retCode"])
        driver.wait(1)
    assert codes == [0, 10002, 0]


# Lists


def test_a_query_shows_what_was(driver: Driver) -> None:
    """Realtime lags the engine: what is new is missing, what has ended is open, what has changed is as it was."""
    gone = driver.order(orderLinkId="gone")["result"]["orderId"]
    driver.order(orderLinkId="moved")
    driver.wait(10)
    break_(driver, "stale_read", delay_ns=5 * SECOND, where={"path": "order"})
    driver.post("/v5/order/cancel", **LINEAR, orderId=gone)
    driver.post("/v5/order/amend", **LINEAR, orderLinkId="moved", price="58000")
    driver.order(orderLinkId="new")
    driver.wait(2)
    rows = driver.get("/v5/order/realtime", QUERY)["result"]["list"]
    assert [(row["orderLinkId"], row["price"], row["orderStatus"]) for row in rows] == [
        ("moved", "59000", "New"),
        ("gone", "59000", "New"),
    ]
    assert driver.get("/v5/order/history", QUERY)["result"]["list"] == []
    by_id = driver.get("/v5/order/realtime", f"category=linear&orderId={gone}")["result"]["list"]
    assert [row["orderStatus"] for row in by_id] == ["New"]
    assert driver.get("/v5/order/realtime", "category=linear&orderLinkId=new")["result"]["list"] == []
    driver.wait(4)
    rows = driver.get("/v5/order/realtime", QUERY)["result"]["list"]
    assert [(row["orderLinkId"], row["price"]) for row in rows] == [("new", "59000"), ("moved", "58000")]
    (past,) = driver.get("/v5/order/history", QUERY)["result"]["list"]
    assert past["orderStatus"] == "Cancelled"


def pages(driver: Driver, path: str, query: str, most: int = 20) -> tuple[list[list[str]], list[str]]:
    """Return the ids of each page until one is empty, and the cursors."""
    found, cursors, cursor = [], [], ""
    for _ in range(most):
        result = driver.get(path, query + (f"&cursor={cursor}" if cursor else ""))["result"]
        if not result["list"]:
            break
        found.append([row.get("execId", row.get("orderId")) for row in result["list"]])
        cursor = result["nextPageCursor"]
        cursors.append(cursor)
    return found, cursors


def test_a_row_is_on_two_pages(driver: Driver) -> None:
    for _ in range(9):
        driver.order()
    clean, _ = pages(driver, "/v5/order/realtime", QUERY + "&limit=3")
    break_(driver, "page_overlap", where={"path": "order"}, count=1)
    broken, _ = pages(driver, "/v5/order/realtime", QUERY + "&limit=3")
    assert broken[1][0] == broken[0][-1]
    assert sum(map(len, broken)) == sum(map(len, clean)) + 1
    assert {each for page in broken for each in page} == {each for page in clean for each in page}


def test_a_cursor_is_repeated(driver: Driver) -> None:
    """Who pages until the cursor is empty never comes to an end."""
    for _ in range(9):
        driver.order(orderType="Market", price=None)
    break_(driver, "cursor_repeated", where={"path": "execution.list"})
    found, cursors = pages(driver, "/v5/execution/list", "category=linear&limit=3")
    assert len(found) == 20
    assert cursors[1:] == cursors[:1] * 19
    assert found[1:] == [found[1]] * 19


def test_executions_come_in_windows_of_seven_days(driver: Driver) -> None:
    """After a month's absence the default window shows the last week alone; the rest is asked for week by week."""
    day_ms = 86_400_000
    start_ms = driver.now_ns // 10**6
    for _ in range(4):
        driver.order(orderType="Market", price=None)
        driver.wait(7 * 86_400, step_s=3600)
    recent = driver.get("/v5/execution/list", "category=linear&execType=Trade")["result"]["list"]
    assert len(recent) == 1
    now_ms, found = driver.now_ns // 10**6, []
    for begin in range(start_ms - day_ms, now_ms, 7 * day_ms):
        query = f"category=linear&execType=Trade&startTime={begin}&endTime={begin + 7 * day_ms}"
        found += driver.get("/v5/execution/list", query)["result"]["list"]
    assert len({row["execId"] for row in found}) == 4
    too_long = f"category=linear&startTime={start_ms}&endTime={start_ms + 8 * day_ms}"
    assert driver.get("/v5/execution/list", too_long)["retCode"] == 10001


def test_cancel_all_draws_its_five_hundred_by_lot(driver: Driver) -> None:
    for symbol, price, qty in (("BTCUSDT", "59000", "0.001"), ("ETHUSDT", "2950", "0.01")):
        for number in range(400):
            assert driver.order(symbol=symbol, price=price, qty=qty, orderLinkId=f"{symbol}{number}")["retCode"] == 0
    rounds = []
    for _ in range(3):
        answer = driver.post("/v5/order/cancel-all", category="linear", settleCoin="USDT")["result"]["list"]
        rounds.append([row["orderLinkId"] for row in answer])
    assert [len(each) for each in rounds] == [500, 300, 0]
    btc = sum(1 for link in rounds[0] if link.startswith("BTC"))
    assert 200 < btc < 300  # neither the oldest nor one symbol alone
    assert len(set(rounds[0]) | set(rounds[1])) == 800


def test_cancel_all_of_spot_leaves_what_waits_for_a_trigger(driver: Driver) -> None:
    spot = {"category": "spot", "side": "Sell", "price": "61000", "qty": "0.01"}
    driver.order(**spot)
    driver.order(**{**spot, "price": "57000"}, orderFilter="StopOrder", triggerPrice="58000")
    driver.post("/v5/order/cancel-all", category="spot")
    (left,) = driver.get("/v5/order/realtime", "category=spot")["result"]["list"]
    assert left["orderStatus"] == "Untriggered"
    driver.post("/v5/order/cancel-all", category="spot", orderFilter="StopOrder")
    assert driver.get("/v5/order/realtime", "category=spot")["result"]["list"] == []


def test_cancel_all_of_conditional_orders_leaves_the_exits_of_positions(driver: Driver) -> None:
    driver.order(orderType="Market", price=None, qty="1", takeProfit="70000", stopLoss="50000")
    driver.order(triggerPrice="55000", triggerDirection=2, orderType="Market", price=None)
    open_ = "category=linear&symbol=BTCUSDT"

    def kinds() -> list[str]:
        rows = driver.get("/v5/order/realtime", open_)["result"]["list"]
        return sorted(row["stopOrderType"] for row in rows)

    assert kinds() == ["Stop", "StopLoss", "TakeProfit"]
    driver.post("/v5/order/cancel-all", category="linear", symbol="BTCUSDT", stopOrderType="Stop")
    assert kinds() == ["StopLoss", "TakeProfit"]
    driver.post("/v5/order/cancel-all", category="linear", symbol="BTCUSDT", orderFilter="StopOrder")
    assert kinds() == []


def test_spot_filters_mean_the_orders_that_were_placed_with_them(driver: Driver) -> None:
    """Of the two kinds that nobody can place, none is found, and none is canceled in their name."""
    spot = {"category": "spot", "side": "Sell", "price": "61000", "qty": "0.01"}
    driver.order(**spot)
    for filter_ in ("StopOrder", "tpslOrder"):
        driver.order(**{**spot, "price": "57000"}, orderFilter=filter_, triggerPrice="58000")
    for filter_ in ("OcoOrder", "BidirectionalTpslOrder"):
        assert driver.get("/v5/order/realtime", f"category=spot&orderFilter={filter_}")["result"]["list"] == []
        answer = driver.post("/v5/order/cancel-all", category="spot", orderFilter=filter_)
        assert (answer["retCode"], answer["result"]) == (0, {"list": [], "success": "1"})
        assert driver.order(**spot, orderFilter=filter_)["retCode"] == 10001
    assert driver.get("/v5/order/realtime", "category=spot&orderFilter=Any")["retCode"] == 10001
    assert driver.post("/v5/order/cancel-all", category="spot", orderFilter="Any")["retCode"] == 10001
    assert (
        driver.post("/v5/order/cancel-all", category="linear", symbol="BTCUSDT", stopOrderType="OcoOrder")["retCode"]
        == 10001
    )
    (canceled,) = driver.post("/v5/order/cancel-all", category="spot", orderFilter="tpslOrder")["result"]["list"]
    left = driver.get("/v5/order/realtime", "category=spot")["result"]["list"]
    assert sorted(row["stopOrderType"] for row in left) == ["Stop", "UNKNOWN"]
    assert canceled["orderId"] not in {row["orderId"] for row in left}


# Batches


def batch(driver: Driver) -> dict[str, Any]:
    items = [{**ORDER, "orderLinkId": name} for name in "abc"]
    return driver.post("/v5/order/create-batch", category="linear", request=items)


def test_one_of_a_batch_is_refused(driver: Driver) -> None:
    break_(driver, "batch_item_refused", skip=1, count=1, code=10016)
    answer = batch(driver)
    assert answer["retCode"] == 0
    assert [each["code"] for each in answer["retExtInfo"]["list"]] == [0, 10016, 0]
    assert [bool(each["orderId"]) for each in answer["result"]["list"]] == [True, False, True]
    assert sorted(open_links(driver)) == ["a", "c"]


@pytest.mark.parametrize(("text", "results"), [("", 2), ("codes", 3)])
def test_one_of_a_batch_is_missing_from_the_answer(driver: Driver, text: str, results: int) -> None:
    break_(driver, "batch_item_lost", skip=1, count=1, text=text)
    answer = batch(driver)
    assert len(answer["result"]["list"]) == results
    assert len(answer["retExtInfo"]["list"]) == 2
    assert sorted(open_links(driver)) == ["a", "b", "c"]  # it was carried out all the same


# The account's own oddities


def test_the_sign_of_funding_differs_between_the_feeds() -> None:
    """A long pays a positive rate: its execution says a positive fee, its log a negative funding."""
    driver = Driver(make_world(rate_scale=0))
    stream = driver.private("execution", "execution.fast")
    driver.order(orderType="Market", price=None, qty="1")
    driver.wait(7.2 * 3600, step_s=900)
    driver.wait(1)
    (pushed,) = [
        record
        for frame in driver.topic(stream, "execution")
        for record in frame["data"]
        if record["execType"] == "Funding"
    ]
    (row,) = driver.get("/v5/account/transaction-log", "type=SETTLEMENT")["result"]["list"]
    assert Decimal(pushed["execFee"]) == -Decimal(row["funding"]) > 0
    assert row["change"] == row["funding"]
    fast = [record for frame in driver.topic(stream, "execution.fast") for record in frame["data"]]
    assert all(record["execId"] != pushed["execId"] for record in fast)


def test_a_fast_execution_of_a_maker_has_no_client_id() -> None:
    steps = [(1.0, "60000"), (2.0, "58900"), (3.0, "58900")]
    driver = Driver(make_world(steps=steps, rate_scale=0))
    stream = driver.private("execution", "execution.fast")
    driver.order(orderLinkId="maker")
    driver.order(orderType="Market", price=None, orderLinkId="taker")
    driver.wait(4)
    links = {
        record["isMaker"]: record["orderLinkId"]
        for frame in driver.topic(stream, "execution.fast")
        for record in frame["data"]
    }
    assert links == {True: "", False: "taker"}


def test_two_messages_say_filled(driver: Driver) -> None:
    stream = driver.private("order", "execution")
    break_(driver, "second_filled", count=1)
    driver.order(orderType="Market", price=None)
    driver.wait(0.1)
    filled = [
        (record["cancelType"], record["rejectReason"])
        for frame in driver.topic(stream, "order")
        for record in frame["data"]
        if record["orderStatus"] == "Filled"
    ]
    assert filled == [("UNKNOWN", "EC_NoError"), ("CancelByUser", "EC_OrigClOrdIDDoesNotExist")]
    assert len(driver.topic(stream, "execution")) == 1


def test_an_address_is_banned_for_as_long_as_is_said(driver: Driver) -> None:
    driver = Driver(make_world(rate_scale=0, has_address_limit=True))
    break_(driver, "address_banned", count=1, delay_ns=30 * SECOND)
    assert driver.request("GET", "/v5/market/time").status == 403
    driver.wait(29)
    assert driver.request("GET", "/v5/market/time").body == b"access too frequent"
    driver.wait(2)
    assert driver.request("GET", "/v5/market/time").status == 200
    assert fired(driver, "address_banned") == 1


def test_orders_are_checked_without_being_placed(driver: Driver) -> None:
    before = driver.post("/v5/order/pre-check", **ORDER, orderLinkId="p")["result"]
    assert (before["preImrE4"], before["preMmrE4"], before["orderLinkId"]) == (0, 0, "p")
    assert before["postImrE4"] >= 0
    big = driver.post("/v5/order/pre-check", **{**ORDER, "qty": "20"})["result"]
    assert big["postImrE4"] > before["postImrE4"]
    assert open_links(driver) == []
    assert driver.post("/v5/order/pre-check", **{**ORDER, "qty": "500"})["retCode"] == 110007
    conditional = {**ORDER, "triggerPrice": "59500", "triggerDirection": 2}
    assert driver.post("/v5/order/pre-check", **conditional)["retCode"] == 10001
    # What was foretold comes about.
    driver.order(qty="20")
    wallet = driver.get("/v5/account/wallet-balance", "accountType=UNIFIED")["result"]["list"][0]
    assert int(Decimal(wallet["accountIMRate"]) * 10_000) == pytest.approx(big["postImrE4"], abs=1)


def test_canceling_on_disconnection_is_for_institutions(driver: Driver) -> None:
    assert driver.post("/v5/order/disconnected-cancel-all", timeWindow=40)["retCode"] == 10005
    assert driver.post("/v5/order/disconnected-cancel-all", timeWindow=1)["retCode"] == 10001
    assert driver.get("/v5/account/query-dcp-info")["result"]["dcpInfos"] == []
