"""Tables of unknown make: units, lengths and columns are found out or asked for, never guessed."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.import_files import (
    MS_0,
    OHLCV,
    candle_frame,
    candles,
    columns_of,
    parts_of,
    refusal,
    rejected,
    write_text,
)
from tests.support.market_parts import MINUTE_NS


@pytest.mark.parametrize(("unit", "scale"), [("s", -1000), ("ms", 1), ("us", 1000), ("ns", 1_000_000)])
def test_the_unit_of_times_is_found_out(tmp_path: Path, unit: str, scale: int) -> None:
    path = write_text(tmp_path / "x_bybit_linear_1m.csv", [OHLCV, *candles(3, unit=scale)])
    _, found = columns_of(path, symbol="XUSDT")
    _, given = columns_of(path, symbol="XUSDT", time_unit=unit)
    expected = [MS_0 * 1_000_000 + n * MINUTE_NS for n in range(3)]
    assert found["open_ns"].tolist() == given["open_ns"].tolist() == expected


def test_a_unit_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    """A date written as a number is no time in any unit, and two units in one file are two."""
    path = write_text(tmp_path / "x_bybit_linear_1d.csv", [OHLCV, "20240101,10,11,9,10,3"])
    assert "20240101" in refusal(path, symbol="XUSDT")
    mixed = write_text(tmp_path / "y_bybit_linear_1m.csv", [OHLCV, *candles(2), *candles(2, unit=1000)])
    assert "--time-unit" in refusal(mixed, symbol="XUSDT")
    assert rejected(mixed, symbol="XUSDT", time_unit="ms")[0] == (2, "ts is not a time from 2001 to 2100, in ms")


@pytest.mark.parametrize("step", ["1m", "5m", "1h", "1d"])
def test_the_length_of_bars_is_found_out(tmp_path: Path, step: str) -> None:
    """From the rows where the name is silent; holes do not matter."""
    step_ms = {"1m": 60_000, "5m": 300_000, "1h": 3_600_000, "1d": 86_400_000}[step]
    rows = candles(9, step_ms=step_ms)
    path = write_text(tmp_path / "prices.csv", [OHLCV, *rows[:3], *rows[5:]])
    part, _ = columns_of(path, venue="okx-spot", symbol="BTC-USDT")
    assert part.kind == f"bars-{step}"


def test_a_length_that_contradicts_the_name_is_refused(tmp_path: Path) -> None:
    path = write_text(tmp_path / "btcusdt_bybit_linear_5m.csv", [OHLCV, *candles(20)])
    assert "--interval" in refusal(path)
    assert parts_of(path, interval_ns=MINUTE_NS)[0].kind == "bars-1m"
    coarse = write_text(tmp_path / "btcusdt_bybit_linear_1m.csv", [OHLCV, *candles(20, step_ms=300_000)])
    assert "rows are 300 s apart" in refusal(coarse)
    single = write_text(tmp_path / "prices.csv", [OHLCV, *candles(1)])
    assert "--interval" in refusal(single, venue="okx-spot", symbol="X")


def test_columns_go_by_many_names(tmp_path: Path) -> None:
    lines = ["Open Time;O;H;L;C;Volume", "2025-01-01 00:00:00;1;2;0.5;1.5;7", "2025-01-01T00:01:00Z;1;2;0.5;1.5;7"]
    _, columns = columns_of(write_text(tmp_path / "ethusdt_binance_usdm_1m.csv", lines))
    assert columns["open_ns"].tolist() == [MS_0 * 1_000_000, MS_0 * 1_000_000 + MINUTE_NS]
    assert columns["high"].tolist() == [20, 20]


def test_columns_are_mapped_where_nobody_could_know(tmp_path: Path) -> None:
    lines = ["when,first,top,bottom,last,traded", *candles(2)]
    path = write_text(tmp_path / "ethusdt_binance_usdm_1m.csv", lines)
    assert "--kind, and --map" in refusal(path)
    mapping = {"ts": "when", "open": "first", "high": "top", "low": "bottom", "close": "last", "volume": "traded"}
    assert columns_of(path, columns=mapping)[1]["close"].tolist() == [1025, 1025]
    assert "no such column" in refusal(path, columns={"ts": "wann"})
    assert "known are" in refusal(path, columns={"when": "ts"})


def test_columns_are_mapped_by_number_where_there_is_no_header(tmp_path: Path) -> None:
    path = write_text(tmp_path / "ethusdt_binance_usdm_1m.csv", candles(2))
    mapping = {name: str(at) for at, name in enumerate(("ts", "open", "high", "low", "close", "volume"))}
    assert columns_of(path, columns=mapping)[1]["volume"].tolist() == [35, 35]


def test_two_columns_that_could_be_meant_are_not_chosen_between(tmp_path: Path) -> None:
    lines = ["time,date,open,high,low,close,volume", f"{MS_0},2025-01-01,10,11,9,10,3"]
    path = write_text(tmp_path / "ethusdt_binance_usdm_1m.csv", lines)
    assert "any of time, date; say which with --map ts=time" in refusal(path)
    assert len(parts_of(path, columns={"ts": "date"})[0]) == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"{MS_0 + 60_000},10,9.5,9,10,3", "high is below open or close"),
        (f"{MS_0 + 60_000},10,11,10.5,10.7,3", "low is above open or close"),
        (f"{MS_0 + 60_000},10,11,0,10,3", "low is not positive"),
        (f"{MS_0 + 60_000},10,11,9,10,-3", "volume is negative"),
        (f"{MS_0 + 60_000},10,11,9,,3", "close is missing"),
        (f"{MS_0 + 60_000},10,11,9,10", "volume is missing"),
        (f"{MS_0 + 61_000},10,11,9,10,3", "does not open on the 1m grid"),
        (",10,11,9,10,3", "ts is missing"),
        ("5,10,11,9,10,3", "ts is not a time from 2001 to 2100, in ms"),
        (
            f"{MS_0 + 60_000},10,11,9,10,0.3333333333333333",
            "volume has more than 12 decimals (--decimals N rounds to N)",
        ),
    ],
)
def test_a_bad_bar_is_reported(tmp_path: Path, row: str, reason: str) -> None:
    lines = [OHLCV, *candles(1), row, *candles(205)[2:]]
    path = write_text(tmp_path / "btcusdt_bybit_linear_1m.csv", lines)
    assert rejected(path, interval_ns=MINUTE_NS) == [(1, reason)]
    assert sum(len(part) for part in parts_of(path, interval_ns=MINUTE_NS)) == 204


def test_decimals_are_rounded_on_request(tmp_path: Path) -> None:
    path = write_text(tmp_path / "btcusdt_bybit_linear_1m.csv", [OHLCV, f"{MS_0},10,11,9,10,0.3333333333333333"])
    part, columns = columns_of(path, interval_ns=MINUTE_NS, decimals=3)
    assert (columns["volume"].tolist(), part.qty_exponent, part.rounded) == ([333], -3, 1)


def test_weeks_begin_on_monday(tmp_path: Path) -> None:
    lines = [OHLCV, "2025-01-06,10,11,9,10,3", "2025-01-13,10,11,9,10,3"]
    assert parts_of(write_text(tmp_path / "btcusdt_bybit_linear_1w.csv", lines))[0].kind == "bars-1w"
    thursdays = [OHLCV, "2025-01-09,10,11,9,10,3", "2025-01-16,10,11,9,10,3"]
    assert len(rejected(write_text(tmp_path / "ethusdt_bybit_linear_1w.csv", thursdays))) == 2


@pytest.mark.parametrize(
    "times",
    [
        [MS_0, MS_0 + 60_000],
        [MS_0 / 1000, MS_0 / 1000 + 60],
        pd.to_datetime([MS_0, MS_0 + 60_000], unit="ms", utc=True),
        pd.to_datetime([MS_0, MS_0 + 60_000], unit="ms"),
        pd.to_datetime([MS_0, MS_0 + 60_000], unit="ms", utc=True).tz_convert("Asia/Tokyo"),
        ["2025-01-01 00:00:00", "2025-01-01T00:01:00+00:00"],
    ],
    ids=["ms", "float seconds", "utc", "naive", "zone", "text"],
)
def test_candles_in_parquet(tmp_path: Path, times: Any) -> None:
    path = tmp_path / "btcusdt_bybit_linear_1m.parquet"
    candle_frame(ts=times).to_parquet(path)
    part, columns = columns_of(path)
    assert columns["open_ns"].tolist() == [MS_0 * 1_000_000, MS_0 * 1_000_000 + MINUTE_NS]
    assert (columns["close"].tolist(), part.price_exponent) == ([1025, 1025], -2)


def test_numbers_as_text_and_decimals_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "btcusdt_bybit_linear_1m.parquet"
    table = pa.table(
        {"ts": [MS_0, MS_0 + 60_000], **{name: ["10.50", "10.5"] for name in ("open", "high", "low", "close")}}
    )
    table = table.append_column("volume", pa.array([Decimal("350"), None], pa.decimal128(9, 2)))
    pq.write_table(table, path)
    (part,) = parts_of(path)
    assert (part.columns["open"].tolist(), part.columns["volume"].tolist()) == ([105], [350])
    assert [(row.row, row.reason) for row in part.rejected] == [(1, "volume is missing")]


def test_mark_prices(tmp_path: Path) -> None:
    """Candles without a volume are the mark's or the index's only if somebody says so."""
    for word in ("mark", "index"):
        path = tmp_path / f"btcusdt_binance_usdm_{word}_1m.parquet"
        candle_frame().drop(columns="volume").to_parquet(path)
        (part,) = parts_of(path)
        assert (part.kind, list(part.columns)) == (f"{word}-1m", ["open_ns", "open", "high", "low", "close"])
    unnamed = tmp_path / "btcusdt_binance_usdm_1m.parquet"
    candle_frame().drop(columns="volume").to_parquet(unnamed)
    assert "--kind mark" in refusal(unnamed)


def test_candles_with_quotes(tmp_path: Path) -> None:
    """The quote at a bar's end is known from then on; a minute without one is no fault."""
    path = tmp_path / "btcusdt_bybit_linear_1m_trade_quote.parquet"
    side = {"open": [10.0, None], "high": [10.0, None], "low": [10.0, None], "close": [10.0, None], "size": [1.5, None]}
    quotes = {f"bid_{name}": values for name, values in side.items()}
    quotes |= {f"ask_{name}": [value and value + 0.5 for value in values] for name, values in side.items()}
    candle_frame(**quotes).to_parquet(path)
    bars, best = parts_of(path)
    assert (bars.kind, len(bars), best.kind) == ("bars-1m", 2, "quotes")
    assert best.columns["ts_ns"].tolist() == [MS_0 * 1_000_000 + MINUTE_NS]
    assert (best.columns["bid"].tolist(), best.columns["ask"].tolist()) == ([100], [105])
    assert best.rejected == ()


