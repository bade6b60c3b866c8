"""Our private half against the emulated venue: order entry, the account's streams and look-ups, faults among them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from bot.domain.account_events import (
    AccountUnsure,
    ExternalFill,
    ExternalOrder,
    FillSighted,
    PositionReported,
    WalletReported,
)
from bot.domain.answers import Absent, AnswerKind, Cause, Found, Place, Unknown
from bot.domain.instrument import Side
from bot.domain.orders import (
    AmendOrder,
    CancelOrder,
    ChangeStops,
    Exit,
    FeePaid,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderFilled,
    PositionCut,
    StopKind,
    StopsChanged,
    TimeInForce,
    Trigger,
)
from bot.domain.venue_records import OrderState
from bot.venues.bybit.login_session import Lost, Ready
from bot.venues.bybit.lookups import (
    ask_all,
    bookings_since,
    executions_of,
    executions_since,
    find_order,
    open_orders,
    positions,
    wallet,
)
from bot.venues.bybit.order_gateway import Channel, OrderGateway
from bot.venues.bybit.requests import amend, batch, cancel, cancel_all, change_stops, create
from bot.venues.bybit.stream_effects import Alert
from tests.support.emulator import Served, make_world, served
from tests.support.live_account import PERPETUAL, SPOT, SPOT_BTC, Desk, desk_of, order

SOCKET_CREATE = {"op": "order.create"}


@pytest.fixture
def venue() -> Iterator[Served]:
    """Serve a venue to one case."""
    with served(lambda now_ns: make_world(now_ns, each_s=1.0, seconds=120)) as running:
        yield running


def on(venue: Served, work: Callable[[Desk], Awaitable[Any]], *, is_ready: bool = True) -> Any:
    async def run() -> Any:
        async with desk_of(venue, is_ready=is_ready) as desk:
            return await work(desk)

    return asyncio.run(run())


async def look(desk: Desk, asking: Any, *, attempts: int = 4) -> Any:
    return await ask_all(desk.client, asking, stamp_ms=desk.stamp, attempts=attempts)


# --- order entry and streams ------------------------------------------------------------------------------------------


def test_an_order_from_its_birth_to_its_end(venue: Served) -> None:
    async def work(desk: Desk) -> None:
        placed = await desk.enter("a", create(order(), PERPETUAL))
        assert placed.kind is AnswerKind.ACCEPTED
        assert placed.server_time_ms is not None
        accepted = await desk.events.of(OrderAccepted)
        assert (accepted.client_order_id, accepted.venue_order_id) == ("mine-it", placed.venue_order_id)
        change = AmendOrder(
            client_order_id="mine-it", order_number=1, amend_number=1, instrument="BTCUSDT", qty=Decimal("0.02")
        )
        assert (await desk.enter("b", amend(change, PERPETUAL))).kind is AnswerKind.ACCEPTED
        amended = await desk.events.of(OrderAmended)
        assert (amended.qty, amended.limit_price) == (Decimal("0.02"), Decimal(59_900))
        gone = CancelOrder(client_order_id="mine-it", order_number=1, instrument="BTCUSDT")
        assert (await desk.enter("c", cancel(gone, PERPETUAL))).kind is AnswerKind.ACCEPTED
        canceled = await desk.events.of(OrderCanceled)
        assert canceled.reason == "EC_PerCancelRequest"
        assert not [item for item in desk.events.items if isinstance(item, ExternalOrder)]

    on(venue, work)


def test_fills_are_told_once_with_their_fee(venue: Served) -> None:
    venue.add_fault(kind="duplicate_frame", where={"topic": "execution*"})

    async def work(desk: Desk) -> None:
        await desk.enter("a", create(order(price=None, qty="0.5"), PERPETUAL))
        await desk.events.wait(lambda item: isinstance(item, WalletReported))
        filled = await desk.events.of(OrderFilled)
        sighted = await desk.events.of(FillSighted)
        assert sighted.client_order_id == "mine-it"
        assert filled.fee > 0
        held = await desk.events.wait(
            lambda item: isinstance(item, PositionReported) and item.position.qty == Decimal("0.5")
        )
        assert held.position.entry_price is not None
        fills = [item for item in desk.events.items if isinstance(item, OrderFilled)]
        assert sum(fill.qty for fill in fills) == Decimal("0.5")
        assert len({fill.trade_id for fill in fills}) == len(fills)
        assert desk.account.repeated > 0

    on(venue, work)
    assert venue.fired("duplicate_frame") > 0


def test_a_spot_buy_pays_its_fee_in_what_it_buys(venue: Served) -> None:
    async def work(desk: Desk) -> None:
        await desk.enter("a", create(order(price=None), SPOT))
        filled = await desk.events.of(OrderFilled)
        paid = await desk.events.of(FeePaid)
        assert filled.instrument == SPOT_BTC.name
        assert filled.fee == 0
        assert (paid.currency, paid.trade_id) == ("BTC", filled.trade_id)
        assert 0 < paid.amount < filled.qty
        await desk.enter("b", create(order("mine-sell", price=None, side=Side.SELL), SPOT))
        sold = await desk.events.wait(lambda item: isinstance(item, OrderFilled) and item.side is Side.SELL)
        assert sold.fee > 0

    on(venue, work)


def test_post_only_that_would_take_is_canceled(venue: Served) -> None:
    async def work(desk: Desk) -> None:
        crossing = order(price="60500", time_in_force=TimeInForce.POST_ONLY)
        assert (await desk.enter("a", create(crossing, PERPETUAL))).kind is AnswerKind.ACCEPTED
        canceled = await desk.events.of(OrderCanceled)
        assert canceled.reason == "EC_PostOnlyWillTakeLiquidity"

    on(venue, work)


def test_a_limit_that_the_venue_moved_is_noticed(venue: Served) -> None:
    """By default a perpetual's limit beyond the band is moved to it without a word."""

    async def work(desk: Desk) -> None:
        far = order(price="20000", side=Side.SELL)
        desk.account.expect(far)
        await desk.enter("a", create(far, PERPETUAL))
        await desk.events.wait(lambda item: isinstance(item, AccountUnsure) and "moved the limit" in item.reason)

    on(venue, work)


