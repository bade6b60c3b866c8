"""Law 3 for strategies, through the very replay: who looks ahead is found and named, who does not is not accused."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bot.app import ewma, lookahead
from bot.app.held_market import HeldHistory, hold
from bot.app.lookahead import Checked, check_replay
from bot.app.outcomes import RunFailed
from bot.app.replay_market import open_market
from bot.core.lookahead import Cause
from bot.core.perturb import KINDS, Kind
from bot.core.tape import TradeTape
from bot.domain.errors import BotError, ConfigError, DataError
from bot.domain.market import EMPTY, BarBatch, ForecastBatch, TradeBatch, is_same
from models.systems.ewma_vol import EwmaVol
from tests.support import leaky_strategies
from tests.support.batches import INSTRUMENT, cut, join
from tests.support.leaky_strategies import HONEST, LEAKY
from tests.support.replays import file_market, settings_with, small_market
from tests.support.shared_data import shared_file
from tests.support.streams import generators, minute_bars, sample_funding, sample_trades

ROOT = Path(__file__).resolve().parents[2]
MODULE = leaky_strategies.__name__
BREAKOUT = [
    f"strategy.name={ROOT / 'docs' / 'examples' / 'breakout.py'}:Breakout",
    "strategy.params={scale='15m', entry=8, exit=4}",
]
EAGER = [
    "strategy.name=multiscale",
    "predictor.trend_sharpe=1",
    "strategy.params={horizon='1h', cost_bps=0, kelly_fraction=1, band=0.05}",
]
SHIPPED = {
    "sma_cross": ["strategy.name=sma_cross"],
    "buy_and_hold": ["strategy.name=buy_and_hold"],
    "multiscale": EAGER,
    "Breakout": BREAKOUT,
    "FastBreakout": [BREAKOUT[0].replace(":Breakout", ":FastBreakout"), BREAKOUT[1]],
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small market for all tests of this file."""
    return tmp_path_factory.mktemp("market")


def checked(cache: Path, overrides: list[str] | type, *, cuts: int = 4, market: Any = None, **how: Any) -> Checked:
    if isinstance(overrides, type):
        overrides = [f"strategy.name={MODULE}:{overrides.__name__}"]
    source = small_market(cache) if market is None else []
    settings = settings_with(cache / "runs", [*source, *overrides], market)
    return check_replay(settings, open_market(settings), cuts=cuts, **how)


# --- who looks ahead --------------------------------------------------------------------------------------------------

NAMED_BY_COLUMN = {"SlabPeek": "is_up", "SlabMean": "distance", "FormingDay": "rest_of_day", "EventPeek": "is_up"}


@pytest.mark.parametrize("strategy", [*LEAKY, leaky_strategies.EventPeek], ids=lambda cls: cls.__name__)
def test_a_strategy_that_looks_ahead_is_found(strategy: type, cache: Path) -> None:
    """By its column where it has one, else by the first decision that is not what it was."""
    done = checked(cache, strategy, cuts=8)
    finding = done.finding
    assert finding is not None
    assert finding.cause is Cause.FUTURE
    assert finding.cut_ns is not None
    assert finding.known_ns <= finding.cut_ns
    words = str(finding)
    assert "it knows what comes" in words
    if strategy.__name__ in NAMED_BY_COLUMN:
        assert f"column {NAMED_BY_COLUMN[strategy.__name__]}, row {finding.row}" in words
    else:
        assert (finding.table, finding.column) == ("journal", "DecisionMade")
        assert words.startswith("decision ")
        assert done.decisions > 10


@pytest.mark.parametrize("seed", range(2, 5))
def test_a_look_of_one_bar_is_found_whatever_is_drawn(seed: int, cache: Path) -> None:
    """Half the moments are those of decisions, and of two futures one contradicts what the decision knew."""
    finding = checked(cache, leaky_strategies.InsideTheBar, cuts=8, seed=seed).finding
    assert finding is not None
    assert finding.cause is Cause.FUTURE
    assert finding.kind in (Kind.SCALE_UP, Kind.SCALE_DOWN)


