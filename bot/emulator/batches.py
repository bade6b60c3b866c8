"""Batches of orders: each is done by itself, and told of in two parallel lists."""

from collections.abc import Callable
from typing import Any

from bot.emulator import inferred
from bot.emulator.clients import Client
from bot.emulator.faults import Faults
from bot.emulator.params import Body, category
from bot.emulator.wire import Refused, ms_text


def batch_items(body: Body) -> list[dict[str, Any]]:
    """Return the requests of a batch.

    Raises:
        Refused: there are none, too many, or something else.
    """
    items = body.get("request")
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise Refused(10001, "params error: request invalid")
    most = inferred.BATCH_MAX[category(body)]
    if len(items) > most:
        raise Refused(10001, f"The number of requests exceeds {most}")
    return items


def run_batch(
    faults: Faults,
    client: Client,
    body: Body,
    now_ns: int,
    *,
    do: Callable[[Client, Body, int], dict[str, Any]],
    granted: int,
    limited: Refused,
    is_create: bool,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Do each of a batch; return the results, and beside them each one's code.

    Args:
        faults: what goes wrong with single ones.
        client, body, now_ns: as for one.
        do: what is done with each.
        granted: so many are; the rest is over the limit.
        limited: what those are told.
        is_create: the results tell when each was created.
    """
    results: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    kind = category(body)
    for place, item in enumerate(batch_items(body)):
        result: dict[str, Any] = {
            "category": kind,
            "symbol": str(item.get("symbol", "")),
            "orderId": "",
            "orderLinkId": str(item.get("orderLinkId", "")),
        }
        created = ""
        occasion = {"account": client.name, "symbol": result["symbol"]}
        try:
            if place >= granted:
                raise limited
            fault = faults.hit("batch_item_refused", now_ns, **occasion)
            if fault is not None:
                raise Refused(fault.code, fault.text or "Server error")
            result |= do(client, {**item, "category": kind}, now_ns)
            created = ms_text(now_ns)
            said.append({"code": 0, "msg": "OK"})
        except Refused as refused:
            said.append({"code": refused.code, "msg": refused.text})
        if is_create:
            result["createAt"] = created
        results.append(result)
        lost = faults.hit("batch_item_lost", now_ns, **occasion)
        if lost is not None:
            said.pop()
            if lost.text != "codes":
                results.pop()
    return {"list": results}, {"list": said}
