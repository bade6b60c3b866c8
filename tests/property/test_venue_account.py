"""The venue's account against a slow second one, and what must be so whatever happens to it."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bot.core.venue.facts import (
    CancelType,
    ExecType,
    Execution,
    InsurancePaid,
    LiquidationStarted,
    OrderDropped,
    Refusal,
    VenueOrder,
)
from bot.core.venue.liquidation import liquidate, liquidation_price, recheck_bands
from bot.core.venue.margin import margin_of, order_margin, position_margin
from bot.core.venue.state import CoinTerms
from bot.domain.instrument import Side
from tests.support.account_reference import AccountReference, story_of
from tests.support.venue_accounts import Desk, linear

MANY = 50
CLOSE = Fraction(1, 10**9)  # dollars: what rounding a closed part's entry value may come to
Step = tuple[Any, ...]  # its first word says what it does

NAMES = ("X", "Y", "Z")
COINS = {"USDT": CoinTerms(), "USDC": CoinTerms()}
STEP, TICK = Decimal("0.001"), Decimal("0.1")

QTY = st.one_of(st.integers(1, 30_000), st.integers(1, 200_000)).map(lambda steps: steps * STEP)
PRICE = st.integers(1, 3_000).map(lambda ticks: ticks * TICK)
NEAR = st.integers(950, 1_050).map(lambda ticks: ticks * TICK)
RATE = st.integers(-37_500, 37_500).map(lambda e7: Decimal(e7).scaleb(-7))
LEVERAGE = st.sampled_from(["1", "2", "5", "10", "20", "50", "33.33"])
NAME = st.sampled_from(NAMES)
SHARE = st.integers(1, 99)  # hundredths of what the account can open
AWAY = st.integers(-20, 20)  # ticks from the mark
SPECIAL = st.sampled_from([False, False, False, True])  # closes instead of opening
MARK = st.tuples(st.just("mark"), NAME, st.one_of(st.integers(900, 1_100), st.integers(500, 2_000)))
ANY_STEP = st.one_of(
    st.tuples(st.just("trade"), NAME, st.booleans(), SHARE, AWAY, SPECIAL),
    st.tuples(st.just("trade"), NAME, st.booleans(), SHARE, AWAY, SPECIAL),
    st.tuples(st.just("rest"), NAME, st.booleans(), SHARE, AWAY, SPECIAL),
    st.tuples(st.just("fill"), st.integers(0, 9), st.integers(1, 100)),
    st.tuples(st.just("amend"), st.integers(0, 9), QTY, NEAR),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    MARK,
    MARK,
    st.tuples(st.just("funding"), NAME, RATE),
    st.tuples(st.just("leverage"), NAME, LEVERAGE),
)
STEPS = st.lists(ANY_STEP, min_size=4, max_size=30)
# Large positions at high leverage, then prices that move: what ends in liquidation.
DRAMA = st.builds(
    lambda leverage, opened, steps, moves: [*(("leverage", name, leverage) for name in NAMES), *opened, *steps, *moves],
    st.sampled_from(["5", "10", "10", "20"]),
    st.lists(
        st.tuples(st.just("trade"), NAME, st.booleans(), st.integers(40, 97), AWAY, st.just(False)),
        min_size=1,
        max_size=3,
    ),
    st.lists(ANY_STEP, max_size=8),
    st.lists(MARK, min_size=2, max_size=8),
)
HEDGED = st.sets(NAME)


def open_desk(hedged: set[str], deposit: int) -> Desk:
    desk = Desk(linear("X"), linear("Y"), linear("Z", quote="USDC"), coins=COINS).deposit(str(deposit))
    for name in NAMES:
        desk.mark("100", name)
        if name in hedged:
            desk.hedge(name)
    return desk


def walk(desk: Desk, steps: list[Step], *, checked: bool = True) -> Iterator[Step]:
    """Take one step after the other, and liquidate where that is due; yield each step when it is done."""
    state = desk.account.state
    for step in steps:
        match step:
            case ("trade" | "rest" as what, str(name), bool(buys), int(share), int(away), bool(special)):
                # What is special asks for reduce-only, and in hedge mode for the side that closes.
                index = (1 if buys != special else 2) if name in state.hedged else 0
                qty, price = _size(desk, name, share), max(TICK, state.marks[name] + away * TICK)
                place = desk.trade if what == "trade" else desk.place
                place(str(qty if buys else -qty), str(price), name, index=index, reduce_only=special)
            case ("fill", int(number), int(percent)) if state.orders:
                order = list(state.orders.values())[number % len(state.orders)]
                qty = max(STEP, (order.qty * percent / 100).quantize(STEP, rounding="ROUND_FLOOR"))
                desk.fill(order.order_id, qty=str(qty), maker=True)
            case ("amend", int(number), Decimal() as qty, Decimal() as price) if state.orders:
                desk.account.amend(list(state.orders)[number % len(state.orders)], qty=qty, price=price)
            case ("cancel", int(number)) if state.orders:
                desk.account.cancel(list(state.orders)[number % len(state.orders)])
            case ("mark", str(name), int(thousandths)):
                price = (state.marks[name] * thousandths / 1_000).quantize(TICK)
                desk.mark(str(min(max(price, TICK), Decimal(10_000))), name)
            case ("funding", str(name), Decimal() as rate):
                desk.funding(str(rate), str(state.marks[name]), name)
            case ("leverage", str(name), str(leverage)):
                desk.leverage(leverage, name)
        if checked:
            desk.facts += liquidate(desk.account, ts_ns=desk.ts_ns)
        yield step


def _size(desk: Desk, name: str, share: int) -> Decimal:
    """Return about that share of the quantity that the account could open."""
    state, margin = desk.account.state, desk.account.margin()
    room = max(Decimal(0), margin.cover - margin.initial)
    qty = room * share / 100 / (state.marks[name] * (1 / state.leverage[name] + Decimal("0.003")))
    return max(STEP, qty.quantize(STEP, rounding="ROUND_FLOOR"))


@settings(max_examples=MANY, deadline=None)
@given(steps=STEPS, hedged=HEDGED, deposit=st.integers(10, 5_000))
def test_the_reference_agrees(steps: list[Step], hedged: set[str], deposit: int) -> None:
    """Equity, entry prices and every margin are those of a calculation that shares no code and keeps no state."""
    desk = open_desk(hedged, deposit)
    state = desk.account.state
    for _ in walk(desk, steps):
        pass
    told = AccountReference(state.contracts, state.leverage, story_of({"USDT": Decimal(deposit)}, desk.facts))
    for coin in ("USDT", "USDC"):
        keys = [key for key in state.held() if state.contracts[key[0]].settle_coin == coin]
        unrealized = sum(position_margin(state, key, state.marks).unrealized for key in keys)
        assert abs(Fraction(desk.account.balance(coin) + unrealized) - told.equity(coin, state.marks)) < CLOSE
    margin = margin_of(state)
    orders = list(state.orders.values())
    initial = taken = required = Fraction(0)
    for key in product(NAMES, range(3)):
        mark = state.marks[key[0]]
        taken += told.order_initial(key, mark, orders)
        assert abs(Fraction(order_margin(state, key, state.marks)) - told.order_initial(key, mark, orders)) < CLOSE
        assert Fraction(state.qty(key)) == told.held(key)
        if state.qty(key):
            entry = state.positions[key].entry_price
            assert entry is not None
            assert abs(Fraction(entry) - told.entry_price(key)) < CLOSE
            initial += told.initial(key, mark, orders)
            required += told.maintenance(key, mark)
    assert abs(Fraction(margin.position_initial) - initial) < CLOSE
    assert abs(Fraction(margin.order_initial) - taken) < CLOSE
    assert abs(Fraction(margin.maintenance) - required) < CLOSE


@settings(max_examples=MANY, deadline=None)
@given(steps=DRAMA, hedged=HEDGED, deposit=st.integers(50, 2_000))
def test_money_is_conserved(steps: list[Step], hedged: set[str], deposit: int) -> None:
    """Each coin is what was put in, earned, paid and had from the insurance fund, and the log says so, to a digit."""
    desk = open_desk(hedged, deposit)
    state = desk.account.state
    for _ in walk(desk, steps):
        pass
    for coin in state.balances:
        booked = Decimal(deposit) if coin == "USDT" else Decimal(0)
        for (name, _), position in state.positions.items():
            if state.contracts[name].settle_coin == coin:
                booked += position.realized_pnl + position.funding - position.fees
        booked += state.insurance.get(coin, Decimal(0))
        assert state.balances[coin] == booked
        assert state.balances[coin] == sum(row.change for row in state.transactions if row.currency == coin)


@settings(max_examples=MANY, deadline=None)
@given(steps=DRAMA, hedged=HEDGED, deposit=st.integers(50, 2_000))
def test_nothing_is_owed_without_a_liquidation(steps: list[Step], hedged: set[str], deposit: int) -> None:
    """After every step the margin is covered; where it was not, a liquidation began and made it so."""
    desk = open_desk(hedged, deposit)
    state = desk.account.state
    for step in walk(desk, steps, checked=False):
        before = desk.account.margin()
        facts = liquidate(desk.account, ts_ns=desk.ts_ns)
        desk.facts += facts
        after = desk.account.margin()
        assert bool(facts) == before.is_breached, step
        assert not after.is_breached
        assert after.balance >= 0
        if facts:
            assert isinstance(facts[0], LiquidationStarted)
            assert not state.orders
            kinds = [type(fact) for fact in facts[1:]]
            assert OrderDropped not in kinds[kinds.count(OrderDropped) :]  # orders go first
            busts = [fact for fact in facts if isinstance(fact, Execution) and fact.exec_type is ExecType.BUST]
            if busts:
                assert not state.held()  # a take-over takes all
            if not state.held():
                assert min(state.balances.values()) >= 0


@settings(max_examples=MANY, deadline=None)
@given(steps=STEPS, hedged=HEDGED, deposit=st.integers(10, 5_000))
def test_no_order_is_accepted_beyond_the_margin(steps: list[Step], hedged: set[str], deposit: int) -> None:
    """An accepted order either takes no margin or finds it there; a refused one leaves no trace."""
    desk = open_desk(hedged, deposit)
    for _ in walk(desk, steps):
        pass
    orders = dict(desk.account.state.orders)
    for qty, name, side, index in product(("0.001", "1", "50"), NAMES, Side, range(3)):
        before = desk.account.margin()
        order = VenueOrder(
            order_id="new", instrument=name, side=side, qty=Decimal(qty), price=Decimal(100), position_index=index
        )
        answer = desk.account.place(order)
        after = desk.account.margin()
        if isinstance(answer, Refusal):
            assert after == before
            assert desk.account.state.orders == orders
        else:
            assert after.initial <= after.cover or after.cover - after.initial >= before.cover - before.initial
            desk.account.cancel("new")


@settings(max_examples=MANY, deadline=None)
@given(steps=STEPS, hedged=HEDGED, deposit=st.integers(10, 5_000), order=st.tuples(NAME, st.booleans(), QTY))
def test_reduce_only_never_increases(
    steps: list[Step],
    hedged: set[str],
    deposit: int,
    order: tuple[str, bool, Decimal],
) -> None:
    """A reduce-only order brings a position nearer to nothing and never past it, whatever came before."""
    desk = open_desk(hedged, deposit)
    for _ in walk(desk, steps):
        pass
    state = desk.account.state
    name, buys, qty = order
    for index in (1, 2) if name in hedged else (0,):
        before = state.qty((name, index))
        desk.trade(str(qty if buys else -qty), "100", name, index=index, reduce_only=True)
        after = state.qty((name, index))
        assert abs(after) <= abs(before)
        assert after * before >= 0
        assert (desk.refusal is None) == (before * (1 if buys else -1) < 0)
    for resting in state.orders.values():
        assert not resting.reduce_only or resting.qty <= desk.account.reducible_qty(resting)
    dropped = [fact.cancel_type for fact in desk.facts if isinstance(fact, OrderDropped)]
    assert set(dropped) <= {CancelType.REDUCE_ONLY, CancelType.LIQUIDATION}


@settings(max_examples=MANY, deadline=None)
@given(
    trades=st.lists(st.tuples(st.booleans(), QTY, NEAR), min_size=1, max_size=12),
    is_long=st.booleans(),
    mark=NEAR,
    rate=RATE,
    leverage=LEVERAGE,
)
def test_hedge_and_one_way_agree_on_one_side(
    trades: list[tuple[bool, Decimal, Decimal]], is_long: bool, mark: Decimal, rate: Decimal, leverage: str
) -> None:
    """As long as a position keeps its side it costs, earns and needs the same in either mode."""
    margins, balances = [], []
    for hedged in (False, True):
        desk = open_desk({"X"} if hedged else set(), 100_000).leverage(leverage)
        index = (1 if is_long else 2) if hedged else 0
        for opens, qty, price in trades:
            buys = opens == is_long
            desk.trade(str(qty if buys else -qty), str(price), index=index, reduce_only=not opens)
        desk.mark(str(mark)).funding(str(rate), str(mark)).place("0.001" if is_long else "-0.001", "100", index=index)
        margins.append(desk.account.margin())
        balances.append(desk.account.state.balances)
    assert margins[0] == margins[1]
    assert balances[0] == balances[1]


@settings(max_examples=MANY, deadline=None)
@given(qty=QTY, is_long=st.booleans(), leverage=LEVERAGE, deposit=st.integers(10, 20_000), moves=st.lists(PRICE))
def test_margin_worsens_with_an_adverse_price(
    qty: Decimal, is_long: bool, leverage: str, deposit: int, moves: list[Decimal]
) -> None:
    """The excess always falls, so a liquidation that is due stays due.

    So does the rate rise, for a short always. For a long it does once it is above its tier's own maintenance rate:
    below, what it needs may fall with its value faster than what covers it.
    """
    desk = open_desk(set(), deposit).leverage(leverage).trade(str(qty if is_long else -qty), "100")
    assume(desk.account.state.held())
    contract = desk.account.state.contracts["X"]
    seen = []
    for mark in sorted({*moves, Decimal(100)}, reverse=is_long):
        margin = desk.mark(str(mark)).account.margin()
        seen.append((margin, margin.maintenance_rate > contract.tier(qty * mark).maintenance_rate))
    for (nearer, is_high), (farther, _) in pairwise(seen):
        assert farther.excess < nearer.excess
        assert farther.is_breached >= nearer.is_breached
        if is_high or not is_long:
            assert farther.maintenance_rate >= nearer.maintenance_rate


@settings(max_examples=MANY, deadline=None)
@given(
    steps=STEPS,
    hedged=HEDGED,
    deposit=st.integers(10, 5_000),
    rates=st.tuples(st.sampled_from(["1", "0.9", "0.5"]), st.sampled_from(["1", "0.7"])),
    places=st.lists(st.tuples(*[st.integers(1, 9_999)] * 3), min_size=1, max_size=4),
)
def test_no_liquidation_inside_the_bands(
    steps: list[Step],
    hedged: set[str],
    deposit: int,
    rates: tuple[str, str],
    places: list[tuple[int, int, int]],
) -> None:
    """Wherever in their bands the prices go, all together, the margin suffices. Where a side has no edge, anywhere."""
    desk = open_desk(hedged, deposit)
    for coin, rate in zip(COINS, rates, strict=True):
        desk.account.state.coins[coin] = CoinTerms(collateral_rate=Decimal(rate))
    for _ in walk(desk, steps):
        pass
    state = desk.account.state
    bands = recheck_bands(state)
    edges = {name: (band.low or Decimal("0.0001"), band.high or Decimal(100_000)) for name, band in bands.items()}
    corners = [tuple(c) for c in product((1, 9_999), repeat=3)]
    for place in [*places, *corners]:
        marks = dict(state.marks)
        for name, part in zip(NAMES, place, strict=True):
            if name in edges:
                low, high = edges[name]
                marks[name] = low + (high - low) * part / 10_000
        assert not margin_of(state, marks).is_breached


@settings(max_examples=MANY, deadline=None)
@given(
    steps=DRAMA,
    deposit=st.integers(50, 2_000),
    path=st.lists(st.tuples(*[st.integers(-12, 12)] * 3), min_size=20, max_size=120),
)
def test_skipping_to_the_bands_edges_finds_the_same_liquidation(
    steps: list[Step],
    deposit: int,
    path: list[tuple[int, int, int]],
) -> None:
    """Checking only where a price has left its band finds the first liquidation at the row where checking all does."""
    desk = open_desk(set(), deposit)
    for _ in walk(desk, steps):
        pass
    state = desk.account.state
    marks = dict(state.marks)
    rows = []
    for moves in path:
        for name, ticks in zip(NAMES, moves, strict=True):
            marks[name] = max(TICK, marks[name] + ticks * TICK)
        rows.append(dict(marks))
    plain = next((row for row, at in enumerate(rows) if margin_of(state, at).is_breached), None)
    bands, found = recheck_bands(state), None
    for row, at in enumerate(rows):
        if all((b.low is None or b.low < at[n]) and (b.high is None or at[n] < b.high) for n, b in bands.items()):
            continue
        if margin_of(state, at).is_breached:
            found = row
            break
        state.marks.update(at)
        bands = recheck_bands(state)
    assert found == plain


@settings(max_examples=MANY, deadline=None)
@given(steps=STEPS, hedged=HEDGED, deposit=st.integers(10, 5_000))
def test_the_liquidation_price_is_where_the_excess_ends(
    steps: list[Step],
    hedged: set[str],
    deposit: int,
) -> None:
    """At the estimate nothing is left, a little nearer there is; where there is none the account lives through all."""
    desk = open_desk(hedged, deposit)
    for _ in walk(desk, steps):
        pass
    state = desk.account.state
    state.orders.clear()
    for key in state.held():
        name, mark = key[0], state.marks[key[0]]
        price = liquidation_price(state, key)
        net = sum(state.qty(k) for k in state.held() if k[0] == name)
        if price is None:
            worst = Decimal("0.0001") if net > 0 else Decimal(10**9)
            assert not margin_of(state, {**state.marks, name: worst}).is_breached
        else:
            assert abs(margin_of(state, {**state.marks, name: price}).excess) < Decimal("1e-9")
            nearer = mark + (price - mark) * Decimal("0.9999")
            assert not margin_of(state, {**state.marks, name: nearer}).is_breached


@settings(max_examples=MANY, deadline=None)
@given(
    opened=st.lists(st.tuples(NAME, st.booleans(), st.integers(60, 97)), min_size=1, max_size=3),
    hedged=HEDGED,
    deposit=st.integers(500, 1_500),
    beyond=st.integers(0, 1_000),
)
def test_stages_come_before_the_take_over(
    opened: list[tuple[str, bool, int]], hedged: set[str], deposit: int, beyond: int
) -> None:
    """Just beyond its liquidation price an account is reduced tier by tier, no further than it must be."""
    desk = open_desk(hedged, deposit)
    for _ in walk(desk, [("trade", name, buys, share, 0, False) for name, buys, share in opened]):
        pass
    state = desk.account.state
    name, index = max(state.held(), key=lambda key: abs(state.qty(key)))
    price = liquidation_price(state, (name, index))
    assume(price is not None and state.held())
    assert price is not None
    state.marks[name] = price + (price - state.marks[name]) * beyond / 100_000
    assume(desk.account.margin().is_breached)
    facts = [fact for fact in liquidate(desk.account, ts_ns=1) if isinstance(fact, Execution)]
    for fact in facts:
        contract, mark = state.contracts[fact.instrument], state.marks[fact.instrument]
        before = contract.tier_index((abs(fact.position_qty) + fact.qty) * mark)
        if fact.exec_type is ExecType.BUST:
            assert before == 0
        else:
            assert contract.tier_index(abs(fact.position_qty) * mark) == before - 1
            assert (abs(fact.position_qty) + contract.instrument.qty_step) * mark > contract.tiers[
                before - 1
            ].limit_value
    assert facts
    if facts[-1].exec_type is not ExecType.BUST:
        assert state.held()
        assert not desk.account.margin().is_breached


@pytest.mark.parametrize("gap", ["1", "50", "79"])
def test_the_fund_bears_a_gap(gap: str) -> None:
    """However deep a price falls at once, the account ends with nothing and the rest is the fund's.

    What the fund loses on what it took over, account's, fund's and everybody else's money is what was put in.
    """
    desk = open_desk(set(), 100).trade("9", "100").mark(gap)
    facts = liquidate(desk.account, ts_ns=1)
    bust = next(fact for fact in facts if isinstance(fact, Execution))
    fund = bust.qty * (Decimal(gap) - bust.price) - sum(f.amount for f in facts if isinstance(f, InsurancePaid))
    market = 9 * (100 - Decimal(gap))  # who sold to us
    fees = Decimal("0.9") + bust.fee
    assert desk.account.balance("USDT") + fund + market + fees == 100
    assert 0 <= desk.account.balance("USDT") < 1
    assert fund < 0
