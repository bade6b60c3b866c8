"""What the parts of the venue model share: its markets, its accounts, what it assumes, and what it has told."""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from bot.core.venue.account import VenueAccount
from bot.core.venue.facts import CancelType, Refusal, VenueOrder
from bot.core.venue.market import FillModel, Live, Market
from bot.core.venue.orders import OrderChanged, PriceSource, RejectReason, Status, Told
from bot.core.venue.queue import Through, Touch
from bot.core.venue.screening import Screen
from bot.domain.instrument import Side


class Floor:
    """The trading floor.

    Args:
        markets: by instrument.
        accounts: by name.
        model: what is assumed where the data does not tell.
        name_order: makes an order's id of its number.
    """

    def __init__(
        self,
        markets: Mapping[str, Market],
        accounts: Mapping[str, VenueAccount],
        model: FillModel,
        name_order: Callable[[int], str],
    ) -> None:
        self.markets = markets
        self.accounts = accounts
        self.model = model
        self.is_touch = isinstance(model.queue, Touch)
        self.is_queued = not isinstance(model.queue, Touch | Through)
        self.told: list[Told] = []
        self.unchecked: dict[str, None] = {}  # accounts that must be looked at, in order
        self.screens: dict[str, Screen] = {}
        self._name_order = name_order
        self._orders = 0

    def drain(self) -> list[Told]:
        """Return what has happened since the last call."""
        told, self.told = self.told, []
        return told

    def new_id(self) -> tuple[str, int]:
        """Return a new order's id and number."""
        self._orders += 1
        return self._name_order(self._orders), self._orders

    def tell(self, live: Live, ts_ns: int) -> None:
        """Tell of an order as it now is."""
        self.told.append(Told(live.account, OrderChanged(ts_ns=ts_ns, order=live.record)))

    def end(
        self,
        market: Market,
        live: Live,
        ts_ns: int,
        *,
        status: Status = Status.CANCELLED,
        cancel: CancelType | None = None,
        reason: RejectReason = RejectReason.NONE,
        smp_order_id: str = "",
    ) -> None:
        """Let an order leave without filling any further."""
        record = live.record
        if market.contract.kind == "spot" and status is Status.CANCELLED:
            if record.filled_qty:
                status = Status.PARTIALLY_FILLED_CANCELED
            elif record.status is Status.UNTRIGGERED:
                status = Status.DEACTIVATED
        market.drop(live)
        self.accounts[live.account].cancel(live.order_id)
        live.record = replace(
            record,
            status=status,
            cancel_type=cancel,
            reject_reason=reason,
            smp_order_id=smp_order_id,
            updated_ns=ts_ns,
        )
        live.open_steps = 0
        self.tell(live, ts_ns)

    def revalue(self, account: VenueAccount, ts_ns: int, market: Market | None = None) -> Refusal | None:
        """Set the marks of what the account holds, and of `market`, to those of `ts_ns`."""
        names = {key[0] for key in account.state.held()}
        if market is not None and market.contract.kind == "linear":
            names.add(market.instrument.name)
        for name in names:
            other = self.markets[name]
            ticks = other.price_at(PriceSource.MARK, ts_ns)
            if ticks is not None:
                account.set_mark(name, other.instrument.price(ticks))
            elif name not in account.state.marks:
                return Refusal(code="110118", reason=f"{name} has no price yet")
        return None

    def has_book(self, market: Market, ts_ns: int) -> bool:
        """Bring the book to `ts_ns` and return whether it may be walked."""
        if market.book is None:
            return False
        market.book.advance(ts_ns)
        return market.book.is_trusted

    def touch_price(self, market: Market, side: Side, ts_ns: int) -> int | None:
        """Return the price at which a taker of `side` begins: the book's best, else the last price."""
        if self.has_book(market, ts_ns):
            assert market.book is not None
            best = market.book.best_ask() if side is Side.BUY else market.book.best_bid()
            if best is not None:
                return best
        return market.price_at(PriceSource.LAST, ts_ns)

    def find(self, market: Market, order_id: str) -> Live | None:
        return market.resting.get(order_id) or market.taking.get(order_id) or market.waiting.get(order_id)

    def touch(self, account: str) -> None:
        """Note that an account's balances or positions have changed."""
        self.unchecked[account] = None
        self.screens.pop(account, None)

    def affords(self, account: str, order: VenueOrder) -> bool:
        """Return whether an account at the present marks can surely bear an order: see `Screen.affords`."""
        state = self.accounts[account].state
        screen = self.screens.get(account)
        if screen is None or not screen.affords(state, order):
            screen = self.screens[account] = Screen(state)
            self.unchecked[account] = None
            return screen.affords(state, order)
        return True

    def lean(self, account: str) -> None:
        """Note that an account has taken on an order: its edges may be too far now."""
        screen = self.screens.get(account)
        if screen is None or not screen.holds(self.accounts[account].state):
            self.unchecked[account] = None
