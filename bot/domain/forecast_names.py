"""The names of what a forecast says beside the quantiles of the return: short, stable, the same in every file.

up:1h            probability that the return over the hour is above zero
volatility:1h    deviation of the log return over the hour
sell:1h hold:1h buy:1h      probabilities of the three signals
regime:0 regime:1 ...       probability of each regime, in the order of `models.regimes.kinds_of`
loss:1d:0.99     log return lost at most with that probability over the day, by a long position
drawdown:1d:0.99 deepest fall within the day, a log return, exceeded with the rest of that probability
weight           share of equity to hold, negative for short
coverage:1h      share of outcomes, the newest counting most, that the issued intervals held
shrink:1h        by what to multiply a size, because intervals held less than they promised
drift:1h         1 where the coverage is off by more than chance explains, else 0
"""


def answer_name(kind: str, *parts: str | float) -> str:
    """Return the name of an answer."""
    return ":".join([kind, *(part if isinstance(part, str) else f"{part:g}" for part in parts)])
