"""Bybit's public streams as recorders and Bybit's own archive keep them.

* Captures of `bot record`: see `store.capture_events`.
* V5 frames, one a line: `orderbook.{depth}.{symbol}` and `publicTrade.{symbol}`; archive files of the book are these.
* The V2 protocol of 2021 in cryptofeed's log, "seconds: JSON": `orderBookL2_25.{symbol}` and `trade.{symbol}`.
* The best five levels as REST served them to a poller, as CSV without header: which side moved, symbol, local time in
  ms, exchange time in ms, [[bids], [asks]].
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from bot.domain.errors import DataError
from bot.store.capture_events import MESSAGES, split_line
from bot.store.capture_files import CaptureLines
from bot.store.importing.capture_gatherer import Gatherer
from bot.store.importing.capture_lines import Lines
from bot.store.importing.part import Part
from bot.store.importing.sieve import TIME_FIRST_NS, TIME_LAST_NS

_MS = 1_000_000
_LINEAR = "bybit-linear"

Level = tuple[str, str]
At = tuple[int, bytes]

_NO_DATA = msgspec.Raw()
Number = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


# --- V5 ---------------------------------------------------------------------------------------------------------------


class _Frame(msgspec.Struct):
    """What every frame is looked at through first; answers to `op`s have no topic."""

    topic: str | None = None
    type: str | None = None
    ts: int | None = None
    cts: int | None = None
    data: msgspec.Raw = _NO_DATA
    op: str | None = None


class _Book(msgspec.Struct):
    s: str
    b: list[Level]
    a: list[Level]
    u: Number


class _Trade(msgspec.Struct):
    s: str
    T: int
    S: Literal["Buy", "Sell"]
    v: str
    p: str
    i: str
    BT: bool = False


def read_bybit_v5(
    lines: Lines, path: Path, *, venue: str | None, symbol: str | None, depth: str | None
) -> Iterator[Part]:
    """Yield the parts of a file of V5 frames.

    A file may hold a symbol's book in several depths, which are different books: the one met first is read.

    Args:
        lines: the file's.
        path: the file, for what is said of it.
        venue: None for bybit-linear: frames do not tell.
        symbol: the only one that is taken; None for all.
        depth: the depth to read, such as "50"; None for the first of each symbol.
    """
    rows = Gatherer(path, venue=venue or _LINEAR, symbol=symbol)
    reader = _V5Reader(rows, depth)
    for number, line in lines:
        if line.strip():
            reader.read((number, line))
            yield from rows.full()
    if lines.broken is not None:
        rows.reject((lines.count, b""), lines.broken)
    yield from rows.rest()


def read_bybit_capture(
    lines: CaptureLines, path: Path, *, venue: str | None, symbol: str | None, depth: str | None
) -> Iterator[Part]:
    """Yield the parts of a capture of `bot record`: its messages as `read_bybit_v5` reads them, with receive times.

    Perpetuals are read, spot where `venue` says "bybit-spot": both name their symbols alike. Where the connection was
    lost, the next message of a book begins anew by itself: it is a snapshot.
    """
    category = "spot" if venue == "bybit-spot" else "linear"
    rows = Gatherer(path, venue=venue or _LINEAR, symbol=symbol)
    reader = _V5Reader(rows, depth or "50")
    for number, line in lines:
        try:
            recv_ns, kind, name, _, rest = split_line(line)
        except DataError as error:
            rows.reject((number, line), str(error))
            continue
        if kind in MESSAGES and name.partition("-")[0] == category:
            reader.read((number, rest), recv_ns)
            yield from rows.full()
    if lines.broken is not None:
        rows.reject((lines.count, b""), lines.broken)
    yield from rows.rest()


# Topics that a capture holds and no table of the store does.
_UNSTORED = frozenset(["tickers", "kline", "priceLimit", "system"])


class _V5Reader:
    def __init__(self, rows: Gatherer, depth: str | None) -> None:
        self._rows = rows
        self._depth = depth
        self._depths: dict[str, str] = {}  # by symbol

    def read(self, at: At, recv_ns: int = 0) -> None:
        """Take one message; `recv_ns` 0 where nobody says when it was received."""
        try:
            frame = _FRAME.decode(at[1])
            if frame.topic is None or not len(frame.data):
                if frame.op is None:
                    self._rows.reject(at, "is no frame of a topic")
                return
            kind, _, rest = frame.topic.partition(".")
            if kind == "orderbook":
                self._book(at, recv_ns, frame, *rest.partition(".")[::2])
            elif kind == "publicTrade":
                self._trades(at, recv_ns, frame.data)
            elif not (recv_ns and kind in _UNSTORED):
                self._rows.reject_first(at, f"frames of the topic {kind[:40]}")
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            self._rows.reject(at, f"is no frame that is known ({error})")

    def _book(self, at: At, recv_ns: int, frame: _Frame, depth: str, symbol: str) -> None:
        wanted = self._depth or self._depths.setdefault(symbol, depth)
        if depth != wanted or depth == "rpi":
            # An `rpi` book counts twice what others count once. A capture has the level-1 book beside each.
            if recv_ns and depth == "1":
                return
            self._rows.reject_first(at, f"books of depth {depth[:10]}")
            return
        book = _BOOK.decode(frame.data)
        if book.s != symbol or frame.type not in ("snapshot", "delta"):
            raise msgspec.ValidationError("the topic names another symbol, or the type is neither snapshot nor delta")
        # `cts` is the matching engine's time; captures from before 2023 lack it.
        ts_ns = _venue_time(frame.cts if frame.cts is not None else frame.ts)
        # After a restart of the service the number is 1, and the message holds the whole book.
        is_snapshot = frame.type == "snapshot" or book.u == 1
        previous = -1 if is_snapshot else book.u - 1
        # Each depth numbers its messages by itself, so books of two depths cannot go on from one another.
        self._rows.book(
            symbol,
            at,
            (ts_ns, recv_ns),
            book.u,
            previous,
            (book.b, book.a),
            is_snapshot=is_snapshot,
            source=f"orderbook.{depth}",
        )

    def _trades(self, at: At, recv_ns: int, data: msgspec.Raw) -> None:
        for trade in _TRADES.decode(data):
            if trade.BT:
                self._rows.reject(at, "is a block trade, made off the book")
                continue
            times, values = (_venue_time(trade.T), recv_ns), (trade.p, trade.v)
            is_buy = trade.S == "Buy"
            self._rows.trade(trade.s, at, times, values, is_buy=is_buy, trade_id=_number_of(trade.i))


def _venue_time(ms: int | None) -> int:
    if ms is None or not TIME_FIRST_NS <= ms * _MS < TIME_LAST_NS:
        raise msgspec.ValidationError(f"{ms} is not a time from 2001 to 2100 in ms")
    return ms * _MS


def _number_of(trade_id: str) -> int:
    """Return a trade's id where it is a number, as on spot, and 0 where it is not."""
    return int(trade_id) if trade_id.isdecimal() and trade_id.isascii() and len(trade_id) <= 18 else 0


