"""What clients may do with positions: leverage, mode, exits."""

from typing import Any

from bot.core.matching import VenueModel
from bot.core.venue.facts import Refusal
from bot.emulator import codes
from bot.emulator.clients import Client
from bot.emulator.listing import Listing, Listings
from bot.emulator.order_requests import read_stops
from bot.emulator.params import Body, category, integer, needed, number, text
from bot.emulator.tellings import Tellings
from bot.emulator.wire import Refused


class PositionDesk:
    """Takes requests about positions to the venue model, and what comes of them to the tellings."""

    def __init__(self, *, model: VenueModel, listings: Listings, tellings: Tellings) -> None:
        self._model = model
        self._listings = listings
        self._tellings = tellings

    def set_leverage(self, client: Client, body: Body, now_ns: int) -> dict[str, Any]:
        """Change a symbol's leverage.

        Raises:
            Refused: it is the same already, or more than the tier allows.
        """
        listing = self._perpetual(body)
        buy, sell = number(body, "buyLeverage"), number(body, "sellLeverage")
        if buy is None or sell is None or buy != sell:
            raise Refused(10001, "params error: buyLeverage must be equal to sellLeverage")
        self._advance(now_ns)
        refusal, told = self._model.set_leverage(client.name, listing.name, buy, now_ns)
        self._tellings.absorb(told, now_ns)
        if refusal is not None:
            raise codes.refusal(refusal)
        self._tell_positions(client, listing, now_ns)
        return {}

    def switch_mode(self, client: Client, body: Body, now_ns: int) -> dict[str, Any]:
        """Switch a symbol, or all of a coin, between one position and a hedge.

        Raises:
            Refused: nothing changes, or a position or an order is in the way.
        """
        mode = integer(body, "mode")
        if mode not in (0, 3):
            raise Refused(10001, "params error: mode invalid")
        symbol, coin = text(body, "symbol"), text(body, "coin")
        if symbol:
            listings = [self._listings.find("linear", symbol)]
        else:
            listings = [each for each in self._listings.of("linear") if each.contract.settle_coin == coin]
        if not listings:
            raise Refused(10001, "params error: symbol or coin is required")
        self._advance(now_ns)
        refusals: list[Refusal] = []
        for listing in listings:
            refusal, told = self._model.switch_mode(client.name, listing.name, hedged=mode == 3, now_ns=now_ns)
            self._tellings.absorb(told, now_ns)
            if refusal is not None:
                refusals.append(refusal)
        if len(refusals) == len(listings):
            raise codes.refusal(refusals[0])
        return {}

    def set_stops(self, client: Client, body: Body, now_ns: int) -> dict[str, Any]:
        """Give a position exits, or take them away.

        Raises:
            Refused: there is no position, nothing changes, or a price lies on the wrong side.
        """
        listing = self._perpetual(body)
        wanted = read_stops(listing, body)
        self._advance(now_ns)
        refusal, told = self._model.set_stops(client.name, wanted, now_ns)
        self._tellings.absorb(told, now_ns)
        if refusal is not None:
            raise codes.refusal(refusal)
        return {}

    # Behind the curtain

    def _advance(self, now_ns: int) -> None:
        """Let happen what happens up to now, before something is asked of the model."""
        self._tellings.absorb(self._model.advance(now_ns), now_ns)

    def _perpetual(self, body: Body) -> Listing:
        kind = category(body)
        if kind != "linear":
            raise Refused(10001, "Illegal category")
        return self._listings.find(kind, needed(body, "symbol"))

    def _tell_positions(self, client: Client, listing: Listing, now_ns: int) -> None:
        for index in client.position_indices(listing):
            self._tellings.tell_position(client, (listing.name, index), now_ns)
