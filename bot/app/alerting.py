"""Wires what talks to people: alerts, Telegram, the heartbeat. One task, whose failures stay in it.

Two steps, because the bot needs somewhere to put its notices before there is a bot to operate: `Alerting` takes
notices from the start, `serve` then runs everything beside the bot.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import msgspec
import structlog

from bot.core.redaction import Redactor
from bot.domain.errors import ConfigError, DataError
from bot.domain.operation import Counter, Notice, Severity
from bot.operator.alerts import Alerts, Escalation, Route
from bot.operator.contain import contain
from bot.operator.heartbeat import Heartbeat, Wellness
from bot.operator.outbox import Policy
from bot.operator.telegram.channel import Painter, Shown, TelegramChannel
from bot.operator.telegram.chat_api import ChatApi
from bot.operator.telegram.control import Control
from bot.operator.telegram.offsets import OffsetFile
from bot.operator.trace import Trace
from bot.operator.ways_out import Mail, MailSettings, TelegramWay, Webhook, check_url
from bot.ports import Clock, LedgerQueries, Operated
from bot.runtime.alert_settings import AlertSecrets, AlertSettings, RouteSettings
from bot.runtime.env import WriterThread, draw_digits

log = structlog.get_logger()

_DAY_NS = 86_400_000_000_000
_LAST_WORDS_S = 5.0


class Alerting:
    """Everything that talks to people.

    Args:
        secrets: of the ways that are enabled.
        clock: the wall's.
        directory: where Telegram's mark is kept: the ledger's directory, which outlives a run.
        api: another Telegram than the settings name, for tests.
        look_s: how often the bot is looked at, for pictures and the summary.

    Attributes:
        alerts: where notices go: a `ports.NoticeSink`.
        channel: the control channel, once served, where there is one.

    Raises:
        ConfigError: a secret cannot be one.
        StorageError: the directory cannot be written.
    """

    def __init__(
        self,
        settings: AlertSettings,
        secrets: AlertSecrets,
        *,
        clock: Clock,
        directory: Path,
        api: ChatApi | None = None,
        look_s: float = 30.0,
    ) -> None:
        self._settings = settings
        self._secrets = secrets
        self._clock = clock
        self._redact = Redactor(secrets.values())
        self._disk, self._desk, self._post = WriterThread("telegram"), WriterThread("operator"), WriterThread("mail")
        self._api = api
        self._look_s = look_s
        if api is None and settings.telegram.enabled:
            from bot.operator.telegram.api import TelegramApi  # aiogram takes seconds to load: only for who uses it

            self._api = TelegramApi(secrets.telegram_token, server=settings.telegram.server)
        check_ways(settings, secrets)
        self._offsets = OffsetFile(directory / "telegram.json") if settings.telegram.enabled else None
        self.alerts = Alerts(self._routes(), clock=clock, escalation=_escalation(settings))
        self.channel: TelegramChannel | None = None
        self._beat: Heartbeat | None = None
        self._trace = Trace()
        self._delivering: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to deliver notices, before there is a bot to operate; what was told before waits for it."""
        if self._delivering is None:
            self._delivering = asyncio.create_task(contain("alerts", self.alerts.run))

    async def serve(
        self, operated: Operated, *, queries: LedgerQueries | None = None, shown: Shown | None = None
    ) -> None:
        """Run beside the bot until cancelled.

        Args:
            queries: of the ledger's past; used from one thread.
        """
        self.start()
        surfaces = [contain("summaries", lambda: self._look_on(operated), failed=self._failed)]
        if (beat := self._heartbeat(operated)) is not None:
            self._beat = beat
            surfaces.append(contain("heartbeat", beat.run, failed=self._failed))
        if self._settings.telegram.enabled and self._settings.telegram.commands and self._api is not None:
            channel = self.channel = self._make_channel(self._api, operated, queries, shown)
            surfaces.append(contain("telegram", channel.run, failed=self._failed))
        elif self._settings.telegram.enabled and self._api is not None:
            self.channel = self._make_channel(self._api, operated, queries, shown)  # for summaries; nobody is heard
        await asyncio.gather(*surfaces)

    def change(self, settings: AlertSettings) -> None:
        """Take up who is told what, and when the heartbeat stops; all else of the settings stays as it was."""
        policies = {name: _policy(way) for name, way in self._ways(settings)}
        self.alerts.change(policies, _escalation(settings))
        if self._beat is not None:
            self._beat.rule = _wellness(settings)

    def counters(self) -> tuple[Counter, ...]:
        """Return what became of notices, by way out: told, folded, muted, dropped, failures."""
        counts: dict[tuple[str, str], int] = {}
        for route, outcomes in self.alerts.counts().items():
            way = route.partition(":")[0]  # whose it is stays here
            for outcome in ("told", "folded", "muted", "dropped", "failures"):
                counts[way, outcome] = counts.get((way, outcome), 0) + outcomes[outcome]
        return tuple(
            Counter(name="notices_total", labels=(("outcome", outcome), ("way", way)), value=count)
            for (way, outcome), count in counts.items()
        )

    async def close(self) -> None:
        """Deliver the last words, for some seconds at most, and let go of everything."""
        if self._delivering is not None:
            await self.alerts.flush(_LAST_WORDS_S)
            self._delivering.cancel()
            await asyncio.gather(self._delivering, return_exceptions=True)
            self._delivering = None
        if self._api is not None:
            await self._api.close()

    def _failed(self, text: str) -> None:
        self.alerts.tell(
            Notice(ts_ns=self._clock.now_ns(), kind="surface.failed", severity=Severity.ERROR, text=self._redact(text))
        )

    async def _look_on(self, operated: Operated) -> None:
        """Remember some of what is seen, and give the daily summary at its time."""
        at_ns = self._settings.telegram.summary_ns() if self._settings.telegram.enabled else None
        due_ns = None if at_ns is None else next_summary_ns(self._clock.now_ns(), at_ns)
        while True:
            with suppress(DataError):  # it does not answer; the surface that was asked says so
                self._trace.note(await operated.snapshot())
            now_ns = self._clock.now_ns()
            if due_ns is not None and at_ns is not None and now_ns >= due_ns and self.channel is not None:
                due_ns = next_summary_ns(now_ns, at_ns)
                try:
                    await self.channel.tell(await self.channel.summary())
                except DataError as error:
                    log.warning("telegram.no_summary", error=str(error))
            await asyncio.sleep(self._look_s)

    def _make_channel(
        self, api: ChatApi, operated: Operated, queries: LedgerQueries | None, shown: Shown | None
    ) -> TelegramChannel:
        assert self._offsets is not None
        users = self._settings.telegram.users
        control = Control(allowed=frozenset(users), draw_code=lambda: draw_digits(6))
        return TelegramChannel(
            api,
            operated=operated,
            operators=users,
            control=control,
            offsets=self._offsets,
            alerts=self.alerts,
            disk=self._disk,
            off_loop=self._desk,
            clock=self._clock,
            queries=queries,
            trace=self._trace,
            painter=load_painter(),
            shown=shown,
            redact=self._redact,
            acknowledge=self.alerts.acknowledge,
        )

    def _routes(self) -> list[Route]:
        settings, secrets = self._settings, self._secrets
        again = settings.escalation.ways
        routes = []
        if self._api is not None:
            for user_id in settings.telegram.users:
                way = TelegramWay(self._api, user_id, redact=self._redact)
                name = f"telegram:{user_id}"
                routes.append(_route(name, way, settings.telegram, is_for_escalation="telegram" in again))
        if settings.webhook.enabled:
            hook = Webhook(
                secrets.webhook_url,
                bot_name=settings.name,
                redact=self._redact,
                is_trusted_plain=settings.webhook.allow_plain_http,
            )
            routes.append(_route("webhook", hook, settings.webhook, is_for_escalation="webhook" in again))
        if settings.mail.enabled:
            mail = Mail(_mail(settings, secrets), bot_name=settings.name, redact=self._redact, off_loop=self._post)
            routes.append(_route("mail", mail, settings.mail, is_for_escalation="mail" in again))
        return routes

    def _ways(self, settings: AlertSettings) -> list[tuple[str, RouteSettings]]:
        """Return the routes there may be, with what each is given."""
        ways: list[tuple[str, RouteSettings]] = [("webhook", settings.webhook), ("mail", settings.mail)]
        return ways + [(f"telegram:{user_id}", settings.telegram) for user_id in self._settings.telegram.users]

    def _heartbeat(self, operated: Operated) -> Heartbeat | None:
        settings = self._settings.heartbeat
        if not settings.enabled:
            return None
        return Heartbeat(
            operated,
            url=self._secrets.heartbeat_url,
            every_s=settings.every / 1e9,
            rule=_wellness(self._settings),
            is_trusted_plain=settings.allow_plain_http,
        )


