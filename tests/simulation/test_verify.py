"""A paper run with faults in it, run again from its record: the same, or the first thing that is not, both sides.

One run serves all: each test that changes something changes a copy.
"""

import asyncio
import gzip
import json
import sqlite3
from pathlib import Path

import pytest

from bot.app.verify import verify_run
from bot.core.deliveries import join
from bot.domain.errors import DataError
from bot.domain.operation import Phase
from bot.store.capture_files import CaptureWriter
from bot.store.deliveries import FILE
from tests.support.cli import bot
from tests.support.emulator import KEY, SECRET
from tests.support.paper_loop import SECOND, paper_loop
from tests.support.recorded import copy_run, execute, journal, notes_of, plain, rewrite, with_payload

pytestmark = pytest.mark.slow  # a real run, some seconds of it

Run = tuple[Path, Path]
Runs = tuple[Path, Path, Path]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Return a run in which messages are lost and the account's stream breaks, the one after it, and their ledger."""
    directory = tmp_path_factory.mktemp("recorded")

    async def trade() -> tuple[Path, Path]:
        async with paper_loop(directory) as both:
            both.start()
            await both.until_ready()
            both.add_fault(kind="lost_ack", where={"op": "order.*"}, count=2)
            both.add_fault(kind="lost_request", where={"op": "order.create"}, count=1)
            await both.until(lambda: bool(both.entries("DoubtOpened")), "a doubt")
            both.add_fault(kind="disconnect", where={"socket": "private"}, delay_ns=SECOND)
            await both.until(lambda: both.phase is not Phase.READY, "the stream is down")
            await both.until_ready()
            await both.until(lambda: bool(both.entries("FillBooked")), "a fill")
            await both.until(lambda: len(both.entries("DecisionMade")) > 10, "decisions")
            await both.stop()
            first = both.trading.directory
            await asyncio.sleep(1)  # a run is named by the second it began in
            both.start()
            await both.until_ready()
            await both.pass_time(5)
            await both.stop()
            return first, both.trading.directory

    return *asyncio.run(trade()), directory / "ledger"


@pytest.fixture(scope="module")
def recorded(runs: Runs) -> Run:
    """Return the run with faults in it, and its ledger."""
    return runs[0], runs[2]


@pytest.fixture
def run(recorded: Run, tmp_path: Path) -> Run:
    """Return a copy of it, to be changed."""
    return copy_run(*recorded, tmp_path)


def test_a_run_with_faults_in_it_comes_out_the_same(recorded: Run) -> None:
    """Every decision, request and ledger row, byte for byte."""
    directory, ledger = recorded
    verified = verify_run(directory)
    assert verified.differences == []
    assert verified.cautions == []
    assert verified.rows == last_row(ledger) > 50
    assert verified.rows_after == 0
    assert verified.decisions == sum(seq <= verified.rows for seq, _, _ in journal(ledger, "DecisionMade")) > 5
    assert verified.sends == sum(note.kind == "Send" for note in notes_of(directory)) > 5
    assert journal(ledger, "DoubtOpened"), "nothing was in doubt"
    links = [plain(note)["is_up"] for note in notes_of(directory) if note.kind == "LinkChanged"]
    assert False in links, "the stream did not break"


def test_no_key_is_in_the_record(recorded: Run) -> None:
    """Keys never reach an actor."""
    data = gzip.decompress((recorded[0] / FILE).read_bytes())
    assert b"restless" in data
    assert KEY.encode() not in data
    assert SECRET.encode() not in data


def test_an_answer_that_was_changed_is_the_first_difference(run: Run) -> None:
    """The ledger says when the venue took it; the record now says something else."""
    directory, ledger = run
    bodies = [json.loads(body) for _, _, body in journal(ledger, "RequestAnswered")]
    heard = next(body for body in bodies if body["kind"] == "accepted")
    told = next(
        note
        for note in notes_of(directory)
        if note.kind == "Answered"
        and plain(note)["request"] == heard["request"]
        and plain(note)["answer"]["kind"] == "accepted"
    )
    value = plain(told)
    value["answer"]["server_time_ms"] += 1
    rewrite(directory, lambda n: with_payload(n, value) if n.number == told.number else n)
    first = verify_run(directory, ledger=str(ledger)).differences[0]
    assert (first.number, first.actor, first.during) == (told.number, "order_executor", "Answered")
    assert heard == json.loads(first.then)
    assert first.changed[0].startswith("server_time_ms: ")


