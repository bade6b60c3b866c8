"""What the emulator sends has the keys, the JSON types and the string formats of the venue's own payloads.

The samples lie beside the project. `docs/emulator.md` lists every difference that is meant, with its reason.
"""

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from bot.emulator.faults import Fault
from tests.support.emulator import MINUTE, SECOND, Driver, make_world
from tests.support.shared_data import shared_file
from tests.support.venue_samples import MEANT, differences


@pytest.fixture(scope="module")
def venue() -> Driver:
    """Return a venue on which a little of everything has happened."""
    driver = Driver(make_world(rate_scale=0))
    made = driver.private("order", "execution", "execution.fast", "position", "wallet")
    assert made == 1
    driver.public = driver.open("/v5/public/linear")  # type: ignore[attr-defined]
    topics = [
        "orderbook.50.BTCUSDT",
        "orderbook.1.BTCUSDT",
        "orderbook.rpi.BTCUSDT",
        "publicTrade.BTCUSDT",
        "kline.5.BTCUSDT",
        "tickers.BTCUSDT",
        "priceLimit.BTCUSDT",
        "allLiquidation.BTCUSDT",
    ]
    driver.say(driver.public, {"op": "subscribe", "args": topics})  # type: ignore[attr-defined]
    driver.spot = driver.open("/v5/public/spot")  # type: ignore[attr-defined]
    driver.say(driver.spot, {"op": "subscribe", "args": ["tickers.BTCUSDT"], "req_id": "10001"})  # type: ignore[attr-defined]
    driver.trading = driver.private(path="/v5/trade")  # type: ignore[attr-defined]
    driver.order(takeProfit="61000", stopLoss="58000", orderLinkId="resting")
    gone = driver.order(orderLinkId="canceled")["result"]["orderId"]
    driver.post("/v5/order/cancel", category="linear", symbol="BTCUSDT", orderId=gone)
    driver.order(price="60400", timeInForce="PostOnly", orderLinkId="post")
    driver.order(orderType="Market", price=None, qty="0.5", takeProfit="61000", stopLoss="58000")
    driver.order(side="Sell", orderType="Market", price=None, qty="0.1", reduceOnly=True)
    driver.order(category="spot", orderType="Market", price=None, qty="10")
    driver.order(category="spot", side="Sell", orderType="Market", price=None, qty="0.001")
    for name, side, kind, trigger, direction in (
        ("stop-market", "Sell", "Market", "58500", 2),
        ("buy-stop-market", "Buy", "Market", "62000", 1),
        ("stop-limit", "Sell", "Limit", "58500", 2),
        ("touched-market", "Buy", "Market", "58500", 2),
        ("touched-limit", "Sell", "Limit", "62000", 1),
    ):
        price = None if kind == "Market" else trigger
        waits = {"triggerPrice": trigger, "triggerDirection": direction}
        driver.order(side=side, orderType=kind, price=price, orderLinkId=name, **waits)
    driver.wait(3)
    notice = Fault(kind="announcement", delay_ns=10**12)
    driver.exchange.faults.add(notice)
    driver.wait(7.2 * 3600, step_s=900)  # past a settlement
    driver.wait(2)
    driver.exchange.faults.add(Fault(kind="adl", where={"account": "first"}))
    driver.wait(0.1)
    driver.order(takeProfit="61000", stopLoss="58000", orderLinkId="resting-again")
    driver.wait(2)
    return driver


def sample(name: str) -> Any:
    return json.loads(shared_file(f"bybit_v5_samples/{name}.json").read_text(encoding="utf-8"))


def rest(driver: Driver, path: str, query: str = "") -> Any:
    return driver.get(path, query)


