"""The alert rules and the Grafana board against what the bot really exposes.

Prometheus and promtool are not needed: the rules are read by a reader of the YAML they are written in, and evaluated
at one moment by an evaluator of the PromQL they use. `for:` and ranges of time are beyond it.
"""

import json
import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from bot.domain.operation import Counter, LatchView, Phase, Snapshot
from bot.operator.metrics import Gauge, Metrics
from tests.support.metrics_text import asked_by_board, asked_by_rules, documented
from tests.support.operated import SECOND, make_snapshot

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
Series = dict[tuple[tuple[str, str], ...], float]
GPU = Gauge(name="gpu_memory_bytes", help="Used.", value=1e9)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
_SELECTOR = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+=~?"[^"]*",?)*)\})?')


def rules() -> list[dict[str, str]]:
    """Return the rules: every line is a list item or a key of the depth that its place asks for."""
    lines = (DEPLOY / "prometheus" / "alerts.yml").read_text().splitlines()
    assert lines[1:4] == ["groups:", "  - name: bot", "    rules:"]
    found: list[dict[str, str]] = []
    for line in lines[4:]:
        match = re.fullmatch(r"( {6}- | {8}| {10})([a-z_]+):(?: ('(?:[^']|'')*'|[A-Za-z0-9]+))?", line)
        assert match is not None, line
        if match[1].endswith("- "):
            found.append({})
        if match[3]:
            found[-1][match[2]] = match[3].strip("'").replace("''", "'")
    return found


def exposed(view: Snapshot) -> dict[str, Series]:
    text = Metrics(view, [GPU]).text().decode()
    found: dict[str, Series] = {"up": {(("job", "bot"),): 1.0}}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            found.setdefault(each.name, {})[tuple(sorted(each.labels.items()))] = each.value
    return found


def term(text: str, series: dict[str, Series]) -> Series | float:
    """Return what a number, a selector, its product or difference with a number, or its increase is."""
    text = text.strip()
    if re.fullmatch(r"-?[\d.]+", text):
        return float(text)
    for sign, function in ((" * ", operator.mul), (" - ", operator.sub)):
        left, found, right = text.partition(sign)
        if found:
            one, other = term(left, series), term(right, series)
            if isinstance(one, float):
                assert not isinstance(other, float)
                return {key: function(one, value) for key, value in other.items()}
            assert isinstance(other, float)
            return {key: function(value, other) for key, value in one.items()}
    grown = re.fullmatch(r"increase\((.*)\[\d+m\]\)", text)
    match = _SELECTOR.fullmatch(grown[1] if grown else text)  # since a start at zero, the increase is the value
    assert match is not None, text
    wanted = re.findall(r'([a-z]+)(=~?)"([^"]*)"', match[2] or "")

    def is_meant(labels: dict[str, str]) -> bool:
        return all(
            re.fullmatch(value if sign == "=~" else re.escape(value), labels.get(name, ""))
            for name, sign, value in wanted
        )

    return {key: value for key, value in series.get(match[1], {}).items() if is_meant(dict(key))}


def firing(view: Snapshot, series: dict[str, Series] | None = None) -> set[str]:
    series = exposed(view) if series is None else series
    found = set()
    for rule in rules():
        match = re.fullmatch(r"(.+?) (==|>|<) (.+)", rule["expr"])
        assert match is not None, rule
        left, right = term(match[1], series), term(match[3], series)
        assert not isinstance(left, float)
        for key, value in left.items():
            limit = right if isinstance(right, float) else right.get(key)
            if limit is not None and _COMPARE[match[2]](value, limit):
                found.add(rule["alert"])
    return found


def well() -> Snapshot:
    orders = tuple(replace(each, is_in_doubt=False) for each in make_snapshot().orders)
    return make_snapshot(orders=orders, latches=())


def changed(name: str, index: int = 0, **changes: Any) -> Snapshot:
    view = well()
    items = list(getattr(view, name))
    items[index] = replace(items[index], **changes)
    return replace(view, **{name: tuple(items)})


ILL: list[tuple[str, Snapshot]] = [
    ("BotNotReady", replace(well(), phase=Phase.DEGRADED)),
    ("BotKilled", replace(well(), is_killed=True)),
    ("TradingHalted", replace(well(), latches=(LatchView(scope="account", cause="x", state="halted", detail=""),))),
    ("ActorEnded", changed("actors", is_alive=False)),
    ("DataStale", changed("data", age_ns=11 * SECOND)),
    ("DataUntrusted", changed("data", is_trusted=False)),
    ("OrderInDoubt", changed("orders", is_in_doubt=True)),  # sent 95 s ago
    ("NotReconciled", replace(well(), last_reconciled_ns=well().now_ns - 301 * SECOND)),
    ("QueueFilling", changed("actors", queued=40_000)),
    ("LoopLags", changed("latencies", 2, p99_ns=SECOND)),
    ("BarsLate", changed("latencies", 3, p99_ns=11 * SECOND)),
    ("OrdersSlow", changed("latencies", p99_ns=3 * SECOND)),
    ("Drawdown", replace(well(), equity_peak=well().equity * 2)),  # type: ignore[operator]
    ("DayLoss", replace(well(), equity_day_start=well().equity * 2)),  # type: ignore[operator]
    ("ForecastOld", changed("forecasts", bar_close_ns=well().now_ns - 3_601 * SECOND)),
    ("ForecastMiscalibrated", changed("forecasts", coverage=(0.6, 0.9))),
    ("Reconnecting", replace(well(), counters=(Counter(name="reconnects_total", labels=(), value=11),))),
]


def test_a_healthy_bot_alerts_nobody() -> None:
    assert firing(well()) == set()


@pytest.mark.parametrize(("alert", "view"), ILL, ids=[name for name, _ in ILL])
def test_what_is_wrong_fires_its_alert_and_no_other(alert: str, view: Snapshot) -> None:
    assert firing(view) == {alert}


def test_every_rule_is_tried_and_says_what_to_do() -> None:
    known = rules()
    assert firing(well(), exposed(well()) | {"up": {(("job", "bot"),): 0.0}}) == {"BotGone"}
    assert {each["alert"] for each in known} == {name for name, _ in ILL} | {"BotGone"}
    for each in known:
        assert each["severity"] in ("warning", "error", "critical")
        assert each["what_to_do"]
        assert re.fullmatch(r"\d+[smh]", each["for"])
    tested = (DEPLOY / "prometheus" / "alerts_test.yml").read_text()
    assert set(re.findall(r"alertname: (\w+)", tested)) <= {each["alert"] for each in known}


def test_the_board_asks_for_nothing_that_is_not_documented() -> None:
    """What is documented is what a run exposes: tests/integration/test_trading_surfaces.py compares the two."""
    asked = asked_by_board()
    assert len(asked) > 25
    assert asked <= documented()
    assert asked_by_rules() - {"up"} <= documented()
    board = json.loads((DEPLOY / "grafana" / "bot.json").read_text(encoding="utf-8"))
    places = [(each["gridPos"]["x"], each["gridPos"]["y"]) for each in board["panels"]]
    assert len(set(places)) == len(places)
    assert len({each["id"] for each in board["panels"]}) == len(places)
