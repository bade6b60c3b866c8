"""A live account at Bybit: carries requests out, looks things up, listens, and tells all of it by messages.

Thin: what an answer means, what a record says and when a connection is lost is decided by the rooms beside it. Whatever
is asked of it returns at once; nothing is ever asked of the venue twice but questions.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from msgspec.structs import replace

from bot.core.reconcile import VenueSnapshot
from bot.core.submission.messages import (
    AccountCompared,
    AccountTold,
    Answered,
    ClockTold,
    HomeMessage,
    KeyRefused,
    LinkChanged,
    LookedUp,
    PositionSeen,
)
from bot.core.submission.requests import LookUpWanted, Send, Subject
from bot.domain.account_events import LiveEvent
from bot.domain.answers import Answer, AnswerKind, Cause, Found, Unknown
from bot.domain.instrument import Instrument
from bot.domain.orders import AmendOrder, CancelOrder, ChangeStops, Command, SubmitOrder
from bot.domain.venue_records import BookingRecord, OrderRecord, PositionRecord
from bot.ports import Clock
from bot.venues.bybit import requests
from bot.venues.bybit.account_stream import AccountStream
from bot.venues.bybit.backoff import ConnectBudget
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.envelope import Unread
from bot.venues.bybit.login_session import Lost, Ready
from bot.venues.bybit.lookups import (
    Asking,
    Snapshot,
    ask_all,
    bookings_since,
    executions_of,
    executions_since,
    find_order,
    margin_mode,
    open_orders,
    positions,
    wallet,
)
from bot.venues.bybit.order_gateway import OrderGateway
from bot.venues.bybit.private_session import Gap, PrivateSession, Told
from bot.venues.bybit.requests import Listed, WriteRequest
from bot.venues.bybit.rest_client import RestClient
from bot.venues.bybit.session_socket import SessionSocket, TradeSocket
from bot.venues.bybit.stream_effects import Alert
from bot.venues.bybit.topics import Category
from bot.venues.bybit.trade_session import TradeSession

log = structlog.get_logger()

R = TypeVar("R")

_MS = 1_000_000
_POLL_S = 0.25  # between two looks at what is due
_CANCEL_ROUNDS = 40  # of 500 orders each
_CANCEL_PAUSE_S = 0.2
_RECV_WINDOW_MS = 2_500
_LATE_ANSWERS = 4_096
_REFUSALS = 2  # questions in a row that it takes to believe that the key is refused
_LOOK_BACK_MS = 90 * 24 * 3_600_000
_KNOWN_MS = 20 * 3_600_000  # before the last comparison; what was done a day before it is forgotten, and booked twice


class LiveAccount:
    """One account; a `ports.AccountVenue`. Call `start`, run `run` beside, `stop` at the end.

    Args:
        client: of the account's key, open.
        credentials: of the same key.
        instruments: what is traded, by our name, with the venue's.
        is_ours: tells our client order ids from others', of earlier runs too.
        clock: ours, one that only rises.
        deliver: takes messages home; it must not block.
        prefix: begins the ids of this run's requests; never used before.
        seed: of the waits between connections.
        speed: how fast the clock runs.
        budget: of connections, shared by all to the same host.
    """

    def __init__(
        self,
        client: RestClient,
        credentials: Credentials,
        *,
        instruments: Mapping[str, tuple[Listed, Instrument]],
        is_ours: Callable[[str], bool],
        clock: Clock,
        deliver: Callable[[HomeMessage], None],
        prefix: str,
        seed: int,
        speed: float = 1.0,
        budget: ConnectBudget | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._deliver = deliver
        self._speed = speed
        self._listed = {name: listed for name, (listed, _) in instruments.items()}
        self._names: dict[tuple[str, str], str] = {
            (listed.category, listed.symbol): name for name, listed in self._listed.items()
        }
        self._categories: list[Category] = sorted({listed.category for listed in self._listed.values()})
        self.stream = AccountStream(
            {(listed.category, listed.symbol): each for listed, each in instruments.values()}, is_ours=is_ours
        )
        host = client.host
        budget = ConnectBudget() if budget is None else budget
        self._private = SessionSocket(
            PrivateSession(credentials, client.venue_clock, seed=seed, budget=budget),
            host.private_path,
            clock=clock,
            on_effect=self._on_private,
            speed=speed,
        )
        self._trade: TradeSocket | None = None
        if host.trade_path is not None:
            self._trade = TradeSocket(
                TradeSession(credentials, client.venue_clock, prefix=prefix, rates=client.budget, seed=seed),
                host.trade_path,
                clock=clock,
                on_effect=self._on_trade,
                on_late=self._on_late,
                speed=speed,
            )
        self._gateway = OrderGateway(client, self._trade)
        self.begins_ms = 0  # what was executed before is nothing of this ledger's
        self._sent: dict[str, tuple[str, int, str]] = {}  # by token: request, attempt, client order id
        self.on_missing: Callable[[], None] = lambda: None  # told when bookings may be missing
        self._refusals = 0  # questions in a row that were refused because of the key
        self._since_ms = 0  # up to then all executions are booked
        self._waiting_for: set[str] = set()  # client order ids whose executions are being asked for
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[None] | None = None  # holds what a request has raised

    # --- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect."""
        self._private.start()
        if self._trade is not None:
            self._trade.start()

    async def run(self) -> None:
        """Keep the clock, ask for what is behind, and raise what any part of it has raised."""
        sockets = [self._private, *([] if self._trade is None else [self._trade.socket])]
        failing = [*(asyncio.ensure_future(each.failed()) for each in sockets), self._failure()]
        try:
            while True:
                await self._keep_clock()
                now_ns = self._clock.now_ns()
                self._tell(self.stream.on_time(now_ns))
                for record in self.stream.behind(now_ns):
                    self._ask_for_fills(record)
                done, _ = await asyncio.wait(failing, timeout=_POLL_S / self._speed)
                for each in done:
                    await each
        finally:
            for each in failing:
                each.cancel()

    async def stop(self) -> None:
        """Close everything; what was under way is told as unknown."""
        await self._private.stop()
        if self._trade is not None:
            await self._trade.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def measure_clock(self) -> str:
        """Take the first measures of the venue's clock; return what went wrong, "" if nothing did."""
        trouble = ""
        for _ in range(8):
            trouble = await self._client.ask_time()
            if not self._client.venue_clock.is_due(self._clock.now_ns()):
                break
        self._tell_clock()
        return trouble if self.venue_ms() is None else ""

    def venue_ms(self) -> int | None:
        """Return the venue's time, None while it is not known."""
        return self._client.venue_clock.venue_ms(self._clock.now_ns())

    def connections(self) -> dict[str, int]:
        """Return how many connections were made or tried, by name."""
        trade = {} if self._trade is None else {"orders": self._trade.session.connection}
        return {"account": self._private.session.connection, **trade}

    # --- what is asked of it ------------------------------------------------------------------------------------------

    def send(self, send: Send) -> None:
        """See `ports.AccountVenue`."""
        command = send.command
        try:
            request = self._request(command)
        except (KeyError, ValueError) as error:
            answer = Answer(
                kind=AnswerKind.REFUSED,
                cause=Cause.UNSENT,
                code="CANNOT_BE",
                text=f"the venue cannot have it: {error}",
                recv_ns=self._clock.now_ns(),
            )
            self._deliver(Answered(request=send.request, attempt=send.attempt, answer=answer))
            return
        if isinstance(command, SubmitOrder):
            self.stream.expect(command)
        self._spawn(self._send(send, request))

    def look_up(self, wanted: LookUpWanted) -> None:
        """See `ports.AccountVenue`."""
        match wanted.subject:
            case Subject.ORDER:
                self._spawn(self._look_for_order(wanted))
            case Subject.POSITION:
                self._spawn(self._look_at_position(wanted.instrument))
            case Subject.FILLS:
                self._spawn(self._look_for_fills(wanted))

    def cancel_all(self, instruments: Sequence[str]) -> None:
        """See `ports.AccountVenue`."""
        for name in instruments:
            if name in self._listed:
                self._spawn(self._cancel_all(self._listed[name]))

    async def bookings(self, from_ms: int, to_ms: int) -> tuple[BookingRecord, ...] | str:
        """See `ports.BookingSource`."""
        rows = await self._ask(bookings_since(from_ms, to_ms))
        if isinstance(rows, Unread):
            return f"{rows.code} {rows.text}"
        return tuple(
            replace(each, instrument=self._name(each.market, each.instrument)) if each.instrument else each
            for each in rows.records
        )

    async def tell_executions(self, from_ms: int, to_ms: int) -> None:
        """See `ports.BookingSource`."""
        for category in self._categories:
            rows = await self._ask(executions_since(category, from_ms, to_ms, overlap_ms=0))
            if isinstance(rows, Snapshot):
                ours = [each for each in rows.records if each.executed_ms >= self.begins_ms]
                self._tell(self.stream.on_records(ours, self._clock.now_ns()))

    def compare(self, why: str, since_ms: int) -> None:
        """See `ports.AccountVenue`."""
        self._since_ms = max(self._since_ms, since_ms)
        self._spawn(self._compare(why, since_ms))

    # --- sending ------------------------------------------------------------------------------------------------------

    def _request(self, command: Command) -> WriteRequest:
        listed = self._listed[command.instrument]
        match command:
            case SubmitOrder():
                return requests.create(command, listed)
            case AmendOrder():
                return requests.amend(command, listed)
            case CancelOrder():
                return requests.cancel(command, listed)
            case ChangeStops():
                return requests.change_stops(command, listed)

    async def _send(self, send: Send, request: WriteRequest) -> None:
        token = f"{send.request}/{send.attempt}"
        name = request.client_order_ids[0] if request.client_order_ids else ""
        self._sent[token] = send.request, send.attempt, name
        while len(self._sent) > _LATE_ANSWERS:
            self._sent.pop(next(iter(self._sent)))
        sent = await self._gateway.send(token, request, timestamp_ms=send.signed_ms, recv_window_ms=send.recv_window_ms)
        self._answer(token, sent.answers)

    def _on_late(self, token: str, answers: tuple[Answer, ...]) -> None:
        self._answer(token, answers)

    def _answer(self, token: str, answers: tuple[Answer, ...]) -> None:
        request, attempt, name = self._sent[token]
        answer = answers[0]
        self._deliver(Answered(request=request, attempt=attempt, answer=answer))
        if answer.venue_order_id and name:
            self._tell(self.stream.note_id(answer.venue_order_id, name, self._clock.now_ns()))

    async def _cancel_all(self, listed: Listed) -> None:
        """Cancel, look, and go on while there is anything: one call reaches no more than 500."""
        for _ in range(_CANCEL_ROUNDS):
            stamp_ms = self.venue_ms()
            if stamp_ms is not None:
                await asyncio.gather(
                    *(
                        self._client.send(each, timestamp_ms=stamp_ms, recv_window_ms=_RECV_WINDOW_MS)
                        for each in requests.cancel_all(listed.category, symbol=listed.symbol)
                    )
                )
            left = await self._ask(open_orders(listed.category))
            if isinstance(left, Snapshot):
                self._tell(self.stream.on_records(left.records, self._clock.now_ns()))
                if not any(each.instrument == listed.symbol for each in left.records):
                    return
            await asyncio.sleep(_CANCEL_PAUSE_S / self._speed)
        log.error("orders.not_canceled", symbol=listed.symbol, category=listed.category)

    # --- looking ------------------------------------------------------------------------------------------------------

    async def _look_for_order(self, wanted: LookUpWanted) -> None:
        result = await self._ask(find_order(self._listed[wanted.instrument], wanted.client_order_id))
        if isinstance(result, Found):
            result = replace(result, order=self._named(result.order))
            self._tell(self.stream.note_id(result.order.venue_order_id, wanted.client_order_id, self._clock.now_ns()))
        self._deliver(LookedUp(client_order_id=wanted.client_order_id, result=result))

    async def _look_at_position(self, name: str) -> None:
        listed = self._listed[name]
        rows = await self._ask(positions([listed.symbol]))
        if isinstance(rows, Unread):
            self._deliver(PositionSeen(instrument=name, position=None, server_time_ms=None))
            return
        self._tell(self.stream.on_records(rows.records, self._clock.now_ns()))
        found: list[PositionRecord | None] = [
            replace(each, instrument=name) for each in rows.records if each.instrument == listed.symbol
        ]
        for position in found or [None]:  # in hedge mode there are two
            self._deliver(PositionSeen(instrument=name, position=position, server_time_ms=rows.server_time_ms))

    async def _look_for_fills(self, wanted: LookUpWanted) -> None:
        if not wanted.client_order_id:
            self.on_missing()
            self.compare("executions may be missing", max(1, self._since_ms - _KNOWN_MS))
            return
        listed = self._listed[wanted.instrument]
        found = await self._ask(find_order(listed, wanted.client_order_id))
        if isinstance(found, Found):
            await self._tell_fills(listed, found.order.venue_order_id)

    def _ask_for_fills(self, record: OrderRecord) -> None:
        name = self._names.get((record.market, record.instrument))
        key = record.venue_order_id
        if name is not None and key not in self._waiting_for:
            self._waiting_for.add(key)
            self._spawn(self._tell_fills(self._listed[name], key))

    async def _tell_fills(self, listed: Listed, venue_order_id: str) -> None:
        try:
            rows = await self._ask(executions_of(listed, venue_order_id))
            if isinstance(rows, Snapshot):
                self._tell(self.stream.on_records(rows.records, self._clock.now_ns()))
        finally:
            self._waiting_for.discard(venue_order_id)

    async def _compare(self, why: str, since_ms: int) -> None:
        """Ask for what was executed, then for what is: what is compared must not be older than what was booked."""
        began_ns = self._clock.now_ns()
        until_ms = self.venue_ms()
        if until_ms is None:
            self._not_compared("the venue's time is not known", why)
            return
        from_ms = max(since_ms, self.begins_ms, until_ms - _LOOK_BACK_MS)
        for category in self._categories:
            rows = await self._ask(executions_since(category, from_ms, until_ms))
            if isinstance(rows, Unread):
                self._not_compared(f"{rows.code} {rows.text}", why)
                return
            ours = [each for each in rows.records if each.executed_ms >= self.begins_ms]
            self._tell(self.stream.on_records(ours, self._clock.now_ns()))
        times: list[int] = []
        orders: list[OrderRecord] = []
        held: list[PositionRecord] = []
        for category in self._categories:
            listed_orders = await self._ask(open_orders(category))
            if isinstance(listed_orders, Unread):
                self._not_compared(f"{listed_orders.code} {listed_orders.text}", why)
                return
            times.append(listed_orders.server_time_ms)
            orders += listed_orders.records
        symbols = [each.symbol for each in self._listed.values() if each.category == "linear"]
        if symbols:
            rows_held = await self._ask(positions(symbols))
            if isinstance(rows_held, Unread):
                self._not_compared(f"{rows_held.code} {rows_held.text}", why)
                return
            times.append(rows_held.server_time_ms)
            held += rows_held.records
        balances = await self._ask(wallet())
        if isinstance(balances, Unread):
            self._not_compared(f"{balances.code} {balances.text}", why)
            return
        mode = await self._ask(margin_mode()) if symbols else ""
        self._tell(self.stream.on_records([*orders, *held], self._clock.now_ns()))
        snapshot = VenueSnapshot(
            at_ms=min(times),
            began_ns=began_ns,
            open_orders=tuple(map(self._named, orders)),
            positions=tuple(replace(each, instrument=self._name(each.market, each.instrument)) for each in held),
            wallet=balances.records[0] if balances.records else None,
            margin_mode="" if isinstance(mode, Unread) else mode,  # the next comparison asks again
        )
        self._deliver(AccountCompared(snapshot=snapshot, executed_ms=until_ms, why=why))

    def _not_compared(self, trouble: str, why: str) -> None:
        self._deliver(AccountCompared(snapshot=None, executed_ms=0, why=f"{trouble} ({why})"))

    async def _ask(self, asking: Asking[R]) -> R:
        """Return what a question has come to; tell of the key once it has been refused twice in a row."""
        result = await ask_all(self._client, asking, stamp_ms=self.venue_ms, speed=self._speed)
        if not isinstance(result, Unread | Unknown):
            self._refusals = 0
        elif result.cause is Cause.KEY:
            self._refusals += 1
            if self._refusals == _REFUSALS:
                why = f"{result.code}: {result.text}" if isinstance(result, Unread) else result.why
                code, _, text = why.partition(": ")
                self._deliver(KeyRefused(code=code, text=text))
        return result

    # --- what is heard ------------------------------------------------------------------------------------------------

    def _on_private(self, effect: Any) -> None:
        now_ns = self._clock.now_ns()
        match effect:
            case Told(frame=frame):
                is_fast = frame.kind == "execution.fast"
                self._tell(self.stream.on_records(frame.records, now_ns, is_fast=is_fast))
            case Gap(reason=reason):
                self._tell(self.stream.on_gap(reason, now_ns))
            case Ready():
                self._deliver(LinkChanged(name="account", is_up=True, reason=""))
            case Lost(reason=reason):
                self._deliver(LinkChanged(name="account", is_up=False, reason=reason))
            case Alert():
                _log_alert("account", effect)

    def _on_trade(self, effect: Any) -> None:
        match effect:
            case Ready():
                self._deliver(LinkChanged(name="orders", is_up=True, reason=""))
            case Lost(reason=reason):
                # Orders go by REST meanwhile: nothing is in trouble.
                log.warning("orders.link_lost", reason=reason)
            case Alert():
                _log_alert("orders", effect)

    def _tell(self, events: Iterable[LiveEvent]) -> None:
        told = tuple(events)
        if told:
            self._deliver(AccountTold(events=told))

    async def _keep_clock(self) -> None:
        if self._client.venue_clock.is_due(self._clock.now_ns()):
            trouble = await self._client.ask_time()
            if trouble:
                log.warning("clock.not_measured", why=trouble)
            self._tell_clock()

    def _tell_clock(self) -> None:
        now_ns = self._clock.now_ns()
        offset = self._client.venue_clock.offset(now_ns)
        trouble = self._client.venue_clock.trouble(now_ns)
        self._deliver(ClockTold(offset_ms=None if offset is None else offset.ns // _MS, trouble=trouble))

    def _name(self, market: str, symbol: str) -> str:
        return self._names.get((market, symbol), symbol if market == "linear" else f"{market}:{symbol}")

    def _named(self, record: OrderRecord) -> OrderRecord:
        return replace(record, instrument=self._name(record.market, record.instrument))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._failure().done():
            self._failure().set_exception(error)  # `run` raises it: nobody would have waited for its answer

    def _failure(self) -> asyncio.Future[None]:
        if self._broken is None:
            self._broken = asyncio.get_running_loop().create_future()
        return self._broken


def _log_alert(name: str, alert: Alert) -> None:
    log.warning("stream.alerted", link=name, code=alert.code, text=alert.text, suppressed=alert.suppressed)
