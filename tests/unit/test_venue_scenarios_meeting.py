"""Accounts that meet in the book, and an account that would meet itself."""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

# Two accounts meet where both prices say so: the one that was there first gets its own price, as on any venue.
MEETING = table("""
## a taker meets another account's bid that is better than the market
    accounts A B
    trades 10:100 20:99.5
    > 11 a buy 1 @99.8
      11 a New
    > 12 B: b sell 3
      12 B:b New
    > 20                                      # 1 at the bid, 2 in the market
      20 a fill buy 1 @ 99.8 maker fee 0.0499
      20 a Filled
      20 B:b fill sell 1 @ 99.8 taker fee 0.0998
      20 B:b PartiallyFilled 1
      20 B:b fill sell 2 @ 99.5 taker fee 0.199
      20 B:b Filled
      = position 1 @ 99.8
      = B: position -3 @ 99.6

## a taker takes bids in the order of price and time
    accounts A B
    trades 10:100 20:99
    > 11 a buy 1 @99.5
      11 a New
    > 12 b buy 1 @99.8
      12 b New
    > 13 c buy 1 @99.5
      13 c New
    > 14 B: d sell 2.5
      14 B:d New
    > 20                                      # then the trade goes through what is left of c
      20 b fill buy 1 @ 99.8 maker fee 0.0499
      20 b Filled
      20 B:d fill sell 1 @ 99.8 taker fee 0.0998
      20 B:d PartiallyFilled 1
      20 a fill buy 1 @ 99.5 maker fee 0.04975
      20 a Filled
      20 B:d fill sell 1 @ 99.5 taker fee 0.0995
      20 B:d PartiallyFilled 2
      20 c fill buy 0.5 @ 99.5 maker fee 0.024875
      20 c PartiallyFilled 0.5
      20 B:d fill sell 0.5 @ 99.5 taker fee 0.04975
      20 B:d Filled
      20 c fill buy 0.5 @ 99.5 maker fee 0.024875
      20 c Filled

## a taker prefers a better market
    accounts A B
    trades 10:100 20:100.1
    > 11 a buy 1 @99.8
      11 a New
    > 12 B: b sell 1 @99.5
      12 B:b New
    > 20
      20 B:b fill sell 1 @ 100.1 taker fee 0.1001
      20 B:b Filled

## a limit that another account's bid reaches trades with it, wherever the market has gone
    accounts A B
    trades 10:100 20:99.6 30:99.9
    > 11 a buy 1 @99.8
      11 a New
    > 12 B: b sell 2 @99.8                    # 100 is the last price: it takes what is there
      12 B:b New
    > 20                                      # the market is below its limit, the bid is not; the rest rests
      20 a fill buy 1 @ 99.8 maker fee 0.0499
      20 a Filled
      20 B:b fill sell 1 @ 99.8 taker fee 0.0998
      20 B:b PartiallyFilled 1
    > 30
      30 B:b fill sell 1 @ 99.8 maker fee 0.0499
      30 B:b Filled

## IOC takes another account's bid and cancels the rest
    accounts A B
    trades 10:100 20:99.6
    > 11 a buy 1 @99.8
      11 a New
    > 12 B: b sell 2 @99.8 IOC
      12 B:b New
    > 20                                      # linear: Cancelled may have filled
      20 a fill buy 1 @ 99.8 maker fee 0.0499
      20 a Filled
      20 B:b fill sell 1 @ 99.8 taker fee 0.0998
      20 B:b PartiallyFilled 1
      20 B:b Cancelled 1 EC_NoImmediateQtyToFill

## FOK takes nothing where not all of it can be had
    accounts A B
    trades 10:100 20:99.6
    > 11 a buy 1 @99.8
      11 a New
    > 12 B: b sell 2 @99.8 FOK
      12 B:b New
    > 20                                      # and the market's trade goes through the bid
      20 B:b Cancelled EC_NoEnoughQtyToFill
      20 a fill buy 1 @ 99.8 maker fee 0.0499
      20 a Filled

## FOK takes bid and market together
    accounts A B
    trades 10:100 20:99.6
    > 11 a buy 1 @99.8
      11 a New
    > 12 B: b sell 2 @99.6 FOK
      12 B:b New
    > 20
      20 a fill buy 1 @ 99.8 maker fee 0.0499
      20 a Filled
      20 B:b fill sell 1 @ 99.8 taker fee 0.0998
      20 B:b PartiallyFilled 1
      20 B:b fill sell 1 @ 99.6 taker fee 0.0996
      20 B:b Filled

## a market order within its slippage tolerance takes another account's bid
    accounts A B
    trades 10:100 20:99.6
    > 11 a buy 1 @99.8
      11 a New
    > 12 B: b sell 2 ticks=2                  # not below 99.8
      12 B:b New
    > 20                                      # thin: partial, then Cancelled
      20 a fill buy 1 @ 99.8 maker fee 0.0499
      20 a Filled
      20 B:b fill sell 1 @ 99.8 taker fee 0.0998
      20 B:b PartiallyFilled 1
      20 B:b Cancelled 1 EC_NoImmediateQtyToFill

## buys and sells of two accounts at one price rest on either side of the market
    accounts A B
    trades 10:100 20:101.1 30:98.9
    > 11 a buy 1 @99
      11 a New
    > 12 B: b sell 1 @101
      12 B:b New
    > 20
      20 B:b fill sell 1 @ 101 maker fee 0.0505
      20 B:b Filled
    > 30
      30 a fill buy 1 @ 99 maker fee 0.0495
      30 a Filled

## what two accounts trade with each other is the market's no more
    accounts A B
    trades 10:100 20:99.5 30:99.5
    > 11 a buy 1 @99.8
      11 a New
    > 12 B: b sell 1 @99.5
      12 B:b New
    > 20
      20 a fill buy 1 @ 99.8 maker fee 0.0499
      20 a Filled
      20 B:b fill sell 1 @ 99.8 taker fee 0.0998
      20 B:b Filled
      = next none
""")

