"""Where an order stands in a queue, by every model's rules."""

import numpy as np
import pytest

from bot.core.venue.impact import HOUR_NS, TradedHours
from bot.core.venue.queue import (
    ASSUMED_MULTIPLE,
    UNKNOWN_AHEAD,
    Probabilistic,
    QueueModel,
    QueuePosition,
    RiskAverse,
    Through,
    Touch,
    assumed_ahead,
    scan_level,
)
from tests.support.bars_reference import ReferenceTrade
from tests.support.batches import trades_of

MODELS = (Touch(), Probabilistic(kind="log"), Probabilistic(), Probabilistic(n=3), RiskAverse(), Through())
IN_TURN = (Probabilistic(kind="log"), Probabilistic(), Probabilistic(n=3), RiskAverse())


def place(model: QueueModel, qty: int = 10, level: int | None = 20) -> QueuePosition:
    return QueuePosition(model, qty_steps=qty, level_steps=level)


# --- trades -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", IN_TURN)
def test_trades_eat_what_is_ahead_and_then_us(model: QueueModel) -> None:
    position = place(model)
    assert [position.traded(qty) for qty in (15, 5, 4, 0)] == [0, 0, 4, 0]
    assert (position.ahead, position.open_steps) == (0, 6)
    assert position.traded(100) == 6
    assert position.traded(100) == 0


@pytest.mark.parametrize("model", IN_TURN)
def test_one_trade_may_reach_through_the_queue_into_us(model: QueueModel) -> None:
    position = place(model)
    assert position.traded(23) == 3
    assert (position.ahead, position.open_steps) == (0, 7)


def test_touch_fills_whole_at_any_trade() -> None:
    position = place(Touch())
    assert position.traded(0) == 0
    assert position.traded(1) == 10
    assert position.open_steps == 0


def test_through_fills_at_no_trade_at_the_price() -> None:
    position = place(Through(), level=0)
    assert position.traded(1_000) == 0
    assert position.traded_through() == 10


@pytest.mark.parametrize("model", MODELS)
def test_a_trade_beyond_the_price_fills_the_rest(model: QueueModel) -> None:
    position = place(model)
    before = position.traded(23)
    assert before + position.traded_through() == 10
    assert (position.open_steps, position.ahead) == (0, 0)
    assert position.traded_through() == 0


# --- the level --------------------------------------------------------------------------------------------------------


def left(model: QueueModel, *, ahead: int, behind: int, gone: int) -> int:
    """Return what is ahead after so much has left a level on which so much had joined behind us."""
    position = place(model, level=ahead)
    position.level_changed(ahead + behind)
    assert position.ahead == ahead
    position.level_changed(ahead + behind - gone)
    return position.ahead


@pytest.mark.parametrize(
    ("model", "gone", "ahead"),
    [
        (Probabilistic(), 9, 14),  # 9 * 20 / 30 = 6
        (Probabilistic(n=2), 8, 14),  # 8 * 400 / 500 = 6.4, rounded down
        (Probabilistic(kind="log"), 5, 18),  # 5 * ln 21 / (ln 21 + ln 11) = 2.8, rounded down
        (RiskAverse(), 9, 20),
        (Through(), 9, 20),
        (Touch(), 9, 20),
    ],
)
def test_a_decrease_is_shared_by_the_model(model: QueueModel, gone: int, ahead: int) -> None:
    assert left(model, ahead=20, behind=10, gone=gone) == ahead


@pytest.mark.parametrize("model", MODELS)
def test_nobody_is_ahead_who_is_not_there(model: QueueModel) -> None:
    assert left(model, ahead=20, behind=10, gone=25) <= 5
    assert left(RiskAverse(), ahead=20, behind=10, gone=25) == 5
    assert left(model, ahead=20, behind=10, gone=30) == 0


@pytest.mark.parametrize("model", [Probabilistic(kind="log"), Probabilistic(), Probabilistic(n=16)])
def test_with_nobody_behind_who_leaves_was_ahead(model: QueueModel) -> None:
    assert left(model, ahead=20, behind=0, gone=7) == 13


@pytest.mark.parametrize("model", MODELS)
def test_who_joins_stands_behind(model: QueueModel) -> None:
    position = place(model)
    position.level_changed(500)
    assert position.ahead == 20


def test_shares_are_exact_where_doubles_are_not() -> None:
    """A third of what no double holds."""
    third = 2**60 + 1
    assert Probabilistic().left_ahead(3 * third, 6 * third, 3 * third) == third != int(3 * third / 3)


@pytest.mark.parametrize("model", [Probabilistic(kind="log"), Probabilistic(), Probabilistic(n=16)])
def test_at_the_front_nobody_can_leave_ahead(model: QueueModel) -> None:
    assert model.left_ahead(0, 0, 0) == model.left_ahead(0, 5, 3) == 0


