"""One connection that logs in, for orders or for the account's streams: when to connect, to give up, to come back.

Decides and does nothing: events and the time go in, effects come out. What differs between the two (what is said once
logged in, and what messages mean) is their own: `trade_session` and `private_session`.

A connection is alive when anything came within 5 s after a ping. Nothing is kept for the next connection: what was
under way on one that is lost is the business of whoever asked.

Source: Bybit V5, websocket connect, authentication; faults N5, N6, N9, N11, N17, N18 of the fault catalogue.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

from bot.venues.bybit.backoff import Backoff, ConnectBudget
from bot.venues.bybit.clock import VenueClock
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.stream_effects import Alert, Close, Connect, Send

_MS = 1_000_000
_S = 1_000 * _MS

CHECK_NS = 50 * _MS  # how often the clocks are looked at
PING_NS = 20 * _S
PONG_NS = 5 * _S
CONNECT_NS = 10 * _S  # a connection must open within this
LOGIN_NS = 5 * _S  # and be logged in, and subscribed, within this
STABLE_NS = 60 * _S  # a connection that lasted so long ends a series of failures
FLAPS_MAX = 3
BAN_NS = 600 * _S
REFUSED_NS = 60 * _S  # a key that is not taken is not tried again sooner
ALERT_NS = 60 * _S
MESSAGE_BYTES_MAX = 256 << 10
RAW_MAX = 300  # bytes of a message that an alert shows


class Phase(StrEnum):
    """Where the connection is."""

    IDLE = "idle"
    WAITING = "waiting"  # until it may connect again
    CONNECTING = "connecting"
    LOGIN = "login"
    READY = "ready"


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The connection does what it is for; of the account's streams: ask by REST for what was missed before it."""

    connection: int


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """The connection that was ready is no more."""

    connection: int
    reason: str
    known_ns: int


