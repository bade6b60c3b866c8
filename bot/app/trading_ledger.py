"""A trading run's ledger: where it is, what a new one begins with, and how a run takes it up where it ends."""

import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from bot import __version__
from bot.app.ledgers import describe, owner_of
from bot.app.recovery import Recovered, recover
from bot.app.trading_ground import Ground
from bot.app.trading_parts import make_desk, seen_epoch
from bot.core.epochs import EpochPlan, creates_from
from bot.core.submission.desk import LiveDesk
from bot.core.submission.ids import ClientOrderIds, parse_id
from bot.domain.errors import ConfigError
from bot.runtime.env import WriterThread, host_name
from bot.runtime.trade_settings import TradeSettings, environment_of
from bot.store.live_ledger import LiveLedger
from bot.venues.bybit.live_account import LiveAccount
from bot.venues.bybit.rest_client import RestClient

_SEND_TIMEOUT_NS = 5_000_000_000
_MS = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenUp:
    """A ledger, and the money half as it is where the ledger ends."""

    desk: LiveDesk
    ids: ClientOrderIds
    epoch: int
    recovered: Recovered
    creates_from_ns: int  # no order of this run is sent before
    first_cash: Decimal | None  # the account's balance, for a ledger without an entry
    first_coins: dict[str, Decimal]

    @property
    def start_cash(self) -> Decimal:
        """Return the cash that the run begins with."""
        return self.desk.orders.state.portfolio.cash if self.first_cash is None else self.first_cash


def ledger_place(settings: TradeSettings, directory: Path) -> tuple[str, Path]:
    """Return where the run's ledger is, and the directory of what outlives the run beside it: switches, heartbeat."""
    where = settings.ledger.at or str(_own_directory(settings, directory))
    home = Path(where) if "://" not in where else _own_directory(settings, directory)
    return where, home if home.is_dir() or not home.suffix else home.parent


def _own_directory(settings: TradeSettings, directory: Path) -> Path:
    """Return where an account's ledger is: it outlives the runs, but for an account that ends with the run."""
    venue = settings.venue
    if venue.environment == "emulator" and not venue.url:
        return directory
    name = f"{venue.environment}-{venue.uid}" if venue.uid else venue.environment
    return settings.run.out / "ledgers" / name


def first_row(ground: Ground, *, model_id: str, in_sample: bool, cash: Decimal) -> dict[str, Any]:
    """Return the row of the `runs` table for a new ledger."""
    now_ns = ground.clock.now_ns()
    return {
        "run_id": ground.run_id,
        "mode": ground.mode,
        "status": "running",
        "version": __version__,
        "strategy": ground.strategy.name,
        "parameters": ground.strategy.params.model_dump_json(),
        "seed": ground.settings.run.seed,
        "config_hash": ground.settings.config_hash(),
        "model_id": model_id,
        "in_sample": in_sample,
        "currency": ground.listing.currency,
        "start_cash": cash,
        "source": "trades",
        "from_ns": now_ns,
        "to_ns": now_ns,
    }


def refuse_other_account(where: str, settings: TradeSettings, uid: int | None) -> None:
    """See that a ledger is of the environment and the account that are traded with, before anything is written to it.

    Args:
        where: the ledger.
        settings: of the run.
        uid: the account's number at the venue, None if the venue does not say.

    Raises:
        ConfigError: it is of another.
    """
    owner = owner_of(where)
    parsed = None if owner.newest_order is None else parse_id(owner.newest_order)
    if parsed is not None and parsed.environment != settings.environment_letter:
        raise ConfigError(
            f"ledger.at = {where}: its orders are of {environment_of(parsed.environment)}, not of "
            f"{settings.venue.environment}; give each its own"
        )
    if uid is not None and owner.account is not None and owner.account != uid:
        raise ConfigError(
            f"ledger.at = {where}: it is of account {owner.account}, and the key of {uid}; give each its own"
        )


async def begin_epoch(
    ground: Ground, client: RestClient, account: LiveAccount, store: LiveLedger, thread: WriterThread, uid: int | None
) -> EpochPlan:
    """Give this start its number, above all that ledger and venue know, and note the account's.

    Raises:
        VenueError: the account cannot be asked.
        StorageError: the number cannot be written.
    """
    settings = ground.settings
    venue_epoch = await seen_epoch(
        client, account.venue_ms, ground.listing.listed.values(), settings.environment_letter, ground.venue.speed
    )
    return await thread(
        lambda: store.begin_epoch(
            now_ns=ground.clock.now_ns(),
            venue_epoch=venue_epoch,
            recv_window_ns=settings.venue.recv_window,
            send_timeout_ns=_SEND_TIMEOUT_NS,
            run_id=ground.run_id,
            host=host_name(),
            pid=os.getpid(),
            version=__version__,
            config_hash=settings.config_hash(),
            account=uid,
        )
    )


async def take_up_ledger(
    ground: Ground,
    account: LiveAccount,
    store: LiveLedger,
    thread: WriterThread,
    plan: EpochPlan,
    *,
    where: str,
    is_alone: bool,
    cash: Decimal,
    coins: dict[str, Decimal],
) -> TakenUp:
    """Bring the money half to where the ledger ends, and say from when on it may send.

    Args:
        account: its clock has just been measured.
        store: the ledger at `where`; read in `thread`.
        plan: of this start.
        is_alone: nobody else can have written since the last start.
        cash, coins: what the account holds, for a ledger without an entry.

    Raises:
        DataError: an entry cannot be read.
        InvariantBroken: the entries contradict each other.
    """
    settings = ground.settings
    ids = ClientOrderIds(environment=settings.environment_letter, epoch=plan.number)
    desk = make_desk(settings, ground.listing.instruments, ids, ground.listing.currency)
    recovered = await thread(lambda: recover(store, desk))
    venue_ms, now_ns = account.venue_ms(), ground.clock.now_ns()
    assert venue_ms is not None  # it was measured
    creates_from_ns = creates_from(
        plan,
        signed_until_ms=desk.orders.state.signed_until_ms,
        venue_ms=venue_ms,
        now_ns=now_ns,
        is_alone=is_alone,
    )
    ids.count = max(ids.count, recovered.last_count)
    began_ns = await thread(lambda: int(describe(where).get("from_ns", 0)))
    account.begins_ms = began_ns // _MS
    return TakenUp(
        desk=desk,
        ids=ids,
        epoch=plan.number,
        recovered=recovered,
        creates_from_ns=creates_from_ns,
        first_cash=cash if recovered.is_new else None,
        first_coins=coins,
    )
