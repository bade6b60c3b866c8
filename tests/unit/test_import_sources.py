"""Files of venues' archives, what a file is, and the import of whole ones."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.app.data import FileDone, import_files
from bot.domain.errors import ConfigError
from bot.store.importing.names import Told, read_name
from bot.store.importing.options import ImportOptions
from bot.store.market_store import MarketStore, read_columns
from tests.support.import_files import (
    LINEAR,
    LINEAR_ROWS,
    MS_0,
    OHLCV,
    SPOT,
    SPOT_ROWS,
    candles,
    columns_of,
    parts_of,
    refusal,
    write_text,
)
from tests.support.market_parts import MINUTE_NS, snapshot

# --- Bybit's archive of trades ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["BTCUSDT2025-03-13.csv", "BTCUSDT2025-03-13.csv.gz"])
@pytest.mark.parametrize("rpi", [False, True])
def test_linear_trades(tmp_path: Path, name: str, rpi: bool) -> None:
    """Seconds with a fraction, exact to a tenth of a millisecond; packed or not, with the newer column or without."""
    lines = [LINEAR + ",RPI" * rpi, *(row + ",0" * rpi for row in LINEAR_ROWS)]
    part, columns = columns_of(write_text(tmp_path / name, lines))
    assert (part.venue, part.symbol, part.kind, part.source) == ("bybit-linear", "BTCUSDT", "trades", "bybit-archive")
    assert (part.price_exponent, part.qty_exponent) == (-1, -3)
    assert columns["ts_ns"].tolist() == [1_741_910_443_735_700_000] * 2 + [1_741_910_444_100_000_000]
    assert columns["price"].tolist() == [810_950, 810_951, 810_951]
    assert columns["qty"].tolist() == [1, 250, 250]
    assert columns["is_buy"].tolist() == [True, False, False]
    assert columns["trade_id"].tolist() == [0, 0, 0]


def test_inverse_trades_are_told_by_their_notional(tmp_path: Path) -> None:
    """Their size is quote currency and their foreign notional base: the other way round."""
    row = "1788220801.0925,BTCUSD,Sell,79,78513.00,PlusTick,e94f18f9-4bc4,1e5,79,0.0010062027944416848,0"
    part, columns = columns_of(write_text(tmp_path / "BTCUSD2026-09-01.csv", [LINEAR + ",RPI", row]))
    assert part.venue == "bybit-inverse"
    assert columns["qty"].tolist() == [79]


def test_a_line_that_is_there_twice_is_dropped_and_counted(tmp_path: Path) -> None:
    """The archive's ids are no numbers, but they tell two equal trades from one trade written twice."""
    twin = LINEAR_ROWS[2].replace("4723", "4799")
    path = write_text(tmp_path / "BTCUSDT2025-03-13.csv", [LINEAR, *LINEAR_ROWS, LINEAR_ROWS[1], twin])
    parts = parts_of(path)
    assert sum(part.repeated for part in parts) == 1
    assert sum(len(part) for part in parts) == 4


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (LINEAR_ROWS[0].replace("81095.00", "0"), "price is not positive"),
        (LINEAR_ROWS[0].replace("81095.00", "-5"), "price is not positive"),
        (LINEAR_ROWS[0].replace("81095.00", "abc"), "price is not a number"),
        (LINEAR_ROWS[0].replace("81095.00", ""), "price is missing"),
        (LINEAR_ROWS[0].replace("0.001,8", "0,8", 1), "quantity is not positive"),
        (LINEAR_ROWS[0].replace("0.001,8", "nan,8", 1), "size is missing"),
        (LINEAR_ROWS[0].replace("Buy", "Hold"), "side is neither buy nor sell"),
        (LINEAR_ROWS[0].replace("BTCUSDT", "ETHUSDT"), "is of another symbol than BTCUSDT"),
        (
            LINEAR_ROWS[0].replace("1741910443.7357", "1741910443735.7"),
            "timestamp is not a time from 2001 to 2100, in s",
        ),
        (LINEAR_ROWS[0].replace("1741910443.7357", "soon"), "timestamp is not a number"),
        ("1741910443.7357,BTCUSDT", "side is neither buy nor sell"),
        ("gibberish", "timestamp is not a number"),
    ],
)
def test_a_bad_row_is_reported_with_its_number_reason_and_text(tmp_path: Path, line: str, reason: str) -> None:
    """And no other row is lost."""
    path = write_text(
        tmp_path / "BTCUSDT2025-03-13.csv", [LINEAR, LINEAR_ROWS[0], LINEAR_ROWS[1], line, LINEAR_ROWS[2]]
    )
    (part,) = parts_of(path)
    assert [(row.row, row.reason) for row in part.rejected] == [(2, reason)]
    assert part.rejected[0].text == line[:200]
    assert len(part) == 3


