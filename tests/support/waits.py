"""A clock that stands still and a sleep that takes no time: for what waits for a venue."""

from collections.abc import Callable

NS = 1_000_000_000


class NoWaiting:
    """Moves its clock instead of sleeping, and keeps what it was told.

    Attributes:
        waits_s: the sleeps, 0 s left out.
        told: the reasons.
        on_wait: called after each sleep, with the clock moved.
    """

    def __init__(self, now_ns: int = 0) -> None:
        self.time_ns = now_ns
        self.waits_s: list[float] = []
        self.told: list[str] = []
        self.on_wait: Callable[[float], None] = lambda seconds: None

    def now_ns(self) -> int:
        """See `ports.Clock`."""
        return self.time_ns

    def wait(self, seconds: float) -> None:
        """Move the clock."""
        if seconds > 0:
            self.waits_s.append(seconds)
            self.time_ns += int(seconds * NS)
            self.on_wait(seconds)

    def tell(self, text: str) -> None:
        """Keep the reason."""
        self.told.append(text)
