"""pybit and the archive against a local Bybit that misbehaves: what is borne, what is waited for, what ends it."""

import gzip
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from bot.domain.errors import DataError, VenueError
from bot.venues.bybit.history import BybitHistory
from bot.venues.bybit.history_pages import MS
from bot.venues.bybit.history_walk import BarWalk, FundingWalk
from tests.support import history_trouble as trouble
from tests.support.bybit_history_server import (
    DAY,
    HOUR,
    MINUTE,
    Fault,
    HistoryServer,
    Market,
    Misbehave,
    Request,
    serving,
    utc_ms,
)
from tests.support.waits import NoWaiting

START = utc_ms("2024-03-01")
NOW = START + 3 * DAY + 20_000
DAY_1 = date(2024, 3, 1)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def running() -> Iterator[HistoryServer]:
    with serving(now_ms=NOW) as started:
        yield started


@pytest.fixture
def server(running: HistoryServer) -> HistoryServer:
    running.reset(Market(holes=[(START + 90 * MINUTE, START + 95 * MINUTE)]), now_ms=NOW)
    return running


@pytest.fixture
def waiting() -> NoWaiting:
    return NoWaiting(NOW * MS)


@pytest.fixture
def client(server: HistoryServer, waiting: NoWaiting) -> Iterator[BybitHistory]:
    with client_of(server.url, waiting) as made:
        yield made


def client_of(url: str, waiting: NoWaiting, timeout_s: float = 1.0) -> BybitHistory:
    return BybitHistory(
        base_url=url, archive_url=url, timeout_s=timeout_s, clock=waiting, waiting=waiting, dice=lambda: 0.0
    )


