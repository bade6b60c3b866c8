"""What is so of the venue model whatever clients ask and whatever the market does."""

import dataclasses
from collections import defaultdict
from decimal import Decimal

import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from bot.core.venue.facts import Execution, LiquidationStarted
from bot.core.venue.margin import margin_of
from bot.core.venue.orders import OPEN, OrderChanged, OrderRecord
from bot.domain.instrument import Side
from bot.domain.market import BarBatch, TradeBatch
from tests.support.examples import examples
from tests.support.venue_games import (
    INSTRUMENT,
    MODELS,
    NEW,
    ORDER_ID,
    SIDE,
    SMALL,
    WHO,
    Ask,
    Game,
    Run,
    bar_texts,
    check_money,
    check_story,
    games,
    in_order,
    maybe,
    priced,
    rows_of,
    times_of,
    trade_texts,
    words,
)
from tests.support.venue_scenarios import never_stuck

MANY = settings(max_examples=examples(120), deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEW = settings(MANY, max_examples=examples(40))


@MANY
@given(game=games())
def test_whatever_is_asked_the_story_and_the_money_are_right(game: Game) -> None:
    """No request breaks the model or holds it up; what it tells is consistent, and every account's money follows."""
    scene, asks = game
    with never_stuck():
        run = Run(scene, asks)
        check_story(run)
        check_money(run, Decimal(scene["deposit"].split()[0]))
        event("liquidation" if any(isinstance(fact, LiquidationStarted) for _, fact in run.told) else "no liquidation")
        event(f"{min(9, sum(isinstance(fact, Execution) for _, fact in run.told))} executions")


@MANY
@given(
    game=games(),
    cuts=st.lists(st.integers(0, 24), max_size=6),
    extra_ns=st.lists(st.integers(0, 120), max_size=6),
)
def test_however_the_tape_is_cut_the_same_is_told(game: Game, cuts: list[int], extra_ns: list[int]) -> None:
    """Law 1: neither where the tape is cut nor when the venue is asked for news changes what it tells and answers."""
    scene, asks = game
    with never_stuck():
        whole = Run(scene, asks)
        for other in (
            Run(scene, asks, cuts=cuts),
            Run(scene, asks, extra_ns=extra_ns),
            Run(scene, asks, cuts=range(24), extra_ns=extra_ns),
        ):
            assert other.told == whole.told
            assert other.answers == whole.answers


def changed_after(batch: TradeBatch | BarBatch, until_ns: int, by: int) -> TradeBatch | BarBatch:
    """Return rows that are the same as far as they are known at `until_ns`, and other ones after it."""
    if isinstance(batch, TradeBatch):
        prices = np.where(batch.ts_ns > until_ns, np.maximum(1, batch.price_ticks + by), batch.price_ticks)
        return dataclasses.replace(batch, price_ticks=prices)
    later, unborn = batch.open_ns + batch.scale_ns > until_ns, batch.open_ns > until_ns
    opens = np.where(unborn, batch.open_ticks + by, batch.open_ticks)
    closes = np.where(later, batch.close_ticks + by, batch.close_ticks)
    highs = np.where(later, np.maximum(batch.high_ticks + abs(by), np.maximum(opens, closes)), batch.high_ticks)
    lows = np.where(later, np.minimum(batch.low_ticks - abs(by), np.minimum(opens, closes)), batch.low_ticks)
    return dataclasses.replace(
        batch, open_ticks=opens, close_ticks=closes, high_ticks=highs, low_ticks=np.maximum(1, lows)
    )


@MANY
@given(game=games(), until_ns=st.integers(10, 110), by=st.sampled_from([-60, -7, -1, 1, 7, 60]))
def test_nothing_is_known_of_the_future(game: Game, until_ns: int, by: int) -> None:
    """What is told and answered up to a time is the same whatever comes after it."""
    scene, asks = game
    with never_stuck():
        batch = rows_of(scene)
        before = [ask for ask in asks if ask[0] <= until_ns]
        seen = Run(scene, before, until_ns=until_ns, batch=batch)
        other = Run(scene, before, until_ns=until_ns, batch=changed_after(batch, until_ns, by))
        assert other.told == seen.told
        assert other.answers == seen.answers
        later = Run(scene, asks, batch=batch)
        count = sum(fact.ts_ns <= until_ns for _, fact in later.told)
        assert later.told[:count][: len(seen.told)] == seen.told[:count]


@FEW
@given(game=games(kinds=["trades"], is_drama=True))
def test_nobody_stays_without_margin(game: Game) -> None:
    """After every trade each account covers its maintenance margin at that price, or has been liquidated."""
    scene, asks = game
    with never_stuck():
        batch = rows_of(scene)
        assert isinstance(batch, TradeBatch)
        for at_ns in sorted(set(times_of(batch))):
            run = Run(scene, [ask for ask in asks if ask[0] <= at_ns], until_ns=at_ns, batch=batch)
            mark = INSTRUMENT.price(int(batch.price_ticks[batch.ts_ns.searchsorted(at_ns, side="right") - 1]))
            for account in run.model.accounts.values():
                margin = margin_of(account.state, {"X": mark})
                assert not margin.is_breached
                if not account.state.held():
                    assert account.balance("USDT") >= 0
            at_risk = sum(bool(account.state.held()) for account in run.model.accounts.values())
            event(f"{at_risk} accounts hold something")


# Price and time

LIMITS = st.lists(
    st.tuples(
        st.integers(10, 60),
        st.one_of(
            words(WHO, NEW, "buy", st.sampled_from(["1", "2", "3"]), priced("@", 985, 999), "PostOnly"),
            words(WHO, NEW, "sell", st.sampled_from(["1", "2", "3"]), priced("@", 1001, 1015), "PostOnly"),
            words(WHO, "amend", ORDER_ID, st.sampled_from(["1", "2", "4"]).map("qty={}".format)),
            words(WHO, "amend", ORDER_ID, priced("price=", 985, 999)),
            words(WHO, "cancel", ORDER_ID),
        ),
    ),
    min_size=2,
    max_size=16,
).map(in_order)


@MANY
@given(asks=LIMITS, rows=st.lists(st.integers(980, 1020), min_size=1, max_size=5))
def test_resting_orders_fill_by_price_and_time(asks: list[Ask], rows: list[int]) -> None:
    """What trades through several orders fills the better price first, and of one price who was there first.

    An order loses its place when its price changes or its quantity grows.
    """
    scene = {
        "trades": " ".join(["9:100", *(f"{70 + 10 * k}:{Decimal(ticks) / 10}" for k, ticks in enumerate(rows))]),
        "accounts": "A B",
        "deposit": "100000 USDT",
        "model": "queue=through",
        "funding": "",
        "fees": "0.001 0.0005",
    }
    with never_stuck():
        run = Run(scene, asks)
        came: dict[str, int] = {}
        records: dict[str, OrderRecord] = {}
        expected: dict[int, list[tuple[str, Decimal]]] = {}
        fills: dict[int, list[tuple[str, Decimal]]] = defaultdict(list)
        for number, (_, fact) in enumerate(run.told):
            if isinstance(fact, Execution):
                assert fact.is_maker
                fills[fact.ts_ns].append((fact.order_id, fact.price))
            if isinstance(fact, OrderChanged) and fact.ts_ns < 70:
                before, record = records.get(fact.order.order_id), fact.order
                if before is None or record.price != before.price or record.qty > before.qty:
                    came[record.order_id] = number
                records[record.order_id] = record
        resting = {order_id: record for order_id, record in records.items() if record.status in OPEN}
        for k, ticks in enumerate(rows):
            at = Decimal(ticks) / 10
            for side in Side:
                through = [r for r in resting.values() if r.side is side and (r.price - at) * side.sign > 0]
                through.sort(key=lambda r: (-r.price * r.side.sign, came[r.order_id]))
                if through:
                    expected[70 + 10 * k] = [(r.order_id, r.price) for r in through]
                for record in through:
                    del resting[record.order_id]
        assert dict(fills) == expected


# Two accounts


@MANY
@given(
    asks=st.lists(
        st.tuples(
            st.integers(10, 100),
            words(
                WHO,
                NEW,
                SIDE,
                st.sampled_from(["1", "2", "3"]),
                maybe(priced("@", 990, 1010)),
                maybe("IOC", "FOK", "PostOnly"),
            ),
        ),
        min_size=2,
        max_size=14,
    ).map(in_order),
    trades=trade_texts(10),
    queue=st.sampled_from(["through", "touch"]),
)
def test_the_book_of_the_accounts_is_never_crossed(asks: list[Ask], trades: str, queue: str) -> None:
    """Once the market has moved on, no resting buy stands at or above a resting sell: they would have traded."""
    scene = {
        "trades": trades,
        "accounts": "A B",
        "deposit": "100000 USDT",
        "model": f"queue={queue}",
        "funding": "",
        "fees": "0.001 0.0005",
    }
    with never_stuck():
        run = Run(scene, asks)
        batch = rows_of(scene)
        last_ns = times_of(batch)[-1]
        records = [record for name in ("A", "B") for record in run.model.orders(name)]
        done = [r for r in records if r.kind == "Limit" and r.created_ns < last_ns]
        buys = [r.price for r in done if r.side is Side.BUY]
        sells = [r.price for r in done if r.side is Side.SELL]
        if buys and sells:
            assert max(buys) < min(sells)


@MANY
@given(
    game=games(kinds=["trades"]),
    marks=st.lists(st.tuples(st.integers(10, 110), st.integers(900, 1100)), max_size=8),
)
def test_a_mark_price_of_its_own(game: Game, marks: list[tuple[int, int]]) -> None:
    """The same holds where the mark price is another tape, which decides triggers, margin and funding."""
    scene, asks = game
    rows = " ".join(["9:100", *(f"{ts}:{Decimal(ticks) / 10}" for ts, ticks in sorted(marks))])
    with never_stuck(2):
        run = Run({**scene, "mark": rows}, asks)
        check_story(run)
        check_money(run, Decimal(scene["deposit"].split()[0]))


# Spot

COINS = st.sampled_from(["1000 USDT, 3 BTC", "300 USDT", "2 BTC", "100000 USDT, 100 BTC"])
SPOT_ORDER = words(
    NEW,
    SIDE,
    st.sampled_from(["1", "2", "0.5", "9", "0.1"]),
    maybe(priced("@", 985, 1015), priced(">=", 1001, 1020), priced("<=", 980, 999)),
    maybe("IOC", "FOK", "PostOnly"),
)
SPOT_REQUEST = st.one_of(
    SPOT_ORDER,
    SPOT_ORDER,
    words(NEW, "buy", st.sampled_from(["100", "299.9", "300", "55.55"]), "quote"),
    words("amend", ORDER_ID, maybe(SMALL.map("qty={}".format)), maybe(priced("price=", 985, 1015))),
    words("cancel", ORDER_ID),
    st.sampled_from(["cancel-all", "cancel-all stop"]),
)


@MANY
@given(
    rows=st.one_of(st.tuples(st.just("trades"), trade_texts(20)), st.tuples(st.just("bars"), bar_texts(20))),
    asks=st.lists(st.tuples(st.integers(5, 105), words(WHO, SPOT_REQUEST)), min_size=4, max_size=20).map(in_order),
    coins=COINS,
    model=MODELS,
    cuts=st.lists(st.integers(0, 24), max_size=6),
)
def test_spot_lends_nothing_and_loses_nothing(
    rows: tuple[str, str], asks: list[Ask], coins: str, model: str, cuts: list[int]
) -> None:
    """No coin is ever owed or promised twice, every coin follows from the executions, and a quote amount is a limit."""
    scene = {
        rows[0]: rows[1],
        "kind": "spot",
        "accounts": "A B",
        "deposit": coins,
        "model": model,
        "funding": "",
        "fees": "0.001 0.0005",
    }
    with never_stuck():
        run = Run(scene, asks)
        assert Run(scene, asks, cuts=cuts).told == run.told
        check_story(run)
        for name, account in run.model.accounts.items():
            expected: dict[str, Decimal] = defaultdict(Decimal)
            for each in coins.split(","):
                amount, coin = each.split()
                expected[coin] += Decimal(amount)
            spent: dict[str, Decimal] = defaultdict(Decimal)
            for owner, fact in run.told:
                if owner == name and isinstance(fact, Execution):
                    expected["BTC"] += fact.qty * fact.side.sign
                    expected["USDT"] -= fact.qty * fact.price * fact.side.sign
                    expected[fact.fee_coin] -= fact.fee
                    spent[fact.order_id] += fact.qty * fact.price
            for coin in ("BTC", "USDT"):
                assert account.balance(coin) == expected[coin] >= 0
                assert account.locked(coin) <= account.balance(coin)
            orders = [fact.order for _, fact in run.told if isinstance(fact, OrderChanged)]
            names = {order.order_id: order.client_order_id for order in orders}
            sizes = {ask.split()[1]: Decimal(ask.split()[3]) for _, ask in asks if ask.endswith("quote")}
            for order_id, value in spent.items():
                assert value <= sizes.get(names[order_id], Decimal("Infinity"))