@pytest.mark.parametrize("n", [0, -1, 17])
def test_powers_have_bounds(n: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 16"):
        Probabilistic(n=n)


# --- trades and the level are two streams -----------------------------------------------------------------------------


@pytest.mark.parametrize("model", IN_TURN)
def test_what_traded_is_not_taken_twice(model: QueueModel) -> None:
    """12 traded, then the level shows 12 less: nobody has left."""
    position = place(model)
    position.level_changed(30)
    position.traded(12)
    position.level_changed(18)
    assert position.ahead == 8


def test_what_left_beside_the_trades_is_shared() -> None:
    """Of 30 traded 10 of the 20 ahead, and 8 more are gone: half of them of the 10 ahead, half of the 10 behind."""
    position = place(Probabilistic())
    position.level_changed(30)
    position.traded(10)
    position.level_changed(12)
    assert position.ahead == 6


def test_trades_are_explained_once_and_by_the_next_change() -> None:
    """A level that shows no less after a trade has got as much anew; what leaves later leaves of itself."""
    position = place(Probabilistic())
    position.traded(10)
    position.level_changed(20)
    assert position.ahead == 10
    position.level_changed(10)
    assert position.ahead == 5


def test_trades_larger_than_the_decrease_explain_all_of_it() -> None:
    position = place(Probabilistic())
    position.traded(10)
    position.level_changed(15)
    assert position.ahead == 10
    position.level_changed(9)
    assert position.ahead == 6


# --- not known --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", IN_TURN)
def test_of_an_unknown_level_all_that_ever_shows_is_ahead(model: QueueModel) -> None:
    position = place(model, level=None)
    assert position.traded(10**15) == 0
    assert position.ahead == UNKNOWN_AHEAD - 10**15
    position.level_changed(70)
    assert position.ahead == 70
    assert position.traded(75) == 5


@pytest.mark.parametrize("model", MODELS)
def test_a_level_that_goes_out_of_sight_changes_nothing(model: QueueModel) -> None:
    position = place(model)
    position.traded(3)
    before = position.ahead
    position.level_changed(None)
    assert position.ahead == before
    position.level_changed(17)
    assert position.ahead == before


# --- amending ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_less_keeps_the_place(model: QueueModel) -> None:
    position = place(model)
    position.level_changed(50)
    position.amended(4, level_steps=50)
    assert (position.open_steps, position.ahead) == (4, 20)
    assert position.traded_through() == 4


@pytest.mark.parametrize("model", MODELS)
def test_more_goes_to_the_end(model: QueueModel) -> None:
    position = place(model)
    position.level_changed(50)
    position.amended(10, level_steps=50)
    assert position.ahead == 20
    position.amended(11, level_steps=50)
    assert (position.open_steps, position.ahead) == (11, 50)
    position.amended(12, level_steps=None)
    assert position.ahead == UNKNOWN_AHEAD


# --- without a book ---------------------------------------------------------------------------------------------------


def test_without_a_book_a_multiple_of_what_trades_per_visit_is_ahead() -> None:
    """12 steps traded in three visits of the hour before: 4 a visit."""
    traded = TradedHours()
    rows = [(100, 3), (100, 5), (101, 2), (100, 2)]
    traded.extend(trades_of([ReferenceTrade(ts_ns=1, price=p, qty=q, is_buy=True) for p, q in rows]), now_ns=0)
    assert assumed_ahead(traded, HOUR_NS) == ASSUMED_MULTIPLE * 4
    assert assumed_ahead(traded, HOUR_NS, multiple=1) == 4


def test_without_history_only_a_trade_beyond_the_price_fills() -> None:
    assert assumed_ahead(TradedHours(), HOUR_NS) == UNKNOWN_AHEAD


# --- the scan ---------------------------------------------------------------------------------------------------------

PRICES = np.array([100, 100, 101, 100, 99, 100])
QTYS = np.array([3, 4, 9, 5, 1, 2])
IS_BUY = np.array([False, True, True, False, False, False])


@pytest.mark.parametrize(
    ("level", "is_bid", "ahead", "found"),
    [
        (100, True, 0, (0, 0)),  # the first seller
        (100, True, 2, (0, 0)),  # who sells 3
        (100, True, 3, (3, 3)),  # the buyer at 100 does not count
        (100, True, 7, (3, 3)),
        (100, True, 8, (4, 8)),  # 99 is beyond
        (100, False, 3, (1, 0)),
        (100, False, 4, (2, 4)),  # 101 is beyond
        (99, True, 0, (4, 0)),
        (99, True, 1, (-1, 1)),
        (98, True, 0, (-1, 0)),
        (102, False, 0, (-1, 0)),
        (101, True, UNKNOWN_AHEAD, (0, 0)),
    ],
)
def test_scan_finds_where_a_fill_begins(level: int, is_bid: bool, ahead: int, found: tuple[int, int]) -> None:
    assert scan_level(PRICES, QTYS, IS_BUY, 0, len(PRICES), level, is_bid, ahead) == found


def test_scan_looks_at_its_rows_only() -> None:
    assert scan_level(PRICES, QTYS, IS_BUY, 1, 4, 100, True, 4) == (3, 0)
    assert scan_level(PRICES, QTYS, IS_BUY, 1, 4, 100, True, 5) == (-1, 5)
    assert scan_level(PRICES, QTYS, IS_BUY, 2, 2, 100, True, 0) == (-1, 0)
