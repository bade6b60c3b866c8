"""Faults: what goes wrong on purpose, when, how often, and how often it has.

A fault is a rule: a kind, a span of time, what it applies to, a probability and a count. Whether it fires is a function
of the seed, the rule and the number of the occasion, so that the same run has the same faults. Each firing is counted:
a test that has injected a fault can tell whether it met it.
"""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, get_args

import msgspec

from bot.core.venue.facts import CancelType
from bot.domain.errors import ConfigError
from bot.emulator import ids
from bot.emulator.wire import Damage

Kind = Literal[
    # Messages
    "lost_request",  # never reaches the venue; the client hears nothing
    "late_request",  # reaches it after `delay_ns`
    "lost_ack",  # is carried out, the answer is lost
    "late_ack",
    "drop_frame",
    "delay_frame",
    "duplicate_frame",
    "reorder_frame",  # changes places with the next of its connection
    # Bytes
    "reset",
    "half_open",
    "slow",
    "split",
    # The gateway
    "http_status",  # `status` and `text` in place of an answer
    "address_banned",  # 403 for ten minutes
    "error_before",  # `code` in place of carrying out
    "error_after",  # carried out, and `code` said
    "stale_read",  # order and execution queries show what was `delay_ns` ago
    # The venue
    "book_gap",
    "book_restart",
    "book_crossed",
    "missing_confirm",
    "unknown_enum",
    "extra_keys",
    "second_filled",  # a fill that races a cancel is told twice
    "stall",  # topics fall silent, pongs go on
    # Requests and answers of a kind
    "duplicate_request",  # arrives twice; the client hears the first answer
    "async_reject",  # an order is acknowledged, and rejected on the stream
    "batch_item_refused",  # one of a batch fails with `code`
    "batch_item_lost",  # one of a batch is missing from the answer; `text` says from which of its lists
    "page_overlap",  # a page begins with the last row of the page before
    "cursor_repeated",  # a page's cursor is that of the page itself
    "clock_skew",  # the gateway's clock is `skew_ns` off
    # Scheduled: happen once, at `from_ns`
    "maintenance",  # all connections end and new ones are refused for `delay_ns`
    "announcement",  # of maintenance: `delay_ns` ahead, `minutes` long
    "refuse_connections",  # nobody listens for `delay_ns`
    "disconnect",  # connections of a kind end, and are refused for `delay_ns`
    "cache_lost",  # the service restarts: closed orders are out of `realtime`
    "key_revoked",
    "funding_interval",  # `minutes` from now on
    "instrument_status",  # `text`
    "liquidation",
    "adl",
    "forced_trade",  # half a position goes with execType `text`
    "venue_cancel",  # open orders are canceled with cancelType `text`
    "stops_lost",  # a position's exits are gone, and nobody is told
    "reduce_only",  # the risk limit was cut: a position may only be reduced; with `text` "lifted" no more
    "owner_request",  # the owner does `text`, such as order.create, with `body` in the app
    "manual_close",
    "transfer",  # `body` says what coin and amount, negative for out
]

KINDS: Final = get_args(Kind)
SCHEDULED: Final = frozenset(KINDS[KINDS.index("maintenance") :])

# What an owner may do in the app, and the desk's name for it.
OWNER_REQUESTS: Final = {
    "order.create": "create",
    "order.amend": "amend",
    "order.cancel": "cancel",
    "order.cancel-all": "cancel_all",
    "position.set-leverage": "set_leverage",
    "position.switch-mode": "switch_mode",
    "position.trading-stop": "set_stops",
    "account.set-limit-px-action": "set_price_action",
}

# Who made the order behind an execution that the venue forces, by the execution's type.
FORCED: Final = {
    "BustTrade": "CreateByTakeOver_PassThrough",
    "Delivery": "CreateBySettle",
    "Settle": "CreateBySettle",
    "BlockTrade": "CreateByBlock_PassThrough",
    "MovePosition": "CreateByBlockTradeMovePosition_PassThrough",
    "CorporateAction": "CreateBySettle",
}

# The words that `text` may be, where it is not free.
_WORDS: Final[dict[str, Iterable[str]]] = {
    "venue_cancel": tuple(each.value for each in CancelType),
    "forced_trade": tuple(FORCED),
    "owner_request": tuple(OWNER_REQUESTS),
    "batch_item_lost": ("", "codes"),
    "reduce_only": ("", "lifted"),
}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. Times are from the venue's start, in ns."""

    kind: Kind
    from_ns: int = 0
    until_ns: int | None = None
    probability: float = 1.0
    count: int | None = None  # at most so often; None: always
    skip: int = 0  # so many occasions pass first
    where: dict[str, str] = {}  # what of the occasion must match, as patterns: topic, path, op, account, symbol, socket
    body: dict[str, str | int | bool] = {}  # of a request that the owner makes
    delay_ns: int = 0
    status: int = 503
    code: int = 10016
    text: str = ""
    after_bytes: int = 0
    chunk_bytes: int = 16
    minutes: int = 60
    skew_ns: int = 0  # positive: ahead

    def check(self) -> None:
        """Refuse what cannot happen.

        Raises:
            ConfigError: it names something that there is not.
        """
        words = _WORDS.get(self.kind)
        if words is not None and self.text not in words:
            raise ConfigError(f"faults.text = {self.text!r}: {self.kind} knows {', '.join(filter(None, words))}")
        if self.kind == "transfer":
            self.transfer()

    def transfer(self) -> tuple[str, Decimal]:
        """Return the coin and the amount of a transfer.

        Raises:
            ConfigError: they make no sense.
        """
        coin = self.body.get("coin")
        try:
            amount = Decimal(str(self.body.get("amount")))
        except InvalidOperation:
            amount = Decimal(0)
        if not isinstance(coin, str) or not amount.is_finite() or not 0 < abs(amount) <= 10**12:
            raise ConfigError('faults.body: a transfer needs { coin = "USDT", amount = "-5" }, or another amount')
        return coin, amount


