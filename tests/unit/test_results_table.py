"""The tables of docs/results.md: several batches are one table, or none if they are of different decisions."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.results_table import directions, losses, put, read_batches


def _figure(value: float, wide: float = 0.1) -> dict[str, float]:
    return {"value": value, "low": value - wide, "high": value + wide}


def _model(name: str, skill: float, *, decisions: int = 9) -> dict[str, Any]:
    horizon = {
        "horizon_ns": 300_000_000_000,
        "decisions": decisions,
        "metrics": {"pinball": _figure(4e-4), "coverage_0.9": _figure(0.9), "direction_accuracy": _figure(0.51)},
        "regimes": {each: {"coverage_0.9": _figure(0.9)} for each in ("calm", "usual", "wild")},
        "against": {"ewma": {"pinball": {"skill": _figure(skill, 0.01)}}},
    }
    return {"model": name, "from_ns": 1, "to_ns": 2, "horizons": [horizon]}


def _write(directory: Path, batch: str, models: list[dict[str, Any]], baselines: list[str]) -> None:
    (directory / batch).mkdir()
    (directory / batch / "results.json").write_text(json.dumps({"models": models, "baselines": baselines}))


def test_batches_are_read_in_order_and_a_baseline_counts_once(tmp_path: Path) -> None:
    """Baselines are those of the first batch; later ones have some of them again."""
    _write(tmp_path, "found10", [_model("d", 0.0), _model("ewma", 0.0)], ["ewma"])
    _write(tmp_path, "found2", [_model("c", 0.0), _model("ewma", 0.0)], ["ewma"])
    _write(tmp_path, "found", [_model("a", 0.0), _model("b", 0.0), _model("ewma", 0.0)], ["ewma", "har"])
    models, baselines = read_batches(tmp_path)
    assert [each["model"] for each in models] == ["a", "b", "ewma", "c", "d"]
    assert baselines == ["ewma", "har"]


def test_batches_of_different_decisions_make_no_table(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="there is no found"):
        read_batches(tmp_path)
    _write(tmp_path, "found", [_model("a", 0.0)], [])
    _write(tmp_path, "found2", [_model("b", 0.0, decisions=8)], [])
    with pytest.raises(SystemExit, match="different decisions"):
        read_batches(tmp_path)


def test_a_network_is_the_mean_of_its_seeds_and_says_how_many_are_sure() -> None:
    sure, unsure, worse = _model("a", 0.02), _model("b", 0.004), _model("c", -0.05)
    table = losses({"net": [sure, unsure], "one": [sure], "bad": [worse, worse], "ewma": [unsure]}, 0, ["ewma"])
    assert "| **net**, 2 seeds | 4.000 | +1.20 (1/2) |" in table
    assert "| **one** | 4.000 | **+2.00** |" in table
    assert "| **bad**, 2 seeds | 4.000 | -5.00 (-2/2) |" in table
    assert "| ewma | 4.000 | +0.40 |" in table
    rows = directions([unsure, sure], {"a": "net-1", "b": "net-2"}, []).splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| net-1", "| net-2"]
    assert "51.0 [41.0, 61.0]" in rows[2]


def test_a_table_takes_the_place_of_the_one_under_its_heading() -> None:
    page = "# Page\n\n### One\n\nWords.\n\n| old |\n|---|\n| 1 |\n\nAfter.\n\n### Two\n\n| kept |\n"
    made = put(page, "### One", "| new |\n")
    assert made == "# Page\n\n### One\n\nWords.\n\n| new |\n\nAfter.\n\n### Two\n\n| kept |\n"
    with pytest.raises(SystemExit, match="0 tables"):
        put(page, "### Three", "| new |\n")
