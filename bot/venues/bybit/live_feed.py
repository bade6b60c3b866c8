"""The live market of several instruments: streams, questions by REST, gates and books, as one thing that decides.

Sans-IO, like all that it is made of: events and the time go in, effects come out, in order. The same events give the
same effects, which is what a capture is replayed by. `LiveMarket` carries the effects out.

A pause of the machine is noticed by the time itself: between two events there is never more than the pace of `on_time`,
unless nobody could run. What was known before a pause is not believed after it.

Source: faults C4, N5 to N7, N11, N13, N17, N18 and M1 to M13 of the fault catalogue.
"""

from collections.abc import Iterable, Sequence

import msgspec

from bot.core.durations import format_duration
from bot.domain.instrument import Instrument
from bot.domain.market import MarketUpdate
from bot.venues.bybit.backoff import Backoff, ConnectBudget
from bot.venues.bybit.book_sync import BookLimits
from bot.venues.bybit.connection_life import BAN_NS
from bot.venues.bybit.instrument_feed import CLAIM_INTERVAL, MarketRows
from bot.venues.bybit.instruments import InstrumentFilters
from bot.venues.bybit.market_streams import ForConnection, MarketEffect, MarketStreams, Notices, Wanted
from bot.venues.bybit.pauses import Pauses
from bot.venues.bybit.public_answers import (
    Unusable,
    instruments_path,
    kline_path,
    read_filters,
    read_klines,
    read_recent,
    recent_path,
)
from bot.venues.bybit.stream_effects import Alert, Backfill, Connect, Distrust
from bot.venues.bybit.topics import Category, Kind
from bot.venues.bybit.trade_claims import MINUTE_NS
from bot.venues.bybit.trade_gate import Minutes, NewestTrades, Phase, Question, TradeGate

_MS = 1_000_000
_S = 1_000 * _MS
PACE_NS = 100 * _MS  # `on_time` is to be called at least so often
PAUSE_NS = 1 * _S  # nobody could run for so long: everything is doubted
FILTERS_NS = 86_400 * _S  # by default, how often filters are asked for

Key = tuple[Category, str]


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """Ask the venue by REST, and tell `on_answer`."""

    number: int
    path: str


