"""What the account, and each instrument in it, may do now: trade, reduce, or nothing at all.

Whatever can stop trading (a ladder, a protection, a person) holds a latch of its own, so that one of them letting go
never lets go for another; the strictest latch is in force. `_NEXT` is the life of one latch, `_RELEASES` tells which
releases it listens to. A latch never steps back but by a release.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from bot.domain.ledger import TradingStateChanged

ACCOUNT = "account"
"""The scope of everything; any other scope is an instrument's name."""


class TradingState(StrEnum):
    """What may be sent."""

    ACTIVE = "active"
    REDUCING = "reducing"  # orders that only reduce a position, and cancels
    HALTED = "halted"  # cancels alone


class Cause(StrEnum):
    """What holds a latch, the first named first where two are equally strict."""

    KILL = "kill"  # the kill switch: only the host opens it
    PERSON = "person"
    RECONCILE = "reconcile"  # the books and the venue contradict each other
    DRAWDOWN = "drawdown"
    DAILY_LOSS = "daily_loss"
    STOP_GUARD = "stop_guard"
    LOW_PROFIT = "low_profit"
    REPEATED = "repeated"
    COOLDOWN = "cooldown"
    DOUBT = "doubt"  # a request whose outcome nobody knows; no latch: it ends with the doubt


class Signal(StrEnum):
    """What moves a latch."""

    REDUCE = "reduce"
    HALT = "halt"
    DAY_BEGAN = "day_began"  # a UTC day
    TIME_UP = "time_up"
    RESUMED = "resumed"  # by a person
    RE_ARMED = "re_armed"  # by a person at the host itself


_NEXT: dict[tuple[TradingState, Signal], TradingState] = {
    (TradingState.ACTIVE, Signal.REDUCE): TradingState.REDUCING,
    (TradingState.ACTIVE, Signal.HALT): TradingState.HALTED,
    (TradingState.ACTIVE, Signal.DAY_BEGAN): TradingState.ACTIVE,
    (TradingState.ACTIVE, Signal.TIME_UP): TradingState.ACTIVE,
    (TradingState.ACTIVE, Signal.RESUMED): TradingState.ACTIVE,
    (TradingState.ACTIVE, Signal.RE_ARMED): TradingState.ACTIVE,
    (TradingState.REDUCING, Signal.REDUCE): TradingState.REDUCING,
    (TradingState.REDUCING, Signal.HALT): TradingState.HALTED,
    (TradingState.REDUCING, Signal.DAY_BEGAN): TradingState.ACTIVE,
    (TradingState.REDUCING, Signal.TIME_UP): TradingState.ACTIVE,
    (TradingState.REDUCING, Signal.RESUMED): TradingState.ACTIVE,
    (TradingState.REDUCING, Signal.RE_ARMED): TradingState.ACTIVE,
    (TradingState.HALTED, Signal.REDUCE): TradingState.HALTED,  # the equity came back above the second rung
    (TradingState.HALTED, Signal.HALT): TradingState.HALTED,
    (TradingState.HALTED, Signal.DAY_BEGAN): TradingState.ACTIVE,
    (TradingState.HALTED, Signal.TIME_UP): TradingState.ACTIVE,
    (TradingState.HALTED, Signal.RESUMED): TradingState.ACTIVE,
    (TradingState.HALTED, Signal.RE_ARMED): TradingState.ACTIVE,
}

_RELEASES: dict[Signal, frozenset[Cause]] = {
    Signal.DAY_BEGAN: frozenset({Cause.DAILY_LOSS}),
    Signal.TIME_UP: frozenset({Cause.STOP_GUARD, Cause.LOW_PROFIT, Cause.REPEATED, Cause.COOLDOWN}),
    Signal.RESUMED: frozenset(Cause) - {Cause.KILL},
    Signal.RE_ARMED: frozenset({Cause.KILL}),
}

_STRICTNESS = {TradingState.ACTIVE: 0, TradingState.REDUCING: 1, TradingState.HALTED: 2}
_RANK = {cause: rank for rank, cause in enumerate(Cause)}


def next_state(state: TradingState, signal: Signal, cause: Cause) -> TradingState:
    """Return the state of a latch of `cause` after `signal`."""
    if signal in _RELEASES and cause not in _RELEASES[signal]:
        return state
    return _NEXT[state, signal]


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers behind a signal."""

    detail: str
    value: Decimal | None = None  # what was seen
    threshold: Decimal | None = None  # what it was held against
    until_ns: int | None = None  # when it lets go by itself; None: not by time


class Latch(msgspec.Struct, frozen=True, kw_only=True):
    """One cause's hold on one scope."""

    scope: str
    cause: Cause
    state: TradingState
    why: Why


