"""Charts of an evaluation: whole SVG, drawn of the JSON alone, with every interval that is known."""

import json
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

from bot.report.evaluation_charts import coverage_chart, coverage_over_time, skill_chart
from models.evaluation.bootstrap import Sampling
from models.evaluation.results import compare, to_json
from tests.support.evaluations import normal_quantiles, set_of

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """Return a good model, a fair baseline and a hopeless one, as a results file has them."""
    generator = np.random.default_rng(3)
    deviation = np.exp(generator.normal(-5, 0.4, 400))
    y = generator.normal(0, 1, 400) * deviation
    realised = deviation**2 * np.exp(generator.normal(0, 0.5, 400))

    def said(name: str, wide: Any) -> Any:
        return set_of(y, normal_quantiles(0, wide), model=name, realised_variance_NH=realised)

    found = compare(
        [said("good & <best>", deviation)],
        [said("ewma", deviation * np.exp(generator.normal(0, 0.3, 400))), said("naive", np.full(400, 0.5))],
        sampling=Sampling(resamples=200),
    )
    made: dict[str, Any] = json.loads(to_json(found))
    return made


def texts(chart: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(chart).iter(f"{SVG}text")]


@pytest.mark.parametrize("loss", ["pinball", "qlike", "interval_score"])
def test_skill_is_drawn_with_its_interval(results: dict[str, Any], loss: str) -> None:
    """A dot and a whisker for each that is compared; a baseline that is far off would hide all others."""
    chart = skill_chart(results, loss=loss, baseline="ewma")
    said = texts(chart)
    assert "good & <best>" in said
    assert "naive ·" not in said
    root = ET.fromstring(chart)
    assert len(list(root.iter(f"{SVG}circle"))) == 1
    skill = results["models"][0]["horizons"][0]["against"]["ewma"][loss]["skill"]
    whisker = [line for line in root.iter(f"{SVG}line") if line.get("stroke-width") == "1.6"]
    assert len(whisker) == 1
    assert (float(whisker[0].get("x1", 0)) < float(whisker[0].get("x2", 0))) == (skill["low"] < skill["high"])
    assert whisker[0].get("stroke") == ("#1a7f5a" if skill["low"] > 0 else "#3e5c93")


def test_coverage_is_drawn_by_state_and_over_time(results: dict[str, Any]) -> None:
    said = texts(coverage_chart(results, nominal="0.9"))
    assert [each for each in said if each in ("calm", "usual", "wild")] == ["calm", "usual", "wild"]
    assert "ewma ·" not in said
    chart = coverage_over_time(results, model="good & <best>", nominal="0.9")
    lines = list(ET.fromstring(chart).iter(f"{SVG}polyline"))
    periods = results["models"][0]["horizons"][0]["periods"]
    assert len(lines) == 1
    assert len((lines[0].get("points") or "").split()) == len(periods)


def test_what_is_not_known_is_not_drawn(results: dict[str, Any]) -> None:
    """A figure without a value has no dot, one without an interval no whisker."""
    altered = json.loads(json.dumps(results))
    skill = altered["models"][0]["horizons"][0]["against"]["ewma"]["qlike"]["skill"]
    skill |= {"low": None, "high": None}
    ET.fromstring(skill_chart(altered, loss="qlike", baseline="ewma"))
    skill["value"] = None
    root = ET.fromstring(skill_chart(altered, loss="qlike", baseline="ewma"))
    assert not list(root.iter(f"{SVG}circle"))
