"""Is somebody alive who said something again and again, and now does not?

What counts is that something new is said, by our own clock that only rises: no wall clock can be wrong about it, and a
file that lies there since last week is silence. Time in which we ourselves were away is nobody's silence.
"""

from collections.abc import Hashable
from enum import StrEnum


class Hearing(StrEnum):
    """What we know."""

    NOBODY = "nobody"  # nothing was ever said, or it was said that this was the end
    ALIVE = "alive"
    SILENT = "silent"


class Silence:
    """Tells life from silence.

    Args:
        after_ns: how long without anything new is silence.
        away_ns: our own looks lie closer together than this; a longer gap means that we were stopped.
    """

    def __init__(self, *, after_ns: int, away_ns: int) -> None:
        if not 0 < away_ns < after_ns:
            raise ValueError(f"0 < away_ns < after_ns, not {away_ns} and {after_ns}")
        self._after_ns = after_ns
        self._away_ns = away_ns
        self._said: Hashable | None = None
        self._said_ns: int | None = None
        self._looked_ns: int | None = None
        self.hearing = Hearing.NOBODY

    def hear(self, said: Hashable | None, now_ns: int, *, is_last: bool = False) -> Hearing:
        """Take what there is to hear now, and return what it means.

        Args:
            said: what was said last; None where nothing can be heard. Only another one than before is life.
            now_ns: by a clock that only rises.
            is_last: it was said that this is the end.
        """
        away_ns = 0 if self._looked_ns is None else now_ns - self._looked_ns
        self._looked_ns = now_ns
        if self._said_ns is not None and away_ns > self._away_ns:
            self._said_ns += away_ns
        if said is not None and said != self._said:
            self._said, self._said_ns = said, now_ns
            self.hearing = Hearing.NOBODY if is_last else Hearing.ALIVE
        elif self.hearing is Hearing.ALIVE and self.silent_ns(now_ns) >= self._after_ns:
            self.hearing = Hearing.SILENT
        return self.hearing

    def silent_ns(self, now_ns: int) -> int:
        """Return how long nothing new was said; 0 where nothing ever was."""
        return 0 if self._said_ns is None else now_ns - self._said_ns
