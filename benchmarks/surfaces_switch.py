"""A trading run's surfaces, put on and taken off while it trades: what `bench_surfaces` compares.

Off is what a run without any has: no process for them, nobody told, nothing looked at ten times a second. On is the
real `Surfaces` with a process of its own, made anew each time, as a start would make it.
"""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from bot.app.observed import Observed
from bot.app.trading_surfaces import Surfaces
from bot.app.trading_view import TradingView
from bot.domain.ledger import LedgerEntry
from bot.domain.operation import Notice, Phase
from bot.operator.status_client import STATUS_FILE
from bot.runtime.trade_settings import TradeSettings

_LOOK_S = 0.05
_LOOKS = 1_200


class SwitchedSurfaces(Surfaces):
    """Surfaces with a switch.

    Args:
        settings: of a run that has none.
        directory, ledger_directory: see `Surfaces`.

    Attributes:
        newest: the run's; there is one in a process.
    """

    newest: "SwitchedSurfaces"

    def __init__(self, settings: TradeSettings, *, directory: Path, ledger_directory: Path) -> None:
        super().__init__(settings, directory=directory, ledger_directory=ledger_directory)
        SwitchedSurfaces.newest = self
        self._places = {"directory": directory, "ledger_directory": ledger_directory}
        self._on: Surfaces | None = None
        self._stack = AsyncExitStack()
        self._run: tuple[TradingView, Observed, str] | None = None

    async def put_on(self, settings: TradeSettings, core: int | None) -> None:
        """Begin to be watched, as these settings say, by a process on that core; return once it serves."""
        assert self._run is not None
        view, observed, ledger = self._run
        surfaces = Surfaces(settings, **self._places)
        surfaces.start()
        await self._stack.enter_async_context(surfaces.beside(view, observed, ledger=ledger))
        self._on = surfaces
        await _until(lambda: surfaces.link.pid > 0)
        if core is not None:
            _move(surfaces.link.pid, core)
        await _until((self._directory / STATUS_FILE).exists)

    async def take_off(self) -> dict[str, float]:
        """Be watched no more; return what became of notices meanwhile, by way and outcome."""
        on, self._on = self._on, None
        if on is None:
            return {}
        await self._stack.aclose()
        await on.close()
        gc.collect()  # what is left of it is not to be found in the middle of the next block
        return {name: float(count) for name, count in on.link.counts.items()}

    @asynccontextmanager
    async def beside(self, view: TradingView, observed: Observed, *, ledger: str) -> AsyncIterator[None]:
        """Note what there is to watch; be watched when told to."""
        self._run = view, observed, ledger
        try:
            yield
        finally:
            await self.take_off()

    def see_entries(self, entries: Sequence[LedgerEntry]) -> None:
        """See `Surfaces`."""
        _of(self).see_entries(entries)

    def see_phase(self, phase: Phase, text: str) -> None:
        """See `Surfaces`."""
        _of(self).see_phase(phase, text)

    def tell(self, notice: Notice) -> None:
        """See `Surfaces`."""
        _of(self).tell(notice)

    def see_trouble(self, text: str) -> None:
        """See `Surfaces`."""
        _of(self).see_trouble(text)


def _move(pid: int, core: int) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


async def _until(is_so: Callable[[], bool]) -> None:
    for _ in range(_LOOKS):
        if is_so():
            return
        await asyncio.sleep(_LOOK_S)
    raise RuntimeError("the surfaces do not begin")


def _of(switched: SwitchedSurfaces) -> Any:
    return super(SwitchedSurfaces, switched) if switched._on is None else switched._on
