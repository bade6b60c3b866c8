"""Look-ups page by page, answered by hand: whole or unread, and never half."""

import json
from typing import Any

import msgspec
import pytest

from bot.domain.answers import Absent, Cause, Found, Place, Unknown
from bot.domain.venue_records import OrderState
from bot.venues.bybit.envelope import Reply, Unread
from bot.venues.bybit.lookups import (
    PAGES_MAX,
    WINDOW_MS,
    Snapshot,
    bookings_since,
    executions_since,
    find_order,
    open_orders,
    positions,
)
from bot.venues.bybit.requests import Listed
from bot.venues.bybit.rest_client import Query
from tests.support.private_frames import EXECUTION, NOW_MS, ORDER, POSITION

PERPETUAL = Listed("linear", "BTCUSDT")
BUSY = Unread(cause=Cause.BUSY, code="HTTP 502", text="no", recv_ns=1)


def page(*rows: dict[str, Any], cursor: str | None = "", at_ms: int | None = NOW_MS) -> Reply:
    result = {"list": list(rows), "nextPageCursor": cursor}
    return Reply(result=msgspec.Raw(json.dumps(result).encode()), server_time_ms=at_ms, recv_ns=1)


def drive(asking: Any, *replies: Reply | Unread) -> tuple[Any, list[Query]]:
    """Return what a look-up comes to, and what it asked; it must ask as often as there are replies."""
    asked = [next(asking)]
    for place, reply in enumerate(replies):
        try:
            asked.append(asking.send(reply))
        except StopIteration as end:
            assert place == len(replies) - 1, "it stopped asking"
            return end.value, asked
    raise AssertionError("it asks on")


def execution(number: int, **changes: Any) -> dict[str, Any]:
    return EXECUTION | {"execId": f"e-{number}", "execTime": str(NOW_MS + number)} | changes


def test_absent_means_absent_in_all_three_places() -> None:
    """And as of the earliest of their answers."""
    got, asked = drive(
        find_order(PERPETUAL, "mine-1"), page(at_ms=NOW_MS + 2), page(at_ms=NOW_MS + 1), page(at_ms=NOW_MS + 3)
    )
    assert isinstance(got, Absent)
    assert got.server_time_ms == NOW_MS + 1
    assert [each.path for each in asked] == ["/v5/order/realtime", "/v5/order/history", "/v5/execution/list"]
    assert all("orderLinkId=mine-1" in each.query for each in asked)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_place_without_an_answer_is_unknown(place: int) -> None:
    replies: list[Reply | Unread] = [page(), page(), page()]
    replies[place] = BUSY
    got, _ = drive(find_order(PERPETUAL, "mine-1"), *replies)
    assert isinstance(got, Unknown)


def test_an_answer_without_its_time_proves_nothing() -> None:
    got, _ = drive(find_order(PERPETUAL, "mine-1"), page(at_ms=None), page(), page())
    assert isinstance(got, Unknown)


def test_after_a_ban_nothing_more_is_asked() -> None:
    banned = Unread(cause=Cause.BANNED, code="HTTP 403", text="no", recv_ns=1)
    got, asked = drive(find_order(PERPETUAL, "mine-1"), banned)
    assert isinstance(got, Unknown)
    assert len(asked) == 1


def test_a_hit_wins_wherever_it_is() -> None:
    got, _ = drive(find_order(PERPETUAL, "mine-1"), BUSY, page(ORDER))
    assert isinstance(got, Found)
    assert got.place is Place.HISTORY
    fills = [execution(1), execution(2, execQty="0.2")]
    got, _ = drive(find_order(PERPETUAL, "mine-1"), page(), BUSY, page(*fills))
    assert isinstance(got, Found)
    assert (got.place, got.order.state, str(got.order.filled_qty)) == (Place.EXECUTIONS, OrderState.UNKNOWN, "0.3")


def test_rows_of_other_orders_are_no_hit() -> None:
    """A venue that overlooks the filter must not have us adopt somebody's order."""
    other = ORDER | {"orderLinkId": "mine-2"}
    got, _ = drive(find_order(PERPETUAL, "mine-1"), page(other), page(other), page(execution(1, orderLinkId="mine-2")))
    assert isinstance(got, Absent)


