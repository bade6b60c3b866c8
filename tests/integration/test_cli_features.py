"""`bot features` and `bot plot` as a user meets them."""

import json
from pathlib import Path

import pytest

from bot.core.features.catalogue import CATALOGUE
from bot.core.features.presets import PRESETS
from tests.support.cli import assert_refused, bot
from tests.support.replays import small_market

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options for a market of four small days."""
    market = small_market(tmp_path_factory.mktemp("market"), days=4)
    return [part for text in market for part in ("--set", text)]


def test_show_prints_the_schema(tmp_path: Path) -> None:
    """The hash is the same wherever it is printed, and another set has another."""
    text = bot("features", "show", cwd=tmp_path)
    assert text.returncode == 0, text.stderr
    assert "volatility_20" in text.stdout
    schema = json.loads(bot("features", "show", "--json", cwd=tmp_path).stdout)
    assert {spec["scale"] for spec in schema["features"]} == {"1m", "5m", "15m", "1h", "4h", "1d"}
    other = bot("features", "show", "--set", 'features.use=["multiscale"]', cwd=tmp_path).stdout
    assert other.splitlines()[0] != text.stdout.splitlines()[0]


def test_show_names_the_lengths_that_the_hash_holds(tmp_path: Path) -> None:
    """Another funding interval, or smaller bars beside those asked for, is another schema; nothing else is."""
    ask = ("--set", 'features.use=["log_return"]', "--set", 'features.scales=["1h"]')
    shown = {}
    for more in ("run.seed=9", 'bars.scales=["1m","1h"]', 'bars.scales=["5m","1h"]', 'features.funding_interval="4h"'):
        lines = bot("features", "show", *ask, "--set", more, cwd=tmp_path).stdout.splitlines()
        shown[more] = (lines[0], lines[2])
    first, same, coarser, often = shown.values()
    assert first == same
    assert first[1] == "settlements every 8h; smallest bars: 1m"
    assert coarser[1] == "settlements every 8h; smallest bars: 5m"
    assert often[1] == "settlements every 4h; smallest bars: 1m"
    assert len({first[0], coarser[0], often[0]}) == 3


def test_show_explains(tmp_path: Path) -> None:
    one = bot("features", "show", "rsi", cwd=tmp_path).stdout
    assert "Cutler" in one
    assert "rsi_wilder(" not in one
    everything = bot("features", "show", "--catalogue", cwd=tmp_path).stdout
    assert all(f"{name}(" in everything for name in CATALOGUE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("show", "nonsense"), ("nonsense", "log_return")),
        (("show", "--set", 'features.use=["rsy(14)"]'), ("rsy", "rsi")),
        (("show", "--set", 'features.use=["rsi(1.5)"]'), ("rsi", "whole number")),
        (("show", "--set", 'features.scales=["5x"]'), ("5x",)),
        (("show", "--set", "features.clips={nope=[0,1]}"), ("nope", "no such column")),
        (("check", "--set", 'features.use=["reference_beta"]'), ("features.reference",)),
    ],
)
def test_bad_wishes_are_one_line(
    options: tuple[str, ...], words: tuple[str, ...], sets: list[str], tmp_path: Path
) -> None:
    assert_refused(bot("features", *options, *sets, cwd=tmp_path), 2, *words)


def test_check_passes_on_the_sample(sets: list[str], tmp_path: Path) -> None:
    """The whole set, at four scales and on volume bars, from trades."""
    options = ["--set", 'bars.scales=["1m","5m","1h"]', "--set", 'bars.events=["volume:20"]']
    done = bot("features", "check", "--json", "--cuts", "2", "--rows", "6000", *options, *sets, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["findings"] == []
    assert result["values"] > 500_000
    assert result["scales"] == ["1m", "5m", "1h", "volume:20"]


def test_plot_draws_one_page(sets: list[str], tmp_path: Path) -> None:
    """Bars of any kind, features and labels; nothing half-written is left."""
    wanted = ["--feature", "rsi(14)", "--label", "return(1h)", "--label", "barrier(2, 2, 1d)"]
    for bars in ("15m", "volume:20"):
        done = bot("plot", "--bars", bars, *wanted, "--count", "200", *sets, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        page = (tmp_path / "plot.html").read_text(encoding="utf-8")
        assert all(f"{name}</h2>" in page for name in ("Price", "rsi_14", "return_1h", "barrier_return_1d"))
    assert [path.name for path in tmp_path.iterdir()] == ["plot.html"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--bars", "7x"), "7x"),
        (("--bars", "volume:none"), "volume"),
        (("--feature", "nonsense"), "nonsense"),
        (("--label", "profit(1h)"), "return(1h)"),
        (("--label", "return(soon)"), "soon"),
        (("--label", "barrier(2, 1d)"), "barrier"),
        (("--out", "not/there/plot.html"), "not/there"),
        (("--instrument", "NOPE"), "NOPE"),
    ],
)
def test_bad_plots_are_one_line(options: tuple[str, ...], word: str, sets: list[str], tmp_path: Path) -> None:
    assert_refused(bot("plot", *options, *sets, cwd=tmp_path), 2, word)


def test_the_document_names_every_set() -> None:
    text = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in PRESETS)
