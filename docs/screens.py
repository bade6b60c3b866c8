"""Draw the pictures of the dashboard, the report and the forecast that the documentation shows.

    python -m docs.screens [--run runs/20260101-000000-multiscale-1a2b] [--live runs/latest] [--out docs/pictures]

`--run` is a finished run (`bot replay --config config/demo.toml`), `--live` one that trades while the pictures are made
(`bot paper`, or the walk-through of the runbook). Needs Chromium. Each page is seen at the width of a desk and of a
phone, by day and by night; a page that complains of something, or is wider than its screen, is said to.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from bot.app.alerting import load_painter
from bot.app.dashboard import RunLibrary
from bot.app.status import look
from bot.operator.page_server import PageServer
from bot.runtime.env import WriterThread
from tests.support.chromium import Tab, browser

TOKEN = "a-token-for-these-pictures-alone-and-nobody-else"
DESK, PHONE = (1440, 1500), (390, 1900)
LOOKS = (
    ("light", DESK, False, False),
    ("dark", DESK, False, True),
    ("phone", PHONE, True, False),
    ("phone_dark", PHONE, True, True),
)
COLOURS = 128  # of a kept picture: charts and text need no more, and the file is a third
_READY = "document.documentElement.dataset.ready !== undefined"


async def main(run: Path | None, live: Path | None, out: Path) -> list[str]:
    """Draw them all; return what was wrong."""
    first = run or live
    assert first is not None
    thread = WriterThread("screens")
    library = RunLibrary(first.parent)
    server = PageServer(library, off_loop=thread, token=TOKEN)
    url = f"http://127.0.0.1:{await server.listen('127.0.0.1', 0)}"
    wrong: list[str] = []
    try:
        with tempfile.TemporaryDirectory() as profile:
            async with browser(Path(profile)) as tab:
                await tab.open(f"{url}/?run={quote(first.name)}#{TOKEN}")
                await tab.until(_READY)
                if run is not None:
                    wrong += await _finished(tab, f"{url}/?run={quote(run.name)}", run, out)
                if live is not None:
                    wrong += await _running(tab, f"{url}/?run={quote(live.name)}", out)
                wrong += tab.complaints
    finally:
        await server.stop()
        thread.close()
    if live is not None:
        wrong += await _forecast(library, live, out)
    return wrong


async def _finished(tab: Tab, url: str, run: Path, out: Path) -> list[str]:
    wrong: list[str] = []
    for name, size, is_phone, is_dark in LOOKS:
        await _see(tab, url, size, is_phone=is_phone, is_dark=is_dark)
        await tab.until(_READY)
        wrong += await _keep(tab, out / f"dashboard_{name}.png")
    for name, size, is_phone, is_dark in LOOKS:
        await _see(tab, (run / "report.html").resolve().as_uri(), size, is_phone=is_phone, is_dark=is_dark)
        await tab.until("document.querySelectorAll('.js-plotly-plot .main-svg').length > 3")
        wrong += await _keep(tab, out / f"report_{name}.png")
    return wrong


async def _running(tab: Tab, url: str, out: Path) -> list[str]:
    wrong: list[str] = []
    for name, size, is_phone, is_dark in (LOOKS[0], LOOKS[-1]):
        await _see(tab, url, size, is_phone=is_phone, is_dark=is_dark)
        await tab.until("(document.getElementById('actors') || document.body).querySelectorAll('tr').length > 3")
        wrong += await _keep(tab, out / f"dashboard_live_{name}.png")
    return wrong


async def _forecast(library: RunLibrary, live: Path, out: Path) -> list[str]:
    view, painter = await look(live), load_painter()
    if not view.forecasts or painter is None:
        return ["no forecast yet, so no picture of one"]
    bars = library.chart(live.name, view.forecasts[0].instrument, 3_600)
    ends = [(start + bars["interval"]) * 1_000_000_000 for start in bars["bars"]["t"]]
    picture = painter.forecast(view.forecasts[0], list(zip(ends, bars["bars"]["c"], strict=True)))
    (out / "forecast.png").write_bytes(picture)
    return []


async def _see(tab: Tab, url: str, size: tuple[int, int], *, is_phone: bool, is_dark: bool) -> None:
    await tab.size(*size, phone=is_phone, dark=is_dark, scale=1)
    await tab.open(url)


async def _keep(tab: Tab, path: Path) -> list[str]:
    await asyncio.sleep(1.0)  # charts fade in
    picture = Image.open(BytesIO(await tab.picture())).convert("RGB")
    kept = BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(kept, "PNG", optimize=True)
    path.write_bytes(kept.getvalue())  # noqa: ASYNC240
    width = await tab.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    sys.stdout.write(f"{path.name}: {picture.width} x {picture.height}, {len(kept.getvalue()) // 1024} KB\n")
    return [f"{path.name}: {width} pixels wider than its screen"] if width > 0 else []


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a finished run's directory")
    parser.add_argument("--live", type=Path, help="a running one's")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("pictures"))
    return parser.parse_args(words)


if __name__ == "__main__":
    given = parse(sys.argv[1:])
    places = [None if each is None else each.resolve() for each in (given.run, given.live)]
    if places == [None, None]:
        sys.exit("name a run: --run, --live, or both")
    if faults := asyncio.run(main(*places, given.out)):
        sys.exit("\n".join(faults))
