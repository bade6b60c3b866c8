"""What stops trading when it goes wrong: ladders of drawdown and of the day's loss, pauses after bad or odd trading.

Fed with equity, executions and time; each protection pulls its own latch of `core.trading_state`. A check asks what
must hold for trading to go on, and a number that is none counts as the worst: a NaN stops trading, never the reckoning.
Times are ours, when we learned of it. What lies within a window still counts after a pause.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal, DecimalException
from typing import Any

import msgspec

from bot.core.trading_state import ACCOUNT, Cause, Latch, Signal, TradingState, TradingStates, Why
from bot.domain.account import ZERO
from bot.domain.instrument import Side
from bot.domain.ledger import TradingStateChanged
from bot.domain.orders import ForeignFilled, OrderFilled, PositionCut

_DAY_NS = 24 * 3_600_000_000_000


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be lost, as fractions of what it is measured from; 0: that rung is off."""

    reduce: Decimal = ZERO
    halt: Decimal = ZERO

    @property
    def is_on(self) -> bool:
        """Return whether there is a rung; one that is no number is on, and trips at once."""
        return not (_is_off(self.reduce) and _is_off(self.halt))


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """How many within how long, and how long the pause is; a count of 0: off, a pause of 0: until a person resumes."""

    count: int = 0
    span_ns: int = 0
    pause_ns: int = 0


class ProtectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the protections allow; as it stands, everything."""

    drawdown: Ladder = Ladder()  # of the highest equity so far
    daily_loss: Ladder = Ladder()  # of the equity at the UTC day's start
    flatten_on_halt: bool = False  # close every position when the account is halted
    cooldown_ns: int = 0  # after a round trip's end, per instrument
    stop_guard: Window = Window()  # so many losing round trips
    is_stop_guard_of_account: bool = False  # counted over all instruments, and pausing all
    low_profit: Window = Window()  # the last so many round trips of an instrument...
    low_profit_least: Decimal = ZERO  # ...must together have brought this, quote currency
    repeated: Window = Window()  # more executed orders of one instrument and side than so many


class Protections:
    """Watches one account, and holds what it may do.

    Args:
        limits: what is allowed.
    """

    def __init__(self, limits: ProtectionLimits) -> None:
        self._limits = limits
        self.states = TradingStates()
        self.watches_equity = limits.drawdown.is_on or limits.daily_loss.is_on
        self._watches_trips = bool(limits.cooldown_ns or limits.stop_guard.count or limits.low_profit.count)
        self._peak: Decimal | None = None
        self._day = -1
        self._day_start: Decimal | None = None  # equity
        self._calm: tuple[Decimal, Decimal, Decimal] | None = None  # above which equity no rung is, of which bases
        self._net: dict[str, Decimal] = defaultdict(Decimal)  # of the open round trip
        self._losses_ns: dict[str, deque[int]] = defaultdict(deque)  # by scope
        self._trips: dict[str, deque[tuple[int, Decimal]]] = defaultdict(deque)
        self._executions_ns: dict[tuple[str, Side], deque[int]] = defaultdict(deque)

    @property
    def wants_flat(self) -> bool:
        """Return whether every position is to be closed, whatever the strategy wants."""
        return self._limits.flatten_on_halt and self.states.state(ACCOUNT) is TradingState.HALTED

    def hold(self, instrument: str) -> Latch | None:
        """Return the latch in force for an instrument's orders, None where all is open."""
        return self.states.hold(instrument)

    def deposit(self, amount: Decimal, now_ns: int) -> None:
        """Move what losses are measured from: cash from outside is no profit, and cash taken out no loss."""
        if self._day < 0:
            self._day = now_ns // _DAY_NS
            self._peak = self._day_start = ZERO
        if self._peak is not None:
            self._peak += amount
        if self._day_start is not None:
            self._day_start += amount

    def see_equity(self, equity: Decimal | None, now_ns: int) -> list[TradingStateChanged]:
        """Climb the ladders at `equity`, None where it is not known; return what is news.

        A new UTC day begins at the first look in it.
        """
        changed = self.states.pass_time(now_ns)
        if now_ns // _DAY_NS > self._day:
            self._day = now_ns // _DAY_NS
            self._day_start = None
            changed += self.states.release(Signal.DAY_BEGAN, Why(detail="a new UTC day"), now_ns)
        if equity is None or not self.watches_equity:
            return changed
        if equity.is_finite():
            if self._peak is None or equity > self._peak:
                self._peak = equity
            if self._day_start is None:
                self._day_start = equity
            if equity > self._calm_above(self._peak, self._day_start):
                return changed
        changed += self._climb(Cause.DRAWDOWN, self._limits.drawdown, equity, self._peak, now_ns)
        return changed + self._climb(Cause.DAILY_LOSS, self._limits.daily_loss, equity, self._day_start, now_ns)

    def see_fill(
        self,
        fill: OrderFilled | PositionCut | ForeignFilled,
        *,
        realized_pnl: Decimal,
        qty_before: Decimal,
        is_first: bool,
        now_ns: int,
    ) -> list[TradingStateChanged]:
        """Count an execution; return what is news.

        Args:
            realized_pnl: of this fill, before fees.
            qty_before: the position before it, signed.
            is_first: it is its order's first: an order that fills in parts is one execution, and the venue's own are
                none that a runaway strategy could have sent.
        """
        changed = self.states.pass_time(now_ns)
        if is_first and self._limits.repeated.count:
            changed += self._count_execution(fill.instrument, fill.side, now_ns)
        if not self._watches_trips:
            return changed
        closing = min(fill.qty, abs(qty_before)) if qty_before * fill.side.sign < 0 else ZERO
        closing_fee = fill.fee if closing == fill.qty else fill.fee * closing / fill.qty
        if closing:
            self._net[fill.instrument] += realized_pnl - closing_fee
        if closing and closing == abs(qty_before):
            changed += self._end_trip(fill.instrument, self._net.pop(fill.instrument), now_ns)
        if closing < fill.qty:  # it opened, added to, or turned over a position
            self._net[fill.instrument] -= fill.fee - closing_fee
        return changed

    def see_funding(self, instrument: str, amount: Decimal) -> None:
        """Count a settlement towards the open round trip; one that comes after the trip's end counts for none."""
        if instrument in self._net:
            self._net[instrument] += amount

    def halt(
        self, why: str, now_ns: int, *, scope: str = ACCOUNT, cause: Cause = Cause.PERSON
    ) -> list[TradingStateChanged]:
        """Halt because a person says so, or a cause that a person must look into."""
        return self.states.move(scope, cause, Signal.HALT, Why(detail=why), now_ns)

    def reduce(self, why: str, now_ns: int, *, cause: Cause) -> list[TradingStateChanged]:
        """Let only exits pass because of a cause that a person must look into."""
        return self.states.move(ACCOUNT, cause, Signal.REDUCE, Why(detail=why), now_ns)

    def re_arm(self, why: str, now_ns: int) -> list[TradingStateChanged]:
        """Open the kill switch's latch because a person at the host says so."""
        return self.states.release(Signal.RE_ARMED, Why(detail=why), now_ns)

    def resume(self, why: str, now_ns: int) -> list[TradingStateChanged]:
        """Open every latch because a person says so; losses are measured from the next equity on."""
        self._peak = self._day_start = None
        return self.states.release(Signal.RESUMED, Why(detail=why), now_ns)

    @property
    def loss_base(self) -> tuple[int, Decimal | None, Decimal | None]:
        """Return what losses are measured from: the UTC day, the highest equity, the equity at the day's start."""
        return self._day, self._peak, self._day_start

    def restore_loss_base(self, day: int, peak: Decimal | None, day_start: Decimal | None) -> None:
        """Measure losses from what a ledger's entry says."""
        self._day, self._peak, self._day_start = day, peak, day_start

    def counted(self) -> dict[str, Any]:
        """Return what the windows hold, by the names of `restore_counted`; empty ones left out."""
        executions = sorted(self._executions_ns.items())
        return {
            "net": dict(self._net),
            "losses_ns": {scope: list(times) for scope, times in self._losses_ns.items() if times},
            "trips": {name: list(trips) for name, trips in self._trips.items() if trips},
            "executions_ns": [(name, side, list(times)) for (name, side), times in executions if times],
        }

    def restore_counted(
        self,
        net: Mapping[str, Decimal],
        losses_ns: Mapping[str, list[int]],
        trips: Mapping[str, list[tuple[int, Decimal]]],
        executions_ns: Iterable[tuple[str, Side, list[int]]],
    ) -> None:
        """Go on counting from what the windows held."""
        self._net.update(net)
        self._losses_ns.update({scope: deque(times) for scope, times in losses_ns.items()})
        self._trips.update({name: deque(each) for name, each in trips.items()})
        self._executions_ns.update({(name, side): deque(times) for name, side, times in executions_ns})

    @contextmanager
    def recounting(self) -> Iterator[None]:
        """Count what a ledger tells without moving a latch: what became of the latches, it tells too."""
        held, self.states = self.states, TradingStates()
        try:
            yield
        finally:
            self.states = held

    def _climb(
        self, cause: Cause, ladder: Ladder, equity: Decimal, base: Decimal | None, now_ns: int
    ) -> list[TradingStateChanged]:
        if not ladder.is_on:
            return []
        name = "the highest equity" if cause is Cause.DRAWDOWN else "the equity at the day's start"
        for signal, rung in ((Signal.HALT, ladder.halt), (Signal.REDUCE, ladder.reduce)):
            if _is_off(rung) or _is_above(equity, base, rung):
                continue
            floor = None if base is None or not rung.is_finite() else base * (1 - rung)
            value = equity if equity.is_finite() else None
            detail = f"equity {equity} is not above {name}, {base}, less a fraction of {rung}"
            why = Why(detail=detail, value=value, threshold=floor)
            return self.states.move(ACCOUNT, cause, signal, why, now_ns)
        return []

    def _calm_above(self, peak: Decimal, day_start: Decimal) -> Decimal:
        """Return the equity above which no rung of either ladder is reached; infinite where a number is none."""
        calm = self._calm
        if calm is None or calm[0] is not peak or calm[1] is not day_start:
            rungs = _first_rung(self._limits.drawdown, peak), _first_rung(self._limits.daily_loss, day_start)
            calm = self._calm = peak, day_start, max(rungs)
        return calm[2]

    def _count_execution(self, instrument: str, side: Side, now_ns: int) -> list[TradingStateChanged]:
        limit = self._limits.repeated
        times_ns = self._executions_ns[instrument, side]
        times_ns.append(now_ns)
        _forget(times_ns, now_ns - limit.span_ns)
        if len(times_ns) <= limit.count:
            return []
        detail = f"{len(times_ns)} executed {side.value} orders within {limit.span_ns / 1e9:g} s, at most {limit.count}"
        return self._pause(instrument, Cause.REPEATED, limit.pause_ns, detail, now_ns)

    def _end_trip(self, instrument: str, net: Decimal, now_ns: int) -> list[TradingStateChanged]:
        limits = self._limits
        changed = []
        if limits.stop_guard.count and not (net.is_finite() and net >= 0):
            changed += self._count_loss(ACCOUNT if limits.is_stop_guard_of_account else instrument, now_ns)
        if limits.low_profit.count:
            changed += self._count_profit(instrument, net, now_ns)
        if limits.cooldown_ns:
            detail = f"a round trip ended; no entry for {limits.cooldown_ns / 1e9:g} s"
            changed += self._pause(instrument, Cause.COOLDOWN, limits.cooldown_ns, detail, now_ns)
        return changed

    def _count_loss(self, scope: str, now_ns: int) -> list[TradingStateChanged]:
        limit = self._limits.stop_guard
        times_ns = self._losses_ns[scope]
        times_ns.append(now_ns)
        _forget(times_ns, now_ns - limit.span_ns)
        if len(times_ns) < limit.count:
            return []
        detail = f"{len(times_ns)} losing round trips within {limit.span_ns / 1e9:g} s"
        return self._pause(scope, Cause.STOP_GUARD, limit.pause_ns, detail, now_ns)

    def _count_profit(self, instrument: str, net: Decimal, now_ns: int) -> list[TradingStateChanged]:
        limit, least = self._limits.low_profit, self._limits.low_profit_least
        trips = self._trips[instrument]
        trips.append((now_ns, net))
        while len(trips) > limit.count or trips[0][0] <= now_ns - limit.span_ns:
            trips.popleft()
        if len(trips) < limit.count:
            return []
        total = sum((brought for _, brought in trips), ZERO)
        if total.is_finite() and least.is_finite() and total >= least:
            return []
        detail = f"the last {limit.count} round trips brought {total}, less than {least}"
        why = Why(detail=detail, value=total, threshold=least)
        return self._pause(instrument, Cause.LOW_PROFIT, limit.pause_ns, why, now_ns)

    def _pause(self, scope: str, cause: Cause, pause_ns: int, why: Why | str, now_ns: int) -> list[TradingStateChanged]:
        until_ns = now_ns + pause_ns if pause_ns else None
        if isinstance(why, str):
            why = Why(detail=why)
        why = msgspec.structs.replace(why, until_ns=until_ns)
        return self.states.move(scope, cause, Signal.REDUCE, why, now_ns)


def _is_off(rung: Decimal) -> bool:
    return rung.is_finite() and rung == 0


def _first_rung(ladder: Ladder, base: Decimal) -> Decimal:
    rungs = [rung for rung in (ladder.reduce, ladder.halt) if not _is_off(rung)]
    if not all(number.is_finite() for number in (base, *rungs)):
        return Decimal("Infinity")
    try:
        return max((base * (1 - rung) for rung in rungs), default=Decimal("-Infinity"))
    except DecimalException:
        return Decimal("Infinity")


def _is_above(equity: Decimal, base: Decimal | None, rung: Decimal) -> bool:
    """Return whether less than `rung` of `base` is lost; no where any of them is no number."""
    if base is None or not (equity.is_finite() and base.is_finite() and rung.is_finite()):
        return False
    try:
        return equity > base * (1 - rung)
    except DecimalException:
        return False


def _forget(times_ns: deque[int], until_ns: int) -> None:
    while times_ns and times_ns[0] <= until_ns:
        times_ns.popleft()
