"""Orders at the venue model where the market data are bars.

Of a bar nobody knows when inside it a price was reached, so what happens inside is told at its close. The prices are
those of a path through the bar: ADVERSE goes first to the extreme that hurts the position, FAVORABLE to the one that
helps, NEAREST to the one nearer the open, and of two equally near ones as ADVERSE (*inferred*). A price that is passed
on the way is traded at; an open beyond it is a gap and trades at the open.

Bars are time:open,high,low,close and last 10.
"""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

TAKING = table("""
## a market order takes the open of the bar it arrives in, the only price of known time
    bars 0:100,101,99,100.5 10:100.6,102,100,101
    > 0 a buy 1
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
    > 9 b buy 1
      9 b New
      9 b fill buy 1 @ 100 taker fee 0.1
      9 b Filled
    > 10 c buy 1
      10 c New
      10 c fill buy 1 @ 100.6 taker fee 0.1006
      10 c Filled

## in a hole a market order waits for the next bar
    bars 0:100,101,99,100.5 30:103,104,102,103
    > 12 a buy 1
      12 a New
      = next 30
    > 29
    > 30
      30 a fill buy 1 @ 103 taker fee 0.103
      30 a Filled

## after the last bar a market order waits
    bars 0:100,101,99,100.5
    > 10 a buy 1
      10 a New
      = next none

## slippage is of the open
    model slippage=0.0012
    bars 0:100,101,99,100.5
    > 5 a buy 1                               # 100.12, up
      5 a New
      5 a fill buy 1 @ 100.2 taker fee 0.1002
      5 a Filled

## a limit that the open reaches takes at the open
    bars 0:100,101,99,100.5
    > 5 a buy 1 @100
      5 a New
      5 a fill buy 1 @ 100 taker fee 0.1
      5 a Filled
    > 6 b sell 1 @99.5
      6 b New
      6 b fill sell 1 @ 100 taker fee 0.1 pnl 0
      6 b Filled

## IOC, FOK and post-only are judged by the open
    bars 0:100,101,99,100.5
    > 5 a buy 1 @99.9 IOC
      5 a New
      5 a Cancelled EC_NoImmediateQtyToFill
    > 5 b buy 1 @99.9 FOK
      5 b New
      5 b Cancelled EC_NoEnoughQtyToFill
    > 5 c buy 1 @100 PostOnly
      5 c New
      5 c Cancelled EC_PostOnlyWillTakeLiquidity
    > 5 d buy 1 @99.9 PostOnly
      5 d New
    > 5 e buy 1 @100 IOC
      5 e New
      5 e fill buy 1 @ 100 taker fee 0.1
      5 e Filled

## in a hole a limit is judged by the last close, and meets the next open
    bars 0:100,101,99,100.5 30:100.2,104,100.2,103
    > 12 a buy 1 @100.5
      12 a New
    > 13 b buy 1 @100.4 PostOnly
      13 b New
    > 30
      30 a fill buy 1 @ 100.2 taker fee 0.1002
      30 a Filled
    > 40                                      # the bar opened below b: passed, filled at its limit
      40 b fill buy 1 @ 100.4 maker fee 0.0502
      40 b Filled

## before the first bar there is no price
    bars 10:100,101,99,100.5
    > 5 a buy 1
      5 refused 110118
    > 10 b buy 1
      10 b New
      10 b fill buy 1 @ 100 taker fee 0.1
      10 b Filled
""")

