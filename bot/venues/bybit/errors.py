"""What Bybit's answers to writes mean: one table, and "unknown" for whatever is not in it.

A row that wrongly says "unknown" costs a look-up; one that wrongly says "refused" may cost an order placed twice. So a
code is refused only where the venue documents it as a check before the order is taken.

Source: Bybit V5, error codes, chapter 14 of the protocol's description; `docs/adapter.md` lists what is inferred.
"""

import re
from enum import StrEnum
from typing import NamedTuple

from bot.domain.answers import AnswerKind, Cause

TEXT_MAX = 300  # characters kept of what the venue says in words


class Write(StrEnum):
    """What a request does, which decides what some codes mean."""

    CREATE = "create"
    CHANGE = "change"  # amends or cancels what is there
    SETTING = "setting"  # leverage, modes, exits of a position: can be asked for again without harm


class Verdict(NamedTuple):
    """What an answer means."""

    kind: AnswerKind
    cause: Cause = Cause.OTHER


class _Row(NamedTuple):
    verdict: Verdict
    only: tuple[Write, ...] = (Write.CREATE, Write.CHANGE, Write.SETTING)  # to others it is no known answer


_ACCEPTED = Verdict(AnswerKind.ACCEPTED)
_CHANGES = (Write.CHANGE,)


def _no(cause: Cause, *only: Write) -> _Row:
    verdict = Verdict(AnswerKind.REFUSED, cause)
    return _Row(verdict, only) if only else _Row(verdict)


def _unclear(cause: Cause = Cause.BUSY) -> _Row:
    return _Row(Verdict(AnswerKind.UNKNOWN, cause))


_EXISTS = _Row(Verdict(AnswerKind.EXISTS))

TABLE: dict[int, _Row] = {
    0: _Row(_ACCEPTED),
    # Seen before: a request with this id has arrived.
    110072: _EXISTS,
    170141: _EXISTS,
    20006: _EXISTS,
    10014: _EXISTS,
    # Checked at the gateway, before anything is taken.
    10001: _no(Cause.OTHER),  # the text tells more: see `_CAUSE_OF_TEXT`
    10002: _no(Cause.CLOCK),
    10003: _no(Cause.KEY),
    10004: _no(Cause.KEY),
    10005: _no(Cause.KEY),
    10010: _no(Cause.KEY),
    33004: _no(Cause.KEY),
    10006: _no(Cause.LIMITED),
    # Checked against price, balance, filters and position.
    110003: _no(Cause.PRICE),
    110004: _no(Cause.FUNDS),
    110006: _no(Cause.FUNDS),
    110007: _no(Cause.FUNDS),
    110012: _no(Cause.FUNDS),
    110044: _no(Cause.FUNDS),
    110045: _no(Cause.FUNDS),
    110009: _no(Cause.OTHER),
    110020: _no(Cause.OTHER),
    110017: _no(Cause.POSITION),
    110094: _no(Cause.FILTER),
    110013: _no(Cause.OTHER, Write.SETTING),
    110024: _no(Cause.POSITION, Write.SETTING),
    110028: _no(Cause.POSITION, Write.SETTING),
    110064: _no(Cause.NOT_FOUND, Write.CHANGE),  # the new total is not above what has filled
    110092: _no(Cause.PRICE),
    110093: _no(Cause.PRICE),
    110074: _no(Cause.INSTRUMENT),
    170121: _no(Cause.INSTRUMENT),
    170124: _no(Cause.FILTER),
    170131: _no(Cause.FUNDS),
    170132: _no(Cause.FILTER),
    170133: _no(Cause.FILTER),
    170134: _no(Cause.FILTER),
    170135: _no(Cause.FILTER),
    170136: _no(Cause.FILTER),
    170137: _no(Cause.FILTER),
    170140: _no(Cause.FILTER),
    170193: _no(Cause.PRICE),
    170194: _no(Cause.PRICE),
    # Not there, or done already: which of the two only a look-up tells. No answer to a create.
    110001: _no(Cause.NOT_FOUND, *_CHANGES),
    110008: _no(Cause.NOT_FOUND, *_CHANGES),
    110010: _no(Cause.NOT_FOUND, *_CHANGES),
    170139: _no(Cause.NOT_FOUND, *_CHANGES),
    170142: _no(Cause.NOT_FOUND, *_CHANGES),
    170143: _no(Cause.NOT_FOUND, *_CHANGES),
    170190: _no(Cause.NOT_FOUND, *_CHANGES),
    170213: _no(Cause.NOT_FOUND, *_CHANGES),
    # As it was asked to be.
    110025: _no(Cause.UNCHANGED, Write.SETTING),
    110026: _no(Cause.UNCHANGED, Write.SETTING),
    110027: _no(Cause.UNCHANGED, Write.SETTING),
    110043: _no(Cause.UNCHANGED, Write.SETTING),
    34040: _no(Cause.UNCHANGED, Write.SETTING),
    # Time-outs inside, overload, restarts: listed to name their cause; what is not listed is unknown all the same.
    10000: _unclear(),
    10016: _unclear(),
    10019: _unclear(),
    110079: _unclear(),
    170001: _unclear(),
    170005: _unclear(),
    170007: _unclear(),
    170032: _unclear(),
    170146: _unclear(),
    170147: _unclear(),
    170149: _unclear(),
    170191: _unclear(),
    170212: _unclear(),
    170310: _unclear(),
    500000: _unclear(),
    429: _unclear(Cause.LIMITED),
    10403: _unclear(Cause.LIMITED),
    10429: _unclear(Cause.LIMITED),
    20003: _unclear(Cause.LIMITED),
    170222: _unclear(Cause.LIMITED),
}

# Of the generic code the text decides the cause, never the kind.
_CAUSE_OF_TEXT = (
    ("order remains unchanged", Cause.UNCHANGED),
    ("for zero position", Cause.POSITION),
    ("position idx", Cause.MODE),
    ("qty invalid", Cause.FILTER),
    ("minimum limit", Cause.FILTER),
)
_GENERIC = 10001

# 401 and 403 come from the gateway's door: nothing behind it has seen the request.
_STATUSES = {401: Verdict(AnswerKind.REFUSED, Cause.KEY), 403: Verdict(AnswerKind.REFUSED, Cause.BANNED)}

_ECHO = re.compile(r"origin_string\[.*?(?:\]|$)", re.DOTALL)


def verdict_of_code(code: int, text: str, write: Write) -> Verdict:
    """Return what a `retCode` means as the answer to a write."""
    row = TABLE.get(code)
    if row is None or write not in row.only:
        return Verdict(AnswerKind.UNKNOWN)
    if code == _GENERIC:
        words = text.lower()
        for part, cause in _CAUSE_OF_TEXT:
            if part in words:
                return Verdict(AnswerKind.REFUSED, cause)
    return row.verdict


def verdict_of_status(status: int) -> Verdict:
    """Return what an HTTP status other than 200 means as the answer to a write, whatever its body says."""
    return _STATUSES.get(status, Verdict(AnswerKind.UNKNOWN, Cause.LIMITED if status == 429 else Cause.BUSY))


def clean(text: str) -> str:
    """Return what the venue says in words without what it echoes of our key, control characters, and length."""
    text = _ECHO.sub("origin_string[...]", text)
    return "".join(each if each.isprintable() else " " for each in text[:TEXT_MAX])
