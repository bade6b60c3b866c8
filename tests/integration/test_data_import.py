"""All of the shared data comes into the store: every row that its README counts, every value exactly as it was."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from bot.app.data import FileDone, import_files, list_store
from bot.store.importing.options import ImportOptions
from bot.store.market_format import Columns, layout_of
from bot.store.market_store import Listed, MarketStore, read_columns
from tests.support.cli import bot
from tests.support.market_parts import snapshot
from tests.support.shared_data import shared_file

pytestmark = pytest.mark.slow

# File, dataset, rows, first and last time: the tables of the shared data's README.
CANDLES = """
bnbusdt_bybit_linear_1m_2025-05_2025-06        bybit-linear/BNBUSDT/bars-1m   44,493  2025-05-29T19:06 2025-06-29T16:38
btcusd_bitfinex_spot_1m_2018                   bitfinex-spot/BTCUSD/bars-1m  520,499  2018-01-01T00:00 2018-12-31T23:59
btcusdt_binance_usdm_1m_2025-05_2025-06        binance-usdm/BTCUSDT/bars-1m   73,139  2025-05-04T15:33 2025-06-24T10:31
btcusdt_bybit_linear_1m_2025-05_2025-06        bybit-linear/BTCUSDT/bars-1m   44,613  2025-05-29T17:05 2025-06-29T16:37
ethusd_bitfinex_spot_1m_2018                   bitfinex-spot/ETHUSD/bars-1m  508,048  2018-01-01T00:00 2018-12-31T23:59
ethusdt_bybit_linear_1m_2025-05_2025-06        bybit-linear/ETHUSDT/bars-1m   44,612  2025-05-29T17:06 2025-06-29T16:37
ltcusd_bitfinex_spot_1m_2018                   bitfinex-spot/LTCUSD/bars-1m  427,263  2018-01-01T00:00 2018-12-31T23:59
solusdt_bybit_linear_1m_2025-05_2025-06        bybit-linear/SOLUSDT/bars-1m   44,614  2025-05-29T17:06 2025-06-29T16:39
xrpusd_bitfinex_spot_1m_2018                   bitfinex-spot/XRPUSD/bars-1m  488,815  2018-01-01T00:00 2018-12-31T23:59
btcusdt_bybit_linear_1m_trade_quote_2022-12-13 bybit-linear/BTCUSDT/bars-1m      721  2022-12-13T00:00 2022-12-13T12:00
bnbusdt_binance_usdm_5m_2025-01_2025-08        binance-usdm/BNBUSDT/bars-5m   70,272  2024-12-31T00:00 2025-08-31T23:55
btcusdt_binance_usdm_5m_2023-01_2025-08        binance-usdm/BTCUSDT/bars-5m  280,512  2023-01-01T00:00 2025-08-31T23:55
btcusdt_binance_usdm_mark_1h_2024-01_2025-08   binance-usdm/BTCUSDT/mark-1h   14,616  2024-01-01T00:00 2025-08-31T23:00
btcusdt_bybit_linear_5m_2025-01_2025-08        bybit-linear/BTCUSDT/bars-5m   69,984  2025-01-01T00:00 2025-08-31T23:55
ethusdt_binance_usdm_5m_2023-01_2024-05        binance-usdm/ETHUSDT/bars-5m  143,901  2023-01-01T00:00 2024-05-14T15:40
ethusdt_binance_usdm_5m_2025-01_2025-08        binance-usdm/ETHUSDT/bars-5m   70,272  2024-12-31T00:00 2025-08-31T23:55
ethusdt_binance_usdm_mark_1h_2024-01_2025-08   binance-usdm/ETHUSDT/mark-1h   14,616  2024-01-01T00:00 2025-08-31T23:00
ethusdt_bybit_linear_5m_2025-01_2025-08        bybit-linear/ETHUSDT/bars-5m   69,984  2025-01-01T00:00 2025-08-31T23:55
solusdt_binance_usdm_5m_2023-11_2025-08        binance-usdm/SOLUSDT/bars-5m  192,960  2023-11-01T00:00 2025-08-31T23:55
solusdt_binance_usdm_mark_1h_2024-01_2025-08   binance-usdm/SOLUSDT/mark-1h   14,616  2024-01-01T00:00 2025-08-31T23:00
xrpusdt_binance_usdm_5m_2025-01_2025-08        binance-usdm/XRPUSDT/bars-5m   70,272  2024-12-31T00:00 2025-08-31T23:55
"""
CANDLE_FILES = {
    name: (dataset, int(rows.replace(",", "")), first, last)
    for name, dataset, rows, first, last in map(str.split, CANDLES.strip().splitlines())
}
FUNDING = {
    "binance-usdm/BTCUSDT": (6_210, "2020-01-01T00:00", "2025-08-31T16:00"),
    "binance-usdm/ETHUSDT": (6_210, "2020-01-01T00:00", "2025-08-31T16:00"),
    "binance-usdm/SOLUSDT": (1_827, "2024-01-01T00:00", "2025-08-31T16:00"),
    "bybit-linear/BNBUSDT": (1_868, "2023-12-18T08:00", "2025-08-31T16:00"),
    "bybit-linear/BTCUSDT": (5_112, "2021-01-01T00:00", "2025-08-31T16:00"),
    "bybit-linear/ETHUSDT": (5_112, "2021-01-01T00:00", "2025-08-31T16:00"),
    "bybit-linear/SOLUSDT": (1_868, "2023-12-18T08:00", "2025-08-31T16:00"),
}
# Trades and quotes by file and dataset.
EVENTS = {
    ("raw_binance_usdm_btcusdt_ws_2024-08-08.log.gz", "binance-usdm/BTCUSDT/trades"): 21_313,
    ("raw_binance_usdm_btcusdt_ws_2024-08-08.log.gz", "binance-usdm/BTCUSDT/quotes"): 66_089,
    ("raw_binance_usdm_ethusdt_ws_2024-08-08.log.gz", "binance-usdm/ETHUSDT/trades"): 14_076,
    ("raw_binance_usdm_ethusdt_ws_2024-08-08.log.gz", "binance-usdm/ETHUSDT/quotes"): 53_992,
    ("raw_binance_spot_btcusdt_ws_2024-08-08.log.gz", "binance-spot/BTCUSDT/trades"): 9_757,
    ("raw_binance_spot_btcusdt_ws_2024-08-08.log.gz", "binance-spot/BTCUSDT/quotes"): 28_040,
    ("trades_binance_usdm_btcusdt_2026-02-16_0400.parquet", "binance-usdm/BTCUSDT/trades"): 11_947,
    ("trades_binance_usdm_apeusdt_agg_2024-10-18.csv.gz", "binance-usdm/APEUSDT/trades"): 45_342,
    ("trades_binance_spot_ltcusdt_2025-06-21.parquet", "binance-spot/LTCUSDT/trades"): 53_325,
    ("btcusdt_bybit_linear_1m_trade_quote_2022-12-13.parquet", "bybit-linear/BTCUSDT/quotes"): 721 - 261,
}
BOOKS = (
    "raw_binance_usdm_btcusdt_ws_2024-08-08.log.gz",
    "raw_binance_usdm_ethusdt_ws_2024-08-08.log.gz",
    "raw_binance_spot_btcusdt_ws_2024-08-08.log.gz",
    "book1000_binance_usdm_btcusdt_2026-02-16_0400.parquet",
    "raw_bybit_v5_xrpusdt_ob500_2024-12-01.jsonl.gz",
    "raw_bybit_v2_usdt_perp_ws_2021-04-17.log.gz",
    "bybit_linear_top5_snapshots_multi_2024-07-01.csv.gz",
)
SKIPPED = {"README.md", "SHA256SUMS", "sealed_evaluation_set.bin"}


class Imported:
    """The shared data in a store of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.done = {done.path.name: done for done in self.run()}
        self.listed = {f"{each.venue}/{each.symbol}/{each.kind}": each for each in list_store(root)}

    def run(self) -> list[FileDone]:
        return list(import_files([shared_file("data")], store=self.root, options=ImportOptions()))

    def new(self, file: str, dataset: str) -> int:
        """Return how many new rows a file brought to a dataset."""
        return sum(each.new for each in self.done[file].written if f"{each.venue}/{each.symbol}/{each.kind}" == dataset)

    def columns(self, dataset: str, **limits: int) -> tuple[int, int, Columns]:
        venue, symbol, kind = dataset.split("/")
        return read_columns(MarketStore(self.root).read(venue, symbol, kind, **limits))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    return Imported(tmp_path_factory.mktemp("market"))