RESTING = table("""
## a resting order fills at its limit by the close of the bar that goes through it
    bars 0:100,101,99,100.5 10:100.6,102,99.5,101 20:101,101,98,99
    > 5 a buy 1 @99.5
      5 a New
    > 20                                      # a low at the limit is not through it
    > 29
    > 30
      30 a fill buy 1 @ 99.5 maker fee 0.04975
      30 a Filled

## a resting sell likewise
    bars 0:100,101,99,100.5 10:100.6,102,99.5,101 20:101,102.1,98,99
    > 5 a sell 1 @102
      5 a New
    > 20
    > 30
      30 a fill sell 1 @ 102 maker fee 0.051
      30 a Filled

## under touch the extreme fills
    model queue=touch
    bars 0:100,101,99,100.5 10:100.6,102,99.5,101
    > 5 a buy 1 @99.5
      5 a New
    > 6 b sell 1 @102
      6 b New
    > 20
      20 a fill buy 1 @ 99.5 maker fee 0.04975
      20 a Filled
      20 b fill sell 1 @ 102 maker fee 0.051 pnl 2.5
      20 b Filled

## what the bar of its arrival did does not fill a resting order
    bars 0:100,101,95,100 10:100,101,99,100 20:100,101,98,100
    > 5 a buy 1 @98.5                         # nobody knows whether 95 came after it
      5 a New
    > 20
    > 30
      30 a fill buy 1 @ 98.5 maker fee 0.04925
      30 a Filled

## an order that comes with the open has all of the bar before it
    bars 0:100,101,95,100
    > 0 a buy 1 @98.5
      0 a New
    > 10
      10 a fill buy 1 @ 98.5 maker fee 0.04925
      10 a Filled

## a gap does not better a resting order's price
    bars 0:100,101,99.5,100.5 10:98,98.5,97,98
    > 5 a buy 1 @99
      5 a New
    > 20                                      # it was in the book when the market jumped over it
      20 a fill buy 1 @ 99 maker fee 0.0495
      20 a Filled

## resting orders of one bar fill by price, then time
    bars 0:100,101,99.5,100.5 10:100,100,97,98
    > 5 a buy 1 @98
      5 a New
    > 6 b buy 1 @99
      6 b New
    > 7 c buy 1 @99
      7 c New
    > 20
      20 b fill buy 1 @ 99 maker fee 0.0495
      20 b Filled
      20 c fill buy 1 @ 99 maker fee 0.0495
      20 c Filled
      20 a fill buy 1 @ 98 maker fee 0.049
      20 a Filled

## a cancel inside the bar that would fill it comes in time, one at its close too late
    bars 0:100,101,99.5,100.5 10:100,100,97,98
    > 5 a buy 1 @98
      5 a New
    > 6 b buy 1 @98
      6 b New
    > 19 cancel a
      19 a Cancelled CancelByUser
    > 20 cancel b
      20 refused 110001
      20 b fill buy 1 @ 98 maker fee 0.049
      20 b Filled

## a price amended inside a bar rests from the next one on
    bars 0:100,101,99.9,100.5 10:100,101,98,99.6 20:99.6,99.7,98,99
    > 5 a buy 1 @97
      5 a New
    > 12 amend a price=99
      12 a New price 99
    > 20
    > 30
      30 a fill buy 1 @ 99 maker fee 0.0495
      30 a Filled

## less quantity inside a bar keeps the place
    bars 0:100,101,99.9,100.5 10:100,101,98,99.6
    > 5 a buy 2 @99
      5 a New
    > 12 amend a qty=1
      12 a New qty 1
    > 20
      20 a fill buy 1 @ 99 maker fee 0.0495
      20 a Filled

## a taker inside a bar meets another account's bid that its open has passed
    accounts A B
    bars 0:100,101,99.9,100.5 10:99.5,100,99,99.6
    > 5 a buy 1 @99.8
      5 a New
    > 12 B: b sell 2
      12 B:b New
      12 a fill buy 1 @ 99.8 maker fee 0.0499
      12 a Filled
      12 B:b fill sell 1 @ 99.8 taker fee 0.0998
      12 B:b PartiallyFilled 1
      12 B:b fill sell 1 @ 99.5 taker fee 0.0995
      12 B:b Filled

## bars that pass over a hole
    bars 0:100,101,99.5,100.5 50:97,98,96,97.5
    > 5 a buy 1 @99
      5 a New
    > 55
    > 60
      60 a fill buy 1 @ 99 maker fee 0.0495
      60 a Filled
""")