def test_a_fill_that_was_withheld_is_the_first_difference(run: Run) -> None:
    """Without it the executor does not commit what it committed."""
    directory, ledger = run
    told = next(n for n in notes_of(directory) if n.kind == "AccountTold" and "OrderFilled" in str(plain(n)))
    rewrite(directory, lambda n: with_payload(n, plain(n) | {"events": []}) if n.number == told.number else n)
    first = verify_run(directory, ledger=str(ledger)).differences[0]
    assert told.number <= first.number
    assert first.what == "something else was done"
    assert first.then.startswith("heard commit")


def test_a_ledger_row_that_was_changed_is_the_first_difference(run: Run) -> None:
    """Also where its hash, and all that follow, were made to fit."""
    directory, ledger = run
    seq, _, body = journal(ledger, "FillBooked")[0]
    execute(ledger, "UPDATE journal SET body = ? WHERE seq = ?", body.replace('"fee":"', '"fee":"9'), seq)
    first = verify_run(directory, ledger=str(ledger)).differences[0]
    assert first.what == f"ledger row {seq} is another"
    assert first.now == body
    assert first.changed[0].startswith("fill.fee: 9")


def test_a_ledger_row_too_few_or_too_many_is_a_difference(run: Run) -> None:
    """What was acknowledged as durable must be there, and nothing else."""
    directory, ledger = run
    seq = last_row(ledger)
    execute(ledger, "DELETE FROM epochs WHERE epoch > 1")  # the next run's
    execute(ledger, "DELETE FROM journal WHERE seq > ?", seq)
    execute(ledger, "INSERT INTO journal SELECT seq + 1, ts_ns, kind, body, hash FROM journal WHERE seq = ?", seq)
    first = verify_run(directory, ledger=str(ledger)).differences[0]
    assert first.what == f"ledger row {seq + 1} was written by nobody"
    execute(ledger, "DELETE FROM journal WHERE seq >= ?", seq)
    first = verify_run(directory, ledger=str(ledger)).differences[0]
    assert first.what == "what was committed is gone"


def test_a_hash_that_does_not_fit_is_a_difference(run: Run) -> None:
    """The rows are right and their chain is not."""
    directory, ledger = run
    execute(ledger, "UPDATE journal SET hash = zeroblob(32) WHERE seq = 9")
    assert verify_run(directory, ledger=str(ledger)).differences[0].what == "the ledger's hash chain breaks"


def test_a_delivery_that_was_left_out_is_named(run: Run) -> None:
    """Numbers have no gaps: also where a later note repeats the one that is gone."""
    directory, ledger = run
    repeated = plain(next(note for note in notes_of(directory) if note.kind == "same" and note.number > 50))
    rewrite(directory, lambda note: None if note.number == repeated else note)
    verified = verify_run(directory, ledger=str(ledger))
    assert f"note {repeated} is missing" in verified.differences[0].then


def test_what_the_market_half_hands_on_is_held_against_what_it_makes(run: Run) -> None:
    """Bars come from the trades that are on record, and from nowhere else."""
    directory, ledger = run
    slab = next(n for n in notes_of(directory) if n.kind == "MarketSlab" and n.number > 100 and plain(n)[4])
    value = plain(slab)
    value[1] += 1  # until when it says it is whole
    rewrite(directory, lambda n: with_payload(n, value) if n.number == slab.number else n)
    first = verify_run(directory, ledger=str(ledger)).differences[0]
    assert (first.number, first.actor) == (slab.number, "bar_aggregator:BTCUSDT to inference:BTCUSDT")
    assert first.changed == (f"watermark_ns: {value[1]} then, {value[1] - 1} now",)


def test_a_strategy_with_another_parameter_decides_otherwise(run: Run) -> None:
    """A caution says that the settings are others; the difference is its first other wish."""
    directory, ledger = run
    path = directory / "config.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("[strategy.params]", '[strategy.params]\nqty = "0.02"'), encoding="utf-8")
    if "[strategy.params]" not in text:
        path.write_text(f'{text}\n[strategy.params]\nqty = "0.02"\n', encoding="utf-8")
    verified = verify_run(directory, ledger=str(ledger))
    assert verified.cautions[0].startswith("the settings are not those of the run")
    first = verified.differences[0]
    assert first.actor == "strategy to order_executor"
    assert "action.qty: 0.01 then, 0.02 now" in first.changed or "action.qty: 0.02 then, 0.04 now" in first.changed


