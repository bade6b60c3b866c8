"""Positions and cash against an arithmetic of their own: no fill, fee or settlement creates or loses money."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.portfolio import Portfolio, apply_fill
from bot.domain.account import Position, Posting
from bot.domain.instrument import Side
from bot.domain.orders import OrderFilled
from tests.support.examples import examples
from tests.support.money import BTC, ETH, NAME, filled, funding_paid

EXACT = Decimal("1e-9")  # quote currency: what rounding may cost over a whole run
QUANTUM = Decimal("1e-12")  # quote currency: what closing a part may move between realized and open
NOTHING = Decimal(0)

Execution = tuple[int, Decimal, Decimal]  # signed steps, price, fee

PRICES = st.one_of(
    st.decimals("0.00001", "2", places=5),
    st.decimals("0.1", "120000", places=1),
    st.sampled_from([Decimal("0.3"), Decimal("99999.9"), Decimal(7), Decimal("0.00003")]),
)
FEES = st.decimals("-5", "5", places=10)  # rebates too
STEPS = st.one_of(st.integers(1, 3), st.integers(1, 1000), st.integers(1, 10**9))
# Sizes of one order of magnitude meet often enough to close, to close exactly, and to flip.
EXECUTIONS = st.lists(
    st.tuples(st.one_of(st.integers(-4, 4), STEPS, STEPS.map(lambda n: -n)).filter(bool), PRICES, FEES), max_size=25
)
QTY_STEPS = st.sampled_from([Decimal("0.001"), Decimal("0.00000001"), Decimal(1), Decimal("0.3")])
CASH = st.decimals("0", "1000000", places=2)


def executions(fills: Iterable[Execution], step: Decimal, instrument: str = NAME) -> list[OrderFilled]:
    """Return the fills as the venue tells them."""
    return [
        filled(
            trade=number,
            side=Side.BUY if steps > 0 else Side.SELL,
            qty=abs(steps) * step,
            price=price,
            fee=fee,
            instrument=instrument,
        )
        for number, (steps, price, fee) in enumerate(fills)
    ]


def account() -> Portfolio:
    """Return an empty account of two instruments."""
    return Portfolio({BTC.name: BTC, ETH.name: ETH}, "USDT")


def worth(fills: Sequence[OrderFilled], mark: Decimal) -> Decimal:
    """Return what the fills brought, the open rest valued at `mark`: by definition, with digits to spare."""
    with localcontext() as context:
        context.prec = 80
        return sum((f.qty * f.side.sign * (mark - f.price) - f.fee for f in fills), NOTHING)


def assert_balanced(postings: Sequence[Posting]) -> None:
    """Assert that the legs sum to zero in every currency."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    with localcontext() as context:
        context.prec = 80
        for posting in postings:
            sums[posting.currency] += posting.amount
    assert set(sums.values()) == {NOTHING}, postings


def cash_in(postings: Sequence[Posting]) -> Decimal:
    """Return what a booking adds to cash."""
    return sum((p.amount for p in postings if p.account == "cash"), NOTHING)


@given(fills=EXECUTIONS, step=QTY_STEPS, cash=CASH, mark=PRICES)
@settings(max_examples=examples(200), deadline=None)
def test_equity_is_the_deposit_and_what_the_fills_brought(
    fills: list[Execution], step: Decimal, cash: Decimal, mark: Decimal
) -> None:
    """At any price, cash and unrealized profit are the start plus every fill's own profit less its fee."""
    portfolio = account()
    portfolio.deposit(cash)
    done: list[OrderFilled] = []
    for fill in executions(fills, step):
        portfolio.fill(fill)
        done.append(fill)
        equity = portfolio.cash + portfolio.unrealized_pnl({NAME: mark})
        assert abs(equity - cash - worth(done, mark)) <= EXACT
        assert portfolio.positions[NAME].qty == sum((f.qty * f.side.sign for f in done), NOTHING)
        assert portfolio.positions[NAME].fees == sum((f.fee for f in done), NOTHING)


