"""Orders at the venue model where the book is recorded beside the trades.

A taker walks the levels of its arrival, which stay as the market left them; a resting order has all of its level ahead.
"""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

TAKING = table("""
## a market order walks the book
    trades 10:100
    book 5:99.9x1,99.8x2|100.1x1,100.2x3
    > 11 a buy 2
      11 a New
      11 a fill buy 1 @ 100.1 taker fee 0.1001
      11 a PartiallyFilled 1
      11 a fill buy 1 @ 100.2 taker fee 0.1002
      11 a Filled
      = position 2 @ 100.15
    > 12 b sell 2
      12 b New
      12 b fill sell 1 @ 99.9 taker fee 0.0999 pnl -0.25
      12 b PartiallyFilled 1
      12 b fill sell 1 @ 99.8 taker fee 0.0998 pnl -0.35
      12 b Filled

## a thin book fills a market order in part and cancels the rest
    trades 10:100
    book 5:99.9x1,99.8x2|100.1x1,100.2x3
    > 11 a sell 5                             # thin book: partial, then Cancelled
      11 a New
      11 a fill sell 1 @ 99.9 taker fee 0.0999
      11 a PartiallyFilled 1
      11 a fill sell 2 @ 99.8 taker fee 0.1996
      11 a PartiallyFilled 3
      11 a Cancelled 3 EC_NoImmediateQtyToFill
      = wallet 9999.7005

## what lies beyond the band is not taken
    mark 5:100
    trades 10:100
    book 5:99.9x1,98.9x9|100.1x1,101.1x9
    > 11 a buy 2                              # up to 101
      11 a New
      11 a fill buy 1 @ 100.1 taker fee 0.1001
      11 a PartiallyFilled 1
      11 a Cancelled 1 EC_NoImmediateQtyToFill
    > 12 b sell 2                             # down to 99
      12 b New
      12 b fill sell 1 @ 99.9 taker fee 0.0999 pnl -0.2
      12 b PartiallyFilled 1
      12 b Cancelled 1 EC_NoImmediateQtyToFill

## nothing within the band
    mark 5:100
    trades 10:100
    book 5:98.9x9|101.1x9
    > 11 a buy 2
      11 a New
      11 a Cancelled EC_NoImmediateQtyToFill

## slippage tolerance counts from the touch
    trades 10:100
    book 5:99.9x1,99.8x1,99.7x9|100.1x1,100.2x1,100.3x9
    > 11 a buy 5 ticks=1                      # "relative to ask1": up to 100.2
      11 a New
      11 a fill buy 1 @ 100.1 taker fee 0.1001
      11 a PartiallyFilled 1
      11 a fill buy 1 @ 100.2 taker fee 0.1002
      11 a PartiallyFilled 2
      11 a Cancelled 2 EC_NoImmediateQtyToFill
    > 12 b sell 5 ticks=1                     # down to 99.8
      12 b New
      12 b fill sell 1 @ 99.9 taker fee 0.0999 pnl -0.25
      12 b PartiallyFilled 1
      12 b fill sell 1 @ 99.8 taker fee 0.0998 pnl -0.35
      12 b PartiallyFilled 2
      12 b Cancelled 2 EC_NoImmediateQtyToFill

## a limit order takes what is within its limit and rests with the rest
    trades 10:100 20:100.3 30:100
    book 5:99.9x1,99.8x2|100.1x1,100.2x3
    > 11 a buy 3 @100.1
      11 a New
      11 a fill buy 1 @ 100.1 taker fee 0.1001
      11 a PartiallyFilled 1
    > 20
    > 30                                      # traded through
      30 a fill buy 2 @ 100.1 maker fee 0.1001
      30 a Filled

## IOC takes what is within its limit and cancels the rest
    trades 10:100
    book 5:99.9x1,99.8x2|100.1x1,100.2x3
    > 11 a buy 3 @100.1 IOC
      11 a New
      11 a fill buy 1 @ 100.1 taker fee 0.1001
      11 a PartiallyFilled 1
      11 a Cancelled 1 EC_NoImmediateQtyToFill

## FOK takes all or nothing
    trades 10:100
    book 5:99.9x1,99.8x2|100.1x1,100.2x3
    > 11 a buy 4.001 @100.2 FOK
      11 a New
      11 a Cancelled EC_NoEnoughQtyToFill
    > 12 b buy 4 @100.2 FOK
      12 b New
      12 b fill buy 1 @ 100.1 taker fee 0.1001
      12 b PartiallyFilled 1
      12 b fill buy 3 @ 100.2 taker fee 0.3006
      12 b Filled

## post-only is judged by the book, not by the last trade
    trades 10:100.1
    book 5:99.9x1,99.8x2|100.1x1,100.2x3
    > 11 a buy 1 @100.1 PostOnly
      11 a New
      11 a Cancelled EC_PostOnlyWillTakeLiquidity
    > 12 b buy 1 @100 PostOnly
      12 b New
    > 13 c sell 1 @99.9 PostOnly
      13 c New
      13 c Cancelled EC_PostOnlyWillTakeLiquidity

## a spot order sized in the quote coin walks the book
    kind spot
    trades 10:100
    book 5:99.9x1|100x5,101x9
    > 11 a buy 600 quote                      # 5 for 500; 100 / 101 = 0.990, for 99.99; the crumbs are left
      11 a New
      11 a fill buy 5 @ 100 taker fee 0.005 BTC
      11 a PartiallyFilled 5
      11 a fill buy 0.99 @ 101 taker fee 0.00099 BTC
      11 a PartiallyFilled 5.99
      11 a PartiallyFilledCanceled 5.99 EC_CancelForNoFullFill
      = wallet USDT 9400.01

## another account's better bid comes before the book
    accounts A B
    trades 10:100
    book 5:99.9x2,99.8x2|100.1x1,100.2x3
    > 11 a buy 1 @100
      11 a New
    > 12 B: b sell 2
      12 B:b New
      12 a fill buy 1 @ 100 maker fee 0.05
      12 a Filled
      12 B:b fill sell 1 @ 100 taker fee 0.1
      12 B:b PartiallyFilled 1
      12 B:b fill sell 1 @ 99.9 taker fee 0.0999
      12 B:b Filled

## the book of its arrival is what a taker meets
    trades 10:100
    book 5:99.9x1|100.1x1 15:99.4x2|99.6x2
    > 15 a buy 1                              # at equal times what happens meets the book before it
      15 a New
      15 a fill buy 1 @ 100.1 taker fee 0.1001
      15 a Filled
    > 16 b buy 1
      16 b New
      16 b fill buy 1 @ 99.6 taker fee 0.0996
      16 b Filled
""")

