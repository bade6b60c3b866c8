"""Records a live market into capture files, until told to stop."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from bot.app.live_market import FeedRecorder, ask_instruments, instrument_of
from bot.domain.market import MarketUpdate
from bot.runtime.env import ScaledClock, SystemClock, WriterThread
from bot.runtime.record_settings import RecordSettings
from bot.store.recorder import CaptureRecorder
from bot.venues.bybit.hosts import host_of
from bot.venues.bybit.live_feed import FeedOptions
from bot.venues.bybit.live_market import LiveMarket
from bot.venues.bybit.market_streams import Wanted
from bot.venues.bybit.precompile import precompile

log = structlog.get_logger()


async def record(settings: RecordSettings, on_start: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Record until canceled, or for as long as the settings say; return what was recorded.

    Raises:
        VenueError: the venue cannot be reached at the start, or does not know a symbol.
        StorageError: the disk refuses a write.
    """
    host = host_of(settings.venue.environment, region=settings.venue.region, url=settings.venue.url)
    clock = ScaledClock(start_ns=SystemClock().now_ns(), speed=1.0)  # it only rises
    keys = [(each.category, each.symbol) for each in settings.symbols]
    filters = await ask_instruments(host, clock, keys)
    wanted = [
        Wanted(
            instrument=instrument_of(filters[each.category, each.symbol]),
            category=each.category,
            book_levels=each.book_levels,
            kline_intervals=each.klines,
            has_price_limits=each.price_limits,
        )
        for each in settings.symbols
    ]
    thread = WriterThread("recorder")
    recorder = CaptureRecorder(
        settings.directory, thread, flush_s=settings.flush / 1e9, file_bytes_max=settings.file_mib_max << 20
    )
    options = FeedOptions(seed=settings.seed, has_status=settings.notices and settings.venue.environment != "emulator")
    source = LiveMarket(wanted, options, host=host, base=clock, recorder=FeedRecorder(recorder))
    precompile()
    on_start({"recording": ", ".join(f"{symbol} ({category})" for category, symbol in keys), "to": settings.directory})
    started_ns = clock.now_ns()
    try:
        await _run(source, recorder, settings)
    finally:
        await recorder.close()
        thread.close()
    return {
        "seconds": round((clock.now_ns() - started_ns) / 1e9, 1),
        "messages": source.messages,
        "alerts": len(source.alerts),
        "bytes": recorder.lines_bytes,
        "file_bytes": recorder.file_bytes,
        "files": [str(path) for path in recorder.files],
    }


async def _run(source: LiveMarket, recorder: CaptureRecorder, settings: RecordSettings) -> None:
    """Run the source and the recorder until either fails, it is time to stop, or somebody cancels this."""

    def ignore(update: MarketUpdate) -> None:
        """Nobody reads what is recorded; it is kept as it came."""

    listening = asyncio.create_task(source.run(ignore))
    writing = asyncio.create_task(recorder.run())
    writing.add_done_callback(lambda task: source.stop())
    if settings.stop_after is not None:
        asyncio.get_running_loop().call_later(settings.stop_after / 1e9, source.stop)
    try:
        await asyncio.shield(listening)
    except asyncio.CancelledError:  # Ctrl-C: finish in order
        source.stop()
        await listening
    finally:
        if writing.done():
            writing.result()
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
