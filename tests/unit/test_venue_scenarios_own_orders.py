"""Orders of ours that meet each other while others of the market want the same one."""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

MEETING = table("""
## what our own taker has taken of a resting order, the next trade cannot take again
    model queue=averse
    trades 10:100 30:100.1x5b
    book 5:99.9x9|100.5x9
    > 11 a sell 2 @100.1
      11 a New
    > 12 b buy 0.5
      12 b New
      12 a fill sell 0.5 @ 100.1 maker fee 0.025025
      12 a PartiallyFilled 0.5
      12 b fill buy 0.5 @ 100.1 taker fee 0.05005 pnl 0
      12 b Filled
    > 31
      30 a fill sell 1.5 @ 100.1 maker fee 0.075075
      30 a Filled
""")


@pytest.mark.parametrize("case", MEETING, ids=title_of)
def test_our_own_orders_meet(case: Case) -> None:
    """Whoever takes it, an order gives what is open of it and no more."""
    run_case(case)
