"""The last judgement of a life at the toy venue: the venue's orders and the durable entries, and nothing the desk says.

What it reads of the desk is what the desk would act upon: its open orders, its positions, what it thinks is under way.
"""

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from bot.core.submission.missing import MISSING
from bot.domain.ledger import DoubtResolved, FillBooked, OrderReported
from bot.domain.orders import OrderCanceled
from bot.domain.venue_records import OrderState
from bot.store.request_audit import check_requests

if TYPE_CHECKING:
    from tests.support.live_sim import SimBot


def judge(bot: "SimBot") -> None:
    """Hold the desk against the venue once all has healed; what differs is added to the verdict's violations."""
    venue, verdict, state = bot.venue, bot.verdict, bot.desk.orders.state
    verdict.admitted = len(venue.orders)
    by_intent: dict[str, list[str]] = defaultdict(list)
    for name, made in venue.orders.items():
        if venue.has_forgotten(made):
            continue  # canceled unfilled, and forgotten sooner than any fence: it is taken for never accepted
        by_intent[bot.intent_of.get(name, name)].append(name)
    for intent, names in by_intent.items():
        if len(names) > 1:
            bot.violated("O3", f"{intent} became {names}")
    for problem in check_requests(bot.durable):
        bot.violated("O4", problem)
    for request in bot.desk.submissions.journal.requests.values():
        if request.is_open:
            bot.violated("A1", f"{request.key} is {request.phase} at the end")
    open_there = {order.request.client_order_id for order in venue.open_orders()}
    open_here = {name for live in state.live.values() for name in live}
    if open_there != open_here:
        bot.violated("O10", f"open at the venue only {open_there - open_here}, here only {open_here - open_there}")
    _judge_fills(bot)
    for name in bot.instruments:
        here, there = state.position_qty(name), venue.positions.get(name, Decimal(0))
        if here != there:
            bot.violated("L2", f"{name}: {here} here, {there} at the venue")
    lost = {
        entry.event.client_order_id
        for entry in bot.durable
        if isinstance(entry, OrderReported) and isinstance(entry.event, OrderCanceled) and entry.event.reason == MISSING
    }
    verdict.missing = len(lost)
    for name, order in state.orders.items():
        known = venue.orders.get(name)
        is_done_here = not order.is_live
        if name in lost and (known is None or not venue.has_forgotten(known)):
            bot.violated("X17", f"{name} was called missing, and the venue shows it")
        if known is not None and order.cancel_requested and known.state is OrderState.OPEN:
            bot.violated("O7", f"{name} was to be canceled and rests (done here: {is_done_here})")
    kinds = [type(entry).__name__ for entry in bot.durable]
    verdict.doubts = kinds.count("DoubtOpened")
    ends = [entry for entry in bot.durable if isinstance(entry, DoubtResolved)]
    verdict.resurfaced = sum(entry.outcome == "resurfaced" for entry in ends)


def _judge_fills(bot: "SimBot") -> None:
    theirs = {made.trade_id: made.qty for order in bot.venue.orders.values() for made in order.fills}
    booked: dict[str, Decimal] = {}
    for entry in bot.durable:
        if isinstance(entry, FillBooked):
            if entry.fill.trade_id in booked:
                bot.violated("L6", f"{entry.fill.trade_id} is booked twice")
            booked[entry.fill.trade_id] = entry.fill.qty
    if booked != theirs:
        bot.violated("L1", f"{len(theirs)} executions at the venue, {len(booked)} booked")
