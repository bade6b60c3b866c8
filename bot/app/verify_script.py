"""Stands around an actor that is run again from its record: tells it what it was told, holds it to what it did."""

from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from types import coroutine
from typing import Any

import msgspec

from bot.actors.inbox import Inbox
from bot.app.verify_words import Difference, changes, describe, text_of
from bot.core.calendar import NEVER, Key
from bot.core.deliveries import Did, Heard, Told, Verb
from bot.core.submission.requests import LookUpWanted, Send
from bot.domain.errors import BotError
from bot.domain.ledger import DecisionMade, LedgerEntry
from bot.store.run_journal import JournalRow, RunJournal

_TOOK_MAX = 512  # messages of an actor that reads no clock, handed over at a time


class Differs(Exception):
    """An actor does not do again what it did."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(difference.what)
        self.difference = difference


class Exhausted(Exception):
    """An actor asks for more than is on record."""


@coroutine
def _suspend() -> Generator[None, None, None]:
    yield


class Script:
    """One actor's notes, as far as they are known: up to its next message.

    Args:
        actor: its name.
    """

    def __init__(self, actor: str) -> None:
        self.actor = actor
        self.notes: deque[Told] = deque()
        self.serving: Told | None = None  # the message that the actor is at
        self._last = 0  # the number of the newest note that was used

    def pop(self, asking: str) -> Told:
        """Return the next note, for an actor that does `asking` now."""
        if not self.notes:
            raise Exhausted(asking)
        told = self.notes.popleft()
        self._last = told.number
        return told

    def heard(self, what: Heard) -> Any:
        """Return what it was answered."""
        told = self.pop(f"asks for: {what}")
        if told.verb is not Verb.HEARD or told.kind != what:
            raise self.differs("something else was done", describe(told), f"asks for: {what}")
        return told.value

    def did(self, value: Any, kind: str) -> None:
        """Hold what is asked of others against what was."""
        told = self.pop(f"{kind}: {text_of(value)}")
        if told.verb is not Verb.DID or told.kind != kind:
            raise self.differs("something else was asked of the venue", describe(told), f"{kind}: {text_of(value)}")
        if told.value != value:
            what = f"{kind} to the venue is another"
            raise self.differs(what, text_of(told.value), text_of(value), changes(told.value, value))

    def took(self) -> list[Told]:
        """Return the messages that were taken together."""
        messages = []
        while self.notes and self.notes[0].verb is Verb.TOOK:
            messages.append(self.notes.popleft())
        return messages

    def differs(self, what: str, then: str, now: str, changed: tuple[str, ...] = ()) -> Differs:
        """Return the difference that shows at the message being served."""
        at = self.serving
        return Differs(
            Difference(
                number=self._last if at is None else at.number,
                actor=self.actor,
                during="" if at is None else at.kind,
                what=what,
                then=then,
                now=now,
                changed=changed,
            )
        )


class _Served(list[Any]):
    """Messages; whoever goes through them lets the script know at which it is."""

    def __init__(self, script: Script, notes: list[Told]) -> None:
        super().__init__(told.value for told in notes)
        self._script = script
        self._notes = notes

    def __iter__(self) -> Iterator[Any]:
        for told in self._notes:
            self._script.serving = told
            yield told.value


class ScriptedInbox(Inbox[Any]):
    """Hands an actor the messages it took; what it tells itself comes home as it did then."""

    def __init__(self, script: Script) -> None:
        super().__init__(script.actor, bound=1)
        self._script = script

    async def take(self) -> list[Any]:
        """See `Inbox`."""
        while not (taken := self._script.took()):
            if self._script.notes:
                then = describe(self._script.pop(""))
                raise self._script.differs("more was done", then, "waits for its next message")
            await _suspend()
        return _Served(self._script, taken)

    def leave(self, message: Any) -> None:
        """See `Inbox`: it is on record when it was taken."""


class Channel(Inbox[Any]):
    """What one actor hands another: held against what that one took, whichever comes first.

    Args:
        name: of what is handed over.
        is_same: compares two messages.
        on_difference: told of the first.
        is_all_taken: at the run's end nothing is left over: who takes it leaves after who makes it.
    """

    def __init__(
        self,
        name: str,
        is_same: Callable[[Any, Any], bool],
        on_difference: Callable[[Difference], None],
        *,
        is_all_taken: bool = False,
    ) -> None:
        super().__init__(name, bound=1)
        self._is_same = is_same
        self._on_difference = on_difference
        self._is_all_taken = is_all_taken
        self._made: deque[Any] = deque()
        self._took: deque[Told] = deque()
        self._last = 0
        self.is_off = False  # there was a difference: nothing is compared any more

    async def put(self, message: Any) -> None:
        """See `Inbox`."""
        self.leave(message)

    def deliver(self, message: Any) -> None:
        """See `Inbox`."""
        self.leave(message)

    def leave(self, message: Any) -> None:
        """See `Inbox`."""
        if not self.is_off:
            self._made.append(message)
            self._compare()

    def see(self, told: Told) -> None:
        """See what was taken in the run."""
        if not self.is_off:
            self._took.append(told)
            self._compare()

    def close(self, *, is_whole: bool) -> None:
        """Say what is left on one side at the end; of a run that was cut short, what is left proves nothing."""
        if self.is_off or not is_whole:
            return
        if self._took:
            self._differ(self._took[0].number, text_of(self._took[0].value), "none is made")
        elif self._made and self._is_all_taken:
            self._differ(self._last, "none was made", text_of(self._made[0]))

    def _compare(self) -> None:
        while self._made and self._took and not self.is_off:
            told, made = self._took.popleft(), self._made.popleft()
            self._last = told.number
            if told.value is not made and not self._is_same(told.value, made):
                self._differ(told.number, text_of(told.value), text_of(made), changes(told.value, made))

    def _differ(self, number: int, then: str, now: str, changed: tuple[str, ...] = ()) -> None:
        self.is_off = True
        difference = Difference(
            number=number, actor=self.name, what="another was made", then=then, now=now, changed=changed
        )
        self._on_difference(difference)


class _Nothing:
    def cancel(self) -> None:
        """Do nothing: it is on record what came of it."""


class ScriptedCalendar:
    """Says what time it was."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def now_ns(self) -> int:
        """See `ports.Clock`."""
        now_ns: int = self._script.heard(Heard.TIME)
        return now_ns

    def horizon(self) -> Key:
        """See `ports.Calendar`: live there is none."""
        return NEVER

    def advance(self, time_ns: int) -> None:
        """See `ports.Calendar`."""

    def schedule(self, key: Key, callback: Callable[..., None], *args: Any) -> _Nothing:
        """See `ports.Calendar`: what was due is on record."""
        return _Nothing()