def minutes(client: BybitHistory, count: int = 1300) -> dict[int, list[int]]:
    """Fetch so many minutes from the start on; return their mantissas by the ms of their open."""
    walk = BarWalk(
        series="kline",
        category="linear",
        symbol="BTCUSDT",
        step_ns=MINUTE * MS,
        stretches=[(START * MS, (START + count * MINUTE) * MS)],
        closed_by_ns=client.server_time_ns(),
    )
    while (ask := walk.ask()) is not None:
        client.answer(ask, walk.answer)
    rows = walk.take(2**62)
    assert (rows.price_exponent, rows.qty_exponent) == (-1, -3)
    names = ("open", "high", "low", "close", "volume")
    columns = [rows.columns[name].tolist() for name in names]
    return {int(at) // MS: list(row) for at, *row in zip(rows.columns["open_ns"], *columns, strict=True)}


def truth(server: HistoryServer, count: int = 1300) -> dict[int, list[int]]:
    """Return the same as the market has it."""
    (market,) = server.markets.values()
    bars = market.bars("/v5/market/kline", "1", START, min(START + count * MINUTE, NOW // MINUTE * MINUTE))
    return {
        at: [int(Decimal(text) * (10 if index < 4 else 1000)) for index, text in enumerate(texts[:5])]
        for at, texts in bars.items()
    }


def test_a_quiet_venue_is_asked_no_more_than_needed(
    server: HistoryServer, client: BybitHistory, waiting: NoWaiting
) -> None:
    assert minutes(client) == truth(server)
    assert len(server.asked_for("/v5/market/kline")) == 3  # two pages, and the hole once more
    assert waiting.waits_s == []


PASSING: dict[str, tuple[Misbehave, int]] = {
    "HTTP 500": (trouble.status(500, "oops"), 3),
    "HTTP 502 with HTML": (trouble.status(502, "<html>"), 3),
    "HTTP 429": (trouble.status(429), 3),
    "silence": (trouble.silence, 2),
    "hung up": (trouble.cut_off, 3),
    "half of the JSON": (trouble.truncated, 3),
    "no JSON": (trouble.text("<html>maintenance</html>"), 3),
    "nothing": (trouble.text(""), 3),
    "busy": (trouble.ret_code(10016, "Server error."), 3),
    "rate limit without a reset": (trouble.ret_code(10006, "Too many visits!"), 3),
    "rate limit that is over": (trouble.ret_code(10006, "Too many visits!", X_Bapi_Limit_Reset_Timestamp="1"), 3),
    "rate limit with junk": (trouble.ret_code(10006, "Too many visits!", X_Bapi_Limit_Reset_Timestamp="soon"), 3),
    "null": (trouble.text("null"), 2),
    "a list": (trouble.text("[1]"), 2),
    "no retCode": (trouble.text('{"result": {}}'), 2),
    "no result": (trouble.text('{"retCode": 0}'), 2),
    "error without a text": (trouble.text('{"retCode": 10016}'), 2),
    "unsorted": (trouble.altered(lambda rows, _: rows[1:] + rows[:1]), 2),
    "oldest first": (trouble.altered(lambda rows, _: rows[::-1]), 2),
    "off the grid": (trouble.altered(lambda rows, _: [*rows, [str(START + 1), *rows[0][1:]]]), 2),
    "numbers, not texts": (trouble.altered(lambda rows, _: [[float(x) for x in row] for row in rows]), 2),
    "two versions of a bar": (
        trouble.altered(lambda rows, _: [rows[0], [*rows[0][:4], "1", *rows[0][5:]], *rows[1:]]),
        2,
    ),
    "another answer": (trouble.altered(lambda rows, _: [[str(START - DAY), *rows[0][1:]]]), 2),
    "nothing inside": (trouble.altered(lambda rows, _: []), 1),
    "half of it": (trouble.altered(lambda rows, _: rows[: len(rows) // 2]), 1),
    "every second": (trouble.altered(lambda rows, _: rows[::2]), 1),
    "each twice": (trouble.altered(lambda rows, _: [row for row in rows for _ in "12"]), 1),
    "its neighbours, too": (trouble.with_neighbours(7), 5),
}


@pytest.mark.parametrize("what", PASSING)
@pytest.mark.parametrize("after", [0, 1])
def test_what_passes_leaves_no_trace(
    what: str, after: int, server: HistoryServer, client: BybitHistory, waiting: NoWaiting
) -> None:
    """Whatever goes wrong with the first page or the second, every bar is there in the end, once."""
    act, times = PASSING[what]
    server.faults = [Fault(act=act, path="/v5/market/kline", times=times, after=after)]
    assert minutes(client) == truth(server)
    assert all(wait <= 600 for wait in waiting.waits_s)


LASTING: dict[str, tuple[Misbehave, type[Exception], str]] = {
    "HTTP 500": (trouble.status(500), VenueError, "HTTP 500: .* 9 times in a row"),
    "no such path": (trouble.status(404), VenueError, "HTTP 404"),
    "unauthorised": (trouble.status(401), VenueError, "HTTP 401"),
    "refused": (trouble.ret_code(10001, "params error: Symbol Invalid"), VenueError, "10001: params error"),
    "busy": (trouble.ret_code(10016, "Server error."), VenueError, "10016: Server error., 9 times"),
    "hung up": (trouble.cut_off, VenueError, "no answer: http://.* cannot be reached"),
    "no JSON": (trouble.text("<html>"), VenueError, "not JSON"),
    "unsorted": (trouble.altered(lambda rows, _: rows[::-1]), DataError, "3 times: .* not sorted"),
    "another symbol": (trouble.altered(lambda rows, r: _rename(r)), DataError, "asked for the symbol BTCUSDT"),
}


def _rename(request: Request) -> None:
    request.envelope["result"]["symbol"] = "ETHUSDT"


@pytest.mark.parametrize("what", LASTING)
def test_what_lasts_ends_with_one_clear_line(what: str, server: HistoryServer, client: BybitHistory) -> None:
    act, error, words = LASTING[what]
    server.faults = [Fault(act=act, path="/v5/market/kline", times=1000)]
    with pytest.raises(error, match=words) as raised:
        minutes(client)
    assert "\n" not in str(raised.value)


def test_silence_that_lasts_says_so(server: HistoryServer, waiting: NoWaiting) -> None:
    server.faults = [Fault(act=trouble.silence, path="/v5/market/time", times=1000)]
    with client_of(server.url, waiting, 0.2) as client, pytest.raises(VenueError, match="stays silent, 9 times"):
        client.server_time_ns()


def test_nobody_there_says_so(waiting: NoWaiting) -> None:
    with (
        client_of("http://127.0.0.1:9", waiting) as client,
        pytest.raises(VenueError, match=r"cannot be reached \(.*refused"),
    ):
        client.server_time_ns()


def test_a_rate_limit_is_waited_out_by_the_venue_s_clock(
    server: HistoryServer, client: BybitHistory, waiting: NoWaiting
) -> None:
    """Ours may go wrong by an hour: the difference is measured."""
    waiting.time_ns += 3600 * 10**9
    client.server_time_ns()
    reset = str(NOW + 4000)
    server.faults = [Fault(act=trouble.ret_code(10006, "Too many visits!", X_Bapi_Limit_Reset_Timestamp=reset))]
    client.instruments("linear", "BTCUSDT")
    assert waiting.waits_s == [4.25]
    assert "Too many visits!" in waiting.told[0]


def test_a_ban_is_waited_out_and_told(server: HistoryServer, client: BybitHistory, waiting: NoWaiting) -> None:
    server.faults = [Fault(act=trouble.status(403, "{}"), path="/v5/market/kline", times=1000)]
    waiting.on_wait = lambda _: server.faults.clear()
    assert minutes(client) == truth(server)
    assert waiting.waits_s == [600.0]
    assert "shut out" in waiting.told[0]
    assert "10 minutes" in waiting.told[0]


def test_a_forming_bar_is_never_kept(server: HistoryServer, client: BybitHistory) -> None:
    """The server's newest bar is the forming one, of which it tells other prices than of the closed one."""
    count = (NOW - START) // MINUTE + 10
    server.faults = [Fault(act=trouble.with_neighbours(3), path="/v5/market/kline", times=1000)]
    found = minutes(client, count)
    assert found == truth(server, count)
    assert max(found) + MINUTE <= NOW


def test_pages_that_contradict_each_other_end_it(server: HistoryServer, client: BybitHistory) -> None:
    server.faults = [Fault(act=trouble.with_neighbours(3, conflicting=True), path="/v5/market/kline")]
    with pytest.raises(DataError, match=r"the bar of 2024-03-01T16:42:00Z was .*, and now"):
        minutes(client)


@pytest.mark.parametrize("act", [trouble.status(500), trouble.truncated, trouble.altered(lambda rows, _: rows[::-1])])
def test_funding_is_whole_whatever_passes(act: Misbehave, server: HistoryServer, client: BybitHistory) -> None:
    (market,) = server.markets.values()
    market.funding_step_ms = lambda _: HOUR
    market.listed_ms = START - 40 * DAY
    market.holes = [(START + 2 * HOUR, START + 3 * HOUR)]
    server.faults = [Fault(act=act, path="/v5/market/funding", times=2, after=1)]
    first = START - 30 * DAY
    walk = FundingWalk(category="linear", symbol="BTCUSDT", from_ns=first * MS, to_ns=NOW * MS)
    while (ask := walk.ask()) is not None:
        client.answer(ask, walk.answer)
    assert [int(at) // MS for at in walk.rows().columns["ts_ns"]] == sorted(market.funding(first, NOW))
    assert walk.holes == [((START + HOUR) * MS, (START + 3 * HOUR) * MS)]


def test_instruments_are_paged_by_their_cursor(server: HistoryServer, client: BybitHistory) -> None:
    """The last page names a cursor too, and the cursor goes back percent-encoded as it came."""
    server.markets = {("linear", name): Market(symbol=name) for name in ("AUSDT", "BUSDT", "CUSDT", "DUSDT", "EUSDT")}
    server.instruments_page = 2
    assert [each.symbol for each in client.instruments("linear")] == ["AUSDT", "BUSDT", "CUSDT", "DUSDT", "EUSDT"]
    assert [query.get("cursor") for query in server.asked_for("/v5/market/instruments")] == [
        None,
        "first%3D2",
        "first%3D4",
        "first%3D5",
    ]
    assert client.instruments("linear", "NONEUSDT") == []


def test_recent_trades_are_as_many_as_rest_gives(server: HistoryServer, client: BybitHistory) -> None:
    server.markets["spot", "BTCUSDT"] = Market(category="spot")
    assert len(client.recent_trades("linear", "BTCUSDT")) == 1000
    assert len(client.recent_trades("spot", "BTCUSDT")) == 60
    server.faults = [Fault(act=trouble.text('{"retCode": 0, "result": {"list": [1]}}'), times=1000)]
    with pytest.raises(DataError, match="no list of trades"):
        client.recent_trades("linear", "BTCUSDT")


# --- the archive ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", ["linear", "spot"])
def test_a_day_is_downloaded_as_it_is(
    category: str, server: HistoryServer, client: BybitHistory, tmp_path: Path
) -> None:
    market = server.markets[category, "BTCUSDT"] = Market(category=category)
    file = market.archive("2024-03-01", rows=2000)
    assert client.archive_day(category, "BTCUSDT", DAY_1, tmp_path / "day.csv.gz")
    assert (tmp_path / "day.csv.gz").read_bytes() == file
    assert not client.archive_day(category, "BTCUSDT", date(2024, 3, 2), tmp_path / "none.csv.gz")
    assert not (tmp_path / "none.csv.gz").exists()


@pytest.mark.parametrize(
    ("act", "times"),
    [
        (trouble.status(503), 3),
        (trouble.cut_off, 3),
        (trouble.silence, 2),
        (trouble.half_file, 2),
        (trouble.text("<html>"), 2),
    ],
)
def test_a_broken_download_is_done_again(
    act: Misbehave, times: int, server: HistoryServer, client: BybitHistory, tmp_path: Path
) -> None:
    (market,) = server.markets.values()
    file = market.archive("2024-03-01", rows=2000)
    server.faults = [Fault(act=act, path="/trading/", times=times)]
    assert client.archive_day("linear", "BTCUSDT", DAY_1, tmp_path / "day.csv.gz")
    assert (tmp_path / "day.csv.gz").read_bytes() == file
    assert gzip.decompress(file)


def test_a_file_that_stays_broken_ends_it(server: HistoryServer, client: BybitHistory, tmp_path: Path) -> None:
    (market,) = server.markets.values()
    market.archived["2024-03-01"] = market.archive("2024-03-01")[:-9]
    with pytest.raises(DataError, match=r"BTCUSDT2024-03-01\.csv\.gz is not a whole gzip file"):
        client.archive_day("linear", "BTCUSDT", DAY_1, tmp_path / "day.csv.gz")


def test_a_stop_is_heard_before_the_next_attempt(server: HistoryServer, waiting: NoWaiting) -> None:
    class Stop(Exception):
        pass

    def stop(seconds: float) -> None:
        raise Stop

    server.faults = [Fault(act=trouble.status(500), times=1000)]
    waiting.on_wait = stop
    with client_of(server.url, waiting) as client, pytest.raises(Stop):
        client.server_time_ns()
    assert len(server.asked) == 1
