"""The bar's own columns as nodes, and what more than one chapter makes of them."""

from bot.core.features.expression import column, lag, ln

OPEN, HIGH, LOW, CLOSE = column("open"), column("high"), column("low"), column("close")
VOLUME, TURNOVER = column("volume"), column("turnover")
COUNT, BUY_VOLUME = column("count"), column("buy_volume")
BEFORE = lag(CLOSE, 1)  # the close before
RETURN = ln(CLOSE / BEFORE)
