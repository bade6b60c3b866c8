"""Bybit's history without a network: what an answer must be, what is asked again, how long is waited."""

import json
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.domain.errors import DataError, VenueError
from bot.runtime.settings import load
from bot.venues.bybit.history_pages import (
    MS,
    Ask,
    BadPage,
    bar_complaint,
    bar_rows,
    mantissas,
    rate_complaint,
    read_bars,
    read_funding,
)
from bot.venues.bybit.history_walk import BarWalk, FundingWalk
from bot.venues.bybit.instruments import read_instruments
from bot.venues.bybit.retries import Failure, FailureKind, Patience, failure_of_code, failure_of_status
from tests.support.bybit_history_server import DAY, HOUR, MINUTE, HistoryServer, Market, utc_ms
from tests.support.shared_data import shared_file

START = utc_ms("2024-03-01")
ASK = Ask(endpoint="kline", params={"category": "linear", "symbol": "BTCUSDT"})
BAR = ["10.5", "11.00", "9", "10.0", "2.500", "26.1"]


def page(*rows: Any, **about: Any) -> dict[str, Any]:
    return {"category": "linear", "symbol": "BTCUSDT", "list": list(rows)} | about


def bar(minute: int, *texts: str) -> list[str]:
    return [str(START + minute * MINUTE), *(texts or BAR)]


def read(*rows: Any, **about: Any) -> dict[int, tuple[str, ...]]:
    return read_bars(page(*rows, **about), ASK, step_ns=MINUTE * MS, width=7)


# --- pages ------------------------------------------------------------------------------------------------------------


def test_a_page_of_bars_is_read_newest_first() -> None:
    assert list(read(bar(2), bar(1), bar(0))) == [START + 2 * MINUTE, START + MINUTE, START]


def test_what_the_venue_adds_is_ignored() -> None:
    assert read([*bar(0), "new"], extra={"a": 1}) == {START: tuple(BAR)}


def test_a_bar_twice_is_one_bar() -> None:
    assert read(bar(1), bar(1), bar(0)).keys() == {START + MINUTE, START}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "not an object"),
        ([], "not an object"),
        ({}, "no list"),
        (page(symbol="ETHUSDT"), "asked for the symbol BTCUSDT"),
        (page(category="spot"), "asked for the category linear"),
        (page(bar(0), bar(1)), "not sorted"),
        (page(bar(0), bar(0, "1", "1", "1", "1", "1", "1")), "two different bars"),
        (page([str(START + 1), *BAR]), "not on the grid"),
        (page(["soon", *BAR]), "no time"),
        (page([START, *BAR]), "not a list of 7 texts"),
        (page([str(START), *BAR[:3]]), "not a list of 7 texts"),
        (page([str(START), *BAR[:3], 1.5, "1", "1"]), "not a list of 7 texts"),
        (page("junk"), "not a list of 7 texts"),
        (page([str(START // 1000), *BAR]), "no time"),
    ],
)
def test_a_page_of_bars_that_cannot_be_is_refused(result: Any, words: str) -> None:
    with pytest.raises(BadPage, match=words):
        read_bars(result, ASK, step_ns=MINUTE * MS, width=7)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"symbol": "ETHUSDT", "fundingRate": "0.1", "fundingRateTimestamp": str(START)}], "asked for BTCUSDT"),
        ([{"symbol": "BTCUSDT", "fundingRateTimestamp": str(START)}], "without its fundingRate"),
        ([{"symbol": "BTCUSDT", "fundingRate": "0.1"}], "no time"),
        (
            [{"symbol": "BTCUSDT", "fundingRate": "0.1", "fundingRateTimestamp": str(START + i)} for i in (0, 1)],
            "sorted",
        ),
        (
            [{"symbol": "BTCUSDT", "fundingRate": rate, "fundingRateTimestamp": str(START)} for rate in ("0.1", "0.2")],
            "two different rates",
        ),
        (["x"], "without its fundingRate"),
    ],
)
def test_a_page_of_funding_that_cannot_be_is_refused(rows: list[Any], words: str) -> None:
    with pytest.raises(BadPage, match=words):
        read_funding({"category": "linear", "list": rows}, ASK)


