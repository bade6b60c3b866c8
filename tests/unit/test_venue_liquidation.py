"""Liquidation step by step, each figure worked out by hand beside it."""

from decimal import Decimal

import pytest

from bot.core.venue.facts import (
    CancelType,
    CoinConverted,
    CreateType,
    ExecType,
    Execution,
    Fact,
    InsurancePaid,
    LiquidationStarted,
    OrderDropped,
    TransactionType,
)
from bot.core.venue.liquidation import (
    Band,
    auto_deleverage,
    bankruptcy_prices,
    liquidate,
    liquidation_price,
    next_to_reduce,
    recheck_bands,
    stage_qty,
)
from bot.core.venue.state import CoinTerms
from bot.domain.errors import InvariantBroken
from bot.domain.instrument import Side
from tests.support.venue_accounts import Desk, linear, spot

COINS = {
    "USDT": CoinTerms(),
    "USDC": CoinTerms(),
    "BTC": CoinTerms(usd_price=Decimal(100), collateral_rate=Decimal("0.8")),
}
KEY = ("X", 0)


def desk(deposit: str = "100") -> Desk:
    new = Desk(linear(), linear("Y"), linear("Z", quote="USDC"), spot(), coins=COINS)
    for name in "XYZ":
        new.mark("100", name)
    return new.deposit(deposit)


def long() -> Desk:
    """Buy 5 at 100 with 100 dollars: 99.5 after the fee, MM 5 * mark * 1 % + 500 * 0.0009."""
    return desk().trade("5", "100")


def short() -> Desk:
    """Sell 5 at 100 with 100 dollars: 99.5 after the fee, MM 5 * mark * 1 % + 500 * 0.0011."""
    return desk().trade("-5", "100")


def executions(facts: list[Fact]) -> list[tuple[object, ...]]:
    return [
        (f.create_type, f.exec_type, f.instrument, f.side, f.qty, f.price) for f in facts if isinstance(f, Execution)
    ]


def test_nothing_happens_while_the_margin_suffices() -> None:
    """At 81.1 the excess is 99.5 - 94.5 - 4.055 - 0.45 = 0.495."""
    at = long().mark("81.1")
    assert at.account.margin().excess == Decimal("0.495")
    assert liquidate(at.account, ts_ns=9) == []


def test_liquidation_begins_at_a_rate_of_one() -> None:
    """At 81 the excess is 99.5 - 95 - 4.05 - 0.45 = 0: the rate is 100 %, and that is enough."""
    at = long().mark("81")
    assert at.account.margin().maintenance_rate == 1
    started = liquidate(at.account, ts_ns=9)[0]
    marks = (("X", Decimal(81)),)
    assert started == LiquidationStarted(ts_ns=9, margin=Decimal("4.5"), maintenance=Decimal("4.5"), marks=marks)


def test_a_long_is_taken_over_at_its_bankruptcy_price() -> None:
    """At 80.5 there are 2 dollars left of 5 pieces: (80.5 - 0.4) / (1 - 0.001) = 80.1801..., up to 80.2.

    Sold there: 99.5 - 5 * 19.8 - 401 * 0.001 = 0.099, what the rounding left.
    """
    at = long().mark("80.5")
    assert bankruptcy_prices(at.account.state) == {KEY: Decimal("80.2")}
    facts = liquidate(at.account, ts_ns=9)
    assert executions(facts) == [(CreateType.TAKE_OVER, ExecType.BUST, "X", Side.SELL, Decimal(5), Decimal("80.2"))]
    assert at.account.balance("USDT") == Decimal("0.099")
    assert at.account.position("X").qty == 0
    assert at.account.state.transactions[-1].type is TransactionType.LIQUIDATION


def test_a_short_is_taken_over_at_its_bankruptcy_price() -> None:
    """At 119 there are 4.5 left: (119 + 0.9) / 1.001 = 119.78..., down to 119.7. 99.5 - 98.5 - 0.5985 = 0.4015."""
    at = short().mark("119")
    facts = liquidate(at.account, ts_ns=9)
    assert executions(facts) == [(CreateType.TAKE_OVER, ExecType.BUST, "X", Side.BUY, Decimal(5), Decimal("119.7"))]
    assert at.account.balance("USDT") == Decimal("0.4015")


