"""Every payload that is known of the venue becomes a frame, or is refused for the reason that stands in this table."""

import json
from pathlib import Path

import numpy as np
import pytest

from bot.venues.bybit.decode import TradeDecoder
from bot.venues.bybit.frames import read_frame
from bot.venues.bybit.klines import KlineDecoder
from bot.venues.bybit.tickers import TickerDecoder
from bot.venues.bybit.wire import (
    Answer,
    BookFrame,
    Frame,
    KlineFrame,
    Notice,
    NoticeState,
    Pong,
    PriceLimitFrame,
    Refused,
    StatusFrame,
    TickerFrame,
    TradeFrame,
)
from tests.support.book_messages import deltas_of_frames
from tests.support.real_books import grid
from tests.support.shared_data import SHARED

SAMPLES = SHARED / "bybit_v5_samples"
FILES = sorted(SAMPLES.glob("*.json")) if SAMPLES.is_dir() else []

NOT_REST = "not a market stream: an answer of REST or of order entry"

# By the beginning of the file's name, the longest that fits decides: what it becomes, and of refusals the reason.
TABLE: dict[str, type[Frame] | str] = {
    # public: what this part reads
    "ws_public_orderbook.1_": BookFrame,
    "ws_public_orderbook.50_": BookFrame,
    "ws_public_publicTrade.json": TradeFrame,
    "ws_public_kline": KlineFrame,
    "ws_public_tickers": TickerFrame,
    "ws_public_linear_tickers": TickerFrame,
    "ws_public_priceLimit": PriceLimitFrame,
    "ws_public_system.status": StatusFrame,
    # public: what nothing reads
    "ws_public_orderbook.full": "not read: books of depth full",
    "ws_public_orderbook.rpi": "not read: books of depth rpi",
    "ws_public_adlAlert": "not read: adlAlert",
    "ws_public_allLiquidation": "not read: allLiquidation",
    "ws_public_insurance": "not read: insurance",
    "ws_public_publicTrade__nautilus": "its topic is of no known kind",  # hand-made: there is no topic "trade.linear"
    # answers
    "ws_public_linear_pong": Pong,
    "ws_public_spot_pong": Pong,
    "ws_private_pong": Pong,
    "ws_trade_pong": Pong,
    "ws_public_linear_subscribe": Answer,
    "ws_public_spot_subscribe": Answer,
    "ws_public_option_subscribe": Answer,
    "ws_private_subscribe": Answer,
    "ws_private_auth.response": Answer,
    "ws_auth_success": Answer,
    "ws_subscribe_failure": Answer,
    "ws_trade_auth_failure": Answer,
    # requests
    "ws_subscribe.request": "a request, not an answer: subscribe",
    "ws_unsubscribe.request": "a request, not an answer: unsubscribe",
    "ws_private_auth.request": "a request, not an answer: auth",
    "ws_private_dcp_subscribe.request": "a request, not an answer: subscribe",
    "ws_trade_auth.request": "a request, not an answer: auth",
    "ws_trade_ping": "a request, not an answer: ping",
    "ws_trade_order.create.request": "a request, not an answer: order.create",
    "ws_trade_order.create-batch.request": "a request, not an answer: order.create-batch",
    # private streams
    "ws_private_order": "not a market stream: order",
    "ws_private_execution": "not a market stream: execution",
    "ws_private_position": "not a market stream: position",
    "ws_private_wallet": "not a market stream: wallet",
    "ws_private_greeks": "not a market stream: greeks",
    # order entry
    "ws_trade_auth.response": NOT_REST,
    "ws_trade_order.create": NOT_REST,
    # REST
    "rest_": NOT_REST,
}


def is_list(name: str) -> bool:
    """Return whether a file holds several payloads: errors with what was sent, requests of REST with their line."""
    return name.endswith("_errors__observed.json") or (name.startswith("rest_") and name.endswith(".request.json"))


def expected(name: str) -> type[Frame] | str:
    return TABLE[max((each for each in TABLE if name.startswith(each)), key=len)]


def test_the_samples_are_there() -> None:
    """Say so where they are not: the tests below then have nothing to go through."""
    if not FILES:
        pytest.skip("needs bybit_v5_samples in ../shared (or set BOT_SHARED): payloads are not part of the project")
    names = [path.name for path in FILES]
    assert len(names) > 120
    for beginning in TABLE:
        assert any(name.startswith(beginning) for name in names), beginning


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_payload(path: Path) -> None:
    raw = path.read_bytes()
    frame = read_frame(raw, known_ns=7)
    if is_list(path.name):
        assert isinstance(frame, Refused)
        assert frame.is_garbled
        assert frame.reason.startswith("no JSON object")
        return
    want = expected(path.name)
    if isinstance(want, str):
        assert isinstance(frame, Refused)
        assert frame.reason == want
        assert (frame.raw, frame.known_ns, frame.is_garbled) == (raw, 7, False)
    else:
        assert type(frame) is want


