"""`/reload_config`: the settings file read again, and of what it says the part that never changes what is traded.

Who is told what, how loud the log is and when the heartbeat stops may change while a run goes on. Everything else is in
the run's `config_hash`, and what `bot verify` runs again from the record: it changes with a restart, and is named.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from bot.domain.errors import ConfigError
from bot.domain.operation import CommandDone
from bot.runtime.trade_settings import TradeSettings

log = structlog.get_logger()

_WAYS = ("telegram", "webhook", "mail")
WHILE_RUNNING = frozenset(
    {
        "log.level",
        *(f"alerts.{way}.{name}" for way in _WAYS for name in ("least", "muted")),
        *(f"alerts.escalation.{name}" for name in ("after", "times")),
        *(f"alerts.heartbeat.{name}" for name in ("decision_age_max", "reconciled_age_max", "paused_is_well")),
    }
)
"""Keys that are taken up while running; none of them reaches the market's half or the money's."""

_NAMED_MAX = 12  # changes that a message names
_VALUE_MAX = 60  # characters

Take = Callable[[TradeSettings], None]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One key that the file now gives another value."""

    key: str
    text: str  # "key: old -> new"


class Reloading:
    """Reads the settings again when it is asked.

    Args:
        settings: as the run was started with.
        read: returns them as the file, the environment and the command line give them now; None where there is no file.
        take: takes up what may change while running; of the rest it is given what the run was started with.
    """

    def __init__(self, settings: TradeSettings, read: Callable[[], TradeSettings] | None, take: Take) -> None:
        self._in_force = settings
        self._read = read
        self._take = take
        self._shown: TradeSettings | None = None  # what the newest answer to `foresee` was about

    def foresee(self) -> str:
        """Return what `obey` would do now, key by key, and what a restart would change besides."""
        self._shown = None
        try:
            found = self._reread()
        except ConfigError as error:
            return f"nothing: {_one_line(error)}"
        self._shown = found
        now, later = self._changes(found)
        if not now and not later:
            return "nothing: the settings are as they are in force"
        taken = f"takes up {_named(now)}" if now else "takes up nothing"
        return f"{taken}; needs a restart: {_named(later)}" if later else taken

    def obey(self, by: str) -> CommandDone:
        """Take up what was shown, unless the file says something else by now."""
        shown, self._shown = self._shown, None
        try:
            found = self._reread()
        except ConfigError as error:
            return CommandDone(is_done=False, text=f"nothing was taken up: {_one_line(error)}")
        if shown is None or shown != found:
            return CommandDone(is_done=False, text="the settings have changed since they were shown: ask again")
        now, later = self._changes(found)
        waiting = f"; needs a restart: {_named(later)}" if later else ""
        if not now:
            return CommandDone(is_done=False, text=f"nothing to take up{waiting}")
        self._in_force = _with_keys(self._in_force, found, {each.key for each in now})
        self._take(self._in_force)
        log.info("settings.reloaded", by=by, taken=[each.text for each in now], waiting=[each.text for each in later])
        return CommandDone(is_done=True, text=f"taken up: {_named(now)}{waiting}")

    def _reread(self) -> TradeSettings:
        if self._read is None:
            raise ConfigError("this run's settings came from no file")
        return self._read()

    def _changes(self, found: TradeSettings) -> tuple[list[Change], list[Change]]:
        """Return what may change while running, and what may not."""
        old, new = _flat(self._in_force.model_dump(mode="json")), _flat(found.model_dump(mode="json"))
        told_old, told_new = _flat(self._in_force.public()), _flat(found.public())
        now: list[Change] = []
        later: list[Change] = []
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                change = Change(key=key, text=f"{key}: {_value(told_old, key)} -> {_value(told_new, key)}")
                (now if key in WHILE_RUNNING else later).append(change)
        return now, later


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            made |= _flat(value, f"{above}{key}.")
        else:
            made[f"{above}{key}"] = value
    return made


def _value(told: Mapping[str, Any], key: str) -> str:
    if key not in told:
        return "(not shown)"
    text = msgspec.json.encode(told[key]).decode()
    return text if len(text) <= _VALUE_MAX else f"{text[: _VALUE_MAX - 3]}..."


def _named(changes: list[Change]) -> str:
    more = len(changes) - _NAMED_MAX
    names = ", ".join(each.text for each in changes[:_NAMED_MAX])
    return f"{names} and {more} more" if more > 0 else names


def _with_keys(settings: TradeSettings, other: TradeSettings, keys: set[str]) -> TradeSettings:
    """Return settings with these keys of others."""
    for key in sorted(keys):
        settings = _put(settings, other, key.split("."))
    return settings


def _put(section: Any, other: Any, path: list[str]) -> Any:
    name, *rest = path
    value = getattr(other, name)
    return section.model_copy(update={name: _put(getattr(section, name), value, rest) if rest else value})


def _one_line(error: ConfigError) -> str:
    return "; ".join(str(error).splitlines()[:5])
