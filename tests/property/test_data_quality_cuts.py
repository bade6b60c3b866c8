"""Law 1 for the scans of market data: however the rows come cut, the same is found."""

from dataclasses import fields
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bot.core.data_quality.findings import Limits, Quality
from bot.core.data_quality.scans import scan_of
from bot.core.data_quality.spikes import BarSpikes, TradeSpikes
from tests.support.examples import examples
from tests.support.quality import EXPONENTS, MINUTE, SECOND, START, Columns, Piece, cut

# So low that every line is crossed by small data.
LOW = Limits(
    examples=3,
    block_rows=24,
    spike_ratio=2.0,
    frozen_bars=2,
    stuck_bars=3,
    quiet_ns=4 * SECOND,
    clock_rows=2,
    share_rows=4,
    clock_late_ns=SECOND,
)
_PRICES = {"price", "open", "high", "low", "close", "bid", "ask", "rate"}
_QTYS = {"qty", "volume", "buy_volume", "bid_qty", "ask_qty"}


def messy(kind: str, rows: int, seed: int) -> Columns:
    """Return rows in which everything that can be wrong is wrong now and then."""
    rng = np.random.default_rng(seed)
    steps = [1, 1, 1, 1, 1, 0, 2, 6, -1, -3] if kind != "book" else [1, 1, 1, 0, 0, 0, 0, 0, 0, -1]
    step = rng.choice(steps, rows)
    at = np.cumsum(step) + 40

    def around(middle: int, spread: int = 3) -> NDArray[np.int64]:
        values = middle + rng.integers(-spread, spread + 1, rows)
        odd = rng.random(rows) < 0.04
        values[odd] = rng.choice([0, -1, middle * 3, middle * 10], int(odd.sum()))
        return np.where(rng.random(rows) < 0.3, middle, values)

    match kind:
        case "bars-1m" | "mark-1h":
            interval_ns = MINUTE if kind == "bars-1m" else 60 * MINUTE
            columns = {"open_ns": START + at * interval_ns + (rng.random(rows) < 0.05) * SECOND}
            columns["open_ns"][rng.random(rows) < 0.02] = 7
            columns |= {name: around(1000) for name in ("open", "close")}
            columns["high"] = np.maximum(columns["open"], columns["close"]) + rng.integers(-1, 3, rows)
            columns["high"] += (rng.random(rows) < 0.03) * 400
            columns["low"] = np.minimum(columns["open"], columns["close"]) - rng.integers(-1, 3, rows)
            if kind == "bars-1m":
                columns["volume"] = rng.integers(-1, 4, rows) * 500
                columns["turnover"] = np.where(rng.random(rows) < 0.5, np.nan, columns["volume"] * 0.01)
                columns["count"] = np.full(rows, -1)
                columns["buy_volume"] = rng.integers(-2, 900, rows)
            return columns
        case "funding":
            odd = (rng.random(rows) < 0.05) * SECOND
            return {"ts_ns": START + at * 480 * MINUTE + odd, "rate": around(100) * rng.choice([1, 400], rows)}
    ts_ns = START + at * SECOND
    ts_ns[rng.random(rows) < 0.02] = 7
    recv_ns = np.where(rng.random(rows) < 0.2, 0, ts_ns + rng.integers(-3, 3, rows) * SECOND)
    columns = {"ts_ns": ts_ns, "recv_ns": recv_ns}
    match kind:
        case "trades":
            columns |= {"price": around(1000), "qty": around(2, 1), "is_buy": rng.random(rows) < 0.5}
            columns["trade_id"] = np.where(rng.random(rows) < 0.3, 0, np.maximum(at, 0))
            if seed % 3 == 0:  # a source without ids, whose trades are much alike
                columns |= {"trade_id": np.zeros(rows, np.int64), "qty": np.full(rows, 2)}
                columns["price"] = rng.choice([1000, 1000, 1001], rows)
        case "quotes":
            columns |= {"bid": around(999), "bid_qty": around(5), "ask": around(1001), "ask_qty": around(5)}
        case "book":
            # Rows of one time are a message, which names the one before, if it does not leave a hole.
            holes, silent = rng.random(200) < 0.05, rng.random(200) < 0.1
            columns |= {"update": at, "previous": np.where(silent[at], -1, at - 1 - holes[at])}
            columns |= {"is_snapshot": at % 5 == 0, "is_bid": rng.random(rows) < 0.5}
            columns["price"] = np.where(columns["is_bid"], around(998), around(1002))
            columns["qty"] = np.where(rng.random(rows) < 0.2, 0, around(5))
    return columns


