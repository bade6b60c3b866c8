"""The actors of a trading run and the inboxes between them, wired from parts that are there; nothing runs yet."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from bot.actors.bar_aggregator import BarAggregatorActor
from bot.actors.inbox import Inbox
from bot.actors.inference import Inference
from bot.actors.ledger import LedgerActor
from bot.actors.ledger_audit import LedgerAudit
from bot.actors.ledger_watch import LedgerWatch
from bot.actors.live_executor import Asked, LiveExecutor
from bot.actors.market_feed import Key, MarketFeed
from bot.actors.quote_watch import QuoteWatch
from bot.actors.strategy import StrategyActor
from bot.app.balancing import make_balancer
from bot.app.ledgers import AuditBeside, OpenLedger
from bot.app.limits import needs_quotes
from bot.app.live_market import instrument_of
from bot.app.live_model import LiveModel
from bot.app.live_tape import open_tape
from bot.app.market_half import make_aggregator, make_delay
from bot.app.observed import Observed, TimedPredictor
from bot.app.onlookers import Onlookers
from bot.app.recording import EXECUTOR, STRATEGY, Recording
from bot.app.strategy_hosts import make_host, take_up
from bot.app.switches import Switches
from bot.app.trading_ground import Ground
from bot.app.trading_ledger import TakenUp
from bot.app.trading_parts import make_predictor
from bot.app.trading_surfaces import Surfaces
from bot.core.deliveries import Heard
from bot.core.filters import FiltersTold
from bot.domain.instrument import Instrument
from bot.domain.ledger import LedgerEntry
from bot.domain.operation import Pause
from bot.runtime.env import LiveCalendar, WriterThread, call_in_thread
from bot.runtime.supervisor import Run
from bot.venues.bybit.backoff import ConnectBudget
from bot.venues.bybit.live_account import LiveAccount
from bot.venues.bybit.live_feed import FeedOptions
from bot.venues.bybit.live_market import LiveMarket
from bot.venues.bybit.market_streams import Wanted

_MARKET_BOUND = 1_024
_MONEY_BOUND = 65_536


@dataclass(frozen=True, slots=True)
class MoneyInboxes:
    """Inboxes of the money half: what is delivered before its actors are made waits there."""

    executor: Inbox[Any] = field(default_factory=lambda: Inbox("order_executor", bound=_MONEY_BOUND))
    strategy: Inbox[Any] = field(default_factory=lambda: Inbox("strategy", bound=_MONEY_BOUND))
    ledger: Inbox[Any] = field(default_factory=lambda: Inbox("ledger", bound=_MONEY_BOUND))


@dataclass(frozen=True, kw_only=True, slots=True)
class Edges:
    """What the actors meet at their edges."""

    account: LiveAccount
    opened: OpenLedger
    where: str  # the ledger is
    thread: WriterThread  # the ledger's
    budget: ConnectBudget
    switches: Switches
    surfaces: Surfaces
    model: LiveModel | None
    onlookers: Onlookers


class TradingActors:
    """The actors of one run.

    Args:
        ground: of the run.
        taken: where the ledger ends.
        inboxes: of the money half.
        edges: see `Edges`.
        recording: notes what the actors are told.
        stack: closes the tape, after the actors.

    Attributes:
        ground, taken, inboxes, edges: as given.
        runs: what each of them does, by name; the ledger's first.
    """

    def __init__(
        self,
        ground: Ground,
        taken: TakenUp,
        inboxes: MoneyInboxes,
        edges: Edges,
        recording: Recording,
        stack: AsyncExitStack,
    ) -> None:
        self.ground, self.taken, self.inboxes, self.edges = ground, taken, inboxes, edges
        self._recording = recording
        self._calendar = LiveCalendar(ground.clock)
        self._categories = {name: each.category for name, each in ground.listing.listed.items()}
        state = taken.desk.orders.state
        self.source = self._make_source()
        self.ledger = LedgerActor(
            inbox=inboxes.ledger, store=edges.opened.store, batch=1, is_durable=True, off_loop=edges.thread
        )
        self.observed = Observed(ground.clock, [inboxes.executor, inboxes.strategy, inboxes.ledger])
        strategy = self._make_strategy()
        self.tape = open_tape(
            ground.directory,
            ground.settings,
            ground.listing.instruments,
            state.portfolio.positions,
            ground.clock,
            stack,
            edges.surfaces.see_trouble,
        )
        edges.onlookers.observed, edges.onlookers.tape = self.observed, self.tape
        self.executor = self._make_executor()
        self.runs: dict[str, Run] = {
            "ledger": self.ledger.run,
            "order_executor": self.executor.run,
            "strategy": strategy.run,
            "account": edges.account.run,
        }
        self.feed = self._add_market_half()
        self._add_watchers()

    def doubts_of_data(self, name: str) -> Sequence[str]:
        """Return why no new exposure in an instrument may rest on its data now."""
        return self.source.doubts(self._categories[name], name) if name in self._categories else ()

    # --- the money half -----------------------------------------------------------------------------------------------

    def _make_strategy(self) -> StrategyActor:
        ground, inboxes, recording = self.ground, self.inboxes, self._recording
        host = make_host(ground.strategy, list(ground.listing.instruments.values()))
        take_up(host, self.taken.desk.orders.state)
        recording.watch(EXECUTOR, inboxes.executor)
        recording.watch(STRATEGY, inboxes.strategy)
        return StrategyActor(
            inbox=inboxes.strategy,
            outbox=inboxes.executor,
            calendar=recording.calendar(STRATEGY, self._calendar),
            host=host,
            is_begun=False,
        )

    def _make_executor(self) -> LiveExecutor:
        ground, edges, recording = self.ground, self.edges, self._recording
        model, switches = edges.model, edges.switches

        def see_entries(entries: Sequence[LedgerEntry]) -> None:
            self.tape.see_entries(entries)
            self.observed.see_entries(entries)
            edges.surfaces.see_entries(entries)

        def doubts(name: str) -> Sequence[str]:
            of_model = [] if model is None or name not in self._categories else model.doubts(name)
            return [*self.doubts_of_data(name), *of_model]

        return LiveExecutor(
            inbox=self.inboxes.executor,
            strategy=self.inboxes.strategy,
            calendar=recording.calendar(EXECUTOR, self._calendar),
            clock=ground.clock,
            desk=self.taken.desk,
            venue=recording.venue(EXECUTOR, edges.account),
            ledger=recording.ledger(EXECUTOR, self.ledger),
            instruments=ground.listing.instruments,
            is_killed=recording.hearing(EXECUTOR, Heard.KILLED, lambda: switches.is_killed),
            doubts=recording.hearing(EXECUTOR, Heard.DOUBTS, doubts),
            on_entries=see_entries,
            check_ns=ground.settings.run.check_every,
            compare_ns=ground.settings.run.compare_every,
        )

    # --- the market half ----------------------------------------------------------------------------------------------

    def _make_source(self) -> LiveMarket:
        ground, edges, settings = self.ground, self.edges, self.ground.settings
        executor_inbox = self.inboxes.executor
        return LiveMarket(
            [
                Wanted(instrument=instrument, category=each.category)
                for each, instrument in ground.listing.pairs.values()
            ],
            FeedOptions(
                seed=settings.run.seed,
                has_status=ground.venue.host.environment == "mainnet",
                filters_ns=settings.run.filters_every,
                confirm_ns=settings.run.confirm_within,
                history_ns=0 if edges.model is None else edges.model.history_ns,
            ),
            host=ground.venue.host,
            base=ground.clock,
            speed=ground.venue.speed,
            budget=edges.budget,
            on_filters=lambda told: executor_inbox.deliver(
                FiltersTold(instrument=instrument_of(told.filters), status=told.filters.status)
            ),
            on_trouble=edges.surfaces.see_trouble,
        )

    def _add_market_half(self) -> MarketFeed:
        model = self.edges.model
        deliver: tuple[Callable[[Any], None], ...] = (
            self.inboxes.strategy.deliver,
            self.inboxes.executor.deliver,
            self.observed.see_slab,
            self.tape.see_slab,
            *(() if model is None else (model.see_slab,)),
        )
        outboxes: dict[Key, Inbox[Any]] = {
            (listed.category, listed.symbol): self._add_instrument(stream, instrument, deliver)
            for stream, (listed, instrument) in enumerate(self.ground.listing.pairs.values())
        }
        self._recording.add_to(self.runs)
        self.runs["tape"] = self.tape.run
        if model is not None:
            self.observed.inboxes += model.inboxes
            self.runs |= model.actors()
        watchers = [QuoteWatch(self.inboxes.executor.deliver)] if needs_quotes(self.ground.settings.execution) else []
        feed = MarketFeed(self.source, outboxes, watchers)
        self.runs["market_feed"] = feed.run
        return feed

    def _add_instrument(
        self, stream: int, instrument: Instrument, deliver: Sequence[Callable[[Any], None]]
    ) -> Inbox[Any]:
        settings, strategy, observed = self.ground.settings, self.ground.strategy, self.observed
        raw: Inbox[Any] = Inbox(f"bar_aggregator:{instrument.name}", bound=_MARKET_BOUND)
        bars: Inbox[Any] = Inbox(f"inference:{instrument.name}", bound=_MARKET_BOUND)
        self._recording.watch(raw.name, raw)
        self._recording.watch(bars.name, bars)
        aggregator = make_aggregator(settings, strategy, instrument)
        observed.inboxes += [raw, bars]
        predictor = make_predictor(settings, strategy)
        inference = Inference(
            inbox=bars,
            deliver=deliver,
            predictor=None if predictor is None else TimedPredictor(predictor, observed.see_inference),
            on_forecasts=self.edges.onlookers.see_forecasts,
            delay=make_delay(settings, stream),
        )
        self.runs[raw.name] = BarAggregatorActor(inbox=raw, outbox=bars, aggregator=aggregator, is_live=True).run
        self.runs[bars.name] = inference.run
        return raw

    # --- those that only look -----------------------------------------------------------------------------------------

    def _add_watchers(self) -> None:
        ground, edges = self.ground, self.edges
        watch = LedgerWatch(
            confirm=edges.opened.store.confirm, off_loop=edges.thread, within_s=edges.opened.confirm_within_s
        )
        self.runs["ledger_watch"] = watch.run
        after_ns = ground.settings.ledger.audit_after
        if after_ns is not None:
            self.runs["ledger_audit"] = self._make_audit(after_ns / 1e9 / ground.venue.speed).run
        balancer = make_balancer(
            edges.account,
            edges.where,
            self.inboxes.executor.deliver,
            instruments=ground.listing.instruments,
            currency=ground.listing.currency,
            balanced_ms=self.taken.desk.orders.state.balanced_ms,
            every_ns=ground.settings.run.balance_every,
            speed=ground.venue.speed,
        )
        self.runs["balancer"] = balancer.run

    def _make_audit(self, after_s: float) -> LedgerAudit:
        edges = self.edges
        audit, deliver = AuditBeside(edges.where), self.inboxes.executor.deliver
        return LedgerAudit(
            audit=lambda: audit().problems,
            stop_audit=audit.stop,
            off_loop=call_in_thread,
            pause=lambda why: deliver(Asked(command=Pause(why=why), by="audit", done=lambda outcome: None)),
            tell=edges.surfaces.see_trouble,
            after_s=after_s,
        )
