"""Sizes, exits and portfolios keep the laws: any slabs, one ledger; nothing from the future; books that balance."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.app.lookahead import check_replay
from bot.app.replay import Replayed
from bot.app.replay_market import open_market
from bot.app.runs import audit
from bot.runtime.settings import Settings, load
from tests.support.replays import rows, run, settings_with, small_market
from tests.support.several import several_markets
from tests.support.shared_data import shared_file

ROOT = Path(__file__).resolve().parents[2]

EAGER = ("predictor.trend_sharpe=1", "strategy.params.cost_bps=0", "strategy.params.kelly_fraction=1")
TIGHT = "{stop_loss=0.004, trailing_stop=0.006, break_even=0.004, take_profit=0.008, time_limit='6h', look='range'}"
WITH_EXITS = {
    "sma_cross": ["strategy.name=sma_cross", f"strategy.params.exits={TIGHT}"],
    "multiscale": [*EAGER, "strategy.params.band=0.05", f"strategy.params.exits={TIGHT}"],
}
PORTFOLIO = ("strategy.name=portfolio", "strategy.params.horizon=1h", "strategy.params.band=0.1")
KINDS = {
    "risk_parity": ["strategy.params.weighting=risk_parity"],
    "inverse_volatility": ["strategy.params.weighting=inverse_volatility"],
    "forecast": [
        "strategy.params.direction=forecast",
        "strategy.params.cost_bps=0",
        "predictor.trend_sharpe=1",
    ],
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small market of each sort for all tests of this file."""
    return tmp_path_factory.mktemp("market")


@pytest.fixture(scope="module")
def several(cache: Path) -> dict[str, Any]:
    """Three instruments."""
    return several_markets(cache)


def assert_one_ledger(make: Any, sizes: tuple[int, ...]) -> Replayed:
    """Return the last of the replays in slabs of these sizes; all leave the same ledger, and its books balance."""
    done = [run(make(f"run.slab_rows={size}")) for size in sizes]
    assert len({one.ledger_hash for one in done}) == 1
    assert not audit(done[-1].directory).problems
    return done[-1]


def exits_of(done: Replayed) -> list[str]:
    """Return the kinds of exit that struck."""
    reasons = [reason for (reason,) in rows(done, "select reason from decisions order by seq")]
    kinds = ("stop loss", "trailing stop", "break-even", "take profit", "time")
    return [kind for reason in reasons for kind in kinds if reason.startswith(f"{kind}:")]


# --- exits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_EXITS)
def test_slabs_change_no_exit(name: str, cache: Path, tmp_path: Path) -> None:
    """In slabs of a few rows, of some hours, of everything."""
    done = assert_one_ledger(
        lambda slabs: settings_with(tmp_path, [*small_market(cache, days=4), *WITH_EXITS[name], slabs]),
        (37, 2_500, 65_536),
    )
    assert len(set(exits_of(done))) >= 3


@pytest.mark.parametrize("name", WITH_EXITS)
def test_no_exit_knows_the_future(name: str, cache: Path, tmp_path: Path) -> None:
    settings = settings_with(tmp_path, [*small_market(cache, days=4), *WITH_EXITS[name]])
    done = check_replay(settings, open_market(settings), cuts=3)
    assert done.finding is None, str(done.finding)
    assert done.decisions > 10


def test_no_exit_is_the_strategy_as_it_was(cache: Path, tmp_path: Path) -> None:
    """An exit too far away to strike leaves the very ledger that none leaves."""
    market = small_market(cache, days=4)
    for strategy in (["strategy.name=sma_cross"], WITH_EXITS["multiscale"][:-1]):
        plain = run(settings_with(tmp_path, [*market, *strategy]))
        far = run(settings_with(tmp_path, [*market, *strategy, "strategy.params.exits={stop_loss=0.99}"]))
        assert plain.ledger_hash == far.ledger_hash
        assert rows(plain, "select count(*) from fills")[0][0] > 5


