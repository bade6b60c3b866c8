"""Several strategies on one account: whose of a position, of an order and of a fill is what.

Each strategy has a book of its own: positions and what they brought. What it wishes to hold is a target for its own
book; what the account goes for is the sum. Opposite wishes meet here first, at the last price and without a fee, as far
as no order is under way for them; only the rest goes to the venue, in one order that belongs to those who wish for it,
in the proportion of what each still lacks. An execution is shared out by what each has left in its order; one of no
order of ours by who holds the position that it cut; what somebody else traded belongs to a book of its own, `OUTSIDE`.
So the books always add up to the account. docs/decisions/0011-strategies-share-an-account.md argues the rule.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from msgspec.structs import replace

from bot.core.order import Order
from bot.core.portfolio import apply_fill
from bot.domain.account import ZERO, Position
from bot.domain.instrument import Instrument, Side
from bot.domain.ledger import BookMoved, OrderShared
from bot.domain.orders import ForeignFilled, FundingPaid, OrderFilled, PositionCut

OUTSIDE = "outside"
"""The book of what no strategy did."""
NET = "net"
"""Who sends the orders that several strategies share."""
_QUANTUM = Decimal("1e-12")  # quote currency: shares of money are rounded to it, and the last one takes the rest

Shares = dict[str, Decimal]


class StrategyBooks:
    """Books of strategies that trade one account.

    Args:
        strategies: their names, in the order in which what cannot be divided is handed out.
        instruments: what is traded, by name.
    """

    def __init__(self, strategies: Sequence[str], instruments: Mapping[str, Instrument]) -> None:
        self.strategies = tuple(strategies)
        self._instruments = instruments
        self.books = {
            name: {each: Position(instrument=each) for each in instruments} for name in (*strategies, OUTSIDE)
        }
        self.wishes: dict[str, Shares] = {name: {} for name in instruments}  # by instrument and strategy
        self.shares: dict[str, Shares] = {}  # by order, what of it each strategy has left

    # --- wishes -----------------------------------------------------------------------------------------------------

    def lacking(self, instrument: str) -> Shares:
        """Return what each strategy lacks of its wish, signed; one without a wish lacks nothing."""
        wishes = self.wishes[instrument]
        return {name: wishes[name] - self.books[name][instrument].qty for name in self.strategies if name in wishes}

    def target(self, instrument: str) -> Decimal:
        """Return what the account is to hold: what is held, and what is lacking."""
        held = sum((book[instrument].qty for book in self.books.values()), ZERO)
        return held + sum(self.lacking(instrument).values(), ZERO)

    def wish(self, strategy: str, instrument: str, qty: Decimal) -> None:
        """Take a strategy's target for its own book, in whole steps from what it holds."""
        missing = self._instruments[instrument].round_qty(qty - self.books[strategy][instrument].qty)
        self.want_no_more(instrument, strategy)
        if missing:
            self.wishes[instrument][strategy] = self.books[strategy][instrument].qty + missing

    def want_no_more(self, instrument: str, strategy: str | None = None) -> None:
        """Forget the wish of a strategy, or of all."""
        if strategy is None:
            self.wishes[instrument].clear()
        else:
            self.wishes[instrument].pop(strategy, None)

    # --- orders -----------------------------------------------------------------------------------------------------

    def free(self, instrument: str, side: Side, live: Iterable[Order]) -> Shares:
        """Return what each strategy lacks on a side and no live order is under way for."""
        under_way: Shares = {}
        for order in live:
            if order.request.side is side:
                for name, qty in self.shares.get(order.request.client_order_id, {}).items():
                    under_way[name] = under_way.get(name, ZERO) + qty
        lacking = {name: qty * side.sign - under_way.get(name, ZERO) for name, qty in self.lacking(instrument).items()}
        return {name: qty for name, qty in lacking.items() if qty > 0}

    def share(self, order: Order, live: Iterable[Order], now_ns: int) -> OrderShared:
        """Say whose the rest of an order is, by what each lacks and what each holds against it; return the entry."""
        request, qty = order.request, order.remaining_qty
        others = [each for each in live if each.request.client_order_id != request.client_order_id]
        shares = self._divide(request.instrument, qty, self.free(request.instrument, request.side, others))
        rest = qty - sum(shares.values(), ZERO)
        if rest:  # it closes because a rule says so
            held = self._held(request.instrument, request.side)
            for name, part in self._divide(request.instrument, rest, held).items():
                shares[name] = shares.get(name, ZERO) + part
        entry = OrderShared(ts_ns=now_ns, client_order_id=request.client_order_id, shares=tuple(shares.items()))
        self.follow(entry)
        return entry

    def follow(self, entry: OrderShared) -> None:
        """Take note of whose an order is."""
        self.shares[entry.client_order_id] = dict(entry.shares)

    # --- what moves books -------------------------------------------------------------------------------------------

    def cross(
        self, instrument: str, price: Decimal, live: Iterable[Order], number: int, now_ns: int
    ) -> list[BookMoved]:
        """Let opposite wishes meet at a price, as far as no order is under way for them; return the entries."""
        live, cross_id = tuple(live), f"cross-{number}"
        buys, sells = self.free(instrument, Side.BUY, live), self.free(instrument, Side.SELL, live)
        qty = min(sum(buys.values(), ZERO), sum(sells.values(), ZERO))
        moves: list[BookMoved] = []
        if qty > 0:
            for side, free in ((Side.BUY, buys), (Side.SELL, sells)):
                for name, part in self._divide(instrument, qty, free).items():
                    moves.append(
                        self._move(name, instrument, "cross", cross_id, now_ns, side=side, qty=part, price=price)
                    )
        return moves

    def fill(self, fill: OrderFilled, owner: str, now_ns: int) -> list[BookMoved]:
        """Share out an execution of an order of ours; what one strategy has placed by itself is its own."""
        if owner in self.strategies:
            return self._execute("fill", fill, {owner: fill.qty}, now_ns)
        left = self.shares.setdefault(fill.client_order_id, {})
        parts = self._divide(fill.instrument, fill.qty, {name: qty for name, qty in left.items() if qty > 0})
        rest = fill.qty - sum(parts.values(), ZERO)
        if rest:  # more than was asked for: a raise that was told late
            owner = next(iter(left), OUTSIDE)
            parts[owner] = parts.get(owner, ZERO) + rest
        for name, part in parts.items():
            left[name] = left.get(name, ZERO) - part
        return self._execute("fill", fill, parts, now_ns)

    def cut(self, cut: PositionCut, now_ns: int) -> list[BookMoved]:
        """Share out an execution of the venue's own: it takes from those who hold what it cut."""
        parts = self._divide(cut.instrument, cut.qty, self._held(cut.instrument, cut.side))
        rest = cut.qty - sum(parts.values(), ZERO)
        if rest:
            parts[OUTSIDE] = parts.get(OUTSIDE, ZERO) + rest
        self.want_no_more(cut.instrument)
        return self._execute("cut", cut, parts, now_ns)

    def foreign(self, fill: ForeignFilled, now_ns: int) -> list[BookMoved]:
        """Book what somebody else traded."""
        self.want_no_more(fill.instrument)
        return self._execute("foreign", fill, {OUTSIDE: fill.qty}, now_ns)

    def funding(self, paid: FundingPaid, now_ns: int) -> list[BookMoved]:
        """Share out a settlement by what each holds: a short is paid what a long pays."""
        held = {name: book[paid.instrument].qty for name, book in self.books.items() if book[paid.instrument].qty}
        parts = _portion(paid.amount, held) if sum(held.values(), ZERO) else {OUTSIDE: paid.amount}
        return [
            self._move(name, paid.instrument, "funding", paid.funding_id, now_ns, amount=part)
            for name, part in parts.items()
        ]

    def restore(self, entry: BookMoved) -> None:
        """Move a book as an entry says, which says what came out, too."""
        self._apply(entry)
        left = self.shares.get(entry.client_order_id)
        if left is not None and entry.qty is not None:
            left[entry.strategy] = left.get(entry.strategy, ZERO) - entry.qty

    # --- parts ------------------------------------------------------------------------------------------------------

    def _held(self, instrument: str, side: Side) -> Shares:
        """Return what each holds that an execution of this side takes away."""
        held = {name: -book[instrument].qty * side.sign for name, book in self.books.items()}
        return {name: qty for name, qty in held.items() if qty > 0}

    def _execute(
        self, cause: str, made: OrderFilled | PositionCut | ForeignFilled, parts: Shares, now_ns: int
    ) -> list[BookMoved]:
        fees = _portion(made.fee, parts)
        name = made.client_order_id if isinstance(made, OrderFilled) else ""
        return [
            self._move(
                each,
                made.instrument,
                cause,
                made.trade_id,
                now_ns,
                side=made.side,
                qty=qty,
                price=made.price,
                fee=fees[each],
                client_order_id=name,
            )
            for each, qty in parts.items()
        ]

    def _move(
        self, strategy: str, instrument: str, cause: str, event_id: str, now_ns: int, **what: object
    ) -> BookMoved:
        move = BookMoved(  # what it comes to is filled in below
            ts_ns=now_ns,
            strategy=strategy,
            instrument=instrument,
            cause=cause,
            event_id=event_id,
            position_qty=ZERO,
            realized_pnl=ZERO,
            **what,  # type: ignore[arg-type]
        )
        before = self.books[strategy][instrument]
        after = self._apply(move)
        return replace(move, position_qty=after.qty, realized_pnl=after.realized_pnl - before.realized_pnl)

    def _apply(self, move: BookMoved) -> Position:
        book = self.books.setdefault(move.strategy, {each: Position(instrument=each) for each in self._instruments})
        before = book[move.instrument]
        if move.side is None or move.qty is None or move.price is None:
            after = replace(before, funding=before.funding + move.amount)
        else:
            after = apply_fill(before, side=move.side, price=move.price, qty=move.qty, fee=move.fee)
        book[move.instrument] = after
        wishes = self.wishes[move.instrument]
        if wishes.get(move.strategy) == after.qty:
            del wishes[move.strategy]  # it is reached, and stands no longer
        return after

    def strangers(self, positions: Mapping[str, Position]) -> list[str]:
        """Return what is held that is in nobody's book, or in the book of a strategy that is not there, in words."""
        found = []
        for name, book in self.books.items():
            if name not in (*self.strategies, OUTSIDE):
                found += [f"{name} holds {each.qty:f} {each.instrument}" for each in book.values() if each.qty]
        for instrument, position in positions.items():
            rest = position.qty - sum((book[instrument].qty for book in self.books.values()), ZERO)
            if rest:
                found.append(f"{rest:f} {instrument} is in no book")
        return found

    def _divide(self, instrument: str, qty: Decimal, weights: Shares) -> Shares:
        """Return a quantity in whole steps by weights, none above its own; what steps leave goes in order."""
        total = sum(weights.values(), ZERO)
        if total <= 0:
            return {}
        known = self._instruments[instrument]
        whole = min(qty, total)
        parts = {name: min(known.round_qty(whole * weight / total), weight) for name, weight in weights.items()}
        rest = whole - sum(parts.values(), ZERO)
        for name in sorted(weights, key=self._rank):
            more = min(rest, weights[name] - parts[name])
            if more > 0:
                parts[name] += more
                rest -= more
        return {name: part for name, part in parts.items() if part > 0}

    def _rank(self, name: str) -> int:
        return self.strategies.index(name) if name in self.strategies else len(self.strategies)


def _portion(amount: Decimal, weights: Mapping[str, Decimal]) -> Shares:
    """Return an amount of money by weights, to the quantum; the last takes what that leaves."""
    total = sum(weights.values(), ZERO)
    names = list(weights)
    parts = {name: (amount * weights[name] / total).quantize(_QUANTUM) for name in names[:-1]}
    parts[names[-1]] = amount - sum(parts.values(), ZERO)
    return parts
