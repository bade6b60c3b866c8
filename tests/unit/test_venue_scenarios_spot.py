"""Spot orders at the venue model: coins instead of positions."""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

# Spot: step 0.001, fees 0.1 % and 0.05 %, a buy pays its fee in the base coin, a sell in the quote coin.
TRADING = table("""
## a buy pays its fee in the coin it brings
    kind spot
    trades 10:100 20:99
    > 11 a buy 2
      11 a New
    > 20                                      # 2 * 0.001 BTC
      20 a fill buy 2 @ 99 taker fee 0.002 BTC
      20 a Filled
      = wallet BTC 1.998
      = wallet USDT 9802

## a sell pays its fee in the quote coin
    kind spot
    deposit 1000 USDT, 5 BTC
    trades 10:100 20:101
    > 11 a sell 2
      11 a New
    > 20                                      # 202 * 0.001
      20 a fill sell 2 @ 101 taker fee 0.202
      20 a Filled
      = wallet BTC 3
      = wallet USDT 1201.798

## with a maker rebate a buy receives it in the quote coin
    kind spot
    fees 0.001 -0.0001
    trades 10:100 20:99
    > 11 a buy 1 @99.5
      11 a New
    > 20                                      # "maker rebates are inverted": 99.5 * 0.0001
      20 a fill buy 1 @ 99.5 maker fee -0.00995
      20 a Filled
      = wallet BTC 1
      = wallet USDT 9900.50995

## a resting sell fills as maker
    kind spot
    deposit 1 BTC
    trades 10:100 20:102.1
    > 11 a sell 1 @102
      11 a New
    > 20                                      # 102 * 0.0005
      20 a fill sell 1 @ 102 maker fee 0.051
      20 a Filled
      = wallet USDT 101.949

## post-only that would take is rejected
    kind spot
    deposit 10000 USDT, 5 BTC
    trades 10:100
    > 11 a buy 1 @100 PostOnly                # linear would say Cancelled
      11 a New
      11 a Rejected EC_PostOnlyWillTakeLiquidity
    > 12 b sell 1 @100 PostOnly
      12 b New
      12 b Rejected EC_PostOnlyWillTakeLiquidity
      = locked USDT 0

## IOC that takes nothing
    kind spot
    trades 10:100
    > 11 a buy 1 @99 IOC
      11 a New
      11 a Cancelled EC_NoImmediateQtyToFill

## what has filled in part and is canceled has a name of its own
    kind spot
    model queue=averse
    # 30 stand ahead: 2 in two visits of the hour before, times 30.
    trades 10:100x1s 20:101x1s 3600000000010:99.5x30.4s
    > 3600000000001 a buy 1 @99.5
      3600000000001 a New
    > 3600000000010
      3600000000010 a fill buy 0.4 @ 99.5 maker fee 0.0002 BTC
      3600000000010 a PartiallyFilled 0.4
    > 3600000000011 cancel a
      3600000000011 a PartiallyFilledCanceled 0.4 CancelByUser

## IOC that another account fills in part
    kind spot
    accounts A B
    deposit 1000 USDT, 10 BTC
    trades 10:100 20:99.6
    > 11 a buy 1 @99.8
      11 a New
    > 12 B: b sell 2 @99.8 IOC
      12 B:b New
    > 20                                      # *inferred*: the reason
      20 a fill buy 1 @ 99.8 maker fee 0.0005 BTC
      20 a Filled
      20 B:b fill sell 1 @ 99.8 taker fee 0.0998
      20 B:b PartiallyFilled 1
      20 B:b PartiallyFilledCanceled 1 EC_NoImmediateQtyToFill

## accounts that meet pay each other
    kind spot
    accounts A B
    deposit 1000 USDT, 10 BTC
    trades 10:100 20:99.6
    > 11 a buy 1 @99.8
      11 a New
    > 12 B: b sell 1
      12 B:b New
    > 20
      20 a fill buy 1 @ 99.8 maker fee 0.0005 BTC
      20 a Filled
      20 B:b fill sell 1 @ 99.8 taker fee 0.0998
      20 B:b Filled
      = wallet BTC 10.9995
      = wallet USDT 900.2
      = B: wallet BTC 9
      = B: wallet USDT 1099.7002
""")

