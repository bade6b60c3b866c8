"""What happens to an account that its client did not ask for: each kind fires, and shows what the venue shows."""

import json
from decimal import Decimal
from typing import Any

import pytest

from bot.core.venue.facts import CancelType
from bot.domain.errors import ConfigError
from bot.emulator.faults import FORCED, OWNER_REQUESTS, Fault
from bot.emulator.wire import HttpRefused, Refused
from tests.support.emulator import OTHER_KEY, OTHER_SECRET, SECOND, Driver, make_world
from tests.support.shared_data import shared_file

LINEAR = {"category": "linear", "symbol": "BTCUSDT"}
QUERY = "category=linear&symbol=BTCUSDT"
TOPICS = ("order", "execution", "position", "wallet")


@pytest.fixture
def driver() -> Driver:
    return Driver(make_world(rate_scale=0))


def let(driver: Driver, kind: Any, **fields: Any) -> None:
    """Let something happen to the first account, and make sure that it has."""
    fields.setdefault("where", {"account": "first", "symbol": "BTCUSDT"})
    driver.exchange.faults.add(Fault(kind=kind, **fields))
    before = driver.exchange.faults.fired[kind]
    driver.wait(0.1)
    assert driver.exchange.faults.fired[kind] == before + 1


def told(driver: Driver, number: int, topic: str) -> list[dict[str, Any]]:
    return [record for frame in driver.topic(number, topic) for record in frame["data"]]


def position(driver: Driver) -> dict[str, Any]:
    row: dict[str, Any] = driver.get("/v5/position/list", QUERY)["result"]["list"][0]
    return row


def log(driver: Driver, **wanted: str) -> list[dict[str, Any]]:
    query = "&".join(f"{name}={value}" for name, value in wanted.items())
    rows: list[dict[str, Any]] = driver.get("/v5/account/transaction-log", query)["result"]["list"]
    return rows


def buy(driver: Driver, qty: str = "1", **fields: Any) -> dict[str, Any]:
    return driver.order(orderType="Market", price=None, qty=qty, **fields)


# The venue and orders


@pytest.mark.parametrize("kind", CancelType)
def test_orders_are_canceled_for_every_reason_of_the_venues(driver: Driver, kind: CancelType) -> None:
    stream = driver.private(*TOPICS)
    driver.order(orderLinkId="open")
    let(driver, "venue_cancel", text=kind.value)
    record = told(driver, stream, "order")[-1]
    assert (record["orderStatus"], record["cancelType"], record["orderLinkId"]) == ("Cancelled", kind.value, "open")
    assert record["leavesQty"] == "0"
    assert driver.get("/v5/order/realtime", QUERY)["result"]["list"] == []


def test_only_the_orders_of_the_account_and_the_symbol_are_canceled(driver: Driver) -> None:
    driver.order(symbol="ETHUSDT", price="2950", qty="1")
    driver.order(key=OTHER_KEY, secret=OTHER_SECRET)
    let(driver, "venue_cancel", text="CancelByAdmin")
    open_ = driver.get("/v5/order/realtime", "category=linear&settleCoin=USDT")["result"]["list"]
    assert [row["symbol"] for row in open_] == ["ETHUSDT"]
    other = driver.get("/v5/order/realtime", QUERY, key=OTHER_KEY, secret=OTHER_SECRET)
    assert len(other["result"]["list"]) == 1


def test_protection_vanishes_without_a_word(driver: Driver) -> None:
    stream = driver.private(*TOPICS)
    buy(driver, takeProfit="61000", stopLoss="58000")
    driver.wait(0.1)
    heard = len(driver.frames[stream])
    let(driver, "stops_lost")
    assert len(driver.frames[stream]) == heard
    row = position(driver)
    assert (row["size"], row["stopLoss"], row["takeProfit"]) == ("1", "", "")
    assert driver.get("/v5/order/realtime", QUERY)["result"]["list"] == []
    buy(driver, "0.1")
    driver.wait(0.1)
    assert len(driver.frames[stream]) > heard  # whatever else happens is told of again


