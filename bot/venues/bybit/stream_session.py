"""One public connection and its topics: what to subscribe to, whom to believe, what to ask for again.

When to connect, to give up and to come back is any connection's: `connection_life`.

A topic is trusted when the venue has confirmed its subscription and data have come, both: a refused subscription looks
healthy and delivers nothing. Of trades, bars and notices, which may have nothing to tell, the confirmation counts: the
gate (`trade_gate`) asks by REST whether trades are missing, and holds them against the venue's minutes. A silent topic
is asked for again, once by itself, once by a new connection, then ever more rarely.

Source: Bybit V5, websocket connect; faults N5 to N7, N11, N17, N18 and M10 of the fault catalogue.
"""

from collections.abc import Iterable, Iterator, Sequence

from bot.venues.bybit.backoff import Backoff, ConnectBudget
from bot.venues.bybit.connection_life import STABLE_NS, ConnectionLife, Phase
from bot.venues.bybit.frames import read_frame
from bot.venues.bybit.stream_effects import (
    Backfill,
    Deliver,
    Distrust,
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

ANSWER_NS = 5 * _S  # a request must be answered within this

SPOT_ARGS_MAX = 10  # topics in one request, the venue's limit on spot
ARGS_MAX = 50  # elsewhere our own: what one bad topic can hold up
ARGS_CHARACTERS_MAX = 21_000  # of all topics of a connection


class StreamSession(ConnectionLife):
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

    check_ns = 100 * _MS

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
        super().__init__(Backoff(seed=seed, stream=3 * stream), budget)
        own = patience or {}
        self._topics = {topic.text: topic for topic in topics}
        self._subscriptions = {
            topic.text: Subscription(topic, own.get(topic.text, patience_of(topic, category)), salt)
            for salt, topic in enumerate(topics)
        }
        self._args_max = SPOT_ARGS_MAX if category == "spot" else ARGS_MAX
        self._resyncs = Backoff(seed=seed, stream=3 * stream + 1, first_ns=0)
        self._retries = Backoff(seed=seed, stream=3 * stream + 2, first_ns=60 * _S, base_ns=120 * _S, max_ns=600 * _S)
        self._requests = Requests()
        self._frames: list[MarketFrame] = []

    @property
    def is_ready(self) -> bool:
        """Return whether every topic is trusted: a start-up is not over before."""
        return all(each.is_trusted for each in self._subscriptions.values())

    def status(self, topic: str) -> Status:
        """Return where a topic is."""
        return self._subscriptions[topic].status

    def why_doubted(self, topic: str) -> str:
        """Return in words why a topic is not trusted yet."""
        status = self._subscriptions[topic].status
        if status is Status.LIVE and self.is_flapping:
            return f"the connection has come and gone, and must last {STABLE_NS // _S} s before it is trusted again"
        return status.value

    def is_trusted(self, topic: str) -> bool:
        """Return whether a topic's subscription is confirmed and its data flow."""
        return self._subscriptions[topic].is_trusted

    def heard(self) -> Iterator[tuple[Topic, int, int, bool]]:
        """Yield each topic, when it was last heard of (0: never), how long it may be silent, and if it is trusted."""
        for each in self._subscriptions.values():
            yield each.topic, each.data_ns, each.patience.silence_ns + ANSWER_NS, each.is_trusted

    # --- events -------------------------------------------------------------------------------------------------------

    def on_messages(self, connection: int, messages: Iterable[tuple[int, bytes]]) -> list[SessionEffect]:
        """Take messages as (when it was received, the message), in order."""
        for known_ns, raw in messages:
            self._now_ns = max(self._now_ns, known_ns)
            if self._now_ns >= self._check_ns and self._is_open(connection):
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

    def resubscribe(self, topic: str, reason: str, now_ns: int, raw: bytes = b"") -> list[SessionEffect]:
        """Have a topic's data begin anew, because what came, or the message `raw`, cannot be believed."""
        self._move_clock(now_ns)
        if raw:
            self._alert("values.refused", f"{topic}: {reason}", raw)
        self._break(self._subscriptions[topic], reason)
        return self._done()

    # --- the connection -----------------------------------------------------------------------------------------------

    def _on_opened(self) -> None:
        self.phase = Phase.OPEN
        self._ask(self._subscriptions.values())

    def _on_dropped(self, reason: str, *, was_open: bool) -> None:
        for each in self._subscriptions.values():
            self._distrust(each, f"connection lost: {reason}")
            each.lose(self._now_ns)
        self._requests.clear()

    def _on_check(self) -> None:
        for request in self._requests.take_overdue(self._now_ns - ANSWER_NS):
            self._on_unanswered(request)
        for each in self._subscriptions.values():
            if self.phase is Phase.OPEN:  # one before may have ended it
                self._check_topic(each)

    def _ping(self) -> bytes:
        return self._requests.ping()

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
                else:
                    self._trust(each)
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
        if each.status in (Status.LIVE, Status.CONFIRMED):  # it was asked whether it still lives
            each.data_ns = self._now_ns
            if is_new:  # it does again
                each.note_hole()
                self._backfill(each)
        elif each.happen(Happening.CONFIRM, self._now_ns):
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
        is_proven = each.status is Status.LIVE or (each.status is Status.CONFIRMED and not each.patience.needs_data)
        if is_proven and not each.is_trusted and not self.is_flapping:
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

    def _emit(self, effect: SessionEffect) -> None:
        self._flush()
        super()._emit(effect)

    def _flush(self) -> None:
        if self._frames:
            self._effects.append(Deliver(frames=self._frames))
            self._frames = []

    def _done(self) -> list[SessionEffect]:
        effects, self._effects = self._effects, []
        if self._frames:
            effects.append(Deliver(frames=self._frames))
            self._frames = []
        return effects


def _complete_ns(frame: MarketFrame) -> int:
    """Return the time up to which a topic has told everything, the venue's clock."""
    if isinstance(frame, TradeFrame) and frame.trades:
        return frame.trades[-1].T * _MS
    if isinstance(frame, KlineFrame) and frame.klines:
        return frame.klines[-1].start * _MS  # that bar is not finished
    return frame.ts_ns


def characters(topics: Iterable[Topic]) -> int:
    """Return how much of a connection's limit topics take: their text, quotes and commas."""
    return sum(len(topic.text) + 3 for topic in topics)
