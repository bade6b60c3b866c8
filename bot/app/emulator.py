"""Wires the emulator: settings and recordings to a world, and the world to the network."""

import math
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import structlog
from msgspec.structs import replace

from bot.app.venue_model import tier_rows
from bot.core.sample_market.funding import generate_funding
from bot.core.sample_market.market import generate_days
from bot.core.sample_market.spec import SampleMarketSpec
from bot.core.venue.contract import (
    FEE_RATES,
    Contract,
    FeeRates,
    linear_contract,
    spot_contract,
)
from bot.core.venue.market import neutral, optimistic, pessimistic
from bot.domain.errors import ConfigError
from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, BookDeltaBatch, FundingBatch, TradeBatch
from bot.emulator.auth import ApiKey
from bot.emulator.driven import DrivenClock
from bot.emulator.exchange import AccountSpec, Exchange, World
from bot.emulator.faults import KINDS, Fault
from bot.emulator.listing import Listing
from bot.emulator.player import MarketSource
from bot.emulator.server import Server
from bot.emulator.synthetic import BookMaker, TradesOfBars
from bot.emulator.wire import DAY_NS, HOUR_NS, MINUTE_NS, MS_NS, places_of
from bot.ports import Clock, MarketHistory
from bot.runtime.emulator_settings import EmulatorSettings, FaultSettings, ListingSettings, SampleSource
from bot.runtime.env import ScaledClock, SystemClock, seeded_generator
from bot.store.book_history import BookHistory
from bot.store.market_dataset import Dataset
from bot.store.market_history import ParquetHistory
from bot.store.store_history import StoreHistory

log = structlog.get_logger()

_PRESETS = {"pessimistic": pessimistic, "neutral": neutral, "optimistic": optimistic}
_WEEK_NS = 7 * DAY_NS
_SLAB_ROWS = 8192
_LAUNCHED_MS = 1_585_526_400_000


async def serve(settings: EmulatorSettings, on_ready: Callable[[dict[str, str]], None]) -> None:
    """Serve until canceled; say where once it listens.

    Raises:
        ConfigError, DataError: the settings or a recording are no good, or the port is taken.
    """
    clock, speed = make_clock(settings)
    exchange = Exchange(make_world(settings, clock.now_ns()))
    tls = None
    if settings.server.certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            tls.load_cert_chain(settings.server.certificate, settings.server.private_key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"server.certificate: cannot be used ({error}); give a PEM certificate and key"
            ) from error
    server = Server(
        exchange,
        clock,
        speed=speed,
        host=settings.server.host,
        port=settings.server.port,
        tls=tls,
        on_end=lambda: log.warning("emulator.recording_ended"),
    )
    try:
        await server.start()
    except OSError as error:
        where = f"{settings.server.host}:{settings.server.port}"
        raise ConfigError(f"server.port: cannot listen on {where} ({error.strerror}); choose another") from error
    scheme, at = ("s" if tls else ""), f"{settings.server.host}:{server.port}"
    on_ready({"rest": f"http{scheme}://{at}", "streams": f"ws{scheme}://{at}"})
    try:
        await server.wait()
    finally:
        await server.stop()


def make_clock(settings: EmulatorSettings) -> tuple[Clock, float]:
    """Return the venue's clock, and how many seconds pass on it in one of ours: no end of them where it is driven.

    Raises:
        DataError: there is no recording.
    """
    if settings.clock.mode == "system":
        return SystemClock(), 1.0
    if settings.clock.mode == "driven":
        return DrivenClock(_play_from_ns(settings)), math.inf
    return ScaledClock(start_ns=_play_from_ns(settings), speed=settings.clock.speed), settings.clock.speed


