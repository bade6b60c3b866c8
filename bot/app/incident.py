"""Put what is needed to understand an hour of trading into one file that may be handed on: no secret is in it.

The hour is the last that there is, so that it can be made long after a crash. The ledger says what was decided and what
came back, the log what was believed, the settings what was asked for.
"""

import json
import os
import platform
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from bot import __version__
from bot.app.doctor import ledger_place
from bot.app.ledgers import describe
from bot.app.switches import Switches
from bot.core.redaction import Redactor
from bot.domain.errors import BotError, ConfigError, DataError
from bot.runtime.heartbeat import HEARTBEAT_FILE, read_heartbeat
from bot.runtime.secrecy import secrets_in
from bot.runtime.trade_settings import TradeSettings, load_trade, read_credentials
from bot.store import tables
from bot.store.live_reader import open_snapshot, reason_of

ROWS_MAX = 200_000
_LOG_BYTES_MAX = 256 << 20  # of one file, and its last part beyond that
_README = """\
What was kept of a run of multiscale-bot. Secrets were hidden by value and by shape; look before you hand it on.

about.json     versions, whose ledger, balances, switches
config.toml    the settings of the run, resolved
log.jsonl      what the bot said
journal.jsonl  the ledger's entries: number, time (ns, by the bot's clock), kind, entry
notes.txt      what could not be had, if anything
"""


def bundle(run: Path, out: Path, *, minutes: int = 60) -> dict[str, Any]:
    """Write the file; return what is in it.

    Args:
        run: the run's directory.
        out: a file that is not there yet.
        minutes: how much of the log and of the ledger, counted back from the newest there is.

    Raises:
        ConfigError: there is no such run, or the file is there already.
        DataError: the file cannot be written.
    """
    if not (run / "config.toml").is_file():
        raise ConfigError(f"{run}: no run of bot paper or bot live; give its directory, such as runs/latest")
    settings = load_trade(run / "config.toml")
    redact = Redactor(_secrets(settings, os.environ))
    place = ledger_place(settings, run.resolve().parent) or run
    where = settings.ledger.at or str(place)
    notes: list[str] = []
    counts = {"log": 0, "journal": 0}
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as kept:
            kept.writestr("README.txt", _README)
            kept.writestr("about.json", redact(json.dumps(_about(run, place, where, notes), indent=1, default=str)))
            kept.writestr("config.toml", redact((run / "config.toml").read_text(encoding="utf-8", errors="replace")))
            counts["log"] = _write(kept, "log.jsonl", _log(run, minutes), redact)
            counts["journal"] = _write(kept, "journal.jsonl", _journal(where, minutes, notes), redact)
            if notes:
                kept.writestr("notes.txt", redact("\n".join(notes) + "\n"))
    except FileExistsError as error:
        raise ConfigError(f"{out}: it is there already; choose another name with --out") from error
    except OSError as error:
        raise DataError(f"{out}: {error.strerror}; choose a place that you may write with --out") from error
    return {"file": str(out), "bytes": out.stat().st_size, **counts, "notes": len(notes)}


def _secrets(settings: TradeSettings, environment: Mapping[str, str]) -> list[str]:
    """Return every secret that this process can know of."""
    found = [settings.emulator.secret]
    with suppress(ConfigError):
        found += read_credentials()
    return [*secrets_in(environment), *(each for each in found if len(each) >= 8)]


def _about(run: Path, place: Path, where: str, notes: list[str]) -> dict[str, Any]:
    about: dict[str, Any] = {
        "run": run.resolve().name,
        "version": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "ledger": where,
    }
    if place.is_dir():
        switches = Switches(place)
        about |= {"is_killed": switches.is_killed, "why_killed": switches.why_killed()}
        beat = read_heartbeat(place / HEARTBEAT_FILE)
        about["heartbeat"] = None if beat is None else msgspec.to_builtins(beat)
    try:
        about |= describe(where)
    except BotError as error:
        notes.append(f"the ledger: {error}")
    return about


def _write(kept: zipfile.ZipFile, name: str, lines: Iterator[str], redact: Redactor) -> int:
    count = 0
    with kept.open(name, "w") as file:
        for line in lines:
            file.write(redact(line).encode("utf-8", errors="replace") + b"\n")
            count += 1
    return count


def _log(run: Path, minutes: int) -> Iterator[str]:
    """Yield the lines of the last minutes, of all files that the log has turned over to."""
    numbered = sorted(run.glob("log.jsonl.[0-9]*"), key=lambda path: -int(path.suffix[1:] or 0))
    files = [path for path in (*numbered, run / "log.jsonl") if path.is_file() and not path.is_symlink()]
    newest = max((at for path in files for at, _ in _timed(path)), default=None)
    if newest is None:
        return
    since = newest - timedelta(minutes=minutes)
    for path in files:
        for at, line in _timed(path):
            if at >= since:
                yield line


def _timed(path: Path) -> Iterator[tuple[datetime, str]]:
    """Yield a log's lines with their times; one without stands at the time of the line before it."""
    at = datetime.fromtimestamp(0, UTC)
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LOG_BYTES_MAX))
        for raw in file:
            line = raw.decode("utf-8", errors="replace").rstrip("\n")
            with suppress(ValueError, TypeError, KeyError, msgspec.DecodeError):
                said = datetime.fromisoformat(msgspec.json.decode(line)["timestamp"])
                at = said if said.tzinfo else said.replace(tzinfo=UTC)
            yield at, line


def _journal(where: str, minutes: int, notes: list[str]) -> Iterator[str]:
    journal = tables.journal.c
    try:
        engine = open_snapshot(where)
    except BotError as error:
        notes.append(f"the journal: {error}")
        return
    try:
        with engine.connect() as connection:
            newest = connection.execute(select(func.max(journal.ts_ns))).scalar() or 0
            query = (
                select(journal.seq, journal.ts_ns, journal.kind, journal.body)
                .where(journal.ts_ns >= newest - minutes * 60_000_000_000)
                .order_by(journal.seq.desc())
                .limit(ROWS_MAX)
            )
            rows = connection.execute(query).all()
    except SQLAlchemyError as error:
        notes.append(f"the journal: {reason_of(error)}")
        return
    finally:
        engine.dispose()
    if len(rows) == ROWS_MAX:
        notes.append(f"the journal: the newest {ROWS_MAX} entries of the time alone")
    for seq, ts_ns, kind, body in reversed(rows):
        yield f'{{"seq":{seq},"ts_ns":{ts_ns},"kind":{json.dumps(kind)},"entry":{body}}}'
