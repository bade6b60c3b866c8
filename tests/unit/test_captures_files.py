"""What a captured file is, packed, cut off or damaged."""

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.errors import DataError
from bot.store.importing import capture_lines, captures
from tests.support.captured import (
    POLL,
    RECV,
    V2_DELTA,
    V2_LOG,
    V2_SNAPSHOT,
    binance,
    book_rows,
    bybit_frame,
    read_capture,
    table_file,
    usdm_depth,
    v2,
    write_capture,
)
from tests.support.examples import examples


def test_a_file_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    found = {
        write_capture(tmp_path / "1", [binance(RECV, usdm_depth(1, 2, 0))]): "binance-log",
        write_capture(tmp_path / "2", [bybit_frame(1)]): "bybit-v5",
        write_capture(tmp_path / "3", V2_LOG): "bybit-v2",
        write_capture(tmp_path / "4", [POLL]): "bybit-polls",
        table_file(tmp_path / "5", [{}]): "book-table",
        write_capture(tmp_path / "6", ["ts,open,high,low,close,volume", "1,2,3,4,5,6"]): None,
        write_capture(tmp_path / "7", [b"\xff\xfe\x00"]): None,
        write_capture(tmp_path / "8", [b"PAR1 and no more"]): None,
        write_capture(tmp_path / "9", [""]): None,
    }
    for path, name in found.items():
        assert captures.sniff(path) == name, path
        assert name is None or name in captures.FORMATS


@pytest.mark.parametrize("pack", ["gz", "zip"])
def test_packed_files_are_read_alike(tmp_path: Path, pack: str) -> None:
    plain = write_capture(tmp_path / "a.jsonl", [bybit_frame(10, kind="snapshot"), bybit_frame(11)])
    packed = tmp_path / f"a.{pack}"
    if pack == "gz":
        packed.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(plain, "2024-12-01_XUSDT_ob500.data")
    assert captures.sniff(packed) == "bybit-v5"
    assert book_rows(read_capture(packed)[0]["XUSDT", "book"]) == book_rows(read_capture(plain)[0]["XUSDT", "book"])


def test_a_capture_that_was_cut_off_is_read_to_its_end(tmp_path: Path) -> None:
    """As its recorder was killed: the lines that are whole are kept, and the end is told."""
    whole = gzip.compress(b"".join(json.dumps(bybit_frame(i)).encode() + b"\n" for i in range(1, 3000)))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    parts, rejected = read_capture(path)
    updates = parts["XUSDT", "book"].columns["update"]
    assert 0 < len(updates) < 2999
    assert updates.tolist() == list(range(1, len(updates) + 1))
    assert rejected[-1].reason.startswith("the packed file is damaged or cut off here")


def test_a_line_without_end_fills_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_lines, "LINE_MAX", 1000)
    parts, rejected = read_capture(
        write_capture(tmp_path / "a.jsonl", [bybit_frame(10), "{" + "x" * 5000, bybit_frame(11)])
    )
    assert [each.row for each in rejected] == [1]
    assert parts["XUSDT", "book"].columns["update"].tolist() == [10, 11]


def test_one_symbol_can_be_asked_for(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "a.jsonl", [bybit_frame(10), bybit_frame(5, symbol="YUSDT"), bybit_frame(11)])
    assert list(read_capture(path, symbol="YUSDT")[0]) == [("YUSDT", "book")]


def test_what_cannot_be_read_at_all_is_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "none.log"
    with pytest.raises(DataError, match="check the path"):
        captures.read(missing)
    with pytest.raises(DataError, match="no capture that is known"):
        captures.read(write_capture(tmp_path / "a.csv", ["a,b"]))
    junk = write_capture(tmp_path / "b.log", [f"{RECV} {{broken"] * 3)
    with pytest.raises(DataError, match="nothing in it could be read; line 0"):
        list(captures.read(junk))
    broken = tmp_path / "c.parquet"
    broken.write_bytes(table_file(tmp_path / "d.parquet", [{}]).read_bytes()[:-40])
    assert captures.sniff(broken) is None
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("a", "1")
        archive.writestr("b", "2")
    with pytest.raises(DataError, match="holds 2 files"):
        captures.sniff(tmp_path / "e.zip")


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[float] = []
    path = write_capture(tmp_path / "a.jsonl", [bybit_frame(i) for i in range(1, 9000)])
    assert sum(len(part) for part in captures.read(path, on_read=told.append)) == 8999
    assert len(told) == 2
    assert 0 < told[0] < told[1] <= 1


@given(data=st.data())
@settings(max_examples=examples(150), deadline=None)
def test_no_line_whatever_raises(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A good line with bytes changed, cut out or put in between good ones: told or read, and the others are read."""
    good = data.draw(
        st.sampled_from(
            [binance(RECV, usdm_depth(3, 4, 2, bids=[["1", "1"]])), json.dumps(bybit_frame(11)), v2(9, V2_DELTA), POLL]
        )
    )
    first = {"{": json.dumps(bybit_frame(10)), "b": POLL}.get(good[0])
    if first is None:
        first = V2_SNAPSHOT if "cross_seq" in good else binance(RECV, usdm_depth(1, 2, 0, bids=[["1", "1"]]))
    line = bytearray(good.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(line)))
        stop = data.draw(st.integers(start, min(len(line), start + 20)))
        line[start:stop] = data.draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b"9" * 30, b'"', b"-", b"null", b"1e9"]))
        )
    path = write_capture(tmp_path_factory.mktemp("fuzz") / "a.log", [first, bytes(line), first])
    parts = list(captures.read(path))
    assert sum(len(part) for part in parts) > 0
    for part in parts:
        lengths = {len(values) for values in part.columns.values()}
        assert len(lengths) == 1
        assert all(values.dtype in (np.int64, np.bool_) for values in part.columns.values())
