"""Binance's market streams as a recorder wrote them down: "local time, space, JSON", all streams in order of arrival.

The local time is in ns, us or ms, told by its digits. Messages come as the combined stream sends them (`stream`,
`data`) or bare. Read are depth updates, the REST depth snapshot among them, trades, best quotes and mark prices.
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams and the same of spot.
"""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bot.store.importing.capture_gatherer import Gatherer
from bot.store.importing.capture_lines import Lines
from bot.store.importing.part import Part
from bot.store.importing.sieve import TIME_FIRST_NS, TIME_LAST_NS

_MS = 1_000_000
_MINUTE_NS = 60_000_000_000
_HELD_MAX = 4096  # depth updates that wait for a snapshot that may belong before them
_UNITS = {19: 1, 16: 1_000, 13: 1_000_000}  # ns of the local time's unit by its number of digits

Level = tuple[str, str]
At = tuple[int, bytes]

_NO_DATA = msgspec.Raw()
Number = Annotated[int, msgspec.Meta(ge=-1, le=2**62)]


class _Envelope(msgspec.Struct):
    """What every message is looked at through first."""

    stream: str | None = None
    data: msgspec.Raw = _NO_DATA
    e: str | None = None
    last_update_id: Number | None = msgspec.field(default=None, name="lastUpdateId")
    u: Number | None = None


class _Depth(msgspec.Struct):
    s: str
    E: int
    U: Number
    u: Number
    b: list[Level]
    a: list[Level]
    T: int | None = None
    pu: Number | None = None


class _Snapshot(msgspec.Struct):
    last_update_id: Number = msgspec.field(name="lastUpdateId")
    bids: list[Level]
    asks: list[Level]
    T: int | None = None


class _Trade(msgspec.Struct):
    s: str
    t: Number
    p: str
    q: str
    T: int
    m: bool  # the buyer was the maker
    X: str = "MARKET"


class _Quote(msgspec.Struct):
    s: str
    b: str
    B: str
    a: str
    A: str
    T: int | None = None


class _Mark(msgspec.Struct):
    s: str
    E: int
    p: str


def read_binance_log(lines: Lines, path: Path, *, venue: str | None, symbol: str | None) -> Iterator[Part]:
    """Yield the parts of a capture.

    Args:
        lines: the file's.
        path: the file, for what is said of it.
        venue: "binance-usdm" or "binance-spot"; None: the messages tell.
        symbol: the only one that is taken; None for all.
    """
    rows = Gatherer(path, venue=venue or _find_venue(path), symbol=symbol)
    reader = _Reader(rows)
    for number, line in lines:
        if line:
            reader.read((number, line))
            yield from rows.full()
    if lines.broken is not None:
        rows.reject((lines.count, b""), lines.broken)
    reader.end()
    yield from rows.rest()


def _find_venue(path: Path) -> str:
    """Return the venue by what only one of the two sends: futures chain depth updates by `pu` and name a trade's X."""
    for number, line in Lines(path):
        if b'"pu":' in line or b'"X":' in line or b'"e":"bookTicker"' in line:
            return "binance-usdm"
        if number > 1000 or b'"M":' in line or b'"depthUpdate"' in line:
            break
    return "binance-spot"


class _Reader:
    def __init__(self, rows: Gatherer) -> None:
        self._rows = rows
        self._books: dict[str, _Book] = {}
        self._marks: dict[str, _Minute] = {}
        self._venue_ns = 0  # the newest time that the venue told: spot quotes tell none

    def read(self, at: At) -> None:
        """Take one line."""
        local, _, text = at[1].partition(b" ")
        unit = _UNITS.get(len(local))
        if unit is None or not local.isdigit():
            self._rows.reject(at, "does not begin with a local time in ns, us or ms")
            return
        recv_ns = int(local) * unit
        if not TIME_FIRST_NS <= recv_ns < TIME_LAST_NS:
            self._rows.reject(at, "its local time is not from 2001 to 2100")
            return
        try:
            self._message(at, recv_ns, text)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            self._rows.reject(at, f"is no message that is known ({error})")

    def end(self) -> None:
        """Let go of what still waits."""
        for book in self._books.values():
            book.end()

    def _message(self, at: At, recv_ns: int, text: bytes) -> None:
        envelope = _ENVELOPE.decode(text)
        data: Any = text
        if envelope.stream is not None and len(envelope.data):
            data = envelope.data
            envelope = _ENVELOPE.decode(data)
        match envelope.e:
            case "depthUpdate":
                self._depth(at, recv_ns, _DEPTH.decode(data))
            case None if envelope.last_update_id is not None:
                self._snapshot(at, recv_ns, _SNAPSHOT.decode(data))
            case "trade":
                self._trade(at, recv_ns, _TRADE.decode(data))
            case "bookTicker" | None if envelope.u is not None:
                self._quote(at, recv_ns, _QUOTE.decode(data))
            case "markPriceUpdate":
                self._mark(at, _MARK.decode(data))
            case None:
                self._rows.reject(at, "is no message that is known")
            case other:
                self._rows.reject_first(at, f"messages of kind {other[:40]}")

    def _depth(self, at: At, recv_ns: int, depth: _Depth) -> None:
        ts_ns = self._at_venue(depth.E if depth.T is None else depth.T)
        previous = depth.U - 1 if depth.pu is None else depth.pu
        self._book(depth.s).add((at, (ts_ns, recv_ns), depth.u, previous, (depth.b, depth.a)))

    def _snapshot(self, at: At, recv_ns: int, snapshot: _Snapshot) -> None:
        if len(self._books) != 1:
            found = "several books" if self._books else "no book"
            self._rows.reject(at, f"a REST snapshot does not tell its symbol, and there is {found} before it")
            return
        ts_ns = None if snapshot.T is None else self._at_venue(snapshot.T)
        book = next(iter(self._books.values()))
        book.seed(at, ts_ns, recv_ns, snapshot.last_update_id, (snapshot.bids, snapshot.asks))

    def _trade(self, at: At, recv_ns: int, trade: _Trade) -> None:
        ts_ns = self._at_venue(trade.T)
        if trade.X != "MARKET":
            self._rows.reject(at, f"is no trade of the market but {trade.X[:40]}")
            return
        times, values = (ts_ns, recv_ns), (trade.p, trade.q)
        self._rows.trade(trade.s, at, times, values, is_buy=not trade.m, trade_id=trade.t)

    def _quote(self, at: At, recv_ns: int, quote: _Quote) -> None:
        ts_ns = self._at_venue(quote.T) if quote.T is not None else self._venue_ns or recv_ns
        self._rows.quote(quote.s, at, (ts_ns, recv_ns), (quote.b, quote.a, quote.B, quote.A))

    def _mark(self, at: At, mark: _Mark) -> None:
        ts_ns = self._at_venue(mark.E)
        minute = self._marks.setdefault(mark.s, _Minute())
        for open_ns, values in minute.add(ts_ns, mark.p):
            self._rows.mark(mark.s, at, open_ns, values)

    def _at_venue(self, ms: int) -> int:
        if not TIME_FIRST_NS <= ms * _MS < TIME_LAST_NS:
            raise msgspec.ValidationError(f"{ms} is not a time from 2001 to 2100 in ms")
        self._venue_ns = max(self._venue_ns, ms * _MS)
        return ms * _MS

    def _book(self, symbol: str) -> "_Book":
        if symbol not in self._books:
            self._books[symbol] = _Book(symbol, self._rows)
        return self._books[symbol]


