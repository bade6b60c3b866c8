"""What waits to be told by one way out: bounded, folded under a flood, tried again, dropped by policy, counted.

Sans-IO: who delivers asks `due`, tries, and says `delivered` or `failed`.
"""

from collections import Counter
from fnmatch import fnmatchcase

import msgspec

from bot.domain.operation import Notice, Severity

_S = 1_000_000_000
RANK = {severity: rank for rank, severity in enumerate(Severity)}


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is told, and how fast."""

    least: Severity = Severity.INFO
    muted: tuple[str, ...] = ()  # kinds, or patterns such as order.*; what is critical is never muted
    bound: int = 200  # lines that wait
    batch_max: int = 20  # lines told at once
    fold_from: int = 10  # once so many wait, the newest of a kind stands for those before it
    every_ns: int = 1 * _S  # at most one message in so long
    retry_first_ns: int = 1 * _S
    retry_most_ns: int = 60 * _S
    keep_ns: int = 24 * 3_600 * _S  # what waited longer is old news
    keep_info_ns: int = 3_600 * _S


class Line(msgspec.Struct):
    """A notice that waits, and those like it."""

    notice: Notice  # the newest
    count: int = 1
    first_ns: int = 0
    is_repeated: bool = False  # it was told before, and nobody acknowledged it


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What to tell now, in one message."""

    lines: tuple[Line, ...]
    dropped: int  # lines that were given up since the last message

    @property
    def severity(self) -> Severity:
        """Return the gravest."""
        return max((line.notice.severity for line in self.lines), key=RANK.__getitem__)


class Outbox:
    """One way out.

    Attributes:
        counts: told, folded, muted, dropped, failures; since the start.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._waiting: list[Line] = []
        self._under_way: Batch | None = None
        self._not_before_ns = 0
        self._retry_ns = policy.retry_first_ns
        self._dropped_untold = 0
        self.counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting) + (len(self._under_way.lines) if self._under_way else 0)

    def change(self, policy: Policy) -> None:
        """Tell by another policy from now on; what waits already is told."""
        self._policy = policy

    def put(self, notice: Notice, now_ns: int, *, is_repeated: bool = False) -> bool:
        """Take a notice; return whether there is something new to tell."""
        if not self._wants(notice):
            self.counts["muted"] += 1
            return False
        is_crowded = len(self._waiting) >= self._policy.fold_from
        for line in reversed(self._waiting):
            if (
                line.notice.kind == notice.kind
                and line.notice.instrument == notice.instrument
                and _may_fold(line, notice, is_crowded=is_crowded)
            ):
                line.notice = notice
                line.count += 1
                self.counts["folded"] += 1
                return True
        self._waiting.append(Line(notice=notice, first_ns=now_ns, is_repeated=is_repeated))
        self._shrink()
        return True

    def due_ns(self) -> int | None:
        """Return when to ask for the next batch; None where nothing waits."""
        return self._not_before_ns if self._waiting and self._under_way is None else None

    def due(self, now_ns: int) -> Batch | None:
        """Return what to tell now, None for nothing; then `delivered` or `failed` must be called."""
        self._forget_old(now_ns)
        if not self._waiting or self._under_way is not None or now_ns < self._not_before_ns:
            return None
        count = self._policy.batch_max
        batch = Batch(lines=tuple(self._waiting[:count]), dropped=self._dropped_untold)
        del self._waiting[:count]
        self._under_way = batch
        return batch

    def delivered(self, now_ns: int) -> None:
        """Take note that the batch was told."""
        assert self._under_way is not None
        self.counts["told"] += len(self._under_way.lines)
        self._dropped_untold -= self._under_way.dropped
        self._under_way = None
        self._retry_ns = self._policy.retry_first_ns
        self._not_before_ns = now_ns + self._policy.every_ns

    def failed(self, now_ns: int, *, retry_after_ns: int | None = None) -> None:
        """Put back a batch that was not told: it waits on, in front.

        Args:
            retry_after_ns: how long the other side wants to be left alone; None for our own, growing, patience.
        """
        assert self._under_way is not None
        self.counts["failures"] += 1
        self._waiting[:0] = self._under_way.lines
        self._under_way = None
        wait_ns = self._retry_ns if retry_after_ns is None else retry_after_ns
        self._not_before_ns = now_ns + wait_ns
        self._retry_ns = min(2 * self._retry_ns, self._policy.retry_most_ns)
        self._shrink()

    def refused(self, now_ns: int) -> None:
        """Drop a batch that the other side will never take."""
        assert self._under_way is not None
        self._drop(len(self._under_way.lines))
        self._under_way = None
        self._not_before_ns = now_ns + self._policy.every_ns

    def put_back(self, now_ns: int) -> None:
        """Put back what was under way, if anything was: who delivered it has failed."""
        if self._under_way is not None:
            self.failed(now_ns)

    def _wants(self, notice: Notice) -> bool:
        if notice.severity is Severity.CRITICAL:
            return True
        if RANK[notice.severity] < RANK[self._policy.least]:
            return False
        return not any(fnmatchcase(notice.kind, pattern) for pattern in self._policy.muted)

    def _shrink(self) -> None:
        """Give up the oldest of the least grave until the rest fits."""
        while self._waiting and len(self) > self._policy.bound:
            ranks = [RANK[line.notice.severity] for line in self._waiting]
            del self._waiting[ranks.index(min(ranks))]
            self._drop(1)

    def _forget_old(self, now_ns: int) -> None:
        kept = [line for line in self._waiting if now_ns - line.first_ns <= self._keep_ns(line)]
        self._drop(len(self._waiting) - len(kept))
        self._waiting = kept

    def _keep_ns(self, line: Line) -> int:
        return self._policy.keep_info_ns if line.notice.severity is Severity.INFO else self._policy.keep_ns

    def _drop(self, count: int) -> None:
        if count:
            self.counts["dropped"] += count
            self._dropped_untold += count


def _may_fold(line: Line, notice: Notice, *, is_crowded: bool) -> bool:
    """Return whether a notice may take the place of one that waits: not where a person must see each."""
    if line.notice.severity is not notice.severity:
        return False
    return line.notice.text == notice.text or (is_crowded and line.notice.severity in (Severity.INFO, Severity.WARNING))


def lines_of(batch: Batch) -> list[str]:
    """Return a batch in words, a line for each."""
    said = []
    for line in batch.lines:
        times = f" ({line.count} times)" if line.count > 1 else ""
        again = "not acknowledged: " if line.is_repeated else ""
        name = f"{line.notice.instrument}: " if line.notice.instrument else ""
        said.append(f"{again}{name}{line.notice.text}{times}")
    if batch.dropped:
        said.append(f"({batch.dropped} more were dropped: too many, or too old)")
    return said
