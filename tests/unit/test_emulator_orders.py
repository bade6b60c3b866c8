"""The emulator's money half, driven by hand: what only time, a moving price or a fault brings about."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.emulator.auth import ApiKey, Keys, signature
from bot.emulator.exchange import Exchange
from bot.emulator.faults import KINDS, Fault, Faults
from bot.emulator.limits import RateLimits
from bot.emulator.wire import HttpRefused, Refused, Request
from tests.support.emulator import KEY, OTHER_KEY, OTHER_SECRET, SECRET, Driver, make_world
from tests.support.examples import examples

LINEAR = {"category": "linear", "symbol": "BTCUSDT"}
DAY = 86_400

# The reference's own vectors.
VECTORS = [
    (
        "GET",
        "category=linear&symbol=BTCUSDT",
        b"",
        "01d815f1e23d1deca8771d2ff41424ba721353cac43b375fae6c01fc31c6495e",
    ),
    ("GET", "", b"", "1845b217426fe871dfdcf3b57eb368b98a802a60bf0476aba39f7331cd4077e3"),
    (
        "POST",
        "",
        (
            b'{"category":"linear","symbol":"BTCUSDT","side":"Buy","orderType":"Limit","qty":"0.001","price":"50000",'
            b'"timeInForce":"PostOnly","orderLinkId":"t-1"}'
        ),
        "aabf833a57f93f742d7417e50b983438b41ee155e978f1b9b3ca18c208040be0",
    ),
]


def falling(*prices: str) -> list[tuple[float, str]]:
    """Return trades a second apart."""
    return [(1.0 + n, price) for n, price in enumerate(prices)]


def orders(driver: Driver, path: str = "/v5/order/history", **wanted: Any) -> list[dict[str, Any]]:
    rows = driver.get(path, "category=linear&symbol=BTCUSDT&limit=50")["result"]["list"]
    return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]


@pytest.mark.parametrize(("method", "query", "body", "sign"), VECTORS)
def test_signatures_are_the_references(method: str, query: str, body: bytes, sign: str) -> None:
    keys = Keys([ApiKey(key=KEY, secret=SECRET, account="first")])
    headers = {
        "x-bapi-api-key": KEY,
        "x-bapi-timestamp": "1700000000000",
        "x-bapi-recv-window": "5000",
        "x-bapi-sign": sign,
    }
    request = Request(method=method, path="/", query=query, body=body, headers=headers)
    assert keys.authenticate(request, 1_700_000_000_000 * 10**6).account == "first"
    other = Request(method=method, path="/", query=query + "&a=1", body=body + b" ", headers=headers)
    with pytest.raises(Refused):
        keys.authenticate(other, 1_700_000_000_000 * 10**6)
    with pytest.raises(HttpRefused):
        Keys([]).authenticate(request, 1_700_000_000_000 * 10**6)
    assert signature(SECRET, b"GET/realtime1700000010000").startswith("d2dc1aeffe66cdb5")


@pytest.mark.parametrize(
    ("stamp_ms", "is_taken"),
    [(0, True), (999, True), (1000, False), (-5000, True), (-5001, False)],
)
def test_the_rule_of_the_clock(stamp_ms: int, is_taken: bool) -> None:
    """From the window ago, inclusive, to a second ahead, exclusive."""
    driver = Driver(make_world())
    response = driver.request("GET", "/v5/account/info", stamp_ms=driver.now_ns // 10**6 + stamp_ms)
    assert json.loads(response.body)["retCode"] == (0 if is_taken else 10002)


def test_a_stop_fires_when_its_price_comes() -> None:
    driver = Driver(make_world(steps=falling("60000", "59600", "59400", "59300")))
    stream = driver.private("order")
    driver.order(side="Sell", orderType="Market", price=None, qty="0.1", triggerPrice="59500", triggerDirection=2)
    driver.wait(6)
    states = [frame["data"][0]["orderStatus"] for frame in driver.topic(stream, "order")]
    assert states == ["Untriggered", "Triggered", "New", "Filled"]


def test_of_take_profit_and_stop_loss_one_executes() -> None:
    driver = Driver(make_world(steps=falling("60000", "59400", "58900", "58900")))
    driver.order(orderType="Market", price=None, qty="0.1", takeProfit="61000", stopLoss="59000")
    driver.wait(6)
    ended = {row["stopOrderType"]: row for row in orders(driver) if row["stopOrderType"] != "UNKNOWN"}
    assert ended["StopLoss"]["orderStatus"] == "Filled"
    assert ended["TakeProfit"]["orderStatus"] == "Cancelled"
    assert driver.get("/v5/position/list", "category=linear&symbol=BTCUSDT")["result"]["list"][0]["size"] == "0"


def test_a_trailing_stop_follows() -> None:
    driver = Driver(make_world(steps=falling("60000", "60500", "61000", "60700", "60400", "60400")))
    driver.order(orderType="Market", price=None, qty="0.1")
    driver.post("/v5/position/trading-stop", **LINEAR, positionIdx=0, tpslMode="Full", trailingStop="500")
    driver.wait(4.5)
    assert driver.get("/v5/position/list", "category=linear&symbol=BTCUSDT")["result"]["list"][0]["size"] == "0.1"
    driver.wait(2)
    (stop,) = orders(driver, stopOrderType="TrailingStop")
    assert (stop["orderStatus"], stop["createType"]) == ("Filled", "CreateByTrailingStop")


def test_a_resting_order_fills_when_the_market_trades_through_it() -> None:
    driver = Driver(make_world(steps=falling("60000", "59800", "59600")))
    stream = driver.private("order", "execution", "execution.fast")
    driver.order(price="59700", orderLinkId="maker")
    driver.wait(5)
    (execution,) = [record for frame in driver.topic(stream, "execution") for record in frame["data"]]
    assert (execution["isMaker"], execution["execPrice"], execution["feeRate"]) == (True, "59700", "0.0002")
    (fast,) = [record for frame in driver.topic(stream, "execution.fast") for record in frame["data"]]
    assert fast["orderLinkId"] == ""
    assert fast["execId"] == execution["execId"]


def test_a_falling_market_liquidates() -> None:
    """Resting orders first, then the position; the account's own money pays."""
    steps = [(1.0 + n * 0.5, str(60_000 - 500 * n)) for n in range(30)]
    driver = Driver(make_world(steps=steps, cash="12000"))
    stream = driver.private("order", "execution", "position")
    driver.post("/v5/position/set-leverage", **LINEAR, buyLeverage="50", sellLeverage="50")
    driver.order(price="40000", qty="0.01")
    driver.order(orderType="Market", price=None, qty="2")
    driver.wait(20)
    told = [record for frame in driver.topic(stream, "order") for record in frame["data"]]
    assert any(record["cancelType"] == "CancelAllBeforeLiq" for record in told)
    executions = [record for frame in driver.topic(stream, "execution") for record in frame["data"]]
    assert any(record["execType"] == "BustTrade" and record["orderLinkId"] == "" for record in executions)
    assert driver.topic(stream, "position")[-1]["data"][0]["size"] == "0"


