"""Scenarios at the venue model as short scripts: the market, what clients ask, and all that the venue must answer.

    trades 10:100 20:99.9                  # time:price, then x and a quantity, then b or s: who took
    > 11 a buy 1 @99.95 PostOnly           # at 11 an order comes, its client order id is a
      11 a New                             # what is told of it
    > 20                                   # the clock goes on
      20 a fill buy 1 @ 99.95 maker fee 0.049975
      20 a Filled
      = position 1 @ 99.95                 # what is so then

Settings come first, one a line (`_SETTINGS`), then steps. What is told in a step is compared whole: every execution in
its order, and every order's own story in its order; between stories the venue promises no order. A line about an order
names what has changed of it. Orders of the venue's own are called TP, SL, TS, PTP, PSL and numbered as they come.

Unless told otherwise: contract X (tick 0.1, step 0.001, taker 0.1 %, maker 0.05 %, the tiers of `venue_accounts`), mark
and index are the last price, the price band has X = 1 % and Y = 2 %, 10,000 USDT, leverage 10, a quantity of 1,000 in
every trade, resting orders fill once the price trades through them.

Expected results are derived from the venue's published rules or by arithmetic, which stands beside them; *inferred*
marks what those rules leave open and the model decides.
"""

import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache

from bot.core.matching import OrderFilter, VenueModel
from bot.core.tape import TradeTape
from bot.core.venue.account import VenueAccount
from bot.core.venue.book_tape import BookTape
from bot.core.venue.facts import (
    CoinConverted,
    CreateType,
    Execution,
    FundingSettled,
    InsurancePaid,
    LiquidationStarted,
    OrderCut,
    OrderDropped,
    Refusal,
)
from bot.core.venue.market import Market
from bot.core.venue.orders import (
    Amendment,
    Kind,
    OrderChanged,
    OrderRecord,
    PriceSource,
    RejectReason,
    Status,
    StopKind,
    Told,
)
from tests.support.venue_scenario_words import (
    INDEX,
    SOURCES,
    bar_rows,
    book_rows,
    contract_of,
    exits_of,
    funding_rows,
    model_of,
    number,
    order_of,
    stops_of,
    trade_rows,
)

_CPU_SECONDS_MAX = 5  # nothing here takes a tenth of it
_SHORT = {
    StopKind.TAKE_PROFIT: "TP",
    StopKind.STOP_LOSS: "SL",
    StopKind.TRAILING_STOP: "TS",
    StopKind.PARTIAL_TAKE_PROFIT: "PTP",
    StopKind.PARTIAL_STOP_LOSS: "PSL",
}


@dataclass(frozen=True)
class Case:
    """One scenario: what it shows, and its script."""

    title: str
    script: str


@dataclass
class Step:
    """What is asked at one time, what is told then, and what must be so afterwards."""

    ts_ns: int
    asked: str
    told: list[str] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)


def text(value: Decimal | None) -> str:
    """Return a number in its shortest form."""
    if value is None:
        return "none"
    return format(value.normalize(), "f") if value else "0"


def run_case(case: Case, *, cpu_seconds: float = _CPU_SECONDS_MAX) -> None:
    """Play a scenario and compare everything it says."""
    with never_stuck(cpu_seconds):
        scene, steps = _read(case.script)
        for step in steps:
            told = scene.do(step)
            detail = "\n  ".join([f"{case.title}: > {step.ts_ns} {step.asked}", "expected", *step.told, "got", *told])
            assert _stories(told) == _stories(step.told), detail
            for check in step.checks:
                assert scene.look(check) == " ".join(check.split()), f"{detail}\nthen"


@contextmanager
def never_stuck(cpu_seconds: float = _CPU_SECONDS_MAX) -> Iterator[None]:
    """Make a loop that does not end a failure."""

    def give_up(number: int, frame: object) -> None:
        raise AssertionError(f"the venue model has not come back for {cpu_seconds} s")

    _compile_kernels()
    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@cache
