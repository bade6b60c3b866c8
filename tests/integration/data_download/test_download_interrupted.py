"""A download that is killed: whole files are left, and the next one goes on where it was."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.bybit_history_server import DAY, HOUR, MINUTE, HistoryServer, Market, days, utc_ms
from tests.support.cli import ROOT
from tests.support.downloads import KLINE, MS, NOW, START, bars_of, fetch, files, stored, wanted_from
from tests.support.waits import NoWaiting


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