class FiltersTold(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue says orders in an instrument must fit into."""

    category: Category
    filters: InstrumentFilters
    is_readable: bool  # its prices and quantities are whole ticks and steps of those that the feed reads by


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """Open a connection to this path."""

    name: str
    connection: int
    path: str


FeedEffect = Opening | ForConnection | Fetch | MarketUpdate | Notices | FiltersTold


class FeedOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a feed is kept."""

    seed: int = 0  # of waits
    history_ns: int = 0  # how far back the venue's own minutes are asked for before trades pass
    step_ns: int = _S  # of the shortest bars: watermarks lie on its multiples
    quiet_ns: int = _S  # a quiet time is believed so long after it
    lateness_ns: int = 0  # how long after their close bars take trades
    confirm_ns: int = _S  # the venue's last word on a minute is waited for so long before the next one's trades pass
    shown_levels: int = 50
    has_status: bool = False
    limits: BookLimits | None = None
    filters_ns: int = FILTERS_NS  # how often filters are asked for


class _Asked(msgspec.Struct, frozen=True):
    key: Key
    question: Question | None  # None: the filters


class LiveFeed:
    """All instruments of one venue.

    Args:
        wanted: the instruments; one of a category and name once.
        options: see there.
        start_ns: the time of the start.
        budget: of connections, shared with whoever else connects to the host.
    """

    def __init__(
        self, wanted: Sequence[Wanted], options: FeedOptions, *, start_ns: int, budget: ConnectBudget | None = None
    ) -> None:
        self._wanted = {(each.category, each.instrument.name): each for each in map(_with_claims, wanted)}
        self.streams = MarketStreams(
            list(self._wanted.values()),
            seed=options.seed,
            has_status=options.has_status,
            shown_levels=options.shown_levels,
            limits=options.limits,
            budget=budget,
        )
        self._paths = {plan.name: plan.path for plan in self.streams.plans}
        self._keys = {
            plan.name: [key for key in self._wanted if any(t.symbol == key[1] for t in plan.topics)]
            for plan in self.streams.plans
            if plan.name != "status"
        }
        self.gates = {
            key: TradeGate(
                each.instrument,
                self.streams.feeds[key].trades,
                start_ns=-(-start_ns // MINUTE_NS) * MINUTE_NS - MINUTE_NS,
                history_ns=options.history_ns,
                step_ns=options.step_ns,
                quiet_ns=options.quiet_ns,
                lateness_ns=options.lateness_ns,
                confirm_ns=options.confirm_ns,
                seed=options.seed,
                stream=1000 + number,
            )
            for number, (key, each) in enumerate(self._wanted.items())
        }
        self._asked: dict[int, _Asked] = {}
        self._newest: dict[Key, int] = {}  # the question of each gate that is waited for
        self._numbers = 0
        self._banned_until_ns = 0
        self._filters_ns = dict.fromkeys(self._wanted, start_ns)
        self._filters_every_ns = options.filters_ns
        self._filters_waits = Backoff(seed=options.seed, stream=999, first_ns=_S, base_ns=2 * _S, max_ns=300 * _S)
        self._filters_tries = dict.fromkeys(self._wanted, 0)
        self._seen_ns = 0  # the time of the last event
        self._looked_ns = 0  # when the clocks were last looked at
        self._effects: list[FeedEffect] = []
        self._pauses = Pauses()

    @property
    def instruments(self) -> dict[Key, Instrument]:
        """Return what is followed."""
        return {key: each.instrument for key, each in self._wanted.items()}

    @property
    def pauses(self) -> int:
        """Return how often nothing ran on this machine."""
        return self._pauses.count

    @property
    def is_ready(self) -> bool:
        """Return whether everything flows and may be believed."""
        return self.streams.is_ready and all(gate.is_open for gate in self.gates.values())

    def doubts(self, category: Category, symbol: str) -> list[str]:
        """Return why no new exposure in an instrument may rest on its data now; nothing where it may."""
        gate = self.gates[category, symbol]
        own = [] if gate.is_open else [f"trades: {gate.phase.value}, {gate.reason}"]
        return [*self.streams.doubts(category, symbol), *own]

    def next_time_ns(self) -> int:
        """Return when `on_time` should be called at the latest."""
        return min(self.streams.next_time_ns(), self._looked_ns + PACE_NS)

    # --- events -------------------------------------------------------------------------------------------------------

    def start(self, now_ns: int) -> list[FeedEffect]:
        """Connect, and ask for the past."""
        self._seen_ns = self._looked_ns = now_ns
        self._carry_out(self.streams.start(now_ns), now_ns)
        return self._done(now_ns)

    def stop(self, now_ns: int) -> list[FeedEffect]:
        """Close everything."""
        self._carry_out(self.streams.stop(now_ns), now_ns)
        effects, self._effects = self._effects, []
        return effects

    def on_open(self, name: str, connection: int, now_ns: int) -> list[FeedEffect]:
        """Learn that a connection is open."""
        self._notice_pause(now_ns)
        self._carry_out(self.streams.on_open(name, connection, now_ns), now_ns)
        return self._done(now_ns, name)

    def on_closed(
        self, name: str, connection: int, reason: str, now_ns: int, *, is_banned: bool = False
    ) -> list[FeedEffect]:
        """Learn that a connection is gone."""
        self._notice_pause(now_ns)
        self._carry_out(self.streams.on_closed(name, connection, reason, now_ns, is_banned=is_banned), now_ns)
        return self._done(now_ns, name)

    def on_messages(self, name: str, connection: int, messages: list[tuple[int, bytes]]) -> list[FeedEffect]:
        """Take messages of a connection as (when it was received, the message)."""
        now_ns = messages[-1][0]
        self._notice_pause(messages[0][0])
        if self._carry_out(self.streams.on_messages(name, connection, messages), now_ns):
            return self._done(now_ns, name)
        # Rows alone change nothing that an open gate would have to be looked at for before the next `on_time`.
        for key in self._keys.get(name, ()):
            if self.gates[key].phase is not Phase.OPEN:
                self._step(key, now_ns)
        effects, self._effects = self._effects, []
        return effects

    def on_time(self, now_ns: int) -> list[FeedEffect]:
        """Look at the clocks."""
        self._looked_ns = max(now_ns, self._looked_ns)
        self._notice_pause(now_ns)
        self._carry_out(self.streams.on_time(now_ns), now_ns)
        for key, due_ns in self._filters_ns.items():
            if now_ns >= max(due_ns, self._banned_until_ns):
                self._filters_ns[key] = 2**62
                self._fetch(key, None, instruments_path(*key))
        return self._done(now_ns)

    def on_answer(self, number: int, status: int, body: bytes, now_ns: int) -> list[FeedEffect]:
        """Take an answer to a `Fetch`; status 0 where none came, and `body` says why."""
        self._notice_pause(now_ns)
        asked = self._asked.pop(number, None)
        if asked is not None:
            try:
                self._answer(asked, number, status, body, now_ns)
            except Unusable as error:
                self._on_unusable(asked, number, error, now_ns)
        return self._done(now_ns)

    # --- questions ----------------------------------------------------------------------------------------------------

    def _answer(self, asked: _Asked, number: int, status: int, body: bytes, now_ns: int) -> None:
        if status == 0:
            raise Unusable(body.decode("utf-8", "replace")[:200])
        category, symbol = asked.key
        gate, instrument = self.gates[asked.key], self._wanted[asked.key].instrument
        question = asked.question
        if question is None:
            self._on_filters(asked.key, read_filters(status, body, category, symbol), now_ns)
        elif self._newest.get(asked.key) != number:
            return  # asked before the stream broke once more
        elif isinstance(question, NewestTrades):
            gate.on_recent(read_recent(status, body, symbol), now_ns)
        else:
            bars = read_klines(
                status,
                body,
                instrument,
                category=category,
                scale_ns=MINUTE_NS,
                from_ns=question.from_ns,
                to_ns=question.to_ns,
            )
            gate.on_klines(bars, question, now_ns)

    def _on_unusable(self, asked: _Asked, number: int, error: Unusable, now_ns: int) -> None:
        if error.is_banned:
            self._banned_until_ns = now_ns + BAN_NS
        self._alert(asked.key, "answer.refused", f"{asked.key[1]} ({asked.key[0]}): {error}")
        if asked.question is None:
            tries = self._filters_tries[asked.key] = self._filters_tries[asked.key] + 1
            self._filters_ns[asked.key] = now_ns + self._filters_waits.wait_ns(tries)
        elif self._newest.get(asked.key) == number:
            self.gates[asked.key].on_failed(now_ns)

    def _on_filters(self, key: Key, filters: InstrumentFilters, now_ns: int) -> None:
        instrument = self._wanted[key].instrument
        is_readable = not (filters.tick_size % instrument.tick_size or filters.qty_step % instrument.qty_step)
        if not is_readable:
            self._alert(
                key,
                "instrument.changed",
                f"{key[1]} ({key[0]}): the venue's tick is {filters.tick_size} and its step {filters.qty_step}, the "
                f"market is read by {instrument.tick_size} and {instrument.qty_step}: what lies between is refused; "
                "start again",
            )
        self._filters_tries[key] = 0
        self._filters_ns[key] = now_ns + self._filters_every_ns
        self._effects.append(FiltersTold(category=key[0], filters=filters, is_readable=is_readable))

    def _fetch(self, key: Key, question: Question | None, path: str) -> None:
        self._numbers += 1
        self._asked[self._numbers] = _Asked(key, question)
        if question is not None:
            self._newest[key] = self._numbers
        self._effects.append(Fetch(number=self._numbers, path=path))

    # --- effects ------------------------------------------------------------------------------------------------------

    def _notice_pause(self, now_ns: int) -> None:
        pause_ns, self._seen_ns = now_ns - self._seen_ns, max(now_ns, self._seen_ns)
        alert = None
        if pause_ns > PAUSE_NS:
            reason = f"nothing ran for {format_duration(pause_ns // _MS * _MS)}"
            self._carry_out(self.streams.doubt_all(reason, now_ns), now_ns)
            alert = self._pauses.note(pause_ns, now_ns)
        elif now_ns >= self._pauses.due_ns:
            alert = self._pauses.tell(now_ns)
        if alert is not None:
            self._effects.append(ForConnection(name="", effect=alert))

    def _carry_out(self, effects: Iterable[MarketEffect], now_ns: int) -> bool:
        """Keep what concerns trades; hand on the rest, and return whether there was any: something besides rows."""
        is_more = False
        for each in effects:
            if isinstance(each, MarketRows):
                self._on_rows(each, now_ns)
                continue
            is_more = True
            if isinstance(each, Notices):
                self._effects.append(each)
            elif isinstance(each.effect, Connect):
                opening = Opening(name=each.name, connection=each.effect.connection, path=self._paths[each.name])
                self._effects.append(opening)
            elif isinstance(each.effect, Backfill):  # the gates see to it, and to what no backfill can bring back
                topic = self.streams.topic_of(each.name, each.effect.topic)
                if topic.kind is Kind.TRADES:
                    self._shut((self.streams.category_of(each.name), topic.symbol), "the venue had forgotten us")
            else:
                if isinstance(each.effect, Distrust):
                    topic = self.streams.topic_of(each.name, each.effect.topic)
                    if topic.kind is Kind.TRADES:
                        self._shut((self.streams.category_of(each.name), topic.symbol), each.effect.reason)
                self._effects.append(each)
        return is_more

    def _on_rows(self, rows: MarketRows, now_ns: int) -> None:
        key: Key = (rows.category, rows.instrument.name)
        gate = self.gates[key]
        if rows.trades is not None:
            gate.on_trades(rows.trades, rows.trade_ids)
        if rows.claims:
            gate.on_claims(rows.claims)
        passed = gate.take()
        if passed or rows.books is not None or rows.quotes is not None or rows.tickers is not None:
            update = MarketUpdate(
                category=rows.category,
                instrument=rows.instrument,
                known_ns=now_ns,
                stream=tuple(passed),
                books=rows.books,
                quotes=rows.quotes,
                tickers=rows.tickers,
            )
            self._effects.append(update)

    def _shut(self, key: Key, reason: str) -> None:
        if self.gates[key].is_open:
            self.gates[key].shut(reason)

    def _done(self, now_ns: int, name: str | None = None) -> list[FeedEffect]:
        """Let the gates that may have changed go on, and return all effects."""
        for key in self._wanted if name is None else self._keys.get(name, ()):
            self._step(key, now_ns)
        effects, self._effects = self._effects, []
        return effects

    def _step(self, key: Key, now_ns: int) -> None:
        gate = self.gates[key]
        if gate.is_suspicious:
            self._carry_out(
                self.streams.doubt_trades(*key, "the venue's own minutes tell of more trades", now_ns), now_ns
            )
        is_confirmed = self.streams.has_confirmed_trades(*key)
        if not is_confirmed and (gate.is_open or gate.is_asking):
            gate.shut("the venue has not confirmed that it sends them")
        question = gate.step(now_ns, is_confirmed=is_confirmed)
        if question is not None:
            if now_ns < self._banned_until_ns:
                gate.on_failed(self._banned_until_ns)
            else:
                self._fetch(key, question, _path_of(key, question))
        passed = gate.take()
        if passed:
            instrument = self._wanted[key].instrument
            self._effects.append(
                MarketUpdate(category=key[0], instrument=instrument, known_ns=now_ns, stream=tuple(passed))
            )
        if gate.complaint:
            self._alert(key, "trades.doubted", f"{key[1]} ({key[0]}): {gate.complaint}")
            gate.complaint = ""

    def _alert(self, key: Key, code: str, text: str) -> None:
        self._effects.append(ForConnection(name=f"{key[0]} {key[1]}", effect=Alert(code=code, text=text)))


def _with_claims(wanted: Wanted) -> Wanted:
    if CLAIM_INTERVAL in wanted.kline_intervals:
        return wanted
    return msgspec.structs.replace(wanted, kline_intervals=(CLAIM_INTERVAL, *wanted.kline_intervals))


def _path_of(key: Key, question: Question) -> str:
    if isinstance(question, Minutes):
        return kline_path(*key, MINUTE_NS, question.from_ns, question.to_ns)
    return recent_path(*key)
