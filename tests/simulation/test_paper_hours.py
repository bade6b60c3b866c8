"""Hours of a paper run by a network on two symbols, with faults all the while: nothing leaks, and all agrees.

Emulator, run and inference are processes of their own. What is true is asked of the venue; `bot verify` runs the whole
run again from its record. What was measured is in `figures.txt` of the test's directory.
"""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.app.models import use_model
from bot.app.verify import verify_run
from bot.store.tape_parts import read_rows
from tests.support.paper import KEY, ROOT, SECRET, Emulator, Process, bot
from tests.support.served import write_served
from tests.support.truth import Ledger, Venue, differences

NAMES = ("BTCUSDT", "ETHUSDT")
BARS = ("15s", "1m", "5m")
_SECOND_LISTING = """
[[listings]]
symbol = "ETHUSDT"
base = "ETH"
tick_size = "0.01"
qty_step = "0.01"
qty_min = "0.01"
qty_max = "7000"
price_places = 2
sample = { seed = 8, trades_per_day = 100_000 }
"""
_CONFIG = """
[run]
out = "{directory}/runs"
compare_every = "1m"
[venue]
environment = "emulator"
url = "{url}"
uid = 592324
[emulator]
key = "{key}"
secret = "{secret}"
[[symbols]]
symbol = "BTCUSDT"
leverage = 10
[[symbols]]
symbol = "ETHUSDT"
leverage = 10
[bars]
scales = ["15s"]
lateness = "200ms"
[predictor]
kind = "artifact"
path = "{store}"
calibration = "off"
[inference]
deadline = "7500ms"
look_every = "1s"
silent_max = "2m"
[strategy]
name = "{root}/tests/support/forecast_trader.py:ForecastTrader"
params = {{ scale = "1m", qty = "0.05" }}
[ledger]
at = "{directory}/ledger"
checkpoint_every = "5m"
[risk]
mark_age_max = "30s"
orders_per_second_max = 100
[protections]
drawdown_reduce = 0
drawdown_halt = 0
daily_loss_reduce = 0
daily_loss_halt = 0
"""
_FAULTS = (
    {"kind": "lost_ack", "probability": 0.02, "where": {"op": "order*"}},
    {"kind": "lost_request", "probability": 0.02, "where": {"op": "order*"}},
    {"kind": "late_request", "probability": 0.02, "where": {"op": "order*"}, "delay_ns": 1_500_000_000},
    {"kind": "drop_frame", "probability": 0.02, "where": {"topic": "execution*"}},
    {"kind": "drop_frame", "probability": 0.02, "where": {"topic": "order"}},
    {"kind": "duplicate_frame", "probability": 0.05, "where": {"topic": "execution*"}},
    {"kind": "http_status", "probability": 0.02, "where": {"socket": "http"}, "status": 503},
)
_CUT_S = 60.0  # between two cuts of a connection, the venue's time


