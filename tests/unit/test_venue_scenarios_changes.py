"""Amending and canceling at the venue model, and how many orders there may be."""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

AMEND = table("""
## an amended price is the new price
    trades 10:100 20:98.9
    > 11 a buy 1 @98
      11 a New
    > 12 amend a price=99
      12 a New price 99
    > 20
      20 a fill buy 1 @ 99 maker fee 0.0495
      20 a Filled

## an amended quantity is the new total
    trades 10:100 20:98.9
    > 11 a buy 1 @99
      11 a New
    > 12 amend a qty=3
      12 a New qty 3
    > 20
      20 a fill buy 3 @ 99 maker fee 0.1485
      20 a Filled

## less quantity keeps the place
    accounts A B
    trades 10:100 20:98.9
    > 11 a buy 2 @99
      11 a New
    > 12 B: b buy 1 @99
      12 B:b New
    > 13 amend a qty=1
      13 a New qty 1
    > 20
      20 a fill buy 1 @ 99 maker fee 0.0495
      20 a Filled
      20 B:b fill buy 1 @ 99 maker fee 0.0495
      20 B:b Filled

## more quantity loses the place
    accounts A B
    trades 10:100 20:98.9
    > 11 a buy 1 @99
      11 a New
    > 12 B: b buy 1 @99
      12 B:b New
    > 13 amend a qty=2
      13 a New qty 2
    > 20
      20 B:b fill buy 1 @ 99 maker fee 0.0495
      20 B:b Filled
      20 a fill buy 2 @ 99 maker fee 0.099
      20 a Filled

## a price there and back loses the place
    accounts A B
    trades 10:100 20:98.9
    > 11 a buy 1 @99
      11 a New
    > 12 B: b buy 1 @99
      12 B:b New
    > 13 amend a price=98.5
      13 a New price 98.5
    > 14 amend a price=99
      14 a New price 99
    > 20
      20 B:b fill buy 1 @ 99 maker fee 0.0495
      20 B:b Filled
      20 a fill buy 1 @ 99 maker fee 0.0495
      20 a Filled

## more quantity loses what was gained in the market's queue
    # 30 are assumed ahead: of the hour before 2 in two visits, times 30.
    model queue=averse
    trades 10:100x1s 20:101x1s 3600000000010:99.5x20s 3600000000020:99.5x30s 3600000000030:99.5x1s
    > 3600000000001 a buy 1 @99.5
      3600000000001 a New
    > 3600000000011 amend a qty=2             # 10 were ahead, now 30 again
      3600000000011 a New qty 2
    > 3600000000020
    > 3600000000030
      3600000000030 a fill buy 1 @ 99.5 maker fee 0.04975
      3600000000030 a PartiallyFilled 1

## more quantity at a price that has been touched does not take, for the order rests already
    trades 10:100 20:99 30:98.9
    > 11 a buy 1 @99 PostOnly
      11 a New
    > 12 b buy 1 @99
      12 b New
    > 21 amend a qty=2
      21 a New qty 2
    > 22 amend b qty=2
      22 b New qty 2
    > 30
      30 a fill buy 2 @ 99 maker fee 0.099
      30 a Filled
      30 b fill buy 2 @ 99 maker fee 0.099
      30 b Filled

## less quantity keeps what was gained in the market's queue
    model queue=averse
    trades 10:100x1s 20:101x1s 3600000000010:99.5x20s 3600000000020:99.5x30s
    > 3600000000001 a buy 3 @99.5
      3600000000001 a New
    > 3600000000011 amend a qty=2
      3600000000011 a New qty 2
    > 3600000000020                           # 10 were ahead of it: 20 are left for us
      3600000000020 a fill buy 2 @ 99.5 maker fee 0.0995
      3600000000020 a Filled

## a quantity that is not above what has filled is refused
    accounts A B
    trades 10:100 20:99.5 30:99.5
    > 11 a buy 2 @99.8
      11 a New
    > 12 B: s sell 1 @99
      12 B:s New
    > 20
      20 a fill buy 1 @ 99.8 maker fee 0.0499
      20 a PartiallyFilled 1
      20 B:s fill sell 1 @ 99.8 taker fee 0.0998
      20 B:s Filled
      20 a fill buy 1 @ 99.8 maker fee 0.0499
      20 a Filled

## amending a partly filled order: 110064 at or below what has filled
    model queue=averse
    trades 10:100x1s 20:101x1s 3600000000010:99.5x30.4s
    > 3600000000001 a buy 1 @99.5
      3600000000001 a New
    > 3600000000010
      3600000000010 a fill buy 0.4 @ 99.5 maker fee 0.0199
      3600000000010 a PartiallyFilled 0.4
    > 3600000000011 amend a qty=0.4           # 110064: not above the filled part
      3600000000011 refused 110064
    > 3600000000012 amend a qty=0.3
      3600000000012 refused 110064
    > 3600000000013 amend a qty=0.5           # the rest: 0.1
      3600000000013 a PartiallyFilled qty 0.5 0.4
      = order a qty 0.5 filled_qty 0.4
    > 3600000000014 amend a price=99
      3600000000014 a PartiallyFilled price 99 0.4

## an amendment that changes nothing is refused
    trades 10:100
    > 11 a buy 1 @99
      11 a New
    > 12 amend a                              # 10001: the order remains unchanged
      12 refused 10001
    > 13 amend a price=99
      13 refused 10001
    > 14 amend a qty=1 price=99
      14 refused 10001
    > 15 amend a qty=1.0004                   # floored to what it is
      15 refused 10001

## an amended quantity is floored and judged as a new one
    limits qty_max=50
    trades 10:100
    > 11 a buy 1 @99
      11 a New
    > 12 amend a qty=1.5009
      12 a New qty 1.5
    > 13 amend a qty=50.001                   # as at its creation: exceeds the maximum
      13 refused 10001
    > 14 amend a qty=0.01                     # 0.99 < 5
      14 refused 110094
    > 15 amend a qty=0
      15 refused 110064
    > 16 amend a qty=-1
      16 refused 110064
    > 17 amend a qty=NaN
      17 refused 110064
      = order a qty 1.5

## an amended price off the tick is refused
    trades 10:100
    > 11 a buy 1 @99
      11 a New
    > 12 amend a price=98.95
      12 refused 110003
    > 13 amend a price=0
      13 refused 110003

## what does not exist, or exists no more, cannot be amended
    trades 10:100 20:98
    > 11 amend a qty=1
      11 refused 110001
    > 12 a buy 1 @99
      12 a New
    > 13 b buy 1 @98.5
      13 b New
    > 14 cancel b
      14 b Cancelled CancelByUser
    > 15 amend b qty=2
      15 refused 110001
    > 20 amend a qty=2                        # the fill of this instant came first
      20 refused 110001
      20 a fill buy 1 @ 99 maker fee 0.0495
      20 a Filled

## somebody else's order cannot be amended or canceled
    accounts A B
    trades 10:100
    > 11 a buy 1 @99
      11 a New
    > 12 B: amend a qty=2
      12 refused 110001
    > 13 B: cancel a
      13 refused 110001
    > 14 B: cancel sim-1
      14 refused 110001
      = orders a

## an amendment without margin is refused and leaves the order as it was
    deposit 100 USDT
    trades 10:100 20:98.9
    > 11 a buy 2 @99                          # 9.9 * 1.019 = 10.0881 a piece
      11 a New
    > 12 amend a qty=10
      12 refused 110007
    > 13 amend a qty=9                        # 90.7929
      13 a New qty 9
      = order_initial 90.7929
    > 20
      20 a fill buy 9 @ 99 maker fee 0.4455
      20 a Filled

## a limit amended through the market takes
    trades 10:100 20:100.2
    > 11 a buy 1 @99
      11 a New
    > 12 amend a price=101
      12 a New price 101
    > 20
      20 a fill buy 1 @ 100.2 taker fee 0.1002
      20 a Filled

## a post-only order amended through the market is canceled
    trades 10:100 20:100.2
    > 11 a buy 1 @99 PostOnly
      11 a New
    > 12 amend a price=101
      12 a New price 101
      12 a Cancelled EC_PostOnlyWillTakeLiquidity
    > 20

## a market order has no price to amend
    trades 10:100 20:100
    > 11 a buy 1
      11 a New
    > 12 amend a price=99
      12 refused 10001
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled

## an order that waits for no trigger has none to amend
    trades 10:100
    > 11 a buy 1 @99
      11 a New
    > 12 amend a at=105
      12 refused 110001

## exits of an order that has not filled can be amended
    trades 10:100 20:98.9
    > 11 a buy 1 @99 tp=110 sl=90
      11 a New
    > 12 amend a tp=105 sl=95
      12 a New
    > 20
      20 a fill buy 1 @ 99 maker fee 0.0495
      20 a Filled
      20 TP1 Untriggered sell 1 >=105
      20 SL1 Untriggered sell 1 <=95

## exits on the wrong side cannot be amended in
    trades 10:100
    > 11 a buy 1 @99 tp=110
      11 a New
    > 12 amend a tp=98
      12 refused 10001
    > 13 amend a sl=99.5
      13 refused 10001

## an amendment by the venue's own order id
    trades 10:100
    > 11 a buy 1 @99
      11 a New
    > 12 amend sim-1 qty=2
      12 a New qty 2
    > 13 cancel sim-1
      13 a Cancelled CancelByUser
""")