# --- V2 ---------------------------------------------------------------------------------------------------------------


class _V2Frame(msgspec.Struct):
    topic: str | None = None
    type: str | None = None
    data: msgspec.Raw = _NO_DATA
    cross_seq: str | None = None
    timestamp_e6: str | None = None


class _V2Level(msgspec.Struct):
    price: str
    side: Literal["Buy", "Sell"]
    size: msgspec.Raw = msgspec.Raw(b"0")  # deletions have none


class _V2Snapshot(msgspec.Struct):
    order_book: list[_V2Level]


class _V2Delta(msgspec.Struct):
    delete: list[_V2Level]
    update: list[_V2Level]
    insert: list[_V2Level]


class _V2Trade(msgspec.Struct):
    symbol: str
    price: str
    size: msgspec.Raw
    trade_time_ms: str
    side: Literal["Buy", "Sell"]


def read_bybit_v2(lines: Lines, path: Path, *, venue: str | None, symbol: str | None) -> Iterator[Part]:
    """Yield the parts of cryptofeed's log of the V2 protocol.

    `cross_seq` numbers messages without saying which came before. Quantities are numbers there, some as a float32
    prints them: 13.329999 for 13.33. They are kept as they stand.
    """
    rows = Gatherer(path, venue=venue or _LINEAR, source="v2", symbol=symbol)
    for number, line in lines:
        at = (number, line)
        # Lines about the connection: opened, or what the client sent.
        if line.strip() and not line.startswith(b"wss://"):
            local, colon, text = line.partition(b": ")
            try:
                if not colon:
                    raise msgspec.DecodeError("no time in front")
                _v2_message(rows, at, _decimal_ns(local), text)
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
                rows.reject(at, f"is no message that is known ({error})")
                rows.cut_books()
            yield from rows.full()
    if lines.broken is not None:
        rows.reject((lines.count, b""), lines.broken)
    yield from rows.rest()


