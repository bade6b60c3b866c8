"""How long each step of a start took: for an operator who waits for READY, and for who wants it sooner."""

import structlog

from bot.runtime.env import monotonic_ns, process_age_ns

log = structlog.get_logger()


class StartSteps:
    """Told of each step as it ends.

    Attributes:
        took_s: what each took by this machine's clock, in order, since the one before; the first is from the start of
            the process on.
    """

    def __init__(self) -> None:
        self.took_s: dict[str, float] = {}
        self._began_ns = self._last_ns = monotonic_ns() - process_age_ns()

    @property
    def so_far_s(self) -> float:
        """Return the seconds since the process was started."""
        return (monotonic_ns() - self._began_ns) / 1e9

    def done(self, what: str) -> None:
        """Note that a step has ended just now; the same one again adds to it."""
        now_ns = monotonic_ns()
        took_s = (now_ns - self._last_ns) / 1e9
        self._last_ns = now_ns
        self.took_s[what] = round(self.took_s.get(what, 0.0) + took_s, 3)
        log.info("start.step_done", step=what, took_s=round(took_s, 3))

    def told(self) -> str:
        """Return all of it in a line, the steps of a tenth of a second and more."""
        long = [f"{what} {took_s:.1f}" for what, took_s in self.took_s.items() if took_s >= 0.1]
        return f"{self.so_far_s:.1f} s since the process began: {', '.join(long)}"
