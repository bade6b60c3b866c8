"""Alerts by real ways out: HTTP, SMTP, Telegram; each alone in its trouble."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from bot.app.alerting import Alerting, next_summary_ns, tail_of
from bot.core.redaction import Redactor
from bot.domain.errors import ConfigError
from bot.domain.operation import Notice, Phase, Severity
from bot.operator.alerts import Alerts, Escalation, NeverDelivered, NotDelivered, Route
from bot.operator.contain import contain
from bot.operator.heartbeat import Heartbeat, Wellness, why_unwell
from bot.operator.outbox import Batch, Line, Policy
from bot.operator.ways_out import Mail, MailSettings, Webhook
from bot.runtime.alert_settings import AlertSecrets, AlertSettings, read_alert_secrets
from bot.runtime.env import SystemClock, WriterThread
from bot.store.ledger_queries import LedgerHistory
from tests.support.bot_api import TOKEN, serve_bot_api
from tests.support.hooks import Hook, serve_hook
from tests.support.live_ledgers import STARTED_NS, begin, history, open_ledger, write_one_by_one
from tests.support.operated import MINUTE, START_NS, FakeOperated, SilentOperated, make_snapshot
from tests.support.telegram_updates import OPERATOR, update

DAY = 86_400_000_000_000
FAST = Policy(every_ns=1_000_000, retry_first_ns=1_000_000, retry_most_ns=2_000_000)
ERROR = Notice(
    ts_ns=1, kind="order.doubted", severity=Severity.ERROR, text="an order is in doubt", instrument="BTCUSDT"
)
INFO = Notice(ts_ns=1, kind="run.started", severity=Severity.INFO, text="started")


@asynccontextmanager
async def running(alerts: Alerts) -> AsyncIterator[None]:
    task = asyncio.create_task(alerts.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Stuck:
    """A way out that never ends."""

    async def deliver(self, batch: Batch) -> None:
        """See `WayOut`."""
        await asyncio.Event().wait()


class Broken:
    """A way out with a slip of ours in it."""

    def __init__(self) -> None:
        self.tries = 0

    async def deliver(self, batch: Batch) -> None:
        """See `WayOut`."""
        self.tries += 1
        raise ZeroDivisionError


def hook_way(hook: Hook, **options: Any) -> Webhook:
    return Webhook(hook.url, bot_name="b", redact=Redactor([hook.url]), is_trusted_plain=True, **options)


def batch_of(*notices: Notice) -> Batch:
    return Batch(lines=tuple(Line(notice=notice) for notice in notices), dropped=0)


async def test_one_ways_trouble_reaches_no_other_and_telling_never_waits() -> None:
    async with serve_hook() as hook:
        broken = Broken()
        alerts = Alerts(
            [
                Route(name="stuck", way=Stuck(), policy=FAST, limit_s=0.01),
                Route(name="broken", way=broken, policy=FAST),
                Route(name="hook", way=hook_way(hook), policy=FAST),
            ],
            clock=SystemClock(),
        )
        async with running(alerts):
            alerts.tell(ERROR)
            await hook.until_bodies(1)
            for n in range(10_000):
                alerts.tell(Notice(ts_ns=n, kind=f"k.{n}", severity=Severity.INFO, text="flood"))
            assert max(alerts.waiting().values()) <= FAST.bound
            await hook.until_bodies(3)
        assert hook.bodies[0]["text"] == "BTCUSDT: an order is in doubt"
        assert hook.bodies[0]["severity"] == "error"
        assert hook.bodies[0]["notices"][0]["notice"]["kind"] == "order.doubted"
        assert broken.tries >= 1
        assert alerts.counts()["hook"]["dropped"] > 0


async def test_a_webhook_in_trouble_is_tried_again_and_one_that_refuses_is_not() -> None:
    async with serve_hook() as hook:
        way = hook_way(hook)
        for status in (429, 500, 503):
            hook.statuses = [status]
            with pytest.raises(NotDelivered):
                await way.deliver(batch_of(ERROR))
        for status in (301, 400, 404):
            hook.statuses = [status]
            with pytest.raises(NeverDelivered):
                await way.deliver(batch_of(ERROR))
        alerts = Alerts([Route(name="hook", way=way, policy=FAST)], clock=SystemClock())
        hook.statuses = [500, 502, 429]
        async with running(alerts):
            alerts.tell(ERROR)
            await hook.until_bodies(1)
            await alerts.flush(5)
        assert alerts.counts()["hook"] == {"failures": 3, "told": 1}


async def test_a_dead_webhook_is_not_delivered_and_its_address_is_in_no_error() -> None:
    way = Webhook("http://127.0.0.1:9/s3cret", bot_name="b", redact=Redactor(), is_trusted_plain=True)
    with pytest.raises(NotDelivered) as caught:
        await way.deliver(batch_of(ERROR))
    assert "s3cret" not in repr(caught.value)


@pytest.mark.parametrize(
    "url", ["", "http://example.org", "ftp://x", "https://", "file:///x", "https://[", "javascript:1"]
)
def test_an_address_that_is_no_https_one_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        Webhook(url, bot_name="b", redact=Redactor())


async def test_errors_are_told_again_by_the_ways_kept_for_that_until_acknowledged() -> None:
    async with serve_hook() as loud, serve_hook() as quiet:
        alerts = Alerts(
            [
                Route(name="loud", way=hook_way(loud), policy=FAST, is_only_for_escalation=True),
                Route(name="quiet", way=hook_way(quiet), policy=FAST),
            ],
            clock=SystemClock(),
            escalation=Escalation(after_ns=MINUTE),
        )
        async with running(alerts):
            alerts.tell(ERROR)
            await quiet.until_bodies(1)
            assert loud.bodies == []
            alerts.tell_again(SystemClock().now_ns() + 2 * MINUTE)
            await loud.until_bodies(1)
            assert alerts.acknowledge("telegram:1") == 1
            alerts.tell_again(SystemClock().now_ns() + 20 * MINUTE)
            await alerts.flush(5)
        assert loud.bodies[0]["text"] == "not acknowledged: BTCUSDT: an order is in doubt"
        assert len(loud.bodies) == len(quiet.bodies) == 1


class Smtp:
    """A mail server, as far as a sender sees it."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.mails: list[bytes] = []
        self.refuses = refuses
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold one conversation."""
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            word = line[:4].upper().strip()
            if word == b"DATA":
                writer.write(b"354 go on\r\n")
                self.mails.append(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"250 taken\r\n")
            elif word == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"550 nobody\r\n" if word == b"RCPT" and self.refuses else b"250 fine\r\n")
        writer.close()


@asynccontextmanager
async def serve_smtp(**options: bool) -> AsyncIterator[Smtp]:
    smtp = Smtp(**options)
    server = await asyncio.start_server(smtp.serve, "127.0.0.1", 0)
    smtp.port = server.sockets[0].getsockname()[1]
    async with server:
        yield smtp


def mail_to(port: int, thread: WriterThread) -> Mail:
    settings = MailSettings(
        host="127.0.0.1",
        port=port,
        sender="bot@example.org",
        recipients=("me@example.org",),
        security="none",
        timeout_s=5,
    )
    return Mail(settings, bot_name="b", redact=Redactor(["s3cret-value"]), off_loop=thread)


async def test_mail_is_sent_with_one_subject_whatever_the_text_holds() -> None:
    """A line break in a notice begins no header, and no secret is in it."""
    evil = Notice(ts_ns=1, kind="k", severity=Severity.CRITICAL, text="a\r\nBcc: x@y.z\n\ns3cret-value \u202e end")
    thread = WriterThread("mail")
    async with serve_smtp() as smtp:
        await mail_to(smtp.port, thread).deliver(batch_of(evil, ERROR))
    message = message_from_bytes(smtp.mails[0])
    assert message["Bcc"] is None
    assert message["To"] == "me@example.org"
    assert "[b] CRITICAL: a Bcc: x@y.z" in str(message["Subject"])
    assert "s3cret-value" not in smtp.mails[0].decode()
    async with serve_smtp(refuses=True) as smtp:
        with pytest.raises(NeverDelivered):
            await mail_to(smtp.port, thread).deliver(batch_of(ERROR))
    with pytest.raises(NotDelivered):
        await mail_to(9, thread).deliver(batch_of(ERROR))
    thread.close()


RULE = Wellness(decision_age_max_ns=15 * MINUTE, reconciled_age_max_ns=10 * MINUTE)


def test_well_means_that_data_and_decisions_are_young() -> None:
    well = make_snapshot()
    assert why_unwell(well, RULE) == []
    stale = tuple(make_age for make_age in well.data[:1])
    late = [
        make_snapshot(data=()),
        make_snapshot(phase=Phase.RECOVERING),
        make_snapshot(is_killed=True),
        make_snapshot(last_decision_ns=START_NS),
        make_snapshot(last_decision_ns=0),
        make_snapshot(last_reconciled_ns=START_NS),
        make_snapshot(data=(type(stale[0])(topic="t", age_ns=11, limit_ns=10, is_trusted=True),)),
        make_snapshot(
            actors=(type(well.actors[0])(name="a", is_alive=False, queued=0, bound=1, served=0, last_served_ns=0),)
        ),
    ]
    assert [len(why_unwell(each, RULE)) for each in late] == [1] * len(late)
    assert why_unwell(make_snapshot(is_paused=True), RULE) == []
    assert why_unwell(make_snapshot(last_decision_ns=0), Wellness(decision_age_max_ns=0)) == []


async def test_the_heart_beats_only_while_the_bot_is_well() -> None:
    async with serve_hook() as hook:
        operated = FakeOperated()
        beat = Heartbeat(operated, url=hook.url, every_s=1, rule=RULE, is_trusted_plain=True)
        await beat.beat()
        operated.view = make_snapshot(last_decision_ns=START_NS)
        await beat.beat()
        operated.view = make_snapshot()
        hook.statuses = [500]
        await beat.beat()
        assert (beat.sent, beat.withheld, beat.failed, hook.gets) == (1, 1, 1, 2)


async def test_a_bot_that_does_not_answer_is_not_called_well() -> None:
    async with serve_hook() as hook:
        beat = Heartbeat(SilentOperated(), url=hook.url, every_s=1, rule=RULE, is_trusted_plain=True)
        await beat.beat()
        assert (beat.sent, beat.withheld, hook.gets) == (0, 1, 0)


async def test_what_fails_is_contained_and_begun_again() -> None:
    tries: list[int] = []
    told: list[str] = []

    async def work() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ZeroDivisionError("secret detail")

    await contain("work", work, failed=told.append, again_s=0.001)
    assert len(tries) == 3
    assert len(told) == 2
    assert "secret" not in told[0]


def test_the_next_summary_is_the_next_time_of_day() -> None:
    day, hour = 86_400_000_000_000, 3_600_000_000_000
    assert next_summary_ns(5 * day, hour) == 5 * day + hour
    assert next_summary_ns(5 * day + hour, hour) == 6 * day + hour


def test_the_tail_of_a_log_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert "cannot be read" in tail_of(path)(3)[0]
    path.write_text("".join(f"{n} {'x' * 1_000}\n" for n in range(1_000)))
    lines = tail_of(path)(3)
    assert [line.split()[0] for line in lines] == ["997", "998", "999"]
    assert max(map(len, lines)) == 300


async def test_everything_wired_a_notice_arrives_and_a_kill_gets_through(tmp_path: Path) -> None:
    """As the bot runs it: settings and secrets in, Telegram and a webhook at the other end."""
    async with serve_bot_api() as api, serve_hook() as hook:
        settings = AlertSettings.model_validate(
            {
                "telegram": {"enabled": True, "users": [OPERATOR], "server": api.url},
                "webhook": {"enabled": True, "allow_plain_http": True},
                "heartbeat": {"enabled": True, "allow_plain_http": True},
            }
        )
        secrets = AlertSecrets(telegram_token=TOKEN, webhook_url=hook.url, heartbeat_url=hook.url)
        alerting = Alerting(settings, secrets, clock=SystemClock(), directory=tmp_path)
        alerting.alerts.tell(INFO)  # before anything runs
        operated = FakeOperated()
        serving = asyncio.create_task(alerting.serve(operated))
        await api.until(lambda: "started" in api.texts(OPERATOR))
        alerting.alerts.tell(ERROR)
        await api.until(lambda: "ERROR: BTCUSDT: an order is in doubt" in api.texts(OPERATOR))
        await hook.until_bodies(1)
        await api.push(update(5, "/ack", at_s=SystemClock().now_ns() // 10**9))
        await api.until(lambda: "1 alert acknowledged." in api.texts(OPERATOR))
        await api.push(update(6, "/kill"))
        await api.until(lambda: any("Kill: done" in text for text in api.texts(OPERATOR)))
        assert operated.view.is_killed
        assert hook.gets == 1
        assert (tmp_path / "telegram.json").stat().st_mode & 0o077 == 0
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        alerting.alerts.tell(Notice(ts_ns=2, kind="run.stopped", severity=Severity.INFO, text="stopped"))
        await alerting.close()
        assert api.texts(OPERATOR)[-1] == "stopped"


class HandClock:
    """Moves by hand.

    Attributes:
        asked: somebody has looked at it.
    """

    def __init__(self, time_ns: int) -> None:
        self.time_ns = time_ns
        self.asked = asyncio.Event()

    def now_ns(self) -> int:
        """See `ports.Clock`."""
        self.asked.set()
        return self.time_ns


async def test_the_daily_summary_comes_once_at_its_time(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    begin(ledger)
    write_one_by_one(ledger, history(3), size=20)
    ledger.close(now_ns=STARTED_NS)
    midnight = (STARTED_NS // DAY + 1) * DAY
    async with serve_bot_api() as api:
        settings = AlertSettings.model_validate(
            {"telegram": {"enabled": True, "users": [OPERATOR], "server": api.url, "commands": False}}
        )
        clock = HandClock(midnight + 4 * MINUTE)
        secrets = AlertSecrets(telegram_token=TOKEN)
        alerting = Alerting(settings, secrets, clock=clock, directory=tmp_path, look_s=0.005)
        operated = FakeOperated(make_snapshot(now_ns=clock.time_ns))
        serving = asyncio.create_task(alerting.serve(operated, queries=LedgerHistory(str(tmp_path))))
        async with asyncio.timeout(5):
            await clock.asked.wait()
        for minutes in (1, 2, 3):
            clock.time_ns += MINUTE
            operated.view = make_snapshot(now_ns=midnight + (4 + minutes) * MINUTE)
            await api.until(lambda: len(api.said) == 1)
        [text] = api.texts()
        assert text.startswith("Tuesday, 2023-11-14: Running")
        assert "3, 0 % won" in text
        assert all(method != "getUpdates" for method, _ in api.calls)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await alerting.close()


@pytest.mark.parametrize("name", ["webhook", "heartbeat"])
def test_an_address_that_is_none_is_refused_at_the_start_and_not_shown(name: str, tmp_path: Path) -> None:
    settings = AlertSettings.model_validate({name: {"enabled": True}})
    secrets = AlertSecrets(webhook_url="http://plain/s3cret", heartbeat_url="http://plain/s3cret")
    with pytest.raises(ConfigError, match=f"{name}_url: not an https") as caught:
        Alerting(settings, secrets, clock=SystemClock(), directory=tmp_path)
    assert "s3cret" not in str(caught.value)


def test_the_settings_of_a_way_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for section, values in (
        ("telegram", {"enabled": True}),
        ("telegram", {"users": [0]}),
        ("telegram", {"summary_at": "25:00"}),
        ("telegram", {"server": "http://example.org"}),
        ("mail", {"enabled": True}),
        ("mail", {"recipients": ["a b"]}),
        ("mail", {"security": "none", "host": "example.org"}),
        ("webhook", {"url": "https://x"}),
        ("heartbeat", {"every": 60}),
    ):
        with pytest.raises(ValueError, match=section):
            AlertSettings.model_validate({section: values})
    settings = AlertSettings.model_validate({"telegram": {"enabled": True, "users": [1]}})
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.delenv("BOT_TELEGRAM_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="BOT_TELEGRAM_TOKEN"):
        read_alert_secrets(settings)
    monkeypatch.setenv("BOT_TELEGRAM_TOKEN", TOKEN)
    assert read_alert_secrets(settings).telegram_token == TOKEN
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    file = tmp_path / "telegram_token"
    file.write_text("from-the-file\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read it"):
        read_alert_secrets(settings)
    file.chmod(0o600)
    secrets = read_alert_secrets(settings)
    assert secrets.telegram_token == "from-the-file"
    assert "from-the-file" not in repr(secrets)
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="not a plain file"):
        read_alert_secrets(settings)
