"""Faults that a live feed must bear, and mixes of them, for campaigns."""

import random
from typing import Any

from bot.emulator.faults import Fault

S = 1_000_000_000
MS = 1_000_000

_LINEAR = {"socket": "linear"}


def _each(probability: float, **fields: Any) -> dict[str, Any]:
    return {"probability": probability, "where": _LINEAR, **fields}


# Each by a name: what goes wrong for a while. `from_ns` and `until_ns` are filled in.
FAULTS: dict[str, dict[str, Any]] = {
    "drop_any": {"kind": "drop_frame", **_each(0.02)},
    "drop_trades": {"kind": "drop_frame", "probability": 0.05, "where": {"topic": "publicTrade.*"}},
    "drop_book": {"kind": "drop_frame", "probability": 0.02, "where": {"topic": "orderbook.50.*"}},
    "drop_answers": {"kind": "drop_frame", "count": 2, "where": {"socket": "linear", "op": "subscribe"}},
    "delay": {"kind": "delay_frame", "delay_ns": 700 * MS, **_each(0.02)},
    "delay_long": {"kind": "delay_frame", "delay_ns": 4 * S, **_each(0.005)},
    "duplicate": {"kind": "duplicate_frame", **_each(0.05)},
    "reorder": {"kind": "reorder_frame", **_each(0.02)},
    "reset": {"kind": "reset", "after_bytes": 5, "count": 3, **_each(0.005)},
    "half_open": {"kind": "half_open", "count": 1, **_each(1.0)},
    "slow": {"kind": "slow", "delay_ns": MS, **_each(0.01)},
    "split": {"kind": "split", **_each(0.5)},
    "refused": {"kind": "http_status", "status": 503, "where": _LINEAR},
    "book_gap": {"kind": "book_gap", "probability": 0.02},
    "book_restart": {"kind": "book_restart", "probability": 0.01},
    "book_crossed": {"kind": "book_crossed", "probability": 0.005},
    "missing_confirm": {"kind": "missing_confirm"},
    "extra_keys": {"kind": "extra_keys"},
    "stall": {"kind": "stall", "where": _LINEAR},
    "stall_trades": {"kind": "stall", "where": {"topic": "publicTrade.*"}},
    "stall_book": {"kind": "stall", "where": {"topic": "orderbook.*"}},
    "maintenance": {"kind": "maintenance", "delay_ns": 8 * S},
    "disconnect": {"kind": "disconnect", "where": _LINEAR},
    "rest_fails": {"kind": "http_status", "status": 502, "where": {"path": "/v5/market/*"}},
    "rest_errs": {"kind": "error_before", "code": 10016, "probability": 0.7, "where": {"path": "/v5/market/*"}},
    "rest_lost": {"kind": "lost_ack", "probability": 0.5, "where": {"path": "/v5/market/*"}},
}
# With these a frame of trades is lost, or comes late, without a mark.
SILENT = frozenset(name for name, fields in FAULTS.items() if fields["kind"] in ("drop_frame", "delay_frame", "stall"))
# With these the venue's last word on a minute may not come in time, by which the loss of its last trades is known.
LAST_WORD = frozenset(["drop_any", "delay_long", "stall", "missing_confirm", "half_open", "reset"])
# These meet nothing while all is well: only who connects, or asks for what was missed, can be answered wrongly.
_NEED_A_BREAK = frozenset(["drop_answers", "refused", "rest_fails", "rest_errs", "rest_lost"])


def names_of(faults: list[Fault]) -> list[str]:
    """Return the names of faults that `fault` has made."""
    return [name for name, fields in FAULTS.items() for each in faults if each.kind == fields["kind"]]


def faults_of(name: str, *, from_ns: int, until_ns: int) -> list[Fault]:
    """Return a fault by its name, in force within a span, and what gives it an occasion."""
    fields = dict(FAULTS[name])
    is_scheduled = fields["kind"] in ("maintenance", "disconnect")
    made = [Fault(from_ns=from_ns, until_ns=None if is_scheduled else until_ns, **fields)]
    if name in _NEED_A_BREAK:
        made.append(Fault(kind="disconnect", from_ns=from_ns + 200 * MS, where=_LINEAR))
    return made


def mix(seed: int, *, from_ns: int, until_ns: int) -> list[Fault]:
    """Return two to five faults, each for a part of the span, and their occasions."""
    dice = random.Random(seed)
    made = []
    for name in dice.sample(sorted(FAULTS), dice.randint(2, 5)):
        begin = dice.randrange(from_ns, until_ns - 5 * S)
        made += faults_of(name, from_ns=begin, until_ns=min(until_ns, begin + dice.randrange(5, 25) * S))
    return made
