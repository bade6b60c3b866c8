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
        """Tell where the run is."""
        self._alerting.alerts.tell(
            Notice(
                ts_ns=self._clock.now_ns(),
                kind=f"run.{phase.value}",
                severity=_SEVERITY.get(phase, Severity.INFO),
                text=f"{phase.value}: {text}",
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
