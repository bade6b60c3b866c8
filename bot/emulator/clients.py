"""One client of the venue: its account, what it has set, and what the venue remembers of it."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from bot.core.matching import VenueModel
from bot.core.venue.account import VenueAccount
from bot.core.venue.facts import Execution, PositionIndex
from bot.core.venue.margin import margin_of, position_margin
from bot.core.venue.state import PositionKey
from bot.domain.account import ZERO, Position
from bot.emulator import inferred
from bot.emulator.archive import Archive
from bot.emulator.listing import Listing, Listings
from bot.emulator.markets import PublicMarket
from bot.emulator.wire import ms_text, plain, plain_e8, to_ms

_FEE_FLOOR = Decimal("0.00055")  # the least taker fee that a break-even price reckons with
_ONE = Decimal(1)


class PositionSeen(msgspec.Struct, kw_only=True):
    """What the venue tells of a position beyond its size and price."""

    created_ns: int  # of the first ever on the symbol
    updated_ns: int
    opened_ns: int = 0
    earned_before: Decimal = ZERO  # what it had earned when it was last opened from flat
    seq: int = -1
    status: str = "Normal"


class Client:
    """One account.

    Args:
        name: as the settings and the keys name it.
        uid: as the venue numbers it.
        books: its side of the venue model.
        vip_level: what `query-api` says of it.
        info: what `account/info` says of it other than by default.
    """

    def __init__(
        self,
        name: str,
        uid: int,
        books: VenueAccount,
        *,
        vip_level: str = "No VIP",
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.uid = uid
        self.books = books
        self.vip_level = vip_level
        self.info = dict(info or {})
        self.reduce_only: set[str] = set()  # contracts whose risk limit was cut
        self.archive = Archive()
        self.rejects_perpetual_prices = False  # lpaPerp: beyond the band rejected, else moved to it
        self.moves_spot_prices = False  # lpaSpot: the other way round
        self.seen: dict[PositionKey, PositionSeen] = {}
        self.updated_ns = 0

    def note_execution(self, fact: Execution, seq: int) -> None:
        """Take note of a change of a position."""
        key = fact.instrument, fact.position_index
        position = self.books.position(*key)
        seen = self.seen.get(key)
        if seen is None:
            seen = self.seen[key] = PositionSeen(created_ns=fact.ts_ns, updated_ns=fact.ts_ns)
        before_qty = fact.position_qty - fact.qty * fact.side.sign
        if not before_qty or (before_qty > 0) != (fact.position_qty > 0):
            seen.opened_ns = fact.ts_ns
            seen.earned_before = _earned(position) - (fact.realized_pnl if before_qty else ZERO) + fact.fee
        seen.updated_ns, seen.seq = fact.ts_ns, seq

    def revalue(self, markets: Mapping[str, PublicMarket], now_ns: int) -> None:
        """Set the marks of what is held or ordered to those of now, so that margins can be told."""
        names = {key[0] for key in self.books.state.held()}
        names.update(order.instrument for order in self.books.state.orders.values())
        for name in sorted(names):
            market = markets[name]
            mark = market.mark_ticks(now_ns)
            if mark is not None and not market.listing.is_spot:
                self.books.set_mark(name, market.listing.instrument.price(mark))

    def position_indices(self, listing: Listing) -> tuple[int, ...]:
        """Return which positions of a symbol there are: one, or two in hedge mode."""
        if listing.name in self.books.state.hedged:
            return PositionIndex.LONG, PositionIndex.SHORT
        return (PositionIndex.ONE_WAY,)


def _earned(position: Position) -> Decimal:
    return position.realized_pnl - position.fees + position.funding


def position_record(client: Client, model: VenueModel, market: PublicMarket, index: int, now_ns: int) -> dict[str, Any]:
    """Return a position as REST has it; the account's marks must be those of now."""
    listing = market.listing
    key = listing.name, index
    state, contract = client.books.state, listing.contract
    position = client.books.position(*key)
    seen = client.seen.get(key) or PositionSeen(created_ns=0, updated_ns=0)
    qty, entry = position.qty, position.entry_price
    mark_ticks = market.mark_ticks(now_ns)
    mark = ZERO if mark_ticks is None else listing.instrument.price(mark_ticks)
    initial = maintenance = value = unrealized = ZERO
    if qty:
        parts = position_margin(state, key, state.marks)
        initial, maintenance, value, unrealized = parts.initial, parts.maintenance, parts.value, parts.unrealized
    stops = model.stops(client.name, listing.name, index)
    tier = contract.tier_index(value)
    earned = _earned(position)
    current = earned - seen.earned_before if qty else ZERO
    return {
        "positionIdx": index,
        "riskId": tier + 1,
        "riskLimitValue": plain(contract.tiers[tier].limit_value),
        "symbol": listing.symbol,
        "side": "Buy" if qty > 0 else "Sell" if qty < 0 else "",
        "size": plain(abs(qty)),
        "avgPrice": "0" if entry is None else plain_e8(entry),
        "positionValue": plain_e8(value) if qty else "",
        "tradeMode": 0,
        "autoAddMargin": 0,
        "positionStatus": seen.status,
        "leverage": plain(state.leverage[listing.name]),
        "breakEvenPrice": _break_even(contract.fees.taker, position, current),
        "markPrice": plain(mark),
        "liqPrice": _liquidation_price(client, listing, qty, mark),
        "bustPrice": "",
        "positionIM": plain_e8(initial),
        "positionIMByMp": plain_e8(initial),
        "positionMM": plain_e8(maintenance),
        "positionMMByMp": plain_e8(maintenance),
        "positionBalance": "0",
        "tpslMode": "Full",
        "takeProfit": "" if stops.take_profit is None else plain(stops.take_profit),
        "stopLoss": "" if stops.stop_loss is None else plain(stops.stop_loss),
        "trailingStop": "0" if stops.trailing_distance is None else plain(stops.trailing_distance),
        "sessionAvgPrice": "",
        "delta": "",
        "gamma": "",
        "vega": "",
        "theta": "",
        "unrealisedPnl": plain_e8(unrealized) if qty else "",
        "curRealisedPnl": plain_e8(current),
        "cumRealisedPnl": plain_e8(earned),
        "adlRankIndicator": inferred.ADL_RANK if qty else 0,
        "createdTime": ms_text(seen.created_ns),
        "updatedTime": ms_text(seen.updated_ns),
        "openTime": to_ms(seen.opened_ns) if qty else 0,
        "seq": seen.seq,
        "isReduceOnly": listing.name in client.reduce_only,
        "mmrSysUpdatedTime": "",
        "leverageSysUpdatedTime": "",
    }


