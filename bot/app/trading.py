"""Paper and live trading: the pipeline of a replay with a live market at one edge and a live account at the other.

Starting and recovering are one path: take the ledger, take up where it ends, compare with the venue, and only then let
the strategy act.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from bot.actors.inbox import Stop
from bot.actors.live_executor import Pulse
from bot.app.conductor import POLL_S, Conducted, Conductor, Phases, doing
from bot.app.ledgers import OpenLedger, open_live
from bot.app.life_signs import LifeSigns
from bot.app.live_model import LiveModel, check_live_model, with_scales
from bot.app.observed import Observed
from bot.app.onlookers import Onlookers
from bot.app.recording import Recording, head_of, record_file
from bot.app.reloading import Reloading
from bot.app.run_places import make_run_directory, point_latest_at
from bot.app.start_steps import StartSteps
from bot.app.switches import Switches
from bot.app.trading_actors import Edges, MoneyInboxes, TradingActors
from bot.app.trading_ground import (
    Ground,
    Listing,
    Reached,
    hold_account,
    know_the_time,
    list_instruments,
    make_account,
    reach,
)
from bot.app.trading_ledger import (
    TakenUp,
    begin_epoch,
    first_row,
    ledger_place,
    refuse_other_account,
    take_up_ledger,
)
from bot.app.trading_parts import check_mode, start_balances
from bot.app.trading_surfaces import Surfaces
from bot.app.trading_view import TradingView
from bot.core.redaction import Redactor
from bot.core.wellbeing import Wellbeing
from bot.domain.errors import BotError
from bot.domain.operation import Phase
from bot.runtime import secrecy
from bot.runtime.alert_settings import read_alert_secrets
from bot.runtime.env import WriterThread, call_in_thread, make_run_id, settle_memory, take_turns_often
from bot.runtime.heartbeat import HEARTBEAT_FILE, HeartbeatWriter
from bot.runtime.logs import ServiceLogs
from bot.runtime.notify import ServiceNotifier
from bot.runtime.setting_files import write_toml
from bot.runtime.supervisor import Supervisor
from bot.runtime.trade_settings import TradeSettings
from bot.store.live_reader import ledger_name
from bot.venues.bybit.backoff import ConnectBudget
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.precompile import precompile
from bot.venues.bybit.rate_budget import RateBudget
from bot.venues.bybit.rest_client import RestClient
from strategies.registry import make_strategies

log = structlog.get_logger()

_SETTLE_S = 5.0  # for what is on its way when the run ends: by our clock, however fast the market's goes
_YOUNG_OBJECTS = 5_000
_OLDER_LOOKS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Traded:
    """A run that was ended in order."""

    directory: Path
    run_id: str
    epoch: int
    entries: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Around:
    """What people and machines see of a run from outside."""

    surfaces: Surfaces
    switches: Switches
    notifier: ServiceNotifier
    heartbeat: HeartbeatWriter


class Trading:
    """One run of paper or live trading.

    Args:
        settings: of the run.
        mode: "paper" or "live".
        credentials: the account's key and secret.
        on_phase: told of the run's phases, with a line for a person.
        reread: returns the settings as they are given now, for /reload_config; None where they came from no file.
    """

    def __init__(
        self,
        settings: TradeSettings,
        mode: str,
        credentials: Credentials,
        on_phase: Callable[[Phase, str], None] = lambda phase, text: None,
        *,
        reread: Callable[[], TradeSettings] | None = None,
    ) -> None:
        check_mode(settings, mode)
        self._settings = self._given = settings
        self._reread = reread
        self._mode = mode
        self._credentials = credentials
        self._phases = Phases(listeners=[on_phase])
        self._strategy = make_strategies(settings.chosen)
        self._stopping = asyncio.Event()
        self._steps = StartSteps()
        self._is_clean = False
        self._onlookers = Onlookers()
        self._model: LiveModel | None = None
        self._logs: ServiceLogs | None = None
        self.directory = Path()

    @property
    def phase(self) -> Phase:
        """Return where the run is."""
        return self._phases.now

    @property
    def observed(self) -> Observed | None:
        """Return what is measured of the run, once its actors are there."""
        return self._onlookers.observed

    @property
    def view(self) -> TradingView | None:
        """Return the run as its operator sees it, once its actors are there."""
        return self._onlookers.view

    def stop(self) -> None:
        """Let `run` end in order."""
        self._stopping.set()

    async def run(self) -> Traded:
        """Trade until stopped.

        Raises:
            BotError: something the user can mend.
        """
        take_turns_often()
        async with AsyncExitStack() as stack:
            self._steps.done("imports and settings")
            self._phases.tell(Phase.STARTING, "preparing; the first start compiles for up to a minute")
            venue = await reach(self._settings, stack)
            self._steps.done("venue reached")
            await call_in_thread(precompile)  # it takes seconds, and no stream may wait so long for us
            self._steps.done("code compiled or read")
            thread = WriterThread("ledger")
            stack.callback(thread.close)
            return await self._trade(stack, venue, thread)

    async def _trade(self, stack: AsyncExitStack, venue: Reached, thread: WriterThread) -> Traded:
        chosen = await call_in_thread(lambda: check_live_model(self._settings, self._strategy))
        if chosen is not None:
            self._settings = with_scales(self._settings, [each for each in chosen if each is not None])
        settings = self._settings
        self._phases.tell(Phase.STARTING, f"asking {venue.host.environment} for instruments")
        notifier = ServiceNotifier()
        stack.callback(notifier.close)
        listing = await list_instruments(settings, venue, notifier, self._stopping)
        self._steps.done("instruments")
        client = await stack.enter_async_context(
            RestClient(venue.host, self._credentials, clock=venue.clock, budget=RateBudget(), speed=venue.speed)
        )
        ground = self._make_directory(venue, listing)
        self._log_beside(ground, stack)
        where, home = ledger_place(settings, ground.directory)
        around = self._put_around(home, notifier, stack)
        inboxes = MoneyInboxes()
        budget = ConnectBudget()
        account = make_account(ground, client, self._credentials, deliver=inboxes.executor.deliver, budget=budget)
        await know_the_time(account, venue.host)
        self._steps.done("venue's clock")
        uid = await hold_account(ground, client, account, self._credentials)
        self._steps.done("key and account")
        if chosen is not None:
            self._phases.tell(Phase.STARTING, f"loading {chosen[0].told.name}")
            self._model = LiveModel(
                chosen,
                settings,
                self._strategy,
                listing.instruments,
                clock=venue.clock,
                speed=venue.speed,
                deliver=(inboxes.strategy.deliver, inboxes.executor.deliver),
                on_forecasts=self._onlookers.see_forecasts,
                on_shadow=self._onlookers.see_shadow,
                on_heard=self._onlookers.see_inference,
                tell=around.surfaces.tell,
            )
            stack.callback(self._model.close)
            await self._model.until_loaded()
            await know_the_time(account, venue.host)  # loading takes longer than a measure of the clock is good for
            self._steps.done("model")
        # --- the ledger: whose it is, a number for this start, and where it ends
        cash, coins = await start_balances(client, account.venue_ms, listing.currency, venue.speed)
        in_sample = self._model is not None and self._model.in_sample(venue.clock.now_ns())
        row = first_row(ground, model_id=self._model_id(), in_sample=in_sample, cash=cash)
        opened = await thread(lambda: open_live(where, row, lock_directory=settings.run.out))
        stack.push_async_callback(self._close_ledger, opened, thread, venue)
        await know_the_time(account, venue.host)  # as opening a long ledger may
        self._steps.done("ledger opened")
        await thread(lambda: refuse_other_account(where, settings, uid))
        plan = await begin_epoch(ground, client, account, opened.store, thread, uid)
        self._steps.done("epoch")
        self._phases.tell(Phase.RECOVERING, f"epoch {plan.number}: reading the ledger")
        taken = await take_up_ledger(
            ground,
            account,
            opened.store,
            thread,
            plan,
            where=where,
            is_alone=opened.confirm_within_s is None,
            cash=cash,
            coins=coins,
        )
        self._steps.done("ledger read")
        edges = Edges(
            account=account,
            opened=opened,
            where=where,
            thread=thread,
            budget=budget,
            switches=around.switches,
            surfaces=around.surfaces,
            model=self._model,
            onlookers=self._onlookers,
        )
        return await self._serve(ground, taken, inboxes, edges, around, stack)

    # --- from the first actor to the last -----------------------------------------------------------------------------

    async def _serve(
        self,
        ground: Ground,
        taken: TakenUp,
        inboxes: MoneyInboxes,
        edges: Edges,
        around: _Around,
        stack: AsyncExitStack,
    ) -> Traded:
        settings, store, surfaces = ground.settings, edges.opened.store, around.surfaces
        recording = Recording(
            record_file(ground.directory) if settings.run.record_deliveries else None, stack, surfaces.see_trouble
        )
        head = head_of(
            taken.desk,
            run_id=ground.run_id,
            mode=ground.mode,
            config_hash=settings.config_hash(),
            strategy=ground.strategy,
            model_id=self._model_id(),
            ledger=ledger_name(edges.where),
            epoch=taken.epoch,
            after_seq=store.head.seq,
            order_count=taken.ids.count,
            currency=ground.listing.currency,
            began_ns=ground.clock.now_ns(),
            executed_ms=taken.recovered.executed_ms,
            creates_from_ns=taken.creates_from_ns,
            first_cash=taken.first_cash,
            first_coins=taken.first_coins,
        )
        actors = TradingActors(ground, taken, inboxes, edges, recording, stack)
        supervisor = Supervisor()
        view = self._onlookers.view = self._make_view(actors, supervisor)
        conductor = self._make_conductor(actors, around)
        supervisor.start({"ledger": actors.runs.pop("ledger")})
        log.info("run.started", run_id=ground.run_id, epoch=taken.epoch, environment=ground.venue.host.environment)
        try:
            recording.begin(head)
            await actors.executor.start(
                executed_ms=taken.recovered.executed_ms,
                creates_from_ns=taken.creates_from_ns,
                first_cash=taken.first_cash,
                first_coins=taken.first_coins,
            )
            # A look through all that is loaded would cost 0.2 s, any time.
            settle_memory(young=_YOUNG_OBJECTS, older=_OLDER_LOOKS)
            edges.account.start()
            supervisor.start(actors.runs)
            supervisor.start({"conductor": conductor.run})
            async with surfaces.beside(view, actors.observed, ledger=edges.where):
                await supervisor.wait_until(self._stopping)
                self._phases.tell(Phase.STOPPING, "stopping: open orders and positions stay at the venue")
            around.notifier.stopping()
            actors.feed.stop()
            await inboxes.strategy.put(Stop())
            await supervisor.wait_for("strategy")
            inboxes.executor.deliver(Pulse.LEAVE)
            for _ in range(int(_SETTLE_S / POLL_S)):  # what is not known by then is found out at the next start
                if actors.executor.is_settled:
                    break
                await asyncio.sleep(POLL_S)
            await inboxes.executor.put(Stop())
            await supervisor.wait_for("order_executor")
            conductor.keep_state()
            await inboxes.ledger.put(Stop())
            await supervisor.wait_for("ledger")
        finally:
            await edges.account.stop()
            await supervisor.stop()
        around.heartbeat.stop()
        self._is_clean = True
        return Traded(directory=ground.directory, run_id=ground.run_id, epoch=taken.epoch, entries=store.head.seq)

    def _make_view(self, actors: TradingActors, supervisor: Supervisor) -> TradingView:
        ground, edges, source = actors.ground, actors.edges, actors.source
        account, model = edges.account, edges.model
        return TradingView(
            ground.settings,
            run_id=ground.run_id,
            mode=ground.mode,
            model_id=self._model_id,
            currency=ground.listing.currency,
            start_cash=actors.taken.start_cash,
            clock=ground.clock,
            executor=actors.executor,
            store=edges.opened.store,
            switches=edges.switches,
            inbox=actors.inboxes.executor,
            phase=lambda: self.phase,
            doubts=actors.doubts_of_data,
            troubles=lambda: [] if model is None else model.troubles,
            observed=actors.observed,
            topics=source.topics,
            connections=lambda: source.connections() | account.connections(),
            refused=lambda: source.refused,
            lives=supervisor.lives,
            reloading=Reloading(self._given, self._reread, lambda taken: self._take_up(taken, edges.surfaces)),
        )

    def _take_up(self, settings: TradeSettings, surfaces: Surfaces) -> None:
        self._settings = self._settings.model_copy(update={"log": settings.log, "alerts": settings.alerts})
        surfaces.change(self._settings)
        if self._logs is not None:
            self._logs.set_stream_level(settings.log.level)

    def _make_conductor(self, actors: TradingActors, around: _Around) -> Conductor:
        ground, edges, taken = actors.ground, actors.edges, actors.taken
        settings, names = ground.settings, list(ground.listing.instruments)
        life_signs = LifeSigns(
            actors.executor,
            lambda: [doubt for name in names for doubt in actors.doubts_of_data(name)],
            actors.observed.inboxes,
            wellbeing=Wellbeing(
                outage_grace_ns=settings.service.outage_grace,
                unreached_ns=settings.service.unreached_after,
                doing=doing(settings),
            ),
            notifier=around.notifier,
            heartbeat=around.heartbeat,
        )
        conducted = Conducted(
            executor=actors.executor,
            source=actors.source,
            switches=edges.switches,
            inbox=actors.inboxes.executor,
            strategy_inbox=actors.inboxes.strategy,
            ledger=actors.ledger,
            store=edges.opened.store,
            ids=taken.ids,
            notifier=around.notifier,
            life_signs=life_signs,
            kept_seq=taken.recovered.kept_seq,
            keys=ground.listing.keys,
            model=edges.model,
        )
        return Conductor(
            conducted,
            settings,
            clock=ground.clock,
            phases=self._phases,
            steps=self._steps,
            stop=self.stop,
        )

    # --- its place ----------------------------------------------------------------------------------------------------

    def _make_directory(self, venue: Reached, listing: Listing) -> Ground:
        name = make_run_id(f"{self._mode}-{self._strategy.name}")
        self.directory = make_run_directory(self._settings.run.out, name, write_toml(self._settings.public()))
        point_latest_at(self.directory)
        return Ground(
            settings=self._settings,
            mode=self._mode,
            strategy=self._strategy,
            directory=self.directory,
            venue=venue,
            listing=listing,
        )

    def _log_beside(self, ground: Ground, stack: AsyncExitStack) -> None:
        secrets = [*self._credentials.for_client().values(), *read_alert_secrets(ground.settings.alerts).values()]
        secrecy.remember(secrets)
        service_logs = self._logs = ServiceLogs(
            ground.directory / "log.jsonl",
            redact=Redactor(secrets),
            stream_level=ground.settings.log.level,
            is_journal="JOURNAL_STREAM" in os.environ,
        )
        stack.callback(service_logs.close)

    def _put_around(self, home: Path, notifier: ServiceNotifier, stack: AsyncExitStack) -> _Around:
        switches = Switches(home)
        surfaces = Surfaces(self._settings, directory=self.directory, ledger_directory=home)
        surfaces.start()

        async def close(kind: object, error: BaseException | None, trace: object) -> None:
            surfaces.see_failure(error)
            await surfaces.close()

        stack.push_async_exit(close)
        self._phases.listeners.append(surfaces.see_phase)
        heartbeat = HeartbeatWriter(home / HEARTBEAT_FILE, self.directory.name)
        return _Around(surfaces=surfaces, switches=switches, notifier=notifier, heartbeat=heartbeat)

    async def _close_ledger(self, opened: OpenLedger, thread: WriterThread, venue: Reached) -> None:
        if self._is_clean:
            await thread(lambda: opened.close(now_ns=venue.clock.now_ns()))
        else:
            with suppress(BotError):
                await thread(opened.abandon)

    def _model_id(self) -> str:
        """Return what forecasts are made by now."""
        if not self._strategy.wants_forecasts:
            return "none"
        return self._settings.predictor.kind if self._model is None else self._model.model_id