def test_spot_trades(tmp_path: Path) -> None:
    """Milliseconds, small letters, and ids that restart every day: equal trades stay apart by them, none is stored."""
    part, columns = columns_of(write_text(tmp_path / "BTCUSDT_2025-05-19.csv.gz", [SPOT, *SPOT_ROWS]))
    assert (part.venue, part.symbol, part.price_exponent, part.qty_exponent) == ("bybit-spot", "BTCUSDT", -1, -6)
    assert columns["ts_ns"].tolist() == [1_747_612_800_074_000_000] + [1_747_612_800_150_000_000] * 2
    assert columns["qty"].tolist() == [3718, 500, 500]
    assert columns["trade_id"].tolist() == [0, 0, 0]


def test_a_month_of_spot_trades_declares_a_column_less_than_it_has(tmp_path: Path) -> None:
    lines = [SPOT.removesuffix(",rpi"), *SPOT_ROWS, *SPOT_ROWS[:1]]
    parts = parts_of(write_text(tmp_path / "BTCUSDT-2025-05.csv", lines))
    assert [(len(part), part.repeated, part.rejected) for part in parts] == [(3, 1, ())]


# --- Bybit's archive of candles ---------------------------------------------------------------------------------------


def test_candles_of_the_archive_are_in_another_time_zone(tmp_path: Path) -> None:
    """UTC+3: the first minute of their January is 21:00 of December, UTC."""
    lines = ["2023.01.01 00:00,16581.0,16584.0,16580.5,16584.0,114.627", "2023.01.01 00:01,16584,16584,16584,16584,0"]
    part, columns = columns_of(write_text(tmp_path / "BTCUSDT_1_2023-01-01_2023-01-31.csv.gz", lines))
    assert (part.venue, part.symbol, part.kind) == ("bybit-linear", "BTCUSDT", "bars-1m")
    assert columns["open_ns"][0] == np.datetime64("2022-12-31T21:00", "ns").astype(np.int64)
    assert columns["low"].tolist() == [165_805, 165_840]
    assert columns["volume"].tolist() == [114_627, 0]


def test_months_of_candles_overlap_by_one_row(tmp_path: Path) -> None:
    edge = "2023.02.01 00:00,23100.0,23110.0,23090.0,23105.0,12.5"
    january = ["2023.01.31 23:59,23099.0,23101.0,23098.0,23100.0,3.5", edge]
    february = [edge, "2023.02.01 00:01,23105.0,23106.0,23100.0,23101.0,7.5"]
    write_text(tmp_path / "BTCUSDT_1_2023-01-01_2023-01-31.csv", january)
    write_text(tmp_path / "BTCUSDT_1_2023-02-01_2023-02-28.csv", february)
    done = list(import_files([tmp_path], store=tmp_path / "store", options=ImportOptions()))
    assert [(each.written[0].new, each.written[0].repeated) for each in done] == [(2, 0), (1, 1)]


def test_candles_of_unknown_make_are_not_guessed_at(tmp_path: Path) -> None:
    path = write_text(tmp_path / "candles.csv", ["2023.01.01 00:00,16581.0,16584.0,16580.5,16584.0,114.627"])
    assert "MetaTrader" in refusal(path)


# --- Binance ----------------------------------------------------------------------------------------------------------

AGG = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"


def test_aggregate_trades(tmp_path: Path) -> None:
    """The buyer was the maker: the taker sold."""
    lines = [AGG, "17,0.7097,19.0,5,5,1729209603958,false", "18,0.7096,2254.0,6,9,1729209604056,true"]
    part, columns = columns_of(write_text(tmp_path / "APEUSDT-aggTrades-2024-10-18.csv", lines))
    assert (part.venue, part.symbol, part.source) == ("binance-usdm", "APEUSDT", "binance-aggregate")
    assert (columns["is_buy"].tolist(), columns["trade_id"].tolist()) == ([True, False], [17, 18])
    assert columns["price"].tolist() == [7097, 7096]


