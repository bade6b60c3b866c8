"""The page: complete, escaped, offline, quick, and honest where there is nothing to show."""

import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from bot.report.metrics import compute_metrics
from bot.report.page import embedded_json, render
from bot.report.run_data import ForecastTable, RunData
from bot.report.tables import monthly_returns
from bot.report.thin import candles, extremes
from bot.report.view import look
from tests.unit.test_metrics import MINUTE_NS, START_NS, bars_of, decision, fill, paid, run_of

ATTACK = "<script>alert(1)</script>"
SECTIONS = "equity months price exposure forecasts trips costs fills trades denials identity reading"


class Page(HTMLParser):
    """What a browser would see of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.links: list[str] = []
        self.sections: list[str] = []
        self.policy = ""
        self.tags: list[str] = []
        self.words = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.links += [str(values[name]) for name in ("src", "href", "action", "data") if name in values]
        assert not [name for name in values if name.startswith("on")], "the policy forbids inline handlers"
        if tag == "script":
            self.scripts.append("")
        if tag == "section":
            self.sections.append(str(values["id"]))
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(values["content"])
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.words += data


def page_of(data: RunData) -> tuple[Page, str]:
    html = render(data, compute_metrics(data))
    return Page(html), html


def forecasts_of(tape: pd.DataFrame, *, every: int = 5) -> ForecastTable:
    """Return a forecast at every fifth bar, that nothing will change, give or take."""
    close_ns = tape["close_ns"].to_numpy()[::every]
    half = np.array([0.002, 0.008])[None, :, None] * np.array([-1.6, 0, 1.6])[None, None, :]
    return ForecastTable(
        instrument="BTCUSDT",
        model_id="m-1",
        scale_ns=every * MINUTE_NS,
        horizons_ns=(5 * MINUTE_NS, 60 * MINUTE_NS),
        levels=(0.05, 0.5, 0.95),
        scales_ns=(MINUTE_NS, 15 * MINUTE_NS),
        close_ns=close_ns,
        quantiles=np.repeat(half, len(close_ns), axis=0),
        importance=np.full((len(close_ns), 2), 0.5),
    )


def busy_run(*, minutes: int = 3000, reason: str = "broke out", **changes: Any) -> RunData:
    """Return a run with something for every section."""
    closes = 100 + np.round(2 * np.sin(np.arange(minutes) / 40) + np.arange(minutes) / 1000 % 3, 0) * 0.5
    fills = []
    for n, minute in enumerate(range(20, minutes - 60, max(minutes // 60, 60))):
        entry, leave = ("buy", "sell") if n % 3 else ("sell", "buy")
        fills.append(fill(minute, entry, "101", "1", "0.05", mark="100.5", decision_id=1))
        fills.append(fill(minute + 7 + n % 50, leave, "101.5", "1", "0.02", mark="101.5", is_maker=True, decision_id=2))
    fills.append(fill(minutes - 30, "buy", "101", "1", "0.05", mark="100.5", decision_id=1))
    funding = [paid(480, "1", "-0.01")]
    tape = bars_of(closes.tolist(), fills, funding)
    denial = {"decision_id": 1, "ts_ns": START_NS, "instrument": "BTCUSDT", "code": "MARK_STALE", "detail": reason}
    return run_of(
        tape,
        fills,
        funding=funding,
        decisions=[decision(1, reason), decision(2, reason)],
        denials=[denial],
        forecasts={"BTCUSDT": forecasts_of(tape)},
        **changes,
    )


def figures_of(page: Page) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(page.scripts[0])
    return figures


def test_the_page_has_every_section_and_loads_nothing() -> None:
    page, html = page_of(busy_run())
    assert page.sections == SECTIONS.split()
    assert all(link.startswith("#") for link in page.links), page.links
    assert not re.search(r"@import|url\(", html.split("</style>")[0])
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert html.count("plotly.js v") == 1
    assert len(html) < 8_000_000


def test_the_policy_lets_only_our_own_scripts_run() -> None:
    page, _ = page_of(busy_run())
    _, plotly, ours = page.scripts
    assert len(plotly) > 1_000_000 > len(ours)
    assert page.policy.startswith("default-src 'none'; script-src 'sha256-")
    for script in (plotly, ours):
        assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in page.policy
    assert "unsafe-inline" not in page.policy.split(";")[1]


def test_what_strangers_wrote_is_escaped() -> None:
    run = {
        "strategy": f"{ATTACK}'\"&",
        "run_id": ATTACK,
        "status": ATTACK,
        "parameters": json.dumps({ATTACK: ATTACK}),
        "config_hash": ATTACK,
        "currency": ATTACK,
    }
    page, html = page_of(busy_run(reason=f"{ATTACK}<!--", run=run))
    assert page.tags.count("script") == 3
    assert ATTACK not in html
    assert "<!--" not in html.split("plotly.js v")[0]
    assert page.words.count("alert(1)") > 100  # it is shown, as text
    drawn = "".join(str(text) for trace in figures_of(page)["price-0"]["data"] for text in trace.get("text", ""))
    assert "&lt;script&gt;" in drawn
    assert "<script" not in drawn


def test_json_cannot_leave_its_element() -> None:
    value = {"</script><!--": "&\u2028\"'"}
    text = embedded_json(value)
    assert "<" not in text
    assert json.loads(text) == value


def test_every_place_has_a_figure_that_plotly_accepts() -> None:
    page, html = page_of(busy_run())
    figures = figures_of(page)
    assert sorted(re.findall(r'data-figure="([^"]+)"', html)) == sorted(figures)
    css = html.split("<style>")[1].split("</style>")[0]
    for figure in figures.values():
        text = json.dumps(figure)
        for name in re.findall(r"var\((--[a-z0-9-]+)\)", text):
            assert f"{name}:" in css
        go.Figure(json.loads(re.sub(r"var\(--[a-z0-9-]+\)", "#123456", text)))


def test_the_banner_warns() -> None:
    for run, warning in (
        ({}, None),
        ({"in_sample": True}, "In sample: this period overlaps"),
        ({"status": "halted"}, "This run did not finish (status: halted)."),
    ):
        page, html = page_of(run_of(bars_of([100.0] * 90), run=run))
        assert ('class="banner" role="alert"' in html) is (warning is not None)
        assert warning is None or warning in page.words


@pytest.mark.parametrize("bars", [0, 1, 2, 90])
def test_a_run_without_anything_says_so(bars: int) -> None:
    page, _ = page_of(run_of(bars_of([100.0] * bars)))
    assert page.sections == SECTIONS.split()
    for sentence in (
        "The strategy never traded.",
        "The run had no forecasts.",
        "No round trip was closed.",
        "The risk gate denied nothing.",
    ):
        assert sentence in page.words
    assert ("The run recorded no bars." in page.words) is (not bars)
    assert "nan" not in page.words.lower().split()


def test_frames_without_columns_are_empty_frames() -> None:
    full = run_of(bars_of([100.0] * 3))
    nothing = pd.DataFrame()
    data = replace(
        full, tape=nothing, fills=nothing, funding=nothing, decisions=nothing, denials=nothing, orders=nothing
    )
    assert page_of(data)[0].sections == SECTIONS.split()


def test_the_trade_list_keeps_the_most_recent() -> None:
    fills = []
    for n in range(1100):
        fills += [fill(2 * n + 1, "buy", "100", "1"), fill(2 * n + 2, "sell", "100.5", "1")]
    page, html = page_of(run_of(bars_of([100.0] * 2300, fills), fills))
    assert "The 1,000 most recent of 1,100 round trips." in page.words
    numbers = [int(n) for n in re.findall(r'<tr data-n="(\d+)"', html)]
    assert numbers == list(range(1100, 100, -1))


@pytest.mark.slow
def test_a_million_bars_take_seconds_and_a_few_thousand_points() -> None:
    data = busy_run(minutes=1_000_000)
    started = perf_counter()
    page, html = page_of(data)
    assert perf_counter() - started < 20  # about 3 on one slow core
    assert len(html) < 8_000_000
    for name, figure in figures_of(page).items():
        for trace in figure["data"]:
            assert len(trace.get("x", ())) <= 4000, name


def test_thinning_keeps_the_extremes_and_the_ends() -> None:
    values = np.sin(np.arange(100_003) / 700)
    values[61_234], values[99_000] = 7, -7
    rows = extremes(values, 1000)
    assert len(rows) <= 1000
    assert (np.diff(rows) > 0).all()
    assert {0, 61_234, 99_000, 100_002} <= set(rows.tolist())


def test_candles_are_folded_on_round_times() -> None:
    data = run_of(bars_of([100, 101, 99, 100.5, 102, 103, 98]))
    tape = look(data, compute_metrics(data)).tapes[0]
    folded = candles(tape, 3)
    assert folded.scale_ns == 5 * MINUTE_NS
    assert folded.open_ns.tolist() == [START_NS, START_NS + 5 * MINUTE_NS]
    assert [folded.open.tolist(), folded.close.tolist()] == [[100, 102], [102, 98]]
    assert [folded.high.tolist(), folded.low.tolist()] == [[102, 103], [99, 98]]


def test_a_bar_that_closes_at_midnight_belongs_to_the_month_before() -> None:
    ends = pd.to_datetime(["2023-12-30", "2024-01-01", "2024-01-15", "2024-02-01", "2024-02-02"]).as_unit("ns")
    years, returns = monthly_returns(ends.to_numpy().astype(np.int64), np.array([100, 110, 99, 132, 66.0]))
    assert years == [2023, 2024]
    assert returns[0, 11] == pytest.approx(0.1)
    assert returns[1, :2] == pytest.approx([0.2, -0.5])
    assert np.isnan(returns[1, 2:]).all()
