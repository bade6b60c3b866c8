"""Records of an account: every payload that is known, whose they are, signs, and words that nobody knows."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.core.venue.contract import btcusdt_spot
from bot.domain.account_events import (
    AccountUnsure,
    ExternalFill,
    ExternalOrder,
    FillSighted,
    LiveEvent,
    PositionReported,
)
from bot.domain.orders import (
    FeePaid,
    FundingPaid,
    Leg,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    OrderTriggered,
    PositionCut,
    StopKind,
    StopsChanged,
)
from bot.domain.venue_records import ExecutionKind, ExecutionRecord, OrderRecord, OrderState, Origin, StopRole
from bot.venues.bybit.account_stream import BEHIND_NS, PARK_NS, AccountStream
from bot.venues.bybit.envelope import TradeEnvelope, decode_trade
from bot.venues.bybit.lookups import _bookings, _executions, _orders, _positions, _wallets
from bot.venues.bybit.private_frames import PrivateFrame, read_private
from bot.venues.bybit.record_fields import BadRecord
from bot.venues.bybit.wire import Answer, Pong, Refused
from tests.support.emulator import BTC
from tests.support.private_frames import NOW_MS, NOW_NS, execution_frame, frame, order_frame
from tests.support.shared_data import SHARED

SAMPLES = SHARED / "bybit_v5_samples"
needs_samples = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="needs bybit_v5_samples in ../shared (or set BOT_SHARED)"
)
SPOT_BTC = btcusdt_spot().instrument

# By the beginning of the file's name, the longest that fits: what it becomes, and of refusals the reason.
STREAM: dict[str, Any] = {
    "ws_private_order": PrivateFrame,
    "ws_private_execution": PrivateFrame,
    "ws_private_position": PrivateFrame,
    "ws_private_wallet": PrivateFrame,
    "ws_private_greeks": "not read: greeks",
    "ws_private_pong": Pong,
    "ws_private_auth.response": Answer,
    "ws_private_auth.request": "a request, not an answer: auth",
    "ws_private_dcp_subscribe.request": "a request, not an answer: subscribe",
    "ws_private_subscribe": Answer,
    "ws_auth_success": Answer,
}
REST = {
    "rest_order_realtime": lambda rows, category: _orders(category)(rows),
    "rest_order_history": lambda rows, category: _orders(category)(rows),
    "rest_execution_list": lambda rows, category: _executions(category)(rows),
    "rest_position_list": lambda rows, category: _positions(rows),
    "rest_account_wallet-balance": lambda rows, category: _wallets(rows),
    "rest_account_transaction-log": lambda rows, category: _bookings(rows),
}


def samples(beginnings: Any) -> list[Path]:
    paths = sorted(SAMPLES.glob("*.json")) if SAMPLES.is_dir() else []
    return [path for path in paths if any(path.name.startswith(each) for each in beginnings)]


@needs_samples
@pytest.mark.parametrize("path", samples(STREAM), ids=lambda path: path.name)
def test_every_payload_of_the_streams(path: Path) -> None:
    want = STREAM[max((each for each in STREAM if path.name.startswith(each)), key=len)]
    got = read_private(path.read_bytes(), known_ns=7)
    if isinstance(want, str):
        assert isinstance(got, Refused)
        assert got.reason == want
    else:
        assert isinstance(got, want), got
    if isinstance(got, PrivateFrame):
        assert got.records


@needs_samples
@pytest.mark.parametrize("path", samples(REST), ids=lambda path: path.name)
def test_every_payload_of_the_lists(path: Path) -> None:
    read = REST[max((each for each in REST if path.name.startswith(each)), key=len)]
    result = json.loads(path.read_bytes())["result"]
    rows = [msgspec.Raw(json.dumps(row).encode()) for row in result["list"]]
    assert len(read(rows, result.get("category") or "linear")) == len(rows) > 0


@needs_samples
@pytest.mark.parametrize("path", samples(["ws_trade_"]), ids=lambda path: path.name)
def test_every_payload_of_order_entry(path: Path) -> None:
    got = decode_trade(path.read_bytes())
    if ".request" in path.name or path.name == "ws_trade_ping.json":
        assert isinstance(got, str)  # without a retCode it answers nothing
    else:
        assert isinstance(got, TradeEnvelope)


# --- one record at a time ---------------------------------------------------------------------------------------------


def first(raw: bytes) -> Any:
    got = read_private(raw, known_ns=7)
    assert isinstance(got, PrivateFrame), got
    return got.records[0]


def test_states() -> None:
    def state(**changes: Any) -> OrderState:
        record: OrderRecord = first(order_frame(**changes))
        return record.state

    assert state(orderStatus="Untriggered") is OrderState.WAITING
    assert state(orderStatus="Triggered") is OrderState.OPEN
    assert state(orderStatus="PartiallyFilledCanceled", cumExecQty="0.5") is OrderState.CANCELED
    assert state(orderStatus="Rejected") is OrderState.REJECTED
    assert state(orderStatus="Rejected", cumExecQty="0.1") is OrderState.CANCELED
    assert state(orderStatus="SomethingNew") is OrderState.UNKNOWN


def test_a_quantity_that_is_an_amount_is_not_taken_for_one_of_coins() -> None:
    market = {"category": "spot", "orderType": "Market", "qty": "10", "cumExecQty": "0.0003"}
    assert first(order_frame(**market)).qty is None
    assert first(order_frame(**market, marketUnit="baseCoin")).qty == 10
    assert first(order_frame(**{**market, "side": "Sell"})).qty == 10


@pytest.mark.parametrize(
    ("exec_type", "kind"),
    [
        ("Trade", ExecutionKind.TRADE),
        ("Funding", ExecutionKind.FUNDING),
        ("BustTrade", ExecutionKind.LIQUIDATION),
        ("AdlTrade", ExecutionKind.DELEVERAGING),
        ("Settle", ExecutionKind.SETTLEMENT),
        ("Delivery", ExecutionKind.SETTLEMENT),
        ("BlockTrade", ExecutionKind.TRANSFER),
        ("MovePosition", ExecutionKind.TRANSFER),
        ("CorporateAction", ExecutionKind.TRANSFER),
        ("FutureSpread", ExecutionKind.UNKNOWN),
        ("UNKNOWN", ExecutionKind.UNKNOWN),
        ("SomethingNew", ExecutionKind.UNKNOWN),
    ],
)
def test_kinds_of_executions(exec_type: str, kind: ExecutionKind) -> None:
    assert first(execution_frame(execType=exec_type)).kind is kind


@pytest.mark.parametrize(
    "changes",
    [
        {"execQty": text}
        for text in ("0", "-1", "", "1e3", "NaN", "Infinity", "1_0", "\uff11", " 1", "1.", ".5", "+1", "9" * 30)
    ]
    + [
        {"side": "buy"},
        {"execId": ""},
        {"execId": "\x00"},
        {"execTime": "0"},
        {"execTime": "9" * 14},
        {"execFee": ""},
        {"category": "futures"},
        {"symbol": ""},
        {"symbol": "BTC USDT"},
        {"execPrice": 60000},
        {"isMaker": "false"},
        {"seq": "5"},
        {"orderId": None},
    ],
    ids=str,
)
def test_what_is_no_execution_is_refused(changes: dict[str, Any]) -> None:
    got = read_private(frame("execution", {}, changes), known_ns=7)
    assert isinstance(got, Refused)
    assert got.topic == "execution"


def test_a_record_of_another_category_than_its_topics() -> None:
    assert isinstance(read_private(frame("execution.spot"), known_ns=7), Refused)
    assert isinstance(read_private(frame("execution.linear"), known_ns=7), PrivateFrame)


def test_taxes_come_as_a_list_or_as_its_text() -> None:
    taxes = [{"feeCoin": "USDT", "fee": "0.5", "feeType": "GST"}]
    for value in (taxes, json.dumps(taxes)):
        record: ExecutionRecord = first(execution_frame(extraFees=value))
        assert record.extra_fees == (("USDT", Decimal("0.5")),)
    for value in ("{", [1], 7, [{"feeCoin": "USDT", "fee": "x"}]):
        assert first(execution_frame(extraFees=value)).is_fee_unread


# --- events -----------------------------------------------------------------------------------------------------------


class Account:
    """An account's streams, heard one message at a time."""

    def __init__(self) -> None:
        self.stream = AccountStream(
            {("linear", "BTCUSDT"): BTC, ("spot", "BTCUSDT"): SPOT_BTC}, is_ours=lambda each: each.startswith("mine-")
        )
        self.now_ns = NOW_NS

    def hear(self, raw: bytes, after_s: float = 0.0) -> list[LiveEvent]:
        self.now_ns += int(after_s * 1e9)
        got = read_private(raw, known_ns=self.now_ns)
        assert isinstance(got, PrivateFrame), got
        return self.stream.on_records(got.records, self.now_ns, is_fast=got.kind == "execution.fast")


