"""Random markets and random requests for properties of the venue model, and a run that checks itself on the way.

Markets are a few rows near 100, so that much happens at one price and at one time; requests are the words of
`venue_scenarios.py`, sensible and not; accounts are small and highly leveraged, so that they run out of margin and are
liquidated.
"""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from bot.core.venue.facts import Execution, FundingSettled, InsurancePaid, Refusal
from bot.core.venue.orders import OPEN, OrderChanged, OrderRecord, Status, Tif, Told
from bot.domain.market import BarBatch, TradeBatch
from tests.support.venue_accounts import linear
from tests.support.venue_scenario_words import SCALE_NS, bar_rows, contract_of, funding_rows, trade_rows
from tests.support.venue_scenarios import Scene, Step

END_NS = 130
Ask = tuple[int, str]  # when, and what in words
INSTRUMENT = linear().instrument


def words(*parts: st.SearchStrategy[str] | str) -> st.SearchStrategy[str]:
    """Return the parts as one text."""
    made = [st.just(part) if isinstance(part, str) else part for part in parts]
    return st.tuples(*made).map(lambda found: " ".join(part for part in found if part))


def maybe(*parts: st.SearchStrategy[str] | str) -> st.SearchStrategy[str]:
    """Return one of the parts, or mostly nothing."""
    made = [st.just(part) if isinstance(part, str) else part for part in parts]
    return st.one_of(st.just(""), st.just(""), st.one_of(made))


def price(low: int = 970, high: int = 1030) -> st.SearchStrategy[str]:
    """Return a price in tenths."""
    return st.integers(low, high).map(lambda ticks: str(Decimal(ticks) / 10))


def priced(prefix: str, low: int = 970, high: int = 1030) -> st.SearchStrategy[str]:
    """Return a price behind a prefix."""
    return price(low, high).map(lambda text: prefix + text)


QTY = st.sampled_from(["1", "1", "2", "3", "0.5", "0.1", "20", "60", "300", "0.0004", "0", "-1"])
SIDE = st.sampled_from(["buy", "sell"])
TRIGGER = st.one_of(priced(">="), priced("<="), priced(">=").map(lambda text: f"{text}:mark"))
EXITS = st.one_of(
    words(priced("tp=", 960, 1040), priced("sl=", 960, 1040)),
    words(priced("sl=", 960, 1000), maybe(priced("tp=", 1000, 1040)), maybe("partial")),
    words(st.builds("tp={}/{}".format, price(), price()), "partial"),
)
ORDER_ID = st.integers(0, 11).map("o{}".format)
INDEX = st.sampled_from(["", "", "", "long", "short"])
WHO = st.sampled_from(["A:", "B:"])
SMALL = st.sampled_from(["1", "1", "2", "3", "0.5"])
NEW = "#"  # stands for an id that no order has had
PLAIN = words(NEW, SIDE, SMALL, maybe(priced("@", 985, 1015)), maybe("IOC", "FOK", "PostOnly", "reduce"))
GUARDED = st.one_of(
    words(NEW, "buy", SMALL, maybe("@100"), priced("tp=", 1005, 1040), priced("sl=", 960, 990), maybe("partial")),
    words(NEW, "sell", SMALL, maybe("@100"), priced("tp=", 960, 990), priced("sl=", 1010, 1040), maybe("partial")),
)
CONDITIONAL = words(
    NEW,
    SIDE,
    SMALL,
    maybe(priced("@", 985, 1015)),
    st.one_of(priced(">=", 1001, 1020), priced("<=", 980, 999)),
    maybe("reduce", "reduce close"),
)
TRAILING = words("stops", st.sampled_from(["trail=0.5", "trail=1", "trail=2"]), maybe(priced("active=")))
WILD = words(
    st.one_of(st.just(NEW), ORDER_ID),
    SIDE,
    QTY,
    maybe(priced("@"), priced("@"), "@100.05"),
    maybe(st.sampled_from(list(Tif)).map(str)),
    maybe("reduce", "reduce close", "close"),
    maybe(TRIGGER),
    maybe(EXITS),
    maybe(st.sampled_from(["CancelMaker", "CancelTaker", "CancelBoth"]).map("smp={}".format)),
    maybe("ticks=2", "within=0.005"),
    INDEX,
)
STOPS = words(
    "stops",
    maybe(EXITS),
    maybe(st.sampled_from(["trail=0.5", "trail=2", "trail=0", "trail=10"])),
    maybe(priced("active=")),
    maybe("partial"),
    maybe("qty=0.5", "qty=100"),
    INDEX,
)
CHANGE = words(
    "amend", ORDER_ID, maybe(QTY.map("qty={}".format)), maybe(priced("price=")), maybe(priced("at=")), maybe(EXITS)
)
REQUEST = st.one_of(
    PLAIN,
    PLAIN,
    PLAIN,
    GUARDED,
    GUARDED,
    CONDITIONAL,
    TRAILING,
    TRAILING,
    WILD,
    STOPS,
    CHANGE,
    words("cancel", ORDER_ID),
    st.sampled_from(["cancel-all", "cancel-all order", "cancel-all stop"]),
    st.sampled_from(["leverage 20", "leverage 50", "leverage 3", "leverage 1000"]),
    st.sampled_from(["hedge on", "hedge off"]),
)


