"""What is listed: an instrument as the venue publishes it."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import msgspec

from bot.core.venue.contract import Contract
from bot.domain.instrument import Instrument
from bot.emulator import inferred
from bot.emulator.wire import Grid, Refused, places_of, plain

CATEGORIES = ("linear", "spot")


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol of one category.

    A venue may list one symbol as a perpetual and as a spot pair, which the core tells apart by the contract's name.
    """

    symbol: str
    contract: Contract
    symbol_id: int
    launch_ms: int
    price_places: int  # how many places the venue shows of a perpetual's prices
    status: str = "Trading"

    @property
    def name(self) -> str:
        """Return the contract's name."""
        return self.contract.name

    @property
    def category(self) -> str:
        """Return "linear" or "spot"."""
        return self.contract.kind

    @property
    def is_spot(self) -> bool:
        """Return whether it is a spot pair."""
        return self.contract.kind == "spot"

    @property
    def instrument(self) -> Instrument:
        """Return the instrument itself."""
        return self.contract.instrument


class Listings:
    """All that is listed.

    Raises:
        ValueError: a symbol twice in a category.
    """

    def __init__(self, listings: Iterable[Listing]) -> None:
        self._by_symbol: dict[tuple[str, str], Listing] = {}
        self._by_name: dict[str, Listing] = {}
        self._grids: dict[str, tuple[Grid, Grid]] = {}
        for listing in listings:
            key = listing.category, listing.symbol
            if key in self._by_symbol:
                raise ValueError(f"{listing.symbol} is listed twice as {listing.category}")
            self._by_symbol[key] = self._by_name[listing.name] = listing
            instrument = listing.instrument
            self._grids[listing.name] = (
                Grid(instrument.tick_size, None if listing.is_spot else listing.price_places),
                Grid(instrument.qty_step, None if listing.is_spot else places_of(instrument.qty_step)),
            )

    def change(self, listing: Listing) -> None:
        """Publish a symbol's new terms."""
        self._by_symbol[listing.category, listing.symbol] = self._by_name[listing.name] = listing

    def of(self, category: str) -> list[Listing]:
        """Return a category's symbols."""
        return [listing for listing in self._by_name.values() if listing.category == category]

    def named(self, name: str) -> Listing:
        """Return the listing of a contract."""
        return self._by_name[name]

    def lookup(self, category: str, symbol: str) -> Listing | None:
        """Return a symbol's listing, None if there is none. Symbols are upper case."""
        return self._by_symbol.get((category, symbol))

    def find(self, category: str, symbol: str) -> Listing:
        """Return a symbol's listing.

        Raises:
            Refused: there is none.
        """
        listing = self.lookup(category, symbol)
        if listing is None:
            raise Refused(*(inferred.SPOT_SYMBOL_UNKNOWN if category == "spot" else inferred.LINEAR_SYMBOL_UNKNOWN))
        return listing

    def texts(self, listing: Listing) -> tuple[Callable[[int], str], Callable[[int], str]]:
        """Return what makes texts of a listing's ticks, and of its steps."""
        price, qty = self._grids[listing.name]
        return price.text, qty.text

    def price(self, listing: Listing, ticks: int) -> str:
        """Return a price as public market data shows it."""
        return self._grids[listing.name][0].text(ticks)

    def qty(self, listing: Listing, steps: int) -> str:
        """Return a quantity as public market data shows it; nothing is "0"."""
        return self._grids[listing.name][1].text(steps) if steps else "0"


def instrument_record(listing: Listing) -> dict[str, Any]:
    """Return an instrument as `instruments-info` has it."""
    return _spot_record(listing) if listing.is_spot else _linear_record(listing)


