"""Asks again and again whether the ledger is still ours, and stops the bot when it is not, or does not say."""

import asyncio
from collections.abc import Callable

from bot.domain.errors import StorageError
from bot.ports import OffLoop


class LedgerWatch:
    """Ends, and so stops trading, when the right to write the ledger is lost, also while nothing is traded.

    Args:
        confirm: raises StorageError if the ledger is not ours any more; runs where commits run, in their order.
        off_loop: where that is.
        every_s: how often it asks.
        within_s: how long after one confirmation the next must have come; None where the right cannot be lost to a
            silence, as with a file on this host.
    """

    def __init__(
        self, *, confirm: Callable[[], None], off_loop: OffLoop, every_s: float = 0.5, within_s: float | None = 2.0
    ) -> None:
        self._confirm = confirm
        self._off_loop = off_loop
        self._every_s = every_s
        self._within_s = within_s

    async def run(self) -> None:
        """Ask until cancelled.

        Raises:
            StorageError: it is not ours, or nothing says that it is.
        """
        loop = asyncio.get_running_loop()
        confirmed = loop.time()
        while True:
            deadline = None if self._within_s is None else confirmed + self._within_s
            try:
                async with asyncio.timeout_at(deadline):
                    asked = loop.time()
                    await self._off_loop(self._confirm)
            except TimeoutError:
                raise StorageError(
                    f"the ledger's database did not answer for {self._within_s} s: another bot may have taken over; "
                    "trading stops. See that the database runs, then start again"
                ) from None
            confirmed = asked
            await asyncio.sleep(self._every_s)
