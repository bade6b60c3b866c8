"""What the venue model keeps in order tells the same as a look at every order would."""

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.tape import FAR, Trail
from bot.core.venue.book_tape import BookTape
from bot.core.venue.books import AccountOrders, RestingOrders, WaitingOrders
from bot.core.venue.facts import VenueOrder
from bot.core.venue.market import Live, Market
from bot.core.venue.orders import Kind, NewOrder, PriceSource, Trigger, open_record
from bot.core.venue.queue import QueuePosition, RiskAverse
from bot.domain.instrument import Side
from tests.support.batches import INSTRUMENT
from tests.support.book_reference import Message, delta, deltas_of, snapshot
from tests.support.examples import examples
from tests.support.venue_accounts import linear

PRICES = range(95, 106)
SOURCES = (PriceSource.LAST, PriceSource.MARK, PriceSource.INDEX)


def order(number: int, side: Side = Side.BUY, ticks: int = 0, trigger: Trigger | None = None) -> Live:
    """Return an order of one step."""
    qty = INSTRUMENT.qty_step
    request = NewOrder(instrument=INSTRUMENT.name, side=side, kind=Kind.LIMIT, qty=qty, trigger=trigger)
    live = Live("ours", number, request, open_record(f"o{number}", request, 0))
    live.ticks = ticks
    return live


# --- triggers ---------------------------------------------------------------------------------------------------------


def nearest_by_looking(waiting: WaitingOrders, source: PriceSource) -> tuple[int, int]:
    """Return the highest fall and the lowest rise that an order waits for."""
    falls, rises = -FAR, FAR
    for live in waiting.values():
        trigger = live.record.trigger
        assert trigger is not None
        if live.trail is not None or trigger.source is not source:
            continue
        if trigger.is_rise:
            rises = min(rises, live.trigger_ticks)
        else:
            falls = max(falls, live.trigger_ticks)
    return falls, rises


WAITING_STEP = st.tuples(
    st.sampled_from(("wait", "wait", "trail", "delete", "pop")),
    st.integers(0, 7),
    st.sampled_from(SOURCES),
    st.booleans(),
    st.sampled_from(PRICES),
)


@settings(max_examples=examples(60), deadline=None)
@given(steps=st.lists(WAITING_STEP, max_size=120))
def test_the_nearest_triggers_are_those_of_all_that_wait(steps: list[Any]) -> None:
    """However orders come, change what they wait for, begin to trail and leave."""
    waiting = WaitingOrders()
    for what, number, source, is_rise, ticks in steps:
        trigger = Trigger(price=INSTRUMENT.price(ticks), is_rise=is_rise, source=source)
        live = order(number, trigger=trigger)
        live.trigger_ticks = ticks
        if what == "wait":
            waiting[live.order_id] = live
        elif what == "trail":
            live.trail = Trail(1, 2, ticks)
            waiting[live.order_id] = live
        elif what == "pop":
            was_there = live.order_id in waiting
            assert (waiting.pop(live.order_id) is not None) == was_there
        elif live.order_id in waiting:
            del waiting[live.order_id]
        for each in SOURCES:
            assert waiting.nearest().get(each, (-FAR, FAR)) == nearest_by_looking(waiting, each)
        trailing = [each for each in waiting.values() if each.trail is not None]
        assert sorted(each.number for each in waiting.following.values()) == sorted(each.number for each in trailing)


def test_orders_that_move_for_ever_take_no_more_room() -> None:
    """Their old prices are swept out, and the best of a side stays the best."""
    resting, held = RestingOrders(), AccountOrders()
    for turn in range(5_000):
        for number in (1, 2):
            name = f"o{number}"
            price = 1_000 - (7 * turn + number) % 900
            resting.pop(name)
            resting[name] = order(number, Side.BUY, price)
            held[name] = VenueOrder(
                order_id=name, instrument="X", side=Side.BUY, qty=Decimal(1), price=Decimal(price), reduce_only=False
            )
        best = max(live.ticks for live in resting.values())
        assert resting.best(Side.BUY) == best
        assert [total[3] for total in held.totals()] == [best]
    assert len(resting._prices[Side.BUY]) < 200
    assert len(held._prices["X", Side.BUY]) < 200


# --- levels -----------------------------------------------------------------------------------------------------------


@st.composite
def messages(draw: st.DrawFn) -> list[Message]:
    """Return a book's beginning and what becomes of it; now and then several messages of one time."""
    told = [snapshot(10, 1, bids=[(99, 5), (98, 7)], asks=[(101, 4), (103, 6)])]
    ts_ns = 10
    for number in range(draw(st.integers(1, 16))):
        ts_ns += draw(st.integers(0, 3))
        ticks, qty = draw(st.sampled_from(PRICES)), draw(st.integers(0, 9))
        side = {"bids": [(ticks, qty)]} if ticks < 100 else {"asks": [(ticks, qty)]}
        told.append(delta(ts_ns, number + 2, **side))
    return told


@settings(max_examples=25, deadline=None)
@given(told=messages(), asked=st.data())
def test_levels_change_when_the_book_says_so(told: list[Message], asked: st.DataObject) -> None:
    """However orders come and go, and in whatever pieces the book is told: each queue sees all changes of its level."""
    tape = BookTape(INSTRUMENT)
    market = Market(linear(INSTRUMENT.name), is_bars=False, book=tape)
    changes = market.changes
    assert changes is not None
    batch, row = deltas_of(told), 0
    joined: dict[str, tuple[Live, int]] = {}  # and from which row on
    seen: dict[str, list[int | None]] = {}

    class Place(QueuePosition):
        """A place that notes what it is told."""

        def __init__(self, name: str) -> None:
            super().__init__(RiskAverse(), qty_steps=1, level_steps=None)
            self._name = name

        def level_changed(self, level_steps: int | None) -> None:
            seen[self._name].append(level_steps)

    def expected(live: Live, since: int, until_ns: int) -> list[int | None]:
        found, at = [], since
        while (change := whole.next_change(at, "bid" if live.side is Side.BUY else "ask", live.ticks)) is not None:
            if change.ts_ns > until_ns:
                break
            found.append(change.qty_steps)
            at = change.row + 1
        return found

    whole = BookTape(INSTRUMENT)
    whole.extend(batch, now_ns=0)
    number = 0
    for now_ns in range(10, told[-1].ts_ns + 2):
        while row < len(batch) and (batch.ts_ns[row] <= now_ns or asked.draw(st.booleans(), label="read ahead")):
            stop = row + 1
            while stop < len(batch) and not batch.is_last[stop - 1]:
                stop += 1
            tape.extend(batch.rows(row, stop), now_ns=now_ns)
            row = stop
        changes.happen(now_ns)
        for name, (live, since) in joined.items():
            assert seen[name] == expected(live, since, now_ns)
        tape.advance(now_ns + 1)
        if asked.draw(st.booleans(), label="an order comes"):
            number += 1
            ticks = asked.draw(st.sampled_from(PRICES))
            live = order(number, Side.BUY if ticks < 100 else Side.SELL, ticks)
            live.place = Place(live.order_id)
            seen[live.order_id] = []
            market.resting[live.order_id] = live
            changes.join(live, tape.row)
            joined[live.order_id] = live, tape.row
        if joined and asked.draw(st.integers(0, 3), label="one leaves") == 0:
            name = asked.draw(st.sampled_from(sorted(joined)))
            market.drop(joined.pop(name)[0])
