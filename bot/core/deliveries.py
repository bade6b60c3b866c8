"""What an actor was told and what it asked for, as bytes and back: what `bot verify` holds a run against.

An actor is a function of the state it begins with and of what reaches it: the messages it takes from its inbox, in the
order taken, what the clock said when it looked, what else it asked and was answered at once, and that a commit was
acknowledged. All of that is noted where it crosses into the actor, with one number for the whole run. What the actor
asks of others is noted too, to be held against what it asks when it is told the same again.

A note is a length of four bytes and MessagePack. Columns are bytes as they are; a batch that two actors take is
written once, the second time by the first one's number. Nothing here can hold a secret: keys never reach an actor.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple, get_args

import msgspec
import numpy as np

from bot.core.effects import Notice, Wish
from bot.core.submission.messages import HomeMessage
from bot.core.submission.requests import LookUpWanted, Send
from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import (
    BarBatch,
    Columns,
    EventBarBatch,
    ForecastBatch,
    MarketSlab,
    TradeBatch,
    TradeHole,
)
from bot.domain.orders import Action

FORMAT = 1
_KEPT = 256  # batches that a later note may name: both sides keep the last so many
_LENGTH_BYTES = 4


class Verb(StrEnum):
    """What a note is of."""

    BEGAN = "b"  # the run's head, or an actor's: what it began with
    TOOK = "t"  # a message from its inbox
    HEARD = "h"  # an answer at once: the time, a switch, a commit's acknowledgement
    DID = "d"  # what it asked of others


class Heard(StrEnum):
    """What an actor hears besides messages."""

    TIME = "time"  # ns
    COMMIT = "commit"  # how many entries of the run are durable
    KILLED = "killed"  # whether the kill switch is closed
    DOUBTS = "doubts"  # why no new exposure may rest on an instrument's data


class Did(StrEnum):
    """What an actor asks for besides `Send` and `LookUpWanted`."""

    CANCEL_ALL = "cancel_all"  # instruments
    COMPARE = "compare"  # since when executions are asked for


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run began: all that its actors are made of, besides its settings."""

    format: int = FORMAT
    run_id: str
    mode: str
    version: str
    config_hash: str
    strategy_hash: str  # of the strategy's source
    model_id: str
    epoch: int
    after_seq: int  # the ledger's last entry when it began
    ledger: str  # where it is, without a password
    currency: str
    instruments: tuple[Instrument, ...]
    began_ns: int
    state: bytes  # a checkpoint of the money half, after the ledger was read
    order_count: int  # the last order number that was taken
    executed_ms: int
    creates_from_ns: int
    first_cash: Decimal | None  # what a new ledger begins with
    first_coins: dict[str, Decimal]  # and of other coins


class Note(msgspec.Struct, frozen=True, array_like=True):
    """One note, its payload still packed."""

    number: int  # of the run's notes, from 0, without a gap
    actor: str
    verb: Verb
    kind: str  # of the payload
    payload: msgspec.Raw


class Told(NamedTuple):
    """A note that was read."""

    number: int
    actor: str
    verb: Verb
    kind: str
    value: Any


class Word:
    """How one kind of message is packed.

    Args:
        made_of: its class.
        pack: returns what MessagePack can hold.
        unpack: returns the message again; raises msgspec.DecodeError or ValueError.
    """

    def __init__(self, made_of: type, pack: Callable[[Any], Any], unpack: Callable[[msgspec.Raw], Any]) -> None:
        self.made_of = made_of
        self.pack = pack
        self.unpack = unpack


def signal(made_of: type) -> Word:
    """Return how a message is packed that says all by its class."""
    return Word(made_of, lambda message: None, lambda raw: made_of())


def struct(made_of: Any) -> Word:
    """Return how a msgspec struct is packed: as it is."""
    return Word(made_of, lambda message: message, msgspec.msgpack.Decoder(made_of).decode)


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE_NOTE = msgspec.msgpack.Decoder(Note).decode
_ACTIONS = {each.__name__: msgspec.msgpack.Decoder(each).decode for each in get_args(Action)}
_CONVERT = msgspec.convert
_COLUMN_TYPES = "lqd?B"
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError, MemoryError)
"""What numpy and others make of what is no column, no batch and no message."""


def _pack_wish(wish: Wish) -> Any:
    rest = {name: getattr(wish, name) for name in wish.__struct_fields__}
    action = rest.pop("action")
    return [type(action).__name__, action, rest]


