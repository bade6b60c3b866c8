"""The one way into an actor: a bounded queue with a name and a single reader."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from bot.domain.errors import InvariantBroken

M = TypeVar("M")


class Inbox(Generic[M]):
    """A queue that never drops.

    Whoever can wait does so in `put` while it is full. Who cannot (a timer, a venue's answer) uses `deliver`, where
    full means that the actor has stopped working: an error, not a reason to lose a message.

    It differs from `asyncio.Queue` in that its one reader takes all there is at once: a burst costs one wake-up.

    Attributes:
        taken: messages that its reader has taken since the start.
        deepest: the most that ever waited at once.
        on_take: told of what the reader takes, as it takes it; None for nobody.
    """

    __slots__ = ("_items", "_reader", "_writers", "bound", "deepest", "name", "on_take", "taken")

    def __init__(self, name: str, *, bound: int) -> None:
        self.name = name
        self.bound = bound
        self.taken = 0
        self.deepest = 0
        self.on_take: Callable[[Sequence[M]], None] | None = None
        self._items: list[M] = []
        self._reader: asyncio.Future[None] | None = None
        self._writers: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    async def put(self, message: M) -> None:
        """Add a message; wait while the inbox is full."""
        while len(self._items) >= self.bound:
            room = asyncio.get_running_loop().create_future()
            self._writers.append(room)
            await room
        self.deliver(message)

    def deliver(self, message: M) -> None:
        """Add a message at once.

        Raises:
            InvariantBroken: the inbox is full.
        """
        items = self._items  # as in `leave`, which would be one call more for each message there is
        if len(items) >= self.bound:
            raise InvariantBroken(self._is_full())
        items.append(message)
        reader = self._reader
        if reader is not None:
            self._reader = None
            if not reader.done():
                reader.set_result(None)

    def leave(self, message: M) -> None:
        """Add a message that the reader will find when it next looks, without waking it.

        Raises:
            InvariantBroken: the inbox is full.
        """
        if len(self._items) >= self.bound:
            raise InvariantBroken(self._is_full())
        self._items.append(message)

    def _is_full(self) -> str:
        return f"the inbox of {self.name} is full at {self.bound} messages"

    async def take(self) -> list[M]:
        """Return all messages there are, oldest first; wait for the first."""
        while not self._items:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        messages, self._items = self._items, []
        self.taken += len(messages)
        if len(messages) > self.deepest:
            self.deepest = len(messages)
        if self.on_take is not None:
            self.on_take(messages)
        while self._writers:
            room = self._writers.popleft()
            if not room.done():
                room.set_result(None)
        return messages


class Stop:
    """The last message: finish what is in hand and leave."""
