"""Limit orders, times in force, and the filters that every order passes."""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

LIMIT = table("""
## a limit order that rests fills at its price once the market trades through it
    trades 10:100 20:99.5 30:99.4
    > 11 a buy 1 @99.5
      11 a New
    > 20                                      # a trade at the limit may have met somebody before us
    > 30                                      # fee 99.5 * 0.0005
      30 a fill buy 1 @ 99.5 maker fee 0.04975
      30 a Filled

## a sell that rests fills once the market trades above it
    trades 10:100 20:100.5 30:100.6
    > 11 a sell 1 @100.5
      11 a New
    > 20
    > 30
      30 a fill sell 1 @ 100.5 maker fee 0.05025
      30 a Filled

## the trade of its arrival has already happened for a resting order
    trades 10:100 20:99 30:99.9 40:99
    > 20 a buy 1 @99.5
      20 a New
    > 30
    > 40
      40 a fill buy 1 @ 99.5 maker fee 0.04975
      40 a Filled

## a limit that the last price reaches takes at the next trade, at that trade's price
    trades 10:100 20:99
    > 11 a buy 1 @100.5
      11 a New
    > 20
      20 a fill buy 1 @ 99 taker fee 0.099
      20 a Filled

## a limit whose market runs away rests
    trades 10:100 20:100.1 30:100 40:99.9
    > 11 a buy 1 @100
      11 a New
    > 30
    > 40
      40 a fill buy 1 @ 100 maker fee 0.05
      40 a Filled

## slippage never leads a taker past its limit
    model slippage=0.01
    trades 10:100 20:100
    > 11 a buy 1 @100.3
      11 a New
    > 12 b sell 1 @99.7
      12 b New
    > 20                                      # 101 and 99, held to the limits
      20 a fill buy 1 @ 100.3 taker fee 0.1003
      20 a Filled
      20 b fill sell 1 @ 99.7 taker fee 0.0997 pnl -0.6
      20 b Filled

## resting orders fill by price, then by time
    trades 10:100 20:98
    > 11 a buy 1 @99
      11 a New
    > 12 b buy 1 @99.5
      12 b New
    > 13 c buy 1 @99.5
      13 c New
    > 14 d buy 1 @99.2
      14 d New
    > 20
      20 b fill buy 1 @ 99.5 maker fee 0.04975
      20 b Filled
      20 c fill buy 1 @ 99.5 maker fee 0.04975
      20 c Filled
      20 d fill buy 1 @ 99.2 maker fee 0.0496
      20 d Filled
      20 a fill buy 1 @ 99 maker fee 0.0495
      20 a Filled

## sells that rest fill lowest first
    trades 10:100 20:102
    > 11 a sell 1 @101
      11 a New
    > 12 b sell 1 @100.5
      12 b New
    > 13 c sell 1 @101
      13 c New
    > 20
      20 b fill sell 1 @ 100.5 maker fee 0.05025
      20 b Filled
      20 a fill sell 1 @ 101 maker fee 0.0505
      20 a Filled
      20 c fill sell 1 @ 101 maker fee 0.0505
      20 c Filled

## under touch a trade at the limit fills
    model queue=touch
    trades 10:100 20:99.5x0.001s 30:99.4
    > 11 a buy 1 @99.5
      11 a New
    > 20                                      # whole, however little traded
      20 a fill buy 1 @ 99.5 maker fee 0.04975
      20 a Filled

## under touch any trade at the limit fills, whoever took
    model queue=touch
    trades 10:100 20:99.5b
    > 11 a buy 1 @99.5                        # *inferred*: who offered at 99.5 would have met us
      11 a New
    > 20
      20 a fill buy 1 @ 99.5 maker fee 0.04975
      20 a Filled

## without any history a place in the queue is the last
    model queue=averse
    trades 10:100 20:99.5x100000s 30:99.4
    > 11 a buy 1 @99.5
      11 a New
    > 20
    > 30
      30 a fill buy 1 @ 99.5 maker fee 0.04975
      30 a Filled

## what stood ahead has to trade first
    # In the hour before: volume 2 in two visits, 1 a visit, of which 30 times are assumed ahead (docs/queue.md).
    model queue=averse
    trades 10:100x1s 20:101x1s 3600000000010:99.5x20s 3600000000020:99.5x10s 3600000000030:99.5x0.4s 3600000000040:99.4
    > 3600000000001 a buy 1 @99.5
      3600000000001 a New
    > 3600000000020                           # 20 and 10 of the 30 ahead
    > 3600000000030
      3600000000030 a fill buy 0.4 @ 99.5 maker fee 0.0199
      3600000000030 a PartiallyFilled 0.4
    > 3600000000040                           # traded through: the rest
      3600000000040 a fill buy 0.6 @ 99.5 maker fee 0.02985
      3600000000040 a Filled

## the trade that ends the queue ahead fills with what is left of it
    model queue=averse
    trades 10:100x1s 20:101x1s 3600000000010:99.5x30.25s 3600000000020:99.5x50s
    > 3600000000001 a buy 1 @99.5
      3600000000001 a New
    > 3600000000010                           # 30.25 - 30
      3600000000010 a fill buy 0.25 @ 99.5 maker fee 0.0124375
      3600000000010 a PartiallyFilled 0.25
    > 3600000000020
      3600000000020 a fill buy 0.75 @ 99.5 maker fee 0.0373125
      3600000000020 a Filled

## one trade cannot fill two orders twice over
    model queue=averse
    trades 10:100x1s 20:101x1s 3600000000010:99.5x31.5s 3600000000020:99.5x50s
    > 3600000000001 a buy 1 @99.5
      3600000000001 a New
    > 3600000000002 b buy 1 @99.5
      3600000000002 b New
    > 3600000000010                           # 1.5 beyond the 30 ahead: 1 for the first, 0.5 for the second
      3600000000010 a fill buy 1 @ 99.5 maker fee 0.04975
      3600000000010 a Filled
      3600000000010 b fill buy 0.5 @ 99.5 maker fee 0.024875
      3600000000010 b PartiallyFilled 0.5
    > 3600000000020
      3600000000020 b fill buy 0.5 @ 99.5 maker fee 0.024875
      3600000000020 b Filled
""")

