"""What open orders come to is reckoned once for all checks of the gate; what is no number never hides in a sum."""

from decimal import Decimal

from msgspec.structs import replace

from bot.core.order import Order, apply
from bot.core.risk import claims_of, worst_case_qty
from bot.domain.account import Position
from bot.domain.instrument import Side
from tests.support.money import NAME, accepted, dec, filled, submit

FLAT = Position(instrument=NAME)
NOT_A_NUMBER = replace(Order(request=submit(qty="1")), filled_qty=Decimal("NaN"))


def test_claims_are_by_side_and_by_whether_they_only_reduce() -> None:
    part = apply(apply(Order(request=submit(qty="4")), accepted()), filled(qty="1"))
    orders = [
        part,
        Order(request=submit(qty="2")),
        Order(request=submit(side=Side.SELL, qty="7")),
        Order(request=submit(side=Side.SELL, qty="9", reduce_only=True)),
    ]
    claims = claims_of(orders)
    assert claims.entering == {Side.BUY: dec(5), Side.SELL: dec(7)}
    assert claims.reducing == {Side.BUY: dec(0), Side.SELL: dec(9)}
    assert claims.is_finite


def test_an_order_that_is_no_number_is_told() -> None:
    """The worst case is then none either: whatever is compared with it is denied."""
    claims = claims_of([NOT_A_NUMBER, Order(request=submit(qty="2"))])
    assert not claims.is_finite
    assert claims.entering[Side.BUY] == 2
    assert worst_case_qty(FLAT, [NOT_A_NUMBER]).is_nan()
    assert worst_case_qty(FLAT, claims).is_nan()


def test_the_worst_case_is_the_same_from_orders_and_from_what_they_come_to() -> None:
    orders = [Order(request=submit(qty="2")), Order(request=submit(side=Side.SELL, qty="3"))]
    extra = submit(side=Side.SELL, qty="1")
    assert worst_case_qty(FLAT, orders, extra) == worst_case_qty(FLAT, claims_of(orders), extra) == 4
