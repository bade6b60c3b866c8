"""What people see of a trading run: status, alerts, Telegram, all in a process of their own (`surfaces_process`).

Here is what the trading process does for it: it chooses what is worth telling, and answers when somebody looks or gives
a command. None of it can stop or slow trading.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bot.app.alerting import check_ways
from bot.app.observed import Observed
from bot.app.surfaces_frames import Begin, Change, End, Serve, Tell, ToSurfaces
from bot.app.surfaces_link import SurfacesLink
from bot.app.trading_view import TradingView
from bot.core.notices import notice_of
from bot.domain.errors import BotError
from bot.domain.ledger import LedgerEntry
from bot.domain.operation import Notice, Phase, Severity
from bot.operator.contain import contain
from bot.operator.discreet import Discreet
from bot.ports import Clock
from bot.runtime import secrecy
from bot.runtime.alert_settings import read_alert_secrets
from bot.runtime.env import SystemClock
from bot.runtime.setting_files import write_toml
from bot.runtime.trade_settings import TradeSettings

_SEVERITY = {Phase.DEGRADED: Severity.WARNING}
_DEGRADED_AGAIN_NS = 60_000_000_000
_LAST_WORDS_S = 40.0  # the process has five to deliver them, and may only have begun: that takes seconds, too
_REASONS_MAX = 160  # characters of a phase's reasons: a phone shows no more at a glance


class Surfaces:
    """The surfaces of one run; notices may be told before any of them is open.

    Args:
        settings: of the run.
        directory: the run's.
        ledger_directory: what outlives it.

    Raises:
        ConfigError: a secret of an enabled way is missing or cannot be one.

    Attributes:
        link: to the process.
    """

    def __init__(self, settings: TradeSettings, *, directory: Path, ledger_directory: Path) -> None:
        self._settings = settings
        self._directory = directory
        self._clock: Clock = SystemClock()  # people live by the wall's, also where the market runs faster
        check_ways(settings.alerts, read_alert_secrets(settings.alerts))
        alerts = settings.alerts
        self._tells = any(way.enabled for way in (alerts.telegram, alerts.webhook, alerts.mail))
        self._is_wanted = self._tells or settings.status.enabled or alerts.heartbeat.enabled
        self._ledger_directory = ledger_directory
        self._serve: Serve | None = None
        self._phase = Phase.STARTING
        self._degraded_ns = 0  # when it was last told
        self.link = SurfacesLink(self._opening)

    def start(self) -> None:
        """Begin to tell people: also of a start that fails."""
        if self._is_wanted:
            self.link.start()

    async def close(self) -> None:
        """Deliver the last words, for some seconds at most."""
        await self.link.close(End() if self._tells else None, _LAST_WORDS_S)

    def see_entries(self, entries: Sequence[LedgerEntry]) -> None:
        """Tell what of the newest durable entries is worth it."""
        for entry in entries:
            notice = notice_of(entry)
            if notice is not None:
                self.tell(notice)

    def change(self, settings: TradeSettings) -> None:
        """Take up what may change while running: see `reloading`."""
        self._settings = settings
        config = write_toml(settings.public())
        if self._serve is not None:
            self._serve = Serve(config=config, ledger=self._serve.ledger)  # another life is to know it, too
        self.link.say(Change(alerts=settings.alerts.model_dump_json(), config=config))

    def see_phase(self, phase: Phase, text: str) -> None:
        """Tell where the run is; while it is degraded, what else is in doubt by now is told once a minute."""
        now_ns, was, self._phase = self._clock.now_ns(), self._phase, phase
        if phase is Phase.DEGRADED:
            if was is phase and now_ns - self._degraded_ns < _DEGRADED_AGAIN_NS:
                return
            self._degraded_ns = now_ns
        self.tell(
            Notice(
                ts_ns=now_ns,
                kind=f"run.{phase.value}",
                severity=_SEVERITY.get(phase, Severity.INFO),
                text=_short(text) if text.startswith(phase.value) else f"{phase.value}: {_short(text)}",
            )
        )

    def tell(self, notice: Notice) -> None:
        """Tell of something that is no entry of the ledger."""
        if self._tells:
            self.link.tell(Tell(notice=notice))

    def see_failure(self, error: BaseException | None) -> None:
        """Tell that the run ends by an error; nothing where it ends in order, or is cancelled."""
        if not isinstance(error, Exception):
            return
        what = str(error) if isinstance(error, BotError) else f"{type(error).__name__}, see the log"
        text = f"the run ended by an error: {_short(secrecy.hide(what))}; open orders and positions stay at the venue"
        self.tell(Notice(ts_ns=self._clock.now_ns(), kind="run.failed", severity=Severity.CRITICAL, text=text))

    def see_trouble(self, text: str) -> None:
        """Tell of something that does not stop trading, and that a person should see to."""
        notice = Notice(ts_ns=self._clock.now_ns(), kind="run.trouble", severity=Severity.WARNING, text=text)
        self.tell(notice)

    @asynccontextmanager
    async def beside(self, view: TradingView, observed: Observed, *, ledger: str) -> AsyncIterator[None]:
        """Let people look at a run, and ask things of it.

        Args:
            ledger: its file, or its database's address.
        """
        self._serve = Serve(config=write_toml(self._settings.public()), ledger=ledger)
        self.link.show(Discreet(view, secrecy.hide), observed.gauges)
        self.link.say(self._serve)
        looking = asyncio.create_task(contain("observed", observed.run))
        try:
            yield
        finally:
            self._serve = None
            self.link.hide()
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    def _opening(self) -> list[ToSurfaces]:
        settings = self._settings
        begin = Begin(
            alerts=settings.alerts.model_dump_json(),
            status=settings.status.model_dump_json(),
            directory=str(self._directory),
            ledger_directory=str(self._ledger_directory),
        )
        return [begin] if self._serve is None else [begin, self._serve]


def _short(text: str) -> str:
    """Return a line's first reasons, as many as fit, and how many more there are."""
    reasons = text.split("; ")
    kept = reasons[:1]
    while len(kept) < len(reasons) and len("; ".join([*kept, reasons[len(kept)]])) <= _REASONS_MAX:
        kept.append(reasons[len(kept)])
    more = len(reasons) - len(kept)
    return "; ".join(kept) + (f"; and {more} more, see /status" if more else "")
