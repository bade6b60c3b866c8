"""The live market over real sockets: the emulator on the loopback address, its capture, and the same once more."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.actors.inbox import Inbox, Stop
from bot.actors.inference import Inference
from bot.app.live_market import (
    Bars,
    FeedRecorder,
    ask_instruments,
    capture_paths,
    capture_updates,
    describe,
    instrument_of,
    make_feed,
)
from bot.core.delays import Delay
from bot.core.features.engine import FeatureEngine
from bot.core.features.schema import FeatureSchema
from bot.domain.errors import DataError, VenueError
from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, FeatureBatch, ForecastBatch, MarketSlab, MarketUpdate, is_same
from bot.emulator.server import Server
from bot.runtime.env import ScaledClock, SystemClock, WriterThread
from bot.store.importing.captures import read
from bot.store.recorder import CaptureRecorder
from bot.venues.bybit.hosts import host_of
from bot.venues.bybit.live_feed import FeedOptions
from bot.venues.bybit.live_market import LiveMarket
from bot.venues.bybit.market_streams import Wanted
from models.systems.ewma_vol import EwmaVol, EwmaVolParams
from tests.support.emulator import BTC, MINUTE, SECOND
from tests.support.market_sim import EVENT_RULE, SCALES, Venue

WAIT_S = 30.0
FEATURES = (
    "log_return",
    "parkinson_volatility(5)",
    "realised_volatility",
    "ema_ratio(5)",
    "vwap_distance(5)",
    "orderflow_imbalance",
    "trade_intensity(5)",
    "empty_share(5)",
    "book",
    "book(which='book_spread_bps')",
)
SCHEMA = FeatureSchema(FEATURES, ("1s", "15s", "1m", EVENT_RULE))
FORECASTS = EwmaVolParams(decision_scale_ns=SECOND, scales_ns=SCALES[:3], horizons_ns=(15 * SECOND, MINUTE))


class Seen:
    """What follows from one instrument's market: its slabs with forecasts, and features of bars and book.

    Bars wait until the book has come as far, which `FeatureEngine` asks of whoever drives it.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.slabs: list[MarketSlab] = []
        self.features: list[dict[str, FeatureBatch]] = []
        self._engine = FeatureEngine(SCHEMA, instrument)
        self._waiting: list[list[BarBatch]] = []
        self._told_ns = 0

    def inference(self, inbox: "Inbox[MarketSlab | Stop]") -> Inference:
        """Return the actor that forecasts, and whose slabs come here."""
        delay = Delay(seed=7, stream=3, base_ns=2_000_000, jitter_ns=3_000_000)
        return Inference(inbox=inbox, deliver=[self.on_slab], predictor=EwmaVol(FORECASTS), delay=delay)

    def on_update(self, update: MarketUpdate) -> None:
        if update.books is not None:
            self._engine.on_book(update.books)
        self._told_ns = update.known_ns
        self._compute(until_ns=update.known_ns)

    def on_slab(self, slab: MarketSlab) -> None:
        self.slabs.append(slab)
        self._waiting.append([*slab.bars.values(), *slab.event_bars.values()])
        self._compute(until_ns=self._told_ns)

    def finish(self) -> None:
        self._compute(until_ns=2**62)

    def _compute(self, *, until_ns: int) -> None:
        while self._waiting and all(not len(bars) or bars.known_ns[-1] < until_ns for bars in self._waiting[0]):
            self.features.append(self._engine.on_bars(self._waiting.pop(0)))


