"""What a live desk wants done, and what it does about what it did not ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from bot.core.effects import Notice
from bot.core.submission.requests import LookUpWanted, Send
from bot.domain.ledger import LedgerEntry


@dataclass(slots=True)
class Work:
    """What is to be done, in this order: record and commit, release and send, look up, publish."""

    record: list[LedgerEntry] = field(default_factory=list)
    send: list[Send] = field(default_factory=list)
    look_up: list[LookUpWanted] = field(default_factory=list)
    publish: list[Notice] = field(default_factory=list)
    cancel_all: list[str] = field(default_factory=list)  # instruments whose every order the venue is asked to cancel
    reconcile: str = ""  # why the account is to be compared with the venue's, soon; empty: no need

    def add(self, other: "Work") -> None:
        """Do what another asks for, too, after this."""
        self.record += other.record
        self.send += other.send
        self.look_up += other.look_up
        self.publish += other.publish
        self.cancel_all += [name for name in other.cancel_all if name not in self.cancel_all]
        self.reconcile = self.reconcile or other.reconcile

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to do."""
        return not (self.record or self.send or self.look_up or self.publish or self.cancel_all or self.reconcile)


class DeskPolicy:
    """What the desk does about what it did not ask for.

    Args:
        holds_back_foreign: halt an instrument in which somebody else traded, until a person has looked.
        protect_within_ns: close a position that has had neither a stop at the venue nor an exit under way for so long;
            None where the strategy watches its own exits.
        owed_after_ns: executions that an order's record tells of and nobody has seen are looked up after so long.
        leverage, margin_mode: how the account is to be set up; see `SetupWatch`.
    """

    def __init__(
        self,
        *,
        holds_back_foreign: bool = True,
        protect_within_ns: int | None = None,
        owed_after_ns: int = 1_000_000_000,
        leverage: Mapping[str, Decimal] | None = None,
        margin_mode: str = "",
    ) -> None:
        self.holds_back_foreign = holds_back_foreign
        self.protect_within_ns = protect_within_ns
        self.owed_after_ns = owed_after_ns
        self.leverage = dict(leverage or {})
        self.margin_mode = margin_mode