def test_exits_that_the_venue_keeps(venue: Served) -> None:
    async def work(desk: Desk) -> None:
        await desk.enter("a", create(order(price=None, qty="0.1"), PERPETUAL))
        await desk.events.of(OrderFilled)
        change = ChangeStops(
            request_id="s", order_number=2, instrument="BTCUSDT", stop_loss=Exit(price=Decimal(50_000))
        )
        assert (await desk.client.send(change_stops(change, PERPETUAL), timestamp_ms=desk.stamp()))[0].is_as_asked
        kept = await desk.events.wait(lambda item: isinstance(item, StopsChanged) and item.stop_loss is not None)
        assert kept.stop_loss == Decimal(50_000)

    on(venue, work)


@pytest.mark.parametrize(("kind", "cause"), [("adl", StopKind.DELEVERAGING), ("liquidation", StopKind.LIQUIDATION)])
def test_what_the_venue_does_to_a_position(venue: Served, kind: str, cause: StopKind) -> None:
    async def work(desk: Desk) -> None:
        await desk.enter("a", create(order(price=None, qty="1"), PERPETUAL))
        await desk.events.of(OrderFilled)
        venue.add_fault(kind=kind, where={"account": "first", "symbol": "BTCUSDT"})
        cut = await desk.events.wait(lambda item: isinstance(item, PositionCut) and item.cause is cause)
        assert cut.side is Side.SELL

    on(venue, work)


def test_a_position_closed_by_hand_is_a_strangers(venue: Served) -> None:
    async def work(desk: Desk) -> None:
        await desk.enter("a", create(order(price=None, qty="1"), PERPETUAL))
        await desk.events.of(OrderFilled)
        venue.add_fault(kind="manual_close", where={"account": "first", "symbol": "BTCUSDT"})
        stranger = await desk.events.of(ExternalFill)
        assert stranger.execution.side is Side.SELL

    on(venue, work)