def check_ways(settings: AlertSettings, secrets: AlertSecrets) -> None:
    """Refuse what cannot be a way out.

    Raises:
        ConfigError: an address is none that may be used.
    """
    for name, way, url in (
        ("webhook_url", settings.webhook, secrets.webhook_url),
        ("heartbeat_url", settings.heartbeat, secrets.heartbeat_url),
    ):
        if way.enabled:
            try:
                check_url(url, is_trusted_plain=way.allow_plain_http)
            except ValueError as error:
                raise ConfigError(f"{name}: {error}") from None


def next_summary_ns(now_ns: int, at_ns: int) -> int:
    """Return the next time that is so long after a midnight, UTC."""
    today_ns = now_ns // _DAY_NS * _DAY_NS + at_ns
    return today_ns if today_ns > now_ns else today_ns + _DAY_NS


def load_painter() -> Painter | None:
    """Return what draws pictures; None where the library for it is not installed."""
    if find_spec("PIL") is None:
        return None
    from bot.operator.telegram.pictures import PillowPainter

    return PillowPainter()


def tail_of(path: Path) -> Callable[[int], list[str]]:
    """Return what reads a file's last lines, each cut to what a chat can show."""

    def read(count: int) -> list[str]:
        try:
            with path.open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - (64 << 10)))
                lines = file.read(64 << 10).decode("utf-8", errors="replace").splitlines()
        except OSError as error:
            return [f"the log cannot be read ({error.strerror})"]
        return [_log_line(line)[:300] for line in lines[-count:]]

    return read


