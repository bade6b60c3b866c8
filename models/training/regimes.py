"""How wild and how one-sided the market was before each decision: what regimes are told apart by.

Both measures are exponentially weighted sums over the decision bars up to the decision's own; so a label made of them
tells nothing that a network could not have seen. What it is good for is the trunk, which learns to tell markets apart,
and whoever wants their probabilities by one name.
"""

import numpy as np
from numba import njit

from bot.domain.errors import ConfigError
from bot.domain.market import BarBatch
from models.regimes import MEASURES
from models.training.labels import Labels, is_step_of

_SLOW = 30  # spans of what is usual: of a day, a month


def regime_measures(decisions: BarBatch, *, span_ns: int) -> Labels:
    """Return volatility and trend as known at each decision; NaN until a span of returns has been seen.

    With s^2 the weighted mean of squared log returns at half-life `span_ns`, S^2 the same at 30 times that, m the
    weighted mean return and d the weight's decay from bar to bar: volatility is ln(s / S), trend m / (s sqrt((1 - d) /
    (1 + d))), which is m in its standard errors. A return across a hole is not one bar's and does not count.

    Raises:
        ConfigError: the span is shorter than two bars.
    """
    bars = span_ns / decisions.scale_ns
    if bars < 2:
        raise ConfigError("labels.regime_span: must be two decision bars at least")
    values = _measures(
        np.log(decisions.close_ticks), is_step_of(decisions), 0.5 ** (1 / bars), 0.5 ** (1 / (_SLOW * bars)), int(bars)
    )
    return Labels(
        instrument=decisions.instrument,
        names=MEASURES,
        bar_row=np.arange(decisions.first_row, decisions.first_row + len(decisions)),
        close_ns=decisions.close_ns,
        known_ns=decisions.known_ns,
        values=values,
        label_end_ns=np.repeat(decisions.known_ns[:, None], len(MEASURES), axis=1),
    )


@njit(cache=True, nogil=True)
def _measures(log_close, is_step, fast, slow, warm_up):  # type: ignore[no-untyped-def]
    out = np.full((log_close.size, 2), np.nan)
    total = 0.0
    square = 0.0
    weight = 0.0
    slow_square = 0.0
    slow_weight = 0.0
    seen = 0
    error = np.sqrt((1.0 - fast) / (1.0 + fast))
    for i in range(log_close.size):
        if is_step[i]:
            step = log_close[i] - log_close[i - 1]
            total = fast * total + step
            square = fast * square + step * step
            weight = fast * weight + 1.0
            slow_square = slow * slow_square + step * step
            slow_weight = slow * slow_weight + 1.0
            seen += 1
        if seen >= warm_up and square > 0.0:
            deviation = np.sqrt(square / weight)
            out[i, 0] = np.log(deviation / np.sqrt(slow_square / slow_weight))
            out[i, 1] = total / weight / (deviation * error)
    return out
