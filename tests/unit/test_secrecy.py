"""Last words and what others look at: no secret in them."""

import io
import sys

import pytest
from msgspec.structs import replace

from bot.core.redaction import HIDDEN, Redactor
from bot.domain.operation import CommandDone, LatchView, OperatorCommand, Pause
from bot.operator.discreet import Discreet
from bot.runtime import secrecy
from tests.support.operated import FakeOperated, make_snapshot

REMEMBERED, NAMED = "remembered-Secret-000001", "named-like-one-000002"


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrecy, "_remembered", set())
    secrecy._redactor.cache_clear()  # of an environment that is changed
    monkeypatch.setenv("SOME_TOKEN", NAMED)
    monkeypatch.setenv("SHORT_KEY", "true")


def test_what_was_remembered_or_is_named_like_a_secret_is_hidden() -> None:
    assert secrecy.hide(f"a {REMEMBERED} b {NAMED} true") == f"a {REMEMBERED} b {HIDDEN} true"
    secrecy.remember([REMEMBERED, ""])
    assert secrecy.hide(f"a {REMEMBERED} b {NAMED} true") == f"a {HIDDEN} b {HIDDEN} true"


def test_a_traceback_is_shown_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    secrecy.remember([REMEMBERED])
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    try:
        try:
            raise KeyError(REMEMBERED)
        except KeyError as error:
            raise RuntimeError(f"with {NAMED}") from error
    except RuntimeError as error:
        secrecy.show_uncaught(type(error), error, error.__traceback__)
    assert said.getvalue().count(HIDDEN) == 2
    assert "Traceback" in said.getvalue()
    assert REMEMBERED not in said.getvalue()
    assert NAMED not in said.getvalue()


class Quoting(FakeOperated):
    """A bot whose words quote a secret."""

    async def obey(self, command: OperatorCommand, by: str) -> CommandDone:
        """See `ports.Operated`."""
        done = await super().obey(command, by)
        return replace(done, text=f"{done.text}: the venue said {REMEMBERED}")


async def test_troubles_latches_and_answers_are_looked_through() -> None:
    latch = LatchView(scope="account", cause="doubt", state="reducing", detail=f"said {REMEMBERED}")
    operated = Quoting(make_snapshot(troubles=(f"key {REMEMBERED} refused",), latches=(latch,)))
    seen = Discreet(operated, Redactor([REMEMBERED]))
    view = await seen.snapshot()
    assert view.troubles == (f"key {HIDDEN} refused",)
    assert view.latches[0].detail == f"said {HIDDEN}"
    assert replace(view, troubles=(), latches=()) == make_snapshot(troubles=(), latches=())
    done = await seen.obey(Pause(why="x"), "host")
    assert done.is_done
    assert done.text.endswith(f"the venue said {HIDDEN}")
    assert await seen.foresee(Pause(why="x")) == await operated.foresee(Pause(why="x"))
