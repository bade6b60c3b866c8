"""Before the first order: is this the key, the account and the venue's setting that the configuration means?

Every difference is one line that says what to do. What would lose money quietly stops the start; what is merely unwise
warns; where nothing real is at stake more of it warns. The one thing that is set here, and then read again, is what
happens to a limit beyond the price band: perpetuals' are moved without a word by default.

Source: Bybit V5, `user/query-api`, `account/info`, `account/user-setting-config`, `position/list`; sections 6.2 S2 and
2.8 CF2, CF3 of the fault catalogue.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Protocol

import msgspec

from bot.domain.answers import Answer
from bot.domain.instrument import Instrument
from bot.domain.orders import Leg
from bot.domain.venue_records import PositionRecord
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.envelope import NOT_READ, PASSING, Reply, Unread
from bot.venues.bybit.instruments import InstrumentFilters
from bot.venues.bybit.record_fields import BadRecord
from bot.venues.bybit.record_shapes import WirePosition
from bot.venues.bybit.records import position_record
from bot.venues.bybit.requests import (
    Listed,
    WriteRequest,
    set_leverage,
    set_position_mode,
    set_price_limits_refused,
)

Mode = Literal["live", "paper", "monitor"]
EXPIRY_WARN_NS = 14 * 86_400 * 10**9
_NEEDED = {"ContractTrade": ("Order", "Position"), "Spot": ("SpotTrade",)}
_USED = {*_NEEDED, "Derivatives"}
_MONEY_RIGHTS = ("Withdraw", "AccountTransfer", "SubMemberTransfer", "SubMemberTransferList")
_UNIFIED = (3, 4, 5, 6)
MARGIN_MODE = "REGULAR_MARGIN"
"""The only one that is traded in: cross."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One difference."""

    is_fatal: bool  # trading must not start
    line: str
    is_passing: bool = False  # the venue did not answer, and may the next time


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about an account."""

    findings: list[Finding]
    uid: int | None = None  # its number; None: the venue did not say


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says of the account."""

    mode: Mode
    uid: int | None  # the account's number; the key must be of it
    instruments: Mapping[str, tuple[Listed, Instrument]]  # by our name
    leverage: Mapping[str, Decimal] = {}  # by our name, of perpetuals; what is not here stays as it is
    margin_mode: str = MARGIN_MODE
    is_hedged: bool = False  # perpetuals have a long and a short leg
    allows_unbound_key: bool = False  # live: a key that works from any address is warned of, not refused


class Asker(Protocol):
    """Who asks the signed questions: pybit in a thread, or our own client."""

    async def ask(self, path: str, params: Mapping[str, str]) -> Reply | Unread:
        """Return the answer to a signed GET."""

    async def instruments(self, wanted: Sequence[Listed]) -> dict[Listed, InstrumentFilters] | Unread:
        """Return the filters of those that the venue lists."""


Setter = Callable[[WriteRequest], Awaitable[Answer]]
"""Sends a setting, and returns what it has come to."""


class KeyInfo(msgspec.Struct, rename="camel"):
    """What the venue says of a key."""

    api_key: str
    read_only: int
    permissions: dict[str, list[str]]
    ips: list[str] = []
    expired_at: str = ""
    user_id: int = msgspec.field(default=0, name="userID")
    is_master: bool = False
    uta: int = 0


class AccountInfo(msgspec.Struct, rename="camel"):
    """What the venue says of an account."""

    margin_mode: str
    unified_margin_status: int


class UserSettings(msgspec.Struct, rename="camel"):
    """What the account has asked of the venue."""

    lpa_spot: bool  # True: a spot limit beyond the band is moved to it
    lpa_perp: bool  # True: a perpetual's is refused. The other way round, and the default is to move