def first(frames: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    """Return the first frame that has a record with these values."""
    for frame in frames:
        for record in frame["data"]:
            if all(record.get(name) == value for name, value in wanted.items()):
                return {**frame, "data": [record]}
    raise AssertionError(f"no frame has {wanted}")


def only(answer: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    """Return an answer with the one record of its list that has these values."""
    rows = [row for row in answer["result"]["list"] if all(row.get(name) == value for name, value in wanted.items())]
    assert rows, f"no record has {wanted}"
    return {**answer, "result": {**answer["result"], "list": rows[:1]}}


REST = {
    "rest_market_time": ("/v5/market/time", ""),
    "rest_market_instruments-info_linear": ("/v5/market/instruments-info", "category=linear"),
    "rest_market_instruments-info_spot": ("/v5/market/instruments-info", "category=spot"),
    "rest_market_kline_linear__nautilus": ("/v5/market/kline", "category=linear&symbol=BTCUSDT&interval=1"),
    "rest_market_mark-price-kline": ("/v5/market/mark-price-kline", "category=linear&symbol=BTCUSDT&interval=1"),
    "rest_market_orderbook_linear__nautilus": ("/v5/market/orderbook", "category=linear&symbol=BTCUSDT"),
    "rest_market_orderbook_spot": ("/v5/market/orderbook", "category=spot&symbol=BTCUSDT"),
    "rest_market_tickers_inverse": ("/v5/market/tickers", "category=linear&symbol=BTCUSDT"),
    "rest_market_tickers_spot": ("/v5/market/tickers", "category=spot&symbol=BTCUSDT"),
    "rest_market_recent-trade": ("/v5/market/recent-trade", "category=spot&symbol=BTCUSDT"),
    "rest_market_recent-trade_linear__nautilus": ("/v5/market/recent-trade", "category=linear&symbol=BTCUSDT"),
    "rest_market_funding-history": ("/v5/market/funding/history", "category=linear&symbol=BTCUSDT"),
    "rest_market_risk-limit_linear__observed": ("/v5/market/risk-limit", "category=linear&symbol=BTCUSDT"),
    "rest_market_price-limit": ("/v5/market/price-limit", "category=linear&symbol=BTCUSDT"),
    "rest_market_open-interest": ("/v5/market/open-interest", "category=linear&symbol=BTCUSDT&intervalTime=1d"),
    "rest_account_fee-rate": ("/v5/account/fee-rate", "category=linear"),
    "rest_account_info": ("/v5/account/info", ""),
    "rest_account_user-setting-config": ("/v5/account/user-setting-config", ""),
    "rest_account_wallet-balance": ("/v5/account/wallet-balance", "accountType=UNIFIED"),
    "rest_account_transaction-log": ("/v5/account/transaction-log", "type=TRADE"),
    "rest_user_query-api": ("/v5/user/query-api", ""),
    "rest_position_closed-pnl": ("/v5/position/closed-pnl", "category=linear"),
    "rest_position_list_inverse": ("/v5/position/list", "category=linear&symbol=BTCUSDT"),
    "rest_position_list_linear__nautilus": ("/v5/position/list", "category=linear&symbol=BTCUSDT"),
    "rest_position_list_linear_opentime__nautilus": ("/v5/position/list", "category=linear&symbol=BTCUSDT"),
    "rest_account_query-dcp-info": ("/v5/account/query-dcp-info", ""),
    "rest_account_fee-rate__nautilus": ("/v5/account/fee-rate", "category=linear"),
    "rest_account_info__nautilus": ("/v5/account/info", ""),
    "rest_account_wallet-balance__nautilus": ("/v5/account/wallet-balance", "accountType=UNIFIED"),
    "rest_market_funding-history__nautilus": ("/v5/market/funding/history", "category=linear&symbol=BTCUSDT"),
    "rest_market_instruments-info_linear__nautilus": ("/v5/market/instruments-info", "category=linear"),
    "rest_market_instruments-info_linear_symboltype__nautilus": ("/v5/market/instruments-info", "category=linear"),
    "rest_market_instruments-info_spot__nautilus": ("/v5/market/instruments-info", "category=spot"),
    "rest_market_kline_inverse": ("/v5/market/kline", "category=linear&symbol=BTCUSDT&interval=1"),
    "rest_user_query-api__nautilus": ("/v5/user/query-api", ""),
    "rest_system_status": ("/v5/system/status", ""),
}


@pytest.mark.parametrize("name", REST)
def test_rest_payloads(venue: Driver, name: str) -> None:
    ours = rest(venue, *REST[name])
    found = list(differences(ours, sample(name), MEANT.get(name, frozenset())))
    assert found == []


# A REST sample, its endpoint, and the record of ours that is of its kind.
RECORDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rest_order_realtime": ("/v5/order/realtime", "category=linear&symbol=BTCUSDT", {"orderLinkId": "resting-again"}),
    "rest_order_realtime__nautilus": (
        "/v5/order/realtime",
        "category=linear&symbol=BTCUSDT",
        {"orderLinkId": "resting-again"},
    ),
    "rest_order_realtime_tp_sl__nautilus": (
        "/v5/order/realtime",
        "category=linear&symbol=BTCUSDT",
        {"stopOrderType": "TakeProfit"},
    ),
    "rest_order_history_postonly_cancelled": (
        "/v5/order/history",
        "category=linear&symbol=BTCUSDT",
        {"orderLinkId": "post"},
    ),
    "rest_order_history__nautilus": (
        "/v5/order/history",
        "category=linear&symbol=BTCUSDT",
        {"orderStatus": "Filled"},
    ),
    "rest_execution_list": ("/v5/execution/list", "category=linear", {"execType": "Trade"}),
    "rest_execution_list__nautilus": ("/v5/execution/list", "category=linear", {"execType": "Trade"}),
    "rest_execution_list_funding": ("/v5/execution/list", "category=linear", {"execType": "Funding"}),
    "rest_execution_list_funding_2025__observed": (
        "/v5/execution/list",
        "category=linear",
        {"execType": "Funding"},
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_rest_records(venue: Driver, name: str) -> None:
    path, query, wanted = RECORDS[name]
    ours = only(rest(venue, path, query), **wanted)
    assert list(differences(ours, sample(name), MEANT.get(name, frozenset()))) == []


# Private streams' samples, the topic, and the record of ours that is of its kind.
FRAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "ws_private_order.linear_cancelled__observed": ("order", {"orderLinkId": "canceled", "orderStatus": "Cancelled"}),
    "ws_private_order_linear_filled__nautilus": ("order", {"category": "linear", "orderStatus": "Filled"}),
    "ws_private_order_linear_untriggered_takeprofit__nautilus": ("order", {"stopOrderType": "TakeProfit"}),
    "ws_private_order.spot_market_buy_partiallyfilledcanceled__observed": (
        "order",
        {"orderStatus": "PartiallyFilledCanceled"},
    ),
    "ws_private_order.spot_market_sell_filled__observed": ("order", {"category": "spot", "orderStatus": "Filled"}),
    "ws_private_execution_linear": ("execution", {"category": "linear", "execType": "Trade"}),
    "ws_private_execution_linear__nautilus": ("execution", {"category": "linear", "execType": "Trade"}),
    "ws_private_execution.spot__observed": ("execution", {"category": "spot"}),
    "ws_private_execution.fast": ("execution.fast", {"category": "linear"}),
    "ws_private_execution.fast__nautilus": ("execution.fast", {"category": "linear"}),
    "ws_private_execution_linear_adltrade__nautilus": ("execution", {"execType": "AdlTrade"}),
    "ws_private_order_linear_cancelled__nautilus": (
        "order",
        {"orderLinkId": "canceled", "orderStatus": "Cancelled"},
    ),
    "ws_private_order_linear_untriggered_stop_market__nautilus": ("order", {"orderLinkId": "stop-market"}),
    "ws_private_order_linear_untriggered_buy_stop_market__nautilus": ("order", {"orderLinkId": "buy-stop-market"}),
    "ws_private_order_linear_untriggered_stop_limit__nautilus": ("order", {"orderLinkId": "stop-limit"}),
    "ws_private_order_linear_untriggered_market_if_touched__nautilus": ("order", {"orderLinkId": "touched-market"}),
    "ws_private_order_linear_untriggered_limit_if_touched__nautilus": ("order", {"orderLinkId": "touched-limit"}),
    "ws_private_order_linear_untriggered_stoploss__nautilus": ("order", {"stopOrderType": "StopLoss"}),
    "ws_private_position": ("position", {"side": "Buy"}),
    "ws_private_position_linear_open__nautilus": ("position", {"side": "Buy"}),
    "ws_private_wallet": ("wallet", {}),
    "ws_private_wallet__observed": ("wallet", {}),
}


@pytest.mark.parametrize("name", FRAMES)
def test_private_frames(venue: Driver, name: str) -> None:
    topic, wanted = FRAMES[name]
    ours = first(venue.topic(1, topic), **wanted)
    assert list(differences(ours, sample(name), MEANT.get(name, frozenset()))) == []


# A public stream's sample, and our topic and type of frame.
PUBLIC = {
    "ws_public_orderbook.50_snapshot": ("orderbook.50.BTCUSDT", "snapshot"),
    "ws_public_orderbook.50_delta": ("orderbook.50.BTCUSDT", "delta"),
    "ws_public_orderbook.50_linear_delta__observed": ("orderbook.50.BTCUSDT", "delta"),
    "ws_public_orderbook.1_snapshot__nautilus": ("orderbook.1.BTCUSDT", "snapshot"),
    "ws_public_publicTrade": ("publicTrade.BTCUSDT", "snapshot"),
    "ws_public_publicTrade__nautilus": ("publicTrade.BTCUSDT", "snapshot"),
    "ws_public_kline": ("kline.5.BTCUSDT", "snapshot"),
    "ws_public_tickers_linear_snapshot": ("tickers.BTCUSDT", "snapshot"),
    "ws_public_priceLimit": ("priceLimit.BTCUSDT", None),
    "ws_public_kline__nautilus": ("kline.5.BTCUSDT", "snapshot"),
    "ws_public_tickers_linear__nautilus": ("tickers.BTCUSDT", "snapshot"),
    "ws_public_orderbook.rpi_delta": ("orderbook.rpi.BTCUSDT", "delta"),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_frames(venue: Driver, name: str) -> None:
    topic, kind = PUBLIC[name]
    frames = [frame for frame in venue.topic(venue.public, topic) if frame.get("type") == kind]  # type: ignore[attr-defined]
    assert frames
    assert list(differences(frames[-1], sample(name), MEANT.get(name, frozenset()))) == []


def test_spot_ticker_frames(venue: Driver) -> None:
    frames = venue.topic(venue.spot, "tickers.BTCUSDT")  # type: ignore[attr-defined]
    assert list(differences(frames[0], sample("ws_public_tickers_spot"), frozenset())) == []


def test_ticker_deltas_hold_what_changed(venue: Driver) -> None:
    """The observed delta has the keys that had changed there: ours has others, of the same types."""
    frames = [frame for frame in venue.topic(venue.public, "tickers.BTCUSDT") if frame["type"] == "delta"]  # type: ignore[attr-defined]
    whole = sample("ws_public_linear_tickers_delta__observed")
    absent = frozenset(whole["data"]) - frozenset(frames[-1]["data"])
    ours = {**frames[-1], "data": {key: value for key, value in frames[-1]["data"].items() if key in whole["data"]}}
    assert list(differences(ours, whole, absent)) == []


def test_liquidation_frames() -> None:
    driver = Driver(make_world(rate_scale=0))
    public = driver.open("/v5/public/linear")
    driver.say(public, {"op": "subscribe", "args": ["allLiquidation.BTCUSDT"]})
    driver.order(orderType="Market", price=None, qty="1")
    driver.exchange.faults.add(Fault(kind="liquidation", where={"account": "first"}))
    driver.wait(1)
    (frame,) = driver.topic(public, "allLiquidation.BTCUSDT")
    assert list(differences(frame, sample("ws_public_allLiquidation"), frozenset())) == []
    assert frame["data"][0]["S"] == "Buy"


def test_acknowledgements(venue: Driver) -> None:
    """Each stream's own dialect, key for key."""
    private, public, spot, trade = 1, venue.public, venue.spot, venue.trading  # type: ignore[attr-defined]
    asked = {
        "ws_private_auth.response": venue.frames[private][0],
        "ws_private_subscribe.response": venue.frames[private][1],
        "ws_private_pong": venue.say(private, {"op": "ping", "req_id": "test"})[-1],
        "ws_private_subscribe_failure__observed": venue.say(
            private, {"op": "subscribe", "args": ["ticketInfo"], "req_id": "x"}
        )[-1],
        "ws_public_linear_subscribe.response": venue.frames[public][0],
        "ws_public_spot_subscribe.response": venue.frames[spot][0],
        "ws_public_linear_pong": venue.say(public, {"op": "ping"})[-1],
        "ws_public_spot_pong": venue.say(spot, {"op": "ping"})[-1],
        "ws_trade_auth.response": venue.frames[trade][0],
        "ws_trade_pong": venue.say(trade, {"op": "ping"})[-1],
    }
    for name, ours in asked.items():
        theirs = sample(name)
        assert set(ours) == set(theirs), name
        assert {key: type(value) for key, value in ours.items()} == {k: type(v) for k, v in theirs.items()}, name


def test_trade_answers(venue: Driver) -> None:
    trade = venue.trading  # type: ignore[attr-defined]
    order = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01"}
    venue.trade(trade, "order.create", {**order, "price": "59900"}, req_id="test-005")
    venue.trade(trade, "order.create", {**order, "price": "59900", "category": "spot", "qty": "50"}, req_id="1")
    items = [{**order, "price": "59900", "positionIdx": 1}]
    venue.trade(trade, "order.create-batch", {"category": "linear", "request": items}, req_id="2")
    answers = {frame.get("reqId"): frame for frame in venue.frames[trade]}
    for name, req_id in (
        ("ws_trade_order.create.response", "test-005"),
        ("ws_trade_order.create.response__nautilus", "test-005"),
        ("ws_trade_order.create_error.response", "1"),
        ("ws_trade_order.create-batch.response", "2"),
    ):
        assert list(differences(answers[req_id], sample(name), frozenset())) == [], name
    assert answers["1"]["data"] == {}


def test_writes_answer_like_the_samples(venue: Driver) -> None:
    made = venue.order(orderLinkId="w-1")
    assert list(differences(made, sample("rest_order_create"), frozenset())) == []
    named = {"category": "linear", "symbol": "BTCUSDT"}
    amended = venue.post("/v5/order/amend", **named, orderLinkId="w-1", price="59800")
    assert list(differences(amended, sample("rest_order_amend"), frozenset())) == []
    canceled = venue.post("/v5/order/cancel", **named, orderLinkId="w-1")
    assert list(differences(canceled, sample("rest_order_cancel"), frozenset())) == []
    item = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59900"}
    batch = venue.post("/v5/order/create-batch", category="linear", request=[item, item])
    assert list(differences(batch, sample("rest_order_create-batch"), frozenset())) == []
    ids = [each["orderId"] for each in batch["result"]["list"]]
    changes = [{"symbol": "BTCUSDT", "orderId": each, "price": "59700"} for each in ids]
    batch = venue.post("/v5/order/amend-batch", category="linear", request=changes)
    assert list(differences(batch, sample("rest_order_amend-batch"), frozenset())) == []
    gone = [{"symbol": "BTCUSDT", "orderId": each} for each in [ids[0], "nobody"]]
    batch = venue.post("/v5/order/cancel-batch", category="linear", request=gone)
    assert list(differences(batch, sample("rest_order_cancel-batch"), frozenset())) == []
    everything = venue.post("/v5/order/cancel-all", **named)
    assert list(differences(everything, sample("rest_order_cancel-all"), frozenset())) == []
    leverage = venue.post("/v5/position/set-leverage", **named, buyLeverage="7", sellLeverage="7")
    assert list(differences(leverage, sample("rest_position_set-leverage"), frozenset())) == []
    mode = venue.post("/v5/position/switch-mode", category="linear", symbol="ETHUSDT", mode=3)
    assert list(differences(mode, sample("rest_position_switch-mode"), frozenset())) == []
    stops = venue.post("/v5/position/trading-stop", **named, positionIdx=0, tpslMode="Full", stopLoss="57000")
    assert list(differences(stops, sample("rest_position_trading-stop"), frozenset())) == []
    action = venue.post("/v5/account/set-limit-px-action", category="linear", modifyEnable=True)
    assert list(differences(action, sample("rest_account_set-limit-px-action"), frozenset())) == []
    assert action["retMsg"] == "success"


def test_a_pre_check_answers_like_the_sample(venue: Driver) -> None:
    order = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "1"}
    ours = venue.post("/v5/order/pre-check", **order, price="59000")
    assert list(differences(ours, sample("rest_order_pre-check"), frozenset())) == []


def test_subscriptions_are_refused_in_the_observed_words(venue: Driver) -> None:
    public = venue.open("/v5/public/linear")
    said = []
    for topic in ("orderbook.50.NOPEUSDT", "orderbook.1.ETHUSDT", "orderbook.1.ETHUSDT"):
        said.append(venue.say(public, {"op": "subscribe", "args": [topic], "req_id": "e"})[0])
    said.append(venue.say(public, {"op": "nonsense", "req_id": "e"})[0])
    said.append(venue.say(public, "garbage")[0])
    spot = venue.open("/v5/public/spot")
    topics = [f"orderbook.1.{number}" for number in range(11)]
    said.append(venue.say(spot, {"op": "subscribe", "args": topics, "req_id": "e"})[0])
    words = {frame["ret_msg"].partition("readObject")[0] for frame in said}
    observed = sample("ws_public_linear_errors__observed")
    for each in observed:
        theirs = each.get("received", {})
        text = theirs.get("ret_msg") or each.get("received_ret_msg") or each["received_ret_msg_prefix"]
        assert text.partition("readObject")[0] in words, each["sent"]
        assert not theirs or all(set(theirs) == set(frame) for frame in said[:3]), each["sent"]
    assert len(observed) == 5


def test_observed_refusals_have_the_observed_texts(venue: Driver) -> None:
    """Nobody should read them, but somebody will."""
    observed = {(each["retCode"], each["retMsg"]) for each in sample("rest_errors__observed")}
    named = {"category": "linear", "symbol": "BTCUSDT"}
    said = [
        venue.order(side="Long"),
        venue.order(positionIdx=1),
        venue.order(qty="0.0001"),
        venue.order(qty="9999"),
        venue.post("/v5/order/cancel", **named),
        venue.order(category="futures"),
        venue.post("/v5/position/trading-stop", category="linear", symbol="ETHUSDT", positionIdx=1, stopLoss="1000"),
        venue.post("/v5/order/cancel", **named, orderId="nobody"),
        venue.order(price="59900.05"),
        venue.order(qty="1000"),
        venue.order(symbol="ETHUSDT", side="Sell", positionIdx=1, price="3100", qty="1", reduceOnly=True),
        venue.order(symbol="ETHUSDT", positionIdx=1, price="120", qty="0.01"),
        venue.order(orderLinkId="resting"),
    ]
    missing = [(each["retCode"], each["retMsg"]) for each in said if (each["retCode"], each["retMsg"]) not in observed]
    assert [code for code, _ in missing if code != 110090] == []


def test_the_settlement_was_paid(venue: Driver) -> None:
    """A long pays a positive rate: the execution's fee is positive, the log's funding negative."""
    rows = rest(venue, "/v5/execution/list", "category=linear&execType=Funding")["result"]["list"]
    log = rest(venue, "/v5/account/transaction-log", "type=SETTLEMENT")["result"]["list"]
    assert float(rows[0]["execFee"]) > 0 > float(log[0]["funding"])
    assert MINUTE > SECOND


# What is in none of the above, and why.
NOT_SENT = {
    "archive_*": "files of the historical archive: bot/store reads them",
    "*.request": "sent by clients; pybit sends its own in tests/venue_conformance",
    "ws_trade_ping": "sent by clients",
    "ws_private_greeks": "options",
    "ws_private_order_option_filled": "options",
    "ws_public_option_subscribe.response": "options",
    "rest_market_risk-limit_inverse": "inverse contracts; the observed linear answer differs from it and is followed",
    "rest_market_instruments-info_linear_prelaunch": "nothing is listed before its launch",
    "rest_market_full-orderbook": "the full-depth book is not there",
    "ws_public_orderbook.full_delta": "the full-depth book is not there",
    "ws_public_orderbook.1_delta__nautilus": "level 1 has sent snapshots alone since 2025-03",
    "ws_public_adlAlert": "the insurance fund is not told of",
    "ws_public_insurance": "the insurance fund is not told of",
    "rest_account_set-margin-mode": "cross margin alone",
    "rest_order_disconnected-cancel-all": "refused here: it is for institutions",
    "rest_account_wallet-balance_spot_borrow__nautilus": "spot margin",
    "rest_account_wallet-balance_spot_short__nautilus": "spot margin",
    "rest_order_history_partially_filled_rejected__nautilus": "a made-up mix of states; fills are never rejected here",
    "ws_private_order_spot_partially_filled_rejected__nautilus": "a made-up mix of states",
    "rest_order_history_with_duplicate__nautilus": "an open order in the history: made up for a client's own test",
    "ws_auth_success.response__nautilus": "made up: a mix of two dialects",
    "ws_subscribe_failure.response__nautilus": "made up: the observed words are others",
    "ws_trade_auth_failure.response__nautilus": "made up: a mix of two dialects",
    "ws_public_linear_subscribe.response__nautilus": "made up: the published one has other keys",
    "ws_private_wallet__nautilus": "made up: spellings of its own, such as totalPerpUpl",
    "ws_private_wallet_small_order__nautilus": "made up: spellings of its own, such as totalPerpUpl",
    "SOURCES.md": "the list of samples",
}


def test_every_sample_is_compared_or_has_its_reason() -> None:
    here = Path(__file__)
    text = here.read_text(encoding="utf-8") + here.with_name("test_emulator_happenings.py").read_text(encoding="utf-8")
    compared, reasoned = text.partition("# What is in none of the above")[0], set()
    for path in sorted(shared_file("bybit_v5_samples").iterdir()):
        name = path.name.removesuffix(".json")
        reasons = [pattern for pattern in NOT_SENT if fnmatchcase(name, pattern)]
        reasoned.update(reasons)
        is_compared = f'"{name}"' in compared or f"/{path.name}" in text
        assert is_compared != bool(reasons), name
    assert reasoned == set(NOT_SENT)
