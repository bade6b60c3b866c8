"""`bot replay --check-lookahead`: what it prints, what it leaves, and how it ends."""

import json
from pathlib import Path

import pytest

from tests.support.cli import Done, assert_refused, bot
from tests.support.replays import small_market

LEAKY = "tests.support.leaky_strategies:"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("market")


def check(cache: Path, cwd: Path, strategy: str, *arguments: str) -> Done:
    sets = [part for text in [*small_market(cache), f"strategy.name={strategy}"] for part in ("--set", text)]
    return bot("replay", "--check-lookahead", *sets, *arguments, cwd=cwd)


def test_a_clean_strategy_ends_with_0(cache: Path, tmp_path: Path) -> None:
    """It says what was tried, and leaves no run behind."""
    done = check(cache, tmp_path, "sma_cross", "--cuts", "2")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert list(lines) == ["strategy", "market", "columns", "replays", "result"]
    assert lines["result"] == "nothing from the future was found"
    assert lines["replays"].startswith("7: as it is, with other futures after 2 moments, in other slabs; ")
    assert not (tmp_path / "runs").exists()


def test_a_leak_ends_with_1_and_is_named(cache: Path, tmp_path: Path) -> None:
    done = check(cache, tmp_path, f"{LEAKY}SlabPeek", "--cuts", "4")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    verdict = done.stdout.splitlines()[-1]
    assert verdict.startswith("result    LOOK-AHEAD: SAMPLEUSDT 15m: column is_up, row ")
    assert "it knows what comes" in verdict


def test_other_dependences_have_other_names(cache: Path, tmp_path: Path) -> None:
    """And what weakens the result is said as a caution."""
    done = check(cache, tmp_path, f"{LEAKY}ByChance", "--cuts", "2")
    assert done.returncode == 1
    assert "result    NOT REPEATABLE: " in done.stdout
    done = check(cache, tmp_path, "buy_and_hold", "--cuts", "1")
    assert done.returncode == 0
    assert "caution   decisions to compare: no more than 1" in done.stdout


@pytest.mark.parametrize(("strategy", "code"), [("sma_cross", 0), (f"{LEAKY}BestRow", 1)])
def test_json(strategy: str, code: int, cache: Path, tmp_path: Path) -> None:
    """The same as one object."""
    done = check(cache, tmp_path, strategy, "--cuts", "3", "--json")
    assert done.returncode == code
    result = json.loads(done.stdout, parse_constant=pytest.fail)
    assert result["strategy"] == strategy
    assert result["from"] < result["cuts"][0] <= result["cuts"][-1] < result["to"]
    assert len(result["cuts"]) == 3
    assert result["decisions"] > 0
    if code:
        assert result["finding"]["cause"] == "future"
        assert result["words"].startswith("decision ")
    else:
        assert (result["finding"], result["words"]) == (None, None)
        assert result["columns"]["values"] > 0


def test_wrong_usage(cache: Path, tmp_path: Path) -> None:
    """One line, and no traceback."""
    assert_refused(bot("replay", "--cuts", "3", cwd=tmp_path), 2, "--cuts goes with --check-lookahead")
    assert_refused(check(cache, tmp_path, "sma_cross", "--cuts", "0"), 2, "--cuts")
    assert_refused(check(cache, tmp_path, f"{LEAKY}Silent"), 1, "decides nothing", "--from and --to")
    assert_refused(check(cache, tmp_path, f"{LEAKY}Broken"), 1, "no idea")
