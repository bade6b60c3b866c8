"""An API key and its secret, which never show themselves."""

from typing import NoReturn

from bot.domain.errors import ConfigError
from bot.venues.bybit.sign import auth_request, sign_rest


class Credentials:
    """A key and its secret. Printing it tells neither; storing it fails.

    Args:
        key, secret: as the venue gave them.

    Raises:
        ConfigError: one is empty or holds what no header can carry; the message does not show it.
    """

    __slots__ = ("_key", "_secret")

    def __init__(self, *, key: str, secret: str) -> None:
        for name, value in (("key", key), ("secret", secret)):
            if not (value and value.isascii() and value.isprintable() and " " not in value):
                raise ConfigError(f"the API {name} is empty or is not one; set it in the environment, without quotes")
        self._key = key
        self._secret = secret

    def rest_headers(self, *, timestamp_ms: int, recv_window_ms: int, payload: bytes) -> dict[str, str]:
        """Return the headers that sign a REST request over the very bytes that are sent."""
        signature = sign_rest(
            secret=self._secret,
            key=self._key,
            timestamp_ms=timestamp_ms,
            recv_window_ms=recv_window_ms,
            payload=payload,
        )
        return {
            "X-BAPI-API-KEY": self._key,
            "X-BAPI-TIMESTAMP": str(timestamp_ms),
            "X-BAPI-RECV-WINDOW": str(recv_window_ms),
            "X-BAPI-SIGN": signature,
            "X-BAPI-SIGN-TYPE": "2",
        }

    def auth_request(self, *, now_ms: int, req_id: str, is_trade: bool) -> bytes:
        """Return the message that logs a websocket in."""
        return auth_request(secret=self._secret, key=self._key, now_ms=now_ms, req_id=req_id, is_trade=is_trade)

    def is_key(self, text: str) -> bool:
        """Return whether `text` is the key: what the venue says the key is."""
        return text == self._key

    def without(self, text: str) -> str:
        """Return a text without the key and the secret, should they be in it."""
        return text.replace(self._secret, "[secret]").replace(self._key, "[key]")

    def for_client(self) -> dict[str, str]:
        """Return them as the arguments of a client that signs by itself; hand it on at once, keep it nowhere."""
        return {"api_key": self._key, "api_secret": self._secret}

    def __repr__(self) -> str:
        return "Credentials(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not stored")
