"""What may be wrong with best bids and asks."""

import numpy as np

from bot.core.data_quality.clock import ClockScan
from bot.core.data_quality.findings import Limits, Quality, Rows, Severity, Tally, number, values_of
from bot.core.data_quality.times import TimeScan
from bot.domain.market import I64


class QuoteScan:
    """Scan best quotes of one symbol; see `findings.Scan`. A side without orders has quantity 0."""

    def __init__(self, limits: Limits) -> None:
        self._times = TimeScan("quote", "quotes", limits)
        self._clock = ClockScan(limits)
        self._price, self._qty = Tally(limits.examples), Tally(limits.examples)
        self._crossed, self._empty = Tally(limits.examples), Tally(limits.examples)

    def add(self, rows: Rows) -> None:
        """Take the next rows."""
        columns = rows.columns
        ts_ns: I64 = columns["ts_ns"]
        first_row = self._times.span.rows
        bid, ask = (values_of(columns[name], rows.price_exponent) for name in ("bid", "ask"))
        bid_qty, ask_qty = (values_of(columns[name], rows.qty_exponent) for name in ("bid_qty", "ask_qty"))
        self._times.add(ts_ns)
        self._clock.add(ts_ns, columns["recv_ns"])
        has_bid, has_ask = bid_qty != 0, ask_qty != 0

        def prices(i: int) -> str:
            return f"bid {number(bid[i])}, ask {number(ask[i])}"

        def quantities(i: int) -> str:
            return f"bid {number(bid_qty[i])}, ask {number(ask_qty[i])}"

        self._price.add((has_bid & (bid <= 0)) | (has_ask & (ask <= 0)), first_row, ts_ns, prices)
        self._qty.add(np.minimum(bid_qty, ask_qty) < 0, first_row, ts_ns, quantities)
        self._crossed.add(has_bid & has_ask & (bid >= ask), first_row, ts_ns, prices)
        self._empty.add(~has_bid | ~has_ask, first_row, ts_ns, quantities)

    def finish(self) -> Quality:
        """Return what was found."""
        findings = [
            *self._times.findings(),
            *self._price.finding(
                "quotes.price", Severity.ERROR, "quote", "with a price that is not positive", "correct or drop them"
            ),
            *self._qty.finding(
                "quotes.qty", Severity.ERROR, "quote", "with a negative quantity", "correct or drop them"
            ),
            *self._crossed.finding(
                "quotes.crossed",
                Severity.WARNING,
                "quote",
                "whose bid is not below their ask",
                "bid and ask may be of different moments, or swapped",
            ),
            *self._empty.finding(
                "quotes.empty-side", Severity.INFO, "quote", "without a bid or an ask", "nobody quoted that side"
            ),
            *self._clock.findings(),
        ]
        span = self._times.span
        return Quality(
            rows=span.rows,
            first_ns=span.first_ns,
            last_ns=span.last_ns,
            facts={**self._times.facts(), "crossed": self._crossed.count, **self._clock.facts()},
            findings=tuple(findings),
        )
