"""The account's streams: one connection, logged in and subscribed, and what it tells.

Nothing is told again after a break and nothing shows that something was missed, so every new connection begins with
`Ready`: whoever hears it asks by REST for what was told before it. A message that cannot be read is a gap as well.

Source: Bybit V5, private websocket topics; faults N5 to N8, N14, N15 and Z1 to Z4 of the fault catalogue.
"""

from collections.abc import Sequence

import msgspec

from bot.venues.bybit.backoff import ConnectBudget
from bot.venues.bybit.clock import VenueClock
from bot.venues.bybit.connection_life import Phase
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.login_session import LoginSession
from bot.venues.bybit.private_frames import PrivateFrame, PrivateKind, parse_private_topic, read_private
from bot.venues.bybit.wire import Answer, Pong, Refused

TOPICS = ("order", "execution", "position", "wallet")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Records, as the stream told them."""

    frame: PrivateFrame


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Something was told that could not be read: ask for it by REST."""

    reason: str
    known_ns: int


class PrivateSession(LoginSession):
    """One connection of the account's streams.

    Args:
        topics: what to subscribe to; of one kind either all categories or single ones, the venue refuses both.
        credentials, venue_clock, seed, stream, budget: see `LoginSession`.

    Raises:
        ValueError: a topic is not read here, or two tell of the same.
    """

    def __init__(
        self,
        credentials: Credentials,
        venue_clock: VenueClock,
        *,
        topics: Sequence[str] = TOPICS,
        seed: int,
        stream: int = 901,
        budget: ConnectBudget | None = None,
    ) -> None:
        super().__init__(credentials, venue_clock, seed=seed, stream=stream, budget=budget)
        self._topics = tuple(topics)
        seen: dict[PrivateKind, set[str]] = {}
        for topic in topics:
            kind, category = parse_private_topic(topic)
            others = seen.setdefault(kind, set())
            if category in others or (others and "" in others | {category}):
                raise ValueError(f"{topic} and another topic tell of the same")
            others.add(category)
        if not topics:
            raise ValueError("a connection of no topics")
        self._subscribe_id = ""
        self._early: list[PrivateFrame] = []  # data may overtake the answer to the subscription

    # --- what the base asks -------------------------------------------------------------------------------------------

    def _on_message(self, raw: bytes) -> None:
        frame = read_private(raw, known_ns=self._now_ns)
        match frame:
            case PrivateFrame():
                self._on_frame(frame)
            case Answer():
                self._on_answer(frame)
            case Pong():
                pass
            case Refused():
                self._on_refused(frame)

    def _on_frame(self, frame: PrivateFrame) -> None:
        if frame.topic not in self._topics:
            self.refused += 1
            self._alert("message.refused", f"a topic that was not asked for: {frame.topic}")
        elif self.phase is Phase.OPEN:
            self._emit(Told(frame=frame))
        else:
            self._early.append(frame)

    def _on_refused(self, refused: Refused) -> None:
        self.refused += 1
        reason = self._credentials.without(refused.reason)
        self._alert("message.refused", f"{refused.topic or 'a message'}: {reason}", refused.raw)
        self._emit(Gap(reason=reason, known_ns=self._now_ns))
        if refused.is_garbled:  # it may have been anything, and so may what follows
            self._lose(f"a garbled message: {reason}", is_closed=False)

    def _on_answer(self, answer: Answer) -> None:
        if self.phase is not Phase.LOGIN:
            return
        if answer.op == "auth":
            if answer.is_ok:
                self._on_login()
            else:
                self._refuse_login(answer.text)
        elif answer.op == "subscribe" and answer.req_id in ("", self._subscribe_id):
            # Partial success counts as none: a topic that is missing is an account half seen.
            if not answer.is_ok:
                self._alert("topic.refused", answer.text)
                self._lose("a subscription was refused", is_closed=False)
                return
            self._become_ready()
            early, self._early = self._early, []
            for frame in early:
                self._emit(Told(frame=frame))

    def _on_login(self) -> None:
        self._subscribe_id = self._next_req_id()
        self._send(msgspec.json.encode({"op": "subscribe", "args": list(self._topics), "req_id": self._subscribe_id}))

    def _on_lost(self, reason: str) -> None:
        self._early.clear()

    def _on_check(self) -> None:
        pass

    def _ping(self) -> bytes:
        return msgspec.json.encode({"op": "ping", "req_id": self._next_req_id()})
