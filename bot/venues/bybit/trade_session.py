"""Orders over the trade websocket: which answer is whose, and what becomes of those that get none.

An answer says "accepted for processing", not more. It is matched by the id of the request alone, may come late, twice
or never. When the connection goes, all that is under way is unknown; nothing waits here for the next connection, so
nothing old is ever sent on a new one.

Source: Bybit V5, order entry over a websocket; faults N2 to N4, N9, X4 and X29 of the fault catalogue.
"""

from typing import Any

import msgspec

from bot.domain.answers import Answer, AnswerKind, Cause
from bot.venues.bybit.backoff import ConnectBudget
from bot.venues.bybit.clock import VenueClock
from bot.venues.bybit.connection_life import Phase
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.envelope import TradeEnvelope, answers_of, decode_trade, number
from bot.venues.bybit.errors import clean
from bot.venues.bybit.login_session import MESSAGE_BYTES_MAX, LoginSession
from bot.venues.bybit.rate_budget import RateBudget
from bot.venues.bybit.requests import WriteRequest

_MS = 1_000_000
TIMEOUT_SHARE = 0.8  # of the window: we give up before the venue would refuse it
LATE_MAX = 1_000  # requests given up whose answers would still be told
_RESTARTING = 10019
_SIGNED_IN_ALREADY = 20001


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What a request has come to: one answer, or one for each item of a batch."""

    token: str
    answers: tuple[Answer, ...]
    is_late: bool = False  # it was told as unknown before


class _Flight(msgspec.Struct, frozen=True):
    token: str
    request: WriteRequest
    deadline_ns: int


class TradeSession(LoginSession):
    """One connection for orders.

    Args:
        prefix: begins the ids of requests; one never used before, so that no answer of an earlier run is taken for one
            of this. Up to 20 letters, digits and dashes.
        rates: counts requests; shared with REST.
        credentials, venue_clock, seed, stream, budget: see `LoginSession`.
    """

    is_trade = True

    def __init__(
        self,
        credentials: Credentials,
        venue_clock: VenueClock,
        *,
        prefix: str,
        rates: RateBudget,
        seed: int,
        stream: int = 900,
        budget: ConnectBudget | None = None,
    ) -> None:
        super().__init__(credentials, venue_clock, seed=seed, stream=stream, budget=budget)
        if not (0 < len(prefix) <= 20 and prefix.replace("-", "").isalnum() and prefix.isascii()):
            raise ValueError("the prefix of request ids is 1 to 20 letters, digits and dashes")
        self._prefix = prefix
        self._rates = rates
        self._flights: dict[str, _Flight] = {}
        self._given_up: dict[str, _Flight] = {}
        self.strays = 0  # answers to nothing that was asked, or to what was answered

    @property
    def in_flight(self) -> int:
        """Return how many requests wait for their answer."""
        return len(self._flights)

    def submit(
        self, token: str, request: WriteRequest, *, timestamp_ms: int, recv_window_ms: int, now_ns: int
    ) -> list[Any]:
        """Send a request now or not at all; its outcome comes as `Answered`, in these effects or in later ones.

        Args:
            token: the caller's name of this attempt.
            request: what is asked.
            timestamp_ms: by the venue's clock; no signature, but the same window as with REST.
            recv_window_ms: how long after it the venue may take it.
            now_ns: our clock.
        """
        self._move_clock(now_ns)
        reason, retry_ms = self._obstacle(request, timestamp_ms)
        if reason:
            cause = Cause.LIMITED if retry_ms is not None else Cause.UNSENT
            answer = Answer(
                kind=AnswerKind.REFUSED,
                cause=cause,
                code="unsent",
                text=reason,
                retry_at_ms=retry_ms,
                recv_ns=self._now_ns,
            )
            self._emit(Answered(token=token, answers=(answer,) * request.count))
            return self._done()
        req_id = f"{self._prefix}-{self._next_req_id()}"
        deadline_ns = self._now_ns + int(recv_window_ms * TIMEOUT_SHARE) * _MS
        self._flights[req_id] = _Flight(token, request, deadline_ns)
        header = {"X-BAPI-TIMESTAMP": str(timestamp_ms), "X-BAPI-RECV-WINDOW": str(recv_window_ms)}
        frame = {"reqId": req_id, "header": header, "op": request.op, "args": [msgspec.Raw(request.body)]}
        self._send(msgspec.json.encode(frame))
        return self._done()

    def _obstacle(self, request: WriteRequest, timestamp_ms: int) -> tuple[str, int | None]:
        """Return why a request cannot go, "" if it can; and when it may, where that is a matter of limits."""
        if request.op is None:
            return "order entry has no such request; it goes by REST", None
        if not self.is_ready:
            return "order entry is not connected", None
        refusal = self._rates.take(
            request.bucket,
            request.category,
            self._now_ns,
            count=request.count,
            is_cancel=request.is_cancel,
            is_http=False,
        )
        if refusal is None:
            return "", None
        return refusal.reason, timestamp_ms + refusal.wait_ns // _MS + 1

    # --- the connection -----------------------------------------------------------------------------------------------

    def _on_message(self, raw: bytes) -> None:
        if len(raw) > MESSAGE_BYTES_MAX:
            self._garbled(raw, f"{len(raw):,} bytes are too many")
            return
        envelope = decode_trade(raw)
        if isinstance(envelope, str):
            self._garbled(raw, envelope)
        elif envelope.op == "pong":
            return
        elif envelope.op == "auth":
            self._on_auth(envelope)
        elif envelope.req_id:
            self._on_answer(envelope)
        else:
            # It may be an answer to anything: whoever asked hears that it is unknown when its time is over.
            self.strays += 1
            self._alert("answer.nameless", f"{envelope.op[:40]} {envelope.code}: {clean(envelope.text)}")

    def _garbled(self, raw: bytes, reason: str) -> None:
        self.refused += 1
        self._alert("message.refused", reason, raw)
        self._lose(f"a garbled message: {reason}", is_closed=False)

    def _on_auth(self, envelope: TradeEnvelope) -> None:
        if self.phase is not Phase.LOGIN:
            return
        if envelope.code in (0, _SIGNED_IN_ALREADY):
            self._on_login()
        else:
            self._refuse_login(clean(f"{envelope.code} {envelope.text}"))

    def _on_login(self) -> None:
        self._become_ready()

    def _on_lost(self, reason: str) -> None:
        for flight in self._flights.values():
            self._give_up(flight, "reset", f"the connection was lost: {reason}")
        self._flights.clear()
        self._given_up.clear()  # their answers cannot come any more

    def _on_check(self) -> None:
        for req_id, flight in list(self._flights.items()):
            if self._now_ns >= flight.deadline_ns:
                del self._flights[req_id]
                self._given_up[req_id] = flight
                self._give_up(flight, "timeout", "no answer in time")
        while len(self._given_up) > LATE_MAX:
            del self._given_up[next(iter(self._given_up))]

    def _ping(self) -> bytes:
        return msgspec.json.encode({"op": "ping", "reqId": f"{self._prefix}-{self._next_req_id()}"})

    # --- answers ------------------------------------------------------------------------------------------------------

    def _give_up(self, flight: _Flight, code: str, text: str) -> None:
        answer = Answer(kind=AnswerKind.UNKNOWN, cause=Cause.NETWORK, code=code, text=clean(text), recv_ns=self._now_ns)
        self._emit(Answered(token=flight.token, answers=(answer,) * flight.request.count))

    def _on_answer(self, envelope: TradeEnvelope) -> None:
        flight = self._flights.pop(envelope.req_id, None)
        is_late = flight is None
        if flight is None:
            flight = self._given_up.pop(envelope.req_id, None)
        if flight is None:
            self.strays += 1  # answered before, or of no request of this connection
            return
        request = flight.request
        if envelope.op != request.op:
            self._alert("answer.mismatched", f"{envelope.op[:40]} answers {request.op}")
            self._give_up(flight, "garbled", "the answer is of another kind of request")
            return
        answers = answers_of(envelope, envelope.data, envelope.server_time_ms, request, self._now_ns)
        self._note_limits(envelope, request)
        if any(answer.cause is Cause.LIMITED for answer in answers):
            answers = tuple(self._limited(envelope, request, answer) for answer in answers)
        self._emit(Answered(token=flight.token, answers=answers, is_late=is_late))
        if envelope.code == _RESTARTING:
            self._lose("the venue's order entry restarts", is_closed=False)

    def _note_limits(self, envelope: TradeEnvelope, request: WriteRequest) -> None:
        limit, left = number(envelope.header.limit), number(envelope.header.left)
        if limit is not None and left is not None:
            self._rates.note_limits(request.bucket, request.category, self._now_ns, limit=limit, left=left)

    def _limited(self, envelope: TradeEnvelope, request: WriteRequest, answer: Answer) -> Answer:
        if answer.cause is not Cause.LIMITED:
            return answer
        reset_ms, server_ms = number(envelope.header.reset), envelope.server_time_ms
        wait_ns = None if reset_ms is None or server_ms is None else (reset_ms - server_ms) * _MS
        until_ns = self._rates.note_limited(request.bucket, request.category, self._now_ns, wait_ns=wait_ns)
        if server_ms is None:
            return answer
        return msgspec.structs.replace(answer, retry_at_ms=server_ms + (until_ns - self._now_ns) // _MS)
