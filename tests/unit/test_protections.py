"""Each protection by numbers reckoned by hand, and what the orders' core makes of it."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from bot.app.limits import protection_limits, risk_limits
from bot.core.effects import Effects
from bot.core.protections import Ladder, ProtectionLimits, Protections, Window
from bot.core.risk import Denial
from bot.core.trading_state import ACCOUNT, TradingState
from bot.domain.errors import ConfigError
from bot.domain.instrument import Side
from bot.domain.ledger import DecisionMade, RiskDenied, TradingStateChanged
from bot.domain.orders import CancelOrder, SubmitOrder
from bot.runtime.settings import Settings, load
from tests.support.desk import DAY_NS, LIMITS, NOW_NS, Desk
from tests.support.money import BTC, ETH, NAME, SECOND_NS, canceled, dec, filled, funding_paid

MIDNIGHT_NS = NOW_NS // DAY_NS * DAY_NS
LADDERS = ProtectionLimits(
    drawdown=Ladder(reduce=dec("0.05"), halt=dec("0.1")), daily_loss=Ladder(reduce=dec("0.02"), halt=dec("0.04"))
)
DRAWDOWN = replace(LADDERS, daily_loss=Ladder())
DAILY = replace(LADDERS, drawdown=Ladder())


def seen(protections: Protections, *equities: str, at_ns: int = NOW_NS) -> list[tuple[str, str, str]]:
    """Return cause, signal and new state of all that these equities bring about."""
    changed = [entry for equity in equities for entry in protections.see_equity(dec(equity), at_ns)]
    return [(entry.cause, entry.signal, entry.after) for entry in changed]


def watching(limits: ProtectionLimits, cash: str = "1000", at_ns: int = NOW_NS) -> Protections:
    """Return protections of an account that began with cash."""
    protections = Protections(limits)
    protections.deposit(dec(cash), at_ns)
    return protections


def codes(effects: Effects) -> list[str]:
    """Return the codes of what was denied."""
    return [entry.code for entry in effects.record if isinstance(entry, RiskDenied)]


def states(record: Sequence[Any]) -> list[tuple[str, str, str]]:
    """Return scope, cause and new state of the entries that tell of any."""
    return [(entry.scope, entry.cause, entry.after) for entry in record if isinstance(entry, TradingStateChanged)]


def sent(effects: Effects) -> list[tuple[Side, Decimal, bool]]:
    """Return the orders that leave: side, quantity, reduce-only."""
    return [(c.side, c.qty, c.reduce_only) for c in effects.send if isinstance(c, SubmitOrder)]


# --- ladders ----------------------------------------------------------------------------------------------------------


def test_the_drawdown_is_of_the_highest_equity_seen() -> None:
    """Of 1,200: reducing at 1,140 and below, halted at 1,080 and below, and never back by itself."""
    protections = watching(DRAWDOWN)
    assert seen(protections, "950.01", "1200", "1140.01") == []
    assert seen(protections, "1140") == [("drawdown", "reduce", "reducing")]
    assert seen(protections, "1080.01", "1199", "1140") == []
    assert seen(protections, "1080") == [("drawdown", "halt", "halted")]
    assert seen(protections, "5000", "1", at_ns=NOW_NS + 100 * DAY_NS) == []
    assert protections.states.state(ACCOUNT) is TradingState.HALTED


def test_a_fall_through_both_rungs_halts_at_once() -> None:
    protections = watching(DRAWDOWN)
    (entry,) = protections.see_equity(dec("899"), NOW_NS)
    assert (entry.before, entry.after, entry.value, entry.threshold) == ("active", "halted", dec(899), dec(900))
    assert "899" in entry.detail


def test_the_days_loss_is_of_the_equity_at_midnight_and_ends_with_the_day() -> None:
    """A loss of 2 % and of 4 % since the day's start, by a new start each day."""
    protections = watching(DAILY, at_ns=MIDNIGHT_NS)
    assert seen(protections, "2000", "980.01", at_ns=MIDNIGHT_NS) == []
    assert seen(protections, "980", at_ns=MIDNIGHT_NS + 1) == [("daily_loss", "reduce", "reducing")]
    assert seen(protections, "2000", "961", at_ns=MIDNIGHT_NS + DAY_NS - 1) == []
    assert seen(protections, "960", at_ns=MIDNIGHT_NS + DAY_NS - 1) == [("daily_loss", "halt", "halted")]
    assert seen(protections, "960", at_ns=MIDNIGHT_NS + DAY_NS) == [("daily_loss", "day_began", "active")]
    assert protections.states.is_quiet
    assert seen(protections, "940.81", at_ns=MIDNIGHT_NS + DAY_NS + 1) == []  # 960 less 2 % is 940.80
    assert seen(protections, "940.80", at_ns=MIDNIGHT_NS + DAY_NS + 1) == [("daily_loss", "reduce", "reducing")]


