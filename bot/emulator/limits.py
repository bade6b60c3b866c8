"""How often a client may ask: by account and endpoint in a rolling second, and by address.

The numbers are the venue's default tier. Market endpoints have only the limit of the address.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from bot.emulator.inferred import LIMIT_RESET_LEAST_NS
from bot.emulator.wire import MINUTE_NS, SECOND_NS, ms_text

_ORDERS = {"linear": 10, "spot": 20}

# By bucket: how many requests a second, by category.
PER_SECOND: Mapping[str, Mapping[str, int]] = {
    "order.create": _ORDERS,
    "order.cancel": _ORDERS,
    "order.amend": {"linear": 10, "spot": 10},
    "order.cancel-all": _ORDERS,
    "order.create-batch": _ORDERS,
    "order.amend-batch": _ORDERS,
    "order.cancel-batch": _ORDERS,
    "order.pre-check": _ORDERS,
    "order.disconnected-cancel-all": {"": 5},
    "order.realtime": {"linear": 50, "spot": 50},
    "order.history": {"linear": 50, "spot": 50},
    "execution.list": {"linear": 50, "spot": 50},
    "position.list": {"linear": 50},
    "position.closed-pnl": {"linear": 50},
    "position.set": {"linear": 10},
    "account.read": {"": 50},
    "account.fee-rate": {"": 5},
    "account.transaction-log": {"": 25},
    "account.set": {"": 10},
    "user.query-api": {"": 10},
}

_ADDRESS_REQUESTS = 600
_ADDRESS_WINDOW_NS = 5 * SECOND_NS
_ADDRESS_BAN_NS = 10 * MINUTE_NS
_CONNECTIONS = 500
_CONNECTIONS_WINDOW_NS = 5 * MINUTE_NS


class Granted(NamedTuple):
    """What a bucket has left."""

    limit: int
    left: int
    reset_ns: int
    taken: int  # how many of those asked for were granted

    def headers(self) -> dict[str, str]:
        """Return the headers that tell of it."""
        return {
            "X-Bapi-Limit": str(self.limit),
            "X-Bapi-Limit-Status": str(self.left),
            "X-Bapi-Limit-Reset-Timestamp": ms_text(self.reset_ns),
        }


class RateLimits:
    """Counts requests.

    Args:
        scale: how many times the default tier's limits an account has; 0 for none at all.
        has_address_limit: count requests and connections of an address.
    """

    def __init__(self, scale: int = 1, *, has_address_limit: bool = True) -> None:
        self._scale = scale
        self._has_address_limit = has_address_limit
        self._taken: dict[tuple[str, str, str], deque[int]] = {}
        self._asked: dict[str, deque[int]] = {}
        self._sent: dict[str, deque[int]] = {}
        self._opened: dict[str, deque[int]] = {}
        self._banned_until: dict[str, int] = {}

    def take(self, account: str, bucket: str, category: str, now_ns: int, count: int = 1) -> Granted:
        """Take as many of `count` from a bucket as it has left."""
        by_category = PER_SECOND[bucket]
        if category not in by_category:  # whatever is sent for one has no bucket of its own
            category = next(iter(by_category))
        each = by_category[category]
        if not self._scale:
            return Granted(each, each, now_ns, count)
        limit = each * self._scale
        taken = self._taken.setdefault((account, bucket, category), deque())
        while taken and taken[0] <= now_ns - SECOND_NS:
            taken.popleft()
        granted = min(count, limit - len(taken))
        taken.extend([now_ns] * granted)
        left = limit - len(taken)
        # When not limited the reset is now; when limited it is in the future, when the oldest one leaves the window.
        reset_ns = now_ns
        if granted < count:
            reset_ns = max(taken[0] + SECOND_NS, now_ns + LIMIT_RESET_LEAST_NS)
        return Granted(limit, left, reset_ns, granted)

    def admits(self, ip: str, now_ns: int) -> bool:
        """Count a request of an address; return whether it is let in."""
        if not self._has_address_limit:
            return True
        if now_ns < self._banned_until.get(ip, 0):
            return False
        asked = self._asked.setdefault(ip, deque())
        while asked and asked[0] <= now_ns - _ADDRESS_WINDOW_NS:
            asked.popleft()
        asked.append(now_ns)
        if len(asked) <= _ADDRESS_REQUESTS:
            return True
        self._banned_until[ip] = now_ns + _ADDRESS_BAN_NS
        return False

    def take_socket(self, ip: str, now_ns: int, limit: int) -> bool:
        """Count an order request on a socket of an address; return whether it is within the limit of a second."""
        if not self._has_address_limit:
            return True
        sent = self._sent.setdefault(ip, deque())
        while sent and sent[0] <= now_ns - SECOND_NS:
            sent.popleft()
        if len(sent) >= limit:
            return False
        sent.append(now_ns)
        return True

    def ban(self, ip: str, until_ns: int) -> None:
        """Refuse an address for a while."""
        self._banned_until[ip] = until_ns

    def admits_connection(self, ip: str, now_ns: int) -> bool:
        """Count a new connection of an address; return whether it is let in."""
        if not self._has_address_limit:
            return True
        opened = self._opened.setdefault(ip, deque())
        while opened and opened[0] <= now_ns - _CONNECTIONS_WINDOW_NS:
            opened.popleft()
        if len(opened) >= _CONNECTIONS:
            return False
        opened.append(now_ns)
        return True
