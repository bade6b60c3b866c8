"""Real trades out of the shared data, as batches on their instrument's own grid."""

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bot.domain.instrument import Instrument
from bot.domain.market import TradeBatch
from tests.support.shared_data import shared_file


def ltc_spot() -> TradeBatch:
    """Return LTCUSDT on Binance spot, half of 2025-06-21: 53,325 trades."""
    frame = pq.read_table(shared_file("data/trades_binance_spot_ltcusdt_2025-06-21.parquet")).to_pandas()
    return _batch("LTCUSDT", "0.01", "0.001", frame["ts"], frame["price"], frame["qty"], frame["side"] == "buy")


def ape_perpetual() -> TradeBatch:
    """Return APEUSDT on Binance USDT-M, 2024-10-18: 45,342 aggregate trades."""
    frame = pd.read_csv(shared_file("data/trades_binance_usdm_apeusdt_agg_2024-10-18.csv.gz"))
    is_buy = ~frame["is_buyer_maker"]
    return _batch("APEUSDT", "0.0001", "1", frame["transact_time"], frame["price"], frame["quantity"], is_buy)


def btc_perpetual() -> TradeBatch:
    """Return BTCUSDT on Binance USDT-M, five minutes of 2026-02-16: 11,947 trades."""
    frame = pq.read_table(shared_file("data/trades_binance_usdm_btcusdt_2026-02-16_0400.parquet")).to_pandas()
    return _batch("BTCUSDT", "0.1", "0.001", frame["exch_ts_ms"], frame["price"], frame["qty"], frame["side"] == "buy")


def captured_perpetual() -> TradeBatch:
    """Return BTCUSDT on Binance USDT-M as captured from its stream, 2024-08-08 23:54:16 to 23:59:59: 21,313 trades."""
    trades = []
    with gzip.open(shared_file("data/raw_binance_usdm_btcusdt_ws_2024-08-08.log.gz"), "rt", encoding="utf-8") as file:
        for line in file:
            message = json.loads(line.partition(" ")[2])
            if message.get("stream", "").endswith("@trade"):
                trades.append(message["data"])
    frame = pd.DataFrame(trades)
    return _batch(
        "BTCUSDT", "0.1", "0.001", frame["T"], frame["p"].astype(float), frame["q"].astype(float), ~frame["m"]
    )


REAL: dict[str, Callable[[], TradeBatch]] = {
    each.__name__: cache(each) for each in (ltc_spot, ape_perpetual, btc_perpetual, captured_perpetual)
}


def _batch(name: str, tick_size: str, qty_step: str, ts_ms: Any, price: Any, qty: Any, is_buy: Any) -> TradeBatch:
    instrument = Instrument(
        name=name,
        base=name.removesuffix("USDT"),
        quote="USDT",
        tick_size=Decimal(tick_size),
        qty_step=Decimal(qty_step),
        qty_min=Decimal(qty_step),
        qty_max=Decimal(10**9),
    )
    return TradeBatch(
        instrument=instrument,
        first_row=0,
        ts_ns=np.asarray(ts_ms, np.int64) * 1_000_000,
        price_ticks=_counts(price, tick_size),
        qty_steps=_counts(qty, qty_step),
        is_buy=np.asarray(is_buy, np.bool_),
    )


def _counts(values: Any, unit: str) -> NDArray[np.int64]:
    counts = np.asarray(values, np.float64) / float(unit)
    whole = np.rint(counts)
    assert np.abs(counts - whole).max() < 1e-3, "off the grid"
    return whole.astype(np.int64)