def pieces(kind: str, columns: Columns, places: list[int], finer: list[int]) -> list[Piece]:
    """Return the rows cut at places, each piece with as many more decimals as `finer` says."""
    made = []
    for piece, more in zip(cut(columns, places), [*finer, *([0] * (len(places) + 1))], strict=False):
        by = 10**more
        scaled: dict[str, NDArray[Any]] = {}
        for name, values in piece.items():
            untold = values == -1 if name == "buy_volume" else np.zeros(len(values), dtype=np.bool_)
            scaled[name] = np.where(untold, values, values * by) if name in _PRICES | _QTYS else values
        made.append(Piece(columns=scaled, price_exponent=EXPONENTS.get(kind, -2) - more, qty_exponent=-3 - more))
    return made


def quality_of(kind: str, parts: list[Piece]) -> Quality:
    scan = scan_of(kind, LOW)
    for part in parts:
        scan.add(part)
    return scan.finish()


def assert_same(left: Quality, right: Quality) -> None:
    """Assert that they agree in every figure, finding and example, bit for bit."""
    for each in fields(Quality):
        if each.name != "holes":
            assert getattr(left, each.name) == getattr(right, each.name)
    assert (left.holes is None) == (right.holes is None)
    if left.holes is not None and right.holes is not None:
        for each in fields(left.holes):
            assert np.array_equal(getattr(left.holes, each.name), getattr(right.holes, each.name))


