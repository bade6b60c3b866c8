"""A paper run as its operator meets it: seen over its status server, told of, paused and killed from the host."""

import asyncio
import json
import math
import re
import urllib.request
from pathlib import Path

import pytest
from aiohttp import web

from bot.app.status import look
from bot.app.switches import Switches
from bot.app.trading import Trading
from bot.domain.errors import DataError
from bot.domain.operation import Pause, Phase, Snapshot
from bot.runtime.trade_settings import load_trade
from bot.venues.bybit.credentials import Credentials
from tests.support.bot_api import TOKEN, serve_bot_api
from tests.support.metrics_text import asked_by_board, asked_by_rules, documented, families_of

pytestmark = pytest.mark.slow

_CONFIG = Path(__file__).parents[2] / "config" / "paper-offline.toml"
_EMULATOR = Path(__file__).parents[2] / "config" / "emulator" / "paper.toml"
_FORETELLING = Path(__file__).parents[1] / "support" / "foretelling.py"
_WAIT_S = 120.0
_NOT_HERE = {"up", "bot_gpu_memory_bytes"}  # Prometheus's own; of a machine with a GPU
_NOT_ALWAYS = {
    *("bot_latch", "bot_denials_total", "bot_alerts_total"),  # by cause or code: none, until there is one
    *(f"bot_book_{name}" for name in ("notional", "unrealized_pnl", "realized_pnl", "fees", "funding")),  # of several
}


def _trading(out: Path, telegram: str) -> Trading:
    settings = load_trade(
        _CONFIG,
        [
            f'run.out="{out}"',
            'run.stop_after="1d"',
            f'emulator.config="{_EMULATOR}"',
            'run.compare_every="5s"',
            'bars.scales=["1s", "1m"]',
            'bars.lateness="50ms"',
            f'strategy.name="{_FORETELLING}:Foretelling"',
            'strategy.params={scale = "1s"}',
            'predictor.kind="ewma_vol"',
            'predictor.decision_scale="1s"',
            'predictor.horizons=["5s"]',
            "risk.orders_per_second_max=100",
            "alerts.telegram.enabled=true",
            "alerts.telegram.users=[42]",
            f'alerts.telegram.server="{telegram}"',
        ],
    )
    return Trading(settings, "paper", Credentials(key=settings.emulator.key, secret=settings.emulator.secret))


async def _until(trading: Trading, wanted: object, task: asyncio.Task[object]) -> Snapshot:
    """Return the first snapshot that is as wanted."""
    async with asyncio.timeout(_WAIT_S):
        while True:
            if task.done():
                task.result()
                raise AssertionError("the run ended")
            try:
                snapshot = await look(trading.directory)
            except DataError:
                snapshot = None
            if snapshot is not None and wanted(snapshot):  # type: ignore[operator]
                return snapshot
            await asyncio.sleep(0.1)


async def test_a_run_is_seen_paused_and_killed_and_ends_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the status server tells is what is: ready, paused by a person, killed; and it goes with the run.

    All the while Telegram answers garbage, and nobody but its own queue notices.
    """
    monkeypatch.setenv("BOT_TELEGRAM_TOKEN", TOKEN)
    async with serve_bot_api() as telegram:
        telegram.always = web.Response(status=200, body=b'{"ok":true,"result":' + b"[" * 10_000)
        await _session(_trading(tmp_path, telegram.url))
        assert telegram.calls


async def _session(trading: Trading) -> None:
    task = asyncio.create_task(trading.run())
    ready = await _until(trading, lambda s: s.phase is Phase.READY, task)
    assert (ready.mode, ready.venue, ready.epoch) == ("paper", "emulator", 1)
    assert ready.start_cash == 100_000
    assert ready.last_reconciled_ns > 0
    assert not ready.is_paused
    assert not ready.is_killed
    busy = await _until(trading, _has_done_everything, task)
    _check_snapshot(busy)
    _check_metrics(await asyncio.to_thread(_metrics, trading.directory))
    switches = Switches(trading.directory)
    switches.ask(Pause(why="lunch"), "one")
    paused = await _until(trading, lambda s: s.is_paused, task)
    assert any("lunch" in latch.detail for latch in paused.latches)
    switches.kill("enough")
    killed = await _until(trading, lambda s: s.is_killed and len(s.latches) > 1, task)
    assert any(latch.state == "halted" for latch in killed.latches)
    trading.stop()
    traded = await asyncio.wait_for(task, _WAIT_S)
    assert traded.entries > 3
    with pytest.raises(DataError):
        await look(trading.directory)


def _has_done_everything(seen: Snapshot) -> bool:
    stages = {each.stage for each in seen.latencies}
    is_judged = any(not math.isnan(each) for forecast in seen.forecasts for each in forecast.coverage)
    return is_judged and {"decision_to_ack", "inference", "loop_lag", "bar_lag:1s", "intent_commit"} <= stages


def _check_snapshot(seen: Snapshot) -> None:
    """Every actor has served, every topic is followed and young, and orders have come to their ends."""
    served = {each.name: each.served for each in seen.actors if each.bound}
    assert {"order_executor", "strategy", "ledger", "bar_aggregator:BTCUSDT", "inference:BTCUSDT"} <= served.keys()
    assert all(served.values())
    assert all(each.is_alive and each.queued <= each.bound for each in seen.actors)
    topics = {each.topic: each for each in seen.data}
    streams = ("publicTrade", "tickers", "orderbook.50", "orderbook.1", "kline.1")
    assert {f"{each}.BTCUSDT" for each in streams} | {"mark:BTCUSDT", "bars:BTCUSDT:1s"} <= topics.keys()
    assert [each.topic for each in seen.data if each.age_ns > each.limit_ns] == []
    counts = {(each.name, *(value for _, value in each.labels)): each.value for each in seen.counters}
    assert counts["fills_total",] > 0
    assert counts["orders_total", "filled"] > 0
    assert counts["reconnects_total", "account"] == counts["reconnects_total", "public-linear-0"] == 0
    assert counts["notices_total", "failures", "telegram"] > 0
    assert counts["notices_total", "told", "telegram"] == 0
    assert sum(seen.forecasts[0].importance) == pytest.approx(1)
    assert len(seen.forecasts[0].scales_ns) == len(seen.forecasts[0].importance)


def _metrics(directory: Path) -> str:
    url = json.loads((directory / "status.json").read_text())["url"]
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        body: bytes = answer.read()
    return body.decode()


def _check_metrics(text: str) -> None:
    """Hold what is told against what rules and board ask for, and what is documented against what is told."""
    told = {re.split(r"[ {]", line)[0] for line in text.splitlines() if not line.startswith("#")}
    asked = asked_by_rules() | asked_by_board()
    assert asked - told - _NOT_HERE <= _NOT_ALWAYS
    assert families_of(text) <= documented()
    depths, bounds = (_by_actor(text, f"bot_{name}") for name in ("queue_depth_max", "queue_bound"))
    assert depths
    assert [name for name, depth in depths.items() if depth > bounds[name] / 10] == []


def _by_actor(text: str, name: str) -> dict[str, float]:
    found = re.findall(rf'^{name}{{actor="([^"]+)"}} (\S+)$', text, re.MULTILINE)
    return {actor: float(value) for actor, value in found}
