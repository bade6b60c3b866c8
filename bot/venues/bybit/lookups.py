"""Questions to Bybit about an account, page by page, and what the pages say together.

A look-up is a generator: it yields a question, is sent the reply, and returns its result; so what decides needs no
network, and `ask_all` drives it over one. A list is either whole or unread: there is no half of one, for what is
missing from a half would pass for absent.

Source: Bybit V5, order, execution, position, wallet and transaction log; pagination; chapters 5 to 7 and 19 of the
protocol's description; faults X16 to X20 of the fault catalogue.
"""

import asyncio
import re
from collections.abc import Callable, Generator, Sequence
from decimal import Decimal
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from bot.domain.answers import Absent, Cause, Found, LookUp, Place, Unknown
from bot.domain.venue_records import (
    BookingRecord,
    ExecutionRecord,
    OrderRecord,
    OrderState,
    PositionRecord,
    WalletRecord,
)
from bot.venues.bybit.envelope import NOT_READ, PASSING, Reply, Unread
from bot.venues.bybit.record_fields import BadRecord, read_all
from bot.venues.bybit.record_shapes import WireBooking, WireExecution, WireOrder, WirePosition, WireWallet
from bot.venues.bybit.records import booking_record, execution_record, order_record, position_record, wallet_record
from bot.venues.bybit.requests import Listed, client_order_id
from bot.venues.bybit.rest_client import RECV_WINDOW_MS, Query, RestClient
from bot.venues.bybit.topics import Category

WINDOW_MS = 7 * 86_400_000  # the longest range of one question
OVERLAP_MS = 600_000  # asked again before what is known: lists lag behind the matching engine
PAGES_MAX = 500
WINDOWS_MAX = 110  # two years: as far as the venue remembers
ATTEMPTS = 4

_CURSOR = re.compile(r"[A-Za-z0-9%_.~:,=+/|\-]{1,1000}", re.ASCII)
_LINEAR_FILTERS = ("", "Order", "StopOrder")
_SPOT_FILTERS = ("Order", "tpslOrder", "StopOrder", "OcoOrder", "BidirectionalTpslOrder")
_OPEN = (OrderState.OPEN, OrderState.WAITING, OrderState.UNKNOWN)

T = TypeVar("T")
R = TypeVar("R")


