"""What being watched costs: an order's way out with all operator surfaces on, and without any.

    python -m benchmarks.bench_surfaces [--seconds 28] [--rounds 1] [--keep FILE]

Runs take turns, one with everything, one with nothing, on one emulator in a process of its own. With everything means:
Telegram enabled against a server that is dead, slow, flooding or answering garbage (one a run, in turn), the status
server scraped each second, and a dashboard in its own process with fifty open pages. The bot has one core, all others
share the other where there are two. A run trades five market orders a second for so many seconds.

Compared are two times: from a wish to its order's bytes at the socket, and how long what the venue tells waits in the
executor's inbox. Queues must never have been half full. The order of the two runs changes from pair to pair.

The difference of the two p99 comes with an interval: blocks of some seconds, the same of both runs of a pair, are drawn
again and again with replacement. At most 1 ms is what we want; the verdict says whether the interval allows that claim.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import market
from benchmarks.measure import Figure
from tests.support.paper import KEY, SECRET, Emulator

MODES = ("dead", "slow", "flood", "garbage")
PAGES = 50
TOKEN = "123456789:AbC-dEf_gHiJkLmNoPqRsTuVwXyZ0123456"  # of nobody: the server is ours
RESULTS = Path(__file__).with_name("results")
_DEPTH_MAX = 0.5  # of a queue's bound
_BLOCK_S = 4.0  # of a run, drawn as one: what is slow is slow for a while
_DRAWS = 4_000
_WANTED_MS = 1.0
_EVERY = "200ms"  # between two orders: within the rate that the bot keeps to


def _cores() -> tuple[int | None, int | None]:
    """Return the bot's core and everybody else's; None where there is but one."""
    free = sorted(os.sched_getaffinity(0))
    return (free[0], free[1]) if len(free) > 1 else (None, None)


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


def _settings(directory: Path, url: str, mode: str | None, port: int) -> dict[str, Any]:
    telegram = {"enabled": mode is not None, "users": [42], "server": f"http://127.0.0.1:{port}"}
    return {
        "run": {"out": str(directory / "runs"), "compare_every": "10s"},
        "venue": {"environment": "emulator", "url": url, "uid": 592324},
        "symbols": [{"symbol": "BTCUSDT", "leverage": 10}],
        "bars": {"scales": ["1s"], "lateness": "50ms"},
        "strategy": {"name": f"{Path(__file__).with_name('ticking.py')}:Ticking", "params": {"every": _EVERY}},
        "ledger": {"at": str(directory.parent / "ledger")},  # the account's: the next run takes it up
        "risk": {"mark_age_max": "1m", "orders_per_second_max": 100},
        "protections": {"drawdown_reduce": 0, "drawdown_halt": 0, "daily_loss_reduce": 0, "daily_loss_halt": 0},
        "status": {"enabled": mode is not None},
        "alerts": {"telegram": telegram if mode is not None else {"enabled": False}},
    }


def _start(module: str, given: dict[str, Any], directory: Path) -> "subprocess.Popen[str]":
    path = directory / f"{module}.json"
    path.write_text(json.dumps(given), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", str(path)],
        cwd=market.ROOT,
        env=os.environ | {"BOT_TELEGRAM_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(directory / f"{module}.said").open("w"),
        text=True,
    )


@contextlib.contextmanager
def _dashboard(runs: Path, core: int | None) -> Iterator[tuple[str, str]]:
    """Serve the page of these runs; yield its address and token."""
    runs.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bot", "dashboard", "--runs", str(runs), "--port", "0", "--pages", "64"]
    pinned = command if core is None else ["taskset", "--cpu-list", str(core), *command]
    served = subprocess.Popen(
        pinned, cwd=market.ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ
    )
    try:
        assert served.stdout is not None
        url, _, token = served.stdout.readline().strip().partition("/#")
        yield url, token
    finally:
        served.terminate()
        served.wait(10)


def measure_run(emulator_url: str, directory: Path, mode: str | None, seconds: float) -> dict[str, Any]:
    """Trade for so long, watched by everybody (`mode` says what ails Telegram) or by nobody.

    Returns:
        What `surfaces_trader` measured, and under "crowd" what the crowd did.
    """
    directory.mkdir(parents=True)
    bot_core, other_core = _cores()
    port, ready = _free_port(), directory / "ready"
    given = {
        "settings": _settings(directory, emulator_url, mode, port),
        "key": KEY,
        "secret": SECRET,
        "seconds": seconds,
        "ready": str(ready),
        "core": bot_core,
    }
    with contextlib.ExitStack() as stack:
        crowd = None
        if mode is not None:
            url, token = stack.enter_context(_dashboard(directory / "runs", other_core))
            about = {"mode": mode, "port": port if mode != "dead" else _free_port(), "dashboard": url, "token": token}
            crowd = _start("surfaces_crowd", about | {"pages": PAGES, "core": other_core}, directory)
            stack.callback(crowd.kill)
            assert crowd.stdout is not None
            assert crowd.stdout.readline() == "listening\n"
        trader = _start("surfaces_trader", given, directory)
        stack.callback(trader.kill)
        until_s = time.monotonic() + 300
        while not ready.exists() and trader.poll() is None and time.monotonic() < until_s:
            time.sleep(0.05)
        if crowd is not None:
            assert crowd.stdin is not None
            crowd.stdin.write(f"{ready.read_text(encoding='utf-8')}\n")
            crowd.stdin.flush()
        told, _ = trader.communicate(timeout=seconds + 120)
        if trader.returncode:
            said = (directory / "surfaces_trader.said").read_text(encoding="utf-8")
            raise RuntimeError(f"the trader ended with {trader.returncode}: {said[-2_000:]}")
        found: dict[str, Any] = json.loads(told.splitlines()[-1])
        if not any(found["out_us"]) or not any(found["waited_us"]):
            said = (directory / "surfaces_trader.said").read_text(encoding="utf-8")
            raise RuntimeError(f"nothing was traded, so nothing was measured: {said[-2_000:]}")
        if crowd is not None:
            heard, _ = crowd.communicate(timeout=30)
            found["crowd"] = json.loads(heard.splitlines()[-1])
    return found


def compare(seconds: float, rounds: int, modes: Sequence[str] = MODES) -> list[dict[str, Any]]:
    """Return the runs, in the order they were made: each has its mode, None for unwatched."""
    made = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        emulator = Emulator(place, speed=1.0, seconds=900)
        if (other := _cores()[1]) is not None:
            os.sched_setaffinity(emulator.pid, {other})
        try:
            for turn, mode in enumerate([*modes] * rounds):
                pair = (mode, None) if turn % 2 == 0 else (None, mode)
                for each in pair:
                    found = measure_run(emulator.url, place / f"{turn}-{each}", each, seconds)
                    made.append(found | {"mode": each, "pair": turn})
                    sys.stderr.write(f"  {each or 'unwatched'}: {_told(found)}\n")
        finally:
            emulator.end(subprocess.signal.SIGTERM)  # type: ignore[attr-defined]
    return made


def _told(found: dict[str, Any]) -> str:
    parts = []
    for name, what in (("out_us", "wish to order"), ("waited_us", "news waits")):
        p50, p99 = np.percentile(found[name], [50, 99]) / 1e3
        parts.append(f"{what} p50 {p50:.2f} p99 {p99:.2f} ms of {len(found[name])}")
    return ", ".join(parts) + f", {found['cpu_share']:.0%} of a core"


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Return the comparison as Markdown."""
    lines = [
        "| | orders | wish to order p50, ms | p99, ms | news waits p50, ms | p99, ms | of a core |",
        "|---|" + "---|" * 6,
    ]
    groups: list[tuple[str, list[dict[str, Any]]]] = [
        ("watched by nobody", [each for each in runs if not each["mode"]])
    ]
    groups.append(("watched by all", [each for each in runs if each["mode"]]))
    groups += [(f"Telegram: {mode}", [each for each in runs if each["mode"] == mode]) for mode in MODES]
    for name, group in groups:
        if not group:
            continue
        out = np.concatenate([each["out_us"] for each in group]) / 1e3
        waited = np.concatenate([each["waited_us"] for each in group]) / 1e3
        cpu = np.mean([each["cpu_share"] for each in group])
        figures = (*np.percentile(out, [50, 99]), *np.percentile(waited, [50, 99]))
        lines.append(f"| {name} | {len(out)} | " + " | ".join(f"{each:.2f}" for each in figures) + f" | {cpu:.0%} |")
    fullest = max((depth / bound, name) for each in runs for name, (depth, bound) in each["deepest"].items())
    lines += ["", f"The fullest inbox of all runs: {fullest[1]}, {fullest[0]:.2%} of its bound."]
    return "\n".join(lines)


