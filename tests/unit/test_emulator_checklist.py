"""The reference's lists, row by row: every path of an order's life is walked, every item has a test that is named here.

A name that no test has, and an item of the reference's checklist that is not here, fail.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from bot.emulator.faults import Fault
from tests.support.emulator import Driver, Step, make_world
from tests.support.shared_data import shared_file

TESTS = Path(__file__).resolve().parents[1]
LINEAR = {"category": "linear", "symbol": "BTCUSDT"}
SPOT = {"category": "spot", "symbol": "BTCUSDT"}
FALL: tuple[Step, ...] = ((1.0, "60000"), (2.0, "59600"), (3.0, "59300"), (4.0, "59300"))


class Life:
    """One order's life: what is asked, and what the stream then says of it.

    Args:
        fields: of the order.
        states: its statuses, in order; a status may be said again with a new quantity.
        reason: the last one's rejectReason.
        cancel: the last one's cancelType.
        filled: whether any of it was.
        then: what is done to it after it has come.
    """

    def __init__(
        self,
        fields: dict[str, Any],
        states: str,
        *,
        reason: str = "EC_NoError",
        cancel: str = "UNKNOWN",
        filled: bool = False,
        then: str = "",
        body: dict[str, Any] | None = None,
    ) -> None:
        self.fields = fields
        self.states = states.split()
        self.reason = reason
        self.cancel = cancel
        self.filled = filled
        self.then = then
        self.body = body or {}


MARKET: dict[str, Any] = {"orderType": "Market", "price": None}
BY_USER = {"reason": "EC_PerCancelRequest", "cancel": "CancelByUser"}
CONDITIONAL = {"triggerPrice": "59500", "triggerDirection": 2}
DEEP = {"price": "60000.2", "qty": "60"}  # more than the made book holds up to there

LIVES: dict[str, Life] = {
    "rests": Life({}, "New"),
    "rests and fills": Life({"price": "59700"}, "New Filled", filled=True),
    "takes and fills at once": Life(MARKET, "New Filled", filled=True),
    "takes in part and rests": Life(DEEP, "New PartiallyFilled", filled=True),
    "takes in part and is canceled": Life(
        DEEP, "New PartiallyFilled Cancelled", filled=True, then="/v5/order/cancel", **BY_USER
    ),
    "is canceled": Life({}, "New Cancelled", then="/v5/order/cancel", **BY_USER),
    "is amended": Life({}, "New New", then="/v5/order/amend", body={"price": "58000"}),
    "is amended after a part has filled": Life(
        DEEP, "New PartiallyFilled PartiallyFilled", filled=True, then="/v5/order/amend", body={"qty": "70"}
    ),
    "immediate or cancel takes what there is": Life(
        {**DEEP, "timeInForce": "IOC"}, "New PartiallyFilled Cancelled", filled=True, reason="EC_NoImmediateQtyToFill"
    ),
    "immediate or cancel finds nothing": Life(
        {"timeInForce": "IOC"}, "New Cancelled", reason="EC_NoImmediateQtyToFill"
    ),
    "fill or kill finds too little": Life(
        {**DEEP, "timeInForce": "FOK"}, "New Cancelled", reason="EC_NoEnoughQtyToFill"
    ),
    "fill or kill fills": Life({"price": "60100", "timeInForce": "FOK"}, "New Filled", filled=True),
    "post only rests": Life({"timeInForce": "PostOnly"}, "New"),
    "post only would take": Life(
        {"price": "60400", "timeInForce": "PostOnly"}, "New Cancelled", reason="EC_PostOnlyWillTakeLiquidity"
    ),
    "post only would take, on spot": Life(
        {**SPOT, "price": "60010", "timeInForce": "PostOnly"}, "New Rejected", reason="EC_PostOnlyWillTakeLiquidity"
    ),
    "waits for its trigger": Life(CONDITIONAL, "Untriggered"),
    "triggers and rests": Life({**CONDITIONAL, "price": "59000"}, "Untriggered Triggered New"),
    "triggers and fills": Life(
        {**CONDITIONAL, **MARKET, "side": "Sell"}, "Untriggered Triggered New Filled", filled=True
    ),
    "is amended while it waits": Life(
        {**CONDITIONAL, "triggerPrice": "59000"},
        "Untriggered Untriggered",
        then="/v5/order/amend",
        body={"triggerPrice": "58000"},
    ),
    "is canceled while it waits": Life(
        {**CONDITIONAL, "triggerPrice": "58000"}, "Untriggered Cancelled", then="/v5/order/cancel", **BY_USER
    ),
    "is canceled while it waits, on spot": Life(
        {**SPOT, "side": "Sell", "price": "57000", "orderFilter": "StopOrder", "triggerPrice": "58000"},
        "Untriggered Deactivated",
        then="/v5/order/cancel",
        **BY_USER,
    ),
    "spends an amount, on spot": Life(
        {**SPOT, **MARKET, "qty": "10"},
        "New PartiallyFilledCanceled",
        filled=True,
        reason="EC_CancelForNoFullFill",
    ),
    "sells, on spot": Life({**SPOT, **MARKET, "side": "Sell"}, "New Filled", filled=True),
    "is canceled, on spot": Life(SPOT, "New Cancelled", then="/v5/order/cancel", **BY_USER),
}


@pytest.mark.parametrize("name", LIVES)
def test_an_order_lives_as_the_reference_says(name: str) -> None:
    life = LIVES[name]
    falls = name.startswith("triggers") or name == "rests and fills"
    driver = Driver(make_world(steps=FALL if falls else None, rate_scale=0))
    stream = driver.private("order")
    made = driver.order(**life.fields)
    assert made["retCode"] == 0, made
    driver.wait(0.05)
    order_id = made["result"]["orderId"]
    if life.then:
        where = {key: life.fields.get(key, LINEAR[key]) for key in LINEAR}
        filter_ = {"orderFilter": life.fields["orderFilter"]} if "orderFilter" in life.fields else {}
        assert driver.post(life.then, **where, **filter_, orderId=order_id, **life.body)["retCode"] == 0
    driver.wait(6 if falls else 0.05)
    told = [
        record for frame in driver.topic(stream, "order") for record in frame["data"] if record["orderId"] == order_id
    ]
    states = [record["orderStatus"] for record in told]
    # One that takes from several levels says so level by level.
    first = states.index("PartiallyFilled") if "PartiallyFilled" in states else len(states)
    count = states.count("PartiallyFilled") - life.states.count("PartiallyFilled")
    del states[first : first + max(0, count)]
    assert states == life.states
    last = told[-1]
    assert (last["rejectReason"], last["cancelType"]) == (life.reason, life.cancel)
    assert (float(last["cumExecQty"]) > 0) == life.filled
    if last["orderStatus"] in ("Cancelled", "Rejected", "Deactivated"):
        assert (last["leavesQty"], last["leavesValue"]) == ("0", "0")
    if last["orderStatus"] not in ("New", "PartiallyFilled", "Untriggered"):
        rows = driver.get("/v5/order/history", f"category={life.fields.get('category', 'linear')}&orderId={order_id}")
        assert rows["result"]["list"][0]["orderStatus"] == last["orderStatus"]


def test_statuses_are_all_met() -> None:
    """`Rejected` with fills, which the reference has heard of, is the one that nothing here leads to."""
    met = {state for life in LIVES.values() for state in life.states}
    chapter = shared_file("bybit_v5.md").read_text(encoding="utf-8").partition("* `orderStatus` ")[2].partition("\n")[0]
    assert {state.strip() for state in chapter.split(",")} == met


# Chapter 20 of the reference, item by item, and the tests that hold each.
CHECKLIST: dict[str, tuple[str, ...]] = {
    "four WS endpoints with the distinct ack dialects of 8.1": (
        "test_acknowledgements",
        "test_each_stream_has_its_own_dialect",
    ),
    "signature and 2.4 clock check": ("test_signatures_are_the_references", "test_the_rule_of_the_clock"),
    "async order processing": ("test_an_answer_may_come_before_or_after_its_event",),
    "spot vs linear differences": (
        "test_spot_ids_are_numbers_and_it_invents_the_clients",
        "test_post_only_on_spot_is_rejected",
        "test_a_spot_market_buy_spends_an_amount",
        "test_spot_takes_ten_topics_at_a_time",
    ),
    "order book with `u`+1 chain": (
        "test_the_book_keeps_the_venues_rules_while_prices_jump",
        "test_level_one_repeats_itself_after_three_quiet_seconds",
    ),
    "ticker deltas with only changed keys": ("test_ticker_deltas_add_up_to_the_ticker",),
    "kline with confirm": ("test_a_candle_is_confirmed_once_when_it_closes",),
    "execution records incl. Funding": ("test_the_settlement_was_paid", "test_fees_are_value_times_rate"),
    "position message on every order event": ("test_an_orders_life_on_the_private_stream",),
    "wallet without snapshot": ("test_no_history_is_sent_on_subscribing",),
    "rate-limit headers and 10006": ("test_the_eleventh_cancel_in_a_second", "test_limits_roll_by_the_second"),
    "per-item batch codes": ("test_a_batch_of_orders", "test_one_of_a_batch_is_refused"),
    "percent-encoded cursors": ("test_pages_of_orders_follow_each_other", "test_a_call_is_refused"),
    "newest-first lists": ("test_klines_are_newest_first_and_aligned", "test_recent_trades_newest_first"),
    "string numbers": ("test_rest_payloads", "test_private_frames"),
    "drop connection mid-order": ("test_a_reset_in_the_middle_of_an_answer", "test_a_disconnection_of_one_kind"),
    "ack lost but order live": ("test_a_lost_answer_leaves_the_order_alive",),
    "fill before ack": ("test_an_answer_may_come_before_or_after_its_event",),
    "duplicate execution frames": ("test_frames_are_lost_repeated_delayed_and_swapped",),
    "out-of-order order/execution": ("test_frames_are_lost_repeated_delayed_and_swapped",),
    "second `Filled`": ("test_two_messages_say_filled", "test_a_fill_told_twice"),
    "`u` gap and `u=1`": ("test_a_gap_in_the_books_chain", "test_a_restart_of_the_book_service"),
    "late/missing confirm candle": ("test_a_confirmation_that_never_comes",),
    "HTTP 401 empty body": (
        "test_an_unknown_key_gets_an_empty_401",
        "test_statuses",
        "test_six_hundred_requests_ban_the_address",
        "test_ambiguous_codes",
    ),
    "clock skew": ("test_the_servers_clock_is_off", "test_a_clock_that_is_off"),
    "auth failure": ("test_a_wrong_secret", "test_a_revoked_key", "test_codes_of_the_order_stream"),
    "unknown enum value and extra keys": ("test_values_and_keys_that_nobody_knows",),
    "silent stall": ("test_a_silent_stall",),
    "ADL/BustTrade execution": ("test_deleveraging_takes_half", "test_a_liquidation"),
    "partial-fill then cancel": ("test_an_order_lives_as_the_reference_says",),
    "re-priced limit order": ("test_a_limit_beyond_the_band_is_moved_to_it",),
    "amend no-op": ("test_an_amendment_that_changes_nothing",),
    "cancel race 110001": ("test_an_order_that_has_filled_cannot_be_canceled",),
    "funding interval switch": ("test_funding_may_be_settled_more_often",),
    "maintenance window": ("test_maintenance", "test_maintenance_is_announced_and_comes"),
}

# The faults of the reliability catalogue that a venue brings about, and the tests that show each; the others are the
# client's own to bring about: its network, its clock, its process, its disk.
CATALOGUE: dict[str, tuple[str, ...]] = {
    "N1": ("test_a_lost_request_places_nothing", "test_what_is_lost_is_lost_for_one_endpoint_of_one_account"),
    "N2": ("test_a_lost_answer_leaves_the_order_alive", "test_what_is_lost_on_a_socket_is_lost_for_one_op"),
    "N3": ("test_a_request_that_comes_within_its_window_counts", "test_one_that_comes_after_its_window_does_not"),
    "N4": ("test_a_late_answer",),
    "N5": ("test_a_reset_in_the_middle_of_an_answer", "test_a_reset_in_the_middle_of_a_frame_and_pybit_comes_back"),
    "N6": ("test_a_half_open_connection", "test_a_half_open_stream_says_nothing_and_ends_nowhere"),
    "N7": ("test_a_silent_stall",),
    "N8": ("test_one_socket_is_down_and_the_others_are_not",),
    "N9": ("test_one_socket_is_down_and_the_others_are_not",),
    "N11": ("test_connections_are_refused_for_a_while",),
    "N13": ("test_a_client_that_does_not_read_is_cut_off_and_nobody_else_is",),
    "N14": ("test_frames_are_lost_repeated_delayed_and_swapped", "test_a_frame_that_arrives_twice"),
    "N15": ("test_an_answer_may_come_before_or_after_its_event",),
    "N16": ("test_statuses", "test_an_address_is_banned_for_as_long_as_is_said"),
    "N17": (
        "test_a_private_connection_that_says_nothing_is_ended",
        "test_a_public_connection_with_nothing_to_say_is_ended",
    ),
    "X1": ("test_an_order_is_rejected_after_its_acknowledgement",),
    "X2": ("test_a_client_id_is_used_once",),
    "X3": ("test_ambiguous_codes", "test_a_code_is_said_over_http_and_on_the_order_stream"),
    "X4": ("test_codes_on_the_trade_socket",),
    "X5": ("test_the_servers_clock_is_off",),
    "X6": ("test_the_eleventh_cancel_in_a_second",),
    "X7": ("test_a_limit_beyond_the_band_is_moved_to_it", "test_a_human_lets_prices_be_moved"),
    "X8": ("test_two_messages_say_filled",),
    "X9": ("test_an_order_lives_as_the_reference_says",),
    "X10": ("test_a_fast_execution_of_a_maker_has_no_client_id",),
    "X11": ("test_executions_that_nobody_ordered", "test_values_and_keys_that_nobody_knows"),
    "X12": ("test_the_sign_of_funding_differs_between_the_feeds",),
    "X13": ("test_deleveraging_takes_half", "test_a_liquidation"),
    "X14": ("test_orders_are_canceled_for_every_reason_of_the_venues",),
    "X15": ("test_protection_vanishes_without_a_word",),
    "X16": ("test_a_query_shows_what_was", "test_stale_reads_hide_what_is_new"),
    "X17": (
        "test_a_restart_forgets_closed_orders_and_nothing_else",
        "test_canceled_orders_are_told_of_for_a_day_filled_ones_for_longer",
    ),
    "X18": ("test_a_row_is_on_two_pages", "test_a_cursor_is_repeated"),
    "X19": ("test_executions_come_in_windows_of_seven_days",),
    "X20": ("test_cancel_all_draws_its_five_hundred_by_lot", "test_cancel_all_of_spot_leaves_what_waits_for_a_trigger"),
    "X21": ("test_a_symbol_that_is_delisted",),
    "X22": ("test_a_cut_risk_limit_leaves_reducing_alone",),
    "X23": ("test_a_human_flips_leverage_and_mode",),
    "X24": ("test_a_manual_order_has_no_client_id", "test_a_transfer"),
    "X25": ("test_maintenance_is_announced_and_comes",),
    "X26": ("test_one_of_a_batch_is_refused", "test_one_of_a_batch_is_missing_from_the_answer"),
    "X27": ("test_an_order_that_has_filled_cannot_be_canceled", "test_a_code_is_earned"),
    "X29": ("test_too_many_sessions", "test_signing_in_twice_and_asking_twice"),
    "X30": ("test_no_history_is_sent_on_subscribing",),
    "C1": ("test_the_servers_clock_is_off",),
    "C2": ("test_a_step_of_the_servers_clock",),
    "M1": ("test_a_gap_in_the_books_chain",),
    "M2": ("test_a_restart_of_the_book_service",),
    "M4": ("test_a_crossed_book_heals",),
    "M7": ("test_a_confirmation_that_never_comes",),
    "M8": ("test_a_symbol_that_is_delisted",),
    "M10": ("test_one_bad_topic_refuses_all", "test_spot_takes_ten_topics_at_a_time"),
    "CF2": ("test_what_is_said_of_accounts_and_keys_is_configured",),
    "CF3": ("test_what_is_said_of_accounts_and_keys_is_configured",),
    "CF4": ("test_a_revoked_key",),
}

# What of the same chapters nothing here brings about, and why.
NOT_BROUGHT_ABOUT = {
    "N10": "several sockets clogged in turn: `stall` and `half_open` by socket, as the simulation schedules them",
    "N12": "names and their addresses are the client's; a certificate that is not trusted: test_tls",
    "N18": "a `disconnect` every few seconds, as the simulation schedules them",
    "X28": "the venue model's own tests of self-matching",
    "M3": "a delta before its snapshot never comes out of here",
    "M5": "a bad print is a recording's own",
    "M6": "a deletion of a level that is not there never comes out of here",
    "M9": "a burst is a recording's own, or a faster clock",
    "M11": "a frozen value is a recording's own",
    "M12": "mark and index are the last price here",
    "M13": "`extra_keys` and `unknown_enum` alone; other damage is the client's fuzzing",
}


def named_tests() -> set[str]:
    found: set[str] = set()
    for path in (*TESTS.glob("unit/test_emulator*.py"), *TESTS.glob("venue_conformance/test_*.py")):
        found.update(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    return found


def test_every_item_of_the_checklist_has_a_test() -> None:
    text = shared_file("bybit_v5.md").read_text(encoding="utf-8")
    chapter = text.partition("## 20.")[2].partition("## 21.")[0]
    items = [item.strip() for line in chapter.splitlines()[1:] for item in line.partition(": ")[2].split(";") if item]
    for item in items:
        assert [key for key in CHECKLIST if item.startswith(key)], item
    assert len(CHECKLIST) == len(items)


def test_every_fault_of_the_catalogue_has_a_test_or_a_reason() -> None:
    text = shared_file("reliability.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| ([NXM]\d+) \|", text, re.MULTILINE))
    assert rows - set(CATALOGUE) == set(NOT_BROUGHT_ABOUT)


def test_the_tests_that_are_named_are_there() -> None:
    known = named_tests()
    for names in (*CHECKLIST.values(), *CATALOGUE.values()):
        assert set(names) <= known, set(names) - known


def test_probabilities_and_spans_of_a_fault_hold_by_seed() -> None:
    """The campaigns lean on it: a rule of a tenth fires about a tenth of the time, within its span alone."""
    driver = Driver(make_world(rate_scale=0))
    driver.exchange.faults.add(Fault(kind="error_before", probability=0.1, until_ns=10**9))
    codes = [driver.get("/v5/account/info")["retCode"] for _ in range(500)]
    assert 25 <= sum(code != 0 for code in codes) <= 80
    driver.wait(1.1)
    assert driver.get("/v5/account/info")["retCode"] == 0
