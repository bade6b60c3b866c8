"""Five secrets, each in five encodings, in every text that fails on the way: none comes out anywhere."""

import asyncio
import json
import os
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from aiohttp import web

from tests.support.bot_api import TOKEN, serve_bot_api
from tests.support.paper import SECRET, Emulator, Paper, bot
from tests.support.telltale import ENCODINGS, Telltale, told

_MORE = """
[log]
level = "info"
[status]
enabled = true
[alerts.telegram]
enabled = true
users = [42]
server = "{telegram}"
[alerts.webhook]
enabled = true
least = "info"
allow_plain_http = true
[alerts.mail]
enabled = true
host = "127.0.0.1"
port = 9
sender = "bot@example.org"
recipients = ["me@example.org"]
user = "bot"
[alerts.heartbeat]
enabled = true
every = "5s"
allow_plain_http = true
"""


@pytest.mark.slow
async def test_no_canary_comes_out_of_any_failure(tmp_path: Path) -> None:
    """Logs, warnings, tracebacks, alerts whose servers repeat what they were sent, a crash, and what is kept of it."""
    heard: list[bytes] = []

    async def echo(request: web.Request) -> web.Response:
        heard.append(await request.read())
        return web.Response(status=500, text=f"{request.url} {told()}", reason="Trouble")

    app = web.Application()
    app.router.add_route("*", "/{where:.*}", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    hook, beat, password = f"{host}/hook/wEbHook+Secret=77", f"{host}/beat/hEartBeat&Secret/78", 'mAil"Pass\\wörd 79'
    canaries = [SECRET, TOKEN, hook, beat, password]
    secrets = {
        "CANARIES": json.dumps(canaries),
        "BOT_TELEGRAM_TOKEN": TOKEN,
        "BOT_WEBHOOK_URL": hook,
        "BOT_HEARTBEAT_URL": beat,
        "BOT_MAIL_PASSWORD": password,
    }
    with mock.patch.dict(os.environ, secrets):
        async with serve_bot_api() as api:
            for status in (400, 403, 500):
                api.fail("sendMessage", status, told())
            emulator = await asyncio.to_thread(Emulator, tmp_path, speed=4.0)
            try:
                strategy = f'strategy.name="{Path(__file__).parents[1]}/support/telltale.py:{Telltale.__name__}"'
                more = _MORE.format(telegram=api.url)
                paper = await asyncio.to_thread(lambda: Paper(tmp_path, emulator, strategy, more=more))
                await asyncio.to_thread(paper.until, "cannot go on", 300.0)
                code = await asyncio.to_thread(lambda: paper.end(signal.SIGCONT, 60.0))
            finally:
                await asyncio.to_thread(emulator.end, signal.SIGTERM)
            said = "\n".join(str(fields) for _, fields in api.said)
        (run,) = [each for each in (tmp_path / "runs").iterdir() if each.is_dir() and not each.is_symlink()]
        kept = tmp_path / "incident.zip"
        told_after = [bot("incident", str(run), "--out", str(kept)), bot("status", str(run)), bot("report", str(run))]
    await runner.cleanup()
    assert code == 1
    assert "Traceback" in (run / "log.jsonl").read_text(encoding="utf-8")  # what was looked for was there to be found
    assert "strategy.stumbled" in paper.said
    assert heard
    outputs: dict[str, bytes] = {
        "terminal": paper.said.encode(),
        "chat": said.encode(),
        "web": b"\n".join(heard),
        "commands": "\n".join(each.stdout + each.stderr for each in told_after).encode(),
        **dict(_files(run)),
        **dict(_files(tmp_path / "ledger")),
        **dict(_unzipped(kept)),
    }
    found = [
        (name, where, text[max(0, text.find(form) - 60) : text.find(form) + 60])
        for canary in canaries
        for name, encode in ENCODINGS.items()
        for form in [encode(canary).encode()]
        for where, text in outputs.items()
        if form in text
    ]
    assert found == []
    assert len(outputs) > 8


def _files(directory: Path) -> Iterator[tuple[str, bytes]]:
    for path in directory.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()


def _unzipped(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as kept:
        for name in kept.namelist():
            yield f"incident:{name}", kept.read(name)
