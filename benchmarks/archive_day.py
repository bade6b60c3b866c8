"""A day of trades as the venue's archive writes it: made by our own generator, kept under data/bench."""

import gzip
from pathlib import Path

import numpy as np

from benchmarks import market
from bot.runtime.env import seeded_generator

HEADER = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional,RPI\n"
DAY_S = 1_723_075_200  # 2024-08-08


def archive_day(count: int = 2_000_000) -> Path:
    """Return the file of a day of `count` trades, every field filled as in the archive."""
    path = market.CACHE / f"BTCUSDT2024-08-08-{count}.csv.gz"
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    generator = seeded_generator(1, "archive_day")
    with gzip.open(part, "wb", compresslevel=6) as file:
        file.write(HEADER.encode())
        for start in range(0, count, 100_000):
            rows = min(100_000, count - start)
            file.write(_rows(generator, start, rows, count).encode())
    part.replace(path)
    return path


def _rows(generator: np.random.Generator, start: int, rows: int, count: int) -> str:
    tenths_ms = np.sort(generator.integers(start * 864_000_000 // count, (start + rows) * 864_000_000 // count, rows))
    ticks = 600_000 + np.cumsum(generator.integers(-2, 3, rows)) + start % 997
    steps = np.maximum(1, generator.lognormal(2.0, 1.8, rows)).astype(np.int64)
    is_buy = generator.random(rows) < 0.5
    ids = generator.integers(0, 2**63, (rows, 2)).tolist()
    lines = []
    columns = zip(tenths_ms.tolist(), ticks.tolist(), steps.tolist(), is_buy.tolist(), ids, strict=True)
    for at, tick, step, buy, (high, low) in columns:
        size, price = f"{step / 1000:.3f}", f"{tick / 10:.2f}"
        value = tick * step / 10_000
        digits = f"{high:016x}{low:016x}"
        match = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        lines.append(
            f"{DAY_S + at // 10_000}.{at % 10_000:04d},BTCUSDT,{'Buy' if buy else 'Sell'},{size},{price},ZeroPlusTick,"
            f"{match},{value * 1e8:.10g},{size},{value:.10g},0\n"
        )
    return "".join(lines)