def test_a_kind_of_execution_that_nobody_knows(venue: Served) -> None:
    venue.add_fault(kind="unknown_enum", where={"topic": "execution"}, text="execType", count=1)

    async def work(desk: Desk) -> None:
        await desk.enter("a", create(order(price=None), PERPETUAL))
        fill = await desk.events.of(ExternalFill)
        assert not fill.is_understood
        assert (await desk.events.of(AccountUnsure)).instrument == "BTCUSDT"

    on(venue, work)


# --- faults of order entry --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "lives"), [("lost_request", False), ("lost_ack", True), ("half_open", True)])
def test_silence_on_the_socket_is_unknown(venue: Served, kind: str, *, lives: bool) -> None:
    venue.add_fault(kind=kind, where=SOCKET_CREATE, count=1)

    async def work(desk: Desk) -> None:
        answer = await desk.enter("a", create(order(), PERPETUAL), window_ms=400)
        assert (answer.kind, answer.cause, answer.code) == (AnswerKind.UNKNOWN, Cause.NETWORK, "timeout")
        found = await look(desk, find_order(PERPETUAL, "mine-it"))
        assert isinstance(found, Found if lives else Absent)
        again = await desk.client.send(create(order(), PERPETUAL), timestamp_ms=desk.stamp())
        assert again[0].kind is (AnswerKind.EXISTS if lives else AnswerKind.ACCEPTED)

    on(venue, work)
    assert venue.fired(kind) == 1


def test_a_late_answer_is_told_as_late(venue: Served) -> None:
    venue.add_fault(kind="late_ack", where=SOCKET_CREATE, count=1, delay_ns=900_000_000)

    async def work(desk: Desk) -> None:
        answer = await desk.enter("a", create(order(), PERPETUAL), window_ms=400)
        assert answer.kind is AnswerKind.UNKNOWN
        token, answers = await desk.late.wait(lambda item: True)
        assert (token, answers[0].kind) == ("a", AnswerKind.ACCEPTED)

    on(venue, work)


@pytest.mark.parametrize("after_bytes", [0, 5, 60])
def test_a_broken_connection_makes_all_unknown_and_comes_back_empty(venue: Served, after_bytes: int) -> None:
    venue.add_fault(kind="reset", where=SOCKET_CREATE, count=1, after_bytes=after_bytes)

    async def work(desk: Desk) -> None:
        answer = await desk.enter("a", create(order(), PERPETUAL))
        assert (answer.kind, answer.code) == (AnswerKind.UNKNOWN, "reset")
        await desk.effects.of(Lost)
        unsent = await desk.enter("b", create(order("mine-b"), PERPETUAL))
        assert (unsent.kind, unsent.cause) == (AnswerKind.REFUSED, Cause.UNSENT)
        await desk.effects.of(Ready, 3)
        listed = await look(desk, open_orders("linear"))
        assert {each.client_order_id for each in listed.records} == {"mine-it"}  # b was not queued for later

    on(venue, work)


@pytest.mark.parametrize("code", [10016, 10019, 10429])
@pytest.mark.parametrize("fault", ["error_before", "error_after"])
def test_ambiguous_codes_on_the_socket(venue: Served, fault: str, code: int) -> None:
    venue.add_fault(kind=fault, where=SOCKET_CREATE, count=1, code=code)

    async def work(desk: Desk) -> None:
        answer = await desk.enter("a", create(order(), PERPETUAL))
        assert (answer.kind, answer.code) == (AnswerKind.UNKNOWN, str(code))
        if code == 10019:  # it restarts: a new connection is made
            await desk.effects.of(Ready, 3)

    on(venue, work)


def test_a_batch_on_the_socket(venue: Served) -> None:
    async def work(desk: Desk) -> None:
        await desk.enter("a", create(order("mine-1"), PERPETUAL))
        request = batch([create(order(f"mine-{number}"), PERPETUAL) for number in range(3)])
        answers = await desk.entry.send("b", request, timestamp_ms=desk.stamp(), recv_window_ms=2_500)
        assert [answer.kind for answer in answers] == [
            AnswerKind.ACCEPTED,
            AnswerKind.EXISTS,
            AnswerKind.ACCEPTED,
        ]

    on(venue, work)