_Sides = tuple[list[Level], list[Level]]
_Update = tuple[At, tuple[int, int], int, int, _Sides]


class _Book:
    """Puts a REST snapshot between the updates that it holds and those that it does not.

    The snapshot with `lastUpdateId` L goes right before the first update whose `u` is above L. If that update begins at
    L or before it, it says L as its predecessor; if not, updates are missing and it keeps the number that it told.
    https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/How-to-manage-a-local-order-book-correctly
    """

    def __init__(self, symbol: str, rows: Gatherer) -> None:
        self._symbol = symbol
        self._rows = rows
        self._held: deque[_Update] = deque()
        self._snapshot: tuple[At, int | None, int, int, _Sides] | None = None
        self._ts_ns: int | None = None  # of the last update written

    def add(self, update: _Update) -> None:
        self._held.append(update)
        if self._snapshot is not None and update[2] > self._snapshot[3]:
            self._place()
        elif len(self._held) > _HELD_MAX:
            self._write(self._held.popleft())

    def seed(self, at: At, ts_ns: int | None, recv_ns: int, last_update_id: int, sides: _Sides) -> None:
        if self._snapshot is not None:
            self._place()
        self._snapshot = (at, ts_ns, recv_ns, last_update_id, sides)
        if any(update[2] > last_update_id for update in self._held):
            self._place()

    def end(self) -> None:
        if self._snapshot is not None:
            self._place()
        while self._held:
            self._write(self._held.popleft())

    def _place(self) -> None:
        assert self._snapshot is not None
        at, ts_ns, recv_ns, last_update_id, sides = self._snapshot
        self._snapshot = None
        while self._held and self._held[0][2] <= last_update_id:
            self._write(self._held.popleft())
        if ts_ns is None:  # spot does not tell: as late as the newest update that it holds
            ts_ns = self._ts_ns
        if ts_ns is None:
            ts_ns = self._held[0][1][0] if self._held else recv_ns
        self._rows.book(self._symbol, at, (ts_ns, recv_ns), last_update_id, -1, sides, is_snapshot=True)
        if self._held and self._held[0][3] <= last_update_id:
            where, times, number, _, levels = self._held.popleft()
            self._write((where, times, number, last_update_id, levels))

    def _write(self, update: _Update) -> None:
        at, times, number, previous, sides = update
        self._ts_ns = times[0]
        self._rows.book(self._symbol, at, times, number, previous, sides, is_snapshot=False)


class _Minute:
    """Mark prices to bars of a minute; only of minutes at whose beginning and end there were messages."""

    def __init__(self) -> None:
        self._open_ns = 0
        self._values: tuple[str, str, str, str] = ("", "", "", "")
        self._is_whole = False

    def add(self, ts_ns: int, price: str) -> Iterator[tuple[int, tuple[str, str, str, str]]]:
        """Yield the minute that this price ends."""
        open_ns = ts_ns - ts_ns % _MINUTE_NS
        value = msgspec.convert(price, float, strict=False)
        if open_ns > self._open_ns:
            if self._is_whole:
                yield self._open_ns, self._values
            self._is_whole = open_ns == self._open_ns + _MINUTE_NS
            self._open_ns = open_ns
            self._values = (price, price, price, price)
        elif open_ns == self._open_ns:
            first, high, low, _ = self._values
            high = price if value > float(high) else high
            low = price if value < float(low) else low
            self._values = (first, high, low, price)


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_DEPTH = msgspec.json.Decoder(_Depth)
_SNAPSHOT = msgspec.json.Decoder(_Snapshot)
_TRADE = msgspec.json.Decoder(_Trade)
_QUOTE = msgspec.json.Decoder(_Quote)
_MARK = msgspec.json.Decoder(_Mark)
