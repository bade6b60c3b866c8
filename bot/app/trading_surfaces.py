"""What people see of a trading run, put beside it: status, alerts, Telegram. None of it can stop or slow trading."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bot.app.alerting import Alerting, tail_of
from bot.app.observed import Observed
from bot.app.status import serving_status
from bot.app.trading_view import TradingView
from bot.core.notices import notice_of
from bot.domain.ledger import LedgerEntry
from bot.domain.operation import Counter, Notice, Phase, Severity
from bot.operator.contain import contain
from bot.operator.discreet import Discreet
from bot.operator.telegram.channel import Shown
from bot.ports import Clock, LedgerQueries
from bot.runtime import secrecy
from bot.runtime.alert_settings import read_alert_secrets
from bot.runtime.env import SystemClock
from bot.runtime.setting_files import write_toml
from bot.runtime.trade_settings import TradeSettings

_SEVERITY = {Phase.DEGRADED: Severity.WARNING}
_DEGRADED_AGAIN_NS = 60_000_000_000
_REASONS_MAX = 160  # characters of a phase's reasons: a phone shows no more at a glance


class Surfaces:
    """The surfaces of one run; notices may be told before any of them is open.

    Args:
        settings: of the run.
        directory: the run's.
        ledger_directory: what outlives it.

    Raises:
        ConfigError: a secret of an enabled way is missing or cannot be one.
    """

    def __init__(self, settings: TradeSettings, *, directory: Path, ledger_directory: Path) -> None:
        self._settings = settings
        self._directory = directory
        self._clock: Clock = SystemClock()  # people live by the wall's, also where the market runs faster
        self.secrets = read_alert_secrets(settings.alerts)
        self._phase = Phase.STARTING
        self._degraded_ns = 0  # when it was last told
        self._alerting = Alerting(settings.alerts, self.secrets, clock=self._clock, directory=ledger_directory)

    def start(self) -> None:
        """Begin to tell people: also of a start that fails."""
        self._alerting.start()

    async def close(self) -> None:
        """Deliver the last words, for some seconds at most."""
        await self._alerting.close()

    def see_entries(self, entries: Sequence[LedgerEntry]) -> None:
        """Tell what of the newest durable entries is worth it."""
        for entry in entries:
            notice = notice_of(entry)
            if notice is not None:
                self._alerting.alerts.tell(notice)

    def change(self, settings: TradeSettings) -> None:
        """Take up what may change while running: see `reloading`."""
        self._settings = settings
        self._alerting.change(settings.alerts)
        if self._alerting.channel is not None:
            self._alerting.channel.show_config(write_toml(settings.public()))

    def counters(self) -> tuple[Counter, ...]:
        """Return what became of notices, by way out: told, folded, muted, dropped, failures."""
        counts: dict[tuple[str, str], int] = {}
        for route, outcomes in self._alerting.alerts.counts().items():
            way = route.partition(":")[0]  # whose it is stays here
            for outcome in ("told", "folded", "muted", "dropped", "failures"):
                counts[way, outcome] = counts.get((way, outcome), 0) + outcomes[outcome]
        return tuple(
            Counter(name="notices_total", labels=(("outcome", outcome), ("way", way)), value=count)
            for (way, outcome), count in counts.items()
        )

    def see_phase(self, phase: Phase, text: str) -> None:
        """Tell where the run is; while it is degraded, what else is in doubt by now is told once a minute."""
        now_ns, was, self._phase = self._clock.now_ns(), self._phase, phase
        if phase is Phase.DEGRADED:
            if was is phase and now_ns - self._degraded_ns < _DEGRADED_AGAIN_NS:
                return
            self._degraded_ns = now_ns
        self._alerting.alerts.tell(
            Notice(
                ts_ns=now_ns,
                kind=f"run.{phase.value}",
                severity=_SEVERITY.get(phase, Severity.INFO),
                text=_short(text) if text.startswith(phase.value) else f"{phase.value}: {_short(text)}",
            )
        )

    def tell(self, notice: Notice) -> None:
        """Tell of something that is no entry of the ledger."""
        self._alerting.alerts.tell(notice)

    def see_trouble(self, text: str) -> None:
        """Tell of something that does not stop trading, and that a person should see to."""
        notice = Notice(ts_ns=self._clock.now_ns(), kind="run.trouble", severity=Severity.WARNING, text=text)
        self._alerting.alerts.tell(notice)

    @asynccontextmanager
    async def beside(
        self, view: TradingView, observed: Observed, *, queries: LedgerQueries | None = None
    ) -> AsyncIterator[None]:
        """Run all of it beside a run."""
        shown = Shown(config=write_toml(self._settings.public()), log_lines=tail_of(self._directory / "log.jsonl"))
        seen = Discreet(view, secrecy.hide)
        async with serving_status(seen, self._settings.status, self._directory, observed.gauges):
            serving = [
                asyncio.create_task(contain("observed", observed.run)),
                asyncio.create_task(self._alerting.serve(seen, queries=queries, shown=shown)),
            ]
            try:
                yield
            finally:
                for each in serving:
                    each.cancel()
                await asyncio.gather(*serving, return_exceptions=True)


def _short(text: str) -> str:
    """Return a line's first reasons, as many as fit, and how many more there are."""
    reasons = text.split("; ")
    kept = reasons[:1]
    while len(kept) < len(reasons) and len("; ".join([*kept, reasons[len(kept)]])) <= _REASONS_MAX:
        kept.append(reasons[len(kept)])
    more = len(reasons) - len(kept)
    return "; ".join(kept) + (f"; and {more} more, see /status" if more else "")
