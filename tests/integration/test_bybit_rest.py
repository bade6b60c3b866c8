"""Our REST client against the emulated venue over HTTP: every fault of the network comes back as an outcome."""

import asyncio
import gzip
import json
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bot.domain.answers import Answer, AnswerKind, Cause
from bot.domain.instrument import Side
from bot.domain.orders import AmendOrder, CancelOrder, OrderType, SubmitOrder, TimeInForce
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.envelope import Reply, Unread
from bot.venues.bybit.hosts import host_of
from bot.venues.bybit.rate_budget import RateBudget
from bot.venues.bybit.requests import Listed, amend, batch, cancel, create
from bot.venues.bybit.rest_client import Query, RestClient
from tests.support.emulator import KEY, SECRET, Served, make_world, served
from tests.support.live_rest import client_of, rising_clock, stamp

BTC = Listed("linear", "BTCUSDT")
SPOT = Listed("spot", "BTCUSDT")
CREATE = {"path": "/v5/order/create"}
OPEN = Query(
    path="/v5/order/realtime", query="category=linear&symbol=BTCUSDT", bucket="order.realtime", category="linear"
)


@pytest.fixture
def venue() -> Iterator[Served]:
    """Serve a venue to one case."""
    with served(lambda now_ns: make_world(now_ns, each_s=1.0, seconds=120)) as running:
        yield running


def order(order_id: str = "it", price: str = "59900", **fields: Any) -> SubmitOrder:
    return SubmitOrder(
        client_order_id=order_id,
        order_number=1,
        instrument="BTCUSDT",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        qty=Decimal("0.010"),
        limit_price=Decimal(price),
        **fields,
    )


