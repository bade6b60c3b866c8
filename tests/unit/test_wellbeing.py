"""Who is told that the bot lives, and when not: docs/decisions/0012-signs-of-life.md, row by row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.actors.inbox import Inbox
from bot.app.life_signs import StuckActors
from bot.core.wellbeing import Facts, Wellbeing

S = 1_000_000_000
GRACE, UNREACHED = 1_800 * S, 20 * S


def wellbeing(grace_ns: int = GRACE) -> Wellbeing:
    return Wellbeing(outage_grace_ns=grace_ns, unreached_ns=UNREACHED, doing="trading BTCUSDT")


DOWN = Facts(troubles=("tickers.BTCUSDT: wanted",), is_account_up=False, compared_ns=0)


@pytest.mark.parametrize(
    ("facts", "after_s", "feeds", "beats", "says"),
    [
        (Facts(), 0, True, True, "trading BTCUSDT"),
        # The market's data are gone, the account is there: the bot can still leave, so nobody else must.
        (Facts(troubles=("book: outside",), has_exposure=True), 60, True, True, "degraded for 1m, reconnecting: book"),
        (Facts(troubles=("book: outside",), has_exposure=True), 1_800, False, True, "the watchdog is no longer fed"),
        # Nothing of the account comes, but questions by REST are answered.
        (Facts(is_account_up=False, compared_ns=590 * S, has_exposure=True), 600, True, True, "trading BTCUSDT"),
        # The venue is out of reach: with nothing at stake there is nothing to clear.
        (DOWN, 60, True, True, "reconnecting: tickers"),
        (Facts(is_account_up=False, has_exposure=True), 60, True, False, "the dead-man switch is left to act"),
        (Facts(is_account_up=False, has_exposure=True), 2_000, False, False, "the venue cannot be reached"),
        # An actor that takes no message is what a start mends.
        (Facts(stuck=("strategy",), has_exposure=True), 0, False, False, "stuck: strategy"),
    ],
)
def test_each_is_told_what_it_can_act_upon(facts: Facts, after_s: int, feeds: bool, beats: bool, says: str) -> None:
    judge = wellbeing()
    for now_s in range(0, after_s, 10):
        judge.look(facts, now_s * S)
    signs = judge.look(facts, after_s * S)
    assert (signs.feeds_watchdog, signs.beats) == (feeds, beats)
    assert says in signs.status


def test_without_grace_the_watchdog_goes_hungry_at_once_and_is_fed_again_when_it_is_over() -> None:
    judge = wellbeing(0)
    assert judge.look(Facts(), 0).feeds_watchdog
    assert not judge.look(DOWN, S).feeds_watchdog
    assert judge.look(Facts(), 2 * S).feeds_watchdog


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 900)), max_size=30))
def test_the_grace_is_of_one_outage_and_begins_anew_with_the_next(looks: list[tuple[bool, int]]) -> None:
    """Fed means well, or ill for less than the grace without a break."""
    judge, now_s, ill_since_s = wellbeing(), 0, None
    for is_well, after_s in looks:
        now_s += after_s
        ill_since_s = None if is_well else now_s if ill_since_s is None else ill_since_s
        signs = judge.look(Facts() if is_well else DOWN, now_s * S)
        assert signs.feeds_watchdog == (ill_since_s is None or (now_s - ill_since_s) * S < GRACE)


async def test_stuck_is_who_has_messages_and_takes_none() -> None:
    """An idle actor is not stuck, nor is one whose inbox is never empty but is served."""
    idle, busy, stuck = (Inbox[int](name, bound=100) for name in ("idle", "busy", "stuck"))
    finder = StuckActors([idle, busy, stuck], after_ns=20 * S)
    stuck.deliver(1)
    for now_s in range(60):
        busy.deliver(now_s)
        found = finder.find(now_s * S)
        assert found == (["stuck"] if now_s >= 20 else [])
        await busy.take()
        busy.deliver(now_s)
    await stuck.take()
    assert finder.find(61 * S) == []
