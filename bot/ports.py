"""The seams: what each part asks of the part at its edge, as Protocols.

A mode of running (replay, paper, live) is a choice of who stands behind these.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from bot.core.calendar import Key
from bot.core.inference_frames import Decision, NewRows, Outcome
from bot.core.order import Order
from bot.core.past_trades import Unit
from bot.core.stops import Stops
from bot.core.submission.requests import LookUpWanted, Send
from bot.domain.account import Position
from bot.domain.history import EquityPoint, PastOrder, PastTrade, Result
from bot.domain.instrument import Instrument
from bot.domain.ledger import LedgerEntry, RiskDenied
from bot.domain.market import BarBatch, ForecastBatch, FundingBatch, MarketUpdate, TradeBatch
from bot.domain.operation import CommandDone, Notice, OperatorCommand, Snapshot
from bot.domain.orders import AccountEvent, Action, Command
from bot.domain.venue_records import BookingRecord

T = TypeVar("T")

Actions = Action | Sequence[Action] | None
"""What a strategy answers: what it wants, or nothing."""


class Cancelable(Protocol):
    """A scheduled call that may be called off."""

    def cancel(self) -> None:
        """Call it off; nothing happens if it has already been made."""


class Clock(Protocol):
    """The time, as this run has it."""

    def now_ns(self) -> int:
        """Return ns since the epoch, UTC."""


class Calendar(Clock, Protocol):
    """The clock, and what is due on it. Live, the horizon is open: what has arrived has happened."""

    def horizon(self) -> Key:
        """Return the key of the next thing due: before it, nothing else can happen."""

    def advance(self, time_ns: int) -> None:
        """Move on to a time before the horizon, because its owner acts then. Live, time moves by itself."""

    def schedule(self, key: Key, callback: Callable[..., None], *args: Any) -> Cancelable:
        """Call `callback` when everything before `key` has happened."""


class MarketHistory(Protocol):
    """Recorded market data of one instrument within a range of time [from_ns, to_ns)."""

    @property
    def source_scale_ns(self) -> int | None:
        """Return the length of the recorded bars, None where trades are recorded."""

    def span_ns(self) -> tuple[int, int]:
        """Return the first and one past the last ns that the range holds data of.

        Raises:
            DataError: it holds none.
        """

    def slabs(self, rows: int) -> Iterator[TradeBatch] | Iterator[BarBatch]:
        """Read all of it in order, at most `rows` rows at a time, without holding more than that in memory.

        Raises:
            DataError: what is recorded is damaged or impossible; the message names the row.
        """

    def funding(self) -> FundingBatch | None:
        """Return the settled funding rates of the range, None where none are recorded."""


Histories = Sequence[tuple[Instrument, MarketHistory]]
"""Each instrument that a run is about, and what is recorded of it."""


class MarketSource(Protocol):
    """A venue's live market."""

    async def run(self, deliver: Callable[[MarketUpdate], None]) -> None:
        """Hand over what becomes known, as it does, until stopped.

        `deliver` must not wait, and what it raises ends the source and is raised here.
        """

    def stop(self) -> None:
        """Let `run` close everything and return."""

    @property
    def is_ready(self) -> bool:
        """Return whether everything that was asked for flows and may be believed."""

    def doubts(self, category: str, name: str) -> list[str]:
        """Return why no new exposure in an instrument may rest on its data now; nothing where it may."""


class Venue(Protocol):
    """Where orders go."""

    def send(self, command: Command) -> None:
        """Ask for something and return at once.

        Every outcome, a refusal and "unknown" too, comes back as an account event through the executor's inbox.
        """


class AccountVenue(Protocol):
    """A live account: everything asked of it returns at once, and what comes of it comes home as a message."""

    def send(self, send: Send) -> None:
        """Send a request that is durable, once; the answer comes home as `Answered`."""

    def look_up(self, wanted: LookUpWanted) -> None:
        """Look for an order, its fills or a position."""

    def cancel_all(self, instruments: Sequence[str]) -> None:
        """Cancel whatever is open in these instruments, until nothing is."""

    def compare(self, why: str, since_ms: int) -> None:
        """Ask for everything: what was executed from `since_ms` on comes home first, then `AccountCompared`.

        Args:
            why: for the logs.
            since_ms: by the venue's clock, up to when all executions are booked; 0 for never yet.
        """


