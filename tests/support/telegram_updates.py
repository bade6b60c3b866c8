"""Updates as Telegram sends them: an operator's, and hostile ones of many kinds."""

from collections.abc import Callable, Iterator
from typing import Any

OPERATOR = 4_242_001
STRANGER = 6_666_002
S = 1_000_000_000
NOW_S = 1_760_000_000
NOW_NS = NOW_S * S

COMMANDS = ("/flatten", "/pause", "/resume", "/reload_config", "/kill", "/forceexit all", "/kill flatten", "123456")


def message(text: Any = "/status", *, user: Any = OPERATOR, at_s: Any = NOW_S, **changes: Any) -> dict[str, Any]:
    """Return a message in a private chat; `changes` add to it."""
    return {
        "message_id": 7,
        "from": {"id": user, "is_bot": False, "first_name": "A"},
        "chat": {"id": user, "type": "private"},
        "date": at_s,
        "text": text,
    } | changes


def update(number: int, text: Any = "/status", **changes: Any) -> dict[str, Any]:
    """Return an update with a message."""
    return {"update_id": number, "message": message(text, **changes)}


_USER = {"id": OPERATOR, "is_bot": False, "first_name": "A"}
_OTHER = {"id": STRANGER, "is_bot": False, "first_name": "B"}
_GROUP = {"id": -100_123, "type": "supergroup", "title": "g"}

Hostile = Callable[[str], dict[str, Any]]

HOSTILE: dict[str, Hostile] = {
    # Each makes an update that must never have an effect, from a command; the number is put in later.
    "stranger": lambda t: {"message": message(t, user=STRANGER)},
    "stranger in the operator's chat": lambda t: {"message": message(t, **{"from": _OTHER})},
    "operator in a group": lambda t: {"message": message(t, chat=_GROUP)},
    "operator in a private chat with somebody": lambda t: {
        "message": message(t, chat={"id": STRANGER, "type": "private"})
    },
    "group that calls itself private": lambda t: {"message": message(t, chat={"id": -OPERATOR, "type": "private"})},
    "channel post": lambda t: {"channel_post": message(t)},
    "edited channel post": lambda t: {"edited_channel_post": message(t)},
    "edited message": lambda t: {"edited_message": message(t)},
    "message with an edit date": lambda t: {"message": message(t, edit_date=NOW_S)},
    "forwarded": lambda t: {"message": message(t, forward_origin={"type": "user", "date": 1, "sender_user": _OTHER})},
    "forwarded, old style": lambda t: {"message": message(t, forward_from=_OTHER, forward_date=NOW_S)},
    "forwarded from a hidden user": lambda t: {"message": message(t, forward_sender_name="x")},
    "forwarded by itself": lambda t: {"message": message(t, is_automatic_forward=True)},
    "by another bot": lambda t: {"message": message(t, via_bot={"id": 9, "is_bot": True, "first_name": "b"})},
    "on behalf of a chat": lambda t: {"message": message(t, sender_chat=_GROUP)},
    "a business connection": lambda t: {"message": message(t, business_connection_id="b")},
    "a business message": lambda t: {"business_message": message(t)},
    "an answer to another chat": lambda t: {"message": message(t, external_reply={"origin": {}})},
    "in a thread": lambda t: {"message": message(t, message_thread_id=3, is_topic_message=True)},
    "inline query": lambda t: {"inline_query": {"id": "1", "from": _USER, "query": t, "offset": ""}},
    "chosen inline result": lambda t: {"chosen_inline_result": {"result_id": t, "from": _USER, "query": t}},
    "callback of the operator": lambda t: {
        "callback_query": {"id": "1", "from": _USER, "message": message(t), "data": t}
    },
    "callback of a stranger": lambda t: {
        "callback_query": {"id": "1", "from": _OTHER, "message": message(t), "data": t}
    },
    "a robot with the operator's number": lambda t: {"message": message(t, **{"from": _USER | {"is_bot": True}})},
    "no word whether it is a robot": lambda t: {"message": message(t, **{"from": {"id": OPERATOR}})},
    "number as a text": lambda t: {"message": message(t, user=str(OPERATOR))},
    "number as a fraction": lambda t: {"message": message(t, user=float(OPERATOR))},
    "number is true": lambda t: {"message": message(t, user=True)},
    "numbers of another size": lambda t: {"message": message(t, user=OPERATOR + 2**64)},
    "no sender": lambda t: {"message": {k: v for k, v in message(t).items() if k != "from"}},
    "no chat": lambda t: {"message": {k: v for k, v in message(t).items() if k != "chat"}},
    "two kinds in one": lambda t: {"message": message(t), "edited_message": message(t)},
    "caption instead of text": lambda t: {"message": message(None, caption=t)},
    "text is a list": lambda t: {"message": message([t])},
    "date is missing": lambda t: {"message": {k: v for k, v in message(t).items() if k != "date"}},
    "date is a text": lambda t: {"message": message(t, at_s=str(NOW_S))},
    "message is a list": lambda t: {"message": [message(t)]},
    "sender is a list": lambda t: {"message": message(t, **{"from": [_USER]})},
    "huge text": lambda t: {"message": message(t + " " * 5_000)},
    "a member joins": lambda t: {"chat_member": {"chat": _GROUP, "from": _USER, "date": NOW_S}},
    "a poll": lambda t: {"poll": {"id": t, "question": t}},
}
"""Kinds that are never an operator's, whatever they say."""


def hostile_updates(count: int, *, first: int = 1) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield hostile updates, each kind with each command in turn, numbered."""
    kinds = list(HOSTILE)
    for k in range(count):
        kind = kinds[k % len(kinds)]
        made = HOSTILE[kind](COMMANDS[(k // len(kinds)) % len(COMMANDS)])
        yield kind, {"update_id": first + k} | made