def position_frame(record: dict[str, Any]) -> dict[str, Any]:
    """Return a position as the private stream has it: its average price has another name there."""
    frame = {**record, "category": "linear"}
    frame["entryPrice"] = frame.pop("avgPrice")
    for key in ("takeProfit", "stopLoss", "positionValue", "unrealisedPnl"):
        frame[key] = frame[key] or "0"
    for key in ("delta", "gamma", "vega", "theta"):
        del frame[key]
    return frame


def _break_even(taker: Decimal, position: Position, realized: Decimal) -> str:
    qty = position.qty
    if not qty:
        return ""
    return plain_e8((position.entry_value - realized) / (qty - abs(qty) * max(taker, _FEE_FLOOR)))


def _liquidation_price(client: Client, listing: Listing, qty: Decimal, mark: Decimal) -> str:
    """Return about where the account would be liquidated if this price alone moved, empty where it never would."""
    if not qty or not mark:
        return ""
    rate = listing.contract.tier(abs(qty) * mark).maintenance_rate
    excess = margin_of(client.books.state).excess
    price = mark - excess / (qty - abs(qty) * rate)
    return plain_e8(price) if listing.instrument.tick_size < price < mark * 100 else ""


def usd_prices(markets: Mapping[str, PublicMarket]) -> dict[str, Decimal]:
    """Return what coins are worth: quote coins a dollar, base coins their last public price."""
    prices: dict[str, Decimal] = {}
    for market in markets.values():
        instrument = market.listing.instrument
        prices[instrument.quote] = _ONE
        if market.last_ticks is not None:
            prices.setdefault(instrument.base, instrument.price(market.last_ticks))
    return prices


