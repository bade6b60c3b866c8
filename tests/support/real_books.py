"""Real books for tests: captures decoded, and what the venue itself said of them, read in another way."""

import gzip
import json
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

import numpy as np

from bot.domain.instrument import Instrument
from bot.domain.market import BookDeltaBatch
from bot.store.book_history import deltas_of_parts
from bot.store.importing.captures import read
from bot.store.importing.part import Part
from tests.support.shared_data import shared_file


def grid(symbol: str, tick_size: str, qty_step: str) -> Instrument:
    """Return an instrument of which nothing but its grid matters."""
    return Instrument(
        name=symbol,
        base=symbol.removesuffix("USDT"),
        quote="USDT",
        tick_size=Decimal(tick_size),
        qty_step=Decimal(qty_step),
        qty_min=Decimal(qty_step),
        qty_max=Decimal(10**9),
    )


@dataclass(frozen=True, kw_only=True)
class Capture:
    """A file of the shared data with a book in it."""

    file: str
    instrument: Instrument


USDM_BTC = Capture(file="raw_binance_usdm_btcusdt_ws_2024-08-08.log.gz", instrument=grid("BTCUSDT", "0.1", "0.001"))
USDM_ETH = Capture(file="raw_binance_usdm_ethusdt_ws_2024-08-08.log.gz", instrument=grid("ETHUSDT", "0.01", "0.001"))
# Some far bids of spot have more decimals than its lots of 0.00001.
SPOT_BTC = Capture(file="raw_binance_spot_btcusdt_ws_2024-08-08.log.gz", instrument=grid("BTCUSDT", "0.01", "0.000001"))
BOOK1000 = Capture(
    file="book1000_binance_usdm_btcusdt_2026-02-16_0400.parquet", instrument=grid("BTCUSDT", "0.1", "0.001")
)
OB500 = Capture(file="raw_bybit_v5_xrpusdt_ob500_2024-12-01.jsonl.gz", instrument=grid("XRPUSDT", "0.0001", "1"))
V2 = "raw_bybit_v2_usdt_perp_ws_2021-04-17.log.gz"
POLLS = "bybit_linear_top5_snapshots_multi_2024-07-01.csv.gz"


@cache
def parts_of(file: str) -> list[Part]:
    """Return all that a capture holds."""
    return list(read(shared_file(f"data/{file}")))


@cache
def book_of(capture: Capture) -> BookDeltaBatch:
    """Return the messages of a capture's book."""
    return BookDeltaBatch.join(list(deltas_of_parts(parts_of(capture.file), capture.instrument)))


def message_counts(file: str) -> Counter[str]:
    """Return how many messages of each kind came out of a capture, and how many lines were refused."""
    counts: Counter[str] = Counter()
    for part in parts_of(file):
        counts[part.kind] += len(part)
        counts["rejected"] += len(part.rejected)
        counts["repeated"] += part.repeated
        if part.kind == "book" and len(part):
            heads = [part.columns[name] for name in ("ts_ns", "recv_ns", "update", "is_snapshot")]
            starts = np.any([head[1:] != head[:-1] for head in heads], axis=0)
            counts["messages"] += 1 + int(np.count_nonzero(starts))
    return counts


@cache
def quotes_of(capture: Capture) -> tuple[list[int], list[tuple[Decimal, Decimal, Decimal, Decimal]]]:
    """Return the venue's own best quotes: the update each is of, and bid, its quantity, ask, its quantity."""
    updates, values = [], []
    with gzip.open(shared_file(f"data/{capture.file}"), "rt") as lines:
        for line in lines:
            if "@bookTicker" in line:
                data = json.loads(line.split(" ", 1)[1])["data"]
                updates.append(data["u"])
                values.append((Decimal(data["b"]), Decimal(data["B"]), Decimal(data["a"]), Decimal(data["A"])))
    return updates, values