def test_an_order_is_rejected_after_its_acknowledgement(driver: Driver) -> None:
    stream = driver.private(*TOPICS)
    driver.exchange.faults.add(Fault(kind="async_reject", count=1, where={"account": "first"}))
    made = driver.order(orderLinkId="r")
    assert (made["retCode"], made["result"]["orderLinkId"]) == (0, "r")
    driver.wait(0.1)
    (record,) = told(driver, stream, "order")
    assert record["orderId"] == made["result"]["orderId"]
    assert (record["orderStatus"], record["rejectReason"], record["cumExecQty"]) == ("Rejected", "EC_Others", "0")
    assert driver.get("/v5/order/realtime", QUERY)["result"]["list"] == []
    (past,) = driver.get("/v5/order/history", QUERY + "&orderLinkId=r")["result"]["list"]
    assert past["orderStatus"] == "Rejected"
    assert driver.order(price="59000.05")["retCode"] == 110003  # what makes no sense is still refused at once
    assert driver.order()["retCode"] == 0


# The venue and positions


def test_deleveraging_takes_half(driver: Driver) -> None:
    stream = driver.private(*TOPICS)
    buy(driver, stopLoss="58000")
    driver.order()
    let(driver, "adl")
    record = next(each for each in told(driver, stream, "execution") if each["execType"] == "AdlTrade")
    assert (record["orderLinkId"], record["createType"]) == ("", "CreateByAdl_PassThrough")
    assert (record["execQty"], record["closedSize"], record["execFee"]) == ("0.5", "0.5", "0")
    canceled = [each["cancelType"] for each in told(driver, stream, "order") if each["orderStatus"] == "Cancelled"]
    assert canceled == ["CancelAllBeforeAdl"]
    row = position(driver)
    assert (row["size"], row["positionStatus"], row["stopLoss"]) == ("0.5", "Adl", "58000")
    assert log(driver, type="ADL")[0]["size"] == "0.5"
    order_id = record["orderId"]
    assert driver.get("/v5/order/history", f"category=linear&orderId={order_id}")["result"]["list"] == []


def test_the_last_step_is_deleveraged_whole(driver: Driver) -> None:
    buy(driver, "0.001")
    let(driver, "adl")
    assert position(driver)["size"] == "0"
    let(driver, "adl")  # flat: nothing happens


@pytest.mark.parametrize(("kind", "by"), FORCED.items())
def test_executions_that_nobody_ordered(driver: Driver, kind: str, by: str) -> None:
    stream = driver.private(*TOPICS)
    buy(driver)
    let(driver, "forced_trade", text=kind)
    record = told(driver, stream, "execution")[-1]
    assert (record["execType"], record["createType"], record["execQty"]) == (kind, by, "0.5")
    (kept,) = driver.get("/v5/execution/list", f"category=linear&execType={kind}")["result"]["list"]
    assert kept["execId"] == record["execId"]
    assert position(driver)["size"] == "0.5"
    assert position(driver)["positionStatus"] == "Normal"


def test_a_liquidation(driver: Driver) -> None:
    stream = driver.private(*TOPICS)
    buy(driver)
    driver.order()
    let(driver, "liquidation")
    orders = told(driver, stream, "order")
    assert any(each["cancelType"] == "CancelAllBeforeLiq" for each in orders)
    bust = [each for each in told(driver, stream, "execution") if each["execType"] == "BustTrade"]
    assert bust[-1]["createType"] == "CreateByTakeOver_PassThrough"
    assert position(driver)["size"] == "0"
    assert Decimal(log(driver, type="TRANSFER_OUT")[0]["change"]) < 0


