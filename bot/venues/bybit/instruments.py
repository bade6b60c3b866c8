"""Instrument filters, as Bybit's `market/instruments-info` tells them.

Source: Bybit V5 `market/instruments-info`. Spot spells them otherwise than linear: its quantity step is
`basePrecision`, its least order is a value, and it has no funding.
"""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from bot.venues.bybit.history_pages import MS, BadPage, iso

_UNLIMITED = Decimal(1_000_000_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class InstrumentFilters:
    """What orders in one symbol must fit into."""

    symbol: str
    category: str
    status: str  # "Trading", "PreLaunch", ...
    base: str
    quote: str
    tick_size: Decimal  # quote currency
    qty_step: Decimal  # base currency
    qty_min: Decimal  # base currency
    qty_max: Decimal  # base currency, of limit orders
    qty_max_market: Decimal  # base currency, of market orders
    notional_min: Decimal  # quote currency
    funding_interval_minutes: int | None  # None: it has no funding
    launch_ns: int | None  # None: not told
    delivery_ns: int | None  # None: it does not end

    def to_toml(self, *, asked_ns: int, source: str) -> str:
        """Return the table of a replay's configuration that describes this instrument, without its data."""
        lines = [
            f"# {self.symbol}, {self.category}: filters as {source} told them on {iso(asked_ns)}.",
            "# They change now and then; `bot data download` writes this file anew.",
            f"# Status {self.status}. A market order is at most {_plain(self.qty_max_market)} {self.base}.",
        ]
        if self.funding_interval_minutes is not None:
            minutes = self.funding_interval_minutes
            lines.append(f"# Funding every {minutes} minutes at present; the venue switches without notice.")
        if self.launch_ns is not None:
            lines.append(f"# Launched {iso(self.launch_ns)}.")
        if self.delivery_ns is not None:
            lines.append(f"# Ends {iso(self.delivery_ns)}.")
        lines += [
            "[[market.instruments]]",
            f'name = "{self.symbol}"',
            f'base = "{self.base}"',
            f'quote = "{self.quote}"',
            f"tick_size = {_plain(self.tick_size)}",
            f"qty_step = {_plain(self.qty_step)}",
            f"qty_min = {_plain(self.qty_min)}",
            f"qty_max = {_plain(self.qty_max)}",
            f"notional_min = {_plain(self.notional_min)}",
        ]
        return "\n".join(lines) + "\n"


def read_instruments(result: Any, category: str) -> tuple[list[InstrumentFilters], str]:
    """Return the instruments of one page, and the cursor of the next; "" where there is none.

    Raises:
        BadPage: it is no list of instruments, or one lacks a filter.
    """
    if not isinstance(result, dict) or not isinstance(result.get("list"), list):
        raise BadPage("the answer has no list of instruments")
    read = _linear if category == "linear" else _spot
    found = []
    for item in result["list"]:
        try:
            found.append(read(item))
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            name = item.get("symbol", "?") if isinstance(item, dict) else "?"
            raise BadPage(f"the instrument {name} has no usable {error}") from error
    cursor = result.get("nextPageCursor")
    return found, cursor if isinstance(cursor, str) and found else ""


def _linear(item: dict[str, Any]) -> InstrumentFilters:
    lot = item["lotSizeFilter"]
    return InstrumentFilters(
        symbol=str(item["symbol"]),
        category="linear",
        status=str(item["status"]),
        base=str(item["baseCoin"]),
        quote=str(item["quoteCoin"]),
        tick_size=_positive(item["priceFilter"], "tickSize"),
        qty_step=_positive(lot, "qtyStep"),
        qty_min=_positive(lot, "minOrderQty"),
        qty_max=_positive(lot, "maxOrderQty"),
        qty_max_market=_positive(lot, "maxMktOrderQty", "maxOrderQty"),
        notional_min=_positive(lot, "minNotionalValue", default=Decimal(5)),
        funding_interval_minutes=int(item["fundingInterval"]) or None,
        launch_ns=_time(item.get("launchTime")),
        delivery_ns=_time(item.get("deliveryTime")),
    )


def _spot(item: dict[str, Any]) -> InstrumentFilters:
    lot = item["lotSizeFilter"]
    step = _positive(lot, "basePrecision")
    return InstrumentFilters(
        symbol=str(item["symbol"]),
        category="spot",
        status=str(item["status"]),
        base=str(item["baseCoin"]),
        quote=str(item["quoteCoin"]),
        tick_size=_positive(item["priceFilter"], "tickSize"),
        qty_step=step,
        qty_min=_positive(lot, "minOrderQty", default=step),
        qty_max=_positive(lot, "maxLimitOrderQty", "maxOrderQty", default=_UNLIMITED),
        qty_max_market=_positive(lot, "maxMarketOrderQty", "maxOrderQty", default=_UNLIMITED),
        notional_min=_positive(lot, "minOrderAmt"),
        funding_interval_minutes=None,
        launch_ns=None,
        delivery_ns=None,
    )


def _positive(table: dict[str, Any], *keys: str, default: Decimal | None = None) -> Decimal:
    """Return the first of the keys that holds a positive number; what is absent, empty or 0 says nothing."""
    for key in keys:
        text = table.get(key)
        if text not in (None, ""):
            value = Decimal(str(text))
            if value.is_finite() and value > 0:
                return value
    if default is None:
        raise KeyError(keys[0])
    return default


def _time(text: Any) -> int | None:
    return None if text in (None, "", "0") else int(text) * MS


def _plain(value: Decimal) -> str:
    """Return a number as TOML has it, without an exponent and without zeros at its end."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