def test_a_day_without_equity_starts_at_the_first_that_is_known() -> None:
    protections = watching(DAILY, at_ns=MIDNIGHT_NS)
    assert protections.see_equity(None, MIDNIGHT_NS + DAY_NS) == []
    assert seen(protections, "500", "490.01", at_ns=MIDNIGHT_NS + DAY_NS + 5) == []
    assert seen(protections, "490", at_ns=MIDNIGHT_NS + DAY_NS + 5) == [("daily_loss", "reduce", "reducing")]


def test_a_drawdown_outlives_the_day() -> None:
    """Both trip; at midnight the day's latch opens alone."""
    protections = watching(LADDERS, at_ns=MIDNIGHT_NS)
    assert seen(protections, "940", at_ns=MIDNIGHT_NS + 1) == [
        ("drawdown", "reduce", "reducing"),
        ("daily_loss", "halt", "halted"),
    ]
    assert seen(protections, "940", at_ns=MIDNIGHT_NS + DAY_NS) == [("daily_loss", "day_began", "active")]
    assert protections.states.state(ACCOUNT) is TradingState.REDUCING


def test_cash_that_comes_and_goes_is_neither_profit_nor_loss() -> None:
    """1,000, then 500 more, then 900 taken out: the floor of 5 % moves from 950 to 1,425 to 570."""
    protections = watching(DRAWDOWN)
    protections.deposit(dec(500), NOW_NS)
    assert seen(protections, "1425.01") == []
    protections.deposit(dec(-900), NOW_NS)
    assert seen(protections, "600", "570.01") == []
    assert seen(protections, "570") == [("drawdown", "reduce", "reducing")]


def test_a_person_resumes_and_measures_anew() -> None:
    """What was lost before is forgiven, or it would trip again at once."""
    protections = watching(LADDERS)
    seen(protections, "800")
    assert [(e.cause, e.after) for e in protections.resume("looked into", NOW_NS)] == [
        ("drawdown", "active"),
        ("daily_loss", "active"),
    ]
    assert seen(protections, "800", "790") == []
    assert seen(protections, "760") == [("drawdown", "reduce", "reducing"), ("daily_loss", "halt", "halted")]


@pytest.mark.parametrize("equity", ["NaN", "sNaN", "Infinity", "-Infinity", "-1E+999999"])
def test_equity_that_is_no_number_trips_everything(equity: str) -> None:
    assert seen(watching(LADDERS), equity) == [("drawdown", "halt", "halted"), ("daily_loss", "halt", "halted")]


@pytest.mark.parametrize("rung", ["NaN", "sNaN", "Infinity"])
def test_a_rung_that_is_no_number_trips_at_once(rung: str) -> None:
    limits = ProtectionLimits(drawdown=Ladder(halt=dec(rung)))
    assert seen(watching(limits), "1000") == [("drawdown", "halt", "halted")]


def test_what_is_off_never_trips() -> None:
    protections = watching(ProtectionLimits())
    assert not protections.watches_equity
    assert seen(protections, "1", "-5", "NaN") == []


def test_cash_that_comes_after_a_resumption_or_before_the_days_first_equity_sets_no_mark() -> None:
    """Losses are measured from the next equity, whatever was paid in before it."""
    protections = watching(LADDERS)
    protections.resume("looked into", NOW_NS)
    protections.deposit(dec(-500), NOW_NS)
    assert seen(protections, "300", "294.01") == []
    assert seen(protections, "294") == [("daily_loss", "reduce", "reducing")]


# --- pauses -----------------------------------------------------------------------------------------------------------


