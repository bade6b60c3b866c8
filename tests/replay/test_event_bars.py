"""Strategies on bars that the market closes: told of each in order, under the same three laws."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bot.actors.strategy_host import StrategyHost
from bot.core.bars import BarAggregator
from bot.core.calendar import NEVER
from bot.domain.errors import ConfigError
from bot.domain.market import TradeBatch
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar
from strategies.registry import make_strategy
from tests.support.bars_reference import ReferenceTrade
from tests.support.batches import INSTRUMENT, cut, trades_of
from tests.support.event_batches import event_bars
from tests.support.replays import NO_DELAYS, file_market, rows, run, settings_with, small_market, write_trades

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = 1_700_000_040 * SECOND

# Averages that cross often, on bars of a few trades: some bars of the sample end in one and the same millisecond.
BUSY = ("strategy.name=sma_cross", "strategy.params.fast=2", "strategy.params.slow=5", "strategy.params.qty=0.01")


# --- what a strategy is told ------------------------------------------------------------------------------------------


class Listener(Strategy[StrategyParams]):
    """Writes down what it is told, and what it could look back on at that moment."""

    name = "listener"

    def __init__(self, scales_ns: tuple[int, ...], event_rules: tuple[str, ...]) -> None:
        super().__init__(StrategyParams())
        self._scales = scales_ns, event_rules
        self.told: list[tuple[Any, ...]] = []

    @property
    def scales_ns(self) -> tuple[int, ...]:
        return self._scales[0]

    @property
    def event_rules(self) -> tuple[str, ...]:
        return self._scales[1]

    def on_bar(self, bar: Bar) -> None:
        past = self.bars(bar.instrument, bar.scale, 500)
        assert (past.instrument.name, past.close_ns[-1]) == (bar.instrument, bar.close_ns)
        assert past.volume_steps[-1] == round(bar.volume * 1_000)
        self.told.append((self.now_ns(), bar.scale, bar.open_ns, bar.close_ns, bar.close, bar.volume, len(past)))


def market() -> TradeBatch:
    """Return trades of which many come at one and the same ns, so that several bars end there."""
    generator = np.random.default_rng(2)
    ts_ns = START + np.sort(generator.integers(0, 60, 600)) * SECOND
    ticks, steps, sides = generator.integers(90, 110, 600), generator.integers(1, 9, 600), generator.integers(0, 2, 600)
    return trades_of(
        [
            ReferenceTrade(ts_ns=ts, price=price, qty=qty, is_buy=bool(side))
            for ts, price, qty, side in zip(ts_ns.tolist(), ticks.tolist(), steps.tolist(), sides.tolist(), strict=True)
        ]
    )


def listen(batch: TradeBatch, scales_ns: tuple[int, ...], rules: tuple[str, ...], places: Sequence[int]) -> Listener:
    """Return a strategy that has walked a market in slabs cut at these rows."""
    strategy = Listener(scales_ns, rules)
    host = StrategyHost(strategy, [INSTRUMENT])
    bars = BarAggregator(
        INSTRUMENT, scales_ns=scales_ns or (MINUTE,), lateness_ns=0, gap_max_ns=MINUTE, event_rules=rules
    )
    read_ns = 0  # a slab is read once the clock has reached the first row of the one before
    for part in cut(batch, places):
        slab = bars.on_trades(part)
        host.slab(slab, now_ns=read_ns)
        read_ns = int(part.ts_ns[0])
        host.next_key()
        host.walk((slab.watermark_ns, 0, 0, 0))  # at the watermark itself more may follow
    host.next_key()
    assert host.walk(NEVER) == ([], strategy.told[-1][0])
    return strategy


@pytest.mark.parametrize("scales_ns", [(), (10 * SECOND,)])
@pytest.mark.parametrize("places", [(), (1, 2, 3), range(1, 600), range(50, 600, 50)])
def test_on_bar_is_told_every_bar_once_and_sees_none_after_it(
    scales_ns: tuple[int, ...], places: Sequence[int]
) -> None:
    """In order of the time known, time bars first; of bars known at one time, each sees those before it alone."""
    batch = market()
    rules = ("tick:3", "volume:0.02")
    listener = listen(batch, scales_ns, rules, places)
    for rule in rules:
        want = event_bars(batch, rule)
        told = [entry for entry in listener.told if entry[1] == rule]
        assert [entry[0] for entry in told] == want.known_ns.tolist()
        assert [entry[2] for entry in told] == want.open_ns.tolist()
        assert [entry[4] for entry in told] == want.closes.tolist()
        assert [entry[6] for entry in told] == list(range(1, len(want) + 1))
        assert len(set(want.known_ns.tolist())) < len(want) - 20  # many are known at one time
    order = [(entry[0], [*scales_ns, *rules].index(entry[1])) for entry in listener.told]
    assert order == sorted(order)
    assert {entry[1] for entry in listener.told} == {*scales_ns, *rules}


def test_a_rule_may_be_spelt_in_any_way_but_is_known_by_one() -> None:
    """What the strategy declares is brought to the one text; what is asked for by another is refused by name."""
    listener = listen(market(), (), ("volume:0.050",), ())
    assert {entry[1] for entry in listener.told} == {"volume:0.05"}
    with pytest.raises(LookupError, match=r"tick:9 is not among what the strategy declares: volume:0\.05"):
        listener.bars("XUSDT", "tick:9", 1)


def test_a_strategy_that_declares_rules_alone_is_told_of_no_time_bars() -> None:
    """The default of one minute is for strategies that ask for nothing."""

    class Rules(Strategy[StrategyParams]):
        event_rules = ("tick:7",)

    assert Rules(StrategyParams()).scales_ns == ()
    assert Strategy(StrategyParams()).scales_ns == (MINUTE,)


def test_an_impossible_rule_of_a_strategy_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"listener, event_rules: 'tack:1' is not a rule"):
        StrategyHost(Listener((), ("tack:1",)), [INSTRUMENT])


# --- the laws ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small market for all tests of this file."""
    return tmp_path_factory.mktemp("market")