def test_after_a_gap_the_bankruptcy_price_is_better_than_the_mark() -> None:
    """At 60 a hundred dollars are missing: the fund takes over at (60 + 20.1) / 0.999 = 80.18, not at 60."""
    at = long().mark("60")
    facts = liquidate(at.account, ts_ns=9)
    assert executions(facts)[0][-1] == Decimal("80.2")
    assert at.account.balance("USDT") == Decimal("0.099")


def test_orders_go_first_and_may_be_enough() -> None:
    """At 84 a buy of 0.5 at 130 would lose 23 of 19.5 dollars; without it they cover MM 4.2 + 0.45."""
    at = long().place("0.5", "130", order_id="a").mark("84")
    assert at.account.margin().is_breached
    facts = liquidate(at.account, ts_ns=9)
    assert facts[1:] == [OrderDropped(ts_ns=9, order_id="a", instrument="X", cancel_type=CancelType.LIQUIDATION)]
    assert at.account.position("X").qty == 5


def test_all_orders_go_spot_ones_too() -> None:
    at = long().place("-1", "120", order_id="a", reduce_only=True).place("0.01", "50", "S", order_id="b").mark("80")
    facts = liquidate(at.account, ts_ns=9)
    assert [f.order_id for f in facts if isinstance(f, OrderDropped)] == ["a", "b"]
    assert at.account.locked("USDT") == 0


def third_tier() -> Desk:
    """Buy 60 at 100 with 700 dollars: 694 after the fee, 6,000 is in the third tier, to close takes 5.4."""
    return desk("700").trade("60", "100")


def test_what_a_stage_takes() -> None:
    """At 90.8 the value is 5,448; 5,000 / 90.8 = 55.066, so 60 - 55.066 = 4.934 go."""
    state = third_tier().mark("90.8").account.state
    assert stage_qty(state, KEY) == Decimal("4.934")
    assert next_to_reduce(state) == KEY
    assert stage_qty(long().account.state, KEY) == 0


def test_a_stage_may_be_enough() -> None:
    """At 90.8: 694 - 552 = 142 against 5,448 * 5 % - 140 + 5.4 = 137.8; at 90.7: 136 against 137.5.

    At 90.7 5,000 / 90.7 = 55.126 may stay, 4.874 go for a fee of 0.44207: 135.55793 cover
    55.126 * 90.7 * 2.5 % - 15 + 55.126 * 0.09 = 114.95954...
    """
    at = third_tier().mark("90.8")
    assert liquidate(at.account, ts_ns=9) == []
    facts = liquidate(at.mark("90.7").account, ts_ns=9)
    assert executions(facts) == [
        (CreateType.LIQUIDATION, ExecType.TRADE, "X", Side.SELL, Decimal("4.874"), Decimal("90.7"))
    ]
    margin = at.account.margin()
    assert margin.balance == Decimal("135.5579282")
    assert margin.maintenance == Decimal("55.126") * (Decimal("90.7") * Decimal("0.025") + Decimal("0.09")) - 15
    assert at.account.state.transactions[-1].type is TransactionType.LIQUIDATION


def test_stage_after_stage_then_the_take_over() -> None:
    """At 88.6 there are 10 dollars left: neither the second tier (83.5) nor the first (9.9 of 9.6 dollars) is enough.

    694 - 60 * 11.4 = 10. Down to 5,000 / 88.6 = 56.433 a fee of 3.567 * 0.0886 = 0.3160362; down to 1,000 / 88.6 =
    11.286 one of 45.147 * 0.0886 = 4.0000242. That leaves 5.68 of MM 9.999396 + 1.01574.
    """
    at = third_tier().mark("88.6")
    facts = liquidate(at.account, ts_ns=9)
    stages = [(create, qty) for create, _, _, _, qty, _ in executions(facts)]
    assert stages == [
        (CreateType.LIQUIDATION, Decimal("3.567")),
        (CreateType.LIQUIDATION, Decimal("45.147")),
        (CreateType.TAKE_OVER, Decimal("11.286")),
    ]
    assert 0 <= at.account.balance("USDT") < Decimal("1.2")  # a tick of 11.286 pieces