def test_aggregate_trades_without_a_header_in_an_archive(tmp_path: Path) -> None:
    """Spot's have an eighth column, and microseconds from 2025 on."""
    path = tmp_path / "LTCUSDT-aggTrades-2025-06-21.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{path.stem}.csv", "17,83.29,0.107,5,5,1750507467356123,False,True\n")
    part, columns = columns_of(path)
    assert part.venue == "binance-spot"
    assert columns["ts_ns"].tolist() == [1_750_507_467_356_123_000]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.csv", "x")
    assert "2 files" in refusal(path)


def test_candles_with_flow(tmp_path: Path) -> None:
    """Turnover, number of trades and the takers' buying come along."""
    lines = [
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore",
        f"{MS_0},93530.0,93672.8,93501.3,93630.1,147.13,{MS_0 + 59_999},13772345.678,2541,80.5,7534567.1,0",
    ]
    path = write_text(tmp_path / "BTCUSDT-1m-2025-01.csv", lines)
    part, columns = columns_of(path, venue="binance-usdm")
    assert (part.symbol, part.kind, part.qty_exponent) == ("BTCUSDT", "bars-1m", -2)
    assert columns["turnover"].tolist() == [13_772_345.678]
    assert (columns["count"].tolist(), columns["buy_volume"].tolist()) == ([2541], [8050])


# --- what a file is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("btcusdt_bybit_linear_1m_2025-05_2025-06.parquet", ("bybit-linear", "BTCUSDT", None, MINUTE_NS)),
        ("ethusdt_binance_usdm_mark_1h_2024-01.parquet", ("binance-usdm", "ETHUSDT", "mark", 60 * MINUTE_NS)),
        ("funding_bybit_linear_8h_2021-01.parquet", ("bybit-linear", None, "funding", 480 * MINUTE_NS)),
        ("trades_binance_usdm_apeusdt_agg_2024-10-18.csv.gz", ("binance-usdm", "APEUSDT", "trades", None)),
        ("BTCUSDT-1M-2024.csv", (None, "BTCUSDT", None, None)),
        ("BTCUSDT-15min.csv", (None, "BTCUSDT", None, 15 * MINUTE_NS)),
        ("btcusdt_ethusdt_bybit_linear.csv", ("bybit-linear", None, None, None)),
        ("my data.csv", (None, None, None, None)),
    ],
)
def test_names_tell_what_they_tell(name: str, told: tuple[Any, ...]) -> None:
    """What is told twice is not told; a capital M is a month, which is no length."""
    venue, symbol, kind, interval_ns = told
    assert read_name(Path(name)) == Told(venue=venue, symbol=symbol, kind=kind, interval_ns=interval_ns)


@pytest.mark.parametrize(
    ("name", "lines", "option"),
    [
        ("btcusdt_1m.csv", [OHLCV, *candles(3)], "--venue"),
        ("bybit_linear_1m.csv", [OHLCV, *candles(3)], "--symbol"),
        ("BTCUSDT.csv", [SPOT, *SPOT_ROWS], None),
        ("trades.csv", [SPOT, *SPOT_ROWS], "--symbol"),
        ("notes.csv", ["a,b,c", "1,2,3"], "--kind"),
        ("empty.csv", [], "cannot be read"),
    ],
)
def test_what_cannot_be_told_is_asked_for(tmp_path: Path, name: str, lines: list[str], option: str | None) -> None:
    path = write_text(tmp_path / name, lines)
    if option is None:
        assert parts_of(path)
    else:
        assert option in refusal(path)


def test_what_the_user_says_goes_first(tmp_path: Path) -> None:
    path = write_text(tmp_path / "btcusdt_bybit_linear_1m.csv", [OHLCV, *candles(3)])
    (part,) = parts_of(path, venue="okx-swap", symbol="BTC-USDT")
    assert (part.venue, part.symbol) == ("okx-swap", "BTC-USDT")


def test_another_store_is_imported_as_it_is(tmp_path: Path) -> None:
    write_text(tmp_path / "btcusdt_bybit_linear_1m.csv", [OHLCV, *candles(3)])
    list(import_files([tmp_path], store=tmp_path / "one", options=ImportOptions()))
    list(import_files([tmp_path / "one"], store=tmp_path / "two", options=ImportOptions()))
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


# --- whole files ------------------------------------------------------------------------------------------------------