def in_order(asks: list[Ask]) -> list[Ask]:
    """Return what is asked by time, each new order with an id of its own."""
    asks = sorted(asks, key=first)
    return [(ts_ns, asked.replace(NEW, f"o{number}")) for number, (ts_ns, asked) in enumerate(asks)]


def first(item: tuple[Any, ...]) -> Any:
    """Return when something is to be done."""
    return item[0]


ASKS = st.lists(st.tuples(st.integers(5, 105), words(WHO, REQUEST)), min_size=4, max_size=24).map(in_order)


@st.composite
def trade_texts(draw: st.DrawFn, reach: int = 25) -> str:
    """Return trades: the first at 100, times that repeat, quantities from a lot to many."""
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(10, 110),
                st.integers(1000 - reach, 1000 + reach),
                st.sampled_from(["0.001", "1", "50"]),
                st.sampled_from(["b", "s"]),
            ),
            min_size=4,
            max_size=24,
        )
    )
    told = [f"{ts}:{Decimal(ticks) / 10}x{qty}{side}" for ts, ticks, qty, side in sorted(rows)]
    return " ".join(["9:100", *told])


@st.composite
def bar_texts(draw: st.DrawFn, reach: int = 25) -> str:
    """Return bars: the first opens at 100, with holes between some."""
    rows = ["0:100,100,100,100"]
    for k in sorted(draw(st.sets(st.integers(1, 10), min_size=3, max_size=9))):
        low, a, b, high = sorted(draw(st.lists(st.integers(1000 - reach, 1000 + reach), min_size=4, max_size=4)))
        first, last = draw(st.permutations([a, b]))
        rows.append(f"{k * SCALE_NS}:" + ",".join(str(Decimal(each) / 10) for each in (first, high, low, last)))
    return " ".join(rows)


MODELS = st.builds(
    "queue={} path={} slippage={}".format,
    st.sampled_from(["through", "touch", "averse"]),
    st.sampled_from(["adverse", "nearest", "favorable"]),
    st.sampled_from(["0", "0.0007"]),
)
FUNDING = st.lists(
    st.tuples(st.integers(10, 110), st.sampled_from(["0.0001", "-0.0005", "0.01"])),
    max_size=3,
    unique_by=lambda row: row[0],
).map(lambda rows: " ".join(f"{ts}:{rate}" for ts, rate in sorted(rows)))
Game = tuple[dict[str, str], list[Ask]]  # the settings of a scene, and what is asked there
_SIDES = {"buy": "long", "sell": "short"}


def _on_a_side(number: int, ask: str) -> str:
    """Return a request for one side of a hedge, now the one that opens and now the other."""
    asked = ask.split()
    if {"long", "short"} & set(asked) or not {"buy", "sell", "stops"} & set(asked):
        return ask
    opens = _SIDES["sell" if "sell" in asked else "buy"]
    return f"{ask} {opens if number % 3 else {'long': 'short', 'short': 'long'}[opens]}"


