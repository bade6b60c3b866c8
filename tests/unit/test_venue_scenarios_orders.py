"""Market orders at the venue model, its price band and slippage tolerance."""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

# Market data are trades, so what a taker meets is the next trade: *inferred*, for trades tell no book.
MARKET = table("""
## a market order takes the next trade
    trades 10:100 20:101 30:102
    > 11 a buy 0.5
      11 a New
    > 19
    > 20                                      # fee 0.5 * 101 * 0.001
      20 a fill buy 0.5 @ 101 taker fee 0.0505
      20 a Filled
      = position 0.5 @ 101
      = wallet 9999.9495
      = order a avg_price 101 filled_qty 0.5 filled_value 50.5 fee 0.0505
      = next none

## a market sell opens a short position
    trades 10:100 20:101
    > 11 a sell 2
      11 a New
    > 20                                      # fee 2 * 101 * 0.001
      20 a fill sell 2 @ 101 taker fee 0.202
      20 a Filled
      = position -2 @ 101

## a market order takes a trade of its very instant
    trades 10:100 20:101 20:102
    > 20 a buy 1
      20 a New
      20 a fill buy 1 @ 101 taker fee 0.101
      20 a Filled

## of trades of one instant the first is taken, by every order alike
    trades 10:100 20:101 20:102
    > 11 a buy 1
      11 a New
    > 12 b buy 1
      12 b New
    > 20
      20 a fill buy 1 @ 101 taker fee 0.101
      20 a Filled
      20 b fill buy 1 @ 101 taker fee 0.101
      20 b Filled

## before the first price nothing can be ordered
    trades 10:100 20:101
    > 5 a buy 1                               # 110118: no price for market order
      5 refused 110118
    > 6 b buy 1 @99                           # inferred: no band either
      6 refused 110118
    > 7 c buy 1 >=105
      7 refused 110118
    > 10 d buy 1 @99                          # inferred: the trade of this instant is not known yet
      10 refused 110118
    > 11 e buy 1 @99
      11 e New

## a market order keeps waiting where the tape ends
    trades 10:100
    > 11 a buy 1
      11 a New
      = next none
    > 1000
      = orders a
    > 1001 cancel a
      1001 a Cancelled CancelByUser

## average entry price changes only when the position grows
    trades 10:100 20:100 30:110 40:120 50:125
    > 11 a buy 1
      11 a New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
    > 21 b buy 3
      21 b New
    > 30                                      # (1 * 100 + 3 * 110) / 4
      30 b fill buy 3 @ 110 taker fee 0.33
      30 b Filled
      = position 4 @ 107.5
    > 31 c sell 1
      31 c New
    > 40                                      # (120 - 107.5) * 1
      40 c fill sell 1 @ 120 taker fee 0.12 pnl 12.5
      40 c Filled
      = position 3 @ 107.5
    > 41 d sell 4
      41 d New
    > 50                                      # (125 - 107.5) * 3, and 1 sold at 125
      50 d fill sell 4 @ 125 taker fee 0.5 pnl 52.5
      50 d Filled
      = position -1 @ 125
      = wallet 10063.95                       # 10000 + 12.5 + 52.5 - 0.1 - 0.33 - 0.12 - 0.5

## slippage is against the taker, rounded to the tick against it
    model slippage=0.0012
    trades 10:100 20:100 30:100
    > 11 a buy 1
      11 a New
    > 11 b sell 1
      11 b New
    > 20                                      # 100.12 up to 100.2, 99.88 down to 99.8
      20 a fill buy 1 @ 100.2 taker fee 0.1002
      20 a Filled
      20 b fill sell 1 @ 99.8 taker fee 0.0998 pnl -0.4
      20 b Filled

## half a spread is paid on either side
    model spread_ticks=3
    trades 10:100 20:100
    > 11 a buy 1
      11 a New
    > 11 b sell 1
      11 b New
    > 20                                      # 1.5 ticks, rounded against the taker: 2
      20 a fill buy 1 @ 100.2 taker fee 0.1002
      20 a Filled
      20 b fill sell 1 @ 99.8 taker fee 0.0998 pnl -0.4
      20 b Filled

## impact without any history is half a percent
    model impact=1
    trades 10:100 20:100
    > 11 a buy 1
      11 a New
    > 20
      20 a fill buy 1 @ 100.5 taker fee 0.1005
      20 a Filled
    > 21 b sell 1 @99
      21 b New

## a market order is IOC whatever it says
    trades 10:100 20:100 30:100
    > 11 a buy 1 GTC
      11 a New
      = order a time_in_force IOC
    > 11 b buy 1 FOK
      11 b New
      = order b time_in_force IOC
    > 11 c sell 1 PostOnly
      11 c New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
      20 b fill buy 1 @ 100 taker fee 0.1
      20 b Filled
      20 c fill sell 1 @ 100 taker fee 0.1 pnl 0
      20 c Filled
""")

