"""Decides what is done about an update. It does not wait, send, draw numbers or ask the time.

The order of the checks is the order of their price: number, rate, who, when, and only then what.
"""

from collections import Counter, deque
from collections.abc import Callable

import msgspec

from bot.domain.operation import Kill, Notice, OperatorCommand, Severity
from bot.operator.telegram.text import Text
from bot.operator.telegram.updates import Asked, Ignored, claims_operator, read, update_id_of
from bot.operator.telegram.verbs import (
    Acknowledge,
    Act,
    Confirm,
    Look,
    Unclear,
    Withdraw,
    is_kill,
    parse,
)

_S = 1_000_000_000
_AGE_MAX_NS = 60 * _S  # older commands were meant for a market that is gone
_CODE_NS = 60 * _S
_TRIES_MAX = 3
_HOSTILE_WINDOW_NS = 60 * _S
_HOSTILE_MAX = 10  # within it; more are told of, once per window
_SEEN_MAX = 2_048
_STRANGERS_MAX = 20


class Say(msgspec.Struct, frozen=True, kw_only=True):
    """Tell an operator something."""

    user_id: int
    text: Text


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """Tell an operator what a command would do, and the code that has it done."""

    user_id: int
    command: OperatorCommand
    code: str


class Show(msgspec.Struct, frozen=True, kw_only=True):
    """Put together what an operator wants to see, and tell it."""

    user_id: int
    look: Look