TRIGGERS = table("""
## a stop that is passed inside a bar trades at its trigger
    bars 0:100,100,100,100 10:100,101,98.5,100
    > 0 a buy 1 sl=99
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
      0 SL1 Untriggered sell 1 <=99
    > 10
    > 20
      20 SL1 Triggered
      20 SL1 New
      20 SL1 fill sell 1 @ 99 taker fee 0.099 pnl -1
      20 SL1 Filled

## a stop that is just touched triggers
    bars 0:100,100,100,100 10:100,101,99,100
    > 0 a buy 1 sl=99
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
      0 SL1 Untriggered sell 1 <=99
    > 20
      20 SL1 Triggered
      20 SL1 New
      20 SL1 fill sell 1 @ 99 taker fee 0.099 pnl -1
      20 SL1 Filled

## a gap through a stop trades at the open
    bars 0:100,100,100,100 10:97,98,96,97.5
    > 0 a buy 1 sl=99
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
      0 SL1 Untriggered sell 1 <=99
    > 20
      20 SL1 Triggered
      20 SL1 New
      20 SL1 fill sell 1 @ 97 taker fee 0.097 pnl -3
      20 SL1 Filled

## a gap beyond a target trades at the open too, to our good
    bars 0:100,100,100,100 10:107,108,106,107
    > 0 a buy 1 tp=105
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
      0 TP1 Untriggered sell 1 >=105
    > 20
      20 TP1 Triggered
      20 TP1 New
      20 TP1 fill sell 1 @ 107 taker fee 0.107 pnl 7
      20 TP1 Filled

## slippage is paid beyond the trigger
    model slippage=0.001
    bars 0:100,100,100,100 10:100,101,98.5,100
    > 0 a sell 1 @100
      0 a New
      0 a fill sell 1 @ 100 taker fee 0.1
      0 a Filled
    > 1 b buy 1 >=100.5
      1 b Untriggered
    > 20                                      # 100.6005, up
      20 b Triggered
      20 b New
      20 b fill buy 1 @ 100.7 taker fee 0.1007 pnl -0.7
      20 b Filled

## adverse: of stop and target in one bar a long position's stop
    model path=adverse
    bars 0:100,100,100,100 10:100,106,94,100
    > 0 a buy 1 tp=105 sl=95
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
      0 TP1 Untriggered sell 1 >=105
      0 SL1 Untriggered sell 1 <=95
    > 20
      20 SL1 Triggered
      20 SL1 New
      20 SL1 fill sell 1 @ 95 taker fee 0.095 pnl -5
      20 SL1 Filled
      20 TP1 Cancelled CancelByTpSlTsClear

## favorable: of stop and target in one bar a long position's target
    model path=favorable
    bars 0:100,100,100,100 10:100,106,94,100
    > 0 a buy 1 tp=105 sl=95
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
      0 TP1 Untriggered sell 1 >=105
      0 SL1 Untriggered sell 1 <=95
    > 20
      20 TP1 Triggered
      20 TP1 New
      20 TP1 fill sell 1 @ 105 taker fee 0.105 pnl 5
      20 TP1 Filled
      20 SL1 Cancelled CancelByTpSlTsClear

## nearest: the low is nearer
    model path=nearest
    bars 0:100,100,100,100 10:100,107,94,100
    > 0 a buy 1 tp=105 sl=95
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
      0 TP1 Untriggered sell 1 >=105
      0 SL1 Untriggered sell 1 <=95
    > 20
      20 SL1 Triggered
      20 SL1 New
      20 SL1 fill sell 1 @ 95 taker fee 0.095 pnl -5
      20 SL1 Filled
      20 TP1 Cancelled CancelByTpSlTsClear

## nearest: the high is nearer
    model path=nearest
    bars 0:100,100,100,100 10:100,106,93,100
    > 0 a buy 1 tp=105 sl=95
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
      0 TP1 Untriggered sell 1 >=105
      0 SL1 Untriggered sell 1 <=95
    > 20
      20 TP1 Triggered
      20 TP1 New
      20 TP1 fill sell 1 @ 105 taker fee 0.105 pnl 5
      20 TP1 Filled
      20 SL1 Cancelled CancelByTpSlTsClear

## nearest: both as near
    model path=nearest
    bars 0:100,100,100,100 10:100,106,94,100
    > 0 a buy 1 tp=105 sl=95
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
      0 TP1 Untriggered sell 1 >=105
      0 SL1 Untriggered sell 1 <=95
    > 20
      20 SL1 Triggered
      20 SL1 New
      20 SL1 fill sell 1 @ 95 taker fee 0.095 pnl -5
      20 SL1 Filled
      20 TP1 Cancelled CancelByTpSlTsClear

## adverse: of stop and target in one bar a short position's stop
    model path=adverse
    bars 0:100,100,100,100 10:100,106,94,100
    > 0 a sell 1 tp=95 sl=105
      0 a New
      0 a fill sell 1 @ 100 taker fee 0.1
      0 a Filled
      0 TP1 Untriggered buy 1 <=95
      0 SL1 Untriggered buy 1 >=105
    > 20
      20 SL1 Triggered
      20 SL1 New
      20 SL1 fill buy 1 @ 105 taker fee 0.105 pnl -5
      20 SL1 Filled
      20 TP1 Cancelled CancelByTpSlTsClear

## favorable: of stop and target in one bar a short position's target
    model path=favorable
    bars 0:100,100,100,100 10:100,106,94,100
    > 0 a sell 1 tp=95 sl=105
      0 a New
      0 a fill sell 1 @ 100 taker fee 0.1
      0 a Filled
      0 TP1 Untriggered buy 1 <=95
      0 SL1 Untriggered buy 1 >=105
    > 20
      20 TP1 Triggered
      20 TP1 New
      20 TP1 fill buy 1 @ 95 taker fee 0.095 pnl 5
      20 TP1 Filled
      20 SL1 Cancelled CancelByTpSlTsClear

## adverse: a resting target and a stop in one bar
    model path=adverse
    bars 0:100,100,100,100 10:100,106,94,100
    > 0 a buy 1 sl=95
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
      0 SL1 Untriggered sell 1 <=95
    > 1 b sell 1 @105 reduce
      1 b New
    > 20
      20 SL1 Triggered
      20 SL1 New
      20 SL1 fill sell 1 @ 95 taker fee 0.095 pnl -5
      20 SL1 Filled
      20 b Cancelled CancelByReduceOnly

## favorable: a resting target and a stop in one bar
    model path=favorable
    bars 0:100,100,100,100 10:100,106,94,100
    > 0 a buy 1 sl=95
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
      0 SL1 Untriggered sell 1 <=95
    > 1 b sell 1 @105 reduce
      1 b New
    > 20
      20 b fill sell 1 @ 105 maker fee 0.0525 pnl 5
      20 b Filled
      20 SL1 Cancelled CancelByTpSlTsClear

## two steps down in one bar: the nearer one first, whatever the path
    model path=favorable
    bars 0:100,100,100,100 10:100,101,94,95
    > 0 a buy 2
      0 a New
      0 a fill buy 2 @ 100 taker fee 0.2
      0 a Filled
    > 1 stops partial sl=95 qty=1
      1 PSL1 Untriggered sell 1 <=95
    > 2 stops partial sl=98 qty=1
      2 PSL2 Untriggered sell 1 <=98
    > 20
      20 PSL2 Triggered
      20 PSL2 New
      20 PSL2 fill sell 1 @ 98 taker fee 0.098 pnl -2
      20 PSL2 Filled
      20 PSL1 Triggered
      20 PSL1 New
      20 PSL1 fill sell 1 @ 95 taker fee 0.095 pnl -5
      20 PSL1 Filled

## a conditional order enters at its trigger
    bars 0:100,100,100,100 10:100,106,98,103
    > 5 a buy 1 >=105
      5 a Untriggered
    > 20
      20 a Triggered
      20 a New
      20 a fill buy 1 @ 105 taker fee 0.105
      20 a Filled

## a conditional order enters at the open after a gap
    bars 0:100,100,100,100 10:107,108,106,107
    > 5 a buy 1 >=105
      5 a Untriggered
    > 20
      20 a Triggered
      20 a New
      20 a fill buy 1 @ 107 taker fee 0.107
      20 a Filled

## a conditional limit below its trigger rests, and the rest of the bar does not fill it
    model path=nearest
    bars 0:100,100,100,100 10:100,106,92,103 20:104,105,103,104
    > 5 a buy 1 @104 >=105
      5 a Untriggered
    > 20                                      # *inferred*: though this path goes down through 104 after 105
      20 a Triggered
      20 a New
    > 30
      30 a fill buy 1 @ 104 maker fee 0.052
      30 a Filled

## a trigger in the bar of the order's arrival
    bars 0:100,106,94,100 10:100,101,99,100
    > 5 a buy 1 >=105                         # *inferred*: 106 may have come before it, so nothing is entered
      5 a Untriggered
    > 20
      = position 0
""")

