"""What the orders of two kinds of blocks allow to be said: which of them count, tables, a difference and its interval.

An order counts unless the machine had the core, or another program took it, or the ledger's sync waited for the disk,
while the order was on its way or just before. That is judged by witnesses of the machine (`surfaces_marks`), by the
same rule in both arms, never by how long the order took. What surfaces do to the disk shows in the count of syncs.
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

WANTED_MS = 1.0
PARTS = ("in the inbox", "decided", "to the disk's thread", "written and synced", "back to the loop", "let go, sent")
"""Of the way from a wish to its order's bytes at the socket."""

_DRAWS = 4_000
_PAIRS_MIN = 8  # with fewer left the interval is no interval


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One order's way out, in ms."""

    total: float
    parts: tuple[float, ...]
    is_away: bool  # the core was away meanwhile
    is_taken: bool  # another program had it meanwhile
    is_synced_slowly: bool = False  # a sync of the ledger waited for the disk meanwhile

    @property
    def counts(self) -> bool:
        """Return whether it was the bot's own doing, as far as the witnesses know."""
        return not (self.is_away or self.is_taken or self.is_synced_slowly)


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Some seconds of a run, watched or not."""

    pair: int  # the two blocks of a pair follow each other
    mode: str | None  # what ails Telegram; None: watched by nobody
    orders: tuple[Order, ...]
    waits: tuple[float, ...]  # of what the venue told, in the executor's inbox, ms
    share: float  # of a core, used by the bot


def difference(
    blocks: Sequence[Block], *, percentile: float = 99.0, draws: int = _DRAWS, seed: int = 1, all_orders: bool = False
) -> tuple[float, float, float]:
    """Return by how much the percentile of the way out is greater with everything on, and its interval's ends, ms.

    Pairs of blocks are drawn with replacement: 95 of 100 such intervals hold the true difference, as far as pairs are
    independent of each other. A pair of which one block has no order left is left out; NaN where hardly one is left.

    Args:
        all_orders: those too that were set aside.
    """
    pairs: dict[int, dict[bool, np.ndarray]] = {}
    for each in blocks:
        took = np.array([order.total for order in each.orders if all_orders or order.counts])
        pairs.setdefault(each.pair, {})[each.mode is not None] = took
    both = [
        (pair[True], pair[False]) for pair in pairs.values() if all(len(pair.get(arm, ())) for arm in (True, False))
    ]
    if len(both) < _PAIRS_MIN:
        return math.nan, math.nan, math.nan
    generator = np.random.default_rng(seed)

    def grown(rows: np.ndarray) -> float:
        one, other = (np.concatenate([both[row][arm] for row in rows]) for arm in (0, 1))
        return float(np.percentile(one, percentile) - np.percentile(other, percentile))

    count = len(both)
    found = [grown(generator.integers(0, count, count)) for _ in range(draws)]
    low, high = np.percentile(found, [2.5, 97.5]).tolist()
    return grown(np.arange(count)), low, high


def verdict(grown_ms: float, low_ms: float, high_ms: float) -> str:
    """Return in words what a difference and its interval allow to be said."""
    if math.isnan(grown_ms):
        return "nothing can be told: too few pairs are left; run longer, or on a machine that has time"
    said = f"p99 with everything on: {grown_ms:+.2f} ms (95 % interval {low_ms:+.2f} to {high_ms:+.2f} ms)"
    if high_ms < -WANTED_MS:
        return (
            f"{said}: nobody is faster for being watched, so the machine's noise is all that is seen; nothing is told."
        )
    if high_ms <= WANTED_MS:
        return f"{said}: no more than {WANTED_MS:.0f} ms."
    if low_ms > WANTED_MS:
        return f"{said}: MORE than {WANTED_MS:.0f} ms."
    return f"{said}: these runs cannot tell whether it is more than {WANTED_MS:.0f} ms; run longer, or more quietly."


def table(blocks: Sequence[Block], modes: Sequence[str]) -> str:
    """Return the comparison as Markdown: orders, those set aside, the way out, what news waited."""
    lines = [
        "| | orders | core away | taken | slow sync | order p50, ms | p99 | p99 of all | news p50 | p99 | of a core |",
        "|---|" + "---|" * 10,
    ]
    groups = [("watched by nobody", [each for each in blocks if each.mode is None])]
    groups.append(("watched by all", [each for each in blocks if each.mode is not None]))
    groups += [(f"Telegram: {mode}", [each for each in blocks if each.mode == mode]) for mode in modes]
    for name, group in groups:
        orders = [order for each in group for order in each.orders]
        counted = [order.total for order in orders if order.counts]
        if not counted:
            continue
        away = sum(each.is_away for each in orders)
        taken = sum(each.is_taken and not each.is_away for each in orders)
        synced = sum(each.is_synced_slowly and not (each.is_away or each.is_taken) for each in orders)
        waits = [wait for each in group for wait in each.waits] or [0.0]
        figures = (*_p50_p99(counted), np.percentile([each.total for each in orders], 99), *_p50_p99(waits))
        share = np.mean([each.share for each in group])
        told = " | ".join(f"{each:.2f}" for each in figures)
        lines.append(f"| {name} | {len(orders)} | {away} | {taken} | {synced} | {told} | {share:.0%} |")
    return "\n".join(lines)


def parts_table(blocks: Sequence[Block], names: Sequence[str]) -> str:
    """Return the parts of the way as Markdown, by arm, of the orders that count."""
    lines = [
        "| part of the way | nobody p50, ms | p99, ms | all p50, ms | p99, ms | p99 grows by, ms |",
        "|---|" + "---|" * 5,
    ]
    arms = [
        np.array(
            [order.parts for each in blocks if (each.mode is None) is alone for order in each.orders if order.counts]
        )
        for alone in (True, False)
    ]
    if not all(map(len, arms)):
        return ""
    for number, name in enumerate(names):
        alone, watched = (_p50_p99(arm[:, number]) for arm in arms)
        figures = (*alone, *watched, watched[1] - alone[1])
        lines.append(f"| {name} | " + " | ".join(f"{each:.3f}" for each in figures) + " |")
    return "\n".join(lines)


def _p50_p99(values: Any) -> tuple[float, float]:
    p50, p99 = np.percentile(values, [50, 99]).tolist()
    return p50, p99