def kinds(events: list[LiveEvent]) -> list[type]:
    return [type(event) for event in events]


@pytest.mark.parametrize(
    ("side", "fee", "fee_rate", "qty", "rate", "amount"),
    [
        ("Buy", "1.5", "0.0001", "0.1", "0.0001", "-1.5"),  # a long pays a positive rate
        ("Buy", "-1.5", "-0.0001", "0.1", "-0.0001", "1.5"),  # and receives a negative one
        ("Sell", "-1.5", "-0.0001", "-0.1", "0.0001", "1.5"),  # a short receives a positive rate
        ("Sell", "1.5", "0.0001", "-0.1", "-0.0001", "-1.5"),
    ],
)
def test_the_sign_of_funding(side: str, fee: str, fee_rate: str, qty: str, rate: str, amount: str) -> None:
    """The execution's fee is positive where we paid, its rate has that sign; ours is positive where we received."""
    raw = execution_frame(
        execType="Funding",
        orderLinkId="",
        orderId="synthetic",
        side=side,
        execFee=fee,
        feeRate=fee_rate,
        orderType="UNKNOWN",
        orderQty="0",
        createType="",
    )
    (event,) = Account().hear(raw)
    assert isinstance(event, FundingPaid)
    assert (event.position_qty, event.rate, event.amount) == (Decimal(qty), Decimal(rate), Decimal(amount))
    assert (event.amount > 0) is (event.position_qty * event.rate < 0)