@pytest.mark.parametrize(
    ("texts", "values", "exponent"),
    [
        (["16661.50", "16661.5", "16661", "0.000"], [166615, 166615, 166610, 0], -1),
        (["-0.0001", "0.00015"], [-10, 15], -5),
        (["1E-7", "2e2", "0E-8"], [1, 2000000000, 0], -7),
        (["7", "007"], [7, 7], 0),
        ([], [], 0),
    ],
)
def test_numbers_are_exact_however_they_are_spelled(texts: list[str], values: list[int], exponent: int) -> None:
    found, found_exponent = mantissas(texts)
    assert (found.tolist(), found_exponent) == (values, exponent)
    for text, value in zip(texts, values, strict=True):
        assert Decimal(value).scaleb(exponent) == Decimal(text)


def test_numbers_too_far_apart_are_refused() -> None:
    with pytest.raises(DataError, match="too far apart"):
        mantissas(["123456789012345678", "0.000000000001"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({0: "0"}, "high below|not positive|low above"),
        ({2: "0"}, "not positive"),
        ({2: "-1"}, "not positive"),
        ({1: "10"}, "high below"),
        ({2: "10.4"}, "low above"),
        ({4: "-1"}, "negative"),
        ({0: ""}, "not numbers"),
        ({0: "nan"}, "not numbers"),
        ({0: "1_0"}, "not numbers"),
        ({0: "٣"}, "not numbers"),
        ({0: "10.1234567890123"}, "not numbers"),
    ],
)
def test_a_bar_that_cannot_be_is_named(change: dict[int, str], words: str) -> None:
    texts = [change.get(index, text) for index, text in enumerate(BAR)]
    complaint = bar_complaint(tuple(texts))
    assert complaint is not None
    assert any(word in complaint for word in words.split("|"))


def test_a_good_bar_and_a_good_rate_are_passed() -> None:
    assert bar_complaint(tuple(BAR)) is None
    assert rate_complaint("-0.00375") is None
    assert rate_complaint("0.2") is not None
    assert rate_complaint("") is not None


def test_bars_become_columns_without_a_float_in_the_prices() -> None:
    rows = bar_rows({START + MINUTE: ("0.1", "0.3", "0.1", "0.30", "1.001", "0.2"), START: tuple(BAR)})
    assert rows.columns["open_ns"].tolist() == [START * MS, (START + MINUTE) * MS]
    assert (rows.price_exponent, rows.qty_exponent) == (-1, -3)
    assert rows.columns["close"].tolist() == [100, 3]
    assert rows.columns["volume"].tolist() == [2500, 1001]
    assert rows.columns["turnover"].tolist() == [26.1, 0.2]
    assert rows.columns["count"].tolist() == [-1, -1]
    assert {name: column.dtype for name, column in rows.columns.items() if column.dtype != np.int64} == {
        "turnover": np.float64
    }


def test_the_venue_s_own_examples_are_read() -> None:
    """Documented payloads decode, as they stand."""

    def result(name: str) -> Any:
        return json.loads(shared_file(f"bybit_v5_samples/rest_market_{name}.json").read_text())["result"]

    ask = Ask(endpoint="kline", params={"category": "inverse", "symbol": "BTCUSD"})
    bars = read_bars(result("kline_inverse"), ask, step_ns=HOUR * MS, width=7)
    assert bars[1670608800000] == ("17071", "17073", "17027", "17055.5", "268611", "15.74462667")
    mark = read_bars({**result("mark-price-kline"), "category": "linear"}, ASK, step_ns=HOUR * MS, width=5)
    assert mark == {1670608800000: ("17164.16", "17164.16", "17121.5", "17131.64")}
    assert read_funding(result("funding-history__nautilus"), ASK) == {1709884800000: "0.0001", 1709856000000: "0.00015"}


# --- walks ------------------------------------------------------------------------------------------------------------


def walk_of(minutes: int, **more: Any) -> BarWalk:
    arguments: dict[str, Any] = {
        "series": "kline",
        "category": "linear",
        "symbol": "BTCUSDT",
        "step_ns": MINUTE * MS,
        "stretches": [(START * MS, (START + minutes * MINUTE) * MS)],
        "closed_by_ns": 2**62,
    }
    return BarWalk(**(arguments | more))