def _log_line(line: str) -> str:
    """Return a line of the log as a person reads it: when, how grave, what; and the rest of it."""
    try:
        told = msgspec.json.decode(line, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return line
    at, level, event = (str(told.pop(name, "")) for name in ("timestamp", "level", "event"))
    rest = " ".join(f"{name}={value}" for name, value in told.items())
    return f"{at[11:19]} {level} {event} {rest}".strip()


def _route(name: str, way: TelegramWay | Webhook | Mail, settings: RouteSettings, *, is_for_escalation: bool) -> Route:
    return Route(name=name, way=way, policy=_policy(settings), is_for_escalation=is_for_escalation)


def _policy(settings: RouteSettings) -> Policy:
    return Policy(least=settings.least, muted=settings.muted)


def _escalation(settings: AlertSettings) -> Escalation:
    return Escalation(after_ns=settings.escalation.after, times_max=settings.escalation.times)


def _wellness(settings: AlertSettings) -> Wellness:
    return Wellness(
        decision_age_max_ns=settings.heartbeat.decision_age_max,
        reconciled_age_max_ns=settings.heartbeat.reconciled_age_max,
        is_paused_well=settings.heartbeat.paused_is_well,
    )


def _mail(settings: AlertSettings, secrets: AlertSecrets) -> MailSettings:
    mail = settings.mail
    return MailSettings(
        host=mail.host,
        port=mail.port,
        sender=mail.sender,
        recipients=mail.recipients,
        user=mail.user,
        password=secrets.mail_password,
        security=mail.security,
    )