@pytest.mark.parametrize("got", [None, "88"])
def test_no_market_for_a_stage_means_the_take_over(got: str | None) -> None:
    """Bankruptcy is (88.6 - 10 / 60) / 0.999 = 88.52: at 88 the reducing order must not sell."""
    at = third_tier().mark("88.6")
    asked: list[tuple[str, Side, Decimal]] = []

    def price_of(instrument: str, side: Side, qty: Decimal) -> Decimal | None:
        asked.append((instrument, side, qty))
        return None if got is None else Decimal(got)

    facts = liquidate(at.account, ts_ns=9, price_of=price_of)
    assert asked == [("X", Side.SELL, Decimal("3.567"))]
    assert [create for create, *_ in executions(facts)] == [CreateType.TAKE_OVER]


def test_the_largest_margin_is_reduced_first() -> None:
    at = desk("1000").trade("20", "100").trade("-30", "100", "Y").trade("5", "100", "Z")
    assert next_to_reduce(at.account.state) == ("Y", 0)


def test_several_positions_are_taken_over_together() -> None:
    """Two longs, of which one has lost everything: both go, each bearing its part, and next to nothing is left."""
    at = desk().trade("4", "100").trade("1", "100", "Y").mark("76")
    facts = liquidate(at.account, ts_ns=9)
    assert [(f[2], f[4]) for f in executions(facts)] == [("X", Decimal(4)), ("Y", Decimal(1))]
    assert 0 <= at.account.balance("USDT") <= Decimal("0.5")  # a tick of 5 pieces


def test_both_sides_of_a_hedge_are_taken_over() -> None:
    at = desk().hedge().trade("6", "100", index=1).trade("-1", "100", index=2).mark("80.5")
    facts = liquidate(at.account, ts_ns=9)
    assert [(f[3], f[4]) for f in executions(facts)] == [(Side.SELL, Decimal(6)), (Side.BUY, Decimal(1))]
    assert 0 <= at.account.balance("USDT") < 1
    assert not at.account.state.held()


def test_collateral_repays_what_is_owed() -> None:
    """A loss in USDC is made good with bitcoin, at the 80 dollars that one counts for.

    Deposit 1 BTC, counted 80. Buy 5 Z at 100: owes 0.5. At 85 the excess is 80 - 0.5 - 75 - 4.25 - 0.45 = -0.2, and
    4.5 are left: (85 - 0.9) / 0.999 = 84.18, up to 84.2. Sold there -0.5 - 79 - 0.421 = -79.921, for which
    79.921 / 80 = 0.9990125 BTC go.
    """
    at = Desk(linear("Z", quote="USDC"), coins=COINS).deposit("1", "BTC").mark("100", "Z").trade("5", "100", "Z")
    facts = liquidate(at.mark("85", "Z").account, ts_ns=9)
    assert facts[-1] == CoinConverted(
        ts_ns=9, sold_coin="BTC", sold=Decimal("0.9990125"), bought_coin="USDC", bought=Decimal("79.921")
    )
    assert at.account.balance("USDC") == 0
    assert at.account.balance("BTC") == Decimal("0.0009875")
    assert at.account.state.insurance == {"BTC": Decimal("-0.9990125"), "USDC": Decimal("79.921")}


def test_the_fund_pays_what_collateral_cannot() -> None:
    """Owing 50 USDT with a bitcoin that has fallen to 40 dollars: 32 count, all of it goes, the fund adds 18."""
    at = desk().deposit("1", "BTC").trade("10", "100").mark("85.3").trade("-10", "85.3")
    owed = -at.account.balance("USDT")
    assert owed == Decimal("48.853")  # 100 - 1 - 147 - 0.853
    at.account.set_coin_price("BTC", Decimal(40))
    facts = liquidate(at.account, ts_ns=9)
    assert [f for f in facts if isinstance(f, InsurancePaid)] == [
        InsurancePaid(ts_ns=9, coin="USDT", amount=Decimal("16.853"))
    ]
    assert at.account.state.balances == {"USDT": Decimal(0), "BTC": Decimal(0)}