def _unpack_wish(raw: msgspec.Raw) -> Wish:
    kind, action, rest = msgspec.msgpack.decode(raw, type=tuple[str, msgspec.Raw, _Rest])
    decode = _ACTIONS.get(kind)
    if decode is None:
        raise ValueError(f"no action is called {kind}")
    return Wish(action=decode(action), **{name: getattr(rest, name) for name in rest.__struct_fields__})


def _rest_of_wish() -> type[msgspec.Struct]:
    hints = [(each.name, each.type) for each in msgspec.structs.fields(Wish) if each.name != "action"]
    return msgspec.defstruct("_Rest", hints, frozen=True, kw_only=True)


_Rest: Any = _rest_of_wish()

_BATCHES: tuple[type[Columns], ...] = (TradeBatch, BarBatch, EventBarBatch, ForecastBatch)
_BATCH_OF = {each.__name__: each for each in _BATCHES}
_COLUMNS = {each: each._columns() for each in _BATCHES}
_SCALARS = {
    each: tuple(f.name for f in fields(each) if f.name not in (*each._columns(), "instrument"))  # type: ignore[arg-type]
    for each in _BATCHES
}


class Codec:
    """Packs notes, or reads them; each end of a record has its own, which sees every note in order.

    Args:
        words: kinds of messages besides those of the core.
        instruments: as the record's head has them, by name.
    """

    def __init__(self, words: Iterable[Word] = (), instruments: Mapping[str, Instrument] | None = None) -> None:
        known = [Word(Wish, _pack_wish, _unpack_wish), *(struct(each) for each in _structs()), *words]
        self._words = {each.made_of.__name__: each for each in known}
        self._kinds = {each.made_of: each.made_of.__name__ for each in known}
        self._instruments = dict(instruments or {})
        self._kept: OrderedDict[int, Any] = OrderedDict()  # by note
        self._numbers: dict[int, int] = {}  # notes by the identity of what is kept

    # --- in ---------------------------------------------------------------------------------------------------------

    def pack(self, number: int, actor: str, verb: str, value: Any, kind: str = "") -> bytes:
        """Return a note as bytes.

        Args:
            kind: of a value that is no message: a `Heard` or `Did`.

        Raises:
            TypeError: no such message is known.
        """
        payload: Any = value
        if not kind:
            kind, payload = self._pack_message(number, value)
        body = _ENCODE((number, actor, verb, kind, payload))
        return len(body).to_bytes(_LENGTH_BYTES, "little") + body

    def _pack_message(self, number: int, message: Any) -> tuple[str, Any]:
        kind = self._kinds.get(type(message))
        if kind is not None:
            return kind, self._words[kind].pack(message)
        if type(message) is int:
            return "int", message
        earlier = self._numbers.get(_identity(message))
        if earlier is not None:
            return "same", earlier
        if isinstance(message, MarketSlab):
            packed = self._pack_slab(message)
        elif isinstance(message, TradeHole):
            packed = [
                message.instrument,
                message.from_ns,
                message.to_ns,
                message.until_ns,
                self._pack_batch(message.trades),
                self._pack_batch(message.klines),
            ]
        elif type(message) in _COLUMNS:
            packed = self._pack_batch(message)
        else:
            raise TypeError(f"a {type(message).__name__} cannot be noted")
        self._keep(number, message)
        return type(message).__name__, packed

    def _pack_slab(self, slab: MarketSlab) -> Any:
        return [
            slab.instrument.name if self._knows(slab.instrument) else slab.instrument,
            slab.watermark_ns,
            self._pack_part(slab.trades),
            self._pack_part(slab.base_bars),
            [(scale, self._pack_batch(bars)) for scale, bars in slab.bars.items()],
            [(rule, self._pack_batch(bars)) for rule, bars in slab.event_bars.items()],
            slab.late_trades,
            self._pack_batch(slab.forecasts),
        ]

    def _pack_part(self, batch: Columns | None) -> Any:
        """Pack a batch, or the number of the note that has it."""
        earlier = self._numbers.get(_identity(batch))
        return self._pack_batch(batch) if earlier is None else earlier

    def _pack_batch(self, batch: Any) -> Any:
        if batch is None:
            return None
        made_of, instrument = type(batch), batch.instrument
        return [
            made_of.__name__,
            instrument.name if self._knows(instrument) else instrument,
            [getattr(batch, name) for name in _SCALARS[made_of]],
            [_pack_column(getattr(batch, name)) for name in _COLUMNS[made_of]],
        ]

    def _knows(self, instrument: Instrument) -> bool:
        known = self._instruments.get(instrument.name)
        return known is instrument or known == instrument

    def _keep(self, number: int, message: Any) -> None:
        self._kept[number] = message  # and with it its identity
        self._numbers[_identity(message)] = number
        if len(self._kept) > _KEPT:
            self._numbers.pop(_identity(self._kept.popitem(last=False)[1]), None)

    # --- out --------------------------------------------------------------------------------------------------------

    def unpack(self, note: Note) -> Told:
        """Return what a note says: notes must come in their order, for some name earlier ones.

        Raises:
            DataError: it holds something else.
        """
        try:
            value = self._unpack(note)
        except (msgspec.MsgspecError, *_UNREADABLE) as error:
            raise DataError(f"note {note.number} ({note.actor}, {note.kind}) cannot be read: {error}") from error
        return Told(note.number, note.actor, note.verb, note.kind, value)

    def _unpack(self, note: Note) -> Any:
        if note.verb is Verb.BEGAN:
            head = msgspec.msgpack.decode(note.payload, type=Head)
            self._instruments = {each.name: each for each in head.instruments}
            return head
        word = self._words.get(note.kind)
        if word is not None:
            return word.unpack(note.payload)
        plain = msgspec.msgpack.decode(note.payload)
        if note.kind == "same":
            return self._kept[plain]
        if note.kind == "MarketSlab":
            message: Any = self._unpack_slab(plain)
        elif note.kind == "TradeHole":
            instrument, from_ns, to_ns, until_ns, trades, klines = plain
            message = TradeHole(
                instrument=_CONVERT(instrument, Instrument),
                from_ns=from_ns,
                to_ns=to_ns,
                until_ns=until_ns,
                trades=self._unpack_batch(trades),
                klines=self._unpack_batch(klines),
            )
        elif note.kind in _BATCH_OF:
            message = self._unpack_batch(plain)
        else:
            return plain
        self._keep(note.number, message)
        return message

    def _unpack_slab(self, plain: Any) -> MarketSlab:
        instrument, watermark_ns, trades, base_bars, bars, event_bars, late, forecasts = plain
        return MarketSlab(
            instrument=self._instrument(instrument),
            watermark_ns=watermark_ns,
            trades=self._unpack_part(trades),
            base_bars=self._unpack_part(base_bars),
            bars={scale: self._unpack_batch(each) for scale, each in bars},
            event_bars={rule: self._unpack_batch(each) for rule, each in event_bars},
            late_trades=late,
            forecasts=self._unpack_batch(forecasts),
        )

    def _unpack_part(self, plain: Any) -> Any:
        return self._kept[plain] if isinstance(plain, int) else self._unpack_batch(plain)

    def _unpack_batch(self, plain: Any) -> Any:
        if plain is None:
            return None
        name, instrument, scalars, columns = plain
        made_of: Any = _BATCH_OF[name]
        values: dict[str, Any] = dict(zip(_SCALARS[made_of], map(_tupled, scalars), strict=True))
        values |= dict(zip(_COLUMNS[made_of], map(_unpack_column, columns), strict=True))
        return made_of(instrument=self._instrument(instrument), **values)

    def _instrument(self, plain: Any) -> Instrument:
        return self._instruments[plain] if isinstance(plain, str) else _CONVERT(plain, Instrument)


