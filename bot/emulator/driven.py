"""Time that stands still until a client moves it: a recording plays as fast as its listeners can take it."""

import msgspec

from bot.emulator.wire import DAY_NS, MS_NS

_ADVANCE_MAX_NS = 31 * DAY_NS


class DrivenClock:
    """A clock that is moved by hand."""

    def __init__(self, start_ns: int) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Return ns since the epoch, UTC, on this clock."""
        return self._now_ns

    def move_to(self, now_ns: int) -> None:
        """Let it be later."""
        self._now_ns = max(self._now_ns, now_ns)


class Drive(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """How far time is to move, and in what steps. ns."""

    advance_nano: int
    step_nano: int = 20 * MS_NS

    def problem(self) -> str:
        """Return what is wrong with it, empty if nothing is."""
        if not 0 < self.advance_nano <= _ADVANCE_MAX_NS:
            return "advanceNano: from 1 to 31 days at a time"
        if self.step_nano < MS_NS:
            return "stepNano: a millisecond at least"
        return ""


DRIVE = msgspec.json.Decoder(Drive)