@pytest.mark.parametrize("rule", ["tick:2", "volume:1.5", "dollar_run:50000,span=5"])
@pytest.mark.parametrize("delays", [(), NO_DELAYS])
def test_slab_size_changes_nothing(cache: Path, tmp_path: Path, rule: str, delays: Sequence[str]) -> None:
    """Slabs of 1, 97 and 10,000 rows lead to one ledger, whose decisions were called by event bars."""
    hashes = set()
    for slab_rows in (1, 97, 10_000):
        overrides = [*small_market(cache, days=2, trades_per_day=1_500), *BUSY, *delays, f"run.slab_rows={slab_rows}"]
        done = run(settings_with(tmp_path, [*overrides, f"strategy.params.scale={rule}"]))
        hashes.add(done.ledger_hash)
        assert rows(done, "select count(*) from fills")[0][0] > 5
        assert rows(done, "select distinct trigger from decisions") == [(f"bar:{rule}",)]
    assert len(hashes) == 1


def test_the_future_changes_nothing_past(cache: Path, tmp_path: Path) -> None:
    """A replay of the first day leaves the very entries that a replay of both days leaves of its first day."""
    overrides = [*small_market(cache), *BUSY, "strategy.params.scale=volume:5"]
    short = run(settings_with(tmp_path / "short", [*overrides, "run.end=2024-01-01T20:00:00Z"]))
    whole = run(settings_with(tmp_path / "whole", overrides))
    until_ns = rows(short, "select max(ts_ns) from journal where kind = 'FillBooked'")[0][0]
    query = f"select body, hash from journal where ts_ns <= {until_ns} and kind not like 'EquityMarked' order by seq"
    assert len(rows(short, query)) > 10
    assert rows(short, query) == rows(whole, query)