def named(name: str) -> Frame:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip(f"needs bybit_v5_samples/{name} in ../shared (or set BOT_SHARED)")
    return read_frame(path.read_bytes(), known_ns=9)


def test_errors_of_subscriptions() -> None:
    path = SAMPLES / "ws_public_linear_errors__observed.json"
    if not path.exists():
        pytest.skip("needs bybit_v5_samples in ../shared (or set BOT_SHARED)")
    texts = []
    for each in json.loads(path.read_bytes()):
        if "received" in each:
            answer = read_frame(json.dumps(each["received"]).encode())
            assert isinstance(answer, Answer)
            assert not answer.is_ok
            texts.append(answer.text)
    assert texts == [
        "error:handler not found,topic:orderbook.50.NOPEUSDT",
        "error:already subscribed,topic:orderbook.1.ETHUSDT",
        "args size >10",
    ]


def test_numbers_of_books() -> None:
    """All sample books have numbers on their instrument's grid."""
    count = 0
    for path in FILES:
        if path.name.startswith(("ws_public_orderbook.1_", "ws_public_orderbook.50_")):
            frame = read_frame(path.read_bytes())
            assert isinstance(frame, BookFrame)
            deltas, refused = deltas_of_frames([frame], grid(frame.topic.symbol, "0.01", "0.001"))
            assert refused == [""]
            levels = json.loads(path.read_bytes())["data"]
            assert len(deltas) == len(levels["b"]) + len(levels["a"])
            count += 1
    assert count == 5 or not FILES


def test_numbers_of_trades_klines_and_tickers() -> None:
    instrument = grid("BTCUSDT", "0.01", "0.000001")
    trade = named("ws_public_publicTrade.json")
    assert isinstance(trade, TradeFrame)
    trades, refused = TradeDecoder(instrument).decode([trade])
    assert (trades.price_ticks.tolist(), trades.qty_steps.tolist(), refused) == ([1_657_850], [1_000], [])
    kline = named("ws_public_kline.json")
    assert isinstance(kline, KlineFrame)
    assert len(KlineDecoder(instrument, "5").decode([kline])[0]) == 0  # it is not closed
    for name, mark, index in (
        ("ws_public_tickers_linear_snapshot.json", 66_666_60000000, 115_418_19000000),
        ("ws_public_tickers_linear__nautilus.json", 17_217_33000000, 17_227_36000000),
        ("ws_public_tickers_spot.json", 0, 21_120_24001360),
    ):
        ticker = named(name)
        assert isinstance(ticker, TickerFrame)
        rows, _, refused = TickerDecoder(instrument).decode([ticker])
        assert (rows.mark.tolist(), rows.index.tolist(), rows.price_exponent, refused) == ([mark], [index], -8, [])
        assert rows.has_funding.tolist() == [mark > 0]


def test_a_status_says_what_is_under_repair() -> None:
    status = named("ws_public_system.status.json")
    assert isinstance(status, StatusFrame)
    (notice,) = status.notices
    assert notice == Notice(
        id="4d95b2a0-587f-11f0-bcc9-56f28c94d6ea",
        title="t06",
        state=NoticeState.COMPLETED,
        begin_ns=1_751_596_902_000_000_000,
        end_ns=1_751_597_011_000_000_000,
    )


@pytest.mark.parametrize("file", ["archive_orderbook_ob500_XRPUSDT.data.jsonl"])
def test_the_venue_s_own_archive(file: str) -> None:
    """Fifty frames of 500 levels, one after another without a hole, on the grid."""
    path = SAMPLES / file
    if not path.exists():
        pytest.skip(f"needs bybit_v5_samples/{file} in ../shared (or set BOT_SHARED)")
    frames = [read_frame(line) for line in path.read_bytes().splitlines()]
    books = [frame for frame in frames if isinstance(frame, BookFrame)]
    assert len(books) == len(frames) == 50
    deltas, refused = deltas_of_frames(books, grid("XRPUSDT", "0.0001", "1"))
    assert not any(refused)
    assert (np.unique(deltas.update) == deltas.update[0] + np.arange(50)).all()