def test_a_cut_risk_limit_leaves_reducing_alone(driver: Driver) -> None:
    stream = driver.private(*TOPICS)
    buy(driver)
    let(driver, "reduce_only")
    assert told(driver, stream, "position")[-1]["isReduceOnly"] is True
    assert position(driver)["isReduceOnly"] is True
    assert buy(driver, "0.1")["retCode"] == 110023
    assert driver.order(side="Sell", price="70000", qty="2")["retCode"] == 110023  # it would open a short
    assert buy(driver, "0.1", symbol="ETHUSDT")["retCode"] == 0
    assert driver.order(side="Sell", price="61000", qty="0.5", reduceOnly=True)["retCode"] == 0
    assert driver.order(side="Sell", price="61000", qty="0.5")["retCode"] == 0
    let(driver, "reduce_only", text="lifted")
    assert buy(driver, "0.1")["retCode"] == 0


# The owner, in the app


def act(driver: Driver, what: str, **body: Any) -> None:
    let(driver, "owner_request", text=what, body=body, where={"account": "first"})


def test_a_manual_order_has_no_client_id(driver: Driver) -> None:
    stream = driver.private(*TOPICS)
    act(driver, "order.create", **LINEAR, side="Buy", orderType="Market", qty="0.2")
    (record,) = told(driver, stream, "execution")
    assert (record["orderLinkId"], record["execQty"], record["createType"]) == ("", "0.2", "CreateByUser")
    assert position(driver)["size"] == "0.2"


def test_a_manual_close(driver: Driver) -> None:
    stream = driver.private(*TOPICS)
    buy(driver)
    let(driver, "manual_close")
    record = told(driver, stream, "execution")[-1]
    assert (record["createType"], record["side"], record["orderLinkId"]) == ("CreateByClosing", "Sell", "")
    assert position(driver)["size"] == "0"


def test_a_human_flips_leverage_and_mode(driver: Driver) -> None:
    stream = driver.private(*TOPICS)
    act(driver, "position.set-leverage", **LINEAR, buyLeverage="25", sellLeverage="25")
    assert position(driver)["leverage"] == "25"
    assert told(driver, stream, "position")[-1]["leverage"] == "25"
    act(driver, "position.switch-mode", **LINEAR, mode=3)
    rows = driver.get("/v5/position/list", QUERY)["result"]["list"]
    assert [row["positionIdx"] for row in rows] == [1, 2]
    assert driver.order()["retMsg"] == "position idx not match position mode"


def test_a_human_lets_prices_be_moved(driver: Driver) -> None:
    driver.post("/v5/account/set-limit-px-action", category="linear", modifyEnable=False)
    act(driver, "account.set-limit-px-action", category="linear", modifyEnable=True)
    assert driver.get("/v5/account/user-setting-config")["result"]["lpaPerp"] is False


def test_a_human_cancels_and_moves_stops(driver: Driver) -> None:
    driver.order()
    act(driver, "order.cancel-all", **LINEAR)
    assert driver.get("/v5/order/realtime", QUERY)["result"]["list"] == []
    buy(driver, stopLoss="58000")
    act(driver, "position.trading-stop", **LINEAR, positionIdx=0, stopLoss="0")
    assert position(driver)["stopLoss"] == ""


def test_what_a_human_is_refused_is_noted(driver: Driver) -> None:
    act(driver, "order.create", **LINEAR, side="Buy", orderType="Market", qty="99999")
    (refused,) = driver.exchange.happenings.refused
    assert isinstance(refused, Refused)
    assert refused.code == 10001


@pytest.mark.parametrize(("amount", "kind"), [("250", "TRANSFER_IN"), ("-250", "TRANSFER_OUT")])
def test_a_transfer(driver: Driver, amount: str, kind: str) -> None:
    stream = driver.private(*TOPICS)
    before = Decimal(log(driver, currency="USDT")[0]["cashBalance"])
    let(driver, "transfer", body={"coin": "USDT", "amount": amount}, where={"account": "first"})
    row = log(driver, currency="USDT")[0]
    assert (row["type"], row["change"]) == (kind, amount)
    coins = {coin["coin"]: coin["walletBalance"] for coin in told(driver, stream, "wallet")[-1]["coin"]}
    assert Decimal(coins["USDT"]) == before + Decimal(amount)