# What the venue remembers


def test_canceled_orders_are_told_of_for_a_day_filled_ones_for_longer() -> None:
    driver = Driver(make_world())
    gone = driver.order()["result"]["orderId"]
    driver.post("/v5/order/cancel", **LINEAR, orderId=gone)
    filled = driver.order(orderType="Market", price=None)["result"]["orderId"]
    assert {row["orderId"] for row in orders(driver)} == {gone, filled}
    driver.wait(DAY + 60, step_s=600)
    assert {row["orderId"] for row in orders(driver)} == {filled}
    by_id = f"category=linear&orderId={filled}"
    driver.wait(8 * DAY, step_s=3600)
    assert orders(driver) == []
    assert len(driver.get("/v5/order/history", by_id)["result"]["list"]) == 1


def test_realtime_keeps_five_hundred_closed_orders_until_maintenance() -> None:
    driver = Driver(make_world(rate_scale=0))
    first = driver.order()["result"]["orderId"]
    driver.post("/v5/order/cancel", **LINEAR, orderId=first)
    for _ in range(500):
        made = driver.order()["result"]["orderId"]
        driver.post("/v5/order/cancel", **LINEAR, orderId=made)
    query = "category=linear&symbol=BTCUSDT&openOnly=1&limit=50"
    seen, cursor = 0, ""
    while True:
        result = driver.get("/v5/order/realtime", query + (f"&cursor={cursor}" if cursor else ""))["result"]
        if not result["list"]:
            break
        seen, cursor = seen + len(result["list"]), result["nextPageCursor"]
    assert seen == 500
    assert driver.get("/v5/order/realtime", f"category=linear&orderId={first}")["result"]["list"] == []
    driver.exchange.faults.add(Fault(kind="maintenance", delay_ns=10**9))
    driver.wait(2)
    assert driver.get("/v5/order/realtime", query)["result"]["list"] == []
    assert len(driver.get("/v5/order/history", f"category=linear&orderId={first}")["result"]["list"]) == 1


