"""What an account at the venue refuses, and what it tells of what happened to it."""

from decimal import Decimal

import pytest

from bot.core.venue.account import VenueAccount
from bot.core.venue.contract import btcusdt_linear, btcusdt_spot
from bot.core.venue.facts import CancelType, OrderCut, OrderDropped, Refusal, TransactionType, VenueOrder
from bot.core.venue.state import CoinTerms
from bot.domain.errors import ConfigError, InvariantBroken
from bot.domain.instrument import Side
from tests.support.round_account import desk
from tests.support.venue_accounts import Desk, linear, spot


def test_rows_tell_what_happened() -> None:
    at = desk().trade("2", "100").funding("0.001", "110").trade("-2", "120").trade("1", "100", "S")
    position = at.account.position("X")
    assert (position.realized_pnl, position.fees, position.funding) == tuple(map(Decimal, ("40", "0.44", "-0.22")))
    rows = [(r.type, r.currency, r.change, r.position_qty) for r in at.account.state.transactions]
    assert rows == [
        (TransactionType.TRANSFER_IN, "USDT", Decimal(1000), Decimal(0)),
        (TransactionType.TRADE, "USDT", Decimal("-0.2"), Decimal(2)),
        (TransactionType.SETTLEMENT, "USDT", Decimal("-0.22"), Decimal(2)),
        (TransactionType.TRADE, "USDT", Decimal("39.76"), Decimal(0)),  # 40 less 0.24
        (TransactionType.TRADE, "BTC", Decimal("0.999"), Decimal(0)),
        (TransactionType.TRADE, "USDT", Decimal(-100), Decimal(0)),
    ]


def test_resting_reduce_only_orders_follow_the_position() -> None:
    """They are cut as it shrinks and go with it."""
    at = desk().trade("3", "100")
    at.place("-3", "120", reduce_only=True, order_id="far").place("-1", "110", reduce_only=True, order_id="near")
    at.trade("-1", "100")
    assert [fact for fact in at.facts if isinstance(fact, OrderCut)] == [
        OrderCut(ts_ns=at.ts_ns, order_id="far", instrument="X", qty=Decimal(2))
    ]
    at.fill("near")
    assert at.account.state.orders["far"].qty == 1
    at.trade("-1", "100")
    assert not at.account.state.orders
    assert at.facts[-1] == OrderDropped(
        ts_ns=at.ts_ns, order_id="far", instrument="X", cancel_type=CancelType.REDUCE_ONLY
    )


def test_a_loss_takes_the_money_from_under_a_spot_order() -> None:
    """A spot order never pays with what is no longer there: the newest go until the rest is covered."""
    at = desk().trade("10", "100").place("5", "50", "S", order_id="old").place("5", "50", "S", order_id="new")
    at.mark("40").trade("-10", "40")  # a loss of 600 leaves 398.6 of the 500 that are locked
    assert list(at.account.state.orders) == ["old"]
    assert [fact.order_id for fact in at.facts if isinstance(fact, OrderDropped)] == ["new"]


def test_amending_is_judged_as_the_new_order_is() -> None:
    at = desk().place("50", "100", order_id="a").place("1", "90", order_id="b")
    assert isinstance(at.account.amend("a", qty=Decimal(99)), Refusal)
    assert at.account.state.orders["a"].qty == 50
    amended = at.account.amend("a", qty=Decimal(95), price=Decimal(99))
    assert isinstance(amended, VenueOrder)
    assert at.account.margin().order_initial == (95 * 99 + 90) * Decimal("0.1019")
    assert at.account.amend("c", qty=Decimal(1)) == Refusal(code="110001", reason="order does not exist")


def test_a_canceled_order_frees_its_margin() -> None:
    at = desk().place("1", "100", order_id="a")
    assert at.account.cancel("a") is not None
    assert at.account.cancel("a") is None
    assert at.account.margin().available == 1000


def test_checking_changes_nothing() -> None:
    at = desk().trade("1", "100")
    before = at.account.margin()
    order = VenueOrder(order_id="a", instrument="X", side=Side.SELL, qty=Decimal(5), price=Decimal(100))
    assert at.account.check(order) == order
    assert at.account.margin() == before
    assert not at.account.state.orders


@pytest.mark.parametrize("qty", ["0", "-1", "1.001"])
def test_a_fill_that_cannot_be_is_refused(qty: str) -> None:
    at = desk().place("1", "100", order_id="a")
    with pytest.raises(InvariantBroken, match="cannot fill"):
        at.fill("a", qty=qty)


def test_an_unknown_order_cannot_fill() -> None:
    with pytest.raises(InvariantBroken, match="order z"):
        desk().account.fill("z", qty=Decimal(1), price=Decimal(1), is_maker=False, ts_ns=0)


def test_no_order_before_there_is_a_mark() -> None:
    with pytest.raises(InvariantBroken, match="mark price"):
        Desk().deposit("1000").place("1", "100")


@pytest.mark.parametrize("price", ["0", "-1", "NaN"])
def test_impossible_prices_are_refused(price: str) -> None:
    with pytest.raises(ValueError, match="positive"):
        desk().account.set_mark("X", Decimal(price))
    with pytest.raises(ValueError, match="positive"):
        desk().account.set_coin_price("BTC", Decimal(price))
    with pytest.raises(ValueError, match="positive"):
        desk().account.deposit("USDT", Decimal(price), ts_ns=0)


def test_contradicting_contracts_are_refused() -> None:
    with pytest.raises(ConfigError, match="two contracts"):
        VenueAccount([linear("X"), spot("X")])
    with pytest.raises(ConfigError, match="collateral"):
        VenueAccount([linear("X")], {"BTC": CoinTerms()})
    with pytest.raises(ConfigError, match="fraction"):
        VenueAccount([linear("X")], {"USDT": CoinTerms(collateral_rate=Decimal(2))})


def test_the_contracts_that_come_along() -> None:
    """One bitcoin at 50,000 and leverage 10 on the venue's own figures.

    Fee 50,000 * 0.00055 = 27.5. IM 5,000 + 45,000 * 0.00055 = 5,024.75. MM 50,000 * 0.33 % + 24.75 = 189.75.
    """
    at = Desk(btcusdt_linear(), btcusdt_spot()).deposit("10000").mark("50000", "BTCUSDT")
    at.trade("1", "50000", "BTCUSDT")
    margin = at.account.margin()
    assert at.account.balance("USDT") == Decimal("9972.5")
    assert margin.position_initial == Decimal("5024.75")
    assert margin.maintenance == Decimal("189.75")
    at.trade("0.01", "50000", "BTCUSDT-SPOT")
    assert at.account.balance("BTC") == Decimal("0.00999")
    assert at.account.margin().balance == Decimal("9472.5")  # what is bought counts for nothing unless named
