"""Puts a tape beside a live run: the writers, their thread, and the end that makes the files whole."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from bot.actors.live_tape import LiveTape
from bot.domain.account import Position
from bot.domain.instrument import Instrument
from bot.ports import Clock
from bot.runtime.env import WriterThread
from bot.runtime.trade_settings import TradeSettings
from bot.store.tape_parts import TapeParts


def open_tape(
    directory: Path,
    settings: TradeSettings,
    instruments: Mapping[str, Instrument],
    positions: Mapping[str, Position],
    clock: Clock,
    stack: AsyncExitStack,
    on_broken: Callable[[str], None],
) -> LiveTape:
    """Return the tape of a run; the stack closes it after the actors.

    Args:
        directory: the run's.
        positions: what is held when it begins.
        on_broken: told why charts end before the run does.
    """
    thread = WriterThread("tape")
    stack.callback(thread.close)
    tape = LiveTape(
        {name: TapeParts(directory, name) for name in ("tape", "forecasts", "shadow")},
        instruments,
        {name: position.qty for name, position in positions.items()},
        scale_ns=min(settings.bars.scales),
        clock=clock,
        off_loop=thread,
        on_broken=on_broken,
    )
    stack.push_async_callback(tape.close)
    return tape