SELF_MATCH = table("""
## without self-match prevention an account trades with itself
    trades 10:100 20:99.6
    > 11 a buy 1 @99.8
      11 a New
    > 12 b sell 2
      12 b New
    > 20
      20 a fill buy 1 @ 99.8 maker fee 0.0499
      20 a Filled
      20 b fill sell 1 @ 99.8 taker fee 0.0998 pnl 0
      20 b PartiallyFilled 1
      20 b fill sell 1 @ 99.6 taker fee 0.0996
      20 b Filled
      = position -1 @ 99.6

## CancelMaker
    trades 10:100 20:99.6
    > 11 a buy 1 @99.8
      11 a New
    > 12 b sell 2 smp=CancelMaker
      12 b New
    > 20
      20 a Cancelled EC_BySelfMatch CancelBySmp
      20 b fill sell 2 @ 99.6 taker fee 0.1992
      20 b Filled
      = order a smp_order_id sim-2

## CancelTaker
    trades 10:100 20:99.6
    > 11 a buy 1 @99.8
      11 a New
    > 12 b sell 2 smp=CancelTaker
      12 b New
    > 20                                      # and the market's trade goes through the bid
      20 b Cancelled EC_BySelfMatch CancelBySmp
      20 a fill buy 1 @ 99.8 maker fee 0.0499
      20 a Filled
      = order b smp_order_id sim-1

## CancelBoth
    trades 10:100 20:99.6
    > 11 a buy 1 @99.8
      11 a New
    > 12 b sell 2 smp=CancelBoth
      12 b New
    > 20
      20 a Cancelled EC_BySelfMatch CancelBySmp
      20 b Cancelled EC_BySelfMatch CancelBySmp
      = order a smp_order_id sim-2
      = order b smp_order_id sim-1
      = position 0

## the maker's flag is void
    trades 10:100 20:99.6
    > 11 a buy 1 @99.8 smp=CancelBoth
      11 a New
    > 12 b sell 1
      12 b New
    > 20
      20 a fill buy 1 @ 99.8 maker fee 0.0499
      20 a Filled
      20 b fill sell 1 @ 99.8 taker fee 0.0998 pnl 0
      20 b Filled

## self-match prevention does not touch another account
    accounts A B
    trades 10:100 20:99.6
    > 11 a buy 1 @99.8 smp=CancelBoth
      11 a New
    > 12 B: b sell 1 smp=CancelBoth
      12 B:b New
    > 20
      20 a fill buy 1 @ 99.8 maker fee 0.0499
      20 a Filled
      20 B:b fill sell 1 @ 99.8 taker fee 0.0998
      20 B:b Filled

## CancelTaker keeps what was taken before
    accounts A B
    trades 10:100 20:99.6
    > 11 B: b buy 1 @99.9
      11 B:b New
    > 12 a buy 1 @99.8
      12 a New
    > 13 c sell 3 smp=CancelTaker
      13 c New
    > 20
      20 B:b fill buy 1 @ 99.9 maker fee 0.04995
      20 B:b Filled
      20 c fill sell 1 @ 99.9 taker fee 0.0999
      20 c PartiallyFilled 1
      20 c Cancelled 1 EC_BySelfMatch CancelBySmp
      20 a fill buy 1 @ 99.8 maker fee 0.0499 pnl 0.1
      20 a Filled

## FOK that would meet its own account's order takes nothing from others
    accounts A B
    trades 10:100 20:99.6
    > 11 B: b buy 1 @99.9
      11 B:b New
    > 12 a buy 1 @99.8
      12 a New
    > 13 c sell 3 @99 FOK smp=CancelTaker     # *inferred*: all of it cannot fill, so none does
      13 c New
    > 20
      20 c Cancelled EC_NoEnoughQtyToFill
      20 B:b fill buy 1 @ 99.9 maker fee 0.04995
      20 B:b Filled
      20 a fill buy 1 @ 99.8 maker fee 0.0499
      20 a Filled
""")


@pytest.mark.parametrize("case", MEETING, ids=title_of)
def test_accounts_that_meet(case: Case) -> None:
    """Orders that cross trade with each other, at the price of the one that was there."""
    run_case(case)


@pytest.mark.parametrize("case", SELF_MATCH, ids=title_of)
def test_self_match_prevention(case: Case) -> None:
    """The taker's word decides what becomes of an account that meets itself."""
    run_case(case)
