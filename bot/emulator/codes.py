"""What the venue says when it refuses: its texts for the core's refusals.

The core's codes are the venue's, its reasons are our own words. Texts that were observed are here; clients must not
read them, but they do.
"""

from collections.abc import Callable

from bot.core.venue.facts import Refusal
from bot.emulator.wire import Refused

_TEXTS = {
    "110001": "Order does not exist",
    "110003": "Order price is out of permissible range",
    "110007": "ab not enough for new order",
    "110009": "The number of stop orders exceeds the maximum allowable limit.",
    "110013": "cannot set leverage due to risk limit level",
    "110017": "current position is zero, cannot fix reduce-only order qty",
    "110020": "Not allowed to have more than 500 active orders",
    "110024": "You have an existing position, so position mode cannot be switched",
    "110025": "Position mode is not modified",
    "110028": "You have existing open orders, so position mode cannot be switched",
    "110043": "leverage not modified",
    "110061": "20 TP/SL orders under Partial mode",
    "110072": "OrderLinkedID is duplicate",
    "110090": "Order quantity exceeds the risk limit of the leverage",
    "110094": "Order does not meet minimum order value 5USDT",
    "34040": "not modified",
    "170121": "Invalid symbol.",
    "170124": "Order quantity exceeded the upper limit.",
    "170131": "Insufficient balance.",
    "170134": "Order price has too many decimals.",
    "170137": "Order volume decimal too long.",
    "170140": "Order value exceeded lower limit.",
    "170141": "Duplicate clientOrderId",
    "170193": "Buy order price cannot be higher than the limit.",
    "170194": "Sell order price cannot be lower than the limit.",
    "170213": "Order does not exist.",
    "170810": "Cannot exceed maximum of 500 conditional, TP/SL and active orders.",
}

# Of the generic code the text decides: which of our reasons is which of theirs, by how it begins.
_GENERIC: tuple[tuple[str, str | Callable[[str], str]], ...] = (
    ("position idx", "position idx not match position mode"),
    ("can not set", "can not set tp/sl/ts for zero position"),
    ("The order remains unchanged", "The order remains unchanged as the parameters entered match the existing ones."),
    ("a client order id", "params error: OrderLinkId invalid"),
    ("quantity", lambda reason: _QTY_SMALL if "below" in reason else "Qty invalid"),
)
_QTY_SMALL = "The number of contracts exceeds minimum limit allowed"


def refusal(refused: Refusal) -> Refused:
    """Return a refusal of the core in the venue's words."""
    text = _TEXTS.get(refused.code)
    if text is None:
        text = refused.reason
        for begins, venue in _GENERIC:
            if refused.reason.startswith(begins):
                text = venue if isinstance(venue, str) else venue(refused.reason)
                break
    return Refused(int(refused.code), text)
