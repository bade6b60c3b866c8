"""The trainings of docs/results.md: in their order, each once, gone on with where one was stopped; then judged."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import results_models

HALF_DONE = "a training of these settings is half done; add --resume to go on, or remove it"


class Bot:
    """Answers in place of the commands; `halves` are half done, `broken` cannot be trained."""

    def __init__(self, halves: Sequence[str] = (), broken: Sequence[str] = ()) -> None:
        self.halves, self.broken = set(halves), set(broken)
        self.asked: list[tuple[str, str]] = []

    def __call__(self, words: Sequence[str], log: Path, what: str, seconds: float | None) -> tuple[int, str, str]:
        name, is_resumed = log.stem, "--resume" in words
        self.asked.append((name, "resumed" if is_resumed else words[0]))
        if words[0] == "evaluate":
            found = Path(words[words.index("--out") + 1])
            found.mkdir()
            judged = [{"model": word} for word in words[1 : words.index("--config")]]
            (found / "results.json").write_text(json.dumps({"models": judged}))
            return 0, "", ""
        if name in self.broken:
            return 2, "", "no such file"
        if name in self.halves and not is_resumed:
            return 2, "", HALF_DONE
        return 0, json.dumps({"model": f"{name}-made", "path": "p", "seconds": 60.0}), ""


def run(monkeypatch: pytest.MonkeyPatch, bot: Bot, *words: str) -> object:
    """Return how the program leaves, None in order."""
    monkeypatch.setattr(results_models, "_bot", bot)
    monkeypatch.setattr(results_models.signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(sys, "argv", ["results_models", *words])
    try:
        results_models.main()
    except SystemExit as leave:
        return leave.code
    return None


def test_each_is_trained_once_and_judged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All networks before a second seed; what is half done is gone on with; later models are a batch of their own."""
    bot = Bot(halves=["lstm-1"])
    words = ("--out", str(tmp_path), "--only", "flagship", "lstm", "--evaluate", "--seeds")
    assert run(monkeypatch, bot, *words, "1") is None
    assert bot.asked == [("flagship-1", "train"), ("lstm-1", "train"), ("lstm-1", "resumed"), ("found", "evaluate")]
    bot.asked.clear()
    assert run(monkeypatch, bot, *words, "1", "2") is None
    assert bot.asked == [("flagship-2", "train"), ("lstm-2", "train"), ("found2", "evaluate")]
    judged = json.loads((tmp_path / "found2/results.json").read_text())["models"]
    assert [each["model"] for each in judged] == ["flagship-2-made", "lstm-2-made"]
    bot.asked.clear()
    assert run(monkeypatch, bot, *words, "1", "2") is None
    assert bot.asked == []


def test_nothing_is_judged_before_all_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be trained is named at the end, and the others are trained all the same."""
    bot = Bot(broken=["flagship-1"])
    left = run(monkeypatch, bot, "--out", str(tmp_path), "--only", "flagship", "lstm", "--evaluate", "--quick")
    assert left == "1 not trained: flagship-1; nothing is judged before all are"
    assert bot.asked == [("flagship-1", "train"), ("lstm-1", "train")]


def test_time_left_is_that_of_the_same_network() -> None:
    """Where it has none yet, the mean of all."""
    done: dict[str, dict[str, object]] = {"lstm-1": {"seconds": 600.0}, "flagship-1": {"seconds": 1200.0}}
    assert results_models._left(done, ["lstm-2", "dlinear-1"]) == "about 25 min of training left"
    assert "when one is done" in results_models._left({}, ["lstm-1"])
