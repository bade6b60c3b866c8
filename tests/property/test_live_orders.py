"""What is kept of open orders is what counting them one by one gives, to the last decimal place."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.live_orders import LiveOrders
from bot.core.order import Order, Status
from bot.core.risk import claims_of
from bot.domain.instrument import Side
from bot.domain.orders import OrderType, SubmitOrder
from tests.support.examples import examples

QTYS = ("0.001", "0.010", "0.01", "1", "1E+3", "2.50", "0", "12345.678", "NaN", "1E+40", "1E-30")


def order(number: int, side: Side, qty: str, filled: str, *, reduce_only: bool, is_live: bool) -> Order:
    """Return an order of which some has filled."""
    request = SubmitOrder(
        client_order_id=f"o{number}",
        order_number=number,
        instrument="X",
        side=side,
        order_type=OrderType.LIMIT,
        qty=Decimal(qty),
        limit_price=Decimal(1),
        reduce_only=reduce_only,
    )
    status = Status.OPEN if is_live else Status.CANCELED
    return Order(request=request, status=status, filled_qty=Decimal(filled))


STEP = st.tuples(
    st.sampled_from(("set", "set", "set", "delete", "pop", "update")),
    st.integers(0, 14),
    st.sampled_from(Side),
    st.one_of(st.sampled_from(QTYS[:8]), st.sampled_from(QTYS)),
    st.sampled_from(("0", "0.0005")),
    st.booleans(),
    st.integers(0, 9),
)


@settings(max_examples=examples(50), deadline=None)
@given(steps=st.lists(STEP, min_size=10, max_size=80), asked=st.data())
def test_sums_are_those_of_all_orders(
    steps: list[tuple[str, int, Side, str, str, bool, int]], asked: st.DataObject
) -> None:
    """However orders come, change and go, and whenever they are asked for; an odd quantity is left to the gate."""
    live = LiveOrders()
    plain: dict[str, Order] = {}
    for what, number, side, qty, filled, reduce_only, luck in steps:
        name = f"o{number}"
        if what in ("set", "update"):
            made = order(number, side, qty, filled, reduce_only=reduce_only, is_live=luck > 0)
            plain[name] = made
            if what == "set":
                live[name] = made
            else:
                live.update({name: made})
        elif what == "pop":
            assert live.pop(name) is plain.pop(name, None)
        elif name in live:
            del live[name], plain[name]
        assert dict(live) == plain
        if luck % 3:
            continue
        without = asked.draw(st.sampled_from(["", *sorted(plain)]))
        kept = live.claims(without=without)
        if kept is None:
            assert len(live) < 8 or any(str(each.request.qty) in QTYS[8:] for each in plain.values())
            continue
        counted = claims_of(each for name, each in plain.items() if name != without)
        assert str(kept) == str(counted)