def test_debts_alone_are_a_liquidation() -> None:
    """A fill far below the mark may leave a debt and no position: the fund pays it."""
    at = long().mark("85").trade("-5", "60")
    assert at.account.balance("USDT") == Decimal("-100.8")  # 99.5 - 200 - 0.3
    facts = liquidate(at.account, ts_ns=9)
    assert facts[-1] == InsurancePaid(ts_ns=9, coin="USDT", amount=Decimal("100.8"))
    assert at.account.balance("USDT") == 0


def test_coins_that_do_not_count_are_left_alone() -> None:
    at = long().deposit("1000", "DOGE").mark("60")
    liquidate(at.account, ts_ns=9)
    assert at.account.balance("DOGE") == 1000


def test_deleveraging() -> None:
    """The venue closes 2 of 5 at 110, without a fee: 99.5 + 20. The orders of the instrument go first."""
    at = long().place("-5", "120", order_id="a", reduce_only=True).place("0.1", "90", "Y", order_id="b")
    facts = auto_deleverage(at.account, KEY, qty=Decimal(2), price=Decimal(110), ts_ns=9)
    assert facts[0] == OrderDropped(ts_ns=9, order_id="a", instrument="X", cancel_type=CancelType.ADL)
    assert executions(facts) == [(CreateType.ADL, ExecType.ADL, "X", Side.SELL, Decimal(2), Decimal(110))]
    assert at.account.balance("USDT") == Decimal("119.5")
    assert at.account.state.transactions[-1].type is TransactionType.ADL
    assert list(at.account.state.orders) == ["b"]
    with pytest.raises(InvariantBroken, match="cannot deleverage"):
        auto_deleverage(at.account, KEY, qty=Decimal("3.001"), price=Decimal(110), ts_ns=9)


def test_the_liquidation_price_of_a_long() -> None:
    """99.5 - 5 * (100 - p) = 0.05 p + 0.45, so 4.95 p = 400.95."""
    assert liquidation_price(long().account.state, KEY) == 81


def test_the_liquidation_price_of_a_short() -> None:
    """99.5 - 5 * (p - 100) = 0.05 p + 0.55, so 5.05 p = 598.95."""
    price = liquidation_price(short().account.state, KEY)
    assert price is not None
    assert price.quantize(Decimal("1e-12")) == (Decimal("598.95") / Decimal("5.05")).quantize(Decimal("1e-12"))


def test_the_liquidation_price_in_another_tier() -> None:
    """A short of 9 at 100 with 500: 499.1 - 9 * (p - 100) = 9 p * 2.5 % - 15 + 0.99, so 9.225 p = 1,413.11."""
    at = desk("500").trade("-9", "100")
    price = liquidation_price(at.account.state, KEY)
    assert price is not None
    assert abs(price - Decimal("1413.11") / Decimal("9.225")) < Decimal("1e-12")
    assert price * 9 > 1000


@pytest.mark.parametrize("at", [desk(), desk("600").trade("5", "100")], ids=["flat", "paid in full"])
def test_no_liquidation_price(at: Desk) -> None:
    assert liquidation_price(at.account.state, KEY) is None


def test_the_liquidation_price_far_away() -> None:
    """Beyond the last tier's limit: 999,999.9 - (p - 100) = 0.05 p - 140 + 0.11, so 1.05 p = 1,000,239.79."""
    price = liquidation_price(desk("1000000").trade("-1", "100").account.state, KEY)
    assert price is not None
    assert abs(price - Decimal("1000239.79") / Decimal("1.05")) < Decimal("1e-12")


def test_the_liquidation_price_when_it_is_too_late() -> None:
    assert liquidation_price(long().mark("80").account.state, KEY) == 80


def test_bands_of_a_long_have_no_upper_edge() -> None:
    """The excess of 94.05 lasts at least 94.05 / 5 = 18.81 below the mark."""
    assert recheck_bands(long().account.state) == {"X": Band(low=Decimal("81.19"), high=None)}


def test_bands_of_a_short_have_no_lower_edge() -> None:
    """Value 500 may rise into the first tier's end only: 5 * (1 + 1 %) per dollar; 93.95 / 5.05 = 18.60."""
    band = recheck_bands(short().account.state)["X"]
    assert band.low is None
    assert band.high is not None
    assert Decimal("118.6") < band.high <= 100 + Decimal("93.95") / Decimal("5.05")


