"""What being watched costs: an order's way out with all operator surfaces on, and without any.

    python -m benchmarks.bench_surfaces [--pairs 28] [--block 4] [--keep FILE]

One paper run on one emulator, in which the surfaces are put on and taken off again and again, so that whatever the
machine does meets both kinds of blocks alike. Put on means: Telegram enabled against a server that is dead, slow,
flooding or answering garbage (one a block, in turn), the status server scraped each second, and a dashboard in its own
process with fifty open pages. The trading process has one core; everybody else, the surfaces' process too, shares the
other. The run trades some market orders a second, on an account whose limits are higher than a beginner's, so that the
venue's are not measured.

Compared is the time from a wish to its order's bytes at the socket, in parts, and how long what the venue tells waits
in the executor's inbox. Orders that were held up because the machine had the core, or another program, or the disk kept
the ledger waiting, are counted and set aside in both arms alike (`surfaces_marks` says how that is known, and never by
how long an order took). Queues must never have been half full.

The difference of the two p99 comes with an interval: pairs of blocks are drawn again and again with replacement. At
most 1 ms is what we want; the verdict says whether the interval allows that claim.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import market
from benchmarks.measure import Figure
from benchmarks.surfaces_marks import BEFORE_NS, BUSY_BEFORE_NS, LATE_NS, Away
from benchmarks.surfaces_verdict import PARTS, Block, Order, difference, parts_table, table, verdict
from tests.support.paper import KEY, SECRET, Emulator

MODES = ("dead", "slow", "flood", "garbage")
PAGES = 50
TOKEN = "123456789:AbC-dEf_gHiJkLmNoPqRsTuVwXyZ0123456"  # of nobody: the server is ours
_DEPTH_MAX = 0.5  # of a queue's bound
_LIMITS = 4  # times the default tier's: 40 orders a second, of which the bot uses at most 21
_WITHIN_S = 330.0
_PATIENCE_S = 300  # for a start, a block, an end


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What one run came to."""

    blocks: tuple[Block, ...]
    deepest: dict[str, tuple[int, int]]  # by inbox: the most that ever waited, and its bound
    unsent: int  # orders that were let go, and of which nothing was heard
    held_back: dict[str, int]  # orders that did not leave, by why
    crowd: dict[str, int]  # what those who looked got
    notices: dict[str, int]  # what became of them, by way
    away_s: float  # how long the core was away, of `seconds`
    stolen_s: float
    seconds: float
    is_real_time: bool  # whether the witness had its priority


def _cores() -> tuple[int | None, int | None]:
    """Return the bot's core and everybody else's; None where there is but one."""
    free = sorted(os.sched_getaffinity(0))
    return (free[0], free[1]) if len(free) > 1 else (None, None)


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


def _settings(directory: Path, url: str, every: str) -> dict[str, Any]:
    return {
        "run": {"out": str(directory / "runs"), "compare_every": "10s"},
        "venue": {"environment": "emulator", "url": url, "uid": 592324},
        "symbols": [{"symbol": "BTCUSDT", "leverage": 10}],
        "bars": {"scales": ["1s"], "lateness": "50ms"},
        "strategy": {"name": f"{Path(__file__).with_name('ticking.py')}:Ticking", "params": {"every": every}},
        "ledger": {"at": str(directory / "ledger")},
        "risk": {"mark_age_max": "1m", "orders_per_second_max": 100},
        "protections": {"drawdown_reduce": 0, "drawdown_halt": 0, "daily_loss_reduce": 0, "daily_loss_halt": 0},
        "status": {"enabled": False},
        "alerts": {"telegram": {"enabled": False, "users": [42]}},
    }


