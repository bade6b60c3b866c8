"""The venue of a replay, as the settings have it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import partial

from bot.core.matching import VenueModel
from bot.core.tape import BarTape
from bot.core.venue.account import VenueAccount
from bot.core.venue.book_tape import BookTape
from bot.core.venue.contract import ASSUMED_TIER, Contract, FeeRates, TierRow, linear_contract
from bot.core.venue.market import FillModel, Market, Stream, neutral, optimistic, pessimistic
from bot.core.venue.orders import PriceSource
from bot.core.venue.queue import Through, Touch
from bot.domain.errors import ConfigError
from bot.domain.instrument import Instrument
from bot.domain.market import BookDeltaBatch
from bot.ports import MarketHistory
from bot.runtime.market_settings import TierSettings
from bot.runtime.settings import Settings
from bot.store.book_history import BookHistory
from bot.store.mark_history import read_marks
from bot.store.market_dataset import Dataset

ACCOUNT = "ours"

_PRESETS = {"pessimistic": pessimistic, "neutral": neutral, "optimistic": optimistic}
_MARK_SCALE_MAX_NS = 5 * 60_000_000_000  # coarser marks would value positions by a price long past


class BookReader:
    """Reads an instrument's recorded book, ahead of the clock but no further than it must.

    Args:
        history: the book.
        on_rows: sees every batch once; all of the range by the end.
    """

    def __init__(self, history: BookHistory, on_rows: Callable[[BookDeltaBatch], None]) -> None:
        self._batches = history.deltas()
        self._on_rows = on_rows
        self._read_ns = -(2**62)

    def read_until(self, time_ns: int) -> Iterator[BookDeltaBatch]:
        """Yield what has not been read yet, until a batch ends at or after `time_ns`.

        Raises:
            DataError: a file is damaged, or a value does not lie on the instrument's grid.
        """
        while self._read_ns < time_ns:
            batch = next(self._batches, None)
            if batch is None:
                self._read_ns = 2**62
                return
            self._on_rows(batch)
            if len(batch):
                self._read_ns = int(batch.ts_ns[-1])
            yield batch


def make_venue_model(settings: Settings, market: Iterable[tuple[Instrument, MarketHistory]]) -> VenueModel:
    """Return the venue with our account funded and its leverage set.

    Raises:
        ConfigError: tiers that are no ladder, or a leverage that a tier does not allow.
        DataError: recorded marks are damaged.
    """
    markets = [_make_market(settings, instrument, history) for instrument, history in market]
    account = VenueAccount([each.contract for each in markets])
    account.deposit(markets[0].contract.settle_coin, settings.account.cash, ts_ns=0)
    for each in markets:
        leverage = min(settings.account.leverage, each.contract.leverage_max)
        if leverage != account.state.leverage[each.contract.name]:
            refusal = account.set_leverage(each.contract.name, leverage)
            if refusal is not None:
                raise ConfigError(f"account.leverage: {refusal.reason}")
        if settings.execution.is_hedged:
            account.switch_mode(each.contract.name, hedged=True)
    return VenueModel(markets, {ACCOUNT: account}, fill_model(settings))


def _make_market(settings: Settings, instrument: Instrument, history: MarketHistory) -> Market:
    given = next((each for each in settings.market.instruments if each.name == instrument.name), None)
    is_bars = history.source_scale_ns is not None
    book = BookTape(instrument) if given is not None and given.book is not None and not is_bars else None
    model = fill_model(settings)
    has_queue = not isinstance(model.queue, Touch | Through)
    made = Market(
        _contract_of(settings, instrument),
        is_bars=is_bars,
        book=book,
        is_counted=model.impact is not None or (has_queue and not is_bars and book is None),
    )
    if given is not None and given.marks is not None:
        marks = read_marks(instrument, given.marks, settings.run.start, settings.run.end)
        if marks.scale_ns <= _MARK_SCALE_MAX_NS:
            made.streams[PriceSource.MARK] = Stream(BarTape())
            made.extend(marks, 0, PriceSource.MARK)
        made.settlement_prices = dict(zip(marks.open_ns.tolist(), marks.open_ticks.tolist(), strict=True))
    return made


def open_books(
    settings: Settings, instruments: Iterable[Instrument], on_rows: Callable[[str, BookDeltaBatch], None]
) -> dict[str, BookReader]:
    """Return a reader for each instrument whose book is recorded and whose trades are replayed.

    Raises:
        DataError: there is no such book.
    """
    readers = {}
    for instrument in instruments:
        given = next((each for each in settings.market.instruments if each.name == instrument.name), None)
        if given is None or given.book is None or given.bars is not None:
            continue
        history = BookHistory(
            instrument, Dataset(given.book), from_ns=settings.run.start, to_ns=settings.run.end, round_qtys=True
        )
        readers[instrument.name] = BookReader(history, partial(on_rows, instrument.name))
    return readers


def fill_model(settings: Settings) -> FillModel:
    """Return what is assumed of fills."""
    return _PRESETS[settings.venue.fills](settings.venue.slippage_bps.scaleb(-4))


def tier_rows(tiers: Sequence[TierSettings]) -> list[TierRow]:
    """Return the risk tiers of an instrument; an assumed one where none are given."""
    return [
        TierRow(
            limit_value=tier.limit_value,
            initial_rate=tier.initial_rate,
            maintenance_rate=tier.maintenance_rate,
            leverage_max=tier.leverage_max,
        )
        for tier in tiers
    ] or [ASSUMED_TIER]


def _contract_of(settings: Settings, instrument: Instrument) -> Contract:
    given = next((each.tiers for each in settings.market.instruments if each.name == instrument.name), ())
    return linear_contract(
        instrument,
        tier_rows(given),
        fees=FeeRates(taker=settings.fees.taker_rate, maker=settings.fees.maker_rate),
        price_ratio_x=_band(settings, Decimal("0.01")),
        price_ratio_y=_band(settings, Decimal("0.02")),
    )


def _band(settings: Settings, ratio: Decimal) -> Decimal:
    return ratio if settings.venue.price_band else Decimal(1000)
