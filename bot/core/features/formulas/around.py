"""What the reference instrument and the order book tell."""

from bot.core.features.expression import Node, clip, column, covariance, deviation, divide, lag, ln, mean
from bot.core.features.formulas.chapter import Chapter
from bot.core.features.formulas.columns import CLOSE, RETURN
from bot.core.features.inputs import INPUTS

CHAPTER = Chapter()
feature = CHAPTER.feature

# --- another instrument -----------------------------------------------------------------------------------------------

_ref = column("ref_close")
_ref_return = ln(_ref / lag(_ref, 1))


@feature(unit="1", source="S1 1.5")
def reference_return(bars: int = 1) -> Node:
    """Return the reference instrument's log return over the same bars.

    Unit: 1. Warm-up: bars. From klines: yes, of both.
    """
    return ln(_ref / lag(_ref, bars))


@feature(unit="1", source="S1 1.5")
def relative_return(bars: int = 1) -> Node:
    """Return our log return less the reference instrument's.

    Unit: 1. Warm-up: bars. From klines: yes, of both.
    """
    return ln(CLOSE / lag(CLOSE, bars)) - ln(_ref / lag(_ref, bars))


@feature(unit="1", source="S1 1.5")
def reference_beta(bars: int = 60) -> Node:
    """Return cov(our returns, its returns) / var(its returns) over the bars; 0 where it has not moved.

    Unit: 1. Warm-up: bars. From klines: yes, of both.
    """
    return divide(covariance(RETURN, _ref_return, bars), covariance(_ref_return, _ref_return, bars), where_zero=0.0)


@feature(unit="1", source="S1 1.5")
def reference_correlation(bars: int = 60) -> Node:
    """Return the correlation of our returns with its returns over the bars; 0 where either has not moved.

    Unit: 1, within -1 and 1. Warm-up: bars. From klines: yes, of both.
    """
    return clip(
        divide(
            covariance(RETURN, _ref_return, bars),
            deviation(RETURN, bars) * deviation(_ref_return, bars),
            where_zero=0.0,
        ),
        -1.0,
        1.0,
    )


@feature(unit="1", source="ours")
def reference_spread(bars: int = 60) -> Node:
    """Return how many deviations ln(c / its c) lies from its mean over the bars; 0 where it has not moved.

    Unit: 1. Warm-up: bars - 1. From klines: yes, of both.
    """
    ratio = ln(CLOSE / _ref)
    return divide(ratio - mean(ratio, bars), deviation(ratio, bars), where_zero=0.0)


# --- order book -------------------------------------------------------------------------------------------------------


@feature(unit="as the column's", column_param="which", source="core.book_features")
def book(which: str = "book_imbalance_1") -> Node:
    """Return one of the order book's columns at the bar's close: spread, imbalance, microprice, slope, order flow...

    Unit: as the column's. Warm-up: 0. From klines: no, the book tells.
    """
    if which not in INPUTS or not which.startswith("book_"):
        known = ", ".join(name for name in INPUTS if name.startswith("book_"))
        raise ValueError(f"no book column is named {which!r}; there are {known}")
    return column(which)