def imported(path: Path, store: Path, **options: Any) -> list[FileDone]:
    strict = options.pop("strict", False)
    return list(import_files([path], store=store, options=ImportOptions(**options), strict=strict))


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_packed_file_that_was_cut_off_changes_nothing(tmp_path: Path, cut: int) -> None:
    path = write_text(tmp_path / "BTCUSDT2025-03-13.csv.gz", [LINEAR, *LINEAR_ROWS * 400])
    path.write_bytes(path.read_bytes()[:-cut])
    (done,) = imported(path, tmp_path / "store")
    assert done.status == "failed"
    assert done.reason.startswith(f"{path}: ")
    assert snapshot(tmp_path / "store") == {}


def test_a_folder_is_walked(tmp_path: Path) -> None:
    """Sub-folders too, what is no data is passed over with a word, what should be data and is not is a failure."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    write_text(folder / "deep" / "BTCUSDT2025-03-13.csv", [LINEAR, *LINEAR_ROWS])
    write_text(folder / ".hidden" / "x.csv", ["a"])
    (folder / "rejected").mkdir()
    write_text(folder / "rejected" / "trades-x.csv", ["row,reason,text"])
    (folder / "README.md").write_text("words")
    (folder / "sealed.bin").write_bytes(b"\0\1")
    write_text(folder / "broken.csv", ["a,b", "1,2"])
    done = {each.path.name: each for each in imported(folder, folder / "store")}
    assert {name: each.status for name, each in done.items()} == {
        "BTCUSDT2025-03-13.csv": "imported",
        "trades-x.csv": "skipped",
        "README.md": "skipped",
        "sealed.bin": "skipped",
        "broken.csv": "failed",
    }
    again = {each.path.name for each in imported(folder, folder / "store")}
    assert again == set(done), "the store itself is not imported, wherever it lies"


def test_a_file_with_bad_rows_is_imported_without_them_or_not_at_all(tmp_path: Path) -> None:
    path = write_text(tmp_path / "BTCUSDT2025-03-13.csv", [LINEAR, *LINEAR_ROWS, "gibberish"])
    (strict,) = imported(path, tmp_path / "store", strict=True)
    assert strict.status == "failed"
    assert "row 3" in strict.reason
    assert snapshot(tmp_path / "store") == {}
    (lenient,) = imported(path, tmp_path / "store")
    written = lenient.written[0]
    assert (written.new, written.rejected) == (3, 1)
    assert written.rejected_path is not None
    assert "gibberish" in written.rejected_path.read_text()


def test_large_files_are_read_in_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are numbered through, and a line over the edge of a stretch is one line."""
    rows = [
        f"{1_741_910_443 + n}.5,BTCUSDT,Buy,0.{n % 900 + 1:03d},81095.{n % 10},PlusTick,id-{n},1,1,{81095}"
        for n in range(3000)
    ]
    first = LINEAR_ROWS[0].replace("1741910443.7357", "1741910400.1")
    rows[2500] = "gibberish"
    path = write_text(tmp_path / "BTCUSDT2025-03-13.csv.gz", [LINEAR, first, *rows])
    whole = columns_of(path)[1]
    monkeypatch.setattr("bot.store.importing.chunks._BLOCK_BYTES", 1000)
    parts = parts_of(path)
    assert len(parts) > 100
    cut = read_columns(parts)[2]
    assert all(np.array_equal(whole[name], cut[name]) for name in whole)
    assert [row.row for part in parts for row in part.rejected] == [2501]


def test_progress_is_told(tmp_path: Path) -> None:
    for day in (13, 14):
        write_text(tmp_path / f"BTCUSDT2025-03-{day}.csv", [LINEAR, *LINEAR_ROWS])
    told: list[float] = []
    options = ImportOptions()
    list(
        import_files([tmp_path], store=tmp_path / "s", options=options, on_progress=lambda done, at: told.append(done))
    )
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert any(0 < done < 1 for done in told)


def test_a_path_that_does_not_exist_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        imported(tmp_path / "nothing", tmp_path / "store")


def test_what_is_imported_is_what_is_read_back(tmp_path: Path) -> None:
    path = write_text(tmp_path / "BTCUSDT2025-03-13.csv", [LINEAR, *LINEAR_ROWS])
    imported(path, tmp_path / "store")
    price_exponent, _, columns = read_columns(MarketStore(tmp_path / "store").read("bybit-linear", "BTCUSDT", "trades"))
    assert price_exponent == -1
    assert columns["price"].tolist() == [810_950, 810_951, 810_951]