def test_a_forecaster_that_looks_ahead_is_found(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model may leak as well as a strategy: by a forecast that no decision has used yet, if need be."""

    class Ahead(EwmaVol):
        def predict(self, bars: Mapping[int, BarBatch]) -> ForecastBatch | None:
            made = super().predict(bars)
            if made is None:
                return None
            return replace(made, quantiles=np.concatenate([made.quantiles[1:], made.quantiles[-1:]]))

    monkeypatch.setattr(ewma, "EwmaVol", Ahead)
    finding = checked(cache, EAGER, cuts=6).finding
    assert finding is not None
    assert finding.cause is Cause.FUTURE
    assert "forecast" in str(finding)


def test_a_venue_that_looks_ahead_is_found(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fill at the price of a later trade."""
    take = TradeTape.take

    def later(self: TradeTape, row: int, at_ns: int) -> tuple[int, int] | None:
        first, second = take(self, row, at_ns), take(self, row + 300, at_ns)
        return None if first is None else (first[0], (second or first)[1])

    monkeypatch.setattr(TradeTape, "take", later)
    finding = checked(cache, ["strategy.name=sma_cross"], cuts=8).finding
    assert finding is not None
    assert finding.column == "FillBooked"
    assert "price" in str(finding)


# --- who does not -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_not_accused(name: str, cache: Path) -> None:
    done = checked(cache, SHIPPED[name])
    assert done.finding is None, str(done.finding)
    assert done.decisions > 0
    assert done.replays == 11
    assert (done.columns is None) == (name not in ("sma_cross", "FastBreakout"))


@pytest.mark.parametrize("strategy", [*HONEST, leaky_strategies.EventLookBack], ids=lambda cls: cls.__name__)
def test_an_honest_strategy_is_not_accused(strategy: type, cache: Path) -> None:
    """Resting orders, cancels, timers, state carried from batch to batch, bars that volume closes."""
    done = checked(cache, strategy)
    assert done.finding is None, str(done.finding)
    assert done.decisions > 3


def bars_file(path: Path, bars: BarBatch) -> Path:
    """Write bars as a source's file, without the empty ones: with holes."""
    kept = bars.flags & EMPTY == 0
    columns = {"ts": bars.open_ns // 1_000_000, "volume": bars.instrument.qtys(bars.volume_steps)}
    for name in ("open", "high", "low", "close"):
        columns[name] = bars.instrument.prices(getattr(bars, f"{name}_ticks"))
    pd.DataFrame({name: column[kept] for name, column in columns.items()}).to_parquet(path)
    return path


@pytest.mark.parametrize("name", ["Resting", "LookBack", "CarriedMean"])
def test_on_bars_with_holes_nobody_is_accused(name: str, cache: Path, tmp_path: Path) -> None:
    """Orders fill at the open of the bar they come in, which is not of the future; what a hole holds shows late."""
    trades = sample_trades(days=2, trades_per_day=3_000)
    market = file_market(bars_file(tmp_path / "bars.parquet", minute_bars(trades)), "bars")
    other = {**market["instruments"][0], "name": "ETHUSDT", "base": "ETH"}
    other["bars"] = str(bars_file(tmp_path / "other.parquet", minute_bars(sample_trades(seed=4, trades_per_day=3_000))))
    funding = sample_funding(trades)
    table = {"ts": funding.ts_ns // 1_000_000, "symbol": "ETHUSDT", "funding_rate": funding.rate_e8 / 1e8}
    pd.DataFrame(table).to_parquet(tmp_path / "funding.parquet")
    other["funding"] = str(tmp_path / "funding.parquet")
    market["instruments"] = (*market["instruments"], other)
    overrides = ["delays.order=20s", "delays.order_tail=30s", "risk.mark_age_max=2h"]
    done = checked(cache, [f"strategy.name={MODULE}:{name}", *overrides], market=market, cuts=8)
    assert done.finding is None, str(done.finding)
    assert done.decisions > 20
    assert done.rows < len(minute_bars(trades)) * 2


def test_real_minutes(cache: Path) -> None:
    """A strategy on a stretch of real bars with an outage in it."""
    market = file_market(shared_file("data/btcusd_bitfinex_spot_1m_2018.parquet"), "bars")
    market["instruments"][0]["off_grid"] = "round"
    limits = ["run.start=2018-03-20", "run.end=2018-03-22", "risk.mark_age_max=70m"]
    done = checked(cache, ["strategy.name=sma_cross", *limits], market=market, cuts=6)
    assert done.finding is None, str(done.finding)
    assert done.decisions > 20


@pytest.mark.soak
@pytest.mark.parametrize("strategy", [*LEAKY, *HONEST], ids=lambda cls: cls.__name__)
def test_whatever_is_drawn(strategy: type, cache: Path) -> None:
    """With other moments and other draws each leak is found, and nobody is accused."""
    for seed in range(10):
        finding = checked(cache, strategy, cuts=8, seed=seed).finding
        assert (finding is None) is (strategy in HONEST), f"seed {seed}: {finding}"
        assert finding is None or finding.cause is Cause.FUTURE, f"seed {seed}: {finding}"


# --- what is said beside it -------------------------------------------------------------------------------------------


def test_what_goes_by_chance_is_not_called_look_ahead(cache: Path) -> None:
    finding = checked(cache, leaky_strategies.ByChance).finding
    assert finding is not None
    assert finding.cause is Cause.CHANCE
    assert "nothing can be said of look-ahead" in str(finding)


def test_what_goes_by_the_clock_is_told_apart(cache: Path) -> None:
    """Nothing is found of a strategy whose decisions no market moves; that is said, for it may read a file."""
    assert any("reads a file" in caution for caution in checked(cache, leaky_strategies.ByTheClock).cautions)
    assert not checked(cache, leaky_strategies.LookBack).cautions


def test_few_decisions_are_said_to_be_few(cache: Path) -> None:
    cautions = checked(cache, SHIPPED["buy_and_hold"]).cautions
    assert any("no more than 1" in caution for caution in cautions)


def test_no_decision_proves_nothing(cache: Path) -> None:
    with pytest.raises(DataError, match=r"decides nothing from 2024-01-01.* choose a longer range"):
        checked(cache, leaky_strategies.Silent)


def test_a_strategy_that_fails_in_odd_markets_is_checked_in_the_others(cache: Path) -> None:
    """Some replays count for nothing, and that is said with the reason."""
    done = checked(cache, leaky_strategies.Fragile, cuts=6)
    assert done.finding is None, str(done.finding)
    assert any("replays of changed markets failed" in c and "what a price" in c for c in done.cautions)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Broken", "no idea.*`bot replay` with the same settings"),
        ("BrokenColumns", "quarters.columns failed: ValueError"),
        ("ShortColumns", "must return one value for each bar"),
        ("OtherColumns", "must return the same columns each time"),
    ],
)
def test_a_strategy_that_fails_is_said_to(name: str, words: str, cache: Path) -> None:
    with pytest.raises(RunFailed, match=words):
        checked(cache, [f"strategy.name={MODULE}:{name}"])


def test_scales_that_bars_cannot_make(cache: Path, tmp_path: Path) -> None:
    market = file_market(bars_file(tmp_path / "bars.parquet", minute_bars(sample_trades())), "bars")
    with pytest.raises(ConfigError, match="bars cannot be made of 1m bars"):
        checked(cache, ["strategy.name=sma_cross", "strategy.params.scale=90s"], market=market)


def test_nothing_is_left_behind(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run directory, and no temporary one, not even of a check that is interrupted."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    checked(cache, leaky_strategies.LookBack, cuts=1)
    assert not list(tmp_path.iterdir())

    told: list[str] = []

    def interrupt(done: float, at: str) -> None:
        told.append(at)
        if told.count("replay 2") == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checked(cache, [f"strategy.name={MODULE}:LookBack", "run.slab_rows=100"], on_progress=interrupt)
    assert not list(tmp_path.iterdir())
    assert not (cache / "runs").exists()


def test_progress_reaches_the_end_and_never_goes_back(cache: Path) -> None:
    told: list[float] = []
    slabs = ["strategy.name=sma_cross", "run.slab_rows=1_000"]
    checked(cache, slabs, cuts=2, on_progress=lambda done, at: told.append(done))
    assert told == sorted(told)
    assert told[0] < 0.2
    assert told[-1] == pytest.approx(1)


def test_the_same_seed_tries_the_same(cache: Path) -> None:
    one, again, other = (checked(cache, leaky_strategies.LookBack, seed=seed, cuts=2) for seed in (1, 1, 2))
    assert one == again
    assert one.cuts_ns != other.cuts_ns


# --- the market in memory ---------------------------------------------------------------------------------------------


def test_a_long_market_is_cut_off_unless_an_end_is_asked_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The beginning is tried, and that it is only the beginning is said."""
    monkeypatch.setattr(lookahead, "DAYS_MAX", 1)
    done = checked(cache, leaky_strategies.LookBack, cuts=1)
    assert done.is_limited
    assert done.to_ns <= done.from_ns + 86_400_000_000_000
    whole = checked(cache, [f"strategy.name={MODULE}:LookBack", "run.end=2024-01-02T20:00:00Z"], cuts=1)
    assert not whole.is_limited
    assert whole.rows > done.rows


def held(parts: list[TradeBatch]) -> HeldHistory:
    return HeldHistory(INSTRUMENT, parts, None, None)


@pytest.mark.parametrize("rows", [1, 7, 100, 10**9])
def test_parts_do_not_show_in_slabs(rows: int) -> None:
    """However the parts lie, slabs are full but for the last, and joined they are all rows."""
    trades = sample_trades(trades_per_day=500)
    history = held(cut(trades, [0, 3, 3, 250, 251]))
    slabs = list(history.slabs(rows))
    assert all(len(slab) == rows for slab in slabs[:-1])
    assert is_same(join(slabs), trades)
    assert history.span_ns() == (int(trades.ts_ns[0]), int(trades.ts_ns[-1]) + 1)
    assert is_same(history.whole(), trades)


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_history_has_the_same_past_and_a_short_future(kind: Kind) -> None:
    """Also of the funding; slabs cross the moment without a seam."""
    trades = sample_trades(trades_per_day=500)
    funding = sample_funding(trades)
    history = HeldHistory(INSTRUMENT, [trades], funding, None)
    after_ns = int(trades.ts_ns[400])
    changed = history.changed(after_ns, kind, generators(1), rows_max=300)
    slabs = list(changed.slabs(64))
    whole = join(slabs)
    keep = int((trades.ts_ns <= after_ns).sum())
    assert is_same(whole.rows(0, keep), trades.rows(0, keep))
    assert keep <= len(whole) <= keep + 300
    if kind is not Kind.TRUNCATE:
        assert len(slabs[keep // 64]) == 64
    settled = changed.funding()
    assert settled is not None
    past = int((funding.ts_ns <= after_ns).sum())
    assert is_same(settled.rows(0, past), funding.rows(0, past))


def test_limits() -> None:
    """By days, by rows, and all instruments up to the same moment."""
    trades, few = sample_trades(days=3, trades_per_day=2_000), sample_trades(days=3, trades_per_day=100, seed=5)
    market = [(INSTRUMENT, held([trades])), (INSTRUMENT, held([few]))]
    whole, limit_ns = hold(market)
    assert limit_ns is None
    assert is_same(whole[0][1].whole(), trades)
    days, limit_ns = hold(market, days_max=1)
    assert limit_ns is not None
    assert limit_ns == int(trades.ts_ns[0]) + 86_400_000_000_000
    for (_, history), rows in zip(days, (trades, few), strict=True):
        assert len(history.whole()) == (rows.ts_ns < limit_ns).sum()
    rows, limit_ns = hold([(INSTRUMENT, held([trades]))], rows_max=1_000)
    assert limit_ns == trades.ts_ns[-1]  # a slab is read whole
    with pytest.raises(BotError, match="no market data in the range"):
        hold([(INSTRUMENT, held([]))])
