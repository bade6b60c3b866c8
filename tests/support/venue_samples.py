"""What tells a payload of ours from a sample of the venue's, and what is meant to."""

import re
from collections.abc import Iterator
from typing import Any

# By sample: keys that are left out on purpose, or whose format differs on purpose.
MEANT: dict[str, frozenset[str]] = {
    # Fees are in the coin they are paid in, the documents' example pays them in MNT.
    "rest_order_realtime": frozenset({"cumFeeDetail"}),
    "rest_order_history_postonly_cancelled": frozenset({"cumFeeDetail"}),
    # The older spelling; the documents' text has the one that we send.
    "rest_position_list_inverse": frozenset({"mmrSysUpdateTime"}),
    # The documents' example lists taxes of one region.
    "ws_private_execution_linear": frozenset({"extraFees"}),
    # A funding execution has no coin of its own to be told here.
    "rest_execution_list": frozenset({"closedSize"}),
    # Of options alone.
    "rest_account_fee-rate__nautilus": frozenset({"baseCoin"}),
    # Spot has no pages, says the venue.
    "rest_market_instruments-info_spot__nautilus": frozenset({"nextPageCursor"}),
    # Another spelling of a right that has nothing to do with trading.
    "rest_user_query-api__nautilus": frozenset({"FiatBybitPay", "ips"}),
    # Bound addresses: none here.
    "rest_user_query-api": frozenset({"ips"}),
}
# What the venue's documents name beyond a sample, which may be older or abridged.
_DOCUMENTED = """
    parentOrderLinkId createType marketUnit slippageToleranceType slippageTolerance ocoTriggerBy extraFees
    rpiTakerAccess rpiMatchedQty basePrice closedPnl brokerOrderPrice category execFeeV2 execPnl isLeverage feeCurrency
    openTime delta gamma vega theta mmrSysUpdatedTime sessionAvgPrice tpslMode bustPrice positionBalance tradeMode
    breakEvenPrice positionIMByMp positionMMByMp isReduceOnly leverageSysUpdatedTime
    displayName forbidUplWithdrawal xstockMultiplier symbolType symbolId maxMktOrderQty copyTrading upperFundingRate
    lowerFundingRate isPreListing preListingInfo riskParameters mmDeduction singleOpenInterest singleOpenInterestValue
    isRPITrade seq L RPI cts id reqId req_id openFee closeFee free spotBorrow colRes spotHedgingQty accountIMRateByMp
    accountMMRateByMp totalInitialMarginByMp totalMaintenanceMarginByMp nextPageCursor retExtInfo time
    cumFeeDetail tpLimitPrice slLimitPrice smpType smpOrderId placeType innovation stTag header fundingCap
    maxLimitOrderQty maxMarketOrderQty postOnlyMaxLimitOrderSize
    fundingIntervalHour prevPrice1h preOpenPrice preQty curPreListingPhase
"""
DOCUMENTED = frozenset(_DOCUMENTED.split())
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def differences(ours: Any, theirs: Any, meant: frozenset[str], at: str = "") -> Iterator[str]:
    """Yield where our payload has other keys, types or formats than theirs."""
    if isinstance(theirs, dict):
        if not isinstance(ours, dict):
            yield f"{at}: {type(ours).__name__} for an object"
            return
        for key, value in theirs.items():
            if key in meant:
                continue
            if key not in ours:
                yield f"{at}.{key}: missing"
            else:
                yield from differences(ours[key], value, meant, f"{at}.{key}")
        for key in ours:
            if key not in theirs and key not in DOCUMENTED:
                yield f"{at}.{key}: nobody documents it"
    elif isinstance(theirs, list):
        if not isinstance(ours, list):
            yield f"{at}: {type(ours).__name__} for a list"
        elif ours and theirs:
            yield from differences(ours[0], theirs[0], meant, f"{at}[0]")
    elif theirs is None or ours is None:
        # Of "no value" only what JSON cannot say otherwise is null with us: some captures have null for any text.
        if theirs is not None or not (ours is None or isinstance(ours, str)):
            yield f"{at}: {ours!r} for {theirs!r}"
    elif type(ours) is not type(theirs):
        yield f"{at}: {ours!r} for {theirs!r}"
    elif isinstance(theirs, str) and ours and theirs:
        if bool(_NUMBER.fullmatch(ours)) != bool(_NUMBER.fullmatch(theirs)) and not _is_name(at):
            yield f"{at}: {ours!r} for {theirs!r}"
        elif theirs.isdigit() and len(theirs) == 13 and not (ours == "0" or (ours.isdigit() and len(ours) == 13)):
            yield f"{at}: {ours!r} for the time {theirs!r}"


def _is_name(at: str) -> bool:
    """Return whether a value is a name, of which any text will do."""
    return at.rpartition(".")[2].endswith(("Id", "id", "topic", "Cursor", "orderLinkId", "vipLevel"))
