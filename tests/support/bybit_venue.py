"""The venue's end of a public connection: answers requests as its dialects do, and forgets nothing it was asked."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from bot.venues.bybit.stream_effects import Close, Connect, Deliver, Send, SessionEffect
from bot.venues.bybit.stream_session import StreamSession

SPOT_ARGS_MAX = 10


class FakeVenue:
    """A venue that a session talks to.

    Args:
        category: whose dialect it speaks.
        bad: topics that it does not know.
        on_subscribed: what it sends at once for a topic that is new.
    """

    def __init__(
        self,
        category: str = "linear",
        *,
        bad: Iterable[str] = (),
        on_subscribed: Callable[[str], list[bytes]] = lambda topic: [],
    ) -> None:
        self.category = category
        self.bad = set(bad)
        self.on_subscribed = on_subscribed
        self.subscribed: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.is_mute = False  # it takes everything and says nothing

    def connect(self) -> None:
        """Begin a connection."""
        self.subscribed = []

    def receive(self, data: bytes) -> list[bytes]:
        """Take a message and return what is said to it."""
        request = json.loads(data)
        self.requests.append(request)
        if self.is_mute:
            return []
        if request["op"] == "ping":
            return [self._answer(request, success=True, ret_msg="pong")]
        if request["op"] == "unsubscribe":
            self.subscribed = [topic for topic in self.subscribed if topic not in request["args"]]
            return [self._answer(request, success=True)]
        return self._subscribe(request)

    def _subscribe(self, request: dict[str, Any]) -> list[bytes]:
        topics = request["args"]
        if self.category == "spot" and len(topics) > SPOT_ARGS_MAX:
            return [self._answer(request, success=False, ret_msg="args size >10")]
        for topic in topics:  # the first that is bad spoils all
            if topic in self.bad:
                return [self._answer(request, success=False, ret_msg=f"error:handler not found,topic:{topic}")]
            if topic in self.subscribed:
                return [self._answer(request, success=False, ret_msg=f"error:already subscribed,topic:{topic}")]
        self.subscribed += topics
        answer = self._answer(request, success=True, ret_msg="subscribe" if self.category == "spot" else "")
        return [answer, *(raw for topic in topics for raw in self.on_subscribed(topic))]

    def _answer(self, request: dict[str, Any], *, success: bool, ret_msg: str = "") -> bytes:
        answer = {"success": success, "ret_msg": ret_msg, "conn_id": "c", "op": request["op"]}
        if self.category != "spot" or request["op"] != "ping":
            answer["req_id"] = request.get("req_id", "")
        return json.dumps(answer).encode()


class Desk:
    """A session, its venue and a clock: carries out at once what the session wants done.

    Attributes:
        effects: all that the session wanted done, in order.
        is_reachable: whether connections open at once; else they fail.
    """

    def __init__(self, session: StreamSession, venue: FakeVenue, now_ns: int) -> None:
        self.session = session
        self.venue = venue
        self.now_ns = now_ns
        self.effects: list[SessionEffect] = []
        self.connects: list[int] = []
        self.is_reachable = True

    def start(self) -> None:
        """Start the session."""
        self.carry_out(self.session.start(self.now_ns))

    def wait(self, ns: int) -> None:
        """Let time pass, calling whenever the session wants to be called."""
        end_ns = self.now_ns + ns
        while (due_ns := max(self.session.next_time_ns(), self.now_ns + 1)) <= end_ns:
            self.now_ns = due_ns
            self.carry_out(self.session.on_time(self.now_ns))
        self.now_ns = end_ns

    def say(self, *messages: bytes) -> None:
        """Let the venue send messages now."""
        self.carry_out(self.session.on_messages(self.session.connection, [(self.now_ns, raw) for raw in messages]))

    def carry_out(self, effects: list[SessionEffect]) -> None:
        """Do what the session wants done."""
        for effect in effects:
            self.effects.append(effect)
            if isinstance(effect, Connect):
                self.connects.append(self.now_ns)
                if self.is_reachable:
                    self.venue.connect()
                    self.carry_out(self.session.on_open(effect.connection, self.now_ns))
                else:
                    self.carry_out(self.session.on_closed(effect.connection, "refused", self.now_ns))
            elif isinstance(effect, Send) and effect.connection == self.session.connection:
                self.say(*self.venue.receive(effect.data))

    def of(self, kind: type[SessionEffect]) -> list[Any]:
        """Return the effects of a kind."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def closes(self) -> list[str]:
        """Return why the session closed connections."""
        return [effect.reason for effect in self.of(Close)]

    @property
    def delivered(self) -> list[bytes]:
        """Return the messages that were handed on."""
        return [frame.raw for effect in self.of(Deliver) for frame in effect.frames]
