"""Changes a run's record of deliveries, as somebody who wants it to lie would."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from bot.core.deliveries import Note, join
from bot.store.capture_files import CaptureWriter
from bot.store.deliveries import FILE, read_blocks


def copy_run(run: Path, ledger: Path, to: Path) -> tuple[Path, Path]:
    """Return a copy of a run's directory and of its ledger's."""
    shutil.copytree(run, to / run.name)
    shutil.copytree(ledger, to / "ledger")
    return to / run.name, to / "ledger"


def notes_of(run: Path) -> list[Note]:
    """Return all notes of a run."""
    return [note for block in read_blocks(run / FILE) for note in block]


def rewrite(run: Path, change: Callable[[Note], Note | None]) -> None:
    """Write the record again, each note as `change` returns it; None leaves it out."""
    changed = [[made for note in block if (made := change(note))] for block in read_blocks(run / FILE)]
    (run / FILE).unlink()
    writer = CaptureWriter(run / FILE)
    for block in changed:
        writer.write(b"".join(map(join, block)))
    writer.close()


def with_payload(note: Note, value: Any) -> Note:
    """Return the note with another payload."""
    return replace(note, payload=msgspec.Raw(msgspec.msgpack.encode(value)))


def plain(note: Note) -> Any:
    """Return a note's payload as plain values."""
    return msgspec.msgpack.decode(note.payload)


def execute(ledger: Path, sql: str, *values: Any) -> None:
    """Change a ledger behind everybody's back."""
    with sqlite3.connect(ledger / "ledger.sqlite") as connection:
        connection.execute(sql, values)
    connection.close()


def journal(ledger: Path, kind: str = "%") -> list[tuple[int, str, str]]:
    """Return number, kind and body of a ledger's rows."""
    with sqlite3.connect(ledger / "ledger.sqlite") as connection:
        rows = connection.execute("SELECT seq, kind, body FROM journal WHERE kind LIKE ? ORDER BY seq", (kind,))
        found = rows.fetchall()
    connection.close()
    return found
