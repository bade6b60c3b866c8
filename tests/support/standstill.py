"""Whether the machine stood still while a test ran."""

import threading
import time

_SLEEP_S = 0.02
_KEPT_S = 0.05  # shorter pauses than this are everyday


class Standstill(threading.Thread):
    """A witness that sleeps for 20 ms again and again and notes when it woke late, for want of a processor.

    What this process itself computed meanwhile is taken off: a call that keeps the interpreter to itself is no pause
    of the machine.
    """

    def __init__(self) -> None:
        super().__init__(name="standstill", daemon=True)
        self._pauses: list[tuple[float, float]] = []  # when each ended, and how long it was, in s

    def run(self) -> None:
        """Watch for as long as the process lives."""
        while True:
            began_s, own_s = time.monotonic(), time.process_time()
            time.sleep(_SLEEP_S)
            ended_s = time.monotonic()
            pause_s = ended_s - began_s - _SLEEP_S - (time.process_time() - own_s)
            if pause_s > _KEPT_S:
                self._pauses.append((ended_s, pause_s))

    def longest_since(self, began_s: float) -> float:
        """Return the longest pause, in s, since this time of `time.monotonic`; 0 if there was none."""
        since_s = (min(pause_s, ended_s - began_s) for ended_s, pause_s in list(self._pauses) if ended_s > began_s)
        return max(since_s, default=0.0)
