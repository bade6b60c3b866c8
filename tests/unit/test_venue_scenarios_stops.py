"""Stops of a whole position: set, moved, taken away, and what triggers them."""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

_PAIRS = "\n".join(
    f"""    > 21 stops partial tp=110 sl=95 qty=0.1
      21 PTP{n} Untriggered sell 0.1 >=110
      21 PSL{n} Untriggered sell 0.1 <=95"""
    for n in range(1, 10)
)
STOPS = table(f"""
## a flat position has no stops
    trades 10:100
    > 11 stops tp=110                         # can not set tp/sl/ts for zero position
      11 refused 10001
    > 12 stops trail=2
      12 refused 10001
    > 13 stops partial sl=95
      13 refused 10001

## full stops are set, changed, removed
    trades 10:100 20:101
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 101 taker fee 0.202
      20 a Filled
    > 21 stops tp=110 sl=95
      21 TP1 Untriggered sell 2 >=110
      21 SL1 Untriggered sell 2 <=95
      = stops tp=110 sl=95
    > 22 stops tp=120
      22 TP1 Untriggered >=120
      = stops tp=120 sl=95
    > 23 stops tp=0
      23 TP1 Cancelled CancelByUser
      = stops sl=95
    > 24 stops sl=0
      24 SL1 Cancelled CancelByUser
      = stops none

## stops that change nothing are not modified
    trades 10:100 20:101
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 101 taker fee 0.202
      20 a Filled
    > 21 stops
      21 refused 34040
    > 22 stops tp=0
      22 refused 34040
    > 23 stops tp=110 sl=95
      23 TP1 Untriggered sell 2 >=110
      23 SL1 Untriggered sell 2 <=95
    > 24 stops tp=110 sl=95                   # no change: 34040
      24 refused 34040
    > 25 stops sl=95
      25 refused 34040
    > 26 stops sl=95:mark                     # another source is a change
      26 SL1 Untriggered <=95:mark

## stops on the wrong side of the market are refused
    trades 10:100 20:101
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 101 taker fee 0.202
      20 a Filled
    > 21 stops tp=101
      21 refused 10001
    > 22 stops tp=100.5
      22 refused 10001
    > 23 stops sl=101
      23 refused 10001
    > 24 stops sl=102
      24 refused 10001
    > 25 stops tp=110 sl=102                  # neither is set where one is wrong
      25 refused 10001
      = stops none
    > 26 stops tp=101.1 sl=100.9
      26 TP1 Untriggered sell 2 >=101.1
      26 SL1 Untriggered sell 2 <=100.9

## stops of a short position lie the other way round
    trades 10:100 20:101 30:107 40:108
    > 11 a sell 2
      11 a New
    > 20
      20 a fill sell 2 @ 101 taker fee 0.202
      20 a Filled
    > 21 stops tp=102
      21 refused 10001
    > 22 stops sl=100
      22 refused 10001
    > 23 stops tp=95 sl=107
      23 TP1 Untriggered buy 2 <=95
      23 SL1 Untriggered buy 2 >=107
    > 40
      30 SL1 Triggered
      30 SL1 New
      40 SL1 fill buy 2 @ 108 taker fee 0.216 pnl -14
      40 SL1 Filled
      40 TP1 Cancelled CancelByTpSlTsClear

## stops off the tick are refused
    trades 10:100 20:101
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 101 taker fee 0.202
      20 a Filled
    > 21 stops tp=110.05
      21 refused 110003
    > 22 stops trail=1.05
      22 refused 110003
    > 23 stops trail=1 active=110.05
      23 refused 110003

## a limit stop needs partial mode
    trades 10:100 20:101
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 101 taker fee 0.202
      20 a Filled
    > 21 stops tp=110/111
      21 refused 110058
    > 22 stops partial tp=110/111 qty=1
      22 PTP1 Untriggered sell 1 >=110

## partial stops only add
    trades 10:100 20:101 30:111 40:112
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 101 taker fee 0.202
      20 a Filled
    > 21 stops partial tp=110 sl=95 qty=0.5
      21 PTP1 Untriggered sell 0.5 >=110
      21 PSL1 Untriggered sell 0.5 <=95
    > 22 stops partial tp=110 sl=95 qty=0.5
      22 PTP2 Untriggered sell 0.5 >=110
      22 PSL2 Untriggered sell 0.5 <=95
    > 23 stops partial sl=96                  # *inferred*: without a size, the whole position
      23 PSL3 Untriggered sell 2 <=96
    > 24 stops partial sl=96 qty=2.1          # *inferred*: the code
      24 refused 110059
    > 40
      30 PSL1 Cancelled CancelByOCOSlCanceledByTpTriggered
      30 PTP1 Triggered
      30 PTP1 New
      30 PSL2 Cancelled CancelByOCOSlCanceledByTpTriggered
      30 PTP2 Triggered
      30 PTP2 New
      40 PTP1 fill sell 0.5 @ 112 taker fee 0.056 pnl 5.5
      40 PTP1 Filled
      40 PTP2 fill sell 0.5 @ 112 taker fee 0.056 pnl 5.5
      40 PTP2 Filled
      = position 1 @ 101

## a partial stop that is larger than what is left closes just that
    trades 10:100 20:101 30:102 40:95 50:94
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 101 taker fee 0.202
      20 a Filled
    > 21 stops partial sl=96 qty=1.5
      21 PSL1 Untriggered sell 1.5 <=96
    > 22 b sell 1
      22 b New
    > 30
      30 b fill sell 1 @ 102 taker fee 0.102 pnl 1
      30 b Filled
    > 50                                      # *inferred*: not before it triggers
      40 PSL1 Triggered
      40 PSL1 New qty 1
      50 PSL1 fill sell 1 @ 94 taker fee 0.094 pnl -7
      50 PSL1 Filled
      = position 0

## at most twenty stops for parts of a position
    trades 10:100 20:101
    > 11 a buy 2
      11 a New
    > 20
      20 a fill buy 2 @ 101 taker fee 0.202
      20 a Filled
{_PAIRS}
    > 22 stops partial tp=110 qty=0.1
      22 PTP10 Untriggered sell 0.1 >=110
    > 23 stops partial tp=110 sl=95 qty=0.1   # 19 and 2
      23 refused 110061
    > 24 stops partial tp=110 qty=0.1
      24 PTP11 Untriggered sell 0.1 >=110
    > 25 stops partial sl=95 qty=0.1
      25 refused 110061
    > 26 cancel PTP1
      26 PTP1 Cancelled CancelByUser
    > 27 stops partial sl=95 qty=0.1
      27 PSL10 Untriggered sell 0.1 <=95

## canceling one leg of a pair leaves the other
    trades 10:100 20:101 30:94 40:93
    > 11 a buy 2 tp=110 sl=95 partial
      11 a New
    > 20
      20 a fill buy 2 @ 101 taker fee 0.202
      20 a Filled
      20 PTP1 Untriggered sell 2 >=110
      20 PSL1 Untriggered sell 2 <=95
    > 21 cancel PTP1                          # *inferred*; sure where a pair is broken: "cancel affects one leg only"
      21 PTP1 Cancelled CancelByUser
    > 40
      30 PSL1 Triggered
      30 PSL1 New
      40 PSL1 fill sell 2 @ 93 taker fee 0.186 pnl -16
      40 PSL1 Filled

## a stop can be amended and canceled as an order
    trades 10:100 20:101
    > 11 a buy 2 tp=110 sl=95
      11 a New
    > 20
      20 a fill buy 2 @ 101 taker fee 0.202
      20 a Filled
      20 TP1 Untriggered sell 2 >=110
      20 SL1 Untriggered sell 2 <=95
    > 21 amend SL1 at=96
      21 SL1 Untriggered <=96
    > 22 cancel TP1
      22 TP1 Cancelled CancelByUser
      = stops sl=96
    > 23 amend SL1 at=102                     # it would trigger at once
      23 refused 110093
""")


@pytest.mark.parametrize("case", STOPS, ids=title_of)
def test_stops_of_a_position(case: Case) -> None:
    """Stops are set, replaced, added and removed as the venue's trading-stop request has it."""
    run_case(case)