class BookingSource(Protocol):
    """The venue's own ledger of the account."""

    async def bookings(self, from_ms: int, to_ms: int) -> tuple[BookingRecord, ...] | str:
        """Return its lines of a span, instruments by our names; or why they cannot be had."""

    async def tell_executions(self, from_ms: int, to_ms: int) -> None:
        """Let the executions of a span come home, those that were told before left out."""


class Predictor(Protocol):
    """A forecasting model, fed with closed bars in any cut and always answering the same."""

    @property
    def model_id(self) -> str:
        """Return what identifies weights and settings."""

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """Return the time scales it reads."""

    def predict(self, bars: Mapping[int, BarBatch]) -> ForecastBatch | None:
        """Return a forecast for every decision bar in `bars`, None where there is none."""


class ForecastService(Protocol):
    """Where live forecasts come from: asked, never waited for."""

    @property
    def model_id(self) -> str:
        """Return what answers now."""

    def remember(self, rows: NewRows) -> None:
        """Keep rows for whoever has to be told the past."""

    def ask(self, rows: Sequence[NewRows], decisions: Sequence[Decision], now_ns: int) -> int | None:
        """Hand over new rows, remembered already, and ask; return the question's id, None where nobody can answer."""

    def poll(self, now_ns: int) -> Sequence[Outcome]:
        """Return what has become of questions."""

    def next_ns(self) -> int | None:
        """Return when to poll again at the latest."""


class Context(Protocol):
    """What a strategy may look at: closed bars, its own positions and orders, the time. Nothing from the future."""

    def now_ns(self) -> int:
        """Return the time of what the strategy is being told."""

    def instrument(self, name: str) -> Instrument:
        """Return the instrument's filters."""

    def bars(self, instrument: str, scale: int | str, count: int) -> BarBatch:
        """Return the newest `count` closed bars known by now, oldest first; fewer where there are fewer.

        A scale is a bar's length in ns, or the rule that closes it, such as "volume:100".
        """

    def column(self, instrument: str, scale: int | str, name: str) -> NDArray[Any]:
        """Return the strategy's own column `name` for the bars known by now, the newest last."""

    def position(self, instrument: str) -> Position:
        """Return what the strategy holds, by the fills it has been told of."""

    def open_orders(self, instrument: str) -> Sequence[Order]:
        """Return its orders that may still fill, by what it has been told."""

    def stops(self, instrument: str) -> Stops:
        """Return the exits that the venue keeps for its position, by what it has been told."""


class StrategySpec(Protocol):
    """What the strategy actor asks of a strategy; `strategies/base.py` is the class people write against."""

    name: str
    lookback: int

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """Return the scales whose bars it wants to be told of, or to look back on."""

    @property
    def event_rules(self) -> tuple[str, ...]:
        """Return the same of the bars that the market closes: rules such as "volume:100"."""

    @property
    def wants_forecasts(self) -> bool:
        """Return whether it wants to be told of forecasts."""

    @property
    def timer_ns(self) -> int | None:
        """Return how often it wants to be told the time, None for never."""

    def bind(self, context: Context) -> None:
        """Receive what it may look at, before the first bar."""

    def columns(self, bars: BarBatch) -> Mapping[str, NDArray[Any]]:
        """Return the strategy's own columns for these bars, the next of their stream: one value per bar."""

    def next_row(self, bars: BarBatch, columns: Mapping[str, NDArray[Any]], start: int) -> int:
        """Return the first row from `start` on at which `tell_bar` could do anything; len(bars) if none."""

    def next_forecast(self, forecasts: ForecastBatch, start: int) -> int:
        """Return the first row from `start` on at which `tell_forecast` could do anything."""

    def tell_bar(self, bars: BarBatch, columns: Mapping[str, NDArray[Any]], row: int) -> Actions:
        """Answer a closed bar."""

    def tell_forecast(self, forecasts: ForecastBatch, row: int) -> Actions:
        """Answer a forecast."""

    def tell_event(self, event: AccountEvent | RiskDenied) -> Actions:
        """Answer a fill or another event of its own orders, or what the venue did to its position by itself."""

    def tell_time(self, now_ns: int) -> Actions:
        """Answer the timer."""


