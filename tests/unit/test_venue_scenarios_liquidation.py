"""Liquidation at the venue model."""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

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


@pytest.mark.parametrize("case", LIQUIDATION, ids=title_of)
def test_liquidation(case: Case) -> None:
    """Orders first, then tiers, then all; and nobody loses what he does not have."""
    run_case(case)
