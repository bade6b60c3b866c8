"""What may be wrong with trades."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.core.data_quality.bars import spike_findings
from bot.core.data_quality.clock import ClockScan
from bot.core.data_quality.coverage import Coverage
from bot.core.data_quality.findings import (
    Bools,
    Example,
    Finding,
    Limits,
    Previous,
    Quality,
    Rows,
    Severity,
    Tally,
    many,
    number,
    values_of,
)
from bot.core.data_quality.spikes import TradeSpikes
from bot.core.data_quality.times import TimeScan
from bot.domain.market import F64, I64


class TradeScan:
    """Scan trades of one symbol; see `findings.Scan`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._times = TimeScan("trade", "trades", limits)
        self._clock = ClockScan(limits)
        self._spikes = TradeSpikes(limits)
        self._ids = Coverage()
        self._twins = _Twins(limits)
        self._previous = Previous()
        self._price, self._qty = Tally(limits.examples), Tally(limits.examples)
        self._repeats, self._id_back = Tally(limits.examples), Tally(limits.examples)
        self._repeats_alike = 0
        self._without_id = 0
        self._buys = 0

    def add(self, rows: Rows) -> None:
        """Take the next rows."""
        columns = rows.columns
        ts_ns: I64 = columns["ts_ns"]
        if not len(ts_ns):
            return
        first_row = self._times.span.rows
        price, qty = values_of(columns["price"], rows.price_exponent), values_of(columns["qty"], rows.qty_exponent)
        is_buy: Bools = columns["is_buy"]
        self._times.add(ts_ns)
        self._clock.add(ts_ns, columns["recv_ns"])
        self._spikes.add(ts_ns, price)
        self._price.add(price <= 0, first_row, ts_ns, lambda i: f"price {number(price[i])}")
        self._qty.add(qty <= 0, first_row, ts_ns, lambda i: f"quantity {number(qty[i])}")
        self._buys += int(np.count_nonzero(is_buy))
        self._check_ids(columns["trade_id"], ts_ns, price, qty, is_buy, first_row)

    def finish(self) -> Quality:
        """Return what was found."""
        self._spikes.finish()
        self._twins.finish()
        findings = [
            *self._times.findings(),
            *self._price.finding(
                "trades.price", Severity.ERROR, "trade", "with a price that is not positive", "correct or drop them"
            ),
            *self._qty.finding(
                "trades.qty", Severity.ERROR, "trade", "with a quantity that is not positive", "correct or drop them"
            ),
            *self._id_findings(),
            *self._one_sided(),
            *spike_findings(self._spikes.suspects, self._limits, "trade", "trades"),
            *self._clock.findings(),
        ]
        span = self._times.span
        return Quality(
            rows=span.rows,
            first_ns=span.first_ns,
            last_ns=span.last_ns,
            facts=self._facts(),
            findings=tuple(findings),
        )

    def _check_ids(self, trade_id: I64, ts_ns: I64, price: F64, qty: F64, is_buy: Bools, first_row: int) -> None:
        columns = {"ts_ns": ts_ns, "price": price, "qty": qty, "is_buy": is_buy}
        same = np.logical_and.reduce([self._previous.of(name, c) == c for name, c in columns.items()])
        before = self._previous.of("trade_id", trade_id)
        has_id = trade_id > 0
        self._without_id += int(np.count_nonzero(~has_id))
        rows = first_row + np.flatnonzero(has_id)
        is_repeat = np.zeros(len(ts_ns), dtype=np.bool_)
        is_repeat[has_id] = self._ids.add(trade_id[has_id], rows, ts_ns[has_id])
        self._repeats.add(is_repeat, first_row, ts_ns, lambda i: f"id {trade_id[i]}")
        self._repeats_alike += int(np.count_nonzero(is_repeat & same & (trade_id == before)))
        is_back = has_id & (before > 0) & (trade_id < before) & ~is_repeat
        self._id_back.add(is_back, first_row, ts_ns, lambda i: f"id {trade_id[i]} after {before[i]}")
        if not has_id.all():
            bare = ~has_id
            self._twins.add(ts_ns[bare], price[bare], qty[bare], is_buy[bare], first_row + np.flatnonzero(bare))

    def _facts(self) -> dict[str, Any]:
        _, length, _, _ = self._ids.holes()
        rows = self._times.span.rows
        return {
            **self._times.facts(),
            "ids_absent": int(length.sum()),
            "id_holes": len(length),
            "without_id": self._without_id,
            "duplicates": self._repeats.count,
            "equal_rows": self._twins.tally.count,
            "buy_share": self._buys / rows if rows else None,
            "suspect_prices": self._spikes.suspects.count,
            **self._clock.facts(),
        }

    def _id_findings(self) -> list[Finding]:
        apart = self._repeats.count - self._repeats_alike
        found = self._repeats.finding(
            "trades.duplicate",
            Severity.ERROR,
            "trade",
            "whose id came before",
            f"{self._repeats_alike:,} equal the row before, {apart:,} do not; keep one of each",
        )
        found += self._id_back.finding(
            "trades.id-disorder",
            Severity.WARNING,
            "trade",
            "with an id smaller than the one before",
            "opens and closes of bars depend on the order",
        )
        found += self._id_holes()
        rows, limits = self._times.span.rows, self._limits
        share = self._twins.tally.count / rows if rows else 0.0
        found += self._twins.tally.finding(
            "trades.equal-rows",
            Severity.WARNING if rows >= limits.share_rows and share > limits.equal_share else Severity.INFO,
            "trade",
            f"({share:.1%}) without an id, equal to another of the same instant in price, quantity and side",
            "either fills of one order, or rows told twice: only ids can tell",
        )
        return found

    def _id_holes(self) -> list[Finding]:
        start, length, row, ts_ns = self._ids.holes()
        if not len(length):
            return []
        absent, seen = int(length.sum()), self._times.span.rows - self._without_id - self._repeats.count
        kept = []
        for i in np.argsort(-length, kind="stable")[: self._limits.examples].tolist():
            text = f"{many(int(length[i]), 'id')} from {start[i]} on absent before this row"
            kept.append(Example(row=int(row[i]), ts_ns=int(ts_ns[i]), text=text))
        where = f"{absent:,} ids absent in {many(len(length), 'hole')}"
        if absent > seen:
            severity = Severity.INFO
            message = f"{where}, more than there are trades: the venue counts more than this symbol's trades"
        else:
            severity = Severity.WARNING
            message = f"{where}, the longest at row {kept[0].row:,}: {kept[0].text}; download that stretch again"
        return [
            Finding(code="trades.missing-ids", severity=severity, message=message, count=absent, examples=tuple(kept))
        ]

    def _one_sided(self) -> list[Finding]:
        rows = self._times.span.rows
        if rows < self._limits.share_rows or 0 < self._buys < rows:
            return []
        side = "buy" if self._buys else "sell"
        return [
            Finding(
                code="trades.one-sided",
                severity=Severity.WARNING,
                message=f"all {rows:,} trades have the taker's side {side}: check how the source names the side",
                count=rows,
            )
        ]


