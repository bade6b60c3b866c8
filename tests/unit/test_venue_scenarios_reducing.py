"""Reduce-only, close-on-trigger and hedge mode at the venue model."""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

REDUCE_ONLY = table("""
## reduce-only without a position is refused
    trades 10:100 20:100
    > 11 a sell 1 reduce                      # 110017: current position is zero
      11 refused 110017
    > 12 b sell 1 @101 reduce
      12 refused 110017

## reduce-only on the position's own side is refused
    trades 10:100 20:100
    > 11 a buy 1
      11 a New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
    > 21 b buy 1 reduce
      21 refused 110017
    > 22 c buy 1 @99 reduce
      22 refused 110017

## reduce-only is cut to the position
    trades 10:100 20:100 30:102
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
    > 21 b sell 5 reduce
      21 b New
      = order b qty 2
    > 30                                      # (102 - 100) * 2
      30 b fill sell 2 @ 102 taker fee 0.204 pnl 4
      30 b Filled
      = position 0

## reduce-only takes no margin
    deposit 103 USDT
    trades 10:100 20:100
    > 11 a buy 10                             # 10.19 a piece, and 1 % of order loss at the protective price: 112.9
      11 refused 110007
    > 12 a buy 9 @100
      12 a New
    > 20
      20 a fill buy 9 @ 100 taker fee 0.9
      20 a Filled
    > 21 b sell 9 @101 reduce                 # 102.1 - 90.81 is left, and would not open another 9
      21 b New
      = order_initial 0
    > 22 c sell 9 @101                        # what closes takes none either
      22 c New
      = order_initial 0

## resting reduce-only orders are each cut as the position shrinks, and canceled with it
    trades 10:100 20:100 30:101 40:102
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
    > 21 b sell 2 @105 reduce
      21 b New
    > 22 c sell 1.5 @106 reduce
      22 c New
    > 23 d sell 0.5 @107 reduce
      23 d New
    > 24 e sell 1
      24 e New
    > 30
      30 e fill sell 1 @ 101 taker fee 0.101 pnl 1
      30 e Filled
      30 b New qty 1
      30 c New qty 1
    > 31 f sell 1
      31 f New
    > 40
      40 f fill sell 1 @ 102 taker fee 0.102 pnl 2
      40 f Filled
      40 b Cancelled CancelByReduceOnly
      40 c Cancelled CancelByReduceOnly
      40 d Cancelled CancelByReduceOnly
      = orders

## a resting reduce-only order does not grow with the position again
    trades 10:100 20:100 30:101 40:106
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
    > 21 b sell 5 @105 reduce
      21 b New
    > 22 c buy 2
      22 c New
    > 30
      30 c fill buy 2 @ 101 taker fee 0.202
      30 c Filled
      = position 4 @ 100.5
    > 40                                      # (105 - 100.5) * 2
      40 b fill sell 2 @ 105 maker fee 0.105 pnl 9
      40 b Filled
      = position 2 @ 100.5

## a plain order that turns the position round cancels reduce-only orders
    trades 10:100 20:100 30:101
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
    > 21 b sell 2 @105 reduce
      21 b New
    > 22 c sell 5
      22 c New
    > 30
      30 c fill sell 5 @ 101 taker fee 0.505 pnl 2
      30 c Filled
      30 b Cancelled CancelByReduceOnly
      = position -3 @ 101

## of two reduce-only orders that one trade reaches the first leaves nothing for the second
    trades 10:100 20:100 30:106
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
    > 21 b sell 2 @105 reduce
      21 b New
    > 22 c sell 2 @105 reduce
      22 c New
    > 30
      30 b fill sell 2 @ 105 maker fee 0.105 pnl 10
      30 b Filled
      30 c Cancelled CancelByReduceOnly
      = position 0

## of two reduce-only orders that one trade reaches the second gets what is left
    trades 10:100 20:100 30:106
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
    > 21 b sell 1.5 @105 reduce
      21 b New
    > 22 c sell 2 @105.5 reduce
      22 c New
    > 30
      30 b fill sell 1.5 @ 105 maker fee 0.07875 pnl 7.5
      30 b Filled
      30 c New qty 0.5
      30 c fill sell 0.5 @ 105.5 maker fee 0.026375 pnl 2.75
      30 c Filled

## two reduce-only market orders of one instant close once
    trades 10:100 20:100 30:101
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
    > 21 b sell 2 reduce
      21 b New
    > 21 c sell 2 reduce
      21 c New
    > 30
      30 b fill sell 2 @ 101 taker fee 0.202 pnl 2
      30 b Filled
      30 c Cancelled CancelByReduceOnly
      = position 0

## a reduce-only order amended upwards is cut to the position again
    trades 10:100 20:100
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
    > 21 b sell 1 @105 reduce
      21 b New
    > 22 amend b qty=5
      22 b New qty 2

## quantity 0 with reduce-only and close-on-trigger closes the whole position
    trades 10:100 20:100 30:101
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
    > 21 b sell 0 reduce close
      21 b New
      = order b qty 2
    > 30
      30 b fill sell 2 @ 101 taker fee 0.202 pnl 2
      30 b Filled
      = position 0

## quantity 0 needs reduce-only, close-on-trigger and a position to close
    trades 10:100 20:100
    > 11 a sell 0 reduce close
      11 refused 110017
    > 12 b buy 2
      12 b New
    > 20
      20 b fill buy 2 @ 100 taker fee 0.2
      20 b Filled
    > 21 c sell 0 reduce                      # *inferred*: the code
      21 refused 10001
    > 22 d sell 0 close
      22 refused 10001
    > 23 e buy 0 reduce close
      23 refused 110017

## a conditional order of quantity 0 closes what there is when it triggers
    trades 10:100 20:100 30:101 40:95 50:94
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
    > 21 b sell 0 reduce close <=96
      21 b Untriggered
    > 22 c buy 1
      22 c New
    > 30
      30 c fill buy 1 @ 101 taker fee 0.101
      30 c Filled
    > 40
      40 b Triggered qty 3
      40 b New
    > 50                                      # entry (2 * 100 + 101) / 3: 3 * 94 - 301
      50 b fill sell 3 @ 94 taker fee 0.282 pnl -19
      50 b Filled
      = position 0

## a conditional reduce-only order is cut when it triggers
    trades 10:100 20:100 30:101 40:95 50:94
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
    > 21 b sell 2 reduce <=96
      21 b Untriggered
    > 22 c sell 1.5
      22 c New
    > 30
      30 c fill sell 1.5 @ 101 taker fee 0.1515 pnl 1.5
      30 c Filled
    > 40
      40 b Triggered
      40 b New qty 0.5
    > 50
      50 b fill sell 0.5 @ 94 taker fee 0.047 pnl -3
      50 b Filled

## a conditional reduce-only order without a position comes to nothing
    trades 10:100 20:95 30:94
    > 11 a sell 2 reduce <=96
      11 a Untriggered
    > 30                                      # *inferred*: the reason
      20 a Triggered
      20 a Cancelled EC_Others
      = position 0

## reduce-only orders below the least notional may close small rests
    trades 10:100 20:100 30:100
    > 11 a buy 0.05
      11 a New
    > 20
      20 a fill buy 0.05 @ 100 taker fee 0.005
      20 a Filled
    > 21 b sell 0.01                          # 1 < 5
      21 refused 110094
    > 22 c sell 0.01 reduce                   # *inferred*: exempt, else the rest could never be closed
      22 c New
    > 30
      30 c fill sell 0.01 @ 100 taker fee 0.001 pnl 0
      30 c Filled
      = position 0.04 @ 100
""")

