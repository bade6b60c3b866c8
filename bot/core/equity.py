"""The profit of one instrument at the close of every bar, in vector form."""

from decimal import Decimal

import numpy as np

from bot.domain.instrument import Instrument
from bot.domain.market import F64, I64


class ProfitCurve:
    """Fold fills and funding into a step function of time and read it at bar closes.

    Profit counts from the start of the run: realized and unrealized, less fees, plus funding.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._since_ns: list[int] = [-(2**62)]
        self._qty: list[float] = [0.0]
        self._flow: list[float] = [0.0]  # quote currency: what buying and selling, fees and funding brought so far
        self._exact_flow = Decimal(0)
        self._exact_qty = Decimal(0)

    def trade(self, ts_ns: int, signed_qty: Decimal, price: Decimal, fee: Decimal) -> None:
        """Add an execution that happened at `ts_ns`."""
        self._exact_qty += signed_qty
        self._change(ts_ns, -signed_qty * price - fee)

    def receive(self, ts_ns: int, amount: Decimal) -> None:
        """Add a funding settlement."""
        self._change(ts_ns, amount)

    def at(self, close_ns: I64, close_ticks: I64) -> tuple[F64, F64]:
        """Return position (base currency) and profit (quote currency) at these bar closes, ascending.

        A fill at exactly a bar's close follows it. Nothing before the last of these times may be added afterwards.
        """
        qty, profit, at = self._read(close_ns, close_ticks)
        if len(at):
            last = int(at[-1])
            del self._since_ns[:last], self._qty[:last], self._flow[:last]
        return qty, profit

    def peek(self, close_ns: I64, close_ticks: I64) -> tuple[F64, F64]:
        """Return what `at` would now; what is added afterwards may still change it."""
        qty, profit, _ = self._read(close_ns, close_ticks)
        return qty, profit

    def _read(self, close_ns: I64, close_ticks: I64) -> tuple[F64, F64, I64]:
        at: I64 = np.searchsorted(np.array(self._since_ns), close_ns, side="left") - 1
        qty = np.array(self._qty)[at]
        return qty, np.array(self._flow)[at] + qty * self._instrument.prices(close_ticks), at

    def _change(self, ts_ns: int, amount: Decimal) -> None:
        self._exact_flow += amount
        # A later change of an earlier time (a fill that overtook another) takes the place of the newest.
        self._since_ns.append(max(ts_ns, self._since_ns[-1]))
        self._qty.append(float(self._exact_qty))
        self._flow.append(float(self._exact_flow))