class LoginSession(ABC):
    """A connection's life, up to being logged in and down again.

    Args:
        credentials: of the key.
        venue_clock: tells the time to sign the login with.
        seed, stream: of the waits; `stream` tells this session's from another's.
        budget: of connections, shared by all to the same host.
    """

    is_trade = False  # the dialect

    def __init__(
        self,
        credentials: Credentials,
        venue_clock: VenueClock,
        *,
        seed: int,
        stream: int,
        budget: ConnectBudget | None = None,
    ) -> None:
        self._credentials = credentials
        self._venue_clock = venue_clock
        self._backoff = Backoff(seed=seed, stream=stream)
        self._budget = ConnectBudget() if budget is None else budget
        self._attempt = 0
        self._series = 0
        self._since_ns = 0  # WAITING: when to connect; else when this phase began
        self._check_ns = 0
        self._pinged_ns = 0
        self._is_heard = False
        self._now_ns = 0
        self._asked = 0
        self._alerted: dict[str, tuple[int, int]] = {}
        self._effects: list[Any] = []
        self.phase = Phase.IDLE
        self.connection = 0
        self.refused = 0  # messages that were not understood

    @property
    def is_ready(self) -> bool:
        """Return whether it can be used now."""
        return self.phase is Phase.READY

    @property
    def is_stable(self) -> bool:
        """Return whether it can be relied upon: ready, and not one of many that came and went."""
        return self.is_ready and (self._attempt < FLAPS_MAX or self._now_ns - self._since_ns >= STABLE_NS)

    def next_time_ns(self) -> int:
        """Return when `on_time` should be called at the latest."""
        if self.phase is Phase.IDLE:
            return 2**62
        return self._since_ns if self.phase is Phase.WAITING else self._check_ns

    # --- events -------------------------------------------------------------------------------------------------------

    def start(self, now_ns: int) -> list[Any]:
        """Connect."""
        self._move_clock(now_ns)
        if self.phase is Phase.IDLE:
            self.phase, self._since_ns = Phase.WAITING, self._now_ns
            self._connect()
        return self._done()

    def stop(self, now_ns: int) -> list[Any]:
        """Close, and stay closed."""
        self._move_clock(now_ns)
        self._drop("stopped", is_closed=False)
        self.phase = Phase.IDLE
        return self._done()

    def on_open(self, connection: int, now_ns: int) -> list[Any]:
        """Learn that a connection is open: log in."""
        self._move_clock(now_ns)
        if connection == self.connection and self.phase is Phase.CONNECTING:
            self.phase, self._since_ns = Phase.LOGIN, self._now_ns
            self._pinged_ns, self._is_heard = self._now_ns, False
            self._check_ns = self._now_ns + CHECK_NS
            venue_ms = self._venue_clock.venue_ms(self._now_ns)
            if venue_ms is None:
                self._lose("the venue's time is not known, and nothing can be signed", is_closed=False)
            else:
                self._send(
                    self._credentials.auth_request(now_ms=venue_ms, req_id=self._next_req_id(), is_trade=self.is_trade)
                )
        return self._done()

    def on_closed(self, connection: int, reason: str, now_ns: int, *, is_banned: bool = False) -> list[Any]:
        """Learn that a connection is gone, or could not be made; `is_banned` if the venue answered HTTP 403."""
        self._move_clock(now_ns)
        if connection == self.connection and self.phase not in (Phase.IDLE, Phase.WAITING):
            self._lose(reason, is_closed=True)
            if is_banned:
                self._since_ns = max(self._since_ns, self._now_ns + BAN_NS)
                self._alert("connection.banned", f"the venue shut this address out: {reason}; next try in 10 minutes")
        return self._done()

    def on_messages(self, connection: int, messages: Iterable[tuple[int, bytes]]) -> list[Any]:
        """Take messages as (when it was received, the message), in order."""
        for known_ns, raw in messages:
            self._move_clock(known_ns)
            if not self._is_open(connection):
                break
            self._is_heard = True
            self._on_message(raw)
        return self._done()

    def on_time(self, now_ns: int) -> list[Any]:
        """Look at the clocks."""
        self._move_clock(now_ns)
        if self.phase is Phase.WAITING:
            self._connect()
        elif self.phase is not Phase.IDLE and self._now_ns >= self._check_ns:
            self._check_ns = self._now_ns + CHECK_NS
            self._check()
        return self._done()

    # --- what the two kinds do ----------------------------------------------------------------------------------------

    @abstractmethod
    def _on_message(self, raw: bytes) -> None:
        """Take a message of the present connection."""

    @abstractmethod
    def _on_login(self) -> None:
        """Go on once logged in; ends in `_become_ready`."""

    @abstractmethod
    def _on_dropped(self, reason: str) -> None:
        """Settle what was under way on a connection that is gone."""

    @abstractmethod
    def _on_check(self) -> None:
        """Look at clocks of its own."""

    @abstractmethod
    def _ping(self) -> bytes:
        """Return a ping in its dialect."""

    # --- the connection -----------------------------------------------------------------------------------------------

    def _is_open(self, connection: int) -> bool:
        return connection == self.connection and self.phase in (Phase.LOGIN, Phase.READY)

    def _become_ready(self) -> None:
        self.phase, self._since_ns = Phase.READY, self._now_ns
        self._emit(Ready(connection=self.connection))

    def _refuse_login(self, text: str) -> None:
        """Give up on a key that the venue does not take."""
        self._alert("login.refused", f"the venue does not take the key: {text}")
        self._lose("login refused", is_closed=False)
        self._since_ns = max(self._since_ns, self._now_ns + REFUSED_NS)

    def _connect(self) -> None:
        if self._now_ns < self._since_ns:
            return
        free_ns = self._budget.free_ns(self._now_ns)
        if free_ns > self._now_ns:
            self._since_ns = free_ns
            self._alert("connection.budget_spent", "too many connections were made; waiting until one may be again")
            return
        self._budget.take(self._now_ns)
        self.connection += 1
        self.phase, self._since_ns = Phase.CONNECTING, self._now_ns
        self._check_ns = self._now_ns + CHECK_NS
        self._emit(Connect(connection=self.connection))

    def _lose(self, reason: str, *, is_closed: bool) -> None:
        if self.phase is Phase.READY and self._now_ns - self._since_ns >= STABLE_NS:
            self._attempt = 0
            self._series += 1
        self._drop(reason, is_closed=is_closed)
        self._since_ns = self._now_ns + self._backoff.wait_ns(self._attempt, salt=self._series)
        self._attempt += 1
        self.phase = Phase.WAITING
        if self._attempt == FLAPS_MAX:
            self._alert("connection.flapped", f"{FLAPS_MAX} connections failed in a row; the last: {reason}")

    def _drop(self, reason: str, *, is_closed: bool) -> None:
        if self.phase not in (Phase.CONNECTING, Phase.LOGIN, Phase.READY):
            return
        if not is_closed:
            self._emit(Close(connection=self.connection, reason=reason))
        was_ready = self.phase is Phase.READY
        self.phase = Phase.WAITING
        self._on_dropped(reason)
        if was_ready:
            self._emit(Lost(connection=self.connection, reason=reason, known_ns=self._now_ns))

    def _check(self) -> None:
        now_ns = self._now_ns
        if self.phase is Phase.CONNECTING:
            if now_ns - self._since_ns > CONNECT_NS:
                self._lose("it did not open in time", is_closed=False)
            return
        if self.phase is Phase.LOGIN and now_ns - self._since_ns > LOGIN_NS:
            self._lose("it was not logged in in time", is_closed=False)
            return
        if not self._is_heard and now_ns - self._pinged_ns > PONG_NS:
            self._lose("nothing was heard after a ping", is_closed=False)
            return
        if now_ns - self._pinged_ns >= PING_NS:
            self._pinged_ns, self._is_heard = now_ns, False
            self._send(self._ping())
        self._on_check()

    # --- effects ------------------------------------------------------------------------------------------------------

    def _next_req_id(self) -> str:
        self._asked += 1
        return f"s{self._asked}"

    def _send(self, data: bytes) -> None:
        self._emit(Send(connection=self.connection, data=data))

    def _move_clock(self, now_ns: int) -> None:
        self._now_ns = max(self._now_ns, now_ns)

    def _alert(self, code: str, text: str, raw: bytes = b"") -> None:
        last_ns, held = self._alerted.get(code, (-ALERT_NS, 0))
        if self._now_ns - last_ns < ALERT_NS:
            self._alerted[code] = (last_ns, held + 1)
            return
        self._alerted[code] = (self._now_ns, 0)
        # What the venue sends may echo what we sent: the key is kept out of what a person reads.
        shown = self._credentials.without(raw[:RAW_MAX].decode(errors="replace")).encode()
        self._emit(Alert(code=code, text=self._credentials.without(text), raw=shown, suppressed=held))

    def _emit(self, effect: Any) -> None:
        self._effects.append(effect)

    def _done(self) -> list[Any]:
        effects, self._effects = self._effects, []
        return effects
