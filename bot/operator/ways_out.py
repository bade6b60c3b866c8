"""The ways out of alerts: a webhook, e-mail, Telegram."""

import smtplib
import ssl
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from bot.core.redaction import Redactor
from bot.domain.operation import Severity
from bot.operator.alerts import NeverDelivered, NotDelivered
from bot.operator.outbox import Batch, lines_of
from bot.operator.telegram.chat_api import ApiFailed, ApiRefused, ChatApi
from bot.operator.telegram.text import Text
from bot.ports import OffLoop

_MARKS = {Severity.INFO: "", Severity.WARNING: "Warning: ", Severity.ERROR: "ERROR: ", Severity.CRITICAL: "CRITICAL: "}


class TelegramWay:
    """Tells one operator by Telegram. What is merely worth telling comes without a sound."""

    def __init__(self, api: ChatApi, user_id: int, *, redact: Redactor) -> None:
        self._api = api
        self._user_id = user_id
        self._redact = redact

    async def deliver(self, batch: Batch) -> None:
        """See `alerts.WayOut`."""
        marks = [_MARKS[line.notice.severity] for line in batch.lines]
        lines = [
            f"{marks[number] if number < len(marks) else ''}{self._redact(line)}"
            for number, line in enumerate(lines_of(batch))
        ]
        text = Text(head=lines[0], body="\n".join(lines[1:]), is_silent=batch.severity is Severity.INFO)
        try:
            await self._api.say(self._user_id, text)
        except ApiRefused as error:
            raise NeverDelivered(str(error)) from None
        except ApiFailed as error:
            raise NotDelivered(str(error), retry_after_s=error.retry_after_s) from None


class Webhook:
    """Posts JSON: {"bot", "severity", "text", "dropped", "notices": [...]}.

    Args:
        url: where to; it may hold a secret, and is never logged.
        is_trusted_plain: plain HTTP is taken, as to a machine of one's own.

    Raises:
        ValueError: the address is none that may be used.
    """

    def __init__(
        self, url: str, *, bot_name: str, redact: Redactor, authorization: str = "", is_trusted_plain: bool = False
    ) -> None:
        check_url(url, is_trusted_plain=is_trusted_plain)
        self._url = url
        self._bot_name = bot_name
        self._redact = redact
        self._headers = {"Content-Type": "application/json"}
        if authorization:
            self._headers["Authorization"] = authorization

    async def deliver(self, batch: Batch) -> None:
        """See `alerts.WayOut`."""
        said: dict[str, Any] = {
            "bot": self._bot_name,
            "severity": batch.severity,
            "text": "\n".join(lines_of(batch)),
            "dropped": batch.dropped,
            "notices": [
                {"notice": line.notice, "count": line.count, "is_repeated": line.is_repeated} for line in batch.lines
            ],
        }
        body = self._redact(msgspec.json.encode(said).decode()).encode()
        limit = aiohttp.ClientTimeout(total=15)
        try:
            # Redirects are not followed: what is posted goes where the settings say, or nowhere.
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.post(self._url, data=body, headers=self._headers, allow_redirects=False) as response,
            ):
                _judge(response.status, response.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotDelivered(type(error).__name__) from None


class MailSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How mail is sent."""

    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    user: str = ""
    password: str = ""
    security: str = "starttls"  # starttls, tls, none
    timeout_s: float = 15.0

    def __repr__(self) -> str:
        return f"MailSettings({self.host}:{self.port})"


class Mail:
    """Sends plain text by SMTP, from a thread.

    Args:
        off_loop: a thread for nothing else: a mail server may take its time.
    """

    def __init__(self, settings: MailSettings, *, bot_name: str, redact: Redactor, off_loop: OffLoop) -> None:
        self._settings = settings
        self._bot_name = bot_name
        self._redact = redact
        self._off_loop = off_loop

    async def deliver(self, batch: Batch) -> None:
        """See `alerts.WayOut`."""
        lines = [_one_line(self._redact(line)) for line in lines_of(batch)]
        message = EmailMessage()
        message["Subject"] = f"[{self._bot_name}] {_MARKS[batch.severity]}{lines[0]}"[:200]
        message["From"] = self._settings.sender
        message["To"] = ", ".join(self._settings.recipients)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content("\n".join(lines) + "\n")
        await self._off_loop(lambda: self._send(message))

    def _send(self, message: EmailMessage) -> None:
        settings = self._settings
        try:
            with _connect(settings) as server:
                if settings.user:
                    server.login(settings.user, settings.password)
                server.send_message(message)
        except smtplib.SMTPRecipientsRefused:
            raise NeverDelivered("the mail server takes none of the recipients") from None
        except (smtplib.SMTPException, OSError) as error:
            raise NotDelivered(type(error).__name__) from None


def _connect(settings: MailSettings) -> smtplib.SMTP:
    if settings.security == "tls":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=settings.timeout_s, context=context)
    server = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_s)
    if settings.security == "starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except (smtplib.SMTPException, OSError):
            server.close()
            raise
    return server


def check_url(url: str, *, is_trusted_plain: bool) -> None:
    """Refuse an address that is no HTTPS one, unless plain HTTP was asked for.

    Raises:
        ValueError: it is not; the message does not show it.
    """
    try:
        parts = urlsplit(url)
        is_right = bool(parts.hostname) and (parts.scheme == "https" or (is_trusted_plain and parts.scheme == "http"))
    except ValueError:
        is_right = False
    if not is_right:
        raise ValueError("not an https:// address (plain http needs allow_plain_http = true)")


def is_reached(status: int) -> bool:
    """Return whether an HTTP status says that the other side has it."""
    return 200 <= status < 300


def _judge(status: int, retry_after: str) -> None:
    if is_reached(status):
        return
    if status in (408, 425, 429) or status >= 500:
        seconds = min(float(retry_after), 3_600.0) if retry_after.isascii() and retry_after.isdigit() else None
        raise NotDelivered(f"HTTP {status}", retry_after_s=seconds)
    raise NeverDelivered(f"HTTP {status}")


def _one_line(text: str) -> str:
    """Return a text without line breaks or controls: a header must not be begun inside one."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
