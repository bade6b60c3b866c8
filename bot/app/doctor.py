"""What is wrong with a configuration, a key, an account or this machine, and how to mend it, before money is at stake.

Each check is one mistake that people make; it says nothing where all is well. What can only be asked of the venue is
asked last, and nothing is set or sent: the doctor looks.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import msgspec

from bot.app.doctor_host import check_host
from bot.app.ledgers import lock_ledger, schema_versions
from bot.app.live_model import check_live_model
from bot.app.switches import KILL_FILE
from bot.app.trading_parts import check_mode, make_predictor
from bot.domain.answers import Cause
from bot.domain.errors import BotError, ConfigError
from bot.domain.instrument import Instrument
from bot.runtime.env import ScaledClock, SystemClock
from bot.runtime.setting_files import read_toml
from bot.runtime.trade_settings import TradeSettings, load_trade, read_credentials
from bot.venues.bybit.clock import OFFSET_MAX_NS
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.envelope import Unread
from bot.venues.bybit.hosts import Host, host_of
from bot.venues.bybit.rate_budget import RateBudget
from bot.venues.bybit.requests import Listed
from bot.venues.bybit.rest_client import Query, RestClient
from bot.venues.bybit.start_queries import RestAsker
from bot.venues.bybit.startup import Wanted, check_account
from strategies.registry import make_strategies

_SECRET_WORDS = ("secret", "api_key", "apikey", "password", "passphrase", "token")


class Ailment(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong."""

    check: str  # stable, `noun.what`
    is_fatal: bool  # trading would not start, or must not
    text: str
    mend: str


def examine(path: Path, *, mode: str | None = None) -> tuple[TradeSettings | None, list[Ailment]]:
    """Return the settings, None where they cannot be read, and what is wrong without asking the venue.

    Args:
        path: the settings file.
        mode: "paper" or "live"; None: by the environment that the file names.
    """
    found = list(_check_file(path))
    try:
        settings = load_trade(path)
    except ConfigError as error:
        for line in str(error).splitlines():
            found.append(_fatal("settings.refused", line, "correct that line; docs/configuration.md has every key"))
        return None, found
    is_real = settings.venue.environment == "mainnet"
    mode = mode or ("live" if is_real else "paper")
    found += [*_check_settings(settings, mode), *_check_money(settings), *_check_strategy(settings)]
    if settings.venue.environment != "emulator":
        found += _check_credentials()
    found += _check_ledger(settings)
    for check, is_fatal, text, mend in check_host(settings.run.out, is_real=is_real):
        found.append(Ailment(check=check, is_fatal=is_fatal, text=text, mend=mend))
    return settings, found


async def examine_venue(settings: TradeSettings) -> list[Ailment]:
    """Return what is wrong with the connection, the clock, the key and the account; nothing is changed there."""
    venue = settings.venue
    if venue.environment == "emulator" and not venue.url:
        return []  # it is started with the run
    try:
        host = host_of(venue.environment, region=venue.region, url=venue.url)
        if venue.environment == "emulator":
            credentials = Credentials(key=settings.emulator.key, secret=settings.emulator.secret)
        else:
            key, secret = read_credentials()
            credentials = Credentials(key=key, secret=secret)
    except ConfigError as error:
        return [_fatal("venue.not_asked", str(error), "mend that, and ask again")]
    clock = ScaledClock(start_ns=SystemClock().now_ns(), speed=1.0)
    async with RestClient(host, credentials, clock=clock, budget=RateBudget()) as client:
        trouble = await _ask_time(client)
        if trouble:
            return [_unreachable(host, trouble)]
        found = list(_check_clock(client, clock.now_ns()))
        return found + await _ask_account(settings, client, credentials, clock)


# --- the file ---------------------------------------------------------------------------------------------------------


def _check_file(path: Path) -> Iterator[Ailment]:
    with suppress(OSError):
        if path.stat().st_mode & 0o022:
            yield _fatal("file.writable", f"{path}: others may change it", f"run: chmod go-w {path}")
    with suppress(ConfigError):
        for name, value in _leaves(read_toml(path)):
            is_emulated = name.startswith("emulator.")
            if any(word in name.lower() for word in _SECRET_WORDS) and not is_emulated and isinstance(value, str):
                yield _fatal(
                    "file.secret", f"{path}: {name} looks like a secret", "take it out, and replace it at the venue"
                )
            if isinstance(value, str) and "://" in value and ":" in value.split("://", 1)[1].partition("@")[0]:
                if "@" in value:
                    yield _fatal(
                        "file.password", f"{path}: {name} has a password in it", "put it into ~/.pgpass (chmod 600)"
                    )


