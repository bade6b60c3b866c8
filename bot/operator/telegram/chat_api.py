"""What is asked of Telegram, and how it fails; who only needs this need not load aiogram."""

from typing import Any, Protocol

from bot.operator.telegram.text import Text

UPDATES_AT_ONCE = 50  # Telegram gives up to 100; so many are read within about a millisecond


class ApiFailed(Exception):
    """Telegram did not do it; it may be tried again.

    Attributes:
        retry_after_s: how long it wants to be left alone; None where it did not say.
    """

    def __init__(self, why: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class ApiRefused(ApiFailed):
    """Telegram will never take this message, or this person has blocked the bot."""


class TokenRefused(ApiFailed):
    """The token is no longer good."""


class TokenShared(ApiFailed):
    """Somebody else asks for updates with our token."""


class ChatApi(Protocol):
    """What the shell asks of Telegram; every method raises ApiFailed, or one of its kinds."""

    async def updates(self, offset: int | None) -> list[Any]:
        """Return updates from a number on, when there are some, or after a while none."""

    async def say(self, chat_id: int, text: Text) -> None:
        """Send a message, with its picture."""

    async def announce(self) -> None:
        """Tell Telegram which commands there are, for its menu."""

    async def close(self) -> None:
        """Let go of connections."""