def test_our_id_on_another_symbol_is_not_understood() -> None:
    got, _ = drive(find_order(PERPETUAL, "mine-1"), page(ORDER | {"symbol": "ETHUSDT"}), page(), page())
    assert isinstance(got, Unknown)
    assert got.cause is Cause.GARBLED


def test_pages_until_the_cursor_ends_or_comes_again() -> None:
    rows = [ORDER | {"orderId": f"v-{number}"} for number in range(4)]
    empty = page(cursor="left%3Dover")
    got, asked = drive(
        open_orders("linear"),
        page(rows[0], rows[1], cursor="page_args%3D1%26"),
        page(rows[1], rows[2], cursor="page_args%3D2%26"),  # a row on two pages
        page(rows[3], cursor="page_args%3D2%26"),  # a cursor again
        empty,  # a cursor without rows
        page(),
    )
    assert isinstance(got, Snapshot)
    assert sorted(each.venue_order_id for each in got.records) == ["v-0", "v-1", "v-2", "v-3"]
    assert asked[1].query.endswith("&cursor=page_args%3D1%26")  # as it came: it is encoded already
    assert [("orderFilter=" in each.query) for each in asked] == [False, False, False, True, True]


def test_a_list_is_whole_or_unread() -> None:
    got, _ = drive(open_orders("linear"), page(ORDER, cursor="a"), BUSY)
    assert isinstance(got, Unread)
    got, _ = drive(open_orders("linear"), page(ORDER | {"side": "?"}))
    assert isinstance(got, Unread)
    assert "side" in got.text


@pytest.mark.parametrize("cursor", ["a&symbol=ETHUSDT", "a b", "a#b", "\n", "x" * 1_001, "ü"])
def test_a_cursor_that_would_change_the_question(cursor: str) -> None:
    got, _ = drive(open_orders("linear"), page(ORDER, cursor=cursor))
    assert isinstance(got, Unread)


def test_pages_without_end_end() -> None:
    endless = [page(ORDER, cursor=f"c{number}") for number in range(PAGES_MAX)]
    got, asked = drive(open_orders("linear"), *endless)
    assert isinstance(got, Unread)
    assert len(asked) == PAGES_MAX


def test_spot_is_asked_kind_by_kind() -> None:
    _, asked = drive(open_orders("spot"), *[page() for _ in range(5)])
    assert {each.query.partition("orderFilter=")[2] for each in asked} >= {"Order", "tpslOrder", "StopOrder"}


def test_executions_of_weeks_come_oldest_first_and_once() -> None:
    from_ms = NOW_MS - 2 * WINDOW_MS
    got, asked = drive(
        executions_since("linear", from_ms, NOW_MS, overlap_ms=1_000),
        page(execution(3), execution(2), cursor="c"),
        page(execution(2), execution(1)),
        page(execution(3)),
        page(),
    )
    assert isinstance(got, Snapshot)
    assert [each.trade_id for each in got.records] == ["e-1", "e-2", "e-3"]
    spans = [dict(part.split("=") for part in each.query.split("&")) for each in asked]
    starts = [int(span["startTime"]) for span in spans]
    ends = [int(span["endTime"]) for span in spans]
    assert starts[0] == from_ms - 1_000
    assert ends[-1] == NOW_MS
    assert all(0 < end - start <= WINDOW_MS for start, end in zip(starts, ends, strict=True))
    assert starts[2] == ends[0]


def test_a_range_that_the_venue_does_not_remember() -> None:
    asking = bookings_since(NOW_MS - 200 * WINDOW_MS, NOW_MS)
    with pytest.raises(StopIteration) as end:
        next(asking)
    assert isinstance(end.value.value, Unread)


def test_positions_of_a_flat_symbol_too() -> None:
    flat = POSITION | {"symbol": "ETHUSDT", "side": "", "size": "0", "avgPrice": ""}
    got, asked = drive(positions(["ETHUSDT"]), page(POSITION), page(flat))
    assert isinstance(got, Snapshot)
    assert {each.instrument for each in got.records} == {"BTCUSDT", "ETHUSDT"}
    assert "settleCoin=USDT" in asked[0].query
    assert "symbol=ETHUSDT" in asked[1].query