def test_one_cancel_all_reaches_five_hundred() -> None:
    driver = Driver(make_world(rate_scale=0))
    for symbol, price, qty in (("BTCUSDT", "59000", "0.001"), ("ETHUSDT", "2950", "0.01")):
        for _ in range(300):
            assert driver.order(symbol=symbol, price=price, qty=qty)["retCode"] == 0
    canceled = driver.post("/v5/order/cancel-all", category="linear", settleCoin="USDT")["result"]["list"]
    assert len(canceled) == 500
    again = driver.post("/v5/order/cancel-all", category="linear", settleCoin="USDT")["result"]["list"]
    assert len(again) == 100


def test_stale_reads_hide_what_is_new() -> None:
    driver = Driver(make_world(faults=[Fault(kind="stale_read", delay_ns=3 * 10**9, where={"path": "order"})]))
    driver.order()
    assert orders(driver, "/v5/order/realtime") == []
    driver.wait(4)
    assert len(orders(driver, "/v5/order/realtime")) == 1


# Connections


def test_a_private_connection_that_says_nothing_is_ended() -> None:
    driver = Driver(make_world())
    plain = driver.private("order")
    short = driver.private("order", path="/v5/private")
    brief = driver.open("/v5/private", "max_active_time=30s")
    for _ in range(12):
        driver.wait(55, step_s=1)
        driver.say(plain, {"op": "ping"})
    assert set(driver.closed) == {short, brief}


def test_a_public_connection_with_nothing_to_say_is_ended() -> None:
    driver = Driver(make_world())
    idle = driver.open("/v5/public/linear")
    busy = driver.open("/v5/public/linear")
    driver.say(busy, {"op": "subscribe", "args": ["publicTrade.BTCUSDT"]})
    driver.wait(70, step_s=1)
    assert set(driver.closed) == {idle}


def test_frames_are_lost_repeated_delayed_and_swapped() -> None:
    driver = Driver(make_world())
    stream = driver.private("order")
    faults = driver.exchange.faults

    def links(kind: str, **options: Any) -> list[str]:
        faults.clear()
        faults.add(Fault(kind=kind, where={"topic": "order"}, count=1, **options))  # type: ignore[arg-type]
        before = len(driver.topic(stream, "order"))
        for name in ("a", "b"):
            driver.order(orderLinkId=f"{kind}-{name}")
            driver.wait(0.05)
        driver.wait(1)
        return [frame["data"][0]["orderLinkId"][-1] for frame in driver.topic(stream, "order")[before:]]

    assert links("drop_frame") == ["b"]
    assert links("duplicate_frame") == ["a", "a", "b"]
    assert links("delay_frame", delay_ns=500_000_000) == ["b", "a"]
    assert links("reorder_frame") == ["b", "a"]
    assert all(faults.fired[kind] == 1 for kind in ("drop_frame", "duplicate_frame", "delay_frame", "reorder_frame"))


