"""What two journals disagree on first, in words: which entry, when, what it was and what it became."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from bot.core.lookahead import Finding, iso


class JournalEntry(NamedTuple):
    """One row of a run's journal."""

    ts_ns: int
    kind: str
    text: str  # canonical JSON

    def body(self) -> dict[str, Any]:
        """Return its fields, the action of a decision decoded as well."""
        body: dict[str, Any] = msgspec.json.decode(self.text)
        if isinstance(body.get("action"), str):
            body["action"] = msgspec.json.decode(body["action"])
        return body


def first_difference(before: Sequence[JournalEntry], after: Sequence[JournalEntry]) -> Finding | None:
    """Return the first entry that is not what it was, has gone or has come; None where the journals are the same."""
    row = next((n for n, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), None)
    if row is None:
        if len(before) == len(after):
            return None
        row = min(len(before), len(after))
    was = before[row] if row < len(before) else None
    now = after[row] if row < len(after) else None
    if was is not None and now is not None and was[:2] != now[:2]:
        # Different entries: the earlier one is what has gone or come.
        was, now = (was, None) if was.ts_ns <= now.ts_ns else (None, now)
    entry = was or now
    assert entry is not None
    return Finding(
        table="journal",
        column=entry.kind,
        row=row,
        known_ns=entry.ts_ns,
        before=None if was is None else was.text,
        after=None if now is None else now.text,
        words=_words(was, now),
    )


def _words(was: JournalEntry | None, now: JournalEntry | None) -> str:
    if was is None or now is None:
        entry = was or now
        assert entry is not None
        fate = "was there and is gone" if now is None else "was not there and is now"
        return f"{_name(entry)} ({_summary(entry)}) {fate}"
    left, right = dict(_flat(was.body())), dict(_flat(now.body()))
    keys = [key for key in {**left, **right} if left.get(key) != right.get(key)]
    # What was done says more than what was seen on the way.
    keys.sort(key=lambda key: not key.startswith("action"))
    changes = [f"{key} {left.get(key, 'nothing')} became {right.get(key, 'nothing')}" for key in keys[:3]]
    return f"{_name(was)}: {', '.join(changes)}"


def _name(entry: JournalEntry) -> str:
    body = entry.body()
    match entry.kind:
        case "DecisionMade":
            name = f"decision {body['decision_id']} on {body['trigger']}"
        case "OrderIntended":
            name = f"order {body['order']['client_order_id']}"
        case "CancelIntended":
            name = f"cancel of {body['cancel']['client_order_id']}"
        case "OrderReported":
            name = f"{body['event']['type']} of {body['event']['client_order_id']}"
        case "FillBooked":
            name = f"fill of {body['fill']['client_order_id']}"
        case "RiskDenied":
            name = f"denial of decision {body['decision_id']}"
        case "ForecastUsed":
            name = f"forecast {body['forecast_id']}"
        case _:
            name = f"entry {entry.kind}"
    return f"{name} at {iso(entry.ts_ns)}"


def _summary(entry: JournalEntry) -> str:
    """Return the few fields that say what an entry did."""
    body = entry.body()
    told: Any = body.get("action") or body.get("order") or body.get("fill") or body.get("funding") or {}
    names = ("type", "side", "qty", "instrument", "limit_price", "price", "amount", "reason")
    words = [str(told[name]) for name in names if told.get(name) not in (None, "")]
    return " ".join(words) or entry.kind


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf of a JSON value under its dotted name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{prefix}[{number}]")
    else:
        yield prefix, value