def test_a_record_that_ends_anywhere_proves_what_it_holds(run: Run) -> None:
    """Cut at any byte: no difference, and what is not verified is said."""
    directory, ledger = run
    data = (directory / FILE).read_bytes()
    for part in (0.3, 0.6, 0.999):
        (directory / FILE).write_bytes(data[: int(len(data) * part)])
        verified = verify_run(directory, ledger=str(ledger))
        assert verified.differences == []
        assert verified.cautions[-1].startswith("the run was cut short: its record ends at note")
    (directory / FILE).write_bytes(data[:40])
    with pytest.raises(DataError, match="no record of a run begins here"):
        verify_run(directory, ledger=str(ledger))


@pytest.mark.parametrize("left", [False, True])
def test_a_record_that_ends_between_the_order_to_stop_and_its_end_proves_what_it_holds(run: Run, left: bool) -> None:
    """Killed in that moment: what was not recorded is no difference, whether or not a torn block says so."""
    directory, ledger = run
    notes = notes_of(directory)
    stops = [note.number for note in notes if note.actor == "order_executor" and note.kind == "Stop"]
    (directory / FILE).unlink()
    writer = CaptureWriter(directory / FILE)
    writer.write(b"".join(map(join, notes[: stops[-1] + 1])))
    if left:
        writer.write(b"".join(map(join, notes[stops[-1] + 1 :])))
    writer.close()
    if left:
        (directory / FILE).write_bytes((directory / FILE).read_bytes()[:-1])
    verified = verify_run(directory, ledger=str(ledger))
    assert verified.differences == []
    assert verified.cautions[-1].startswith("the run was cut short: its record ends at note")


def test_the_command_says_it_in_words(run: Run) -> None:
    """Exit code 0 for identical, 1 for a difference, with both sides."""
    directory, ledger = run
    said = bot("verify", str(directory), "--ledger", str(ledger), cwd=ledger)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.splitlines()[-1] == "result     identical"
    seq = last_row(ledger)
    execute(ledger, "DELETE FROM journal WHERE seq >= ?", seq)
    said = bot("verify", str(directory), "--ledger", str(ledger), cwd=ledger)
    assert said.returncode == 1
    assert "DIFFERENT at note" in said.stdout
    assert f"the ledger ends after {seq - 1} entries" in said.stdout


def test_another_ledger_is_refused(recorded: Run, tmp_path: Path) -> None:
    """A run is held against its own."""
    directory, ledger = copy_run(*recorded, tmp_path)
    execute(ledger, "UPDATE epochs SET run_id = 'another'")
    with pytest.raises(DataError, match="is not in this ledger"):
        verify_run(directory, ledger=str(ledger))


def test_a_run_begins_with_what_its_ledger_held(runs: Runs, tmp_path: Path) -> None:
    """By the state that was kept, by the entries alone, and not by entries that were changed since."""
    directory, ledger = copy_run(runs[1], runs[2], tmp_path)
    verified = verify_run(directory, ledger=str(ledger))
    assert (verified.differences, verified.cautions) == ([], [])
    assert verified.rows > 5
    execute(ledger, "DELETE FROM checkpoints")
    assert verify_run(directory, ledger=str(ledger)).differences == []
    seq, _, body = journal(ledger, "FillBooked")[0]
    execute(ledger, "UPDATE journal SET body = ? WHERE seq = ?", body.replace('"fee":"', '"fee":"9'), seq)
    first = verify_run(directory, ledger=str(ledger)).differences[0]
    assert first.what == "the run began with another state than its ledger held"
    assert first.now.startswith("its entries contradict each other: ")


def last_row(ledger: Path) -> int:
    """Return the last row of the first run."""
    with sqlite3.connect(ledger / "ledger.sqlite") as connection:
        found = connection.execute("SELECT after_seq FROM epochs WHERE epoch = 2").fetchone()
    connection.close()
    return int(found[0])