def wallet_record(
    client: Client, listings: Listings, markets: Mapping[str, PublicMarket], coins: Iterable[str] | None
) -> dict[str, Any]:
    """Return the account; of its coins those named, else those that are not zero. Marks must be those of now.

    All perpetuals settle in their quote coin, so what they take and earn is that coin's.
    """
    books, state = client.books, client.books.state
    margin = margin_of(state)
    usd = usd_prices(markets)
    wallet_usd = sum((amount * usd.get(coin, ZERO) for coin, amount in state.balances.items()), ZERO)
    parts = {key: position_margin(state, key, state.marks) for key in state.held()}
    unrealized: dict[str, Decimal] = {}
    initial: dict[str, Decimal] = {}
    maintenance: dict[str, Decimal] = {}
    earned: dict[str, Decimal] = {}
    for key, part in parts.items():
        coin = state.contracts[key[0]].settle_coin
        unrealized[coin] = unrealized.get(coin, ZERO) + part.unrealized
        initial[coin] = initial.get(coin, ZERO) + part.initial
        maintenance[coin] = maintenance.get(coin, ZERO) + part.maintenance
    for key, position in state.positions.items():
        coin = state.contracts[key[0]].settle_coin
        earned[coin] = earned.get(coin, ZERO) + _earned(position)
    pnl = sum((amount * usd.get(coin, ZERO) for coin, amount in unrealized.items()), ZERO)
    settle = next((listing.contract.settle_coin for listing in listings.of("linear")), "")
    wanted = sorted(coin for coin, amount in state.balances.items() if amount) if coins is None else list(coins)
    return {
        "accountType": "UNIFIED",
        "accountLTV": "0",
        "accountIMRate": _rate(margin.initial_rate),
        "accountIMRateByMp": _rate(margin.initial_rate),
        "accountMMRate": _rate(margin.maintenance_rate),
        "accountMMRateByMp": _rate(margin.maintenance_rate),
        "totalEquity": plain_e8(wallet_usd + pnl),
        "totalWalletBalance": plain_e8(wallet_usd),
        "totalMarginBalance": plain_e8(margin.balance),
        "totalAvailableBalance": plain_e8(max(ZERO, margin.available)),
        "totalPerpUPL": plain_e8(pnl),
        "totalInitialMargin": plain_e8(margin.initial),
        "totalInitialMarginByMp": plain_e8(margin.initial),
        "totalMaintenanceMargin": plain_e8(margin.maintenance),
        "totalMaintenanceMarginByMp": plain_e8(margin.maintenance),
        "coin": [
            _coin_record(
                coin,
                balance=books.balance(coin),
                usd_price=usd.get(coin, ZERO),
                is_collateral=state.terms(coin).collateral_rate > 0,
                locked=books.locked(coin),
                unrealized=unrealized.get(coin, ZERO),
                order_initial=margin.order_initial if coin == settle else ZERO,
                initial=initial.get(coin, ZERO),
                maintenance=maintenance.get(coin, ZERO),
                earned=earned.get(coin, ZERO),
            )
            for coin in wanted
        ],
    }


def _coin_record(
    coin: str,
    *,
    balance: Decimal,
    usd_price: Decimal,
    is_collateral: bool,
    locked: Decimal,
    unrealized: Decimal,
    order_initial: Decimal,
    initial: Decimal,
    maintenance: Decimal,
    earned: Decimal,
) -> dict[str, Any]:
    return {
        "coin": coin,
        "equity": plain_e8(balance + unrealized),
        "usdValue": plain_e8((balance + unrealized) * usd_price),
        "walletBalance": plain_e8(balance),
        "free": "",
        "locked": plain_e8(locked),
        "spotHedgingQty": "0",
        "borrowAmount": "0",
        "availableToBorrow": "",
        "availableToWithdraw": "",
        "accruedInterest": "0",
        "totalOrderIM": plain_e8(order_initial),
        "totalPositionIM": plain_e8(initial),
        "totalPositionMM": plain_e8(maintenance),
        "unrealisedPnl": plain_e8(unrealized),
        "cumRealisedPnl": plain_e8(earned),
        "bonus": "0",
        "marginCollateral": is_collateral,
        "collateralSwitch": is_collateral,
        "colRes": "",
        "spotBorrow": "0",
    }


def _rate(rate: Decimal) -> str:
    return plain(rate.quantize(Decimal("0.0001"))) if rate.is_finite() else ""