def ns(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def test_every_file_is_imported_or_skipped_for_a_reason(imported: Imported) -> None:
    status = {name: done.status for name, done in imported.done.items()}
    assert {name for name, word in status.items() if word == "skipped"} == SKIPPED
    assert not [done.reason for done in imported.done.values() if done.status == "failed"]
    assert set(status) == {path.name for path in shared_file("data").iterdir()}


def test_no_row_is_refused_rounded_or_contradicted(imported: Imported) -> None:
    for name, done in imported.done.items():
        for each in done.written:
            assert (each.rejected, each.rounded, each.replaced) == (0, 0, 0), name


@pytest.mark.parametrize("name", CANDLE_FILES)
def test_candles(imported: Imported, name: str) -> None:
    """As many as the README says, over the range it says, each value the double it was."""
    dataset, rows, first, last = CANDLE_FILES[name]
    assert imported.new(f"{name}.parquet", dataset) == rows
    price_exponent, qty_exponent, columns = imported.columns(dataset, from_ns=ns(first), to_ns=ns(last) + 1)
    source = pq.read_table(shared_file(f"data/{name}.parquet"))
    assert columns["open_ns"].tolist() == (source["ts"].to_numpy() * 1_000_000).tolist()
    assert (columns["open_ns"][0], columns["open_ns"][-1]) == (ns(first), ns(last))
    for column in ("open", "high", "low", "close"):
        assert np.array_equal(columns[column] / 10.0**-price_exponent, source[column].to_numpy()), column
    if "volume" in source.column_names:
        assert np.array_equal(columns["volume"] / 10.0**-qty_exponent, source["volume"].to_numpy())


@pytest.mark.parametrize("key", FUNDING)
def test_funding(imported: Imported, key: str) -> None:
    rows, first, last = FUNDING[key]
    listed = imported.listed[f"{key}/funding"]
    assert (listed.rows, listed.first_ns, listed.last_ns) == (rows, ns(first), ns(last))
    exponent, _, columns = imported.columns(f"{key}/funding")
    venue, symbol = key.split("/")
    name = next(name for name in imported.done if name.startswith(f"funding_{venue.replace('-', '_')}"))
    source = pq.read_table(shared_file(f"data/{name}"), filters=[("symbol", "=", symbol)])
    assert np.array_equal(columns["rate"] / 10.0**-exponent, source["funding_rate"].to_numpy())


@pytest.mark.parametrize(("file", "dataset"), EVENTS)
def test_trades_and_quotes(imported: Imported, file: str, dataset: str) -> None:
    assert imported.new(file, dataset) == EVENTS[file, dataset]


def test_numbers_of_aggregate_trades_are_unbroken(imported: Imported) -> None:
    """As the README says; and what the archive's text says is what is stored."""
    price_exponent, qty_exponent, columns = imported.columns("binance-usdm/APEUSDT/trades")
    assert (np.diff(columns["trade_id"]) == 1).all()
    assert (price_exponent, qty_exponent) == (-4, 0)
    assert (columns["price"][0], columns["qty"][0], columns["is_buy"][0]) == (7097, 19, True)
    assert columns["ts_ns"][0] == 1_729_209_603_958 * 1_000_000


@pytest.mark.parametrize("file", BOOKS)
def test_books(imported: Imported, file: str) -> None:
    assert sum(each.new for each in imported.done[file].written if each.kind == "book") > 100


def test_files_hold_their_own_stretch_and_nothing_else(imported: Imported) -> None:
    """Every row lies in the file of its time, in order; a book keeps the order of its messages instead."""
    for name, listed in imported.listed.items():
        dataset = MarketStore(imported.root).dataset(listed.venue, listed.symbol, listed.kind)
        layout = layout_of(listed.kind)
        if layout.family == "book":
            continue
        last_ns = 0
        for stretch in dataset.read((layout.time,)):
            times = stretch.columns[layout.time]
            assert times[0] >= last_ns, name
            assert (np.diff(times) >= (layout.interval_ns or 0)).all(), name
            last_ns = int(times[-1])


@pytest.mark.soak
def test_importing_again_changes_no_byte(imported: Imported) -> None:
    before = snapshot(imported.root)
    for done in imported.run():
        for each in done.written:
            assert (each.new, each.replaced, each.files) == (0, 0, 0), done.path.name
    assert snapshot(imported.root) == before


def test_the_command_lists_what_is_there(imported: Imported, tmp_path: Path) -> None:
    shown = json.loads(bot("data", "list", "--store", str(imported.root), "--json", cwd=tmp_path).stdout)
    assert len(shown) == len(imported.listed)
    expected: Listed = imported.listed["bybit-linear/ETHUSDT/bars-5m"]
    (found,) = [
        each for each in shown if (each["symbol"], each["kind"]) == ("ETHUSDT", "bars-5m") and "bybit" in each["venue"]
    ]
    assert found["rows"] == expected.rows == 69_984
    assert (found["from"], found["to"]) == ("2025-01-01 00:00:00Z", "2025-08-31 23:55:00Z")
    table = bot("data", "list", "--store", str(imported.root), cwd=tmp_path).stdout.splitlines()
    assert table[0].split() == ["venue", "symbol", "kind", "rows", "first", "last", "files", "MB"]
    assert len(table) == 1 + len(shown)


def test_a_replay_from_the_store_is_the_replay_from_the_file(imported: Imported, tmp_path: Path) -> None:
    """The same market, the same ledger, the same hash of what was read."""
    name = "btcusdt_bybit_linear_1m_2025-05_2025-06"
    sources = {
        "file": f'bars = "{shared_file(f"data/{name}.parquet")}"\nbar_interval = "1m"\n'
        f'funding = "{shared_file("data/funding_bybit_linear_8h_2021-01_2025-08.parquet")}"',
        "store": f'bars = "{imported.root}/bybit-linear/BTCUSDT/bars-1m"\n'
        f'funding = "{imported.root}/bybit-linear/BTCUSDT/funding"',
    }
    results: dict[str, Any] = {}
    for key, source in sources.items():
        config = tmp_path / f"{key}.toml"
        config.write_text(
            '[run]\nstart = "2025-06-01"\nend = "2025-06-08"\n[market]\nsource = "files"\n[[market.instruments]]\n'
            'name = "BTCUSDT"\nbase = "BTC"\nquote = "USDT"\ntick_size = 0.1\nqty_step = 0.001\nqty_min = 0.001\n'
            f'qty_max = 100\n{source}\n[strategy]\nname = "sma_cross"\n'
        )
        done = bot("replay", "--config", str(config), "--no-report", "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        results[key] = json.loads(done.stdout)
    assert results["file"]["ledger_hash"] == results["store"]["ledger_hash"]
    assert results["store"]["rows_in"] == 7 * 1440