ENTRIES = table("""
## a stop in the bar of a market entry counts, even if the bar had been there before
    bars 0:100,101,94,100.5 10:100.6,101,100,101
    > 5 a buy 1 sl=95
      5 a New
      5 a fill buy 1 @ 100 taker fee 0.1
      5 a Filled
      5 SL1 Untriggered sell 1 <=95
    > 10
      10 SL1 Triggered
      10 SL1 New
      10 SL1 fill sell 1 @ 95 taker fee 0.095 pnl -5
      10 SL1 Filled

## a target in the bar of a market entry does not, for the bar may have been there before
    model path=favorable
    bars 0:100,106,99,100.5 10:100.6,101,100,101
    > 5 a buy 1 tp=105
      5 a New
      5 a fill buy 1 @ 100 taker fee 0.1
      5 a Filled
      5 TP1 Untriggered sell 1 >=105
    > 20
      = position 1 @ 100

## an entry at the very open has all of the bar before it
    bars 0:100,106,99,100.5
    > 0 a buy 1 tp=105
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
      0 TP1 Untriggered sell 1 >=105
    > 10                                      # *inferred*: no path denies it
      10 TP1 Triggered
      10 TP1 New
      10 TP1 fill sell 1 @ 105 taker fee 0.105 pnl 5
      10 TP1 Filled

## adverse: entry and stop in one bar
    model path=adverse
    bars 0:100,100,100,100 10:100,101,95,97
    > 0 a buy 1 @99 sl=96
      0 a New
    > 20
      20 a fill buy 1 @ 99 maker fee 0.0495
      20 a Filled
      20 SL1 Untriggered sell 1 <=96
      20 SL1 Triggered
      20 SL1 New
      20 SL1 fill sell 1 @ 96 taker fee 0.096 pnl -3
      20 SL1 Filled

## favorable: entry and stop on one way down, too
    model path=favorable
    bars 0:100,100,100,100 10:100,101,95,97
    > 0 a buy 1 @99 sl=96
      0 a New
    > 20
      20 a fill buy 1 @ 99 maker fee 0.0495
      20 a Filled
      20 SL1 Untriggered sell 1 <=96
      20 SL1 Triggered
      20 SL1 New
      20 SL1 fill sell 1 @ 96 taker fee 0.096 pnl -3
      20 SL1 Filled

## adverse: no profit in the bar of an entry
    model path=adverse
    bars 0:100,100,100,100 10:100,106,98,103 20:103,105,102,103
    > 0 a buy 1 @99 tp=104
      0 a New
    > 20
      20 a fill buy 1 @ 99 maker fee 0.0495
      20 a Filled
      20 TP1 Untriggered sell 1 >=104
    > 30
      30 TP1 Triggered
      30 TP1 New
      30 TP1 fill sell 1 @ 104 taker fee 0.104 pnl 5
      30 TP1 Filled

## favorable: entry and target in one bar
    model path=favorable
    bars 0:100,100,100,100 10:100,106,98,103
    > 0 a buy 1 @99 tp=104                    # down to 98 first, then up
      0 a New
    > 20
      20 a fill buy 1 @ 99 maker fee 0.0495
      20 a Filled
      20 TP1 Untriggered sell 1 >=104
      20 TP1 Triggered
      20 TP1 New
      20 TP1 fill sell 1 @ 104 taker fee 0.104 pnl 5
      20 TP1 Filled

## nearest: the high was before the entry, so its target waits
    model path=nearest
    bars 0:100,100,100,100 10:103,106,96,97 20:97,98,96.5,97
    > 0 a buy 1 @99 tp=104                    # 103, 106, 96, 97
      0 a New
    > 20
      20 a fill buy 1 @ 99 maker fee 0.0495
      20 a Filled
      20 TP1 Untriggered sell 1 >=104
    > 30
      = position 1 @ 99

## nearest: the low was before the entry by a rising trigger, so its stop waits
    model path=nearest
    bars 0:100,100,100,100 10:100,106,97,105.5 20:105,106,104,105
    > 0 a buy 1 >=105 sl=98                   # 100, 97, 106, 105.5
      0 a Untriggered
    > 20
      20 a Triggered
      20 a New
      20 a fill buy 1 @ 105 taker fee 0.105
      20 a Filled
      20 SL1 Untriggered sell 1 <=98
    > 30
      = position 1 @ 105
""")

