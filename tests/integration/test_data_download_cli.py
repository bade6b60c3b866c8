"""`bot data download` as people type it: what it prints, and one line for what they cannot have."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.app.data_download import Progress, download
from bot.venues.bybit.history import BybitHistory
from tests.support import history_trouble as trouble
from tests.support.bybit_history_server import DAY, HOUR, MINUTE, Fault, HistoryServer, Market, serving, utc_ms
from tests.support.cli import Done, assert_refused, bot
from tests.support.downloads import MS, wanted_from
from tests.support.waits import NoWaiting

START = utc_ms("2024-03-01")
NOW = START + 40 * DAY


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
def server(running: HistoryServer) -> HistoryServer:
    market = Market(listed_ms=START - 2 * HOUR, holes=[(START + 9 * HOUR, START + 9 * HOUR + 3 * MINUTE)])
    running.reset(market, Market(symbol="ETHUSDT"), now_ms=NOW)
    return running


def data_download(server: HistoryServer, cwd: Path, *words: str) -> Done:
    return bot("data", "download", *words, "--base-url", server.url, "--archive-url", server.url, cwd=cwd)


def test_it_says_what_there_is_and_what_is_missing(server: HistoryServer, tmp_path: Path) -> None:
    done = data_download(server, tmp_path, "BTCUSDT", "--from", "2024-02-29", "--to", "2024-03-02")
    assert done.returncode == 0, done.stderr
    days = "from 2024-02-29T00:00:00Z to 2024-03-02T00:00:00Z"
    assert done.stdout.splitlines() == [
        f"BTCUSDT bars-1m: 1,557 of 2,880 rows {days}; 1,557 rows new, 8 requests",
        "  nothing before 2024-02-29T22:00:00Z",
        "  gap: 2024-03-01T09:00:00Z to 2024-03-01T09:03:00Z",
        f"BTCUSDT funding: 3 rows {days}; 3 rows new, 3 requests",
        "  nothing before 2024-03-01T00:00:00Z",
    ]
    assert (tmp_path / "data/market/bybit-linear/BTCUSDT/bars-1m/2024-03.parquet").is_file()
    assert data_download(server, tmp_path, "BTCUSDT", "--from", "2024-02-29", "--to", "2024-03-02").returncode == 0


def test_json_says_the_same(server: HistoryServer, tmp_path: Path) -> None:
    words = ("BTCUSDT", "ETHUSDT", "BTCUSDT", "--kind", "klines,mark", "--interval", "1h,1d", "--json")
    done = data_download(server, tmp_path, *words, "--from", "2024-02-29T22:30", "--to", "2024-03-03", "--store", "s")
    assert done.returncode == 0, done.stderr
    datasets = json.loads(done.stdout)["datasets"]
    assert [(each["symbol"], each["kind"], each["rows"]) for each in datasets] == [
        *(("BTCUSDT", "bars-1h", 48), ("BTCUSDT", "bars-1d", 2), ("BTCUSDT", "mark-1h", 48), ("BTCUSDT", "mark-1d", 2)),
        *(("ETHUSDT", "bars-1h", 49), ("ETHUSDT", "bars-1d", 2), ("ETHUSDT", "mark-1h", 49), ("ETHUSDT", "mark-1d", 2)),
    ]
    assert datasets[0]["from"] == "2024-02-29T23:00:00Z"
    assert [each["missing"] for each in datasets] == [1, 0, 1, 0, 0, 0, 0, 0]
    assert datasets[0]["gaps"] == [["2024-03-01T09:00:00Z", "2024-03-01T10:00:00Z"]]


def test_what_was_brought_is_told_also_where_the_rest_fails(server: HistoryServer, tmp_path: Path) -> None:
    server.faults = [Fault(act=trouble.status(404), path="/v5/market/funding", times=1000)]
    done = data_download(server, tmp_path, "ETHUSDT", "--from", "2024-03-01", "--to", "2024-03-02")
    assert_refused(done, 1, "HTTP 404")
    assert done.stdout.startswith("ETHUSDT bars-1m: 1,440 of 1,440 rows")


def test_a_wait_is_told(server: HistoryServer, tmp_path: Path) -> None:
    server.faults = [Fault(act=trouble.status(502))]
    done = data_download(server, tmp_path, "ETHUSDT", "--from", "2024-03-01", "--to", "2024-03-02")
    assert done.returncode == 0
    assert "HTTP 502" in done.stderr
    assert "asking again in" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["BTCUSDT", "--from", "yesterday"], "--from yesterday: not a time; write it like 2024-03-01"),
        (["BTCUSDT", "--from", ""], "--from: empty"),
        (["BTCUSDT", "--from", "2024-03-02", "--to", "2024-03-01"], "--to: not after --from"),
        (["BTCUSDT", "--from", "2024-03-01", "--interval", "minute"], "--interval: 'minute' is not a duration"),
        (["BTCUSDT", "--from", "2024-03-01", "--kind", "bars"], "--kind bars: not known; choose of klines"),
        (["btcusdt", "--from", "2024-03-01"], "btcusdt: not a symbol of the venue"),
        (["BTCUSDT"], "--from"),
        (["--from", "2024-03-01"], "symbols"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], said: str, server: HistoryServer, tmp_path: Path) -> None:
    assert_refused(data_download(server, tmp_path, *words), 2, said)
    assert server.asked == []


def test_an_unknown_symbol_is_one_line(server: HistoryServer, tmp_path: Path) -> None:
    done = data_download(server, tmp_path, "BTCUSD", "--from", "2024-03-01")
    assert_refused(done, 1, "BTCUSD: ", "lists no such linear symbol")


def test_progress_goes_from_nothing_to_all(server: HistoryServer, tmp_path: Path) -> None:
    waiting = NoWaiting(NOW * MS)
    seen: list[Progress] = []
    wanted = wanted_from(server, tmp_path, START, START + 5 * DAY, kinds=("klines", "funding"))
    history = BybitHistory(base_url=server.url, clock=waiting, waiting=waiting, dice=lambda: 0.0)
    with history:
        download(wanted, history, on_progress=seen.append)
    parts = [each.done for each in seen]
    assert parts == sorted(parts)
    assert 0 <= parts[0] < parts[-1] == 1
    assert {each.what for each in seen} == {"BTCUSDT bars-1m", "BTCUSDT funding"}
    assert all(START * MS <= each.at_ns <= (START + 5 * DAY) * MS for each in seen)
    assert seen[3].rows_per_second > 0