def trip(desk: Desk, profit: str, *, instrument: str = NAME, fee: str = "0") -> Effects:
    """Return what the end of a round trip of one unit brings about: bought at 100, sold so much dearer."""
    mark = {NAME: "100", ETH.name: "10"}[instrument]
    buy = desk.place(Side.BUY, limit=mark, instrument=instrument)
    desk.event(filled(buy.client_order_id, trade=buy.client_order_id, price=mark, fee=fee, instrument=instrument))
    sell = desk.place(Side.SELL, limit=mark, instrument=instrument)
    return desk.event(
        filled(
            sell.client_order_id,
            trade=sell.client_order_id,
            side=Side.SELL,
            price=str(dec(mark) + dec(profit)),
            fee=fee,
            instrument=instrument,
        )
    )


def test_a_cooldown_follows_each_round_trip() -> None:
    """60 s after the exit nothing of that instrument enters; at 60 s it may again; others are not concerned."""
    desk = Desk(protections=ProtectionLimits(cooldown_ns=60 * SECOND_NS))
    assert states(trip(desk, "5").record) == [(NAME, "cooldown", "reducing")]
    desk.now_ns += 60 * SECOND_NS - 1
    assert codes(desk.target("1")) == [Denial.COOLDOWN]
    assert sent(desk.target("1", instrument=ETH.name)) == [(Side.BUY, dec(1), False)]
    desk.now_ns += 1
    effects = desk.target("1")
    assert states(effects.record) == [(NAME, "cooldown", "active")]
    assert sent(effects) == [(Side.BUY, dec(1), False)]


def test_a_part_of_an_exit_is_no_end() -> None:
    """Two bought, one sold: the trip goes on. A turn ends one trip and begins the next."""
    desk = Desk(protections=ProtectionLimits(cooldown_ns=SECOND_NS))
    buy = desk.place(Side.BUY, qty="2", limit="100")
    desk.fill(buy, trade=1)
    assert states(desk.fill(desk.place(Side.SELL, qty="1", limit="100"), trade=2).record) == []
    assert states(desk.fill(desk.place(Side.SELL, qty="3", limit="100"), trade=3).record) == [
        (NAME, "cooldown", "reducing")
    ]
    assert desk.orders.state.position_qty(NAME) == -2


def test_the_stop_guard_counts_losses_within_its_window() -> None:
    """Two within 100 s; at 100 s the first no longer counts; a trip that brings nothing is no loss."""
    guard = Window(count=2, span_ns=100 * SECOND_NS, pause_ns=30 * SECOND_NS)
    desk = Desk(protections=ProtectionLimits(stop_guard=guard))
    assert states(trip(desk, "-1").record) == []
    desk.now_ns += 50 * SECOND_NS
    assert states(trip(desk, "0").record + trip(desk, "3").record) == []
    desk.now_ns += 50 * SECOND_NS
    assert states(trip(desk, "-1").record) == []
    desk.now_ns += 100 * SECOND_NS - 1
    assert states(trip(desk, "-1").record) == [(NAME, "stop_guard", "reducing")]
    assert codes(desk.target("1")) == [Denial.STOP_GUARD]
    assert codes(desk.target("1", instrument=ETH.name)) == []
    desk.now_ns += 30 * SECOND_NS
    assert codes(desk.target("1")) == []


def test_fees_and_funding_make_a_loss() -> None:
    """Won 1 and paid 0.6 twice: lost. Won 1, and paid 1.5 of funding on the way: lost."""
    desk = Desk(protections=ProtectionLimits(stop_guard=Window(count=1, span_ns=1, pause_ns=SECOND_NS)))
    assert states(trip(desk, "1", fee="0.5").record) == []
    assert states(trip(desk, "1", fee="0.6").record) == [(NAME, "stop_guard", "reducing")]
    desk.now_ns += SECOND_NS
    desk.fill(desk.place(limit="100"), trade="in")
    desk.event(funding_paid("-1.5"))
    assert states(desk.fill(desk.place(Side.SELL, limit="101"), trade="out", price="101").record) == [
        (NAME, "stop_guard", "reducing")
    ]


