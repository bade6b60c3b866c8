"""Which way a write goes: order entry's socket while it is there, REST otherwise, and never both at once.

A request goes by the other way only where the first is known not to have left us. One whose outcome is unknown is sent
again by whoever decides that, with a new time and the same content.

Source: fault N9 of the fault catalogue; section 3.3 there.
"""

from enum import StrEnum

import msgspec

from bot.domain.answers import Answer, AnswerKind, Cause
from bot.venues.bybit.requests import WriteRequest
from bot.venues.bybit.rest_client import RestClient
from bot.venues.bybit.session_socket import TradeSocket


class Channel(StrEnum):
    """The way a request went."""

    SOCKET = "socket"
    REST = "rest"


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A request, which way it went, and what it has come to."""

    channel: Channel
    answers: tuple[Answer, ...]


class OrderGateway:
    """Sends writes.

    Args:
        rest: the client.
        socket: of order entry; None where the environment has none.
        may_fall_back: send by REST what cannot go by the socket; else it is refused as unsent.
    """

    def __init__(self, rest: RestClient, socket: TradeSocket | None, *, may_fall_back: bool = True) -> None:
        self._rest = rest
        self._socket = socket
        self._may_fall_back = may_fall_back

    def channel(self, request: WriteRequest) -> Channel:
        """Return which way a request would go now: what is written down before it is sent."""
        socket = self._socket
        is_usable = socket is not None and request.op is not None and socket.session.is_stable
        return Channel.SOCKET if is_usable or not self._can_rest(request) else Channel.REST

    async def send(self, token: str, request: WriteRequest, *, timestamp_ms: int, recv_window_ms: int) -> Sent:
        """Send a request, once, and return what it has come to.

        Args:
            token: the caller's name of this attempt, never used twice.
            request: what is asked.
            timestamp_ms: by the venue's clock, durable before this call.
            recv_window_ms: how long after it the venue may take it.
        """
        channel = self.channel(request)
        if channel is Channel.SOCKET and self._socket is not None:
            answers = await self._socket.send(token, request, timestamp_ms=timestamp_ms, recv_window_ms=recv_window_ms)
            first = answers[0]  # unsent is the whole request, a batch too
            is_unsent = first.kind is AnswerKind.REFUSED and first.cause is Cause.UNSENT
            if not (is_unsent and self._can_rest(request)):
                return Sent(channel=channel, answers=answers)
        answers = await self._rest.send(request, timestamp_ms=timestamp_ms, recv_window_ms=recv_window_ms)
        return Sent(channel=Channel.REST, answers=answers)

    def _can_rest(self, request: WriteRequest) -> bool:
        return self._may_fall_back or self._socket is None or request.op is None