TRAILING = table("""
## adverse: first the worst of the bar, then its best
    model path=adverse
    bars 0:100,100,100,100 10:100,106,99,105 20:105,107,104.5,106 30:106,106,103,103
    > 0 a buy 1
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
    > 5 stops trail=2
      5 TS1 Untriggered sell 1 <=98
    > 30                                      # 99 is above 98; then 106 and 107, so 105
    > 40
      40 TS1 Triggered
      40 TS1 New
      40 TS1 fill sell 1 @ 105 taker fee 0.105 pnl 5
      40 TS1 Filled

## favorable: first the best of the bar, then its worst
    model path=favorable
    bars 0:100,100,100,100 10:100,106,99,105
    > 0 a buy 1
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
    > 5 stops trail=2
      5 TS1 Untriggered sell 1 <=98
    > 20                                      # 106 - 2, on the way down to 99
      20 TS1 Triggered
      20 TS1 New
      20 TS1 fill sell 1 @ 104 taker fee 0.104 pnl 4
      20 TS1 Filled

## the way from the best to the close may trigger it
    model path=nearest
    bars 0:100,100,100,100 10:100,106,99,102
    > 0 a buy 1
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
    > 5 stops trail=2
      5 TS1 Untriggered sell 1 <=98
    > 20                                      # 100, 99, 106, then 104 on the way to 102
      20 TS1 Triggered
      20 TS1 New
      20 TS1 fill sell 1 @ 104 taker fee 0.104 pnl 4
      20 TS1 Filled

## a gap through a trailing stop trades at the open
    bars 0:100,100,100,100 10:97,106,96,102
    > 0 a buy 1
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
    > 5 stops trail=2
      5 TS1 Untriggered sell 1 <=98
    > 20
      20 TS1 Triggered
      20 TS1 New
      20 TS1 fill sell 1 @ 97 taker fee 0.097 pnl -3
      20 TS1 Filled

## a short position's
    model path=adverse
    bars 0:100,100,100,100 10:100,101,94,95 20:95,97,94,96
    > 0 a sell 1
      0 a New
      0 a fill sell 1 @ 100 taker fee 0.1
      0 a Filled
    > 5 stops trail=2
      5 TS1 Untriggered buy 1 >=102
    > 20                                      # 101 is below 102; then 94, so 96
    > 30
      30 TS1 Triggered
      30 TS1 New
      30 TS1 fill buy 1 @ 96 taker fee 0.096 pnl 4
      30 TS1 Filled

## with an activation price it follows from there
    model path=nearest
    bars 0:100,100,100,100 10:100,104,98.5,103 20:103,106,102.5,105 30:105,105.5,103.5,104
    > 0 a buy 1
      0 a New
      0 a fill buy 1 @ 100 taker fee 0.1
      0 a Filled
    > 5 stops trail=2 active=105
      5 TS1 Untriggered sell 1 <=103
    > 20
    > 30                                      # 103, 102.5, 106, 105: told at 105, follows up to 106
      30 TS1 Untriggered
    > 40                                      # 105, 105.5, 103.5
      40 TS1 Triggered
      40 TS1 New
      40 TS1 fill sell 1 @ 104 taker fee 0.104 pnl 4
      40 TS1 Filled
""")