@st.composite
def games(draw: st.DrawFn, *, kinds: Sequence[str] = ("trades", "bars"), is_drama: bool | None = None) -> Game:
    """Return rows, model, accounts and requests; a drama begins with all that an account can just afford."""
    if is_drama is None:
        is_drama = draw(st.booleans())
    kind, reach = draw(st.sampled_from(list(kinds))), draw(st.sampled_from([60, 150] if is_drama else [8, 25]))
    rows = draw(trade_texts(reach) if kind == "trades" else bar_texts(reach))
    scene = {
        kind: rows,
        "accounts": "A B",
        "deposit": "120 USDT" if is_drama else draw(st.sampled_from(["10000 USDT", "60 USDT"])),
        "model": draw(MODELS),
        "funding": draw(FUNDING),
        "fees": draw(st.sampled_from(["0.001 0.0005", "0.00055 -0.0001"])),
    }
    asks = draw(ASKS)
    if draw(st.integers(0, 3)) == 0:
        scene["hedge"] = "on"
        asks = [(ts_ns, _on_a_side(number, ask)) for number, (ts_ns, ask) in enumerate(asks)]
    if is_drama:
        side, qty = draw(SIDE), draw(st.sampled_from(["8", "15", "20"]))
        opening = f"A: all {side} {qty}" + (f" {_SIDES[side]}" if "hedge" in scene else "")
        asks = [(10, "A: leverage 20"), (10, opening), *((max(10, ts_ns), ask) for ts_ns, ask in asks)]
    return scene, asks


def rows_of(scene: dict[str, str]) -> TradeBatch | BarBatch:
    """Return the rows of a scene."""
    instrument = contract_of(scene).instrument
    if "bars" in scene:
        return bar_rows(instrument, scene["bars"])
    return trade_rows(instrument, scene["trades"])


def times_of(batch: TradeBatch | BarBatch) -> list[int]:
    """Return when each row begins."""
    column: Any = batch.open_ns if isinstance(batch, BarBatch) else batch.ts_ns
    return [int(each) for each in column]


def answer_of(answer: Any) -> Any:
    """Return what a client was answered, to be compared."""
    return answer.code if isinstance(answer, Refusal) else answer


class Run:
    """A scene that is played from beginning to end; what was told and answered stays."""

    def __init__(
        self,
        scene: dict[str, str],
        asks: Sequence[Ask],
        *,
        cuts: Sequence[int] | None = None,
        extra_ns: Sequence[int] = (),
        until_ns: int = END_NS,
        batch: TradeBatch | BarBatch | None = None,
    ) -> None:
        """Play it: all rows at once, or in pieces read just ahead of the clock.

        Args:
            scene: its settings.
            asks: what is asked, in order of time.
            cuts: before which rows the tape is cut; a piece is read when the clock reaches the first row of the piece
                before it, as the replay feed does it. None: all is there from the start.
            extra_ns: times at which the venue is asked for news besides.
            until_ns: the end.
            batch: other rows than the scene's.
        """
        batch = rows_of(scene) if batch is None else batch
        bare = {key: value for key, value in scene.items() if key not in {"trades", "bars", "funding"}}
        bare["bars" if isinstance(batch, BarBatch) else "trades"] = ""
        self.scene = Scene(bare)
        self.model = self.scene.model
        if scene["funding"]:
            self.model.set_funding(funding_rows(INSTRUMENT, scene["funding"]))
        self.answers: list[Any] = []
        self.after: list[tuple[int, int]] = []  # when each step was done, and how much had been told by then
        edges = sorted({0, len(batch), *(min(cut, len(batch)) for cut in cuts or ())})
        self._pieces = [batch.rows(a, b) for a, b in pairwise(edges)]
        self._times = times_of(batch)
        self._read = 0
        self._read_next(0)
        todo = sorted([*((at, 1, ask) for at, ask in asks), *((at, 0, "") for at in [*extra_ns, until_ns])], key=first)
        for at_ns, _, words_asked in todo:
            self._go_to(at_ns)
            self._do(at_ns, words_asked)

    @property
    def told(self) -> list[Told]:
        """Return all that was told so far."""
        return self.scene.told

    def _read_next(self, now_ns: int) -> None:
        if self._read < len(self._pieces):
            self.model.extend(self._pieces[self._read], now_ns)
            self._read += 1

    def _go_to(self, at_ns: int) -> None:
        """Do all that is due before and at `at_ns`, pieces of the tape first."""
        while True:
            reads_ns = None
            if self._read < len(self._pieces):
                reads_ns = self._times[self._pieces[self._read - 1].first_row]
            due_ns = self.model.next_ns()
            upcoming = min(each for each in (reads_ns, due_ns, at_ns + 1) if each is not None)
            if upcoming > at_ns:
                return
            if reads_ns is not None and reads_ns <= upcoming:
                self._read_next(upcoming)
            else:
                self._do(upcoming, "")
                again_ns = self.model.next_ns()
                assert again_ns is None or again_ns > upcoming, "what was due has been done, and is due again"

    def _do(self, now_ns: int, asked: str) -> None:
        if not asked:
            self.scene.do(Step(now_ns, ""))
        else:
            account, *rest = asked.split()
            answer, told = self.scene.ask(account[:-1], rest, now_ns)
            self.scene.hear(told)
            self.answers.append((asked, answer_of(answer)))
        self.after.append((now_ns, len(self.told)))
        self.check(now_ns)

    def check(self, now_ns: int) -> None:
        """Check what must be so after each step."""
        open_now = {record.order_id for name in ("A", "B") for record in self.model.orders(name)}
        known = {fact.order.order_id: fact.order for _, fact in self.told if isinstance(fact, OrderChanged)}
        assert open_now == {order_id for order_id, record in known.items() if record.status in OPEN}