@given(fills=EXECUTIONS, other=EXECUTIONS, step=QTY_STEPS)
@settings(max_examples=examples(100), deadline=None)
def test_cash_is_the_deposit_and_every_instruments_own_earnings(
    fills: list[Execution], other: list[Execution], step: Decimal
) -> None:
    """Cash moves by realized profit, fees and funding and nothing else, and instruments never mix."""
    portfolio = account()
    portfolio.deposit(Decimal(1000))
    for fill in [*executions(fills, step), *executions(other, step, ETH.name)]:
        portfolio.fill(fill)
    portfolio.funding(funding_paid("-1.5"))
    portfolio.funding(funding_paid("0.25", instrument=ETH.name))
    earned = sum((p.realized_pnl - p.fees + p.funding for p in portfolio.positions.values()), NOTHING)
    assert abs(portfolio.cash - 1000 - earned) <= EXACT
    alone = account()
    for fill in executions(fills, step):
        alone.fill(fill)
    alone.funding(funding_paid("-1.5"))
    assert alone.positions[NAME] == portfolio.positions[NAME]


@given(fills=EXECUTIONS, step=QTY_STEPS)
@settings(max_examples=examples(100), deadline=None)
def test_every_booking_balances_and_moves_cash(fills: list[Execution], step: Decimal) -> None:
    """The legs of each booking sum to zero, and those of `cash` are what the account's cash did."""
    portfolio = account()
    bookings = [portfolio.deposit(Decimal("0.1")), portfolio.deposit(Decimal("-0.03"))]
    assert portfolio.cash == cash_in([*bookings[0], *bookings[1]]) == Decimal("0.07")
    for fill in executions(fills, step):
        before = portfolio.cash
        realized, postings = portfolio.fill(fill)
        assert_balanced(postings)
        assert abs(cash_in(postings) - (realized - fill.fee)) <= QUANTUM
        assert abs(portfolio.cash - before - cash_in(postings)) <= QUANTUM
    for number, amount in enumerate(["-0.7", "0.3", "0"]):
        before = portfolio.cash
        postings = portfolio.funding(funding_paid(amount, number=number))
        assert_balanced(postings)
        assert cash_in(postings) == Decimal(amount) == portfolio.cash - before


@given(
    fills=EXECUTIONS.filter(bool),
    step=QTY_STEPS,
    cuts=st.lists(st.floats(0, 1), max_size=4),
    mark=PRICES,
    last=st.integers(0, 24),
)
@settings(max_examples=examples(150), deadline=None)
def test_a_fill_in_pieces_is_the_fill(
    fills: list[Execution], step: Decimal, cuts: list[float], mark: Decimal, last: int
) -> None:
    """An execution told in pieces at one price leaves the same quantity and fees, and the same profit to 1e-9."""
    steps, price, fee = fills[last % len(fills)]
    edges = sorted({0, abs(steps), *(round(cut * abs(steps)) for cut in cuts)})
    pieces = [(b - a) * (1 if steps > 0 else -1) for a, b in pairwise(edges)]
    fee_each = (fee / len(pieces)).quantize(QUANTUM)
    parts = [(piece, price, fee_each) for piece in pieces]
    parts[-1] = (pieces[-1], price, fee - fee_each * (len(pieces) - 1))

    whole, cut = Position(instrument=NAME), Position(instrument=NAME)
    for fill in executions(fills, step):
        whole = cut = apply_fill(whole, side=fill.side, price=fill.price, qty=fill.qty, fee=fill.fee)
    for fill in executions([(steps, price, fee)], step):
        whole = apply_fill(whole, side=fill.side, price=fill.price, qty=fill.qty, fee=fill.fee)
    for fill in executions(parts, step):
        cut = apply_fill(cut, side=fill.side, price=fill.price, qty=fill.qty, fee=fill.fee)

    assert cut.qty == whole.qty
    assert cut.fees == whole.fees
    assert abs(cut.realized_pnl - whole.realized_pnl) <= QUANTUM * len(pieces)
    assert abs(cut.entry_value - whole.entry_value) <= QUANTUM * len(pieces)
    equity = [p.realized_pnl + p.unrealized_pnl(mark) for p in (cut, whole)]
    assert abs(equity[0] - equity[1]) <= EXACT


