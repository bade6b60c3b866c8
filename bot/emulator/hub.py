"""Connections and what waits to be sent on them, in order of time."""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from bot.emulator import ids, inferred
from bot.emulator.auth import ApiKey
from bot.emulator.clients import Client
from bot.emulator.faults import Faults
from bot.emulator.wire import Damage, encode_text

TextOrRecord = str | dict[str, Any]


class Outgoing(NamedTuple):
    """A frame for a connection, or its end."""

    session: int
    text: str
    close: tuple[int, str] | None = None
    damage: Damage | None = None


class Session:
    """One WebSocket connection.

    Args:
        number: names it within the emulator.
        kind: "linear", "spot", "private", "trade" or "status".
    """

    def __init__(self, number: int, kind: str, conn_id: str, ip: str, now_ns: int, idle_max_ns: int) -> None:
        self.number = number
        self.kind = kind
        self.conn_id = conn_id
        self.ip = ip
        self.heard_ns = now_ns
        self.idle_max_ns = idle_max_ns
        self.client: Client | None = None
        self.key: ApiKey | None = None
        self.topics: dict[str, None] = {}
        self.asked: deque[str] = deque(maxlen=10_000)  # request ids
        self.asked_set: set[str] = set()
        self.sent_until_ns: dict[str, int] = {}  # by kind of topic: frames of one kind keep their order
        self.held: str | None = None  # changes places with the next frame

    def is_new_request(self, req_id: str) -> bool:
        """Take note of a request's id; return whether it is the first of that id."""
        if req_id in self.asked_set:
            return False
        if len(self.asked) == self.asked.maxlen:
            self.asked_set.discard(self.asked[0])
        self.asked.append(req_id)
        self.asked_set.add(req_id)
        return True


class Hub:
    """All connections.

    Args:
        seed: of delays and ids.
        faults: may lose, delay, repeat or damage what is sent.
    """

    def __init__(self, seed: int, faults: Faults) -> None:
        self._seed = seed
        self._faults = faults
        self.sessions: dict[int, Session] = {}
        self._of_account: dict[str, dict[int, Session]] = {}
        self._opened = 0
        self._pushed = 0
        self._silenced: str | None = None
        self._heap: list[tuple[int, int, Outgoing]] = []

    def open(self, kind: str, ip: str, idle_max_ns: int, now_ns: int) -> Session:
        """Return a new connection."""
        self._opened += 1
        conn_id = ids.connection_id(self._seed, self._opened)
        session = Session(self._opened, kind, conn_id, ip, now_ns, idle_max_ns)
        self.sessions[session.number] = session
        return session

    def sign_in(self, session: Session, client: Client, key: ApiKey) -> None:
        """Tell whose a connection is."""
        session.client, session.key = client, key
        self._of_account.setdefault(client.name, {})[session.number] = session

    def signed_in(self, account: str, kind: str) -> int:
        """Return how many connections of a kind an account has."""
        return sum(1 for session in self._of_account.get(account, {}).values() if session.kind == kind)

    def drop(self, number: int) -> Session | None:
        """Forget a connection that has ended; return it, None if there was none."""
        session = self.sessions.pop(number, None)
        if session is not None and session.client is not None:
            self._of_account.get(session.client.name, {}).pop(number, None)
        return session

    def send(
        self, session: Session, frame: TextOrRecord, now_ns: int, *, delay_ns: int = 0, topic: str = "", op: str = ""
    ) -> None:
        """Send a frame after a delay; what goes wrong with it goes wrong here."""
        if not self._faults.are_any and session.held is None:
            text = frame if isinstance(frame, str) else encode_text(frame)
            self._push(now_ns + delay_ns, Outgoing(session.number, text))
            return
        account = "" if session.client is None else session.client.name
        faults, occasion = self._faults, {"socket": session.kind, "topic": topic, "op": op, "account": account}
        due_ns, text = now_ns + delay_ns, frame if isinstance(frame, str) else encode_text(frame)
        if topic and faults.hit("stall", now_ns, **occasion):
            return
        if faults.hit("drop_frame", now_ns, **occasion):
            return
        late = faults.hit("delay_frame", now_ns, **occasion)
        if late is not None:
            due_ns += late.delay_ns
        damage = faults.damage(now_ns, **occasion)
        if session.held is not None:
            held, session.held = session.held, None
            self._push(due_ns, Outgoing(session.number, text, None, damage))
            self._push(due_ns, Outgoing(session.number, held))
            return
        if faults.hit("reorder_frame", now_ns, **occasion):
            session.held = text
            return
        self._push(due_ns, Outgoing(session.number, text, None, damage))
        if faults.hit("duplicate_frame", now_ns, **occasion):
            self._push(due_ns, Outgoing(session.number, text))

    def close(self, session: Session, code: int, reason: str, now_ns: int, damage: Damage | None = None) -> None:
        """End a connection."""
        self._push(now_ns, Outgoing(session.number, "", (code, reason), damage))

    def listens(self, client: Client) -> bool:
        """Return whether any connection of an account follows anything."""
        if client.name != self._silenced:
            for session in self._of_account.get(client.name, {}).values():
                if session.topics:
                    return True
        return False

    @contextmanager
    def silence(self, client: Client) -> Iterator[None]:
        """Tell an account nothing while the block runs."""
        self._silenced = client.name
        try:
            yield
        finally:
            self._silenced = None

    def push(
        self, client: Client, base: str, category: str, make: Callable[[], list[dict[str, Any]]], name: str, now_ns: int
    ) -> None:
        """Send a private topic's records to whoever follows it; they are made only if somebody does.

        Args:
            base: the topic's kind, such as "order".
            category: of the records: who follows `order.linear` is sent those of that category.
            make: the records.
            name: the envelope's id.
        """
        if client.name == self._silenced:
            return
        data: list[dict[str, Any]] | None = None
        for session in self._of_account.get(client.name, {}).values():
            for topic in (base, f"{base}.{category}"):
                if topic not in session.topics:
                    continue
                data = make() if data is None else data
                if not data:
                    return
                delay_ns = ids.between(inferred.STREAM_DELAY_NS, self._seed, "stream", session.number, self._pushed)
                due_ns = max(now_ns + delay_ns, session.sent_until_ns.get(base, 0))
                session.sent_until_ns[base] = due_ns
                frame = {"id": name, "topic": topic, "creationTime": now_ns // 1_000_000, "data": data}
                self.send(session, frame, now_ns, delay_ns=due_ns - now_ns, topic=topic)

    def due(self, now_ns: int) -> list[Outgoing]:
        """Return what is to be sent by now, in order."""
        heap, due = self._heap, []
        while heap and heap[0][0] <= now_ns:
            due.append(heapq.heappop(heap)[2])
        return due

    def next_ns(self) -> int | None:
        """Return when the next frame is due, None if none waits."""
        return self._heap[0][0] if self._heap else None

    def _push(self, due_ns: int, outgoing: Outgoing) -> None:
        self._pushed += 1
        heapq.heappush(self._heap, (due_ns, self._pushed, outgoing))