def test_a_decision_on_an_event_bar_saw_that_bar(cache: Path, tmp_path: Path) -> None:
    """Each decision is at the time its bar was known, lateness included, and names its end and its closing price."""
    overrides = [*small_market(cache), *BUSY, "strategy.params.scale=tick:40", "bars.lateness=3s"]
    done = run(settings_with(tmp_path, overrides))
    told = rows(done, "select ts_ns, bar_close_ns, close_price from decisions order by decision_id")
    assert len(told) > 20
    assert {ts_ns - close_ns for ts_ns, close_ns, _ in told} == {3 * SECOND}


def test_event_bars_nobody_trades_on_change_no_result(cache: Path, tmp_path: Path) -> None:
    """Asking for them costs time alone."""
    overrides = [*small_market(cache), *BUSY]
    without = run(settings_with(tmp_path / "without", overrides))
    beside = run(settings_with(tmp_path / "with", [*overrides, 'bars.events=["volume:1", "tick_imbalance:20"]']))
    assert without.ledger_hash == beside.ledger_hash


# --- settings ---------------------------------------------------------------------------------------------------------


def test_a_source_of_bars_refuses_event_bars_in_one_line(tmp_path: Path) -> None:
    """Asked for in the settings or by the strategy, it says what is missing and what to do."""
    ts_ms = 1_700_000_040_000 + 60_000 * np.arange(50)
    path = tmp_path / "bars.parquet"
    _write_bars(path, ts_ms)
    for overrides in (['bars.events=["volume:100"]'], ["strategy.params.scale=volume:100"]):
        with pytest.raises(ConfigError, match=r"bars\.events.*made of trades.*BTCUSDT has 1m bars; give it a source"):
            run(settings_with(tmp_path, ["strategy.name=sma_cross", *overrides], file_market(path, "bars")))


def _write_bars(path: Path, ts_ms: Any) -> None:
    prices = dict.fromkeys(("open", "high", "low", "close"), 100.0)
    pd.DataFrame({"ts": ts_ms, **prices, "volume": 1.0}).to_parquet(path, index=False)


def test_a_rule_in_the_settings_is_checked_and_kept_in_its_one_spelling(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, ['bars.events=["volume:100.0", "tick_run:3,span=20"]'])
    assert settings.bars.events == ("volume:100", "tick_run:3")
    assert 'events = ["volume:100", "tick_run:3"]' in settings.to_toml()
    with pytest.raises(ConfigError, match=r"bars\.events.*'vol:5' is not a rule; write"):
        settings_with(tmp_path, ['bars.events=["vol:5"]'])
    with pytest.raises(ConfigError, match=r"bars\.events.*5 is not a rule"):
        settings_with(tmp_path, ["bars.events=[5]"])


def test_a_strategys_scale_is_a_length_or_a_rule() -> None:
    """Either reaches the parameters as what it is, and is written down as what it was."""
    for text, scale in (("5m", 5 * MINUTE), ("volume:100", "volume:100")):
        params = make_strategy("sma_cross", {"scale": text}).params
        assert params.scale == scale
        assert f'"scale":"{text}"' in params.model_dump_json()
    for wrong, words in (("volume:", "number above 0"), ("5", "is not a duration"), (5, "has no unit")):
        with pytest.raises(ConfigError, match=rf"strategy\.params\.scale: .*{words}"):
            make_strategy("sma_cross", {"scale": wrong})


def test_a_threshold_no_instrument_reaches_is_refused_before_anything_runs(tmp_path: Path) -> None:
    path = write_trades(tmp_path / "t.parquet", [1_700_000_040_000], [100.0], [0.001], [1])
    overrides = ["strategy.name=sma_cross", 'bars.events=["volume:99999999999999999999"]']
    settings = settings_with(tmp_path, overrides, file_market(path, "trades"))
    with pytest.raises(ConfigError, match=r"volume:99999999999999999999: BTCUSDT never trades so much"):
        run(settings)
