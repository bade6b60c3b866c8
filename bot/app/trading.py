"""Paper and live trading: the pipeline of a replay with a live market at one edge and a live account at the other.

Starting and recovering are one path: take the ledger, take up where it ends, compare with the venue, and only then let
the strategy act.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import structlog

from bot import __version__
from bot.actors.bar_aggregator import BarAggregatorActor
from bot.actors.inbox import Inbox, Stop
from bot.actors.inference import Inference
from bot.actors.ledger import LedgerActor
from bot.actors.ledger_watch import LedgerWatch
from bot.actors.live_executor import HOST, Asked, LiveExecutor, Pulse
from bot.actors.live_inference import Settled
from bot.actors.live_tape import LiveTape
from bot.actors.market_feed import Key, MarketFeed
from bot.actors.quote_watch import QuoteWatch
from bot.actors.strategy import Begin, StrategyActor
from bot.app.balancing import make_balancer
from bot.app.ledgers import OpenLedger, describe, open_live
from bot.app.life_signs import LifeSigns
from bot.app.limits import needs_quotes
from bot.app.live_market import ask_instruments, instrument_of
from bot.app.live_model import LiveModel, check_live_model, with_scales
from bot.app.live_tape import open_tape
from bot.app.market_half import make_aggregator, make_delay
from bot.app.observed import Observed, TimedPredictor
from bot.app.patience import ask_patiently
from bot.app.recording import EXECUTOR, STRATEGY, Recording, head_of, record_file
from bot.app.recovery import STATE_ENTRIES, recover
from bot.app.run_places import make_run_directory, point_latest_at
from bot.app.strategy_hosts import make_host, take_up
from bot.app.switches import Switches
from bot.app.trading_parts import (
    check_mode,
    emulator_clock,
    make_desk,
    make_emulator,
    make_predictor,
    seen_epoch,
    start_balances,
)
from bot.app.trading_surfaces import Surfaces
from bot.app.trading_view import TradingView
from bot.core.checkpoint import capture, encode
from bot.core.deliveries import Heard
from bot.core.epochs import creates_from
from bot.core.filters import FiltersTold
from bot.core.redaction import Redactor
from bot.core.submission.ids import ClientOrderIds, parse_id
from bot.core.wellbeing import Wellbeing
from bot.domain.errors import BotError, ConfigError, VenueError
from bot.domain.instrument import Instrument
from bot.domain.ledger import LedgerEntry
from bot.domain.market import ForecastBatch
from bot.domain.operation import Kill, Phase
from bot.runtime.alert_settings import read_alert_secrets
from bot.runtime.env import (
    LiveCalendar,
    ScaledClock,
    SystemClock,
    WriterThread,
    call_in_thread,
    host_name,
    make_run_id,
    settle_memory,
)
from bot.runtime.heartbeat import HEARTBEAT_FILE, HeartbeatWriter
from bot.runtime.logs import ServiceLogs
from bot.runtime.notify import ServiceNotifier
from bot.runtime.settings import write_toml
from bot.runtime.supervisor import Run, Supervisor
from bot.runtime.trade_settings import TradeSettings
from bot.store.ledger_queries import LedgerHistory
from bot.store.live_ledger import LiveLedger
from bot.store.live_reader import ledger_name
from bot.venues.bybit.backoff import ConnectBudget
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.hosts import Host, host_of
from bot.venues.bybit.live_account import LiveAccount
from bot.venues.bybit.live_feed import FeedOptions
from bot.venues.bybit.live_market import LiveMarket
from bot.venues.bybit.market_streams import Wanted
from bot.venues.bybit.precompile import precompile
from bot.venues.bybit.rate_budget import RateBudget
from bot.venues.bybit.requests import Listed
from bot.venues.bybit.rest_client import RestClient
from bot.venues.bybit.start_queries import RestAsker
from bot.venues.bybit.startup import Wanted as WantedAccount
from bot.venues.bybit.startup import check_account
from strategies.registry import make_strategies

log = structlog.get_logger()

_MARKET_BOUND = 1_024
_MONEY_BOUND = 65_536
_SEND_TIMEOUT_NS = 5_000_000_000
_SETTLE_S = 5.0  # for what is on its way when the run ends
_YOUNG_OBJECTS = 20_000
_POLL_S = 0.05  # between two looks at switches and readiness
_MS = 1_000_000
_SEEN_BEFORE_MS = 20 * 60_000  # where no comparison is on record, executions are asked for from so long before


@dataclass(frozen=True, kw_only=True, slots=True)
class Traded:
    """A run that was ended in order."""

    directory: Path
    run_id: str
    epoch: int
    entries: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Running:
    """What there is to conduct."""

    executor: LiveExecutor
    source: LiveMarket
    switches: Switches
    inbox: Inbox[Any]
    strategy_inbox: Inbox[Any]
    ledger: LedgerActor
    store: LiveLedger
    notifier: ServiceNotifier
    life_signs: LifeSigns
    kept_seq: int  # up to which entry the state was kept
    keys: tuple[Key, ...]
    model: LiveModel | None


class Trading:
    """One run of paper or live trading.

    Args:
        settings: of the run.
        mode: "paper" or "live".
        credentials: the account's key and secret.
        on_phase: told of the run's phases, with a line for a person.
    """

    def __init__(
        self,
        settings: TradeSettings,
        mode: str,
        credentials: Credentials,
        on_phase: Callable[[Phase, str], None] = lambda phase, text: None,
    ) -> None:
        check_mode(settings, mode)
        self._settings = settings
        self._mode = mode
        self._credentials = credentials
        self._on_phase = on_phase
        self._strategy = make_strategies(settings.chosen)
        self._clock: ScaledClock | SystemClock = ScaledClock(start_ns=SystemClock().now_ns(), speed=1.0)
        self._speed = 1.0
        self._stopping = asyncio.Event()
        self._ids = ClientOrderIds(environment=settings.environment_letter, epoch=0)
        self._is_clean = False
        self._view: TradingView | None = None
        self._observed: Observed | None = None
        self._model: LiveModel | None = None
        self._tape: LiveTape | None = None
        self._see_phase: Callable[[Phase, str], None] = lambda phase, text: None
        self.directory = Path()
        self.phase = Phase.STARTING

    def stop(self) -> None:
        """Let `run` end in order."""
        self._stopping.set()

    async def run(self) -> Traded:
        """Trade until stopped.

        Raises:
            BotError: something the user can mend.
        """
        async with AsyncExitStack() as stack:
            self._tell(Phase.STARTING, "preparing; the first start compiles for up to a minute")
            host = await self._reach(stack)
            await call_in_thread(precompile)  # it takes seconds, and no stream may wait so long for us
            thread = WriterThread("ledger")
            stack.callback(thread.close)
            return await self._trade(stack, host, thread)

    async def _reach(self, stack: AsyncExitStack) -> Host:
        """Return where the venue is; offline, start it, and live by its clock."""
        venue = self._settings.venue
        if venue.environment != "emulator":
            return host_of(venue.environment, region=venue.region)
        if venue.url:
            host = host_of(venue.environment, url=venue.url)
            self._clock = await emulator_clock(host)
            self._speed = self._clock.speed
            return host
        emulated = await make_emulator(self._settings.emulator)
        stack.push_async_callback(emulated.stop)
        self._clock, self._speed = emulated.clock, emulated.speed
        return host_of("emulator", url=emulated.url)

    async def _trade(self, stack: AsyncExitStack, host: Host, thread: WriterThread) -> Traded:
        chosen = await call_in_thread(lambda: check_live_model(self._settings, self._strategy))
        if chosen is not None:
            self._settings = with_scales(self._settings, [each for each in chosen if each is not None])
        settings, clock = self._settings, self._clock
        self._tell(Phase.STARTING, f"asking {host.environment} for instruments")
        keys: list[Key] = [(each.category, each.symbol) for each in settings.symbols]
        notifier = ServiceNotifier()
        stack.callback(notifier.close)
        grace_s = settings.service.outage_grace / 1e9
        filters = await ask_patiently(
            lambda: ask_instruments(host, clock, keys), notifier, self._stopping, within_s=grace_s
        )
        instruments = {each.symbol: instrument_of(filters[each.category, each.symbol]) for each in settings.symbols}
        listed = {each.symbol: Listed(each.category, each.symbol) for each in settings.symbols}
        quotes = sorted({each.quote for each in instruments.values()})
        if len(quotes) > 1:
            raise ConfigError(f"symbols are priced in {', '.join(quotes)}; trade one currency in a run")
        client = await stack.enter_async_context(
            RestClient(host, self._credentials, clock=clock, budget=RateBudget(), speed=self._speed)
        )
        self._make_directory()
        service_logs = ServiceLogs(
            self.directory / "log.jsonl",
            redact=Redactor([*self._credentials.for_client().values(), *read_alert_secrets(settings.alerts).values()]),
            stream_level=settings.log.level,
            is_journal="JOURNAL_STREAM" in os.environ,
        )
        stack.callback(service_logs.close)
        # --- the ledger: whose it is, and a number for this start
        where = settings.ledger.at or str(self._ledger_directory())
        home = Path(where) if "://" not in where else self._ledger_directory()
        switches = Switches(home if home.is_dir() or not home.suffix else home.parent)
        surfaces = Surfaces(settings, directory=self.directory, ledger_directory=switches.directory)
        surfaces.start()
        stack.push_async_callback(surfaces.close)
        self._see_phase = surfaces.see_phase
        heartbeat = HeartbeatWriter(switches.directory / HEARTBEAT_FILE, self.directory.name)
        inbox: Inbox[Any] = Inbox("order_executor", bound=_MONEY_BOUND)
        strategy_inbox: Inbox[Any] = Inbox("strategy", bound=_MONEY_BOUND)
        budget = ConnectBudget()
        account = LiveAccount(
            client,
            self._credentials,
            instruments={name: (listed[name], instruments[name]) for name in instruments},
            is_ours=self._is_ours,
            clock=clock,
            deliver=inbox.deliver,
            prefix="".join(each for each in self.directory.name if each.isalnum())[-18:],
            seed=settings.run.seed,
            speed=self._speed,
            budget=budget,
        )
        await _know_the_time(account, host)
        await self._check_account(client, account, listed, instruments)
        model = None
        if chosen is not None:
            self._tell(Phase.STARTING, f"loading {chosen[0].told.name}")
            model = self._model = LiveModel(
                chosen,
                settings,
                self._strategy,
                instruments,
                clock=clock,
                speed=self._speed,
                deliver=(strategy_inbox.deliver, inbox.deliver),
                on_forecasts=self._see_forecasts,
                on_shadow=self._see_shadow,
                on_heard=self._see_inference,
                tell=surfaces.tell,
            )
            stack.callback(model.close)
            await model.until_loaded()
            await _know_the_time(account, host)  # loading takes longer than a measure of the clock is good for
        cash, coins = await start_balances(client, account.venue_ms, quotes[0], self._speed)
        opened = await thread(lambda: open_live(where, self._row(quotes[0], cash), lock_directory=settings.run.out))
        stack.push_async_callback(self._close_ledger, opened, thread)
        await _know_the_time(account, host)  # as opening a long ledger may
        venue_epoch = await seen_epoch(
            client, account.venue_ms, listed.values(), settings.environment_letter, self._speed
        )
        store = opened.store
        plan = await thread(
            lambda: store.begin_epoch(
                now_ns=clock.now_ns(),
                venue_epoch=venue_epoch,
                recv_window_ns=settings.venue.recv_window,
                send_timeout_ns=_SEND_TIMEOUT_NS,
                run_id=self.directory.name,
                host=host_name(),
                pid=os.getpid(),
                version=__version__,
                config_hash=settings.config_hash(),
            )
        )
        ids = self._ids = ClientOrderIds(environment=settings.environment_letter, epoch=plan.number)
        desk = make_desk(settings, instruments, ids, quotes[0])
        # --- taking up where it ends
        self._tell(Phase.RECOVERING, f"epoch {plan.number}: reading the ledger")
        recovered = await thread(lambda: recover(store, desk))
        venue_ms, now_ns = account.venue_ms(), clock.now_ns()
        assert venue_ms is not None  # it was asked for above
        creates_from_ns = creates_from(
            plan,
            signed_until_ms=desk.orders.state.signed_until_ms,
            venue_ms=venue_ms,
            now_ns=now_ns,
            is_alone=opened.confirm_within_s is None,
        )
        last_ms, is_new = recovered.executed_ms, recovered.is_new
        ids.count = max(ids.count, recovered.last_count)
        began_ns = await thread(lambda: int(describe(where).get("from_ns", 0)))
        account.begins_ms = began_ns // _MS
        # --- the actors
        recording = Recording(
            record_file(self.directory) if settings.run.record_deliveries else None, stack, surfaces.see_trouble
        )
        head = head_of(
            desk,
            run_id=self.directory.name,
            mode=self._mode,
            config_hash=settings.config_hash(),
            strategy=self._strategy,
            model_id=self._model_id(),
            ledger=ledger_name(where),
            epoch=plan.number,
            after_seq=store.head.seq,
            order_count=ids.count,
            currency=quotes[0],
            began_ns=clock.now_ns(),
            executed_ms=last_ms,
            creates_from_ns=creates_from_ns,
            first_cash=cash if is_new else None,
            first_coins=coins,
        )
        calendar = LiveCalendar(clock)
        market_keys = {name: (listed[name].category, name) for name in instruments}
        source = LiveMarket(
            [Wanted(instrument=instruments[each.symbol], category=each.category) for each in settings.symbols],
            FeedOptions(
                seed=settings.run.seed,
                has_status=host.environment == "mainnet",
                filters_ns=settings.run.filters_every,
                confirm_ns=settings.run.confirm_within,
                history_ns=0 if model is None else model.history_ns,
            ),
            host=host,
            base=clock,
            speed=self._speed,
            budget=budget,
            on_filters=lambda told: inbox.deliver(
                FiltersTold(instrument=instrument_of(told.filters), status=told.filters.status)
            ),
        )
        ledger_inbox: Inbox[Any] = Inbox("ledger", bound=_MONEY_BOUND)
        ledger = LedgerActor(inbox=ledger_inbox, store=store, batch=1, is_durable=True, off_loop=thread)
        strategy_host = make_host(self._strategy, list(instruments.values()))
        state = desk.orders.state
        take_up(strategy_host, state)
        recording.watch(EXECUTOR, inbox)
        recording.watch(STRATEGY, strategy_inbox)
        strategy = StrategyActor(
            inbox=strategy_inbox,
            outbox=inbox,
            calendar=recording.calendar(STRATEGY, calendar),
            host=strategy_host,
            is_begun=False,
        )
        supervisor = Supervisor()
        observed = self._observed = Observed(clock, [inbox, strategy_inbox, ledger_inbox])
        tape = self._tape = open_tape(
            self.directory, settings, instruments, state.portfolio.positions, clock, stack, surfaces.see_trouble
        )

        def see_entries(entries: Sequence[LedgerEntry]) -> None:
            tape.see_entries(entries)
            observed.see_entries(entries)
            surfaces.see_entries(entries)

        def doubts_of_data(name: str) -> Sequence[str]:
            return source.doubts(*market_keys[name]) if name in market_keys else ()

        def doubts(name: str) -> Sequence[str]:
            of_model = [] if model is None or name not in market_keys else model.doubts(name)
            return [*doubts_of_data(name), *of_model]

        executor = LiveExecutor(
            inbox=inbox,
            strategy=strategy_inbox,
            calendar=recording.calendar(EXECUTOR, calendar),
            clock=clock,
            desk=desk,
            venue=recording.venue(EXECUTOR, account),
            ledger=recording.ledger(EXECUTOR, ledger),
            instruments=instruments,
            is_killed=recording.hearing(EXECUTOR, Heard.KILLED, lambda: switches.is_killed),
            doubts=recording.hearing(EXECUTOR, Heard.DOUBTS, doubts),
            on_entries=see_entries,
            check_ns=settings.run.check_every,
            compare_ns=settings.run.compare_every,
        )
        view = self._view = TradingView(
            settings,
            run_id=self.directory.name,
            mode=self._mode,
            model_id=self._model_id,
            currency=quotes[0],
            start_cash=cash if is_new else state.portfolio.cash,
            clock=clock,
            executor=executor,
            store=store,
            switches=switches,
            inbox=inbox,
            phase=lambda: self.phase,
            doubts=doubts_of_data,
            troubles=lambda: [] if model is None else model.troubles,
            observed=observed,
            topics=source.topics,
            connections=lambda: source.connections() | account.connections(),
            refused=lambda: source.refused,
            lives=supervisor.lives,
            notices=surfaces.counters,
        )
        actors: dict[str, Run] = {
            "ledger": ledger.run,
            "order_executor": executor.run,
            "strategy": strategy.run,
            "account": account.run,
        }
        outboxes: dict[Key, Inbox[Any]] = {}
        for stream, each in enumerate(settings.symbols):
            outboxes[each.category, each.symbol] = self._market_half(
                stream,
                instruments[each.symbol],
                (
                    strategy_inbox.deliver,
                    inbox.deliver,
                    observed.see_slab,
                    tape.see_slab,
                    *(() if model is None else (model.see_slab,)),
                ),
                actors,
                observed,
                recording,
            )
        recording.add_to(actors)
        actors["tape"] = tape.run
        if model is not None:
            observed.inboxes += model.inboxes
            actors |= model.actors()
        watchers = [QuoteWatch(inbox.deliver)] if needs_quotes(settings.execution) else []
        feed = MarketFeed(source, outboxes, watchers)
        actors["market_feed"] = feed.run
        watch = LedgerWatch(confirm=store.confirm, off_loop=thread, within_s=opened.confirm_within_s)
        actors["ledger_watch"] = watch.run
        balancer = make_balancer(
            account,
            where,
            inbox.deliver,
            instruments=instruments,
            currency=quotes[0],
            balanced_ms=state.balanced_ms,
            every_ns=settings.run.balance_every,
            speed=self._speed,
        )
        actors["balancer"] = balancer.run
        running = _Running(
            executor=executor,
            source=source,
            switches=switches,
            inbox=inbox,
            strategy_inbox=strategy_inbox,
            ledger=ledger,
            store=store,
            kept_seq=recovered.kept_seq,
            notifier=notifier,
            life_signs=LifeSigns(
                executor,
                lambda: [doubt for name in instruments for doubt in doubts_of_data(name)],
                observed.inboxes,
                wellbeing=Wellbeing(
                    outage_grace_ns=settings.service.outage_grace,
                    unreached_ns=settings.service.unreached_after,
                    doing=_doing(settings),
                ),
                notifier=notifier,
                heartbeat=heartbeat,
            ),
            keys=tuple(keys),
            model=model,
        )
        supervisor.start({"ledger": actors.pop("ledger")})
        log.info("run.started", run_id=self.directory.name, epoch=plan.number, environment=host.environment)
        try:
            recording.begin(head)
            await executor.start(
                executed_ms=last_ms,
                creates_from_ns=creates_from_ns,
                first_cash=cash if is_new else None,
                first_coins=coins,
            )
            settle_memory(young=_YOUNG_OBJECTS)  # a look through all that is loaded would cost 0.2 s, any time
            account.start()
            supervisor.start(actors)
            supervisor.start({"conductor": lambda: self._conduct(running)})
            async with surfaces.beside(view, observed, queries=LedgerHistory(where)):
                await supervisor.wait_until(self._stopping)
                self._tell(Phase.STOPPING, "stopping: open orders and positions stay at the venue")
            notifier.stopping()
            feed.stop()
            await strategy_inbox.put(Stop())
            await supervisor.wait_for("strategy")
            inbox.deliver(Pulse.LEAVE)
            for _ in range(int(_SETTLE_S / _POLL_S)):  # what is not known by then is found out at the next start
                if executor.is_settled:
                    break
                await asyncio.sleep(_POLL_S / self._speed)
            await inbox.put(Stop())
            await supervisor.wait_for("order_executor")
            self._keep_state(ledger, store, executor)
            await ledger_inbox.put(Stop())
            await supervisor.wait_for("ledger")
        finally:
            await account.stop()
            await supervisor.stop()
        heartbeat.stop()
        self._is_clean = True
        return Traded(directory=self.directory, run_id=self.directory.name, epoch=plan.number, entries=store.head.seq)

    # --- parts --------------------------------------------------------------------------------------------------------

    def _market_half(
        self,
        stream: int,
        instrument: Instrument,
        deliver: Sequence[Callable[[Any], None]],
        actors: dict[str, Run],
        observed: Observed,
        recording: Recording,
    ) -> Inbox[Any]:
        settings = self._settings
        raw: Inbox[Any] = Inbox(f"bar_aggregator:{instrument.name}", bound=_MARKET_BOUND)
        bars: Inbox[Any] = Inbox(f"inference:{instrument.name}", bound=_MARKET_BOUND)
        recording.watch(raw.name, raw)
        recording.watch(bars.name, bars)
        aggregator = make_aggregator(settings, self._strategy, instrument)
        observed.inboxes += [raw, bars]
        predictor = make_predictor(settings, self._strategy)
        inference = Inference(
            inbox=bars,
            deliver=deliver,
            predictor=None if predictor is None else TimedPredictor(predictor, observed.see_inference),
            on_forecasts=self._see_forecasts,
            delay=make_delay(settings, stream),
        )
        actors[raw.name] = BarAggregatorActor(inbox=raw, outbox=bars, aggregator=aggregator, is_live=True).run
        actors[bars.name] = inference.run
        return raw

    async def _check_account(
        self, client: RestClient, account: LiveAccount, listed: dict[str, Listed], instruments: dict[str, Instrument]
    ) -> None:
        """Hold key and account against what is wanted.

        Raises:
            ConfigError: trading must not start; a line for each reason.
        """
        settings = self._settings
        wanted = WantedAccount(
            mode="live" if self._mode == "live" else "paper",
            uid=settings.venue.uid,
            allows_unbound_key=settings.venue.allow_unbound_key,
            instruments={name: (listed[name], instruments[name]) for name in instruments},
            leverage={each.symbol: each.leverage for each in settings.symbols if each.leverage is not None},
        )

        async def set_up(request: Any) -> Any:
            stamp_ms = account.venue_ms()
            assert stamp_ms is not None
            return (await client.send(request, timestamp_ms=stamp_ms))[0]

        findings = await check_account(
            RestAsker(client, account.venue_ms), set_up, wanted, self._credentials, now_ns=self._clock.now_ns()
        )
        for each in findings:
            log.warning("account.differs", line=each.line, is_fatal=each.is_fatal)
        fatal = [each.line for each in findings if each.is_fatal]
        if fatal:
            raise ConfigError("\n".join(fatal))

    async def _conduct(self, running: "_Running") -> None:
        """Watch for readiness, switches and the time to stop; keep the state; feed the watchdog."""
        settings, clock, executor = self._settings, self._clock, running.executor
        started_ns = kept_ns = clock.now_ns()
        kept_seq = running.kept_seq
        is_begun = was_killed = False
        waiting = ""  # for what, as was told
        while True:
            now_ns = clock.now_ns()
            is_killed = running.switches.is_killed
            if is_killed and not was_killed:
                running.inbox.deliver(Asked(command=Kill(why=running.switches.why_killed()), by=HOST, done=_ignore))
            was_killed = is_killed
            for command, answer in running.switches.take():
                if isinstance(command, Kill):
                    running.switches.kill(command.why)
                running.inbox.deliver(Asked(command=command, by=HOST, done=answer))
            is_fed = executor.is_ready and running.source.is_ready
            lacks = [] if running.model is None or not is_fed else running.model.troubles
            is_ready = is_fed and not lacks
            if is_ready and not is_begun:
                is_begun = True
                running.strategy_inbox.deliver(Begin())
                running.notifier.ready(_doing(settings))
                self._tell(Phase.READY, f"ready {(now_ns - started_ns) / 1e9 / self._speed:.1f} s after the start")
            elif is_begun and is_ready != (self.phase is Phase.READY) and self.phase is not Phase.STOPPING:
                doubts = [each for key in running.keys for each in running.source.doubts(*key)]
                phase = Phase.READY if is_ready else Phase.DEGRADED
                self._tell(phase, "; ".join([*executor.troubles.values(), *doubts, *lacks]) or "all is well again")
            elif lacks and not is_begun and waiting != "; ".join(lacks):
                waiting = "; ".join(lacks)
                self._tell(Phase.RECOVERING, f"waiting for a first forecast: {waiting}")
            if is_begun:
                running.life_signs.look(now_ns)
            is_long = running.store.head.seq - kept_seq >= STATE_ENTRIES
            if is_long or now_ns - kept_ns >= settings.ledger.checkpoint_every:
                kept_ns, kept_seq = now_ns, running.store.head.seq
                self._keep_state(running.ledger, running.store, executor)
            if settings.run.stop_after is not None and now_ns - started_ns >= settings.run.stop_after:
                self.stop()
            await asyncio.sleep(_POLL_S)

    def _keep_state(self, ledger: LedgerActor, store: LiveLedger, executor: LiveExecutor) -> None:
        """Keep the state beside the journal, as it is after all that was written so far."""
        desk, now_ns = executor.desk, self._clock.now_ns()
        last = (store.epoch.number, self._ids.count)
        body = encode(capture(desk.orders.state, desk.submissions.journal, last=last))
        ledger.do_in_order(lambda: store.checkpoint(body, now_ns=now_ns))

    # --- its place ----------------------------------------------------------------------------------------------------

    def _make_directory(self) -> None:
        name = make_run_id(f"{self._mode}-{self._strategy.name}")
        self.directory = make_run_directory(self._settings.run.out, name, write_toml(self._settings.public()))
        point_latest_at(self.directory)

    def _ledger_directory(self) -> Path:
        """Return where an account's ledger is: it outlives the runs, but for an account that ends with the run."""
        venue = self._settings.venue
        if venue.environment == "emulator" and not venue.url:
            return self.directory
        name = f"{venue.environment}-{venue.uid}" if venue.uid else venue.environment
        return self._settings.run.out / "ledgers" / name

    def _row(self, currency: str, cash: Decimal) -> dict[str, Any]:
        now_ns = self._clock.now_ns()
        return {
            "run_id": self.directory.name,
            "mode": self._mode,
            "status": "running",
            "version": __version__,
            "strategy": self._strategy.name,
            "parameters": self._strategy.params.model_dump_json(),
            "seed": self._settings.run.seed,
            "config_hash": self._settings.config_hash(),
            "model_id": self._model_id(),
            "in_sample": self._model is not None and self._model.in_sample(now_ns),
            "currency": currency,
            "start_cash": cash,
            "source": "trades",
            "from_ns": now_ns,
            "to_ns": now_ns,
        }

    def _is_ours(self, client_order_id: str) -> bool:
        parsed = parse_id(client_order_id)
        return parsed is not None and parsed.environment == self._settings.environment_letter

    async def _close_ledger(self, opened: OpenLedger, thread: WriterThread) -> None:
        if self._is_clean:
            await thread(lambda: opened.close(now_ns=self._clock.now_ns()))
        else:
            with suppress(BotError):
                await thread(opened.abandon)

    def _tell(self, phase: Phase, text: str) -> None:
        self.phase = phase
        log.info("run.phase_changed", phase=phase.value, text=text)
        self._on_phase(phase, text)
        self._see_phase(phase, text)

    def _model_id(self) -> str:
        """Return what forecasts are made by now."""
        if not self._strategy.wants_forecasts:
            return "none"
        return self._settings.predictor.kind if self._model is None else self._model.model_id

    def _see_inference(self, answered: Settled) -> None:
        if self._observed is not None and not answered.reason:
            self._observed.see_inference(answered.took_ns, answered.decisions)

    def _see_shadow(self, forecasts: ForecastBatch) -> None:
        if self._tape is not None:
            self._tape.see_shadow(forecasts)

    def _see_forecasts(self, forecasts: ForecastBatch) -> None:
        if self._tape is not None:
            self._tape.see_forecasts(forecasts)
        if self._view is not None and self._observed is not None:
            self._observed.see_forecasts(forecasts)
            self._view.see_forecasts(forecasts)


def _doing(settings: TradeSettings) -> str:
    return f"trading {', '.join(each.symbol for each in settings.symbols)}"


async def _know_the_time(account: LiveAccount, host: Host) -> None:
    """Measure the venue's clock.

    Raises:
        VenueError: it cannot be done.
    """
    trouble = await account.measure_clock()
    if trouble:
        raise VenueError("no time", f"{host.rest}: {trouble}")


def _ignore(text: str) -> None:
    """Nobody waits for this answer."""
