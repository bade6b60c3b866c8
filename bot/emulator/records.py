"""Orders, executions, positions and balances as the venue writes them.

REST and streams speak two dialects of one record: they differ in how they write "nothing". Both are written as they
were last observed; `docs/emulator.md` says where the samples disagree.
"""

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from bot.core.venue.facts import Execution, FundingSettled, Transaction
from bot.core.venue.orders import Exits, Kind, OrderRecord, RejectReason, Status, StopKind
from bot.domain.account import ZERO
from bot.emulator.archive import KeptOrder
from bot.emulator.listing import Listing
from bot.emulator.wire import ms_text, plain, plain_e8, side_text


def order_record(kept: KeptOrder) -> dict[str, Any]:
    """Return an order as REST has it."""
    record = _order(kept, nothing="0.00", unknown="UNKNOWN", mode="")
    if kept.listing.is_spot:
        record["basePrice"] = record.pop("lastPriceOnCreated")
        del record["createType"]
    record["avgPrice"] = record["avgPrice"] or "0"
    return record


def order_frame(kept: KeptOrder) -> dict[str, Any]:
    """Return an order as the private stream has it."""
    record = _order(kept, nothing="", unknown="", mode="UNKNOWN")
    record["category"] = kept.listing.category
    record["closedPnl"] = plain_e8(kept.closed_pnl)
    record["feeCurrency"] = kept.fee_coin if kept.listing.is_spot else ""
    record["brokerOrderPrice"] = ""
    if kept.listing.is_spot:
        del record["createType"]
    return record


def _order(kept: KeptOrder, *, nothing: str, unknown: str, mode: str) -> dict[str, Any]:
    order, notes, is_spot = shown(kept), kept.notes, kept.listing.is_spot
    leaves = order.open_qty
    price = "0" if is_spot and order.kind is Kind.MARKET else plain(order.price)
    exits = order.exits or _NO_EXITS
    trigger = order.trigger
    direction = 0 if trigger is None or is_spot else 1 if trigger.is_rise else 2
    last = "" if order.last_price is None else plain(order.last_price)
    profit, loss = exits.take_profit, exits.stop_loss
    return {
        "orderId": order.order_id,
        "orderLinkId": order.client_order_id,
        "parentOrderLinkId": order.parent_client_order_id,
        "blockTradeId": "",
        "symbol": kept.listing.symbol,
        "price": price,
        "qty": plain(order.qty),
        "side": side_text(order.side),
        "isLeverage": notes.is_leverage or ("0" if is_spot else ""),
        "positionIdx": order.position_index,
        "orderStatus": order.status.value,
        "createType": notes.create_type or order.create_type.value,
        "cancelType": "UNKNOWN" if order.cancel_type is None else order.cancel_type.value,
        "rejectReason": order.reject_reason.value,
        "avgPrice": "" if order.avg_price is None else plain_e8(order.avg_price),
        "leavesQty": plain(leaves),
        "leavesValue": plain_e8(_leaves_value(kept, order, leaves)),
        "cumExecQty": plain(order.filled_qty),
        "cumExecValue": plain_e8(order.filled_value),
        "cumExecFee": plain(order.fee),
        "cumFeeDetail": {kept.fee_coin: plain(order.fee)} if kept.fee_coin else {},
        "timeInForce": order.time_in_force.value,
        "orderType": order.kind.value,
        "stopOrderType": _stop_type(order, notes.order_filter) or unknown,
        "orderIv": "",
        "marketUnit": notes.market_unit,
        "slippageToleranceType": notes.slippage_type or "UNKNOWN",
        "slippageTolerance": notes.slippage,
        "triggerPrice": nothing if trigger is None else plain(trigger.price),
        "takeProfit": nothing if profit is None else plain(profit.price),
        "stopLoss": nothing if loss is None else plain(loss.price),
        "tpslMode": _mode(order) or mode,
        "ocoTriggerBy": "",
        "tpLimitPrice": "" if profit is None or profit.limit_price is None else plain(profit.limit_price),
        "slLimitPrice": "" if loss is None or loss.limit_price is None else plain(loss.limit_price),
        "tpTriggerBy": unknown if profit is None else profit.source.value,
        "slTriggerBy": unknown if loss is None else loss.source.value,
        "triggerDirection": direction,
        "triggerBy": unknown if trigger is None else trigger.source.value,
        "lastPriceOnCreated": last,
        "reduceOnly": order.reduce_only,
        "closeOnTrigger": order.close_on_trigger,
        "placeType": "",
        "smpType": order.smp.value,
        "smpGroup": 0,
        "smpOrderId": order.smp_order_id,
        "createdTime": ms_text(order.created_ns),
        "updatedTime": ms_text(order.updated_ns),
        "extraFees": "",
        "rpiTakerAccess": False,
        "rpiMatchedQty": "0",
    }