def test_a_life() -> None:
    account = Account()
    assert kinds(account.hear(order_frame(orderStatus="Untriggered", triggerPrice="61000"))) == [OrderAccepted]
    later = {"updatedTime": str(NOW_MS + 1)}
    assert kinds(account.hear(order_frame(orderStatus="Triggered", triggerPrice="61000", **later))) == [OrderTriggered]
    later = {"updatedTime": str(NOW_MS + 2), "triggerPrice": "61000"}
    assert kinds(account.hear(order_frame(qty="2", **later))) == [OrderAmended]
    assert kinds(account.hear(order_frame(qty="2", **later))) == []
    assert kinds(account.hear(order_frame(**later))) == [OrderAmended]  # the same ms: the venue's order counts
    ended = order_frame(orderStatus="Cancelled", cancelType="CancelByUser", rejectReason="EC_PerCancelRequest", **later)
    (canceled,) = account.hear(ended)
    assert isinstance(canceled, OrderCanceled)
    assert canceled.reason == "EC_PerCancelRequest"
    assert account.hear(ended) == []
    assert account.hear(order_frame(**later)) == []  # nothing rises again


def test_an_older_word_changes_nothing() -> None:
    account = Account()
    account.hear(order_frame())
    account.hear(order_frame(qty="3", cumExecQty="1", updatedTime=str(NOW_MS + 5)))
    assert account.hear(order_frame(qty="2", cumExecQty="1", updatedTime=str(NOW_MS + 4))) == []
    assert account.hear(order_frame(qty="2", cumExecQty="0", updatedTime=str(NOW_MS + 6))) == []
    assert account.stream.stale == 2
    assert kinds(account.hear(order_frame(qty="4", cumExecQty="1", updatedTime=str(NOW_MS + 6)))) == [OrderAmended]


def test_a_fill_told_twice_by_its_order_is_no_cancel() -> None:
    account = Account()
    account.hear(order_frame(orderStatus="Filled", cumExecQty="1"))
    again = order_frame(
        orderStatus="Filled",
        cumExecQty="1",
        cancelType="CancelByUser",
        rejectReason="EC_OrigClOrdIDDoesNotExist",
        updatedTime=str(NOW_MS + 1),
    )
    assert account.hear(again) == []


def test_a_rejection() -> None:
    (event,) = Account().hear(order_frame(orderStatus="Rejected", rejectReason="EC_PostOnlyWillTakeLiquidity"))
    assert isinstance(event, OrderRejected)
    assert event.code == "EC_PostOnlyWillTakeLiquidity"


def test_the_fast_stream_sights_and_the_other_books() -> None:
    account = Account()
    (sighted,) = account.hear(frame("execution.fast", {"orderLinkId": ""}))
    assert isinstance(sighted, FillSighted)
    assert sighted.client_order_id == ""  # a maker's fill names nobody, and the order is not known yet
    assert account.hear(frame("execution.fast", {"orderLinkId": ""})) == []
    (fill,) = account.hear(execution_frame())
    assert isinstance(fill, OrderFilled)
    assert fill.fee == Decimal("3.3")
    assert account.hear(frame("execution.fast")) == []
    assert account.hear(execution_frame()) == []


