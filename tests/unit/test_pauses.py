"""What is told of a machine that pauses again and again: few words, none of them late, nothing left out."""

from bot.venues.bybit.pauses import EVERY_NS, LONG_NS, MANY, NEVER_NS, OVERLOADED, PAUSED, Pauses
from bot.venues.bybit.stream_effects import Alert

_S = 1_000_000_000


def told_of(pauses: list[tuple[int, int]], until_s: int) -> list[tuple[int, Alert]]:
    """Return what was told and when, looked at each second; pauses are (at, how long) in s."""
    counted, told = Pauses(), []
    due = dict(pauses)
    for now_s in range(until_s):
        now_ns = now_s * _S
        if now_s in due:
            alert = counted.note(due[now_s] * _S, now_ns)
        else:
            alert = counted.tell(now_ns)
        if alert is not None:
            told.append((now_s, alert))
    assert counted.count == len(pauses)
    return told


def test_the_first_is_told_at_once_and_the_rest_once_a_minute() -> None:
    told = told_of([(10, 2), (20, 3), (30, 4)], 200)
    assert [(at, each.code, each.suppressed) for at, each in told] == [(10, PAUSED, 0), (70, PAUSED, 2)]
    assert "for 2.0 s" in told[0][1].text
    assert "2 times more" in told[1][1].text
    assert "4.0 s at the longest" in told[1][1].text


def test_no_pause_is_left_out_however_many_there_are() -> None:
    told = told_of([(at, 1) for at in range(0, 600, 2)], 700)
    assert len(told) <= 700 * _S // EVERY_NS + 1
    assert 1 + sum(each.suppressed for _, each in told) == 300
    assert all(each.code == OVERLOADED for _, each in told[1:])


def test_many_or_long_ones_are_for_a_person() -> None:
    few = told_of([(at, 2) for at in range(MANY)], 100)  # one is told at once, one fewer than many is left
    many = told_of([(at, 2) for at in range(MANY + 1)], 100)
    assert [each.code for _, each in few] == [PAUSED, PAUSED]
    assert [each.code for _, each in many] == [PAUSED, OVERLOADED]
    assert told_of([(5, LONG_NS // _S)], 10)[0][1].code == OVERLOADED
    assert [each.code for _, each in told_of([(5, 2), (30, LONG_NS // _S)], 100)] == [PAUSED, OVERLOADED]


def test_after_a_quiet_time_the_next_is_told_at_once_again() -> None:
    assert [at for at, _ in told_of([(10, 2), (100, 2), (400, 2)], 500)] == [10, 100, 400]
    quiet = Pauses()
    assert quiet.tell(10**18) is None
    assert quiet.due_ns == NEVER_NS
