"""Take profits and stop losses that come with an order, at the venue model."""

import pytest

from tests.support.venue_scenarios import Case, run_case, table, title_of

ATTACHED = table("""
## attached exits come with the fill and go with the position
    trades 10:100 20:101 30:111 40:112
    > 11 a buy 1 tp=110 sl=95
      11 a New
    > 20                                      # reduce-only and close-on-trigger, for the whole position, without an id
      20 a fill buy 1 @ 101 taker fee 0.101
      20 a Filled
      20 TP1 Untriggered sell 1 >=110
      20 SL1 Untriggered sell 1 <=95
      = stops tp=110 sl=95
      = order TP1 create_type CreateByTakeProfit parent_client_order_id a client_order_id -
      = order SL1 reduce_only True close_on_trigger True kind Market
    > 30
      30 TP1 Triggered
      30 TP1 New
    > 40
      40 TP1 fill sell 1 @ 112 taker fee 0.112 pnl 11
      40 TP1 Filled
      40 SL1 Cancelled CancelByTpSlTsClear
      = position 0
      = orders
      = stops none

## the stop loss of a short position rises
    trades 10:100 20:99 30:105 40:106
    > 11 a sell 2 tp=90 sl=105
      11 a New
    > 20
      20 a fill sell 2 @ 99 taker fee 0.198
      20 a Filled
      20 TP1 Untriggered buy 2 <=90
      20 SL1 Untriggered buy 2 >=105
    > 40
      30 SL1 Triggered
      30 SL1 New
      40 SL1 fill buy 2 @ 106 taker fee 0.212 pnl -14
      40 SL1 Filled
      40 TP1 Cancelled CancelByTpSlTsClear

## exits on the wrong side of the order's price are refused
    trades 10:100
    > 11 a buy 1 @99 tp=99
      11 refused 10001
    > 12 b buy 1 @99 tp=98
      12 refused 10001
    > 13 c buy 1 @99 sl=99
      13 refused 10001
    > 14 d sell 1 @101 tp=101
      14 refused 10001
    > 15 e sell 1 @101 sl=100.9
      15 refused 10001
    > 16 f buy 1 sl=100                       # a market order's: the last price
      16 refused 10001
    > 17 g buy 1 @99 tp=99.1 sl=98.9
      17 g New

## a reduce-only order carries no exits
    trades 10:100 20:100
    > 11 a buy 1
      11 a New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
    > 21 b sell 1 @101 reduce sl=105          # 110057 to 110061: conflicts of TP and SL parameters; which: *inferred*
      21 refused 110057

## a limit exit needs partial mode
    trades 10:100
    > 11 a buy 1 @99 tp=105/105.5
      11 refused 110058
    > 12 b buy 1 @99 tp=105/105.5 partial
      12 b New

## full mode replaces the position's exits
    trades 10:100 20:100 30:101 40:102
    > 11 a buy 1 tp=110 sl=95
      11 a New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
      20 TP1 Untriggered sell 1 >=110
      20 SL1 Untriggered sell 1 <=95
    > 21 b buy 2 tp=115
      21 b New
    > 30
      30 b fill buy 2 @ 101 taker fee 0.202
      30 b Filled
      30 TP1 Untriggered qty 3
      30 SL1 Untriggered qty 3
      30 TP1 Untriggered >=115
      = stops tp=115 sl=95
      = orders TP1 SL1

## full exits are resized with the position
    trades 10:100 20:100 30:101 40:102
    > 11 a buy 1 sl=95
      11 a New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
      20 SL1 Untriggered sell 1 <=95
    > 21 b buy 2
      21 b New
    > 30
      30 b fill buy 2 @ 101 taker fee 0.202
      30 b Filled
      30 SL1 Untriggered qty 3
    > 31 c sell 2.5
      31 c New
    > 40                                      # entry (100 + 202) / 3: 2.5 * 102 - 2.5 * 302 / 3
      40 c fill sell 2.5 @ 102 taker fee 0.255 pnl 3.333333333333
      40 c Filled
      40 SL1 Untriggered qty 0.5

## exits go when somebody else closes the position
    trades 10:100 20:100 30:101
    > 11 a buy 1 tp=110 sl=95
      11 a New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
      20 TP1 Untriggered sell 1 >=110
      20 SL1 Untriggered sell 1 <=95
    > 21 b sell 1
      21 b New
    > 30
      30 b fill sell 1 @ 101 taker fee 0.101 pnl 1
      30 b Filled
      30 TP1 Cancelled CancelByTpSlTsClear
      30 SL1 Cancelled CancelByTpSlTsClear

## exits do not outlive a position that is turned round
    trades 10:100 20:100 30:101 40:111 50:112
    > 11 a buy 1 tp=110 sl=95
      11 a New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
      20 TP1 Untriggered sell 1 >=110
      20 SL1 Untriggered sell 1 <=95
    > 21 b sell 3 sl=111
      21 b New
    > 30
      30 b fill sell 3 @ 101 taker fee 0.303 pnl 1
      30 b Filled
      30 TP1 Cancelled CancelByTpSlTsClear
      30 SL1 Cancelled CancelByTpSlTsClear
      30 SL2 Untriggered buy 2 >=111
      = stops sl=111
    > 50
      40 SL2 Triggered
      40 SL2 New
      50 SL2 fill buy 2 @ 112 taker fee 0.224 pnl -22
      50 SL2 Filled
      = position 0

## the exits of a part are a pair of which one executes: the target
    trades 10:100 20:100 30:111 40:112
    > 11 a buy 1 tp=110 sl=95 partial
      11 a New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
      20 PTP1 Untriggered sell 1 >=110
      20 PSL1 Untriggered sell 1 <=95
      = stops none                            # those are of the whole position
      = order PTP1 create_type CreateByPartialTakeProfit parent_client_order_id a
    > 40
      30 PSL1 Cancelled CancelByOCOSlCanceledByTpTriggered
      30 PTP1 Triggered
      30 PTP1 New
      40 PTP1 fill sell 1 @ 112 taker fee 0.112 pnl 12
      40 PTP1 Filled

## the exits of a part are a pair of which one executes: the stop
    trades 10:100 20:100 30:94 40:93
    > 11 a buy 1 tp=110 sl=95 partial
      11 a New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
      20 PTP1 Untriggered sell 1 >=110
      20 PSL1 Untriggered sell 1 <=95
    > 40
      30 PTP1 Cancelled CancelByOCOTpCanceledBySlTriggered
      30 PSL1 Triggered
      30 PSL1 New
      40 PSL1 fill sell 1 @ 93 taker fee 0.093 pnl -7
      40 PSL1 Filled

## partial exits of two orders stand side by side
    trades 10:100 20:100 30:106 40:107 50:111 60:112
    > 11 a buy 1 tp=105 partial
      11 a New
    > 12 b buy 2 tp=110 sl=90 partial
      12 b New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
      20 PTP1 Untriggered sell 1 >=105
      20 b fill buy 2 @ 100 taker fee 0.2
      20 b Filled
      20 PTP2 Untriggered sell 2 >=110
      20 PSL1 Untriggered sell 2 <=90
    > 40
      30 PTP1 Triggered
      30 PTP1 New
      40 PTP1 fill sell 1 @ 107 taker fee 0.107 pnl 7
      40 PTP1 Filled
      = position 2 @ 100
    > 60
      50 PSL1 Cancelled CancelByOCOSlCanceledByTpTriggered
      50 PTP2 Triggered
      50 PTP2 New
      60 PTP2 fill sell 2 @ 112 taker fee 0.224 pnl 24
      60 PTP2 Filled

## partial exits are for the quantity that fills
    model queue=averse
    trades 10:100x1s 20:101x1s 3600000000010:99.5x30.4s 3600000000020:99.4
    > 3600000000001 a buy 1 @99.5 tp=110 sl=90 partial
      3600000000001 a New
    > 3600000000010                           # 0.4 beyond the 30 ahead
      3600000000010 a fill buy 0.4 @ 99.5 maker fee 0.0199
      3600000000010 a PartiallyFilled 0.4
      3600000000010 PTP1 Untriggered sell 0.4 >=110
      3600000000010 PSL1 Untriggered sell 0.4 <=90
    > 3600000000020                           # *inferred*: one pair an order, which grows with what fills
      3600000000020 a fill buy 0.6 @ 99.5 maker fee 0.02985
      3600000000020 a Filled
      3600000000020 PTP1 Untriggered qty 1
      3600000000020 PSL1 Untriggered qty 1

## a partial take profit with a limit rests at it
    trades 10:100 20:100 30:110 40:110.5 50:110.6
    > 11 a buy 1 tp=110/110.5 sl=95 partial
      11 a New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
      20 PTP1 Untriggered sell 1 >=110
      20 PSL1 Untriggered sell 1 <=95
    > 30
      30 PSL1 Cancelled CancelByOCOSlCanceledByTpTriggered
      30 PTP1 Triggered
      30 PTP1 New
    > 40
    > 50
      50 PTP1 fill sell 1 @ 110.5 maker fee 0.05525 pnl 10.5
      50 PTP1 Filled

## exits may follow the mark price
    mark 5:100 35:111
    trades 10:100 20:100 30:111 40:111.5
    > 11 a buy 1 tp=110:mark
      11 a New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
      20 TP1 Untriggered sell 1 >=110:mark
    > 30
    > 40
      35 TP1 Triggered
      35 TP1 New
      40 TP1 fill sell 1 @ 111.5 taker fee 0.1115 pnl 11.5
      40 TP1 Filled

## exits attached to a conditional order come when that fills
    trades 10:100 20:105 30:106 40:99
    > 11 a buy 1 >=105 sl=100
      11 a Untriggered
    > 20
      20 a Triggered
      20 a New
    > 30
      30 a fill buy 1 @ 106 taker fee 0.106
      30 a Filled
      30 SL1 Untriggered sell 1 <=100
    > 40
      40 SL1 Triggered
      40 SL1 New

## one trade fills an entry and is beyond its stop already
    trades 10:100 20:98.9 30:99.2
    > 11 a buy 1 @99.5 sl=99
      11 a New
    > 20                                      # *inferred*: the price is there when the stop comes, so it fires
      20 a fill buy 1 @ 99.5 maker fee 0.04975
      20 a Filled
      20 SL1 Untriggered sell 1 <=99
      20 SL1 Triggered
      20 SL1 New
    > 30
      30 SL1 fill sell 1 @ 99.2 taker fee 0.0992 pnl -0.3
      30 SL1 Filled

## a market entry beyond its target takes it at once
    trades 10:100 20:101 30:100
    > 11 a buy 1 tp=100.5
      11 a New
    > 20
      20 a fill buy 1 @ 101 taker fee 0.101
      20 a Filled
      20 TP1 Untriggered sell 1 >=100.5
      20 TP1 Triggered
      20 TP1 New
    > 30
      30 TP1 fill sell 1 @ 100 taker fee 0.1 pnl -1
      30 TP1 Filled

## an order that fills nothing leaves no exits
    trades 10:100 20:100.3
    > 11 a buy 1 ticks=1 tp=105 sl=95
      11 a New
    > 20
      20 a Cancelled EC_NoImmediateQtyToFill
      = stops none

## an order of ours that closes at the price of our target leaves nothing to it
    trades 10:100 20:100 30:110 40:111
    > 11 a buy 1 tp=105 sl=95
      11 a New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
      20 TP1 Untriggered sell 1 >=105
      20 SL1 Untriggered sell 1 <=95
    > 21 b sell 1 @105
      21 b New
    > 40
      30 b fill sell 1 @ 105 maker fee 0.0525 pnl 5
      30 b Filled
      30 TP1 Cancelled CancelByTpSlTsClear
      30 SL1 Cancelled CancelByTpSlTsClear
      = position 0

## an order canceled before it filled leaves no exits
    trades 10:100 20:99
    > 11 a buy 1 @99.5 tp=110 sl=90
      11 a New
    > 12 cancel a
      12 a Cancelled CancelByUser
    > 20
      = orders
      = stops none

## exits need no margin, and close in spite of an account without any
    deposit 11 USDT
    trades 10:100 20:100 30:95 40:94.5
    > 11 a buy 1 @100 sl=95
      11 a New
    > 20
      20 a fill buy 1 @ 100 taker fee 0.1
      20 a Filled
      20 SL1 Untriggered sell 1 <=95
    > 40                                      # 10.9 - 5.5 - 0.0945
      30 SL1 Triggered
      30 SL1 New
      40 SL1 fill sell 1 @ 94.5 taker fee 0.0945 pnl -5.5
      40 SL1 Filled
      = wallet 5.3055
""")


@pytest.mark.parametrize("case", ATTACHED, ids=title_of)
def test_attached_exits(case: Case) -> None:
    """Exits that an order brings live and die with what it fills."""
    run_case(case)
