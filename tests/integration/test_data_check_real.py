"""What `bot data check` says of real data is what its README says of it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from bot.app.data import import_files
from bot.app.data_check import Checked, CheckReport, check
from bot.core.data_quality.findings import Finding, Limits, Severity, when
from bot.core.data_quality.scans import scan_of
from bot.store.importing.options import ImportOptions
from bot.store.importing.sources import recognise
from bot.store.market_store import read_columns
from tests.support.quality import HOUR, MINUTE, Piece, cut, found
from tests.support.shared_data import shared_file

BITFINEX = tuple(f"{base}usd_bitfinex_spot_1m_2018" for base in ("btc", "eth", "ltc", "xrp"))

# file, rows, intervals missing, holes, longest hole in intervals and the bar before it, bars without volume
CANDLES: Sequence[tuple[str, int, int, int, int, str | None, int | None]] = (
    ("bnbusdt_bybit_linear_1m_2025-05_2025-06", 44_493, 0, 0, 0, None, 600),
    ("btcusd_bitfinex_spot_1m_2018", 520_499, 5_101, 3_992, 67, "2018-06-05T13:33:00Z", 0),
    ("btcusdt_binance_usdm_1m_2025-05_2025-06", 73_139, 0, 0, 0, None, 0),
    ("btcusdt_bybit_linear_1m_2025-05_2025-06", 44_613, 0, 0, 0, None, 0),
    ("ethusd_bitfinex_spot_1m_2018", 508_048, 17_552, 13_302, 106, "2018-10-04T08:30:00Z", 0),
    ("ethusdt_bybit_linear_1m_2025-05_2025-06", 44_612, 0, 0, 0, None, 0),
    ("ltcusd_bitfinex_spot_1m_2018", 427_263, 98_337, 56_326, 181, "2018-03-21T09:30:00Z", 0),
    ("solusdt_bybit_linear_1m_2025-05_2025-06", 44_614, 0, 0, 0, None, 0),
    ("xrpusd_bitfinex_spot_1m_2018", 488_815, 36_785, 26_417, 181, "2018-03-21T09:30:00Z", 0),
    ("btcusdt_bybit_linear_1m_trade_quote_2022-12-13", 721, 0, 0, 0, None, 0),
    ("bnbusdt_binance_usdm_5m_2025-01_2025-08", 70_272, 0, 0, 0, None, 5),
    ("btcusdt_binance_usdm_5m_2023-01_2025-08", 280_512, 0, 0, 0, None, 24),
    ("btcusdt_binance_usdm_mark_1h_2024-01_2025-08", 14_616, 0, 0, 0, None, None),
    ("btcusdt_bybit_linear_5m_2025-01_2025-08", 69_984, 0, 0, 0, None, 0),
    ("ethusdt_binance_usdm_5m_2023-01_2024-05", 143_901, 0, 0, 0, None, 3),
    ("ethusdt_binance_usdm_5m_2025-01_2025-08", 70_272, 0, 0, 0, None, 5),
    ("ethusdt_binance_usdm_mark_1h_2024-01_2025-08", 14_616, 0, 0, 0, None, None),
    ("ethusdt_bybit_linear_5m_2025-01_2025-08", 69_984, 0, 0, 0, None, 0),
    ("solusdt_binance_usdm_5m_2023-11_2025-08", 192_960, 0, 0, 0, None, 21),
    ("solusdt_binance_usdm_mark_1h_2024-01_2025-08", 14_616, 0, 0, 0, None, None),
    ("xrpusdt_binance_usdm_5m_2025-01_2025-08", 70_272, 0, 0, 0, None, 5),
)


def data(name: str) -> Path:
    return shared_file(f"data/{name}")


@cache
def checked(*names: str) -> CheckReport:
    """Return the report on some files, looked at once for all tests."""
    return check([data(name) for name in names])


def dataset(report: CheckReport, kind: str) -> Checked:
    (one,) = [each for each in report.datasets if each.kind == kind]
    return one


def facts(report: CheckReport, kind: str) -> dict[str, Any]:
    return dataset(report, kind).quality.facts


def codes(findings: Sequence[Finding]) -> set[str]:
    return {finding.code for finding in findings}


@pytest.mark.parametrize(("name", "rows", "missing", "holes", "longest", "after", "without_volume"), CANDLES)
def test_candles(
    name: str, rows: int, missing: int, holes: int, longest: int, after: str | None, without_volume: int | None
) -> None:
    """Every figure that the README states, and no error in any file."""
    report = checked(f"{name}.parquet")
    bars = next(each for each in report.datasets if each.kind.startswith(("bars", "mark"))).quality
    assert bars.rows == rows
    told = bars.facts
    assert (told["missing_intervals"], told["holes"]) == (missing, holes)
    assert (told["longest_hole_intervals"], told["longest_hole_after"]) == (longest, after)
    assert told.get("zero_volume_bars") == without_volume
    assert told["duplicates"] == 0
    wanted = {"bars.missing"} if missing else set()
    wanted |= {"bars.zero-volume"} if without_volume else set()
    assert codes(bars.findings) - {"bars.suspect-price"} == wanted
    assert not report.count(Severity.ERROR)


def test_candles_with_quotes() -> None:
    """The quote columns are empty in 261 minutes of the 721."""
    report = checked("btcusdt_bybit_linear_1m_trade_quote_2022-12-13.parquet")
    assert dataset(report, "quotes").quality.rows == 721 - 261


def test_bitfinex_stood_still_for_all_symbols_at_once() -> None:
    """The outages that the README names are among those found; the quiet minutes of one symbol are not."""
    report = check([data(f"{name}.parquet") for name in BITFINEX], limits=Limits(examples=100))
    (outage,) = report.common
    assert (outage.code, outage.severity, outage.count) == ("venue.outage", Severity.WARNING, 17)
    days = {when(example.ts_ns)[:10] for example in outage.examples if example.ts_ns is not None}
    assert {"2018-03-21", "2018-06-05", "2018-10-04"} <= days
    assert all("in all 4 symbols" in example.text for example in outage.examples)
    assert "65m missing after 2018-10-04T08:31:00Z" in outage.message


def test_a_real_flash_move_is_a_suspect_and_no_more() -> None:
    """XRP, 2018-04-25 10:30: 0.80 to 0.49 and back within a minute is listed first, and costs no exit code."""
    report = checked("xrpusd_bitfinex_spot_1m_2018.parquet")
    suspect = found(dataset(report, "bars-1m").quality, "bars.suspect-price")
    assert suspect.severity is Severity.INFO
    assert (suspect.examples[0].ts_ns, suspect.examples[0].row) == (1_524_652_200 * 10**9, 162_228)
    assert suspect.examples[0].text == "close 0.49013 between 0.8006 and 0.795"


@pytest.mark.parametrize("name", [candles[0] for candles in CANDLES])
def test_suspects_are_few(name: str) -> None:
    """The default limits leave at most one bar in 10,000 of sound data to be looked at."""
    report = checked(f"{name}.parquet")
    quality = report.datasets[0].quality
    assert quality.facts["suspect_prices"] <= quality.rows / 10_000


def test_trades_with_absent_ids() -> None:
    """LTCUSDT spot: 168 ids absent in 16 holes, the longest quiet 88 s, which is the longest of the holes."""
    report = checked("trades_binance_spot_ltcusdt_2025-06-21.parquet")
    quality = dataset(report, "trades").quality
    assert (quality.rows, quality.facts["ids_absent"], quality.facts["id_holes"]) == (53_325, 168, 16)
    assert quality.facts["longest_quiet_s"] == pytest.approx(88.124)
    missing, quiet = found(quality, "trades.missing-ids"), found(quality, "trades.quiet")
    assert missing.examples[0].row == quiet.examples[0].row
    assert codes(quality.findings) == {"trades.missing-ids", "trades.quiet"}


def test_aggregate_trades_are_complete() -> None:
    """APEUSDT: no hole in the ids, and nothing else to say."""
    quality = dataset(checked("trades_binance_usdm_apeusdt_agg_2024-10-18.csv.gz"), "trades").quality
    assert (quality.rows, quality.facts["ids_absent"], quality.facts["id_holes"]) == (45_342, 0, 0)
    assert not quality.findings


def test_a_recorders_file_lacks_single_ids() -> None:
    """BTCUSDT 2026-02-16: of this file the README says nothing; 19 ids are absent, one at a time."""
    quality = dataset(checked("trades_binance_usdm_btcusdt_2026-02-16_0400.parquet"), "trades").quality
    assert (quality.rows, quality.facts["ids_absent"], quality.facts["id_holes"]) == (11_947, 19, 19)
    assert codes(quality.findings) == {"trades.missing-ids"}


@pytest.mark.parametrize(
    ("name", "changes", "trades", "quotes"),
    [
        ("raw_binance_spot_btcusdt_ws_2024-08-08", 3_451, 9_757, 28_040),
        ("raw_binance_usdm_btcusdt_ws_2024-08-08", 6_551, 21_313, 66_089),
        ("raw_binance_usdm_ethusdt_ws_2024-08-08", 6_586, 14_076, 53_992),
    ],
)
def test_a_capture_is_whole_and_its_clock_behind(name: str, changes: int, trades: int, quotes: int) -> None:
    """Depth chain and trade ids are unbroken, no book is crossed, and the recorder is about 1.27 s behind."""
    report = check([data(f"{name}.log.gz")])
    book = facts(report, "book")
    assert (book["messages"], book["snapshots"], book["chain_breaks"], book["crossed"]) == (changes + 1, 1, 0, 0)
    assert book["messages_untrusted"] == book["messages_before_snapshot"] < 10
    assert (dataset(report, "trades").quality.rows, facts(report, "trades")["ids_absent"]) == (trades, 0)
    assert dataset(report, "quotes").quality.rows == quotes
    assert facts(report, "quotes")["crossed"] == 0
    for kind in ("book", "trades", "quotes"):
        assert facts(report, kind)["delay_median_s"] == pytest.approx(-1.27, abs=0.011)
        assert facts(report, kind)["delay_negative_share"] == 1.0
        assert found(dataset(report, kind).quality, "clock.recorder-behind").severity is Severity.WARNING
    assert codes(report.findings) == {"clock.recorder-behind", "book.untrusted"}


def test_recorded_books() -> None:
    """Polled and archived books of several venues hold; of the archive's five seconds the chain is unbroken."""
    archive = check([data("raw_bybit_v5_xrpusdt_ob500_2024-12-01.jsonl.gz")])
    assert facts(archive, "book")["messages"] == 50
    assert not archive.findings
    full = check([data("book1000_binance_usdm_btcusdt_2026-02-16_0400.parquet")])
    assert facts(full, "book")["crossed"] == facts(full, "book")["messages_untrusted"] == 0
    assert not full.count(Severity.ERROR)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("funding_binance_usdm_8h_2020-01_2025-08", {"BTCUSDT": 6_210, "ETHUSDT": 6_210, "SOLUSDT": 1_827}),
        (
            "funding_bybit_linear_8h_2021-01_2025-08",
            {"BNBUSDT": 1_868, "BTCUSDT": 5_112, "ETHUSDT": 5_112, "SOLUSDT": 1_868},
        ),
    ],
)
def test_funding_is_complete(name: str, rows: dict[str, int]) -> None:
    """No settlement is missing, and every eight hours there is one."""
    report = checked(f"{name}.parquet")
    assert {each.symbol: each.quality.rows for each in report.datasets} == rows
    for each in report.datasets:
        assert (each.quality.facts["missing_settlements"], each.quality.facts["interval"]) == (0, "8h")
    assert not report.findings


