"""Trust in a book, told once more and slowly: one event at a time, dictionaries, no arrays.

What `bot.venues.bybit.book_sync` is checked against; nothing of it is used here but the names of reasons.
"""

from dataclasses import dataclass, field
from fractions import Fraction

from bot.venues.bybit.book_judge import Break
from bot.venues.bybit.book_sync import BookLimits


@dataclass(frozen=True, kw_only=True)
class Told:
    """One event: a message of the book, a best quote or a ticker; prices in ticks, 0 for none."""

    kind: str  # "book", "quote", "ticker"
    known_ns: int
    ts_ns: int = 0
    sent_ns: int = 0  # of a snapshot; 0 where not told
    update: int = 0
    seq: int = 0
    is_snapshot: bool = False
    bids: tuple[tuple[int, int], ...] = ()
    asks: tuple[tuple[int, int], ...] = ()
    bid: int = 0
    ask: int = 0
    mark: Fraction = Fraction(0)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is shown of the book: nothing where it is not trusted."""

    known_ns: int
    update: int
    is_trusted: bool
    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]


@dataclass
class ReferenceSync:
    """The rules of the book's trust."""

    levels: int
    limits: BookLimits
    rows: list[Row] = field(default_factory=list)
    breaks: list[tuple[Break, int]] = field(default_factory=list)
    is_open: bool = False
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    # The book by itself goes on being built while others distrust it; None: it does not trust itself.
    own: tuple[int, int] | None = None  # update and time of its last message
    last: Told | None = None
    seq: int = 0
    heard_ns: int = 0
    quote: tuple[int, int] = (0, 0)
    ticker: tuple[int, int] = (0, 0)
    mark: Fraction = Fraction(0)
    since: dict[Break, int | None] = field(default_factory=dict)

    def tell(self, event: Told) -> None:
        """Take the next event."""
        now = event.known_ns
        self.expire(now)
        reason: Break | None = None
        is_row = False
        if event.kind == "quote":
            self.quote = (event.bid, event.ask)
            if self.is_open and self.quote == self._top():
                self.heard_ns = now
        elif event.kind == "ticker":
            self.ticker, self.mark = (event.bid, event.ask), event.mark
        else:
            is_row, reason = self._on_book(event)
        if reason is not None:
            self.is_open = False
            self.breaks.append((reason, now))
        self._compare(now)
        if is_row:
            self._show(now, event.update)

    def expire(self, now: int) -> None:
        """Close what the time alone closes."""
        if not self.is_open:
            return
        limits = self.limits
        for reason, limit in (
            (Break.LEVEL1, limits.level1_ns),
            (Break.TICKER, limits.ticker_ns),
            (Break.MARK, limits.mark_ns),
        ):
            since = self.since.get(reason)
            if since is not None and now - since > limit:
                self._close(reason, now)
                return
        if now - self.heard_ns > limits.stale_ns:
            self._close(Break.STALE, now)

    def _close(self, reason: Break, now: int) -> None:
        assert self.last is not None
        self.is_open = False
        self.breaks.append((reason, now))
        self._show(now, self.last.update)

    def _on_book(self, event: Told) -> tuple[bool, Break | None]:
        is_right = self._build(event)
        if is_right is None:
            return False, None  # old news
        if not event.is_snapshot and not self.is_open:
            return True, None
        reason = self._judge(event, is_right=is_right)
        if event.is_snapshot:
            self.is_open = True
            self.seq = event.seq
        self.seq = max(self.seq, event.seq) if reason is None else event.seq
        self.last, self.heard_ns = event, event.known_ns
        return True, reason

    def _build(self, event: Told) -> bool | None:
        """Change the book by itself; return whether it believes itself, None for old news."""
        if event.is_snapshot:
            self.bids, self.asks = {}, {}
        elif self.own is None:
            return False
        elif event.update <= self.own[0] and event.ts_ns <= self.own[1]:
            return None
        elif event.update != self.own[0] + 1:
            self._ruin()
            return False
        for side, levels in ((self.bids, event.bids), (self.asks, event.asks)):
            for price, qty in levels:
                if qty:
                    side[price] = qty
                else:
                    side.pop(price, None)
        self.own = (event.update, event.ts_ns)
        if self.bids and self.asks and max(self.bids) >= min(self.asks):
            self._ruin()
            return False
        return True

    def _ruin(self) -> None:
        self.own = None
        self.bids, self.asks = {}, {}

    def _judge(self, event: Told, *, is_right: bool) -> Break | None:
        late = event.known_ns - (max(event.ts_ns, event.sent_ns) if event.is_snapshot else event.ts_ns)
        if not is_right:
            is_next = self.last is not None and event.update == self.last.update + 1
            return Break.BAD if event.is_snapshot or is_next else Break.GAP
        if self.last is not None and not (event.is_snapshot and event.update == 1):
            if event.seq and event.seq < self.seq:
                return Break.SEQUENCE
            if event.ts_ns < self.last.ts_ns:
                return Break.TIME
        if max(len(self.bids), len(self.asks)) > self.levels:
            return Break.DEPTH
        if late > self.limits.late_ns:
            return Break.LATE
        return Break.FUTURE if -late > self.limits.future_ns else None

    def _compare(self, now: int) -> None:
        bid, ask = self._top()
        has_top = self.is_open and bid > 0 and ask > 0
        limits = self.limits
        differs = has_top and all(self.quote) and self.quote != (bid, ask)
        self._note(Break.LEVEL1, now, differs=differs)
        far = any(
            abs(ours - theirs) * 1_000_000 > limits.ticker_ppm * theirs
            for ours, theirs in zip((bid, ask), self.ticker, strict=True)
        )
        self._note(Break.TICKER, now, differs=has_top and all(self.ticker) and far)
        far = abs(Fraction(bid + ask, 2) - self.mark) * 1_000_000 > limits.mark_ppm * self.mark
        self._note(Break.MARK, now, differs=has_top and self.mark > 0 and far)

    def _note(self, reason: Break, now: int, *, differs: bool) -> None:
        self.since[reason] = (now if self.since.get(reason) is None else self.since[reason]) if differs else None

    def _top(self) -> tuple[int, int]:
        return max(self.bids, default=0), min(self.asks, default=0)

    def _show(self, now: int, update: int) -> None:
        bids = tuple(sorted(self.bids.items(), reverse=True)) if self.is_open else ()
        asks = tuple(sorted(self.asks.items())) if self.is_open else ()
        self.rows.append(Row(known_ns=now, update=update, is_trusted=self.is_open, bids=bids, asks=asks))
