"""The emulator's settings, the worlds they make, and the command that serves them."""

import json
import re
import signal
import subprocess
import sys
import tomllib
import urllib.request
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bot.app.emulator import make_clock, make_world
from bot.domain.errors import ConfigError
from bot.emulator.faults import KINDS
from bot.runtime.emulator_settings import (
    AccountSettings,
    EmulatorSettings,
    FaultSettings,
    KeySettings,
    ListingSettings,
    load_emulator,
)
from tests.support.emulator import Driver
from tests.support.shared_data import shared_file

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ROOT / "config" / "emulator" / "default.toml"
PAGE = ROOT / "docs" / "emulator.md"
NOW_NS = 1_760_000_040_000_000_000
MINUTE_NS = 60 * 10**9


def test_the_shipped_file_loads_and_names_every_key() -> None:
    text = DEFAULT.read_text(encoding="utf-8")
    settings = load_emulator(DEFAULT)
    assert len(settings.listings) == 2
    for model in (EmulatorSettings, ListingSettings, AccountSettings, KeySettings):
        for key in model.model_fields:
            assert re.search(rf"\b{key}\b", text), key
    for section in ("server", "clock", "fills"):
        annotation: Any = EmulatorSettings.model_fields[section].annotation
        for key in annotation.model_fields:
            assert re.search(rf"\b{key}\b", text), f"{section}.{key}"


def test_every_fault_is_documented() -> None:
    text = PAGE.read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)
    assert sorted(documented) == sorted(KINDS)
    for key in FaultSettings.model_fields:
        assert f"`{key}`" in text, key


