"""Print the tables of docs/results.md: networks as the mean over their seeds, and how many seeds' intervals agree.

python -m benchmarks.results_table DIRECTORY/done.json DIRECTORY/found/results.json
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from bot.report.evaluation_charts import coverage_chart, coverage_over_time, skill_chart

REFERENCES = ("ewma", "har", "lightgbm")


def main() -> None:
    """Print a table for each horizon, models first."""
    done, results = (json.loads(Path(each).read_text()) for each in sys.argv[1:3])
    network_of = {made["model"]: name.rpartition("-")[0] for name, made in done.items()}
    groups: dict[str, list[Any]] = defaultdict(list)
    for model in results["models"]:
        groups[network_of.get(model["model"], model["model"])].append(model)
    for number, first in enumerate(results["models"][0]["horizons"]):
        print(f"### {first['horizon_ns'] // 60_000_000_000} minutes\n")
        _table(groups, number, results["baselines"])
    if len(sys.argv) > 3:
        _draw(groups, results["baselines"], Path(sys.argv[3]))


def _draw(groups: dict[str, list[Any]], baselines: list[str], out: Path) -> None:
    results = {"models": [models[0] | {"model": name} for name, models in groups.items()], "baselines": baselines}
    out.mkdir(parents=True, exist_ok=True)
    for loss in ("pinball", "qlike"):
        (out / f"skill-{loss}.svg").write_text(skill_chart(results, loss=loss, baseline="ewma"))
    (out / "coverage.svg").write_text(coverage_chart(results, nominal="0.9"))
    (out / "coverage-over-time.svg").write_text(coverage_over_time(results, model="flagship", nominal="0.9"))


def _table(groups: dict[str, list[Any]], number: int, baselines: list[str]) -> None:
    heading = ["", "Seeds", "Pinball, bps", *(f"over {name}" for name in REFERENCES), "QLIKE"]
    heading += [f"over {name}" for name in REFERENCES]
    heading += ["Score of 90 %, bps", "Coverage", "calm / usual / wild", "Direction", "IC", "RMSE / naive"]
    rows = []
    for name, models in groups.items():
        scores = [model["horizons"][number] for model in models]
        rows.append(
            [
                f"{name} (baseline)" if name in baselines else f"**{name}**",
                "" if name in baselines else str(len(models)),
                _mean(scores, "pinball", 1e4, 3),
                *(_skill(scores, reference, "pinball") for reference in REFERENCES),
                _mean(scores, "qlike", 1, 4),
                *(_skill(scores, reference, "qlike") for reference in REFERENCES),
                _mean(scores, "interval_score_0.9", 1e4, 1),
                _mean(scores, "coverage_0.9", 100, 1),
                " / ".join(_mean([s["regimes"][r] for s in scores], "coverage_0.9", 100, 1) for r in _REGIMES),
                _mean(scores, "direction_accuracy", 100, 1),
                _mean(scores, "ic", 1, 3),
                _mean(scores, "rmse_ratio", 1, 4),
            ]
        )
    print("| " + " | ".join(heading) + " |\n" + "| --- " * len(heading) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


_REGIMES = ("calm", "usual", "wild")


def _mean(scores: list[Any], metric: str, factor: float, digits: int) -> str:
    found = [(each.get("metrics") or each).get(metric) for each in scores]
    values = [each["value"] for each in found if each is not None and each["value"] is not None]
    return f"{factor * sum(values) / len(values):.{digits}f}" if values else ""


def _skill(scores: list[Any], reference: str, loss: str) -> str:
    """Return the mean skill in percent and, of how many seeds, the interval lies above 0 (+) or below (-)."""
    found = [each["against"][reference][loss]["skill"] for each in scores if loss in each["against"].get(reference, {})]
    if not found:
        return ""
    mean = 100 * sum(each["value"] for each in found) / len(found)
    above, below = sum(each["low"] > 0 for each in found), sum(each["high"] < 0 for each in found)
    sure = "".join(f" {sign}{count}/{len(found)}" for sign, count in (("+", above), ("-", below)) if count)
    return f"{mean:+.2f} %{sure}"


if __name__ == "__main__":
    main()
