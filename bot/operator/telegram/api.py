"""aiogram as we use it: answers bounded, every failure one of four, and the token in none of them.

Updates come as plain values, not as aiogram's types: one that is malformed must not hide those that came with it.
"""

from typing import Any

import aiohttp
import msgspec
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import (
    AiogramError,
    TelegramBadRequest,
    TelegramConflictError,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramUnauthorizedError,
)
from aiogram.methods import Response, SendMessage, SendPhoto, SetMyCommands, TelegramMethod
from aiogram.types import BotCommand, BufferedInputFile, LinkPreviewOptions, MessageEntity
from aiogram.utils.token import TokenValidationError

from bot.domain.errors import ConfigError
from bot.operator.telegram.chat_api import UPDATES_AT_ONCE, ApiFailed, ApiRefused, TokenRefused, TokenShared
from bot.operator.telegram.text import CAPTION_MAX, Text, render
from bot.operator.telegram.verbs import HELP

_ANSWER_BYTES_MAX = 2 << 20  # more than fifty of the longest messages: what is read holds up the event loop
_RETRY_AFTER_MAX_S = 3_600
_POLL_S = 25  # how long Telegram holds a question that has no answer yet
_SLACK_S = 10  # what the network may take on top


class _GetUpdates(TelegramMethod[list[Any]]):
    """`getUpdates`, its updates as plain values."""

    __returning__ = list[Any]
    __api_method__ = "getUpdates"

    offset: int | None = None
    limit: int | None = None
    timeout: int | None = None
    allowed_updates: list[str] | None = None


class _SendMessage(SendMessage):
    """`sendMessage`, whose answer nobody reads: what was said is said, however Telegram words it."""

    __returning__ = Any  # type: ignore[assignment]


class _SendPhoto(SendPhoto):
    """`sendPhoto`, likewise."""

    __returning__ = Any  # type: ignore[assignment]


class _Session(AiohttpSession):
    """aiogram's session, without its trust: a bounded answer, no redirects, no proxies from the environment."""

    async def create_session(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            # With aiogram's own TLS context: verification cannot be turned off.
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(**self._connector_init))
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def make_request(
        self,
        bot: Bot,
        method: TelegramMethod[Any],
        timeout: int | None = None,  # noqa: ASYNC109 (aiogram's name)
    ) -> Any:
        session = await self.create_session()
        url = self.api.api_url(token=bot.token, method=method.__api_method__)
        form = self.build_form_data(bot=bot, method=method)
        limit = aiohttp.ClientTimeout(total=self.timeout if timeout is None else timeout)
        try:
            async with session.post(url, data=form, timeout=limit, allow_redirects=False) as response:
                body = await _read_bounded(response)
                status = response.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            # Its text may hold the address, and the address holds the token: the kind says enough.
            raise ApiFailed(type(error).__name__) from None
        try:
            return self.check_response(bot=bot, method=method, status_code=status, content=body).result
        except AiogramError as error:
            raise _translate(error) from None
        except (TypeError, ValueError, RecursionError):
            raise ApiFailed(f"an answer that makes no sense, HTTP {status}") from None

    def __repr__(self) -> str:
        return "_Session(...)"


class TelegramApi:
    """Telegram's Bot API: a `ChatApi`.

    Args:
        token: as BotFather gave it.
        server: where the API is; another than Telegram's own for tests, and for those who run their own.

    Raises:
        ConfigError: the token cannot be one.
    """

    def __init__(self, token: str, *, server: str = "https://api.telegram.org", poll_s: int = _POLL_S) -> None:
        base = server.rstrip("/")
        place = TelegramAPIServer(base=base + "/bot{token}/{method}", file=base + "/file/bot{token}/{path}")
        self._poll_s = poll_s
        try:
            # The schemas of answers are made now: the first use of each would hold up the event loop.
            for method in (_GetUpdates, _SendMessage, _SendPhoto, SetMyCommands):
                Response[method.__returning__]  # type: ignore[name-defined]
            self._bot = Bot(token, session=_Session(api=place, timeout=20, limit=8, json_loads=msgspec.json.decode))
        except TokenValidationError:
            raise ConfigError("the Telegram token is none; BotFather gives one like 123456:AbC...") from None

    async def updates(self, offset: int | None) -> list[Any]:
        """See `ChatApi`."""
        method = _GetUpdates(offset=offset, limit=UPDATES_AT_ONCE, timeout=self._poll_s, allowed_updates=["message"])
        found: list[Any] | None = await self._bot(method, request_timeout=self._poll_s + _SLACK_S)
        if found is None:
            raise ApiFailed("an answer without updates")
        return found[:UPDATES_AT_ONCE]

    async def say(self, chat_id: int, text: Text) -> None:
        """See `ChatApi`."""
        if text.picture:
            said = render(text, units_max=CAPTION_MAX)
            file = BufferedInputFile(text.picture, filename="picture.png")
            entities = [MessageEntity(type=s.kind, offset=s.offset, length=s.length) for s in said.spans]
            await self._bot(
                _SendPhoto(
                    chat_id=chat_id,
                    photo=file,
                    caption=said.text,
                    caption_entities=entities,
                    parse_mode=None,
                    disable_notification=text.is_silent,
                )
            )
            return
        said = render(text)
        entities = [MessageEntity(type=s.kind, offset=s.offset, length=s.length) for s in said.spans]
        message = _SendMessage(
            chat_id=chat_id,
            text=said.text,
            entities=entities,
            parse_mode=None,
            link_preview_options=LinkPreviewOptions(is_disabled=True),
            disable_notification=text.is_silent,
        )
        await self._bot(message)

    async def announce(self) -> None:
        """See `ChatApi`."""
        await self._bot(SetMyCommands(commands=[BotCommand(command=name, description=what) for name, what in HELP]))

    async def close(self) -> None:
        """See `ChatApi`."""
        await self._bot.session.close()

    def __repr__(self) -> str:
        return "TelegramApi(...)"


async def _read_bounded(response: aiohttp.ClientResponse) -> str:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(1 << 16):
        size += len(part)
        if size > _ANSWER_BYTES_MAX:
            raise ApiFailed(f"an answer of more than {_ANSWER_BYTES_MAX >> 20} MiB")
        parts.append(part)
    return b"".join(parts).decode("utf-8", errors="replace")


def _translate(error: AiogramError) -> ApiFailed:
    kind = type(error).__name__
    match error:
        case TelegramRetryAfter():
            return ApiFailed(kind, retry_after_s=max(1, min(int(error.retry_after), _RETRY_AFTER_MAX_S)))
        case TelegramConflictError():
            return TokenShared(kind)
        case TelegramUnauthorizedError() | TelegramNotFound():
            return TokenRefused(kind)
        case TelegramBadRequest() | TelegramForbiddenError() | TelegramEntityTooLarge():
            return ApiRefused(kind)
    return ApiFailed(kind)