def test_quotes(tmp_path: Path) -> None:
    lines = ["ts,bid,bid_qty,ask,ask_qty", f"{MS_0},10.1,3,10.2,4", f"{MS_0},10.3,3,10.2,4", f"{MS_0},10.1,3,,4"]
    (part,) = parts_of(write_text(tmp_path / "btcusdt_bybit_linear_quotes.csv", lines))
    assert part.columns["ask"].tolist() == [102]
    assert [(row.row, row.reason) for row in part.rejected] == [
        (1, "the bid is not below the ask"),
        (2, "ask is missing"),
    ]


def test_funding_of_many_symbols(tmp_path: Path) -> None:
    path = tmp_path / "funding_bybit_linear_8h.parquet"
    hour = 3_600_000
    pd.DataFrame(
        {
            "ts": [MS_0, MS_0, MS_0 + 8 * hour, MS_0 + 16 * hour, MS_0],
            "symbol": ["BTCUSDT", "ETHUSDT", "BTCUSDT", "BTCUSDT", None],
            "funding_rate": [0.0001, -0.00012383, 0.00001, 0.2, 0.0001],
        }
    ).to_parquet(path)
    first, second = parts_of(path)
    assert (first.symbol, first.columns["rate"].tolist(), first.price_exponent) == ("BTCUSDT", [10_000, 1_000], -8)
    assert (second.symbol, second.columns["rate"].tolist()) == ("ETHUSDT", [-12_383])
    reasons = [(row.row, row.reason) for part in (first, second) for row in part.rejected]
    assert reasons == [(3, "funding_rate is more than 0.1; a rate is a fraction"), (4, "symbol is missing")]


