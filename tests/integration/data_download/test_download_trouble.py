"""What goes wrong with a download, and what is refused before it begins: a line that says what to do."""

import re
import tomllib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.domain.errors import ConfigError, DataError, VenueError
from bot.store.market_store import MarketStore
from tests.support import history_trouble as trouble
from tests.support.bybit_history_server import DAY, HOUR, MINUTE, Fault, HistoryServer, Market, utc_ms
from tests.support.downloads import FUNDING, KLINE, MS, NOW, START, bars_of, fetch, files, stored, wanted_from
from tests.support.waits import NoWaiting

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
            act=trouble.altered(
                lambda rows, _: [[r[0], "0", *r[2:]] if int(r[0]) == START + HOUR else r for r in rows]
            ),
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
        trouble.status(502),
        trouble.truncated,
        trouble.cut_off,
        trouble.ret_code(10006, "Too many visits!", X_Bapi_Limit_Reset_Timestamp=str(NOW + 1500)),
        trouble.status(403),
        trouble.altered(lambda rows, _: rows[::-1]),
        trouble.altered(lambda rows, _: rows[::2]),
        trouble.ret_code(10016),
    ]
    server.faults = [Fault(act=act, path=KLINE, after=3 * index) for index, act in enumerate(acts)]
    server.faults += [Fault(act=act, path=FUNDING) for act in acts[:4]]
    server.faults += [Fault(act=act, path="/trading/", after=0) for act in (trouble.half_file, trouble.cut_off)]
    wanted = wanted_from(server, tmp_path, START, START + 15 * DAY, kinds=("klines", "funding", "trades"))
    fetch(wanted, waiting)
    assert stored(tmp_path, "bars-1m") == bars_of(market, KLINE, "1", START, START + 15 * DAY)
    assert stored(tmp_path, "funding") == {at: [float(r)] for at, r in market.funding(START, START + 15 * DAY).items()}
    assert not [fault for fault in server.faults if fault.times]
    assert 600.0 in waiting.waits_s


def test_what_was_stored_before_an_error_stays(
    server: HistoryServer, market: Market, waiting: NoWaiting, tmp_path: Path
) -> None:
    server.faults = [Fault(act=trouble.status(404), path=KLINE, times=1000, after=4)]
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
    server.faults = [Fault(act=trouble.altered(lambda rows, _: []), path="/v5/market/instruments-info", times=1000)]
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