class Faults:
    """The rules in force.

    Attributes:
        fired: how often each kind has.
    """

    def __init__(self, seed: int = 0, start_ns: int = 0) -> None:
        self._seed = seed
        self._start_ns = start_ns
        self._rules: dict[str, list[_Rule]] = {}
        self._made = 0
        self._scheduled: list[tuple[int, int, Fault]] = []
        self.fired: Counter[str] = Counter()

    def add(self, fault: Fault) -> None:
        """Put a rule in force.

        Raises:
            ConfigError: it names something that there is not.
        """
        fault.check()
        self._made += 1
        if fault.kind in SCHEDULED:
            self._scheduled.append((self._start_ns + fault.from_ns, self._made, fault))
            self._scheduled.sort(key=lambda item: item[:2])
        else:
            self._rules.setdefault(fault.kind, []).append(_Rule(fault, self._made))

    @property
    def are_any(self) -> bool:
        """Return whether any rule is in force that applies to occasions."""
        return bool(self._rules)

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._rules.clear()
        self._scheduled.clear()

    def hit(self, kind: Kind, now_ns: int, **occasion: str) -> Fault | None:
        """Return the rule that makes this occasion go wrong, None if none does."""
        rules = self._rules.get(kind)
        if not rules:
            return None
        for rule in rules:
            if rule.fires(self._seed, now_ns - self._start_ns, occasion):
                self.fired[kind] += 1
                return rule.fault
        return None

    def skew_ns(self, now_ns: int, **occasion: str) -> int:
        """Return how far the clock is off that clients are judged by and told."""
        fault = self.hit("clock_skew", now_ns, **occasion)
        return 0 if fault is None else fault.skew_ns

    def due(self, now_ns: int) -> list[Fault]:
        """Return what was scheduled for up to now, each once."""
        due: list[Fault] = []
        while self._scheduled and self._scheduled[0][0] <= now_ns:
            fault = self._scheduled.pop(0)[2]
            self.fired[fault.kind] += 1
            due.append(fault)
        return due

    def damage(self, now_ns: int, **occasion: str) -> Damage | None:
        """Return what happens to the bytes of a message, None if nothing."""
        for kind in ("reset", "half_open", "slow", "split"):
            fault = self.hit(kind, now_ns, **occasion)
            if fault is not None:
                return Damage(
                    kind=kind,
                    after_bytes=fault.after_bytes,
                    chunk_bytes=max(1, fault.chunk_bytes),
                    pause_ns=fault.delay_ns if kind == "slow" else 0,
                )
        return None

    def garnish(self, record: dict[str, Any], now_ns: int, **occasion: str) -> dict[str, Any]:
        """Return a record with keys that nobody knows, or with a value that nobody knows, where a rule says so."""
        if not self._rules:
            return record
        if self.hit("extra_keys", now_ns, **occasion):
            record = {**record, "newInThisRelease": "1", "newList": [{"a": 1}], "newObject": {}}
        fault = self.hit("unknown_enum", now_ns, **occasion)
        if fault is not None:
            key = fault.text or next((key for key in _ENUMS if key in record), "")
            if key in record:
                record = {**record, key: "SomethingNew"}
        return record


_ENUMS = ("execType", "orderStatus", "positionStatus", "createType", "cancelType")


class _Rule:
    """A fault and the occasions it has met."""

    def __init__(self, fault: Fault, number: int) -> None:
        self.fault = fault
        self._number = number
        self._met = 0
        self._left = fault.count

    def fires(self, seed: int, since_start_ns: int, occasion: dict[str, str]) -> bool:
        fault = self.fault
        if since_start_ns < fault.from_ns or (fault.until_ns is not None and since_start_ns >= fault.until_ns):
            return False
        if self._left == 0:
            return False
        if not all(fnmatchcase(occasion.get(key, ""), pattern) for key, pattern in fault.where.items()):
            return False
        self._met += 1
        if self._met <= fault.skip:
            return False
        if fault.probability < 1 and ids.fraction(seed, self._number, self._met) >= fault.probability:
            return False
        if self._left is not None:
            self._left -= 1
        return True