def test_funding_of_one_symbol(tmp_path: Path) -> None:
    lines = ["calc_time,funding_interval_hours,last_funding_rate", f"{MS_0},8,0.00010000"]
    (part,) = parts_of(write_text(tmp_path / "BTCUSDT-fundingRate-2025-01.csv", lines), venue="binance-usdm")
    assert (part.symbol, part.kind, part.columns["rate"].tolist(), part.price_exponent) == (
        "BTCUSDT",
        "funding",
        [1],
        -4,
    )


@pytest.mark.parametrize(
    "sides", [["buy", "sell"], ["B", "S"], [1, 0], [1, -1], [True, False], ["Buy", "SELL"]], ids=str
)
def test_trades_in_parquet(tmp_path: Path, sides: list[Any]) -> None:
    path = tmp_path / "trades_binance_spot_ltcusdt.parquet"
    pd.DataFrame({"ts": [MS_0, MS_0 + 1], "price": [83.29, 83.3], "qty": [0.107, 1.0], "side": sides}).to_parquet(path)
    part, columns = columns_of(path)
    assert (part.venue, part.symbol, part.source) == ("binance-spot", "LTCUSDT", "")
    assert (columns["is_buy"].tolist(), columns["price"].tolist()) == ([True, False], [8329, 8330])


def test_trades_with_ids_in_parquet(tmp_path: Path) -> None:
    """Numbers are kept, also written as text; other ids only tell repeats inside the file."""
    base = {
        "exch_ts_ms": [MS_0, MS_0],
        "ts_ms": [MS_0 + 2, MS_0 + 3],
        "price": [1.5, 1.5],
        "qty": [2.0, 2.0],
        "side": ["buy"] * 2,
    }
    path = tmp_path / "trades_binance_usdm_btcusdt.parquet"
    pd.DataFrame(base | {"trade_id": ["7294395046", "7294395047"]}).to_parquet(path)
    _, columns = columns_of(path)
    assert columns["trade_id"].tolist() == [7_294_395_046, 7_294_395_047]
    assert columns["ts_ns"].tolist() == [MS_0 * 1_000_000] * 2
    assert columns["recv_ns"].tolist() == [(MS_0 + 2) * 1_000_000, (MS_0 + 3) * 1_000_000]
    pd.DataFrame(base | {"trade_id": ["a-1", "a-1"]}).to_parquet(path)
    (part,) = parts_of(path)
    assert (part.repeated, part.columns["trade_id"].tolist()) == (1, [0])
