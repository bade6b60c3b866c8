"""When which part of a change of position has its turn."""

from decimal import Decimal

import msgspec

from bot.core.delays import uniform
from bot.core.execution.policy import Slices
from bot.domain.account import ZERO
from bot.domain.instrument import Instrument

_STREAM = 7_001  # of the seed: no delay uses it


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A change from one position to another, part by part."""

    start_qty: Decimal
    end_qty: Decimal
    turns_ns: tuple[int, ...]  # ascending; the first part's is at once

    def goal(self, instrument: Instrument, now_ns: int) -> Decimal:
        """Return what is to be held by now: whole steps, and all of it once every part has had its turn."""
        done = sum(1 for turn_ns in self.turns_ns if turn_ns <= now_ns)
        if done >= len(self.turns_ns):
            return self.end_qty
        change = (self.end_qty - self.start_qty) * done / len(self.turns_ns)
        return self.start_qty + instrument.round_qty(change)

    def next_ns(self, now_ns: int) -> int | None:
        """Return when the next part has its turn, None where all have had it."""
        return next((turn_ns for turn_ns in self.turns_ns if turn_ns > now_ns), None)


def spread(
    slices: Slices,
    instrument: Instrument,
    *,
    start_qty: Decimal,
    end_qty: Decimal,
    price: Decimal,
    begin_ns: int,
    within_ns: int | None,
    number: int,
) -> Schedule:
    """Return the parts of a change: as many as asked for, but none so small that the venue refuses it.

    Args:
        slices: how many, over how long.
        instrument: of what.
        start_qty, end_qty: from where to where.
        price: about what a unit costs.
        begin_ns: the first part's turn.
        within_ns: when the last one's is, at the latest; None: as the slices have it.
        number: the run's n-th change: its turns are a function of it and of the seed.
    """
    least = max(instrument.qty_min, instrument.qty_step)
    if price > 0:
        least = max(least, instrument.notional_min / price)
    count = max(1, min(slices.count, int(abs(end_qty - start_qty) / least)))
    total_ns = slices.total_ns if within_ns is None else min(slices.total_ns, within_ns)
    gap_ns = total_ns // max(1, count - 1)
    # A turn comes early by up to the jitter's part of a gap: the last is never later than asked.
    turns = [
        begin_ns + gap_ns * part - (int(uniform(slices.seed, _STREAM + part, number) * slices.jitter * gap_ns))
        for part in range(1, count)
    ]
    return Schedule(start_qty=start_qty, end_qty=end_qty, turns_ns=(begin_ns, *turns))


NOTHING = Schedule(start_qty=ZERO, end_qty=ZERO, turns_ns=())
"""No parts: the end is wanted at once."""