def on(venue: Served, work: Callable[[RestClient], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        async with client_of(venue, **options) as client:
            return await work(client)

    return asyncio.run(run())


async def place(client: RestClient, order_id: str = "it", *, window_ms: int = 2_500, **fields: Any) -> Answer:
    (answer,) = await client.send(
        create(order(order_id, **fields), BTC), timestamp_ms=stamp(client), recv_window_ms=window_ms
    )
    return answer


async def open_ids(client: RestClient) -> str:
    reply = await client.ask(OPEN, timestamp_ms=stamp(client))
    assert isinstance(reply, Reply), reply
    return bytes(reply.result).decode()


def test_an_order_lives_and_dies(venue: Served) -> None:
    async def work(client: RestClient) -> None:
        placed = await place(client)
        assert placed.kind is AnswerKind.ACCEPTED
        assert placed.venue_order_id
        assert placed.server_time_ms is not None
        change = AmendOrder(
            client_order_id="it", order_number=1, amend_number=1, instrument="BTCUSDT", limit_price=Decimal(59_800)
        )
        (amended,) = await client.send(amend(change, BTC), timestamp_ms=stamp(client))
        assert (amended.kind, amended.venue_order_id) == (AnswerKind.ACCEPTED, placed.venue_order_id)
        (again,) = await client.send(amend(change, BTC), timestamp_ms=stamp(client))
        assert (again.kind, again.cause) == (AnswerKind.REFUSED, Cause.UNCHANGED)
        gone = CancelOrder(client_order_id="it", order_number=1, instrument="BTCUSDT")
        (canceled,) = await client.send(cancel(gone, BTC), timestamp_ms=stamp(client))
        assert canceled.kind is AnswerKind.ACCEPTED
        (late,) = await client.send(cancel(gone, BTC), timestamp_ms=stamp(client))
        assert (late.kind, late.cause, late.code) == (AnswerKind.REFUSED, Cause.NOT_FOUND, "110001")

    on(venue, work)


def test_spot_market_orders_are_of_the_base_coin(venue: Served) -> None:
    async def work(client: RestClient) -> None:
        wanted = SubmitOrder(
            client_order_id="spot",
            order_number=1,
            instrument="BTCUSDT",
            side=Side.BUY,
            order_type=OrderType.MARKET,
            qty=Decimal("0.01"),
        )
        (answer,) = await client.send(create(wanted, SPOT), timestamp_ms=stamp(client))
        assert answer.kind is AnswerKind.ACCEPTED
        question = Query(path="/v5/execution/list", query="category=spot", bucket="execution.list", category="spot")
        reply = await client.ask(question, timestamp_ms=stamp(client))
        assert isinstance(reply, Reply)
        rows = json.loads(bytes(reply.result))["list"]
        assert sum(Decimal(row["execQty"]) for row in rows) == Decimal("0.01")

    on(venue, work)


def test_a_duplicate_exists(venue: Served) -> None:
    async def work(client: RestClient) -> Answer:
        await place(client)
        return await place(client)

    assert on(venue, work).kind is AnswerKind.EXISTS


@pytest.mark.parametrize(
    ("kind", "fields", "lives"),
    [
        ("lost_request", {}, False),
        ("lost_ack", {}, True),
        ("late_ack", {"delay_ns": 10**9}, True),
        ("half_open", {}, True),
        ("reset", {"after_bytes": 0}, True),
        ("reset", {"after_bytes": 20}, True),
    ],
)
def test_silence_is_never_a_refusal(venue: Served, kind: str, fields: dict[str, int], *, lives: bool) -> None:
    """Whether the order lives or not, the outcome is unknown."""
    venue.add_fault(kind=kind, where=CREATE, count=1, **fields)

    async def work(client: RestClient) -> None:
        answer = await place(client, window_ms=600)
        assert (answer.kind, answer.cause) == (AnswerKind.UNKNOWN, Cause.NETWORK)
        assert ('"it"' in await open_ids(client)) is lives

    on(venue, work)
    assert venue.fired(kind) == 1


def test_a_late_request_is_refused_beyond_its_window(venue: Served) -> None:
    """The bytes may arrive after we gave up; within the window they count, beyond it never."""
    venue.add_fault(kind="late_request", where=CREATE, count=1, delay_ns=900_000_000)

    async def work(client: RestClient) -> str:
        fence_ms = stamp(client) + 1_200
        answer = await place(client, window_ms=500)
        assert answer.kind is AnswerKind.UNKNOWN
        while stamp(client) < fence_ms:  # until the request has arrived, and was refused
            await client.ask_time()
        return await open_ids(client)

    assert '"it"' not in on(venue, work)


@pytest.mark.parametrize("fault", ["error_before", "error_after"])
@pytest.mark.parametrize("code", [10000, 10016, 10019, 170007, 10429, 10403, 123456])
def test_ambiguous_codes(venue: Served, fault: str, code: int) -> None:
    """The same words with and without an order behind them; so is a code that nobody has seen."""
    venue.add_fault(kind=fault, where=CREATE, count=1, code=code)
    answer = on(venue, place)
    assert (answer.kind, answer.code) == (AnswerKind.UNKNOWN, str(code))


@pytest.mark.parametrize(
    ("status", "kind", "cause"),
    [
        (401, AnswerKind.REFUSED, Cause.KEY),
        (403, AnswerKind.REFUSED, Cause.BANNED),
        (404, AnswerKind.UNKNOWN, Cause.BUSY),
        (429, AnswerKind.UNKNOWN, Cause.LIMITED),
        (500, AnswerKind.UNKNOWN, Cause.BUSY),
        (502, AnswerKind.UNKNOWN, Cause.BUSY),
    ],
)
@pytest.mark.parametrize("text", ["", "<html>no</html>", '{"retCode":0,"retMsg":"OK","result":{}}'])
def test_statuses(venue: Served, status: int, kind: AnswerKind, cause: Cause, text: str) -> None:
    """A status decides, whatever the body says."""
    venue.add_fault(kind="http_status", where=CREATE, count=1, status=status, text=text)
    answer = on(venue, place)
    assert (answer.kind, answer.cause, answer.code) == (kind, cause, f"HTTP {status}")


def test_after_a_ban_nothing_is_sent(venue: Served) -> None:
    venue.add_fault(kind="http_status", where=CREATE, count=1, status=403, text="access too frequent")

    async def work(client: RestClient) -> None:
        banned = await place(client)
        assert banned.retry_at_ms is not None
        assert 595_000 < banned.retry_at_ms - stamp(client) < 605_000
        unsent = await place(client, "other")
        assert (unsent.kind, unsent.cause, unsent.code) == (AnswerKind.REFUSED, Cause.BANNED, "unsent")
        question = await client.ask(OPEN, timestamp_ms=stamp(client))
        assert isinstance(question, Unread)
        assert question.cause is Cause.BANNED

    on(venue, work)
    assert venue.fired("http_status") == 1


def test_our_own_limit_comes_first_and_cancels_have_room(venue: Served) -> None:
    async def work(client: RestClient) -> tuple[Answer, Answer]:
        await place(client)
        for bucket in ("order.create", "order.cancel"):
            while client.budget.take(bucket, "linear", client._clock.now_ns()) is None:
                pass
        gone = CancelOrder(client_order_id="it", order_number=1, instrument="BTCUSDT")
        (canceled,) = await client.send(cancel(gone, BTC), timestamp_ms=stamp(client))
        return await place(client, "next"), canceled

    unsent, canceled = on(venue, work)
    assert (unsent.kind, unsent.cause, unsent.code) == (AnswerKind.REFUSED, Cause.LIMITED, "unsent")
    assert canceled.kind is AnswerKind.ACCEPTED


def test_the_venues_limit_names_when_to_come_back(venue: Served) -> None:
    venue.add_fault(kind="error_before", where=CREATE, count=1, code=10006)

    async def work(client: RestClient) -> None:
        limited = await place(client)
        assert (limited.kind, limited.cause) == (AnswerKind.REFUSED, Cause.LIMITED)
        assert limited.retry_at_ms is not None
        assert (await place(client, "next")).code == "unsent"

    on(venue, work)


def test_a_batch_has_an_answer_for_each(venue: Served) -> None:
    async def work(client: RestClient) -> tuple[Answer, ...]:
        await place(client, "twice")
        items = [create(order(each), BTC) for each in ("one", "twice", "three")]
        items[2] = create(order("three", price="1"), BTC)  # far outside the band: moved or refused, never unknown
        return await client.send(batch(items), timestamp_ms=stamp(client))

    first, second, _ = on(venue, work)
    assert first.kind is AnswerKind.ACCEPTED
    assert second.kind is AnswerKind.EXISTS


def test_a_wrong_key_and_a_wrong_clock(venue: Served) -> None:
    assert on(venue, place, key="NOBODY").cause is Cause.KEY
    assert on(venue, place, secret="WRONG").cause is Cause.KEY

    async def late(client: RestClient) -> Answer:
        request = create(order(), BTC)
        return (await client.send(request, timestamp_ms=stamp(client) - 5_000))[0]

    answer = on(venue, late)
    assert (answer.kind, answer.cause) == (AnswerKind.REFUSED, Cause.CLOCK)


def test_nothing_shows_the_key(venue: Served) -> None:
    """The venue echoes what it signed; what comes to us has neither key nor secret in it."""

    async def work(client: RestClient) -> str:
        answer = await place(client)
        return f"{answer} {client!r} {client.__dict__['_credentials']!r} {vars(client)}"

    wrong = on(venue, work, secret="WRONGSECRET")
    assert "origin_string[...]" in wrong or "10004" in wrong
    assert KEY not in wrong
    assert "WRONGSECRET" not in wrong


# --- a server that does not mean well ---------------------------------------------------------------------------------


@asynccontextmanager
async def hostile(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[RestClient]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    client = RestClient(
        host_of("emulator", url=f"http://127.0.0.1:{port}"),
        Credentials(key=KEY, secret=SECRET),
        clock=rising_clock(),
        budget=RateBudget(),
    )
    try:
        async with client:
            yield client
    finally:
        await runner.cleanup()


def told(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Answer:
    async def run() -> Answer:
        async with hostile(handle) as client:
            request = create(order(time_in_force=TimeInForce.GTC), BTC)
            return (await client.send(request, timestamp_ms=1_700_000_000_000, recv_window_ms=1_000))[0]

    return asyncio.run(run())


@pytest.mark.parametrize("size", [(2 << 20) + 1, 64 << 20])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_without_end_is_not_read(size: int, *, is_chunked: bool) -> None:
    sent = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={} if is_chunked else {"Content-Length": str(size)})
        await response.prepare(request)
        try:
            for _ in range(0, size, 1 << 16):
                await response.write(b" " * (1 << 16))
                sent += 1 << 16
        except ConnectionError:
            pass
        return response

    answer = told(handle)
    assert (answer.kind, answer.code) == (AnswerKind.UNKNOWN, "too_long")
    assert sent < 16 << 20


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_answer_is_not_unpacked(name: str, pack: Callable[[bytes], bytes]) -> None:
    body = pack(b'{"retCode":0,"retMsg":"' + b"0" * (8 << 20) + b'"}')

    async def handle(request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=body, headers={"Content-Encoding": name})

    answer = told(handle)
    assert (answer.kind, answer.code) == (AnswerKind.UNKNOWN, "compressed")


def test_a_redirect_is_not_followed() -> None:
    seen: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    answer = told(handle)
    assert (answer.kind, answer.code) == (AnswerKind.UNKNOWN, "HTTP 307")
    assert seen == ["/v5/order/create"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"[]",
        b'{"retCode":"0"}',
        b'{"retCode":true}',
        b'{"retCode":0,"result":{"orderId":"x","orderLinkId":"another"}}',
        b'{"retCode":0,"result":[1]}',
        b'{"retCode":1e999}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_cannot_be_read_is_unknown(body: bytes) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    assert told(handle).kind is AnswerKind.UNKNOWN


def test_a_cancel_does_not_queue_behind_what_hangs() -> None:
    """Whatever takes all other connections, a cancel goes out at once; what found none says that it was not sent."""
    gone = CancelOrder(client_order_id="it", order_number=1, instrument="BTCUSDT")
    body = b'{"retCode":0,"retMsg":"OK","result":{"orderId":"v","orderLinkId":"it"}}'

    async def run() -> tuple[list[Reply | Unread], Answer]:
        release, asked = asyncio.Event(), 0
        all_taken = asyncio.Event()

        async def handle(request: web.Request) -> web.StreamResponse:
            nonlocal asked
            if request.method == "GET":
                asked += 1
                if asked == 20:
                    all_taken.set()
                await release.wait()
            return web.Response(body=body)

        async with hostile(handle) as client:
            questions = [
                asyncio.create_task(client.ask(OPEN, timestamp_ms=1_700_000_000_000, recv_window_ms=window_ms))
                for window_ms in (*[1_000] * 20, *[300] * 4)
            ]
            await all_taken.wait()
            (canceled,) = await client.send(cancel(gone, BTC), timestamp_ms=1_700_000_000_000, recv_window_ms=1_000)
            assert asked == 20
            assert not any(each.done() for each in questions)
            answers = await asyncio.gather(*questions)
            release.set()
            return answers, canceled

    answers, canceled = asyncio.run(run())
    assert canceled.kind is AnswerKind.ACCEPTED
    causes = [each.cause for each in answers if isinstance(each, Unread)]
    assert causes == [Cause.NETWORK] * 20 + [Cause.UNSENT] * 4


def test_where_nobody_listens_nothing_was_sent() -> None:
    async def run() -> Answer:
        client = RestClient(
            host_of("emulator", url="http://127.0.0.1:1"),
            Credentials(key=KEY, secret=SECRET),
            clock=rising_clock(),
            budget=RateBudget(),
        )
        async with client:
            return (await client.send(create(order(), BTC), timestamp_ms=1_700_000_000_000))[0]

    answer = asyncio.run(run())
    assert (answer.kind, answer.cause) == (AnswerKind.REFUSED, Cause.UNSENT)


def test_the_example_of_the_docs(venue: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs as it stands, but for the address and the key."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "adapter.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for written, here in (
        ("http://127.0.0.1:8765", venue.http),
        ("EMULATORKEY0001", KEY),
        ("EMULATORSECRET0001", SECRET),
    ):
        assert written in code
        code = code.replace(written, here)
    exec(compile(code, "docs/adapter.md", "exec"), {})  # our own page
    printed = capsys.readouterr().out
    assert "AnswerKind.ACCEPTED" in printed
    assert "Found(order=OrderRecord(market='linear', client_order_id='by-hand-1'" in printed
