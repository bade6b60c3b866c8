"""Conditional orders at the venue model, against trades."""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

# Against trades, a triggered market order takes the trade after the one that triggered it (*inferred*, as any taker).
CONDITIONAL = table("""
## a conditional market order waits for its price, then takes
    trades 10:100 20:104 30:105 40:105.5
    > 11 a buy 1 >=105
      11 a Untriggered
      = initial 0                             # no margin is reserved until it triggers
      = order a stop_kind Stop
    > 20
    > 30
      30 a Triggered
      30 a New
    > 40
      40 a fill buy 1 @ 105.5 taker fee 0.1055
      40 a Filled

## a falling trigger
    trades 10:100 20:96 30:95 40:94
    > 11 a sell 1 <=95
      11 a Untriggered
    > 20
    > 40
      30 a Triggered
      30 a New
      40 a fill sell 1 @ 94 taker fee 0.094
      40 a Filled

## a price that jumps over the trigger triggers
    trades 10:100 20:110 30:111
    > 11 a buy 1 >=105
      11 a Untriggered
    > 30
      20 a Triggered
      20 a New
      30 a fill buy 1 @ 111 taker fee 0.111
      30 a Filled

## a trade of the instant of its arrival does not trigger
    trades 10:100 20:106 30:107 40:108
    > 20 a buy 1 >=106.5                      # *inferred*: as for a resting order, it has happened
      20 a Untriggered
    > 30
      30 a Triggered
      30 a New
    > 40
      40 a fill buy 1 @ 108 taker fee 0.108
      40 a Filled

## a conditional limit order rests once triggered
    trades 10:100 20:105 30:105.2 40:104.9
    > 11 a buy 1 @105 >=105
      11 a Untriggered
    > 20
      20 a Triggered
      20 a New
    > 30
    > 40
      40 a fill buy 1 @ 105 maker fee 0.0525
      40 a Filled

## a conditional limit order takes if the market is within it
    trades 10:100 20:105 30:105.1
    > 11 a buy 1 @106 >=105
      11 a Untriggered
    > 30
      20 a Triggered
      20 a New
      30 a fill buy 1 @ 105.1 taker fee 0.1051
      30 a Filled

## a conditional post-only order is judged when it triggers
    trades 10:100 20:105 30:103.9
    > 11 a buy 1 @106 PostOnly >=105
      11 a Untriggered
    > 12 b buy 1 @104 PostOnly >=105
      12 b Untriggered
    > 20
      20 a Triggered
      20 a New
      20 a Cancelled EC_PostOnlyWillTakeLiquidity
      20 b Triggered
      20 b New
    > 30
      30 b fill buy 1 @ 104 maker fee 0.052
      30 b Filled

## a conditional IOC order is judged when it triggers
    trades 10:100 20:105 30:106.1
    > 11 a buy 1 @104 IOC >=105
      11 a Untriggered
    > 12 b buy 1 @106 IOC >=105
      12 b Untriggered
    > 20
      20 a Triggered
      20 a New
      20 a Cancelled EC_NoImmediateQtyToFill
      20 b Triggered
      20 b New
    > 30
      30 b Cancelled EC_NoImmediateQtyToFill

## a trigger on the wrong side of the market is refused
    trades 10:100
    > 11 a buy 1 >=99.9                       # 110092: a rising trigger must be above the price
      11 refused 110092
    > 12 b buy 1 >=100
      12 refused 110092
    > 13 c sell 1 <=100.1                     # 110093: a falling one below
      13 refused 110093
    > 14 d sell 1 <=100
      14 refused 110093
    > 15 e sell 1 >=100.1                     # the side of the order does not matter
      15 e Untriggered
    > 16 f buy 1 <=99.9
      16 f Untriggered

## a trigger by the mark price
    mark 5:100 25:105
    trades 10:100 20:106 30:105.5
    > 11 a buy 1 >=105:mark
      11 a Untriggered
    > 20                                      # the last price does not matter
    > 25
      25 a Triggered
      25 a New
    > 30
      30 a fill buy 1 @ 105.5 taker fee 0.1055
      30 a Filled

## a trigger by the index price
    index 5:100 25:95
    trades 10:100 20:94 30:93
    > 11 a sell 1 <=95:index
      11 a Untriggered
    > 20
    > 25
      25 a Triggered
      25 a New
    > 30
      30 a fill sell 1 @ 93 taker fee 0.093
      30 a Filled

## wrong sides are judged by the price that triggers
    mark 5:103
    trades 10:100
    > 11 a buy 1 >=102:mark
      11 refused 110092
    > 12 b buy 1 >=102
      12 b Untriggered
    > 13 c sell 1 <=102:mark
      13 c Untriggered
    > 14 d sell 1 <=102
      14 refused 110093

## after its trigger it can be canceled for lack of margin
    deposit 100 USDT
    trades 10:100 20:105 30:106
    # 20 at 105, 10 times leverage: 210 and more
    > 11 a buy 20 @105 >=105
      11 a Untriggered
    > 20                                      # *inferred*: the reason
      20 a Triggered
      20 a Cancelled EC_Others
    > 30
      = position 0

## margin that another order has taken meanwhile is gone
    deposit 25 USDT
    trades 10:100 20:105 30:106
    # 105 * 1.5 * (0.1 + 0.001 + 0.9 * 0.001) = 16.04925 of 25 are free, but then b takes 95 * 0.1019 = 9.6805.
    > 11 a buy 1.5 @105 >=105
      11 a Untriggered
    > 12 b buy 1 @95
      12 b New
    > 20
      20 a Triggered
      20 a Cancelled EC_Others

## with margin left it comes alive
    deposit 26 USDT
    trades 10:100 20:105 30:106
    > 11 a buy 1.5 @105 >=105                 # 16.04925 + 9.6805 = 25.72975
      11 a Untriggered
    > 12 b sell 1 @110
      12 b New
    > 20
      20 a Triggered
      20 a New

## ten conditional orders at once, of one instrument
    trades 10:100
    > 11 a buy 1 >=105
      11 a Untriggered
    > 11 b buy 1 >=105
      11 b Untriggered
    > 11 c buy 1 >=105
      11 c Untriggered
    > 11 d buy 1 >=105
      11 d Untriggered
    > 11 e buy 1 >=105
      11 e Untriggered
    > 11 f buy 1 >=105
      11 f Untriggered
    > 11 g buy 1 >=105
      11 g Untriggered
    > 11 h buy 1 >=105
      11 h Untriggered
    > 11 i buy 1 >=105
      11 i Untriggered
    > 11 j buy 1 >=105
      11 j Untriggered
    > 12 k buy 1 >=105                        # 110009: too many stop orders
      12 refused 110009
    > 13 l buy 1 @99                          # plain ones are counted apart
      13 l New
    > 14 cancel c
      14 c Cancelled CancelByUser
    > 15 k buy 1 >=105
      15 k Untriggered

## one trade triggers all that it reaches
    trades 10:100 20:110 30:111
    > 11 a buy 1 >=108
      11 a Untriggered
    > 12 b buy 1 >=105
      12 b Untriggered
    > 13 c buy 1 >=110.1
      13 c Untriggered
    > 20                                      # *inferred*: in the order of their coming
      20 a Triggered
      20 a New
      20 b Triggered
      20 b New
    > 30
      30 c Triggered
      30 c New
      30 a fill buy 1 @ 111 taker fee 0.111
      30 a Filled
      30 b fill buy 1 @ 111 taker fee 0.111
      30 b Filled

## the quantity of a conditional order is checked when it comes
    trades 10:100
    > 11 a buy 0.0004 >=105
      11 refused 10001
    > 12 b buy 100001 >=105
      12 refused 10001

## a waiting order can be amended: trigger, price, quantity
    trades 10:100 20:106 30:107 40:107.5
    > 11 a buy 1 @106 >=106
      11 a Untriggered
    > 12 amend a at=107
      12 a Untriggered >=107
    > 13 amend a qty=2 price=108
      13 a Untriggered qty 2 price 108
    > 14 amend a at=100                       # it would trigger at once
      14 refused 110092
    > 15 amend a at=107
      15 refused 10001
    > 20
    > 30
      30 a Triggered
      30 a New
    > 40
      40 a fill buy 2 @ 107.5 taker fee 0.215
      40 a Filled

## a waiting order can be canceled
    trades 10:100 20:106
    > 11 a buy 1 >=105
      11 a Untriggered
    > 12 cancel a
      12 a Cancelled CancelByUser
    > 20

## the trigger of the instant at which a cancel arrives came first
    trades 10:100 20:105 30:106
    > 11 a buy 1 >=105
      11 a Untriggered
    > 20 cancel a
      20 a Triggered
      20 a New
      20 a Cancelled CancelByUser
    > 30
      = position 0

## a waiting order is amended within the filters
    limits qty_max=50
    trades 10:100
    > 11 a buy 1 @105 >=105
      11 a Untriggered
    > 12 amend a qty=51
      12 refused 10001
    > 13 amend a qty=0.01
      13 refused 110094
    > 14 amend a qty=0
      14 refused 110064
    > 15 amend a price=105.05
      15 refused 110003
    > 16 amend a at=105.05
      16 refused 110003

## after its trigger there is no trigger to amend
    trades 10:100 20:105
    > 11 a buy 1 @104 >=105
      11 a Untriggered
    > 20
      20 a Triggered
      20 a New
    > 21 amend a at=110
      21 refused 110001
""")


@pytest.mark.parametrize("case", CONDITIONAL, ids=title_of)
def test_conditional_orders(case: Case) -> None:
    """A conditional order does nothing before its price, and then what any order does."""
    run_case(case)
