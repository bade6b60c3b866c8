"""The words that scenarios at the venue model are written in: orders, stops, settings, rows of market data."""

import re
from collections.abc import Iterable
from decimal import Decimal

import numpy as np
from msgspec.structs import replace

from bot.core.venue.contract import Contract
from bot.core.venue.impact import FixedSpread, SquareRootImpact
from bot.core.venue.market import BarPath, FillModel, Queue
from bot.core.venue.orders import ExitLeg, Exits, Kind, NewOrder, PriceSource, Smp, StopsWanted, Tif, Trigger
from bot.core.venue.queue import Probabilistic, RiskAverse, Through, Touch
from bot.domain.instrument import Instrument, Side
from bot.domain.market import BarBatch, BookDeltaBatch, FundingBatch, TradeBatch
from tests.support.venue_accounts import linear, spot

SCALE_NS = 10  # of the bars
SOURCES = {"last": PriceSource.LAST, "mark": PriceSource.MARK, "index": PriceSource.INDEX}
QUEUES: dict[str, Queue] = {
    "through": Through(),
    "touch": Touch(),
    "averse": RiskAverse(),
    "even": Probabilistic(kind="power", n=1),
}
INDEX = {"oneway": 0, "long": 1, "short": 2}


# Reading requests


def number(word: str | None) -> Decimal | None:
    return None if word is None else Decimal(word)


def leg(word: str) -> ExitLeg:
    """Return 110, 110:mark or 110/110.5, the last with a limit."""
    price, _, source = word.partition(":")
    price, _, limit = price.partition("/")
    return ExitLeg(
        price=Decimal(price), source=SOURCES[source or "last"], limit_price=Decimal(limit) if limit else None
    )


def exits_of(words: Iterable[str]) -> Exits | None:
    words = list(words)
    legs = {key: leg(value) for key, _, value in (word.partition("=") for word in words) if key in {"tp", "sl"}}
    if not legs:
        return None
    return Exits(take_profit=legs.get("tp"), stop_loss=legs.get("sl"), is_partial="partial" in words)


def stops_of(instrument: str, words: list[str]) -> StopsWanted:
    options = {key: value for key, _, value in (word.partition("=") for word in words)}
    exits = exits_of(words)
    return StopsWanted(
        instrument=instrument,
        position_index=next((INDEX[word] for word in words if word in INDEX), 0),
        is_partial="partial" in words,
        take_profit=None if exits is None else exits.take_profit,
        stop_loss=None if exits is None else exits.stop_loss,
        qty=number(options.get("qty")),
        trailing_distance=number(options.get("trail")),
        active_price=number(options.get("active")),
    )


def order_of(instrument: str, client_order_id: str, side: str, qty: str, words: Iterable[str] = ()) -> NewOrder:
    """Return an order: `@price` makes it a limit order; - as its id gives it none."""
    order = NewOrder(
        instrument=instrument,
        side=Side(side),
        kind=Kind.MARKET,
        qty=Decimal(qty),
        client_order_id=client_order_id.removeprefix("-"),
        exits=exits_of(words := list(words)),
    )
    for word in words:
        key, _, value = word.partition("=")
        trigger = re.fullmatch(r"(>=|<=)([\d.]+):?(\w*)", word)
        if word[0] == "@":
            order = replace(order, kind=Kind.LIMIT, price=Decimal(word[1:]) if word[1:] else None)
        elif trigger is not None:
            rise, price, source = trigger.groups()
            wanted = Trigger(price=Decimal(price), is_rise=rise == ">=", source=SOURCES[source or "last"])
            order = replace(order, trigger=wanted)
        elif word in list(Tif):
            order = replace(order, time_in_force=Tif(word))
        elif word in INDEX:
            order = replace(order, position_index=INDEX[word])
        elif key == "smp":
            order = replace(order, smp=Smp(value))
        elif key == "ticks":
            order = replace(order, slippage_ticks=int(value))
        elif key == "within":
            order = replace(order, slippage_fraction=Decimal(value))
        elif word == "reduce":
            order = replace(order, reduce_only=True)
        elif word == "close":
            order = replace(order, close_on_trigger=True)
        elif word == "quote":
            order = replace(order, is_quote_qty=True)
        else:
            assert key in {"tp", "sl", "partial"}, f"cannot read {word}"
    return order


# Reading settings


