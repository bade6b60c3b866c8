"""The native market store: what is written, where, in which order; and that nothing is ever half there."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from bot.domain.errors import DataError, StorageError
from bot.store import market_format
from bot.store.importing.part import Part, Rejected
from bot.store.market_dataset import Dataset
from bot.store.market_format import layout_of, partition_keys, partition_name, partition_span_ns
from bot.store.market_merge import merge
from bot.store.market_spool import Spool
from bot.store.market_store import MarketStore
from tests.support.cli import ROOT
from tests.support.market_parts import (
    DAY_NS,
    MINUTE_NS,
    START_NS,
    bar_part,
    part_of,
    rows_of,
    snapshot,
    stored,
    trade_part,
)


@pytest.fixture
def store(tmp_path: Path) -> MarketStore:
    return MarketStore(tmp_path / "market")


def trades(count: int, *, start_ns: int = START_NS, step_ns: int = 10**9, first_id: int = 1) -> list[tuple[Any, ...]]:
    return [(start_ns + n * step_ns, 1000 + n, 1 + n, n % 2 == 0, first_id + n) for n in range(count)]


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "ts", "name", "first", "after"),
    [
        ("trades", "2024-08-08T23:59:59.999999999", "2024-08-08", "2024-08-08", "2024-08-09"),
        ("quotes", "2024-02-29T00:00", "2024-02-29", "2024-02-29", "2024-03-01"),
        ("bars-1m", "2025-05-31T23:59", "2025-05", "2025-05-01", "2025-06-01"),
        ("mark-1h", "2024-12-31T23:00", "2024-12", "2024-12-01", "2025-01-01"),
        ("index-1h", "2024-01-01T00:00", "2024-01", "2024-01-01", "2024-02-01"),
        ("funding", "2021-12-31T16:00", "2021", "2021-01-01", "2022-01-01"),
        ("book", "2024-08-08T23:59:59", "2024-08-08T23", "2024-08-08T23:00", "2024-08-09T00:00"),
    ],
)
def test_a_row_goes_into_the_file_of_its_time(kind: str, ts: str, name: str, first: str, after: str) -> None:
    layout = layout_of(kind)
    ns = int(np.datetime64(ts, "ns").astype(np.int64))
    assert partition_name(layout, int(partition_keys(layout, np.array([ns]))[0])) == name
    span_ns = tuple(int(np.datetime64(each, "ns").astype(np.int64)) for each in (first, after))
    assert partition_span_ns(layout, name) == span_ns


@pytest.mark.parametrize("name", ["2024", "2024-8-08", "2024-08-08T00", "NaT", "x", "2024-13-01", "2024-08-08.part"])
def test_what_is_no_name_of_a_file_is_passed_over(name: str) -> None:
    assert partition_span_ns(layout_of("trades"), name) is None


@pytest.mark.parametrize("kind", ["", "trade", "bars", "bars-", "bars-60m", "bars-1M", "bars-0m", "trades-1m", "mark"])
def test_what_is_no_kind_is_refused(kind: str) -> None:
    """A length is written in one way, so that a dataset has one name."""
    with pytest.raises(DataError, match=r"kind|write the length"):
        layout_of(kind)


def test_rows_are_cut_at_midnight(store: MarketStore) -> None:
    """The last ns of a day and the first of the next lie in two files; nothing is lost between them."""
    rows = [(START_NS + DAY_NS + at, 1000, 1, True, 5 + at) for at in (-1, 0, 1)]
    written = store.write(trade_part(rows), name="x")
    assert (written[0].new, written[0].files) == (3, 2)
    directory = store.directory("bybit-linear", "XUSDT", "trades")
    assert sorted(path.name for path in directory.iterdir()) == ["2024-08-08.parquet", "2024-08-09.parquet"]
    assert pq.read_table(directory / "2024-08-08.parquet")["ts_ns"].to_pylist() == [rows[0][0]]
    assert stored(store, "trades")[2]["ts_ns"].tolist() == [row[0] for row in rows]


def test_a_file_says_what_it_holds(store: MarketStore) -> None:
    """Whoever has the file alone knows venue, symbol, kind and exponents."""
    store.write(trade_part(trades(3), source="archive"), name="x")
    path = store.directory("bybit-linear", "XUSDT", "trades") / "2024-08-08.parquet"
    assert json.loads(pq.read_schema(path).metadata[b"bot"]) == {
        "format": 1,
        "kind": "trades",
        "venue": "bybit-linear",
        "symbol": "XUSDT",
        "price_exponent": -1,
        "qty_exponent": -3,
        "rate_exponent": 0,
        "sources": {"archive": [START_NS, START_NS + 2 * 10**9]},
    }
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    assert (column.compression, column.statistics.min) == ("ZSTD", START_NS)


def test_what_a_source_does_not_tell_is_marked(store: MarketStore) -> None:
    store.write(bar_part([(START_NS, 10, 11, 9, 10, 5)]), name="x")
    columns = stored(store, "bars-1m")[2]
    assert np.isnan(columns["turnover"][0])
    assert (columns["count"][0], columns["buy_volume"][0]) == (-1, -1)
    store.write(
        part_of("quotes", [(START_NS, 10, 1, 11, 1)], names=("ts_ns", "bid", "bid_qty", "ask", "ask_qty")), name="x"
    )
    assert stored(store, "quotes")[2]["recv_ns"].tolist() == [0]


def test_trades_out_of_order_are_put_in_order(store: MarketStore) -> None:
    """By time; those of one time stay as the file has them."""
    rows = [(START_NS + at, 1000 + n, 1, True, 0) for n, at in enumerate([5, 3, 5, 1, 3])]
    store.write(trade_part(rows), name="x")
    assert stored(store, "trades")[2]["price"].tolist() == [1003, 1001, 1004, 1000, 1002]


def test_a_file_that_lists_the_newest_first_is_turned_round(store: MarketStore) -> None:
    """Then trades of one time are in reverse as well: sorting by time alone would leave them so."""
    rows = [(START_NS + at, 1000 + n, 1, True, 0) for n, at in enumerate([0, 1, 1, 1, 2, 2])]
    backwards = rows[::-1]
    parts = [trade_part(backwards[:2]), trade_part(backwards[2:3]), trade_part(backwards[3:])]
    store.write(iter(parts), name="x")
    assert stored(store, "trades")[2]["price"].tolist() == [row[1] for row in rows]


# --- exponents --------------------------------------------------------------------------------------------------------


def test_files_of_different_exponents_merge_exactly(store: MarketStore) -> None:
    """The finer one decides, the values stay what they were, in either order."""
    for first, second in ((0, 1), (1, 0)):
        parts = [
            trade_part([(START_NS, 1005, 7, True, 1)], price_exponent=-1, qty_exponent=-1),
            trade_part([(START_NS + 1, 10_051, 7_001, True, 2)], price_exponent=-2, qty_exponent=-4),
        ]
        one = MarketStore(store.root / str(first))
        one.write(parts[first], name="x")
        one.write(parts[second], name="y")
        price_exponent, qty_exponent, columns = stored(one, "trades")
        assert (price_exponent, qty_exponent) == (-2, -4)
        assert columns["price"].tolist() == [10_050, 10_051]
        assert columns["qty"].tolist() == [7_000, 7_001]


def test_the_same_value_at_another_exponent_is_a_repeat(store: MarketStore) -> None:
    store.write(trade_part([(START_NS, 1005, 7, True, 1)]), name="x")
    before = snapshot(store.root)
    again = store.write(trade_part([(START_NS, 100_500, 7_000, True, 1)], price_exponent=-3, qty_exponent=-6), name="y")
    assert (again[0].repeated, again[0].new, again[0].replaced) == (1, 0, 0)
    assert snapshot(store.root) == before


def test_what_is_not_told_is_not_scaled(store: MarketStore) -> None:
    """-1 stands for "not told" at every exponent."""
    store.write(bar_part([(START_NS, 10, 11, 9, 10, 5)], qty_exponent=0), name="x")
    store.write(bar_part([(START_NS + MINUTE_NS, 10, 11, 9, 10, 5)], qty_exponent=-5), name="y")
    assert stored(store, "bars-1m")[2]["buy_volume"].tolist() == [-1, -1]
    assert stored(store, "bars-1m")[2]["volume"].tolist() == [500_000, 5]


def test_a_value_that_does_not_fit_is_refused(store: MarketStore) -> None:
    store.write(trade_part([(START_NS, 10**15, 1, True, 1)], price_exponent=0), name="x")
    before = snapshot(store.root)
    with pytest.raises(DataError, match="do not fit"):
        store.write(trade_part([(START_NS + 1, 1, 1, True, 2)], price_exponent=-9), name="y")
    assert snapshot(store.root) == before


# --- merging ----------------------------------------------------------------------------------------------------------


def test_importing_twice_changes_nothing(store: MarketStore) -> None:
    parts = [trade_part(trades(50)), bar_part([(START_NS + n * MINUTE_NS, 10, 11, 9, 10, 5) for n in range(9)])]
    store.write(parts, name="x")
    before = snapshot(store.root)
    again = store.write(parts, name="x")
    assert [(each.new, each.repeated, each.replaced, each.files) for each in again] == [(0, 50, 0, 0), (0, 9, 0, 0)]
    assert snapshot(store.root) == before


def test_a_newer_import_wins_and_says_so(store: MarketStore) -> None:
    store.write(trade_part(trades(5)), name="x")
    changed = [(START_NS + 2 * 10**9, 7777, 3, True, 3), *trades(2)]
    written = store.write(trade_part(changed), name="y")[0]
    assert (written.new, written.repeated, written.replaced) == (0, 2, 1)
    assert stored(store, "trades")[2]["price"].tolist() == [1000, 1001, 7777, 1003, 1004]


def test_equal_trades_of_one_file_stay_apart(store: MarketStore) -> None:
    """Without numbers two equal rows of one file are two trades; the same two in another file are the same two."""
    rows = [(START_NS, 1000, 1, True, 0)] * 2
    store.write(trade_part(rows), name="x")
    assert store.write(trade_part([*rows, rows[0]]), name="y")[0].new == 1
    assert len(stored(store, "trades")[2]["price"]) == 3


def test_trades_of_two_sources_do_not_mix(store: MarketStore) -> None:
    """They number and time them differently: nobody can tell which are the same. Another day is no problem."""
    store.write(trade_part(trades(10), source="archive"), name="x")
    next_day = trade_part(trades(1, start_ns=START_NS + DAY_NS))
    assert store.write(next_day, name="y")[0].new == 1
    before = snapshot(store.root)
    third_day = trade_part(trades(1, start_ns=START_NS + 2 * DAY_NS))
    with pytest.raises(DataError, match=r"2024-08-08.*archive.*--store"):
        store.write([third_day, trade_part(trades(5))], name="z")
    assert snapshot(store.root) == before, "also not the day that would have been no problem"


def test_refused_rows_lie_beside_the_dataset(store: MarketStore) -> None:
    """With row, reason and text; gone when a corrected file of that name is imported."""
    bad = Rejected(row=7, reason="price is not positive", text='1,"x",-5')
    good = trade_part(trades(3))
    part = Part(
        **{name: getattr(good, name) for name in Part.__dataclass_fields__ if name != "rejected"}, rejected=(bad,)
    )
    written = store.write(part, name="day.csv")[0]
    assert (written.rejected, written.rejected_first) == (1, (bad,))
    path = store.root / "bybit-linear" / "XUSDT" / "rejected" / "trades-day.csv.csv"
    assert written.rejected_path == path
    assert path.read_text().splitlines() == ["row,reason,text", '7,price is not positive,"1,""x"",-5"']
    assert store.write(good, name="day.csv")[0].rejected_path is None
    assert not path.exists()


def test_strict_refuses_the_source_as_a_whole(store: MarketStore) -> None:
    bad = Rejected(row=7, reason="price is not positive", text="text")
    good = trade_part(trades(3))
    part = Part(
        **{name: getattr(good, name) for name in Part.__dataclass_fields__ if name != "rejected"}, rejected=(bad,)
    )
    with pytest.raises(DataError, match=r"day\.csv: 1 rows.*row 7: price is not positive \(text\)"):
        store.write([good, part], name="day.csv", strict=True)
    assert snapshot(store.root) == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"venue": "../etc"}, "no venue's name"),
        ({"venue": "Bybit"}, "no venue's name"),
        ({"symbol": "BTC/USD"}, "cannot name a folder"),
        ({"symbol": ".."}, "cannot name a folder"),
        ({"kind": "candles"}, "no kind"),
        ({"columns": {"ts_ns": np.array([5, 6])}}, "price, qty"),
    ],
)
def test_a_part_that_cannot_be_stored_is_refused(store: MarketStore, changes: dict[str, Any], words: str) -> None:
    good = trade_part(trades(2))
    part = Part(**{name: getattr(good, name) for name in Part.__dataclass_fields__} | changes)
    with pytest.raises(DataError, match=words):
        store.write(part, name="x")
    assert snapshot(store.root) == {}


def test_a_time_in_another_unit_is_refused(store: MarketStore) -> None:
    with pytest.raises(DataError, match="2001 to 2100"):
        store.write(trade_part(trades(2, start_ns=START_NS // 1000)), name="x")


# --- memory and disk --------------------------------------------------------------------------------------------------


def test_what_does_not_fit_the_memory_waits_on_the_disk(tmp_path: Path) -> None:
    """The result is the same, and the folder it waited in is gone."""
    parts = [trade_part(trades(100, start_ns=START_NS + n * DAY_NS // 3, first_id=1 + 100 * n)) for n in range(9)]
    with Spool(tmp_path, memory_bytes=4_000) as spool:
        for part in parts:
            spool.add(part)
        waiting = list(tmp_path.glob(".spool-*"))
        assert len(waiting) == 1
        gathered = next(iter(spool.datasets.values()))
        rows = sum(len(columns["ts_ns"]) for key in gathered.pieces for _, columns in gathered.rows(key))
        assert rows == 900
    assert not list(tmp_path.glob(".spool-*"))


def test_the_result_does_not_depend_on_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [trade_part(trades(100, start_ns=START_NS + n * DAY_NS // 3, first_id=1 + 100 * n)) for n in range(9)]
    roomy, tight = MarketStore(tmp_path / "roomy"), MarketStore(tmp_path / "tight")
    roomy.write(parts, name="x")
    monkeypatch.setattr("bot.store.market_store.Spool", lambda root: Spool(root, memory_bytes=2_000))
    tight.write(parts, name="x")
    assert snapshot(roomy.root) == snapshot(tight.root)


def test_how_the_parts_are_cut_does_not_show(tmp_path: Path) -> None:
    """One part or many, the files are the same byte for byte."""
    rows = trades(400, step_ns=DAY_NS // 150)
    for size in (400, 7, 131):
        MarketStore(tmp_path / str(size)).write(
            (trade_part(rows[at : at + size]) for at in range(0, len(rows), size)), name="x"
        )
    assert snapshot(tmp_path / "400") == snapshot(tmp_path / "7") == snapshot(tmp_path / "131")


def test_a_source_that_fails_in_the_middle_leaves_no_trace(store: MarketStore) -> None:
    def parts() -> Iterator[Part]:
        yield trade_part(trades(5))
        raise DataError("the packed file is cut off")

    with pytest.raises(DataError, match="cut off"):
        store.write(parts(), name="x")
    assert snapshot(store.root) == {}


KILLED = """
    import os, signal, sys
    from bot.store import market_format
    from bot.store.market_store import MarketStore
    from tests.support.market_parts import DAY_NS, START_NS, trade_part
    from pathlib import Path

    seen = 0

    def counted(stretches, layout, cut=market_format.in_groups):
        global seen
        seen += 1
        for columns in cut(stretches, layout):
            yield columns
            if seen == int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)  # while this file of the store is being written

    market_format.in_groups = counted
    rows = [(START_NS + n * DAY_NS // 100, 1000 + n, 1, True, n + 1) for n in range(500)]
    MarketStore(Path(sys.argv[1])).write(trade_part(rows), name="x")
"""


@pytest.mark.parametrize("change", ["none", "value", "row more", "row less", "finer"])
def test_a_second_import_is_compared_group_by_group(
    store: MarketStore, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Only what is the same to the last row passes for the same; then nothing is merged at all."""
    monkeypatch.setattr(market_format, "GROUP_ROWS", 10)
    merges: list[object] = []
    monkeypatch.setattr("bot.store.market_store.merge", lambda *of: merges.append(of) or merge(*of))
    rows = trades(45, step_ns=1000)
    store.write(trade_part(rows), name="x")
    came = list(rows)
    if change == "value":
        came[44] = (came[44][0], 7, *came[44][2:])
    elif change == "row more":
        came.append((came[44][0], 7, 7, True, 99))
    elif change == "row less":
        came.pop()
    scale = 10 if change == "finer" else 1
    part = trade_part(
        [(ts, price * scale, *rest) for ts, price, *rest in came], price_exponent=-2 if scale == 10 else -1
    )
    written = store.write([part], name="y")[0]
    assert bool(merges) == (change != "none")
    expected = {"value": (0, 44, 1), "row more": (1, 45, 0), "row less": (0, 44, 0)}.get(change, (0, 45, 0))
    assert (written.new, written.repeated, written.replaced) == expected


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_kill_in_the_middle_leaves_whole_files_only(tmp_path: Path, at: int) -> None:
    """What has its name is whole; the same import again ends where an undisturbed one does."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "killed"), str(at)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    killed = MarketStore(tmp_path / "killed")
    directory = killed.directory("bybit-linear", "XUSDT", "trades")
    assert len(list(directory.glob("*.part"))) == 1
    assert len(list(directory.glob("*.parquet"))) == at - 1
    for path in directory.glob("*.parquet"):
        assert pq.read_table(path).num_rows == 100
    rows = [(START_NS + n * DAY_NS // 100, 1000 + n, 1, True, n + 1) for n in range(500)]
    written = killed.write(trade_part(rows), name="x")[0]
    assert (written.new, written.repeated) == (500 - 100 * (at - 1), 100 * (at - 1))
    whole = MarketStore(tmp_path / "whole")
    whole.write(trade_part(rows), name="x")
    assert snapshot(killed.root) == snapshot(whole.root)


def test_a_folder_left_by_a_killed_import_is_removed(tmp_path: Path) -> None:
    """One that is still in use is left alone."""
    left = tmp_path / ".spool-1"
    left.mkdir()
    (left / "lock").touch()
    with Spool(tmp_path, memory_bytes=1) as first:
        first.add(trade_part(trades(5)))
        assert {path.name for path in tmp_path.iterdir()} == {".spool-1"}
        with Spool(tmp_path, memory_bytes=1) as second:
            second.add(trade_part(trades(5)))
            assert {path.name for path in tmp_path.iterdir()} == {".spool-1", ".spool-2"}
        assert {path.name for path in tmp_path.iterdir()} == {".spool-1"}


def test_a_disk_that_refuses_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "market").write_text("a file where the store should be")
    with pytest.raises(StorageError, match="--store"):
        MarketStore(tmp_path / "market").write(trade_part(trades(1)), name="x")


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_range_touches_only_the_files_and_row_groups_it_needs(
    store: MarketStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_format, "GROUP_ROWS", 10)
    rows = trades(500, step_ns=DAY_NS // 100)  # five days, ten row groups each
    store.write(trade_part(rows), name="x")
    dataset = store.dataset("bybit-linear", "XUSDT", "trades")
    from_ns, to_ns = rows[225][0], rows[238][0]
    found = [row for stretch in dataset.read(("ts_ns", "price"), from_ns, to_ns) for row in rows_of(stretch.columns)]
    assert found == [row[:2] for row in rows[225:238]]
    assert (dataset.files_opened, dataset.groups_read) == (1, 2)
    for low, high in ((0, 500), (99, 101), (100, 200), (250, 250), (499, 500)):
        end_ns = rows[high][0] if high < 500 else rows[-1][0] + 1
        times = [
            t for stretch in dataset.read(("ts_ns",), rows[low][0], end_ns) for t in stretch.columns["ts_ns"].tolist()
        ]
        assert times == [row[0] for row in rows[low:high]]


def test_the_span_of_a_range_reads_little(store: MarketStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_format, "GROUP_ROWS", 10)
    rows = trades(500, step_ns=DAY_NS // 100)
    store.write(trade_part(rows), name="x")
    dataset = store.dataset("bybit-linear", "XUSDT", "trades")
    assert dataset.span_ns() == (rows[0][0], rows[-1][0])
    assert (dataset.files_opened, dataset.groups_read) == (2, 0)
    assert dataset.span_ns(rows[5][0] + 1, rows[395][0]) == (rows[6][0], rows[394][0])
    assert dataset.groups_read == 2
    assert dataset.span_ns(rows[5][0] + 1, rows[6][0]) is None


def test_a_book_keeps_its_messages_order_where_times_go_back(store: MarketStore) -> None:
    """Also over the edge of an hour: a message stays behind the one it came after."""
    hour_ns = START_NS + 3600 * 10**9
    times = [hour_ns - 5, hour_ns + 1, hour_ns - 2, hour_ns + 3]
    names = ("ts_ns", "update", "is_snapshot", "is_bid", "price", "qty")
    store.write(part_of("book", [(ts, n, n == 0, True, 10, n) for n, ts in enumerate(times)], names=names), name="x")
    assert stored(store, "book")[2]["update"].tolist() == [0, 1, 2, 3]
    assert stored(store, "book", from_ns=hour_ns)[2]["update"].tolist() == [1, 2, 3]


def test_datasets_are_listed(store: MarketStore) -> None:
    assert store.datasets() == []
    store.write([trade_part(trades(3)), trade_part(trades(250, step_ns=DAY_NS // 100), symbol="YUSDT")], name="x")
    (store.root / "bybit-linear" / "YUSDT" / "notes").mkdir()
    found = store.datasets()
    assert [(each.symbol, each.kind, each.rows, each.files) for each in found] == [
        ("XUSDT", "trades", 3, 1),
        ("YUSDT", "trades", 250, 3),
    ]
    assert (found[0].first_ns, found[0].last_ns) == (START_NS, START_NS + 2 * 10**9)
    paths = store.directory("bybit-linear", "YUSDT", "trades").glob("*")
    assert found[1].bytes == sum(path.stat().st_size for path in paths)


@pytest.mark.parametrize("damage", ["cut", "foreign", "kind", "format"])
def test_a_damaged_file_is_named(store: MarketStore, damage: str) -> None:
    store.write(trade_part(trades(3)), name="x")
    directory = store.directory("bybit-linear", "XUSDT", "trades")
    path = directory / "2024-08-08.parquet"
    table = pq.read_table(path)
    metadata = json.loads(table.schema.metadata[b"bot"])
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "foreign":
        pq.write_table(table.replace_schema_metadata({}), path)
    else:
        metadata |= {"kind": "quotes"} if damage == "kind" else {"format": 2}
        pq.write_table(table.replace_schema_metadata({"bot": json.dumps(metadata)}), path)
    with pytest.raises(DataError) as caught:
        list(Dataset(directory).read())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_dataset_is_named(store: MarketStore) -> None:
    with pytest.raises(DataError, match=r"no such folder.*bot data list"):
        store.dataset("bybit-linear", "XUSDT", "trades")