def judge_key(info: KeyInfo, wanted: Wanted, credentials: Credentials, now_ns: int) -> list[Finding]:
    """Return what is wrong with a key: whose it is, what it may do, from where, and until when."""
    is_live = wanted.mode == "live"
    found: list[Finding] = []

    def say(line: str, *, is_fatal: bool) -> None:
        found.append(Finding(is_fatal=is_fatal, line=line))

    if not credentials.is_key(info.api_key):
        say("the venue answers for another key than the one that asks; check the address", is_fatal=True)
    if wanted.uid is None:
        say(f"venue.uid is not set; the key is of account {info.user_id}: write that down", is_fatal=is_live)
    elif info.user_id != wanted.uid:
        say(f"the key is of account {info.user_id}, not of {wanted.uid}; use the other key", is_fatal=True)
    if info.uta != 1:
        say("the account is not a unified trading account; upgrade it at the venue", is_fatal=True)
    rights = {group: names for group, names in info.permissions.items() if names}
    if wanted.mode == "monitor":
        if info.read_only != 1:
            say("the key may write, and to look on it must not; make a read-only key", is_fatal=True)
    else:
        if info.read_only != 0:
            say("the key is read-only; make one that may trade", is_fatal=True)
        for group, names in _NEEDED.items():
            is_used = group != "Spot" or any(each[0].category == "spot" for each in wanted.instruments.values())
            missing = [name for name in names if name not in rights.get(group, [])]
            if is_used and missing:
                say(f"the key lacks {group}: {', '.join(missing)}; grant it", is_fatal=True)
    money = [name for names in rights.values() for name in names if name in _MONEY_RIGHTS or "withdraw" in name.lower()]
    if money:
        say(f"the key may move money ({', '.join(money)}); make one that cannot", is_fatal=is_live)
    others = sorted(group for group in rights if group not in _USED and not set(rights[group]) <= set(money))
    if others:
        say(f"the key may do more than is used: {', '.join(others)}; take it away", is_fatal=False)
    if not info.ips or any("*" in address or address == "0.0.0.0" for address in info.ips):  # not bound to
        is_fatal = is_live and not wanted.allows_unbound_key
        say("the key is bound to no address; bind it to this machine's", is_fatal=is_fatal)
    if info.is_master:
        say("the key is of a main account; a sub-account with little in it risks less", is_fatal=False)
    return found + _judge_expiry(info.expired_at, now_ns)


def _judge_expiry(text: str, now_ns: int) -> list[Finding]:
    """Return whether a key ends soon. A time at the beginning of the epoch says that it does not end."""
    try:
        ends_ns = int(datetime.fromisoformat(text).timestamp()) * 10**9
    except (ValueError, OverflowError, OSError):
        line = f"when the key ends cannot be read: {text[:40]!r}"
        return [Finding(is_fatal=False, line=line)]
    if ends_ns <= 0:
        return []
    days = (ends_ns - now_ns) // (86_400 * 10**9)
    if ends_ns <= now_ns:
        return [Finding(is_fatal=True, line=f"the key ended on {text}; make another")]
    if ends_ns - now_ns < EXPIRY_WARN_NS:
        return [Finding(is_fatal=False, line=f"the key ends in {days} days, on {text}; make another in time")]
    return []


def judge_account(info: AccountInfo, wanted: Wanted) -> list[Finding]:
    """Return what is wrong with an account's mode."""
    found = []
    if info.unified_margin_status not in _UNIFIED:
        line = "the account is not a unified trading account; upgrade it at the venue"
        found.append(Finding(is_fatal=True, line=line))
    if info.margin_mode != wanted.margin_mode:
        line = f"the margin mode is {info.margin_mode}, wanted is {wanted.margin_mode}; set it at the venue"
        found.append(Finding(is_fatal=True, line=line))
    return found


def moved_limits(settings: UserSettings) -> list[Literal["linear", "spot"]]:
    """Return in which categories the venue moves a limit to its band instead of refusing it."""
    moved: list[Literal["linear", "spot"]] = []
    if not settings.lpa_perp:
        moved.append("linear")
    if settings.lpa_spot:
        moved.append("spot")
    return moved


