"""`bot ledger check` of several strategies' books: what was shared out adds up to what was booked."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from bot.domain.ledger import (
    BookMoved,
    ExternalFillBooked,
    FillBooked,
    FundingBooked,
    LedgerEntry,
    PositionCutBooked,
)

_ZERO = Decimal(0)


@dataclass(slots=True)
class _Booked:
    """A booking of the account, and what books have taken of it since."""

    event_id: str
    qty: Decimal  # signed
    fee: Decimal
    amount: Decimal
    moves: list[BookMoved] = field(default_factory=list)


def check_strategy_books(entries: Iterable[LedgerEntry]) -> Iterator[str]:
    """Yield where the parts of an execution or a settlement are not the whole, or a book does not follow its moves.

    Ledgers of one strategy have no books but the account's, and nothing is held against anything.
    """
    held: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    crossed: dict[str, Decimal] = defaultdict(Decimal)
    booked: _Booked | None = None
    for seq, entry in enumerate(entries, start=1):
        if isinstance(entry, BookMoved):
            key, signed = (entry.strategy, entry.instrument), _signed(entry)
            held[key] += signed
            if held[key] != entry.position_qty:
                yield f"journal: entry {seq}: {key[0]} holds {entry.position_qty} {key[1]}, its moves say {held[key]}"
            if entry.cause == "cross":
                crossed[entry.event_id] += signed
            elif booked is None or booked.event_id != entry.event_id:
                yield f"journal: entry {seq} shares out {entry.event_id}, which is not the last booking"
            else:
                booked.moves.append(entry)
            continue
        opened = _opened(entry)
        if opened is None:
            continue  # what a booking settles may stand between it and its parts: the doubt of a cancel of its order
        yield from _close(booked)
        booked = opened
    yield from _close(booked)
    for name, rest in crossed.items():
        if rest:
            yield f"journal: {name} leaves {rest} between the books it moved"


def _opened(entry: LedgerEntry) -> _Booked | None:
    match entry:
        case FillBooked(fill=made) | PositionCutBooked(cut=made) | ExternalFillBooked(fill=made):
            return _Booked(event_id=made.trade_id, qty=made.qty * made.side.sign, fee=made.fee, amount=_ZERO)
        case FundingBooked(funding=paid):
            return _Booked(event_id=paid.funding_id, qty=_ZERO, fee=_ZERO, amount=paid.amount)
        case _:
            return None


def _close(booked: _Booked | None) -> Iterator[str]:
    if booked is None or not booked.moves:
        return
    parts = (
        sum((_signed(move) for move in booked.moves), _ZERO),
        sum((move.fee for move in booked.moves), _ZERO),
        sum((move.amount for move in booked.moves), _ZERO),
    )
    if parts != (booked.qty, booked.fee, booked.amount):
        whole = f"{booked.qty} for a fee of {booked.fee}, {booked.amount} of funding"
        yield f"journal: {booked.event_id} is {whole}; the books took {parts[0]}, {parts[1]} and {parts[2]}"


def _signed(move: BookMoved) -> Decimal:
    return _ZERO if move.qty is None or move.side is None else move.qty * move.side.sign
