"""One connection that logs in, for orders or for the account's streams.

When to connect, to give up and to come back is any connection's: `connection_life`. What differs between the two (what
is said once logged in, and what messages mean) is their own: `trade_session` and `private_session`. What was under way
on a connection that is lost is the business of whoever asked.

Source: Bybit V5, websocket connect, authentication; faults N5, N6, N9, N11, N17, N18 of the fault catalogue.
"""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import msgspec

from bot.venues.bybit.backoff import Backoff, ConnectBudget
from bot.venues.bybit.clock import VenueClock
from bot.venues.bybit.connection_life import ConnectionLife, Phase
from bot.venues.bybit.credentials import Credentials

_MS = 1_000_000
_S = 1_000 * _MS

REFUSED_NS = 60 * _S  # a key that is not taken is not tried again sooner
MESSAGE_BYTES_MAX = 256 << 10
RAW_MAX = 300  # bytes of a message that an alert shows


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The connection does what it is for; of the account's streams: ask by REST for what was missed before it."""

    connection: int


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """The connection that was ready is no more."""

    connection: int
    reason: str
    known_ns: int


class LoginSession(ConnectionLife):
    """A connection's life, up to being logged in and down again.

    Args:
        credentials: of the key.
        venue_clock: tells the time to sign the login with.
        seed, stream: of the waits; `stream` tells this session's from another's.
        budget: of connections, shared by all to the same host.
    """

    check_ns = 50 * _MS
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
        super().__init__(Backoff(seed=seed, stream=stream), budget)
        self._credentials = credentials
        self._venue_clock = venue_clock
        self._asked = 0

    @property
    def is_ready(self) -> bool:
        """Return whether it can be used now."""
        return self.phase is Phase.OPEN

    @property
    def is_stable(self) -> bool:
        """Return whether it can be relied upon: ready, and not one of many that came and went."""
        return self.is_ready and not self.is_flapping

    def on_messages(self, connection: int, messages: Iterable[tuple[int, bytes]]) -> list[Any]:
        """Take messages as (when it was received, the message), in order."""
        for known_ns, raw in messages:
            self._move_clock(known_ns)
            if not self._is_open(connection):
                break
            self._is_heard = True
            self._on_message(raw)
        return self._done()

    # --- what the two kinds do ----------------------------------------------------------------------------------------

    @abstractmethod
    def _on_message(self, raw: bytes) -> None:
        """Take a message of the present connection."""

    @abstractmethod
    def _on_login(self) -> None:
        """Go on once logged in; ends in `_become_ready`."""

    @abstractmethod
    def _on_lost(self, reason: str) -> None:
        """Settle what was under way on a connection that is gone."""

    # --- the connection -----------------------------------------------------------------------------------------------

    def _on_opened(self) -> None:
        self.phase = Phase.LOGIN
        venue_ms = self._venue_clock.venue_ms(self._now_ns)
        if venue_ms is None:
            self._lose("the venue's time is not known, and nothing can be signed", is_closed=False)
            return
        req_id = self._next_req_id()
        self._send(self._credentials.auth_request(now_ms=venue_ms, req_id=req_id, is_trade=self.is_trade))

    def _become_ready(self) -> None:
        self.phase, self._since_ns = Phase.OPEN, self._now_ns
        self._emit(Ready(connection=self.connection))

    def _refuse_login(self, text: str) -> None:
        """Give up on a key that the venue does not take."""
        self._alert("login.refused", f"the venue does not take the key: {text}")
        self._lose("login refused", is_closed=False)
        self._since_ns = max(self._since_ns, self._now_ns + REFUSED_NS)

    def _on_dropped(self, reason: str, *, was_open: bool) -> None:
        self._on_lost(reason)
        if was_open:
            self._emit(Lost(connection=self.connection, reason=reason, known_ns=self._now_ns))

    def _next_req_id(self) -> str:
        self._asked += 1
        return f"s{self._asked}"

    def _alert(self, code: str, text: str, raw: bytes = b"") -> None:
        # What the venue sends may echo what we sent: the key is kept out of what a person reads.
        shown = self._credentials.without(raw[:RAW_MAX].decode(errors="replace")).encode()
        super()._alert(code, self._credentials.without(text), shown)
