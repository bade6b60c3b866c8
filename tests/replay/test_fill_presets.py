"""Pessimistic, neutral, optimistic: what of their order is a law, and where they usually lie around the truth.

That a taker pays more and a resting order fills later or not at all is a law, order by order, while the orders are the
same. Of a whole run it is not: a fill more or less changes what the strategy does next, and may be a loss avoided.
`docs/fills.md` has the figures.
"""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.replays import rows, run, settings_with, small_market
from tests.support.shared_data import shared_file

PRESETS = ("pessimistic", "neutral", "optimistic")
STRATEGIES = "tests.support.fill_strategies"
# Nothing but fills is to differ, so nothing may stop trading, be denied or fail for want of margin.
UNHINDERED = (
    "account.cash=10_000_000",
    "protections.drawdown_reduce=0",
    "protections.drawdown_halt=0",
    "protections.daily_loss_reduce=0",
    "protections.daily_loss_halt=0",
    "risk.position_notional_max=5_000_000",
    "risk.mark_age_max=1d",
)


def bars_of(name: str, file: str, tick_size: str, qty_step: str) -> dict[str, Any]:
    """Return the settings of a month of real minutes."""
    return _files(name, tick_size, qty_step, bars=str(shared_file(f"data/{file}")), bar_interval="1m")


def _files(name: str, tick_size: str, qty_step: str, **source: str) -> dict[str, Any]:
    instrument = {"name": name, "base": name.removesuffix("USDT"), "quote": "USDT"}
    grid = {"tick_size": tick_size, "qty_step": qty_step, "qty_min": qty_step, "qty_max": "1000000"}
    return {"source": "files", "instruments": (instrument | grid | source | {"off_grid": "round"},)}


def sample_trades() -> None:
    """Stand for the sample market."""


def sol_bars() -> dict[str, Any]:
    """Return SOLUSDT on Bybit: its tick is a large part of a minute's move."""
    return bars_of("SOLUSDT", "solusdt_bybit_linear_1m_2025-05_2025-06.parquet", "0.01", "0.1")


def btc_bars() -> dict[str, Any]:
    """Return BTCUSDT on Bybit: its tick is next to nothing."""
    return bars_of("BTCUSDT", "btcusdt_bybit_linear_1m_2025-05_2025-06.parquet", "0.1", "0.001")


def ltc_trades() -> dict[str, Any]:
    """Return half a day of LTCUSDT on Binance's spot market, trade by trade."""
    path = shared_file("data/trades_binance_spot_ltcusdt_2025-06-21.parquet")
    return _files("LTCUSDT", "0.01", "0.001", trades=str(path))


MARKETS = (sample_trades, sol_bars, btc_bars, ltc_trades)


def bracket(
    tmp_path: Path, market: dict[str, Any] | None, query: str, overrides: Sequence[str]
) -> dict[str, list[tuple[Any, ...]]]:
    """Return what a query of the ledger gives under each preset, for a few days at most."""
    span = [] if market is None or market["instruments"][0]["name"] == "LTCUSDT" else ["run.end=2025-06-02"]
    asked = [*small_market(tmp_path, days=2, trades_per_day=20_000), *UNHINDERED, *span, *overrides]
    found = {}
    for preset in PRESETS:
        done = run(settings_with(tmp_path, [*asked, f"venue.fills={preset}"], market))
        found[preset] = rows(done, query)
    return found


@pytest.mark.parametrize("make_market", MARKETS)
def test_every_taker_pays_in_the_order_of_the_presets(make_market: Any, tmp_path: Path) -> None:
    """A strategy of market orders that looks at bars alone sends the same orders, and each fills at a worse price."""
    overrides = ["strategy.name=sma_cross", "strategy.params.fast=3", "strategy.params.slow=10"]
    query = "select client_order_id, side, price, qty, ts_event_ns from fills order by client_order_id"
    worst, neutral, best = bracket(tmp_path, make_market(), query, overrides).values()
    assert len(worst) > 50
    is_worse = 0
    for one, two, three in zip(worst, neutral, best, strict=True):
        assert one[0] == two[0] == three[0]
        assert one[3:] == two[3:] == three[3:]
        sign = 1 if one[1] == "buy" else -1
        prices = [Decimal(fill[2]) * sign for fill in (one, two, three)]
        assert prices == sorted(prices, reverse=True)
        is_worse += prices[0] > prices[1] > prices[2]
    assert is_worse > len(worst) * 0.9


@pytest.mark.slow
@pytest.mark.parametrize("make_market", MARKETS)
def test_every_resting_order_fills_in_the_order_of_the_presets(make_market: Any, tmp_path: Path) -> None:
    """Of the same orders a more pessimistic model fills no more, and nothing sooner.

    Against minutes an order must outlive two of them: what the bar of its arrival did is not known to be after it.
    """
    scale = "1m" if make_market is ltc_trades else "5m"
    overrides = [f"strategy.name={STRATEGIES}:Metronome", f"strategy.params.scale={scale}"]
    overrides += ["strategy.params.distance=0.0002", "strategy.params.value=1_000"]
    query = (
        "select o.client_order_id, o.limit_price, o.filled_qty, max(f.ts_event_ns) from orders o "
        "left join fills f on f.client_order_id = o.client_order_id group by o.client_order_id"
    )
    worst, neutral, best = bracket(tmp_path, make_market(), query, overrides).values()
    assert len(worst) > 500
    filled = [0, 0, 0]
    for one, two, three in zip(worst, neutral, best, strict=True):
        assert one[:2] == two[:2] == three[:2]
        assert Decimal(one[2]) <= Decimal(two[2]) <= Decimal(three[2])
        for late, soon in ((one, two), (two, three)):
            assert late[3] is None or soon[2] != late[2] or soon[3] <= late[3]
        filled = [count + (Decimal(each[2]) > 0) for count, each in zip(filled, (one, two, three), strict=True)]
    assert filled[0] > 0
    if make_market in (sol_bars, ltc_trades):  # the others' ticks are so fine that what is touched is gone through
        assert filled[0] < filled[2]


@pytest.mark.parametrize(
    ("strategy", "params"),
    [
        ("sma_cross", {"fast": "3", "slow": "10"}),
        (f"{STRATEGIES}:Stopper", {"scale": "1h"}),
        (f"{STRATEGIES}:StopEntry", {"scale": "1h"}),
    ],
)
def test_a_whole_run_usually_lies_between(strategy: str, params: dict[str, str], tmp_path: Path) -> None:
    """Not a law, and measured: of many trades alike the costs decide, and they are in the order of the presets."""
    overrides = [f"strategy.name={strategy}", *(f"strategy.params.{key}={value}" for key, value in params.items())]
    query = "select equity from equity order by seq desc limit 1"
    worst, neutral, best = (Decimal(found[0][0]) for found in bracket(tmp_path, None, query, overrides).values())
    assert worst < neutral < best


def test_better_fills_may_end_worse(tmp_path: Path) -> None:
    """Why it is no law: bids that fill at a touch alone were, that day, bids before a fall."""
    overrides = [f"strategy.name={STRATEGIES}:Rester", "strategy.params.scale=1m"]
    query = "select count(*), (select equity from equity order by seq desc limit 1) from fills"
    worst, _, best = (found[0] for found in bracket(tmp_path, ltc_trades(), query, overrides).values())
    assert best[0] > worst[0]
    assert Decimal(best[1]) < Decimal(worst[1])
