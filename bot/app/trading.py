"""Paper and live trading: the pipeline of a replay with a live market at one edge and a live account at the other.

Starting and recovering are one path: take the ledger, take up where it ends, compare with the venue, and only then let
the strategy act.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
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
from bot.actors.live_executor import HOST, Asked, LiveExecutor
from bot.actors.market_feed import Key, MarketFeed
from bot.actors.strategy import Begin, StrategyActor, StrategyHost
from bot.app.ledgers import OpenLedger, describe, open_live
from bot.app.live_market import ask_instruments, instrument_of
from bot.app.run_places import point_latest_at
from bot.app.switches import Switches
from bot.app.trading_parts import (
    check_mode,
    emulator_clock,
    make_desk,
    make_emulator,
    make_predictor,
    seen_epoch,
    start_cash,
)
from bot.app.trading_surfaces import Surfaces
from bot.app.trading_view import TradingView
from bot.core.bars import BarAggregator
from bot.core.checkpoint import capture, decode, encode
from bot.core.delays import Delay
from bot.core.redaction import Redactor
from bot.core.submission.desk import LiveDesk
from bot.core.submission.ids import ClientOrderIds, parse_id
from bot.domain.errors import BotError, ConfigError, DataError, VenueError
from bot.domain.instrument import Instrument
from bot.domain.ledger import LedgerEntry, Reconciled
from bot.domain.market import ForecastBatch
from bot.domain.operation import Kill, Phase
from bot.runtime.alert_settings import read_alert_secrets
from bot.runtime.env import LiveCalendar, ScaledClock, SystemClock, WriterThread, call_in_thread, host_name, make_run_id
from bot.runtime.heartbeat import HEARTBEAT_FILE, HeartbeatWriter
from bot.runtime.logs import ServiceLogs
from bot.runtime.notify import ServiceNotifier
from bot.runtime.settings import write_toml
from bot.runtime.supervisor import Run, Supervisor
from bot.runtime.trade_settings import TradeSettings
from bot.store.ledger_queries import LedgerHistory
from bot.store.live_ledger import LiveLedger
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
from strategies.registry import make_strategy

log = structlog.get_logger()

_MARKET_BOUND = 1_024
_MONEY_BOUND = 65_536
_SEND_TIMEOUT_NS = 5_000_000_000
_SETTLE_S = 5.0  # for what is on its way when the run ends
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
    heartbeat: HeartbeatWriter
    keys: tuple[Key, ...]


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
        self._strategy = make_strategy(settings.strategy.name, dict(settings.strategy.params))
        self._clock: ScaledClock | SystemClock = ScaledClock(start_ns=SystemClock().now_ns(), speed=1.0)
        self._speed = 1.0
        self._stopping = asyncio.Event()
        self._ids = ClientOrderIds(environment=settings.environment_letter, epoch=0)
        self._is_clean = False
        self._view: TradingView | None = None
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
        settings, clock = self._settings, self._clock
        self._tell(Phase.STARTING, f"asking {host.environment} for instruments")
        keys: list[Key] = [(each.category, each.symbol) for each in settings.symbols]
        filters = await ask_instruments(host, clock, keys)
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
        trouble = await account.measure_clock()
        if trouble:
            raise VenueError("no time", f"{host.rest}: {trouble}")
        await self._check_account(client, account, listed, instruments)
        cash = await start_cash(client, account.venue_ms, quotes[0], self._speed)
        opened = await thread(lambda: open_live(where, self._row(quotes[0], cash), lock_directory=settings.run.out))
        stack.push_async_callback(self._close_ledger, opened, thread)
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
        last_ms, is_new, restored = await thread(lambda: _restore(store, desk))
        ids.count = max(ids.count, restored)
        began_ns = await thread(lambda: int(describe(where).get("from_ns", 0)))
        account.begins_ms = began_ns // _MS
        # --- the actors
        calendar = LiveCalendar(clock)
        market_keys = {name: (listed[name].category, name) for name in instruments}
        source = LiveMarket(
            [Wanted(instrument=instruments[each.symbol], category=each.category) for each in settings.symbols],
            FeedOptions(seed=settings.run.seed, has_status=host.environment == "mainnet"),
            host=host,
            base=clock,
            speed=self._speed,
            budget=budget,
        )
        strategy_inbox: Inbox[Any] = Inbox("strategy", bound=_MONEY_BOUND)
        ledger_inbox: Inbox[Any] = Inbox("ledger", bound=_MONEY_BOUND)
        ledger = LedgerActor(inbox=ledger_inbox, store=store, batch=1, is_durable=True, off_loop=thread)
        strategy_host = StrategyHost(self._strategy, list(instruments.values()))
        state = desk.orders.state
        strategy_host.take_up(
            list(state.portfolio.positions.values()),
            [order for live in state.live.values() for order in live.values()],
            dict(state.stops),
        )
        strategy = StrategyActor(
            inbox=strategy_inbox, outbox=inbox, calendar=calendar, host=strategy_host, is_begun=False
        )
        executor = LiveExecutor(
            inbox=inbox,
            strategy=strategy_inbox,
            calendar=calendar,
            desk=desk,
            venue=account,
            ledger=ledger,
            instruments=instruments,
            is_killed=lambda: switches.is_killed,
            doubts=lambda name: source.doubts(*market_keys[name]) if name in market_keys else (),
            on_entries=surfaces.see_entries,
            check_ns=settings.run.check_every,
            compare_ns=settings.run.compare_every,
        )
        boxes = [inbox, strategy_inbox, ledger_inbox]
        view = self._view = TradingView(
            settings,
            run_id=self.directory.name,
            mode=self._mode,
            model_id=settings.predictor.kind if self._strategy.wants_forecasts else "none",
            currency=quotes[0],
            start_cash=cash if is_new else state.portfolio.cash,
            clock=clock,
            executor=executor,
            store=store,
            switches=switches,
            inbox=inbox,
            inboxes=boxes,
            phase=lambda: self.phase,
            doubts=lambda name: source.doubts(*market_keys[name]) if name in market_keys else (),
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
                stream, instruments[each.symbol], (strategy_inbox.deliver, inbox.deliver), actors
            )
        feed = MarketFeed(source, outboxes)
        actors["market_feed"] = feed.run
        watch = LedgerWatch(confirm=store.confirm, off_loop=thread, within_s=opened.confirm_within_s)
        actors["ledger_watch"] = watch.run
        notifier = ServiceNotifier()
        stack.callback(notifier.close)
        running = _Running(
            executor=executor,
            source=source,
            switches=switches,
            inbox=inbox,
            strategy_inbox=strategy_inbox,
            ledger=ledger,
            store=store,
            notifier=notifier,
            heartbeat=heartbeat,
            keys=tuple(keys),
        )
        supervisor = Supervisor()
        supervisor.start({"ledger": actors.pop("ledger")})
        log.info("run.started", run_id=self.directory.name, epoch=plan.number, environment=host.environment)
        try:
            await executor.start(
                executed_ms=last_ms,
                creates_from_ns=plan.ready_ns,
                first_cash=cash if is_new else None,
            )
            account.start()
            supervisor.start(actors)
            supervisor.start({"conductor": lambda: self._conduct(running)})
            async with surfaces.beside(view, queries=LedgerHistory(where)):
                await supervisor.wait_until(self._stopping)
                self._tell(Phase.STOPPING, "stopping: open orders and positions stay at the venue")
            notifier.stopping()
            feed.stop()
            await strategy_inbox.put(Stop())
            await supervisor.wait_for("strategy")
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
    ) -> Inbox[Any]:
        settings = self._settings
        raw: Inbox[Any] = Inbox(f"bar_aggregator:{instrument.name}", bound=_MARKET_BOUND)
        bars: Inbox[Any] = Inbox(f"inference:{instrument.name}", bound=_MARKET_BOUND)
        try:
            aggregator = BarAggregator(
                instrument,
                scales_ns=sorted({*settings.bars.scales, *self._strategy.scales_ns}),
                lateness_ns=settings.bars.lateness,
                gap_max_ns=settings.bars.gap_max,
                event_rules=sorted({*settings.bars.events, *self._strategy.event_rules}),
                repair_ns=60_000_000_000,
            )
        except ValueError as error:
            raise ConfigError(f"bars.scales, bars.events, or the strategy's own scale: {error}") from error
        inference = Inference(
            inbox=bars,
            deliver=deliver,
            predictor=make_predictor(settings, self._strategy),
            on_forecasts=self._see_forecasts,
            delay=Delay(seed=settings.run.seed, stream=3 + stream, base_ns=0, jitter_ns=0),
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
        is_begun = was_killed = False
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
            is_ready = executor.is_ready and running.source.is_ready
            if is_ready and not is_begun:
                is_begun = True
                running.strategy_inbox.deliver(Begin())
                running.notifier.ready(f"trading {', '.join(each.symbol for each in settings.symbols)}")
                self._tell(Phase.READY, f"ready {(now_ns - started_ns) / 1e9 / self._speed:.1f} s after the start")
            elif is_begun and is_ready != (self.phase is Phase.READY):
                doubts = [each for key in running.keys for each in running.source.doubts(*key)]
                phase = Phase.READY if is_ready else Phase.DEGRADED
                self._tell(phase, "; ".join([*executor.troubles.values(), *doubts]) or "all is well again")
            if is_ready:
                running.notifier.alive()
                running.heartbeat.beat()
            if now_ns - kept_ns >= settings.ledger.checkpoint_every:
                kept_ns = now_ns
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
        out = self._settings.run.out
        try:
            self.directory = out / make_run_id(f"{self._mode}-{self._strategy.name}")
            self.directory.mkdir(parents=True)
            text = write_toml(self._settings.public())
            (self.directory / "config.toml").write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"run.out = {out}: {error.strerror}; choose a directory you may write") from error
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
            "model_id": self._settings.predictor.kind,
            "in_sample": False,
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

    def _see_forecasts(self, forecasts: ForecastBatch) -> None:
        if self._view is not None:
            self._view.see_forecasts(forecasts)


def _ignore(text: str) -> None:
    """Nobody waits for this answer."""


def _restore(store: LiveLedger, desk: LiveDesk) -> tuple[int, bool, int]:
    """Take up where a ledger ends; return up to when executions are booked, if it is new, and the last order number."""
    kept, numbered = store.recovery()
    last_ms, last_ns = 0, 0
    begins = None
    if kept is not None and kept.state is not None:
        try:
            begins = decode(kept.state)
        except DataError as error:
            log.warning("ledger.state_not_read", error=str(error))
            numbered = store.entries(after=0)

    def entries() -> Iterator[LedgerEntry]:
        nonlocal last_ms, last_ns
        for _, entry in numbered:
            last_ns = entry.ts_ns
            if isinstance(entry, Reconciled):
                last_ms = entry.at_ms
            yield entry

    restorer = desk.restore(entries(), begins)
    is_new = store.head.seq == 0
    if not last_ms:
        last_ms = max(0, (store.head.ts_ns or last_ns) // _MS - _SEEN_BEFORE_MS) if not is_new else 0
    return last_ms, is_new, restorer.last_count