class Running:
    """An emulator and a live market of it, in one loop."""

    def __init__(self, tmp_path: Path, *, speed: float = 1.0, seconds: int = 600) -> None:
        wall_ns = SystemClock().now_ns() // 1_000_000 * 1_000_000  # trades are told to the ms
        self.clock = ScaledClock(start_ns=wall_ns, speed=speed)
        self.venue = Venue(seconds=seconds, start_ns=wall_ns, rate=5.0)
        self.server = Server(self.venue.exchange, self.clock, speed=speed)
        self.thread = WriterThread("recorder")
        self.recorder = CaptureRecorder(tmp_path, self.thread)
        self.speed = speed
        self.updates: list[MarketUpdate] = []
        self.bars: dict[tuple[str, str], Bars] = {}
        self.seen: dict[tuple[str, str], Seen] = {}
        self._changed = asyncio.Event()

    async def start(self) -> None:
        await self.server.start()
        self.host = host_of("emulator", url=f"http://127.0.0.1:{self.server.port}")
        keys = [("linear", each.name) for each in self.venue.instruments]
        filters = await ask_instruments(self.host, self.clock, keys)
        wanted = [Wanted(instrument=instrument_of(each)) for each in filters.values()]
        self.source = LiveMarket(
            wanted,
            FeedOptions(history_ns=10 * MINUTE),
            host=self.host,
            base=self.clock,
            speed=self.speed,
            recorder=FeedRecorder(self.recorder),
        )
        self.bars = {
            key: Bars(each.instrument, scales_ns=SCALES, lateness_ns=0, gap_max_ns=10**15, event_rules=[EVENT_RULE])
            for key, each in zip(keys, wanted, strict=True)
        }
        self.seen = {key: Seen(each.instrument) for key, each in zip(keys, wanted, strict=True)}
        self.feed = make_feed(self.source, self.bars, [self._watch])
        self.tasks = [asyncio.create_task(self.feed.run()), asyncio.create_task(self.recorder.run())]
        self.tasks += [asyncio.create_task(each.actor.run()) for each in self.bars.values()]
        inferences = [self.seen[key].inference(each.outbox) for key, each in self.bars.items()]
        self.tasks += [asyncio.create_task(each.run()) for each in inferences]

    def _watch(self, update: MarketUpdate) -> None:
        self.updates.append(update)
        self.seen[update.category, update.instrument.name].on_update(update)
        self._changed.set()

    async def until(self, enough: Callable[[], bool], wait_s: float = WAIT_S) -> None:
        async with asyncio.timeout(wait_s):
            while not enough():
                for task in self.tasks:
                    if task.done():
                        task.result()
                self._changed.clear()
                await self._changed.wait()

    def cut(self) -> None:
        for connection in list(self.server._connections.values()):
            connection.abort()

    async def stop(self) -> None:
        self.feed.stop()
        feed, recording, *rest = self.tasks
        await feed
        await asyncio.gather(*rest)
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)
        await self.recorder.close()
        self.thread.close()
        await self.server.stop()


def joined(slabs: list[MarketSlab], scale: int | str) -> BarBatch:
    parts = [{**slab.bars, **slab.event_bars} for slab in slabs]  # type: ignore[dict-item]
    return BarBatch.join([each[scale] for each in parts if scale in each])  # type: ignore[index]


async def replayed(path: Path, instruments: list[Instrument]) -> tuple[list[MarketUpdate], dict[str, Seen]]:
    """Return what a capture leads to, by the same stages; one instrument after the other."""
    updates = list(capture_updates(capture_paths(path)))
    found: dict[str, Seen] = {}
    for instrument in instruments:
        bars = Bars(
            instrument, scales_ns=SCALES, lateness_ns=0, gap_max_ns=10**15, event_rules=[EVENT_RULE], bound=1 << 20
        )
        seen = found[instrument.name] = Seen(instrument)
        for update in (each for each in updates if each.instrument.name == instrument.name):
            seen.on_update(update)
            for message in update.stream:
                bars.inbox.deliver(message)
        bars.inbox.deliver(Stop())
        await bars.actor.run()
        await seen.inference(bars.outbox).run()
        seen.finish()
    return updates, found


