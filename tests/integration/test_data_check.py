"""`bot data check` from files to words: what is looked at, what is said of it, and the exit code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bot.app.data_check import CheckReport, check
from bot.core.data_quality.findings import Finding, Limits, Severity
from bot.core.data_quality.trades import TradeScan
from bot.store.importing.part import Part
from bot.store.market_format import layout_of, make_header, write_partition
from bot.store.market_store import MarketStore
from tests.support.cli import assert_refused, bot
from tests.support.quality import CLEAN, EXPONENTS, MINUTE, SECOND, Columns, bars, book, put, take, trades

DAY = 24 * 60 * MINUTE


def run(*arguments: str | Path) -> tuple[int, str]:
    """Run the command; return its exit code and what it printed."""
    done = bot("data", "check", *map(str, arguments), cwd=Path.cwd())
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def part(kind: str, columns: Columns, symbol: str = "XUSDT") -> Part:
    return Part(
        venue="bybit-linear",
        symbol=symbol,
        kind=kind,
        price_exponent=EXPONENTS.get(kind, -2),
        qty_exponent=-3,
        columns=columns,
    )


def store_of(root: Path, *parts: Part) -> Path:
    """Return a store with these rows, brought there by an import."""
    MarketStore(root).write(parts, name="test")
    return root


def write_file(folder: Path, name: str, columns: Columns, *, price_exponent: int = -2) -> Path:
    """Write a file of the store as it is, past everything that an import would see to."""
    layout = layout_of(folder.name)
    header = make_header(
        layout,
        venue="bybit-linear",
        symbol=folder.parent.name,
        price_exponent=price_exponent,
        qty_exponent=-3,
        sources={},
    )
    write_partition(folder / f"{name}.parquet", layout, header, [columns])
    return folder / f"{name}.parquet"


def write_csv(path: Path, columns: Columns) -> Path:
    """Write bars as a person would have them."""
    names = ("open_ns", "open", "high", "low", "close", "volume")
    lines = ["ts,open,high,low,close,volume"]
    for row in zip(*(columns[name].tolist() for name in names), strict=True):
        lines.append(f"{row[0] // 1_000_000},{','.join(str(value / 100) for value in row[1:5])},{row[5] / 1000}")
    path.write_text("\n".join(lines) + "\n")
    return path


def codes(report: CheckReport) -> set[str]:
    return {finding.code for finding in report.findings}


def only(report: CheckReport, code: str) -> Finding:
    (finding,) = [finding for finding in report.findings if finding.code == code]
    return finding


# --- the store --------------------------------------------------------------------------------------------------------


def test_a_sound_store_is_done_with_nothing_to_say(tmp_path: Path) -> None:
    """Every kind in it, a dataset each, in order, and exit code 0, strict or not."""
    root = store_of(tmp_path / "market", *(part(kind, clean()) for kind, clean in CLEAN.items()))
    report = check([root])
    assert [each.name for each in report.datasets] == [f"bybit-linear XUSDT {kind}" for kind in sorted(CLEAN)]
    assert not report.findings
    assert {each.kind: each.quality.rows for each in report.datasets} == {
        kind: len(next(iter(clean().values()))) for kind, clean in CLEAN.items()
    }
    code, text = run(root, "--strict")
    assert code == 0
    assert text.splitlines()[-1] == "6 datasets, 1,264 rows: 0 errors, 0 warnings, 0 infos"


@pytest.mark.parametrize("depth", range(4))
def test_a_folder_of_the_store_may_be_named_too(tmp_path: Path, depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root, a venue, a symbol or a dataset, also as the working directory."""
    store_of(tmp_path / "market", part("bars-1m", bars()))
    folder = tmp_path.joinpath("market", "bybit-linear", "XUSDT", "bars-1m")
    named = [folder, *folder.parents][3 - depth]
    assert [each.name for each in check([named]).datasets] == ["bybit-linear XUSDT bars-1m"]
    monkeypatch.chdir(named)
    assert [each.name for each in check([Path()]).datasets] == ["bybit-linear XUSDT bars-1m"]


def test_a_hole_across_files_is_one_hole(tmp_path: Path) -> None:
    """Files are read as one: a month's last minutes and the next one's first; rows are named in their file."""
    columns = bars(rows=31 * 24 * 60 + 200)
    columns = take(columns, np.delete(np.arange(len(columns["close"])), slice(31 * 24 * 60 - 5, 31 * 24 * 60 + 7)))
    columns = put(columns, "turnover", slice(None), np.nan)
    root = store_of(tmp_path / "market", part("bars-1m", columns))
    assert sorted(path.name for path in root.rglob("*.parquet")) == ["2024-01.parquet", "2024-02.parquet"]
    report = check([root])
    (checked,) = report.datasets
    missing = only(report, "bars.missing")
    assert (missing.count, checked.quality.facts["holes"]) == (12, 1)
    path, row = checked.locate(missing.examples[0].row or 0)
    assert (path.name, row) == ("2024-02.parquet", 0)


