"""A recorded book is played as it was: what a client rebuilds of it is the recording's own book."""

import dataclasses
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from bot.core.venue.book_tape import BookTape
from bot.core.venue.contract import ASSUMED_TIER, linear_contract
from bot.domain.instrument import Instrument
from bot.domain.market import BookDeltaBatch
from bot.emulator.listing import Listing
from bot.emulator.player import MarketSource
from tests.support.emulator import SECOND, Driver, make_world
from tests.support.real_books import USDM_BTC, book_of
from tests.support.real_trades import captured_perpetual

_SECONDS = 15


def _instrument() -> Instrument:
    return structs.replace(USDM_BTC.instrument, qty_max=Decimal(500))


def _book() -> BookDeltaBatch:
    return dataclasses.replace(book_of(USDM_BTC), instrument=_instrument())


@pytest.fixture(scope="module")
def played() -> Driver:
    """Return a venue that has played fifteen seconds of a real book and its trades to a client."""
    instrument, book = _instrument(), _book()
    start_ns = int(book.ts_ns[0]) + 5 * SECOND
    trades = dataclasses.replace(captured_perpetual(), instrument=instrument)
    world = make_world(start_ns, rate_scale=0)
    listing = Listing(
        symbol="BTCUSDT",
        contract=linear_contract(instrument, [ASSUMED_TIER]),
        symbol_id=5,
        launch_ms=0,
        price_places=1,
    )
    pieces = (book.rows(at, min(at + 4096, len(book))) for at in range(0, len(book), 4096))
    source = MarketSource(trades=iter([trades]), book=pieces)
    driver = Driver(structs.replace(world, listings=[listing], sources={"BTCUSDT": source}))
    driver.number = driver.open("/v5/public/linear")  # type: ignore[attr-defined]
    driver.say(driver.number, {"op": "subscribe", "args": ["orderbook.50.BTCUSDT", "publicTrade.BTCUSDT"]})  # type: ignore[attr-defined]
    driver.wait(_SECONDS, step_s=0.02)
    return driver


def _frames(driver: Driver, topic: str) -> list[dict[str, Any]]:
    return driver.topic(driver.number, topic)  # type: ignore[attr-defined]


def test_the_book_that_a_client_rebuilds_is_the_recorded_one(played: Driver) -> None:
    sides: dict[str, dict[str, str]] = {"b": {}, "a": {}}
    updates = []
    frames = _frames(played, "orderbook.50.BTCUSDT")
    for frame in frames:
        updates.append(frame["data"]["u"])
        for side, levels in sides.items():
            if frame["type"] == "snapshot":
                levels.clear()
            for price, qty in frame["data"][side]:
                if qty == "0":
                    del levels[price]
                else:
                    levels[price] = qty
            assert len(levels) == 50
    assert len(updates) > 200
    assert np.all(np.diff(updates) == 1)
    instrument = _instrument()
    tape = BookTape(instrument)
    tape.extend(_book(), int(_book().ts_ns[0]))
    tape.advance(frames[-1]["ts"] * 10**6 + 10**6)
    for name, side in (("b", "bid"), ("a", "ask")):
        ticks, steps = tape.levels(side, 50)  # type: ignore[arg-type]
        recorded = {instrument.price(int(at)): instrument.qty(int(qty)) for at, qty in zip(ticks, steps, strict=True)}
        assert {Decimal(price): Decimal(qty) for price, qty in sides[name].items()} == recorded


def test_its_trades_are_the_recorded_ones(played: Driver) -> None:
    told = [each for frame in _frames(played, "publicTrade.BTCUSDT") for each in frame["data"]]
    recorded = captured_perpetual()
    first = int(np.searchsorted(recorded.ts_ns, told[0]["T"] * 10**6))
    assert len(told) > 300
    assert [each["T"] for each in told] == (recorded.ts_ns[first : first + len(told)] // 10**6).tolist()


def test_an_order_fills_at_the_recorded_levels(played: Driver) -> None:
    answer = played.get("/v5/market/orderbook", "category=linear&symbol=BTCUSDT&limit=50")["result"]
    qty = Decimal(answer["a"][0][1]) + Decimal(answer["a"][1][1])
    played.order(orderType="Market", price=None, qty=str(qty))
    rows = played.get("/v5/execution/list", "category=linear")["result"]["list"]
    filled = {Decimal(row["execPrice"]): Decimal(row["execQty"]) for row in rows}
    assert filled == {Decimal(price): Decimal(size) for price, size in answer["a"][:2]}
