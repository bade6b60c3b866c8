"""The market that a replay, a training or a picture is made of, opened as the settings name it."""

from collections.abc import Callable

from bot.app.predictors import check_predictor
from bot.core.sample_market.spec import SampleMarketSpec
from bot.domain.errors import ConfigError
from bot.domain.instrument import Instrument
from bot.ports import Histories, MarketHistory
from bot.runtime.env import seeded_generator
from bot.runtime.market_settings import InstrumentSettings
from bot.runtime.settings import Settings
from bot.store.market_history import ParquetHistory
from bot.store.sample_store import ensure_sample, sample_instrument
from bot.store.store_history import StoreHistory
from strategies.registry import make_strategies


def open_market(settings: Settings, on_sample_day: Callable[[int, int], None] = lambda done, days: None) -> Histories:
    """Return each instrument with its history, for a strategy and a predictor that can be made.

    Raises:
        ConfigError, DataError, StorageError: the settings or the files are no good; the message says what to do.
    """
    strategy = make_strategies(settings.chosen)
    check_predictor(settings, strategy)  # what is wrong with either is said before a market is made
    return open_data(settings, on_sample_day)


def open_data(settings: Settings, on_sample_day: Callable[[int, int], None] = lambda done, days: None) -> Histories:
    """Return each instrument with its history, as the settings name them.

    Raises:
        ConfigError, DataError, StorageError: the settings or the files are no good; the message says what to do.
    """
    start_ns, end_ns = settings.run.start, settings.run.end
    if start_ns is not None and end_ns is not None and not start_ns < end_ns:
        raise ConfigError("run.start must lie before run.end")
    if settings.market.source == "files":
        return [
            (each.instrument(), _open_files(each, each.instrument(), start_ns, end_ns))
            for each in settings.market.instruments
        ]
    sample = settings.market.sample
    spec = SampleMarketSpec(days=sample.days, trades_per_day=sample.trades_per_day)
    trades, funding = ensure_sample(
        sample.cache, spec, lambda stream: seeded_generator(sample.seed, stream), sample.seed, on_sample_day
    )
    instrument = sample_instrument(spec)
    history = ParquetHistory(instrument, trades, kind="trades", funding_path=funding, from_ns=start_ns, to_ns=end_ns)
    return [(instrument, history)]


def _open_files(
    each: InstrumentSettings, instrument: Instrument, start_ns: int | None, end_ns: int | None
) -> MarketHistory:
    path = each.trades or each.bars
    assert path is not None
    if path.is_dir():
        history = StoreHistory(
            instrument,
            path,
            funding_path=each.funding,
            from_ns=start_ns,
            to_ns=end_ns,
            off_grid=each.off_grid,
        )
        if (each.bars is None) != (history.source_scale_ns is None):
            given, other = ("trades", "bars") if each.bars is None else ("bars", "trades")
            raise ConfigError(f"{instrument.name}: {given} = {path} is a folder of {other}; write {other} =")
        return history
    return ParquetHistory(
        instrument,
        path,
        kind="trades" if each.trades else "bars",
        scale_ns=each.bar_interval,
        funding_path=each.funding,
        from_ns=start_ns,
        to_ns=end_ns,
        off_grid=each.off_grid,
    )
