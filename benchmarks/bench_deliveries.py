"""What recording every delivery costs: per note, and in bytes on the disk, with 50 frames of trades a second.

Ten minutes of one busy instrument: the real bars of real slabs, as the aggregator, the inference, the strategy and the
executor take them, each note packed at once and written as a block twice a second.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np

from benchmarks.measure import main
from bot.actors.recorded import WORDS
from bot.core.bars import BarAggregator
from bot.core.deliveries import Head, Heard, Verb
from bot.domain.instrument import Instrument
from bot.domain.market import TradeBatch
from bot.store.deliveries import DeliveryReader, DeliveryRecorder

T = TypeVar("T")
FRAMES_PER_S, SECONDS, TRADES = 50, 600, 3
START_NS, SECOND = 1_700_000_000_000_000_000, 10**9
INSTRUMENT = Instrument(
    name="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.1"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.001"),
    qty_max=Decimal(100),
)
HEAD = Head(
    run_id="bench",
    mode="paper",
    version="1",
    config_hash="",
    strategy_hash="",
    model_id="none",
    epoch=1,
    after_seq=0,
    ledger="",
    currency="USDT",
    instruments=(INSTRUMENT,),
    began_ns=START_NS,
    state=b"",
    order_count=0,
    executed_ms=0,
    creates_from_ns=0,
    first_cash=Decimal(1),
    first_coins={},
)


async def _inline(work: Callable[[], T]) -> T:
    return work()


def _frames() -> list[TradeBatch]:
    """Return frames of a few trades each, prices on a walk."""
    random = np.random.default_rng(7)
    count = FRAMES_PER_S * SECONDS * TRADES
    ts_ns = START_NS + np.sort(random.integers(0, SECONDS * SECOND, count))
    trades = TradeBatch(
        instrument=INSTRUMENT,
        first_row=0,
        ts_ns=ts_ns,
        price_ticks=600_000 + np.cumsum(random.integers(-3, 4, count)),
        qty_steps=random.integers(1, 500, count),
        is_buy=random.random(count) < 0.5,
    )
    cuts = range(0, count, TRADES)
    return [replace(trades, first_row=cut, **_rows(trades, cut)) for cut in cuts]


def _rows(trades: TradeBatch, cut: int) -> dict[str, Any]:
    return {name: getattr(trades, name)[cut : cut + TRADES].copy() for name in TradeBatch.COLUMNS}


def _record(path: Path) -> tuple[DeliveryRecorder, float]:
    """Return a closed record, and the seconds that noting took: folding bars and writing left out."""
    frames = _frames()
    aggregator = BarAggregator(
        INSTRUMENT, scales_ns=[SECOND, 60 * SECOND], lateness_ns=0, gap_max_ns=3_600 * SECOND, event_rules=()
    )
    pairs = [(frame, aggregator.on_trades(frame)) for frame in frames]

    async def go() -> tuple[DeliveryRecorder, float]:
        recorder = DeliveryRecorder(path, _inline, words=WORDS, free_bytes_min=0)
        recorder.begin(HEAD)
        spent = 0.0
        for number, (frame, slab) in enumerate(pairs):
            now_ns = int(frame.ts_ns[-1])
            begun = time.perf_counter()
            recorder.note("bar_aggregator:BTCUSDT", Verb.TOOK, frame)
            recorder.note("inference:BTCUSDT", Verb.TOOK, slab)
            for actor in ("strategy", "order_executor"):
                recorder.note(actor, Verb.TOOK, slab)
                recorder.note(actor, Verb.HEARD, now_ns, Heard.TIME)
            spent += time.perf_counter() - begun
            if number % (FRAMES_PER_S // 2) == 0:
                await recorder._flush()
        await recorder.close()
        return recorder, spent

    return asyncio.run(go())


def note_cost() -> dict[str, Any]:
    """Return microseconds for each note."""
    with TemporaryDirectory() as out:
        runs = [_record(Path(out) / f"{run}.gz") for run in range(3)]
    each = [1e6 * spent / recorder.count for recorder, spent in runs]
    return {"name": "noting a delivery", "unit": "us", "best": min(each), "median": sorted(each)[1]}


def bytes_per_hour() -> dict[str, Any]:
    """Return how much the record grows in an hour of such a market."""
    with TemporaryDirectory() as out:
        recorder, _ = _record(Path(out) / "a.gz")
        mebibytes = recorder.file_bytes * 3_600 / SECONDS / 2**20
    name = "the record of an hour, 50 frames of 3 trades a second"
    return {"name": name, "unit": "MiB", "best": mebibytes, "median": mebibytes}


def reading() -> dict[str, Any]:
    """Return how many notes are read in a second, back to messages."""
    with TemporaryDirectory() as out:
        _record(Path(out) / "a.gz")
        rates = []
        for _ in range(3):
            begun = time.perf_counter()
            count = sum(1 for _ in DeliveryReader(Path(out) / "a.gz", WORDS))
            rates.append(count / (time.perf_counter() - begun))
    return {"name": "reading a record", "unit": "notes/s", "best": max(rates), "median": sorted(rates)[1]}


BENCHMARKS = {"note": note_cost, "bytes": bytes_per_hour, "reading": reading}

if __name__ == "__main__":
    main(BENCHMARKS, __doc__)
