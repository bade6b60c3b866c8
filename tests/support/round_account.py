"""An account at the venue with a thousand dollars, everything at a hundred."""

from decimal import Decimal

from bot.core.venue.contract import FeeRates
from bot.core.venue.state import CoinTerms
from tests.support.venue_accounts import Desk, linear, spot

REBATES = FeeRates(taker=Decimal("0.001"), maker=Decimal("-0.001"))
COINS = {
    "USDT": CoinTerms(),
    "USDC": CoinTerms(),
    "BTC": CoinTerms(usd_price=Decimal(100), collateral_rate=Decimal("0.8")),
}


def desk() -> Desk:
    """Return an account of a thousand dollars, everything at a hundred."""
    contracts = [linear(), linear("Y"), linear("Z", quote="USDC"), spot(), spot("R", fees=REBATES)]
    new = Desk(*contracts, coins=COINS)
    for name in "XYZ":
        new.mark("100", name)
    return new.deposit("1000")
