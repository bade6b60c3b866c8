"""A real `bot paper` beside a real `bot emulator`, each a process of its own, for tests that kill one of them."""

import errno
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_ASK_S = 120.0  # a machine whose cores were lent to others answers late
KEY, SECRET = "PAPERKEY00000001", "PAPERSECRET0000000000000001"

_EMULATOR = """
seed = {seed}
rate_limit_scale = {limits}
log_level = "warning"
[server]
port = 0
[clock]
mode = "scaled"
speed = {speed}
start = {start}
warm_up = "1h"
[[listings]]
symbol = "BTCUSDT"
base = "BTC"
tick_size = "0.1"
qty_step = "0.001"
qty_min = "0.001"
qty_max = "1190"
price_places = 2
sample = {{ seed = 7, trades_per_day = {trades} }}
[[accounts]]
name = "first"
uid = 592324
coins = {{ USDT = "100000" }}
[[accounts.keys]]
key = "{key}"
secret = "{secret}"
addresses = ["127.0.0.1"]
"""

_PAPER = """
[run]
out = "{out}"
compare_every = "5s"
[venue]
environment = "emulator"
url = "{url}"
uid = 592324
recv_window = "1s"
[emulator]
key = "{key}"
secret = "{secret}"
[[symbols]]
symbol = "BTCUSDT"
leverage = 10
[bars]
scales = ["1s"]
lateness = "50ms"
[strategy]
name = "{strategy}"
[ledger]
at = "{ledger}"
checkpoint_every = "7s"
[risk]
mark_age_max = "10s"
orders_per_second_max = 100
[protections]
drawdown_reduce = 0
drawdown_halt = 0
daily_loss_reduce = 0
daily_loss_halt = 0
"""
STRATEGY = f"{ROOT / 'tests/support/restless.py'}:Restless"


class Process:
    """A process that says on stderr or stdout how far it has come."""

    def __init__(self, *arguments: str, cwd: Path, environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bot", *arguments],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.said = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    def listen(self, seconds: float) -> bool:
        """Read what it says for at most so long; return whether it still talks."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return True
        heard = os.read(self._process.stdout.fileno(), 1 << 16)
        self.said += heard.decode(errors="replace")
        return bool(heard)

    def until(self, words: str, seconds: float = 180.0, *, times: int = 1) -> None:
        """Return once it has said so."""
        end = time.monotonic() + seconds
        while self.said.count(words) < times:
            assert time.monotonic() < end, f"not within {seconds} s: {words!r}; it said: {self.said[-2000:]}"
            assert self.listen(0.05) or self.said.count(words) >= times, f"it has gone: {self.said[-2000:]}"

    def wait(self, seconds: float) -> None:
        """Let it run for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not self.listen(left):
                raise AssertionError(f"it has gone: {self.said[-3000:]}")

    def end(self, number: signal.Signals, seconds: float = 30.0) -> int:
        """Send it a signal, unless it has left, and return how it left."""
        assert self._process.stdout is not None
        if self._process.stdout.closed:
            return self._process.returncode
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            rest, _ = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise
        self.said += rest.decode(errors="replace")
        return self._process.returncode


class Emulator(Process):
    """`bot emulator`, on a free port."""

    def __init__(
        self,
        directory: Path,
        *,
        speed: float = 4.0,
        more: str = "",
        seconds: float = 180.0,
        trades: int = 2_000_000,
        limits: int = 1,
        seed: int = 7,
        start: str = "2025-06-02",
    ) -> None:
        config = directory / "emulator.toml"
        text = _EMULATOR.format(
            speed=speed, key=KEY, secret=SECRET, trades=trades, limits=limits, seed=seed, start=start
        )
        config.write_text(text + more, encoding="utf-8")
        super().__init__("emulator", "--config", str(config), cwd=directory)
        self.until("streams", seconds)
        found = re.search(r"http://127\.0\.0\.1:\d+", self.said)
        assert found is not None, self.said
        self.url = found[0]

    def add_fault(self, **fields: Any) -> None:
        """Let something go wrong from now on."""
        request = urllib.request.Request(f"{self.url}/emulator/faults", json.dumps(fields).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=_ASK_S) as answer:
            assert answer.status == 200

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/emulator/faults", method="DELETE"), timeout=_ASK_S
        ) as answer:
            assert answer.status == 200


class Paper(Process):
    """`bot paper` on that emulator."""

    def __init__(self, directory: Path, emulator: Emulator, *settings: str, more: str = "") -> None:
        self.ledger = directory / "ledger"
        config = directory / "paper.toml"
        config.write_text(_settings_of(directory, emulator) + more, encoding="utf-8")
        overrides = [word for each in settings for word in ("--set", each)]
        super().__init__("paper", "--config", str(config), *overrides, cwd=ROOT)

    def until_ready(self) -> None:
        """Return once it trades."""
        self.until("ready ")


class PipedPaper(Process):
    """`bot paper` whose settings are a pipe: it imports everything, and then waits for them until it may go on."""

    def __init__(self, directory: Path, emulator: Emulator, name: str) -> None:
        self._pipe = directory / f"{name}.toml"
        os.mkfifo(self._pipe)
        self._text = _settings_of(directory, emulator)
        super().__init__("paper", "--config", str(self._pipe), cwd=ROOT)

    def go_on(self, seconds: float) -> None:
        """Let it read its settings."""
        end = time.monotonic() + seconds
        while True:
            try:
                pipe = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:  # else it does not read yet
                    raise
                assert time.monotonic() < end, f"it does not read its settings within {seconds} s"
                assert self.listen(0.01), f"it has gone: {self.said[-2000:]}"
                continue
            os.write(pipe, self._text.encode())
            os.close(pipe)
            return


def _settings_of(directory: Path, emulator: Emulator) -> str:
    return _PAPER.format(
        out=directory / "runs",
        url=emulator.url,
        key=KEY,
        secret=SECRET,
        strategy=STRATEGY,
        ledger=directory / "ledger",
    )


def bot(*arguments: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "bot", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


__all__: Sequence[str] = ["KEY", "SECRET", "Emulator", "Paper", "PipedPaper", "Process", "bot"]