def test_where_the_socket_is_down_rest_goes_on_under_the_same_id(venue: Served) -> None:
    async def work(desk: Desk) -> None:
        gateway = OrderGateway(desk.client, desk.entry)
        request = create(order(), PERPETUAL)
        assert gateway.channel(request) is Channel.REST
        sent = await gateway.send("a", request, timestamp_ms=desk.stamp(), recv_window_ms=2_500)
        assert (sent.channel, sent.answers[0].kind) == (Channel.REST, AnswerKind.ACCEPTED)
        await desk.ready()
        assert gateway.channel(request) is Channel.SOCKET
        again = await gateway.send("b", request, timestamp_ms=desk.stamp(), recv_window_ms=2_500)
        assert (again.channel, again.answers[0].kind) == (Channel.SOCKET, AnswerKind.EXISTS)
        strict = OrderGateway(desk.client, desk.entry, may_fall_back=False)
        await desk.entry.stop()
        refused = await strict.send("c", create(order("mine-c"), PERPETUAL), timestamp_ms=1, recv_window_ms=2_500)
        assert refused.answers[0].cause is Cause.UNSENT

    on(venue, work, is_ready=False)


# --- faults of the streams --------------------------------------------------------------------------------------------


def test_streams_come_back_and_what_was_missed_is_asked_for(venue: Served) -> None:
    """Nothing is told again by the stream; the list has it, and telling it twice changes nothing."""

    async def work(desk: Desk) -> None:
        await desk.enter("a", create(order(price=None), PERPETUAL))
        first = await desk.events.of(OrderFilled)
        venue.add_fault(kind="disconnect", where={"socket": "private"})
        await desk.effects.of(Lost)
        await desk.client.send(create(order("mine-b", price=None), PERPETUAL), timestamp_ms=desk.stamp())
        await desk.effects.of(Ready, 3)
        rows = await look(desk, executions_since("linear", desk.stamp() - 60_000, desk.stamp()))
        for event in desk.account.on_records(rows.records, desk.client._clock.now_ns()):
            desk.events(event)
        fills = [item for item in desk.events.items if isinstance(item, OrderFilled)]
        assert {fill.client_order_id for fill in fills} == {"mine-it", "mine-b"}
        assert len({fill.trade_id for fill in fills}) == len(fills)
        assert first in fills

    on(venue, work)


def test_a_wrong_secret_is_not_tried_again_and_again(venue: Served) -> None:
    async def work(desk: Desk) -> None:
        desk.streams.session._credentials._secret = "WRONG"
        desk.streams.start()
        alert = await desk.effects.of(Alert)
        assert alert.code == "login.refused"
        assert "WRONG" not in alert.text
        assert desk.streams.session.next_time_ns() - desk.client._clock.now_ns() > 50 * 10**9

    on(venue, work, is_ready=False)


# --- look-ups ---------------------------------------------------------------------------------------------------------


def test_an_order_is_found_wherever_it_is(venue: Served) -> None:
    async def work(desk: Desk) -> None:
        await desk.enter("a", create(order(), PERPETUAL))
        found = await look(desk, find_order(PERPETUAL, "mine-it"))
        assert (found.place, found.order.state, found.order.qty) == (Place.OPEN, OrderState.OPEN, Decimal("0.01"))
        nobody = await look(desk, find_order(PERPETUAL, "mine-nobody"))
        assert isinstance(nobody, Absent)
        assert nobody.places == (Place.OPEN, Place.HISTORY, Place.EXECUTIONS)
        assert abs(nobody.server_time_ms - desk.stamp()) < 5_000
        gone = CancelOrder(client_order_id="mine-it", order_number=1, instrument="BTCUSDT")
        await desk.enter("b", cancel(gone, PERPETUAL))
        await desk.events.of(OrderCanceled)
        ended = await look(desk, find_order(PERPETUAL, "mine-it"))
        assert ended.order.state is OrderState.CANCELED

    on(venue, work)


