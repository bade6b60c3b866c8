"""Whether a create that may leave is still wanted: the world has moved since it was decided on."""

from collections.abc import Callable
from decimal import DecimalException

from bot.core.risk import Mark
from bot.core.submission.requests import Request, Terms
from bot.domain.orders import SubmitOrder


def why_not(
    request: Request,
    order: SubmitOrder,
    mark: Mark | None,
    now_ns: int,
    terms: Terms,
    may_create: Callable[[SubmitOrder], bool],
) -> str | None:
    """Return why a create is not wanted any more, None if it still is."""
    if now_ns - request.decided_ns > terms.wanted_ns:
        return f"it was decided {(now_ns - request.decided_ns) / 1e9:.3f} s ago"
    if not may_create(order):
        return "a latch has closed since"
    if mark is None or request.mark_price is None or order.reduce_only:
        return None if order.reduce_only else "there is no price"
    try:
        drift = abs(mark.price / request.mark_price - 1)
        is_near = drift.is_finite() and drift <= terms.drift_max
    except DecimalException:
        return "the price is no number"
    return None if is_near else f"the price went from {request.mark_price} to {mark.price}"