def judge_position(
    rows: Sequence[WirePosition], name: str, leverage: Decimal | None, *, is_hedged: bool = False
) -> list[Finding]:
    """Return what is wrong with a perpetual's mode and leverage."""
    found = []
    try:
        records = [position_record(row, "linear") for row in rows]
    except BadRecord as error:
        return [Finding(is_fatal=True, line=f"{name}: its position cannot be read: {error}")]
    if _is_other_mode(records, is_hedged=is_hedged):
        is_mode, wanted = ("one-way", "hedge") if is_hedged else ("hedge", "one-way")
        is_held = any(record.qty for record in records)
        state, do = ("held", "close it") if is_held else ("flat", "cancel its orders")
        line = f"{name} is {state} in {is_mode} mode; {do}"
        line += f" and start again for {wanted} mode, or change execution.position_mode"
        found.append(Finding(is_fatal=True, line=line))
    for record in records:
        if leverage is not None and record.leverage != leverage:
            line = f"{name}: its leverage is {record.leverage}, wanted is {leverage}"
            found.append(Finding(is_fatal=True, line=line))
        if record.is_reduce_only:
            line = f"{name}: the venue allows nothing but reducing its position; see its risk limit"
            found.append(Finding(is_fatal=False, line=line))
    return found


def _is_other_mode(records: Sequence[PositionRecord], *, is_hedged: bool) -> bool:
    return any((record.leg is not Leg.NET) != is_hedged for record in records)


def judge_instrument(filters: InstrumentFilters | None, instrument: Instrument) -> list[Finding]:
    """Return where an instrument differs from its configuration; the venue's filters are the truth."""
    name = instrument.name
    if filters is None:
        return [Finding(is_fatal=True, line=f"{name}: the venue does not list it")]
    found = []
    if filters.status != "Trading":
        found.append(Finding(is_fatal=True, line=f"{name}: its status is {filters.status}, not Trading"))
    for what, ours, theirs in (
        ("base", instrument.base, filters.base),
        ("quote", instrument.quote, filters.quote),
        ("tick_size", instrument.tick_size, filters.tick_size),
        ("qty_step", instrument.qty_step, filters.qty_step),
        ("qty_min", instrument.qty_min, filters.qty_min),
        ("qty_max", instrument.qty_max, filters.qty_max),
        ("notional_min", instrument.notional_min, filters.notional_min),
    ):
        if ours != theirs:
            line = f"{name}: {what} is {theirs} at the venue, {ours} in the configuration; run bot data download"
            # A grid or a coin that is another makes every stored price and quantity mean something else.
            found.append(Finding(is_fatal=what in ("base", "quote", "tick_size", "qty_step"), line=line))
    return found


async def check_key(asker: Asker, wanted: Wanted, credentials: Credentials, *, now_ns: int) -> list[Finding]:
    """Ask what the venue says of the key alone, and return what is wrong with it."""
    found: list[Finding] = []
    key = await _asked(asker, "/v5/user/query-api", {}, KeyInfo, found)
    return found if key is None else found + judge_key(key, wanted, credentials, now_ns)


async def check_account(
    asker: Asker, setter: Setter | None, wanted: Wanted, credentials: Credentials, *, now_ns: int
) -> Checked:
    """Ask all that a start needs to know of key and account, set what may be set, and return what was found out.

    Args:
        asker: asks.
        setter: sends settings; None sets nothing and only tells.
        wanted: what should be.
        credentials: of the key.
        now_ns: the time, by the venue's clock.
    """
    found: list[Finding] = []
    key = await _asked(asker, "/v5/user/query-api", {}, KeyInfo, found)
    if key is None:
        # What keeps the venue from answering this keeps it from answering the rest: one line will do.
        return Checked(findings=found)
    found += judge_key(key, wanted, credentials, now_ns)
    account = await _asked(asker, "/v5/account/info", {}, AccountInfo, found)
    if account is not None:
        found += judge_account(account, wanted)
    may_set = setter is not None and wanted.mode != "monitor" and not any(each.is_fatal for each in found)
    if wanted.mode != "monitor":
        found += await _check_limits(asker, setter if may_set else None, wanted)
    for name, (listed, _) in wanted.instruments.items():
        if listed.category == "linear":
            found += await _check_position(asker, setter if may_set else None, listed, name, wanted)
    return Checked(findings=found, uid=key.user_id or None)