class Do(msgspec.Struct, frozen=True, kw_only=True):
    """Have the bot carry out a command, and tell what came of it."""

    user_id: int
    command: OperatorCommand
    by: str


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A person has seen the alerts."""

    user_id: int


class Warn(msgspec.Struct, frozen=True, kw_only=True):
    """Tell whoever is told of trouble."""

    notice: Notice


Effect = Say | Offer | Show | Do | Seen | Warn


class _Bucket:
    """So many at once, so many a second."""

    def __init__(self, burst: int, per_second: int) -> None:
        self._burst, self._per_second = burst, per_second
        self._level = float(burst)
        self._at_ns: int | None = None

    def take(self, now_ns: int) -> bool:
        """Return whether one more may pass."""
        if self._at_ns is not None:
            self._level = min(self._burst, self._level + max(0, now_ns - self._at_ns) / _S * self._per_second)
        self._at_ns = now_ns
        if self._level < 1:
            return False
        self._level -= 1
        return True


class _Waiting(msgspec.Struct):
    """What waits for its code."""

    command: OperatorCommand
    code: str
    until_ns: int
    tries: int = 0


class Control:
    """The control channel.

    Args:
        allowed: the operators' user ids.
        draw_code: draws six digits that nobody can guess.

    Attributes:
        ignored: how many updates were ignored, by why.
        done: how many commands were handed on.
        strangers: the first few who wrote and are no operators: so does who sets the bot up find the own number.
    """

    def __init__(self, *, allowed: frozenset[int], draw_code: Callable[[], str]) -> None:
        self._allowed = allowed
        self._draw_code = draw_code
        self._offers: dict[int, _Waiting] = {}
        self._seen: deque[int] = deque(maxlen=_SEEN_MAX)
        self._strangers = _Bucket(burst=50, per_second=20)
        self._operators = _Bucket(burst=20, per_second=2)
        self._kills = _Bucket(burst=3, per_second=1)
        self._hostile: deque[int] = deque(maxlen=_HOSTILE_MAX + 1)
        self._warned_ns: int | None = None
        self.ignored: Counter[str] = Counter()
        self.done = 0
        self.strangers: list[int] = []

    def handle(self, raw: object, now_ns: int, *, is_durable: bool = True) -> list[Effect]:
        """Return what to do about an update.

        Args:
            is_durable: its number is; where the disk refuses, only a kill passes, which may come twice.
        """
        update_id = update_id_of(raw)
        if update_id is not None and update_id in self._seen:
            return self._ignore(Ignored(why="duplicate", is_hostile=False), now_ns)
        is_claimed = claims_operator(raw, self._allowed)
        # A stranger's flood has a budget of its own, so that it cannot keep an operator out.
        if not is_claimed and not self._strangers.take(now_ns):
            return self._ignore(Ignored(why="flood"), now_ns)
        if update_id is not None:
            self._seen.append(update_id)
        asked = read(raw, self._allowed)
        if isinstance(asked, Ignored):
            return self._ignore(asked, now_ns)
        may_kill = is_kill(asked.text)
        if not (self._kills if may_kill else self._operators).take(now_ns):
            return self._ignore(Ignored(why="flood", is_hostile=False), now_ns)
        if not is_durable and not may_kill:
            self.ignored["not_durable"] += 1
            return [_say(asked.user_id, "The disk refuses to write; only /kill is taken now. See to the host.")]
        age_ns = now_ns - asked.sent_ns
        if age_ns > _AGE_MAX_NS and not may_kill:
            return self._ignore(Ignored(why="old", is_hostile=False), now_ns)
        if age_ns < -_AGE_MAX_NS and not may_kill:
            return self._ignore(Ignored(why="future"), now_ns)
        return self._obey(asked, now_ns)

    def _obey(self, asked: Asked, now_ns: int) -> list[Effect]:
        user_id = asked.user_id
        match parse(asked.text, why="by Telegram"):
            case Look() as look:
                return [Show(user_id=user_id, look=look)]
            case Act(command=command, is_confirmed=True):
                self._offers.clear()  # what was offered before was meant for a bot that trades
                return [self._do(user_id, command)]
            case Act(command=command):
                return [self._offer(user_id, command, now_ns)]
            case Confirm(code=code):
                return [self._confirm(user_id, code, now_ns)]
            case Acknowledge():
                return [Seen(user_id=user_id)]
            case Withdraw():
                gone = self._offers.pop(user_id, None)
                return [_say(user_id, "Forgotten." if gone else "Nothing was waiting.")]
            case Unclear(hint=hint):
                return [_say(user_id, hint)]

    def _offer(self, user_id: int, command: OperatorCommand, now_ns: int) -> Effect:
        code = self._draw_code()
        self._offers[user_id] = _Waiting(command=command, code=code, until_ns=now_ns + _CODE_NS)
        return Offer(user_id=user_id, command=command, code=code)

    def _confirm(self, user_id: int, code: str, now_ns: int) -> Effect:
        offer = self._offers.get(user_id)
        if offer is None:
            return _say(user_id, "Nothing waits for a code; nothing was done.")
        if now_ns > offer.until_ns or now_ns < offer.until_ns - _CODE_NS:
            del self._offers[user_id]
            return _say(user_id, "The code is too old; nothing was done. Ask again.")
        if code != offer.code:
            offer.tries += 1
            if offer.tries >= _TRIES_MAX:
                del self._offers[user_id]
                return _say(user_id, "Wrong code, for the third time; nothing was done. Ask again.")
            return _say(user_id, "Wrong code; nothing was done yet.")
        del self._offers[user_id]
        return self._do(user_id, offer.command)

    def _do(self, user_id: int, command: OperatorCommand) -> Effect:
        self.done += 1
        return Do(user_id=user_id, command=command, by=f"telegram:{user_id}")

    def _ignore(self, ignored: Ignored, now_ns: int) -> list[Effect]:
        self.ignored[ignored.why] += 1
        if ignored.stranger_id and len(self.strangers) < _STRANGERS_MAX and ignored.stranger_id not in self.strangers:
            self.strangers.append(ignored.stranger_id)
        if not ignored.is_hostile:
            return []
        self._hostile.append(now_ns)
        is_many = len(self._hostile) > _HOSTILE_MAX and now_ns - self._hostile[0] <= _HOSTILE_WINDOW_NS
        is_told = self._warned_ns is not None and 0 <= now_ns - self._warned_ns < _HOSTILE_WINDOW_NS
        if not is_many or is_told:
            return []
        self._warned_ns = now_ns
        counts = ", ".join(f"{why} {count}" for why, count in sorted(self.ignored.items()))
        notice = Notice(
            ts_ns=now_ns,
            kind="telegram.was_pestered",
            severity=Severity.WARNING,
            text=f"more than {_HOSTILE_MAX} Telegram updates within a minute were not from an operator: {counts}",
        )
        return [Warn(notice=notice)]


def name_of(command: OperatorCommand) -> str:
    """Return a command's name for a person."""
    name = type(command).__name__
    return "Kill and flatten" if isinstance(command, Kill) and command.is_flattening else name


def _say(user_id: int, text: str) -> Say:
    return Say(user_id=user_id, text=Text(head=text))