class TradingStates:
    """All latches of a run that are not open."""

    def __init__(self) -> None:
        self._latches: dict[tuple[str, Cause], Latch] = {}
        self._next_release_ns: int | None = None

    @property
    def is_quiet(self) -> bool:
        """Return whether nothing is held anywhere."""
        return not self._latches

    def state(self, scope: str) -> TradingState:
        """Return the strictest state that a latch of this very scope holds."""
        held = self._strictest(scope)
        return TradingState.ACTIVE if held is None else held.state

    def hold(self, instrument: str) -> Latch | None:
        """Return the latch in force for orders of an instrument: its own or the account's; None where all is open."""
        if not self._latches:
            return None
        account, own = self._strictest(ACCOUNT), self._strictest(instrument)
        if account is None or own is None:
            return account or own
        return own if _STRICTNESS[own.state] > _STRICTNESS[account.state] else account

    def move(self, scope: str, cause: Cause, signal: Signal, why: Why, now_ns: int) -> list[TradingStateChanged]:
        """Signal one latch; return what is news of it: another state, or a later release."""
        before = self._latches.get((scope, cause))
        was = TradingState.ACTIVE if before is None else before.state
        state = next_state(was, signal, cause)
        if state is was and not (before is not None and signal not in _RELEASES and _is_later(why, before.why)):
            return []
        if state is TradingState.ACTIVE:
            del self._latches[scope, cause]
        elif before is not None and not _is_later(why, before.why):
            # A stricter rung never brings the release nearer.
            self._latches[scope, cause] = replace(before, state=state, why=replace(why, until_ns=before.why.until_ns))
        else:
            self._latches[scope, cause] = Latch(scope=scope, cause=cause, state=state, why=why)
        self._find_next_release()
        kept = self._latches.get((scope, cause))
        return [
            TradingStateChanged(
                ts_ns=now_ns,
                scope=scope,
                cause=cause.value,
                signal=signal.value,
                before=was.value,
                after=state.value,
                in_force=self.state(scope).value,
                value=why.value,
                threshold=why.threshold,
                until_ns=None if kept is None else kept.why.until_ns,
                detail=why.detail,
            )
        ]

    def release(self, signal: Signal, why: Why, now_ns: int) -> list[TradingStateChanged]:
        """Signal a release to every latch; return what is news."""
        changed = []
        for scope, cause in list(self._latches):
            changed += self.move(scope, cause, signal, why, now_ns)
        return changed

    def pass_time(self, now_ns: int) -> list[TradingStateChanged]:
        """Let go of what was held until now; return what is news."""
        if self._next_release_ns is None or now_ns < self._next_release_ns:
            return []
        changed = []
        for latch in list(self._latches.values()):
            if latch.why.until_ns is not None and latch.why.until_ns <= now_ns:
                changed += self.move(latch.scope, latch.cause, Signal.TIME_UP, Why(detail="its time is up"), now_ns)
        return changed

    def restore(self, entry: TradingStateChanged) -> None:
        """Hold a latch as a ledger's entry says that it was left."""
        cause = Cause(entry.cause)
        if entry.after == TradingState.ACTIVE:
            self._latches.pop((entry.scope, cause), None)
        else:
            why = Why(detail=entry.detail, value=entry.value, threshold=entry.threshold, until_ns=entry.until_ns)
            state = TradingState(entry.after)
            self._latches[entry.scope, cause] = Latch(scope=entry.scope, cause=cause, state=state, why=why)
        self._find_next_release()

    def restore_latches(self, latches: Iterable[Latch]) -> None:
        """Hold latches as they were."""
        self._latches.update({(latch.scope, latch.cause): latch for latch in latches})
        self._find_next_release()

    def latches(self) -> list[Latch]:
        """Return all that hold, by scope and cause."""
        return sorted(self._latches.values(), key=lambda latch: (latch.scope, _RANK[latch.cause]))

    def _find_next_release(self) -> None:
        releases_ns = [latch.why.until_ns for latch in self._latches.values() if latch.why.until_ns is not None]
        self._next_release_ns = min(releases_ns, default=None)

    def _strictest(self, scope: str) -> Latch | None:
        held: Sequence[Latch] = [latch for latch in self._latches.values() if latch.scope == scope]
        return min(held, key=lambda latch: (-_STRICTNESS[latch.state], _RANK[latch.cause]), default=None)


def _is_later(why: Why, before: Why) -> bool:
    """Return whether `why` holds longer; without a time it holds until a release of another kind."""
    if before.until_ns is None:
        return False
    return why.until_ns is None or why.until_ns > before.until_ns