HEDGE = table("""
## one-way mode knows one position, hedge mode two
    trades 10:100
    > 11 a buy 1 @99 long
      11 refused 10001
    > 12 b buy 1 @99 short
      12 refused 10001
    > 13 hedge on
    > 14 c buy 1 @99                          # position idx not match position mode
      14 refused 10001
    > 15 d buy 1 @99 long
      15 d New

## the mode it has already is not modified
    trades 10:100
    > 11 hedge off
      11 refused 110025
    > 12 hedge on
    > 13 hedge on
      13 refused 110025
    > 14 hedge off

## open orders keep the mode
    trades 10:100
    > 11 a buy 1 @90
      11 a New
    > 12 hedge on
      12 refused 110028
    > 13 cancel a
      13 a Cancelled CancelByUser
    > 14 hedge on

## a conditional order keeps the mode
    trades 10:100
    > 11 a buy 1 >=110
      11 a Untriggered
    > 12 hedge on
      12 refused 110028

## a position keeps the mode
    trades 10:100 20:100 30:100
    > 11 a buy 1
      11 a New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
    > 21 hedge on
      21 refused 110024
    > 22 b sell 1
      22 b New
    > 30
      30 b fill sell 1 @ 100 taker fee 0.1 pnl 0
      30 b Filled
    > 31 hedge on

## a long and a short stand side by side
    hedge
    trades 10:100 20:100 30:102
    > 11 a buy 2 long
      11 a New
    > 12 b sell 3 short
      12 b New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
      20 b fill sell 3 @ 100 taker fee 0.3
      20 b Filled
      = position long 2 @ 100
      = position short -3 @ 100
    > 21 c sell 1 long
      21 c New
    > 22 d buy 1 short
      22 d New
    > 30                                      # the long gains, the short loses
      30 c fill sell 1 @ 102 taker fee 0.102 pnl 2
      30 c Filled
      30 d fill buy 1 @ 102 taker fee 0.102 pnl -2
      30 d Filled
      = position long 1 @ 100
      = position short -2 @ 100

## a closing order never turns a hedged position round
    hedge
    trades 10:100 20:100 30:102
    > 11 a buy 2 long
      11 a New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
    > 21 b sell 5 long
      21 b New
      = order b qty 2
    > 30
      30 b fill sell 2 @ 102 taker fee 0.204 pnl 4
      30 b Filled
      = position long 0
      = position short 0

## what closes a flat side is refused
    hedge
    trades 10:100
    > 11 a sell 1 long
      11 refused 110017
    > 12 b buy 1 short
      12 refused 110017
    > 13 c buy 1 long reduce
      13 refused 110017

## both sides of a hedge take margin
    hedge
    mark 5:100
    trades 10:100 20:100
    > 11 a buy 2 long
      11 a New
    > 12 b sell 1 short
      12 b New
    > 20
      20 a fill buy 2 @ 100 taker fee 0.2
      20 a Filled
      20 b fill sell 1 @ 100 taker fee 0.1
      20 b Filled
      = initial 30.29                         # 20 + 0.2 * 0.9, 10 + 0.1 * 1.1
      = maintenance 3.29                      # 2 + 0.18, 1 + 0.11

## stops belong to one side of a hedge
    hedge
    trades 10:100 20:100 30:105 40:106
    > 11 a buy 1 long tp=105 sl=95
      11 a New
    > 12 b sell 2 short tp=95 sl=110
      12 b New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
      20 TP1 Untriggered sell 1 >=105
      20 SL1 Untriggered sell 1 <=95
      20 b fill sell 2 @ 100 taker fee 0.2
      20 b Filled
      20 TP2 Untriggered buy 2 <=95
      20 SL2 Untriggered buy 2 >=110
      = stops long tp=105 sl=95
      = stops short tp=95 sl=110
    > 21 stops tp=106                         # there is no one-way position
      21 refused 10001
    > 30
      30 TP1 Triggered
      30 TP1 New
    > 40
      40 TP1 fill sell 1 @ 106 taker fee 0.106 pnl 6
      40 TP1 Filled
      40 SL1 Cancelled CancelByTpSlTsClear
      = stops long none
      = stops short tp=95 sl=110
      = position short -2 @ 100

## the two sides of one account are one trader to self-match prevention
    hedge
    trades 10:100 20:99.2
    > 11 a buy 1 @99.5 long
      11 a New
    > 12 b sell 1 @99 short smp=CancelTaker
      12 b New
    > 20                                      # then the trade goes through the bid
      20 b Cancelled EC_BySelfMatch CancelBySmp
      20 a fill buy 1 @ 99.5 maker fee 0.04975
      20 a Filled
""")


@pytest.mark.parametrize("case", REDUCE_ONLY, ids=title_of)
def test_reduce_only(case: Case) -> None:
    """What only reduces is never larger than the position, now or later."""
    run_case(case)


@pytest.mark.parametrize("case", HEDGE, ids=title_of)
def test_hedge_mode(case: Case) -> None:
    """A long and a short are two positions, and the mode changes only while there is neither position nor order."""
    run_case(case)
