"""One public connection's life: what to send, whom to believe, when to give up and connect again.

Decides and does nothing: events and the time go in, effects come out. The time must come from a clock that only rises;
one that steps back is taken to stand still. Waits are functions of a seed.

A topic is trusted when the venue has confirmed its subscription and data have come, both: a refused subscription looks
healthy and delivers nothing. A connection is alive when anything came within 5 s after a ping: an open socket proves
nothing. A silent topic is asked for again, once by itself, once by a new connection, then ever more rarely.

Source: Bybit V5, websocket connect; faults N5 to N7, N11, N17, N18 and M10 of the fault catalogue.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from bot.venues.bybit.backoff import Backoff, ConnectBudget
from bot.venues.bybit.frames import read_frame
from bot.venues.bybit.stream_effects import (
    Alert,
    Backfill,
    Close,
    Connect,
    Deliver,
    Distrust,
    Send,
    SessionEffect,
    Trust,
)
from bot.venues.bybit.subscriptions import Happening, Request, Requests, Status, Subscription, judge
from bot.venues.bybit.topics import Category, Kind, Patience, Topic, patience_of
from bot.venues.bybit.wire import (
    Answer,
    BookFrame,
    KlineFrame,
    MarketFrame,
    Pong,
    Refused,
    TickerFrame,
    TradeFrame,
)

_MS = 1_000_000
_S = 1_000 * _MS

CHECK_NS = 100 * _MS  # how often the clocks are looked at
PING_NS = 20 * _S
PONG_NS = 5 * _S  # after a ping something must come within this
CONNECT_NS = 10 * _S  # a connection must open within this
ANSWER_NS = 5 * _S  # a request must be answered within this
STABLE_NS = 60 * _S  # a connection that lasted so long ends a series of failures
FLAPS_MAX = 3  # so many failures in a series, and nothing is trusted before the connection has lasted
BAN_NS = 600 * _S  # the venue's advice after it shut an address out
ALERT_NS = 60 * _S  # one alert of a code in that time

SPOT_ARGS_MAX = 10  # topics in one request, the venue's limit on spot
ARGS_MAX = 50  # elsewhere our own: what one bad topic can hold up
ARGS_CHARACTERS_MAX = 21_000  # of all topics of a connection


class Phase(StrEnum):
    """Where the connection is."""

    IDLE = "idle"  # not started, or stopped
    WAITING = "waiting"  # until it may connect again
    CONNECTING = "connecting"
    OPEN = "open"


class StreamSession:
    """One public connection and its topics.

    Args:
        topics: what is wanted of it.
        category: of the instruments; it decides the dialect and the limits.
        seed: of the waits.
        stream: tells this session's waits from another's with the same seed.
        budget: of connections, shared by all to the same host.
        patience: how long topics may keep us waiting, by their text; None for `topics.PATIENCE`.

    Raises:
        ValueError: no topic, one twice, or more than one connection may carry.
    """

    def __init__(
        self,
        topics: Sequence[Topic],
        *,
        category: Category,
        seed: int,
        stream: int = 0,
        budget: ConnectBudget | None = None,
        patience: dict[str, Patience] | None = None,
    ) -> None:
        if not topics or len({topic.text for topic in topics}) < len(topics):
            raise ValueError("a connection needs topics, each of them once")
        if characters(topics) > ARGS_CHARACTERS_MAX:
            raise ValueError(f"{characters(topics):,} characters of topics; one connection carries 21,000")
        own = patience or {}
        self._topics = {topic.text: topic for topic in topics}
        self._subscriptions = {
            topic.text: Subscription(topic, own.get(topic.text, patience_of(topic, category)), salt)
            for salt, topic in enumerate(topics)
        }
        self._args_max = SPOT_ARGS_MAX if category == "spot" else ARGS_MAX
        self._reconnects = Backoff(seed=seed, stream=3 * stream)
        self._resyncs = Backoff(seed=seed, stream=3 * stream + 1, first_ns=0)
        self._retries = Backoff(seed=seed, stream=3 * stream + 2, first_ns=60 * _S, base_ns=120 * _S, max_ns=600 * _S)
        self._budget = ConnectBudget() if budget is None else budget
        self._requests = Requests()
        self._attempt = 0  # failures in a row
        self._series = 0  # of failures
        self._connect_ns = 0  # WAITING: when to connect; else when that was tried, or succeeded
        self._check_ns = 0
        self._pinged_ns = 0
        self._is_heard = False  # anything came since the ping, or since it opened
        self._now_ns = 0
        self._alerted: dict[str, tuple[int, int]] = {}  # by code: when, and how many were not told since
        self._effects: list[SessionEffect] = []
        self._frames: list[MarketFrame] = []
        self.phase = Phase.IDLE
        self.connection = 0  # the number of the present one, or the last
        self.refused = 0  # messages that were not understood

    @property
    def is_ready(self) -> bool:
        """Return whether every topic is trusted: a start-up is not over before."""
        return all(each.is_trusted for each in self._subscriptions.values())

    def status(self, topic: str) -> Status:
        """Return where a topic is."""
        return self._subscriptions[topic].status

    def is_trusted(self, topic: str) -> bool:
        """Return whether a topic's subscription is confirmed and its data flow."""
        return self._subscriptions[topic].is_trusted

    def next_time_ns(self) -> int:
        """Return when `on_time` should be called at the latest."""
        if self.phase is Phase.IDLE:
            return 2**62
        return self._connect_ns if self.phase is Phase.WAITING else self._check_ns

    # --- events -------------------------------------------------------------------------------------------------------

    def start(self, now_ns: int) -> list[SessionEffect]:
        """Connect."""
        self._move_clock(now_ns)
        if self.phase is Phase.IDLE:
            self.phase, self._connect_ns = Phase.WAITING, self._now_ns
            self._connect()
        return self._done()

    def stop(self, now_ns: int) -> list[SessionEffect]:
        """Close, and stay closed."""
        self._move_clock(now_ns)
        self._drop("stopped", is_closed=False)
        self.phase = Phase.IDLE
        return self._done()

    def on_open(self, connection: int, now_ns: int) -> list[SessionEffect]:
        """Learn that a connection is open: subscribe."""
        self._move_clock(now_ns)
        if connection == self.connection and self.phase is Phase.CONNECTING:
            self.phase, self._connect_ns = Phase.OPEN, self._now_ns
            self._pinged_ns, self._is_heard = self._now_ns, False
            self._check_ns = self._now_ns + CHECK_NS
            self._ask(self._subscriptions.values())
        return self._done()

    def on_closed(self, connection: int, reason: str, now_ns: int, *, is_banned: bool = False) -> list[SessionEffect]:
        """Learn that a connection is gone, or could not be made; `is_banned` if the venue answered HTTP 403."""
        self._move_clock(now_ns)
        if connection == self.connection and self.phase in (Phase.CONNECTING, Phase.OPEN):
            self._lose(reason, is_closed=True)
            if is_banned:
                self._connect_ns = max(self._connect_ns, self._now_ns + BAN_NS)
                self._alert("connection.banned", f"the venue shut this address out: {reason}; next try in 10 minutes")
        return self._done()

    def on_messages(self, connection: int, messages: Iterable[tuple[int, bytes]]) -> list[SessionEffect]:
        """Take messages as (when it was received, the message), in order."""
        for known_ns, raw in messages:
            self._move_clock(known_ns)
            if self._is_open(connection):
                self._check()
            if not self._is_open(connection):  # one before had it closed, or it is of a connection long gone
                break
            self._is_heard = True
            frame = read_frame(raw, known_ns=self._now_ns, topics=self._topics)
            if isinstance(frame, Answer):
                self._on_answer(frame)
            elif isinstance(frame, Refused):
                self._on_refused(frame)
            elif not isinstance(frame, Pong):
                self._on_data(self._subscriptions[frame.topic.text], frame)
        return self._done()

    def on_time(self, now_ns: int) -> list[SessionEffect]:
        """Look at the clocks."""
        self._move_clock(now_ns)
        if self.phase is Phase.WAITING:
            self._connect()
        elif self.phase is not Phase.IDLE:
            self._check()
        return self._done()

    def resubscribe(self, topic: str, reason: str, now_ns: int, raw: bytes = b"") -> list[SessionEffect]:
        """Have a topic's data begin anew, because what came, or the message `raw`, cannot be believed."""
        self._move_clock(now_ns)
        if raw:
            self._alert("values.refused", f"{topic}: {reason}", raw)
        self._break(self._subscriptions[topic], reason)
        return self._done()

    # --- the connection -----------------------------------------------------------------------------------------------

    def _is_open(self, connection: int) -> bool:
        return connection == self.connection and self.phase is Phase.OPEN

    def _connect(self) -> None:
        if self._now_ns < self._connect_ns:
            return
        free_ns = self._budget.free_ns(self._now_ns)
        if free_ns > self._now_ns:
            self._connect_ns = free_ns
            self._alert("connection.budget_spent", "too many connections were made; waiting until one may be again")
            return
        self._budget.take(self._now_ns)
        self.connection += 1
        self.phase, self._connect_ns = Phase.CONNECTING, self._now_ns
        self._check_ns = self._now_ns + CHECK_NS
        self._emit(Connect(connection=self.connection))

    def _lose(self, reason: str, *, is_closed: bool) -> None:
        """Forget the connection, and plan the next."""
        if self.phase is Phase.OPEN and self._now_ns - self._connect_ns >= STABLE_NS:
            self._attempt = 0
            self._series += 1
        self._drop(reason, is_closed=is_closed)
        self._connect_ns = self._now_ns + self._reconnects.wait_ns(self._attempt, salt=self._series)
        self._attempt += 1
        self.phase = Phase.WAITING
        if self._attempt == FLAPS_MAX:
            self._alert("connection.flapped", f"{FLAPS_MAX} connections failed in a row; the last: {reason}")

    def _drop(self, reason: str, *, is_closed: bool) -> None:
        if self.phase in (Phase.CONNECTING, Phase.OPEN) and not is_closed:
            self._emit(Close(connection=self.connection, reason=reason))
        for each in self._subscriptions.values():
            self._distrust(each, f"connection lost: {reason}")
            each.lose(self._now_ns)
        self._requests.clear()

    def _check(self) -> None:
        """Do what is due."""
        now_ns = self._now_ns
        if now_ns < self._check_ns:
            return
        self._check_ns = now_ns + CHECK_NS
        if self.phase is Phase.CONNECTING:
            if now_ns - self._connect_ns > CONNECT_NS:
                self._lose("it did not open in time", is_closed=False)
            return
        if not self._is_heard and now_ns - self._pinged_ns > PONG_NS:
            self._lose("nothing was heard after a ping", is_closed=False)
            return
        if now_ns - self._pinged_ns >= PING_NS:
            self._pinged_ns, self._is_heard = now_ns, False
            self._send(self._requests.ping())
        for request in self._requests.take_overdue(now_ns - ANSWER_NS):
            self._on_unanswered(request)
        for each in self._subscriptions.values():
            if self._is_open(self.connection):  # one before may have ended it
                self._check_topic(each)

    def _check_topic(self, each: Subscription) -> None:
        now_ns, patience = self._now_ns, each.patience
        match each.status:
            case Status.LIVE:
                if now_ns - each.data_ns > patience.silence_ns:
                    self._on_silence(each, f"silent for {patience.silence_ns // _S} s")
                else:
                    self._trust(each)  # where a connection had to last first
            case Status.CONFIRMED:
                if now_ns - max(each.since_ns, each.data_ns) > patience.first_ns:
                    self._on_silence(each, f"without data for {patience.first_ns // _S} s")
            case Status.BROKEN if now_ns >= each.retry_ns:
                each.happen(Happening.LEAVE, now_ns)
                self._request("unsubscribe", [each])
            case Status.REFUSED if now_ns >= each.retry_ns:
                each.happen(Happening.RETRY, now_ns)
                self._ask([each])
            case _:
                pass

    # --- requests -----------------------------------------------------------------------------------------------------

    def _ask(self, subscriptions: Iterable[Subscription]) -> None:
        """Subscribe: those that were refused before each by itself, for one bad topic spoils its whole request."""
        wanted = [each for each in subscriptions if each.happen(Happening.ASK, self._now_ns)]
        for each in wanted:
            if each.refusals:
                self._request("subscribe", [each])
        easy = [each for each in wanted if not each.refusals]
        for start in range(0, len(easy), self._args_max):
            self._request("subscribe", easy[start : start + self._args_max])

    def _request(self, op: str, subscriptions: Sequence[Subscription], tries: int = 1) -> None:
        names = [each.topic.text for each in subscriptions]
        self._send(self._requests.make(op, names, self._now_ns, tries=tries))

    def _send(self, data: bytes) -> None:
        self._emit(Send(connection=self.connection, data=data))

    def _of(self, names: Iterable[str]) -> list[Subscription]:
        return [self._subscriptions[name] for name in names]

    def _on_unanswered(self, request: Request) -> None:
        if not self._is_open(self.connection):
            return
        if request.tries > 1:
            self._lose(f"no answer to {request.op}", is_closed=False)
        elif request.op == "unsubscribe":
            self._request(request.op, self._of(request.topics), tries=2)
        else:  # one by one: what was subscribed meanwhile answers that it is
            for each in self._of(request.topics):
                self._request("subscribe", [each], tries=2)

    def _on_answer(self, answer: Answer) -> None:
        request = self._requests.take(answer)
        if request is None:
            return
        if request.op == "unsubscribe":  # where that is refused, it was not subscribed
            for each in self._of(request.topics):
                if each.happen(Happening.LEFT, self._now_ns):
                    self._ask([each])
            return
        verdict = judge(request.topics, answer)
        for each in self._of(verdict.confirmed):
            self._confirm(each, is_new=True)
        for each in self._of(verdict.already):
            self._confirm(each, is_new=False)
        for each in self._of(verdict.refused):
            self._refuse(each, answer.text)
        for names in verdict.again:
            self._request("subscribe", self._of(names))

    def _confirm(self, each: Subscription, *, is_new: bool) -> None:
        each.refusals = 0
        if each.status is Status.LIVE:  # it was asked whether it still lives
            each.data_ns = self._now_ns
            if is_new:  # it does again
                each.note_hole()
                self._backfill(each)
        elif each.happen(Happening.CONFIRM, self._now_ns):
            if each.topic.kind is Kind.STATUS:  # it has no first word: it speaks when there is news
                each.happen(Happening.DATA, self._now_ns)
            self._backfill(each)
            self._trust(each)

    def _refuse(self, each: Subscription, text: str) -> None:
        if each.happen(Happening.REFUSE, self._now_ns):
            each.retry_ns = self._now_ns + _S + self._retries.wait_ns(each.refusals, salt=each.salt)
            each.refusals += 1
            each.note_hole()
            self._distrust(each, f"refused: {text}")
            self._alert("topic.refused", f"{each.topic.text}: {text}")

    # --- topics -------------------------------------------------------------------------------------------------------

    def _on_data(self, each: Subscription, frame: MarketFrame) -> None:
        self._frames.append(frame)
        is_live = each.status is Status.LIVE
        if not is_live and isinstance(frame, BookFrame | TickerFrame) and not frame.is_snapshot:
            return  # changes of what we have not got: these topics begin with the whole
        each.data_ns = self._now_ns
        each.venue_ns = max(each.venue_ns, _complete_ns(frame))
        if not is_live:
            each.happen(Happening.DATA, self._now_ns)
            self._trust(each)
        elif each.strikes or each.resyncs:
            each.strikes = 0
            if self._now_ns - each.since_ns >= STABLE_NS:
                each.resyncs = 0

    def _on_refused(self, refused: Refused) -> None:
        self.refused += 1
        self._alert("message.refused", refused.reason, refused.raw)
        each = self._subscriptions.get(refused.topic)
        if each is not None:
            self._break(each, f"a message that is not understood: {refused.reason}")
        elif refused.is_garbled:  # it may have been anything, of any topic
            self._lose(f"a garbled message: {refused.reason}", is_closed=False)

    def _on_silence(self, each: Subscription, reason: str) -> None:
        each.data_ns = self._now_ns
        if each.status is Status.CONFIRMED and each.topic.kind is Kind.BOOK and each.patience.is_quiet_normal:
            # Its snapshot was lost on the way, and a subscription that lives does not tell it again.
            self._break(each, reason)
            return
        if each.patience.is_quiet_normal:
            # A subscription that lives answers that it does, and then the market has nothing to say.
            self._request("subscribe", [each])
            return
        each.strikes += 1
        if each.strikes == 2:
            self._lose(f"{each.topic.text} stayed {reason}", is_closed=False)
            return
        if each.strikes > 2:
            self._alert("topic.silent", f"{each.topic.text}: {reason}, also after a new connection")
        self._break(each, reason)

    def _break(self, each: Subscription, reason: str) -> None:
        self._distrust(each, reason)
        each.note_hole()
        if each.happen(Happening.BREAK, self._now_ns):
            each.retry_ns = self._now_ns + self._resyncs.wait_ns(each.resyncs, salt=each.salt)
            each.resyncs += 1
            self._check_topic(each)

    def _trust(self, each: Subscription) -> None:
        is_flapping = self._attempt >= FLAPS_MAX and self._now_ns - self._connect_ns < STABLE_NS
        if each.status is Status.LIVE and not each.is_trusted and not is_flapping:
            each.is_trusted = True
            self._emit(Trust(topic=each.topic.text))

    def _distrust(self, each: Subscription, reason: str) -> None:
        if each.is_trusted:
            each.is_trusted = False
            self._emit(Distrust(topic=each.topic.text, reason=reason, known_ns=self._now_ns))

    def _backfill(self, each: Subscription) -> None:
        """Ask for what was missed: of trades and bars; books and tickers begin with the whole."""
        if each.hole_ns and each.topic.kind in (Kind.TRADES, Kind.KLINE):
            self._emit(Backfill(topic=each.topic.text, from_ns=each.hole_ns, to_ns=self._now_ns))
        each.hole_ns = 0

    # --- effects ------------------------------------------------------------------------------------------------------

    def _move_clock(self, now_ns: int) -> None:
        self._now_ns = max(self._now_ns, now_ns)

    def _alert(self, code: str, text: str, raw: bytes = b"") -> None:
        last_ns, held = self._alerted.get(code, (-ALERT_NS, 0))
        if self._now_ns - last_ns < ALERT_NS:
            self._alerted[code] = (last_ns, held + 1)
            return
        self._alerted[code] = (self._now_ns, 0)
        self._emit(Alert(code=code, text=text, raw=raw, suppressed=held))

    def _emit(self, effect: SessionEffect) -> None:
        self._flush()
        self._effects.append(effect)

    def _flush(self) -> None:
        if self._frames:
            self._effects.append(Deliver(frames=self._frames))
            self._frames = []

    def _done(self) -> list[SessionEffect]:
        self._flush()
        effects, self._effects = self._effects, []
        return effects


def _complete_ns(frame: MarketFrame) -> int:
    """Return the time up to which a topic has told everything, the venue's clock."""
    match frame:
        case TradeFrame(trades=[*_, last]):
            return last.T * _MS
        case KlineFrame(klines=[*_, last]):
            return last.start * _MS  # that bar is not finished
    return frame.ts_ns


def characters(topics: Iterable[Topic]) -> int:
    """Return how much of a connection's limit topics take: their text, quotes and commas."""
    return sum(len(topic.text) + 3 for topic in topics)