def split(data: bytes) -> Iterator[Note]:
    """Yield the notes of a stretch of whole ones, their payloads packed.

    Raises:
        DataError: it holds something else.
    """
    at = 0
    while at < len(data):
        begin = at + _LENGTH_BYTES
        end = begin + int.from_bytes(data[at:begin], "little")
        if not begin < end <= len(data):
            raise DataError(f"a note of {end - begin:,} bytes does not fit")
        try:
            yield _DECODE_NOTE(data[begin:end])
        except (msgspec.DecodeError, ValueError) as error:
            raise DataError(f"what should be a note is none: {error}") from error
        at = end


def join(note: Note) -> bytes:
    """Return a note as bytes again."""
    body = _ENCODE(note)
    return len(body).to_bytes(_LENGTH_BYTES, "little") + body


def _identity(message: Any) -> int:
    return id(message)  # purity: of what is kept here meanwhile, compared within this process, never written


def _structs() -> tuple[Any, ...]:
    return (*get_args(HomeMessage), Notice, Send, LookUpWanted)


def _pack_column(column: Any) -> Any:
    shape = column.shape
    return (column.dtype.char, shape[0] if len(shape) == 1 else shape, column.tobytes())


def _unpack_column(packed: Any) -> Any:
    char, shape, data = packed
    if char not in _COLUMN_TYPES:
        raise ValueError(f"a column of {char!r}")
    return np.frombuffer(data, dtype=np.dtype(char)).reshape(shape).copy()  # writable, as it was


def _tupled(value: Any) -> Any:
    return tuple(_tupled(each) for each in value) if isinstance(value, list) else value
