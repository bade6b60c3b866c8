"""Several strategies as one: what the market half must make for them all. Each keeps its own book and its own view."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from strategies.base import Strategy, StrategyParams


class SeveralParams(StrategyParams):
    """The parameters of each, by its label."""

    strategies: dict[str, Any] = Field(default_factory=dict)


class Several(Strategy[SeveralParams]):
    """Strategies that trade one account; `parts` are told what happens, not this.

    Args:
        parts: at least two, of different names.
    """

    Params = SeveralParams

    def __init__(self, parts: Sequence[Strategy[Any]]) -> None:
        super().__init__(SeveralParams(strategies={each.name: each.params.model_dump(mode="json") for each in parts}))
        self._parts = tuple(parts)
        self.name = "+".join(each.name for each in parts)
        self.wants_forecasts = any(each.wants_forecasts for each in parts)
        self.horizons_ns = tuple(sorted({horizon for each in parts for horizon in each.horizons_ns}))
        self.answers = tuple(sorted({answer for each in parts for answer in each.answers}))

    @property
    def parts(self) -> tuple[Strategy[Any], ...]:
        """Return the strategies."""
        return self._parts

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """Return the scales that any of them uses."""
        return tuple(sorted({scale for each in self._parts for scale in each.scales_ns}))

    @property
    def event_rules(self) -> tuple[str, ...]:
        """Return the rules of bars that any of them uses."""
        return tuple(sorted({rule for each in self._parts for rule in each.event_rules}))