CANCEL = table("""
## a canceled order is gone
    trades 10:100 20:98
    > 11 a buy 1 @99
      11 a New
      = order_initial 10.0881                 # 9.9 + 0.099 + 0.0891
    > 12 cancel a
      12 a Cancelled CancelByUser
      = order a reject_reason EC_PerCancelRequest
      = order_initial 0
      = next none
    > 20
      = position 0

## what is not there cannot be canceled
    trades 10:100
    > 11 cancel a
      11 refused 110001
    > 12 a buy 1 @99
      12 a New
    > 13 cancel a
      13 a Cancelled CancelByUser
    > 14 cancel a
      14 refused 110001

## the fill of the instant at which a cancel arrives came first
    trades 10:100 20:98
    > 11 a buy 1 @99
      11 a New
    > 20 cancel a
      20 refused 110001
      20 a fill buy 1 @ 99 maker fee 0.0495
      20 a Filled

## a cancel just before
    trades 10:100 20:98
    > 11 a buy 1 @99
      11 a New
    > 19 cancel a
      19 a Cancelled CancelByUser
    > 20

## what has filled of a canceled order stays
    model queue=averse
    trades 10:100x1s 20:101x1s 3600000000010:99.5x30.4s 3600000000020:99
    > 3600000000001 a buy 1 @99.5
      3600000000001 a New
    > 3600000000010
      3600000000010 a fill buy 0.4 @ 99.5 maker fee 0.0199
      3600000000010 a PartiallyFilled 0.4
    > 3600000000011 cancel a                  # linear: Cancelled may have filled
      3600000000011 a Cancelled 0.4 CancelByUser
    > 3600000000020
      = position 0.4 @ 99.5

## cancel-all reaches every kind, by default
    trades 10:100 20:100
    > 11 a buy 2 tp=110 sl=90
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
      20 TP1 Untriggered sell 2 >=110
      20 SL1 Untriggered sell 2 <=90
    > 21 stops trail=5
      21 TS1 Untriggered sell 2 <=95
    > 22 b buy 1 @95
      22 b New
    > 23 c buy 1 >=105
      23 c Untriggered
    > 24 d sell 1
      24 d New
    > 25 cancel-all                           # TP, SL and trailing stops too
      25 TP1 Cancelled CancelByUser
      25 SL1 Cancelled CancelByUser
      25 TS1 Cancelled CancelByUser
      25 b Cancelled CancelByUser
      25 c Cancelled CancelByUser
      25 d Cancelled CancelByUser
      = orders
      = position 2 @ 100
    > 26 cancel-all                           # nothing to cancel is no error

## cancel-all of plain orders, and of those that wait
    trades 10:100 20:100
    > 11 a buy 2 sl=90
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
      20 SL1 Untriggered sell 2 <=90
    > 21 b buy 1 @95
      21 b New
    > 22 c buy 1 >=105
      22 c Untriggered
    > 23 cancel-all order
      23 b Cancelled CancelByUser
    > 24 cancel-all stop
      24 SL1 Cancelled CancelByUser
      24 c Cancelled CancelByUser

## cancel-all leaves other accounts alone
    accounts A B
    trades 10:100
    > 11 a buy 1 @95
      11 a New
    > 12 B: b buy 1 @95
      12 B:b New
    > 13 cancel-all
      13 a Cancelled CancelByUser
      = B: orders B:b
""")


