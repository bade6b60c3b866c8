"""Make the tables and pictures of docs/results.md of all batches of an evaluation.

    python -m benchmarks.results_table DIRECTORY [--pages docs/results.md] [--pictures docs/pictures/results]

DIRECTORY is what `benchmarks.results_models` filled: `done.json`, and `found`, `found2` ... with a `results.json` each.
A network is the mean over its seeds; in brackets how many seeds' intervals lie above zero. `--pages` puts the tables in
the place of those that stand under the same headings.
"""

import argparse
import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from bot.report.evaluation_charts import coverage_chart, coverage_over_time, skill_chart

HEADINGS = ("### 5 minutes", "### 1 hour", "### 4 hours")
DIRECTION = "## Direction"
_REGIMES = ("calm", "usual", "wild")
_NO_DIRECTION = ("naive", "base", "ewma", "har")  # forecast none, so there is nothing to tell
_NOT_SHOWN = ("last_sign",)
Groups = dict[str, list[Any]]


def main() -> None:
    """Print the tables, or put them where they belong; draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pages", type=Path, help="put the tables into this page")
    parser.add_argument("--pictures", type=Path, help="draw into this directory")
    told = parser.parse_args()
    done = json.loads((told.directory / "done.json").read_text())
    models, baselines = read_batches(told.directory)
    name_of = {made["model"]: name for name, made in done.items()}
    groups: Groups = defaultdict(list)
    for model in models:
        groups[name_of.get(model["model"], model["model"]).rpartition("-")[0] or model["model"]].append(model)
    ordered = {name: each for name, each in groups.items() if name not in baselines}
    ordered |= {name: each for name, each in groups.items() if name in baselines and name not in _NOT_SHOWN}
    tables = {heading: losses(ordered, number, baselines) for number, heading in enumerate(HEADINGS)}
    tables[DIRECTION] = directions(models, name_of, baselines)
    if told.pages is not None:
        text = told.pages.read_text(encoding="utf-8")
        for heading, table in tables.items():
            text = put(text, heading, table)
        told.pages.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write("\n".join(f"{heading}\n\n{table}" for heading, table in tables.items()))
    if told.pictures is not None:
        draw(ordered, baselines, told.pictures)


def read_batches(directory: Path) -> tuple[list[Any], list[str]]:
    """Return every model that was judged, batch after batch, and the baselines, as the first batch has them.

    Raises:
        SystemExit: there is none, or two batches are of different decisions.
    """
    paths = sorted(directory.glob("found*/results.json"), key=lambda path: (len(path.parent.name), path.parent.name))
    if not paths:
        raise SystemExit(f"{directory}: there is no found/results.json; run benchmarks.results_models --evaluate")
    models: list[Any] = []
    baselines: list[str] = []
    for path in paths:
        found = json.loads(path.read_text())
        baselines = baselines or found["baselines"]
        known = {model["model"] for model in models}
        models += [model for model in found["models"] if model["model"] not in known]
    spans = {(each["from_ns"], each["to_ns"], each["horizons"][0]["decisions"]) for each in models}
    if len(spans) > 1:
        raise SystemExit(f"{directory}: its batches are of different decisions {sorted(spans)}; they make no one table")
    return models, baselines


def losses(groups: Groups, number: int, baselines: list[str]) -> str:
    """Return the table of one horizon."""
    heading = ["", "pinball, bps", "over EWMA, %", "over HAR, %", "over LightGBM, %", "QLIKE", "over EWMA, %"]
    heading += ["over HAR, %", "score of 90 %, bps", "coverage, %", "calm / usual / wild"]
    rows = []
    for name, models in groups.items():
        scores = [model["horizons"][number] for model in models]
        seeds = f", {len(models)} seeds" if len(models) > 1 else ""
        rows.append(
            [
                name if name in baselines else f"**{name}**{seeds}",
                _mean(scores, "pinball", 1e4, 3),
                *(_skill(scores, reference, "pinball") for reference in ("ewma", "har", "lightgbm")),
                _mean(scores, "qlike", 1, 4),
                *(_skill(scores, reference, "qlike") for reference in ("ewma", "har")),
                _mean(scores, "interval_score_0.9", 1e4, 1),
                _mean(scores, "coverage_0.9", 100, 1),
                " / ".join(_mean([s["regimes"][r] for s in scores], "coverage_0.9", 100, 1) for r in _REGIMES),
            ]
        )
    return _table(heading, rows, ":")


def directions(models: list[Any], name_of: dict[str, str], baselines: list[str]) -> str:
    """Return the table of signs and ranks, a row for each seed."""
    heading = ["", "direction 5m", "1h", "4h", "RankIC 5m", "1h", "4h", "RMSE / naive 5m", "1h", "4h"]
    wanted = (("direction_accuracy", 100, 1), ("rank_ic", 1, 3), ("rmse_ratio", 1, 4))
    shown = [model for model in models if model["model"] not in (*_NO_DIRECTION, *_NOT_SHOWN)]
    shown.sort(key=lambda model: (model["model"] in baselines, name_of.get(model["model"], "")))
    rows = [
        [
            name_of.get(model["model"], model["model"]),
            *(
                _interval(each, metric, factor, digits)
                for metric, factor, digits in wanted
                for each in model["horizons"]
            ),
        ]
        for model in shown
    ]
    return _table(heading, rows, "")


def put(text: str, heading: str, table: str) -> str:
    """Return a page with a table in the place of the first one under a heading.

    Raises:
        SystemExit: there is no such place.
    """
    place = re.compile(rf"(^{re.escape(heading)}\n(?:(?!\||#).*\n)*)(?:\|.*\n)+", re.MULTILINE)
    made, count = place.subn(lambda found: found.group(1) + table, text)
    if count != 1:
        raise SystemExit(f"{heading}: {count} tables stand under that heading, and one was expected")
    return made


def draw(groups: Groups, baselines: list[str], out: Path) -> None:
    """Draw the pictures of each network's first seed."""
    results = {"models": [models[0] | {"model": name} for name, models in groups.items()], "baselines": baselines}
    out.mkdir(parents=True, exist_ok=True)
    for loss in ("pinball", "qlike"):
        (out / f"skill-{loss}.svg").write_text(skill_chart(results, loss=loss, baseline="ewma"))
    (out / "coverage.svg").write_text(coverage_chart(results, nominal="0.9"))
    (out / "coverage-over-time.svg").write_text(coverage_over_time(results, model="flagship", nominal="0.9"))


