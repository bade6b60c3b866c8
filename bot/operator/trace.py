"""Remembers a little of what snapshots showed: equity and prices of the last day or so, for pictures."""

from collections import deque

from bot.domain.history import EquityPoint
from bot.domain.operation import Snapshot

_POINTS_MAX = 1_440
_INSTRUMENTS_MAX = 100


class Trace:
    """A bounded memory.

    Args:
        every_ns: the least time between two points.
    """

    def __init__(self, every_ns: int = 60_000_000_000) -> None:
        self._every_ns = every_ns
        self._equity: deque[EquityPoint] = deque(maxlen=_POINTS_MAX)
        self._prices: dict[str, deque[tuple[int, float]]] = {}

    def note(self, snapshot: Snapshot) -> None:
        """Take what a snapshot shows, unless the last one was too close."""
        last = self._equity[-1].ts_ns if self._equity else None
        if snapshot.equity is not None and (last is None or snapshot.now_ns - last >= self._every_ns):
            self._equity.append(EquityPoint(ts_ns=snapshot.now_ns, equity=snapshot.equity))
        for view in snapshot.forecasts:
            self._price(view.instrument, view.bar_close_ns, float(view.close_price))

    def equity(self) -> list[EquityPoint]:
        """Return the equity seen, in order."""
        return list(self._equity)

    def prices(self, instrument: str) -> list[tuple[int, float]]:
        """Return the closes that forecasts were made at: time in ns, price."""
        return list(self._prices.get(instrument, ()))

    def _price(self, instrument: str, ts_ns: int, price: float) -> None:
        seen = self._prices.get(instrument)
        if seen is None:
            if len(self._prices) >= _INSTRUMENTS_MAX:
                return
            seen = self._prices[instrument] = deque(maxlen=_POINTS_MAX)
        if not seen or ts_ns > seen[-1][0]:
            seen.append((ts_ns, price))
