"""How each stream words its answers."""

from typing import Any

from bot.emulator.hub import Session

_REQ_ID_MAX = 21_000  # characters, as many as all topics of a connection together


def public_ack(session: Session, request: dict[str, Any], op: str, *, ok: bool, text: str) -> dict[str, Any]:
    """Return a public stream's answer: spot repeats a request id only where there is one, linear always has the key."""
    answer: dict[str, Any] = {"success": ok, "ret_msg": text, "conn_id": session.conn_id}
    req_id = request.get("req_id")
    if isinstance(req_id, str):
        answer["req_id"] = req_id[:_REQ_ID_MAX]
    elif session.kind != "spot":
        answer["req_id"] = ""
    return {**answer, "op": op}


def trade_ack(session: Session, op: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the trade stream's answer, the request's id first where it has one."""
    answer: dict[str, Any] = {"retCode": 0, "retMsg": "OK", "op": op, "connId": session.conn_id}
    req_id = None if request is None else request.get("reqId")
    return {"reqId": req_id, **answer} if isinstance(req_id, str) else answer


def undecodable(session: Session, text: str) -> dict[str, Any]:
    """Return what is said to a frame that is no JSON object."""
    found = text.lstrip()[:1]
    said = (
        f"Failed to decode incoming data:readObjectStart: expect {{ or n, but found {found or ' '}, error found in #1"
    )
    if session.kind == "trade":
        return trade_ack(session, "") | {"retCode": 10001, "retMsg": said}
    return {"success": False, "ret_msg": said, "conn_id": session.conn_id, "req_id": "", "op": ""}
