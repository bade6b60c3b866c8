"""What the documents claim of the code is true of it."""

import re
from pathlib import Path

import pytest

from bot.core.risk import Denial
from bot.runtime.deadman_settings import load_deadman
from bot.runtime.settings import Settings, load
from bot.runtime.trade_settings import load_trade
from bot.runtime.train_settings import load_train
from strategies.registry import find_strategy
from tests.support.replays import rows, run, settings_with, small_market

ROOT = Path(__file__).resolve().parents[2]


def test_default_toml_is_the_defaults() -> None:
    """`config/default.toml` names every setting with the value it has anyway."""
    path = ROOT / "config" / "default.toml"
    assert load(path) == Settings()
    text = path.read_text(encoding="utf-8")
    for section, model in Settings.model_fields.items():
        for key in getattr(model.annotation, "model_fields", {}):
            assert re.search(rf"\b{key}\b", text), f"{section}.{key}"


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.toml")), ids=lambda path: path.name)
def test_every_config_loads(path: Path) -> None:
    """What ships is accepted, and asks for a strategy that there is; each kind of run has settings of its own."""
    kind = path.stem.partition("-")[0]
    if kind == "train":
        assert load_train(path).model.scales
    elif kind == "deadman":
        assert load_deadman(path)
    elif kind in ("paper", "live", "story"):
        assert find_strategy(load_trade(path).strategy.name)
    else:
        assert find_strategy(load(path).strategy.name)


def test_every_denial_is_documented() -> None:
    text = (ROOT / "docs" / "risk_codes.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([A-Z_]+)`", text, re.MULTILINE)) == {code.value for code in Denial}


def test_links_lead_somewhere() -> None:
    """Every relative link of every document is a file or a folder of the project."""
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


_NAMED = re.compile(
    r"`((?:bot|tests|config|docs|benchmarks|models|strategies|migrations|deploy)/[\w./*-]+)(?:::[^`]*)?`"
)


def test_paths_that_are_named_are_there() -> None:
    """Every file and folder of the project that a document names exists; a star stands for any name."""
    named = 0
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for path in _NAMED.findall(page.read_text(encoding="utf-8")):
            assert next(ROOT.glob(path.rstrip("/")), None) is not None, f"{page.name}: {path}"
            named += 1
    assert named > 100


@pytest.mark.parametrize("name", ["Breakout"])
def test_the_example_trades(name: str, tmp_path: Path) -> None:
    """The strategy that the tutorial builds runs and trades on the sample."""
    path = f"{ROOT / 'docs' / 'examples' / 'breakout.py'}:{name}"
    assert find_strategy(path).name
    done = run(settings_with(tmp_path, [*small_market(tmp_path, days=10), f"strategy.name={path}"]))
    assert rows(done, "select count(*) from fills")[0][0] > 0
