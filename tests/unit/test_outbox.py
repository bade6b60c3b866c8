"""What waits to be told: bounded, folded, tried again, dropped by policy, and counted."""

from hypothesis import given
from hypothesis import strategies as st

from bot.domain.operation import Notice, Severity
from bot.operator.alerts import Escalation, Escalations
from bot.operator.outbox import Outbox, Policy, lines_of

S = 1_000_000_000


def notice(kind: str = "order.filled", severity: Severity = Severity.INFO, text: str = "t", name: str = "") -> Notice:
    return Notice(ts_ns=0, kind=kind, severity=severity, text=text, instrument=name)


def test_the_first_is_told_at_once_and_what_follows_within_a_second_together() -> None:
    box = Outbox(Policy())
    box.put(notice(text="a"), 0)
    first = box.due(0)
    assert first is not None
    assert lines_of(first) == ["a"]
    box.put(notice(text="b", name="BTCUSDT"), 0)
    assert box.due(0) is None  # one is under way
    box.delivered(0)
    box.put(notice(kind="order.sent", text="c"), 1)
    assert box.due(S - 1) is None
    assert box.due_ns() == S
    then = box.due(S)
    assert then is not None
    assert lines_of(then) == ["BTCUSDT: b", "c"]


def test_what_is_the_same_is_counted_and_a_flood_keeps_the_newest_of_a_kind() -> None:
    box = Outbox(Policy(fold_from=3))
    for _ in range(5):
        box.put(notice(text="same"), 0)
    assert len(box) == 1
    for n in range(50):
        box.put(notice(kind="data.went_stale", severity=Severity.WARNING, text=f"stale {n}"), 0)
    batch = box.due(0)
    assert batch is not None
    assert lines_of(batch)[0] == "same (5 times)"
    assert lines_of(batch)[-1] == "stale 49 (49 times)"
    assert box.counts["folded"] == 4 + 48


def test_errors_with_different_words_are_never_folded() -> None:
    box = Outbox(Policy(fold_from=0))
    for n in range(9):
        box.put(notice(severity=Severity.ERROR, text=f"error {n}"), 0)
    assert len(box) == 9


def test_muting_by_kind_pattern_and_severity_never_hides_what_is_critical() -> None:
    box = Outbox(Policy(least=Severity.WARNING, muted=("order.*",)))
    assert not box.put(notice(), 0)
    assert not box.put(notice(severity=Severity.ERROR), 0)
    assert box.put(notice(severity=Severity.CRITICAL), 0)
    assert box.put(notice(kind="data.went_stale", severity=Severity.WARNING), 0)
    assert box.counts["muted"] == 2


def test_the_oldest_of_the_least_grave_goes_first_and_the_loss_is_told() -> None:
    box = Outbox(Policy(bound=3, fold_from=99))
    box.put(notice(severity=Severity.CRITICAL, text="c"), 0)
    for n in range(10):
        box.put(notice(text=f"i{n}"), 0)
    box.put(notice(severity=Severity.ERROR, text="e"), 0)
    batch = box.due(0)
    assert batch is not None
    assert lines_of(batch) == ["c", "i9", "e", "(9 more were dropped: too many, or too old)"]
    box.delivered(0)
    box.put(notice(text="later"), 2 * S)
    again = box.due(2 * S)
    assert again is not None
    assert lines_of(again) == ["later"]


def test_a_failure_is_tried_again_later_and_later_and_as_the_other_side_asks() -> None:
    box = Outbox(Policy(retry_first_ns=S, retry_most_ns=4 * S))
    box.put(notice(severity=Severity.ERROR, text="x"), 0)
    waits = []
    now = 0
    for _ in range(5):
        assert box.due(now) is not None
        box.failed(now)
        due = box.due_ns()
        assert due is not None
        waits.append((due - now) // S)
        now = due
    assert waits == [1, 2, 4, 4, 4]
    assert box.due(now) is not None
    box.failed(now, retry_after_ns=90 * S)
    assert box.due(now + 89 * S) is None
    batch = box.due(now + 90 * S)
    assert batch is not None
    assert lines_of(batch) == ["x"]


def test_old_news_is_dropped_what_matters_last() -> None:
    box = Outbox(Policy(keep_info_ns=10 * S, keep_ns=100 * S))
    box.put(notice(text="i"), 0)
    box.put(notice(kind="k", severity=Severity.ERROR, text="e"), 0)
    batch = box.due(11 * S)
    assert batch is not None
    assert [line.notice.text for line in batch.lines] == ["e"]
    box.failed(11 * S)
    assert box.due(200 * S) is None
    assert len(box) == 0
    assert box.counts["dropped"] == 2


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["put", "put", "put", "ok", "fail", "refuse", "wait"]),
            st.sampled_from(list(Severity)),
            st.sampled_from(["a.b", "c.d", "e.f"]),
            st.integers(0, 5),
        ),
        max_size=80,
    )
)
def test_whatever_happens_nothing_is_lost_uncounted(steps: list[tuple[str, Severity, str, int]]) -> None:
    """Every notice was told, folded into another, muted or dropped, or waits; and the bound holds."""
    box = Outbox(Policy(bound=5, batch_max=3, fold_from=2, keep_ns=60 * S, keep_info_ns=20 * S, muted=("c.*",)))
    now = put = 0
    for step, severity, kind, n in steps:
        match step:
            case "put":
                put += 1
                box.put(notice(kind=kind, severity=severity, text=f"{n}"), now)
            case "wait":
                now += 7 * S
            case _:
                if box.due(now) is None:
                    continue
                {"ok": box.delivered, "fail": box.failed, "refuse": box.refused}[step](now)
        assert len(box) <= 5
    counted = sum(box.counts[name] for name in ("told", "folded", "muted", "dropped"))
    assert put == counted + len(box)


def test_an_error_is_told_again_until_acknowledged() -> None:
    open_errors = Escalations(Escalation(after_ns=60 * S, times_max=3))
    error = notice(kind="order.doubted", severity=Severity.ERROR, text="in doubt")
    open_errors.put(notice(), 0)
    open_errors.put(error, 0)
    open_errors.put(error, 50 * S)  # the same trouble does not put it off
    assert open_errors.due(59 * S) == []
    assert open_errors.due(60 * S) == [error]
    assert open_errors.due(179 * S) == []
    assert open_errors.due(180 * S) == [error]
    assert open_errors.acknowledge() == 1
    assert open_errors.due(10_000 * S) == []


def test_an_error_nobody_hears_is_given_up_after_some_times() -> None:
    open_errors = Escalations(Escalation(after_ns=S, times_max=2))
    open_errors.put(notice(severity=Severity.CRITICAL), 0)
    assert [len(open_errors.due(100 * k * S)) for k in range(1, 5)] == [1, 1, 0, 0]
    assert len(open_errors) == 0
