"""Telegram on your own machine, to try the bot's chat without an account, a token or the internet.

    python -m tests.support.telegram_at_home [--port 8081] [--pictures DIR]

speaks the Bot API to the bot, and plays the chat in this terminal: what the bot says is printed, what you type is sent
to it as the operator's message. Pictures are written to a directory. It says first what the bot has to be told.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.bot_api import TOKEN, BotApi

OPERATOR = 42


class Chat(BotApi):
    """The server, and the chat as it is shown.

    Args:
        pictures: where pictures are put.
    """

    def __init__(self, pictures: Path) -> None:
        super().__init__()
        self._pictures = pictures
        self._messages = 0

    async def hear(self, text: str) -> None:
        """Send the bot what the operator typed."""
        self._messages += 1
        about = {"id": OPERATOR, "is_bot": False, "first_name": "you"}
        chat = {"id": OPERATOR, "type": "private"}
        message = {"message_id": self._messages, "from": about, "chat": chat, "date": int(time.time()), "text": text}
        await self.push({"update_id": self._messages, "message": message})

    def _say(self, method: str, fields: dict[str, Any]) -> web.Response:
        answer = super()._say(method, fields)
        for picture in (each for each in fields.values() if isinstance(each, bytes)):
            path = self._pictures / f"{len(self.said)}.png"
            path.write_bytes(picture)
            sys.stdout.write(f"[picture: {path}]\n")
        text = fields.get("text") or fields.get("caption") or ""
        sys.stdout.write("".join(f"| {line}\n" for line in text.splitlines()))
        sys.stdout.flush()
        return answer


async def play(port: int, pictures: Path) -> None:
    """Serve until the end of the input."""
    chat = Chat(pictures)
    app = web.Application(client_max_size=20 << 20)
    app.router.add_post("/bot{token}/{method}", chat.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    sys.stdout.write(
        f"In another terminal:\n\n    export BOT_TELEGRAM_TOKEN={TOKEN}\n"
        "    bot paper --config config/paper-offline.toml --set run.stop_after=1d \\\n"
        "        --set alerts.telegram.enabled=true "
        f"--set 'alerts.telegram.users=[{OPERATOR}]' "
        f"--set 'alerts.telegram.server=\"http://127.0.0.1:{port}\"'\n\n"
        "Then type here: /help, /status, /pause. Ctrl-D ends it.\n\n"
    )
    sys.stdout.flush()
    loop = asyncio.get_running_loop()
    try:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            if line.strip():
                await chat.hear(line.strip())
    finally:
        await runner.cleanup()


def main() -> None:
    """Play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8081, help="where it listens, on loopback")
    parser.add_argument("--pictures", type=Path, default=Path("runs/pictures"), help="where pictures are put")
    arguments = parser.parse_args()
    arguments.pictures.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(play(arguments.port, arguments.pictures))
    except OSError as error:
        sys.exit(f"port {arguments.port} is taken ({error.strerror}); choose another with --port")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