def test_a_stop_is_the_first_close_past_it_and_is_not_undone(cache: Path, tmp_path: Path) -> None:
    """Checked from the ledger: each stop's close is past the level, and the next entry waits for a new cross."""
    market = [*small_market(cache, days=6, trades_per_day=20_000), "strategy.name=sma_cross"]
    done = run(settings_with(tmp_path, [*market, "strategy.params.exits={stop_loss=0.003}"]))
    plain = run(settings_with(tmp_path, market))
    query = "select ts_ns, reason, close_price from decisions join orders using (decision_id) order by decisions.seq"
    crosses = {ts_ns for ts_ns, reason, _ in rows(plain, query) if reason == "fast average above slow"}
    bought = rows(done, "select price from fills where side = 'buy' order by seq")
    trades = rows(done, query)  # in turn an entry and what ended it
    stops = [n for n, (_, reason, _) in enumerate(trades) if reason.startswith("stop loss")]
    assert len(stops) > 2
    assert [ts_ns for ts_ns, *_ in trades[::2]] == sorted(crosses)
    for n in stops:
        entry, close = Decimal(bought[n // 2][0]), Decimal(trades[n][2])
        assert n % 2 == 1
        assert close <= entry * Decimal("0.997")
        assert trades[n][1] == f"stop loss: {close} against an entry of {entry}"


# --- portfolios -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_slabs_change_no_portfolio(kind: str, several: dict[str, Any], tmp_path: Path) -> None:
    """Three instruments of which one begins later; funding is paid on what is held."""
    done = assert_one_ledger(
        lambda slabs: settings_with(tmp_path, [*PORTFOLIO, *KINDS[kind], slabs], several), (23, 700, 65_536)
    )
    assert rows(done, "select count(distinct instrument) from fills") == [(3,)]
    assert rows(done, "select count(*) from fills")[0][0] > 10
    assert rows(done, "select count(*) from funding")[0][0] > 5
    assert rows(done, "select count(*) from denials") == [(0,)]


def test_no_portfolio_knows_the_future(several: dict[str, Any], tmp_path: Path) -> None:
    settings = settings_with(tmp_path, [*PORTFOLIO, *KINDS["forecast"]], several)
    done = check_replay(settings, open_market(settings), cuts=3)
    assert done.finding is None, str(done.finding)
    assert done.decisions > 10


def test_a_wider_band_trades_less(several: dict[str, Any], tmp_path: Path) -> None:
    counts = []
    for band in ("0", "0.1", "0.4"):
        overrides = [*PORTFOLIO, f"strategy.params.band={band}"]
        done = run(settings_with(tmp_path, overrides, several))
        counts.append(rows(done, "select count(*) from fills")[0][0])
    assert counts[0] > 2 * counts[1] > 2 * counts[2] >= 6


def test_the_shipped_portfolio_on_four_real_perpetuals(tmp_path: Path) -> None:
    """Two slab sizes over four days of the shipped configuration: minutes of 2025 and the funding really settled."""
    done = assert_one_ledger(lambda slabs: _bybit(tmp_path, slabs), (501, 65_536))
    assert rows(done, "select count(distinct instrument) from fills") == [(4,)]
    paid = rows(done, "select instrument, rate from funding where instrument = 'BTCUSDT'")
    assert len(paid) >= 9
    assert all(abs(float(rate)) < 0.001 for _, rate in paid)


def _bybit(out: Path, *overrides: str) -> Settings:
    """Return the settings that ship, with the files where they lie."""
    path = ROOT / "config" / "portfolio-bybit-2025.toml"
    settings = load(path, [f"run.out={out}", "run.start=2025-06-01", "run.end=2025-06-05", *overrides])
    plain = settings.model_dump(mode="json")
    for table in plain["market"]["instruments"]:
        for key in ("bars", "funding"):
            table[key] = str(shared_file(f"data/{Path(table[key]).name}"))
    return Settings(**plain)
