"""The venue's clock by ours, within its bound; and how much may still be asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.venues.bybit.clock import RETRY_NS, SAMPLES, VenueClock
from bot.venues.bybit.rate_budget import BAN_NS, RateBudget

MS, S = 1_000_000, 1_000_000_000
T0 = 1_760_000_000 * S


@given(
    ahead_ns=st.integers(-60 * S, 60 * S),
    trips=st.lists(st.tuples(st.integers(0, S), st.integers(0, S)), min_size=1, max_size=12),
)
def test_the_truth_lies_within_the_bound(ahead_ns: int, trips: list[tuple[int, int]]) -> None:
    """Whatever the network did to question and answer, and however far the clocks are apart."""
    clock, now_ns = VenueClock(), T0
    for there_ns, back_ns in trips:
        now_ns += S
        server_ms = (now_ns + there_ns + ahead_ns) // MS
        clock.note(sent_ns=now_ns, recv_ns=now_ns + there_ns + back_ns, server_ms=server_ms)
        now_ns += there_ns + back_ns
        offset = clock.offset(now_ns)
        assert offset is not None
        assert abs(offset.ns - ahead_ns) <= offset.error_ns


def test_one_bad_trip_does_not_move_the_median() -> None:
    clock = VenueClock()
    for number in range(SAMPLES):
        trip_ns = 1_900 * MS if number == 2 else 10 * MS
        sent_ns = T0 + number * S
        clock.note(sent_ns=sent_ns, recv_ns=sent_ns + trip_ns, server_ms=sent_ns // MS)
    offset = clock.offset(T0 + 5 * S)
    assert offset is not None
    assert abs(offset.ns) < 10 * MS


def test_a_minute_in_which_the_machine_had_no_time_is_soon_over() -> None:
    """Measures that say too little for trading are taken again at once, and one good one is enough."""
    clock = VenueClock()
    for number in range(SAMPLES):
        sent_ns = T0 + number * S
        clock.note(sent_ns=sent_ns, recv_ns=sent_ns + 1_800 * MS, server_ms=(sent_ns + 1_700 * MS) // MS)
    last_ns = T0 + (SAMPLES - 1) * S + 1_800 * MS
    assert "known to 0.9 s only" in clock.trouble(last_ns)
    assert not clock.is_due(last_ns + RETRY_NS - 1)
    assert clock.is_due(last_ns + RETRY_NS)
    sent_ns = last_ns + RETRY_NS
    clock.note(sent_ns=sent_ns, recv_ns=sent_ns + 10 * MS, server_ms=sent_ns // MS)
    assert clock.trouble(sent_ns + 10 * MS) == ""
    assert not clock.is_due(sent_ns + 10 * MS + RETRY_NS)


def test_nothing_is_guessed() -> None:
    clock = VenueClock()
    assert clock.venue_ms(T0) is None
    clock.note(sent_ns=T0, recv_ns=T0 + 3 * S, server_ms=T0 // MS)  # too long under way
    clock.note(sent_ns=T0, recv_ns=T0 - 1, server_ms=T0 // MS)
    assert (clock.venue_ms(T0), clock.refused) == (None, 2)
    clock.note(sent_ns=T0, recv_ns=T0, server_ms=T0 // MS + 700)
    assert "0.7 s" in clock.trouble(T0)
    assert clock.trouble(T0, wall_ns=T0 + 700 * MS) == ""
    assert "not known" in clock.trouble(T0 + 400 * S)  # too old
    assert clock.is_due(T0)


def test_no_second_sees_more_than_the_share() -> None:
    budget = RateBudget(share=0.7)
    sent: list[int] = []
    now_ns = T0
    while len(sent) < 100:
        refusal = budget.take("order.create", "linear", now_ns)
        if refusal is None:
            sent.append(now_ns)
            now_ns += 7 * MS
        else:
            assert refusal.wait_ns > 0
            now_ns += refusal.wait_ns
    assert max(sum(1 for at in sent if start <= at < start + S) for start in sent) <= 7


def test_cancels_have_room_where_others_have_none() -> None:
    budget = RateBudget()
    taken = 0
    while budget.take("order.cancel", "linear", T0) is None:
        taken += 1
    assert taken == 6
    assert budget.take("order.cancel", "linear", T0, is_cancel=True) is None
    assert budget.take("order.cancel", "linear", T0, is_cancel=True) is not None


def test_what_the_venue_counts_counts() -> None:
    """Somebody else uses the account; and a better tier is used."""
    budget = RateBudget()
    budget.note_limits("order.create", "linear", T0, limit=10, left=0)
    assert budget.take("order.create", "linear", T0) is not None
    assert budget.take("order.create", "linear", T0 + S) is None
    budget.note_limits("order.create", "spot", T0, limit=200, left=200)
    assert sum(budget.take("order.create", "spot", T0) is None for _ in range(200)) == 105
    budget.note_limits("order.amend", "spot", T0, limit=-1, left=5)  # nonsense changes nothing
    assert budget.take("order.amend", "spot", T0) is None


def test_a_ban_stops_all_http_and_no_socket() -> None:
    budget = RateBudget()
    budget.note_banned(T0)
    for at in (T0, T0 + BAN_NS - 1):
        assert budget.take("market", "", at) is not None
        assert budget.take("order.cancel", "linear", at, is_cancel=True) is not None
    assert budget.take("order.create", "linear", T0, is_http=False) is None
    assert budget.take("market", "", T0 + BAN_NS) is None


@pytest.mark.parametrize(("wait_ns", "until_ns"), [(None, S), (500 * MS, 510 * MS), (-5 * S, 10 * MS)])
def test_a_refusal_shuts_its_bucket(wait_ns: int | None, until_ns: int) -> None:
    """A reset that lies in the past is no reason to hammer, nor is one far away a reason to wait for ever."""
    budget = RateBudget()
    assert budget.note_limited("order.create", "linear", T0, wait_ns=wait_ns) == T0 + until_ns
    refusal = budget.take("order.create", "linear", T0)
    assert refusal is not None
    assert refusal.wait_ns == until_ns
    assert budget.take("order.create", "spot", T0) is None
    assert budget.note_limited("order.amend", "linear", T0, wait_ns=3_600 * S) < T0 + 61 * S


@given(st.lists(st.tuples(st.integers(0, 300 * MS), st.integers(1, 20), st.booleans()), max_size=60))
def test_waiting_as_told_is_enough(asked: list[tuple[int, int, bool]]) -> None:
    budget, now_ns = RateBudget(), T0
    for pause_ns, count, is_cancel in asked:
        now_ns += pause_ns
        refusal = budget.take("order.cancel-batch", "linear", now_ns, count=count, is_cancel=is_cancel)
        if refusal is not None:
            now_ns += refusal.wait_ns
            assert budget.take("order.cancel-batch", "linear", now_ns, count=count, is_cancel=is_cancel) is None