def test_a_turn_shares_its_fee_by_quantity() -> None:
    """Sold 3 against 1 held for a fee of 0.9: the ended trip bears 0.3 of it, the new one 0.6."""
    limits = ProtectionLimits(low_profit=Window(count=1, span_ns=1), low_profit_least=dec(10**6))
    desk = Desk(protections=limits)
    desk.fill(desk.place(limit="100"), trade="in")
    turn = desk.place(Side.SELL, qty="3", limit="100")
    effects = desk.event(filled(turn.client_order_id, trade="turn", side=Side.SELL, qty="3", price="102", fee="0.9"))
    (entry,) = [e for e in effects.record if isinstance(e, TradingStateChanged)]
    assert entry.value == dec("1.7")  # 2 less 0.3
    net = desk.orders.state.protections._net[NAME]  # what nobody can see yet
    assert net == dec("-0.6")


def test_the_stop_guard_of_the_account_counts_and_pauses_everything() -> None:
    guard = Window(count=2, span_ns=SECOND_NS, pause_ns=SECOND_NS)
    desk = Desk(protections=ProtectionLimits(stop_guard=guard, is_stop_guard_of_account=True))
    trip(desk, "-1")
    assert states(trip(desk, "-1", instrument=ETH.name).record) == [(ACCOUNT, "stop_guard", "reducing")]
    for name in (NAME, ETH.name):
        assert codes(desk.target("1", instrument=name)) == [Denial.STOP_GUARD]


def test_low_profit_sums_the_last_few() -> None:
    """Three trips must bring 2 together: 5, -1, -1 do (3), -1, -1, 3.9 do not (1.9); two of any size say nothing."""
    limits = ProtectionLimits(
        low_profit=Window(count=3, span_ns=100 * SECOND_NS, pause_ns=0), low_profit_least=dec("2")
    )
    desk = Desk(protections=limits)
    for profit in ("-1", "5", "-1"):
        assert states(trip(desk, profit).record) == []
    assert states(trip(desk, "-1").record) == []
    effects = trip(desk, "-2.1")  # -1, -1, -2.1
    (entry,) = [e for e in effects.record if isinstance(e, TradingStateChanged)]
    assert (entry.cause, entry.value, entry.threshold, entry.until_ns) == ("low_profit", dec("-4.1"), dec(2), None)
    desk.now_ns += 1000 * DAY_NS
    assert codes(desk.target("1")) == [Denial.LOW_PROFIT]


def test_low_profit_forgets_what_is_older_than_its_window() -> None:
    limits = ProtectionLimits(low_profit=Window(count=2, span_ns=100, pause_ns=1), low_profit_least=dec("0"))
    desk = Desk(protections=limits)
    trip(desk, "-1")
    desk.now_ns += 100
    assert states(trip(desk, "-1").record) == []
    desk.now_ns += 99
    assert states(trip(desk, "-1").record) == [(NAME, "low_profit", "reducing")]


def test_repeated_executions_of_one_side_pause_the_instrument() -> None:
    """At most two buys within 10 s: the third trips. Sells are counted apart, and parts of one order as one."""
    limits = ProtectionLimits(repeated=Window(count=2, span_ns=10 * SECOND_NS))
    desk = Desk(protections=limits)
    for n in range(2):
        order = desk.place(limit="100")
        for part in range(2):
            assert states(desk.fill(order, trade=f"{n}-{part}", qty="0.5").record) == []
    assert states(desk.fill(desk.place(Side.SELL, limit="100"), trade="sold").record) == []
    desk.now_ns += 10 * SECOND_NS
    assert states(desk.fill(desk.place(limit="100"), trade="late").record) == []
    desk.fill(desk.place(limit="100"), trade="later")
    assert states(desk.fill(desk.place(limit="100"), trade="last").record) == [(NAME, "repeated", "reducing")]
    assert codes(desk.target("9")) == [Denial.REPEATED]
    assert sent(desk.target("0")) == [(Side.SELL, dec(4), False)]


def test_open_positions_are_counted_with_what_may_open_one() -> None:
    """One at most: an open order of another instrument counts, its cancellation frees the place."""
    desk = Desk(limits=replace(LIMITS, open_positions_max=1))
    order = desk.place(limit="9", instrument=ETH.name)
    assert codes(desk.target("1")) == [Denial.OPEN_POSITIONS_ABOVE_MAX]
    desk.event(canceled(order.client_order_id, instrument=ETH.name))
    assert codes(desk.target("1")) == []
    assert codes(desk.target("1", instrument=ETH.name)) == [Denial.OPEN_POSITIONS_ABOVE_MAX]


# --- what the orders' core makes of it --------------------------------------------------------------------------------


