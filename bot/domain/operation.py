"""What an operator sees of a running bot, and what one may ask of it.

Every surface (terminal, page, chat, metrics, health) reads the same `Snapshot` and asks by the same commands, so that
none of them needs to know the actors, and none can do more than another.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

STATUS_FILE = "status.json"  # in a run's directory as long as one may ask it how it is


class Phase(StrEnum):
    """Where a run is in its life."""

    STARTING = "starting"  # connecting, warming up
    RECOVERING = "recovering"  # the ledger is being compared with the venue: no new exposure
    READY = "ready"
    DEGRADED = "degraded"  # it lives, and something keeps it from entering: see `troubles`
    STOPPING = "stopping"


class Severity(StrEnum):
    """How much something matters to a person."""

    INFO = "info"  # worth telling
    WARNING = "warning"  # it healed itself, or will
    ERROR = "error"  # a person is needed
    CRITICAL = "critical"  # money may be at stake now


class Notice(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Something that happened and that a person may want to be told of."""

    ts_ns: int  # our clock
    kind: str  # stable, `noun.past_verb`: run.started, order.filled, order.doubted, state.halted, data.went_stale
    severity: Severity
    text: str  # one line for a person
    instrument: str = ""
    keys: tuple[tuple[str, str], ...] = ()  # further facts: name, value


class ActorHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One actor."""

    name: str
    is_alive: bool
    queued: int  # messages in its inbox
    bound: int  # how many it may hold
    served: int  # since the start
    last_served_ns: int  # 0: nothing yet


class DataAge(msgspec.Struct, frozen=True, kw_only=True):
    """How old what we know of one topic is."""

    topic: str  # of the venue, or the name of a derived stream: bars:BTCUSDT:5m
    age_ns: int
    limit_ns: int  # older is stale
    is_trusted: bool  # no gap since the last snapshot


class HeldPosition(msgspec.Struct, frozen=True, kw_only=True):
    """A position, by our books."""

    instrument: str
    qty: Decimal  # signed
    entry_price: Decimal | None
    mark_price: Decimal | None
    unrealized_pnl: Decimal  # quote currency
    realized_pnl: Decimal  # after nothing: fees and funding are apart
    fees: Decimal  # paid; negative is a rebate
    funding: Decimal  # received; negative is paid
    take_profit: Decimal | None = None  # what the venue keeps for it
    stop_loss: Decimal | None = None
    trailing_distance: Decimal | None = None


class StrategyBook(msgspec.Struct, frozen=True, kw_only=True):
    """What one of several strategies holds of an instrument and what it has brought, by its own book."""

    strategy: str  # "outside": what none of them did
    position: HeldPosition


class OpenOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that may still fill, by our books."""

    client_order_id: str
    instrument: str
    side: str
    order_type: str
    qty: Decimal
    filled_qty: Decimal
    limit_price: Decimal | None
    status: str
    is_in_doubt: bool  # we asked and do not know
    sent_ns: int
    strategy: str


class LatchView(msgspec.Struct, frozen=True, kw_only=True):
    """What holds trading back: docs/risk_codes.md."""

    scope: str  # account, or an instrument's name
    cause: str
    state: str  # reducing, halted
    detail: str
    until_ns: int | None = None


class ForecastView(msgspec.Struct, frozen=True, kw_only=True):
    """The newest forecast of an instrument."""

    instrument: str
    model_id: str
    bar_close_ns: int
    close_price: Decimal
    horizons_ns: tuple[int, ...]
    levels: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]  # [H][Q] of the log return from the bar's close
    scales_ns: tuple[int, ...] = ()
    importance: tuple[float, ...] = ()  # by scale
    coverage: tuple[float, ...] = ()  # by horizon, of the widest interval, as lived so far; NaN: not known yet


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long one stage takes, over the last some minutes."""

    stage: str  # decision_to_ack, intent_commit, inference, frame_to_batch, loop_lag
    count: int
    p50_ns: int
    p99_ns: int
    worst_ns: int


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """How often something happened since the start."""

    name: str  # Prometheus style, without prefix: orders_total, reconnects_total, frames_refused_total
    labels: tuple[tuple[str, str], ...]
    value: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A running bot at one moment; amounts in quote currency, times ns since the epoch, UTC, by the bot's clock."""

    run_id: str
    mode: str  # paper, live
    version: str
    strategy: str
    venue: str  # emulator, testnet, demo, mainnet
    model_id: str
    config_hash: str
    epoch: int
    started_ns: int
    now_ns: int
    phase: Phase
    troubles: tuple[str, ...]  # one line each, the worst first; empty when all is well
    is_paused: bool  # a person wants no new exposure
    is_killed: bool  # the durable latch is closed
    currency: str
    start_cash: Decimal
    cash: Decimal
    equity: Decimal | None  # None while a held instrument has no mark
    equity_day_start: Decimal | None
    equity_peak: Decimal | None
    positions: tuple[HeldPosition, ...]
    orders: tuple[OpenOrder, ...]
    latches: tuple[LatchView, ...]
    forecasts: tuple[ForecastView, ...]
    data: tuple[DataAge, ...]
    actors: tuple[ActorHealth, ...]
    latencies: tuple[Latency, ...]
    counters: tuple[Counter, ...]
    last_decision_ns: int  # 0: none yet
    last_reconciled_ns: int  # 0: not yet
    ledger_seq: int  # the journal's newest durable row
    books: tuple[StrategyBook, ...] = ()  # where several strategies share the account


class Pause(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No new exposure until resumed; exits and cancels go on. It survives a restart."""

    why: str


class Resume(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """End a pause and the latches that wait for a person. It never ends a kill: only the host does."""

    why: str


class Flatten(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Cancel what is open and close positions at the market, reduce-only; then stay paused."""

    why: str
    instrument: str = ""  # "": all of them


class Kill(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Send nothing new, cancel everything; durable, and ended on the host alone."""

    why: str
    is_flattening: bool = False  # close positions too, before all stops


class Reload(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Read the settings again; only those that may change while running are taken, or none."""

    why: str


OperatorCommand = Pause | Resume | Flatten | Kill | Reload


class CommandDone(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a command."""

    is_done: bool
    text: str  # one line for a person: what was done, or why not
