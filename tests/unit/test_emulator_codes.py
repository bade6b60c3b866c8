"""Every code of the venue's table: brought about by a request that earns it, or said because a fault says so.

The table is the reference's own, read out of it: a code that is in neither list here fails the test.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from bot.emulator.auth import ApiKey
from bot.emulator.exchange import World
from bot.emulator.faults import Fault
from bot.emulator.player import MarketSource
from bot.emulator.synthetic import BookMaker
from tests.support.emulator import (
    ETH,
    KEY,
    READ_ONLY_KEY,
    READ_ONLY_SECRET,
    SECRET,
    Driver,
    make_world,
    trades_at,
)
from tests.support.shared_data import shared_file

LINEAR = {"category": "linear", "symbol": "BTCUSDT"}
SPOT = {"category": "spot", "symbol": "BTCUSDT"}
TRIGGER = {"triggerPrice": "59500", "triggerDirection": 2}
ORDER = {**LINEAR, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59000"}

Answer = dict[str, Any]


def small_world(**options: Any) -> World:
    """Return a world that is quickly made."""
    return make_world(**{"rate_scale": 0, "each_s": 5.0, "seconds": 60, **options})


Deed = Callable[[Driver], Answer]


def _order(**fields: Any) -> Deed:
    return lambda driver: driver.order(**fields)


def _market(driver: Driver, qty: str = "1", **fields: Any) -> Answer:
    return driver.order(orderType="Market", price=None, qty=qty, **fields)


def _post(path: str, **body: Any) -> Deed:
    return lambda driver: driver.post(path, **body)


def _twice(deed: Deed) -> Deed:
    def do(driver: Driver) -> Answer:
        assert deed(driver)["retCode"] == 0
        return deed(driver)

    return do


def _skewed(driver: Driver) -> Answer:
    return _json(driver.request("GET", "/v5/account/info", stamp_ms=driver.now_ns // 10**6 - 60_000))


def _json(response: Any) -> Answer:
    answer: Answer = json.loads(response.body)
    return answer


def _socket(driver: Driver, *frames: dict[str, Any], path: str = "/v5/trade") -> Answer:
    number = driver.private(path=path)
    return [driver.say(number, frame) for frame in frames][-1][0]


def _socket_order(driver: Driver, op: str = "order.create", **fields: Any) -> dict[str, Any]:
    header = {"X-BAPI-TIMESTAMP": str(driver.now_ns // 10**6)}
    return {"reqId": "r", "header": header, "op": op, "args": [{**ORDER, **fields}]}


def _revoked(driver: Driver) -> Answer:
    number = driver.private(path="/v5/trade")
    driver.exchange.keys.revoke("first")
    return driver.say(number, _socket_order(driver))[0]


def _key(**changed: Any) -> Deed:
    def do(driver: Driver) -> Answer:
        driver.exchange.keys.replace(ApiKey(**{"key": KEY, "secret": SECRET, "account": "first", **changed}))
        return driver.get("/v5/account/info")

    return do


def _limited(driver: Driver) -> Answer:
    driver = Driver(small_world(rate_scale=1))
    answers = [driver.order() for _ in range(11)]
    return answers[-1]


def _flooded(driver: Driver) -> Answer:
    driver = Driver(small_world(has_address_limit=True))
    number = driver.private(path="/v5/trade")
    for count in range(3_001):
        frame = {**_socket_order(driver, "order.cancel", orderId="x"), "reqId": str(count)}
        driver.exchange.handle_frame(number, json.dumps(frame), driver.now_ns)
    driver.wait(0.5)
    return driver.frames[number][-1] if driver.frames[number][-1]["retCode"] == 10403 else _last(driver, number, 10403)


def _last(driver: Driver, number: int, code: int) -> Answer:
    return next(frame for frame in driver.frames[number] if frame["retCode"] == code)


def _closed(category: str) -> Deed:
    def do(driver: Driver) -> Answer:
        listing = driver.exchange.listings.find(category, "BTCUSDT")
        driver.exchange.listings.change(replace(listing, status="Closed"))
        return driver.order(category=category)

    return do


def _reduce_only(driver: Driver) -> Answer:
    driver.exchange.faults.add(Fault(kind="reduce_only"))
    driver.wait(0.1)
    return driver.order()


def _many(count: int, **fields: Any) -> Deed:
    def do(driver: Driver) -> Answer:
        return [driver.order(**fields) for _ in range(count)][-1]

    return do


def _without_a_price(driver: Driver) -> Answer:
    world = small_world()
    later = trades_at(ETH, world.start_ns, [(50.0, "3000")])
    silent = MarketSource(trades=iter([later]), book=BookMaker(instrument=ETH))
    sources = {name: silent if name == "ETHUSDT" else source for name, source in world.sources.items()}
    return Driver(replace(world, sources=sources)).order(symbol="ETHUSDT", price="3000", qty="1")


def _stops(driver: Driver, **fields: Any) -> Answer:
    return driver.post("/v5/position/trading-stop", **LINEAR, positionIdx=0, **fields)


def _same_stops(driver: Driver) -> Answer:
    _market(driver)
    _stops(driver, stopLoss="58000")
    return _stops(driver, stopLoss="58000")


def _full_mode_limit(driver: Driver) -> Answer:
    _market(driver)
    return _stops(driver, tpslMode="Full", takeProfit="61000", tpOrderType="Limit", tpLimitPrice="61000")


def _too_large_partial(driver: Driver) -> Answer:
    _market(driver)
    return _stops(driver, tpslMode="Partial", takeProfit="61000", tpSize="2")


def _twenty_one_partials(driver: Driver) -> Answer:
    _market(driver)
    said = [_stops(driver, tpslMode="Partial", takeProfit=str(60_500 + n), tpSize="0.01") for n in range(21)]
    assert [each["retCode"] for each in said[:20]] == [0] * 20
    return said[-1]


def _amended_below_filled(driver: Driver) -> Answer:
    made = driver.order(price="60000.2", qty="60")  # more than the made book holds up to there
    row = driver.get("/v5/order/realtime", "category=linear&orderId=" + made["result"]["orderId"])["result"]["list"][0]
    assert row["orderStatus"] == "PartiallyFilled"
    return driver.post("/v5/order/amend", **LINEAR, orderId=made["result"]["orderId"], qty="0.001")


def _mode(driver: Driver, before: Deed | None = None, mode: int = 3) -> Answer:
    if before is not None:
        before(driver)
    return driver.post("/v5/position/switch-mode", **LINEAR, mode=mode)


def _leverage(value: str) -> Deed:
    return _post("/v5/position/set-leverage", **LINEAR, buyLeverage=value, sellLeverage=value)


# What earns a code.
EARNED: dict[int, Deed] = {
    0: _order(),
    10001: _order(side="Long"),
    10002: _skewed,
    10003: _revoked,
    10004: lambda driver: driver.get("/v5/account/info", secret="wrong"),
    10005: lambda driver: driver.order(key=READ_ONLY_KEY, secret=READ_ONLY_SECRET),
    10006: _limited,
    10010: _key(addresses=("10.0.0.1",)),
    10403: _flooded,
    20006: lambda driver: _socket(driver, _socket_order(driver), _socket_order(driver)),
    33004: _key(expires_ns=1),
    34040: _same_stops,
    110001: _post("/v5/order/cancel", **LINEAR, orderId="nobody"),
    110003: _order(price="59000.05"),
    110007: _order(qty="400"),
    110009: _many(11, **TRIGGER),
    110013: _leverage("500"),
    110017: _order(side="Sell", reduceOnly=True),
    110020: _many(501, qty="0.001"),
    110023: _reduce_only,
    110024: lambda driver: _mode(driver, _market),
    110025: lambda driver: _mode(driver, mode=0),
    110028: lambda driver: _mode(driver, _order()),
    110043: _leverage("10"),
    110057: _order(reduceOnly=True, stopLoss="50000"),
    110058: _full_mode_limit,
    110059: _too_large_partial,
    110061: _twenty_one_partials,
    110064: _amended_below_filled,
    110072: _twice(_order(orderLinkId="once")),
    110074: _closed("linear"),
    110090: _order(qty="1000"),
    110092: _order(triggerPrice="59500", triggerDirection=1),
    110093: _order(triggerPrice="60500", triggerDirection=2),
    110118: _without_a_price,
    110094: _order(symbol="ETHUSDT", qty="0.01", price="120"),
    170121: _order(category="spot", symbol="NOPEUSDT"),
    170124: _order(category="spot", qty="100"),
    170130: _order(category="spot", reduceOnly=True),
    170131: _order(category="spot", qty="40"),
    170134: _order(category="spot", price="59000.05"),
    170137: _order(category="spot", qty="0.00000001"),
    170140: _order(category="spot", qty="0.00001"),
    170141: _twice(_order(category="spot", orderLinkId="once")),
    170157: _closed("spot"),
    170193: _order(category="spot", price="70000"),
    170194: _order(category="spot", side="Sell", price="50000"),
    170213: _post("/v5/order/cancel", **SPOT, orderId="1600000000000000001"),
    170810: _many(
        31, category="spot", side="Sell", price="57000", qty="0.01", orderFilter="StopOrder", triggerPrice="58000"
    ),
}

# What is said only because a fault says so (`error_before`, `error_after`, `http_status`), and why nothing earns it.
SCRIPTED: dict[str, tuple[int, ...]] = {
    "trouble inside the venue": (
        *(429, 10000, 10016, 10019, 10429, 170001, 170005, 170007, 170032, 500000, 170146, 170147, 170310),
        *(110063, 110079, 170191, 170212),
    ),
    "another word for a stale or repeated request": (-1, 10014, 170222, 20003, 10018),
    "compliance, bans and agreements": (10007, 10008, 10009, 10024, 10027, 10028, 10029, -2015, 110123, 110124, 110125),
    "an unknown path is an HTTP 404 here": (10017,),
    "delisting and restrictions of symbols are 110074, 110023 and 170157 here": (
        *(30228, 110042, 110066, 170151, 110021, 110022),
    ),
    "another word for a price out of bounds": (110120, 110121, 170132, 170133, 170192, 170210, 170218),
    "another word for too little balance or margin: 110007 and 170131 here": (
        *(110004, 110006, 110012, 110044, 110045, 110051, 110052, 110053, 170033),
    ),
    "an account is liquidated at once here, so that nothing is asked meanwhile": (110005, 110011, 110040, 110046),
    "another word for an order that has ended: 110001 and 170213 here": (
        110008,
        110010,
        170139,
        170142,
        170143,
        170190,
    ),
    "another word for leverage and risk limits: 110013 and 110090 here": (110086, 110089),
    "isolated margin": (110026, 110027),
    "ids that cannot be are 110001 here": (110032, 110019),
    "what it forbids is not told apart from 110057 to 110059 here": (110060,),
    "another word for precision, sizes and values: 10001, 170137, 170140 and 170124 here": (
        *(170136, 170148, 170371, 170372, 170381, 170382),
    ),
}
_HTTP = {429}


@pytest.fixture
def driver() -> Driver:
    return Driver(small_world())


@pytest.mark.parametrize("code", EARNED)
def test_a_code_is_earned(driver: Driver, code: int) -> None:
    answer = EARNED[code](driver)
    assert answer["retCode"] == code, answer
    if code:
        assert answer["retMsg"]


@pytest.fixture(scope="module")
def shared() -> Driver:
    return Driver(small_world())


@pytest.mark.parametrize("code", [code for codes in SCRIPTED.values() for code in codes])
def test_a_code_is_said_over_http_and_on_the_order_stream(shared: Driver, code: int) -> None:
    """Before and after: with an order behind it and without."""
    trade = shared.private(path="/v5/trade")
    faults = shared.exchange.faults
    for number, kind in enumerate(("error_before", "error_after")):
        faults.clear()
        faults.add(Fault(kind=kind, code=code, count=2))  # type: ignore[arg-type]
        link = f"c{code}-{number}"
        assert shared.order(orderLinkId=link)["retCode"] == code
        said = shared.trade(trade, "order.create", {**ORDER, "orderLinkId": link + "-s"}, req_id=link)
        assert (said[0]["retCode"], said[0]["data"]) == (code, {})
        rows = shared.get("/v5/order/realtime", f"category=linear&orderLinkId={link}")["result"]["list"]
        assert len(rows) == number
    faults.clear()
    shared.post("/v5/order/cancel-all", **LINEAR)
    if code in _HTTP:
        faults.add(Fault(kind="http_status", status=code, count=1))
        assert shared.request("GET", "/v5/account/info").status == code


def table() -> set[int]:
    """Return the codes of the reference's table."""
    text = shared_file("bybit_v5.md").read_text(encoding="utf-8")
    chapter = text.partition("## 14. Error codes")[2].partition("## 15.")[0]
    codes: set[int] = set()
    for line in chapter.replace("\N{EN DASH}", "..").splitlines():
        if line.startswith("| "):
            codes.update(int(each) for each in re.findall(r"\d{5,6}", line))
            codes.update(int(each) for each in re.findall(r"-?\d+\b", line.split("|")[1]))
            for low, high in re.findall(r"(\d{5,6})\.\.(\d{5,6})", line):
                codes.update(range(int(low), int(high) + 1))
    return codes


def test_every_code_of_the_table_is_here() -> None:
    scripted = [code for codes in SCRIPTED.values() for code in codes]
    assert len(scripted) == len(set(scripted))
    assert not set(scripted) & set(EARNED)
    assert table() - {*scripted, *EARNED} == set()
    assert {*scripted, *EARNED} - table() - {0} == set()


def test_codes_of_the_order_stream(driver: Driver) -> None:
    """Those that its own chapter adds."""
    signed = {"op": "auth", "args": [KEY, driver.now_ns // 10**6 + 10_000, "x"]}
    assert _socket(driver, signed)["retCode"] == 20001
    assert _socket(driver, {**_socket_order(driver), "op": "order.pray"})["retCode"] == 10404
    assert _socket(driver, _socket_order(driver, category="option"))["retCode"] == 10404
    assert _socket(driver, {"op": "subscribe", "args": ["order"]})["retCode"] == 10404
