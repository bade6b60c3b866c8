"""When a failed question is asked again, how long after, and when to give up.

Pure: the failure, the clock and the dice are arguments. It is for reading only: a failed write may have happened, and
must never be repeated by this.

Source: Bybit V5, error codes and rate limits.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from bot.domain.errors import BotError, DataError, VenueError

_BACKOFF_FIRST_S = 0.5
_BACKOFF_MAX_S = 30.0
_RESET_MAX_S = 60.0  # a reset further away than that is a clock that disagrees with ours
_BAN_S = 600.0  # the venue's own advice: at least ten minutes

# Time-outs, overload, restarts and rate limits, as `retCode`: for a question these pass by themselves.
_PASSING_CODES = frozenset(
    [429, 10000, 10016, 10019, 10403, 10429, 20003, 500000, 170001, 170005, 170007, 170032, 170146, 170222]
)
_RATE_LIMIT_CODE = 10006
_BAN_CODE = 10018


class FailureKind(StrEnum):
    """What went wrong with one question."""

    TRANSPORT = "transport"  # no whole answer
    BUSY = "busy"  # the venue's trouble, which passes
    RATE_LIMIT = "rate_limit"  # too many questions, with a time from when on it answers again
    BANNED = "banned"  # this address is shut out for a while
    BAD_PAGE = "bad_page"  # an answer, but not to the question
    REFUSED = "refused"  # the venue's last word


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One failed question."""

    kind: FailureKind
    text: str  # what happened, one clause
    code: str = ""  # the venue's reason code, or "HTTP" and the status
    reset_ms: int | None = None  # of a rate limit: when it ends, the venue's clock

    def __str__(self) -> str:
        return f"{self.code}: {self.text}" if self.code else self.text


# How many failures of a kind in one question are borne. With the waits: about two minutes of network trouble, and
# twenty minutes of a ban.
_BORNE = {
    FailureKind.TRANSPORT: 8,
    FailureKind.BUSY: 8,
    FailureKind.RATE_LIMIT: 20,
    FailureKind.BANNED: 2,
    FailureKind.BAD_PAGE: 2,
    FailureKind.REFUSED: 0,
}


def failure_of_code(code: int, message: str, *, reset_ms: int | None = None) -> Failure:
    """Return what a `retCode` other than 0 means for a question."""
    if code == _RATE_LIMIT_CODE:
        return Failure(kind=FailureKind.RATE_LIMIT, text=message, code=str(code), reset_ms=reset_ms)
    kind = FailureKind.BUSY if code in _PASSING_CODES else FailureKind.REFUSED
    return Failure(kind=FailureKind.BANNED if code == _BAN_CODE else kind, text=message, code=str(code))


def failure_of_status(status: int, text: str) -> Failure:
    """Return what an HTTP status other than 200 means for a question."""
    kind = FailureKind.BUSY if status == 429 or status >= 500 else FailureKind.REFUSED
    return Failure(kind=FailureKind.BANNED if status == 403 else kind, text=text, code=f"HTTP {status}")


@dataclass(kw_only=True, slots=True)
class Patience:
    """The failures of one question so far; make a new one for every question."""

    failures: dict[FailureKind, int] = field(default_factory=dict)

    def wait_s(self, failure: Failure, *, venue_now_ms: int, dice: float) -> float:
        """Return how long to wait before asking again.

        Args:
            failure: what just happened.
            venue_now_ms: the time, by the venue's clock.
            dice: in [0, 1), so that many clients do not come back at one moment.

        Raises:
            VenueError: the venue refused, or cannot be reached for too long.
            DataError: what it answers stays wrong.
        """
        count = self.failures[failure.kind] = self.failures.get(failure.kind, 0) + 1
        if count > _BORNE[failure.kind]:
            raise _last_word(failure, count)
        if failure.kind is FailureKind.BANNED:
            return _BAN_S + 30.0 * dice
        if failure.kind is FailureKind.RATE_LIMIT and failure.reset_ms is not None:
            until_reset_s = (failure.reset_ms - venue_now_ms) / 1000
            return min(max(until_reset_s, 0.0), _RESET_MAX_S) + _BACKOFF_FIRST_S * (0.5 + 0.5 * dice)
        backoff_s = min(_BACKOFF_FIRST_S * 2.0 ** (count - 1), _BACKOFF_MAX_S)
        return backoff_s * (0.5 + 0.5 * dice)


def _last_word(failure: Failure, count: int) -> BotError:
    if failure.kind is FailureKind.REFUSED:
        return VenueError(failure.code, failure.text)
    if failure.kind is FailureKind.BAD_PAGE:
        return DataError(f"the answer stays wrong, {count} times: {failure.text}")
    if failure.kind is FailureKind.BANNED:
        return VenueError(
            failure.code,
            f"{failure.text}: still shut out after {(count - 1) * _BAN_S / 60:.0f} minutes; it is a limit of this "
            "address or a country that the venue does not serve",
        )
    return VenueError(failure.code or failure.kind, f"{failure.text}, {count} times in a row; try again later")
