"""What a start asks of key, account and venue, on the emulated one, asked both ways: each difference one line."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from bot.domain.instrument import Instrument
from bot.runtime.env import call_in_thread
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.hosts import host_of
from bot.venues.bybit.requests import Listed, WriteRequest
from bot.venues.bybit.rest_client import RestClient
from bot.venues.bybit.start_queries import PybitAsker, RestAsker
from bot.venues.bybit.startup import Asker, Checked, Mode, Wanted, check_account, check_instruments
from tests.support.emulator import BTC, KEY, READ_ONLY_KEY, READ_ONLY_SECRET, SECRET, Served, make_world, served
from tests.support.live_rest import client_of, rising_clock, stamp

UID = 592324


@pytest.fixture
def venue() -> Iterator[Served]:
    """Serve a venue to one case."""
    with served(lambda now_ns: make_world(now_ns, each_s=1.0, seconds=120)) as running:
        yield running


def wanted(mode: Mode = "paper", **changes: Any) -> Wanted:
    instruments: dict[str, tuple[Listed, Instrument]] = {"BTCUSDT": (Listed("linear", "BTCUSDT"), BTC)}
    return msgspec.structs.replace(
        Wanted(mode=mode, uid=UID, instruments=instruments, leverage={"BTCUSDT": Decimal(5)}), **changes
    )


def on(venue: Served, work: Callable[[RestClient, Asker], Awaitable[Any]], *, by: str = "rest", key: str = KEY) -> Any:
    secret = {KEY: SECRET, READ_ONLY_KEY: READ_ONLY_SECRET}[key]

    async def run() -> Any:
        async with client_of(venue, key=key, secret=secret) as client:
            if by == "rest":
                return await work(client, RestAsker(client, lambda: stamp(client)))
            asker = PybitAsker(
                host_of("emulator", url=venue.http),
                Credentials(key=key, secret=secret),
                clock=rising_clock(),
                in_thread=call_in_thread,
            )
            try:
                return await work(client, asker)
            finally:
                asker.close()

    return asyncio.run(run())


def checked(venue: Served, what: Wanted, *, by: str = "rest", key: str = KEY, may_set: bool = True) -> Checked:
    """Return what a start finds out about the account."""

    async def work(client: RestClient, asker: Asker) -> Checked:
        async def send(request: WriteRequest) -> Any:
            return (await client.send(request, timestamp_ms=stamp(client)))[0]

        credentials = Credentials(key=key, secret="unused")
        now_ns = stamp(client) * 10**6
        return await check_account(asker, send if may_set else None, what, credentials, now_ns=now_ns)

    return on(venue, work, by=by, key=key)


def check(venue: Served, what: Wanted, **how: Any) -> tuple[list[str], list[str]]:
    """Return what stops the start, and what warns."""
    found = checked(venue, what, **how).findings
    for each in found:
        assert "\n" not in each.line
        assert KEY not in each.line
    return [each.line for each in found if each.is_fatal], [each.line for each in found if not each.is_fatal]


@pytest.mark.parametrize("by", ["rest", "pybit"])
def test_a_start_that_may_be(venue: Served, by: str) -> None:
    """Leverage is set, limits beyond the band are refused from now on, and both were read again."""
    fatal, warned = check(venue, wanted(), by=by)
    assert fatal == []
    assert checked(venue, wanted(), by=by).uid == UID
    assert any("bound to no address" in line for line in warned)
    assert check(venue, wanted(), by=by, may_set=False)[0] == []


@pytest.mark.parametrize("by", ["rest", "pybit"])
def test_what_may_not_be_set_is_told(venue: Served, by: str) -> None:
    fatal, _ = check(venue, wanted(), by=by, may_set=False)
    assert any("leverage" in line and "wanted is 5" in line for line in fatal)
    assert any("moves limits beyond its band" in line for line in fatal)


@pytest.mark.parametrize("by", ["rest", "pybit"])
def test_the_position_mode_is_set_where_nothing_is_open(venue: Served, by: str) -> None:
    """There and back; with an open order the venue will not, and the start says what to do."""
    hedged = wanted(is_hedged=True, leverage={})
    flat = "BTCUSDT is flat in one-way mode; cancel its orders and start again for hedge mode, or change "
    assert f"{flat}execution.position_mode" in check(venue, hedged, by=by, may_set=False)[0]
    assert check(venue, hedged, by=by)[0] == []
    assert check(venue, hedged, by=by, may_set=False)[0] == []
    assert check(venue, wanted(leverage={}), by=by)[0] == []
    body = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01"}
    body |= {"price": "50000"}
    venue.add_fault(kind="owner_request", text="order.create", body=body, where={"account": "first"})
    resting = wait_for(lambda: check(venue, hedged, by=by)[0])
    assert resting == [f"{flat}execution.position_mode"]


def wait_for(look: Callable[[], list[str]]) -> list[str]:
    """Return what is told once there is something: the owner's order takes a moment."""
    for _ in range(50):
        if found := look():
            return found
    raise AssertionError("nothing is in the way")


def test_live_is_stricter_than_paper(venue: Served) -> None:
    assert any("bound to no address" in line for line in check(venue, wanted("live"))[0])
    unpinned = wanted("live", uid=None)
    assert any(f"account {UID}" in line for line in check(venue, unpinned)[0])
    assert not check(venue, wanted("paper", uid=None))[0]


def test_another_account(venue: Served) -> None:
    fatal, _ = check(venue, wanted(uid=1))
    assert any(f"of account {UID}, not of 1" in line for line in fatal)


def test_a_key_that_only_reads(venue: Served) -> None:
    assert any("read-only" in line for line in check(venue, wanted(), key=READ_ONLY_KEY)[0])
    assert not check(venue, wanted("monitor", leverage={}), key=READ_ONLY_KEY)[0]
    assert any("may write" in line for line in check(venue, wanted("monitor", leverage={}))[0])


@pytest.mark.parametrize("status", [401, 403, 503])
@pytest.mark.parametrize("by", ["rest", "pybit"])
def test_a_venue_that_does_not_answer(venue: Served, status: int, by: str) -> None:
    venue.add_fault(kind="http_status", where={"path": "/v5/user/query-api"}, status=status, text="")
    fatal, _ = check(venue, wanted(), by=by)
    assert len(fatal) == 1
    assert fatal[0].startswith("/v5/user/query-api could not be asked")


@pytest.mark.parametrize("by", ["rest", "pybit"])
def test_instruments(venue: Served, by: str) -> None:
    other = msgspec.structs.replace(BTC, tick_size=Decimal("0.5"), qty_max=Decimal(7))
    nobody = msgspec.structs.replace(BTC, name="NOBODY")
    what = wanted(
        instruments={"BTCUSDT": (Listed("linear", "BTCUSDT"), other), "NOBODY": (Listed("linear", "NOBODY"), nobody)}
    )

    async def work(client: RestClient, asker: Asker) -> Any:
        return await check_instruments(asker, what)

    filters, found = on(venue, work, by=by)
    assert filters["BTCUSDT"].tick_size == BTC.tick_size
    lines = {each.line.split(" is ")[0]: each.is_fatal for each in found}
    assert lines["BTCUSDT: tick_size"] is True
    assert lines["BTCUSDT: qty_max"] is False
    assert any("NOBODY" in each.line and each.is_fatal for each in found)