def difference(runs: Sequence[dict[str, Any]], draws: int = _DRAWS, seed: int = 1) -> tuple[float, float, float]:
    """Return by how much the p99 from wish to order is greater with everything on, and the ends of its interval, ms.

    95 of 100 such intervals hold the true difference, as far as blocks of `_BLOCK_S` are independent of each other.
    """
    pairs: dict[int, dict[bool, list[np.ndarray]]] = {}
    for each in runs:
        took = np.asarray(each["out_us"]) / 1e3
        block = (np.asarray(each["out_at_s"]) // _BLOCK_S).astype(int)
        pairs.setdefault(each["pair"], {})[bool(each["mode"])] = [took[block == k] for k in range(block.max() + 1)]
    watched, alone = [], []
    for both in pairs.values():
        for one, other in zip(both[True], both[False], strict=False):
            watched.append(one)
            alone.append(other)
    generator = np.random.default_rng(seed)

    def grown(rows: np.ndarray) -> float:
        one, other = (np.concatenate([blocks[row] for row in rows]) for blocks in (watched, alone))
        return float(np.percentile(one, 99) - np.percentile(other, 99))

    count = len(watched)
    found = [grown(generator.integers(0, count, count)) for _ in range(draws)]
    low, high = np.percentile(found, [2.5, 97.5]).tolist()
    return grown(np.arange(count)), low, high


def verdict(grown_ms: float, low_ms: float, high_ms: float) -> str:
    """Return in words what a difference and its interval allow to be said."""
    said = f"p99 with everything on: {grown_ms:+.2f} ms (95 % interval {low_ms:+.2f} to {high_ms:+.2f} ms)"
    if high_ms <= _WANTED_MS:
        return f"{said}: no more than {_WANTED_MS:.0f} ms."
    if low_ms > _WANTED_MS:
        return f"{said}: MORE than {_WANTED_MS:.0f} ms."
    return f"{said}: these runs cannot tell whether it is more than {_WANTED_MS:.0f} ms; run longer, or more quietly."


def faults_of(found: dict[str, Any]) -> list[str]:
    """Return what must not be: queues half full, orders that never left, a crowd that was not there."""
    wrong = [
        f"{name} held {depth} of {bound}"
        for name, (depth, bound) in found["deepest"].items()
        if depth > _DEPTH_MAX * bound
    ]
    if found["unsent"] > 2:  # those in hand when it ended
        wrong.append(f"{found['unsent']} orders were let go and never reached the socket")
    crowd = found.get("crowd")
    if crowd is not None:
        wrong += [f"the crowd's {name}: none" for name in ("scraped", "pages", "news") if not crowd[name]]
    return wrong


def figures() -> list[Figure]:
    """Return the two p99 and their difference, for `benchmarks.run`."""
    runs = compare(seconds=28.0, rounds=1)
    grown, _, high = difference(runs)
    made: list[Figure] = [
        {
            "name": "p99 greater with everything on; upper end of its 95 % interval",
            "unit": "ms",
            "best": grown,
            "median": high,
        }
    ]
    for name, wanted in (("watched by nobody", False), ("watched by all", True)):
        out = np.concatenate([each["out_us"] for each in runs if bool(each["mode"]) is wanted]) / 1e3
        p50, p99 = np.percentile(out, [50, 99]).tolist()
        made.append({"name": f"wish to order, {name} (p50 {p50:.2f}); p99", "unit": "ms", "best": p99, "median": p99})
    return made


def main() -> None:
    """Compare, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=28.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=1, help="how often all four ailments are gone through")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--keep", metavar="FILE", type=Path, help="write all measurements there, as JSON")
    arguments = parser.parse_args()
    runs = compare(arguments.seconds, arguments.rounds, arguments.modes)
    if arguments.keep:
        arguments.keep.write_text(json.dumps(runs), encoding="utf-8")
    print(table(runs))
    print(verdict(*difference(runs)))
    wrong = [f"{each['mode']}: {line}" for each in runs for line in faults_of(each)]
    print("\n".join(wrong) or "Queues held their bounds; every order left; everybody was there.")


if __name__ == "__main__":
    main()
