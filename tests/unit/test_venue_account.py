"""The account's arithmetic, scenario by scenario, each worked out by hand beside it.

At leverage 10 (the venue's start) opening at value v takes, with taker 0.1 %:
buy v * (0.1 + 0.001 + 0.9 * 0.001) = 0.1019 v, sell v * (0.1 + 0.001 + 1.1 * 0.001) = 0.1021 v.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

import pytest

from bot.core.venue.facts import PositionIndex
from tests.support.round_account import desk
from tests.support.venue_accounts import Desk


class Case(NamedTuple):
    name: str
    steps: Callable[[Desk], object]
    expected: dict[str, str]


def case(name: str, steps: Callable[[Desk], object], **expected: str) -> Case:
    return Case(name, steps, expected)


def seen(desk: Desk) -> dict[str, object]:
    account, margin = desk.account, desk.account.margin()
    position = account.position("X")
    long, short = account.position("X", PositionIndex.LONG), account.position("X", PositionIndex.SHORT)
    return {
        "usdt": account.balance("USDT"),
        "usdc": account.balance("USDC"),
        "btc": account.balance("BTC"),
        "locked": account.locked("USDT"),
        "qty": position.qty,
        "entry": position.entry_price,
        "long": long.qty,
        "short": short.qty,
        "margin": margin.balance,
        "cover": margin.cover,
        "haircut": margin.haircut,
        "initial": margin.position_initial,
        "orders": margin.order_initial,
        "maintenance": margin.maintenance,
        "available": margin.available,
        "initial_rate": margin.initial_rate,
        "maintenance_rate": margin.maintenance_rate,
        "refusal": desk.refusal.code if desk.refusal else "",
    }


POSITIONS = [
    case("nothing", lambda d: d, usdt="1000", available="1000", initial="0", maintenance="0", initial_rate="0"),
    # Fee 0.1. IM 100 * 0.1 + 100 * 0.9 * 0.001 = 10.09, MM 100 * 1 % + 0.09 = 1.09, available 999.9 - 10.09.
    case(
        "buy",
        lambda d: d.trade("1", "100"),
        usdt="999.9", qty="1", entry="100", initial="10.09", maintenance="1.09", available="989.81",
    ),
    # The fee to close a short is reckoned at 110: IM 10 + 0.11, MM 1 + 0.11.
    case(
        "sell",
        lambda d: d.trade("-1", "100"),
        usdt="999.9", qty="-1", entry="100", initial="10.11", maintenance="1.11", available="989.79",
    ),
    case("maker pays half", lambda d: d.trade("1", "100", maker=True), usdt="999.95"),
    # Entry (100 + 110) / 2. Fees 0.1 + 0.11. At 110: IM 22 + 210 * 0.0009 = 22.189, MM 2.2 + 0.189, profit 10.
    case(
        "buy twice",
        lambda d: d.trade("1", "100").trade("1", "110").mark("110"),
        usdt="999.79", entry="105", initial="22.189", maintenance="2.389", margin="1009.79", available="987.601",
    ),
    # Profit 10 on the one sold, fees 0.2 + 0.11.
    case("close half", lambda d: d.trade("2", "100").trade("-1", "110"), usdt="1009.69", qty="1", entry="100"),
    # Loss 20, fees 0.2 + 0.18.
    case("close at a loss", lambda d: d.trade("2", "100").trade("-2", "90"), usdt="979.62", qty="0", initial="0"),
    # Profit 10 on one, two opened at 110, fees 0.1 + 0.33.
    case("turn round", lambda d: d.trade("1", "100").trade("-3", "110"), usdt="1009.57", qty="-2", entry="110"),
    # Short 1, loss 20 on covering it at 120, one long at 120; fees 0.1 + 0.24.
    case("turn back", lambda d: d.trade("-1", "100").trade("2", "120"), usdt="979.66", qty="1", entry="120"),
    case("sell twice", lambda d: d.trade("-1", "100").trade("-1", "120"), usdt="999.78", entry="110"),
    # Profit 20, fees 0.2 + 0.08.
    case("cover half", lambda d: d.trade("-2", "100").trade("1", "80"), usdt="1019.72", qty="-1", entry="100"),
    # Loss 30, fees 0.2 + 0.23.
    case("cover at a loss", lambda d: d.trade("-2", "100").trade("2", "115"), usdt="969.57", qty="0"),
    # -10 + 30, fees 0.3 + 0.09 + 0.13: closing never moves the entry.
    case(
        "close twice",
        lambda d: d.trade("3", "100").trade("-1", "90").trade("-1", "130"),
        usdt="1019.48", qty="1", entry="100",
    ),
    # Long 1 at 100, closed, then 1 at 200: the first price is forgotten. Fees 0.1 + 0.1 + 0.2.
    case(
        "begin anew",
        lambda d: d.trade("1", "100").trade("-1", "100").trade("1", "200").mark("200"),
        usdt="999.6", entry="200",
    ),
    # At 120: IM 12 + 0.09, MM 1.2 + 0.09, available 999.9 + 20 - 12.09.
    case(
        "a long's gain",
        lambda d: d.trade("1", "100").mark("120"),
        usdt="999.9", initial="12.09", maintenance="1.29", available="1007.81",
    ),
    # At 120: IM 12 + 0.11, MM 1.2 + 0.11, available 999.9 - 20 - 12.11.
    case(
        "a short's loss",
        lambda d: d.trade("-1", "100").mark("120"),
        usdt="999.9", initial="12.11", maintenance="1.31", available="967.79",
    ),
    # 100 long and 100 short of different instruments: 10.09 + 10.11, nothing offsets.
    case(
        "two instruments",
        lambda d: d.trade("1", "100").trade("-1", "100", "Y"),
        usdt="999.8", initial="20.2", maintenance="2.2",
    ),
    # IM 100 + 0.9 and MM 10 + 0.9 of what a fee of 1 leaves.
    case(
        "rates",
        lambda d: d.trade("10", "100"),
        initial_rate=str(Decimal("100.9") / 999), maintenance_rate=str(Decimal("10.9") / 999),
    ),
    case("no position, no rate", lambda d: d.trade("1", "100").trade("-1", "100"), maintenance_rate="0"),
]  # fmt: skip

TIERS = [
    case("at the first tier's limit", lambda d: d.trade("10", "100"), maintenance="10.9"),  # 1,000 * 1 % + 0.9
    # 1,500 * 2.5 % - 15 = 22.5, fee 1.35; IM 150 + 1.35.
    case("in the second", lambda d: d.trade("15", "100"), maintenance="23.85", initial="151.35"),
    # 6,000 * 5 % - 140 = 160, fee 5.4.
    case("in the third", lambda d: d.trade("60", "100"), maintenance="165.4"),
    # The value is what counts, so the mark moves it: 1,800 * 2.5 % - 15 = 30, fee 0.81.
    case("moved by the mark", lambda d: d.trade("9", "100").mark("200"), maintenance="30.81"),
    # And beyond the last: 30,000 * 5 % - 140 = 1,360, fee 100 * 100 * 0.0009 = 9.
    case("beyond the last", lambda d: d.deposit("9000").trade("100", "100").mark("300"), maintenance="1369"),
    # 1,800 at the second tier's 5 %, though leverage 50 asks for 2 %: 90 + 900 * 0.98 * 0.001.
    case(
        "the tier's own initial rate",
        lambda d: d.leverage("50").trade("9", "100").mark("200"),
        initial="90.882",
    ),
    # 1,200 * (1/20 + 0.001) + 1,200 * 0.95 * 0.001 = 61.2 + 1.14.
    case("an order in the second", lambda d: d.leverage("20").place("12", "100"), refusal="", orders="62.34"),
    case("too much leverage", lambda d: d.leverage("50").place("12", "100"), refusal="110090", orders="0"),
    case("just not too much", lambda d: d.leverage("50").place("10", "100"), refusal=""),
    case("with the position", lambda d: d.leverage("50").trade("6", "100").place("5", "100"), refusal="110090"),
    # Sold 15, it would be short 10: 1,000 is in the first tier still. The long 5 does not add to it.
    case("turning round", lambda d: d.leverage("50").trade("5", "100").place("-15", "100"), refusal=""),
    case("with other orders", lambda d: d.leverage("50").place("6", "100").place("5", "90"), refusal="110090"),
    case("beyond all tiers", lambda d: d.deposit("99000").place("201", "100"), refusal="110090"),
    case("up to all tiers", lambda d: d.deposit("99000").place("200", "100"), refusal=""),
    # The mark took its value to 30,000.
    case(
        "closing beyond all tiers",
        lambda d: d.deposit("99000").trade("150", "100").mark("200").place("-10", "200"),
        refusal="",
    ),
]

ORDERS = [
    case("a buy", lambda d: d.place("1", "100"), orders="10.19", available="989.81"),
    case("a sale", lambda d: d.place("-1", "100"), orders="10.21"),
    case("the dearer side", lambda d: d.place("1", "100").place("-1", "100"), orders="10.21"),
    case("one side adds up", lambda d: d.place("1", "100").place("1", "90"), orders="19.361"),  # 190 * 0.1019
    case("closing takes nothing", lambda d: d.trade("1", "100").place("-1", "120"), orders="0"),
    # Two of three open: 240 * 0.1021.
    case("closing and opening", lambda d: d.trade("1", "100").place("-3", "120"), orders="24.504"),
    # The nearer, at 120, closes; 130 * 0.1021.
    case("the nearest closes", lambda d: d.trade("1", "100").place("-1", "130").place("-1", "120"), orders="13.273"),
    # 1 + 0.5 close, half of the farther opens: 65 * 0.1021.
    case(
        "closing by halves",
        lambda d: d.trade("1.5", "100").place("-1", "120").place("-1", "130"),
        orders="6.6365",
    ),
    # On a short 1 of two buys the higher closes, 80 * 0.1019.
    case("the nearest buy", lambda d: d.trade("-1", "100").place("1", "80").place("1", "90"), orders="8.152"),
    # Adding to the long on one side is dearer than turning round on the other: 305.7 against 100 * 0.1021.
    case(
        "adding or turning",
        lambda d: d.trade("1", "100").place("30", "100").place("-2", "100"),
        orders="305.7",
    ),
    case(
        "reduce only takes nothing",
        lambda d: d.trade("2", "100").place("-1", "120", reduce_only=True).place("-2", "130"),
        orders="0",
    ),
    # 100 * (0.2 + 0.001) + 80 * 0.001.
    case("at leverage 5", lambda d: d.leverage("5").place("1", "100"), orders="20.18"),
    case("at leverage 1", lambda d: d.leverage("1").place("1", "100"), orders="100.1"),  # no fee to close at nothing
    # Bought at 110 while it is worth 100: 10 lost from the cover, 110 * 0.1019 taken.
    case("a loss at once", lambda d: d.place("1", "110"), cover="990", orders="11.209", available="988.791"),
    case("a sale's loss at once", lambda d: d.place("-1", "95"), cover="995"),
    case("no loss in closing", lambda d: d.trade("1", "100").place("-1", "90"), cover="999.9"),
    # 1.5 open: 152.85 * 0.1; 0.5 held: 5 + 0.045, fee 0.05.
    case(
        "half filled",
        lambda d: d.place("2", "100", order_id="a").fill("a", qty="0.5"),
        orders="15.285", initial="5.045", usdt="999.95",
    ),
    case("filled better", lambda d: d.place("1", "110", order_id="a").fill("a", price="100"), entry="100", orders="0"),
]  # fmt: skip

ACCEPTANCE = [
    # 9,900 * 0.1019 = 1,008.81.
    case("not enough", lambda d: d.place("99", "100"), refusal="110007", orders="0"),
    case("enough", lambda d: d.place("98", "100"), refusal="", orders="998.62"),  # 9,800 * 0.1019
    # 90 lost at once and 9,090 * 0.1019 = 926.271 taken; with 88 it is 88 and 905.6872.
    case("a loss at once counts", lambda d: d.place("90", "101"), refusal="110007"),
    case("a smaller one", lambda d: d.place("88", "101"), refusal=""),
    # Long 90 at 100, at 95: 991 - 450 = 541 against 855 + 8.1: closing is accepted all the same.
    case("closing in need", lambda d: d.trade("90", "100").mark("95").place("-10", "95"), refusal=""),
    case("opening in need", lambda d: d.trade("90", "100").mark("95").place("1", "95"), refusal="110007"),
    case("turning in need", lambda d: d.trade("90", "100").mark("95").place("-91", "95"), refusal="110007"),
    case(
        "reducing in need",
        lambda d: d.trade("90", "100").mark("95").place("-10", "95", reduce_only=True),
        refusal="",
    ),
    case(
        "another instrument in need", lambda d: d.trade("90", "100").mark("95").place("1", "100", "Y"), refusal="110007"
    ),
    case("reduce nothing", lambda d: d.place("-1", "100", reduce_only=True), refusal="110017"),
    case("reduce by adding", lambda d: d.trade("1", "100").place("1", "100", reduce_only=True), refusal="110017"),
    case("reduce is cut", lambda d: d.trade("1", "100").trade("-5", "100", reduce_only=True), qty="0", refusal=""),
    case("reduce a short", lambda d: d.trade("-2", "100").trade("1", "100", reduce_only=True), qty="-1", refusal=""),
    case("no quantity", lambda d: d.place("0", "100"), refusal="10001"),
    case("no number", lambda d: d.place("1", "NaN"), refusal="10001"),
    case("wrong index", lambda d: d.place("1", "100", index=1), refusal="10001"),
    case("twice the id", lambda d: d.place("1", "100", order_id="a").place("1", "100", order_id="a"), refusal="110072"),
]

HEDGE = [
    case("index 0", lambda d: d.hedge().place("1", "100"), refusal="10001"),
    # 10.09 + 10.11 and 1.09 + 1.11: the sides do not offset.
    case(
        "both sides",
        lambda d: d.hedge().trade("1", "100", index=1).trade("-1", "100", index=2),
        usdt="999.8", long="1", short="-1", initial="20.2", maintenance="2.2",
    ),
    # Profit 10, fees 0.2 + 0.11.
    case(
        "close the long",
        lambda d: d.hedge().trade("2", "100", index=1).trade("-1", "110", index=1),
        usdt="1009.69", long="1", short="0",
    ),
    # Profit 20, fees 0.2 + 0.08.
    case(
        "close the short",
        lambda d: d.hedge().trade("-2", "100", index=2).trade("1", "80", index=2),
        usdt="1019.72", short="-1", long="0",
    ),
    case(
        "closing is cut",
        lambda d: d.hedge().trade("1", "100", index=1).trade("-5", "100", index=1),
        long="0", short="0", usdt="999.8",
    ),
    case("nothing to close", lambda d: d.hedge().place("-1", "100", index=1), refusal="110017"),
    case("nothing to cover", lambda d: d.hedge().place("1", "100", index=2), refusal="110017"),
    # Both may open, so both count: 10.19 + 10.21.
    case(
        "orders of both",
        lambda d: d.hedge().place("1", "100", index=1).place("-1", "100", index=2),
        orders="20.4",
    ),
    case("closing order", lambda d: d.hedge().trade("1", "100", index=1).place("-1", "120", index=1), orders="0"),
    # 900 each: two positions of the first tier, not one of 1,800 in the second: 2 * 9 + 0.81 + 0.99.
    case(
        "tiers by side",
        lambda d: d.hedge().trade("9", "100", index=1).trade("-9", "100", index=2),
        maintenance="19.8",
    ),
    case("not modified", lambda d: d.hedge().hedge(), refusal="110025"),
    case("with a position", lambda d: d.trade("1", "100").hedge(), refusal="110024"),
    case("with an order", lambda d: d.place("1", "100").hedge(), refusal="110028"),
    case("after closing", lambda d: d.trade("1", "100").trade("-1", "100").hedge(), refusal=""),
]  # fmt: skip

LEVERAGE = [
    case("not modified", lambda d: d.leverage("10"), refusal="110043"),
    case("too high", lambda d: d.leverage("51"), refusal="110013"),
    case("too low", lambda d: d.leverage("0.5"), refusal="110013"),
    case("too high for the tier", lambda d: d.trade("15", "100").leverage("21"), refusal="110013"),
    case("as high as the tier", lambda d: d.trade("15", "100").leverage("20"), refusal=""),
    # 9,000 at leverage 8 would take 1,125 of 991.
    case("lower than there is margin", lambda d: d.trade("90", "100").leverage("8"), refusal="110007", initial="908.1"),
    # 5 + 100 * 0.95 * 0.001.
    case("higher", lambda d: d.trade("1", "100").leverage("20"), refusal="", initial="5.095"),
    # 50 + 100 * 0.5 * 0.001; MM 1 + 0.05.
    case("lower", lambda d: d.trade("1", "100").leverage("2"), refusal="", initial="50.05", maintenance="1.05"),
]

FUNDING = [
    case("a long pays", lambda d: d.trade("1", "100").funding("0.001", "120"), usdt="999.78"),  # 120 * 0.001
    case("a short receives", lambda d: d.trade("-1", "100").funding("0.001", "120"), usdt="1000.02"),
    case("a long receives", lambda d: d.trade("1", "100").funding("-0.001", "120"), usdt="1000.02"),
    case("a short pays", lambda d: d.trade("-1", "100").funding("-0.001", "120"), usdt="999.78"),
    case("nobody", lambda d: d.funding("0.001", "120"), usdt="1000"),
    case("another instrument", lambda d: d.trade("1", "100").funding("0.001", "120", "Y"), usdt="999.9"),
    # 3 pay 0.3, 1 receives 0.1; fees 0.4.
    case(
        "both sides of a hedge",
        lambda d: d.hedge().trade("3", "100", index=1).trade("-1", "100", index=2).funding("0.001", "100"),
        usdt="999.4",
    ),
    case("in its own coin", lambda d: d.trade("1", "100", "Z").funding("0.001", "100", "Z"), usdc="-0.2", usdt="1000"),
]

COLLATERAL = [
    case("another coin", lambda d: d.deposit("500", "USDC"), margin="1500"),
    case("a coin that counts in part", lambda d: d.deposit("10", "BTC"), margin="1800", available="1800"),
    case("a coin that does not count", lambda d: d.deposit("10", "DOGE"), margin="1000"),
    # The fee and the loss are owed in USDC and count in full: 1000 - 0.1 - 10; IM 9 + 0.09.
    case(
        "owed in one, held in the other",
        lambda d: d.trade("1", "100", "Z").mark("90", "Z"),
        usdc="-0.1", usdt="1000", margin="989.9", available="980.81",
    ),
    case(
        "realized in its own coin",
        lambda d: d.trade("1", "100", "Z").trade("-1", "110", "Z"),
        usdc="9.79", usdt="1000", margin="1009.79",
    ),
]  # fmt: skip

SPOT = [
    case("buy", lambda d: d.trade("1", "100", "S"), usdt="900", btc="0.999", margin="979.92"),  # 900 + 99.9 * 0.8
    case("sell", lambda d: d.deposit("1", "BTC").trade("-1", "100", "S"), usdt="1099.9", btc="0"),
    case("maker's rebate on a buy", lambda d: d.trade("1", "100", "R", maker=True), usdt="900.1", btc="1"),
    case(
        "maker's rebate on a sale",
        lambda d: d.deposit("1", "BTC").trade("-1", "100", "R", maker=True),
        usdt="1100", btc="0.001",
    ),
    case("locked", lambda d: d.place("5", "100", "S"), locked="500", usdt="1000"),
    # 500 dollars would become 5 bitcoin that count for 400.
    case("takes off collateral", lambda d: d.place("5", "100", "S"), haircut="100", available="900"),
    case("adds to collateral", lambda d: d.deposit("5", "BTC").place("-5", "100", "S"), haircut="0", available="1400"),
    case("more than there is", lambda d: d.place("10.001", "100", "S"), refusal="170131"),
    case("all there is", lambda d: d.place("10", "100", "S"), refusal=""),
    case("more than is free", lambda d: d.place("6", "100", "S").place("5", "100", "S"), refusal="170131"),
    case("sell what is not there", lambda d: d.deposit("1", "BTC").place("-1.001", "100", "S"), refusal="170131"),
    # X takes 908.1 and leaves 82.9; 5 * 20 = 100 more would be taken off the collateral.
    case("needed as margin", lambda d: d.trade("90", "100").place("5", "100", "S"), refusal="170131"),
    case("not needed as margin", lambda d: d.trade("90", "100").place("4", "100", "S"), refusal=""),
    # Half filled at 90 instead of 100: 45 paid, 50 still locked, 0.5 * 0.999 bought.
    case(
        "half filled, better",
        lambda d: d.place("1", "100", "S", order_id="a").fill("a", qty="0.5", price="90"),
        usdt="955", locked="50", btc="0.4995",
    ),
]  # fmt: skip

ALL = {
    f"{group}: {case.name}": case
    for group, cases in {
        "positions": POSITIONS,
        "tiers": TIERS,
        "orders": ORDERS,
        "acceptance": ACCEPTANCE,
        "hedge": HEDGE,
        "leverage": LEVERAGE,
        "funding": FUNDING,
        "collateral": COLLATERAL,
        "spot": SPOT,
    }.items()
    for case in cases
}


@pytest.mark.parametrize("case", ALL.values(), ids=ALL.keys())
def test_scenario(case: Case) -> None:
    at = desk()
    case.steps(at)
    found = seen(at)
    for what, value in case.expected.items():
        assert found[what] == (value if what == "refusal" else Decimal(value)), what


@pytest.mark.parametrize("case", ALL.values(), ids=ALL.keys())
def test_a_balance_is_the_sum_of_its_rows(case: Case) -> None:
    """Whatever happens, the transaction log explains every balance to the last digit, row by row."""
    at = desk()
    case.steps(at)
    balances: dict[str, Decimal] = {}
    for row in at.account.state.transactions:
        assert row.change == row.cash_flow + row.funding - row.fee
        balances[row.currency] = balances.get(row.currency, Decimal(0)) + row.change
        assert row.cash_balance == balances[row.currency]
    assert balances == at.account.state.balances