def make_world(settings: EmulatorSettings, now_ns: int) -> World:
    """Return the world that the settings describe, as it begins at `now_ns`.

    On the system's clock recordings are moved by whole days, so that funding and candles keep their hours.

    Raises:
        ConfigError, DataError: the settings or a recording are no good.
    """
    has_files = any(each.sample is None for each in settings.listings)
    shift_ns = 0
    if settings.clock.mode == "system" and has_files:
        shift_ns = (now_ns - _play_from_ns(settings)) // DAY_NS * DAY_NS
    listings = [_listing(each, number) for number, each in enumerate(settings.listings, start=1)]
    slippage = settings.fills.slippage_bps.scaleb(-4)
    return World(
        seed=settings.seed,
        start_ns=now_ns,
        listings=listings,
        sources={
            listing.name: _source(settings, each, listing.instrument, now_ns, shift_ns)
            for each, listing in zip(settings.listings, listings, strict=True)
        },
        accounts=[
            AccountSpec(
                name=account.name,
                uid=account.uid,
                coins=account.coins,
                vip_level=account.vip_level,
                info=account.info,
                keys=tuple(
                    ApiKey(
                        key=key.key,
                        secret=key.secret,
                        account=account.name,
                        is_read_only=key.read_only,
                        permissions=key.permissions,
                        addresses=key.addresses,
                        created_ns=now_ns,
                        expires_ns=key.expires,
                        info=key.info,
                    )
                    for key in account.keys
                ),
            )
            for account in settings.accounts
        ],
        model=_PRESETS[settings.fills.preset](slippage),
        book_windows={each.contract_name: each.book_levels for each in settings.listings},
        faults=[_fault(each) for each in settings.faults],
        rate_scale=settings.rate_limit_scale,
        has_address_limit=settings.address_limit,
        speed=0.0 if settings.clock.mode == "driven" else settings.clock.speed,
    )


def _fault(given: FaultSettings) -> Fault:
    if given.kind not in KINDS:
        raise ConfigError(f"faults.kind = {given.kind!r}: no such fault; known: {', '.join(KINDS)}")
    return Fault(
        kind=given.kind,  # type: ignore[arg-type]
        from_ns=given.after,
        until_ns=given.until,
        probability=given.probability,
        count=given.count,
        skip=given.skip,
        where=given.where,
        delay_ns=given.delay,
        status=given.status,
        code=given.code,
        text=given.text,
        after_bytes=given.after_bytes,
        chunk_bytes=given.chunk_bytes,
        minutes=given.minutes,
        skew_ns=given.skew_ms * MS_NS,
        body=given.body,
    )


def _listing(given: ListingSettings, number: int) -> Listing:
    contract = replace(_contract(given), market_qty_max=given.market_qty_max)
    places = places_of(given.tick_size) if given.price_places is None else given.price_places
    return Listing(
        symbol=given.symbol,
        contract=contract,
        symbol_id=number,
        launch_ms=_LAUNCHED_MS,
        price_places=max(places, places_of(given.tick_size.normalize())),
    )


def _contract(given: ListingSettings) -> Contract:
    instrument = given.instrument()
    fees = FEE_RATES[given.category, "vip0"]
    if given.taker_rate is not None and given.maker_rate is not None:
        fees = FeeRates(taker=given.taker_rate, maker=given.maker_rate)
    if given.category == "spot":
        return spot_contract(instrument, fees=fees)
    return linear_contract(
        instrument, tier_rows(given.tiers), fees=fees, funding_interval_min=given.funding_interval_min
    )


def _play_from_ns(settings: EmulatorSettings) -> int:
    """Return the recording's time at which playing begins: late enough that all of them have begun and are warm."""
    if settings.clock.start is not None:
        return settings.clock.start
    starts = [_history(each, each.instrument(), None).span_ns()[0] for each in settings.listings if each.sample is None]
    return max(starts) + settings.clock.warm_up


def _source(
    settings: EmulatorSettings, given: ListingSettings, instrument: Instrument, now_ns: int, shift_ns: int
) -> MarketSource:
    steps = max(1, int(given.made_size / given.qty_step))
    maker = BookMaker(
        instrument=instrument, levels=given.made_levels, spread_ticks=given.made_spread_ticks, size_steps=steps
    )
    if given.sample is not None:
        is_spot = given.category == "spot"
        return _sample_source(given.sample, instrument, maker, now_ns, settings.clock.warm_up, is_spot=is_spot)
    from_ns = now_ns - shift_ns - settings.clock.warm_up
    history = _history(given, instrument, from_ns)
    funding = history.funding()
    if funding is None and given.category == "linear":
        rate_e8 = int(given.funding_rate.scaleb(8))
        funding = _constant_funding(instrument, now_ns - shift_ns, given.funding_interval_min, rate_e8)
    return MarketSource(
        trades=_trades_of(history),
        book=maker if given.book is None else _book(given, instrument, now_ns - shift_ns),
        funding=funding,
        shift_ns=shift_ns,
    )


