"""A bot that tells one thing and then waits to be killed: `python -m tests.support.vanishing_bot DIRECTORY`."""

import asyncio
import sys
from pathlib import Path

from bot.app.trading_surfaces import Surfaces
from tests.support.surfaces import told_by_hook


async def _wait(directory: Path) -> None:
    surfaces = Surfaces(told_by_hook(), directory=directory, ledger_directory=directory)
    surfaces.start()
    surfaces.see_trouble("it begins")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_wait(Path(sys.argv[1])))
