"""Trailing stops against trades."""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

TRAILING = table("""
## a trailing stop follows a long position's best price
    trades 10:100 20:101 30:103 40:102 50:105 60:103.1 70:103 80:102.5
    > 11 a buy 1
      11 a New
    > 20
      20 a fill buy 1 @ 101 taker fee 0.101
      20 a Filled
    > 21 stops trail=2                        # 101 - 2
      21 TS1 Untriggered sell 1 <=99
      = stops trail=2
      = order TS1 create_type CreateByTrailingStop stop_kind TrailingStop
    > 60                                      # 105 - 2 = 103
    > 70
      70 TS1 Triggered
      70 TS1 New
    > 80
      80 TS1 fill sell 1 @ 102.5 taker fee 0.1025 pnl 1.5
      80 TS1 Filled

## a trailing stop follows a short position's best price
    trades 10:100 20:101 30:99 40:97 50:98.9 60:99 70:100
    > 11 a sell 1
      11 a New
    > 20
      20 a fill sell 1 @ 101 taker fee 0.101
      20 a Filled
    > 21 stops trail=2
      21 TS1 Untriggered buy 1 >=103
    > 50                                      # 97 + 2 = 99
    > 60
      60 TS1 Triggered
      60 TS1 New
    > 70
      70 TS1 fill buy 1 @ 100 taker fee 0.1 pnl 1
      70 TS1 Filled

## a trailing stop never follows back
    trades 10:100 20:101 30:99.5 40:99.1 50:100 60:99 70:99
    > 11 a buy 1
      11 a New
    > 20
      20 a fill buy 1 @ 101 taker fee 0.101
      20 a Filled
    > 21 stops trail=2
      21 TS1 Untriggered sell 1 <=99
    > 50
    > 60
      60 TS1 Triggered
      60 TS1 New

## with an activation price it follows only from there: long
    trades 10:100 20:101 30:104 40:101.5 50:105 60:106 70:104.1 80:104 90:103
    > 11 a buy 1
      11 a New
    > 20
      20 a fill buy 1 @ 101 taker fee 0.101
      20 a Filled
    > 21 stops trail=2 active=105             # *inferred*: told as what it would be then
      21 TS1 Untriggered sell 1 <=103
    > 40                                      # 104 - 2 has been passed, without effect
    > 50                                      # *inferred*: told that it follows now
      50 TS1 Untriggered
    > 70                                      # 106 - 2 = 104
    > 80
      80 TS1 Triggered
      80 TS1 New
    > 90
      90 TS1 fill sell 1 @ 103 taker fee 0.103 pnl 2
      90 TS1 Filled

## with an activation price it follows only from there: short
    trades 10:100 20:101 30:98 40:101 50:96.5 60:98.4 70:98.5 80:99
    > 11 a sell 1
      11 a New
    > 20
      20 a fill sell 1 @ 101 taker fee 0.101
      20 a Filled
    > 21 stops trail=2 active=97
      21 TS1 Untriggered buy 1 >=99
    > 40
    > 50                                      # 96.5 + 2 = 98.5
      50 TS1 Untriggered >=98.5
    > 60
    > 70
      70 TS1 Triggered
      70 TS1 New
    > 80
      80 TS1 fill buy 1 @ 99 taker fee 0.099 pnl 2
      80 TS1 Filled

## from an activation price that is passed already it follows at once
    trades 10:100 20:101 30:103 40:102 50:101 60:100.5
    > 11 a buy 1
      11 a New
    > 20
      20 a fill buy 1 @ 101 taker fee 0.101
      20 a Filled
    > 31 stops trail=1 active=101.5           # *inferred*: from that price on, not from 103; then 102 - 1
      31 TS1 Untriggered sell 1 <=100.5
    > 60
      50 TS1 Triggered
      50 TS1 New
      60 TS1 fill sell 1 @ 100.5 taker fee 0.1005 pnl -0.5
      60 TS1 Filled

## the same trailing distance again is not modified
    trades 10:100 20:101 30:103 40:101.5 50:100.9
    > 11 a buy 1
      11 a New
    > 20
      20 a fill buy 1 @ 101 taker fee 0.101
      20 a Filled
    > 21 stops trail=2
      21 TS1 Untriggered sell 1 <=99
    > 41 stops trail=2                        # no change: 34040; else the stop at 103 - 2 would fall to 99.5
      41 refused 34040
    > 50
      50 TS1 Triggered
      50 TS1 New

## another trailing distance replaces it, zero removes it
    trades 10:100 20:101 30:103
    > 11 a buy 1
      11 a New
    > 20
      20 a fill buy 1 @ 101 taker fee 0.101
      20 a Filled
    > 21 stops trail=2
      21 TS1 Untriggered sell 1 <=99
    > 31 stops trail=1                        # *inferred*: a new order, following from the price of now
      31 TS1 Cancelled CancelByUser
      31 TS2 Untriggered sell 1 <=102
      = stops trail=1
    > 32 stops trail=0
      32 TS2 Cancelled CancelByUser
      = stops none
    > 33 stops trail=0
      33 refused 34040

## a trailing stop is resized with the position and goes with it
    trades 10:100 20:101 30:102 40:102 50:102
    > 11 a buy 1
      11 a New
    > 20
      20 a fill buy 1 @ 101 taker fee 0.101
      20 a Filled
    > 21 stops trail=5
      21 TS1 Untriggered sell 1 <=96
    > 22 b buy 1
      22 b New
    > 30
      30 b fill buy 1 @ 102 taker fee 0.102
      30 b Filled
      30 TS1 Untriggered qty 2
    > 31 c sell 2
      31 c New
    > 40                                      # 2 * 102 - 203
      40 c fill sell 2 @ 102 taker fee 0.204 pnl 1
      40 c Filled
      40 TS1 Cancelled CancelByTpSlTsClear

## a gap through a trailing stop
    trades 10:100 20:101 30:103 40:90 50:91
    > 11 a buy 1
      11 a New
    > 20
      20 a fill buy 1 @ 101 taker fee 0.101
      20 a Filled
    > 21 stops trail=2
      21 TS1 Untriggered sell 1 <=99
    > 50
      40 TS1 Triggered
      40 TS1 New
      50 TS1 fill sell 1 @ 91 taker fee 0.091 pnl -10
      50 TS1 Filled

## stop loss and trailing stop of one position: what comes first closes it
    trades 10:100 20:101 30:104 40:101.9 50:101
    > 11 a buy 1 sl=95
      11 a New
    > 20
      20 a fill buy 1 @ 101 taker fee 0.101
      20 a Filled
      20 SL1 Untriggered sell 1 <=95
    > 21 stops trail=2
      21 TS1 Untriggered sell 1 <=99
      = stops sl=95 trail=2
    > 50                                      # 104 - 2 = 102
      40 TS1 Triggered
      40 TS1 New
      50 TS1 fill sell 1 @ 101 taker fee 0.101 pnl 0
      50 TS1 Filled
      50 SL1 Cancelled CancelByTpSlTsClear
""")


@pytest.mark.parametrize("case", TRAILING, ids=title_of)
def test_trailing_stops(case: Case) -> None:
    """A trailing stop keeps its distance from the best price, and never goes back."""
    run_case(case)