def _start(directory: Path, module: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=market.ROOT,
        env=os.environ | {"BOT_TELEGRAM_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(directory / f"{module}.said").open("w"),
        text=True,
    )


def _given(directory: Path, name: str, given: dict[str, Any]) -> str:
    path = directory / f"{name}.json"
    path.write_text(json.dumps(given), encoding="utf-8")
    return str(path)


def _say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


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


def plan(pairs: int, modes: Sequence[str], seed: int = 11) -> list[str | None]:
    """Return what ails Telegram in each block, None for nobody's watching: pairs, in an order drawn for each."""
    draws = random.Random(seed)
    made: list[str | None] = []
    for pair in range(pairs):
        both = [modes[pair % len(modes)], None]
        draws.shuffle(both)
        made += both
    return made


def compare(
    *,
    pairs: int,
    block_s: float,
    settle_s: float = 1.0,
    every: str = "80ms",
    slow_s: float = 3.0,
    modes: Sequence[str] = MODES,
    within_s: float = _WITHIN_S,
) -> Comparison:
    """Return what a run of so many pairs of blocks came to.

    Args:
        settle_s: after a switch, until its block is measured: pages come, the first messages go.
        every: between two orders.
        slow_s: how long a slow Telegram takes to answer.
        within_s: no pair is begun later than so long after the start.
    """
    blocks = plan(pairs, modes)
    bot_core, other_core = _cores()
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        emulator = Emulator(place, speed=1.0, seconds=int(within_s) + 600, limits=_LIMITS)
        stack.callback(emulator.end, signal.SIGTERM)
        if other_core is not None:
            os.sched_setaffinity(emulator.pid, {other_core})
        ports = {mode: _free_port() for mode in MODES}
        url, token = stack.enter_context(_dashboard(place / "runs", other_core))
        around = {"ports": {each: ports[each] for each in MODES if each != "dead"}, "slow_s": slow_s, "pages": PAGES}
        about = around | {"dashboard": url, "token": token, "core": other_core}
        crowd = _start(place, "surfaces_crowd", _given(place, "crowd", about))
        stack.callback(crowd.kill)
        _expect(crowd, "listening", place)
        given = {
            "settings": _settings(place, emulator.url, every),
            "servers": {mode: f"http://127.0.0.1:{port}" for mode, port in ports.items()},
            "key": KEY,
            "secret": SECRET,
            "blocks": blocks,
            "block_s": block_s,
            "settle_s": settle_s,
            "within_s": within_s,
            "core": bot_core,
            "others_core": other_core,
        }
        trader = _start(place, "surfaces_trader", _given(place, "trader", given))
        stack.callback(trader.kill)
        seen = place / "seen.json"
        watch = _start(place, "surfaces_marks", str(bot_core or 0), str(seen))
        stack.callback(watch.kill)
        _expect(watch, "watching", place)
        found = _conduct(trader, crowd, place, len(blocks))
        watch.communicate(timeout=_PATIENCE_S)
        heard, _ = crowd.communicate(timeout=_PATIENCE_S)
        if crowd.returncode:
            said = (place / "surfaces_crowd.said").read_text(encoding="utf-8")
            raise RuntimeError(f"the crowd ended with {crowd.returncode}: {said[-2_000:]}")
        return _compared(found, blocks, json.loads(seen.read_text(encoding="utf-8")), json.loads(heard))


def _expect(process: "subprocess.Popen[str]", word: str, place: Path) -> None:
    assert process.stdout is not None
    if process.stdout.readline().strip() != word:
        said = "".join(path.read_text(encoding="utf-8")[-2_000:] for path in place.glob("*.said"))
        raise RuntimeError(f"{process.args!r} is not {word}: {said}")


def _conduct(
    trader: "subprocess.Popen[str]", crowd: "subprocess.Popen[str]", place: Path, blocks: int
) -> dict[str, Any]:
    """Tell the crowd what the trader says of its blocks, until it says what it measured."""
    assert trader.stdout is not None
    done = 0
    for line in trader.stdout:
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            break
        with contextlib.suppress(BrokenPipeError):  # what became of it is read at the end
            _say(crowd, line.strip())
        done += not line.startswith("ready")
        sys.stderr.write(f"\r  block {min(done, blocks)} of {blocks} ")
    else:
        said = (place / "surfaces_trader.said").read_text(encoding="utf-8")
        raise RuntimeError(f"the trader ended with {trader.wait()}: {said[-2_000:]}")
    sys.stderr.write("\n")
    trader.wait(60)
    if not found["orders"]:
        said = (place / "surfaces_trader.said").read_text(encoding="utf-8")
        raise RuntimeError(f"nothing was traded, so nothing was measured: {said[-2_000:]}")
    return found


def _compared(
    found: dict[str, Any], modes: Sequence[str | None], seen: dict[str, Any], crowd: dict[str, int]
) -> Comparison:
    away = Away([(from_ns, to_ns) for from_ns, to_ns in seen["spans"]])
    slow = Away([(from_ns, to_ns) for from_ns, to_ns in found["slow_syncs"]])
    orders: list[list[Order]] = [[] for _ in modes]
    for number, wished_ns, *parts, foreign_ns, before_ns in found["orders"]:
        window = wished_ns - BEFORE_NS, wished_ns + sum(parts)
        orders[number].append(
            Order(
                total=sum(parts) / 1e6,
                parts=tuple(each / 1e6 for each in parts),
                is_away=away.touches(*window),
                is_taken=foreign_ns > LATE_NS or before_ns > BUSY_BEFORE_NS,
                is_synced_slowly=slow.touches(*window),
            )
        )
    waits: list[list[float]] = [[] for _ in modes]
    for number, served_ns, waited_ns in found["waits"]:
        if not away.touches(served_ns - waited_ns, served_ns):
            waits[number].append(waited_ns / 1e6)
    blocks = tuple(
        Block(pair=number // 2, mode=mode, orders=tuple(orders[number]), waits=tuple(waits[number]), share=share)
        for number, (mode, share) in enumerate(zip(modes, found["shares"], strict=False))
    )
    return Comparison(
        blocks=blocks,
        deepest={name: (depth, bound) for name, (depth, bound) in found["deepest"].items()},
        unsent=found["unsent"],
        held_back=found["held_back"],
        crowd=crowd,
        notices=found["notices"],
        away_s=away.length_ns / 1e9,
        stolen_s=seen["stolen_s"],
        seconds=seen["seconds"],
        is_real_time=seen["real_time"],
    )


def faults_of(found: Comparison) -> list[str]:
    """Return what must not be: queues half full, orders that never left, a crowd that was not there."""
    wrong = [
        f"{name} held {depth} of {bound}"
        for name, (depth, bound) in found.deepest.items()
        if depth > _DEPTH_MAX * bound
    ]
    if found.unsent > 1:  # the one in hand when it ended
        wrong.append(f"{found.unsent} orders were let go, and nothing was heard of them")
    return wrong + [
        f"the crowd's {name}: none" for name in ("scraped", "pages", "news", "read") if not found.crowd[name]
    ]


def told(found: Comparison) -> str:
    """Return all of it in words and tables, as Markdown."""
    orders = [order for each in found.blocks for order in each.orders]
    aside = sum(not each.counts for each in orders)
    fullest = max((depth / bound, name) for name, (depth, bound) in found.deepest.items())
    witness = "real-time witness" if found.is_real_time else "stolen time alone: no right to a real-time witness"
    lines = [
        table(found.blocks, MODES),
        "",
        parts_table(found.blocks, PARTS),
        "",
        f"All {len(orders)} orders but {aside} that the machine disturbed. {verdict(*difference(found.blocks))}",
        f"All orders, disturbed ones too. {verdict(*difference(found.blocks, all_orders=True))}",
        f"The core was away for {found.away_s:.1f} of {found.seconds:.0f} s ({witness}).",
        f"Stolen of it, as the kernel books it: {found.stolen_s:.1f} s.",
        f"The fullest inbox: {fullest[1]}, {fullest[0]:.2%} of its bound.",
        f"The crowd: {found.crowd}. Notices: {found.notices}.",
        *(f"Held back {count} times: {why}" for why, count in found.held_back.items()),
        *(faults_of(found) or ["Queues held their bounds; every order left; everybody was there."]),
    ]
    return "\n".join(lines)


def figures() -> list[Figure]:
    """Return the difference of the two p99, for `benchmarks.run`."""
    found = compare(pairs=28, block_s=4.0)
    grown, _, high = difference(found.blocks)
    name = "p99 greater with everything on; upper end of its 95 % interval"
    return [{"name": name, "unit": "ms", "best": grown, "median": high}]


def main() -> None:
    """Compare, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=28, help="of blocks, one watched and one not")
    parser.add_argument("--block", type=float, default=4.0, help="seconds of each that are measured")
    parser.add_argument("--every", default="80ms", help="between two orders")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--within", type=float, default=_WITHIN_S, help="seconds in which all blocks must have begun")
    parser.add_argument("--keep", metavar="FILE", type=Path, help="write all measurements there, as JSON")
    arguments = parser.parse_args()
    found = compare(
        pairs=arguments.pairs,
        block_s=arguments.block,
        every=arguments.every,
        modes=arguments.modes,
        within_s=arguments.within,
    )
    if arguments.keep:
        arguments.keep.write_bytes(msgspec.json.encode(found))
    print(told(found))


if __name__ == "__main__":
    main()