def test_bands_share_what_there_is() -> None:
    """Two longs of equal value may fall half as far each."""
    at = desk().trade("3", "100").trade("3", "100", "Y")
    bands = recheck_bands(at.account.state)
    # 99.4 - 2 * (3 + 0.27) = 92.86 over 600.
    assert bands["X"] == bands["Y"]
    assert bands["X"].low == 100 * (1 - (Decimal("92.86") / 600).quantize(Decimal("1e-18"), rounding="ROUND_FLOOR"))


def test_bands_count_orders_that_could_come_to_lose() -> None:
    """A buy at 99.9 loses below it; one at 1 never could before the long is liquidated anyway."""
    near = recheck_bands(long().place("0.1", "99.9").account.state)["X"].low
    far = recheck_bands(long().place("0.1", "1").account.state)["X"].low
    assert near is not None
    assert far == recheck_bands(long().account.state)["X"].low
    assert far is not None
    assert near > far


def test_bands_of_a_breached_account_are_the_mark_itself() -> None:
    assert recheck_bands(long().mark("80").account.state) == {"X": Band(low=Decimal(80), high=Decimal(80))}


def test_bands_reckon_with_the_next_tier() -> None:
    """A short of 900 doubles into the second tier: at the first one's rate the band would reach too far."""
    at = desk("500").trade("-9", "100")
    high = recheck_bands(at.account.state)["X"].high
    assert high is not None
    at.account.set_mark("X", high * Decimal("0.9999"))
    assert not at.account.margin().is_breached


def test_an_order_out_of_reach_still_has_an_edge() -> None:
    """Y can be liquidated before X ever rises to 150, but only within the band: beyond it, the sale would lose too."""
    band = recheck_bands(desk().trade("-4", "100", "Y").place("-0.1", "150").account.state)["X"]
    assert band.low is None
    assert band.high is not None
    assert band.high < 150


@pytest.mark.parametrize(("rate", "deposit"), [("0.005", "100000"), ("0.03", "10000")])
def test_a_gain_that_hardly_counts_has_an_edge(rate: str, deposit: str) -> None:
    """A long's value, and with it its margin, grows faster than a profit that counts for 0.5 % (tier 3: 5 % to 3 %)."""
    at = Desk(linear(), coins={"USDT": CoinTerms(collateral_rate=Decimal(rate))}).deposit(deposit).mark("100")
    band = recheck_bands(at.trade("9", "100").account.state)["X"]
    assert band.high is not None


def test_what_is_owed_counts_in_full() -> None:
    """A profit in a coin at half its worth counts by half, a loss as it is; the liquidation price knows the bend.

    50 USDT, 100 USDC at one half. Long 5 Z at 100: 99.5 USDC are gone at 80.1. Below it
    50 + 99.5 - 5 * (100 - p) = 0.05 p + 0.45, so 4.95 p = 350.95.
    """
    coins = {"USDT": CoinTerms(), "USDC": CoinTerms(collateral_rate=Decimal("0.5"))}
    at = Desk(linear("Z", quote="USDC"), coins=coins).deposit("50").deposit("100", "USDC").mark("100", "Z")
    at.trade("5", "100", "Z")
    assert at.account.margin().balance == Decimal("99.75")
    price = liquidation_price(at.account.state, ("Z", 0))
    assert price is not None
    assert abs(price - Decimal("350.95") / Decimal("4.95")) < Decimal("1e-12")
    assert at.mark("75", "Z").account.margin().balance == Decimal("24.5")  # 50 - 25.5


def test_no_bands_without_positions_and_orders() -> None:
    assert recheck_bands(desk().account.state) == {}


def test_checks_at_the_edges_arrive_at_the_liquidation() -> None:
    """Going to each band's edge in turn needs few checks, and the last finds the liquidation, at its very price."""
    for at, liquidated_at in ((long(), Decimal(81)), (short(), Decimal("598.95") / Decimal("5.05"))):
        for _ in range(20):
            band = recheck_bands(at.account.state)["X"]
            edge = band.high if band.low is None else band.low
            assert edge is not None
            if abs(edge - at.account.state.marks["X"]) < Decimal("0.1"):  # no tick fits in between
                break
            at.account.set_mark("X", edge)
        assert abs(at.account.state.marks["X"] - liquidated_at) < Decimal("0.1")
