"""All targets that are being worked at, and when the next of them is to be looked at."""

from decimal import Decimal

from bot.core.execution.chase import Chase
from bot.core.execution.policy import ExecutionPolicy
from bot.core.order import Order

_NEVER_NS = 2**62


class Execution:
    """Keeps one chase for each instrument whose target is not reached yet.

    Args:
        policy: how targets are reached.
    """

    def __init__(self, policy: ExecutionPolicy) -> None:
        self.policy = policy
        self.chases: dict[str, Chase] = {}

    def aim(self, instrument: str, target_qty: Decimal, *, strategy: str, number: int, now_ns: int) -> Chase:
        """Go for a target, the decision's of that number; one that is under way already goes on from where it is."""
        chase = self.chases.get(instrument)
        if chase is None:
            chase = self.chases[instrument] = Chase(
                target_qty=target_qty, strategy=strategy, policy=self.policy, number=number, now_ns=now_ns
            )
        else:
            chase.retarget(target_qty, strategy, number, now_ns)
        return chase

    def poke(self, instrument: str, now_ns: int) -> None:
        """Have an instrument's chase looked at: something has happened there."""
        chase = self.chases.get(instrument)
        if chase is not None and now_ns < chase.due_ns:
            chase.due_ns = now_ns

    def drop_if_reached(self, order: Order, position_qty: Decimal) -> None:
        """Forget a target that an order's last fill has reached: there is nothing left to look at."""
        chase = self.chases.get(order.request.instrument)
        if chase is not None and chase.is_reached_by(order, position_qty):
            del self.chases[order.request.instrument]

    def wait_for_others(self, instrument: str, now_ns: int) -> None:
        """Have a target looked at a little later: what other strategies decide at the same moment is netted with it."""
        self.chases[instrument].due_ns = now_ns + self.policy.net_within_ns

    def leave(self, instrument: str, why: str, now_ns: int) -> None:
        """Want nothing more in an instrument."""
        if chase := self.chases.get(instrument):
            chase.leave(why, now_ns)

    def leave_all(self, why: str, now_ns: int) -> None:
        """Want nothing more anywhere."""
        for chase in self.chases.values():
            chase.leave(why, now_ns)

    def due(self, now_ns: int) -> list[str]:
        """Return the instruments to look at now, in the order of their names."""
        return sorted(name for name, chase in self.chases.items() if chase.due_ns <= now_ns)

    @property
    def due_ns(self) -> int | None:
        """Return when to look next; None: when something has happened."""
        if not self.chases:  # asked for after every message, and mostly nothing is wanted
            return None
        due_ns = _NEVER_NS
        for chase in self.chases.values():
            if chase.due_ns < due_ns:
                due_ns = chase.due_ns
        return None if due_ns >= _NEVER_NS else due_ns
