"""How much may still be asked: token buckets at 70 % of the venue's limits, with a part that is kept for cancels.

Decides and does nothing: `take` says whether a request may go now, or how long to wait; the caller waits, or drops what
is no longer worth sending. The venue's headers correct the buckets. A shut-out address stops everything.

Source: Bybit V5, rate limits; fault X6 and N16 of the fault catalogue.
"""

from collections import deque

import msgspec

_MS = 1_000_000
_S = 1_000 * _MS

SHARE = 0.7  # of the venue's limit that is used
RESERVE = 0.25  # of that, kept for cancels where a bucket serves both
BAN_NS = 600 * _S
BACK_OFF_NS = 1 * _S  # after a refusal that names no time
RESET_MAX_NS = 60 * _S  # one further away is a clock that disagrees

# Requests a second of the default tier; linear, then spot. What is not here has `_OTHER`.
_LIMITS: dict[str, tuple[int, int]] = {
    "order.create": (10, 20),
    "order.cancel": (10, 20),
    "order.amend": (10, 10),
    "order.cancel-all": (10, 20),
    "order.create-batch": (10, 20),
    "order.amend-batch": (10, 20),
    "order.cancel-batch": (10, 20),
    "order.disconnected-cancel-all": (5, 5),
    "order.realtime": (50, 50),
    "order.history": (50, 50),
    "execution.list": (50, 50),
    "position.list": (50, 50),
    "position.set": (10, 10),
    "account.read": (50, 50),
    "account.fee-rate": (5, 5),
    "account.transaction-log": (25, 25),
    "account.set": (10, 10),
    "user.query-api": (10, 10),
    "market": (100, 100),
}
_OTHER = (5, 5)
_ADDRESS_LIMIT, _ADDRESS_WINDOW_NS = 600, 5 * _S  # of all HTTP from this address


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request may not go now."""

    wait_ns: int
    reason: str


class RateBudget:
    """Counts what goes out.

    Args:
        share: of the venue's limits that may be used.
        address_share: of the address's limit, other programs of this machine considered.
    """

    def __init__(self, *, share: float = SHARE, address_share: float = SHARE) -> None:
        if not (0 < share <= 1 and 0 < address_share <= 1):
            raise ValueError("a share is a fraction above 0 and up to 1")
        self._share = share
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._address = _Bucket(int(_ADDRESS_LIMIT * address_share), _ADDRESS_WINDOW_NS)
        self._banned_until_ns = 0

    def is_banned(self, now_ns: int) -> bool:
        """Return whether the venue has shut our address out: no HTTP at all may go."""
        return now_ns < self._banned_until_ns

    def take(
        self, bucket: str, category: str, now_ns: int, *, count: int = 1, is_cancel: bool = False, is_http: bool = True
    ) -> Refusal | None:
        """Count a request, or say why it may not go now.

        Args:
            bucket, category: whose limit it falls under.
            now_ns: our clock.
            count: how much of it; a batch counts by its items.
            is_cancel: it may use what is kept for cancels.
            is_http: it counts against the address's limit too.
        """
        if is_http and self.is_banned(now_ns):
            return Refusal(wait_ns=self._banned_until_ns - now_ns, reason="the venue has shut this address out")
        own = self._bucket(bucket, category)
        wait_ns = own.wait_ns(now_ns, count, 0 if is_cancel else own.reserve)
        if is_http:
            reserve = 0 if is_cancel else self._address.reserve
            wait_ns = max(wait_ns, self._address.wait_ns(now_ns, 1, reserve))
        if wait_ns:
            return Refusal(wait_ns=wait_ns, reason=f"the limit of {bucket} is used up")
        own.take(now_ns, count)
        if is_http:
            self._address.take(now_ns, 1)
        return None

    def note_limits(self, bucket: str, category: str, now_ns: int, *, limit: int, left: int) -> None:
        """Take what an answer's headers say of a bucket: its limit, and what it has left."""
        if not (0 < limit <= 100_000 and 0 <= left <= limit):
            return
        own = self._bucket(bucket, category)
        own.capacity = max(1, int(limit * self._share))
        # Others use the same account: what the venue counts beyond us is counted here too.
        own.catch_up(now_ns, used=int((limit - left) * self._share))

    def note_limited(self, bucket: str, category: str, now_ns: int, *, wait_ns: int | None = None) -> int:
        """Learn that the venue refused for too many requests; return from when on one may go.

        Args:
            bucket, category: whose limit it was.
            now_ns: our clock.
            wait_ns: until the venue's reset; None where it says none.
        """
        wait = BACK_OFF_NS if wait_ns is None else min(max(wait_ns, 0), RESET_MAX_NS) + 10 * _MS
        own = self._bucket(bucket, category)
        own.shut_until_ns = max(own.shut_until_ns, now_ns + wait)
        return own.shut_until_ns

    def note_banned(self, now_ns: int) -> int:
        """Learn that the venue shut our address out (HTTP 403); return until when nothing goes."""
        self._banned_until_ns = max(self._banned_until_ns, now_ns + BAN_NS)
        return self._banned_until_ns

    def _bucket(self, bucket: str, category: str) -> "_Bucket":
        key = (bucket, category)
        found = self._buckets.get(key)
        if found is None:
            linear, spot = _LIMITS.get(bucket, _OTHER)
            limit = spot if category == "spot" else linear
            found = self._buckets[key] = _Bucket(max(1, int(limit * self._share)), _S)
        return found


class _Bucket:
    """So many in any window, as the venue counts: rolling."""

    def __init__(self, capacity: int, window_ns: int) -> None:
        self.capacity = capacity
        self.window_ns = window_ns
        self.shut_until_ns = 0
        self._taken: deque[int] = deque()

    @property
    def reserve(self) -> int:
        """Return how much is kept for cancels."""
        return int(self.capacity * RESERVE)

    def wait_ns(self, now_ns: int, count: int, reserve: int) -> int:
        """Return how long until `count` may be taken with so much left over; 0 for now."""
        if now_ns < self.shut_until_ns:
            return self.shut_until_ns - now_ns
        self._forget(now_ns)
        room = max(self.capacity - reserve, 1)
        # More than fits at all may go when nothing else is counted: the venue then takes a part of it.
        over = len(self._taken) + min(count, room) - room
        return 0 if over <= 0 else self._taken[over - 1] + self.window_ns - now_ns

    def take(self, now_ns: int, count: int) -> None:
        """Count."""
        self._taken.extend([now_ns] * count)

    def catch_up(self, now_ns: int, *, used: int) -> None:
        """Count as many as the venue has counted, if those are more."""
        self._forget(now_ns)
        missing = min(used, self.capacity) - len(self._taken)
        if missing > 0:
            self.take(now_ns, missing)

    def _forget(self, now_ns: int) -> None:
        while self._taken and self._taken[0] <= now_ns - self.window_ns:
            self._taken.popleft()