def assert_same_updates(left: list[MarketUpdate], right: list[MarketUpdate]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert (one.category, one.instrument, one.known_ns) == (other.category, other.instrument, other.known_ns)
        for name in ("books", "quotes", "tickers"):
            a, b = getattr(one, name), getattr(other, name)
            assert (a is None) == (b is None)
            assert a is None or is_same(a, b)
        assert len(one.stream) == len(other.stream)
        for a, b in zip(one.stream, other.stream, strict=True):
            assert a == b if isinstance(a, int) else type(a) is type(b)


def assert_same_forecasts(left: list[MarketSlab], right: list[MarketSlab]) -> int:
    """See that two runs forecast the same; return how many rows that were.

    Not slab by slab: live, what waits for a busy aggregator is merged.
    """
    one, other = (ForecastBatch.join([s.forecasts for s in run if s.forecasts is not None]) for run in (left, right))
    assert is_same(one, other)
    return len(one)


def assert_same_features(left: list[dict[str, FeatureBatch]], right: list[dict[str, FeatureBatch]]) -> None:
    """See that two runs have the same features, and that each was a number once it had warmed up."""
    for scale in SCHEMA.scales:
        one, other = (FeatureBatch.join([each[scale] for each in run if scale in each]) for run in (left, right))
        assert is_same(one, other), scale
        assert scale != "1s" or np.isfinite(one.values).any(axis=0).all()


async def test_a_market_at_ten_times_its_pace_is_what_its_capture_says(tmp_path: Path) -> None:
    """A minute and a half with a cut in it: capture and live agree in every row, bar, feature and forecast."""
    await assert_told_the_same(tmp_path, speed=10.0, cuts_s=[35], end_s=95)


@pytest.mark.soak
async def test_half_an_hour_of_a_market_is_what_its_capture_says(tmp_path: Path) -> None:
    """The same at five times the pace, with seven cuts."""
    await assert_told_the_same(tmp_path, speed=5.0, cuts_s=range(240, 1_800, 240), end_s=1_800)


async def assert_told_the_same(tmp_path: Path, *, speed: float, cuts_s: Sequence[int], end_s: int) -> None:
    """Live through so much of a market, with cuts, and see that its capture leads to the same once more."""
    running = Running(tmp_path, speed=speed, seconds=end_s + 600)
    await running.start()
    await running.until(lambda: running.source.is_ready)
    began_ns = running.clock.now_ns()
    for cut_s in cuts_s:
        await running.until(lambda cut_s=cut_s: running.clock.now_ns() > began_ns + cut_s * SECOND, end_s)  # type: ignore[misc]
        running.cut()
    await running.until(lambda: running.clock.now_ns() > began_ns + end_s * SECOND, end_s)
    await running.stop()
    updates, replays = await replayed(tmp_path, running.venue.instruments)
    assert_same_updates(running.updates, updates)
    for (_, name), live in running.seen.items():
        live.finish()
        again = replays[name]
        for scale in (*SCALES, EVENT_RULE):
            assert is_same(joined(live.slabs, scale), joined(again.slabs, scale)), scale
        assert len(joined(live.slabs, MINUTE)) >= 11
        assert_same_features(live.features, again.features)
        assert assert_same_forecasts(live.slabs, again.slabs) >= 30
    assert describe(capture_paths(tmp_path))["broken"] == []


async def test_cut_connections_come_back(tmp_path: Path) -> None:
    """Over real sockets every book is believed again within a second, and some for a busy machine.

    `tests/property/test_market_faults.py` holds the feed to 250 ms and a second on a time of its own.
    """
    running = Running(tmp_path)
    await running.start()
    await running.until(lambda: running.source.is_ready)
    assert running.source._feed is not None
    session = running.source._feed.streams.sessions["linear-0"]
    loop = asyncio.get_running_loop()
    for _ in range(3):
        session._attempt = 0  # as if each had lasted a minute
        before = session.connection
        cut_s = loop.time()
        running.cut()
        await running.until(lambda before=before: session.connection > before and _books_are_trusted(running))  # type: ignore[misc]
        assert loop.time() - cut_s < 1 + 1.5
    await running.stop()


def _books_are_trusted(running: Running) -> bool:
    assert running.source._feed is not None
    feeds = running.source._feed.streams.feeds.values()
    return all(feed.sync is not None and feed.sync.is_trusted for feed in feeds)


async def test_a_capture_is_imported_like_any_other(tmp_path: Path) -> None:
    """`bot data import` reads it: trades and the book, with receive times."""
    running = Running(tmp_path)
    await running.start()
    await running.until(lambda: len(_flown(running, "BTCUSDT")) > 4)  # the first of them came by REST
    await running.stop()
    parts = list(read(capture_paths(tmp_path)[0], symbol="BTCUSDT"))
    trades = [part for part in parts if part.kind == "trades"]
    times = np.concatenate([part.columns["ts_ns"] for part in trades])
    true = running.venue.trades["BTCUSDT"].ts_ns
    assert np.isin(times, true).all()
    # The feed knows the venue's time to some ms.
    assert all((part.columns["recv_ns"] > part.columns["ts_ns"] - 50_000_000).all() for part in trades)
    assert any(part.kind == "book" for part in parts)


def _flown(running: Running, name: str) -> list[Any]:
    return [
        type("Flown", (), {"trades": message})
        for update in running.updates
        if update.instrument.name == name
        for message in update.stream
        if hasattr(message, "price_ticks")
    ]


async def test_a_symbol_that_is_not_listed_is_one_line(tmp_path: Path) -> None:
    running = Running(tmp_path)
    await running.server.start()
    host = host_of("emulator", url=f"http://127.0.0.1:{running.server.port}")
    with pytest.raises(VenueError, match="does not describe NOPEUSDT"):
        await ask_instruments(host, running.clock, [("linear", "NOPEUSDT")])
    await running.server.stop()


def test_there_is_no_capture(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no capture"):
        capture_paths(tmp_path)


async def test_what_an_aggregator_raises_is_not_lost(tmp_path: Path) -> None:
    """Whoever is handed the market ends it by raising, and the source raises the same."""
    running = Running(tmp_path)
    await running.server.start()
    host = host_of("emulator", url=f"http://127.0.0.1:{running.server.port}")
    source = LiveMarket([Wanted(instrument=BTC)], FeedOptions(), host=host, base=running.clock)

    def broken(update: MarketUpdate) -> None:
        raise RuntimeError("the reader broke")

    async with asyncio.timeout(WAIT_S):
        with pytest.raises(RuntimeError, match="the reader broke"):
            await source.run(broken)
    await running.server.stop()
