"""Runs a replay again from the settings that it left, and compares the two ledgers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError
from sqlalchemy import select

from bot.app.journal_words import JournalEntry, first_difference
from bot.app.replay import replay
from bot.app.replay_market import open_market
from bot.domain.errors import ConfigError, DataError
from bot.runtime.setting_files import read_toml
from bot.runtime.settings import Settings
from bot.store import tables
from bot.store.run_reader import RunReader, open_ledger


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayedAgain:
    """What came of replaying a run again."""

    run_id: str
    then: str  # the ledger's hash
    now: str
    rows: int  # of the ledger, now
    difference: str  # the first entry that is another, "" where there is none

    @property
    def is_identical(self) -> bool:
        """Return whether it left the same ledger."""
        return self.then == self.now and not self.difference


def replay_again(
    directory: Path, *, on_progress: Callable[[float, str], None] = lambda done, at: None
) -> ReplayedAgain:
    """Return what comes of replaying a finished run again, in a directory that is removed afterwards.

    Raises:
        DataError: it is no finished replay, or its market is gone.
        BotError: what a replay may raise.
    """
    settings = _settings(directory)
    reader = RunReader(directory)
    try:
        run = reader.run()
    finally:
        reader.close()
    market = open_market(settings)
    with TemporaryDirectory(prefix="bot-verify-") as out:
        run_settings = settings.run.model_copy(update={"out": Path(out)})
        again = settings.model_copy(update={"run": run_settings})
        made = replay(again, market, on_progress=lambda at: on_progress(at.done, "replaying"), is_latest=False)
        entries = _entries(made.directory)
        before = _entries(directory)
        found = first_difference(before, entries)
    return ReplayedAgain(
        run_id=str(run["run_id"]),
        then=str(run["ledger_hash"]),
        now=made.ledger_hash,
        rows=len(entries),
        difference="" if found is None else str(found.words),
    )


def is_replay(directory: Path) -> bool:
    """Return whether a run's settings are those of a replay.

    Raises:
        DataError: there are none.
    """
    try:
        return "symbols" not in read_toml(directory / "config.toml")
    except ConfigError as error:
        raise DataError(f"{directory}: no run here ({error})") from error


def _settings(directory: Path) -> Settings:
    path = directory / "config.toml"
    try:
        return Settings(**read_toml(path))
    except (ConfigError, ValidationError) as error:
        raise DataError(f"{path}: it was written by another version, or changed ({error})") from error


def _entries(directory: Path) -> list[JournalEntry]:
    engine = open_ledger(directory)
    journal = tables.journal
    query = select(journal.c.ts_ns, journal.c.kind, journal.c.body).order_by(journal.c.seq)
    try:
        with engine.connect() as connection:
            return [JournalEntry(*row) for row in connection.execute(query)]
    finally:
        engine.dispose()