@pytest.mark.soak
@pytest.mark.parametrize(
    ("hours", "speed"),
    [
        pytest.param(0.25, 8.0, id="quarter"),
        pytest.param(1.5, 8.0, id="ninety-minutes"),
        pytest.param(4.0, 8.0, id="four-hours"),
    ],
)
def test_hours_of_trading_by_a_network(tmp_path: Path, hours: float, speed: float) -> None:
    """Books, record and memory are as they should be, with a connection cut every minute."""
    chance = random.Random(3)
    store = tmp_path / "artifacts"
    store.mkdir()
    use_model(store, write_served(store, bars=BARS, instruments=NAMES).name)
    emulator = Emulator(tmp_path, speed=speed, more=_SECOND_LISTING, seconds=240, trades=150_000)
    run: Process | None = None
    try:
        config = tmp_path / "hours.toml"
        text = _CONFIG.format(directory=tmp_path, url=emulator.url, key=KEY, secret=SECRET, store=store, root=ROOT)
        config.write_text(text, encoding="utf-8")
        run = LongRun(config, watch_s=20.0, kept=tmp_path / "looks.jsonl")
        run.until('"ready"', 600)
        for fault in _FAULTS:
            emulator.add_fault(**fault)
        for _ in range(int(hours * 3600 / _CUT_S)):
            run.wait(_CUT_S / speed)
            socket = chance.choice(("private", "trade", "linear"))
            emulator.add_fault(kind="disconnect", where={"socket": socket}, delay_ns=2_000_000_000)
        emulator.clear_faults()
        run.wait(30 / speed)
        assert bot("pause", str(tmp_path / "ledger")).returncode == 0
        run.wait(60 / speed)
        assert run.end(signal.SIGTERM, 120) == 0, run.said[-2000:]
        looks, left = run.looks(), run.last()
        (tmp_path / "figures.txt").write_text(report(looks), encoding="utf-8")
        venue, ledger = Venue(emulator.url, KEY, SECRET), Ledger(tmp_path / "ledger")
        assert differences(venue, ledger) == []
    finally:
        if run is not None:
            run.end(signal.SIGKILL)
        emulator.end(signal.SIGKILL)
    assert left["left"] == []
    checked = bot("ledger", "check", str(tmp_path / "ledger"), seconds=300)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    verified = verify_run(Path(left["directory"]))
    assert (verified.differences, verified.cautions) == ([], [])
    _assert_spoke(Path(left["directory"]), ledger, hours)
    tasks = [look["tasks"] for look in looks]
    # Those of a connection that is made anew come and go; what is left behind stays.
    assert np.median(tasks[-20:]) <= np.median(tasks[:20]) + 2, "tasks are left behind"
    if hours >= 1:
        assert slope(looks, "own_mib") < 1.0
        assert slope(looks, "children_mib") < 1.0


class LongRun(Process):
    """`tests.support.long_run`."""

    def __init__(self, config: Path, *, watch_s: float, kept: Path) -> None:
        command = [sys.executable, "-m", "tests.support.long_run", str(config), str(watch_s)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with_pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, **with_pipe)  # type: ignore[call-overload]
        self.said = ""
        self._kept = kept  # what it said, also of a trial that is ended before it is over

    def listen(self, seconds: float) -> bool:
        """See `Process`."""
        talks = super().listen(seconds)
        self._kept.write_text(self.said, encoding="utf-8")
        return talks

    def _told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]

    def looks(self) -> list[dict[str, Any]]:
        """Return what the run held, look by look."""
        return [each for each in self._told() if "own_mib" in each]

    def last(self) -> dict[str, Any]:
        """Return what it said when it had ended."""
        return self._told()[-1]


def slope(looks: list[dict[str, Any]], name: str) -> float:
    """Return MiB per hour of the venue, of the last three quarters: what fills up at the start is no leak."""
    late = looks[len(looks) // 4 :]
    hours = np.array([each["at_ns"] for each in late]) / 3_600e9
    values = np.array([each[name] for each in late])
    return float(np.polyfit(hours - hours[0], values, 1)[0])


def report(looks: list[dict[str, Any]]) -> str:
    """Return the figures in a line."""
    first, last = looks[len(looks) // 4], looks[-1]
    return (
        f"own {first['own_mib']:.1f} to {last['own_mib']:.1f} MiB, {slope(looks, 'own_mib'):.2f} an hour; "
        f"inference {first['children_mib']:.1f} to {last['children_mib']:.1f} MiB, "
        f"{slope(looks, 'children_mib'):.2f} an hour; tasks {first['tasks']} to {last['tasks']}; "
        f"{last['entries']} entries"
    )


def _assert_spoke(directory: Path, ledger: Ledger, hours: float) -> None:
    """Assert that the network said something of nearly every bar, and was traded on."""
    told = read_rows(directory, "forecasts")
    assert told is not None
    bars = int(hours * 3600 / 15) * len(NAMES)
    used = len(ledger.entries("ForecastUsed"))
    figures = f"\n{told.num_rows} forecasts of {bars} bars, {used} acted upon, {len(ledger.fills())} fills\n"
    with (directory.parents[1] / "figures.txt").open("a", encoding="utf-8") as file:
        file.write(figures)
    assert told.num_rows > 0.9 * bars
    assert used > 10 * hours
    assert len(ledger.fills()) > 100 * hours
