"""The market that engines are compared on: made once by its own generator, kept under data/bench."""

import runpy
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pandas as pd

from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, FundingBatch, TradeBatch
from bot.store.market_history import ParquetHistory

ROOT = Path(__file__).resolve().parents[1]
GENERATOR = ROOT.parent / "shared" / "bench" / "make_market.py"
CACHE = ROOT / "data" / "bench"
MINUTE_NS = 60_000_000_000
SCALES_NS = tuple(MINUTE_NS * n for n in (1, 5, 15, 60, 240, 1440))

INSTRUMENT = Instrument(
    name="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.1"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.001"),
    qty_max=Decimal(1000),
)


def bars_file() -> Path:
    """Return the file of 1,000,000 one-minute bars."""
    return _file("bars", 1_000_000)


def trades_file(count: int = 5_000_000) -> Path:
    """Return a file of trades."""
    return _file("ticks", count)


def _file(kind: str, count: int) -> Path:
    path = CACHE / f"{kind}-{count}.parquet"
    if path.is_file():
        return path
    if not GENERATOR.is_file():
        raise SystemExit(f"the benchmark market's generator is not there: {GENERATOR.relative_to(ROOT.parent)}")
    CACHE.mkdir(parents=True, exist_ok=True)
    frame: pd.DataFrame = runpy.run_path(str(GENERATOR))[kind](count)
    part = path.with_suffix(".part")
    frame.to_parquet(part, index=False)
    part.replace(path)
    return path


def open_history(path: Path, kind: str) -> ParquetHistory:
    """Return the file as a market history."""
    if kind == "trades":
        return ParquetHistory(INSTRUMENT, path, kind="trades")
    return ParquetHistory(INSTRUMENT, path, kind="bars", scale_ns=MINUTE_NS)


class LoadedHistory:
    """A market history that lies in memory already: what remains is the engine."""

    def __init__(self, history: ParquetHistory) -> None:
        self._batches: list[TradeBatch | BarBatch] = list(history.slabs(1 << 20))
        self._span_ns = history.span_ns()
        self.source_scale_ns = history.source_scale_ns

    def span_ns(self) -> tuple[int, int]:
        """See `ports.MarketHistory`."""
        return self._span_ns

    def slabs(self, rows: int) -> Iterator[TradeBatch | BarBatch]:
        """See `ports.MarketHistory`."""
        for batch in self._batches:
            for start in range(0, len(batch), rows):
                yield batch.rows(start, min(start + rows, len(batch)))

    def funding(self) -> FundingBatch | None:
        """See `ports.MarketHistory`."""
        return None