def test_every_inferred_fact_is_documented() -> None:
    """What is isolated in one file is listed on one page."""
    source = (ROOT / "bot" / "emulator" / "inferred.py").read_text(encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    for name in re.findall(r"^([A-Z_]+): Final", source, re.MULTILINE):
        assert f"`{name}`" in text, name


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ("seeed=1", "no such key"),
        ("server.port=99999999", "server.port"),
        ("clock.speed=2", "clock.mode"),
        ("clock.mode=scaled", "clock.start"),
        ("clock.mode=driven", "clock.start"),
        ("server.host=0.0.0.0", "server.host"),
        ("fills.preset=hopeful", "fills.preset"),
        ("nonsense", "key=value"),
        ("server.certificate=c.pem", "private_key"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(changed: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_emulator(DEFAULT, [changed])
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_fault_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "emulator.toml"
    path.write_text(DEFAULT.read_text(encoding="utf-8") + '\n[[faults]]\nkind = "gremlin"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="gremlin"):
        make_world(load_emulator(path), NOW_NS)


def test_every_fault_can_be_asked_for_in_the_file(tmp_path: Path) -> None:
    words = {
        "venue_cancel": 'text = "CancelByAdmin"',
        "forced_trade": 'text = "Settle"',
        "owner_request": 'text = "position.set-leverage"\nbody = { symbol = "BTCUSDT", buyLeverage = "5", mode = 3 }',
        "transfer": 'body = { coin = "USDT", amount = "-5" }',
        "clock_skew": "skew_ms = -400",
    }
    text = DEFAULT.read_text(encoding="utf-8")
    for kind in KINDS:
        text += f'\n[[faults]]\nkind = "{kind}"\nafter = "1h"\n{words.get(kind, "")}\n'
    path = tmp_path / "emulator.toml"
    path.write_text(text, encoding="utf-8")
    world = make_world(load_emulator(path), NOW_NS)
    assert [fault.kind for fault in world.faults] == list(KINDS)
    assert {fault.from_ns for fault in world.faults} == {3600 * 10**9}
    assert next(fault for fault in world.faults if fault.kind == "clock_skew").skew_ns == -400_000_000
    Driver(world)  # which checks each of them


@pytest.mark.parametrize("mode", ["scaled", "driven"])
def test_clocks_begin_where_the_recording_is_warm(tmp_path: Path, mode: str) -> None:
    path = shared_file("data/btcusdt_bybit_linear_1m_2025-05_2025-06.parquet")
    settings = write_world(tmp_path, mode, f'bars = "{path}"\nbar_interval = "1m"\noff_grid = "round"')
    clock, speed = make_clock(settings)
    first = pq.read_table(path, columns=["ts"])["ts"][0].as_py() * 10**6
    assert 0 <= clock.now_ns() - first - 5 * MINUTE_NS < 60 * 10**9
    assert speed == (1.0 if mode == "scaled" else float("inf"))
    assert make_world(settings, clock.now_ns()).speed == (1.0 if mode == "scaled" else 0.0)


def test_the_shipped_world_trades() -> None:
    """Candles go back as far as the warm-up, and the perpetual and the pair of one coin go together."""
    driver = Driver(make_world(load_emulator(DEFAULT), NOW_NS))
    days = driver.get("/v5/market/kline", "category=linear&symbol=BTCUSDT&interval=D", key="EMULATORKEY0001")
    assert len(days["result"]["list"]) >= 3
    number = driver.open("/v5/public/linear")
    driver.say(number, {"op": "subscribe", "args": ["publicTrade.BTCUSDT"]})
    driver.wait(30)
    assert driver.topic(number, "publicTrade.BTCUSDT")
    prices = [
        Decimal(driver.get("/v5/market/tickers", f"category={kind}&symbol=BTCUSDT")["result"]["list"][0]["lastPrice"])
        for kind in ("linear", "spot")
    ]
    assert abs(prices[0] / prices[1] - 1) < Decimal("0.001")


def test_the_shipped_world_is_the_same_each_time() -> None:
    def tickers() -> Any:
        driver = Driver(make_world(load_emulator(DEFAULT), NOW_NS))
        driver.wait(5)
        return driver.get("/v5/market/tickers", "category=linear")

    assert tickers() == tickers()


LISTING = """
seed = 1
[clock]
mode = "{mode}"
warm_up = "5m"
[[listings]]
symbol = "BTCUSDT"
base = "BTC"
tick_size = "0.1"
qty_step = "0.001"
qty_min = "0.001"
qty_max = "1000"
{source}
[[accounts]]
name = "only"
uid = 1
[[accounts.keys]]
key = "TESTKEY0001"
secret = "TESTSECRET0001"
"""


def write_world(tmp_path: Path, mode: str, source: str) -> EmulatorSettings:
    path = tmp_path / "emulator.toml"
    path.write_text(LISTING.format(mode=mode, source=source), encoding="utf-8")
    return load_emulator(path)


def test_recorded_trades_are_played_at_their_own_time(tmp_path: Path) -> None:
    """On a scaled clock nothing is moved: it begins where the recording is warm."""
    first_ms = 1_700_000_000_000
    table = pa.table(
        {
            "ts": [first_ms + 1000 * n for n in range(900)],
            "price": [60_000.0 + n % 7 for n in range(900)],
            "size": [0.5] * 900,
            "side": [1 if n % 2 else 0 for n in range(900)],
        }
    )
    pq.write_table(table, tmp_path / "trades.parquet")
    settings = write_world(tmp_path, "scaled", f'trades = "{tmp_path}/trades.parquet"')
    clock, speed = make_clock(settings)
    assert speed == 1.0
    start_ns = (first_ms + 300_000) * 10**6
    assert 0 <= clock.now_ns() - start_ns < 60 * 10**9
    driver = Driver(make_world(settings, start_ns))
    number = driver.open("/v5/public/linear")
    driver.say(number, {"op": "subscribe", "args": ["publicTrade.BTCUSDT"]})
    driver.wait(60)
    told = [trade for frame in driver.topic(number, "publicTrade.BTCUSDT") for trade in frame["data"]]
    assert [trade["T"] for trade in told] == [first_ms + 300_000 + 1000 * (n + 1) for n in range(len(told))]
    assert 59 <= len(told) <= 60
    assert not driver.exchange.has_ended
    driver.wait(700)
    assert driver.exchange.has_ended


def test_a_recording_is_moved_to_now_by_whole_days(tmp_path: Path) -> None:
    """So that what happened at a time of day happens at that time of day."""
    first_ms = 1_700_000_000_000 // 86_400_000 * 86_400_000
    table = pa.table(
        {
            "ts": [first_ms + 10_000 * n for n in range(8640 * 2)],
            "price": [60_000.0 + n // 360 for n in range(8640 * 2)],
            "size": [0.5] * (8640 * 2),
            "side": [1] * (8640 * 2),
        }
    )
    pq.write_table(table, tmp_path / "trades.parquet")
    settings = write_world(tmp_path, "system", f'trades = "{tmp_path}/trades.parquet"')
    driver = Driver(make_world(settings, NOW_NS))
    ticker = driver.get("/v5/market/tickers", "category=linear&symbol=BTCUSDT")["result"]["list"][0]
    hour = NOW_NS // 10**9 % 86_400 // 3600
    assert Decimal(ticker["lastPrice"]) in (60_000 + hour, 60_000 + hour + 24)


def test_recorded_bars_come_back_as_the_same_candles(tmp_path: Path) -> None:
    """Real minutes of the venue, played as trades, are told as those minutes again."""
    path = shared_file("data/btcusdt_bybit_linear_1m_2025-05_2025-06.parquet")
    settings = write_world(tmp_path, "scaled", f'bars = "{path}"\nbar_interval = "1m"\noff_grid = "round"')
    clock, _ = make_clock(settings)
    start_ns = clock.now_ns() // MINUTE_NS * MINUTE_NS
    driver = Driver(make_world(settings, start_ns))
    driver.wait(20 * 60, step_s=1)
    rows = driver.get("/v5/market/kline", "category=linear&symbol=BTCUSDT&interval=1&limit=20")["result"]["list"][1:]
    table = pq.read_table(path).to_pydict()
    by_start = {int(ts): n for n, ts in enumerate(table["ts"])}
    assert len(rows) == 19
    for row in rows:
        n = by_start[int(row[0])]
        recorded = [table[name][n] for name in ("open", "high", "low", "close", "volume")]
        assert [float(value) for value in row[1:6]] == pytest.approx(recorded, rel=1e-9)


def test_the_command_serves_until_it_is_interrupted() -> None:
    """Also where it was started by a shell's `&`, which has it ignore the interrupt."""
    command = [sys.executable, "-m", "bot", "emulator", "--config", str(DEFAULT), "--port", "0", "--json"]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        places = json.loads(process.stdout.readline())
        with urllib.request.urlopen(places["rest"] + "/v5/market/time", timeout=10) as answer:
            assert json.loads(answer.read())["retCode"] == 0
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said == ""


def test_a_taken_port_is_said_in_a_line(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "bot", "emulator", "--config", str(DEFAULT), "--port", str(port)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "choose another" in done.stderr


def test_the_shipped_file_is_toml() -> None:
    assert tomllib.loads(DEFAULT.read_text(encoding="utf-8"))["seed"] == 7
