"""What an update means, and what may come of it."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.operation import Flatten, Kill, OperatorCommand, Pause, Reload, Resume, Severity
from bot.operator.telegram.control import Control, Do, Effect, Offer, Say, Seen, Show, Warn
from bot.operator.telegram.text import Text, clean, render, units
from bot.operator.telegram.updates import Asked, Ignored, read
from bot.operator.telegram.verbs import HELP, Act, Look, Unclear, is_kill, parse
from tests.support.telegram_updates import (
    COMMANDS,
    HOSTILE,
    NOW_NS,
    NOW_S,
    OPERATOR,
    STRANGER,
    S,
    hostile_updates,
    update,
)

ALLOWED = frozenset({OPERATOR})


def codes() -> Iterator[str]:
    number = 100_000
    while True:
        number += 1
        yield str(number)


def make_control(allowed: frozenset[int] = ALLOWED) -> Control:
    drawn = codes()
    return Control(allowed=allowed, draw_code=lambda: next(drawn))


def code_in(effects: list[Effect]) -> str:
    [said] = effects
    assert isinstance(said, Offer)
    return said.code


def does(effects: list[Effect]) -> list[object]:
    return [effect.command for effect in effects if isinstance(effect, Do)]


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("command", COMMANDS)
def test_hostile_updates_are_ignored(kind: str, command: str) -> None:
    raw = {"update_id": 1} | HOSTILE[kind](command)
    assert isinstance(read(raw, ALLOWED), Ignored)
    assert make_control().handle(raw, NOW_NS) == []


def test_a_thousand_hostile_updates_do_nothing_and_are_told_of_once_a_minute() -> None:
    """None is executed or answered, each is counted, and an open offer is not confirmed by any of them."""
    control = make_control()
    code = code_in(control.handle(update(1, "/flatten"), NOW_NS))
    effects: list[Effect] = []
    kinds = set()
    for kind, raw in hostile_updates(1_000, first=2):
        kinds.add(kind)
        effects += control.handle(json.loads(json.dumps(raw).replace("123456", code)), NOW_NS)
    assert len(kinds) >= 25
    [warned] = effects
    assert isinstance(warned, Warn)
    assert warned.notice.severity is Severity.WARNING
    assert sum(control.ignored.values()) == 1_000
    assert control.done == 0
    assert does(control.handle(update(2_000, code), NOW_NS)) == [Flatten(why="by Telegram")]


@given(
    raw=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("/kill"),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["update_id", "message", "from", "chat", "id", "text", "date", "type", "is_bot"]), inner
            )
        ),
        max_leaves=30,
    )
)
def test_garbage_never_raises_and_never_does_anything(raw: object) -> None:
    assert does(make_control().handle(raw, NOW_NS)) == []


def test_a_stranger_gets_no_answer_and_an_operator_does() -> None:
    control = make_control()
    assert control.handle(update(1, "/status", user=STRANGER), NOW_NS) == []
    [shown] = control.handle(update(2, "/status"), NOW_NS)
    assert shown == Show(user_id=OPERATOR, look=Look(topic="status"))


def test_nobody_is_an_operator_where_none_is_named() -> None:
    assert make_control(frozenset()).handle(update(1, "/kill"), NOW_NS) == []


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/pause", Pause),
        ("/stopentry", Pause),
        ("/stop", Pause),
        ("/resume", Resume),
        ("/flatten", Flatten),
        ("/forceexit all", Flatten),
        ("/fx BTCUSDT", Flatten),
        ("/reload_config", Reload),
    ],
)
def test_what_changes_anything_shows_its_effect_and_wants_its_code_once(text: str, command: type) -> None:
    control = make_control()
    effects = control.handle(update(1, text), NOW_NS)
    code = code_in(effects)
    assert effects == [Offer(user_id=OPERATOR, command=parse_act(text), code=code)]
    [done] = control.handle(update(2, code), NOW_NS + 59 * S)
    assert isinstance(done, Do)
    assert isinstance(done.command, command)
    assert done.by == f"telegram:{OPERATOR}"
    assert does(control.handle(update(3, code), NOW_NS + 59 * S)) == []


def parse_act(text: str) -> OperatorCommand:
    wish = parse(text, why="by Telegram")
    assert isinstance(wish, Act)
    return wish.command


def test_a_code_is_good_for_a_minute() -> None:
    control = make_control()
    code = code_in(control.handle(update(1, "/resume"), NOW_NS))
    late = NOW_NS + 60 * S + 1
    assert does(control.handle(update(2, code, at_s=NOW_S + 60), late)) == []
    assert does(control.handle(update(3, code, at_s=NOW_S + 60), late)) == []


def test_a_clock_that_steps_back_does_not_make_a_code_last_longer() -> None:
    control = make_control()
    code = code_in(control.handle(update(1, "/resume"), NOW_NS))
    assert does(control.handle(update(2, code, at_s=NOW_S - 3_600), NOW_NS - 3_600 * S)) == []


def test_three_wrong_codes_end_the_offer() -> None:
    control = make_control()
    code = code_in(control.handle(update(1, "/flatten"), NOW_NS))
    for number in range(3):
        assert does(control.handle(update(2 + number, "000000"), NOW_NS)) == []
    assert does(control.handle(update(9, code), NOW_NS)) == []


def test_codes_are_each_operators_own_and_the_newest_offer_counts() -> None:
    control = make_control(frozenset({OPERATOR, STRANGER}))
    first = code_in(control.handle(update(1, "/flatten"), NOW_NS))
    assert does(control.handle(update(2, first, user=STRANGER), NOW_NS)) == []
    second = code_in(control.handle(update(3, "/pause"), NOW_NS))
    assert does(control.handle(update(4, first), NOW_NS)) == []
    assert does(control.handle(update(5, second), NOW_NS)) == [Pause(why="by Telegram")]


def test_cancel_withdraws_an_offer() -> None:
    control = make_control()
    code = code_in(control.handle(update(1, "/flatten"), NOW_NS))
    control.handle(update(2, "/cancel"), NOW_NS)
    assert does(control.handle(update(3, code), NOW_NS)) == []


@pytest.mark.parametrize("text", ["/kill", "/KILL", " /kill now", "/kill@our_bot", "/halt", "/kill flat"])
def test_a_kill_needs_no_code_no_spelling_and_no_youth(text: str) -> None:
    old = update(1, text, at_s=NOW_S - 3_600)
    assert does(make_control().handle(old, NOW_NS)) == [Kill(why="by Telegram")]
    assert is_kill(text)


def test_a_kill_can_flatten_and_ends_what_was_offered() -> None:
    control = make_control()
    code = code_in(control.handle(update(1, "/resume"), NOW_NS))
    assert does(control.handle(update(2, "/kill flatten"), NOW_NS)) == [Kill(why="by Telegram", is_flattening=True)]
    assert does(control.handle(update(3, code), NOW_NS)) == []


@pytest.mark.parametrize(("at_s", "why"), [(NOW_S - 61, "old"), (NOW_S - 3_600, "old"), (NOW_S + 61, "future")])
def test_commands_of_another_time_are_discarded(at_s: int, why: str) -> None:
    control = make_control()
    assert control.handle(update(1, "/status", at_s=at_s), NOW_NS) == []
    assert control.ignored[why] == 1


def test_an_update_counts_once() -> None:
    control = make_control()
    assert len(control.handle(update(5, "/kill"), NOW_NS)) == 1
    assert control.handle(update(5, "/kill"), NOW_NS) == []
    assert control.ignored["duplicate"] == 1


def test_a_flood_of_strangers_does_not_keep_an_operator_out() -> None:
    control = make_control()
    for number in range(5_000):
        control.handle(update(number, "/kill", user=STRANGER), NOW_NS)
    assert control.ignored["flood"] > 4_000
    assert does(control.handle(update(9_000, "/kill"), NOW_NS)) == [Kill(why="by Telegram")]


def test_an_operators_flood_is_slowed_and_a_kill_still_passes() -> None:
    control = make_control()
    shown = [control.handle(update(number, "/status"), NOW_NS) for number in range(200)]
    assert sum(map(len, shown)) <= 20
    assert does(control.handle(update(500, "/kill"), NOW_NS)) == [Kill(why="by Telegram")]
    assert len(control.handle(update(501, "/status", at_s=NOW_S + 5), NOW_NS + 5 * S)) == 1


def test_where_the_disk_refuses_only_a_kill_passes() -> None:
    control = make_control()
    [said] = control.handle(update(1, "/pause"), NOW_NS, is_durable=False)
    assert isinstance(said, Say)
    assert "disk" in said.text.head
    assert does(control.handle(update(2, "/kill"), NOW_NS, is_durable=False)) == [Kill(why="by Telegram")]


def test_an_acknowledgement_changes_nothing_of_the_bot() -> None:
    assert make_control().handle(update(1, "/ack"), NOW_NS) == [Seen(user_id=OPERATOR)]


def test_every_word_of_the_help_is_understood() -> None:
    for name, _ in HELP:
        assert not isinstance(parse(f"/{name}", why="w"), Unclear), name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "/",
        "/unknown",
        "/pause now",
        "/forceexit",
        "/forceexit a;b",
        "/forecast ../x",
        "/daily -1",
        "/daily \u0663",  # a digit elsewhere
        "\uff11\uff12\uff13\uff14\uff15\uff16",  # six of them
        "12345",
        "1234567",
        "/resume kill",
        "/flatten all all",
    ],
)
def test_what_is_unclear_does_nothing_and_says_what_would_be_right(text: str) -> None:
    wish = parse(text, why="w")
    assert isinstance(wish, Unclear)
    assert wish.hint


@given(st.text(max_size=200))
def test_any_text_parses_to_something(text: str) -> None:
    wish = parse(text, why="w")
    assert not isinstance(wish, Act) or text.strip().startswith("/")
    if isinstance(wish, Act) and isinstance(wish.command, Kill):
        assert is_kill(text)


@given(
    head=st.text(max_size=300),
    body=st.text(max_size=9_000),
    is_table=st.booleans(),
    most=st.sampled_from([1_024, 4_096]),
)
def test_a_text_always_fits_and_its_spans_lie_within(head: str, body: str, is_table: bool, most: int) -> None:
    said = render(Text(head=head, body=body, is_table=is_table), units_max=most)
    assert 0 < units(said.text) <= most
    for span in said.spans:
        assert span.offset >= 0
        assert span.length > 0
        assert span.offset + span.length <= units(said.text)


def test_what_is_long_is_cut_at_a_line_and_says_so() -> None:
    said = render(Text(head="h", body="\n".join(f"line {n}" for n in range(2_000))))
    *_, line, last = said.text.split("\n")
    assert line.startswith("line ")
    assert last.startswith("... and ")
    assert int(last.split()[2]) > 1_000


def test_nothing_can_mark_up_or_turn_around_a_text() -> None:
    evil = "<b>x</b> [a](http://b) *c* _d_ `e` \u202eabc\u2066 \x00\x1b[31m \ud800 \U0001f4b0"
    said = render(Text(head=evil, body=evil))
    assert "\u202e" not in said.text
    assert "\x00" not in said.text
    assert "\ud800" not in said.text
    assert "<b>x</b>" in said.text  # as it is: nothing reads it as markup
    assert {span.kind for span in said.spans} == {"bold"}
    assert clean("a\nb") == "a\nb"


def test_reading_keeps_what_matters() -> None:
    assert read(update(3, "/status"), ALLOWED) == Asked(update_id=3, user_id=OPERATOR, sent_ns=NOW_NS, text="/status")
