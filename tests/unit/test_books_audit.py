"""`bot ledger check` of strategies' books: parts that are not the whole are found, each by its own line."""

from msgspec.structs import replace

from bot.domain.ledger import BookMoved, DoubtResolved, FillBooked, LedgerEntry
from bot.domain.orders import SubmitOrder
from bot.store.books_audit import check_strategy_books
from tests.support.desk import Desk
from tests.support.money import NAME, SECOND_NS, dec, funding_paid


def entries() -> list[LedgerEntry]:
    """Return a life with a crossing, a shared fill and funding."""
    desk = Desk(strategies=("fast", "slow"))
    desk.target("5", strategy="fast")
    desk.target("-2", strategy="slow")
    desk.now_ns += SECOND_NS
    (order,) = desk.work().send
    assert isinstance(order, SubmitOrder)
    desk.fill(order)
    desk.event(funding_paid("-0.7"))
    assert desk.orders.state.position_qty(NAME) == 3
    return desk.record


def test_a_true_ledger_has_nothing_to_say() -> None:
    found = entries()
    assert {entry.cause for entry in found if isinstance(entry, BookMoved)} == {"cross", "fill", "funding"}
    assert list(check_strategy_books(found)) == []


def test_what_a_fill_settles_may_stand_before_its_parts() -> None:
    """A cancel is in doubt, its order turns out to have filled: the end of the doubt is told before the parts."""
    found = entries()
    (booked,) = (entry for entry in found if isinstance(entry, FillBooked))
    at, name = found.index(booked), booked.fill.client_order_id
    settled = DoubtResolved(
        ts_ns=booked.ts_ns,
        request=f"cancel:{name}:1",
        client_order_id=name,
        instrument=NAME,
        outcome="moot",
        evidence="its order is done",
        margin_ms=2_000,
    )
    assert list(check_strategy_books([*found[: at + 1], settled, *found[at + 1 :]])) == []


def test_every_part_counts() -> None:
    """A quantity, a fee, an amount, a position or a whole part that is not what was booked."""
    true = entries()
    for index, entry in enumerate(true):
        if not isinstance(entry, BookMoved):
            continue
        wrong: list[LedgerEntry | None] = [None, replace(entry, position_qty=entry.position_qty + 1)]
        if entry.cause == "funding":
            wrong.append(replace(entry, amount=entry.amount + 1))
        else:
            assert entry.qty is not None
            wrong += [replace(entry, qty=entry.qty + 1), replace(entry, event_id="another")]
        if entry.cause == "fill":
            wrong.append(replace(entry, fee=dec("0.5")))
        for other in wrong:
            changed = [*true[:index], *([] if other is None else [other]), *true[index + 1 :]]
            is_only_part = other is None and entry.cause != "cross"
            assert list(check_strategy_books(changed)) or is_only_part, (entry, other)