class LedgerWriter(Protocol):
    """Where entries go to become durable."""

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """Hand over entries; they are durable once a later `commit` has returned."""

    async def commit(self) -> None:
        """Return when all that was appended is as durable as the mode asks.

        Raises:
            StorageError: it cannot be made durable.
        """


class Operated(Protocol):
    """A running bot, as its operator reaches it."""

    async def snapshot(self) -> Snapshot:
        """Return what there is to see now. It costs the bot little, and is never older than the call.

        Raises:
            DataError: the bot does not answer.
        """

    async def foresee(self, command: OperatorCommand) -> str:
        """Return in one line what a command would do now, with its notional: shown before it is confirmed.

        Raises:
            DataError: the bot does not answer.
        """

    async def obey(self, command: OperatorCommand, by: str) -> CommandDone:
        """Carry out a command.

        Args:
            by: who asks, for the ledger: "host", "telegram:<user id>", "page".
        """


class NoticeSink(Protocol):
    """Where notices go."""

    def tell(self, notice: Notice) -> None:
        """Take a notice and return at once. What cannot be kept is dropped by the sink's policy, and counted."""


class DeliveryLog(Protocol):
    """Where what actors are told is noted."""

    def note(self, actor: str, verb: str, value: Any, kind: str = "") -> None:
        """Note something and return at once; never raises, whatever becomes of the note.

        Args:
            verb: a `core.deliveries.Verb`.
            kind: of a value that is no message.
        """


class LedgerQueries(Protocol):
    """What an operator asks a ledger about the past. It blocks: asked off the event loop, by one at a time.

    Every method raises DataError where the ledger cannot be read.
    """

    def total(self) -> Result:
        """Return what the whole ledger brought."""

    def by_instrument(self) -> Sequence[Result]:
        """Return what each instrument brought, the best first."""

    def by_strategy(self) -> Sequence[Result]:
        """Return what each of several strategies brought by its own book, the best first; none where one trades."""

    def periods(self, unit: Unit, count: int, now_ns: int) -> Sequence[Result]:
        """Return what the last `count` days, weeks or months brought, UTC, the one that runs last."""

    def trades(self, count: int) -> Sequence[PastTrade]:
        """Return the last trades that ended, the newest first."""

    def orders(self, count: int) -> Sequence[PastOrder]:
        """Return the last orders, the newest first."""

    def equity(self, since_ns: int, count: int) -> Sequence[EquityPoint]:
        """Return the account at the ends of days since then, the last `count` of them, in order."""


class Worker(Protocol):
    """A helper process that is sent frames of bytes and answers some."""

    def send(self, frame: bytes) -> None:
        """Hand over a frame; wait only where far too much is waiting already.

        Raises:
            BrokenPipeError: it has gone.
        """

    def receive(self) -> bytes | None:
        """Wait for an answer; None if it has gone."""

    def close(self) -> None:
        """Let it end, and wait until it has."""


class OffLoop(Protocol):
    """Where blocking work is done, one piece at a time, in order, while the event loop goes on."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises."""


class LedgerStore(Protocol):
    """The database and the data files of one run; only the ledger actor writes."""

    def write(self, entries: Sequence[LedgerEntry]) -> None:
        """Add entries, in order.

        Raises:
            StorageError: the disk or the database refuses.
        """

    def write_tape(self, rows: "TapeRows | ForecastBatch") -> None:
        """Add a stretch of what the charts need."""

    def commit(self) -> None:
        """Make all that was written durable.

        Raises:
            StorageError: the disk or the database refuses.
        """


class TapeRows(msgspec.Struct, frozen=True, kw_only=True):
    """What the charts need of a stretch of bars: columns of equal length."""

    instrument: str
    close_ns: NDArray[np.int64]
    open: NDArray[np.float64]  # prices in quote currency per base unit
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]  # base currency
    position: NDArray[np.float64]  # base currency, signed
    profit: NDArray[np.float64]  # quote currency since the start, of this instrument