def check_story(run: Run) -> None:
    """Check that everything told makes sense by itself."""
    newest_ns = 0
    last: dict[str, OrderRecord] = {}
    filled: dict[str, Decimal] = defaultdict(Decimal)
    fees: dict[str, Decimal] = defaultdict(Decimal)
    owner: dict[str, str] = {}
    for account, fact in run.told:
        assert fact.ts_ns >= newest_ns, "time goes back"
        newest_ns = fact.ts_ns
        if isinstance(fact, Execution) and fact.order_id:
            assert fact.qty > 0
            assert fact.price > 0
            filled[fact.order_id] += fact.qty
            fees[fact.order_id] += fact.fee
            before = last[fact.order_id]
            assert owner[fact.order_id] == account
            assert before.status in OPEN, "an order that is done fills"
            assert before.status is not Status.UNTRIGGERED, "an order fills before its trigger"
            if before.instrument == "X" or before.kind == "Limit":  # what a quote amount buys is told when it fills
                assert filled[fact.order_id] <= before.qty
            if before.price and before.kind == "Limit":
                assert (before.price - fact.price) * fact.side.sign >= 0, "worse than its limit"
            if before.time_in_force is Tif.POST_ONLY:
                assert fact.is_maker
            if before.time_in_force in (Tif.IOC, Tif.FOK):
                assert not fact.is_maker
            if before.reduce_only:
                assert fact.closed_qty == fact.qty, "reduce-only opened something"
        if isinstance(fact, OrderChanged):
            record = fact.order
            known = last.get(record.order_id)
            assert owner.setdefault(record.order_id, account) == account
            if known is not None:
                assert known.status in OPEN, "something happens to an order that is done"
                assert record.filled_qty >= known.filled_qty
                assert record.side is known.side
            assert record.filled_qty == filled[record.order_id]
            assert record.fee == fees[record.order_id]
            assert record.filled_qty <= record.qty
            if record.status is Status.FILLED:
                assert record.filled_qty == record.qty
            if record.time_in_force is Tif.FOK and record.status not in OPEN:
                assert record.filled_qty in (0, record.qty), "FOK filled in part"
            last[record.order_id] = record


def check_money(run: Run, deposit: Decimal) -> None:
    """Check that every account has what it should, by its executions alone."""
    for name, account in run.model.accounts.items():
        wallet, spent = deposit, Decimal(0)
        held: dict[int, Decimal] = defaultdict(Decimal)
        for owner, fact in run.told:
            if owner != name:
                continue
            match fact:
                case Execution():
                    wallet += fact.realized_pnl - fact.fee
                    signed = fact.qty * fact.side.sign
                    spent += signed * fact.price
                    held[fact.position_index] += signed
                    assert held[fact.position_index] == fact.position_qty
                case FundingSettled():
                    assert held[fact.position_index] == fact.position_qty != 0
                    assert fact.exec_fee == fact.position_qty * fact.mark_price * fact.rate
                    wallet -= fact.exec_fee
                case InsurancePaid():
                    wallet += fact.amount
        assert account.balance("USDT") == wallet
        book_value = Decimal(0)
        realized = sum((f.realized_pnl for who, f in run.told if who == name and isinstance(f, Execution)), Decimal(0))
        for index in range(3):
            position = account.position("X", index)
            assert position.qty == held[index]
            book_value += position.qty * (position.entry_price or 0)
        # What was paid for what is held, and what was gained on the way, is what was spent, but for the rounding of
        # the entry value of closed parts.
        assert abs(book_value - realized - spent) < Decimal("1e-6")
