"""The state before a crash is the fold of the ledger: at every entry of every life."""

from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.core.checkpoint import capture, decode, encode, is_like, restore
from bot.core.effects import Effects
from bot.core.money_state import MoneyState
from bot.core.portfolio import Portfolio
from bot.core.protections import Ladder, ProtectionLimits, Protections, Window
from bot.core.restoring import Restorer
from bot.core.submission.journal import RequestJournal
from bot.domain.errors import InvariantBroken
from bot.domain.instrument import Instrument, Side
from bot.domain.ledger import FillBooked, LedgerEntry
from bot.domain.orders import AmendOpen, CancelOpen, OrderResurfaced, SetStops, SubmitOrder, Target
from tests.support.desk import DAY_NS, LIMITS, Desk
from tests.support.examples import examples
from tests.support.live_sim import LIMITS as SIM_LIMITS
from tests.support.live_sim import SimBot, Sizes
from tests.support.money import BTC, ETH, HOUR_NS, NAME, SECOND_NS, accepted, canceled, filled, funding_paid, rejected
from tests.support.toy_venue import Faults
from tests.support.venue_side import (
    adjusted,
    amend_rejected,
    amended,
    cut,
    exit_at,
    fee_paid,
    foreign,
    stops_changed,
    transferred,
)

PROTECTIONS = ProtectionLimits(
    drawdown=Ladder(reduce=Decimal("0.02"), halt=Decimal("0.04")),
    daily_loss=Ladder(reduce=Decimal("0.01"), halt=Decimal("0.03")),
    flatten_on_halt=True,
    cooldown_ns=60 * SECOND_NS,
    stop_guard=Window(count=2, span_ns=HOUR_NS, pause_ns=HOUR_NS),
    low_profit=Window(count=2, span_ns=HOUR_NS, pause_ns=HOUR_NS),
    repeated=Window(count=4, span_ns=HOUR_NS, pause_ns=HOUR_NS),
)


def fresh(instruments: dict[str, Instrument], limits: ProtectionLimits, sends_max: int) -> Restorer:
    """Return what folds entries into an empty state."""
    return Restorer(
        MoneyState(
            instruments=instruments,
            portfolio=Portfolio(instruments, "USDT"),
            protections=Protections(limits),
            sends_max=sends_max,
        )
    )


class Life:
    """A desk that lives by a list of numbers, and what it was like after every step."""

    def __init__(self, *, cash: str = "1000000") -> None:
        self.desk = Desk(protections=PROTECTIONS, cash=cash, is_restorable=True)
        self.sent: list[SubmitOrder] = []
        self.trades = 0

    def step(self, kind: int, which: int, size: int) -> None:
        """Do something: what it is depends on `kind`, to which order on `which`, how much on `size`."""
        desk = self.desk
        desk.now_ns += size * SECOND_NS * (3_600 if kind == 0 else 1)
        order = self.sent[which % len(self.sent)] if self.sent else None
        side = Side.BUY if which % 2 else Side.SELL
        match kind:
            case 0:
                desk.prices[NAME] = str(80 + (which * 7) % 40)
                self._keep(desk.observe())
            case 1:
                self._keep(desk.target(Decimal(which - 5) * 100))
            case 2:
                stop = exit_at("50") if which % 3 == 0 and side is Side.BUY else None
                self._keep(desk.place_if(side, str(size * 10), "100", stop_loss=stop))
            case 3 if order is not None:
                desk.event(accepted(order.client_order_id, at_ns=desk.now_ns))
            case 4 | 5 if order is not None:
                self._fill(order, size)
            case 6 if order is not None:
                self._keep(desk.wish(CancelOpen(instrument=NAME, client_order_id=order.client_order_id)))
            case 7 if order is not None:
                self._try(canceled(order.client_order_id, at_ns=desk.now_ns))
            case 8 if order is not None:
                qty = order.qty + size
                self._keep(desk.wish(AmendOpen(instrument=NAME, client_order_id=order.client_order_id, qty=qty)))
                answer = amended if which % 2 else amend_rejected
                more: dict[str, Any] = {"qty": qty, "limit": order.limit_price} if which % 2 else {}
                self._try(answer(order.client_order_id, at_ns=desk.now_ns, **more))
            case 9:
                self._keep(desk.wish(SetStops(instrument=NAME, stop_loss=exit_at(str(60 + which)))))
                desk.event(stops_changed(loss=str(60 + which), at_ns=desk.now_ns))
            case 10:
                self.trades += 1
                qty = str(size)
                self._keep(desk.event(cut(trade=self.trades, qty=qty, price="90", fee="0.1")))
            case 11:
                self.trades += 1
                self._keep(desk.event(foreign(trade=f"f{self.trades}", side=side, qty=str(size), fee="0.1")))
                self._keep(desk.event(transferred(str(size - 5), number=self.trades, at_ns=desk.now_ns)))
            case 12:
                self.trades += 1
                self._keep(desk.event(funding_paid("-0.5", number=self.trades)))
                desk.event(adjusted("0.2"))
                desk.event(fee_paid(f"f{which}", str(size), "MNT", at_ns=desk.now_ns))
            case 13 if order is not None:
                self._try(rejected(order.client_order_id, at_ns=desk.now_ns))
                if which % 2:
                    name = order.client_order_id
                    about = {"ts_event_ns": desk.now_ns, "ts_recv_ns": desk.now_ns, "instrument": NAME}
                    self._try(OrderResurfaced(**about, client_order_id=name, reason="it lives"))
            case 14:
                self._keep(desk.halt() if which % 3 == 0 else desk.resume())
            case 15:
                self._keep(desk.kill() if which % 2 else desk.re_arm())
            case _:
                pass

    def _fill(self, order: SubmitOrder, size: int) -> None:
        self.trades += 1
        name = order.client_order_id
        self._try(filled(name, trade=self.trades, qty=str(size), side=order.side, fee="0.1", at_ns=self.desk.now_ns))

    def _try(self, event: Any) -> None:
        with suppress(InvariantBroken):  # the venue would not have said so
            self._keep(self.desk.event(event))

    def _keep(self, effects: Effects) -> None:
        self.sent += [command for command in effects.send if isinstance(command, SubmitOrder)]