def _v2_message(rows: Gatherer, at: At, recv_ns: int, text: bytes) -> None:
    frame = _V2_FRAME.decode(text)
    if frame.topic is None or not len(frame.data):
        return  # an answer to a subscription
    kind, _, symbol = frame.topic.partition(".")
    if kind == "trade":
        for trade in _V2_TRADES.decode(frame.data):
            times = (_venue_time(_whole(trade.trade_time_ms)), recv_ns)
            values = (trade.price, _text(trade.size))
            rows.trade(trade.symbol, at, times, values, is_buy=trade.side == "Buy", trade_id=0)
    elif kind == "orderBookL2_25":
        times = (_whole(frame.timestamp_e6) * 1000, recv_ns)
        is_snapshot = frame.type == "snapshot"
        if is_snapshot:
            levels = _V2_SNAPSHOT.decode(frame.data).order_book
        else:
            delta = _V2_DELTA.decode(frame.data)
            levels = [*delta.delete, *delta.update, *delta.insert]
        sides = (_v2_side(levels, "Buy"), _v2_side(levels, "Sell"))
        rows.book(symbol, at, times, _whole(frame.cross_seq), -1, sides, is_snapshot=is_snapshot)
    else:
        rows.reject_first(at, f"messages of the topic {kind[:40]}")


def _v2_side(levels: Sequence[_V2Level], side: str) -> list[Level]:
    return [(level.price, _text(level.size)) for level in levels if level.side == side]


def _text(number: msgspec.Raw) -> str:
    return bytes(number).decode()


def _whole(text: str | None) -> int:
    if text is None or not text.isdecimal() or not text.isascii() or len(text) > 18:
        raise msgspec.ValidationError(f"{text} is no number")
    return int(text)


def _decimal_ns(text: bytes, unit_ns: int = 1_000_000_000) -> int:
    """Return a decimal number of seconds, or of another unit, in whole ns.

    Raises:
        msgspec.ValidationError: it is none, or not from 2001 to 2100.
    """
    whole, _, fraction = text.partition(b".")
    if not whole.isdigit() or not (fraction or b"0").isdigit() or len(text) > 40:
        raise msgspec.ValidationError(f"{text[:40].decode('utf-8', 'replace')} is no time")
    ns = int(whole) * unit_ns + (int(fraction) * unit_ns // 10 ** len(fraction) if fraction else 0)
    if not TIME_FIRST_NS <= ns < TIME_LAST_NS:
        raise msgspec.ValidationError(f"{text[:40].decode()} is not a time from 2001 to 2100")
    return ns


# --- polls ------------------------------------------------------------------------------------------------------------


def read_bybit_polls(lines: Lines, path: Path, *, venue: str | None, symbol: str | None) -> Iterator[Part]:
    """Yield the parts of a file of polled books: each poll is a snapshot, numbered by the exchange's time in ms."""
    rows = Gatherer(path, venue=venue or _LINEAR, source="polls", symbol=symbol)
    for number, line in lines:
        at = (number, line)
        if line.strip():
            try:
                _poll(rows, at)
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, csv.Error) as error:
                rows.reject(at, f"is no poll of a book ({error})")
            yield from rows.full()
    if lines.broken is not None:
        rows.reject((lines.count, b""), lines.broken)
    yield from rows.rest()


def _poll(rows: Gatherer, at: At) -> None:
    fields = next(csv.reader([at[1].decode()]), [])
    if len(fields) != 5 or fields[0] not in ("both", "bid", "ask"):
        raise msgspec.ValidationError(f"{len(fields)} fields where there should be 5")
    _, symbol, local, exchange, book = fields
    exchange_ms = _whole(exchange)
    times = (_venue_time(exchange_ms), _decimal_ns(local.encode(), _MS))
    bids, asks = _POLL.decode(book.replace("'", '"'))
    rows.book(symbol, at, times, exchange_ms, -1, (bids, asks), is_snapshot=True)


_FRAME = msgspec.json.Decoder(_Frame)
_BOOK = msgspec.json.Decoder(_Book)
_TRADES = msgspec.json.Decoder(list[_Trade])
_V2_FRAME = msgspec.json.Decoder(_V2Frame)
_V2_SNAPSHOT = msgspec.json.Decoder(_V2Snapshot)
_V2_DELTA = msgspec.json.Decoder(_V2Delta)
_V2_TRADES = msgspec.json.Decoder(list[_V2Trade])
_POLL = msgspec.json.Decoder(tuple[list[Level], list[Level]])