MONEY = table("""
## liquidation inside a bar is at the mark price where it begins
    # As in the scenarios of accounts: 9 at 100, wallet 99.1; they meet between 89.9 and 90, at 801.755 / 8.91 = 89.984.
    deposit 100 USDT
    leverage 20
    bars 0:100,100,100,100 10:100,100,90,95
    > 0 a buy 9
      0 a New
      0 a fill buy 9 @ 100 taker fee 0.9
      0 a Filled
    > 20                                      # a low of 90 is still covered
      = position 9 @ 100

## funding inside a bar is of the position of then
    funding 15:0.0001
    bars 0:100,100,100,100 10:110,110,105,106
    > 5 a buy 2
      5 a New
      5 a fill buy 2 @ 100 taker fee 0.2
      5 a Filled
    > 20                                      # the open is the price of known time: 2 * 110 * 0.0001
      15 funding 2 @ 110 rate 0.0001 paid 0.022

## a stop loss before the liquidation price
    deposit 100 USDT
    leverage 20
    bars 0:100,100,100,100 10:100,100,80,95
    > 0 a buy 9 sl=95
      0 a New
      0 a fill buy 9 @ 100 taker fee 0.9
      0 a Filled
      0 SL1 Untriggered sell 9 <=95
    > 20                                      # 9 * -5 and 9 * 95 * 0.001
      20 SL1 Triggered
      20 SL1 New
      20 SL1 fill sell 9 @ 95 taker fee 0.855 pnl -45
      20 SL1 Filled
      = wallet 53.245

## a liquidation before a stop loss that lies beyond
    deposit 100 USDT
    leverage 20
    bars 0:100,100,100,100 10:100,100,80,95
    > 0 a buy 9 sl=85
      0 a New
      0 a fill buy 9 @ 100 taker fee 0.9
      0 a Filled
      0 SL1 Untriggered sell 9 <=85
    > 20                                      # at 89.9, the first tick without cover: as in the scenarios of accounts
      20 liquidation 8.2 of 8.946
      20 TakeOver_PassThrough fill sell 9 @ 89.1 taker fee 0.8019 pnl -98.1
      20 SL1 Cancelled CancelByTpSlTsClear
      = wallet 0.1981

## a gap in bars
    deposit 100 USDT
    leverage 20
    bars 0:100,100,100,100 10:50,100,50,95
    > 0 a buy 9
      0 a New
      0 a fill buy 9 @ 100 taker fee 0.9
      0 a Filled
    > 20
      20 liquidation -350.9 of 5.355
      20 TakeOver_PassThrough fill sell 9 @ 89.1 taker fee 0.8019 pnl -98.1
""")