class ScriptedVenue:
    """Holds what is asked of the account against what was."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.sent = 0

    def send(self, send: Send) -> None:
        """See `ports.AccountVenue`."""
        self._script.did(send, "Send")
        self.sent += 1

    def look_up(self, wanted: LookUpWanted) -> None:
        """See `ports.AccountVenue`."""
        self._script.did(wanted, "LookUpWanted")

    def cancel_all(self, instruments: Sequence[str]) -> None:
        """See `ports.AccountVenue`."""
        self._script.did(list(instruments), Did.CANCEL_ALL)

    def compare(self, why: str, since_ms: int) -> None:
        """See `ports.AccountVenue`."""
        self._script.did([why, since_ms], Did.COMPARE)


class ScriptedLedger:
    """Holds entries against the rows that the run left in its ledger, byte for byte."""

    def __init__(self, script: Script, journal: RunJournal) -> None:
        self._script = script
        self._journal = journal
        self.count = 0  # entries made
        self.compared = 0  # of them, those that have the same row
        self.decisions = 0  # among those

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """See `ports.LedgerWriter`."""
        for entry in entries:
            self.count += 1
            row = self._journal.next()
            if row is not None:
                self._compare(row, entry)
                self.compared += 1
                self.decisions += isinstance(entry, DecisionMade)

    async def commit(self) -> None:
        """See `ports.LedgerWriter`."""
        count = self._script.heard(Heard.COMMIT)
        if count != self.count:
            raise self._script.differs("another number of entries was committed", f"{count}", f"{self.count}")
        if count > self.compared:
            then = f"the ledger ends after {self.compared} entries of the run"
            raise self._script.differs("what was committed is gone", then, f"{count} were acknowledged")

    def _compare(self, row: JournalRow, entry: LedgerEntry) -> None:
        body = msgspec.json.encode(entry).decode()
        if body != row.body:
            changed = changes(msgspec.json.decode(row.body), msgspec.json.decode(body))
            raise self._script.differs(f"ledger row {row.seq} is another", row.body, body, changed)
        if not row.is_chained:
            then = f"row {row.seq} says {row.stored.hex()}"
            raise self._script.differs("the ledger's hash chain breaks", then, f"the rows make {row.digest.hex()}")


class Player:
    """Runs one actor again, message by message.

    Args:
        script: its notes.
        life: all it does, from its beginning to its end.
        on_difference: told of the first difference, after which the actor is left alone.
    """

    def __init__(
        self, script: Script, life: Coroutine[Any, Any, None], on_difference: Callable[[Difference], None]
    ) -> None:
        self.script = script
        self.failure = ""  # what the actor itself failed of, at the very end
        self.is_over = False  # it has left, or differs
        self._life = life
        self._on_difference = on_difference
        self._has_more = True  # at its beginning an actor may do something before its first message

    def add(self, told: Told) -> None:
        """Take the actor's next note; run it once all is known that belongs to its last messages."""
        if self.is_over:
            return
        if told.verb is Verb.TOOK and (self._has_more or len(self.script.notes) >= _TOOK_MAX):
            self.play()
        self._has_more = told.verb is not Verb.TOOK
        self.script.notes.append(told)

    def play(self, *, is_last: bool = False, is_whole: bool = True) -> None:
        """Let it do what follows from what it has been told.

        Args:
            is_last: nothing follows on record. is_whole: because the run had ended.
        """
        if self.is_over:
            return
        try:
            self._life.send(None)
        except StopIteration:
            self.is_over = True
            if self.script.notes:
                self._differ(self.script.differs("more was done", describe(self.script.pop("")), "has left"))
        except Differs as differs:
            self._differ(differs)
        except Exhausted as exhausted:
            self.is_over = True
            if not is_last or is_whole:
                self._differ(self.script.differs("less was done", "waited for its next message", str(exhausted)))
        except Exception as error:  # purity: of whoever wrote the strategy too; it is told, and nothing goes on
            self.is_over = True
            self.failure = str(error) if isinstance(error, BotError) else f"{type(error).__name__}: {error}"
            if not is_last or is_whole:
                self._differ(self.script.differs("it fails", "it went on", self.failure))

    def close(self) -> None:
        """Let go of the actor."""
        self._life.close()

    def _differ(self, differs: Differs) -> None:
        self.is_over = True
        self._on_difference(differs.difference)
