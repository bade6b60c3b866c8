"""`bot data download` against a local Bybit: what ends up in the store is the venue's truth, however it got there."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.domain.errors import ConfigError, DataError, VenueError
from bot.store.market_store import MarketStore
from tests.support import bybit_history_server as local
from tests.support.bybit_history_server import DAY, HOUR, MINUTE, Fault, HistoryServer, Market, days, serving, utc_ms
from tests.support.cli import ROOT
from tests.support.downloads import MS, fetch, files, stored, wanted_from
from tests.support.waits import NoWaiting

START = utc_ms("2024-03-01")
NOW = START + 40 * DAY + 20_000
KLINE, MARK, FUNDING = "/v5/market/kline", "/v5/market/mark-price-kline", "/v5/market/funding/history"


@pytest.fixture(autouse=True, scope="module")
def no_proxy() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(scope="module")
def running() -> Iterator[HistoryServer]:
    with serving(now_ms=NOW) as started:
        yield started


@pytest.fixture
def market() -> Market:
    return Market()


@pytest.fixture
def server(running: HistoryServer, market: Market) -> HistoryServer:
    running.reset(market, now_ms=NOW)
    return running


@pytest.fixture
def waiting() -> NoWaiting:
    return NoWaiting(NOW * MS)


def bars_of(market: Market, path: str, interval: str, from_ms: int, to_ms: int) -> dict[int, list[float]]:
    """Return the truth, in the form of `stored`."""
    truth = market.bars(path, interval, from_ms, to_ms)
    unknown = [-1.0, -1.0] if path == KLINE else []
    return {at: [float(text) for text in texts] + unknown for at, texts in truth.items()}


# --- the truth --------------------------------------------------------------------------------------------------------


def test_all_kinds_end_as_the_venue_has_them(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    """Bars, mark and index prices across two months, funding across two years, trades of the archive's days."""
    first, end = utc_ms("2024-02-20"), utc_ms("2024-03-10")
    for day in days("2024-02-20", 19):
        market.archive(day)
    kinds = ("klines", "mark", "index", "funding", "trades")
    wanted = wanted_from(server, tmp_path, first, end, kinds=kinds, intervals_ns=(15 * MINUTE * MS, HOUR * MS))
    done = fetch(wanted, waiting)
    assert [each.kind for each in done] == [
        *("bars-15m", "bars-1h", "mark-15m", "mark-1h", "index-15m", "index-1h"),
        "funding",
        "trades",
    ]
    assert stored(tmp_path, "bars-15m") == bars_of(market, KLINE, "15", first, end)
    assert stored(tmp_path, "bars-1h") == bars_of(market, KLINE, "60", first, end)
    assert stored(tmp_path, "mark-1h") == bars_of(market, MARK, "60", first, end)
    assert stored(tmp_path, "index-15m") == bars_of(market, "/v5/market/index-price-kline", "15", first, end)
    assert stored(tmp_path, "funding") == {at: [float(rate)] for at, rate in market.funding(first, end).items()}
    assert sum(len(part) for part in MarketStore(tmp_path).read("bybit-linear", "BTCUSDT", "trades")) == 19 * 50
    assert all(each.missing in (0, None) and not each.gaps and not each.after_ns for each in done)
    fetch(replace(wanted, from_ns=utc_ms("2021-12-30") * MS, kinds=("funding",)), waiting)
    years = utc_ms("2021-12-30"), end
    assert stored(tmp_path, "funding") == {at: [float(rate)] for at, rate in market.funding(*years).items()}


def test_numbers_are_exact(server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path) -> None:
    """Mantissas times their power of ten are the venue's own texts; more decimals may come later."""
    market.price_places = lambda ts_ms: 1 if ts_ms < START + DAY else 4
    for end in (START + DAY, START + 2 * DAY):
        fetch(wanted_from(server, tmp_path, START, end), waiting)
    (part,) = MarketStore(tmp_path).read("bybit-linear", "BTCUSDT", "bars-1m")
    truth = market.bars(KLINE, "1", START, START + 2 * DAY)
    assert (part.price_exponent, part.qty_exponent) == (-4, -3)
    closes = [Decimal(value).scaleb(-4) for value in part.columns["close"].tolist()]
    assert closes == [Decimal(texts[3]) for texts in truth.values()]