class _Twins:
    """Rows that equal an earlier one of the same instant in every column."""

    def __init__(self, limits: Limits) -> None:
        self.tally = Tally(limits.examples)
        self._waiting: list[NDArray[Any]] = []  # the rows of the newest instant, which may go on

    def add(self, ts_ns: I64, price: F64, qty: F64, is_buy: Bools, rows: I64) -> None:
        """Take the next rows."""
        columns: list[NDArray[Any]] = [ts_ns, price, qty, is_buy, rows]
        if self._waiting:
            columns = [np.concatenate(pair) for pair in zip(self._waiting, columns, strict=True)]
        changes = np.flatnonzero(np.diff(columns[0]))
        cut = int(changes[-1]) + 1 if len(changes) else 0
        self._waiting = [column[cut:].copy() for column in columns]
        self._count(*(column[:cut] for column in columns))

    def finish(self) -> None:
        """Count the rows of the last instant."""
        if self._waiting:
            self._count(*self._waiting)

    def _count(self, ts_ns: I64, price: F64, qty: F64, is_buy: Bools, rows: I64) -> None:
        if len(ts_ns) < 2:
            return
        starts = np.append(True, np.diff(ts_ns) != 0)
        instant = np.cumsum(starts)
        order = np.lexsort((is_buy, qty, price, instant))
        equal = np.logical_and.reduce([key[order][1:] == key[order][:-1] for key in (instant, price, qty, is_buy)])
        is_twin = np.zeros(len(ts_ns), dtype=np.bool_)
        is_twin[order[1:]] = equal

        def describe(i: int) -> str:
            return f"{'buy' if is_buy[i] else 'sell'} {number(qty[i])} at {number(price[i])}"

        self.tally.add(is_twin, rows, ts_ns, describe)
