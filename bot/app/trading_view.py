"""A running bot as its operator sees it, and what one may ask of it: a `ports.Operated`."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from bot import __version__
from bot.actors.inbox import Inbox
from bot.actors.live_executor import Asked, LiveExecutor
from bot.app.observed import Observed
from bot.app.reloading import Reloading
from bot.app.switches import Switches
from bot.core.stops import Stops
from bot.core.submission.requests import Phase as RequestPhase
from bot.core.trading_state import ACCOUNT, Cause, Latch
from bot.domain.account import ZERO, Position
from bot.domain.errors import StorageError
from bot.domain.market import ForecastBatch
from bot.domain.operation import (
    ActorHealth,
    CommandDone,
    Counter,
    DataAge,
    Flatten,
    ForecastView,
    HeldPosition,
    Kill,
    LatchView,
    Latency,
    OpenOrder,
    OperatorCommand,
    Pause,
    Phase,
    Reload,
    Resume,
    Snapshot,
    StrategyBook,
)
from bot.ports import Clock
from bot.runtime.trade_settings import TradeSettings
from bot.store.live_ledger import LiveLedger

_ANSWER_S = 5.0
_MS = 1_000_000


class TradingView:
    """One run, looked at.

    Args:
        settings: of the run.
        run_id, mode, model_id, currency: as recorded.
        clock: the bot's.
        executor, store, switches: what is looked at.
        inbox: the executor's, for commands.
        phase: where the run is now.
        doubts: why no new exposure in an instrument may rest on its data now.
        troubles: what else keeps entries out.
        observed: what is measured beside the books.
        topics: of the venue, and how old they are.
        connections: how many were made or tried, by name.
        refused: how many messages of the market were not understood.
        lives: which actors live, by name.
        reloading: reads the settings again.
    """

    def __init__(
        self,
        settings: TradeSettings,
        *,
        run_id: str,
        mode: str,
        model_id: Callable[[], str],
        currency: str,
        start_cash: Decimal,
        clock: Clock,
        executor: LiveExecutor,
        store: LiveLedger,
        switches: Switches,
        inbox: Inbox[Any],
        phase: Callable[[], Phase],
        doubts: Callable[[str], Sequence[str]],
        troubles: Callable[[], Sequence[str]],
        observed: Observed,
        topics: Callable[[], Sequence[DataAge]],
        connections: Callable[[], Mapping[str, int]],
        refused: Callable[[], int],
        lives: Callable[[], Mapping[str, bool]],
        reloading: Reloading,
    ) -> None:
        self._settings = settings
        self._run_id, self._mode, self._model_id, self._currency = run_id, mode, model_id, currency
        self._start_cash = start_cash
        self._clock = clock
        self._executor = executor
        self._store = store
        self._switches = switches
        self._inbox = inbox
        self._phase = phase
        self._doubts, self._troubles = doubts, troubles
        self._observed = observed
        self._topics = topics
        self._connections = connections
        self._refused = refused
        self._lives = lives
        self._reloading = reloading
        self._started_ns = clock.now_ns()
        self._forecasts: dict[str, ForecastView] = {}

    # --- what it is told ----------------------------------------------------------------------------------------------

    def see_forecasts(self, forecasts: ForecastBatch) -> None:
        """Keep the newest forecast of an instrument."""
        row = len(forecasts) - 1
        if row < 0:
            return
        name = forecasts.instrument.name
        self._forecasts[name] = ForecastView(
            instrument=name,
            model_id=forecasts.model_id,
            bar_close_ns=int(forecasts.close_ns[row]),
            close_price=self._mark(name) or ZERO,
            horizons_ns=forecasts.horizons_ns,
            levels=forecasts.levels,
            quantiles=tuple(tuple(level) for level in forecasts.quantiles[row].tolist()),
            scales_ns=forecasts.scales_ns,
            importance=tuple(forecasts.importance[row].tolist()),
        )

    # --- ports.Operated -----------------------------------------------------------------------------------------------

    async def snapshot(self) -> Snapshot:
        """See `ports.Operated`."""
        executor, now_ns = self._executor, self._clock.now_ns()
        state = executor.desk.orders.state
        marks = executor.marks()
        positions = tuple(self._positions())
        cash = state.portfolio.cash
        held = [each for each in positions if each.qty]
        is_priced = all(each.mark_price is not None for each in held)
        equity = cash + sum((each.unrealized_pnl for each in held), ZERO) if is_priced else None
        latches = tuple(map(_latch, state.protections.states.latches()))
        _, peak, day_start = state.protections.loss_base
        doubts = {name: list(self._doubts(name)) for name in state.instruments}
        limit_ns = self._settings.risk.mark_age_max
        health = self._store.health()
        return Snapshot(
            run_id=self._run_id,
            mode=self._mode,
            version=__version__,
            strategy=self._settings.strategy_name,
            venue=self._settings.venue.environment,
            model_id=self._model_id(),
            config_hash=self._settings.config_hash(),
            epoch=self._store.epoch.number,
            started_ns=self._started_ns,
            now_ns=now_ns,
            phase=self._phase(),
            troubles=(
                *executor.troubles.values(),
                *self._troubles(),
                *(f"{name}: {why}" for name, each in doubts.items() for why in each),
                *health.alerts,
            ),
            is_paused=any(each.cause == Cause.PERSON.value and each.scope == ACCOUNT for each in latches),
            is_killed=self._switches.is_killed or executor.desk.orders.rules.is_killed,
            currency=self._currency,
            start_cash=self._start_cash,
            cash=cash,
            equity=equity,
            equity_day_start=day_start,
            equity_peak=peak,
            positions=positions,
            orders=tuple(self._orders()),
            latches=latches,
            forecasts=tuple(
                replace(each, coverage=self._observed.coverage(name)) for name, each in self._forecasts.items()
            ),
            data=(
                *self._topics(),
                *(
                    DataAge(
                        topic=f"mark:{name}",
                        age_ns=now_ns - (self._started_ns if mark is None else mark.ts_ns),
                        limit_ns=limit_ns,
                        is_trusted=not doubts.get(name),
                    )
                    for name, mark in marks.items()
                ),
                *self._observed.bar_ages(),
            ),
            actors=self._actors(),
            latencies=(
                *self._observed.latencies(),
                Latency(
                    stage="intent_commit",
                    count=health.commits,
                    p50_ns=int(health.commit_ms_p50 * _MS),
                    p99_ns=int(health.commit_ms_p99 * _MS),
                    worst_ns=int(health.commit_ms_max * _MS),
                ),
            ),
            counters=(
                *self._observed.counters(),
                *(
                    Counter(name="reconnects_total", labels=(("stream", name),), value=max(0, count - 1))
                    for name, count in self._connections().items()
                ),
                Counter(name="frames_refused_total", labels=(), value=self._refused()),
            ),
            last_decision_ns=executor.decided_ns,
            last_reconciled_ns=executor.compared_ns,
            ledger_seq=self._store.head.seq,
            books=tuple(self._books()),
        )

    async def foresee(self, command: OperatorCommand) -> str:
        """See `ports.Operated`."""
        state = self._executor.desk.orders.state
        held = [each for each in self._positions() if each.qty]
        open_count = sum(len(live) for live in state.live.values())
        match command:
            case Kill(is_flattening=is_flattening):
                closing = f", {_worth(held, self._currency)} are closed" if is_flattening else ""
                return f"{open_count} orders are canceled{closing}, and nothing new is sent until the host opens it"
            case Flatten(instrument=instrument) if instrument and instrument not in state.instruments:
                return f"nothing: {instrument} is not traded here; choose of {', '.join(state.instruments)}"
            case Flatten(instrument=instrument):
                held = [each for each in held if instrument in ("", each.instrument)]
                closing = f"{_worth(held, self._currency)} are closed at the market" if held else "nothing is held"
                return f"{closing}; then it stays paused"
            case Pause():
                stays = f"{_worth(held, self._currency)} stay open" if held else "nothing is held"
                return f"only exits pass from now on; {stays}"
            case Resume():
                latches = len(state.protections.states.latches())
                if self._switches.is_killed or self._executor.desk.orders.rules.is_killed:
                    return "nothing: the kill switch is closed, and only the host opens it"
                return f"{latches} latches open; new exposure passes the gate again"
            case Reload():
                return self._reloading.foresee()

    async def obey(self, command: OperatorCommand, by: str) -> CommandDone:
        """See `ports.Operated`."""
        if isinstance(command, Reload):
            return self._reloading.obey(by)
        if isinstance(command, Kill):
            try:
                self._switches.kill(f"{by}: {command.why}")  # durable, and in force at once
            except StorageError as error:
                return CommandDone(is_done=False, text=str(error))
        answer: asyncio.Future[CommandDone] = asyncio.get_running_loop().create_future()

        def done(outcome: CommandDone) -> None:
            if not answer.done():
                answer.set_result(outcome)

        self._inbox.deliver(Asked(command=command, by=by, done=done))
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await answer
        except TimeoutError:
            return CommandDone(is_done=False, text=f"the bot has not answered for {_ANSWER_S:.0f} s; it will do it yet")

    # --- parts --------------------------------------------------------------------------------------------------------

    def _mark(self, name: str) -> Decimal | None:
        mark = self._executor.marks().get(name)
        return None if mark is None else mark.price

    def _actors(self) -> tuple[ActorHealth, ...]:
        lives = dict(self._lives())
        seen = self._observed.actors(lambda name: lives.pop(name, True))
        others = (
            ActorHealth(name=name, is_alive=is_alive, queued=0, bound=0, served=0, last_served_ns=0)
            for name, is_alive in lives.items()
        )
        return (*seen, *others)

    def _books(self) -> list[StrategyBook]:
        shared = self._executor.desk.orders.state.strategy_books
        made = []
        for strategy, book in [] if shared is None else shared.books.items():
            for name, position in sorted(book.items()):
                if position != Position(instrument=name):  # it has never been touched
                    made.append(StrategyBook(strategy=strategy, position=_held(position, self._mark(name))))
        return made

    def _positions(self) -> list[HeldPosition]:
        state = self._executor.desk.orders.state
        marks: Mapping[str, Any] = self._executor.marks()
        made = []
        for name, position in sorted(state.portfolio.positions.items()):
            mark = marks.get(name)
            made.append(_held(position, None if mark is None else mark.price, state.stops[name]))
        return made

    def _orders(self) -> list[OpenOrder]:
        desk = self._executor.desk
        state = desk.orders.state
        doubtful = {each.client_order_id for each in desk.submissions.doubtful}
        made = []
        for live in state.live.values():
            for name, order in live.items():
                request = order.request
                create = desk.submissions.journal.create(name)
                made.append(
                    OpenOrder(
                        client_order_id=name,
                        instrument=request.instrument,
                        side=request.side.value,
                        order_type=request.order_type.value,
                        qty=order.qty,
                        filled_qty=order.filled_qty,
                        limit_price=order.limit_price,
                        status=order.status.value,
                        is_in_doubt=name in doubtful or (create is not None and create.phase is RequestPhase.UNKNOWN),
                        sent_ns=0 if create is None else create.decided_ns,
                        strategy=state.strategy_of.get(name, ""),
                    )
                )
        return made


def _held(position: Position, price: Decimal | None, stops: Stops | None = None) -> HeldPosition:
    return HeldPosition(
        instrument=position.instrument,
        qty=position.qty,
        entry_price=position.entry_price,
        mark_price=price,
        unrealized_pnl=ZERO if price is None else position.unrealized_pnl(price),
        realized_pnl=position.realized_pnl,
        fees=position.fees,
        funding=position.funding,
        take_profit=None if stops is None else stops.take_profit,
        stop_loss=None if stops is None else stops.stop_loss,
        trailing_distance=None if stops is None else stops.trailing_distance,
    )


def _latch(latch: Latch) -> LatchView:
    return LatchView(
        scope=latch.scope,
        cause=latch.cause.value,
        state=latch.state.value,
        detail=latch.why.detail,
        until_ns=latch.why.until_ns,
    )


def _worth(held: Sequence[HeldPosition], currency: str) -> str:
    if not held:
        return "no positions"
    notional = sum((abs(each.qty) * (each.mark_price or ZERO) for each in held), ZERO)
    names = ", ".join(f"{each.qty:f} {each.instrument}" for each in held)
    return f"{names} ({notional:,.0f} {currency})"