class Snapshot(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A list in full."""

    records: tuple[T, ...]
    server_time_ms: int  # of the earliest page: the list is as of then or later
    recv_ns: int


Asking = Generator[Query, "Reply | Unread", R]
"""A look-up on its way."""


class _Page(msgspec.Struct, rename={"rows": "list", "cursor": "nextPageCursor"}):
    rows: list[msgspec.Raw] | None = None
    cursor: str | None = None


_PAGE = msgspec.json.Decoder(_Page)


class _AccountInfo(msgspec.Struct, rename="camel"):
    margin_mode: str


def find_order(listed: Listed, order_id: str, *, order_filter: str = "") -> Asking[LookUp]:
    """Look for an order by our id: among open ones, in the history, among executions. A hit anywhere wins.

    "Absent" needs a whole answer of all three, each with the venue's time. It proves nothing while a request for that
    order may still be on its way.
    """
    order_id = client_order_id(order_id)
    params = {"category": listed.category, "symbol": listed.symbol, "orderLinkId": order_id}
    filtered = {**params, "orderFilter": order_filter} if order_filter else params
    trouble: Unread | None = None
    times: list[int] = []
    recv_ns = 0
    places: tuple[tuple[Place, str, str, dict[str, str]], ...] = (
        (Place.OPEN, "/v5/order/realtime", "order.realtime", filtered),
        (Place.HISTORY, "/v5/order/history", "order.history", filtered),
        (Place.EXECUTIONS, "/v5/execution/list", "execution.list", params),
    )
    for place, path, bucket, asked in places:
        found = yield from _find_in(place, _query(path, bucket, listed.category, **asked), listed, order_id)
        match found:
            case Found():
                return found
            case Unread():
                trouble = trouble or found
                if found.cause is Cause.BANNED:
                    break
            case Snapshot():
                times.append(found.server_time_ms)
                recv_ns = found.recv_ns
    if trouble is not None:
        return Unknown(why=f"{trouble.code}: {trouble.text}", cause=trouble.cause, recv_ns=trouble.recv_ns)
    return Absent(places=tuple(each[0] for each in places), server_time_ms=min(times), recv_ns=recv_ns)


def open_orders(category: Category, *, settle: str = "USDT") -> Asking["Snapshot[OrderRecord] | Unread"]:
    """List open orders of every kind, the waiting ones too."""
    params = {"category": category} if category == "spot" else {"category": category, "settleCoin": settle}
    parts: list[Snapshot[OrderRecord]] = []
    for order_filter in _SPOT_FILTERS if category == "spot" else _LINEAR_FILTERS:
        asked = {**params, "orderFilter": order_filter} if order_filter else params
        part = yield from _pages(
            _query("/v5/order/realtime", "order.realtime", category, limit="50", **asked), _orders(category)
        )
        if isinstance(part, Unread):
            return part
        parts.append(part)
    # An order may be on two pages, or have moved between two questions: the newest word counts.
    newest: dict[str, OrderRecord] = {}
    for part in parts:
        for order in part.records:
            known = newest.get(order.venue_order_id)
            if known is None or order.updated_ms >= known.updated_ms:
                newest[order.venue_order_id] = order
    return _joined(parts, tuple(order for order in newest.values() if order.state in _OPEN))


def executions_since(
    category: Category, from_ms: int, to_ms: int, *, overlap_ms: int = OVERLAP_MS
) -> Asking["Snapshot[ExecutionRecord] | Unread"]:
    """List executions of [from_ms - overlap, to_ms], oldest first, each once; the range may span outages of weeks.

    Args:
        category: of the instruments.
        from_ms: from when on, by the venue's clock: that of the last execution that is booked.
        to_ms: until when; fixed, so that what happens meanwhile does not move the pages.
        overlap_ms: asked again before it.
    """
    rows = yield from _windows(
        lambda start, end: _query(
            "/v5/execution/list",
            "execution.list",
            category,
            category=category,
            startTime=str(start),
            endTime=str(end),
            limit="100",
        ),
        from_ms - overlap_ms,
        to_ms,
        _executions(category),
    )
    if isinstance(rows, Unread):
        return rows
    unique = {(each.instrument, each.trade_id): each for each in rows.records}
    ordered = sorted(unique.values(), key=lambda each: (each.executed_ms, each.seq or 0, each.trade_id))
    return msgspec.structs.replace(rows, records=tuple(ordered))


def executions_of(listed: Listed, venue_order_id: str) -> Asking["Snapshot[ExecutionRecord] | Unread"]:
    """List the executions of one order, whenever they were."""
    query = _query(
        "/v5/execution/list",
        "execution.list",
        listed.category,
        category=listed.category,
        symbol=listed.symbol,
        orderId=venue_order_id,
        limit="100",
    )
    rows = yield from _pages(query, _executions(listed.category))
    if isinstance(rows, Unread):
        return rows
    mine = {each.trade_id: each for each in rows.records if each.venue_order_id == venue_order_id}
    return msgspec.structs.replace(rows, records=tuple(mine.values()))


def positions(symbols: Sequence[str] = (), *, settle: str = "USDT") -> Asking["Snapshot[PositionRecord] | Unread"]:
    """List perpetuals' positions: all that are not flat, and those of `symbols` even if they are."""
    asked = [{"settleCoin": settle}, *({"symbol": symbol} for symbol in symbols)]
    parts: list[Snapshot[PositionRecord]] = []
    for params in asked:
        query = _query("/v5/position/list", "position.list", "linear", category="linear", limit="200", **params)
        part = yield from _pages(query, _positions)
        if isinstance(part, Unread):
            return part
        parts.append(part)
    newest = {(each.instrument, each.mode_index): each for part in parts for each in part.records}
    return _joined(parts, tuple(newest.values()))


def wallet() -> Asking["Snapshot[WalletRecord] | Unread"]:
    """Ask for the balances of all coins that are not zero."""
    query = _query("/v5/account/wallet-balance", "account.read", "", accountType="UNIFIED")
    return (yield from _pages(query, _wallets))


def margin_mode() -> Asking["str | Unread"]:
    """Ask for the account's margin mode, in the venue's word."""
    reply = yield _query("/v5/account/info", "account.read", "")
    if isinstance(reply, Unread):
        return reply
    try:
        return msgspec.json.decode(reply.result, type=_AccountInfo).margin_mode
    except NOT_READ as error:
        return _garbled(f"/v5/account/info: {error}", reply.recv_ns)


def bookings_since(from_ms: int, to_ms: int, *, overlap_ms: int = 0) -> Asking["Snapshot[BookingRecord] | Unread"]:
    """List lines of the venue's own ledger, oldest first."""
    rows = yield from _windows(
        lambda start, end: _query(
            "/v5/account/transaction-log",
            "account.transaction-log",
            "",
            accountType="UNIFIED",
            startTime=str(start),
            endTime=str(end),
            limit="50",
        ),
        from_ms - overlap_ms,
        to_ms,
        _bookings,
    )
    if isinstance(rows, Unread):
        return rows
    # One id may stand on lines of several executions: a line is the same if all of it is.
    unique = dict.fromkeys(rows.records)
    return msgspec.structs.replace(rows, records=tuple(sorted(unique, key=lambda each: each.booked_ms)))


async def ask_all(
    client: RestClient,
    asking: Asking[R],
    *,
    stamp_ms: Callable[[], int | None],
    attempts: int = ATTEMPTS,
    recv_window_ms: int = RECV_WINDOW_MS,
    speed: float = 1.0,
) -> R:
    """Drive a look-up over the network, and return its result.

    Args:
        client: asks.
        asking: the look-up.
        stamp_ms: returns the venue's time to sign with.
        attempts: how often one question is asked at most; questions do no harm.
        recv_window_ms: see `RestClient.ask`.
        speed: how fast the clock runs.
    """
    try:
        query = next(asking)
        while True:
            reply = await _ask(client, query, stamp_ms, attempts, recv_window_ms, speed)
            query = asking.send(reply)
    except StopIteration as end:
        result: R = end.value
        return result


async def _ask(
    client: RestClient,
    query: Query,
    stamp_ms: Callable[[], int | None],
    attempts: int,
    recv_window_ms: int,
    speed: float,
) -> Reply | Unread:
    wait_s = 0.25
    for attempt in range(attempts):
        at_ms = stamp_ms()
        if at_ms is None:
            return Unread(cause=Cause.CLOCK, code="unsent", text="the venue's time is not known", recv_ns=0)
        reply = await client.ask(query, timestamp_ms=at_ms, recv_window_ms=recv_window_ms)
        if isinstance(reply, Reply) or reply.cause not in PASSING or attempt == attempts - 1:
            return reply
        if reply.wait_ns is not None:
            wait_s = max(wait_s, reply.wait_ns / 1e9)
        await asyncio.sleep(wait_s / speed)
        wait_s = min(wait_s * 2, 2.0)
    raise AssertionError("no attempt was made")  # attempts is at least 1


# --- pages ------------------------------------------------------------------------------------------------------------

_Reader = Callable[[list[msgspec.Raw]], tuple[T, ...]]


def _pages(query: Query, read: _Reader[T]) -> Asking["Snapshot[T] | Unread"]:
    """Return all pages of a list: until there is no cursor, no row, or a cursor again."""
    records: list[T] = []
    times: list[int] = []
    cursor, seen = "", {""}
    recv_ns = 0
    for _ in range(PAGES_MAX):
        asked = query if not cursor else msgspec.structs.replace(query, query=f"{query.query}&cursor={cursor}")
        reply = yield asked
        if isinstance(reply, Unread):
            return reply
        recv_ns = reply.recv_ns
        if reply.server_time_ms is None:
            return _garbled("the answer does not say when it was made", recv_ns)
        times.append(reply.server_time_ms)
        try:
            page = _PAGE.decode(reply.result)
            rows = page.rows or []
            records += read(rows)
        except (*NOT_READ, BadRecord) as error:
            return _garbled(f"{query.path}: {error}", recv_ns)
        cursor = page.cursor or ""
        if not rows or cursor in seen:
            return Snapshot(records=tuple(records), server_time_ms=min(times), recv_ns=recv_ns)
        if _CURSOR.fullmatch(cursor) is None:
            return _garbled(f"{query.path}: a cursor that no address can carry", recv_ns)
        seen.add(cursor)
    return _garbled(f"{query.path}: pages without end", recv_ns)


def _windows(
    query_of: Callable[[int, int], Query], from_ms: int, to_ms: int, read: _Reader[T]
) -> Asking["Snapshot[T] | Unread"]:
    """Return a list over a long range, asked for in windows of seven days."""
    if to_ms - from_ms > WINDOWS_MAX * WINDOW_MS:
        return _garbled("a range of more than two years, which the venue does not remember", 0)
    parts: list[Snapshot[T]] = []
    start = from_ms
    while True:
        end = min(start + WINDOW_MS, to_ms)
        part = yield from _pages(query_of(start, end), read)
        if isinstance(part, Unread):
            return part
        parts.append(part)
        if end >= to_ms:
            return _joined(parts, tuple(row for part in parts for row in part.records))
        start = end  # the shared ms is asked for twice


def _find_in(
    place: Place, query: Query, listed: Listed, order_id: str
) -> Asking["Found | Snapshot[OrderRecord] | Unread"]:
    """Return the order if it is in one place, an empty list if the place answered in full that it is not."""
    if place is Place.EXECUTIONS:
        fills = yield from _pages(query, _executions(listed.category))
        if isinstance(fills, Unread):
            return fills
        mine = tuple(each for each in fills.records if each.client_order_id == order_id)
        orders: tuple[OrderRecord, ...] = (_order_of(mine),) if mine else ()
        rows = Snapshot(records=orders, server_time_ms=fills.server_time_ms, recv_ns=fills.recv_ns)
    else:
        asked = yield from _pages(query, _orders(listed.category))
        if isinstance(asked, Unread):
            return asked
        orders = tuple(each for each in asked.records if each.client_order_id == order_id)
        rows = msgspec.structs.replace(asked, records=orders)
    if not rows.records:
        return rows
    if any(each.instrument != listed.symbol for each in rows.records):
        return _garbled("the order is of another symbol", rows.recv_ns)
    newest = max(rows.records, key=lambda each: (each.updated_ms, each.filled_qty))
    return Found(order=newest, place=place, server_time_ms=rows.server_time_ms, recv_ns=rows.recv_ns)


def _order_of(fills: Sequence[ExecutionRecord]) -> OrderRecord:
    """Return what executions tell of their order: that it lived, and what it got."""
    unique = {each.trade_id: each for each in fills}
    last = max(unique.values(), key=lambda each: (each.executed_ms, each.seq or 0))
    filled = sum((each.qty for each in unique.values()), Decimal(0))
    is_done = last.order_qty is not None and filled >= last.order_qty
    return OrderRecord(
        market=last.market,
        client_order_id=last.client_order_id,
        venue_order_id=last.venue_order_id,
        instrument=last.instrument,
        side=last.side,
        state=OrderState.FILLED if is_done else OrderState.UNKNOWN,
        order_type=last.order_type,
        time_in_force=None,
        qty=last.order_qty,
        limit_price=None,
        trigger_price=None,
        reduce_only=None,
        filled_qty=filled,
        filled_value=sum((each.qty * each.price for each in unique.values()), Decimal(0)),
        origin=last.origin,
        role=last.role,
        created_ms=min(each.executed_ms for each in unique.values()),
        updated_ms=last.executed_ms,
    )


def _joined(parts: Sequence[Snapshot[Any]], records: tuple[T, ...]) -> Snapshot[T]:
    return Snapshot(
        records=records,
        server_time_ms=min(part.server_time_ms for part in parts),
        recv_ns=max(part.recv_ns for part in parts),
    )


def _garbled(text: str, recv_ns: int) -> Unread:
    return Unread(cause=Cause.GARBLED, code="garbled", text=text[:300], recv_ns=recv_ns)


def _query(path: str, bucket: str, budget_category: str, /, **params: str) -> Query:
    text = "&".join(f"{name}={quote(value, safe='')}" for name, value in params.items())
    return Query(path=path, query=text, bucket=bucket, category=budget_category)


_ORDER = msgspec.json.Decoder(WireOrder)
_EXECUTION = msgspec.json.Decoder(WireExecution)
_POSITION = msgspec.json.Decoder(WirePosition)
_WALLET = msgspec.json.Decoder(WireWallet)
_BOOKING = msgspec.json.Decoder(WireBooking)


def _orders(category: str) -> _Reader[OrderRecord]:
    return lambda rows: read_all(rows, lambda row: order_record(_ORDER.decode(row), category))


def _executions(category: str) -> _Reader[ExecutionRecord]:
    return lambda rows: read_all(rows, lambda row: execution_record(_EXECUTION.decode(row), category))


def _positions(rows: list[msgspec.Raw]) -> tuple[PositionRecord, ...]:
    return read_all(rows, lambda row: position_record(_POSITION.decode(row), "linear"))


def _wallets(rows: list[msgspec.Raw]) -> tuple[WalletRecord, ...]:
    return read_all(rows, lambda row: wallet_record(_WALLET.decode(row)))


def _bookings(rows: list[msgspec.Raw]) -> tuple[BookingRecord, ...]:
    return read_all(rows, lambda row: booking_record(_BOOKING.decode(row)))
