"""Epochs: every start of the bot on a ledger has a number of its own, which its order ids carry.

A start after an orderly end may trade at once. A start after a crash waits until nothing that the old process signed
can be admitted any more. A start on a ledger that the venue is ahead of (a backup was restored) leaves a gap, because
not every id that was used is still to be seen at the venue.
"""

import msgspec

from bot.domain.errors import ConfigError

GAP = 100  # starts that a lost piece of a ledger may have held, unseen at the venue
MARGIN_NS = 2_000_000_000  # what admission at the venue may lag behind its own clock
EPOCH_MAX = 999_999  # as many digits as an order id has for it


class PastEpoch(msgspec.Struct, frozen=True, kw_only=True):
    """The newest epoch that the ledger knows."""

    number: int
    started_ns: int
    ended_ns: int | None  # None: it crashed, or still runs


class EpochPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a new start begins."""

    number: int
    ready_ns: int  # the first create may be sent from then on; our clock, ns since the epoch, UTC
    is_after_crash: bool
    is_behind_venue: bool  # the ledger is older than what the venue has seen of us: back-fill before trading


def creates_from(plan: EpochPlan, *, signed_until_ms: int, venue_ms: int, now_ns: int, is_alone: bool) -> int:
    """Return from when creates may leave, our clock: sooner than planned where the ledger proves that it may be.

    Each sending was durable before its first byte left, so a whole ledger knows until when any signature of the dead
    process is good. It proves nothing where it is older than the venue, or where the process may yet live.

    Args:
        plan: of this start.
        signed_until_ms: until when anything signed may be admitted, the venue's clock; 0: the ledger does not say.
        venue_ms: the venue's time now.
        now_ns: ours.
        is_alone: the lock on the ledger ends with its process, and cannot be taken from it.
    """
    if plan.is_behind_venue or not is_alone or not signed_until_ms:
        return plan.ready_ns
    left_ns = (signed_until_ms - venue_ms) * 1_000_000 + MARGIN_NS
    return min(plan.ready_ns, now_ns + max(0, left_ns))


def plan_epoch(
    last: PastEpoch | None, *, venue_epoch: int | None, now_ns: int, recv_window_ns: int, send_timeout_ns: int
) -> EpochPlan:
    """Return the plan of a start.

    Args:
        last: the newest epoch in the ledger, None if there is none.
        venue_epoch: the highest epoch in any of our order ids that the venue shows; None if it shows none.
        now_ns: after the lock on the ledger was taken: the old process has none of it any more.
        recv_window_ns: how long the venue admits a signed request.
        send_timeout_ns: how long a request may be on its way out of the old process.

    Raises:
        ConfigError: the venue shows an epoch that cannot be one of ours.
    """
    known = 0 if last is None else last.number
    seen = 0 if venue_epoch is None else venue_epoch
    is_behind = seen > known
    number = seen + GAP if is_behind else known + 1
    if seen < 0 or number > EPOCH_MAX:
        raise ConfigError(
            f"the venue shows an order of epoch {seen}, which is none of this bot's; "
            "use an account, or an id prefix, that nobody else uses"
        )
    is_after_crash = last is not None and last.ended_ns is None
    # A ledger from a backup says nothing of when the process that went on from there ended.
    waits = is_after_crash or is_behind
    ready_ns = now_ns + (recv_window_ns + send_timeout_ns + MARGIN_NS if waits else 0)
    return EpochPlan(number=number, ready_ns=ready_ns, is_after_crash=is_after_crash, is_behind_venue=is_behind)