@settings(max_examples=examples(60), deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 11), st.integers(1, 9)), min_size=1, max_size=40))
def test_at_every_step_the_fold_is_the_state(steps: Sequence[tuple[int, int, int]]) -> None:
    life = Life()
    restorer = fresh({NAME: BTC, ETH.name: ETH}, PROTECTIONS, LIMITS.orders_per_second_max)
    done = 0
    for kind, which, size in steps:
        life.step(kind, which, size)
        entries = life.desk.record[done:]
        done = len(life.desk.record)
        restorer.add_all(entries)
        here = capture(life.desk.orders.state)
        assert is_like(capture(restorer.state), here), (kind, which, size)
    again = fresh({NAME: BTC, ETH.name: ETH}, PROTECTIONS, LIMITS.orders_per_second_max)
    restore(decode(encode(capture(restorer.state))), again.state, RequestJournal(0))
    assert capture(again.state) == capture(restorer.state)


@pytest.mark.parametrize("seed", range(3))
def test_a_bad_day_is_restored_whole(seed: int) -> None:
    """Requests in flight and doubts too, at many points of a life with crashes in it."""
    faults = Faults(lost=0.2, late=0.1, repeated=0.2, look_ups_fail=0.2, crash_every_ms=60_000)
    bot = SimBot(seed, faults, Sizes(intents=60))
    seen: list[int] = []

    def compare() -> None:
        entries = [*bot.durable, *bot.pending]
        if bot.is_dead:
            return
        seen.append(len(entries))
        restorer = fresh(bot.instruments, ProtectionLimits(), SIM_LIMITS.orders_per_second_max)
        restorer.add_all(entries)
        requests = RequestJournal(bot.terms.margin_ms)
        for entry in entries:
            requests.fold(entry)
        here = capture(bot.desk.orders.state, bot.desk.submissions.journal)
        assert is_like(capture(restorer.state, requests), here)
        again, journal = fresh(bot.instruments, ProtectionLimits(), SIM_LIMITS.orders_per_second_max), RequestJournal(0)
        restore(decode(encode(here)), again.state, journal)
        assert capture(again.state, journal) == here

    for second in range(1, 120, 4):
        bot.world.after(second * SECOND_NS, compare)
    assert bot.run().violations == []
    assert len(seen) > 15
    assert seen[-1] > 400


def test_a_ledger_that_contradicts_itself_is_refused() -> None:
    """What an entry says came out must come out."""
    life = Life()
    for step in ((2, 1, 3), (3, 0, 1), (4, 0, 2)):
        life.step(*step)
    entries: list[LedgerEntry] = list(life.desk.record)
    at = next(n for n, entry in enumerate(entries) if isinstance(entry, FillBooked))
    wrong = entries[at]
    assert isinstance(wrong, FillBooked)
    restorer = fresh({NAME: BTC, ETH.name: ETH}, PROTECTIONS, LIMITS.orders_per_second_max)
    restorer.add_all(entries[:at])
    with pytest.raises(InvariantBroken, match="books what its own history does not lead to"):
        restorer.add(replace(wrong, position_qty=Decimal(77)))


def test_a_target_is_reached_after_a_restart_as_before() -> None:
    """What is on its way counts: nothing is sent twice."""
    desk = Desk()
    desk.target("2")
    restored = Desk()
    restorer = Restorer(restored.orders.state)
    restorer.add_all(desk.record[1:])
    restored.now_ns = desk.now_ns + DAY_NS
    assert restored.wish(Target(instrument=NAME, qty=Decimal(2))).send == []
