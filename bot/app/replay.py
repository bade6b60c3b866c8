"""Replay: the live pipeline on recorded market data and virtual time."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from bot import __version__
from bot.actors.bar_aggregator import BarAggregatorActor
from bot.actors.inbox import Inbox, Stop
from bot.actors.inference import Inference
from bot.actors.ledger import LedgerActor
from bot.actors.order_executor import OrderExecutor
from bot.actors.replay_feed import ReplayFeed
from bot.actors.strategy import StrategyActor
from bot.app.limits import execution_policy, protection_limits, risk_limits
from bot.app.outcomes import Interrupted, RunFailed
from bot.app.predictors import ForecastSpan, Predictors, make_predictors
from bot.app.run_places import make_run_directory, point_latest_at
from bot.app.strategy_hosts import make_host
from bot.app.venue_model import ACCOUNT, BookReader, make_venue_model, open_books
from bot.core.bars import BarAggregator
from bot.core.books import differences
from bot.core.calendar import Class
from bot.core.delays import Delay
from bot.core.digest import ColumnDigest
from bot.core.orders import Orders
from bot.core.portfolio import Portfolio
from bot.core.protections import Protections
from bot.core.submission.ids import ClientOrderIds
from bot.core.venue.account import VenueAccount
from bot.core.venue.desk import Desk
from bot.domain.errors import BotError, ConfigError, InvariantBroken
from bot.domain.instrument import Instrument
from bot.domain.ledger import RunClosed
from bot.domain.market import BarBatch, BookDeltaBatch, TradeBatch, column_names
from bot.ports import Histories, MarketHistory
from bot.runtime import logs
from bot.runtime.env import Stopwatch, VirtualCalendar, make_run_id, settle_memory
from bot.runtime.processes import ProcessWorker
from bot.runtime.settings import Settings
from bot.runtime.supervisor import ActorFailed, Run, Supervisor
from bot.runtime.virtual_loop import VirtualLoop
from bot.store.ledger_store import ReplayStore
from bot.venues.simulated.venue import SimulatedVenue
from strategies.base import Strategy
from strategies.registry import make_strategies

log = structlog.get_logger()

_MARKET_BOUND = 8  # slabs between two stages
_MONEY_BOUND = 65_536  # messages to strategy, executor or ledger before something is plainly wrong
_LEDGER_BATCH = 512  # entries written together in a replay
_END_OF_TIME_NS = 2**62
_LAST_ANSWERS_NS = 1_000_000_000  # how long after the last data answers still come home


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a replay is."""

    done: float  # of 1
    at_ns: int  # virtual time


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """A replay that reached its end."""

    directory: Path
    ledger_hash: str
    rows_in: int
    engine_seconds: float  # from the first row read to the last row durable


