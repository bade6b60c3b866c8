"""pybit trades: orders, executions, positions and money, each case at a venue of its own."""

from decimal import Decimal
from typing import Any

from tests.venue_conformance.conftest import Desk

LINEAR = {"category": "linear", "symbol": "BTCUSDT"}
SPOT = {"category": "spot", "symbol": "BTCUSDT"}


def open_orders(desk: Desk, **fields: Any) -> list[dict[str, Any]]:
    orders: list[dict[str, Any]] = desk.http.get_open_orders(**{**LINEAR, **fields})["result"]["list"]
    return orders


def history(desk: Desk, **fields: Any) -> list[dict[str, Any]]:
    orders: list[dict[str, Any]] = desk.http.get_order_history(**{**LINEAR, **fields})["result"]["list"]
    return orders


def position(desk: Desk, index: int = 0) -> dict[str, Any]:
    rows = desk.http.get_positions(**LINEAR)["result"]["list"]
    found: dict[str, Any] = next(row for row in rows if row["positionIdx"] == index)
    return found


def test_a_limit_order_rests(desk: Desk) -> None:
    ids = desk.order(orderLinkId="a-1")
    assert ids["orderLinkId"] == "a-1"
    assert len(ids["orderId"]) == 36
    (order,) = open_orders(desk)
    assert (order["orderStatus"], order["price"], order["qty"]) == ("New", "59900", "0.01")
    assert order["orderLinkId"] == "a-1"


def test_it_is_found_by_either_id(desk: Desk) -> None:
    ids = desk.order(orderLinkId="a-1")
    assert open_orders(desk, orderId=ids["orderId"]) == open_orders(desk, orderLinkId="a-1") != []


def test_an_amended_order_keeps_its_id_and_status(desk: Desk) -> None:
    ids = desk.order()
    desk.http.amend_order(**LINEAR, orderId=ids["orderId"], price="59800", qty="0.02")
    (order,) = open_orders(desk)
    assert (order["orderId"], order["price"], order["qty"], order["orderStatus"]) == (
        ids["orderId"],
        "59800",
        "0.02",
        "New",
    )


def test_a_canceled_order_is_in_the_history(desk: Desk) -> None:
    """What was canceled has nothing left, whatever its quantity was."""
    ids = desk.order()
    assert desk.http.cancel_order(**LINEAR, orderId=ids["orderId"])["result"] == ids
    assert open_orders(desk) == []
    (order,) = history(desk)
    assert (order["orderStatus"], order["cancelType"]) == ("Cancelled", "CancelByUser")
    assert (order["rejectReason"], order["leavesQty"]) == ("EC_PerCancelRequest", "0")


def test_cancel_by_the_clients_id(desk: Desk) -> None:
    desk.order(orderLinkId="mine")
    assert desk.http.cancel_order(**LINEAR, orderLinkId="mine")["result"]["orderLinkId"] == "mine"


def test_cancel_all_names_what_it_canceled(desk: Desk) -> None:
    ids = [desk.order()["orderId"] for _ in range(3)]
    result = desk.http.cancel_all_orders(**LINEAR)["result"]
    assert [each["orderId"] for each in result["list"]] == ids
    assert result["success"] == "1"


def test_cancel_all_by_settle_coin_reaches_every_symbol(desk: Desk) -> None:
    desk.order()
    desk.order(symbol="ETHUSDT", price="2990", qty="1")
    result = desk.http.cancel_all_orders(category="linear", settleCoin="USDT")["result"]
    assert len(result["list"]) == 2


def test_cancel_all_with_nothing_to_cancel_succeeds(desk: Desk) -> None:
    assert desk.http.cancel_all_orders(**LINEAR)["result"]["list"] == []


def test_cancel_all_of_stop_orders_leaves_the_others(desk: Desk) -> None:
    plain = desk.order()
    stop = desk.order(triggerPrice="59500", triggerDirection=2)
    result = desk.http.cancel_all_orders(**LINEAR, orderFilter="StopOrder")["result"]["list"]
    assert [each["orderId"] for each in result] == [stop["orderId"]]
    assert [each["orderId"] for each in open_orders(desk)] == [plain["orderId"]]


