"""Accounts at the venue model: leverage, margin, funding."""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

LEVERAGE = table("""
## leverage changes the margin of what is held
    mark 5:100
    trades 10:100 20:100
    > 11 a buy 20 @100
      11 a New
      = order_initial 203.8                   # 2000 * (0.1 + 0.001 + 0.9 * 0.001)
    > 12 leverage 20
      = order_initial 103.9                   # 2000 * (0.05 + 0.001 + 0.95 * 0.001)
    > 20
      20 a fill buy 20 @ 100 taker fee 2
      20 a Filled
      = initial 101.9                         # 2000 * (0.05 + 0.95 * 0.001)
    > 21 leverage 5
      = initial 401.6                         # 2000 * (0.2 + 0.8 * 0.001)
      = leverage 5

## the same leverage is not modified
    trades 10:100
    > 11 leverage 10
      11 refused 110043
    > 12 leverage 20
    > 13 leverage 20
      13 refused 110043

## leverage outside what the contract allows is refused
    trades 10:100
    > 11 leverage 51
      11 refused 110013
    > 12 leverage 0.9
      12 refused 110013
    > 13 leverage 50
    > 14 leverage 1
      = leverage 1

## leverage beyond the tier of position and orders is refused
    trades 10:100 20:100
    > 11 a buy 20 @100                        # 2000: the second tier allows 20
      11 a New
    > 20
      20 a fill buy 20 @ 100 taker fee 2
      20 a Filled
    > 21 leverage 21
      21 refused 110013
    > 22 leverage 20
    > 23 b buy 40 @90                         # 5600 would be in the third, which allows 10
      23 refused 110090
    > 24 leverage 10
    > 25 b buy 40 @90
      25 b New
    > 26 leverage 11
      26 refused 110013

## less leverage than the margin covers is refused
    deposit 110 USDT
    mark 5:100
    trades 10:100 20:100
    > 11 a buy 10 @100                        # 101.9
      11 a New
    > 20
      20 a fill buy 10 @ 100 taker fee 1
      20 a Filled
    > 21 leverage 9                           # 109 - 1000 / 9 < 0
      21 refused 110007
    > 22 leverage 11
""")

FUNDING = table("""
## longs pay a positive rate, and receive a negative one
    funding 25:0.0001 35:-0.0002
    mark 5:100
    trades 10:100 20:101
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 101 taker fee 0.202
      20 a Filled
      = next 25
    > 25                                      # 2 * 100 * 0.0001
      25 funding 2 @ 100 rate 0.0001 paid 0.02
      = wallet 9999.778
    > 40                                      # 2 * 100 * 0.0002
      35 funding 2 @ 100 rate -0.0002 paid -0.04
      = wallet 9999.818
      = next none

## shorts receive a positive rate
    funding 25:0.0001
    mark 5:100
    trades 10:100 20:101
    > 11 a sell 2
      11 a New
    > 25
      20 a fill sell 2 @ 101 taker fee 0.202
      20 a Filled
      25 funding -2 @ 100 rate 0.0001 paid -0.02
      = wallet 9999.818

## nothing is paid without a position
    funding 15:0.0001 35:0.0001
    trades 10:100 20:101 30:101 40:101
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 101 taker fee 0.202
      20 a Filled
    > 21 b sell 2
      21 b New
    > 40
      30 b fill sell 2 @ 101 taker fee 0.202 pnl 0
      30 b Filled
      = wallet 9999.596

## a fill at the instant of a settlement comes before it: opening
    funding 20:0.0001                         # *inferred*: the venue settles a position of that time, fills included
    mark 5:100
    trades 10:100 20:101
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 101 taker fee 0.202
      20 a Filled
      20 funding 2 @ 100 rate 0.0001 paid 0.02

## a fill at the instant of a settlement comes before it: closing
    funding 30:0.0001
    mark 5:100
    trades 10:100 20:101 30:101
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 101 taker fee 0.202
      20 a Filled
    > 21 b sell 2
      21 b New
    > 30
      30 b fill sell 2 @ 101 taker fee 0.202 pnl 0
      30 b Filled

## both sides of a hedge settle
    hedge
    funding 25:0.0001
    mark 5:100
    trades 10:100 20:100
    > 11 a buy 2 long
      11 a New
    > 12 b sell 3 short
      12 b New
    > 25
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
      20 b fill sell 3 @ 100 taker fee 0.3
      20 b Filled
      25 funding 2 @ 100 rate 0.0001 paid 0.02
      25 funding -3 @ 100 rate 0.0001 paid -0.03

## every account settles
    accounts A B
    funding 25:0.0001
    mark 5:100
    trades 10:100 20:100
    > 11 a buy 2
      11 a New
    > 12 B: b sell 2
      12 B:b New
    > 25
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
      20 B:b fill sell 2 @ 100 taker fee 0.2
      20 B:b Filled
      25 funding 2 @ 100 rate 0.0001 paid 0.02
      25 B:funding -2 @ 100 rate 0.0001 paid -0.02

## funding follows the mark price
    funding 30:0.0001
    mark 5:100 25:110
    trades 10:100 20:100
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
    > 30                                      # 2 * 110 * 0.0001
      30 funding 2 @ 110 rate 0.0001 paid 0.022
""")


@pytest.mark.parametrize("case", LEVERAGE, ids=title_of)
def test_leverage(case: Case) -> None:
    """Leverage is what margin and tier allow."""
    run_case(case)


@pytest.mark.parametrize("case", FUNDING, ids=title_of)
def test_funding(case: Case) -> None:
    """Longs pay shorts a positive rate on the position at the mark price."""
    run_case(case)