def _history(given: ListingSettings, instrument: Instrument, from_ns: int | None) -> MarketHistory:
    path = given.trades or given.bars
    assert path is not None
    named = replace(instrument, name=given.symbol)  # the store knows symbols, not what the venue model calls them
    if path.is_dir():
        return StoreHistory(named, path, funding_path=given.funding, from_ns=from_ns, off_grid=given.off_grid)
    return ParquetHistory(
        named,
        path,
        kind="trades" if given.trades else "bars",
        scale_ns=given.bar_interval,
        funding_path=given.funding,
        from_ns=from_ns,
        off_grid=given.off_grid,
    )


def _trades_of(history: MarketHistory) -> Iterator[TradeBatch]:
    maker = TradesOfBars()
    for slab in history.slabs(_SLAB_ROWS):
        yield maker.make(slab) if isinstance(slab, BarBatch) else slab


def _book(given: ListingSettings, instrument: Instrument, from_ns: int) -> Iterator[BookDeltaBatch]:
    assert given.book is not None
    named = replace(instrument, name=given.symbol)
    return BookHistory(named, Dataset(given.book), from_ns=from_ns, round_qtys=True).deltas()


def _constant_funding(instrument: Instrument, around_ns: int, minutes: int, rate_e8: int) -> FundingBatch:
    """Return two years of one rate, a month of it past."""
    interval_ns = minutes * MINUTE_NS
    first = (around_ns - 30 * DAY_NS) // interval_ns * interval_ns
    times = np.arange(first, around_ns + 700 * DAY_NS, interval_ns, dtype=np.int64)
    return FundingBatch(instrument=instrument, first_row=0, ts_ns=times, rate_e8=np.full(len(times), rate_e8))


def _sample_source(
    sample: SampleSource, instrument: Instrument, maker: BookMaker, now_ns: int, warm_up_ns: int, *, is_spot: bool
) -> MarketSource:
    """Return the sample market, moved by whole weeks so that it has begun by the warm-up."""
    spec = SampleMarketSpec(
        days=3_660,
        trades_per_day=sample.trades_per_day,
        price_start_ticks=int(sample.price / instrument.tick_size),
        qty_median_steps=max(1, int(sample.qty_median / instrument.qty_step)),
    )
    shift_ns = (now_ns - warm_up_ns - spec.start_ns) // _WEEK_NS * _WEEK_NS
    pair = instrument.base + instrument.quote  # a perpetual and its spot pair go together

    def make(stream: str) -> Any:
        return seeded_generator(sample.seed, f"{stream} {pair}")

    settled = np.arange(spec.start_ns, spec.end_ns, 8 * HOUR_NS, dtype=np.int64)
    flat = np.full(len(settled), spec.price_start_ticks, dtype=np.int64)
    made = generate_funding(spec, make("funding"), ts_ns=settled, price_ticks=flat)
    funding = FundingBatch(instrument=instrument, first_row=0, ts_ns=made.ts_ns, rate_e8=made.rate_e8)

    def trades() -> Iterator[TradeBatch]:
        rows = 0
        for day in generate_days(spec, make("trades")):
            yield TradeBatch(
                instrument=instrument,
                first_row=rows,
                ts_ns=day.ts_ns,
                price_ticks=day.price_ticks,
                qty_steps=day.qty_steps,
                is_buy=day.is_buy,
            )
            rows += len(day.ts_ns)

    return MarketSource(trades=trades(), book=maker, funding=None if is_spot else funding, shift_ns=shift_ns)


def describe(settings: EmulatorSettings) -> dict[str, str]:
    """Return what clients need to know of an emulator, as one line each."""
    return {
        "listed": ", ".join(f"{each.symbol} ({each.category})" for each in settings.listings),
        "keys": ", ".join(key.key for account in settings.accounts for key in account.keys),
    }