def test_a_market_order_fills_at_once(desk: Desk) -> None:
    ids = desk.market(qty="0.1")
    (order,) = history(desk, orderId=ids["orderId"])
    assert (order["orderStatus"], order["cumExecQty"], order["timeInForce"]) == ("Filled", "0.1", "IOC")
    rows = desk.http.get_executions(**LINEAR)["result"]["list"]
    assert sum(Decimal(row["execQty"]) for row in rows) == Decimal("0.1")
    assert all(row["isMaker"] is False and row["execType"] == "Trade" for row in rows)


def test_fees_are_value_times_rate(desk: Desk) -> None:
    desk.market(qty="0.1")
    (row, *_) = desk.http.get_executions(**LINEAR)["result"]["list"]
    assert Decimal(row["execFee"]) == Decimal(row["execValue"]) * Decimal(row["feeRate"])
    assert (row["feeRate"], row["feeCurrency"]) == ("0.00055", "USDT")


def test_a_position_opens_grows_and_closes(desk: Desk) -> None:
    desk.market(qty="0.1")
    opened = position(desk)
    assert (opened["side"], opened["size"]) == ("Buy", "0.1")
    desk.market(qty="0.1")
    assert position(desk)["size"] == "0.2"
    desk.market(side="Sell", qty="0.2", reduceOnly=True)
    closed = position(desk)
    assert (closed["side"], closed["size"]) == ("", "0")
    assert Decimal(closed["cumRealisedPnl"]) < 0  # the fees


def test_flat_positions_are_left_out_of_a_coins_list(desk: Desk) -> None:
    assert desk.http.get_positions(category="linear", settleCoin="USDT")["result"]["list"] == []
    desk.market()
    rows = desk.http.get_positions(category="linear", settleCoin="USDT")["result"]["list"]
    assert [row["symbol"] for row in rows] == ["BTCUSDT"]


def test_quantity_nought_closes_all(desk: Desk) -> None:
    desk.market(qty="0.3")
    desk.market(side="Sell", qty="0", reduceOnly=True, closeOnTrigger=True)
    assert position(desk)["size"] == "0"


def test_reduce_only_is_cut_to_the_position(desk: Desk) -> None:
    desk.market(qty="0.1")
    ids = desk.market(side="Sell", qty="5", reduceOnly=True)
    (order,) = history(desk, orderId=ids["orderId"])
    assert order["cumExecQty"] == "0.1"
    assert position(desk)["size"] == "0"


def test_one_account_fills_anothers_order(desk: Desk) -> None:
    """A resting order inside the spread is met by the other account's market order, as a maker."""
    ids = desk.order(price="60000", timeInForce="GTC", qty="0.5", side="Buy")
    desk.market(side="Sell", qty="0.01", client=desk.other)
    rows = desk.other.get_executions(**LINEAR)["result"]["list"]
    assert rows
    (order,) = [*open_orders(desk, orderId=ids["orderId"])] or history(desk, orderId=ids["orderId"])
    assert order["orderStatus"] in ("New", "PartiallyFilled", "Filled")


def test_fill_or_kill_takes_all_or_nothing(desk: Desk) -> None:
    ids = desk.order(price="60000.5", qty="100", timeInForce="FOK")
    (order,) = history(desk, orderId=ids["orderId"])
    assert (order["orderStatus"], order["rejectReason"]) == ("Cancelled", "EC_NoEnoughQtyToFill")
    assert order["cumExecQty"] == "0"


def test_immediate_or_cancel_takes_what_there_is(desk: Desk) -> None:
    ids = desk.order(price="59000", timeInForce="IOC")
    (order,) = history(desk, orderId=ids["orderId"])
    assert (order["orderStatus"], order["rejectReason"]) == ("Cancelled", "EC_NoImmediateQtyToFill")


def test_post_only_that_would_take_is_canceled_after_its_ack(desk: Desk) -> None:
    ids = desk.order(price="60200", timeInForce="PostOnly")
    (order,) = history(desk, orderId=ids["orderId"])
    assert (order["orderStatus"], order["rejectReason"]) == ("Cancelled", "EC_PostOnlyWillTakeLiquidity")


def test_post_only_on_spot_is_rejected(desk: Desk) -> None:
    ids = desk.order(**SPOT, price="60200", timeInForce="PostOnly")
    (order,) = history(desk, **SPOT, orderId=ids["orderId"])
    assert (order["orderStatus"], order["rejectReason"]) == ("Rejected", "EC_PostOnlyWillTakeLiquidity")


