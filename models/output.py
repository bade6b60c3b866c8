"""What a network says: one type for all systems, heads and modes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ModelOutput:
    """The answers to what was asked; what was not asked is None, never zero.

    Shapes begin with those of the trunk: [B] for windows, [B, L] for a pass over history. H horizons, Q levels, A
    assets, S streams, C classes. Returns are log returns from the decision's close over the horizon, in the units of
    the training targets: a trainer that standardises them undoes it here.
    """

    mean: Tensor | None = None  # [..., H]
    log_var: Tensor | None = None  # [..., H] of a Gaussian; of a Student's t the log of its squared scale
    dof: Tensor | None = None  # [..., H] degrees of freedom of a Student's t, more than 2
    quantiles: Tensor | None = None  # [..., H, Q], ascending in Q
    log_volatility: Tensor | None = None  # [..., H] log of the deviation of the return over the horizon
    dir_logit: Tensor | None = None  # [..., H] of the probability that the return is positive
    signal_logit: Tensor | None = None  # [..., H, 3]: sell, hold, buy
    regime_logit: Tensor | None = None  # [..., C]
    value_at_risk: Tensor | None = None  # [..., H, Q] log return lost at most with that probability, zero or more
    drawdown: Tensor | None = None  # [..., H, Q] deepest fall within the horizon, a log return; zero or more
    correlation: Tensor | None = None  # [..., H, A, A] of the assets' returns
    weights: Tensor | None = None  # [..., A], shares of equity; negative is short
    importance: Tensor | None = None  # [..., S], sums to one
    aux: Mapping[str, Tensor] = field(default_factory=dict)  # what only its own system or loss understands

    def asked(self) -> dict[str, Tensor]:
        """Return the answers by name, `aux` left out."""
        found = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "aux"}
        return {name: value for name, value in found.items() if value is not None}
