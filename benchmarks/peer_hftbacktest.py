"""hftbacktest over the same trades, with the same moving averages: run by its own interpreter (`.venv-bench`).

Its feed is the trades alone, with the book's best levels made from each trade's price; one market order a cross, as in
`strategies/sma_cross.py`. Prints one line of JSON: the figure that `bench_replay` puts beside ours.

usage: peer_hftbacktest.py TRADES.parquet
"""

import json
import sys
import time

import numpy as np
import pandas as pd
from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest
from hftbacktest.types import BUY_EVENT, EXCH_EVENT, LOCAL_EVENT, SELL_EVENT, TRADE_EVENT, event_dtype
from numba import njit

MINUTE_NS = 60_000_000_000


def events(frame: pd.DataFrame) -> np.ndarray:
    """Return the trades in hftbacktest's own layout."""
    rows = np.zeros(len(frame), dtype=event_dtype)
    side = np.where(frame["side"].to_numpy() == 1, BUY_EVENT, SELL_EVENT)
    rows["ev"] = TRADE_EVENT | EXCH_EVENT | LOCAL_EVENT | side
    rows["exch_ts"] = rows["local_ts"] = frame["ts"].to_numpy() * 1_000_000
    rows["px"] = frame["price"].to_numpy()
    rows["qty"] = frame["size"].to_numpy()
    return rows


@njit
def walk(backtest, fast, slow):
    """Walk minute by minute, take the last trade of each as the close, and count the crosses."""
    closes = np.zeros(slow)
    count = 0
    crosses = 0
    holding = False
    while backtest.elapse(MINUTE_NS) == 0:
        trades = backtest.last_trades(0)
        if len(trades) > 0:
            close = trades[len(trades) - 1].px
        elif count > 0:
            close = closes[(count - 1) % slow]
        else:
            continue
        backtest.clear_last_trades(0)
        closes[count % slow] = close
        count += 1
        if count >= slow:
            fast_sum = 0.0
            for back in range(fast):
                fast_sum += closes[(count - 1 - back) % slow]
            distance = fast_sum / fast - closes.mean()
            if (not holding and distance > 1e-4) or (holding and distance < -1e-4):
                holding = not holding
                crosses += 1
    return crosses


def main() -> None:
    """Measure and print."""
    data = events(pd.read_parquet(sys.argv[1]))
    seconds = []
    crosses = 0
    for _ in range(4):
        asset = (
            BacktestAsset()
            .data([data])
            .linear_asset(1.0)
            .constant_order_latency(0, 0)
            .risk_adverse_queue_model()
            .no_partial_fill_exchange()
            .trading_value_fee_model(0.0002, 0.00055)
            .tick_size(0.1)
            .lot_size(0.001)
            .last_trades_capacity(100_000)
        )
        backtest = HashMapMarketDepthBacktest([asset])
        start = time.perf_counter()
        crosses = walk(backtest, 20, 100)
        seconds.append(time.perf_counter() - start)
        backtest.close()
    best = min(seconds[1:])
    name = f"hftbacktest, 5 M trades from memory, the same averages ({crosses} crosses, no orders, no ledger)"
    print(
        json.dumps(
            {"name": name, "unit": "trades/s", "best": len(data) / best, "median": len(data) / sorted(seconds[1:])[1]}
        )
    )


if __name__ == "__main__":
    main()
