"""The ledger's hash chain and its audit: nothing that was changed goes unnoticed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.domain.errors import DataError
from bot.domain.instrument import Side
from bot.domain.ledger import (
    FillBooked,
    OrderIntended,
    OrderReported,
)
from bot.domain.orders import OrderAmended
from bot.store import tables
from bot.store.audit import audit_run
from bot.store.run_reader import RunReader
from bot.store.sql_ledger import GENESIS, chain
from tests.support.examples import examples
from tests.support.money import dec
from tests.support.written_ledgers import CLOSED, LIFE, contents_of, engine_of, finished_run, write_ledger


def first_break(rows: Sequence[tuple[int, str, bytes]], ledger_hash: str) -> int | None:
    """Return the number of the first entry that the chain does not bear out, None if it bears out all of them."""
    digest = GENESIS
    for expected, (seq, body, stored) in enumerate(rows, start=1):
        digest = chain(digest, body.encode())
        if seq != expected or digest != stored:
            return expected
    return None if digest.hex() == ledger_hash else len(rows) + 1


@pytest.fixture(scope="module")
def journal(whole_run: RunReader) -> tuple[list[tuple[int, str, bytes]], str]:
    """Return the journal's rows and the run's hash of them."""
    frame = whole_run.frame("journal")
    rows = [(int(seq), str(body), bytes(stored)) for seq, body, stored in frame[["seq", "body", "hash"]].to_numpy()]
    return rows, str(whole_run.run()["ledger_hash"])


def test_the_chain_recomputes(journal: tuple[list[tuple[int, str, bytes]], str]) -> None:
    rows, ledger_hash = journal
    assert first_break(rows, ledger_hash) is None
    assert len({stored for _, _, stored in rows}) == len(rows)
    assert all(len(stored) == 32 for _, _, stored in rows)


@given(data=st.data())
@settings(max_examples=examples(200), deadline=None)
def test_any_changed_byte_of_the_journal_is_noticed(
    journal: tuple[list[tuple[int, str, bytes]], str], data: st.DataObject
) -> None:
    """A body's character, a hash's bit, an entry left out, doubled, moved or cut off the end: the chain breaks, at or
    before the place."""
    rows, ledger_hash = list(journal[0]), journal[1]
    at = data.draw(st.integers(0, len(rows) - 1), label="entry")
    seq, body, stored = rows[at]
    match data.draw(st.sampled_from(["body", "hash", "drop", "double", "swap", "cut"]), label="what"):
        case "body":
            place = data.draw(st.integers(0, len(body) - 1), label="character")
            other = data.draw(st.characters(codec="ascii").filter(lambda c: c != body[place]), label="other")
            rows[at] = seq, body[:place] + other + body[place + 1 :], stored
        case "hash":
            bit = data.draw(st.integers(0, 255), label="bit")
            flipped = bytearray(stored)
            flipped[bit // 8] ^= 1 << bit % 8
            rows[at] = seq, body, bytes(flipped)
        case "drop":
            del rows[at]
        case "double":
            rows.insert(at, rows[at])
        case "swap":
            other_at = (at + 1) % len(rows)
            rows[at], rows[other_at] = rows[other_at], rows[at]
        case _:
            del rows[at:]
    broken = first_break(rows, ledger_hash)
    assert broken is not None
    assert broken <= max(at + 2, len(rows) + 1)


def test_an_entry_rewritten_with_its_hash_breaks_the_next() -> None:
    """Whoever changes an entry and its hash must change all that follow, and the run's own hash."""
    bodies = [b"a", b"b", b"c"]
    hashes = [GENESIS]
    for body in bodies:
        hashes.append(chain(hashes[-1], body))
    forged = chain(hashes[1], b"B")
    assert forged != hashes[2]
    assert chain(forged, b"c") != hashes[3]
    assert chain(GENESIS, b"ab") != chain(chain(GENESIS, b"a"), b"b")


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """Return a run in which an audit finds nothing wrong, and its ledger's bytes."""
    directory = tmp_path_factory.mktemp("audited")
    store = write_ledger(directory, LIFE[:-1])
    store.write([replace(CLOSED, tape_hash=store.tape_hash())])
    store.finish(data_hash="d", rows_in=3, late_trades=0, wall_seconds=0.1)
    assert audit_run(directory).problems == []
    return directory, (directory / "ledger.sqlite").read_bytes()