def replay(
    settings: Settings,
    market: Histories,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    is_latest: bool = True,
) -> Replayed:
    """Trade recorded market data from start to end through the live pipeline, on virtual time.

    Args:
        is_latest: whether `runs/latest` is to mean this run.

    Raises:
        BotError: something the user can mend.
        Interrupted: Ctrl-C.
    """
    strategy = make_strategies(settings.chosen)
    spans = [history.span_ns() for _, history in market]
    start_ns, data_end_ns = min(span[0] for span in spans), max(span[1] for span in spans)
    instruments = [instrument for instrument, _ in market]
    is_bars = [history.source_scale_ns is not None for _, history in market]
    predictors = make_predictors(settings, strategy, market)
    model_id = predictors.model_id
    directory = make_run_directory(settings.run.out, make_run_id(strategy.name), settings.to_toml())
    run_id = directory.name
    store = ReplayStore(
        directory,
        {
            "run_id": run_id,
            "mode": "replay",
            "version": __version__,
            "strategy": strategy.name,
            "parameters": strategy.params.model_dump_json(),
            "seed": settings.run.seed,
            "config_hash": settings.config_hash(),
            "model_id": model_id,
            "in_sample": False,  # known at the end, by the forecasts that were made
            "currency": instruments[0].quote,
            "start_cash": settings.account.cash,
            "source": "bars" if all(is_bars) else "trades" if not any(is_bars) else "mixed",
            "from_ns": start_ns,
            "to_ns": data_end_ns,
        },
        lambda: ProcessWorker("bot.store.ledger_process"),
    )
    pipeline = _Pipeline(settings, market, strategy, predictors, store, (start_ns, data_end_ns), on_progress)
    log_file = logs.configure_file(directory / "log.jsonl")
    log.info(
        "run.started",
        run_id=run_id,
        strategy=strategy.name,
        model_id=model_id,
        config_hash=settings.config_hash(),
        instruments=[instrument.name for instrument in instruments],
    )
    watch = Stopwatch()
    is_whole = False
    try:
        settle_memory()
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(start_ns)) as runner:
            runner.run(pipeline.run())
        ledger_hash = pipeline.close(model_id, watch)
        is_whole = True
        log.info(
            "run.finished",
            run_id=run_id,
            rows_in=pipeline.rows_in,
            late_trades=pipeline.late_trades,
            ledger_hash=ledger_hash,
            wall_seconds=round(watch.seconds(), 3),
        )
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise Interrupted(directory) from None
    except ActorFailed as failure:
        raise RunFailed(f"{failure}; the traceback is in {directory / 'log.jsonl'}") from failure
    finally:
        if not is_whole:
            with suppress(BotError, OSError):  # the first failure is the one to report
                pipeline.abandon()
        log_file.close()
        logs.configure(settings.log.level)
    if is_latest:
        point_latest_at(directory)
    return Replayed(
        directory=directory,
        ledger_hash=ledger_hash,
        rows_in=pipeline.rows_in,
        engine_seconds=watch.seconds(),
    )


