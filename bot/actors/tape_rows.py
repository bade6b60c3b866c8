"""Bars as rows of a run's tape, for a replay and for trading alike."""

import numpy as np

from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch
from bot.ports import TapeRows


def tape_rows(instrument: Instrument, bars: BarBatch, position: np.ndarray, profit: np.ndarray) -> TapeRows:
    """Return bars in units, with the position held and the profit made at each close."""
    prices = instrument.prices
    return TapeRows(
        instrument=instrument.name,
        close_ns=bars.close_ns,
        open=prices(bars.open_ticks),
        high=prices(bars.high_ticks),
        low=prices(bars.low_ticks),
        close=prices(bars.close_ticks),
        volume=instrument.qtys(bars.volume_steps),
        position=position,
        profit=profit,
    )