def is_noticed(audited: tuple[Path, bytes], statement: str, *values: Any) -> bool:
    """Return whether an audit finds something after one change behind the ledger's back."""
    directory, content = audited
    path = directory / "ledger.sqlite"
    try:
        engine = engine_of(path)
        with engine.begin() as connection:
            connection.exec_driver_sql(statement, values)
        engine.dispose()
        return bool(audit_run(directory).problems)
    except DataError:
        return True
    finally:
        path.write_bytes(content)


def other_than(value: Any) -> Any:
    """Return a value of the same kind that is another."""
    match value:
        case None:
            return "7"
        case bytes():
            return bytes(32)
        case str():
            return value + "1"
        case _:
            return value + 1000


DRAWN = ["journal", *(table.name for table in tables.metadata.sorted_tables if table.name not in tables.UNDRAWN)]


@pytest.mark.parametrize("name", DRAWN)
def test_an_audit_notices_any_changed_cell(name: str, audited: tuple[Path, bytes]) -> None:
    """Whatever column of whatever table is changed behind the ledger's back, or a row of it removed."""
    row = contents_of(audited[0])[name][0]
    columns = [column.name for column in tables.metadata.tables[name].columns]
    where = f'"{columns[0]}" = ?' + (f' AND "{columns[1]}" = ?' if name in ("postings", "balances") else "")
    key = tuple(row[: where.count("?")])
    for column, value in zip(columns, row, strict=True):
        update = f'UPDATE {name} SET "{column}" = ? WHERE {where}'
        assert is_noticed(audited, update, other_than(value), *key), column
    assert is_noticed(audited, f"DELETE FROM {name} WHERE {where}", *key)


FORGED: dict[str, tuple[Any, str]] = {
    "an amendment of nothing": (
        lambda: [e for e in LIFE if not (isinstance(e, OrderIntended) and e.order.trigger is not None)],
        "which was never intended",
    ),
    "an order that became more than was asked": (
        lambda: [
            replace(e, event=replace(e.event, qty=dec("1.201")))
            if isinstance(e, OrderReported) and isinstance(e.event, OrderAmended)
            else e
            for e in LIFE
        ],
        "became 1.201, more than was asked for",
    ),
    "a refusal of stops that were not sent": (
        lambda: [e for e in LIFE if type(e).__name__ != "StopsIntended"],
        "refuses r000000-sma",
    ),
    "a fill of the other side": (
        lambda: [replace(e, fill=replace(e.fill, side=Side.SELL)) if isinstance(e, FillBooked) else e for e in LIFE],
        "which was never intended like that",
    ),
    "more filled than was ordered": (
        lambda: [replace(e, fill=replace(e.fill, qty=dec("1.501"))) if isinstance(e, FillBooked) else e for e in LIFE],
        "more than was asked for",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_an_audit_holds_what_became_against_what_was_asked(name: str, tmp_path: Path) -> None:
    """Of a journal that is whole in itself, chain and all, and still can not be true."""
    make, words = FORGED[name]
    finished_run(tmp_path, make()).close()
    assert any(words in problem for problem in audit_run(tmp_path).problems)


@pytest.mark.parametrize("column", ["ledger_hash", "tape_hash", "data_hash", "model_id", "start_cash", "status"])
def test_an_audit_notices_a_run_that_says_otherwise_than_its_journal(column: str, audited: tuple[Path, bytes]) -> None:
    """What the journal's entries hold of the run, its own row cannot be made to contradict."""
    assert is_noticed(audited, f"UPDATE runs SET {column} = {column} || '1'")