class _Pipeline:
    """The actors of one replay and what lies between them."""

    def __init__(
        self,
        settings: Settings,
        market: Histories,
        strategy: Strategy[Any],
        predictors: Predictors,
        store: ReplayStore,
        span_ns: tuple[int, int],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._settings = settings
        self._market = market
        self._strategy = strategy
        self._predictors = predictors
        self._store = store
        self._start_ns, self._data_end_ns = span_ns
        self._on_progress = on_progress
        self._digests = {instrument.name: ColumnDigest(str(instrument)) for instrument, _ in market}
        self._aggregators: list[BarAggregator] = []
        self._ledger: LedgerActor | None = None
        self._account: VenueAccount | None = None
        self._books: Mapping[str, BookReader] = {}
        self._forecasts = ForecastSpan()
        self.rows_in = 0

    async def run(self) -> None:
        """Trade from the first row to the last, then let each actor leave in order."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        calendar = VirtualCalendar(loop)
        settings = self._settings
        instruments = {instrument.name: instrument for instrument, _ in self._market}
        strategy_inbox: Inbox[Any] = Inbox("strategy", bound=_MONEY_BOUND)
        executor_inbox: Inbox[Any] = Inbox("order_executor", bound=_MONEY_BOUND)
        ledger_inbox: Inbox[Any] = Inbox("ledger", bound=_MONEY_BOUND)
        ledger = LedgerActor(inbox=ledger_inbox, store=self._store, batch=_LEDGER_BATCH, is_durable=False)
        self._ledger = ledger
        venue = self._make_venue(calendar, executor_inbox.deliver)
        portfolio = Portfolio(instruments, next(iter(instruments.values())).quote)
        strategy = StrategyActor(
            inbox=strategy_inbox,
            outbox=executor_inbox,
            calendar=calendar,
            host=make_host(self._strategy, list(instruments.values())),
        )
        executor = OrderExecutor(
            inbox=executor_inbox,
            strategy=strategy_inbox,
            calendar=calendar,
            orders=Orders(
                instruments=instruments,
                portfolio=portfolio,
                limits=risk_limits(settings.risk),
                ids=ClientOrderIds(environment="r", epoch=0),
                protections=Protections(protection_limits(settings.protections)),
                execution=execution_policy(settings.execution, settings.run.seed),
                strategies=[each.name for each in self._strategy.parts],
                is_hedged=settings.execution.is_hedged,
            ),
            venue=venue,
            ledger=ledger,
            record_tape=ledger.record_tape,
            instruments=instruments,
            tape_scale_ns=min(settings.bars.scales),
            cash=settings.account.cash,
            check_ns=settings.protections.check_every,
        )
        actors: dict[str, Run] = {"ledger": ledger.run, "order_executor": executor.run, "strategy": strategy.run}
        for stream, (instrument, history) in enumerate(self._market):
            deliver = (strategy_inbox.deliver, executor_inbox.deliver)
            actors |= self._market_half(stream, instrument, history, calendar, venue, deliver)

        ended = asyncio.Event()
        end_ns = self._watermark_ns() + settings.bars.lateness + _LAST_ANSWERS_NS
        calendar.schedule((end_ns, Class.END, 0, 0), ended.set)
        supervisor = Supervisor()
        supervisor.start(actors)
        try:
            await supervisor.wait_until(ended)
            for name, inbox in (
                ("strategy", strategy_inbox),
                ("order_executor", executor_inbox),
            ):
                await inbox.put(Stop())
                await supervisor.wait_for(name)
            await ledger_inbox.put(Stop())
            await supervisor.wait_for("ledger")
        finally:
            await supervisor.stop()
        self._check_books(portfolio, venue)

    def _check_books(self, portfolio: Portfolio, venue: SimulatedVenue) -> None:
        """Hold our books against the venue's own.

        Raises:
            InvariantBroken: they contradict each other.
        """
        assert self._account is not None
        found = differences(
            portfolio,
            cash=self._account.balance(self._market[0][0].quote),
            positions={instrument.name: self._account.held(instrument.name) for instrument, _ in self._market},
            untold=venue.untold(),
        )
        if found:
            raise InvariantBroken(f"our books and the venue's differ at the end of the replay: {'; '.join(found)}")

    def close(self, model_id: str, watch: Stopwatch) -> str:
        """Write the last entry, which names the market and the tape, and make the run whole; return its hash."""
        data_hash = self._data_hash()
        tape_hash = self._store.tape_hash()
        in_sample = self._predictors.in_sample(self._forecasts.first_ns, self._forecasts.last_ns)
        shadow_id = self._predictors.shadow_id
        last_ns = self._watermark_ns() + self._settings.bars.lateness + _LAST_ANSWERS_NS
        self._store.write(
            [
                RunClosed(
                    ts_ns=last_ns,
                    data_hash=data_hash,
                    tape_hash=tape_hash,
                    model_id=model_id,
                    in_sample=in_sample,
                    from_ns=self._start_ns,
                    to_ns=self._data_end_ns,
                    shadow_id=shadow_id,
                    shadow_hash=self._store.shadow_hash() if shadow_id else "",
                )
            ]
        )
        return self._store.finish(
            data_hash=data_hash,
            in_sample=in_sample,
            rows_in=self.rows_in,
            late_trades=self.late_trades,
            wall_seconds=round(watch.seconds(), 3),
        )

    @property
    def late_trades(self) -> int:
        """Return how many trades came too late for their bar."""
        return sum(aggregator.late_count for aggregator in self._aggregators)

    def abandon(self) -> None:
        """Keep what is finished of a run that will not be."""
        if self._ledger is not None:
            self._ledger.flush()
        self._store.interrupt()

    def _watermark_ns(self) -> int:
        """Return the time up to which the market is known: the asked end, or the last row."""
        end_ns = self._settings.run.end
        return self._data_end_ns if end_ns is None else end_ns

    def _market_half(
        self,
        stream: int,
        instrument: Instrument,
        history: MarketHistory,
        calendar: VirtualCalendar,
        venue: SimulatedVenue,
        deliver: Sequence[Callable[[Any], None]],
    ) -> dict[str, Run]:
        settings = self._settings
        try:
            aggregator = BarAggregator(
                instrument,
                scales_ns=sorted({*settings.bars.scales, *self._strategy.scales_ns, *self._predictors.scales_ns}),
                lateness_ns=settings.bars.lateness,
                gap_max_ns=settings.bars.gap_max,
                source_scale_ns=history.source_scale_ns,
                event_rules=sorted({*settings.bars.events, *self._strategy.event_rules}),
            )
        except ValueError as error:
            raise ConfigError(f"bars.scales, bars.events, or the strategy's own scale: {error}") from error
        self._aggregators.append(aggregator)
        raw: Inbox[Any] = Inbox(f"bar_aggregator:{instrument.name}", bound=_MARKET_BOUND)
        bars: Inbox[Any] = Inbox(f"inference:{instrument.name}", bound=_MARKET_BOUND)

        def on_slab(slab: TradeBatch | BarBatch) -> None:
            self._see(slab, stream)
            venue.extend_tape(slab)

        watermark_ns = self._watermark_ns()
        if settings.run.end is not None:
            watermark_ns += settings.bars.lateness
        feed = ReplayFeed(
            history=history,
            calendar=calendar,
            outbox=raw,
            on_slab=on_slab,
            stream=stream,
            slab_rows=settings.run.slab_rows,
            watermark_ns=watermark_ns,
        )
        inference = Inference(
            inbox=bars,
            deliver=deliver,
            predictor=self._predictors.by_name[instrument.name],
            on_forecasts=self._forecasts.see,
            shadow=self._predictors.shadows.get(instrument.name),
            on_shadow=self._store.write_shadow,
            delay=Delay(
                seed=settings.delays.seed,
                stream=3 + stream,
                base_ns=settings.delays.inference,
                jitter_ns=settings.delays.inference_tail,
            ),
        )
        return {
            f"replay_feed:{instrument.name}": feed.run,
            raw.name: BarAggregatorActor(inbox=raw, outbox=bars, aggregator=aggregator).run,
            bars.name: inference.run,
        }

    def _see(self, slab: TradeBatch | BarBatch, stream: int) -> None:
        self._digests[slab.instrument.name].update({name: getattr(slab, name) for name in column_names(type(slab))})
        self.rows_in += len(slab)
        if stream == 0:
            last_ns = int(slab.ts_ns[-1] if isinstance(slab, TradeBatch) else slab.open_ns[-1])
            span_ns = max(1, self._data_end_ns - self._start_ns)
            self._on_progress(Progress(done=(last_ns - self._start_ns) / span_ns, at_ns=last_ns))

    def _see_book(self, name: str, batch: BookDeltaBatch) -> None:
        columns = {f"book_{column}": getattr(batch, column) for column in column_names(BookDeltaBatch)}
        self._digests[name].update(columns)

    def _data_hash(self) -> str:
        """Return a hash of every market row of the run's range."""
        for reader in self._books.values():
            for _ in reader.read_until(_END_OF_TIME_NS):
                pass
        whole = ColumnDigest("market")
        for name, digest in self._digests.items():
            whole.update_text(name, digest.hexdigest())
        return whole.hexdigest()

    def _make_venue(self, calendar: VirtualCalendar, deliver: Callable[[Any], None]) -> SimulatedVenue:
        settings = self._settings
        delays = settings.delays
        model = make_venue_model(settings, self._market)
        self._account = model.accounts[ACCOUNT]
        for instrument, history in self._market:
            funding = history.funding()
            if funding is not None:
                model.set_funding(funding)
                self._digests[instrument.name].update({"funding_ns": funding.ts_ns, "funding_e8": funding.rate_e8})
        self._books = open_books(settings, [instrument for instrument, _ in self._market], self._see_book)
        answer_delay = Delay(seed=delays.seed, stream=2, base_ns=delays.answer, jitter_ns=delays.answer_tail)
        return SimulatedVenue(
            calendar=calendar,
            desk=Desk(model, ACCOUNT, answer_delay),
            order_delay=Delay(seed=delays.seed, stream=0, base_ns=delays.order, jitter_ns=delays.order_tail),
            cancel_delay=Delay(seed=delays.seed, stream=1, base_ns=delays.order, jitter_ns=delays.order_tail),
            deliver=deliver,
            books={name: reader.read_until for name, reader in self._books.items()},
        )