def test_a_fill_without_our_id_waits_for_its_order() -> None:
    account = Account()
    assert account.hear(execution_frame(orderLinkId="")) == []
    assert account.stream.parked_count == 1
    assert kinds(account.hear(order_frame())) == [OrderAccepted, OrderFilled]
    other = Account()
    other.hear(execution_frame(orderLinkId=""))
    (fill,) = other.stream.note_id("v-1", "mine-1", other.now_ns)
    assert isinstance(fill, OrderFilled)


def test_and_is_a_strangers_if_none_comes() -> None:
    account = Account()
    account.hear(execution_frame(orderLinkId=""))
    assert account.stream.on_time(NOW_NS + PARK_NS - 1) == []
    assert kinds(account.stream.on_time(NOW_NS + PARK_NS)) == [ExternalFill]
    assert account.stream.on_time(NOW_NS + 2 * PARK_NS) == []
    assert account.hear(execution_frame(orderLinkId="")) == []


def test_strangers() -> None:
    account = Account()
    assert kinds(account.hear(order_frame(orderLinkId="theirs"))) == [ExternalOrder]
    assert kinds(account.hear(execution_frame(orderLinkId="theirs"))) == [ExternalFill]
    spot = {"category": "spot", "orderId": "155", "orderLinkId": "156"}  # spot invents ids
    assert kinds(account.hear(order_frame(**spot))) == [ExternalOrder]


def test_forced_trades() -> None:
    account = Account()
    for exec_type, create_type, cause in (
        ("BustTrade", "CreateByTakeOver_PassThrough", StopKind.LIQUIDATION),
        ("AdlTrade", "CreateByAdl_PassThrough", StopKind.DELEVERAGING),
    ):
        raw = execution_frame(
            execType=exec_type, createType=create_type, orderLinkId="", orderId=exec_type, execId=exec_type
        )
        (cut,) = account.hear(raw)
        assert isinstance(cut, PositionCut)
        assert cut.cause is cause


def test_a_staged_liquidation_is_a_strangers_trade() -> None:
    """Its execution is a plain trade of an order that the venue made."""
    raw = execution_frame(createType="CreateByLiq", orderLinkId="", orderId="liq")
    (event,) = Account().hear(raw)
    assert isinstance(event, ExternalFill)
    assert event.execution.origin is Origin.FORCED


def test_an_exit_that_the_venue_kept() -> None:
    raw = execution_frame(
        createType="CreateByStopLoss", stopOrderType="StopLoss", orderLinkId="", orderId="sl", side="Sell"
    )
    (cut,) = Account().hear(raw)
    assert isinstance(cut, PositionCut)
    assert cut.cause is StopKind.STOP_LOSS
    record: OrderRecord = first(
        order_frame(createType="CreateByStopLoss", stopOrderType="StopLoss", orderLinkId="", parentOrderLinkId="mine-1")
    )
    assert (record.origin, record.role, record.parent_order_id) == (Origin.ATTACHED, StopRole.STOP_LOSS, "mine-1")


def test_what_we_do_not_trade_is_never_taken_for_what_we_do() -> None:
    """A spot pair and a perpetual share their symbol; so does funding of what a stranger holds."""
    for changes in ({"category": "spot", "symbol": "ETHUSDT"}, {"symbol": "ETHUSDT", "execType": "Funding"}):
        fill, unsure = Account().hear(execution_frame(**changes))
        assert isinstance(fill, ExternalFill)
        assert isinstance(unsure, AccountUnsure)
        assert fill.execution.instrument == unsure.instrument == f"{changes.get('category', 'linear')}:ETHUSDT"


def test_a_strangers_fee_is_told_once() -> None:
    (fill,) = Account().hear(execution_frame(category="spot", orderLinkId="theirs"))
    assert isinstance(fill, ExternalFill)
    assert (fill.execution.fee, fill.execution.fee_currency) == (Decimal("3.3"), "BTC")
    assert fill.execution.instrument == SPOT_BTC.name


def test_an_execution_of_a_kind_that_nobody_knows() -> None:
    fill, unsure = Account().hear(execution_frame(execType="SomethingNew"))
    assert isinstance(fill, ExternalFill)
    assert not fill.is_understood
    assert isinstance(unsure, AccountUnsure)
    assert unsure.instrument == "BTCUSDT"


