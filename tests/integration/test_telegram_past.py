"""Answers out of a real ledger, and pictures, as an operator gets them."""

import math
from collections.abc import AsyncIterator
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image

from bot.app.alerting import load_painter
from bot.domain.errors import DataError
from bot.domain.history import EquityPoint
from bot.operator.telegram.api import TelegramApi
from bot.operator.telegram.channel import TelegramChannel
from bot.operator.telegram.control import Control
from bot.operator.telegram.offsets import OffsetFile
from bot.operator.telegram.pictures import PillowPainter
from bot.operator.telegram.verbs import Look
from bot.operator.trace import Trace
from bot.runtime.env import WriterThread
from bot.store.ledger_queries import LedgerHistory
from tests.support.bot_api import TOKEN, serve_bot_api
from tests.support.live_ledgers import STARTED_NS, begin, history, open_ledger, write_one_by_one
from tests.support.operated import MINUTE, FakeOperated, make_snapshot
from tests.support.telegram_updates import OPERATOR

DAY = 86_400_000_000_000


class Nobody:
    """Hears nothing."""

    def tell(self, notice: object) -> None:
        """See `ports.NoticeSink`."""


class LedgerClock:
    """Stands where the ledger's rows are."""

    def now_ns(self) -> int:
        """See `ports.Clock`."""
        return STARTED_NS + 60 * 1_000_000_000


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[TelegramChannel]:
    ledger = open_ledger(tmp_path)
    begin(ledger)
    write_one_by_one(ledger, history(3), size=20)
    ledger.close(now_ns=STARTED_NS)
    view = make_snapshot(now_ns=STARTED_NS + 60 * 1_000_000_000)  # the bot's clock stands where the ledger's rows are
    trace, operated, thread = Trace(), FakeOperated(view), WriterThread("test")
    for k in range(5):
        shown = make_snapshot(now_ns=STARTED_NS + k * MINUTE, equity=Decimal(10_000 + k * k))
        trace.note(shown)
    yield TelegramChannel(
        TelegramApi(TOKEN),
        operated=operated,
        operators=[OPERATOR],
        control=Control(allowed=frozenset({OPERATOR}), draw_code=lambda: "123456"),
        offsets=OffsetFile(tmp_path / "telegram.json"),
        alerts=Nobody(),
        disk=thread,
        off_loop=thread,
        clock=LedgerClock(),
        queries=LedgerHistory(str(tmp_path)),
        trace=trace,
        painter=load_painter(),
    )
    thread.close()


async def test_the_past_is_told_from_the_ledger(channel: TelegramChannel) -> None:
    """Three round trips, each with 0.03 of fees, and 0.0123 of funding paid for each on an earlier day."""
    profit = (await channel.compose(Look(topic="profit"))).body
    assert "-0.13" in profit  # 3 * -(0.03 + 0.0123) = -0.1269
    assert "3, 0 % won" in profit
    daily = (await channel.compose(Look(topic="daily", count=3))).body.split("\n")
    assert len(daily) == 4
    assert daily[1].split()[:3] == ["2023-11-14", "-0.090", "3"]
    assert len((await channel.compose(Look(topic="trades", count=2))).body.split("\n")) == 3
    assert "canceled" in (await channel.compose(Look(topic="orders", count=4))).body
    assert "-0.13" in (await channel.compose(Look(topic="performance"))).body
    for topic in ("weekly", "monthly"):
        assert "-0.090" in (await channel.compose(Look(topic=topic))).body


async def test_pictures_are_pictures_and_telegram_takes_them(channel: TelegramChannel) -> None:
    async with serve_bot_api() as api:
        telegram = TelegramApi(TOKEN, server=api.url)
        for text in (
            await channel.compose(Look(topic="equity")),
            await channel.compose(Look(topic="forecast", instrument="BTCUSDT")),
            await channel.summary(),
        ):
            assert Image.open(BytesIO(text.picture)).size == (900, 520)
            await telegram.say(OPERATOR, text)
        await telegram.close()
        assert [method for method, _ in api.said] == ["sendPhoto"] * 3
        assert "tiny-0a1b2c3d" in api.texts()[1]


async def test_an_instrument_without_a_forecast_is_said(channel: TelegramChannel) -> None:
    text = await channel.compose(Look(topic="forecast", instrument="XRPUSDT"))
    assert text.picture == b""
    assert text.body == "There are: BTCUSDT"


async def test_a_ledger_that_is_gone_is_said_in_one_line(channel: TelegramChannel, tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").unlink()
    with pytest.raises(DataError, match="no ledger here"):
        await channel.compose(Look(topic="profit"))


@pytest.mark.parametrize("values", [(1.0, 1.0), (0.0, 0.0), (-5.0, 1e12), (1e-9, 2e-9)])
def test_equity_of_any_size_is_drawn(values: tuple[float, float]) -> None:
    points = [EquityPoint(ts_ns=k * DAY, equity=Decimal(str(value))) for k, value in enumerate(values)]
    assert PillowPainter().equity(points, "USDT").startswith(b"\x89PNG")


def test_forecasts_of_any_shape_are_drawn() -> None:
    view = make_snapshot().forecasts[0]
    odd = [
        view,
        replace(view, importance=(), scales_ns=()),
        replace(view, importance=(0.0, math.nan, 1.0)),
        replace(view, levels=(0.5,), quantiles=((0.0,), (0.0,))),
        replace(view, quantiles=((math.nan,) * 5, (math.inf,) * 5)),
        replace(view, horizons_ns=(MINUTE,), quantiles=(view.quantiles[0],)),
    ]
    for each in odd:
        for past in ([], [(view.bar_close_ns - MINUTE, 63_000.0)], [(view.bar_close_ns, 1.0)]):
            assert PillowPainter().forecast(each, past).startswith(b"\x89PNG")


def test_the_trace_is_bounded_and_keeps_its_distance() -> None:
    trace = Trace()
    for k in range(3_000):
        trace.note(make_snapshot(now_ns=k * MINUTE // 2))
    assert len(trace.equity()) == 1_440
    assert trace.equity()[1].ts_ns - trace.equity()[0].ts_ns == MINUTE
    assert len(trace.prices("BTCUSDT")) == 1
    assert trace.prices("XRPUSDT") == []
