"""Settings of who is told what, and by which way; and the secrets that the ways need, which are no settings."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bot.core.durations import Duration, parse_duration
from bot.domain.errors import ConfigError
from bot.domain.operation import Severity
from bot.runtime.setting_types import Section

_SECRET_BYTES_MAX = 4_096
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")

UserId = Annotated[int, Field(gt=0, lt=2**53)]
Pattern = Annotated[str, Field(pattern=r"^[a-z0-9_.*]{1,64}$")]


class RouteSettings(Section):
    """What one way out is given."""

    enabled: bool = Field(False, description="whether this way is taken at all")
    least: Severity = Field(Severity.INFO, description="info, warning, error or critical; what is less is not told")
    muted: tuple[Pattern, ...] = Field(
        (), description='kinds not told: "order.filled", "order.*"; never what is critical'
    )


class TelegramSettings(RouteSettings):
    """Telegram: notices, and commands. Its token is the credential telegram_token, or BOT_TELEGRAM_TOKEN."""

    users: tuple[UserId, ...] = Field((), description="the operators' numeric user ids; nobody else is heard or told")
    commands: bool = Field(True, description="whether commands are taken, or notices given alone")
    summary_at: str = Field("00:05", description="when the daily summary comes, UTC; empty for none")
    server: str = Field("https://api.telegram.org", description="of the Bot API")

    @model_validator(mode="after")
    def _is_whole(self) -> "TelegramSettings":
        if self.enabled and not self.users:
            raise ValueError("users: name at least one numeric user id; write to the bot, and the log tells yours")
        if self.summary_at and _TIME.fullmatch(self.summary_at) is None:
            raise ValueError("summary_at: write it like 00:05, or leave it empty")
        if not re.match(r"https://|http://(127\.0\.0\.1|localhost)(:|/|$)", self.server):
            raise ValueError("server: an https:// address, or one of this machine")
        return self

    def summary_ns(self) -> int | None:
        """Return how long after midnight the summary comes, None for never."""
        if not self.summary_at:
            return None
        hour, minute = map(int, self.summary_at.split(":"))
        return (hour * 60 + minute) * 60_000_000_000


class WebhookSettings(RouteSettings):
    """JSON by POST. Its address is the credential webhook_url, or BOT_WEBHOOK_URL."""

    least: Severity = Severity.WARNING
    allow_plain_http: bool = Field(False, description="whether the address may be http://, as on a network of your own")


class MailSettings(RouteSettings):
    """E-mail by SMTP. Its password is the credential mail_password, or BOT_MAIL_PASSWORD."""

    least: Severity = Severity.ERROR
    host: str = Field("", description="the mail server")
    port: int = Field(587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = Field("starttls", description="none only on this machine")
    sender: str = Field("", description="the address it comes from")
    recipients: tuple[str, ...] = Field((), description="the addresses it goes to")
    user: str = Field("", description="at the mail server; empty: without a password")

    @model_validator(mode="after")
    def _is_whole(self) -> "MailSettings":
        if self.enabled and not (self.host and self.sender and self.recipients):
            raise ValueError("host, sender and recipients are needed")
        if any(
            not re.fullmatch(r"[^\s@,;<>]{1,64}@[^\s@,;<>]{1,255}", each)
            for each in (*self.recipients, self.sender)
            if each
        ):
            raise ValueError("sender and recipients: plain addresses, such as me@example.org")
        if self.security == "none" and (self.user or self.host not in ("127.0.0.1", "localhost", "::1", "")):
            raise ValueError('security: "none" is for a server on this machine, without a password')
        return self


class HeartbeatSettings(Section):
    """An address that is asked for while the bot is well. It is the credential heartbeat_url, or BOT_HEARTBEAT_URL."""

    enabled: bool = Field(False, description="whether there is one")
    every: Duration = Field(parse_duration("1m"), ge=parse_duration("5s"), le=parse_duration("1d"))
    decision_age_max: Duration = Field(
        parse_duration("15m"), ge=0, description="without a decision for so long the bot is not well; 0s: not looked at"
    )
    reconciled_age_max: Duration = Field(
        parse_duration("10m"), ge=0, description="likewise, without a comparison with the venue"
    )
    paused_is_well: bool = Field(True, description="whether it beats during a pause")
    allow_plain_http: bool = False


class EscalationSettings(Section):
    """What happens when nobody acknowledges an error (/ack)."""

    ways: tuple[Literal["telegram", "webhook", "mail"], ...] = Field(("telegram",), description="told again by these")
    after: Duration = Field(parse_duration("5m"), ge=parse_duration("1s"), description="twice as long each time")
    times: int = Field(5, ge=0, le=100, description="told again at most; 0: never")


class AlertSettings(Section):
    """All ways out, and the control channel."""

    name: str = Field("multiscale-bot", pattern=r"^[A-Za-z0-9 ._-]{1,40}$", description="what this bot is called there")
    telegram: TelegramSettings = Field(default_factory=TelegramSettings)
    webhook: WebhookSettings = Field(default_factory=WebhookSettings)
    mail: MailSettings = Field(default_factory=MailSettings)
    heartbeat: HeartbeatSettings = Field(default_factory=HeartbeatSettings)
    escalation: EscalationSettings = Field(default_factory=EscalationSettings)


class AlertSecrets:
    """What the ways out need and nobody may see: it shows nothing of itself."""

    def __init__(
        self, *, telegram_token: str = "", webhook_url: str = "", mail_password: str = "", heartbeat_url: str = ""
    ) -> None:
        self.telegram_token = telegram_token
        self.webhook_url = webhook_url
        self.mail_password = mail_password
        self.heartbeat_url = heartbeat_url

    def values(self) -> tuple[str, ...]:
        """Return all of them, for a redactor."""
        found = (self.telegram_token, self.webhook_url, self.mail_password, self.heartbeat_url)
        return tuple(each for each in found if each)

    def __repr__(self) -> str:
        return "AlertSecrets(...)"

    def __reduce__(self) -> str:
        raise TypeError("secrets are not copied")


def read_alert_secrets(settings: AlertSettings) -> AlertSecrets:
    """Return the secrets of those ways that are enabled.

    Raises:
        ConfigError: one is missing, or lies where others can read it.
    """
    return AlertSecrets(
        telegram_token=_read("telegram_token") if settings.telegram.enabled else "",
        webhook_url=_read("webhook_url") if settings.webhook.enabled else "",
        mail_password=_read("mail_password") if settings.mail.enabled and settings.mail.user else "",
        heartbeat_url=_read("heartbeat_url") if settings.heartbeat.enabled else "",
    )


def _read(name: str) -> str:
    directory, variable = os.environ.get("CREDENTIALS_DIRECTORY"), f"BOT_{name.upper()}"
    path = Path(directory) / name if directory else None
    if path is not None and (path.exists() or path.is_symlink()):
        return _read_file(path)
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(f"no {name}: set {variable}, or CREDENTIALS_DIRECTORY to a directory with the file {name}")
    return value


def _read_file(path: Path) -> str:
    try:
        if path.is_symlink() or not path.is_file():
            raise ConfigError(f"{path}: not a plain file; put the credential there")
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: others may read it; run: chmod 600 {path}")
        if path.stat().st_size > _SECRET_BYTES_MAX:
            raise ConfigError(f"{path}: too long for a credential")
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__})") from None
    if not value:
        raise ConfigError(f"{path}: empty; put the credential there")
    return value
