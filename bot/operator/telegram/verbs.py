"""The words an operator may write, and what they ask for."""

import re
from typing import Literal

import msgspec

from bot.domain.operation import Flatten, Kill, OperatorCommand, Pause, Reload, Resume

Topic = Literal[
    "help", "status", "profit", "daily", "weekly", "monthly", "balance", "trades", "orders", "performance", "count",
    "locks", "positions", "forecast", "health", "show_config", "logs", "version", "equity",
]  # fmt: skip


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """To be shown something; it changes nothing."""

    topic: Topic
    instrument: str = ""
    count: int = 0  # 0: as many as is usual
    is_table: bool = False


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """To have something done."""

    command: OperatorCommand
    is_confirmed: bool  # done at once, without a code


class Confirm(msgspec.Struct, frozen=True, kw_only=True):
    """To have done what was shown before."""

    code: str


class Acknowledge(msgspec.Struct, frozen=True, kw_only=True):
    """To say that a person has seen the alerts."""


class Withdraw(msgspec.Struct, frozen=True, kw_only=True):
    """To forget what was shown before."""


class Unclear(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing we know; says what would be right."""

    hint: str


Wish = Look | Act | Confirm | Acknowledge | Withdraw | Unclear

HELP: tuple[tuple[str, str], ...] = (
    # As the menu shows them: what only looks, then what acts.
    ("status", "phase, troubles, positions; /status table for columns"),
    ("positions", "what is held, with its exits"),
    ("orders", "open orders; /orders 20 for the last twenty"),
    ("balance", "cash and equity"),
    ("profit", "everything since the ledger began"),
    ("daily", "by day; /daily 14 for two weeks"),
    ("weekly", "by week"),
    ("monthly", "by month"),
    ("equity", "a picture of equity by day"),
    ("trades", "the last trades; /trades 20"),
    ("performance", "by instrument, and by strategy where there are several"),
    ("count", "how many positions and orders"),
    ("locks", "what holds trading back, and until when"),
    ("forecast", "a picture of the newest forecast; /forecast BTCUSDT"),
    ("health", "age of data, actors, latencies"),
    ("logs", "the last lines of the log; /logs 30"),
    ("show_config", "the settings in force"),
    ("version", "what runs"),
    ("ack", "you have seen the alerts: stop repeating them"),
    ("pause", "no new positions, exits go on; survives a restart; also /stopentry and /stop"),
    ("resume", "end a pause; never ends a kill"),
    ("flatten", "close all positions, or /flatten BTCUSDT; also /forceexit all"),
    ("reload_config", "take up from the settings file what may change while running; names the rest"),
    ("kill", "send nothing more, cancel everything, at once; /kill flatten closes positions too"),
    ("cancel", "forget what waits for a code"),
    ("help", "this"),
)

_SAME = {"stopentry": "pause", "stopbuy": "pause", "stop": "pause", "fx": "forceexit", "start": "help", "halt": "kill"}
_LOOKS = frozenset(Topic.__args__)  # type: ignore[attr-defined]
_COUNTED = frozenset({"daily", "weekly", "monthly", "trades", "orders", "logs"})
_COUNT_MAX = 60
_WORD = re.compile(r"/([a-z_]{1,32})(?:@[A-Za-z0-9_]{1,64})?")
_INSTRUMENT = re.compile(r"[A-Z0-9]{2,20}")
_CODE = re.compile(r"[0-9]{6}")


def is_kill(text: str) -> bool:
    """Return whether a text asks for the kill switch; a cheap look, and the words that `parse` reads."""
    head = text.strip().split(maxsplit=1)[:1]
    match = _WORD.fullmatch(head[0].lower()) if head else None
    return match is not None and _SAME.get(match[1], match[1]) == "kill"


def parse(text: str, *, why: str) -> Wish:
    """Return what a text asks for.

    Args:
        why: what a command's reason is to say, for the ledger.
    """
    words = text.split()
    if not words:
        return Unclear(hint="Say /help for what I know.")
    if _CODE.fullmatch(words[0]) and len(words) == 1 and words[0].isascii():
        return Confirm(code=words[0])
    match = _WORD.fullmatch(words[0].lower())
    verb = _SAME.get(match[1], match[1]) if match else ""
    arguments = words[1:]
    if verb in _LOOKS:
        return _look(verb, arguments)
    match verb, arguments:
        case "kill", _:
            # Whatever else the message says, a wish to stop is not turned down for its spelling.
            return Act(
                command=Kill(why=why, is_flattening=[w.lower() for w in arguments] == ["flatten"]), is_confirmed=True
            )
        case "pause", []:
            return Act(command=Pause(why=why), is_confirmed=False)
        case "resume", []:
            return Act(command=Resume(why=why), is_confirmed=False)
        case "reload_config", []:
            return Act(command=Reload(why=why), is_confirmed=False)
        case "flatten", []:
            return Act(command=Flatten(why=why), is_confirmed=False)
        case (("forceexit" | "flatten"), [name]) if name.lower() == "all":
            return Act(command=Flatten(why=why), is_confirmed=False)
        case (("forceexit" | "flatten"), [name]) if _INSTRUMENT.fullmatch(name.upper()):
            return Act(command=Flatten(why=why, instrument=name.upper()), is_confirmed=False)
        case "forceexit", _:
            return Unclear(hint="Say /forceexit all, or an instrument: /forceexit BTCUSDT")
        case "ack", []:
            return Acknowledge()
        case "cancel", []:
            return Withdraw()
        case "confirm", [code] if _CODE.fullmatch(code) and code.isascii():
            return Confirm(code=code)
    known = [name for name, _ in HELP if verb and name.startswith(verb[:3])]
    return Unclear(hint=f"I do not know that; did you mean /{known[0]}?" if known else "I do not know that; say /help.")


def _look(verb: str, arguments: list[str]) -> Wish:
    topic: Topic = verb  # type: ignore[assignment]
    match arguments:
        case []:
            return Look(topic=topic)
        case ["table"] if verb == "status":
            return Look(topic=topic, is_table=True)
        case [word] if verb in _COUNTED and word.isascii() and word.isdigit() and len(word) < 4:
            return Look(topic=topic, count=max(1, min(int(word), _COUNT_MAX)))
        case [name] if verb == "forecast" and _INSTRUMENT.fullmatch(name.upper()):
            return Look(topic=topic, instrument=name.upper())
    example = {"forecast": "/forecast BTCUSDT", "status": "/status table"}.get(verb, f"/{verb} 10")
    if verb in _COUNTED or verb in ("forecast", "status"):
        return Unclear(hint=f"Say /{verb}, or {example}")
    return Unclear(hint=f"Say /{verb} alone.")