TIME_IN_FORCE = table("""
## post-only that would take is canceled
    trades 10:100 20:99
    > 11 a buy 1 @100 PostOnly                # linear: Cancelled with EC_PostOnlyWillTakeLiquidity
      11 a New
      11 a Cancelled EC_PostOnlyWillTakeLiquidity
    > 12 b sell 1 @100 PostOnly
      12 b New
      12 b Cancelled EC_PostOnlyWillTakeLiquidity
      = orders
      = wallet 10000
    > 20

## post-only a tick away rests and fills as maker
    trades 10:100 20:99 30:101
    > 11 a buy 1 @99.9 PostOnly
      11 a New
    > 12 b sell 1 @100.1 PostOnly
      12 b New
    > 20
      20 a fill buy 1 @ 99.9 maker fee 0.04995
      20 a Filled
    > 30
      30 b fill sell 1 @ 100.1 maker fee 0.05005 pnl 0.2
      30 b Filled

## IOC out of reach is canceled at once
    trades 10:100 20:98
    > 11 a buy 1 @99.9 IOC
      11 a New
      11 a Cancelled EC_NoImmediateQtyToFill
    > 12 b sell 1 @100.1 IOC
      12 b New
      12 b Cancelled EC_NoImmediateQtyToFill
    > 20

## IOC within reach takes
    trades 10:100 20:99.9
    > 11 a buy 1 @100 IOC
      11 a New
    > 20
      20 a fill buy 1 @ 99.9 taker fee 0.0999
      20 a Filled

## IOC whose market runs away is canceled
    trades 10:100 20:100.1 30:99
    > 11 a buy 1 @100 IOC
      11 a New
    > 20
      20 a Cancelled EC_NoImmediateQtyToFill
    > 30
      = position 0

## FOK out of reach is canceled at once
    trades 10:100
    > 11 a buy 1 @99.9 FOK                    # EC_NoEnoughQtyToFill is FOK's
      11 a New
      11 a Cancelled EC_NoEnoughQtyToFill

## FOK within reach takes all of it
    trades 10:100 20:100
    > 11 a sell 3 @100 FOK
      11 a New
    > 20
      20 a fill sell 3 @ 100 taker fee 0.3
      20 a Filled

## FOK whose market runs away is canceled
    trades 10:100 20:99.9
    > 11 a sell 3 @100 FOK
      11 a New
    > 20
      20 a Cancelled EC_NoEnoughQtyToFill
""")

