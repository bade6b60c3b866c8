"""What a strategy is shown: closed bars and forecasts, one at a time."""

from collections.abc import Mapping
from decimal import Decimal
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.core.durations import format_duration
from bot.domain.forecast_names import answer_name
from bot.domain.market import EMPTY, PARTIAL, BarBatch, EventBarBatch, ForecastBatch
from strategies.outcomes import Outcomes

Columns = Mapping[str, NDArray[Any]]


class Bar:
    """One closed bar. Prices are quote currency per base unit, volumes base currency, times ns since the epoch."""

    __slots__ = ("_bars", "_columns", "_row")

    def __init__(self, bars: BarBatch, columns: Columns, row: int) -> None:
        self._bars = bars
        self._columns = columns
        self._row = row

    def __getitem__(self, name: str) -> Any:
        """Return the strategy's own column `name` at this bar."""
        return self._columns[name][self._row]

    @property
    def instrument(self) -> str:
        """Return the instrument's name."""
        return self._bars.instrument.name

    @property
    def scale_ns(self) -> int:
        """Return the bar's length; 0 of one that the market closed."""
        return self._bars.scale_ns

    @property
    def scale(self) -> int | str:
        """Return what closes such bars, as `Strategy.bars` takes it: their length, or a rule such as "volume:100"."""
        return self._bars.rule if isinstance(self._bars, EventBarBatch) else self._bars.scale_ns

    @property
    def open_ns(self) -> int:
        """Return the start of its interval; the time of its first trade where the market closed it."""
        return int(self._bars.open_ns[self._row])

    @property
    def close_ns(self) -> int:
        """Return the end of its interval; the time of its last trade where the market closed it."""
        return self._bars.close_at(self._row)

    @property
    def open(self) -> float:
        """Return the price of the first trade."""
        return self._bars.instrument.price_float(int(self._bars.open_ticks[self._row]))

    @property
    def high(self) -> float:
        """Return the highest price."""
        return self._bars.instrument.price_float(int(self._bars.high_ticks[self._row]))

    @property
    def low(self) -> float:
        """Return the lowest price."""
        return self._bars.instrument.price_float(int(self._bars.low_ticks[self._row]))

    @property
    def close(self) -> float:
        """Return the price of the last trade."""
        return self._bars.instrument.price_float(int(self._bars.close_ticks[self._row]))

    @property
    def high_price(self) -> Decimal:
        """Return the highest price, exactly."""
        return self._bars.instrument.price(int(self._bars.high_ticks[self._row]))

    @property
    def low_price(self) -> Decimal:
        """Return the lowest price, exactly."""
        return self._bars.instrument.price(int(self._bars.low_ticks[self._row]))

    @property
    def close_price(self) -> Decimal:
        """Return the price of the last trade, exactly."""
        return self._bars.instrument.price(int(self._bars.close_ticks[self._row]))

    @property
    def volume(self) -> float:
        """Return what was traded."""
        return self._bars.instrument.qty_float(int(self._bars.volume_steps[self._row]))

    @property
    def is_empty(self) -> bool:
        """Return whether nothing traded: a flat bar at the previous close."""
        return bool(self._bars.flags[self._row] & EMPTY)

    @property
    def is_partial(self) -> bool:
        """Return whether some of the interval is missing from the data."""
        return bool(self._bars.flags[self._row] & PARTIAL)


class Forecast:
    """One forecast of the log return from a bar's close, over each horizon."""

    __slots__ = ("_forecasts", "_row")

    def __init__(self, forecasts: ForecastBatch, row: int) -> None:
        self._forecasts = forecasts
        self._row = row

    @property
    def instrument(self) -> str:
        """Return the instrument's name."""
        return self._forecasts.instrument.name

    @property
    def close_ns(self) -> int:
        """Return the close of the bar it was made at: the time from which its horizons count."""
        return int(self._forecasts.close_ns[self._row])

    @property
    def horizons_ns(self) -> tuple[int, ...]:
        """Return the horizons."""
        return self._forecasts.horizons_ns

    @property
    def levels(self) -> tuple[float, ...]:
        """Return the probabilities of the model's quantiles, ascending."""
        return self._forecasts.levels

    def outcomes(self, horizon_ns: int) -> Outcomes:
        """Return the distribution of the log return over `horizon_ns` that the model's quantiles imply.

        Raises:
            LookupError: the model does not forecast this horizon.
        """
        return Outcomes.of_quantiles(self._forecasts.levels, self._quantiles(horizon_ns))

    def quantile(self, horizon_ns: int, level: float) -> float:
        """Return the quantile `level` of the log return over `horizon_ns`, between the model's own levels linearly.

        Raises:
            LookupError: the model does not forecast this horizon.
            ValueError: the level lies outside the model's levels.
        """
        levels = self._forecasts.levels
        if not levels[0] <= level <= levels[-1]:
            raise ValueError(f"the model's levels are {levels[0]} to {levels[-1]}, not {level}")
        return float(np.interp(level, levels, self._quantiles(horizon_ns)))

    def median(self, horizon_ns: int) -> float:
        """Return the median of the log return over `horizon_ns`."""
        return self.quantile(horizon_ns, 0.5)

    def deviation(self, horizon_ns: int) -> float:
        """Return the width of the widest interval over the width that it has where the deviation of a normal is 1."""
        levels, quantiles = self._forecasts.levels, self._quantiles(horizon_ns)
        return float((quantiles[-1] - quantiles[0]) / (_NORMAL.inv_cdf(levels[-1]) - _NORMAL.inv_cdf(levels[0])))

    def importance(self) -> dict[int, float]:
        """Return how much each time scale, in ns, contributed; sums to 1."""
        return dict(zip(self._forecasts.scales_ns, self._forecasts.importance[self._row].tolist(), strict=True))

    def answer(self, kind: str, *parts: str | float) -> float:
        """Return what else the model says, such as `answer("up", "1h")`; see `bot.domain.forecast_names`.

        Raises:
            LookupError: it does not say that.
        """
        name, names = answer_name(kind, *parts), self._forecasts.answer_names
        if name not in names:
            raise LookupError(f"the model says {', '.join(names) or 'nothing but returns'}, not {name}")
        return float(self._forecasts.answers[self._row, names.index(name)])

    def trust(self, horizon_ns: int) -> float:
        """Return by what to multiply a size, 0 to 1: less where intervals of late held less than they promised."""
        name = answer_name("shrink", format_duration(horizon_ns))
        names = self._forecasts.answer_names
        return float(self._forecasts.answers[self._row, names.index(name)]) if name in names else 1.0

    def _quantiles(self, horizon_ns: int) -> NDArray[np.float64]:
        horizons = self._forecasts.horizons_ns
        if horizon_ns not in horizons:
            raise LookupError(f"the model forecasts {[h / 1e9 for h in horizons]} s, not {horizon_ns / 1e9} s")
        quantiles: NDArray[np.float64] = self._forecasts.quantiles[self._row, horizons.index(horizon_ns)]
        return quantiles


_NORMAL = NormalDist()
