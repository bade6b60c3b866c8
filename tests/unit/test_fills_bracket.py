"""The bracket: what it concludes from three results, and what the page says of it and of a run without one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.app.runs import fill_model_of, keep_bracket, kept_bracket
from bot.domain.errors import DataError
from bot.report.bracket_page import ASSUMED
from bot.report.fills_bracket import bracket_metrics, judge, preset_figures
from bot.report.metrics import compute_metrics
from bot.report.run_data import PRESETS, PresetFigures, RunData
from tests.unit.test_report import busy_run, figures_of, page_of


def figures(total_return: float | None, **changes: Any) -> PresetFigures:
    """Return the figures of a run of one day that ends with this return."""
    end = 1000 * (1 + (total_return or 0))
    values: dict[str, Any] = {
        "run": "../20240101-000000-test-1",
        "ledger_hash": "abc",
        "total_return": total_return,
        "end_equity": end,
        "sharpe": 1.0,
        "max_drawdown": 0.1,
        "orders": 4,
        "fills": 4,
        "maker_share": 0.5,
        "fees": 1.5,
        "ts_ns": [1_704_067_200_000_000_000, 1_704_153_600_000_000_000],
        "equity": [1000.0, end],
    }
    return PresetFigures(**values | changes)


def bracket_of(*returns: float | None, **changes: Any) -> dict[str, PresetFigures]:
    return {preset: figures(value, **changes) for preset, value in zip(PRESETS, returns, strict=True)}


@pytest.mark.parametrize(
    ("returns", "is_sign_open", "is_ordered", "words"),
    [
        ((0.020, 0.0205, 0.021), False, True, "Hardly any"),
        ((0.018, 0.020, 0.022), False, True, "A part of the result"),
        ((0.010, 0.020, 0.030), False, True, "Much of the result"),
        ((-0.010, 0.020, 0.030), True, True, "earns or loses"),
        ((-0.030, -0.020, 0.001), True, True, "earns or loses"),
        ((-0.030, -0.0295, -0.029), False, True, "Hardly any"),
        ((0.03, 0.02, 0.025), False, False, "out of order"),
        ((0.0, 0.0, 0.01), False, True, "Much of the result"),
        ((-0.01, 0.0, 0.01), True, True, "earns or loses"),
        ((-0.01, -0.01, 0.0), False, True, "Much of the result"),
    ],
)
def test_what_three_returns_mean(
    returns: tuple[float, float, float], is_sign_open: bool, is_ordered: bool, words: str
) -> None:
    """The sign first, then the spread against the neutral result; out of order is said besides."""
    found = judge(bracket_of(*returns))
    assert (found.is_sign_open, found.is_ordered) == (is_sign_open, is_ordered)
    assert words in found.conclusion
    assert ("out of order" in found.conclusion) is not is_ordered
    assert found.spread == pytest.approx(max(returns) - min(returns))


def test_the_spread_is_told_against_the_result() -> None:
    assert "100" not in judge(bracket_of(0.02, 0.02, 0.02)).measure
    assert "20" in judge(bracket_of(0.018, 0.020, 0.022)).measure
    assert "3.0 times the neutral result" in judge(bracket_of(-0.02, 0.02, 0.04)).measure
    assert judge(bracket_of(0.0, 0.0, 0.01)).share is None


def test_nothing_filled_is_nothing_to_judge() -> None:
    assert "Nothing was filled" in judge(bracket_of(0.0, 0.0, 0.0, fills=0)).conclusion


def test_figures_of_a_run_are_its_metrics() -> None:
    """The curve begins and ends where the run does, and is light."""
    data = busy_run()
    metrics = compute_metrics(data)
    own = preset_figures(data, metrics, "../a")
    assert own.end_equity == own.equity[-1] == metrics["end_equity"]
    assert own.equity[0] == metrics["start_equity"]
    assert len(own.ts_ns) == len(own.equity) == len(set(own.ts_ns)) <= 600
    assert own.maker_share == pytest.approx(metrics["maker_share"])
    assert 0.4 < metrics["maker_share"] < 0.6  # every second fill of the busy run is a maker's


def test_metrics_hold_the_bracket_without_its_curves() -> None:
    assert bracket_metrics(None) is None
    found = bracket_metrics(bracket_of(-0.01, 0.02, 0.03))
    assert found is not None
    assert found["pessimistic"]["total_return"] == -0.01
    assert set(found["neutral"]) == {*PresetFigures.__struct_fields__} - {"ts_ns", "equity"}
    assert found["is_sign_open"]
    json.dumps(found, allow_nan=False)


def run_with(bracket: dict[str, PresetFigures] | None, fill_model: str | None = "neutral") -> RunData:
    return replace(busy_run(), fill_model=fill_model, bracket=bracket)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_single_run_says_what_it_assumed_and_how_to_get_the_bracket(preset: str) -> None:
    page, html = page_of(run_with(None, preset))
    assert f"fills are {preset}" in page.words
    assert ASSUMED[preset] in page.words
    assert "--bracket" in page.words
    assert "fills" not in figures_of(page)
    assert "banner" not in html.split('id="fills"')[1].split("</section>")[0]


def test_a_run_whose_settings_are_lost_says_so() -> None:
    page, _ = page_of(run_with(None, None))
    assert "is not known" in page.words
    assert "--bracket" in page.words


def test_a_live_run_has_nothing_to_bracket() -> None:
    page, _ = page_of(busy_run(run={"mode": "live"}))
    assert "a venue made them" in page.words
    assert "--bracket" not in page.words


def test_the_page_draws_the_bracket_and_links_the_other_runs() -> None:
    """One curve each, all figures in the table, the two other runs a click away; this one is not linked to itself."""
    bracket = bracket_of(0.018, 0.020, 0.022)
    bracket["optimistic"] = figures(0.022, run="../20240101-000000-test-3", orders=1234)
    page, _ = page_of(run_with(bracket))
    assert [trace["name"] for trace in figures_of(page)["fills"]["data"]] == ["Pessimistic", "Neutral", "Optimistic"]
    assert [link for link in page.links if not link.startswith("#")] == [
        "../20240101-000000-test-1/report.html",
        "../20240101-000000-test-3/report.html",
    ]
    assert "1,234" in page.words
    assert "Neutral, this run" in page.words
    assert "A part of the result" in page.words


def test_an_open_sign_stands_at_the_top_of_the_page() -> None:
    """Whoever reads the headline reads that it may be wrong."""
    page, html = page_of(run_with(bracket_of(-0.01, 0.02, 0.03)))
    top = html.split("<section")[0]
    assert "earns or loses" in top
    assert "earns or loses" in page.words.split("How much depends on fills")[-1]
    calm = page_of(run_with(bracket_of(0.01, 0.02, 0.03)))[1]
    assert 'role="alert"' not in calm.split("<section")[0]


def test_a_bracket_is_kept_and_read_again(tmp_path: Path) -> None:
    bracket = bracket_of(0.01, 0.02, 0.03)
    assert kept_bracket(tmp_path, "abc") is None
    keep_bracket(tmp_path, bracket)
    assert kept_bracket(tmp_path, "abc") == bracket


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"neutral": 1}',
        "{}",
        msgspec.json.encode(bracket_of(0, 0, 0, run="javascript:alert(1)")).decode(),
        msgspec.json.encode(bracket_of(0, 0, 0, run='../a" onclick="b')).decode(),
        msgspec.json.encode(bracket_of(0, 0, 0, ledger_hash="another")).decode(),
        msgspec.json.encode({"neutral": figures(0)}).decode(),
    ],
)
def test_a_bracket_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    """Damaged, of another run, or with a link that is not a run's directory: one line that says what to do."""
    (tmp_path / "bracket.json").write_text(text)
    with pytest.raises(DataError, match="delete it and replay with --bracket"):
        kept_bracket(tmp_path, "abc")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[venue]\nfills = "optimistic"', "optimistic"),
        ('[venue]\nfills = "lucky"', None),
        ("[venue]\nfills = []", None),
        ("venue = 3", None),
        ("[venue]", None),
        ("[venue", None),
        (None, None),
    ],
)
def test_the_fill_model_is_what_the_settings_beside_the_run_say(
    text: str | None, expected: str | None, tmp_path: Path
) -> None:
    """A run made before there were fill models, or whose settings are lost, has none that is known."""
    if text is not None:
        (tmp_path / "config.toml").write_text(text)
    assert fill_model_of(tmp_path) == expected
