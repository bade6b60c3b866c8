"""The features there are: each a function from its parameters to a formula, in the chapters of `formulas/`.

Every docstring says what the value is, its unit, how many bars it needs before its first value (`ema(a)` stands for
`expression.ema_warmup(a)`), whether the venue's klines suffice for it, and the source it goes back to. Sources S0 to S4
are named in `docs/features.md`, which also says where two of them gave one name to two things.
A test compares what the docstrings say with what the formulas do.
"""

from collections.abc import Iterable
from typing import Final

from bot.core.features.formulas import around, calendar, prices, volatility, volume, waves
from bot.core.features.formulas.chapter import Chapter, Feature


def gather(chapters: Iterable[Chapter]) -> dict[str, Feature]:
    """Return the entries of all chapters, in order.

    Raises:
        ValueError: two features have one name.
    """
    entries: dict[str, Feature] = {}
    for chapter in chapters:
        twice = sorted(entries.keys() & chapter.keys())
        if twice:
            raise ValueError(f"two features are named {', '.join(twice)}")
        entries |= chapter
    return entries


CATALOGUE: Final[dict[str, Feature]] = gather(
    each.CHAPTER for each in (prices, volatility, volume, calendar, around, waves)
)