def test_a_disconnection_of_one_kind() -> None:
    driver = Driver(make_world(faults=[Fault(kind="disconnect", from_ns=10**9, where={"socket": "private"})]))
    private, trade = driver.private("order"), driver.private(path="/v5/trade")
    driver.wait(2)
    assert set(driver.closed) == {private}
    assert driver.say(trade, {"op": "ping"})[-1]["op"] == "pong"


def test_an_answer_may_come_before_or_after_its_event() -> None:
    driver = Driver(make_world(rate_scale=0))
    stream, trade = driver.private("order"), driver.private(path="/v5/trade")
    firsts = set()
    order = {**LINEAR, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59000"}
    for number in range(30):
        had = len(driver.frames[stream]), len(driver.frames[trade])
        header = {"X-BAPI-TIMESTAMP": str(driver.now_ns // 10**6)}
        asked = {"reqId": str(number), "header": header, "op": "order.create", "args": [order]}
        driver.exchange.handle_frame(trade, json.dumps(asked), driver.now_ns)
        while (len(driver.frames[stream]), len(driver.frames[trade])) == had:
            driver.wait(0.0002, step_s=0.0002)
        firsts.add("event" if len(driver.frames[stream]) > had[0] else "answer")
        driver.wait(0.05)
    assert firsts == {"event", "answer"}


# Repeatability


def scripted(seed_faults: bool) -> list[str]:
    """Return everything that a fixed script is told, byte for byte."""
    faults = [Fault(kind="drop_frame", probability=0.3), Fault(kind="delay_frame", probability=0.3, delay_ns=10**7)]
    driver = Driver(make_world(steps=falling("60000", "59600", "59400"), faults=faults if seed_faults else ()))
    stream = driver.private("order", "execution", "position", "wallet")
    driver.say(driver.open("/v5/public/linear"), {"op": "subscribe", "args": ["orderbook.50.BTCUSDT"]})
    answers = [
        driver.order(price="59500", orderLinkId="x"),
        driver.order(orderType="Market", price=None, qty="0.3"),
        driver.order(category="spot", orderType="Market", price=None, qty="50"),
    ]
    driver.wait(5)
    return [json.dumps(answers), *(json.dumps(frames) for frames in driver.frames.values()), str(stream)]


@pytest.mark.parametrize("seed_faults", [False, True])
def test_the_same_script_hears_the_same_bytes(seed_faults: bool) -> None:
    assert scripted(seed_faults) == scripted(seed_faults)


def test_faults_fire_by_seed_and_are_counted() -> None:
    def fired(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.add(Fault(kind="drop_frame", probability=0.5, skip=2, count=5, where={"topic": "order*"}))
        return [faults.hit("drop_frame", n, topic="order.linear") is not None for n in range(50)]

    assert fired(1) == fired(1) != fired(2)
    assert sum(fired(1)) == 5
    assert fired(1)[:2] == [False, False]
    faults = Faults(1)
    faults.add(Fault(kind="stall", where={"topic": "tickers.*"}))
    assert faults.hit("stall", 0, topic="orderbook.1.BTCUSDT") is None
    assert len(KINDS) == len(set(KINDS))


# Limits


def test_limits_roll_by_the_second() -> None:
    limits = RateLimits()
    second = 10**9
    for number in range(10):
        assert limits.take("a", "order.create", "linear", number * 10).left == 9 - number
    refused = limits.take("a", "order.create", "linear", 100)
    assert (refused.taken, refused.left) == (0, 0)
    assert refused.reset_ns >= second
    assert limits.take("b", "order.create", "linear", 100).taken == 1
    assert limits.take("a", "order.create", "spot", 100).taken == 1
    assert limits.take("a", "order.create", "linear", second + 5).taken == 1
    assert limits.take("a", "order.create-batch", "linear", 100, 15).taken == 10


def test_an_address_is_banned_for_ten_minutes() -> None:
    limits = RateLimits()
    assert all(limits.admits("ip", 0) for _ in range(600))
    assert not limits.admits("ip", 1)
    assert not limits.admits("ip", 599 * 10**9)
    assert limits.admits("ip", 602 * 10**9)
    assert limits.admits("other", 1)


# Money


def test_money_is_conserved_between_two_accounts() -> None:
    """Whatever two accounts trade, what they have together falls by the fees and nothing else."""
    driver = Driver(make_world(rate_scale=0))
    for number in range(20):
        mine = {"side": "Buy" if number % 2 else "Sell", "qty": f"0.{1 + number % 7}"}
        driver.order(**mine, orderType="Market", price=None)
        driver.order(
            key=OTHER_KEY, secret=OTHER_SECRET, side="Sell" if number % 2 else "Buy", qty=mine["qty"], price="60000"
        )
        driver.wait(0.3)
    for key, secret in ((KEY, SECRET), (OTHER_KEY, OTHER_SECRET)):
        log = driver.get("/v5/account/transaction-log", "currency=USDT&limit=50", key=key, secret=secret)
        wallet = driver.get("/v5/account/wallet-balance", "accountType=UNIFIED&coin=USDT", key=key, secret=secret)
        coin = wallet["result"]["list"][0]["coin"][0]
        rows = log["result"]["list"]
        assert rows[0]["cashBalance"] == coin["walletBalance"]
        executions = driver.get("/v5/execution/list", "category=linear&limit=100", key=key, secret=secret)
        held = sum(
            Decimal(row["execQty"]) * (1 if row["side"] == "Buy" else -1) for row in executions["result"]["list"]
        )
        place = driver.get("/v5/position/list", "category=linear&symbol=BTCUSDT", key=key, secret=secret)
        row = place["result"]["list"][0]
        assert held == Decimal(row["size"]) * (1 if row["side"] == "Buy" else -1)


# Whatever is sent

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_WORDS = """
    linear spot BTCUSDT ETHUSDT Buy Sell Limit Market 0 1e9 -1 NaN Infinity 0.1 1 5 60000 60000.1 59000 61000 1e-5 GTC
    IOC FOK PostOnly Full Partial Order StopOrder tpslOrder TickSize Percent quoteCoin Queue Counterparty CancelBoth
    used-once
"""
WORDS = st.sampled_from([*_WORDS.split(), ""])
_NAMES = """
    category symbol side orderType qty price orderId orderLinkId triggerPrice triggerDirection timeInForce takeProfit
    stopLoss tpslMode positionIdx reduceOnly request cursor limit startTime endTime interval start end mode coin
    buyLeverage sellLeverage settleCoin openOnly orderFilter marketUnit slippageToleranceType slippageTolerance
    bboSideType bboLevel smpType trailingStop closeOnTrigger tpLimitPrice tpOrderType activePrice
"""
_PATHS = """
    /v5/order/create /v5/order/amend /v5/order/cancel /v5/order/cancel-all /v5/order/create-batch
    /v5/order/amend-batch /v5/order/cancel-batch /v5/position/set-leverage /v5/position/switch-mode
    /v5/position/trading-stop /v5/account/set-limit-px-action
"""
_READS = """
    /v5/order/realtime /v5/order/history /v5/execution/list /v5/position/list /v5/position/closed-pnl
    /v5/account/wallet-balance /v5/account/transaction-log /v5/account/fee-rate /v5/market/kline /v5/market/orderbook
    /v5/market/tickers /v5/market/recent-trade /v5/market/funding/history /v5/market/instruments-info
    /v5/market/risk-limit /v5/market/price-limit /v5/market/open-interest
"""
NAMES = st.sampled_from(_NAMES.split())
# Mostly an order that could be meant, with some of it changed: else nothing gets beyond the first check.
ORDER = st.fixed_dictionaries(
    {
        "category": st.sampled_from(["linear", "linear", "spot"]),
        "symbol": st.just("BTCUSDT"),
        "side": st.sampled_from(["Buy", "Sell"]),
        "orderType": st.sampled_from(["Limit", "Market"]),
        "qty": st.sampled_from(["0.01", "0.5", "20", "0"]),
        "price": st.sampled_from(["59000", "60000", "60000.1", "61000"]),
    }
)
CHANGES = st.dictionaries(NAMES, WORDS | st.integers(0, 3) | st.booleans() | JSON, max_size=5)
BODIES = st.tuples(ORDER, CHANGES).map(lambda parts: {**parts[0], **parts[1]})
PATHS = st.sampled_from(_PATHS.split())
READS = st.sampled_from(_READS.split())
OPS = st.sampled_from(["ping", "auth", "subscribe", "unsubscribe", "order.create", "order.cancel-batch", "", "x" * 99])
FUZZ = settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def fuzzed() -> Driver:
    return Driver(make_world(rate_scale=0))


def holds(driver: Driver) -> None:
    """Fail where something that must be so whatever was sent is not."""
    exchange: Exchange = driver.exchange
    for client in exchange.clients.values():
        opened = {record.order_id for record in exchange.model.orders(client.name)}
        assert opened == set(client.archive.open)


@FUZZ
@given(path=PATHS, body=BODIES | JSON, raw=st.none() | st.binary(max_size=40))
def test_no_body_breaks_the_venue(fuzzed: Driver, path: str, body: Any, raw: bytes | None) -> None:
    sent = json.dumps(body).encode() if raw is None else raw
    response = fuzzed.request("POST", path, body=sent)
    assert response.status == 200
    assert isinstance(json.loads(response.body)["retCode"], int)
    fuzzed.wait(0.01)
    holds(fuzzed)


@FUZZ
@given(path=READS, query=st.dictionaries(NAMES, WORDS | st.text(max_size=8), max_size=6))
def test_no_query_breaks_the_venue(fuzzed: Driver, path: str, query: dict[str, str]) -> None:
    response = fuzzed.request("GET", path, query="&".join(f"{key}={value}" for key, value in query.items()))
    assert response.status == 200
    assert isinstance(json.loads(response.body)["retCode"], int)


@FUZZ
@given(
    path=st.sampled_from(["/v5/public/linear", "/v5/public/spot", "/v5/private", "/v5/trade"]),
    frames=st.lists(st.fixed_dictionaries({"op": OPS, "args": JSON, "header": JSON, "reqId": JSON}) | JSON, max_size=4),
    text=st.text(max_size=20),
)
def test_no_frame_breaks_the_venue(fuzzed: Driver, path: str, frames: list[Any], text: str) -> None:
    number = fuzzed.private(path=path) if path in ("/v5/private", "/v5/trade") else fuzzed.open(path)
    for frame in [*(json.dumps(each) for each in frames), text, "[" * 5_000]:
        fuzzed.say(number, frame)
    assert fuzzed.say(number, {"op": "ping"})
    fuzzed.exchange.close_socket(number)
    holds(fuzzed)


@pytest.mark.soak
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=PATHS, body=BODIES | JSON)
def test_no_body_breaks_the_venue_in_the_long_run(fuzzed: Driver, path: str, body: Any) -> None:
    response = fuzzed.request("POST", path, body=json.dumps(body).encode())
    assert response.status == 200
    fuzzed.wait(0.01)
    holds(fuzzed)
