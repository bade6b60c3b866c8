"""What is told of a machine on which nothing runs for a while: the first time at once, then once a minute; sans-IO.

An overloaded machine pauses again and again. Each pause is acted upon, all data are doubted; only words are saved here.
"""

from bot.venues.bybit.stream_effects import Alert

_S = 1_000_000_000
EVERY_NS = 60 * _S  # between two alerts
MANY = 6  # in that time: too many for a machine that is to trade
LONG_NS = 10 * _S  # one so long is grave by itself
NEVER_NS = 2**62

PAUSED = "machine.paused"
OVERLOADED = "machine.overloaded"
"""Codes of alerts: one for the log, and one that a person is told of."""


class Pauses:
    """Counts pauses of the machine.

    Attributes:
        count: since the start.
        due_ns: when there is more to tell; `NEVER_NS` for not at all.
    """

    def __init__(self) -> None:
        self.count = 0
        self.due_ns = NEVER_NS
        self._told_ns = -NEVER_NS
        self._held = 0
        self._longest_ns = 0

    def note(self, pause_ns: int, now_ns: int) -> Alert | None:
        """Count one; return what is to be told of it now."""
        self.count += 1
        if now_ns - self._told_ns >= EVERY_NS and not self._held:
            self._told_ns = now_ns
            code = OVERLOADED if pause_ns >= LONG_NS else PAUSED
            return Alert(code=code, text=f"nothing ran for {_words(pause_ns)}: all data are doubted")
        self._held += 1
        self._longest_ns = max(self._longest_ns, pause_ns)
        self.due_ns = self._told_ns + EVERY_NS
        return self.tell(now_ns)

    def tell(self, now_ns: int) -> Alert | None:
        """Return what was held back, once it is due."""
        if now_ns < self.due_ns:
            return None
        held, longest_ns = self._held, self._longest_ns
        self._told_ns, self.due_ns, self._held, self._longest_ns = now_ns, NEVER_NS, 0, 0
        is_grave = held >= MANY or longest_ns >= LONG_NS
        times = "once more" if held == 1 else f"{held} times more"
        text = f"nothing ran {times} in the last minute, for {_words(longest_ns)} at the longest"
        if is_grave:
            text += ": this machine is too busy to trade on, each time all data are doubted and no entry passes"
        return Alert(code=OVERLOADED if is_grave else PAUSED, text=text, suppressed=held)


def _words(pause_ns: int) -> str:
    return f"{pause_ns / _S:.1f} s"
