"""Requests through a bad network, bad disks and crashes: every intent reaches the venue once, or provably not at all.

The safeguards are taken away one by one, too: a check that cannot fail proves nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest
from msgspec.structs import replace as changed

from bot.core.effects import Effects
from bot.core.submission.requests import Kind, Request
from bot.core.submission.steps import Steps
from bot.core.submission.submissions import Submissions
from bot.domain.answers import Absent, Answer, AnswerKind, LookUp, Place
from bot.domain.errors import InvariantBroken
from bot.domain.orders import AccountEvent, OrderFilled
from bot.domain.venue_records import OrderState
from tests.support.live_sim import SimBot, Sizes, Verdict
from tests.support.toy_venue import Faults

MILD = Faults(lost=0.1, late=0.05, repeated=0.05, look_ups_fail=0.1)
HARD = Faults(lost=0.2, late=0.2, repeated=0.2, look_ups_fail=0.3, refused=0.2)
CRASHES = Faults(
    lost=0.2, late=0.1, repeated=0.2, look_ups_fail=0.2, slow_commit=0.02, crash_every_ms=40_000, stream_lost=0.05
)
DEAF = replace(MILD, stream_lost=0.3)
FORGETFUL = replace(MILD, lost=0.2, stream_lost=0.3, forgotten_after_ms=500)
SLOW_DISK = Faults(lost=0.05, late=0.2, late_ms_max=3_000, slow_commit=0.1, crash_every_ms=25_000)
CLOCK_AHEAD = replace(MILD, clock_error_ms=400)
CLOCK_BEHIND = replace(MILD, clock_error_ms=-900)
KINDS = {
    "mild": MILD,
    "hard": HARD,
    "crashes": CRASHES,
    "deaf": DEAF,
    "forgetful": FORGETFUL,
    "slow disk": SLOW_DISK,
    "clock ahead": CLOCK_AHEAD,
    "clock behind": CLOCK_BEHIND,
}


def campaign(faults: Faults, seeds: range, sizes: Sizes) -> Verdict:
    """Return what came of many lives together, violations named by their seed."""
    whole = Verdict()
    for seed in seeds:
        verdict = SimBot(seed, faults, sizes).run()
        whole.violations += [f"seed {seed}: {line}" for line in verdict.violations]
        for name in ("intents", "admitted", "crashes", "doubts", "resurfaced", "missing", "faults"):
            setattr(whole, name, getattr(whole, name) + getattr(verdict, name))
    return whole


@pytest.mark.parametrize("kind", KINDS)
def test_every_intent_once_and_no_doubt_left(kind: str) -> None:
    """Two minutes after everything has healed: no order twice, none unaccounted for, and the books are the venue's."""
    verdict = campaign(KINDS[kind], range(4), Sizes(intents=80))
    assert verdict.violations == []
    assert verdict.resurfaced == 0
    assert verdict.admitted > 100
    assert verdict.doubts > 10  # the campaign was not a quiet one
    assert verdict.crashes > 0 or KINDS[kind].crash_every_ms is None
    assert verdict.missing > 0 or KINDS[kind].forgotten_after_ms is None


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_every_intent_once_and_no_doubt_left_in_full(kind: str) -> None:
    """The same for 24,000 intents in all."""
    verdict = campaign(KINDS[kind], range(100, 130), Sizes(intents=100))
    assert verdict.violations == []
    assert verdict.intents == 3_000


def test_the_same_seed_lives_the_same_life() -> None:
    lives = [SimBot(7, CRASHES, Sizes(intents=40)) for _ in range(2)]
    for life in lives:
        life.run()
    assert lives[0].durable == lives[1].durable


# --- safeguards, taken away -------------------------------------------------------------------------------------------


def without_fence(bot: SimBot) -> None:
    """Take two look-ups that find nothing for enough, whenever they are made."""

    def is_behind(request: Request, server_time_ms: int) -> bool:
        watch = bot.desk.submissions._watches.of(request.key)
        watch.behind_ms += (server_time_ms,)
        return len(watch.behind_ms) >= 2

    bot.desk.submissions._is_behind_fence = is_behind  # type: ignore[method-assign]


def without_margin(bot: SimBot) -> None:
    """Allow for no lag of look-ups, and take one of them for enough."""
    bot.desk.submissions.journal.margin_ms = -2_400
    bot.desk.submissions.terms = changed(bot.terms, rounds=1)


def with_the_first_sendings_fence(bot: SimBot) -> None:
    """Leave the fence where it was, however often it was sent since."""

    def is_behind(request: Request, server_time_ms: int) -> bool:
        first = changed(request, attempts=request.attempts[:1])
        return Submissions._is_behind_fence(bot.desk.submissions, first, server_time_ms)

    bot.desk.submissions._is_behind_fence = is_behind  # type: ignore[method-assign]


def with_one_round(bot: SimBot) -> None:
    """Take one look-up behind the fence for enough."""
    bot.desk.submissions.terms = changed(bot.terms, rounds=1)


def without_commit(bot: SimBot) -> None:
    """Let bytes leave before what they mean is durable."""
    bot.commits_first = False


def with_silence_as_refusal(bot: SimBot) -> None:
    """Count a request that nobody answers as refused."""
    answered = bot.desk.submissions.answered

    def believe(key: str, attempt: int, answer: Answer, now_ns: int) -> Steps:
        if answer.kind is AnswerKind.UNKNOWN:
            answer = changed(answer, kind=AnswerKind.REFUSED)
        return answered(key, attempt, answer, now_ns)

    bot.desk.submissions.answered = believe  # type: ignore[method-assign]