async def check_instruments(asker: Asker, wanted: Wanted) -> tuple[dict[str, InstrumentFilters], list[Finding]]:
    """Return the venue's filters by our names, and where they differ from the configuration: at a start, and daily."""
    filters = await asker.instruments([listed for listed, _ in wanted.instruments.values()])
    if isinstance(filters, Unread):
        line = f"instruments could not be asked: {filters.code} {filters.text}"
        return {}, [Finding(is_fatal=True, line=line)]
    found: list[Finding] = []
    for listed, instrument in wanted.instruments.values():
        found += judge_instrument(filters.get(listed), instrument)
    named = {name: filters[listed] for name, (listed, _) in wanted.instruments.items() if listed in filters}
    return named, found


async def _check_limits(asker: Asker, setter: Setter | None, wanted: Wanted) -> list[Finding]:
    """Have limits beyond the band refused; what counts is what the venue says afterwards."""
    used = {listed.category for listed, _ in wanted.instruments.values()}
    path = "/v5/account/user-setting-config"
    found: list[Finding] = []
    settings = await _asked(asker, path, {}, UserSettings, found)
    if settings is None:
        return found
    moved = [category for category in moved_limits(settings) if category in used]
    if moved and setter is not None:
        for category in moved:
            await setter(set_price_limits_refused(category))
        settings = await _asked(asker, path, {}, UserSettings, found)
        if settings is None:
            return found
        moved = [category for category in moved_limits(settings) if category in used]
    for category in moved:
        line = f"{category}: the venue moves limits beyond its band instead of refusing them; set it to refuse"
        found.append(Finding(is_fatal=True, line=line))
    return found


async def _check_position(
    asker: Asker, setter: Setter | None, listed: Listed, name: str, wanted: Wanted
) -> list[Finding]:
    """Set a perpetual's mode and leverage where they may be set; what counts is what the venue says afterwards."""
    params, leverage = {"category": "linear", "symbol": listed.symbol}, wanted.leverage.get(name)
    found: list[Finding] = []

    async def judged() -> list[Finding] | None:
        rows = await _asked(asker, "/v5/position/list", params, _Positions, found)
        return None if rows is None else judge_position(rows.list, name, leverage, is_hedged=wanted.is_hedged)

    differs = await judged()
    if differs is None or setter is None:
        return found if differs is None else differs
    if any(f"{name} is flat in " in each.line for each in differs):
        await setter(set_position_mode(listed, is_hedged=wanted.is_hedged))  # an open order is in its way, too
        differs = await judged()
        if differs is None:
            return found
    if leverage is None or not any("leverage" in each.line for each in differs):
        return differs
    answer = await setter(set_leverage(listed, leverage))
    if not answer.is_as_asked:
        line = f"{name}: its leverage could not be set to {leverage}: {answer.code} {answer.text}"
        return [*differs, Finding(is_fatal=True, line=line)]
    differs = await judged()
    return found if differs is None else differs


class _Positions(msgspec.Struct):
    list: list[WirePosition]


async def _asked(asker: Asker, path: str, params: Mapping[str, str], shape: type[Any], found: list[Finding]) -> Any:
    """Return an answer in a shape, None after noting why there is none."""
    reply = await asker.ask(path, params)
    if isinstance(reply, Unread):
        line = f"{path} could not be asked: {reply.code} {reply.text}"
        found.append(Finding(is_fatal=True, line=line, is_passing=reply.cause in PASSING))
        return None
    try:
        return msgspec.json.decode(reply.result, type=shape)
    except NOT_READ as error:
        found.append(Finding(is_fatal=True, line=f"{path}: the answer cannot be read: {error}"[:300]))
        return None