@pytest.mark.parametrize("path", ["/v5/order/realtime", "/v5/order/history", "/v5/execution/list"])
def test_one_place_that_does_not_answer_makes_it_unknown(venue: Served, path: str) -> None:
    """An empty list and no list are not the same."""
    venue.add_fault(kind="http_status", where={"path": path}, status=502, text="<html>")

    async def work(desk: Desk) -> None:
        unknown = await look(desk, find_order(PERPETUAL, "mine-nobody"), attempts=1)
        assert isinstance(unknown, Unknown)
        assert unknown.cause is Cause.BUSY

    on(venue, work)


def test_a_hit_counts_though_another_place_is_silent(venue: Served) -> None:
    venue.add_fault(kind="http_status", where={"path": "/v5/order/realtime"}, status=502, text="<html>")

    async def work(desk: Desk) -> None:
        await desk.enter("a", create(order(price=None), PERPETUAL))
        await desk.events.of(OrderFilled)
        found = await look(desk, find_order(PERPETUAL, "mine-it"), attempts=1)
        assert isinstance(found, Found)
        assert found.order.filled_qty == Decimal("0.01")

    on(venue, work)


def test_lists_are_whole_over_many_pages() -> None:
    """Sixty resting orders are two pages of the venue's; waiting ones and exits are open orders too."""
    world = lambda now_ns: make_world(now_ns, each_s=1.0, seconds=120, rate_scale=50)  # noqa: E731

    async def work(desk: Desk) -> None:
        desk.client.budget.note_limits("order.create-batch", "linear", 0, limit=200, left=200)
        for start in range(0, 60, 20):
            items = [create(order(f"mine-{start + n}"), PERPETUAL) for n in range(20)]
            answers = await desk.client.send(batch(items), timestamp_ms=desk.stamp())
            assert {answer.kind for answer in answers} == {AnswerKind.ACCEPTED}
        waiting = order("mine-waits", trigger=Trigger(price=Decimal(70_000), is_rise=True))
        await desk.enter("w", create(waiting, PERPETUAL))
        await desk.events.wait(lambda item: isinstance(item, OrderAccepted) and item.client_order_id == "mine-waits")
        listed = await look(desk, open_orders("linear"))
        assert len(listed.records) == 61
        states = {each.client_order_id: each.state for each in listed.records}
        assert states["mine-waits"] is OrderState.WAITING
        for request in cancel_all("linear"):
            assert (await desk.client.send(request, timestamp_ms=desk.stamp()))[0].kind is AnswerKind.ACCEPTED
        await desk.events.wait(lambda item: isinstance(item, OrderCanceled), 61)
        assert (await look(desk, open_orders("linear"))).records == ()

    with served(world) as venue:
        on(venue, work)


def test_positions_wallet_and_bookings(venue: Served) -> None:
    async def work(desk: Desk) -> None:
        await desk.enter("a", create(order(price=None, qty="0.2", side=Side.SELL), PERPETUAL))
        filled = await desk.events.of(OrderFilled)
        held = await look(desk, positions(["ETHUSDT"]))
        assert {(each.instrument, each.qty) for each in held.records} == {
            ("BTCUSDT", Decimal("-0.2")),
            ("ETHUSDT", Decimal(0)),
        }
        (account,) = (await look(desk, wallet())).records
        assert {"USDT", "BTC"} <= {coin.currency for coin in account.coins}
        lines = await look(desk, bookings_since(desk.stamp() - 60_000, desk.stamp()))
        assert filled.trade_id in {line.trade_id for line in lines.records}
        for line in lines.records:
            assert line.change == line.cash_flow + line.funding - line.fee
        (found,) = [await look(desk, find_order(PERPETUAL, "mine-it"))]
        fills = await look(desk, executions_of(PERPETUAL, found.order.venue_order_id))
        assert sum(each.qty for each in fills.records) == Decimal("0.2")

    on(venue, work)


def test_a_long_outage_is_asked_for_week_by_week(venue: Served) -> None:
    async def work(desk: Desk) -> None:
        await desk.enter("a", create(order(price=None), PERPETUAL))
        await desk.events.of(OrderFilled)
        rows = await look(desk, executions_since("linear", desk.stamp() - 30 * 86_400_000, desk.stamp()))
        assert [each.client_order_id for each in rows.records]

    on(venue, work)