def _mean(scores: list[Any], metric: str, factor: float, digits: int) -> str:
    found = [(each.get("metrics") or each).get(metric) for each in scores]
    values = [each["value"] for each in found if each is not None and each["value"] is not None]
    return f"{factor * sum(values) / len(values):.{digits}f}" if values else ""


def _skill(scores: list[Any], reference: str, loss: str) -> str:
    """Return the mean skill in percent; of one seed bold where it is sure, of several how many are, and which way."""
    found = [each["against"][reference][loss]["skill"] for each in scores if loss in each["against"].get(reference, {})]
    if not found:
        return ""
    text = f"{100 * sum(each['value'] for each in found) / len(found):+.2f}"
    above, below = sum(each["low"] > 0 for each in found), sum(each["high"] < 0 for each in found)
    if len(found) == 1:
        return f"**{text}**" if above or below else text
    return f"{text} (-{below}/{len(found)})" if below and not above else f"{text} ({above}/{len(found)})"


def _interval(scores: Any, metric: str, factor: float, digits: int) -> str:
    found = scores["metrics"].get(metric)
    if found is None:
        return ""
    value, low, high = (f"{factor * found[each]:.{digits}f}" for each in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _table(heading: list[str], rows: list[list[str]], right: str) -> str:
    lines = [heading, ["---"] + [f"---{right}"] * (len(heading) - 1)]
    text = "".join("| " + " | ".join(row).lstrip() + " |\n" for row in (lines[0], *rows))
    first, _, rest = text.partition("\n")
    return f"{first}\n|{'|'.join(lines[1])}|\n{rest}"


if __name__ == "__main__":
    main()