_NO_EXITS = Exits()
_STOP_MODES = {
    StopKind.TAKE_PROFIT: "Full",
    StopKind.STOP_LOSS: "Full",
    StopKind.TRAILING_STOP: "Full",
    StopKind.PARTIAL_TAKE_PROFIT: "Partial",
    StopKind.PARTIAL_STOP_LOSS: "Partial",
}


def shown(kept: KeptOrder) -> OrderRecord:
    """Return an order as the client asked for it: a spot market buy by amount has that amount as its quantity.

    The core sizes it in base when it comes; what is left of the amount makes it end as partially filled and canceled.
    """
    order, amount = kept.record, kept.notes.quote_amount
    if amount is None:
        return order
    status, reason = order.status, order.reject_reason
    if status is Status.FILLED and order.filled_value < amount:
        status, reason = Status.PARTIALLY_FILLED_CANCELED, RejectReason.NOT_FULL
    changed: OrderRecord = replace(order, qty=amount, status=status, reject_reason=reason)
    return changed


def _leaves_value(kept: KeptOrder, order: OrderRecord, leaves: Decimal) -> Decimal:
    if kept.notes.quote_amount is not None:
        return max(ZERO, kept.notes.quote_amount - order.filled_value)
    return leaves * order.price


def _stop_type(order: OrderRecord, order_filter: str) -> str:
    return "tpslOrder" if order_filter == "tpslOrder" else order.stop_kind.value


def _mode(order: OrderRecord) -> str:
    if order.exits is not None:
        return "Partial" if order.exits.is_partial else "Full"
    return _STOP_MODES.get(order.stop_kind, "")


def execution_record(
    listing: Listing, fact: Execution, kept: KeptOrder | None, *, exec_id: str, seq: int, fallback_id: str
) -> dict[str, Any]:
    """Return an execution as REST has it. The venue's own orders have ids that nobody was told of."""
    is_spot = listing.is_spot
    order = None if kept is None else shown(kept)
    leaves = ZERO
    if kept is not None and kept.notes.quote_amount is None:
        leaves = max(ZERO, kept.record.qty - kept.record.filled_qty - fact.qty)
    is_market = order is None or order.kind is Kind.MARKET
    order_price = "0" if order is None or (is_spot and is_market) else plain(order.price)
    record = {
        "symbol": listing.symbol,
        "orderId": fact.order_id or fallback_id,
        "orderLinkId": "" if order is None else order.client_order_id,
        "side": side_text(fact.side),
        "orderPrice": order_price,
        "orderQty": plain(fact.qty if order is None else order.qty),
        "leavesQty": plain(leaves),
        "createType": (kept.notes.create_type if kept else None) or _create_type(fact, order),
        "orderType": "Market" if is_market else "Limit",
        "stopOrderType": "UNKNOWN" if order is None else _stop_type(order, "") or ("" if is_spot else "UNKNOWN"),
        "execFee": plain(fact.fee),
        "execFeeV2": "",
        "execId": exec_id,
        "execPrice": plain(fact.price),
        "execQty": plain(fact.qty),
        "execType": fact.exec_type.value,
        "execValue": plain(fact.price * fact.qty),
        "execTime": ms_text(fact.ts_ns),
        "feeCurrency": fact.fee_coin,
        "isMaker": fact.is_maker,
        "feeRate": plain(fact.fee_rate),
        "tradeIv": "",
        "markIv": "",
        "markPrice": "" if fact.mark_price is None else plain(fact.mark_price),
        "indexPrice": "",
        "underlyingPrice": "",
        "blockTradeId": "",
        "closedSize": "" if is_spot else plain(fact.closed_qty),
        "seq": seq,
        "extraFees": "",
        "marketUnit": "" if kept is None else kept.notes.market_unit,
    }
    if is_spot:
        del record["createType"]
    return record