def contract_of(settings: dict[str, str]) -> Contract:
    contract = spot() if settings.get("kind") == "spot" else linear()
    x, y = (Decimal(word) for word in settings.get("band", "0.01 0.02").split())
    fees = contract.fees
    if "fees" in settings:
        taker, maker = (Decimal(word) for word in settings["fees"].split())
        fees = replace(fees, taker=taker, maker=maker)
    limits = {key: Decimal(value) for key, value in (word.split("=") for word in settings.get("limits", "").split())}
    market_qty_max = limits.pop("market_qty_max", None)
    return replace(
        contract,
        instrument=replace(contract.instrument, **limits),
        fees=fees,
        price_ratio_x=x,
        price_ratio_y=y,
        market_qty_max=market_qty_max,
    )


def model_of(words: str) -> FillModel:
    options = dict(word.split("=") for word in words.split())
    return FillModel(
        queue=QUEUES[options.get("queue", "through")],
        path=BarPath(options.get("path", "adverse")),
        slippage=Decimal(options.get("slippage", "0")),
        spread=FixedSpread(spread_ticks=int(options["spread_ticks"])) if "spread_ticks" in options else None,
        impact=SquareRootImpact(coefficient=float(options["impact"])) if "impact" in options else None,
    )


def trade_rows(instrument: Instrument, rows: str) -> TradeBatch:
    """Return trades from their text."""
    found = [re.fullmatch(r"(\d+):([\d.]+)(?:x([\d.]+))?([bs]?)", word) for word in rows.split()]
    parts = [match.groups() for match in found if match is not None]
    assert len(parts) == len(found), rows
    return TradeBatch(
        instrument=instrument,
        first_row=0,
        ts_ns=np.array([int(part[0]) for part in parts], dtype=np.int64),
        price_ticks=np.array([instrument.ticks(Decimal(part[1])) for part in parts], dtype=np.int64),
        qty_steps=np.array([instrument.steps(Decimal(part[2] or "1000")) for part in parts], dtype=np.int64),
        is_buy=np.array([part[3] != "s" for part in parts], dtype=np.bool_),
    )


def bar_rows(instrument: Instrument, rows: str) -> BarBatch:
    """Return bars from their text."""
    opens = np.array([int(word.split(":")[0]) for word in rows.split()], dtype=np.int64)
    prices = [[instrument.ticks(Decimal(each)) for each in word.split(":")[1].split(",")] for word in rows.split()]
    table = np.array(prices, dtype=np.int64)
    ones = np.ones(len(opens), dtype=np.int64)
    return BarBatch(
        instrument=instrument,
        scale_ns=SCALE_NS,
        first_row=0,
        open_ns=opens,
        known_ns=opens + SCALE_NS,
        open_ticks=table[:, 0],
        high_ticks=table[:, 1],
        low_ticks=table[:, 2],
        close_ticks=table[:, 3],
        volume_steps=ones * 1_000_000,
        turnover=table[:, 3] * 1_000_000,
        count=ones * 100,
        buy_steps=ones * 500_000,
        flags=np.zeros(len(opens), dtype=np.uint8),
    )


def funding_rows(instrument: Instrument, rows: str) -> FundingBatch:
    """Return settled rates from their text."""
    parts = [word.split(":") for word in rows.split()]
    return FundingBatch(
        instrument=instrument,
        first_row=0,
        ts_ns=np.array([int(part[0]) for part in parts], dtype=np.int64),
        rate_e8=np.array([int(Decimal(part[1]).scaleb(8)) for part in parts], dtype=np.int64),
    )


def book_rows(instrument: Instrument, rows: str) -> BookDeltaBatch:
    """Return snapshots of a book from their text: time:bids|asks, each price x quantity, with commas between them."""
    levels = []
    for number, word in enumerate(rows.split(), start=1):
        ts_ns, _, sides = word.partition(":")
        for is_bid, side in zip((True, False), sides.split("|"), strict=True):
            for level in side.split(","):
                price, qty = map(Decimal, level.split("x"))
                levels.append((int(ts_ns), number, is_bid, instrument.ticks(price), instrument.steps(qty)))
    times = np.array([level[0] for level in levels], dtype=np.int64)
    numbers = np.array([level[1] for level in levels], dtype=np.int64)
    return BookDeltaBatch(
        instrument=instrument,
        first_row=0,
        ts_ns=times,
        known_ns=times,
        update=numbers,
        previous=np.full(len(levels), -1, dtype=np.int64),
        is_snapshot=np.ones(len(levels), dtype=np.bool_),
        is_last=np.append(numbers[1:] != numbers[:-1], True),
        is_bid=np.array([level[2] for level in levels], dtype=np.bool_),
        price_ticks=np.array([level[3] for level in levels], dtype=np.int64),
        qty_steps=np.array([level[4] for level in levels], dtype=np.int64),
    )
