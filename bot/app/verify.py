"""Runs a run again from its record, and holds every decision, order and ledger row against what it left.

A live or paper run: each of its actors is made anew, begins where the run began, is told what it was told, and must do
what it did. A replay needs no record: it is run again from its settings, and must leave the same ledger.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bot import __version__
from bot.actors.bar_aggregator import BarAggregatorActor
from bot.actors.inbox import Stop
from bot.actors.inference import Inference
from bot.actors.live_executor import LiveExecutor
from bot.actors.recorded import WORDS
from bot.actors.strategy import StrategyActor
from bot.app.market_half import make_aggregator, make_delay
from bot.app.recording import EXECUTOR, STRATEGY, record_file, strategy_hash
from bot.app.strategy_hosts import make_host, take_up
from bot.app.trading_parts import make_desk, make_predictor
from bot.app.verify_script import (
    Channel,
    Player,
    Script,
    ScriptedCalendar,
    ScriptedInbox,
    ScriptedLedger,
    ScriptedVenue,
)
from bot.app.verify_words import Difference, changes
from bot.core.checkpoint import capture, decode, is_like, restore
from bot.core.deliveries import FORMAT, Head, Heard, Told, Verb
from bot.core.effects import Notice, Wish
from bot.core.filters import FiltersTold
from bot.core.submission.desk import LiveDesk
from bot.core.submission.ids import ClientOrderIds
from bot.domain.errors import ConfigError, DataError, InvariantBroken
from bot.domain.market import MarketSlab, is_same
from bot.runtime.setting_files import read_toml
from bot.runtime.trade_settings import TradeSettings
from bot.store.deliveries import DeliveryReader
from bot.store.run_journal import RunJournal
from strategies.registry import make_strategies

_TELL_EVERY = 5_000  # notes


@dataclass(slots=True)
class Verified:
    """What came of running a run again."""

    run_id: str
    notes: int = 0  # read
    messages: int = 0  # taken by actors
    decisions: int = 0
    sends: int = 0  # requests that were sent, the same
    rows: int = 0  # of the ledger, the same byte for byte
    rows_after: int = 0  # beyond the last delivery on record: not verified
    cautions: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)  # the first of each actor, by note

    is_partial: bool = False  # the run did more than is on record

    @property
    def is_identical(self) -> bool:
        """Return whether everything on record came out the same."""
        return not self.differences


def verify_run(
    directory: Path, *, ledger: str | None = None, on_progress: Callable[[float, int], None] = lambda done, notes: None
) -> Verified:
    """Return what comes of running a live or paper run again from its record.

    Args:
        directory: the run's.
        ledger: where its ledger is; None for where its settings say.
        on_progress: told how much of the record is done, of 1, and how many notes that is.

    Raises:
        DataError: it has no record, or the record or the ledger cannot be read.
        ConfigError: its strategy cannot be made.
    """
    path = record_file(directory)
    if not path.is_file():
        raise DataError(f"{directory}: no deliveries were recorded (run.record_deliveries); it cannot be verified")
    settings = read_settings(directory)
    reader = DeliveryReader(path, WORDS)
    head = reader.head()
    if head.format != FORMAT:
        raise DataError(f"{path}: the record is of format {head.format}; this version reads {FORMAT}")
    where = ledger or settings.ledger.at or str(_ledger_directory(settings, directory))
    journal = RunJournal(where, run_id=head.run_id, epoch=head.epoch, after_seq=head.after_seq)
    try:
        return _Again(settings, head, journal).play(reader, on_progress)
    finally:
        journal.close()


def read_settings(directory: Path) -> TradeSettings:
    """Return the settings that a run resolved and left in its directory; the environment has no say.

    Raises:
        DataError: there are none, or they are not of a paper or live run.
    """
    path = directory / "config.toml"
    try:
        return TradeSettings(**read_toml(path))
    except ConfigError as error:
        raise DataError(str(error)) from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise DataError(f"{path}: {place}: {problem['msg']}; it was written by another version, or changed") from error


def _ledger_directory(settings: TradeSettings, directory: Path) -> Path:
    venue = settings.venue
    if venue.environment == "emulator" and not venue.url:
        return directory
    name = f"{venue.environment}-{venue.uid}" if venue.uid else venue.environment
    return directory.resolve().parent / "ledgers" / name


class _Again:
    """All actors of a run, made anew around what is on record."""

    def __init__(self, settings: TradeSettings, head: Head, journal: RunJournal) -> None:
        self._settings = settings
        self._head = head
        self._journal = journal
        self._verified = Verified(run_id=head.run_id)
        self._strategy = make_strategies(settings.chosen)
        self._instruments = {each.name: each for each in head.instruments}
        self._players: dict[str, Player] = {}
        self._channels: dict[str, list[tuple[Callable[[Any], bool], Channel, Player]]] = {}  # by who takes
        self._is_stopping = self._is_done = False  # the executor was told to stop, and has written its last
        try:
            self._begins = decode(head.state)
        except DataError as error:
            raise DataError(
                f"run {head.run_id}: the state that it began with cannot be read by version {__version__}; verify it "
                f"with the version that made it, {head.version}"
            ) from error
        self._caution()
        self._check_beginning()
        self._add_executor()
        self._add_strategy()
        self._add_market_halves()

    def play(self, reader: DeliveryReader, on_progress: Callable[[float, int], None]) -> Verified:
        """Play the record to its end, or to where it can be read."""
        verified = self._verified
        try:
            for told in reader:
                verified.notes += 1
                self._see(told)
                if verified.notes % _TELL_EVERY == 0:
                    on_progress(reader.done, verified.notes)
        except DataError as error:
            verified.differences.append(
                Difference(number=reader.count, actor="", what="the record is damaged", then=str(error), now="")
            )
        is_to_the_end = self._is_done and not reader.torn  # torn: something may have followed the order to stop
        is_whole = is_to_the_end and not reader.broken and not verified.differences
        for player in self._players.values():
            player.play(is_last=True, is_whole=is_whole)
        for channels in self._channels.values():
            for _, channel, maker in channels:
                channel.close(is_whole=is_whole and not (maker.is_over and maker.failure))
        self._count_rows(is_whole)
        verified.is_partial = bool(reader.broken) or not is_to_the_end
        if reader.broken:
            verified.cautions.append(f"recording ended before the run did, at note {reader.count}: {reader.broken}")
        elif not is_to_the_end:
            verified.cautions.append(f"the run was cut short: its record ends at note {reader.count}")
        for name, player in self._players.items():
            if player.failure and not verified.differences:
                verified.cautions.append(f"{name} ends with an error, as it did in the run: {player.failure}")
            player.close()
        verified.sends = self._venue.sent
        verified.rows = self._ledger.compared
        verified.decisions = self._ledger.decisions
        verified.differences.sort(key=lambda each: each.number)
        return verified

    def _see(self, told: Told) -> None:
        if told.verb is Verb.TOOK:
            self._verified.messages += 1
            for is_of, channel, _ in self._channels.get(told.actor, ()):
                if is_of(told.value):
                    channel.see(told)
            self._is_stopping |= told.actor == EXECUTOR and isinstance(told.value, Stop)
        self._is_done |= self._is_stopping and told.actor == EXECUTOR and told.kind == Heard.COMMIT
        player = self._players.get(told.actor)
        if player is not None:
            player.add(told)

    def _differ(self, difference: Difference) -> None:
        """Note what differs; what a different actor hands on proves nothing any more."""
        self._verified.differences.append(difference)
        for channels in self._channels.values():
            for _, channel, maker in channels:
                channel.is_off |= maker.script.actor == difference.actor

    def _count_rows(self, is_whole: bool) -> None:
        """See what of the ledger nothing on record explains."""
        if any(each.actor == EXECUTOR for each in self._verified.differences):
            return
        first = self._journal.next()
        if first is None:
            return
        if is_whole:
            what = f"ledger row {first.seq} was written by nobody"
            self._differ(
                Difference(number=self._verified.notes, actor=EXECUTOR, what=what, then=first.body, now="no such row")
            )
            return
        self._verified.rows_after = 1
        while self._journal.next() is not None:
            self._verified.rows_after += 1

    # --- its parts ----------------------------------------------------------------------------------------------------

    def _caution(self) -> None:
        head, cautions = self._head, self._verified.cautions
        if head.version != __version__:
            cautions.append(f"the run was made by version {head.version}, this is {__version__}")
        if head.config_hash != self._settings.config_hash():
            cautions.append(
                "the settings are not those of the run: config.toml was changed, or this version has others"
            )
        if head.strategy_hash != strategy_hash(self._strategy):
            cautions.append(f"the file of strategy {self._strategy.name} is not what it was")

    def _make_desk(self) -> LiveDesk:
        head, settings = self._head, self._settings
        ids = ClientOrderIds(environment=settings.environment_letter, epoch=head.epoch, count=head.order_count)
        return make_desk(settings, self._instruments, ids, head.currency)

    def _check_beginning(self) -> None:
        """See that the run began with what its ledger held then."""
        head, desk = self._head, self._make_desk()
        after, kept = self._journal.kept_state()
        begins = None
        if kept is not None:
            try:
                begins = decode(kept)
            except DataError:
                after = 0  # kept by another version; the entries say it all
        try:
            desk.restore(self._journal.entries_before(after), begins)
        except InvariantBroken as error:
            self._differ(_beginning("it was restored", f"its entries contradict each other: {error}"))
            return
        now = capture(desk.orders.state, desk.submissions.journal, last=(head.epoch, head.order_count))
        if not is_like(self._begins, now):
            changed = changes(self._begins, now)
            self._differ(_beginning("another state", "what the entries before the run make", changed))

    def _add_executor(self) -> None:
        head, settings = self._head, self._settings
        script = Script(EXECUTOR)
        desk = self._desk = self._make_desk()
        restore(self._begins, desk.orders.state, desk.submissions.journal)
        calendar = ScriptedCalendar(script)
        self._ledger = ScriptedLedger(script, self._journal)
        self._venue = ScriptedVenue(script)
        notices = Channel("order_executor to strategy", _is_equal, self._differ)
        executor = LiveExecutor(
            inbox=ScriptedInbox(script),
            strategy=notices,
            calendar=calendar,
            clock=_Stopped(),
            desk=desk,
            venue=self._venue,
            ledger=self._ledger,
            instruments=self._instruments,
            is_killed=lambda: bool(script.heard(Heard.KILLED)),
            doubts=lambda name: list(script.heard(Heard.DOUBTS)),
            check_ns=settings.run.check_every,
            compare_ns=settings.run.compare_every,
        )

        async def live() -> None:
            await executor.start(
                executed_ms=head.executed_ms,
                creates_from_ns=head.creates_from_ns,
                first_cash=head.first_cash,
                first_coins=head.first_coins,
            )
            await executor.run()

        player = self._players[EXECUTOR] = Player(script, live(), self._differ)
        self._listen(STRATEGY, lambda message: isinstance(message, Notice | FiltersTold), notices, player)

    def _add_strategy(self) -> None:
        script = Script(STRATEGY)
        wishes = Channel("strategy to order_executor", _is_equal, self._differ, is_all_taken=True)
        host = make_host(self._strategy, list(self._instruments.values()))
        take_up(host, self._desk.orders.state)
        actor = StrategyActor(
            inbox=ScriptedInbox(script), outbox=wishes, calendar=ScriptedCalendar(script), host=host, is_begun=False
        )
        player = self._players[STRATEGY] = Player(script, actor.run(), self._differ)
        self._listen(EXECUTOR, lambda message: isinstance(message, Wish), wishes, player)

    def _add_market_halves(self) -> None:
        for stream, (name, instrument) in enumerate(self._instruments.items()):
            before, after = f"bar_aggregator:{name}", f"inference:{name}"
            script, bars = Script(before), Channel(f"{before} to {after}", is_same_slab, self._differ)
            aggregator = BarAggregatorActor(
                inbox=ScriptedInbox(script),
                outbox=bars,
                aggregator=make_aggregator(self._settings, self._strategy, instrument),
                is_live=True,
            )
            player = self._players[before] = Player(script, aggregator.run(), self._differ)
            self._listen(after, lambda message: isinstance(message, MarketSlab | Stop), bars, player)
            self._add_inference(after, name, stream)

    def _add_inference(self, actor: str, name: str, stream: int) -> None:
        script = Script(actor)
        whom = {each: Channel(f"{actor} to {each}", is_same_slab, self._differ) for each in (STRATEGY, EXECUTOR)}
        inference = Inference(
            inbox=ScriptedInbox(script),
            deliver=[each.deliver for each in whom.values()],
            predictor=make_predictor(self._settings, self._strategy),
            delay=make_delay(self._settings, stream),
        )
        player = self._players[actor] = Player(script, inference.run(), self._differ)
        for taker, channel in whom.items():
            self._listen(taker, _of_instrument(name), channel, player)

    def _listen(self, taker: str, is_of: Callable[[Any], bool], channel: Channel, maker: Player) -> None:
        self._channels.setdefault(taker, []).append((is_of, channel, maker))


class _Stopped:
    """For those outside, of whom there are none."""

    def now_ns(self) -> int:
        """See `ports.Clock`."""
        return 0


def _beginning(then: str, now: str, changed: tuple[str, ...] = ()) -> Difference:
    what = "the run began with another state than its ledger held"
    return Difference(number=0, actor="ledger", what=what, then=then, now=now, changed=changed)


def is_same_slab(one: Any, other: Any) -> bool:
    """Return whether two messages of the market half agree bit for bit."""
    if not (isinstance(one, MarketSlab) and isinstance(other, MarketSlab)):
        return type(one) is type(other)
    if (one.instrument, one.watermark_ns, one.late_trades) != (other.instrument, other.watermark_ns, other.late_trades):
        return False
    pairs: list[tuple[Any, Any]] = [
        (one.trades, other.trades),
        (one.base_bars, other.base_bars),
        (one.forecasts, other.forecasts),
    ]
    for left, right in ((one.bars, other.bars), (one.event_bars, other.event_bars)):
        if list(left) != list(right):
            return False
        pairs += zip(left.values(), right.values(), strict=True)
    return all(a is b or (a is not None and b is not None and is_same(a, b)) for a, b in pairs)


def _is_equal(one: Any, other: Any) -> bool:
    return bool(one == other)


def _of_instrument(name: str) -> Callable[[Any], bool]:
    """Return whether a message comes from the market half of an instrument; a model in a process of its own tells
    forecasts alone, which are taken as recorded."""

    def is_of(message: Any) -> bool:
        if not isinstance(message, MarketSlab) or message.instrument.name != name:
            return False
        return message.forecasts is None or bool(message.bars)

    return is_of
