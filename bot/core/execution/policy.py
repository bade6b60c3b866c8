"""What one may choose about reaching targets. docs/execution.md tells when which is worth it."""

from enum import StrEnum

import msgspec

_SECOND_NS = 1_000_000_000


class Style(StrEnum):
    """What kind of order goes for what is missing."""

    MARKETABLE = "marketable"  # a market order at once
    PASSIVE = "passive"  # a post-only order at the best price, moved after it


class AtEnd(StrEnum):
    """What follows when a passive order has been moved as often as it may be, and has not filled."""

    CROSS = "cross"  # the rest at the market
    GIVE_UP = "give_up"  # it is canceled, and the target dropped


class Passive(msgspec.Struct, frozen=True, kw_only=True):
    """How a passive order follows the market."""

    improve_ticks: int = 0  # ahead of the best price of its side; 0 joins those who are there
    reprice_ticks: int = 2  # it is moved when the price it should have is so far from the one it has
    reprice_after_ns: int = 15 * _SECOND_NS  # and at the latest so long after it was last looked after
    reprices_max: int = 10
    at_end: AtEnd = AtEnd.CROSS
    look_every_ns: int = _SECOND_NS  # how often the market is looked at


class Slices(msgspec.Struct, frozen=True, kw_only=True):
    """How a change of position is spread over time."""

    count: int = 6
    total_ns: int = 300 * _SECOND_NS  # from the first to the last slice's turn
    jitter: float = 0.5  # of a slice's turn, a fraction of the time between two; drawn from the seed
    seed: int = 1


class ExecutionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How targets are reached. What leaves a position waits `exit_within_ns` at most, whatever the rest says."""

    style: Style = Style.MARKETABLE
    passive: Passive = Passive()
    slices: Slices | None = None  # None: all at once
    exit_within_ns: int = 10 * _SECOND_NS  # what reduces a position goes to the market after that
    tries: int = 3  # market orders in a row that come to nothing before the target is dropped
    retry_after_ns: int = _SECOND_NS  # between two of them
    entry_within_ns: int = 600 * _SECOND_NS  # a target that enters and is not reached by then is dropped
    net_within_ns: int = _SECOND_NS // 10  # several strategies' wishes wait so long for each other

    @property
    def is_patient(self) -> bool:
        """Return whether anything but a market order at once may be wanted."""
        return self.style is Style.PASSIVE or self.slices is not None


MARKETABLE = ExecutionPolicy()
"""The default: the difference in one market order."""