RESTING = table("""
## what rests at its level stands ahead
    model queue=averse
    trades 10:100 20:99.9x1s 30:99.9x1.5s 40:99.9x5s
    book 5:99.9x2,99.8x2|100.1x1,100.2x3
    > 11 a buy 1 @99.9
      11 a New
    > 20                                      # 1 of the 2
    > 30                                      # the other, and 0.5 of us
      30 a fill buy 0.5 @ 99.9 maker fee 0.024975
      30 a PartiallyFilled 0.5
    > 40
      40 a fill buy 0.5 @ 99.9 maker fee 0.024975
      40 a Filled

## alone at a new level it is first
    model queue=averse
    trades 10:100 20:100x0.4s 30:100x9s
    book 5:99.9x2|100.1x1
    > 11 a buy 1 @100
      11 a New
    > 20
      20 a fill buy 0.4 @ 100 maker fee 0.02
      20 a PartiallyFilled 0.4
    > 30
      30 a fill buy 0.6 @ 100 maker fee 0.03
      30 a Filled

## a level that shrinks below our place moves us up
    model queue=averse
    trades 10:100 30:99.9x1s
    book 5:99.9x5|100.1x1 20:99.9x0.5|100.1x1
    > 11 a buy 1 @99.9
      11 a New
    > 30                                      # 0.5 ahead are left: 0.5 of the 1 for us
      30 a fill buy 0.5 @ 99.9 maker fee 0.024975
      30 a PartiallyFilled 0.5

## a triggered order takes from the book at once
    trades 10:100 30:98.9
    book 5:99.9x2|100.1x1 25:98.8x1,98.7x4|98.9x1
    > 11 a buy 1 sl=99
      11 a New
      11 a fill buy 1 @ 100.1 taker fee 0.1001
      11 a Filled
      11 SL1 Untriggered sell 1 <=99
    > 30
      30 SL1 Triggered
      30 SL1 New
      30 SL1 fill sell 1 @ 98.8 taker fee 0.0988 pnl -1.3
      30 SL1 Filled

## an order amended through the book takes
    trades 10:100
    book 5:99.9x1|100.1x1
    > 11 a buy 1 @99.5
      11 a New
    > 12 amend a price=100.1
      12 a New price 100.1
      12 a fill buy 1 @ 100.1 taker fee 0.1001
      12 a Filled
""")


@pytest.mark.parametrize("case", TAKING, ids=title_of)
def test_takers_and_the_book(case: Case) -> None:
    """A taker gets what rests there, best first, as far as it may."""
    run_case(case)


@pytest.mark.parametrize("case", RESTING, ids=title_of)
def test_resting_orders_and_the_book(case: Case) -> None:
    """A resting order waits for what stands ahead of it."""
    run_case(case)
