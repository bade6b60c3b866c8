"""A paper run as its operator meets it: seen over its status server, told of, paused and killed from the host."""

import asyncio
from pathlib import Path

import pytest

from bot.app.status import look
from bot.app.switches import Switches
from bot.app.trading import Trading
from bot.domain.errors import DataError
from bot.domain.operation import Pause, Phase, Snapshot
from bot.runtime.trade_settings import load_trade
from bot.venues.bybit.credentials import Credentials

pytestmark = pytest.mark.slow

_CONFIG = Path(__file__).parents[2] / "config" / "paper-offline.toml"
_EMULATOR = Path(__file__).parents[2] / "config" / "emulator" / "paper.toml"
_WAIT_S = 60.0


def _trading(out: Path) -> Trading:
    settings = load_trade(
        _CONFIG,
        [f'run.out="{out}"', 'run.stop_after="1d"', f'emulator.config="{_EMULATOR}"', 'run.compare_every="5s"'],
    )
    return Trading(settings, "paper", Credentials(key=settings.emulator.key, secret=settings.emulator.secret))


async def _until(trading: Trading, wanted: object, task: asyncio.Task[object]) -> Snapshot:
    """Return the first snapshot that is as wanted."""
    async with asyncio.timeout(_WAIT_S):
        while True:
            if task.done():
                task.result()
                raise AssertionError("the run ended")
            try:
                snapshot = await look(trading.directory)
            except DataError:
                snapshot = None
            if snapshot is not None and wanted(snapshot):  # type: ignore[operator]
                return snapshot
            await asyncio.sleep(0.1)


async def test_a_run_is_seen_paused_and_killed_and_ends_in_order(tmp_path: Path) -> None:
    """What the status server tells is what is: ready, paused by a person, killed; and it goes with the run."""
    trading = _trading(tmp_path)
    task = asyncio.create_task(trading.run())
    ready = await _until(trading, lambda s: s.phase is Phase.READY, task)
    assert (ready.mode, ready.venue, ready.epoch) == ("paper", "emulator", 1)
    assert ready.cash == ready.equity == ready.start_cash == 100_000
    assert ready.last_reconciled_ns > 0
    assert not ready.is_paused
    assert not ready.is_killed
    switches = Switches(trading.directory)
    switches.ask(Pause(why="lunch"), "one")
    paused = await _until(trading, lambda s: s.is_paused, task)
    assert any("lunch" in latch.detail for latch in paused.latches)
    switches.kill("enough")
    killed = await _until(trading, lambda s: s.is_killed and len(s.latches) > 1, task)
    assert any(latch.state == "halted" for latch in killed.latches)
    trading.stop()
    traded = await asyncio.wait_for(task, _WAIT_S)
    assert traded.entries > 3
    with pytest.raises(DataError):
        await look(trading.directory)
