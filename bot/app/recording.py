"""A run's record of deliveries: made beside trading, so that `bot verify` can run its actors again."""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import structlog

from bot import __version__
from bot.actors.inbox import Inbox
from bot.actors.recorded import WORDS, RecordedCalendar, RecordedLedger, RecordedVenue, Tap
from bot.core.checkpoint import capture, encode
from bot.core.deliveries import Head, Heard
from bot.core.submission.desk import LiveDesk
from bot.domain.instrument import Instrument
from bot.ports import AccountVenue, Calendar, LedgerWriter
from bot.runtime.env import WriterThread
from bot.runtime.supervisor import Run
from bot.store.deliveries import FILE, DeliveryRecorder
from strategies.base import Strategy

log = structlog.get_logger()
T = TypeVar("T")

EXECUTOR, STRATEGY = "order_executor", "strategy"
"""Names of actors in a record; the market half's are `bar_aggregator:<instrument>` and `inference:<instrument>`."""


class Recording:
    """Puts itself between actors and what they are told; does nothing where nothing is to be recorded.

    Args:
        path: of the record; None for none.
        stack: closes it, after the actors.
        on_broken: told why the record ends before the run does.

    Raises:
        StorageError: the file cannot be made.
    """

    def __init__(
        self, path: Path | None, stack: AsyncExitStack, on_broken: Callable[[str], None] = lambda why: None
    ) -> None:
        self._log: DeliveryRecorder | None = None
        if path is None:
            return
        thread = WriterThread("deliveries")
        stack.callback(thread.close)

        def tell(why: str) -> None:
            log.error("deliveries.broken", why=why)
            on_broken(f"this run cannot be verified beyond this point: {why}")

        self._log = DeliveryRecorder(path, thread, words=WORDS, on_broken=tell)
        stack.push_async_callback(self._log.close)

    def begin(self, head: Head) -> None:
        """Note what the run begins with, before any actor is told anything."""
        if self._log is not None:
            self._log.begin(head)

    def add_to(self, actors: dict[str, Run]) -> None:
        """Have it written beside the actors."""
        if self._log is not None:
            actors["deliveries"] = self._log.run

    def watch(self, actor: str, inbox: Inbox[Any]) -> None:
        """Note what is taken from an inbox."""
        if self._log is not None:
            inbox.on_take = Tap(self._log, actor).took

    def calendar(self, actor: str, calendar: Calendar) -> Calendar:
        """Return a calendar for one actor."""
        return calendar if self._log is None else RecordedCalendar(calendar, Tap(self._log, actor))

    def ledger(self, actor: str, ledger: LedgerWriter) -> LedgerWriter:
        """Return a ledger for one actor."""
        return ledger if self._log is None else RecordedLedger(ledger, Tap(self._log, actor))

    def venue(self, actor: str, venue: AccountVenue) -> AccountVenue:
        """Return an account for one actor."""
        return venue if self._log is None else RecordedVenue(venue, Tap(self._log, actor))

    def hearing(self, actor: str, what: Heard, ask: Callable[..., T]) -> Callable[..., T]:
        """Return a question of one actor's."""
        return ask if self._log is None else Tap(self._log, actor).hearing(what, ask)


def record_file(directory: Path) -> Path:
    """Return where a run's record is."""
    return directory / FILE


def head_of(
    desk: LiveDesk,
    *,
    run_id: str,
    mode: str,
    config_hash: str,
    strategy: Strategy[Any],
    model_id: str,
    ledger: str,
    epoch: int,
    after_seq: int,
    order_count: int,
    currency: str,
    began_ns: int,
    executed_ms: int,
    creates_from_ns: int,
    first_cash: Decimal | None,
    first_coins: Mapping[str, Decimal],
) -> Head:
    """Return what a run begins with, its money half restored and nothing done with it yet."""
    instruments: tuple[Instrument, ...] = tuple(desk.orders.state.instruments.values())
    return Head(
        run_id=run_id,
        mode=mode,
        version=__version__,
        config_hash=config_hash,
        strategy_hash=strategy_hash(strategy),
        model_id=model_id,
        epoch=epoch,
        after_seq=after_seq,
        ledger=ledger,
        currency=currency,
        instruments=instruments,
        began_ns=began_ns,
        state=encode(capture(desk.orders.state, desk.submissions.journal, last=(epoch, order_count))),
        order_count=order_count,
        executed_ms=executed_ms,
        creates_from_ns=creates_from_ns,
        first_cash=first_cash,
        first_coins=dict(first_coins),
    )


def strategy_hash(strategy: Strategy[Any]) -> str:
    """Return a hash of the file that a strategy is written in, of several of all files, "" where one cannot be read."""
    try:
        sources = [inspect.getsourcefile(type(each)) for each in strategy.parts]
        whole = b"".join(Path(source).read_bytes() for source in sources if source is not None)
        return "" if None in sources else hashlib.sha256(whole).hexdigest()[:16]
    except (OSError, TypeError):
        return ""
