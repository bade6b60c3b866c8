"""Stands between an actor and all it is told, and notes it; the actor knows nothing of it.

An actor that is verified gets everything through these: its inbox (`Inbox.on_take`), its calendar, the ledger's
acknowledgements, the venue. Whatever it asks otherwise, and is answered at once, goes through `Tap.heard`.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from bot.actors.inbox import Stop
from bot.actors.live_executor import Asked, Pulse
from bot.actors.strategy import Begin, Wake
from bot.core.calendar import Key
from bot.core.deliveries import Did, Heard, Verb, Word, signal
from bot.core.submission.requests import LookUpWanted, Send
from bot.domain.ledger import LedgerEntry
from bot.domain.operation import CommandDone, OperatorCommand
from bot.ports import AccountVenue, Calendar, Cancelable, DeliveryLog, LedgerWriter

T = TypeVar("T")

_COMMAND = msgspec.msgpack.Decoder(tuple[OperatorCommand, str])


def _pack_asked(asked: Asked) -> Any:
    return asked.command, asked.by


def _unpack_asked(raw: msgspec.Raw) -> Asked:
    command, by = _COMMAND.decode(raw)
    return Asked(command=command, by=by, done=_ignore)


def _ignore(outcome: CommandDone) -> None:
    """Who waited for the answer has long had it."""


WORDS = (
    signal(Stop),
    signal(Begin),
    signal(Wake),
    Word(Pulse, lambda pulse: pulse.value, lambda raw: Pulse(msgspec.msgpack.decode(raw))),
    Word(Asked, _pack_asked, _unpack_asked),
)
"""What only actors say to each other."""


class Tap:
    """Notes what one actor is told and does.

    Args:
        log: where.
        actor: its name, the same whenever the run is verified.
    """

    def __init__(self, log: DeliveryLog, actor: str) -> None:
        self._note = log.note
        self._actor = actor

    def took(self, messages: Sequence[Any]) -> None:
        """Note messages that were taken together."""
        for message in messages:
            self._note(self._actor, Verb.TOOK, message)

    def heard(self, what: Heard, answer: T) -> T:
        """Note an answer and return it."""
        self._note(self._actor, Verb.HEARD, answer, what)
        return answer

    def did(self, value: Any, what: Did | str = "") -> None:
        """Note what was asked of others."""
        self._note(self._actor, Verb.DID, value, what)

    def hearing(self, what: Heard, ask: Callable[..., T]) -> Callable[..., T]:
        """Return `ask` with its answers noted."""

        def asked(*args: Any) -> T:
            return self.heard(what, ask(*args))

        return asked


class RecordedCalendar:
    """A live calendar; what the time was is noted."""

    def __init__(self, calendar: Calendar, tap: Tap) -> None:
        self._calendar = calendar
        self._tap = tap
        self.horizon = calendar.horizon
        self.advance = calendar.advance

    def now_ns(self) -> int:
        """See `ports.Clock`."""
        return self._tap.heard(Heard.TIME, self._calendar.now_ns())

    def schedule(self, key: Key, callback: Callable[..., None], *args: Any) -> Cancelable:
        """See `ports.Calendar`; what comes of it is a message like others."""
        return self._calendar.schedule(key, callback, *args)


class RecordedLedger:
    """A ledger; that a commit was acknowledged is noted, and after how many entries."""

    def __init__(self, ledger: LedgerWriter, tap: Tap) -> None:
        self._ledger = ledger
        self._tap = tap
        self._count = 0

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """See `ports.LedgerWriter`."""
        self._count += len(entries)
        self._ledger.append(entries)

    async def commit(self) -> None:
        """See `ports.LedgerWriter`."""
        count = self._count
        await self._ledger.commit()
        self._tap.heard(Heard.COMMIT, count)


class RecordedVenue:
    """An account; what is asked of it is noted, before it leaves."""

    def __init__(self, venue: AccountVenue, tap: Tap) -> None:
        self._venue = venue
        self._tap = tap

    def send(self, send: Send) -> None:
        """See `ports.AccountVenue`."""
        self._tap.did(send)
        self._venue.send(send)

    def look_up(self, wanted: LookUpWanted) -> None:
        """See `ports.AccountVenue`."""
        self._tap.did(wanted)
        self._venue.look_up(wanted)

    def cancel_all(self, instruments: Sequence[str]) -> None:
        """See `ports.AccountVenue`."""
        self._tap.did(list(instruments), Did.CANCEL_ALL)
        self._venue.cancel_all(instruments)

    def compare(self, why: str, since_ms: int) -> None:
        """See `ports.AccountVenue`."""
        self._tap.did([why, since_ms], Did.COMPARE)
        self._venue.compare(why, since_ms)
