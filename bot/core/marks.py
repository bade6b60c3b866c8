"""The newest price of an instrument at any moment the clock may be at."""

from bot.core.risk import Mark
from bot.domain.instrument import Instrument
from bot.domain.market import I64, MarketSlab


class MarkSeries:
    """Prices of one instrument in order of time, read at the clock's pace; what it has passed is dropped."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._chunks: list[tuple[I64, I64]] = []
        self._asked: tuple[int, Mark | None] | None = None  # the last answer: much happens at one instant

    def extend(self, slab: MarketSlab, now_ns: int) -> None:
        """Append the slab's prices: its trades, or the closes of its source's bars."""
        self._asked = None
        while len(self._chunks) > 1 and self._chunks[1][0][0] <= now_ns:
            self._chunks.pop(0)
        if slab.trades is not None and len(slab.trades):
            self._chunks.append((slab.trades.ts_ns, slab.trades.price_ticks))
        if slab.base_bars is not None and len(slab.base_bars):
            self._chunks.append((slab.base_bars.close_ns, slab.base_bars.close_ticks))

    def at(self, now_ns: int) -> Mark | None:
        """Return the newest price at `now_ns`, None before the first."""
        if self._asked is None or self._asked[0] != now_ns:
            self._asked = now_ns, self._find(now_ns)
        return self._asked[1]

    def _find(self, now_ns: int) -> Mark | None:
        for ts_ns, ticks in reversed(self._chunks):
            if ts_ns[0] <= now_ns:
                index = int(ts_ns.searchsorted(now_ns, side="right")) - 1
                return Mark(price=self._instrument.price(int(ticks[index])), ts_ns=int(ts_ns[index]))
        return None