KINDS = ["bars-1m", "mark-1h", "trades", "quotes", "funding", "book"]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=examples(60), deadline=None)
@given(
    rows=st.integers(0, 70),
    seed=st.integers(0, 2**32),
    places=st.one_of(st.lists(st.integers(0, 70), max_size=8), st.just(list(range(70)))),
    finer=st.lists(st.integers(0, 4), max_size=9),
)
@example(rows=70, seed=1, places=list(range(70)), finer=[])  # row by row
@example(rows=70, seed=2, places=[35, 35, 35], finer=[0, 3])  # pieces without rows
def test_cuts_and_exponents_change_nothing(
    kind: str, rows: int, seed: int, places: list[int], finer: list[int]
) -> None:
    """Rows one at a time, all at once, or anyhow between, with as many decimals as each piece likes."""
    columns = messy(kind, rows, seed)
    whole = quality_of(kind, pieces(kind, columns, [], []))
    assert whole.rows == rows
    assert_same(quality_of(kind, pieces(kind, columns, places, finer)), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_messy_data_crosses_the_lines(kind: str) -> None:
    """The control of the law above: what it holds for is not merely that nothing is found."""
    codes = {
        finding.code
        for seed in range(40)
        for finding in quality_of(kind, pieces(kind, messy(kind, 70, seed), [], [])).findings
    }
    wanted = {
        "bars-1m": {"time", "missing", "duplicate", "disorder", "overlap", "off-grid", "price", "high", "low"}
        | {"volume", "buy-volume", "turnover", "zero-volume", "moved-without-volume", "stuck"}
        | {"suspect-price", "price-step"},
        "mark-1h": {"missing", "duplicate", "disorder", "price", "high", "low", "stuck", "suspect-price"},
        "trades": {"time", "disorder", "quiet", "price", "qty", "duplicate", "id-disorder", "missing-ids"}
        | {"equal-rows", "suspect-price"},
        "quotes": {"time", "disorder", "quiet", "price", "qty", "crossed", "empty-side"},
        "funding": {"missing", "duplicate", "disorder", "off-grid", "rate", "unit"},
        "book": {"time", "disorder", "gap", "backwards", "repeated", "crossed", "level", "untrusted", "unlinked"},
    }
    family = kind.partition("-")[0].replace("mark", "bars")
    assert {f"{family}.{code}" for code in wanted[kind]} <= codes
    if kind in ("trades", "quotes", "book"):
        assert {code for code in codes if code.startswith("clock.")}


@settings(max_examples=examples(60), deadline=None)
@given(
    rows=st.integers(1, 160),
    seed=st.integers(0, 2**32),
    places=st.one_of(st.lists(st.integers(0, 160), max_size=6), st.just(list(range(160)))),
)
@example(rows=160, seed=8, places=list(range(160)))
@example(rows=160, seed=10, places=[24, 25, 48, 83, 97, 107])
def test_cuts_change_no_suspect(rows: int, seed: int, places: list[int]) -> None:
    """Prices that wander and jump: blocks, and the rows around each, are the same in any pieces."""
    rng = np.random.default_rng(seed)
    limits = Limits(examples=200, block_rows=24, spike_ratio=1.5, bar_spike_min=0.004, trade_spike_min=0.004)
    close = 1000.0 + np.cumsum(rng.integers(-4, 5, rows))
    close *= rng.choice([0.9, 0.97, 1.0, 1.03, 1.1, 3.0], rows, p=[0.03, 0.03, 0.85, 0.03, 0.03, 0.03])
    high = close * rng.choice([1.0, 1.2], rows, p=[0.9, 0.1])
    ts_ns = np.arange(rows) * SECOND
    found = []
    for at in ([], places):
        of_bars, of_trades = BarSpikes(limits), TradeSpikes(limits)
        for piece in cut({"ts_ns": ts_ns, "close": close, "high": high}, at):
            of_bars.add(piece["ts_ns"], piece["close"], piece["high"], piece["close"], piece["close"], piece["close"])
            of_trades.add(piece["ts_ns"], piece["close"])
        of_bars.finish()
        of_trades.finish()
        found.append([tally.examples for tally in (of_bars.suspects, of_bars.steps, of_trades.suspects)])
    assert found[0] == found[1]


@settings(deadline=None)
@given(rows=st.integers(0, 70), seed=st.integers(0, 2**32))
def test_bars_agree_with_plain_counting(rows: int, seed: int) -> None:
    """Holes, duplicates and disorder, row by row with a set of what was seen."""
    columns = messy("bars-1m", rows, seed)
    quality = quality_of("bars-1m", pieces("bars-1m", columns, [], []))
    seen: set[int] = set()
    want = dict.fromkeys(("duplicate", "disorder", "off-grid", "time", "overlap"), 0)
    before: int | None = None
    for at in columns["open_ns"].tolist():
        possible = at >= 10**18
        want["time"] += not possible
        want["off-grid"] += possible and at % MINUTE != 0
        if possible and before is not None:
            want["disorder"] += at < before
            want["overlap"] += before < at < before + MINUTE
            want["duplicate"] += at == before and at % MINUTE != 0
        if possible and at % MINUTE == 0:
            want["duplicate"] += at in seen
            seen.add(at)
        before = at if possible else None
    counts = {finding.code.removeprefix("bars."): finding.count for finding in quality.findings}
    assert {name: counts.get(name, 0) for name in want} == want
    assert quality.facts["missing_intervals"] == ((max(seen) - min(seen)) // MINUTE + 1 - len(seen) if seen else 0)
    assert quality.facts["holes"] == sum(at - MINUTE not in seen and at != min(seen) for at in seen)


@settings(deadline=None)
@given(rows=st.integers(0, 70), seed=st.integers(0, 2**32))
def test_trades_agree_with_plain_counting(rows: int, seed: int) -> None:
    """Ids, rows without one that are alike, and clocks, row by row."""
    columns = messy("trades", rows, seed)
    quality = quality_of("trades", pieces("trades", columns, [], []))
    ids = [number for number in columns["trade_id"].tolist() if number > 0]
    known = set(ids)
    told = quality.facts
    assert told["duplicates"] == len(ids) - len(known)
    assert told["ids_absent"] == (max(known) - min(known) + 1 - len(known) if known else 0)
    assert told["without_id"] == rows - len(ids)
    equal = 0
    instant: set[tuple[int, ...]] = set()
    time = None
    for row in zip(*(columns[name].tolist() for name in ("ts_ns", "price", "qty", "is_buy", "trade_id")), strict=True):
        if row[-1] == 0:
            instant = instant if row[0] == time else set()
            equal += row in instant
            instant.add(row)
            time = row[0]
    assert told["equal_rows"] == equal
    both = [
        recv - ts for recv, ts in zip(columns["recv_ns"].tolist(), columns["ts_ns"].tolist(), strict=True) if recv > 0
    ]
    assert told["received_rows"] == len(both)
    if both:
        assert told["delay_negative_share"] == sum(delay < 0 for delay in both) / len(both)
        delays = sorted(min(max(delay, -3600 * SECOND), 3600 * SECOND) for delay in both)
        assert abs(told["delay_median_s"] - delays[(len(both) - 1) // 2] / SECOND) <= 0.001


@settings(deadline=None)
@given(rows=st.integers(0, 70), seed=st.integers(0, 2**32))
def test_a_chain_agrees_with_plain_counting(rows: int, seed: int) -> None:
    """Messages, holes in their chain and repeats, message by message."""
    columns = messy("book", rows, seed)
    quality = quality_of("book", pieces("book", columns, [], []))
    keys = [columns[name].tolist() for name in ("ts_ns", "update", "is_snapshot", "previous")]
    firsts = [next(group) for _, group in groupby(zip(*keys, strict=True), key=lambda row: row[:3])]
    breaks = repeats = 0
    last: tuple[int, int] | None = None
    for ts, update, is_snapshot, previous in firsts:
        if last is not None and not is_snapshot:
            if update <= last[0] and ts <= last[1]:
                repeats += 1
                continue
            breaks += previous not in (-1, last[0]) or update <= last[0]
        last = (update, ts)
    counts = {finding.code: finding.count for finding in quality.findings}
    assert quality.facts["messages"] == len(firsts)
    assert quality.facts["chain_breaks"] == breaks
    assert counts.get("book.repeated", 0) == repeats