def test_a_limit_beyond_the_band_is_moved_to_it(desk: Desk) -> None:
    """The venue's default for perpetuals: nobody is told but by the order itself."""
    ids = desk.order(price="70000", qty="0.01", timeInForce="GTC")
    (order,) = history(desk, orderId=ids["orderId"])
    assert Decimal(order["price"]) < 70_000


def test_a_conditional_order_waits(desk: Desk) -> None:
    desk.order(triggerPrice="59500", triggerDirection=2, triggerBy="MarkPrice")
    (order,) = open_orders(desk)
    assert (order["orderStatus"], order["stopOrderType"], order["triggerPrice"]) == ("Untriggered", "Stop", "59500")
    assert (order["triggerDirection"], order["triggerBy"]) == (2, "MarkPrice")


def test_order_filters(desk: Desk) -> None:
    plain = desk.order()
    stop = desk.order(triggerPrice="59500", triggerDirection=2)
    assert [each["orderId"] for each in open_orders(desk, orderFilter="Order")] == [plain["orderId"]]
    assert [each["orderId"] for each in open_orders(desk, orderFilter="StopOrder")] == [stop["orderId"]]


def test_attached_exits_become_orders_once_it_fills(desk: Desk) -> None:
    desk.market(qty="0.1", takeProfit="61000", stopLoss="59000")
    kinds = {each["stopOrderType"]: each for each in open_orders(desk)}
    assert set(kinds) == {"TakeProfit", "StopLoss"}
    assert kinds["TakeProfit"]["createType"] == "CreateByTakeProfit"
    assert all(each["reduceOnly"] and each["closeOnTrigger"] for each in kinds.values())
    held = position(desk)
    assert (held["takeProfit"], held["stopLoss"]) == ("61000", "59000")


def test_trading_stop_sets_and_removes(desk: Desk) -> None:
    desk.market(qty="0.1")
    desk.http.set_trading_stop(**LINEAR, positionIdx=0, tpslMode="Full", stopLoss="58000", trailingStop="500")
    held = position(desk)
    assert (held["stopLoss"], held["trailingStop"]) == ("58000", "500")
    desk.http.set_trading_stop(**LINEAR, positionIdx=0, tpslMode="Full", stopLoss="0", trailingStop="0")
    held = position(desk)
    assert (held["stopLoss"], held["trailingStop"]) == ("", "0")


def test_exits_go_with_their_position(desk: Desk) -> None:
    desk.market(qty="0.1", stopLoss="59000")
    desk.market(side="Sell", qty="0.1", reduceOnly=True)
    assert open_orders(desk) == []
    ended = [each for each in history(desk) if each["stopOrderType"] == "StopLoss"]
    assert [each["cancelType"] for each in ended] == ["CancelByTpSlTsClear"]


def test_leverage(desk: Desk) -> None:
    desk.http.set_leverage(**LINEAR, buyLeverage="25", sellLeverage="25")
    assert position(desk)["leverage"] == "25"


def test_hedge_mode_has_two_positions(desk: Desk) -> None:
    desk.http.switch_position_mode(category="linear", symbol="BTCUSDT", mode=3)
    desk.market(qty="0.1", positionIdx=1)
    desk.market(side="Sell", qty="0.2", positionIdx=2)
    assert (position(desk, 1)["side"], position(desk, 1)["size"]) == ("Buy", "0.1")
    assert (position(desk, 2)["side"], position(desk, 2)["size"]) == ("Sell", "0.2")


def test_a_batch_of_orders(desk: Desk) -> None:
    order = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59900"}
    answer = desk.http.place_batch_order(
        category="linear", request=[order, {**order, "qty": "0.0001"}, {**order, "orderLinkId": "third"}]
    )
    assert [each["code"] for each in answer["retExtInfo"]["list"]] == [0, 10001, 0]
    assert [bool(each["orderId"]) for each in answer["result"]["list"]] == [True, False, True]
    assert [bool(each["createAt"]) for each in answer["result"]["list"]] == [True, False, True]


def test_a_batch_of_amendments_and_one_of_cancels(desk: Desk) -> None:
    ids = [desk.order()["orderId"] for _ in range(2)]
    changes = [{"symbol": "BTCUSDT", "orderId": each, "price": "59800"} for each in ids]
    answer = desk.http.amend_batch_order(category="linear", request=changes)
    assert [each["code"] for each in answer["retExtInfo"]["list"]] == [0, 0]
    gone = [{"symbol": "BTCUSDT", "orderId": each} for each in [*ids, "nobody"]]
    answer = desk.http.cancel_batch_order(category="linear", request=gone)
    assert [each["code"] for each in answer["retExtInfo"]["list"]] == [0, 0, 110001]