def _five_hundred() -> str:
    """Return the steps that leave 500 orders."""
    return "\n".join(f"    > 11 o{n} buy 0.06 @90\n      11 o{n} New" for n in range(500))


def _canceled(first: int, last: int) -> str:
    return "\n".join(f"      15 o{n} Cancelled CancelByUser" for n in range(first, last))


CAPS = table(f"""
## five hundred orders of one instrument, and cancel-all reaches them all
    trades 10:100
{_five_hundred()}
    > 12 x buy 0.06 @90                       # 110020: too many active orders
      12 refused 110020
    > 13 y buy 1
      13 refused 110020
    > 14 z buy 1 >=105                        # *inferred*: conditional ones are counted apart
      14 z Untriggered
    > 15 cancel-all                           # 500 a call, *inferred*: the oldest, where the venue picks at random
{_canceled(0, 500)}
    > 16 cancel-all
      16 z Cancelled CancelByUser
""")


@pytest.mark.parametrize("case", AMEND, ids=title_of)
def test_amendments(case: Case) -> None:
    """An amended order is what a new one could be, keeps its place if it only shrinks, or stays as it was."""
    run_case(case)


@pytest.mark.parametrize("case", CANCEL, ids=title_of)
def test_cancels(case: Case) -> None:
    """A cancel ends what is still open, and only that."""
    run_case(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", CAPS, ids=title_of)
def test_caps(case: Case) -> None:
    """There are only so many orders, and one request reaches only so many."""
    run_case(case, cpu_seconds=120)