@pytest.mark.parametrize("case", TAKING, ids=title_of)
def test_takers_against_bars(case: Case) -> None:
    """A taker gets an open, and nothing that came later."""
    run_case(case)


@pytest.mark.parametrize("case", RESTING, ids=title_of)
def test_resting_orders_against_bars(case: Case) -> None:
    """A resting order fills at its limit once a whole bar has gone through it."""
    run_case(case)


@pytest.mark.parametrize("case", TRIGGERS, ids=title_of)
def test_triggers_against_bars(case: Case) -> None:
    """What is triggered inside a bar trades where the path of the model passes it, or at the open."""
    run_case(case)


@pytest.mark.parametrize("case", ENTRIES, ids=title_of)
def test_entries_and_exits_in_one_bar(case: Case) -> None:
    """A loss may come in the bar of its entry; a profit only where the path says that it came after."""
    run_case(case)


@pytest.mark.parametrize("case", TRAILING, ids=title_of)
def test_trailing_stops_against_bars(case: Case) -> None:
    """A trailing stop follows the path through the bar."""
    run_case(case)


@pytest.mark.parametrize("case", MONEY, ids=title_of)
def test_funding_and_liquidation_against_bars(case: Case) -> None:
    """Margin is judged along the path through the bar, funding at the price of known time."""
    run_case(case)
