"""A bot at the toy venue: the live desk, a disk, a strategy that asks, and checks of what it does, by outsiders' eyes.

The checks read the venue's orders and the durable entries; nothing of the desk's own bookkeeping is believed.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from msgspec.structs import replace

from bot.core.effects import Wish
from bot.core.orders import Orders
from bot.core.portfolio import Portfolio
from bot.core.reconcile import VenueSnapshot
from bot.core.risk import Mark, RiskLimits
from bot.core.submission.desk import LiveDesk
from bot.core.submission.ids import ClientOrderIds
from bot.core.submission.requests import LookUpWanted, Send, Subject, Terms, content_hash
from bot.core.submission.work import Work
from bot.domain.answers import Answer, AnswerKind, Cause, LookUp, Unknown
from bot.domain.instrument import Side
from bot.domain.ledger import (
    DecisionMade,
    DoubtOpened,
    DoubtResolved,
    FillBooked,
    LedgerEntry,
    OrderIntended,
    RequestSigned,
)
from bot.domain.orders import AmendOpen, CancelOpen, OrderRejected, PlaceOrder, SubmitOrder
from tests.support.live_verdict import judge
from tests.support.money import BTC
from tests.support.toy_venue import (
    MS,
    SECOND,
    Faults,
    Network,
    ToyVenue,
    World,
    fill_event,
    healed,
    record_of,
)

START_NS = 1_700_000_000 * SECOND
TIMEOUT_NS = 2_300 * MS
ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
LIMITS = RiskLimits(
    order_notional_max=Decimal(10**7),
    position_notional_max=Decimal(10**8),
    leverage_max=Decimal(10**4),
    price_collar=Decimal("0.5"),
    mark_age_ns_max=60 * SECOND,
    open_orders_max=1000,
    orders_per_second_max=1000,
)


@dataclass(kw_only=True)
class Sizes:
    """How much happens."""

    intents: int = 100
    instruments: int = 20
    gap_ms: int = 400  # between intents, on average
    heal_ms: int = 120_000  # after the last


@dataclass(kw_only=True)
class Verdict:
    """What outsiders saw."""

    violations: list[str] = field(default_factory=list)
    intents: int = 0
    admitted: int = 0
    crashes: int = 0
    doubts: int = 0
    resurfaced: int = 0
    missing: int = 0  # taken by the venue, forgotten by it, and closed here by evidence
    faults: int = 0


class SimBot:
    """The desk with its shell played by the test.

    Args:
        seed: of everything that is drawn.
        faults: what goes wrong until the last intent.
        sizes: how much happens.
        terms: the desk's.
        adapt: is given every newly made desk's bot, before it is restored.
    """

    venue_type: type[ToyVenue] = ToyVenue
    is_hedged = False

    def __init__(
        self,
        seed: int,
        faults: Faults,
        sizes: Sizes | None = None,
        *,
        terms: Terms | None = None,
        adapt: Callable[["SimBot"], None] = lambda bot: None,
    ) -> None:
        self.sizes = sizes or Sizes()
        self.terms = terms or Terms()
        self.world = World(seed, START_NS)
        self.network = Network(self.world, faults)
        self.venue = self.venue_type(self.world, self.network, self._hear, self._check_create)
        self.instruments = {
            name: replace(BTC, name=name) for name in (f"T{n:02d}USDT" for n in range(self.sizes.instruments))
        }
        self.verdict = Verdict()
        self.durable: list[LedgerEntry] = []
        self.signed: dict[tuple[str, int], str] = {}  # durable: by id and time of signing, the content
        self.intent_of: dict[str, str] = {}  # by client order id; of all that was ever intended
        self.tries: dict[str, int] = defaultdict(int)
        self.wants: dict[str, PlaceOrder] = {}
        self.generation = 0
        self.epoch = 0
        self.commits_first = True  # an ablation sends before it is durable
        self.keeps_epochs = True
        self.adapt = adapt
        self.pending: list[LedgerEntry] = []
        self._inbox: list[Callable[[], Work]] = []
        self._busy = False
        self.is_dead = False  # between a crash and the next start
        self._tick_ns = 2**62
        self._reconciled_ns = 0
        self._contents: dict[str, str] = {}
        self._sends: dict[str, int] = defaultdict(int)
        self._decisions: dict[int, str] = {}
        self._decided_ns: dict[str, int] = {}
        self._doubts: dict[str, set[str]] = defaultdict(set)  # by instrument, of creates and changes
        self._held: dict[str, Decimal] = defaultdict(Decimal)
        self.desk = self._start()

    # --- life -------------------------------------------------------------------------------------------------------

    def run(self) -> Verdict:
        """Live through it all; then judge."""
        random, sizes = self.world.random, self.sizes
        at_ns = 0
        for number in range(sizes.intents):
            at_ns += int(random.exponential(sizes.gap_ms) * MS)
            self.world.after(at_ns, lambda n=number: self._intend(f"intent {n}"))  # type: ignore[misc]
        crash_every_ms = self.network.faults.crash_every_ms
        if crash_every_ms is not None:
            crash_ns = int(random.exponential(crash_every_ms) * MS)
            while crash_ns < at_ns:
                self.world.after(crash_ns, self._crash)
                crash_ns += int(random.exponential(crash_every_ms) * MS)
        self.world.run_until(START_NS + at_ns)
        self.network.faults = healed(self.network.faults)
        self.verdict.faults = self.network.lost + self.network.late + self.network.repeated
        for second in range(0, sizes.heal_ms // 1_000, 10):  # the host's own timer
            self.world.after(second * SECOND, lambda: self.post(lambda: Work(reconcile="it is time to")))
        self.world.run_until(self.world.now_ns + 30 * SECOND)
        for order in self.venue.open_orders():
            if order.request.trigger is None:
                self.world.after(0, lambda order=order: self.venue.fill(order, Decimal(0)))  # type: ignore[misc]
        self.world.run_until(self.world.now_ns + (sizes.heal_ms - 30_000) * MS)
        self.post(lambda: Work(reconcile="the end"))
        self.world.run_until(self.world.now_ns + 2 * SECOND)
        self._flush()
        judge(self)
        return self.verdict

    def marks(self) -> dict[str, Mark | None]:
        """Return fresh marks."""
        return {name: Mark(price=Decimal(100), ts_ns=self.world.now_ns) for name in self.instruments}

    def post(self, act: Callable[[], Work]) -> None:
        """Hand the bot a message."""
        self._inbox.append(act)
        self._serve()

    def _start(self) -> LiveDesk:
        count = 0
        restored: Sequence[LedgerEntry] = self.durable
        self._doubts.clear()
        self._held.clear()
        for entry in restored:
            self._watch(entry)
        ids = ClientOrderIds(environment="t", epoch=self.epoch)
        orders = Orders(
            instruments=self.instruments,
            portfolio=Portfolio(self.instruments, "USDT"),
            limits=LIMITS,
            ids=ids,
            is_restorable=True,
            is_hedged=self.is_hedged,
        )
        desk = LiveDesk(orders, self.terms, environment="t")
        desk.submissions.set_clock(self.network.faults.clock_error_ms)
        self.desk = desk
        self.adapt(self)
        if restored:
            restorer = desk.restore(restored)
            count = restorer.last_count + 1_000 if self.keeps_epochs else 0
            ids.count = count
            wait_ns = self.terms.recv_window_ms * MS + TIMEOUT_NS + 2 * SECOND
            now_ns = self.world.now_ns
            self._inbox.insert(0, lambda: desk.recover(now_ns, creates_from_ns=now_ns + wait_ns))  # before all else
            self._serve()
        else:
            self.post(lambda: desk.deposit(Decimal(10**9), self.world.now_ns))
        return desk

    def _crash(self) -> None:
        """Lose everything but the disk; what was being written may or may not be on it."""
        if self.is_dead:
            return  # it is not up again yet
        if self._busy and self.world.chance(0.5):
            self._harden(self.pending)
        self.verdict.crashes += 1
        self.is_dead = True
        self.generation += 1
        self.pending, self._inbox, self._busy, self._tick_ns = [], [], True, 2**62
        if self.keeps_epochs:
            self.epoch += 1

        def begin() -> None:
            self._busy = self.is_dead = False
            self._start()

        self.world.after(int(self.world.random.integers(50, 3_000)) * MS, begin)

    # --- the shell --------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while self._inbox and not self._busy:
            self._carry_out(self._inbox.pop(0)())
        due_ns = self.desk.next_due_ns
        if due_ns is not None and due_ns < self._tick_ns and not self._busy:
            self._tick_ns = due_ns
            self._in_this_life(due_ns - self.world.now_ns, self._tick)

    def _tick(self) -> None:
        self._tick_ns = 2**62
        self.post(lambda: self.desk.tick(self.marks(), self.world.now_ns))

    def _carry_out(self, work: Work) -> None:
        self.pending += work.record
        for entry in work.record:
            if isinstance(entry, DecisionMade):
                self._decisions[entry.decision_id] = entry.reason
            if isinstance(entry, OrderIntended):
                self.intent_of[entry.order.client_order_id] = self._decisions[entry.decision_id]
                self._decided_ns[entry.order.client_order_id] = entry.ts_ns
                self._check_intent(entry.order)
            self._watch(entry)
        for wanted in work.look_up:
            self._look_up(wanted)
        for notice in work.publish:
            if isinstance(notice.event, OrderRejected):
                self._retry(self.intent_of.get(notice.event.client_order_id, ""))
        if work.reconcile:
            self._reconcile()
        if not work.send:
            self._in_this_life(int(self.world.random.integers(1, 100)) * MS, self._flush)
            return
        if not self.commits_first:
            for send in work.send:
                self._send(send)
        self._busy = True
        wait_ms = 2_000 if self.world.chance(self.network.faults.slow_commit) else int(self.world.random.integers(1, 9))
        self._in_this_life(wait_ms * MS, lambda: self._committed(work.send))

    def _committed(self, sends: list[Send]) -> None:
        self._flush()
        self._busy = False
        going, more = self.desk.release(sends, self.marks(), self.world.now_ns)
        if self.commits_first:
            for send in going:
                self._send(send)
        self._carry_out(more)
        self._serve()

    def _flush(self) -> None:
        self._harden(self.pending)
        self.pending = []

    def _harden(self, entries: Sequence[LedgerEntry]) -> None:
        self.durable += entries
        for entry in entries:
            if isinstance(entry, RequestSigned):
                self.signed[entry.client_order_id, entry.signed_ms] = entry.content_hash

    def _in_this_life(self, wait_ns: int, act: Callable[[], None]) -> None:
        generation = self.generation
        self.world.after(wait_ns, lambda: act() if generation == self.generation else None)

    def _send(self, send: Send) -> None:
        self._check_send(send)
        is_answered = False

        def answer(result: Answer) -> None:
            nonlocal is_answered
            is_answered = True
            self.post(lambda: self.desk.answered(send.request, send.attempt, result, self.world.now_ns))

        def time_out() -> None:
            if not is_answered:
                answer(Answer(kind=AnswerKind.UNKNOWN, cause=Cause.NETWORK, code="timeout", recv_ns=0))

        generation = self.generation

        def arrive() -> None:
            result = self.venue.handle(send.command, send.signed_ms, send.recv_window_ms)
            self.network.carry(lambda: answer(result) if generation == self.generation else None)

        self.network.carry(arrive)
        self._in_this_life(TIMEOUT_NS, time_out)

    def _look_up(self, wanted: LookUpWanted) -> None:
        is_answered = False
        generation = self.generation

        def answer(result: LookUp) -> None:
            nonlocal is_answered
            is_answered = True
            name, now_ns = wanted.client_order_id, self.world.now_ns
            self.post(lambda: self.desk.looked_up(name, result, now_ns))

        def arrive() -> None:
            if wanted.subject is Subject.FILLS:
                order = self.venue.orders.get(wanted.client_order_id)
                for made in [] if order is None else order.fills:
                    event = fill_event(made, self.world.now_ns)
                    self.network.carry(lambda event=event: self._hear(event))  # type: ignore[misc]
                return
            result = self.venue.look_up(wanted.client_order_id)
            self.network.carry(lambda: answer(result) if generation == self.generation else None)

        self.network.carry(arrive)
        if wanted.subject is Subject.ORDER:
            silent = Unknown(why="timeout", recv_ns=0)
            self._in_this_life(TIMEOUT_NS, lambda: None if is_answered else answer(silent))

    def _reconcile(self) -> None:
        """Ask the venue for all executions, then for the account as it is; not all the time."""
        if self.world.now_ns < self._reconciled_ns + SECOND:
            return
        began_ns = self._reconciled_ns = self.world.now_ns
        generation = self.generation

        def arrive() -> None:
            fills = [made for order in self.venue.orders.values() for made in order.fills]
            snapshot = VenueSnapshot(
                at_ms=self.venue.now_ms,
                began_ns=began_ns,
                open_orders=tuple(record_of(order) for order in self.venue.open_orders()),
                positions=self.venue.held(),
            )

            def answer() -> None:
                if generation == self.generation:
                    for made in fills:
                        self._hear(fill_event(made, self.world.now_ns))
                    self.post(lambda: self.desk.reconcile(snapshot, self.world.now_ns))

            self.network.carry(answer)

        self.network.carry(arrive)

    def _hear(self, event: object) -> None:
        now_ns = self.world.now_ns
        self.post(lambda: self.desk.told(event, now_ns))  # type: ignore[arg-type]

    # --- the strategy -----------------------------------------------------------------------------------------------

    def _intend(self, intent: str) -> None:
        random = self.world.random
        self.verdict.intents += 1
        name = f"T{int(random.integers(0, self.sizes.instruments)):02d}USDT"
        self.wants[intent] = PlaceOrder(
            instrument=name,
            side=Side.BUY if random.random() < 0.5 else Side.SELL,
            qty=Decimal(int(random.integers(1, 4))),
            limit_price=None if random.random() < 0.3 else Decimal(100),
            reason=intent,
        )
        self._ask(intent)

    def _ask(self, intent: str) -> None:
        wanted = self.wants[intent]

        def act() -> Work:
            now_ns = self.world.now_ns
            work = self.desk.wish(_wish(wanted), self.marks(), now_ns)
            for entry in work.record:
                if isinstance(entry, OrderIntended):
                    self._play_with(entry.order)
                    return work
            self._retry(intent, later_ms=3_000)  # denied: somebody is in doubt
            return work

        self.post(act)

    def _retry(self, intent: str, later_ms: int = 200) -> None:
        """Decide on the same again, under a new id, once it is known that the last came to nothing."""
        self.tries[intent] += 1
        if intent in self.wants and self.tries[intent] < 8:
            self._in_this_life(later_ms * MS, lambda: self._ask(intent))

    def _play_with(self, order: SubmitOrder) -> None:
        """Cancel some orders after a while, and change some."""
        random = self.world.random
        name, instrument = order.client_order_id, order.instrument
        if order.limit_price is None:
            return
        wait_ns = int(random.integers(50, 15_000)) * MS
        action: CancelOpen | AmendOpen
        if random.random() < 0.4:
            action = CancelOpen(instrument=instrument, client_order_id=name)
        elif random.random() < 0.5:
            price = Decimal(100) + int(random.integers(1, 9)) * Decimal("0.1")
            action = AmendOpen(instrument=instrument, client_order_id=name, qty=order.qty + 1, limit_price=price)
        else:
            return
        self._in_this_life(
            wait_ns, lambda: self.post(lambda: self.desk.wish(_wish(action), self.marks(), self.world.now_ns))
        )

    # --- outsiders --------------------------------------------------------------------------------------------------

    def _check_create(self, order: SubmitOrder, signed_ms: int) -> None:
        """See, at the venue's door, that what comes in was durable, is what it was, and does not come too often."""
        name, content = order.client_order_id, content_hash(order)
        if not ID.fullmatch(name):
            self.violated("O9", f"{name} is no id")
        held = self.signed.get((name, signed_ms))
        if held is None:
            self.violated("O1", f"{name} arrived before it was durable")
        if self._contents.setdefault(name, content) != content:
            self.violated("O2", f"{name} arrived with another content")

    def _check_send(self, send: Send) -> None:
        """See that no create leaves late by a slow disk, nor for a decision of before a restart."""
        if not isinstance(send.command, SubmitOrder):
            return
        name = send.command.client_order_id
        late_ns = self.world.now_ns - self._decided_ns[name]
        if not name.startswith(f"t{self.epoch:06d}"):
            self.violated("PR3", f"{name} is sent in epoch {self.epoch}")
        self._sends[name] += 1
        if self._sends[name] == 1 and late_ns > 1_200 * MS:
            self.violated("B16", f"{name} leaves {late_ns / 1e9:.1f} s after it was decided")
        if self._sends[name] > 3:
            self.violated("O11", f"{name} is sent for the {self._sends[name]}th time")

    def _check_intent(self, order: SubmitOrder) -> None:
        """See that no new risk is taken where somebody is in doubt."""
        held, doubts = self._held[order.instrument], self._doubts[order.instrument]
        if doubts and held * order.side.sign >= 0:
            self.violated("R8", f"{order.client_order_id} with {doubts} in doubt")

    def _watch(self, entry: LedgerEntry) -> None:
        match entry:
            case DoubtOpened() if not entry.request.startswith("cancel:"):
                self._doubts[entry.instrument].add(entry.request)
            case DoubtResolved():
                self._doubts[entry.instrument].discard(entry.request)
            case FillBooked():
                self._held[entry.fill.instrument] = entry.position_qty
            case _:
                pass

    def violated(self, rule: str, detail: str) -> None:
        """Note that a rule is broken."""
        self.verdict.violations.append(f"{rule}: {detail}")


def _wish(action: PlaceOrder | CancelOpen | AmendOpen) -> Wish:
    return Wish(
        strategy="sim",
        trigger="timer",
        action=action,
        bar_close_ns=None,
        close_price=None,
        position_qty=Decimal(0),
        forecast=None,
    )