def _create_type(fact: Execution, order: OrderRecord | None) -> str:
    return fact.create_type.value if order is None else order.create_type.value


def funding_record(listing: Listing, fact: FundingSettled, *, exec_id: str, seq: int, order_id: str) -> dict[str, Any]:
    """Return a funding payment as the execution that the venue makes of it: a positive fee was paid."""
    qty = abs(fact.position_qty)
    rate = fact.rate if (fact.rate > 0) == (fact.exec_fee > 0) else -fact.rate  # the sign follows the fee
    return {
        "symbol": listing.symbol,
        "orderId": order_id,
        "orderLinkId": "",
        "side": "Buy" if fact.position_qty > 0 else "Sell",
        "orderPrice": "0",
        "orderQty": "0",
        "leavesQty": "0",
        "createType": "",
        "orderType": "UNKNOWN",
        "stopOrderType": "UNKNOWN",
        "execFee": plain_e8(fact.exec_fee),
        "execFeeV2": "",
        "execId": exec_id,
        "execPrice": plain(fact.mark_price),
        "execQty": plain(qty),
        "execType": "Funding",
        "execValue": plain(qty * fact.mark_price),
        "execTime": ms_text(fact.ts_ns),
        "feeCurrency": "",
        "isMaker": False,
        "feeRate": plain(rate),
        "tradeIv": "",
        "markIv": "",
        "markPrice": plain(fact.mark_price),
        "indexPrice": "",
        "underlyingPrice": "",
        "blockTradeId": "",
        "closedSize": "0",
        "seq": seq,
        "extraFees": "",
        "marketUnit": "",
    }


_FAST_KEYS = (
    "symbol",
    "orderId",
    "orderLinkId",
    "execId",
    "execPrice",
    "execQty",
    "side",
    "isMaker",
    "execTime",
    "seq",
)


def execution_frame(listing: Listing, record: dict[str, Any], realized_pnl: Decimal) -> dict[str, Any]:
    """Return an execution as the private stream has it."""
    frame = {"category": listing.category, **record}
    del frame["execFeeV2"]
    frame["isLeverage"] = "0"
    frame["execPnl"] = plain_e8(realized_pnl)
    return frame


def fast_frame(listing: Listing, record: dict[str, Any]) -> dict[str, Any]:
    """Return an execution as the fast topic has it: a maker's client id is left out."""
    frame = {"category": listing.category, **{key: record[key] for key in _FAST_KEYS}}
    if frame["isMaker"]:
        frame["orderLinkId"] = ""
    return frame


def transaction_record(
    listing: Listing | None, row: Transaction, *, uid: int, link_id: str, trade_id: str
) -> dict[str, Any]:
    """Return a row of the transaction log."""
    is_funding = row.type.value == "SETTLEMENT"
    return {
        "transSubType": "",
        "id": f"{uid}_{listing.symbol if listing else row.currency}_{row.ts_ns // 1_000_000}",
        "symbol": listing.symbol if listing else "",
        "category": listing.category if listing else "",
        "side": "None" if row.side is None else side_text(row.side),
        "transactionTime": ms_text(row.ts_ns),
        "type": row.type.value,
        "qty": plain(row.qty),
        "size": plain(row.position_qty),
        "currency": row.currency,
        "tradePrice": plain(row.price),
        "funding": plain_e8(row.funding) if is_funding else "",
        "fee": plain(row.fee),
        "cashFlow": plain(row.cash_flow),
        "change": plain_e8(row.change) if is_funding else plain(row.change),
        "cashBalance": plain_e8(row.cash_balance),
        "feeRate": plain(row.fee_rate),
        "bonusChange": "",
        "tradeId": trade_id,
        "orderId": row.order_id,
        "orderLinkId": link_id,
        "extraFees": "",
    }