def without_epochs(bot: SimBot) -> None:
    """Count orders from one again after a restart, under the same prefix."""
    bot.keeps_epochs = False


def with_another_id_for_a_resend(bot: SimBot) -> None:
    """Give up what is in doubt at once, so that it is decided on again under a new id."""
    doubt = bot.desk.submissions._doubt

    def give_up(request: Request, why: str, now_ns: int, steps: Steps) -> None:
        doubt(request, why, now_ns, steps)
        if request.kind is Kind.CREATE:
            bot.desk.submissions._give_up(request, why, now_ns, steps)

    bot.desk.submissions._doubt = give_up  # type: ignore[method-assign]


def with_open_orders_alone(bot: SimBot) -> None:
    """Look for open orders only: what is done already looks as if it never was."""
    look_up = bot.venue.look_up

    def look(client_order_id: str) -> LookUp:
        order = bot.venue.orders.get(client_order_id)
        if order is not None and order.state is not OrderState.OPEN:
            return Absent(places=(Place.OPEN, Place.HISTORY), server_time_ms=bot.venue.now_ms, recv_ns=0)
        return look_up(client_order_id)

    bot.venue.look_up = look  # type: ignore[method-assign]


def without_fill_ids(bot: SimBot) -> None:
    """Book every execution as often as it is told."""
    numbers = count()
    event = bot.desk.orders.event

    def book(told: AccountEvent, now_ns: int) -> Effects:
        if isinstance(told, OrderFilled):
            told = changed(told, trade_id=f"{told.trade_id}-{next(numbers)}")
        return event(told, now_ns)

    bot.desk.orders.event = book  # type: ignore[method-assign]


def without_revalidation(bot: SimBot) -> None:
    """Let what a slow disk held up leave all the same."""
    bot.desk.submissions.terms = changed(bot.terms, commit_ns_max=10**18, wanted_ns=10**18)


def with_endless_resends(bot: SimBot) -> None:
    """Send as often as it takes."""
    bot.desk.submissions.terms = changed(bot.terms, sends_max=50, wanted_ns=10**18)


def with_old_decisions_sent_again(bot: SimBot) -> None:
    """Take a decision of before a crash for as good as a new one."""
    recover = bot.desk.submissions.recover

    def resume(now_ns: int) -> Steps:
        steps = recover(now_ns)
        for watch in bot.desk.submissions._watches.all():
            watch.wanted = True
        steps.cancel.clear()
        return steps

    bot.desk.submissions.recover = resume  # type: ignore[method-assign]
    bot.desk.submissions.terms = changed(bot.terms, wanted_ns=10**18)


def without_doubts_at_the_gate(bot: SimBot) -> None:
    """Take new risk whatever nobody knows."""
    bot.desk.orders.state.follow_doubt = lambda entry: None  # type: ignore[method-assign]


def without_recovery(bot: SimBot) -> None:
    """Believe after a restart that nothing is on its way any more."""
    bot.desk.submissions.recover = lambda now_ns: Steps()  # type: ignore[method-assign]


def without_cancels_asked_again(bot: SimBot) -> None:
    """Ask for no cancel a second time."""
    bot.desk._ask_again = lambda now_ns, work: bot.desk._looks.cancels_ns.clear()  # type: ignore[method-assign]


def with_missing_orders_looked_for_for_ever(bot: SimBot) -> None:
    """Close no order that the venue has taken and forgotten."""
    bot.desk.submissions._missing.weigh = lambda request, absent, margin_ms: None  # type: ignore[method-assign]


# What is taken away, under which faults, and the rules of which one must then be seen broken.
ABLATIONS: dict[str, tuple[Callable[[SimBot], None], Faults, set[str]]] = {
    "the fence": (without_fence, HARD, {"O3", "O4"}),
    "the margin": (without_margin, HARD, {"O3", "O4"}),
    "the last sending's fence": (with_the_first_sendings_fence, HARD, {"O4"}),
    "the second round": (with_one_round, HARD, {"O4"}),
    "the commit before the send": (without_commit, CRASHES, {"O1"}),
    "silence is no refusal": (with_silence_as_refusal, HARD, {"O3"}),
    "epochs": (without_epochs, CRASHES, {"O2", "O3", "L1", "L2", "refused"}),
    "the same id again": (with_another_id_for_a_resend, HARD, {"O3"}),
    "history look-ups": (with_open_orders_alone, HARD, {"A1", "O10"}),
    "executions booked once": (without_fill_ids, HARD, {"L1", "L2"}),
    "decisions seen again after the commit": (without_revalidation, SLOW_DISK, {"B16"}),
    "three sendings": (with_endless_resends, HARD, {"O11"}),
    "old decisions stay unsent": (with_old_decisions_sent_again, CRASHES, {"PR3"}),
    "the gate": (without_doubts_at_the_gate, HARD, {"R8"}),
    "recovery": (without_recovery, CRASHES, {"A1", "O10"}),
    "missing orders closed": (with_missing_orders_looked_for_for_ever, FORGETFUL, {"A1", "O10"}),
    "cancels asked again": (without_cancels_asked_again, HARD, {"O7"}),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_safeguard_that_is_missing_is_noticed(name: str) -> None:
    adapt, faults, rules = ABLATIONS[name]
    broken: set[str] = set()
    for seed in range(20, 60):
        try:
            verdict = SimBot(seed, faults, Sizes(intents=60), adapt=adapt).run()
        except InvariantBroken:  # a restart refuses a ledger that contradicts itself
            broken.add("refused")
        else:
            broken |= {line.partition(":")[0] for line in verdict.violations}
        if broken & rules:
            return
    pytest.fail(f"nobody noticed; broken were {broken or 'none'}")
