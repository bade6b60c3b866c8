"""A market of several instruments as files, for replays that trade more than one."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

START_MS = 1_704_067_200_000  # 2024-01-01
MINUTE_MS = 60_000

# Name, first price, deviation of a minute's return, how much of it all share, and the minute its data begins at.
INSTRUMENTS = (
    ("AAAUSDT", 30_000.0, 0.0005, 0.8, 0),
    ("BBBUSDT", 2_000.0, 0.0010, 0.8, 0),
    ("CCCUSDT", 50.0, 0.0020, 0.0, 45),
)


def several_markets(directory: Path, *, minutes: int = 3_000, seed: int = 11) -> dict[str, Any]:
    """Write minute bars and funding of three instruments, two of them correlated, and return their settings."""
    generator = np.random.default_rng(seed)
    shared = generator.standard_normal(minutes)
    tables = []
    for name, first, deviation, share, start in INSTRUMENTS:
        own = generator.standard_normal(minutes)
        returns = deviation * (share * shared + np.sqrt(1 - share**2) * own)
        closes = np.round(first * np.exp(np.cumsum(returns)), 2)
        opens = np.concatenate([[round(first, 2)], closes[:-1]])
        reach = np.round(deviation * first * np.abs(generator.standard_normal((2, minutes))) / 2, 2)
        bars = pd.DataFrame(
            {
                "ts": START_MS + MINUTE_MS * np.arange(minutes, dtype=np.int64),
                "open": opens,
                "high": np.round(np.maximum(opens, closes) + reach[0], 2),
                "low": np.round(np.minimum(opens, closes) - reach[1], 2),
                "close": closes,
                "volume": 1.0,
            }
        )
        path = directory / f"{name}.parquet"
        bars[start:].to_parquet(path, index=False)
        tables.append(_table(name, path, _funding(directory, name, minutes)))
    return {"source": "files", "instruments": tuple(tables)}


def _table(name: str, bars: Path, funding: Path) -> dict[str, Any]:
    return {
        "name": name,
        "base": name[:3],
        "quote": "USDT",
        "tick_size": "0.01",
        "qty_step": "0.001",
        "qty_min": "0.001",
        "qty_max": "100000",
        "bars": str(bars),
        "bar_interval": "1m",
        "funding": str(funding),
    }


def _funding(directory: Path, name: str, minutes: int) -> Path:
    path = directory / f"{name}-funding.parquet"
    times = START_MS + 480 * MINUTE_MS * np.arange(minutes // 480 + 1, dtype=np.int64)
    pd.DataFrame({"ts": times, "symbol": name, "funding_rate": 0.0001}).to_parquet(path, index=False)
    return path
