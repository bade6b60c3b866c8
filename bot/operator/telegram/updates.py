"""Reads Telegram's updates: which of them an operator wrote, just now, to us alone.

Whatever is not known to be that is ignored, with the reason; there is no answer, for an answer tells a stranger that
somebody is at home. Nothing of an update is believed but plain types within limits.

Source: Telegram Bot API, objects Update, Message, Chat, User.
"""

from typing import Any

import msgspec

_ID_MAX = 2**53  # Telegram: identifiers have at most 52 significant bits
_UPDATE_ID_MAX = 2**40  # Telegram's are far below; a mark beyond it would make all that follows old
_TEXT_MAX = 4_096

_TAINTS = {
    # What a message carries when somebody else's words, or another program, stand behind it.
    "forward_origin": "forwarded",
    "forward_from": "forwarded",
    "forward_from_chat": "forwarded",
    "forward_sender_name": "forwarded",
    "forward_signature": "forwarded",
    "forward_date": "forwarded",
    "is_automatic_forward": "forwarded",
    "via_bot": "inline",
    "edit_date": "edited",
    "sender_chat": "on_behalf",
    "sender_business_bot": "on_behalf",
    "business_connection_id": "on_behalf",
    "author_signature": "on_behalf",
    "external_reply": "external_reply",
    "message_thread_id": "thread",
    "is_topic_message": "thread",
    "is_from_offline": "scheduled",
}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """An operator wrote something."""

    update_id: int
    user_id: int  # also the chat's: it is private
    sent_ns: int  # Telegram's clock, whole seconds
    text: str


class Ignored(msgspec.Struct, frozen=True, kw_only=True):
    """An update that nothing is done about."""

    why: str  # a word of a small set: what it is counted by
    is_hostile: bool = True  # an operator's own slip is not
    stranger_id: int = 0  # of somebody who is no operator, in a private chat


Read = Asked | Ignored


def update_id_of(raw: object) -> int | None:
    """Return an update's number, None where it has none to be believed."""
    found = _whole(raw.get("update_id"), least=0) if isinstance(raw, dict) else None
    return found if found is not None and found <= _UPDATE_ID_MAX else None


def claims_operator(raw: object, allowed: frozenset[int]) -> bool:
    """Return whether an update says that an operator wrote a message: a look, before anything is read."""
    message = raw.get("message") if isinstance(raw, dict) else None
    sender = message.get("from") if isinstance(message, dict) else None
    return isinstance(sender, dict) and _whole(sender.get("id"), least=1) in allowed


def read(raw: object, allowed: frozenset[int]) -> Read:
    """Return what an update is.

    Args:
        allowed: the operators' user ids.
    """
    if not isinstance(raw, dict):
        return Ignored(why="garbage")
    update_id = update_id_of(raw)
    kinds = [key for key in raw if key != "update_id"]
    if update_id is None or len(kinds) != 1 or not isinstance(kinds[0], str):
        return Ignored(why="garbage")
    if kinds[0] != "message":
        return Ignored(why=_KINDS.get(kinds[0], "other_kind"))
    message = raw["message"]
    if not isinstance(message, dict):
        return Ignored(why="garbage")
    return _read_message(update_id, message, allowed)


_KINDS = {
    "edited_message": "edited",
    "channel_post": "channel",
    "edited_channel_post": "channel",
    "inline_query": "inline",
    "chosen_inline_result": "inline",
    "callback_query": "callback",
    "business_message": "on_behalf",
    "edited_business_message": "on_behalf",
}


def _read_message(update_id: int, message: dict[str, Any], allowed: frozenset[int]) -> Read:
    sender, chat = message.get("from"), message.get("chat")
    if not isinstance(sender, dict) or not isinstance(chat, dict):
        return Ignored(why="anonymous")
    user_id, chat_id = _whole(sender.get("id"), least=1), _whole(chat.get("id"), least=-_ID_MAX)
    if user_id is None or chat_id is None:
        return Ignored(why="garbage")
    if chat.get("type") != "private" or chat_id != user_id:
        return Ignored(why="group")
    if user_id not in allowed:
        return Ignored(why="stranger", stranger_id=user_id)
    if sender.get("is_bot") is not False:
        return Ignored(why="robot")
    for key, why in _TAINTS.items():
        if message.get(key):
            return Ignored(why=why, is_hostile=why not in ("edited", "forwarded"))
    sent_s = _whole(message.get("date"), least=1)
    if sent_s is None:
        return Ignored(why="garbage")
    text = message.get("text")
    if not isinstance(text, str):
        return Ignored(why="no_text", is_hostile=False)
    if len(text) > _TEXT_MAX:
        return Ignored(why="garbage")
    return Asked(update_id=update_id, user_id=user_id, sent_ns=sent_s * 1_000_000_000, text=text)


def _whole(value: object, *, least: int) -> int | None:
    """Return a whole number within limits; True is none, and neither is 1.0."""
    return value if type(value) is int and least <= value <= _ID_MAX else None