@pytest.mark.parametrize(
    ("changes", "fee", "others"),
    [
        ({}, "3.3", []),
        ({"feeCurrency": "USDT"}, "3.3", []),
        ({"feeCurrency": "MNT"}, "0", [("MNT", "3.3")]),
        ({"category": "spot"}, "0", [("BTC", "3.3")]),
        ({"category": "spot", "side": "Sell"}, "3.3", []),
        ({"category": "spot", "execFee": "-3.3", "isMaker": True}, "-3.3", []),  # a rebate the other way round
        ({"category": "spot", "side": "Sell", "execFee": "-3.3"}, "0", [("BTC", "-3.3")]),
        ({"extraFees": [{"feeCoin": "USDT", "fee": "0.5"}]}, "3.8", []),
        ({"extraFees": [{"feeCoin": "IDR", "fee": "0.5"}]}, "3.3", [("IDR", "0.5")]),
    ],
)
def test_fees_in_their_own_coin(changes: dict[str, Any], fee: str, others: list[tuple[str, str]]) -> None:
    fill, *paid = Account().hear(execution_frame(**changes))
    assert isinstance(fill, OrderFilled)
    assert fill.fee == Decimal(fee)
    assert [(each.currency, str(each.amount)) for each in paid if isinstance(each, FeePaid)] == others
    assert all(isinstance(each, FeePaid) for each in paid)


def test_positions_are_told_when_they_are_news() -> None:
    account = Account()
    assert kinds(account.hear(frame("position"))) == [PositionReported, StopsChanged]  # that there are none
    assert account.hear(frame("position")) == []  # the venue repeats it with every order
    moved = {"seq": 9, "stopLoss": "50000"}
    assert kinds(account.hear(frame("position", moved))) == [PositionReported, StopsChanged]
    assert account.hear(frame("position", {"seq": 8, "size": "5"})) == []
    flat = {"seq": 10, "side": "", "size": "0"}
    reported, changed = account.hear(frame("position", flat))
    assert isinstance(reported, PositionReported)
    assert reported.position.qty == 0
    assert isinstance(changed, StopsChanged)
    assert changed.stop_loss is None


def test_exits_of_each_leg_are_told_apart() -> None:
    """In hedge mode there are two positions of a symbol; an index beyond them is refused."""
    account = Account()
    long = {"positionIdx": 1, "stopLoss": "50000"}
    told = [each for each in account.hear(frame("position", long)) if isinstance(each, StopsChanged)]
    assert [(each.leg, each.stop_loss) for each in told] == [(Leg.LONG, Decimal(50000))]
    short = {"positionIdx": 2, "side": "", "size": "0"}
    told = [each for each in account.hear(frame("position", short)) if isinstance(each, StopsChanged)]
    assert [(each.leg, each.stop_loss) for each in told] == [(Leg.SHORT, None)]
    assert account.hear(frame("position", long)) == []
    refused = read_private(frame("position", {"positionIdx": 3}), known_ns=account.now_ns)
    assert isinstance(refused, Refused)
    assert "index 3" in refused.reason


@pytest.mark.parametrize(("before", "owed"), [((), "0.2"), (("0.05",), "0.15"), (("0.05", "0.15"), "0")])
def test_a_cancel_tells_of_executions_that_are_to_come(before: tuple[str, ...], owed: str) -> None:
    """Its record says what has filled; the executions have a stream of their own, which may be behind."""
    account = Account()
    account.hear(order_frame())
    for number, qty in enumerate(before):
        account.hear(execution_frame(execId=f"x{number}", execQty=qty))
    ended = order_frame(
        orderStatus="Cancelled", cancelType="CancelByUser", cumExecQty="0.2", updatedTime=str(NOW_MS + 1)
    )
    (canceled,) = [each for each in account.hear(ended) if isinstance(each, OrderCanceled)]
    assert canceled.owed_qty == Decimal(owed)


def test_an_order_that_is_ahead_of_its_executions() -> None:
    account = Account()
    account.hear(order_frame(cumExecQty="0.1"))
    assert account.stream.behind(account.now_ns) == []
    late_ns = account.now_ns + BEHIND_NS
    assert [each.venue_order_id for each in account.stream.behind(late_ns)] == ["v-1"]
    account.hear(execution_frame())
    assert account.stream.behind(late_ns) == []


def test_a_bad_record_names_its_place() -> None:
    with pytest.raises(BadRecord, match="record 1: '-1' is not positive"):
        _executions("linear")([msgspec.Raw(json.dumps(each).encode()) for each in _two()])


def _two() -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = json.loads(frame("execution", {}, {"execQty": "-1"}))["data"]
    return data
