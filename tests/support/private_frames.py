"""Messages of the account's streams as the venue writes them, for tests."""

import json
from typing import Any

NOW_NS = 1_760_000_000_000_000_000
NOW_MS = NOW_NS // 10**6

ORDER: dict[str, Any] = {
    "category": "linear",
    "symbol": "BTCUSDT",
    "orderId": "v-1",
    "orderLinkId": "mine-1",
    "side": "Buy",
    "orderType": "Limit",
    "timeInForce": "GTC",
    "orderStatus": "New",
    "price": "60000",
    "qty": "1",
    "cumExecQty": "0",
    "cumExecValue": "0",
    "avgPrice": "",
    "triggerPrice": "",
    "reduceOnly": False,
    "createType": "CreateByUser",
    "cancelType": "UNKNOWN",
    "rejectReason": "EC_NoError",
    "stopOrderType": "",
    "createdTime": str(NOW_MS),
    "updatedTime": str(NOW_MS),
}
EXECUTION: dict[str, Any] = {
    "category": "linear",
    "symbol": "BTCUSDT",
    "orderId": "v-1",
    "orderLinkId": "mine-1",
    "execId": "e-1",
    "side": "Buy",
    "execType": "Trade",
    "execPrice": "60000",
    "execQty": "0.1",
    "execValue": "6000",
    "execFee": "3.3",
    "feeRate": "0.00055",
    "feeCurrency": "",
    "isMaker": False,
    "orderType": "Limit",
    "orderQty": "1",
    "orderPrice": "60000",
    "leavesQty": "0.9",
    "createType": "CreateByUser",
    "stopOrderType": "",
    "execTime": str(NOW_MS),
    "seq": 5,
    "extraFees": "",
}
POSITION: dict[str, Any] = {
    "category": "linear",
    "symbol": "BTCUSDT",
    "side": "Buy",
    "size": "0.1",
    "positionIdx": 0,
    "entryPrice": "60000",
    "leverage": "10",
    "markPrice": "60000",
    "liqPrice": "",
    "takeProfit": "0",
    "stopLoss": "",
    "trailingStop": "0",
    "positionStatus": "Normal",
    "isReduceOnly": False,
    "seq": 7,
    "updatedTime": str(NOW_MS),
}
WALLET: dict[str, Any] = {
    "accountType": "UNIFIED",
    "totalEquity": "100",
    "totalAvailableBalance": "90",
    "coin": [{"coin": "USDT", "walletBalance": "100", "equity": "100", "unrealisedPnl": "0", "locked": "0"}],
}
_RECORDS = {
    "order": ORDER,
    "execution": EXECUTION,
    "execution.fast": EXECUTION,
    "position": POSITION,
    "wallet": WALLET,
}


def frame(topic: str, *changes: dict[str, Any]) -> bytes:
    """Return a message of a topic: one record for each of `changes`, or one as it stands."""
    head = topic.removesuffix(".linear").removesuffix(".spot")
    records = [_RECORDS[head] | change for change in changes or ({},)]
    return json.dumps({"id": "x", "topic": topic, "creationTime": NOW_MS, "data": records}).encode()


def order_frame(**changes: Any) -> bytes:
    """Return a message of one order."""
    return frame("order", changes)


def execution_frame(**changes: Any) -> bytes:
    """Return a message of one execution."""
    return frame("execution", changes)