def losing(limits: ProtectionLimits = DRAWDOWN, *, price: str, qty: str = "5") -> Desk:
    """Return a desk with 1,000 that bought at 100 and sees another price now."""
    desk = Desk(protections=limits, cash="1000")
    desk.fill(desk.place(limit="100", qty=qty), trade="first")
    desk.prices[NAME] = price
    return desk


def test_the_order_that_finds_the_loss_is_judged_by_it() -> None:
    """5 bought at 100 stand at 90: 50 of 1,000 lost. The entry is denied, the exit passes."""
    desk = losing(price="90")
    effects = desk.target("6")
    assert [type(entry).__name__ for entry in effects.record] == ["TradingStateChanged", "DecisionMade", "RiskDenied"]
    assert codes(effects) == [Denial.REDUCING]
    assert sent(desk.target("2")) == [(Side.SELL, dec(3), False)]


def test_a_turn_is_cut_at_flat_while_reducing() -> None:
    """Whoever always turns still gets out: the half that closes leaves, the half that opens is denied."""
    desk = losing(price="90")
    effects = desk.target("-5")
    assert sent(effects) == [(Side.SELL, dec(5), False)]
    assert codes(effects) == [Denial.REDUCING]
    (order,) = [c for c in effects.send if isinstance(c, SubmitOrder)]
    desk.fill(order, trade="out", price="90")
    assert desk.orders.state.position_qty(NAME) == 0
    assert codes(desk.target("-5")) == [Denial.REDUCING]


def test_entries_that_rest_are_canceled_and_exits_stay() -> None:
    """With 5 held: buys go, sells of 5 together stay, and so does what can only reduce."""
    desk = Desk(protections=DRAWDOWN, cash="1000")
    desk.fill(desk.place(limit="100", qty="5"), trade="first")
    entry = desk.place(limit="80")
    desk.place(Side.SELL, limit="120", qty="4")
    desk.place(Side.SELL, limit="120", qty="1")
    desk.place(Side.SELL, limit="120", qty="5", reduce_only=True)
    other = desk.place(Side.SELL, limit="12", instrument=ETH.name)
    desk.prices[NAME] = "90"
    effects = desk.observe()
    gone = [c.client_order_id for c in effects.send if isinstance(c, CancelOrder)]
    assert gone == [entry.client_order_id, other.client_order_id]
    assert [e.strategy for e in effects.record if isinstance(e, DecisionMade)] == ["risk", "risk"]
    assert desk.observe().send == []


def test_exits_that_together_could_turn_the_position_over_are_canceled() -> None:
    """With 5 held and sells of 4 and 1.5 open, filling both would make it short."""
    desk = Desk(protections=DRAWDOWN, cash="1000")
    desk.fill(desk.place(limit="100", qty="5"), trade="first")
    names = [desk.place(Side.SELL, limit="120", qty=qty).client_order_id for qty in ("4", "1.5")]
    desk.prices[NAME] = "90"
    assert [c.client_order_id for c in desk.observe().send] == names


def test_a_halt_lets_nothing_leave_but_cancels() -> None:
    desk = losing(price="80")
    assert codes(desk.target("6")) == [Denial.HALTED]
    assert codes(desk.target("0")) == [Denial.HALTED]
    desk.prices[NAME] = "200"
    desk.now_ns += 10 * DAY_NS
    assert codes(desk.target("0")) == [Denial.HALTED]


def test_a_halt_flattens_if_it_is_asked_to() -> None:
    """All open orders go, exits too; what is held is sold reduce-only, once, and once more if that fails."""
    desk = losing(replace(DRAWDOWN, flatten_on_halt=True), price="100")
    resting = desk.place(Side.SELL, limit="100", qty="5", reduce_only=True)
    desk.prices[NAME] = "80"
    effects = desk.target("6")
    assert codes(effects) == [Denial.HALTED]
    assert [c.client_order_id for c in effects.send if isinstance(c, CancelOrder)] == [resting.client_order_id]
    assert sent(effects) == [(Side.SELL, dec(5), True)]
    assert desk.observe().send == []  # it is under way
    (order,) = [c for c in effects.send if isinstance(c, SubmitOrder)]
    desk.fill(order, trade="part", qty="2", price="80")
    desk.event(canceled(order.client_order_id))
    assert sent(desk.observe(is_check=False)) == []
    assert sent(desk.observe()) == [(Side.SELL, dec(3), True)]