def test_a_transfer_of_the_margin_liquidates(driver: Driver) -> None:
    buy(driver, "10")
    let(driver, "transfer", body={"coin": "USDT", "amount": "-999000"}, where={"account": "first"})
    assert position(driver)["size"] == "0"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "venue_cancel", "text": "CancelByWhim"},
        {"kind": "forced_trade", "text": "Trade"},
        {"kind": "owner_request", "text": "order.pray"},
        {"kind": "transfer"},
        {"kind": "transfer", "body": {"coin": "USDT", "amount": "NaN"}},
        {"kind": "reduce_only", "text": "maybe"},
    ],
)
def test_what_cannot_happen_is_refused(driver: Driver, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="faults"):
        driver.exchange.faults.add(Fault(**wrong))


def test_owners_can_do_what_the_desk_knows(driver: Driver) -> None:
    for name, method in OWNER_REQUESTS.items():
        desk = driver.exchange.positions if name.startswith("position.") else driver.exchange.desk
        assert callable(getattr(desk, method))


# Connections


@pytest.mark.parametrize(("kind", "path"), [("private", "/v5/private"), ("trade", "/v5/trade")])
def test_one_socket_is_down_and_the_others_are_not(driver: Driver, kind: str, path: str) -> None:
    sockets = {
        "private": driver.private("order"),
        "trade": driver.private(path="/v5/trade"),
        "linear": driver.open("/v5/public/linear"),
    }
    driver.exchange.faults.add(Fault(kind="disconnect", where={"socket": kind}, delay_ns=60 * SECOND))
    driver.wait(1)
    assert set(driver.closed) == {sockets[kind]}
    with pytest.raises(HttpRefused) as refused:
        driver.open(path)
    assert refused.value.status == 503
    driver.open("/v5/public/spot")
    driver.wait(59.5)
    driver.private(path=path)


def test_maintenance_is_announced_and_comes(driver: Driver) -> None:
    status = driver.open("/v5/public/misc/status")
    driver.say(status, {"op": "subscribe", "args": ["system.status"]})
    driver.exchange.faults.add(Fault(kind="announcement", delay_ns=600 * SECOND, minutes=5, text="upgrade"))
    driver.wait(0.1)
    (notice,) = told(driver, status, "system.status")
    sample = json.loads(shared_file("bybit_v5_samples/ws_public_system.status.json").read_text(encoding="utf-8"))
    assert set(notice) == set(sample["data"][0])
    assert notice["state"] == "scheduled"
    assert int(notice["end"]) - int(notice["begin"]) == 300_000
    assert abs(int(notice["begin"]) - driver.now_ns // 10**6 - 600_000) < 1_000
    driver.exchange.faults.add(Fault(kind="maintenance", delay_ns=5 * SECOND))
    driver.wait(0.1)
    assert [each["state"] for each in told(driver, status, "system.status")] == ["scheduled", "ongoing"]
    assert status in driver.closed
    assert driver.request("GET", "/v5/account/info").status == 503
    driver.wait(5)
    assert driver.get("/v5/account/info")["retCode"] == 0


def test_a_restart_forgets_closed_orders_and_nothing_else(driver: Driver) -> None:
    private = driver.private("order")
    open_ = driver.order()["result"]["orderId"]
    filled = buy(driver, "0.1")["result"]["orderId"]
    recent = QUERY + "&openOnly=1"
    assert len(driver.get("/v5/order/realtime", recent)["result"]["list"]) == 2
    let(driver, "cache_lost")
    assert [row["orderId"] for row in driver.get("/v5/order/realtime", recent)["result"]["list"]] == [open_]
    history = driver.get("/v5/order/history", f"category=linear&orderId={filled}")["result"]["list"]
    assert len(history) == 1
    assert private not in driver.closed
