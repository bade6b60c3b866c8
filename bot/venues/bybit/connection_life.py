"""A connection's life, whatever it is for: when to connect, when to give up, when to come back.

Decides and does nothing: events and the time go in, effects come out. The time must come from a clock that only rises;
one that steps back is taken to stand still. Waits are functions of a seed.

A connection is alive when anything came within 5 s after a ping: an open socket proves nothing. Nothing is kept for the
next connection.

Source: Bybit V5, websocket connect; faults N5, N6, N9, N11, N17 and N18 of the fault catalogue.
"""

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Any, ClassVar

from bot.venues.bybit.backoff import Backoff, ConnectBudget
from bot.venues.bybit.stream_effects import Alert, Close, Connect, Send

_S = 1_000_000_000

PING_NS = 20 * _S
PONG_NS = 5 * _S  # after a ping something must come within this
CONNECT_NS = 10 * _S  # a connection must open within this
LOGIN_NS = 5 * _S  # and be logged in, and subscribed, within this, where it logs in
STABLE_NS = 60 * _S  # a connection that lasted so long ends a series of failures
FLAPS_MAX = 3  # so many failures in a series, and it is not relied upon before it has lasted
BAN_NS = 600 * _S  # the venue's advice after it shut an address out
ALERT_NS = 60 * _S  # one alert of a code in that time


class Phase(StrEnum):
    """Where the connection is."""

    IDLE = "idle"  # not started, or stopped
    WAITING = "waiting"  # until it may connect again
    CONNECTING = "connecting"
    LOGIN = "login"  # open, where it has to log in first
    OPEN = "open"  # it does what it is for


class ConnectionLife(ABC):
    """One connection, again and again.

    Args:
        reconnects: the waits before it is made again.
        budget: of connections, shared by all to the same host.
    """

    check_ns: ClassVar[int]  # how often the clocks are looked at

    def __init__(self, reconnects: Backoff, budget: ConnectBudget | None) -> None:
        self._reconnects = reconnects
        self._budget = ConnectBudget() if budget is None else budget
        self._attempt = 0  # failures in a row
        self._series = 0  # of failures
        self._since_ns = 0  # WAITING: when to connect; else when this phase began
        self._check_ns = 0
        self._pinged_ns = 0
        self._is_heard = False  # anything came since the ping, or since it opened
        self._now_ns = 0
        self._alerted: dict[str, tuple[int, int]] = {}  # by code: when, and how many were not told since
        self._effects: list[Any] = []
        self.phase = Phase.IDLE
        self.connection = 0  # the number of the present one, or the last
        self.refused = 0  # messages that were not understood

    @property
    def is_flapping(self) -> bool:
        """Return whether it is one of many that came and went, and has not lasted yet."""
        return self._attempt >= FLAPS_MAX and self._now_ns - self._since_ns < STABLE_NS

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
        """Learn that a connection is open: log in, or subscribe."""
        self._move_clock(now_ns)
        if connection == self.connection and self.phase is Phase.CONNECTING:
            self._since_ns = self._pinged_ns = self._now_ns
            self._is_heard = False
            self._check_ns = self._now_ns + self.check_ns
            self._on_opened()
        return self._done()

    def on_closed(self, connection: int, reason: str, now_ns: int, *, is_banned: bool = False) -> list[Any]:
        """Learn that a connection is gone, or could not be made; `is_banned` if the venue answered HTTP 403."""
        self._move_clock(now_ns)
        if connection == self.connection and self._is_up:
            self._lose(reason, is_closed=True)
            if is_banned:
                self._since_ns = max(self._since_ns, self._now_ns + BAN_NS)
                self._alert("connection.banned", f"the venue shut this address out: {reason}; next try in 10 minutes")
        return self._done()

    def on_time(self, now_ns: int) -> list[Any]:
        """Look at the clocks."""
        self._move_clock(now_ns)
        if self.phase is Phase.WAITING:
            self._connect()
        elif self.phase is not Phase.IDLE:
            self._check()
        return self._done()

    # --- what the kinds do --------------------------------------------------------------------------------------------

    @abstractmethod
    def _on_opened(self) -> None:
        """Begin on a connection that has opened; leaves the phase at LOGIN or OPEN."""

    @abstractmethod
    def _on_dropped(self, reason: str, *, was_open: bool) -> None:
        """Settle what was under way on a connection that is gone."""

    @abstractmethod
    def _on_check(self) -> None:
        """Look at clocks of its own."""

    @abstractmethod
    def _ping(self) -> bytes:
        """Return a ping in its dialect."""

    # --- the connection -----------------------------------------------------------------------------------------------

    @property
    def _is_up(self) -> bool:
        return self.phase not in (Phase.IDLE, Phase.WAITING)

    def _is_open(self, connection: int) -> bool:
        """Return whether a connection is the present one, and open."""
        return connection == self.connection and self.phase in (Phase.LOGIN, Phase.OPEN)

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
        self._check_ns = self._now_ns + self.check_ns
        self._emit(Connect(connection=self.connection))

    def _lose(self, reason: str, *, is_closed: bool) -> None:
        """Forget the connection, and plan the next."""
        if self.phase is Phase.OPEN and self._now_ns - self._since_ns >= STABLE_NS:
            self._attempt = 0
            self._series += 1
        self._drop(reason, is_closed=is_closed)
        self._since_ns = self._now_ns + self._reconnects.wait_ns(self._attempt, salt=self._series)
        self._attempt += 1
        if self._attempt == FLAPS_MAX:
            self._alert("connection.flapped", f"{FLAPS_MAX} connections failed in a row; the last: {reason}")

    def _drop(self, reason: str, *, is_closed: bool) -> None:
        if not self._is_up:
            return
        if not is_closed:
            self._emit(Close(connection=self.connection, reason=reason))
        was_open, self.phase = self.phase is Phase.OPEN, Phase.WAITING
        self._on_dropped(reason, was_open=was_open)

    def _check(self) -> None:
        """Do what is due."""
        now_ns = self._now_ns
        if now_ns < self._check_ns:
            return
        self._check_ns = now_ns + self.check_ns
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
        self._emit(Alert(code=code, text=text, raw=raw, suppressed=held))

    def _emit(self, effect: Any) -> None:
        self._effects.append(effect)

    def _done(self) -> list[Any]:
        effects, self._effects = self._effects, []
        return effects
