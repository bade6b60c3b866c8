"""The venue against bars: trailing stops, funding and liquidation.

How a bar is walked is told in `test_venue_scenarios_bars`.
"""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

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


@pytest.mark.parametrize("case", TRAILING, ids=title_of)
def test_trailing_stops_against_bars(case: Case) -> None:
    """A trailing stop follows the path through the bar."""
    run_case(case)


@pytest.mark.parametrize("case", MONEY, ids=title_of)
def test_funding_and_liquidation_against_bars(case: Case) -> None:
    """Margin is judged along the path through the bar, funding at the price of known time."""
    run_case(case)
