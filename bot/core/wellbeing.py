"""Who is to be told that a bot lives: the service manager, and the dead-man switch; and in which words.

The two ask different things. The service manager can do one thing, start the bot anew: that mends a bot that hangs, and
does not mend a venue that is away. The dead-man switch can cancel and close: that is wanted when nobody else can.

Source: docs/decisions/0012-signs-of-life.md.
"""

from collections.abc import Sequence

import msgspec

from bot.core.durations import format_duration

_STEP_NS = 10_000_000_000  # of what is said: news every ten seconds is enough


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a bot at one moment."""

    stuck: Sequence[str] = ()  # actors that have messages and have not taken one for too long
    troubles: Sequence[str] = ()  # why nothing new is entered, the worst first; empty when all is whole
    is_account_up: bool = True  # the account's stream flows
    compared_ns: int = 0  # when the account was last compared with the venue's
    has_exposure: bool = False  # a position, an order that may still fill, or one in doubt


class Signs(msgspec.Struct, frozen=True, kw_only=True):
    """What is said."""

    feeds_watchdog: bool
    beats: bool
    status: str  # one line for a person


class Wellbeing:
    """Judges one bot, look by look.

    Args:
        outage_grace_ns: for so long a bot that is cut off, knows it and reconnects is left to it; 0: not at all.
        unreached_ns: with no stream of the account and no comparison for so long, the venue is out of reach.
        doing: what it does when all is well, for a person.
    """

    def __init__(self, *, outage_grace_ns: int, unreached_ns: int, doing: str) -> None:
        self._outage_grace_ns = outage_grace_ns
        self._unreached_ns = unreached_ns
        self._doing = doing
        self._ill_since_ns: int | None = None

    def look(self, facts: Facts, now_ns: int) -> Signs:
        """Return what to say now."""
        if facts.stuck:
            return Signs(feeds_watchdog=False, beats=False, status=f"stuck: {', '.join(facts.stuck)}")
        is_reached = facts.is_account_up or now_ns - facts.compared_ns <= self._unreached_ns
        beats = is_reached or not facts.has_exposure
        if not facts.troubles and is_reached:
            self._ill_since_ns = None
            return Signs(feeds_watchdog=True, beats=beats, status=self._doing)
        if self._ill_since_ns is None:
            self._ill_since_ns = now_ns
        ill_ns = now_ns - self._ill_since_ns
        within = ill_ns < self._outage_grace_ns
        why = "; ".join(facts.troubles) or "the venue cannot be reached"
        heart = "" if beats else "; the dead-man switch is left to act: the venue is out of reach, with exposure"
        after = "" if within else "; the watchdog is no longer fed"
        status = f"degraded for {format_duration(ill_ns // _STEP_NS * _STEP_NS)}, reconnecting: {why}{heart}{after}"
        return Signs(feeds_watchdog=within, beats=beats, status=status)