def test_flattening_waits_for_a_price() -> None:
    """Without a fresh mark the gate denies it like any order; the next check sends it."""
    desk = losing(replace(DRAWDOWN, flatten_on_halt=True), price="80")
    desk.prices[NAME] = None
    effects = desk.halt("the button")
    assert codes(effects) == [Denial.MARK_MISSING]
    desk.prices[NAME] = "80"
    assert sent(desk.observe()) == [(Side.SELL, dec(5), True)]


def test_flattening_splits_what_is_too_much_for_one_order() -> None:
    desk = Desk(protections=ProtectionLimits(flatten_on_halt=True), btc=replace(BTC, qty_max=dec(2)))
    for n in range(3):
        desk.fill(desk.place(limit="100", qty="1.5"), trade=n)
    assert sent(desk.halt()) == [(Side.SELL, dec(2), True), (Side.SELL, dec(2), True), (Side.SELL, dec("0.5"), True)]


def test_a_strategy_called_risk_has_no_privilege() -> None:
    desk = losing(price="80")
    assert codes(desk.target("6", strategy="risk")) == [Denial.HALTED]


def test_resuming_lets_the_strategy_trade_again() -> None:
    desk = losing(price="80")
    desk.observe()
    desk.orders.rules.resume("looked into", desk.now_ns)
    assert codes(desk.target("6")) == []


# --- settings ---------------------------------------------------------------------------------------------------------


def test_every_setting_arrives() -> None:
    """Each key of the section ends in the limit it speaks of, and none in another."""
    keys = {
        "drawdown_reduce": "0.01",
        "drawdown_halt": "0.02",
        "daily_loss_reduce": "0.03",
        "daily_loss_halt": "0.04",
        "flatten_on_halt": "true",
        "cooldown": "5ns",
        "stop_guard_losses": "6",
        "stop_guard_window": "7ns",
        "stop_guard_pause": "8ns",
        "stop_guard_scope": "account",
        "low_profit_trips": "9",
        "low_profit_least": "-10",
        "low_profit_window": "11ns",
        "low_profit_pause": "12ns",
        "repeated_orders": "13",
        "repeated_window": "14ns",
        "repeated_pause": "15ns",
    }
    assert {*keys, "check_every"} == set(Settings().protections.model_dump())
    asked = load(None, [f"protections.{key}={value}" for key, value in keys.items()])
    assert protection_limits(asked.protections) == ProtectionLimits(
        drawdown=Ladder(reduce=dec("0.01"), halt=dec("0.02")),
        daily_loss=Ladder(reduce=dec("0.03"), halt=dec("0.04")),
        flatten_on_halt=True,
        cooldown_ns=5,
        stop_guard=Window(count=6, span_ns=7, pause_ns=8),
        is_stop_guard_of_account=True,
        low_profit=Window(count=9, span_ns=11, pause_ns=12),
        low_profit_least=dec(-10),
        repeated=Window(count=13, span_ns=14, pause_ns=15),
    )
    assert risk_limits(load(None, ["risk.open_positions_max=3"]).risk).open_positions_max == 3


def test_by_default_the_wide_ladders_are_on_and_nothing_else() -> None:
    limits = protection_limits(Settings().protections)
    assert limits.drawdown == Ladder(reduce=dec("0.2"), halt=dec("0.3"))
    assert limits.daily_loss == Ladder(reduce=dec("0.1"), halt=dec("0.15"))
    assert [limits.stop_guard.count, limits.low_profit.count, limits.repeated.count, limits.cooldown_ns] == [0] * 4
    assert not limits.flatten_on_halt


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("drawdown_reduce=0.31", "drawdown_reduce must not be above drawdown_halt"),
        ("daily_loss_halt=0.05", "daily_loss_reduce must not be above daily_loss_halt"),
        ("drawdown_halt=1", "less than 1"),
        ("daily_loss_reduce=-0.1", "greater than or equal to 0"),
        ("drawdown_reduce=nan", "drawdown_reduce"),
        ("low_profit_least=nan", "low_profit_least"),
        ("check_every=1ms", "check_every"),
        ("cooldwon=1m", "cooldown"),
    ],
)
def test_impossible_settings_are_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(None, [f"protections.{override}"])
