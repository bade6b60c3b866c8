"""What reaches a phone: the gravity of each line its own, few words of a market in doubt, a log that can be read."""

from pathlib import Path

import pytest

from bot.app.alerting import tail_of
from bot.app.trading_surfaces import Surfaces
from bot.core.redaction import Redactor
from bot.domain.operation import Notice, Phase, Severity
from bot.operator.outbox import Batch, Line
from bot.operator.telegram.text import Text
from bot.operator.ways_out import TelegramWay
from bot.runtime.trade_settings import TradeSettings

_S = 1_000_000_000
_DOUBTS = "publicTrade.BTCUSDT: broken; tickers.BTCUSDT: broken; orderbook.50.BTCUSDT: broken; book: outside"


class HandClock:
    """A clock that is set."""

    now_s = 1_000

    def now_ns(self) -> int:
        return self.now_s * _S


class Heard:
    """A chat that keeps what is said in it."""

    def __init__(self) -> None:
        self.texts: list[Text] = []

    async def say(self, chat_id: int, text: Text) -> None:
        self.texts.append(text)


@pytest.fixture
def surfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Surfaces, HandClock]:
    monkeypatch.setenv("BOT_TELEGRAM_TOKEN", "123456789:AbC-dEf_gHiJkLmNoPqRsTuVwXyZ0123456")
    alerts = {"telegram": {"enabled": True, "users": [42]}}
    settings = TradeSettings(symbols=[{"symbol": "BTCUSDT"}], alerts=alerts)  # type: ignore[list-item, arg-type]
    made = Surfaces(settings, directory=tmp_path, ledger_directory=tmp_path)
    clock = made._clock = HandClock()
    return made, clock


def waiting(surfaces: Surfaces) -> list[str]:
    return [each.notice.text for each in surfaces.link._waiting]


def test_a_market_in_doubt_is_told_once_a_minute_and_its_end_at_once(surfaces: tuple[Surfaces, HandClock]) -> None:
    made, clock = surfaces
    for step in range(90):  # the reasons change each second
        clock.now_s = 1_000 + step
        made.see_phase(Phase.DEGRADED, f"{_DOUBTS}; trades: shut, {step}")
    made.see_phase(Phase.READY, "all is well again")
    made.see_phase(Phase.DEGRADED, "the account's stream is down")
    told = waiting(made)
    assert [each.partition(":")[0] for each in told] == ["degraded", "degraded", "ready", "degraded"]


def test_reasons_are_cut_to_what_a_phone_shows(surfaces: tuple[Surfaces, HandClock]) -> None:
    made, _ = surfaces
    made.see_phase(Phase.DEGRADED, "; ".join([_DOUBTS] * 3))
    (told,) = waiting(made)
    assert len(told) < 220
    assert told.endswith("more, see /status")
    assert "publicTrade.BTCUSDT: broken" in told


def test_a_phase_is_named_once(surfaces: tuple[Surfaces, HandClock]) -> None:
    made, _ = surfaces
    made.see_phase(Phase.READY, "ready 0.7 s after the start")
    made.see_phase(Phase.READY, "all is well again")
    assert waiting(made) == ["ready 0.7 s after the start", "ready: all is well again"]


async def test_each_line_has_its_own_gravity() -> None:
    chat = Heard()
    notices = [(Severity.INFO, "ready: all is well again"), (Severity.WARNING, "degraded: the stream is down")]
    lines = tuple(
        Line(notice=Notice(ts_ns=1, kind="run.phase", severity=severity, text=text)) for severity, text in notices
    )
    await TelegramWay(chat, 42, redact=Redactor()).deliver(Batch(lines=lines, dropped=3))  # type: ignore[arg-type]
    (said,) = chat.texts
    assert said.head == "ready: all is well again"
    assert said.body.splitlines()[0] == "Warning: degraded: the stream is down"
    assert said.body.splitlines()[1].startswith("(3 more were dropped")
    assert not said.is_silent


def test_the_log_is_told_in_words(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"topic": "tickers.BTCUSDT", "event": "topic.trusted", "level": "info", '
        '"timestamp": "2026-11-21T22:36:10.080055Z"}\nnot JSON\n[1]\n',
        encoding="utf-8",
    )
    assert tail_of(path)(3) == ["22:36:10 info topic.trusted topic=tickers.BTCUSDT", "not JSON", "[1]"]