def _compile_kernels() -> None:
    """Have everything compiled before time counts."""
    for rows in ("trades 10:100 20:99 30:98", "bars 0:100,101,99,100 10:100,101,90,95"):
        scene, steps = _read(f"{rows}\n> 15 a buy 1 @99.5 sl=99\n> 16 b buy 1\n> 17 c buy 1 >=120\n> 30")
        for step in steps:
            scene.do(step)


def _read(script: str) -> tuple["Scene", list[Step]]:
    scene: Scene | None = None
    settings: dict[str, str] = {}
    steps: list[Step] = []
    for line in script.splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[0] == ">":
            steps.append(Step(int(words[1]), " ".join(words[2:])))
        elif words[0] == "=":
            steps[-1].checks.append(" ".join(words[1:]))
        elif steps:
            steps[-1].told.append(" ".join(words))
        else:
            assert words[0] in _SETTINGS, f"no setting is called {words[0]}"
            settings[words[0]] = " ".join(words[1:])
    scene = Scene(settings)
    return scene, steps


def _stories(lines: Iterable[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Return the executions, and for each subject its own lines."""
    stories: dict[str, list[str]] = {}
    lines = list(lines)
    for line in lines:
        stories.setdefault(line.split()[1] if " " in line else line, []).append(line)
    return [line for line in lines if " fill " in line], stories


_SETTINGS = {
    "trades",  # rows of the last price
    "bars",  # time:open,high,low,close
    "mark",  # as trades: a tape of its own
    "index",
    "book",  # time:bids|asks: what rests from then on, prices x quantities with commas
    "funding",  # time:rate
    "model",  # queue=, path=, slippage=, spread_ticks=, impact=
    "kind",  # linear (X) or spot (S, with the coins USDT and BTC)
    "band",  # the ratios x and y
    "fees",  # taker and maker
    "limits",  # qty_min=, qty_max=, market_qty_max=, notional_min=
    "deposit",  # amount and coin, several with commas; every account gets it
    "accounts",  # by default A
    "leverage",  # of every account
    "hedge",  # every account is in hedge mode
}


class Scene:
    """A venue with one market, and what the script calls things there."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.contract = contract_of(settings)
        self.name = self.contract.name
        names = settings.get("accounts", "A").split()
        accounts = {name: VenueAccount([self.contract]) for name in names}
        for name in names:
            for each in settings.get("deposit", "10000 USDT").split(","):
                amount, coin = each.split()
                accounts[name].deposit(coin, Decimal(amount), ts_ns=0)
            if "leverage" in settings:
                accounts[name].set_leverage(self.name, Decimal(settings["leverage"]))
            if "hedge" in settings:
                assert accounts[name].switch_mode(self.name, hedged=True) is None
        tapes = {each: TradeTape() for each in ("mark", "index") if each in settings}
        market = Market(
            self.contract,
            is_bars="bars" in settings,
            book=BookTape(self.contract.instrument) if "book" in settings else None,
            mark=tapes.get("mark"),
            index=tapes.get("index"),
        )
        self.model = VenueModel([market], accounts, model_of(settings.get("model", "")))
        instrument = self.contract.instrument
        self.told: list[Told] = []
        if settings.get("bars"):
            self.model.extend(bar_rows(instrument, settings["bars"]), 0)
        elif settings.get("trades"):
            self.model.extend(trade_rows(instrument, settings["trades"]), 0)
        for source in tapes:
            self.model.extend(trade_rows(instrument, settings[source]), 0, SOURCES[source])
        if "book" in settings:
            self.model.extend_book(book_rows(instrument, settings["book"]), 0)
        if "funding" in settings:
            self.model.set_funding(funding_rows(instrument, settings["funding"]))
        self._first = names[0]
        self._names: dict[str, str] = {}  # what the script calls an order, by the venue's id
        self._known: dict[str, OrderRecord] = {}
        self._counts: dict[str, int] = {}

    # What is asked

    def do(self, step: Step) -> list[str]:
        """Ask what the step asks and return what is told, a refusal first."""
        now_ns, words = step.ts_ns, step.asked.split()
        account = words.pop(0)[:-1] if words and words[0].endswith(":") else self._first
        if not words:
            return self.hear(self.model.advance(now_ns))
        answer, told = self.ask(account, words, now_ns)
        lines = self.hear(told)
        return [f"{now_ns} refused {answer.code}", *lines] if isinstance(answer, Refusal) else lines

    def ask(self, account: str, words: list[str], now_ns: int) -> tuple[object, list[Told]]:
        """Ask for something in words; return the answer and what is told."""
        model, name = self.model, self.name
        match words:
            case ["cancel", order]:
                return model.cancel(account, name, self._id_of(account, order), now_ns)
            case ["cancel-all", *rest]:
                only: OrderFilter = "order" if rest == ["order"] else "stop" if rest == ["stop"] else "all"
                return model.cancel_all(account, now_ns, instruments=[name], only=only)
            case ["amend", order, *rest]:
                options = {key: value for key, _, value in (word.partition("=") for word in rest)}
                change = Amendment(
                    qty=number(options.get("qty")),
                    price=number(options.get("price")),
                    trigger_price=number(options.get("at")),
                    exits=exits_of(rest),
                )
                return model.amend(account, name, self._id_of(account, order), change, now_ns)
            case ["stops", *rest]:
                return model.set_stops(account, stops_of(name, rest), now_ns)
            case ["leverage", leverage]:
                return model.set_leverage(account, name, Decimal(leverage), now_ns)
            case ["hedge", word]:
                return model.switch_mode(account, name, hedged=word == "on", now_ns=now_ns)
            case [order, side, qty, *rest]:
                return model.submit(account, order_of(name, order, side, qty, rest), now_ns)
        raise AssertionError(f"cannot read {words}")

    def _id_of(self, account: str, order: str) -> str:
        """Return the venue's id of what the script calls an order, else the word itself."""
        called = order if account == self._first else f"{account}:{order}"
        return next((order_id for order_id, name in self._names.items() if name == called), order)

    # What is told

    def hear(self, told: Sequence[Told]) -> list[str]:
        """Keep what is told and return it as lines."""
        self.told += told
        lines = []
        for account, fact in told:
            whose = "" if account == self._first else f"{account}:"
            line = self._line(fact, whose)
            if line:
                lines.append(f"{fact.ts_ns} {line}")
        return lines

    def _line(self, fact: object, whose: str) -> str:
        match fact:
            case OrderChanged(order=record):
                return self._line_of_order(record, whose)
            case Execution():
                who = self._names.get(fact.order_id) or whose + fact.create_type.value.removeprefix("CreateBy")
                role = "maker" if fact.is_maker else "taker"
                coin = "" if fact.fee_coin == "USDT" else f" {fact.fee_coin}"
                pnl = f" pnl {text(fact.realized_pnl)}" if fact.closed_qty else ""
                deal = f"{fact.side.value} {text(fact.qty)} @ {text(fact.price)}"
                return f"{who} fill {deal} {role} fee {text(fact.fee)}{coin}{pnl}"
            case FundingSettled():
                deal = f"{text(fact.position_qty)} @ {text(fact.mark_price)} rate {text(fact.rate)}"
                return f"{whose}funding {deal} paid {text(fact.exec_fee)}"
            case LiquidationStarted():
                return f"{whose}liquidation {text(fact.margin)} of {text(fact.maintenance)}"
            case InsurancePaid():
                return f"{whose}insurance {text(fact.amount)} {fact.coin}"
            case CoinConverted():
                return f"{whose}converted {text(fact.sold)} {fact.sold_coin} to {text(fact.bought)} {fact.bought_coin}"
            case OrderCut() | OrderDropped():
                return ""  # the order's change says the same
        raise AssertionError(f"cannot say {fact}")

    def _line_of_order(self, record: OrderRecord, whose: str) -> str:
        before = self._known.get(record.order_id)
        self._known[record.order_id] = record
        words = [self._name_of(record, whose), record.status.value]
        if before is None and record.create_type is not CreateType.USER:
            words += [record.side.value, text(record.qty), *_trigger_of(record)]
        elif before is not None:
            if record.qty != before.qty:
                words.append(f"qty {text(record.qty)}")
            if record.price != before.price and record.kind is Kind.LIMIT:
                words.append(f"price {text(record.price)}")
            if record.trigger != before.trigger:
                words += _trigger_of(record)
        if record.filled_qty and record.status is not Status.FILLED:
            words.append(text(record.filled_qty))
        if record.reject_reason not in {RejectReason.NONE, RejectReason.BY_USER}:
            words.append(record.reject_reason.value)
        if record.cancel_type is not None:
            words.append(record.cancel_type.value)
        return " ".join(words)

    def _name_of(self, record: OrderRecord, whose: str) -> str:
        if record.order_id not in self._names:
            kind = _SHORT.get(record.stop_kind) or record.create_type.value.removeprefix("CreateBy")
            self._counts[kind] = self._counts.get(kind, 0) + (not record.client_order_id)
            self._names[record.order_id] = whose + (record.client_order_id or f"{kind}{self._counts[kind]}")
        return self._names[record.order_id]

    # What is so

    def look(self, check: str) -> str:
        """Return the check as it would have to read to hold."""
        words = check.split()
        account = words.pop(0) if words[0].endswith(":") else ""
        books = self.model.accounts[account[:-1] or self._first]
        match words:
            case ["position", *rest]:
                which = rest[0] if rest and rest[0] in INDEX else ""
                held = books.position(self.name, INDEX[which or "oneway"])
                at = "" if held.entry_price is None else f"@ {text(held.entry_price)}"
                found = f"position {which} {text(held.qty)} {at}"
            case ["wallet", *rest]:
                coin = rest[0] if len(rest) > 1 else ""
                found = f"wallet {coin} {text(books.balance(coin or 'USDT'))}"
            case [("available" | "initial" | "maintenance" | "cover" | "order_initial") as what, _]:
                found = f"{what} {text(getattr(books.margin(), what))}"
            case ["locked", coin, _]:
                found = f"locked {coin} {text(books.locked(coin))}"
            case ["stops", *rest]:
                index = INDEX[rest[0]] if rest and rest[0] in INDEX else 0
                which = rest[0] if index else ""
                held_stops = self.model.stops(account[:-1] or self._first, self.name, index)
                given = {
                    "tp": held_stops.take_profit,
                    "sl": held_stops.stop_loss,
                    "trail": held_stops.trailing_distance,
                }
                shown = [f"{key}={text(price)}" for key, price in given.items() if price is not None]
                found = " ".join(["stops", which, *(shown or ["none"])])
            case ["orders", *_]:
                records = self.model.orders(account[:-1] or self._first)
                found = " ".join(["orders", *(self._names[record.order_id] for record in records or ())])
            case ["order", name, *_]:
                found = (
                    f"order {name} {_fields(self._known[self._id_of(account[:-1] or self._first, name)], words[2:])}"
                )
            case ["next", _]:
                found = f"next {self.model.next_ns() or 'none'}"
            case ["leverage", _]:
                found = f"leverage {text(books.state.leverage[self.name])}"
            case _:
                raise AssertionError(f"cannot look for {check}")
        return " ".join(f"{account} {found}".split())


def _fields(record: OrderRecord, words: Sequence[str]) -> str:
    """Return the fields that `words` name, each followed by its value."""
    shown = []
    for name in words[::2]:
        value = getattr(record, name)
        shown.append(f"{name} {text(value) if isinstance(value, Decimal) or value is None else value or '-'}")
    return " ".join(shown)


def _trigger_of(record: OrderRecord) -> list[str]:
    trigger = record.trigger
    if trigger is None:
        return []
    source = "" if trigger.source is PriceSource.LAST else f":{trigger.source.value.removesuffix('Price').lower()}"
    return [f"{'>=' if trigger.is_rise else '<='}{text(trigger.price)}{source}"]


def table(script: str) -> list[Case]:
    """Return the scenarios of a text; a line that starts with ## is the title of the next."""
    parts = script.split("\n## ")[1:]
    found = [Case(title.strip(), body) for title, _, body in (part.partition("\n") for part in parts)]
    assert len({case.title for case in found}) == len(found), "two scenarios have one title"
    return found


def title_of(case: Case) -> str:
    """Return what a scenario is called in the report of a test."""
    return case.title
