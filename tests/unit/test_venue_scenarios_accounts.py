"""Accounts at the venue model: meeting each other and themselves, leverage, margin, funding, liquidation."""

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

# A long of 9 at 100, leverage 20, 100 USDT. After the fee of 0.9 the wallet holds 99.1. At a mark price m:
#   cover         99.1 + 9 (m - 100)
#   maintenance   9 m * 0.01 + 9 * 100 * 0.95 * 0.001 = 0.09 m + 0.855
# They meet where 8.91 m = 801.755, between 89.9 and 90.
# Bankruptcy price at m: (m - cover / 9) / (1 - 0.001) = (100 - 99.1 / 9) / 0.999 = 89.078, to the tick that favors the
# account 89.1 (*inferred*, docs/venue_account.md). There 9 * (89.1 - 100) = -98.1, fee 9 * 89.1 * 0.001 = 0.8019.
LIQUIDATION = table("""
## margin that suffices is left alone
    deposit 100 USDT
    leverage 20
    trades 10:100 20:100 30:90
    > 11 a buy 9
      11 a New
    > 30                                      # 9.1 covers 8.955
      20 a fill buy 9 @ 100 taker fee 0.9
      20 a Filled
      = position 9 @ 100

## a position is taken over at its bankruptcy price
    deposit 100 USDT
    leverage 20
    trades 10:100 20:100 30:89.9 40:80
    > 11 a buy 9
      11 a New
    > 20
      20 a fill buy 9 @ 100 taker fee 0.9
      20 a Filled
      = next 30
    > 30                                      # 8.2 of 8.946
      30 liquidation 8.2 of 8.946
      30 TakeOver_PassThrough fill sell 9 @ 89.1 taker fee 0.8019 pnl -98.1
      = position 0
      = wallet 0.1981
    > 40

## a short position too
    # 9 sold at 100: cover 99.1 - 9 (m - 100), maintenance 0.09 m + 9 * 100 * 1.05 * 0.001 = 0.09 m + 0.945.
    # They meet where 9.09 m = 998.155: 109.8. Bankrupt at (100 + 99.1 / 9) / 1.001 = 110.90, down to 110.9.
    deposit 100 USDT
    leverage 20
    trades 10:100 20:100 30:109.8 40:109.9
    > 11 a sell 9
      11 a New
    > 30
      20 a fill sell 9 @ 100 taker fee 0.9
      20 a Filled
    > 40                                      # 10 of 10.836; 9 * -10.9 and 9 * 110.9 * 0.001
      40 liquidation 10 of 10.836
      40 TakeOver_PassThrough fill buy 9 @ 110.9 taker fee 0.9981 pnl -98.1
      = wallet 0.0019

## after a gap the account still loses no more than it had
    deposit 100 USDT
    leverage 20
    trades 10:100 20:100 30:50
    > 11 a buy 9
      11 a New
    > 30
      20 a fill buy 9 @ 100 taker fee 0.9
      20 a Filled
      30 liquidation -350.9 of 5.355
      30 TakeOver_PassThrough fill sell 9 @ 89.1 taker fee 0.8019 pnl -98.1
      = wallet 0.1981

## open orders and stops end with a liquidation
    deposit 100 USDT
    leverage 20
    trades 10:100 20:100 30:89.9
    > 11 a buy 9
      11 a New
    > 20
      20 a fill buy 9 @ 100 taker fee 0.9
      20 a Filled
    > 21 b buy 0.1 @70
      21 b New
    > 22 c buy 0.1 >=110
      22 c Untriggered
    > 23 d sell 9 @120 reduce
      23 d New
    > 24 stops sl=70
      24 SL1 Untriggered sell 9 <=70
    > 25 stops partial tp=120
      25 PTP1 Untriggered sell 9 >=120
    > 26 stops trail=25
      26 TS1 Untriggered sell 9 <=75
    > 30                                      # orders first; exits go with the position
      30 liquidation 8.2 of 8.946
      30 b Cancelled CancelAllBeforeLiq
      30 c Cancelled CancelAllBeforeLiq
      30 d Cancelled CancelAllBeforeLiq
      30 TakeOver_PassThrough fill sell 9 @ 89.1 taker fee 0.8019 pnl -98.1
      30 SL1 Cancelled CancelByTpSlTsClear
      30 PTP1 Cancelled CancelByTpSlTsClear
      30 TS1 Cancelled CancelByTpSlTsClear
      = orders

## a stop loss above the liquidation price saves the account
    deposit 100 USDT
    leverage 20
    trades 10:100 20:100 30:94 40:93 50:80
    > 11 a buy 9 sl=95
      11 a New
    > 50
      20 a fill buy 9 @ 100 taker fee 0.9
      20 a Filled
      20 SL1 Untriggered sell 9 <=95
      30 SL1 Triggered
      30 SL1 New
      40 SL1 fill sell 9 @ 93 taker fee 0.837 pnl -63
      40 SL1 Filled
      = wallet 35.263

## what a stop that came too late leaves owing is the insurance fund's
    # Wallet 120 - 1.5 = 118.5. The stop is triggered at 96, where 58.5 are left, and sells at 91.5: 15 * -8.5 = -127.5,
    # fee 1.3725. *Inferred*: what an order takes from a trade comes before what that trade does to the mark price.
    deposit 120 USDT
    leverage 20
    trades 10:100 20:100 30:96 40:91.5
    > 11 a buy 15 sl=97
      11 a New
    > 30
      20 a fill buy 15 @ 100 taker fee 1.5
      20 a Filled
      20 SL1 Untriggered sell 15 <=97
      30 SL1 Triggered
      30 SL1 New
    > 40
      40 SL1 fill sell 15 @ 91.5 taker fee 1.3725 pnl -127.5
      40 SL1 Filled
      40 liquidation -10.3725 of 0
      40 insurance 10.3725 USDT
      = wallet 0

## what a taker does at a trade counts before that trade is judged
    # 8 are left when 89.9 is judged: 99.1 - 10.1 - 0.0899 - 8 * 10.1 = 8.1101 covers 8 * 0.899 + 0.76 = 7.952. At 85:
    # -31.0899 of 7.56; bankrupt at (85 + 31.0899 / 8) / 0.999 = 88.975, up to 89: 8 * -11, 8 * 89 * 0.001.
    deposit 100 USDT
    leverage 20
    trades 10:100 20:100 30:89.9 40:85
    > 11 a buy 9
      11 a New
    > 20
      20 a fill buy 9 @ 100 taker fee 0.9
      20 a Filled
    > 25 b sell 1
      25 b New
    > 30
      30 b fill sell 1 @ 89.9 taker fee 0.0899 pnl -10.1
      30 b Filled
    > 40
      40 liquidation -31.0899 of 7.56
      40 TakeOver_PassThrough fill sell 8 @ 89 taker fee 0.712 pnl -88

## a position of a higher tier is reduced to the tier below
    # 30 at 100, leverage 20, 210 USDT, less 3: 207. The second tier: maintenance 30 m * 0.025 - 15 + 2.85.
    # At 95: cover 57, maintenance 59.1. Down to 1000 / 95 = 10.526: 19.474 go at 95, which costs 97.37 and 1.85003.
    deposit 210 USDT
    leverage 20
    trades 10:100 20:100 30:95.1 40:95
    > 11 a buy 30
      11 a New
    > 30
      20 a fill buy 30 @ 100 taker fee 3
      20 a Filled
    > 40
      40 liquidation 57 of 59.1
      40 Liq fill sell 19.474 @ 95 taker fee 1.85003 pnl -97.37
      = position 10.526 @ 100
      = wallet 107.77997

## funding may bring a liquidation about
    # 1.5 at 100: wallet 9.85, less 1.5 * 100 * 0.06 = 9. Maintenance 1.5 + 1.5 * 100 * 0.95 * 0.001.
    # Bankrupt at (100 - 0.85 / 1.5) / 0.999 = 99.53, up to 99.6: 1.5 * -0.4 = -0.6 and 0.1494.
    deposit 10 USDT
    leverage 20
    funding 25:0.06
    mark 5:100
    trades 10:100 20:100
    > 11 a buy 1.5
      11 a New
    > 25
      20 a fill buy 1.5 @ 100 taker fee 0.15
      20 a Filled
      25 funding 1.5 @ 100 rate 0.06 paid 9
      25 liquidation 0.85 of 1.6425
      25 TakeOver_PassThrough fill sell 1.5 @ 99.6 taker fee 0.1494 pnl -0.6
      = wallet 0.1006

## the mark price decides, not the last price
    deposit 100 USDT
    leverage 20
    mark 5:100 35:89.9
    trades 10:100 20:100 30:80
    > 11 a buy 9
      11 a New
    > 30
      20 a fill buy 9 @ 100 taker fee 0.9
      20 a Filled
      = position 9 @ 100
    > 35
      35 liquidation 8.2 of 8.946
      35 TakeOver_PassThrough fill sell 9 @ 89.1 taker fee 0.8019 pnl -98.1

## a mark price that moves without a breach
    deposit 100 USDT
    leverage 20
    mark 5:100 25:95 35:90 45:110
    trades 10:100 20:100 50:100
    > 11 a buy 9
      11 a New
    > 20
      20 a fill buy 9 @ 100 taker fee 0.9
      20 a Filled
    > 25
    > 50
      = position 9 @ 100

## canceling its orders may be enough
    # 9 held; a buy of 1 at 100 rests while the mark price falls to 90.9. Cover 99.1 - 81.9 - 9.1 (the order's loss)
    # = 8.1; maintenance 0.09 * 90.9 + 0.855 = 9.036. Without the order the cover is 17.2.
    deposit 100 USDT
    leverage 20
    mark 5:100 25:90.9
    trades 10:100 20:100 22:101
    > 11 a buy 9
      11 a New
    > 20
      20 a fill buy 9 @ 100 taker fee 0.9
      20 a Filled
    > 23 b buy 1 @100
      23 b New
    > 25
      25 liquidation 8.1 of 9.036
      25 b Cancelled CancelAllBeforeLiq
      = position 9 @ 100

## one account's liquidation is nobody else's
    accounts A B
    deposit 100 USDT
    leverage 20
    trades 10:100 20:100 30:89.9
    > 11 a buy 9
      11 a New
    > 12 B: b buy 1
      12 B:b New
    > 30
      20 a fill buy 9 @ 100 taker fee 0.9
      20 a Filled
      20 B:b fill buy 1 @ 100 taker fee 0.1
      20 B:b Filled
      30 liquidation 8.2 of 8.946
      30 TakeOver_PassThrough fill sell 9 @ 89.1 taker fee 0.8019 pnl -98.1
      = B: position 1 @ 100

## a hedged account is worth what both sides are worth
    # 14 long and 4 short at 100, leverage 20, 100 USDT: wallet 98.2. At m: cover 98.2 + 10 (m - 100),
    # maintenance 0.14 m - 0 + 1.33 and 0.04 m + 0.42; 1400 is in the second tier above m = 71.43: 0.35 m - 15 + 1.33.
    # At 94: cover 38.2; 32.9 - 15 + 1.33 + 3.76 + 0.42 = 23.41. At 92: 18.2 of 32.2 - 15 + 1.33 + 3.68 + 0.42 = 22.63.
    # The long is reduced to 1000 / 92 = 10.869: 3.131 go at 92, costing 25.048 and 0.288052.
    hedge
    deposit 100 USDT
    leverage 20
    trades 10:100 20:100 30:94 40:92
    > 11 a buy 14 @100 long
      11 a New
    > 12 b sell 4 @100 short
      12 b New
    > 30
      20 a fill buy 14 @ 100 taker fee 1.4
      20 a Filled
      20 b fill sell 4 @ 100 taker fee 0.4
      20 b Filled
    > 40
      40 liquidation 18.2 of 22.63
      40 Liq fill sell 3.131 @ 92 taker fee 0.288052 pnl -25.048
      = position long 10.869 @ 100
      = position short -4 @ 100

## after a liquidation the account may trade on
    deposit 200 USDT
    leverage 20
    trades 10:100 20:100 30:89 40:89 50:90
    > 11 a buy 18 @100
      11 a New
    # Wallet 198.2. At 89: cover 0.2, of 16.02 * 2.5 - 15 + 1.71 = 26.76. To 1000 / 89 = 11.235: 6.765 at 89 would pay
    # less than bankruptcy (100 - 198.2 / 18) / 0.999 = 89.078: taken over at 89.1.
    > 30                                      # 18 * -10.9, 18 * 89.1 * 0.001
      20 a fill buy 18 @ 100 taker fee 1.8
      20 a Filled
      30 liquidation 0.2 of 26.76
      30 TakeOver_PassThrough fill sell 18 @ 89.1 taker fee 1.6038 pnl -196.2
      = wallet 0.3962
    > 31 b buy 0.06                           # 0.06 * 89 * 0.051 and the like
      31 b New
    > 40
      40 b fill buy 0.06 @ 89 taker fee 0.00534
      40 b Filled
""")


@pytest.mark.parametrize("case", MEETING, ids=title_of)
def test_accounts_that_meet(case: Case) -> None:
    """Orders that cross trade with each other, at the price of the one that was there."""
    run_case(case)


@pytest.mark.parametrize("case", SELF_MATCH, ids=title_of)
def test_self_match_prevention(case: Case) -> None:
    """The taker's word decides what becomes of an account that meets itself."""
    run_case(case)


@pytest.mark.parametrize("case", LEVERAGE, ids=title_of)
def test_leverage(case: Case) -> None:
    """Leverage is what margin and tier allow."""
    run_case(case)


@pytest.mark.parametrize("case", FUNDING, ids=title_of)
def test_funding(case: Case) -> None:
    """Longs pay shorts a positive rate on the position at the mark price."""
    run_case(case)


@pytest.mark.parametrize("case", LIQUIDATION, ids=title_of)
def test_liquidation(case: Case) -> None:
    """Orders first, then tiers, then all; and nobody loses what he does not have."""
    run_case(case)
