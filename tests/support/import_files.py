"""Files to import, as venues and people write them, and what is read of them."""

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bot.domain.errors import DataError
from bot.store.importing.options import ImportOptions
from bot.store.importing.part import Part
from bot.store.importing.sources import recognise
from bot.store.market_format import Columns
from bot.store.market_store import read_columns

LINEAR = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
LINEAR_ROWS = [
    "1741910443.7357,BTCUSDT,Buy,0.001,81095.00,MinusTick,26bb8b97-1991-503f-b2c2-f4e8d0b94721,8.1095e+09,0.001,81.095",
    "1741910443.7357,BTCUSDT,Sell,0.250,81095.10,PlusTick,26bb8b97-1991-503f-b2c2-f4e8d0b94722,1e+12,0.25,20273.775",
    "1741910444.1,BTCUSDT,Sell,0.250,81095.10,PlusTick,26bb8b97-1991-503f-b2c2-f4e8d0b94723,1e+12,0.25,20273.775",
]
SPOT = "id,timestamp,price,volume,side,rpi"
SPOT_ROWS = [
    "1,1747612800074,106453.8,0.003718,sell,0",
    "2,1747612800150,106456.9,0.000500,buy,0",
    "3,1747612800150,106456.9,0.000500,buy,0",
]
OHLCV = "ts,open,high,low,close,volume"
MS_0 = 1_735_689_600_000  # 2025-01-01


def write_text(path: Path, lines: list[str]) -> Path:
    """Write lines, packed if the name says so."""
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def parts_of(path: Path, **options: Any) -> list[Part]:
    return list(recognise(path, ImportOptions(**options)).read())


def columns_of(path: Path, **options: Any) -> tuple[Part, Columns]:
    """Return the first part, for what describes it, and all rows at one exponent."""
    parts = parts_of(path, **options)
    price_exponent, qty_exponent, columns = read_columns(parts)
    assert price_exponent == min(part.price_exponent for part in parts)
    assert qty_exponent == min(part.qty_exponent for part in parts)
    return parts[0], columns


def rejected(path: Path, **options: Any) -> list[tuple[int, str]]:
    return [(row.row, row.reason) for part in parts_of(path, **options) for row in part.rejected]


def refusal(path: Path, **options: Any) -> str:
    """Return what is said of a file that cannot be read; one line that names it."""
    with pytest.raises(DataError) as caught:
        parts_of(path, **options)
    message = str(caught.value)
    assert str(path) in message or message.startswith("--")
    assert "\n" not in message
    return message


def candles(count: int, *, step_ms: int = 60_000, unit: int = 1) -> list[str]:
    return [
        f"{(MS_0 + n * step_ms) * unit if unit > 0 else (MS_0 + n * step_ms) // -unit},10,11.5,9,10.25,3.5"
        for n in range(count)
    ]


def candle_frame(**columns: Any) -> pd.DataFrame:
    base = {
        "open": [10.0, 10.0],
        "high": [11.5, 11.5],
        "low": [9.0, 9.0],
        "close": [10.25, 10.25],
        "volume": [3.5, 0.0],
    }
    return pd.DataFrame({"ts": [MS_0, MS_0 + 60_000]} | base | columns)
