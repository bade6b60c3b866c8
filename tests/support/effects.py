"""Effects in short, for tests that compare them."""

from decimal import Decimal

from bot.core.effects import Effects
from bot.domain.instrument import Side
from bot.domain.ledger import (
    CancelIntended,
    RiskDenied,
)
from bot.domain.orders import (
    AccountEvent,
    CancelOrder,
    SubmitOrder,
)


def submits(effects: Effects) -> list[tuple[Side, Decimal]]:
    """Return what is sent, as side and quantity."""
    assert all(isinstance(command, SubmitOrder) for command in effects.send)
    return [(command.side, command.qty) for command in effects.send if isinstance(command, SubmitOrder)]


def kinds(effects: Effects) -> list[str]:
    """Return what is recorded, in order."""
    return [type(entry).__name__ for entry in effects.record]


def told(effects: Effects) -> list[AccountEvent | RiskDenied]:
    """Return what the strategy is told has happened."""
    return [notice.event for notice in effects.publish if notice.event is not None]


def denial(effects: Effects) -> str:
    """Return the code of the denial that is recorded and published, with nothing sent."""
    assert effects.send == []
    assert kinds(effects) == ["DecisionMade", "RiskDenied"]
    denied = effects.record[-1]
    assert isinstance(denied, RiskDenied)
    assert told(effects) == [denied]
    return denied.code


def cancels(effects: Effects) -> list[str]:
    """Return the ids asked to be canceled; each is recorded before it is sent."""
    sent = [command for command in effects.send if isinstance(command, CancelOrder)]
    assert len(sent) == len(effects.send)
    recorded = [entry for entry in effects.record if isinstance(entry, CancelIntended)]
    assert [entry.cancel for entry in recorded] == sent
    assert kinds(effects) == ["DecisionMade", *["CancelIntended"] * len(sent)]
    return [command.client_order_id for command in sent]
