"""What a live desk looks at again by time: none of it need survive a crash, a restart looks at everything."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from bot.core.money_state import MoneyState

_OWED_AGAIN_NS = 2_000_000_000


@dataclass(slots=True)
class SecondLooks:
    """When to look at what; orders by client order id, positions by instrument."""

    cancels_ns: dict[str, int] = field(default_factory=dict)  # to be canceled, and when to ask for it again
    amends_ns: dict[str, int] = field(default_factory=dict)  # amendments that were taken: when to see whether they show
    owed_ns: dict[str, int] = field(default_factory=dict)  # with executions to come, and when to ask for them
    bare_ns: dict[str, int] = field(default_factory=dict)  # positions without protection, and since when
    compare_ns: int | None = None  # when to see whether what differed still does

    def next_due_ns(self, protect_within_ns: int | None) -> int | None:
        """Return when the first is due; None: none by time."""
        dues = [*self.owed_ns.values(), *self.cancels_ns.values(), *self.amends_ns.values()]
        if self.compare_ns is not None:
            dues.append(self.compare_ns)
        if protect_within_ns is not None:
            dues += [since_ns + protect_within_ns for since_ns in self.bare_ns.values()]
        return min(dues, default=None)

    def cancels_due(self, state: MoneyState, now_ns: int, again_ns: int) -> Iterator[str]:
        """Yield orders that were to be canceled a while ago, and live."""
        wanted = [name for live in state.live.values() for name, order in live.items() if order.cancel_requested]
        kept = set(wanted)
        for name in [name for name in self.cancels_ns if name not in kept]:
            del self.cancels_ns[name]
        for name in wanted:
            if self.cancels_ns.setdefault(name, now_ns + again_ns) <= now_ns:
                self.cancels_ns[name] = now_ns + again_ns
                yield name

    def amends_due(self, state: MoneyState, now_ns: int, again_ns: int) -> Iterator[str]:
        """Yield orders whose amendment was taken a while ago, and that no stream has shown as amended."""
        for name, due_ns in list(self.amends_ns.items()):
            order = state.orders.get(name)
            if order is None or order.amend_requested is None or not order.is_live:
                del self.amends_ns[name]
            elif due_ns <= now_ns:
                self.amends_ns[name] = now_ns + again_ns
                yield name

    def owed_due(self, state: MoneyState, now_ns: int) -> Iterator[str]:
        """Yield orders whose record told of executions a while ago that nobody has seen."""
        for name, due_ns in list(self.owed_ns.items()):
            if due_ns > now_ns:
                continue
            if name in state.orders:
                self.owed_ns[name] = now_ns + _OWED_AGAIN_NS
                yield name
            else:
                del self.owed_ns[name]
