"""Keeps the embedded sample market as files, so that it is generated once."""

import hashlib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bot.core.sample_market.funding import generate_funding
from bot.core.sample_market.market import generate_days
from bot.core.sample_market.spec import SampleMarketSpec
from bot.domain.errors import StorageError
from bot.domain.instrument import Instrument

_FORMAT = 1  # another format, or another generator: another file


def sample_instrument(spec: SampleMarketSpec) -> Instrument:
    """Return the instrument that the sample's numbers are of."""
    return Instrument(
        name="SAMPLEUSDT",
        base="SAMPLE",
        quote="USDT",
        tick_size=Decimal(1) / spec.ticks_per_unit,
        qty_step=Decimal(1) / spec.steps_per_unit,
        qty_min=Decimal(1) / spec.steps_per_unit,
        qty_max=Decimal(1000),
    )


def ensure_sample(
    directory: Path,
    spec: SampleMarketSpec,
    make_generator: Callable[[str], np.random.Generator],
    seed: int,
    on_day: Callable[[int, int], None],
) -> tuple[Path, Path]:
    """Return the files of the sample's trades and funding, made now if they are not there yet.

    Args:
        directory: where they are kept.
        spec: the market.
        make_generator: gives a seeded generator for a named stream.
        seed: what it was seeded with; part of the files' names.
        on_day: told of progress, days done and days in all.

    Raises:
        StorageError: the disk refuses.
    """
    label = hashlib.sha256(msgspec.json.encode([_FORMAT, seed, spec])).hexdigest()[:12]
    trades_path = directory / f"trades-{label}.parquet"
    funding_path = directory / f"funding-{label}.parquet"
    if trades_path.is_file() and funding_path.is_file():
        return trades_path, funding_path
    instrument = sample_instrument(spec)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        hours_ns, hours_ticks = _write_trades(trades_path, instrument, spec, make_generator("trades"), on_day)
        funding = generate_funding(spec, make_generator("funding"), ts_ns=hours_ns, price_ticks=hours_ticks)
        table = pa.table(
            {
                "ts": funding.ts_ns // 1_000_000,
                "symbol": [instrument.name] * len(funding.ts_ns),
                "funding_rate": funding.rate_e8 / 1e8,
            }
        )
        _write_whole(funding_path, lambda path: pq.write_table(table, path))
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{directory}: the sample market cannot be written ({error})") from error
    return trades_path, funding_path


def _write_trades(
    path: Path,
    instrument: Instrument,
    spec: SampleMarketSpec,
    generator: np.random.Generator,
    on_day: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:
    ts_parts, tick_parts = [], []

    def write(part: Path) -> None:
        writer: pq.ParquetWriter | None = None
        for number, day in enumerate(generate_days(spec, generator), start=1):
            table = pa.table(
                {
                    "ts": day.ts_ns // 1_000_000,
                    "price": instrument.prices(day.price_ticks),
                    "size": instrument.qtys(day.qty_steps),
                    "side": day.is_buy.astype(np.int8),
                }
            )
            writer = writer or pq.ParquetWriter(part, table.schema, compression="zstd")
            writer.write_table(table)
            hours = np.unique(day.ts_ns // 3_600_000_000_000, return_index=True)[1]
            ts_parts.append(day.ts_ns[hours])
            tick_parts.append(day.price_ticks[hours])
            on_day(number, spec.days)
        assert writer is not None
        writer.close()

    _write_whole(path, write)
    return np.concatenate(ts_parts), np.concatenate(tick_parts)


def _write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Have a file written beside `path`, and give it that name once it is whole."""
    part = path.with_suffix(path.suffix + ".part")
    write(part)
    part.replace(path)
