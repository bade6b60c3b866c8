"""Whatever the venue's history looks like and however it misbehaves, a walk ends with exactly what there is."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.venues.bybit.history_pages import INTERVALS, MS, BadPage
from bot.venues.bybit.history_walk import BarWalk, FundingWalk
from tests.support.bybit_history_server import DAY, HOUR, MINUTE, HistoryServer, Market, utc_ms
from tests.support.examples import examples

START = utc_ms("2024-03-01")

# What may happen to the rows of one answer. The first four make it an impossible one, the others leave rows out.
MISCHIEF: list[Callable[[list[Any]], list[Any]]] = [
    lambda rows: [*rows[1:], *rows[:1]] if len(rows) > 1 else [["1"]],
    lambda rows: [*rows, [str(START + 1), *rows[0][1:]]] if rows else [[None]],
    lambda rows: [[*row[:1], "7", *row[2:]] for row in rows[:1]] + rows if rows else [{}],
    lambda rows: [row[:3] for row in rows] or ["x"],
    lambda rows: [],
    lambda rows: rows[: len(rows) // 2],
    lambda rows: rows[len(rows) // 2 :],
    lambda rows: [row for index, row in enumerate(rows) if index % 3],
]


def ask_all(
    walk: BarWalk | FundingWalk, server: HistoryServer, data: st.DataObject, mischief: list[Any], seen: list[Any]
) -> int:
    """Walk to the end; every answer after a bad one is honest. Hand out bars at times. Return the asks."""
    asks = 0
    is_honest = True
    while (ask := walk.ask()) is not None:
        asks += 1
        query = {name: str(value) for name, value in ask.params.items()}
        result = server.answer(f"/v5/market/{ask.endpoint}", query)["result"]
        is_honest = not is_honest or not mischief or data.draw(st.booleans(), label="honest")
        if not is_honest:
            result["list"] = data.draw(st.sampled_from(mischief), label="mischief")(result["list"])
        try:
            walk.answer(result)
        except BadPage:
            assert not is_honest
        if isinstance(walk, BarWalk) and data.draw(st.integers(0, 4), label="take") == 0:
            seen.append(walk.take(walk.done_until_ns))
    return asks


@settings(deadline=None, max_examples=examples(150))
@given(
    data=st.data(),
    interval=st.sampled_from(["1", "15", "60", "D"]),
    series=st.sampled_from(["kline", "mark-price-kline"]),
)
def test_bars_are_whole_and_what_is_absent_is_named(data: st.DataObject, interval: str, series: str) -> None:
    """Taken together the bars are the truth of the stretches asked for, each once; the rest of the grid is absent."""
    step = {"1": MINUTE, "15": 15 * MINUTE, "60": HOUR, "D": DAY}[interval]
    spans = st.integers(0, 2500)
    listed = START + data.draw(spans, label="listed") * step - 1000 * step
    market = Market(listed_ms=listed, ended_ms=listed + data.draw(st.integers(1, 5000), label="life") * step)
    for _ in range(data.draw(st.integers(0, 3), label="holes")):
        hole = START + data.draw(spans, label="hole") * step
        market.holes.append((hole, hole + data.draw(st.sampled_from([1, 2, 700, 2100]), label="long") * step))
    server = HistoryServer(market, now_ms=START + data.draw(st.integers(1, 3000), label="now") * step + step // 3)
    cuts = sorted(data.draw(st.lists(spans, min_size=2, max_size=6, unique=True), label="cuts"))
    stretches = [(START + lo * step, START + hi * step) for lo, hi in zip(cuts[::2], cuts[1::2], strict=False)]
    walk = BarWalk(
        series=series,  # type: ignore[arg-type]
        category="linear",
        symbol="BTCUSDT",
        step_ns=step * MS,
        stretches=[(lo * MS, hi * MS) for lo, hi in stretches],
        closed_by_ns=server.now_ms * MS,
    )
    seen: list[Any] = []
    asks = ask_all(walk, server, data, MISCHIEF, seen)
    seen.append(walk.take(2**62))

    closed = server.now_ms // step * step
    wanted = {at for lo, hi in stretches for at in range(lo, min(hi, closed), step)}
    truth = market.bars(f"/v5/market/{series}", interval, START, START + 2500 * step)
    opens = [int(ts) // MS for rows in seen for ts in rows.columns["open_ns"]]
    assert opens == sorted(truth.keys() & wanted)
    for name, index in [("open", 0), ("high", 1), ("low", 2), ("close", 3)]:
        values = [int(v) * 10.0**rows.price_exponent for rows in seen for v in rows.columns[name]]
        assert all(abs(value - float(truth[at][index])) < 1e-6 for value, at in zip(values, opens, strict=True))
    absent = {at for lo, hi in walk.absent for at in range(lo // MS, hi // MS, step)}
    assert absent == wanted - truth.keys()
    assert INTERVALS[step * MS] == interval
    assert asks <= 8 * (len(stretches) + len(wanted) // 1000 + 2 * len(market.holes) + 6)


@settings(deadline=None, max_examples=examples(150))
@given(data=st.data())
def test_funding_is_whole(data: st.DataObject) -> None:
    """Whatever the schedule, the rates of the range are the truth, each once."""
    change_1, change_2 = sorted(data.draw(st.integers(0, 400), label="change") for _ in range(2))
    steps = [data.draw(st.sampled_from([HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR]), label="step") for _ in range(3)]

    def schedule(ts_ms: int) -> int:
        return steps[(ts_ms >= START + change_1 * 8 * HOUR) + (ts_ms >= START + change_2 * 8 * HOUR)]

    market = Market(
        listed_ms=START + data.draw(st.integers(-50, 300), label="listed") * 8 * HOUR,
        ended_ms=START + data.draw(st.integers(0, 600), label="ended") * 8 * HOUR,
        funding_step_ms=schedule,
    )
    for _ in range(data.draw(st.integers(0, 2), label="holes")):
        hole = START + data.draw(st.integers(0, 400), label="hole") * 8 * HOUR
        market.holes.append((hole, hole + data.draw(st.integers(1, 300), label="long") * HOUR))
    server = HistoryServer(market, now_ms=START + data.draw(st.integers(1, 500), label="now") * 8 * HOUR + 1)
    start = START + data.draw(st.integers(0, 300), label="from") * HOUR
    end = start + data.draw(st.integers(0, 4000), label="to") * HOUR
    walk = FundingWalk(category="linear", symbol="BTCUSDT", from_ns=start * MS, to_ns=end * MS)
    asks = ask_all(walk, server, data, MISCHIEF[:1] + MISCHIEF[4:5], [])

    rows = walk.rows()
    truth = market.funding(start, min(end, server.now_ms + 1))
    times = [int(ts) // MS for ts in rows.columns["ts_ns"]]
    assert times == sorted(truth)
    for ts_ms, rate in zip(times, rows.columns["rate"], strict=True):
        assert abs(int(rate) * 10.0**rows.price_exponent - float(truth[ts_ms])) < 1e-12
    for lo, hi in walk.holes:
        assert not [at for at in truth if lo < at * MS < hi]
    assert asks <= 4 * (len(truth) // 200 + 4 * len(market.holes) + 12)
