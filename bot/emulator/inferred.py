"""Facts that the venue's documents leave open, or that were inferred: each is here and nowhere else.

`docs/emulator.md` lists them with their reasons. When one is settled, this file and that list change, nothing else.
The rules of orders and margin that are inferred belong to the core and are listed in `docs/venue_orders.md` and
`docs/venue_account.md`.
"""

from typing import Final

# An unknown key: an empty HTTP 401, or code 10003 in an envelope. Both were seen; the first, for wrong environments.
UNKNOWN_KEY_STATUS: Final = 401

# A missing or unreadable authentication header.
HEADERS_MISSING: Final = (10001, "Request parameter error.")

# The order in which a signed request is judged: key, time, signature, then address, expiry and permission.
EXPIRED: Final = (33004, "Your api key has expired.")
ADDRESS_NOT_BOUND: Final = (10010, "Unmatched IP, please check your API key's bound IP addresses.")
NO_PERMISSION: Final = (10005, "Permission denied, please check your API key permissions.")
KEY_INVALID: Final = (10003, "API key is invalid.")

# The private stream's words when a sign-in fails, and for a subscription before it.
PRIVATE_AUTH_FAILED: Final = "Invalid api_key or signature"
PRIVATE_AUTH_EXPIRED: Final = "Params Error: expires must be later than the server time"
PRIVATE_NOT_SIGNED_IN: Final = "Request not authorized"

# The trade stream before its sign-in, and for a second one.
TRADE_NOT_SIGNED_IN: Final = (10004, "Please authenticate first.")
TRADE_SIGNED_IN_TWICE: Final = (20001, "Repeat auth")

# A symbol that there is none of.
LINEAR_SYMBOL_UNKNOWN: Final = (10001, "params error: symbol invalid")
SPOT_SYMBOL_UNKNOWN: Final = (170121, "Invalid symbol.")

# A cursor that was not handed out.
CURSOR_UNKNOWN: Final = (10001, "params error: cursor invalid")

# A time range that is too long, or upside down.
WINDOW_WRONG: Final = (10001, "params error: the time range must be positive and at most 7 days")

# Funding history with a start and no end.
FUNDING_NEEDS_END: Final = (10001, "params error: endTime is required with startTime")

# The most requests of one batch, by category.
BATCH_MAX: Final = {"linear": 20, "spot": 10}

# Private connections: how long an order's events take to reach its stream, and its answer the client. ns.
STREAM_DELAY_NS: Final = (1_000_000, 8_000_000)
ACK_DELAY_NS: Final = (1_000_000, 6_000_000)

# The wallet is sent with every change of an order, not of a balance alone.
WALLET_ON_ORDERS: Final = True

# A position that may only be reduced; canceling on disconnection, for institutions; checking a conditional order.
REDUCE_ONLY: Final = (110023, "Currently you can only reduce your positions.")
DCP_REFUSED: Final = (10005, "Permission denied, please contact your account manager.")
PRE_CHECK_CONDITIONAL: Final = (10001, "params error: conditional orders cannot be checked")

# When a limited account may ask again: at least this much later, for clients subtract their own clock from it.
LIMIT_RESET_LEAST_NS: Final = 100_000_000

# A ticker in which nothing has changed for this long is told again: the venue's mark and index never rest. ns.
TICKER_QUIET_NS: Final = 1_000_000_000

# Kinds of spot orders that the venue has filters for and the reference no way to place: none is ever found.
FILTERS_OF_NONE: Final = ("OcoOrder", "BidirectionalTpslOrder")

# Open interest, which nothing here moves, in base currency.
OPEN_INTEREST: Final = "53981.279"

# A trade socket's sessions per account before 10003 "too many sessions".
TRADE_SESSIONS_MAX: Final = 100

# The close code and reason of a connection that is too idle, and of one that maintenance ends.
IDLE_CLOSE: Final = (1000, "Bye")
MAINTENANCE_CLOSE: Final = (1001, "")

# A public connection with nothing subscribed and no ping ends after this. It was seen once, through a relay.
PUBLIC_IDLE_NS: Final = 61_000_000_000

# The deleveraging rank of every position.
ADL_RANK: Final = 2