@given(fills=EXECUTIONS, step=QTY_STEPS)
@settings(max_examples=examples(200), deadline=None)
def test_the_entry_price_lies_among_the_prices_that_opened(fills: list[Execution], step: Decimal) -> None:
    """What is open cost an average of what was paid for it since the position was last flat or on the other side."""
    position = Position(instrument=NAME)
    opened: list[Decimal] = []
    closings = 0
    for fill in executions(fills, step):
        before = position
        position = apply_fill(position, side=fill.side, price=fill.price, qty=fill.qty, fee=fill.fee)
        signed = fill.qty * fill.side.sign
        if before.qty * signed >= 0:
            opened.append(fill.price)
        elif position.qty * before.qty < 0:  # it flipped: what is open now was opened by this fill alone
            opened, closings = [fill.price], 0
            assert position.entry_price is not None
            assert abs(position.entry_price - fill.price) <= Decimal("1e-20") * fill.price
        else:
            closings += 1
        if not position.qty:
            opened, closings = [], 0
            assert position.entry_value == 0
            assert position.entry_price is None
            assert position.unrealized_pnl(Decimal(10) ** 9) == 0
            continue
        price = position.entry_price
        assert price is not None
        slack = closings * QUANTUM / abs(position.qty) + Decimal("1e-20") * max(opened)
        assert min(opened) - slack <= price <= max(opened) + slack


@given(fills=EXECUTIONS, step=QTY_STEPS, price=PRICES)
@settings(max_examples=examples(200), deadline=None)
def test_flat_is_exactly_flat(fills: list[Execution], step: Decimal, price: Decimal) -> None:
    """However a position came about, closing all of it leaves no entry value, and what it made is all in cash."""
    portfolio = account()
    done = executions(fills, step)
    rest = sum(steps for steps, _, _ in fills)
    if rest:
        done += executions([(-rest, price, NOTHING)], step)
    for fill in done:
        portfolio.fill(fill)
    position = portfolio.positions[NAME]
    assert position.qty == 0
    assert position.entry_value == 0
    assert position.entry_price is None
    assert portfolio.unrealized_pnl({}) == 0
    assert abs(portfolio.cash - worth(done, Decimal(12345))) <= EXACT


@pytest.mark.parametrize("amount", ["1.23456789", "-1.23456789", "0", "-0.000000000001"])
def test_funding_moves_cash_and_nothing_else(amount: str) -> None:
    """What is received adds, what is paid takes away; quantity, entry and realized profit stay."""
    portfolio = account()
    portfolio.deposit(Decimal(100))
    portfolio.fill(filled(qty="2", price="50", fee="0.1"))
    before = portfolio.positions[NAME]
    portfolio.funding(funding_paid(amount))
    portfolio.funding(funding_paid(amount, number=2))
    after = portfolio.positions[NAME]
    assert portfolio.cash == Decimal(100) - Decimal("0.1") + 2 * Decimal(amount)
    assert after.funding == 2 * Decimal(amount)
    assert (after.qty, after.entry_value, after.realized_pnl, after.fees) == (
        before.qty,
        before.entry_value,
        before.realized_pnl,
        before.fees,
    )


def test_a_round_trip_by_hand() -> None:
    """Long 2 at an average of 105, one sold at 120, a flip at 90: figures one can check on paper."""
    portfolio = account()
    portfolio.deposit(Decimal(1000))
    assert portfolio.fill(filled(trade=1, qty="1", price="100", fee="0.1"))[0] == 0
    assert portfolio.fill(filled(trade=2, qty="1", price="110", fee="0.1"))[0] == 0
    assert portfolio.positions[NAME].entry_price == 105
    assert portfolio.fill(filled(trade=3, side=Side.SELL, qty="1", price="120", fee="-0.05"))[0] == 15
    assert portfolio.positions[NAME].entry_price == 105
    assert portfolio.fill(filled(trade=4, side=Side.SELL, qty="3", price="90", fee="0"))[0] == -15
    assert portfolio.positions[NAME].qty == -2
    assert portfolio.positions[NAME].entry_price == 90
    assert portfolio.unrealized_pnl({NAME: Decimal(80)}) == 20
    assert portfolio.cash == Decimal("999.85")


def test_a_third_is_kept_to_the_last_digit() -> None:
    """Closing thirds of a position whose entry does not divide leaves nothing behind and nothing over."""
    portfolio = account()
    for number, price in enumerate(["10", "10", "10.1"]):
        portfolio.fill(filled(trade=number, qty="1", price=price))
    for number in range(3):
        portfolio.fill(filled(trade=10 + number, side=Side.SELL, qty="1", price="11"))
    assert portfolio.cash == Decimal("2.9")
    assert portfolio.positions[NAME].entry_value == 0