FILTERS = table("""
## a quantity off the step is floored
    trades 10:100
    > 11 a buy 0.0509 @100                    # floored to 0.050: worth 5
      11 a New
      = order a qty 0.05

## the notional minimum judges the floored quantity
    limits qty_step=0.01
    trades 10:100
    > 11 a buy 0.0599 @99                     # 0.05 * 99 = 4.95 < 5
      11 refused 110094
    > 12 b buy 0.0599 @100                    # 0.05 * 100 = 5
      12 b New
    > 13 c buy 0.04                           # market: at the last price
      13 refused 110094
    > 14 d buy 0.05
      14 d New

## the notional of a buy is at its own price
    trades 10:100
    > 11 a buy 0.06 @80                       # 4.8
      11 refused 110094
    > 12 b buy 0.06 @90                       # 5.4
      12 b New
    > 13 c sell 0.04 @130                     # 5.2
      13 c New

## quantities outside the limits are refused
    limits qty_min=0.1 qty_max=50
    trades 10:100
    > 11 a buy 0.099 @100
      11 refused 10001
    > 12 b buy 0.1 @100
      12 b New
    > 13 c buy 50.001 @90
      13 refused 10001
    > 14 d buy 50 @90
      14 d New
    > 15 e buy 0 @100
      15 refused 10001
    > 16 f buy -1 @100
      16 refused 10001
    > 17 g buy 0.0004 @100                    # floored to nothing
      17 refused 10001
    > 18 h buy NaN @100
      18 refused 10001
    > 19 i buy Infinity @100
      19 refused 10001

## market orders have a maximum of their own
    limits market_qty_max=20
    deposit 100000 USDT
    trades 10:10 20:10
    > 11 a buy 20.001
      11 refused 10001
    > 12 b buy 20
      12 b New
    > 13 c buy 21 @10
      13 c New

## prices off the tick, or none, are refused
    trades 10:100
    > 11 a buy 1 @99.95                       # 110003: price is invalid
      11 refused 110003
    > 12 b buy 1 @0
      12 refused 110003
    > 13 c buy 1 @
      13 refused 10001
    > 14 d buy 1 >=105.05
      14 refused 110003
    > 15 e buy 1 @99 tp=110.01
      15 refused 110003
    > 16 f buy 1 @99 sl=90.01
      16 refused 110003

## client order ids
    trades 10:100
    > 11 a_B-9 buy 1 @99
      11 a_B-9 New
    > 12 bad! buy 1 @99
      12 refused 10001
    > 13 a23456789012345678901234567890123456 buy 1 @99
      13 a23456789012345678901234567890123456 New
    > 14 a234567890123456789012345678901234567 buy 1 @99
      14 refused 10001
    > 15 - buy 1 @98                          # without an id: as many as one likes
      15 User1 New
    > 16 - buy 1 @98
      16 User2 New

## a client order id is never free again
    trades 10:100 20:100
    > 11 a buy 1 @99
      11 a New
    > 12 a buy 1 @98
      12 refused 110072
    > 13 cancel a
      13 a Cancelled CancelByUser
    > 14 a buy 1 @98
      14 refused 110072
    > 15 b buy 1
      15 b New
    > 20
      20 b fill buy 1 @ 100 taker fee 0.1
      20 b Filled
    > 21 b sell 1
      21 refused 110072

## a refused order does not use its id up
    trades 10:100
    > 11 a buy 1 @99.95
      11 refused 110003
    > 12 a buy 1 @99.9
      12 a New

## two accounts may use the same client order id
    accounts A B
    trades 10:100
    > 11 a buy 1 @99
      11 a New
    > 12 B: a buy 1 @99
      12 B:a New
    > 13 B: cancel a
      13 B:a Cancelled CancelByUser
      = orders a

## a quote quantity is spot's
    trades 10:100
    > 11 a buy 100 quote                      # *inferred*: the code
      11 refused 170130

## an order beyond the largest tier is refused
    deposit 100000 USDT
    trades 10:100
    > 11 a buy 200.1 @100                     # 20010 > 20000
      11 refused 110090
    > 12 b buy 200 @100
      12 b New

## an order that its leverage does not allow is refused
    leverage 20
    deposit 100000 USDT
    trades 10:100
    > 11 a buy 51 @100                        # 5100: the third tier allows 10
      11 refused 110090
    > 12 b buy 50 @100                        # 5000: the second allows 20
      12 b New

## an order without margin is refused
    deposit 100 USDT
    trades 10:100
    # At 100 an order of q takes 100 q * (0.1 + 0.001 + 0.9 * 0.001) = 10.19 q.
    > 11 a buy 9.814 @100                     # 100.00466
      11 refused 110007
    > 12 b buy 9.813 @100                     # 99.99447
      12 b New
      = order_initial 99.99447
      = available 0.00553
    > 13 c sell 9 @100                        # both sides cannot open at once: the dearer counts
      13 c New
      = order_initial 99.99447
""")


@pytest.mark.parametrize("case", LIMIT, ids=title_of)
def test_limit_orders(case: Case) -> None:
    """A limit order never does worse than its limit, and fills by price and time."""
    run_case(case)


@pytest.mark.parametrize("case", TIME_IN_FORCE, ids=title_of)
def test_time_in_force(case: Case) -> None:
    """Post-only never takes; IOC and FOK never rest."""
    run_case(case)


@pytest.mark.parametrize("case", FILTERS, ids=title_of)
def test_filters(case: Case) -> None:
    """What an order may not be is refused with the venue's code, and leaves nothing behind."""
    run_case(case)
