"""However wishes, fills and what nobody asked for mix: the strategies' books add up to the account, at every moment."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.checkpoint import capture, decode, encode
from bot.core.effects import Effects
from bot.core.execution.policy import ExecutionPolicy, Passive, Style
from bot.core.execution.strategy_books import OUTSIDE, StrategyBooks
from bot.core.portfolio import apply_fill
from bot.core.restoring import Restorer
from bot.domain.account import Position
from bot.domain.instrument import Side
from bot.domain.ledger import BookMoved, RiskDenied
from bot.domain.orders import (
    Exit,
    ForeignFilled,
    ForeignKind,
    OrderFilled,
    PlaceOrder,
    PositionCut,
    SetStops,
    StopKind,
    Target,
)
from tests.support.desk import Desk
from tests.support.examples import examples
from tests.support.executing import STEP, World
from tests.support.money import NAME, SECOND_NS, dec, funding_paid

NAMES = ("fast", "slow", "mean")
POLICIES = {
    "marketable": ExecutionPolicy(),
    "passive": ExecutionPolicy(
        style=Style.PASSIVE,
        passive=Passive(reprice_ticks=1, reprice_after_ns=3 * SECOND_NS, reprices_max=3),
        exit_within_ns=5 * SECOND_NS,
    ),
}
ACTS = st.tuples(
    st.sampled_from(
        (
            "wish",
            "wish",
            "fill",
            "fill",
            "accept",
            "cancel",
            "reject",
            "amend",
            "time",
            "place",
            "cut",
            "foreign",
            "fund",
        )
    ),
    st.integers(-9, 9),
    st.integers(0, 99),
)


class Shared(World):
    """The world, where three strategies wish; what each is told is kept as its own host would keep it."""

    def __init__(self, policy: ExecutionPolicy) -> None:
        super().__init__(policy, NAMES)
        self.told = {name: Position(instrument=NAME) for name in NAMES}
        self.wishes: dict[str, Decimal] = {}
        self.events = 0
        self.has_placed = False

    @property
    def books(self) -> StrategyBooks:
        books = self.desk.orders.state.strategy_books
        assert books is not None
        return books

    def see(self, effects: Effects) -> None:
        self.target = self.books.target(NAME)
        super().see(effects)
        self.note(effects)

    def note(self, effects: Effects) -> None:
        """Tell each strategy its part, and look at the books."""
        for notice in effects.publish:
            event = notice.event
            if isinstance(event, OrderFilled | PositionCut):
                assert notice.strategy in NAMES
                self.told[notice.strategy] = apply_fill(
                    self.told[notice.strategy], side=event.side, price=event.price, qty=event.qty, fee=event.fee
                )
        self.check()

    def check(self) -> None:
        books = [book[NAME] for book in self.books.books.values()]
        account = self.desk.orders.state.portfolio.positions[NAME]
        assert sum((each.qty for each in books), Decimal(0)) == account.qty
        ours = sum((_worth(each) for each in books), Decimal(0))
        assert abs(ours - _worth(account)) <= dec("1e-9")
        for name in NAMES:
            assert self.books.books[name][NAME].qty == self.told[name].qty
            assert self.books.books[name][NAME].qty % STEP.qty_step == 0

    def do(self, what: str, number: int, pick: int) -> None:
        name = NAMES[pick % len(NAMES)]
        self.events += 1
        about = {
            "ts_event_ns": 1,
            "ts_recv_ns": 1,
            "instrument": NAME,
            "trade_id": f"x{self.events}",
            "fee": dec("0.07"),
        }
        side = Side.BUY if number > 0 else Side.SELL
        match what:
            case "wish":
                self.wishes[name] = Decimal(number)
                self.see(self.desk.wish(Target(instrument=NAME, qty=Decimal(number)), strategy=name))
            case "place" if number:
                limit = dec(99) if number > 0 else dec(101)
                place = PlaceOrder(instrument=NAME, side=side, qty=abs(Decimal(number)), limit_price=limit)
                effects = self.desk.wish(place, strategy=name)
                self.orders |= {each.request.client_order_id: each.request for each in self.live}
                self.note(effects)
                self.has_placed = True  # what fills after a target was reached leaves it behind
            case "cut" if self.position:
                against = Side.SELL if self.position > 0 else Side.BUY
                qty = min(abs(self.position), abs(Decimal(number)) / 4 + STEP.qty_step)
                cut = PositionCut(**about, cause=StopKind.LIQUIDATION, side=against, price=dec(90), qty=qty)  # type: ignore[arg-type]
                self.see(self.desk.event(cut))
                self.wishes.clear()
            case "foreign" if number:
                qty = abs(Decimal(number))
                fill = ForeignFilled(**about, kind=ForeignKind.ORDER, side=side, price=dec(110), qty=qty)  # type: ignore[arg-type]
                self.see(self.desk.event(fill))
                self.wishes.clear()
            case "fund":
                self.see(self.desk.event(funding_paid(f"{number}.0123456789", number=self.events)))
            case "fill" | "accept" | "cancel" | "reject" | "amend" | "time":
                self.act(what, number, pick)


def _worth(position: Position) -> Decimal:
    """Return what a position has brought so far, but for what its quantity is worth now."""
    return position.realized_pnl - position.fees + position.funding - position.entry_value


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@given(acts=st.lists(ACTS, max_size=25))
@settings(max_examples=30, deadline=None)
def test_the_books_add_up_to_the_account(policy: ExecutionPolicy, acts: list[tuple[str, int, int]]) -> None:
    """After every event: quantities exactly, money to the last rounding, and each strategy has been told its own book.
    In the end each holds what it wished, where nothing dropped its wish; and the ledger leads to the same books.
    """
    _live_through(policy, acts)


@pytest.mark.soak
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@given(acts=st.lists(ACTS, max_size=60))
@settings(max_examples=examples(2_000), deadline=None)
def test_the_books_add_up_in_long_lives(policy: ExecutionPolicy, acts: list[tuple[str, int, int]]) -> None:
    """The same, longer and more often."""
    _live_through(policy, acts)


def _live_through(policy: ExecutionPolicy, acts: list[tuple[str, int, int]]) -> None:
    world = Shared(policy)
    for what, number, pick in acts:
        world.do(what, number, pick)
    world.settle()
    world.check()
    if not (world.is_dropped or world.has_placed):
        for name, qty in world.wishes.items():
            assert world.books.books[name][NAME].qty == qty, name
    restorer = Restorer(Desk(btc=STEP, execution=policy, strategies=NAMES).orders.state)
    again = restorer.state
    again.portfolio.cash = dec(0)
    again.portfolio.positions |= {NAME: Position(instrument=NAME)}
    restorer.add_all(world.desk.record)
    assert again.strategy_books is not None
    assert again.strategy_books.books == world.books.books
    assert again.strategy_books.shares == world.books.shares
    kept = decode(encode(capture(world.desk.orders.state)))
    assert dict(kept.strategy_books)["fast"] == list(world.books.books["fast"].values())


def test_opposite_wishes_meet_without_the_venue() -> None:
    """At the last price and for no fee; only what is left is ordered, for those who still lack it."""
    world = Shared(ExecutionPolicy())
    world.do("wish", 5, 0)
    world.do("wish", -3, 1)
    assert not world.live  # one may yet wait for the other
    world.wait(SECOND_NS)
    crossed = [entry for entry in world.desk.record if isinstance(entry, BookMoved)]
    assert [(each.strategy, each.cause, each.side, each.qty, each.price, each.fee) for each in crossed] == [
        ("fast", "cross", Side.BUY, dec(3), dec(100), dec(0)),
        ("slow", "cross", Side.SELL, dec(3), dec(100), dec(0)),
    ]
    (order,) = world.live
    assert (order.request.side, order.qty) == (Side.BUY, dec(2))
    assert world.books.shares[order.request.client_order_id] == {"fast": dec(2)}
    world.settle()
    held = {name: book[NAME].qty for name, book in world.books.books.items()}
    assert held == {"fast": dec(5), "slow": dec(-3), "mean": dec(0), OUTSIDE: dec(0)}


def test_what_is_under_way_is_not_crossed() -> None:
    """An order that may fill already serves a wish; who wants the opposite waits for what comes of it."""
    world = Shared(ExecutionPolicy())
    world.do("wish", 5, 0)
    world.wait(SECOND_NS)
    world.do("wish", -3, 1)
    world.wait(SECOND_NS)
    assert not [entry for entry in world.desk.record if isinstance(entry, BookMoved)]
    world.settle()
    assert {entry.cause for entry in world.desk.record if isinstance(entry, BookMoved)} == {"fill"}
    assert world.books.books["slow"][NAME].qty == -3


def test_a_shared_order_is_shared_by_what_each_lacks() -> None:
    """Pro rata in whole steps; what does not divide goes in the order of the strategies."""
    world = Shared(ExecutionPolicy())
    books = world.books
    for name, qty in (("fast", 2), ("slow", 1), ("mean", 1)):
        books.wish(name, NAME, Decimal(qty))
    assert books.target(NAME) == 4
    parts = books._divide(NAME, dec("0.006"), {"fast": dec(2), "slow": dec(1), "mean": dec(1)})
    assert parts == {"fast": dec("0.004"), "slow": dec("0.001"), "mean": dec("0.001")}


def test_the_venues_exits_are_refused_where_a_position_is_shared() -> None:
    """They would close everybody's."""
    world = Shared(ExecutionPolicy())
    stop = Exit(price=dec(90))
    for action in (
        SetStops(instrument=NAME, stop_loss=stop),
        PlaceOrder(instrument=NAME, side=Side.BUY, qty=dec(1), stop_loss=stop),
    ):
        effects = world.desk.wish(action, strategy="fast")
        (denied,) = [entry for entry in effects.record if isinstance(entry, RiskDenied)]
        assert denied.code == "STOPS_INVALID"
        assert effects.send == []