def asked(walk: BarWalk | FundingWalk) -> dict[str, Any]:
    ask = walk.ask()
    assert ask is not None
    return dict(ask.params)


def test_windows_are_full_pages_with_both_ends() -> None:
    """1000 bars a question, the last ms of the last bar as the end: inclusive or not makes no difference."""
    walk = walk_of(1500)
    assert asked(walk) == {
        "category": "linear",
        "symbol": "BTCUSDT",
        "interval": "1",
        "start": START,
        "end": START + 1000 * MINUTE - 1,
        "limit": 1000,
    }
    assert walk.answer(page(*[bar(minute) for minute in range(999, -1, -1)])) == 1000
    assert walk.done_until_ns == (START + 1000 * MINUTE) * MS
    assert (asked(walk)["start"], asked(walk)["end"]) == (START + 1000 * MINUTE, START + 1500 * MINUTE - 1)


def test_a_hole_is_asked_for_again_once_and_then_named() -> None:
    walk = walk_of(10)
    walk.answer(page(*[bar(minute) for minute in (9, 8, 7, 4, 3, 1, 0)]))
    assert (asked(walk)["start"], asked(walk)["end"]) == (START + 2 * MINUTE, START + 7 * MINUTE - 1)
    walk.answer(page(bar(6), bar(4), bar(3)))  # something came: once more
    assert (asked(walk)["start"], asked(walk)["end"]) == (START + 2 * MINUTE, START + 6 * MINUTE - 1)
    walk.answer(page(bar(4), bar(3)))
    assert walk.ask() is None
    minutes = [((lo // MS - START) // MINUTE, (hi // MS - START) // MINUTE) for lo, hi in walk.absent]
    assert minutes == [(2, 3), (5, 6)]
    assert len(walk.take(2**62)) == 8


def test_a_daily_walk_asks_an_empty_page_again_too() -> None:
    walk = walk_of(2 * 1440, step_ns=DAY * MS)
    walk.answer(page())
    assert asked(walk)["interval"] == "D"
    walk.answer(page(bar(1440), bar(0)))
    assert walk.absent == []


def test_a_symbol_that_is_younger_is_found_by_its_days() -> None:
    """Years of nothing cost two questions for each thousand days, not one for each thousand minutes."""
    market = Market(listed_ms=START + 900 * DAY + 5 * HOUR)
    server = HistoryServer(market, now_ms=START + 902 * DAY)
    walk = walk_of(902 * 1440, closed_by_ns=server.now_ms * MS)
    asks = 0
    while (ask := walk.ask()) is not None:
        asks += 1
        walk.answer(server.answer("/v5/market/kline", {k: str(v) for k, v in ask.params.items()})["result"])
    assert asks < 10
    assert len(walk.take(2**62)) == 2 * 1440 - 300
    assert walk.absent == [(START * MS, market.listed_ms * MS)]


def test_pages_that_overlap_must_agree() -> None:
    walk = walk_of(2000)
    walk.answer(page(*[bar(minute) for minute in range(1004, -1, -1)]))  # some of the next window came along
    rest = [bar(minute) for minute in range(1999, 999, -1)]
    with pytest.raises(BadPage, match=r"the bar of 2024-03-01T16:42:00Z was"):
        walk.answer(page(*[[*row[:4], "10.1", *row[5:]] if row == bar(1002) else row for row in rest]))
    walk.answer(page(*[[*row[:4], "10.00", *row[5:]] for row in rest]))  # as many zeros as it likes
    assert len(walk.take(2**62)) == 2000


def test_a_bar_that_forms_is_neither_kept_nor_compared() -> None:
    walk = walk_of(10, closed_by_ns=(START + 5 * MINUTE) * MS + 1)
    assert asked(walk)["end"] == START + 5 * MINUTE - 1
    walk.answer(page(bar(5, "1", "1", "1", "1", "1", "1"), bar(4), bar(2), bar(1), bar(0)))
    walk.answer(page(bar(5), bar(3)))
    assert walk.ask() is None
    assert walk.take(2**62).columns["open_ns"].tolist() == [(START + minute * MINUTE) * MS for minute in range(5)]


@pytest.mark.parametrize("rows", [[bar(500)], [bar(3000)], [bar(2500), bar(9)]])
def test_an_answer_to_another_question_is_refused(rows: list[Any]) -> None:
    walk = walk_of(10)
    with pytest.raises(BadPage, match="asked from"):
        walk.answer(page(*rows))


def test_a_bar_that_cannot_be_is_left_out_and_named() -> None:
    walk = walk_of(3)
    bad = bar(1, "10.5", "9.5", "9", "10", "1", "1")
    walk.answer(page(bar(2), bad, bar(0)))
    walk.answer(page(bad))
    assert walk.ask() is None
    assert [(refused.ts_ns, refused.reason) for refused in walk.refused.values()] == [
        ((START + MINUTE) * MS, "a high below another of its prices")
    ]
    assert walk.absent == [((START + MINUTE) * MS, (START + 2 * MINUTE) * MS)]


def test_a_bar_that_comes_right_when_asked_again_is_kept() -> None:
    walk = walk_of(2)
    walk.answer(page(bar(1, "x", "x", "x", "x", "x", "x"), bar(0)))
    walk.answer(page(bar(1)))
    assert (walk.refused, walk.absent, len(walk.take(2**62))) == ({}, [], 2)


def test_nothing_is_asked_when_nothing_is_wanted() -> None:
    assert walk_of(0).ask() is None
    assert walk_of(10, closed_by_ns=START * MS).ask() is None
    assert FundingWalk(category="linear", symbol="X", from_ns=5, to_ns=5).ask() is None


def rates(*hours: int) -> dict[str, Any]:
    rows = [
        {"symbol": "BTCUSDT", "fundingRate": "0.0001", "fundingRateTimestamp": str(START + hour * HOUR)}
        for hour in sorted(hours, reverse=True)
    ]
    return {"category": "linear", "list": rows}


def funding_of(first_hour: int, last_hour: int) -> FundingWalk:
    from_ns, to_ns = (START + first_hour * HOUR) * MS, (START + last_hour * HOUR) * MS
    return FundingWalk(category="linear", symbol="BTCUSDT", from_ns=from_ns, to_ns=to_ns)


def test_funding_goes_back_by_its_end_alone() -> None:
    """Only `endTime` is documented to give the newest up to then; eight hours more show what follows the range."""
    walk = funding_of(0, 48)
    assert asked(walk)["endTime"] == START + 56 * HOUR - 1
    assert "startTime" not in asked(walk)
    walk.answer(rates(48, 40, 32, 24))
    assert asked(walk)["endTime"] == START + 24 * HOUR - 1
    walk.answer(rates(16, 8, 0, -8))
    assert walk.ask() is None
    assert len(walk.rows()) == 6


@pytest.mark.parametrize("lost", [0, 8, 16, 40])
def test_a_hole_in_funding_is_asked_again_once(lost: int) -> None:
    """Also at either end of the range. What stays away is named by its neighbours."""
    hours = [hour for hour in range(-16, 56, 8) if hour != lost]
    for comes_late in (True, False):
        walk = funding_of(0, 48)
        walk.answer(rates(*hours))
        assert asked(walk)["endTime"] == START + (lost + 8) * HOUR - 1
        walk.answer(rates(*[hour for hour in range(-16, lost + 8, 8) if hour != lost or comes_late]))
        assert walk.ask() is None
        assert len(walk.rows()) == (6 if comes_late else 5)
        assert walk.holes == (
            [] if comes_late else [((START + (lost - 8) * HOUR) * MS, (START + (lost + 8) * HOUR) * MS)]
        )


def test_a_change_of_schedule_is_no_hole() -> None:
    walk = funding_of(0, 30)
    walk.answer(rates(-8, 0, 8, 16, 17, 18, 19, 20, 24, 28, 32))
    assert walk.ask() is None
    assert walk.holes == []


def test_a_hole_in_an_hourly_schedule_shows() -> None:
    walk = funding_of(0, 10)
    walk.answer(rates(-1, 0, 1, 2, 3, 5, 6, 7, 8, 9, 10))
    walk.answer(rates(0, 1, 2, 3))
    assert walk.holes == [((START + 3 * HOUR) * MS, (START + 5 * HOUR) * MS)]


def test_rates_that_change_between_pages_are_refused() -> None:
    walk = funding_of(-1000, 48)
    walk.answer(rates(48, 40))
    again = rates(40, 32)
    again["list"][0]["fundingRate"] = "0.0002"
    with pytest.raises(BadPage, match=r"was 0\.0001, and now 0\.0002"):
        walk.answer(again)


# --- retries ----------------------------------------------------------------------------------------------------------


def waits(failure: Failure, *, dice: float = 0.0) -> tuple[list[float], Exception]:
    """Return every wait until patience ends, and how it ends."""
    patience, found = Patience(), []
    while True:
        try:
            found.append(patience.wait_s(failure, venue_now_ms=1_000_000, dice=dice))
        except (VenueError, DataError) as error:
            return found, error


def test_network_trouble_is_waited_out_longer_each_time() -> None:
    failure = Failure(kind=FailureKind.TRANSPORT, text="cut off", code="no answer")
    assert waits(failure)[0] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert waits(failure, dice=1.0)[0] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert "cut off, 9 times" in str(waits(failure)[1])


def test_a_rate_limit_is_waited_out_until_its_reset() -> None:
    failure = failure_of_code(10006, "too many visits", reset_ms=1_002_500)
    assert failure.kind is FailureKind.RATE_LIMIT
    assert waits(failure)[0][0] == 2.75
    assert waits(failure_of_code(10006, "x", reset_ms=1))[0][0] == 0.25  # long past: our clock or theirs
    assert waits(failure_of_code(10006, "x", reset_ms=10**15))[0][0] == 60.25
    assert waits(failure_of_code(10006, "x"))[0][:3] == [0.25, 0.5, 1.0]


def test_a_ban_is_waited_out_for_ten_minutes_twice() -> None:
    found, error = waits(failure_of_status(403, "api"))
    assert found == [600.0, 600.0]
    assert isinstance(error, VenueError)
    assert "20 minutes" in str(error)


@pytest.mark.parametrize("code", [10000, 10016, 10429, 20003, 170222])
def test_the_venue_s_own_trouble_passes(code: int) -> None:
    assert failure_of_code(code, "x").kind is FailureKind.BUSY


@pytest.mark.parametrize(
    "failure", [failure_of_code(10001, "Illegal category"), failure_of_status(404, "no such path")]
)
def test_a_refusal_is_the_last_word(failure: Failure) -> None:
    found, error = waits(failure)
    assert found == []
    assert str(error) in ("10001: Illegal category", "HTTP 404: no such path")


def test_kinds_of_failure_are_counted_apart() -> None:
    patience = Patience()
    bad = Failure(kind=FailureKind.BAD_PAGE, text="x")
    patience.wait_s(bad, venue_now_ms=0, dice=0)
    patience.wait_s(Failure(kind=FailureKind.BUSY, text="y"), venue_now_ms=0, dice=0)
    patience.wait_s(bad, venue_now_ms=0, dice=0)
    with pytest.raises(DataError, match="stays wrong, 3 times: x"):
        patience.wait_s(bad, venue_now_ms=0, dice=0)


# --- instruments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "linear__nautilus", "linear_prelaunch", "spot", "spot__nautilus"])
def test_documented_instruments_make_a_configuration(name: str, tmp_path: Path) -> None:
    """The table that is written loads as part of a replay's configuration, value for value."""
    file = shared_file(f"bybit_v5_samples/rest_market_instruments-info_{name}.json")
    found, _ = read_instruments(json.loads(file.read_text())["result"], name[:6].partition("_")[0].strip("_"))
    assert found
    for each in found:
        table = each.to_toml(asked_ns=START * MS, source="https://api.example")
        values = tomllib.loads(table, parse_float=Decimal)["market"]["instruments"][0]
        assert values["tick_size"] == each.tick_size
        config = tmp_path / "replay.toml"
        config.write_text(f'[market]\nsource = "files"\n{table}bars = "b.parquet"\nbar_interval = "1m"\n')
        loaded = load(config).market.instruments[0]
        assert (loaded.name, loaded.qty_step, loaded.qty_max) == (each.symbol, each.qty_step, each.qty_max)
        assert loaded.notional_min == each.notional_min


def test_an_instrument_without_a_filter_is_refused() -> None:
    with pytest.raises(BadPage, match="the instrument X has no usable 'lotSizeFilter'"):
        read_instruments({"list": [{"symbol": "X"}]}, "linear")
