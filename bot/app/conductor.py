"""Conducts a trading run: lets the strategy begin when all is ready, carries out switches, keeps the state.

It looks around twenty times a second, beside the actors, and decides nothing about money.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from bot.actors.inbox import Inbox
from bot.actors.ledger import LedgerActor
from bot.actors.live_executor import HOST, Asked, LiveExecutor
from bot.actors.market_feed import Key
from bot.actors.strategy import Begin
from bot.app.life_signs import LifeSigns
from bot.app.live_model import LiveModel
from bot.app.recovery import STATE_ENTRIES
from bot.app.start_steps import StartSteps
from bot.app.switches import Switches
from bot.core.checkpoint import capture, encode
from bot.core.submission.ids import ClientOrderIds
from bot.domain.operation import CommandDone, Kill, Phase
from bot.ports import Clock
from bot.runtime.notify import ServiceNotifier
from bot.runtime.trade_settings import TradeSettings
from bot.store.live_ledger import LiveLedger
from bot.venues.bybit.live_market import LiveMarket

log = structlog.get_logger()

POLL_S = 0.05  # between two looks
_TELL_AGAIN_NS = 5_000_000_000  # between two looks at why it is degraded, while it is
_NUMBER = re.compile(r"[0-9.]+")  # ages and counts change all the time: they are no other reason


@dataclass(slots=True)
class Phases:
    """Where a run is, and who is told when that changes."""

    now: Phase = Phase.STARTING
    listeners: list[Callable[[Phase, str], None]] = field(default_factory=list)

    def tell(self, phase: Phase, text: str) -> None:
        """Enter a phase, with a line for a person."""
        self.now = phase
        log.info("run.phase_changed", phase=phase.value, text=text)
        for hear in self.listeners:
            hear(phase, text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conducted:
    """What there is to conduct."""

    executor: LiveExecutor
    source: LiveMarket
    switches: Switches
    inbox: Inbox[Any]  # the executor's
    strategy_inbox: Inbox[Any]
    ledger: LedgerActor
    store: LiveLedger
    ids: ClientOrderIds
    notifier: ServiceNotifier
    life_signs: LifeSigns
    kept_seq: int  # up to which entry the state was kept
    keys: tuple[Key, ...]
    model: LiveModel | None


class Conductor:
    """See the module.

    Args:
        conducted: the run's parts.
        settings: of the run.
        clock: the run's.
        phases: told of readiness.
        steps: of the start, told of the last ones.
        stop: ends the run.
    """

    def __init__(
        self,
        conducted: Conducted,
        settings: TradeSettings,
        *,
        clock: Clock,
        phases: Phases,
        steps: StartSteps,
        stop: Callable[[], None],
    ) -> None:
        self._run = conducted
        self._settings = settings
        self._clock = clock
        self._phases, self._steps = phases, steps
        self._stop = stop
        self._started_ns = self._kept_ns = clock.now_ns()
        self._kept_seq = conducted.kept_seq
        self._is_begun = self._was_killed = self._is_money_ready = False
        self._waiting = ""  # for what, as was told
        self._told, self._told_ns = "", 0  # why it is degraded, as was told, and when that was last looked at

    async def run(self) -> None:
        """Watch for readiness, switches and the time to stop; keep the state; feed the watchdog."""
        self._started_ns = self._kept_ns = self._clock.now_ns()
        while True:
            now_ns = self._clock.now_ns()
            self._carry_out_switches()
            self._see_readiness(now_ns)
            if self._is_begun:
                self._run.life_signs.look(now_ns)
            head_seq = self._run.store.head.seq
            is_long = head_seq - self._kept_seq >= STATE_ENTRIES
            if is_long or now_ns - self._kept_ns >= self._settings.ledger.checkpoint_every:
                self._kept_ns, self._kept_seq = now_ns, head_seq
                self.keep_state()
            stop_after = self._settings.run.stop_after
            if stop_after is not None and now_ns - self._started_ns >= stop_after:
                self._stop()
            await asyncio.sleep(POLL_S)

    def keep_state(self) -> None:
        """Keep the state beside the journal, as it is after all that was written so far."""
        desk, store, now_ns = self._run.executor.desk, self._run.store, self._clock.now_ns()
        last = (store.epoch.number, self._run.ids.count)
        body = encode(capture(desk.orders.state, desk.submissions.journal, last=last))
        self._run.ledger.do_in_order(lambda: store.checkpoint(body, now_ns=now_ns))

    def _carry_out_switches(self) -> None:
        switches, inbox = self._run.switches, self._run.inbox
        is_killed = switches.is_killed
        if is_killed and not self._was_killed:
            inbox.deliver(Asked(command=Kill(why=switches.why_killed()), by=HOST, done=_ignore))
        self._was_killed = is_killed
        for command, answer in switches.take():
            if isinstance(command, Kill):
                switches.kill(command.why)
            inbox.deliver(Asked(command=command, by=HOST, done=lambda done, answer=answer: answer(done.text)))  # type: ignore[misc]

    def _see_readiness(self, now_ns: int) -> None:
        run, phases = self._run, self._phases
        is_fed = run.executor.is_ready and run.source.is_ready
        lacks = [] if run.model is None or not is_fed else run.model.troubles
        is_ready = is_fed and not lacks
        if run.executor.is_ready and not self._is_money_ready:
            self._is_money_ready = True
            self._steps.done("account compared")
            self._tell_money_ready()
        if is_ready and not self._is_begun:
            self._is_begun = True
            self._steps.done("market and forecasts")
            log.info("start.done", total_s=round(self._steps.so_far_s, 3), steps=self._steps.took_s)
            run.strategy_inbox.deliver(Begin())
            run.notifier.ready(doing(self._settings))
            phases.tell(Phase.READY, f"ready {self._steps.so_far_s:.1f} s after the process began")
        elif self._is_begun and phases.now is not Phase.STOPPING:
            self._see_degradation(now_ns, lacks, is_ready=is_ready)
        elif lacks and not self._is_begun and self._waiting != "; ".join(lacks):
            self._waiting = "; ".join(lacks)
            phases.tell(Phase.RECOVERING, f"waiting for a first forecast: {self._waiting}")

    def _see_degradation(self, now_ns: int, lacks: list[str], *, is_ready: bool) -> None:
        """Tell when it begins and ends, and once it goes on for another reason than the one that was told."""
        run, phases = self._run, self._phases
        if is_ready:
            if phases.now is not Phase.READY:
                phases.tell(Phase.READY, "all is well again")
            return
        if phases.now is Phase.DEGRADED and now_ns - self._told_ns < _TELL_AGAIN_NS:
            return
        doubts = [each for key in run.keys for each in run.source.doubts(*key)]
        why = "; ".join([*run.executor.troubles.values(), *doubts, *lacks]) or "the reason is being found out"
        self._told_ns = now_ns
        gist = _NUMBER.sub("", why)
        if phases.now is not Phase.DEGRADED or gist != self._told:
            self._told = gist
            phases.tell(Phase.DEGRADED, why)

    def _tell_money_ready(self) -> None:
        """Tell that exits, switches and comparisons are at work, and what entries still wait for."""
        run = self._run
        doubts = dict.fromkeys(f"{key[1]}: {each}" for key in run.keys for each in run.source.doubts(*key))
        waits = f"; the strategy waits for {'; '.join(doubts)}" if doubts else ""
        self._phases.tell(Phase.RECOVERING, f"money half is up, {self._steps.told()}{waits}")


def doing(settings: TradeSettings) -> str:
    """Return what a run does, in a line for the service manager."""
    return f"trading {', '.join(each.symbol for each in settings.symbols)}"


def _ignore(outcome: CommandDone) -> None:
    """Nobody waits for this answer."""