def test_spot_goes_to_a_venue_of_its_own(server: HistoryServer, waiting: NoWaiting, tmp_path: Path) -> None:
    market = Market(category="spot", seed=5)
    market.archive("2024-03-01")
    server.reset(market, now_ms=NOW)
    wanted = wanted_from(server, tmp_path, START, START + DAY, category="spot", kinds=("klines", "trades"))
    bars, trades = fetch(wanted, waiting)
    assert stored(tmp_path, "bars-1m", "bybit-spot") == bars_of(market, KLINE, "1", START, START + DAY)
    assert (bars.venue, trades.new, trades.rows) == ("bybit-spot", 50, 1)


def test_up_to_now_means_the_last_bar_that_closed(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    """The forming bar is left out, and one that closed less than five seconds ago too."""
    for seconds, last in ((1, 2), (4, 2), (6, 1), (59, 1)):
        server.now_ms = START + DAY + seconds * 1000
        fetch(wanted_from(server, tmp_path / str(seconds), START, None), waiting)
        found = stored(tmp_path / str(seconds), "bars-1m")
        assert found == bars_of(market, KLINE, "1", START, START + DAY - (last - 1) * MINUTE)


# --- what is not asked again ------------------------------------------------------------------------------------------


def test_twice_is_once(server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path) -> None:
    """A second time changes no file but the one that tells the venue's filters, and asks for no page."""
    market.archive("2024-03-01")
    market.holes = [(START + 100 * MINUTE, START + 110 * MINUTE)]
    wanted = wanted_from(
        server, tmp_path, START - 3 * DAY, START + 3 * DAY, kinds=("klines", "mark", "funding", "trades")
    )
    first = fetch(wanted, waiting)
    before = files(tmp_path)
    server.asked.clear()
    second = fetch(wanted, waiting)
    assert {path for path, _ in server.asked} == {"/v5/market/time", "/v5/market/instruments-info"}
    assert files(tmp_path) == before
    assert [each.new for each in second] == [0, 0, 0, 0]
    assert [replace(each, new=0, requests=0) for each in first] == [replace(each, requests=0) for each in second]


def test_again_asks_for_all_and_replaces_what_differs(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    wanted = wanted_from(server, tmp_path, START, START + DAY, kinds=("klines", "funding"))
    fetch(wanted, waiting)
    market.seed = 2
    bars, funding = fetch(replace(wanted, again=True), waiting)
    assert stored(tmp_path, "bars-1m") == bars_of(market, KLINE, "1", START, START + DAY)
    assert (bars.new, bars.rows, funding.new, funding.replaced) == (0, 1440, 0, 3)
    assert bars.replaced > 1400


def test_only_what_lies_behind_is_asked_for(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    fetch(wanted_from(server, tmp_path, START, START + DAY, kinds=("klines", "funding")), waiting)
    server.asked.clear()
    fetch(wanted_from(server, tmp_path, START, START + 2 * DAY, kinds=("klines", "funding")), waiting)
    assert [int(query["start"]) for query in server.asked_for(KLINE)] == [START + DAY, START + DAY + 1000 * MINUTE]
    assert len(server.asked_for(FUNDING)) == 1
    assert stored(tmp_path, "bars-1m") == bars_of(market, KLINE, "1", START, START + 2 * DAY)
    assert len(stored(tmp_path, "funding")) == 6


@pytest.mark.parametrize("kind", ["bars-1m", "funding", "trades"])
def test_what_was_deleted_is_fetched_again(
    kind: str, server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    """The store's files are the truth; what was remembered of them is not believed against them."""
    market.archive("2024-03-01")
    wanted = wanted_from(server, tmp_path, START, START + DAY, kinds=("klines", "funding", "trades"))
    fetch(wanted, waiting)
    before = files(tmp_path)
    shutil.rmtree(tmp_path / "bybit-linear" / "BTCUSDT" / kind)
    fetch(wanted, waiting)
    assert files(tmp_path) == before


def test_a_hole_is_believed_once_it_is_old(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    """Today's hole may be the venue's lag, so it is asked for each time; a month later it is known."""
    market.holes = [(NOW - 2 * HOUR, NOW - HOUR)]
    wanted = wanted_from(server, tmp_path, NOW - DAY, None, kinds=("klines", "funding"))
    bars, _ = fetch(wanted, waiting)
    assert bars.missing == 60
    assert [(hi - lo) // MINUTE // MS for lo, hi in bars.gaps] == [60]
    server.asked.clear()
    fetch(replace(wanted, to_ns=(NOW - HOUR // 2) * MS), waiting)
    assert len(server.asked_for(KLINE)) == 5  # the hole, twice the days there are, twice the hole
    market.holes = []
    assert fetch(wanted, waiting)[0].missing == 0


def test_a_settlement_that_comes_late_is_not_lost(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    """An hour after it settled the venue does not tell it; the next day it does."""
    server.now_ms = START + 40 * DAY + 9 * HOUR
    market.holes = [(START + 40 * DAY + 8 * HOUR, START + 40 * DAY + 9 * HOUR)]
    wanted = wanted_from(server, tmp_path, START + 39 * DAY, None, kinds=("funding",))
    assert fetch(wanted, waiting)[0].rows == 4
    market.holes = []
    server.now_ms += DAY
    assert fetch(wanted, waiting)[0].rows == 8


def test_a_symbol_that_is_younger_than_asked(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    market.listed_ms = START + 12 * HOUR
    wanted = wanted_from(server, tmp_path, START - 300 * DAY, START + DAY, kinds=("klines", "funding", "trades"))
    market.archive("2024-03-01")
    bars, funding, trades = fetch(wanted, waiting)
    assert stored(tmp_path, "bars-1m") == bars_of(market, KLINE, "1", START, START + DAY)
    assert (bars.before_ns, bars.gaps) == ((300 * DAY + 12 * HOUR) * MS, ())
    assert funding.rows == 1
    assert trades.rows == 1
    assert len(server.asked_for(KLINE)) < 12
    server.asked.clear()
    fetch(wanted, waiting)
    assert len(server.asked) == 2


def test_a_symbol_that_is_gone(server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path) -> None:
    market.ended_ms = START - 30 * DAY
    wanted = wanted_from(server, tmp_path, START - 40 * DAY, START, kinds=("klines", "funding"))
    bars, _ = fetch(wanted, waiting)
    assert bars.after_ns == 30 * DAY * MS
    assert stored(tmp_path, "bars-1m") == bars_of(market, KLINE, "1", START - 40 * DAY, START)


def test_rows_from_elsewhere_are_kept(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    """Bars that are in the store, wherever from, are not asked for; what lies around them is."""
    fetch(wanted_from(server, tmp_path, START + HOUR, START + 2 * HOUR), waiting)
    (tmp_path / "bybit-linear" / "BTCUSDT" / "downloads.json").unlink()
    server.asked.clear()
    fetch(wanted_from(server, tmp_path, START, START + 3 * HOUR), waiting)
    spans = [(int(query["start"]), int(query["end"]) + 1) for query in server.asked_for(KLINE)]
    assert spans == [(START, START + HOUR), (START + 2 * HOUR, START + 3 * HOUR)]
    assert stored(tmp_path, "bars-1m") == bars_of(market, KLINE, "1", START, START + 3 * HOUR)


# --- interrupted ------------------------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for the process being gone."""


class MortalWaiting(NoWaiting):
    """Is asked before every request, and lets only so many through."""

    def __init__(self, requests: int) -> None:
        super().__init__(NOW * MS)
        self._left = requests

    def wait(self, seconds: float) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed
        super().wait(seconds)


@pytest.mark.slow
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_killed_at_any_page_it_goes_on_where_it_was(data: st.DataObject, running: HistoryServer) -> None:
    """However often, what is left are whole files, no page is asked for in vain, and the end is the same."""
    listed = START - data.draw(st.integers(-20, 90), label="listed") * DAY
    market = Market(listed_ms=listed, holes=[(START + 5 * HOUR, START + 7 * HOUR)])
    for day in days("2024-02-28", 4):
        market.archive(day, rows=5)
    running.reset(market, now_ms=NOW)

    def fetch_all(store: Path, waiting: NoWaiting) -> None:
        wanted = wanted_from(running, store, START - 110 * DAY, START + 5 * DAY, kinds=("klines", "funding"))
        fetch(replace(wanted, intervals_ns=(HOUR * MS,)), waiting)
        fetch(replace(wanted, from_ns=(START - 3 * DAY) * MS, kinds=("trades",)), waiting)

    with tempfile.TemporaryDirectory() as folder:
        store, whole = Path(folder) / "killed", Path(folder) / "whole"
        fetch_all(whole, NoWaiting(NOW * MS))
        pages = len(running.asked)
        running.asked.clear()
        for _ in range(data.draw(st.integers(1, 4), label="kills")):
            with contextlib.suppress(Killed):
                fetch_all(store, MortalWaiting(data.draw(st.integers(0, 25), label="requests")))
            assert not list(store.rglob("*.part"))
            assert not list(store.rglob("*.csv.gz"))
            bars = stored(store, "bars-1h")
            assert bars == {at: row for at, row in stored(whole, "bars-1h").items() if at <= max(bars, default=0)}
        fetch_all(store, NoWaiting(NOW * MS))
        assert files(store) == files(whole)
        assert len(running.asked) <= pages + 4 * 10  # what was cut short, and who is asked for each time


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_ends_leaves_whole_files(
    end: signal.Signals, server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    """Killed, or by Ctrl-C, in the middle of the fifth page: two months are there as they should be."""
    arguments = ["BTCUSDT", "--interval", "15m", "--from", "2024-01-20", "--to", "2024-03-20", "--kind", "klines"]
    arguments += ["--base-url", server.url, "--store", str(tmp_path)]
    script = "import typer; from bot.cli.data_download import download; typer.run(download)"
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )

    def kill() -> None:
        if len(server.asked_for(KLINE)) == 5:
            process.send_signal(end)
            if end is signal.SIGKILL:
                process.wait()

    server.on_request = kill
    _, said = process.communicate(timeout=60)
    server.on_request = lambda: None
    assert process.returncode == (-9 if end is signal.SIGKILL else 1)
    assert ("interrupted; what is stored stays" in said) == (end is signal.SIGINT)
    assert "Traceback" not in said
    found = stored(tmp_path, "bars-15m")
    assert utc_ms("2024-02-29") in found
    assert found == bars_of(market, KLINE, "15", utc_ms("2024-01-20"), utc_ms("2024-03-01"))
    span = utc_ms("2024-01-20"), utc_ms("2024-03-20")
    fetch(wanted_from(server, tmp_path, *span, intervals_ns=(15 * MINUTE * MS,)), waiting)
    assert stored(tmp_path, "bars-15m") == bars_of(market, KLINE, "15", *span)


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_what_is_missing_is_counted_and_named(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    market.holes = [(START + 9 * HOUR, START + 9 * HOUR + 3 * MINUTE), (START + 15 * HOUR, START + 20 * HOUR)]
    wanted = wanted_from(server, tmp_path, START, START + DAY, kinds=("klines", "funding"))
    bars, funding = fetch(wanted, waiting)
    assert (bars.expected, bars.rows, bars.missing) == (1440, 1137, 303)
    assert [((lo // MS - START) // MINUTE, (hi // MS - START) // MINUTE) for lo, hi in bars.gaps] == [
        (540, 543),
        (900, 1200),
    ]
    assert (funding.rows, funding.gaps, funding.after_ns) == (2, (), 16 * HOUR * MS)
    longer = replace(wanted, kinds=("funding",), to_ns=(START + 2 * DAY) * MS)
    for _ in range(2):
        (funding,) = fetch(longer, waiting)
        assert [((lo // MS - START) // HOUR, (hi // MS - START) // HOUR) for lo, hi in funding.gaps] == [(8, 24)]


def test_a_row_that_cannot_be_is_left_out_and_listed(server: HistoryServer, waiting: NoWaiting, tmp_path: Path) -> None:
    server.faults = [
        Fault(
            act=local.altered(lambda rows, _: [[r[0], "0", *r[2:]] if int(r[0]) == START + HOUR else r for r in rows]),
            path=KLINE,
            times=1000,
        )
    ]
    (bars,) = fetch(wanted_from(server, tmp_path, START, START + DAY), waiting)
    assert (bars.rejected, bars.missing, bars.new) == (1, 1, 1439)
    (listed,) = (tmp_path / "bybit-linear" / "BTCUSDT" / "rejected").iterdir()
    assert "a low above another of its prices" in listed.read_text()
    assert str((START + HOUR) * MS) in listed.read_text()


def test_every_kind_of_mess_at_once_leaves_no_trace(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    market.archive("2024-03-01", rows=500)
    acts = [
        local.status(502),
        local.truncated,
        local.cut_off,
        local.ret_code(10006, "Too many visits!", X_Bapi_Limit_Reset_Timestamp=str(NOW + 1500)),
        local.status(403),
        local.altered(lambda rows, _: rows[::-1]),
        local.altered(lambda rows, _: rows[::2]),
        local.ret_code(10016),
    ]
    server.faults = [Fault(act=act, path=KLINE, after=3 * index) for index, act in enumerate(acts)]
    server.faults += [Fault(act=act, path=FUNDING) for act in acts[:4]]
    server.faults += [Fault(act=act, path="/trading/", after=0) for act in (local.half_file, local.cut_off)]
    wanted = wanted_from(server, tmp_path, START, START + 15 * DAY, kinds=("klines", "funding", "trades"))
    fetch(wanted, waiting)
    assert stored(tmp_path, "bars-1m") == bars_of(market, KLINE, "1", START, START + 15 * DAY)
    assert stored(tmp_path, "funding") == {at: [float(r)] for at, r in market.funding(START, START + 15 * DAY).items()}
    assert not [fault for fault in server.faults if fault.times]
    assert 600.0 in waiting.waits_s


def test_what_was_stored_before_an_error_stays(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    server.faults = [Fault(act=local.status(404), path=KLINE, times=1000, after=4)]
    wanted = wanted_from(server, tmp_path, START - 30 * DAY, START + 20 * DAY, intervals_ns=(15 * MINUTE * MS,))
    with pytest.raises(VenueError, match="HTTP 404"):
        fetch(wanted, waiting)
    assert stored(tmp_path, "bars-15m") == bars_of(market, KLINE, "15", START - 30 * DAY, START)


def test_days_that_the_archive_lacks(server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path) -> None:
    """A day of long ago is absent, yesterday's is not there yet, today's is not asked for."""
    old, yesterday = "2024-04-01", "2024-04-09"
    for day in ("2024-03-31", "2024-04-02"):
        market.archive(day)
    wanted = wanted_from(server, tmp_path, utc_ms("2024-03-31"), None, kinds=("trades",))
    (done,) = fetch(wanted, waiting)
    assert (done.rows, done.expected, done.pending) == (2, 10, ("2024-04-07", "2024-04-08", yesterday))
    assert [lo for lo, _ in done.gaps] == [utc_ms(old) * MS]
    server.asked.clear()
    market.archive(yesterday)
    (done,) = fetch(wanted, waiting)
    assert sorted(path[-17:-7] for path, _ in server.asked if path.startswith("/trading")) == [
        "2024-04-07",
        "2024-04-08",
        yesterday,
    ]
    assert done.rows == 3
    assert not list((tmp_path / ".downloading" / "bybit-linear").iterdir())


def test_a_broken_file_of_the_archive_ends_it_and_leaves_nothing(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    market.archived["2024-03-01"] = market.archive("2024-03-01")[:-20]
    with pytest.raises(DataError, match="is not a whole gzip file"):
        fetch(wanted_from(server, tmp_path, START, START + DAY, kinds=("trades",)), waiting)
    assert stored(tmp_path, "trades") == {}
    assert not list(tmp_path.rglob("*.gz"))


def test_trades_of_another_source_are_left_alone(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    market.archive("2024-03-01")
    wanted = wanted_from(server, tmp_path, START, START + DAY, kinds=("trades",))
    fetch(wanted, waiting)
    path = tmp_path / "bybit-linear" / "BTCUSDT" / "trades" / "2024-03-01.parquet"
    (part,) = MarketStore(tmp_path).read("bybit-linear", "BTCUSDT", "trades")
    path.unlink()
    MarketStore(tmp_path).write(replace(part, source="capture"), name="capture")
    before = files(tmp_path)
    (done,) = fetch(wanted, waiting)
    assert (done.kept, done.rows, files(tmp_path)) == (("2024-03-01",), 1, before)
    with pytest.raises(DataError, match="trades of capture"):
        fetch(replace(wanted, again=True), waiting)


# --- the instrument, and what is refused ------------------------------------------------------------------------------


def test_the_filters_are_written_ready_to_paste(server: HistoryServer, waiting: NoWaiting, tmp_path: Path) -> None:
    fetch(wanted_from(server, tmp_path, START, START + HOUR), waiting)
    text = (tmp_path / "bybit-linear" / "BTCUSDT" / "instrument.toml").read_text()
    (table,) = tomllib.loads(text, parse_float=Decimal)["market"]["instruments"]
    assert table == {
        "name": "BTCUSDT",
        "base": "BTC",
        "quote": "USDT",
        "tick_size": Decimal("0.1"),
        "qty_step": Decimal("0.001"),
        "qty_min": Decimal("0.001"),
        "qty_max": 1190,
        "notional_min": 5,
    }
    assert "every 480 minutes" in text


def test_an_unknown_symbol_is_named_before_anything_is_fetched(
    server: HistoryServer, waiting: NoWaiting, tmp_path: Path
) -> None:
    wanted = wanted_from(server, tmp_path, START, START + HOUR, symbols=("BTCUSDT", "BTCUSD"))
    with pytest.raises(DataError, match=r"BTCUSD: .* lists no such linear symbol"):
        fetch(wanted, waiting)
    assert server.asked_for(KLINE) == []


def test_a_symbol_that_is_not_listed_any_more_is_taken_when_asked_for(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    server.faults = [Fault(act=local.altered(lambda rows, _: []), path="/v5/market/instruments-info", times=1000)]
    wanted = wanted_from(server, tmp_path, START, START + HOUR)
    with pytest.raises(DataError, match="--delisted"):
        fetch(wanted, waiting)
    fetch(replace(wanted, delisted=True), waiting)
    assert stored(tmp_path, "bars-1m") == bars_of(market, KLINE, "1", START, START + HOUR)


def test_the_future_cannot_be_downloaded(server: HistoryServer, waiting: NoWaiting, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lies in the future"):
        fetch(wanted_from(server, tmp_path, NOW + DAY, None), waiting)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"category": "inverse"}, "--category inverse: not known; choose of linear, spot"),
        ({"kinds": ("candles",)}, "--kind candles: not known"),
        ({"category": "spot", "kinds": ("funding",)}, "--kind funding: spot has none"),
        ({"symbols": ("btcusdt",)}, "capital letters"),
        ({"symbols": ("../x",)}, "not a symbol"),
        ({"intervals_ns": (7 * MINUTE * MS,)}, "--interval 7m: the venue has bars of 1m, 3m"),
        ({"intervals_ns": (7 * DAY * MS,)}, "--interval 1w"),
        ({"to_ns": START * MS}, "--to: not after --from"),
        ({"base_url": "testnet", "kinds": ("trades",)}, "no archive of the testnet"),
        ({"base_url": "api.bybit.com"}, "--base-url api.bybit.com: not a URL"),
        ({"archive_url": "ftp://x"}, "--archive-url ftp://x"),
    ],
)
def test_what_cannot_be_wanted_is_refused(
    more: dict[str, Any], words: str, server: HistoryServer, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        wanted_from(server, tmp_path, START, START + DAY, **more)


def test_the_testnet_s_prices_are_kept_apart(server: HistoryServer, tmp_path: Path) -> None:
    for url in ("testnet", "https://api-testnet.bybit.com/"):
        assert wanted_from(server, tmp_path, START, None, base_url=url).venue == "bybit-testnet-linear"
    assert wanted_from(server, tmp_path, START, None, base_url="mainnet").venue == "bybit-linear"


def test_a_damaged_log_says_what_to_do(server: HistoryServer, waiting: NoWaiting, tmp_path: Path) -> None:
    (tmp_path / "bybit-linear" / "BTCUSDT").mkdir(parents=True)
    (tmp_path / "bybit-linear" / "BTCUSDT" / "downloads.json").write_text("{")
    with pytest.raises(DataError, match=r"downloads\.json: cannot be read .* delete it"):
        fetch(wanted_from(server, tmp_path, START, START + DAY), waiting)
