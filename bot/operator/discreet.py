"""A bot as others may see it: what it says of its troubles may quote a venue's answer, and that may quote a secret."""

from collections.abc import Callable

from msgspec.structs import replace

from bot.domain.operation import CommandDone, OperatorCommand, Snapshot
from bot.ports import Operated


class Discreet:
    """An `Operated` whose words have been through a redactor.

    Args:
        operated: the bot.
        redact: hides its secrets.
    """

    def __init__(self, operated: Operated, redact: Callable[[str], str]) -> None:
        self._operated = operated
        self._redact = redact

    async def snapshot(self) -> Snapshot:
        """See `Operated`. Free text alone is looked through, of which a bot that is well has none."""
        view = await self._operated.snapshot()
        if not view.troubles and not view.latches:
            return view
        return replace(
            view,
            troubles=tuple(map(self._redact, view.troubles)),
            latches=tuple(replace(each, detail=self._redact(each.detail)) for each in view.latches),
        )

    async def foresee(self, command: OperatorCommand) -> str:
        """See `Operated`."""
        return await self._operated.foresee(command)

    async def obey(self, command: OperatorCommand, by: str) -> CommandDone:
        """See `Operated`."""
        done = await self._operated.obey(command, by)
        return replace(done, text=self._redact(done.text))