def _linear_record(listing: Listing) -> dict[str, Any]:
    contract, instrument = listing.contract, listing.instrument
    tick = _fixed(instrument.tick_size, listing.price_places)
    market_max = contract.market_qty_max or instrument.qty_max
    return {
        "symbol": listing.symbol,
        "symbolId": listing.symbol_id,
        "contractType": "LinearPerpetual",
        "status": listing.status,
        "baseCoin": instrument.base,
        "quoteCoin": instrument.quote,
        "symbolType": "",
        "launchTime": str(listing.launch_ms),
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(listing.price_places),
        "leverageFilter": {
            "minLeverage": "1",
            "maxLeverage": _fixed(contract.leverage_max, 2),
            "leverageStep": "0.01",
        },
        "priceFilter": {
            "minPrice": tick,
            "maxPrice": _fixed(instrument.tick_size * 19_999_998, listing.price_places),
            "tickSize": tick,
        },
        "lotSizeFilter": {
            "maxOrderQty": _as_step(instrument.qty_max, instrument.qty_step),
            "minOrderQty": _as_step(instrument.qty_min, instrument.qty_step),
            "qtyStep": _as_step(instrument.qty_step, instrument.qty_step),
            "postOnlyMaxOrderQty": _as_step(instrument.qty_max, instrument.qty_step),
            "maxMktOrderQty": _as_step(market_max, instrument.qty_step),
            "minNotionalValue": plain(instrument.notional_min),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": contract.funding_interval_min,
        "settleCoin": contract.settle_coin,
        "copyTrading": "none",
        "upperFundingRate": "0.00375",
        "lowerFundingRate": "-0.00375",
        "displayName": "",
        "forbidUplWithdrawal": False,
        "isPreListing": False,
        "preListingInfo": None,
        "riskParameters": {
            "priceLimitRatioX": plain(contract.price_ratio_x),
            "priceLimitRatioY": plain(contract.price_ratio_y),
        },
    }


def _spot_record(listing: Listing) -> dict[str, Any]:
    contract, instrument = listing.contract, listing.instrument
    return {
        "symbolId": listing.symbol_id,
        "symbol": listing.symbol,
        "baseCoin": instrument.base,
        "quoteCoin": instrument.quote,
        "innovation": "0",
        "symbolType": "",
        "xstockMultiplier": "",
        "status": listing.status,
        "marginTrading": "none",
        "stTag": "0",
        "lotSizeFilter": {
            "basePrecision": plain(instrument.qty_step),
            "quotePrecision": "0.0000001",
            "minOrderQty": plain(instrument.qty_min),
            "maxOrderQty": plain(instrument.qty_max),
            "minOrderAmt": plain(instrument.notional_min),
            "maxOrderAmt": "8000000",
            "maxLimitOrderQty": plain(instrument.qty_max),
            "maxMarketOrderQty": plain(contract.market_qty_max or instrument.qty_max),
            "postOnlyMaxLimitOrderSize": plain(instrument.qty_max),
        },
        "priceFilter": {"tickSize": plain(instrument.tick_size)},
        "riskParameters": {
            "priceLimitRatioX": plain(contract.price_ratio_x),
            "priceLimitRatioY": plain(contract.price_ratio_y),
        },
    }


def risk_records(listing: Listing) -> list[dict[str, Any]]:
    """Return a perpetual's risk tiers as `risk-limit` has them: fractions, and in no order of size."""
    records = [
        {
            "id": number,
            "symbol": listing.symbol,
            "riskLimitValue": plain(tier.limit_value),
            "maintenanceMargin": plain(tier.maintenance_rate),
            "initialMargin": plain(tier.initial_rate),
            "isLowestRisk": int(number == 1),
            "maxLeverage": _fixed(tier.leverage_max, 2),
            "mmDeduction": plain(tier.deduction) if tier.deduction else "",
        }
        for number, tier in enumerate(listing.contract.tiers, start=1)
    ]
    return [*records[1::2], *records[0::2]]


def _fixed(value: Decimal, places: int) -> str:
    return f"{value:.{places}f}"


def _as_step(value: Decimal, step: Decimal) -> str:
    return _fixed(value, places_of(step))