def test_two_files_with_eight_months_between_them() -> None:
    """ETHUSDT on Binance has no data from 2024-05-14 15:45 on until the end of 2024: one hole, if read as one."""
    scan = scan_of("bars-5m", Limits())
    for name in ("ethusdt_binance_usdm_5m_2023-01_2024-05", "ethusdt_binance_usdm_5m_2025-01_2025-08"):
        for part in recognise(data(f"{name}.parquet"), ImportOptions()).read():
            scan.add(part)
    quality = scan.finish()
    assert quality.facts["holes"] == 1
    assert quality.facts["longest_hole_after"] == "2024-05-14T15:40:00Z"
    assert quality.facts["missing_intervals"] * 5 * MINUTE == 230 * 24 * HOUR + 8 * HOUR + 15 * MINUTE


@pytest.mark.parametrize("seed", range(3))
def test_a_year_cut_anywhere(seed: int) -> None:
    """Half a million real bars in pieces of any size: the same result, to the last example."""
    parts = recognise(data("ltcusd_bitfinex_spot_1m_2018.parquet"), ImportOptions()).read()
    price_exponent, qty_exponent, columns = read_columns(parts)
    places = np.random.default_rng(seed).integers(0, len(columns["close"]), 40).tolist()
    results = []
    for at in ([], places):
        scan = scan_of("bars-1m", Limits())
        for piece in cut(columns, at):
            scan.add(Piece(columns=piece, price_exponent=price_exponent, qty_exponent=qty_exponent))
        results.append(scan.finish())
    whole, pieces = results
    assert (whole.facts, whole.findings) == (pieces.facts, pieces.findings)


def test_an_import_changes_nothing_that_is_found(tmp_path: Path) -> None:
    """In the store the same is said of the same rows as of the files that they came from."""
    names = ("trades_binance_spot_ltcusdt_2025-06-21.parquet", "xrpusd_bitfinex_spot_1m_2018.parquet")
    store = tmp_path / "market"
    done = list(import_files([data(name) for name in names], store=store, options=ImportOptions()))
    assert [each.status for each in done] == ["imported", "imported"]
    files, stored = checked(*names), check([store])
    assert {each.name for each in files.datasets} == {each.name for each in stored.datasets}
    for one in files.datasets:
        other = next(each for each in stored.datasets if each.name == one.name)
        assert other.quality.facts == one.quality.facts
        assert other.quality.findings == one.quality.findings
        for finding in other.quality.findings:
            for example in finding.examples:
                assert example.row is not None
                path, row = other.locate(example.row)
                stands_at = pq.read_table(path).column("open_ns" if "bars" in other.kind else "ts_ns")[row].as_py()
                assert stands_at == example.ts_ns or finding.code == "bars.missing"
