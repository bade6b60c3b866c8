"""What a history server does wrong when a test asks for it: refusals, silence, files cut off."""

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.support.bybit_history_server import INTERVALS, Cut, Misbehave, Reply, Request, Stall


def status(code: int, body: str = "") -> Misbehave:
    """Answer with an HTTP status."""
    return lambda _: web.Response(status=code, text=body)


def ret_code(code: int, text: str = "busy", **headers: str) -> Misbehave:
    """Answer with a `retCode`, and headers."""
    body = {"retCode": code, "retMsg": text, "result": {}, "retExtInfo": {}, "time": 0}
    return lambda _: web.json_response(body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def silence(_: Request) -> Reply:
    """Answer nothing at all."""
    return Stall()


def truncated(request: Request) -> Reply:
    """Answer the first half of the JSON, as if it were whole."""
    text = json.dumps(request.envelope)
    return web.Response(text=text[: len(text) // 2], content_type="application/json")


def cut_off(request: Request) -> Reply:
    """Answer the first half of what was promised, and hang up."""
    if "file" in request.envelope:
        return Cut(body=request.envelope["file"])
    return Cut(body=json.dumps(request.envelope).encode(), content_type="application/json")


def half_file(request: Request) -> Reply:
    """Answer the first half of a file, as if it were whole."""
    file = request.envelope["file"]
    return web.Response(body=file[: len(file) // 2])


def text(body: str) -> Misbehave:
    """Answer with this body, as JSON."""
    return lambda _: web.Response(text=body, content_type="application/json")


def altered(change: Callable[[list[Any], Request], Any]) -> Misbehave:
    """Answer with a list of rows that `change` has altered in place, or what it returns."""

    def act(request: Request) -> None:
        rows = request.envelope["result"]["list"]
        changed = change(rows, request)
        if changed is not None:
            request.envelope["result"]["list"] = changed

    return act


def with_neighbours(count: int, *, conflicting: bool = False) -> Misbehave:
    """Answer bars with some more beside them, older and newer than was asked for."""

    def change(rows: list[Any], request: Request) -> list[Any]:
        if not rows:
            return rows
        interval = request.query["interval"]
        step, market = INTERVALS[interval], request.market
        assert market is not None
        first, last = int(rows[-1][0]), int(rows[0][0])
        around = market.opens(interval, first - count * step, last + (count + 1) * step, request.now_ms)
        return [
            market.bar(request.path, interval, at, is_forming=conflicting and not first <= at <= last)
            for at in reversed(around)
        ]

    return altered(change)