def test_pages_of_orders_follow_each_other(desk: Desk) -> None:
    """Each order once, the newest first; that nothing follows is seen from an empty page."""
    ids = [desk.order(symbol="BTCUSDT")["orderId"] for _ in range(7)]
    seen: list[str] = []
    cursor = ""
    for _ in range(5):
        result = desk.http.get_open_orders(**LINEAR, limit=3, cursor=cursor)["result"]
        seen += [each["orderId"] for each in result["list"]]
        cursor = result["nextPageCursor"]
        if not result["list"]:
            break
        assert "%" in cursor
    assert seen == ids[::-1]
    assert cursor == ""


def test_spot_ids_are_numbers_and_it_invents_the_clients(desk: Desk) -> None:
    ids = desk.order(**SPOT)
    assert ids["orderId"].isdigit()
    assert len(ids["orderId"]) == 19
    assert ids["orderLinkId"] == str(int(ids["orderId"]) + 1)


def test_a_spot_market_buy_spends_an_amount(desk: Desk) -> None:
    """The crumbs that buy no lot make it end as partially filled and canceled, which is success."""
    ids = desk.market(**SPOT, qty="100")
    (order,) = history(desk, **SPOT, orderId=ids["orderId"])
    assert (order["orderStatus"], order["rejectReason"]) == ("PartiallyFilledCanceled", "EC_CancelForNoFullFill")
    assert Decimal(order["cumExecValue"]) <= 100
    assert Decimal(order["cumExecValue"]) + Decimal(order["leavesValue"]) == 100
    assert order["qty"] == "100"


def test_spot_fees_come_out_of_what_comes_in(desk: Desk) -> None:
    desk.market(**SPOT, qty="100")
    desk.market(**SPOT, side="Sell", qty="0.01")
    rows = desk.http.get_executions(**SPOT)["result"]["list"]
    assert {(row["side"], row["feeCurrency"]) for row in rows} == {("Sell", "USDT"), ("Buy", "BTC")}
    assert all("createType" not in row for row in rows)


def test_spot_market_buy_sized_in_base(desk: Desk) -> None:
    ids = desk.market(**SPOT, qty="0.01", marketUnit="baseCoin")
    (order,) = history(desk, **SPOT, orderId=ids["orderId"])
    assert (order["orderStatus"], order["cumExecQty"]) == ("Filled", "0.01")


def test_spot_orders_lock_coins(desk: Desk) -> None:
    desk.order(**SPOT, side="Sell", price="60200", qty="0.5")
    coins = desk.http.get_wallet_balance(accountType="UNIFIED", coin="BTC")["result"]["list"][0]["coin"]
    assert (coins[0]["locked"], coins[0]["walletBalance"]) == ("0.5", "5")


def test_spot_and_perpetual_of_one_symbol_are_kept_apart(desk: Desk) -> None:
    desk.order()
    desk.order(**SPOT)
    assert len(open_orders(desk)) == len(open_orders(desk, **SPOT)) == 1


def test_the_books_best_price_is_taken_for_the_client(desk: Desk) -> None:
    desk.order(price=None, bboSideType="Queue", bboLevel="2")
    (order,) = open_orders(desk)
    book = desk.http.get_orderbook(**LINEAR, limit=3)["result"]
    assert any(Decimal(price) == Decimal(order["price"]) for price, _ in book["b"])


def test_our_resting_order_is_in_the_book(desk: Desk) -> None:
    before = dict(desk.http.get_orderbook(**LINEAR, limit=50)["result"]["b"])
    desk.order(price="59999", qty="100")
    after = dict(desk.http.get_orderbook(**LINEAR, limit=50)["result"]["b"])
    assert Decimal(after["59999.00"]) - Decimal(before["59999.00"]) == 100


def test_an_order_is_checked_and_not_placed(desk: Desk) -> None:
    result = desk.http.pre_check_order(
        category="linear", symbol="BTCUSDT", side="Buy", orderType="Limit", qty="1", price="59900"
    )["result"]
    assert result["postImrE4"] > result["preImrE4"]
    assert desk.http.get_open_orders(category="linear", symbol="BTCUSDT")["result"]["list"] == []
