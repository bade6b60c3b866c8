"""`bot data download` against a local Bybit: what ends up in the store is the venue's truth, asked for once."""

import shutil
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from bot.store.market_store import MarketStore
from tests.support.bybit_history_server import DAY, HOUR, MINUTE, HistoryServer, Market, days, utc_ms
from tests.support.downloads import FUNDING, KLINE, MARK, MS, NOW, START, bars_of, fetch, files, stored, wanted_from
from tests.support.waits import NoWaiting


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