QUOTE = table("""
## a market buy sized in the quote coin
    kind spot
    trades 10:100 20:100
    > 11 a buy 1250 quote
      11 a New
    > 20                                      # 1250 / 100
      20 a fill buy 12.5 @ 100 taker fee 0.0125 BTC
      20 a Filled
      = wallet USDT 8750
      = wallet BTC 12.4875

## at a better price the same amount buys more
    kind spot
    trades 10:100 20:80
    > 11 a buy 1000 quote
      11 a New
    > 20                                      # 1000 / 80 = 12.5, not the 10 that it would have been at 100
      20 a fill buy 12.5 @ 80 taker fee 0.0125 BTC
      20 a Filled qty 12.5
      = wallet USDT 9000
      = wallet BTC 12.4875

## an amount that buys no lot is refused
    kind spot
    trades 10:100 20:101
    > 11 a buy 0.05 quote                     # 0.0005 at 100: below the step, so below any least value
      11 refused 170140

## quote crumbs that buy no lot are left over
    kind spot
    trades 10:100 20:101
    > 11 a buy 1000 quote
      11 a New
    > 20                                      # 1000 / 101 = 9.90099, 9.9 are 999.9; the rest buys no lot
      20 a fill buy 9.9 @ 101 taker fee 0.0099 BTC
      20 a PartiallyFilled 9.9
      20 a PartiallyFilledCanceled 9.9 EC_CancelForNoFullFill
      = wallet USDT 9000.1

## a market buy never spends more than its quote amount
    kind spot
    limits qty_step=0.1
    trades 10:100 20:101
    > 11 a buy 1000 quote
      11 a New
    > 20
      20 a fill buy 9.9 @ 101 taker fee 0.0099 BTC
      20 a PartiallyFilled 9.9
      20 a PartiallyFilledCanceled 9.9 EC_CancelForNoFullFill

## a market buy may spend all there is
    kind spot
    deposit 1000 USDT
    trades 10:100 20:100
    > 11 a buy 1000 quote
      11 a New
      = locked USDT 1000
    > 20
      20 a fill buy 10 @ 100 taker fee 0.01 BTC
      20 a Filled
      = wallet USDT 0
      = wallet BTC 9.99

## more than there is cannot be spent
    kind spot
    deposit 1000 USDT
    trades 10:100
    > 11 a buy 1000.1 quote
      11 refused 170131

## a quote amount below the least
    kind spot
    trades 10:100
    > 11 a buy 4.9 quote                      # 170140: value too small
      11 refused 170140
    > 12 b buy 5 quote
      12 b New

## only a market order is sized in the quote coin
    kind spot
    trades 10:100
    > 11 a buy 100 @100 quote
      11 refused 170130
""")

