"""One latch's whole life by its table, and how latches live beside each other."""

from decimal import Decimal
from itertools import product

import pytest

from bot.core.trading_state import _NEXT, ACCOUNT, Cause, Signal, TradingState, TradingStates, Why, next_state
from tests.support.money import ETH, NAME

ACTIVE, REDUCING, HALTED = TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED
PAUSES = {Cause.STOP_GUARD, Cause.LOW_PROFIT, Cause.REPEATED, Cause.COOLDOWN}

# What a latch becomes, by what it was and by what moves it; a release that it does not listen to leaves it alone.
TABLE = {
    ACTIVE: {Signal.REDUCE: REDUCING, Signal.HALT: HALTED},
    REDUCING: {Signal.REDUCE: REDUCING, Signal.HALT: HALTED},
    HALTED: {Signal.REDUCE: HALTED, Signal.HALT: HALTED},
}
LISTENS = {
    Signal.DAY_BEGAN: {Cause.DAILY_LOSS},
    Signal.TIME_UP: PAUSES,
    Signal.RESUMED: set(Cause) - {Cause.KILL},
    Signal.RE_ARMED: {Cause.KILL},
}


def test_the_table_is_complete() -> None:
    assert set(_NEXT) == set(product(TradingState, Signal))


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("state", TradingState)
def test_every_transition(state: TradingState, signal: Signal, cause: Cause) -> None:
    """Losses only make it stricter; a release that the cause listens to opens it, any other leaves it as it is."""
    if signal in LISTENS:
        expected = ACTIVE if cause in LISTENS[signal] else state
    else:
        expected = TABLE[state][signal]
    assert next_state(state, signal, cause) is expected


def why(until_ns: int | None = None, detail: str = "so it is") -> Why:
    return Why(detail=detail, value=Decimal(1), threshold=Decimal(2), until_ns=until_ns)


def test_one_latch_never_lets_go_for_another() -> None:
    """The day's loss opens at midnight; the drawdown's latch is still in force, as strict as it is."""
    states = TradingStates()
    assert states.hold(NAME) is None
    states.move(ACCOUNT, Cause.DRAWDOWN, Signal.REDUCE, why(), 1)
    states.move(ACCOUNT, Cause.DAILY_LOSS, Signal.HALT, why(), 2)
    assert states.state(ACCOUNT) is HALTED
    (entry,) = states.release(Signal.DAY_BEGAN, why(), 3)
    assert (entry.cause, entry.before, entry.after, entry.in_force) == ("daily_loss", "halted", "active", "reducing")
    hold = states.hold(NAME)
    assert hold is not None
    assert (hold.cause, hold.state) == (Cause.DRAWDOWN, REDUCING)


def test_the_strictest_scope_is_in_force() -> None:
    """An instrument is held by its own latches and the account's, and no other instrument is by them."""
    states = TradingStates()
    states.move(NAME, Cause.PERSON, Signal.HALT, why(), 1)
    assert states.hold(ETH.name) is None
    states.move(ACCOUNT, Cause.DRAWDOWN, Signal.REDUCE, why(), 1)
    assert [(h.scope, h.state) for h in (states.hold(NAME), states.hold(ETH.name)) if h is not None] == [
        (NAME, HALTED),
        (ACCOUNT, REDUCING),
    ]
    assert states.state(ACCOUNT) is REDUCING


def test_time_opens_at_the_very_moment_and_only_what_has_a_time() -> None:
    states = TradingStates()
    states.move(NAME, Cause.COOLDOWN, Signal.REDUCE, why(until_ns=100), 1)
    states.move(NAME, Cause.REPEATED, Signal.REDUCE, why(), 1)
    states.move(ETH.name, Cause.COOLDOWN, Signal.REDUCE, why(until_ns=200), 1)
    assert states.pass_time(99) == []
    assert [(e.scope, e.cause, e.after, e.in_force, e.until_ns) for e in states.pass_time(100)] == [
        (NAME, "cooldown", "active", "reducing", None)
    ]
    assert [e.scope for e in states.pass_time(1_000)] == [ETH.name]
    assert states.state(NAME) is REDUCING
    assert states.pass_time(2**62) == []


def test_a_pause_grows_and_never_shrinks() -> None:
    """A later end is news, an earlier one is none; no end is later than any."""
    states = TradingStates()
    pauses = (100, 100, 50, 150, None, 10**6)
    news = [states.move(NAME, Cause.STOP_GUARD, Signal.REDUCE, why(until_ns=until), 1) for until in pauses]
    assert [[entry.until_ns for entry in entries] for entries in news] == [[100], [], [], [150], [None], []]
    assert states.pass_time(10**9) == []
    assert states.state(NAME) is REDUCING


def test_what_is_no_news_is_no_entry() -> None:
    """The same rung again, a release of what is open, a milder signal: nothing is recorded, nothing changes."""
    states = TradingStates()
    assert states.move(ACCOUNT, Cause.DRAWDOWN, Signal.RESUMED, why(), 1) == []
    (entry,) = states.move(ACCOUNT, Cause.DRAWDOWN, Signal.HALT, why(detail="first"), 2)
    assert (entry.ts_ns, entry.signal, entry.value, entry.threshold) == (2, "halt", Decimal(1), Decimal(2))
    for signal in (Signal.HALT, Signal.REDUCE, Signal.DAY_BEGAN, Signal.TIME_UP):
        assert states.move(ACCOUNT, Cause.DRAWDOWN, signal, why(detail="second"), 3) == []
    hold = states.hold(NAME)
    assert hold is not None
    assert hold.why.detail == "first"
    assert len(states.release(Signal.RESUMED, why(), 4)) == 1
    assert states.is_quiet
