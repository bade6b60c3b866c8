"""What we say of a request is true of the venue, whatever happens on the way: refused never lives, accepted does.

The venue's own list is the judge. Unknown may be either; a request under the same id never makes a second order.
"""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from bot.domain.answers import Absent, AnswerKind, Found
from bot.venues.bybit.lookups import ask_all, find_order
from bot.venues.bybit.order_gateway import Channel, OrderGateway
from bot.venues.bybit.requests import create
from tests.support.emulator import Served, make_world, served
from tests.support.live_account import PERPETUAL, Desk, desk_of, order

MS = 1_000_000
WINDOW_MS = 250
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "lost_request"},
    {"kind": "lost_ack"},
    {"kind": "late_request", "delay_ns": 120 * MS},
    {"kind": "late_request", "delay_ns": 230 * MS},  # after we gave up, within the window
    {"kind": "late_request", "delay_ns": 400 * MS},  # after the window
    {"kind": "late_ack", "delay_ns": 300 * MS},
    {"kind": "reset", "after_bytes": 0},
    {"kind": "reset", "after_bytes": 40},
    {"kind": "split", "chunk_bytes": 9},
    {"kind": "error_before", "code": 10016},
    {"kind": "error_after", "code": 10016},
    {"kind": "error_before", "code": 10000},
    {"kind": "error_after", "code": 10429},
    {"kind": "error_before", "code": 110007},
    {"kind": "http_status", "status": 502, "text": "<html>"},
)
REST, SOCKET = {"path": "/v5/order/create"}, {"op": "order.create"}


async def campaign(desk: Desk, seed: int, count: int) -> Counter[tuple[str, AnswerKind]]:
    """Send orders through faults, some twice; return how often which way came to what."""
    dice = random.Random(seed)
    gateway = OrderGateway(desk.client, desk.entry)
    seen: Counter[tuple[str, AnswerKind]] = Counter()
    told: dict[str, list[AnswerKind]] = {}

    async def send(order_id: str, token: str) -> None:
        request = create(order(order_id), PERPETUAL)
        use = gateway if dice.random() < 0.7 else OrderGateway(desk.client, None)
        sent = await use.send(token, request, timestamp_ms=desk.stamp(), recv_window_ms=WINDOW_MS)
        told.setdefault(order_id, []).append(sent.answers[0].kind)
        seen[(sent.channel, sent.answers[0].kind)] += 1

    for number in range(count):
        if dice.random() < 0.6:
            fault = dice.choice(FAULTS)
            where = REST if fault["kind"] == "http_status" or dice.random() < 0.4 else SOCKET
            desk.venue.add_fault(**fault, where=where, count=1)
        order_id = f"mine-{seed}-{number}"
        await send(order_id, f"{number}a")
        if told[order_id][0] is AnswerKind.UNKNOWN or dice.random() < 0.2:
            await send(order_id, f"{number}b")  # the same id and content
    desk.venue.do(lambda exchange, now_ns: exchange.faults._rules.clear())
    fence_ms = desk.stamp() + 500
    while desk.stamp() < fence_ms:  # until the last late request has arrived or its window has closed
        await ask_all(desk.client, find_order(PERPETUAL, "mine-nobody"), stamp_ms=desk.stamp)
    for order_id, kinds in told.items():
        found = await ask_all(desk.client, find_order(PERPETUAL, order_id), stamp_ms=desk.stamp)
        assert isinstance(found, Found | Absent)
        lives = isinstance(found, Found)
        if not lives:
            assert set(kinds) <= {AnswerKind.REFUSED, AnswerKind.UNKNOWN}, (order_id, kinds)
        if set(kinds) == {AnswerKind.REFUSED}:
            assert not lives, (order_id, kinds)
    rows = desk.venue.do(lambda exchange, now_ns: _made(exchange))
    assert max(rows.values()) == 1, [name for name, times in rows.items() if times > 1]
    return seen


def _made(exchange: Any) -> Counter[str]:
    """Return how many orders the venue has ever made under each of our ids."""
    kept = exchange._gateway._clients["first"].archive.orders.values()
    return Counter(each.record.client_order_id for each in kept)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_said_is_true(seed: int) -> None:
    assert len(run(seed, 50)) >= 5


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 30))
def test_what_is_said_is_true_in_full(seed: int) -> None:
    run(seed, 400)


def run(seed: int, count: int) -> Counter[tuple[str, AnswerKind]]:
    def world(now_ns: int) -> Any:
        return make_world(now_ns, each_s=1.0, seconds=900, rate_scale=50)

    async def work(venue: Served) -> Counter[tuple[str, AnswerKind]]:
        async with desk_of(venue) as desk:
            for bucket in ("order.create",):
                desk.client.budget.note_limits(bucket, "linear", 0, limit=500, left=500)
                desk.entry.session._rates.note_limits(bucket, "linear", 0, limit=500, left=500)
            return await campaign(desk, seed, count)

    with served(world) as venue:
        seen = asyncio.run(work(venue))
    assert {channel for channel, _ in seen} == {Channel.REST, Channel.SOCKET}
    return seen