def _leaves(values: object, at: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(values, dict):
        for name, value in values.items():
            yield from _leaves(value, f"{at}.{name}" if at else str(name))
    elif isinstance(values, list):
        for value in values:
            yield from _leaves(value, at)
    else:
        yield at, values


# --- what the settings say --------------------------------------------------------------------------------------------


def _check_settings(settings: TradeSettings, mode: str) -> Iterator[Ailment]:
    try:
        check_mode(settings, mode)
    except ConfigError as error:
        yield _fatal("mode.refused", str(error), "see the go-live checklist of docs/runbook.md")
    if settings.venue.environment not in ("emulator",) and settings.venue.uid is None:
        yield Ailment(
            check="uid.missing",
            is_fatal=settings.venue.environment == "mainnet",
            text="venue.uid is not set: a key of any account would be taken",
            mend="write the account's number into [venue] uid; the first start says it",
        )
    if settings.venue.environment == "emulator" and not settings.emulator.config.is_file():
        yield _fatal(
            "emulator.missing",
            f"emulator.config = {settings.emulator.config}: no such file",
            "start the bot in the directory that the path is relative to, or write the whole path",
        )


def _check_money(settings: TradeSettings) -> Iterator[Ailment]:
    risk, protections = settings.risk, settings.protections
    if risk.order_notional_max > risk.position_notional_max:
        yield _unwise(
            "risk.order_above_position",
            f"one order may be worth {risk.order_notional_max}, a position only {risk.position_notional_max}",
            "lower risk.order_notional_max to risk.position_notional_max",
        )
    for each in settings.symbols:
        if each.leverage is not None and each.leverage < risk.leverage_max:
            yield _unwise(
                "risk.leverage",
                f"risk.leverage_max = {risk.leverage_max} is more than {each.symbol}'s leverage of {each.leverage}",
                "the venue will refuse what the gate lets pass: lower risk.leverage_max, or raise the leverage",
            )
    if settings.venue.environment == "mainnet":
        if not protections.daily_loss_halt and not protections.drawdown_halt:
            yield _fatal(
                "risk.unprotected",
                "neither a day's loss nor a drawdown ever halts trading",
                "set protections.daily_loss_halt and protections.drawdown_halt",
            )
        if settings.run.protect_within is None:
            yield _unwise(
                "risk.no_stop_needed",
                "a position without a stop or an exit may stay for ever",
                'set run.protect_within = "1m"',
            )
    if risk.price_collar > Decimal("0.2"):
        yield _unwise(
            "risk.collar",
            f"risk.price_collar = {risk.price_collar} lets a limit be {risk.price_collar:%} off the mark",
            "a fraction is meant: 0.02 is two percent",
        )


def _check_strategy(settings: TradeSettings) -> Iterator[Ailment]:
    try:
        strategy = make_strategies(settings.chosen)
    except BotError as error:
        yield _fatal("strategy.refused", str(error), "correct [strategy]; docs/strategies.md tells the parameters")
        return
    try:
        make_predictor(settings, strategy)
    except BotError as error:
        yield _fatal("predictor.refused", str(error), "correct [predictor] or choose another strategy")
    if settings.predictor.kind == "artifact" and not settings.predictor.path.exists():
        yield _fatal(
            "model.missing",
            f"predictor.path = {settings.predictor.path}: nothing is there",
            "bot models list shows what there is; bot models verify checks it",
        )
        return
    try:
        check_live_model(settings, strategy)
    except BotError as error:
        yield _fatal("model.refused", str(error), "bot models verify looks at it; docs/inference.md tells what fits")


# --- keys and ledger --------------------------------------------------------------------------------------------------


def _check_credentials() -> Iterator[Ailment]:
    try:
        key, secret = read_credentials()
        Credentials(key=key, secret=secret)
    except ConfigError as error:
        yield _fatal("key.missing", str(error), "docs/paper.md says where the key comes from and where it goes")
        return
    if key == secret:
        yield _fatal("key.same", "key and secret are the same text", "copy the secret again; it is shown only once")
    elif len(secret) < len(key):
        yield _fatal(
            "key.swapped", "the secret is shorter than the key: they seem to be swapped", "exchange the two of them"
        )
    if "CREDENTIALS_DIRECTORY" in os.environ and "BYBIT_API_KEY" in os.environ:
        yield _unwise(
            "key.twice",
            "BYBIT_API_KEY is set beside CREDENTIALS_DIRECTORY, and is not used",
            "unset BYBIT_API_KEY and BYBIT_API_SECRET: children inherit them",
        )


def ledger_place(settings: TradeSettings, out: Path | None = None) -> Path | None:
    """Return the directory in which an account's switches and, by default, its ledger are; None: made with the run.

    Args:
        settings: of the run.
        out: where runs are kept, if not where the settings say.
    """
    if settings.ledger.at and "://" not in settings.ledger.at:
        at = Path(settings.ledger.at)
        return at.parent if at.suffix else at
    venue = settings.venue
    if venue.environment == "emulator" and not venue.url:
        return None
    name = f"{venue.environment}-{venue.uid}" if venue.uid else venue.environment
    return (out or settings.run.out) / "ledgers" / name


def _check_ledger(settings: TradeSettings) -> Iterator[Ailment]:
    place = ledger_place(settings)
    if place is None:
        return
    if (place / KILL_FILE).exists():
        yield _fatal(
            "kill.closed", f"the kill switch is closed: {place / KILL_FILE}", f"bot resume {place} --re-arm, if meant"
        )
    where = settings.ledger.at or str(place)
    if "://" not in where and not (place / "ledger.sqlite").exists():
        return  # the first start makes it
    try:
        current, newest = schema_versions(where)
    except BotError as error:
        yield _fatal("ledger.unreadable", str(error), "is the database up? else: bot db restore BACKUP " + where)
        return
    if current != newest:
        yield _fatal(
            "ledger.schema", f"the ledger's schema is {current}, this version wants {newest}", f"bot db upgrade {where}"
        )
    try:
        lock_ledger(where, settings.run.out).close()
    except BotError as error:
        yield _fatal("ledger.locked", str(error), "stop the other one; two on one account would trade twice")


# --- the venue --------------------------------------------------------------------------------------------------------


async def _ask_time(client: RestClient) -> str:
    trouble = ""
    for _ in range(3):
        trouble = await client.ask_time()
    return trouble


def _unreachable(host: Host, trouble: str) -> Ailment:
    if "403" in trouble:
        mend = "the venue shuts this address out: too many requests (wait ten minutes), or a country it does not serve"
    else:
        mend = "check network, DNS, firewall and [venue] region; curl " + host.rest + "/v5/market/time should answer"
    return _fatal("venue.unreachable", f"{host.rest}: {trouble}", mend)


def _check_clock(client: RestClient, now_ns: int) -> Iterator[Ailment]:
    offset = client.venue_clock.offset(now_ns)
    if offset is not None and abs(offset.ns) > OFFSET_MAX_NS:
        yield _fatal(
            "clock.off",
            f"this machine's clock is {-offset.ns / 1e9:+.1f} s off the venue's",
            "run NTP: systemctl enable --now systemd-timesyncd, or chrony",
        )


async def _ask_account(
    settings: TradeSettings, client: RestClient, credentials: Credentials, clock: ScaledClock
) -> list[Ailment]:
    def stamp_ms() -> int | None:
        return client.venue_clock.venue_ms(clock.now_ns())

    key = Query(path="/v5/user/query-api", query="", bucket="user.query-api")
    reply = await client.ask(key, timestamp_ms=stamp_ms())
    if isinstance(reply, Unread) and reply.cause is Cause.KEY:
        return [
            _fatal(
                "key.unknown",
                f"{client.host.environment} does not know the key: {reply.code} {reply.text}",
                "a key belongs to one of mainnet, testnet, demo: make one there; or look for spaces in it",
            )
        ]
    asker = RestAsker(client, stamp_ms)
    listed = {each.symbol: Listed(each.category, each.symbol) for each in settings.symbols}
    filters = await asker.instruments(list(listed.values()))
    found: list[Ailment] = []
    instruments: dict[str, tuple[Listed, Instrument]] = {}
    if isinstance(filters, Unread):
        found.append(_fatal("symbol.not_asked", f"instruments: {filters.code} {filters.text}", "ask again"))
    else:
        for name, each in listed.items():
            if each not in filters:
                found.append(
                    _fatal("symbol.unknown", f"{name} is not listed as {each.category}", "correct [[symbols]]")
                )
            elif filters[each].status != "Trading":
                found.append(
                    _fatal("symbol.closed", f"{name}: its status is {filters[each].status}", "take it out for now")
                )
        instruments = {name: (each, _instrument(name)) for name, each in listed.items() if each in filters}
    wanted = Wanted(
        mode="live" if client.host.is_real_money else "paper",
        uid=settings.venue.uid,
        instruments=instruments,
        leverage={each.symbol: each.leverage for each in settings.symbols if each.leverage is not None},
        is_hedged=settings.execution.is_hedged,
    )
    checked = await check_account(asker, None, wanted, credentials, now_ns=clock.now_ns())
    for each_finding in checked.findings:
        is_set_at_start = any(each in each_finding.line for each in ("leverage is", "moves limits", " is flat in "))
        text, _, mend = each_finding.line.partition("; ")
        found.append(
            Ailment(
                check="account.differs",
                is_fatal=each_finding.is_fatal and not is_set_at_start,
                text=text,
                mend="the start sets it" if is_set_at_start else mend or "mend it at the venue",
            )
        )
    return found


def _instrument(name: str) -> Instrument:
    """Return a stand-in: only who is asked for matters here, the filters are the venue's to say."""
    one = Decimal(1)
    return Instrument(name=name, base="", quote="", tick_size=one, qty_step=one, qty_min=one, qty_max=one)


def _fatal(check: str, text: str, mend: str) -> Ailment:
    return Ailment(check=check, is_fatal=True, text=text, mend=mend)


def _unwise(check: str, text: str, mend: str) -> Ailment:
    return Ailment(check=check, is_fatal=False, text=text, mend=mend)
