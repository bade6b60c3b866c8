"""Wires live markets: settings to instruments and a source, a source to aggregators, and a capture to both again."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bot.actors.bar_aggregator import BarAggregatorActor
from bot.actors.inbox import Inbox, Stop
from bot.actors.market_feed import Key, MarketFeed, Passed
from bot.core.bars import BarAggregator
from bot.domain.errors import DataError, VenueError
from bot.domain.instrument import Instrument
from bot.domain.market import MarketSlab, MarketUpdate
from bot.ports import Clock, MarketSource
from bot.store.capture_events import Event, read_events
from bot.store.capture_files import SUFFIX, CaptureLines
from bot.store.recorder import CaptureRecorder
from bot.venues.bybit.hosts import Host
from bot.venues.bybit.instruments import InstrumentFilters
from bot.venues.bybit.live_feed import FeedEffect, FeedOptions, LiveFeed
from bot.venues.bybit.market_streams import Wanted
from bot.venues.bybit.public_answers import Unusable, instruments_path, read_filters
from bot.venues.bybit.public_client import PublicClient
from bot.venues.bybit.topics import Category
from bot.venues.bybit.trade_claims import MINUTE_NS

_FORMAT = 1
_TRIES = 5
_INBOX = 1024


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    wanted: list[Wanted]
    options: FeedOptions


class FeedRecorder:
    """A recorder as the live market knows it: says in a capture's first line what the feed is made of."""

    def __init__(self, recorder: CaptureRecorder) -> None:
        self._recorder = recorder
        self.on_event = recorder.on_event

    def on_start(self, wanted: Sequence[Wanted], options: FeedOptions, start_ns: int) -> None:
        """Write the head."""
        head = _Head(format=_FORMAT, wanted=list(wanted), options=options)
        self._recorder.on_head(start_ns, msgspec.json.encode(head))


def instrument_of(filters: InstrumentFilters) -> Instrument:
    """Return an instrument as the venue describes it."""
    return Instrument(
        name=filters.symbol,
        kind="spot" if filters.category == "spot" else "linear",
        base=filters.base,
        quote=filters.quote,
        tick_size=filters.tick_size,
        qty_step=filters.qty_step,
        qty_min=filters.qty_min,
        qty_max=filters.qty_max,
        notional_min=filters.notional_min,
    )


async def ask_instruments(host: Host, clock: Clock, wanted: Sequence[Key]) -> dict[Key, InstrumentFilters]:
    """Ask the venue what it says of instruments, by category and symbol.

    Raises:
        VenueError: one is not listed, or the venue cannot be reached.
    """
    found: dict[Key, InstrumentFilters] = {}
    async with PublicClient(host.rest, clock) as client:
        for key in wanted:
            category: Category = "spot" if key[0] == "spot" else "linear"
            found[key] = await _ask_filters(client, host, category, key[1])
    return found


async def _ask_filters(client: PublicClient, host: Host, category: Category, symbol: str) -> InstrumentFilters:
    reason = ""
    for attempt in range(_TRIES):
        status, body = await client.get(instruments_path(category, symbol))
        try:
            if status:
                return read_filters(status, body, category, symbol)
            reason = body.decode("utf-8", "replace")
        except Unusable as error:
            reason = str(error)
            if error.is_banned or "not listed" in reason:
                break
        await asyncio.sleep(0.1 * 2**attempt)
    code = "not listed" if "not listed" in reason else "no filters"
    raise VenueError(code, f"{host.rest} does not describe {symbol} ({category}): {reason}")


class Bars:
    """Where an instrument's bars come out.

    Attributes:
        inbox: the aggregator's.
        outbox: holds the slabs, and `Stop` at the end.
    """

    def __init__(
        self,
        instrument: Instrument,
        *,
        scales_ns: Sequence[int],
        lateness_ns: int,
        gap_max_ns: int,
        event_rules: Sequence[str] = (),
        bound: int = _INBOX,
    ) -> None:
        name = f"{instrument.kind} {instrument.name}"
        self.inbox: Inbox[Passed | Stop] = Inbox(f"bar_aggregator {name}", bound=bound)
        self.outbox: Inbox[MarketSlab | Stop] = Inbox(f"slabs {name}", bound=bound)
        self.aggregator = BarAggregator(
            instrument,
            scales_ns=scales_ns,
            lateness_ns=lateness_ns,
            gap_max_ns=gap_max_ns,
            event_rules=event_rules,
            repair_ns=MINUTE_NS,
        )
        self.actor = BarAggregatorActor(inbox=self.inbox, outbox=self.outbox, aggregator=self.aggregator, is_live=True)


def make_feed(
    source: MarketSource, bars: Mapping[Key, Bars], watchers: Sequence[Callable[[MarketUpdate], None]] = ()
) -> MarketFeed:
    """Return the actor that hands a source on to aggregators."""
    return MarketFeed(source, {key: each.inbox for key, each in bars.items()}, watchers)


def capture_paths(path: Path) -> list[Path]:
    """Return the files of a capture, in order: one file, or those of a directory.

    Raises:
        DataError: there is none.
    """
    found = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not found or not found[0].exists():
        raise DataError(f"{path}: no capture; give a file that ends in {SUFFIX}, or a directory with some")
    return found


def replay_captures(paths: Iterable[Path]) -> Iterator[FeedEffect]:
    """Yield what a feed says when it is told what captures hold: the very same as when they were recorded.

    A capture that begins with a head begins anew; one that does not goes on with the one before it.

    Raises:
        DataError: a file is no capture, or the first has no head.
    """
    feed: LiveFeed | None = None
    for path in paths:
        for event, values, named in read_events(CaptureLines(path)):
            if event == "head":
                feed = _feed_of(path, *values)
            elif feed is None:
                raise DataError(f"{path}: it goes on with another capture; give that one, too")
            else:
                yield from getattr(feed, event)(*values, **named)


def capture_updates(paths: Iterable[Path]) -> Iterator[MarketUpdate]:
    """Yield the market's updates that captures lead to."""
    for effect in replay_captures(paths):
        if isinstance(effect, MarketUpdate):
            yield effect


def events_of(path: Path) -> Iterator[Event]:
    """Yield what one capture file holds."""
    return read_events(CaptureLines(path))


def _feed_of(path: Path, start_ns: int, head: bytes) -> LiveFeed:
    try:
        read = msgspec.json.decode(head, type=_Head)
        if read.format != _FORMAT:
            raise DataError(f"{path}: its format is {read.format}; this program reads {_FORMAT}")
        return LiveFeed(read.wanted, read.options, start_ns=start_ns)
    except (msgspec.DecodeError, ValueError) as error:
        raise DataError(f"{path}: its head cannot be read ({error})") from error


def describe(paths: Sequence[Path]) -> dict[str, Any]:
    """Return what captures hold, for a person: counts by kind of line, and where one is torn."""
    counts: dict[str, int] = {}
    broken: list[str] = []
    for path in paths:
        lines = CaptureLines(path)
        for event, values, _ in read_events(lines):
            counts[event] = counts.get(event, 0) + (len(values[2]) if event == "on_messages" else 1)
        if lines.broken is not None:
            broken.append(f"{path.name}: {lines.broken}")
    return {"files": len(paths), **counts, "broken": broken}