REFUSED = table("""
## a quantity off the step is refused, not floored
    kind spot
    trades 10:100
    > 11 a buy 1.0005 @100                    # 170137: precision
      11 refused 170137
    > 12 b buy 1.001 @100
      12 b New

## a value below the least is refused
    kind spot
    trades 10:100
    > 11 a buy 0.049 @100                     # 4.9
      11 refused 170140
    > 12 b buy 0.05 @100
      12 b New

## a price off the tick is refused
    kind spot
    trades 10:100
    > 11 a buy 1 @99.95
      11 refused 170134

## a duplicate client order id
    kind spot
    trades 10:100
    > 11 a buy 1 @99
      11 a New
    > 12 a buy 1 @99                          # 170141
      12 refused 170141

## coins that are not there cannot be sold, nor borrowed
    kind spot
    deposit 1000 USDT, 1 BTC
    trades 10:100
    > 11 a sell 1.001 @101
      11 refused 170131
    > 12 b buy 10.1 @100                      # 1010
      12 refused 170131
    > 13 c sell 1 @101
      13 c New
      = locked BTC 1
    > 14 d sell 0.1 @101
      14 refused 170131
    > 15 cancel c
      15 c Cancelled CancelByUser
      = locked BTC 0
    > 16 d sell 0.1 @101
      16 d New

## what orders hold is not there for others
    kind spot
    deposit 1000 USDT
    trades 10:100
    > 11 a buy 6 @99                          # 594
      11 a New
      = locked USDT 594
    > 12 b buy 5 @90                          # 450 of 406
      12 refused 170131
    > 13 c buy 4.5 @90
      13 c New
      = locked USDT 999
    > 14 amend a qty=7                        # 693
      14 refused 170131
    > 15 amend a qty=5
      15 a New qty 5
      = locked USDT 900

## spot has no positions
    kind spot
    deposit 1000 USDT, 5 BTC
    trades 10:100
    > 11 a sell 1 @101 reduce                 # *inferred*: the code
      11 refused 170130
    > 12 b buy 1 @99 long
      12 refused 170130
    > 13 stops tp=110                         # can not set tp/sl/ts for zero position
      13 refused 10001

## the band's ratios are of the index price
    kind spot
    deposit 10000 USDT, 50 BTC
    index 5:100
    trades 10:100 20:101.5 30:98.5
    > 11 a buy 1 @101.1                       # 170193: above the highest, 100 * 1.01
      11 refused 170193
    > 12 b sell 1 @98.9                       # 170194
      12 refused 170194
    > 13 c sell 1 @99
      13 c New
    > 14 cancel c
      14 c Cancelled CancelByUser
    > 15 d buy 1                              # *inferred*: a perpetual's reason; EC_ReachMarketPriceLimit is the other
      15 d New
    > 20
      20 d Cancelled EC_NoImmediateQtyToFill

## what is not there cannot be canceled
    kind spot
    trades 10:100
    > 11 cancel a                             # 170213
      11 refused 170213
    > 12 amend a qty=1
      12 refused 170213
""")

CONDITIONAL = table("""
## a conditional order that is canceled before its trigger is deactivated
    kind spot
    trades 10:100 20:106
    > 11 a buy 1 >=105
      11 a Untriggered
      = locked USDT 0
    > 12 cancel a
      12 a Deactivated CancelByUser
    > 13 b buy 1 @104 >=105
      13 b Untriggered
    > 14 cancel-all stop
      14 b Deactivated CancelByUser
    > 20

## a conditional order triggers and fills
    kind spot
    trades 10:100 20:105 30:106
    > 11 a buy 1 >=105
      11 a Untriggered
    > 30
      20 a Triggered
      20 a New
      30 a fill buy 1 @ 106 taker fee 0.001 BTC
      30 a Filled

## a conditional order without the coins comes to nothing
    kind spot
    deposit 100 USDT
    trades 10:100 20:105 30:106
    > 11 a buy 1 @105 >=105                   # *inferred*: the reason
      11 a Untriggered
    > 30
      20 a Triggered
      20 a Cancelled EC_Others
      = wallet USDT 100

## a conditional sell after the coins are gone
    kind spot
    deposit 1 BTC
    trades 10:100 20:100 30:95 40:94
    > 11 a sell 1 <=96
      11 a Untriggered
    > 12 b sell 1
      12 b New
    > 40
      20 b fill sell 1 @ 100 taker fee 0.1
      20 b Filled
      30 a Triggered
      30 a Cancelled EC_Others
""")


@pytest.mark.parametrize("case", TRADING, ids=title_of)
def test_spot_trading(case: Case) -> None:
    """Coins change hands, fees come out of what is received."""
    run_case(case)


@pytest.mark.parametrize("case", QUOTE, ids=title_of)
def test_spot_orders_sized_in_the_quote_coin(case: Case) -> None:
    """An amount to spend is spent as far as it buys lots, and never exceeded."""
    run_case(case)


@pytest.mark.parametrize("case", REFUSED, ids=title_of)
def test_what_spot_refuses(case: Case) -> None:
    """Spot has codes of its own, floors nothing and lends nothing."""
    run_case(case)


@pytest.mark.parametrize("case", CONDITIONAL, ids=title_of)
def test_conditional_spot_orders(case: Case) -> None:
    """What waits for its trigger holds no coins."""
    run_case(case)