BAND = table("""
## a market buy does not take beyond its protective price
    mark 5:100
    trades 10:100 20:101.1 30:100.5
    > 11 a buy 1                              # min(100 * 1.02, max(100, 100 * 1.01))
      11 a New
      = order a price 101
    > 20
      20 a Cancelled EC_NoImmediateQtyToFill
      = position 0

## a market buy takes at its protective price
    mark 5:100
    trades 10:100 20:101
    > 11 a buy 1
      11 a New
    > 20
      20 a fill buy 1 @ 101 taker fee 0.101
      20 a Filled

## a market sell does not take beyond its protective price
    mark 5:100
    trades 10:100 20:98.9
    > 11 a sell 1                             # max(100 * 0.98, min(100, 100 * 0.99))
      11 a New
      = order a price 99
    > 20
      20 a Cancelled EC_NoImmediateQtyToFill

## a market sell takes at its protective price
    mark 5:100
    trades 10:100 20:99
    > 11 a sell 1
      11 a New
    > 20
      20 a fill sell 1 @ 99 taker fee 0.099
      20 a Filled

## the index widens the band up to its outer ratio
    mark 5:100
    index 5:101.5
    trades 10:100 20:101.5
    > 11 a buy 1                              # min(102, max(101.5, 101))
      11 a New
      = order a price 101.5
    > 12 b buy 1 @101.5
      12 b New
    > 13 c buy 1 @101.6                       # 110003: outside the band
      13 refused 110003
    > 14 d sell 1 @99                         # max(98, min(101.5, 99))
      14 d New
    > 15 e sell 1 @98.9
      15 refused 110003
    > 16 cancel-all
      16 a Cancelled CancelByUser
      16 b Cancelled CancelByUser
      16 d Cancelled CancelByUser

## the outer ratio bounds what the index allows
    mark 5:100
    index 5:110
    trades 10:100
    > 11 a buy 1                              # min(102, max(110, 101))
      11 a New
      = order a price 102
    > 12 b buy 1 @102.1
      12 refused 110003

## a limit outside the band is refused, one at its edge is not
    mark 5:100
    trades 10:100
    > 11 a buy 1 @101.1                       # *inferred*: as with limit-px-action off; by default it is moved there
      11 refused 110003
    > 12 b buy 1 @101
      12 b New
    > 13 c sell 1 @98.9
      13 refused 110003
    > 14 d buy 1 @50                          # nothing bounds a buy from below
      14 d New
    > 15 e sell 1 @150
      15 e New

## the band follows the mark price
    mark 5:100 25:105
    trades 10:100 20:100 30:100
    > 11 a buy 1 @103
      11 refused 110003
    > 26 b buy 1 @106                         # 105 * 1.01 = 106.05, down to the tick
      26 b New
    > 27 c buy 1 @106.1
      27 refused 110003
    > 28 d sell 1 @102.8                      # max(105 * 0.98, min(100, 105 * 0.99)) = 102.9
      28 refused 110003
    > 29 e sell 1 @102.9
      29 e New

## slippage tolerance in ticks bounds the price from the touch
    trades 10:100 20:100.2 30:100.3
    > 11 a buy 1 ticks=2                      # 100 + 2 * 0.1
      11 a New
      = order a price 100.2
    > 20
      20 a fill buy 1 @ 100.2 taker fee 0.1002
      20 a Filled
    > 21 b sell 1 ticks=2
      21 b New
      = order b price 100
    > 22 c buy 1 ticks=1                      # up to 100.3
      22 c New
    > 30
      30 b fill sell 1 @ 100.3 taker fee 0.1003 pnl 0.1
      30 b Filled
      30 c fill buy 1 @ 100.3 taker fee 0.1003
      30 c Filled

## beyond the slippage tolerance in ticks nothing is taken
    trades 10:100 20:100.3
    > 11 a buy 1 ticks=2
      11 a New
    > 12 b sell 1 ticks=2                     # a better price is no slippage
      12 b New
    > 20
      20 a Cancelled EC_NoImmediateQtyToFill
      20 b fill sell 1 @ 100.3 taker fee 0.1003
      20 b Filled

## slippage tolerance as a fraction bounds the price from the touch
    trades 10:100 20:99.5
    > 11 a sell 1 within=0.005                # 100 * 0.995
      11 a New
      = order a price 99.5
    > 12 b sell 1 within=0.004                # 99.6
      12 b New
      = order b price 99.6
    > 20
      20 a fill sell 1 @ 99.5 taker fee 0.0995
      20 a Filled
      20 b Cancelled EC_NoImmediateQtyToFill

## slippage tolerance never widens the band
    mark 5:100
    trades 10:100 20:101.5
    > 11 a buy 1 within=0.05                  # "tightens the bound relative to touch"
      11 a New
      = order a price 101
    > 20
      20 a Cancelled EC_NoImmediateQtyToFill

## amending a limit beyond the band is refused
    mark 5:100
    trades 10:100
    > 11 a buy 1 @99
      11 a New
    > 12 amend a price=101.1
      12 refused 110003
      = order a price 99
    > 13 amend a price=101
      13 a New price 101
""")


@pytest.mark.parametrize("case", MARKET, ids=title_of)
def test_market_orders(case: Case) -> None:
    """A taker meets the next trade, and nothing beyond what it allows."""
    run_case(case)


@pytest.mark.parametrize("case", BAND, ids=title_of)
def test_price_band_and_slippage_tolerance(case: Case) -> None:
    """No order trades or rests outside the band; a tolerance only tightens it."""
    run_case(case)
