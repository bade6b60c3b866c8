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


@pytest.mark.parametrize("case", TAKING, ids=title_of)
def test_takers_against_bars(case: Case) -> None:
    """A taker gets an open, and nothing that came later."""
    run_case(case)


@pytest.mark.parametrize("case", RESTING, ids=title_of)
def test_resting_orders_against_bars(case: Case) -> None:
    """A resting order fills at its limit once a whole bar has gone through it."""
    run_case(case)
