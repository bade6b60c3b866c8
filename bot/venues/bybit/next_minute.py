"""Trades of a minute that has begun before the venue has told the one before it closed: they wait, in order.

A trade that is lost shortly before a minute's end is known to be missing only by the venue's last word on that minute.
Who lets the next minute's first trade pass before has closed bars of a minute, five, an hour, that stay wrong.
"""

from dataclasses import replace

import numpy as np

from bot.domain.market import I64, TradeBatch
from bot.venues.bybit.instrument_feed import Claim

Trades = tuple[TradeBatch, list[str]]
"""Trades and their ids."""


class NextMinute:
    """What waits: trades, and claims that count them."""

    def __init__(self) -> None:
        self.trades: list[Trades] = []
        self._claims: list[Claim] = []

    def keep(self, batch: TradeBatch, ids: list[str], from_ns: int) -> Trades:
        """Keep the trades from a time on; return the others."""
        is_next = batch.ts_ns >= from_ns
        if is_next.all():
            self.trades.append((batch, ids))
            return batch.rows(0, 0), []
        if is_next.any():
            self.trades.append(chosen(batch, ids, is_next))
        return chosen(batch, ids, ~is_next)

    def hold_back(self, claim: Claim, from_ns: int) -> bool:
        """Keep a claim of the minute that waits; return whether it is one."""
        is_kept = bool(self.trades) and claim.open_ns >= from_ns
        if is_kept:
            self._claims.append(claim)
        return is_kept

    def take(self) -> tuple[list[Trades], list[Claim]]:
        """Return what has waited, and keep nothing."""
        taken = self.trades, self._claims
        self.trades, self._claims = [], []
        return taken


def chosen(batch: TradeBatch, ids: list[str], keep: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Trades:
    """Return those trades that are to be kept."""
    columns: dict[str, I64] = {name: getattr(batch, name)[keep] for name in TradeBatch.COLUMNS}
    kept_ids = [each for each, is_kept in zip(ids, keep.tolist(), strict=True) if is_kept]
    return replace(batch, **columns), kept_ids  # type: ignore[arg-type]
