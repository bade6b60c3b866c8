"""A replay by an artefact: the same ledger in any slabs, refused in one line, and marked where it saw the data."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bot.app.lookahead import check_replay
from bot.app.replay import Replayed
from bot.app.replay_market import open_market
from bot.domain.errors import BotError, ConfigError
from models import artifact_store
from tests.support.replays import rows, run, settings_with, small_market
from tests.support.served import POINT, SIGNAL, write_served
from tests.support.several import INSTRUMENTS, several_markets

DAY_NS = 86_400 * 10**9
FROM_NS = 1_704_067_200 * 10**9  # 2024-01-01
EAGER = ['strategy.params={horizon="1h", cost_bps=0, kelly_fraction=1, band=0.05}']


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small market, and artefacts, for all tests of this file."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def artefact(cache: Path) -> Path:
    return write_served(cache / "artifacts")


def replayed(cache: Path, path: Path, *overrides: str, market: dict[str, object] | None = None) -> Replayed:
    half_a_day = ["run.end=2024-01-01T14:00:00Z"] if market is None else []
    chosen = [*half_a_day, "predictor.kind=artifact", f"predictor.path={path}", *overrides]
    source = small_market(cache) if market is None else []
    return run(settings_with(cache / "runs", [*source, *chosen], market))


def test_slabs_change_nothing(cache: Path, artefact: Path) -> None:
    """Law 2 with a network in the loop, calibrated as it goes: slabs of 293 and of 65,536 rows, one ledger."""
    hashes = {replayed(cache, artefact, *EAGER, f"run.slab_rows={n}").ledger_hash for n in (293, 65_536)}
    assert len(hashes) == 1


def test_the_ledger_says_which_model_and_how_far_it_could_be_trusted(cache: Path, artefact: Path) -> None:
    done = replayed(cache, artefact, *EAGER)
    assert rows(done, "select model_id, in_sample from runs") == [(artefact.name, 0)]
    (body,) = rows(done, "select body from journal where kind = 'ForecastUsed' order by seq desc limit 1")[0]
    said = json.loads(body)
    assert said["model_id"] == artefact.name
    assert 0 <= said["answers"]["coverage:1h"] <= 1
    assert 0 <= said["answers"]["shrink:1h"] <= 1
    assert 0 < said["answers"]["up:1h"] < 1


@pytest.mark.parametrize(
    ("shown", "is_in"),
    [
        ((0, FROM_NS - DAY_NS), 0),
        ((0, FROM_NS + DAY_NS), 1),
        ((FROM_NS + 3 * DAY_NS, FROM_NS + 9 * DAY_NS), 0),
        ((FROM_NS + 2 * DAY_NS + 1_800 * 10**9, FROM_NS + 9 * DAY_NS), 1),  # what came of the last decisions was shown
    ],
)
def test_a_replay_of_what_the_model_was_shown_is_marked(
    shown: tuple[int, int], is_in: int, cache: Path, tmp_path: Path
) -> None:
    """In the run's row and in the ledger's last entry."""
    path = write_served(tmp_path, shown=shown)
    done = replayed(cache, path, "run.end=")
    assert rows(done, "select in_sample from runs") == [(is_in,)]
    last = json.loads(rows(done, "select body from journal order by seq desc limit 1")[0][0])
    assert last["in_sample"] is bool(is_in)


def test_the_model_in_use_is_taken_from_a_store(cache: Path, tmp_path: Path) -> None:
    path = write_served(tmp_path, seed=3)
    with pytest.raises(ConfigError, match="no model is in use"):
        replayed(cache, tmp_path)
    artifact_store.use(tmp_path, path.name)
    assert rows(replayed(cache, tmp_path), "select model_id from runs") == [(path.name,)]


def test_a_shadow_is_recorded_and_changes_nothing(cache: Path, artefact: Path, tmp_path: Path) -> None:
    """The same decisions and fills; its forecasts lie beside, and the ledger knows their hash."""
    shadow = write_served(tmp_path, "dlinear", seed=9)
    alone = replayed(cache, artefact, *EAGER)
    beside = replayed(cache, artefact, *EAGER, f"predictor.shadow={shadow}")
    query = "select body from journal where kind != 'RunClosed' order by seq"
    assert rows(alone, query) == rows(beside, query)
    last = json.loads(rows(beside, "select body from journal order by seq desc limit 1")[0][0])
    assert last["shadow_id"] == shadow.name
    assert (beside.directory / "shadow.parquet").is_file()
    assert not (alone.directory / "shadow.parquet").exists()


@pytest.mark.parametrize(
    ("system", "heads", "strategy", "params"),
    [
        ("flagship", None, "direction", "{cost_bps=0}"),
        ("dlinear", (SIGNAL,), "signal", "{least=0.34}"),
        ("longctx", None, "allocation", "{}"),
        ("trading", None, "regime", "{least=0.34}"),
        ("trading", None, "risk_budget", "{budget=0.002}"),
        ("trading", None, "risk_budget", "{budget=0.002, by='drawdown'}"),
        ("lstm", (POINT,), "multiscale", "{cost_bps=0, kelly_fraction=1, band=0.05}"),
    ],
)
def test_every_kind_of_answer_is_traded(
    system: str, heads: Sequence[object] | None, strategy: str, params: str, cache: Path, tmp_path: Path
) -> None:
    path = write_served(tmp_path, system, heads=heads)  # type: ignore[arg-type]
    done = replayed(
        cache, path, f"strategy.name={strategy}", f"strategy.params={params}", "run.end=2024-01-01T16:00:00Z"
    )
    assert rows(done, "select count(*) from fills")[0][0] > 2
    assert rows(done, "select count(*) from decisions where reason != ''")[0][0] > 2


def test_several_instruments_share_one_model(tmp_path: Path) -> None:
    names = tuple(name for name, *_ in INSTRUMENTS)
    path = write_served(tmp_path / "a", instruments=names)
    market = several_markets(tmp_path, minutes=1_200)
    done = replayed(tmp_path, path, *EAGER, market=market)
    used = rows(done, "select distinct instrument from forecasts order by 1")
    assert [each for (each,) in used] == sorted(names)


def refused(cache: Path, path: Path, *overrides: str) -> str:
    with pytest.raises(BotError) as error:
        replayed(cache, path, *overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_does_not_fit_is_refused_in_one_line(cache: Path, artefact: Path, tmp_path: Path) -> None:
    """By name: instrument, horizon, answer, funding interval, source, artefact."""
    strange = write_served(tmp_path, instruments=("BTCUSDT",))
    assert "was not trained on SAMPLEUSDT, only on BTCUSDT" in refused(cache, strange)
    assert "needs a forecast over 4h" in refused(cache, artefact, 'strategy.params={horizon="4h"}')
    silent = write_served(tmp_path, "dlinear", heads=(SIGNAL,))
    assert "forecasts no returns at all" in refused(cache, silent)
    told = refused(cache, artefact, "strategy.name=signal")
    assert "needs a model that says sell:1h, hold:1h, buy:1h" in told
    other = write_served(tmp_path, funding_interval="4h")
    assert "features.funding_interval" in refused(cache, other)
    assert "there is no artefact" in refused(cache, tmp_path / "nowhere")
    assert "not signed" in refused(cache, artefact, f'predictor.trusted=["{"0" * 64}"]').lower()
    weights = tmp_path / artefact.name / "weights.safetensors"
    weights.parent.mkdir()
    for each in artefact.iterdir():
        (weights.parent / each.name).write_bytes(each.read_bytes())
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert "weights.safetensors" in refused(cache, weights.parent)
    lacking = write_served(tmp_path, drop=("5m",), seed=8)
    assert "normaliser" in refused(cache, lacking)


def test_a_source_that_is_too_coarse_is_refused(tmp_path: Path) -> None:
    path = write_served(tmp_path / "a", instruments=("AAAUSDT", "BBBUSDT", "CCCUSDT"), bars=("1m", "5m", "15m"))
    market = several_markets(tmp_path, minutes=1_200)
    for each in market["instruments"]:
        each["bar_interval"] = "1m"
    coarse = write_served(tmp_path / "b", instruments=("AAAUSDT", "BBBUSDT", "CCCUSDT"), bars=("30s", "5m", "15m"))
    assert rows(replayed(tmp_path, path, market=market), "select count(*) from runs") == [(1,)]
    with pytest.raises(ConfigError, match="reads bars of 30s, which cannot be made of AAAUSDT's 1m bars"):
        replayed(tmp_path, coarse, market=market)


@pytest.mark.slow
@pytest.mark.parametrize(
    "system", ["flagship", *(pytest.param(each, marks=pytest.mark.soak) for each in ("longctx", "lstm"))]
)
def test_the_harness_finds_nothing_from_the_future(system: str, cache: Path, tmp_path: Path) -> None:
    """Law 3 through the very replay, for each way in which networks are asked."""
    path = write_served(tmp_path, system)
    overrides = [*small_market(cache), "predictor.kind=artifact", f"predictor.path={path}", *EAGER]
    settings = settings_with(tmp_path / "runs", [*overrides, "run.end=2024-01-01T16:00:00Z"])
    done = check_replay(settings, open_market(settings), cuts=2)
    assert done.finding is None, str(done.finding)
    assert done.decisions > 10
