"""Orders that the venue has taken and shows nowhere any more: when that is certain enough to close them.

A venue forgets: what it canceled unfilled stands in its history for a day, and lists lag behind the matching engine for
seconds. So an order that was taken and is neither open nor in the history is not given up at the first look. It takes
several look-ups, spread over a time that no lag of a list has been seen to last, all of them behind the fence of its
last sending, by the venue's own clock. None of this need survive a crash: a restart looks again.
"""

from bot.core.submission.requests import Request, Terms
from bot.domain.answers import Absent, Place

MISSING = "MISSING"
"""Why an order was closed that the venue had taken and shows nowhere."""

_NEEDED = {Place.OPEN, Place.HISTORY}
_REMEMBERED_MS = 24 * 3_600_000  # so long the venue tells of what it canceled unfilled


class Missing:
    """Look-ups in vain, by the order's id, since the venue last showed it."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._looked_ms: dict[str, list[int]] = {}

    def see(self, client_order_id: str) -> None:
        """Begin anew: the venue shows the order, or it is done."""
        self._looked_ms.pop(client_order_id, None)

    def weigh(self, request: Request, absent: Absent, margin_ms: int) -> str | None:
        """Count a look-up that found an order nowhere; return the evidence once there is enough, None before."""
        fence_ms = request.fence_ms(margin_ms)
        if not set(absent.places) >= _NEEDED or absent.server_time_ms <= fence_ms:
            return None
        looked = self._looked_ms.setdefault(request.client_order_id, [])
        if not looked or absent.server_time_ms - looked[-1] >= self._terms.round_gap_ms:
            looked.append(absent.server_time_ms)
        if len(looked) < self._terms.missing_rounds or looked[-1] - looked[0] < self._terms.missing_ms:
            return None
        return f"the venue took it and shows it nowhere: looked at {', '.join(map(str, looked))}, fence {fence_ms}"


def is_remembered(request: Request, now_ms: int) -> bool:
    """Return whether the venue should still tell of an order, whatever became of it."""
    return now_ms - request.attempts[-1].signed_ms < _REMEMBERED_MS
