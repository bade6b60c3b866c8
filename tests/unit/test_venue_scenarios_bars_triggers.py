"""The venue against bars: conditional orders, and entries with exits in one bar.

How a bar is walked is told in `test_venue_scenarios_bars`.
"""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

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


@pytest.mark.parametrize("case", TRIGGERS, ids=title_of)
def test_triggers_against_bars(case: Case) -> None:
    """What is triggered inside a bar trades where the path of the model passes it, or at the open."""
    run_case(case)


@pytest.mark.parametrize("case", ENTRIES, ids=title_of)
def test_entries_and_exits_in_one_bar(case: Case) -> None:
    """A loss may come in the bar of its entry; a profit only where the path says that it came after."""
    run_case(case)