def test_a_file_may_have_more_decimals_than_the_one_before(tmp_path: Path) -> None:
    """Prices are compared as values, whatever their exponents."""
    folder = tmp_path / "market" / "bybit-linear" / "XUSDT" / "bars-1m"
    columns = put(bars(rows=31 * 24 * 60 + 200), "turnover", slice(None), np.nan)
    finer = take(columns, slice(31 * 24 * 60, None))
    for name in ("open", "high", "low", "close"):
        finer = put(finer, name, slice(None), finer[name] * 100)
    write_file(folder, "2024-01", take(columns, slice(0, 31 * 24 * 60)))
    write_file(folder, "2024-02", finer, price_exponent=-4)
    assert not check([tmp_path / "market"]).findings


def test_a_damaged_file_is_a_finding_and_the_others_are_read(tmp_path: Path) -> None:
    """Cut short, of another kind, or not of the store at all: it is named, with what to do."""
    root = store_of(tmp_path / "market", part("bars-1m", put(bars(rows=130_000), "turnover", slice(None), np.nan)))
    folder = root / "bybit-linear" / "XUSDT" / "bars-1m"
    whole = (folder / "2024-02.parquet").read_bytes()
    (folder / "2024-02.parquet").write_bytes(whole[: len(whole) // 2])
    pq.write_table(pa.table({"ts": [1, 2]}), folder / "2024-05.parquet")
    pq.write_table(pa.table({"ts": [1, 2]}), folder / "copy of january.parquet")
    report = check([root])
    unreadable = [finding for finding in report.findings if finding.code == "file.unreadable"]
    assert len(unreadable) == 2
    assert "2024-02.parquet" in unreadable[0].message
    assert "2024-05.parquet" in unreadable[1].message
    assert "copy of january.parquet" in only(report, "store.stray-file").message
    assert only(report, "bars.missing").count == 29 * 24 * 60
    assert run(root)[0] == 1


def test_rows_in_the_wrong_file_are_an_error(tmp_path: Path) -> None:
    """Whoever reads a range of time would not find them."""
    folder = tmp_path / "market" / "bybit-linear" / "XUSDT" / "trades"
    columns = trades()
    moved = put(columns, "ts_ns", slice(290, None), columns["ts_ns"][290:] + DAY)
    write_file(folder, "2024-01-01", put(moved, "recv_ns", slice(None), 0))
    misplaced = only(check([tmp_path / "market"]), "store.misplaced")
    assert (misplaced.severity, misplaced.count) == (Severity.ERROR, 10)


def test_all_symbols_of_a_venue_missing_together_is_an_outage(tmp_path: Path) -> None:
    """Seen only together: of one symbol alone the same holes are its own."""
    quiet = {"AUSDT": [20, *range(100, 130)], "BUSDT": [60, *range(105, 140)]}
    parts = [part("bars-1m", take(bars(), np.delete(np.arange(200), rows)), symbol) for symbol, rows in quiet.items()]
    root = store_of(tmp_path / "market", *parts)
    outage = only(check([root]), "venue.outage")
    assert outage.count == 1
    assert "25m missing after 2024-01-01T01:44:00Z in all 2 symbols" in outage.message
    assert "venue.outage" not in codes(check([root / "bybit-linear" / "AUSDT"]))
    # One symbol that is named twice is one symbol.
    one = root / "bybit-linear" / "AUSDT" / "bars-1m"
    assert "venue.outage" not in codes(check([one, one]))


# --- files before they are imported -----------------------------------------------------------------------------------


def test_a_file_is_read_as_an_import_would_read_it(tmp_path: Path) -> None:
    """Its refused rows are told with their reason; what the import repairs is a warning."""
    columns = take(bars(), [*range(50), 49, *range(50, 200)])
    path = write_csv(tmp_path / "solusdt_bybit_linear_1m.csv", put(columns, "high", 120, 1))
    report = check([path])
    (checked,) = report.datasets
    assert checked.name == "bybit-linear SOLUSDT bars-1m"
    assert only(report, "bars.duplicate").severity is Severity.WARNING
    assert "an import does that" in only(report, "bars.duplicate").message
    rejected = only(report, "source.rejected")
    assert (rejected.severity, rejected.count, rejected.examples[0].row) == (Severity.ERROR, 1, 120)
    assert only(report, "bars.missing").count == 1
    assert run(path)[0] == 1


def test_what_a_file_does_not_tell_may_be_said(tmp_path: Path) -> None:
    """As for an import: without it the file is named with what to say, with it it is read."""
    path = write_csv(tmp_path / "prices.csv", bars())
    code, text = run(path)
    assert code == 1
    assert "--venue" in text
    said = ("--venue", "bybit-linear", "--symbol", "XUSDT", "--interval", "1m")
    assert run(path, *said)[0] == 0
    renamed = tmp_path / "renamed.csv"
    renamed.write_text(path.read_text().replace("ts,open", "quando,open"))
    assert run(renamed, *said)[0] == 1
    assert run(renamed, *said, "--kind", "bars", "--map", "ts=quando", "--time-unit", "ms")[0] == 0
    assert run(renamed, *said[:4], "--kind", "bars-1m", "--map", "ts=quando,open=open")[0] == 0


def test_files_of_a_folder_that_is_no_store(tmp_path: Path) -> None:
    """All that can be imported, also deeper; what cannot be read does not keep the others out."""
    (tmp_path / "deep").mkdir()
    write_csv(tmp_path / "solusdt_bybit_linear_1m.csv", bars())
    write_csv(tmp_path / "deep" / "bnbusdt_bybit_linear_1m.csv", bars())
    (tmp_path / "notes.md").write_text("nothing")
    (tmp_path / "broken.csv").write_text("a,b\n1,2\n")
    report = check([tmp_path])
    assert [each.symbol for each in report.datasets] == ["", "BNBUSDT", "SOLUSDT"]
    assert codes(report) == {"file.unreadable"}


def test_what_lies_aside_is_not_looked_at(tmp_path: Path) -> None:
    """Hidden folders, refused rows, and a folder that is merely named like a dataset's."""
    root = store_of(tmp_path / "market", part("bars-1m", bars()))
    write_file(root / ".spool" / "XUSDT" / "bars-1m", "2024-01", bars())
    (root / "bybit-linear" / "XUSDT" / "rejected").mkdir()
    (root / "bybit-linear" / "XUSDT" / "rejected" / "bars-1m-somewhere.csv").write_text("row,reason,text\n1,odd,2\n")
    assert len(check([root]).datasets) == 1
    (tmp_path / "trades").mkdir()
    write_csv(tmp_path / "trades" / "solusdt_bybit_linear_1m.csv", bars())
    assert [each.kind for each in check([tmp_path / "trades"]).datasets] == ["bars-1m"]


def test_a_capture_holds_several_datasets(tmp_path: Path) -> None:
    """Each is checked by itself; a book is whole from its snapshot on."""
    trade = {"e": "trade", "E": 1700000000900, "T": 1700000000900, "s": "XUSDT", "t": 5, "p": "10.5", "q": "1"}
    depth = {"e": "depthUpdate", "E": 1700000000950, "T": 1700000000950, "s": "XUSDT", "a": [["10.6", "1"]]}
    messages = [
        {"stream": "xusdt@trade", "data": trade | {"X": "MARKET", "m": False}},
        {"stream": "xusdt@depth@0ms", "data": depth | {"U": 7, "u": 9, "pu": 6, "b": [["10.4", "1"]]}},
        {"stream": "xusdt@depth@0ms", "data": depth | {"U": 12, "u": 14, "pu": 11, "b": []}},
    ]
    lines = [f"{1700000001000000000 + n * 10**8} {json.dumps(each)}" for n, each in enumerate(messages)]
    path = tmp_path / "capture.log"
    path.write_text("\n".join(lines) + "\n")
    report = check([path])
    assert {each.kind for each in report.datasets} == {"trades", "book"}
    assert codes(report) == {"book.gap", "book.no-snapshot"}


# --- the command ------------------------------------------------------------------------------------------------------


def test_exit_codes(tmp_path: Path) -> None:
    """0 for warnings, 1 for errors; with --strict 1 for warnings too, and never for infos."""
    folder = tmp_path / "market" / "bybit-linear" / "XUSDT" / "bars-1m"
    idle = put(put(bars(), "volume", slice(50, 52), 0), "buy_volume", slice(50, 52), 0)
    for name in ("open", "high", "low", "close"):
        idle = put(idle, name, slice(50, 52), idle["close"][49])
    for columns, codes_wanted in (
        (idle, (0, 0)),
        (take(bars(), np.delete(np.arange(200), 70)), (0, 1)),
        (put(bars(), "low", 70, 0), (1, 1)),
    ):
        write_file(folder, "2024-01", columns)
        assert (run(folder)[0], run(folder, "--strict")[0]) == codes_wanted
    assert run(folder, "--strict", "--json")[0] == 1


def test_json_says_all(tmp_path: Path) -> None:
    """Figures, findings with their places, and sums, as one object."""
    folder = tmp_path / "market" / "bybit-linear" / "XUSDT" / "bars-1m"
    write_file(folder, "2024-01", take(bars(), np.delete(np.arange(200), [70, 71, 90])))
    code, text = run(folder, "--json")
    told: dict[str, Any] = json.loads(text)
    assert code == 0
    assert (told["errors"], told["warnings"], told["infos"], told["common"]) == (0, 1, 0, [])
    (dataset,) = told["datasets"]
    assert (dataset["venue"], dataset["symbol"], dataset["kind"]) == ("bybit-linear", "XUSDT", "bars-1m")
    assert (dataset["rows"], dataset["from"], dataset["to"]) == (197, "2024-01-01T00:00:00Z", "2024-01-01T03:19:00Z")
    assert dataset["facts"]["missing_intervals"] == 3
    (finding,) = dataset["findings"]
    assert (finding["code"], finding["severity"], finding["count"]) == ("bars.missing", "warning", 3)
    assert finding["examples"][0] == {
        "row": 70,
        "time": "2024-01-01T01:10:00Z",
        "text": "2m missing after 2024-01-01T01:09:00Z",
        "file_row": 70,
        "file": "2024-01.parquet",
    }


def test_the_table_is_for_people(tmp_path: Path) -> None:
    """Names in words, figures with their units, and each finding with its places below."""
    folder = tmp_path / "market" / "bybit-linear" / "XUSDT" / "bars-1m"
    write_file(folder, "2024-01", take(bars(), np.delete(np.arange(200), [70, 71, 90])))
    lines = run(folder)[1].splitlines()
    assert lines[0] == "bybit-linear XUSDT bars-1m"
    assert "  longest hole, intervals    2" in lines
    assert "  longest hole begins after  2024-01-01T01:09:00Z" in lines
    at = next(n for n, line in enumerate(lines) if line.startswith("  warning  bars.missing: 3 of 200 1m intervals"))
    assert lines[at + 1].strip().startswith("row 70 (2024-01.parquet row 70), 2024-01-01T01:10:00Z: 2m missing")
    assert lines[-1] == "1 dataset, 197 rows: 0 errors, 1 warning, 0 infos"


def test_how_many_places_are_named_is_up_to_the_user(tmp_path: Path) -> None:
    """Counting goes on when naming has stopped."""
    folder = tmp_path / "market" / "bybit-linear" / "XUSDT" / "bars-1m"
    write_file(folder, "2024-01", take(bars(), np.delete(np.arange(200), range(10, 190, 10))))
    for examples in (1, 7):
        missing = only(check([folder], limits=Limits(examples=examples)), "bars.missing")
        assert (missing.count, len(missing.examples)) == (18, examples)
    assert run(folder, "--examples", "0")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing/there"], ["nothing/there", "no such file or folder"]),
        (["."], ["neither a dataset of a market store nor a file"]),
        ([".", "--interval", "soon"], ["--interval", "soon"]),
        ([".", "--interval", "0s"], ["--interval", "a length"]),
        ([".", "--map", "ts=time,open"], ["--map open", "ts=time"]),
        ([".", "--kind", "candles"], ["--kind candles", "bars"]),
        ([".", "--kind", "bars-1m", "--interval", "5m"], ["bars-1m", "5m", "contradict"]),
        ([".", "--time-unit", "minutes"], ["--time-unit minutes", "ms"]),
        ([".", "--examples", "0"], ["--examples"]),
    ],
)
def test_wrong_usage_is_one_line(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    """It says what is wrong and what would be right, with exit code 2."""
    assert_refused(bot("data", "check", *arguments, cwd=tmp_path), 2, *words)


def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    """In both kinds of input, and never back."""
    root = store_of(tmp_path / "market", part("bars-1m", bars()), part("trades", trades()), part("book", book()))
    path = write_csv(tmp_path / "solusdt_bybit_linear_1m.csv", bars())
    told: list[tuple[float, str]] = []
    check([root, path], on_progress=lambda done, at: told.append((done, at)))
    shares = [done for done, _ in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert {at for _, at in told} >= {"bybit-linear/XUSDT/book", path.name}


def test_quality_of_a_day_costs_little_memory() -> None:
    """Nothing grows with the rows but what is wrong in them: a million trades in order leave one run of ids."""
    scan = TradeScan(Limits())
    columns = trades(rows=100_000)
    for n in range(10):
        moved = {
            name: values + n * 100_000 * (SECOND if name.endswith("_ns") else 1)
            if name in ("ts_ns", "recv_ns", "trade_id")
            else values
            for name, values in columns.items()
        }
        scan.add(part("trades", moved))
        held = sum(array.nbytes for array in (scan._ids.runs(), scan._clock._bins, *scan._spikes._blocks._columns))
        assert held < 100_000
    assert not scan.finish().findings
