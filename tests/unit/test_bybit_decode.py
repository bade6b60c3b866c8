"""Frames to columns: exact numbers, each trade once, merged tickers, closed klines."""

from decimal import Decimal

import msgspec
import pytest

from bot.core.order_book import BookFault
from bot.domain.market import NO_FLOW
from bot.venues.bybit.book_judge import Break
from bot.venues.bybit.book_sync import BookSync
from bot.venues.bybit.decode import TradeDecoder
from bot.venues.bybit.frames import read_frame
from bot.venues.bybit.klines import KlineDecoder
from bot.venues.bybit.level1 import ARRIVED, Level1
from bot.venues.bybit.numbers import Grid, grid_of, nearest, read_numbers, units_of
from bot.venues.bybit.tickers import TickerDecoder
from bot.venues.bybit.wire import (
    BookFrame,
    KlineFrame,
    TickerFrame,
    TradeFrame,
)
from tests.support.book_messages import deltas_of_frames
from tests.support.bybit_market import (
    INSTRUMENT,
    MS,
    START_NS,
    book_message,
    kline_message,
    ticker_message,
    trade_message,
)

MINUTE_NS = 60_000 * MS


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "grid"),
    [
        ("0.1", Grid(1, 1)),
        ("0.10", Grid(1, 1)),
        ("0.5", Grid(5, 1)),
        ("0.25", Grid(25, 2)),
        ("1", Grid(1, 0)),
        ("10", Grid(10, 0)),
        ("1E+2", Grid(100, 0)),
        ("0.0000001", Grid(1, 7)),
    ],
)
def test_grids(step: str, grid: Grid) -> None:
    assert grid_of(Decimal(step)) == grid


def test_a_step_that_is_none_is_refused() -> None:
    for step in ("0", "1E-18", "1E+15"):
        with pytest.raises(ValueError, match="none that a venue has"):
            grid_of(Decimal(step))


# The text, its value in steps of 0.5, or what is said against it.
NUMBERS: list[tuple[str, int | str]] = [
    ("0", 0),
    ("0.000", 0),
    ("00.5", 1),
    ("1", 2),
    ("1.0", 2),
    ("1.50000000000000000", 3),
    ("4503599627370496", 2**53),
    ("16493.50", 32987),
    ("1.25", "not on the instrument's grid"),
    ("0.1", "not on the instrument's grid"),
    ("4503599627370496.5", "too large"),
    ("9999999999999999999", "no decimal|too large"),
    ("1" * 200, "no decimal|too large"),
    ("", "no decimal"),
    (".5", "no decimal"),
    ("1.", "no decimal"),
    ("1.5.0", "no decimal"),
    ("-1", "no decimal"),
    ("+1", "no decimal"),
    ("1e1", "no decimal"),
    ("1_0", "no decimal"),
    (" 1", "no decimal"),
    ("1 ", "no decimal"),
    ("NaN", "no decimal"),
    ("0x1", "no decimal"),
    ("\N{ARABIC-INDIC DIGIT ONE}", "no decimal"),
    ("\N{FULLWIDTH DIGIT ONE}", "no decimal"),
]


@pytest.mark.parametrize(("text", "expected"), NUMBERS)
def test_numbers(text: str, expected: int | str) -> None:
    """The compiled reader of many and the plain one of a few agree, and say why."""
    grid = Grid(5, 1)
    (compiled,) = read_numbers([msgspec.Raw(msgspec.json.encode(text))], grid).tolist()
    if isinstance(expected, int):
        assert compiled == units_of(text, grid) == expected
    else:
        assert compiled < 0
        with pytest.raises(ValueError, match=expected):
            units_of(text, grid)


@pytest.mark.parametrize("raw", [b"1", b"null", b"true", b'["1"]', b'{"a":"1"}', b'"\\u0031"', b'"1', b'"', b""])
def test_what_is_no_text_is_no_number(raw: bytes) -> None:
    assert read_numbers([msgspec.Raw(raw)], Grid(1, 0))[0] < 0


def test_nearest_rounds_half_to_even_and_keeps_the_sign() -> None:
    texts = ("0.000000005", "0.000000015", "-0.000000015", "-0.005", "1")
    assert [nearest(text, 8) for text in texts] == [0, 2, -2, -500_000, 100_000_000]
    for text in ("1e3", "--1", "", "nan", "9" * 18 + ".0"):
        with pytest.raises(ValueError, match="a value"):
            nearest(text, 8)


# --- books ------------------------------------------------------------------------------------------------------------


def book_frames(*raws: bytes) -> list[BookFrame]:
    frames = [read_frame(raw, known_ns=START_NS + number) for number, raw in enumerate(raws)]
    assert all(isinstance(frame, BookFrame) for frame in frames)
    return frames  # type: ignore[return-value]


def test_levels_become_rows_in_the_order_they_were_told() -> None:
    raws = (
        book_message(START_NS, 7, [(600_000, 5), (599_999, 1)], [(600_001, 6)], is_snapshot=True),
        book_message(START_NS + 20 * MS, 8, [], [(600_001, 0)]),
        book_message(START_NS + 40 * MS, 9, [], []),
    )
    deltas, refused = deltas_of_frames(book_frames(*raws), INSTRUMENT)
    assert not any(refused)
    assert deltas.price_ticks.tolist() == [600_000, 599_999, 600_001, 600_001, 0]
    assert deltas.qty_steps.tolist() == [5, 1, 6, 0, 0]
    assert deltas.is_bid.tolist() == [True, True, False, False, False]
    assert deltas.is_last.tolist() == [False, False, True, True, True]
    assert deltas.is_snapshot.tolist() == [True, True, True, False, False]
    assert deltas.update.tolist() == [7, 7, 7, 8, 9]
    assert deltas.previous.tolist() == [-1, -1, -1, 7, 8]
    assert deltas.ts_ns.tolist() == [START_NS] * 3 + [START_NS + 20 * MS, START_NS + 40 * MS]
    assert deltas.known_ns.tolist() == [START_NS] * 3 + [START_NS + 1, START_NS + 2]


def test_blanks_between_levels_mean_nothing() -> None:
    raw = book_message(START_NS, 7, [(600_000, 5), (599_999, 1)], [(600_001, 6)])
    spaced = raw.replace(b'["', b' [\n\t"').replace(b'","', b'" ,\r\n "').replace(b"],", b" ] ,\n")
    one, other = (deltas_of_frames(book_frames(each), INSTRUMENT)[0] for each in (raw, spaced))
    assert one.price_ticks.tolist() == other.price_ticks.tolist()
    assert one.qty_steps.tolist() == other.qty_steps.tolist()


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        ('[["60000.05","1"]]', "not on the instrument's grid"),
        ('[["60000.1","1.0001"]]', "not on the instrument's grid"),
        ('[["0","1"]]', "not positive"),
        ('[["-1","1"]]', "no decimal"),
        ('[["60000.1","-1"]]', "no decimal"),
        ('[[60000.1,"1"]]', "no decimal"),
        ('[["60000.1"]]', "not a list of pairs"),
        ('[["60000.1","1","0"]]', "not a list of pairs"),
        ('[["60000.1","1"],[]]', "no decimal"),
        ('[["60000.1","1"],null]', "not a list of pairs"),
        ("null", "not a list of pairs"),
        ('{"60000.1":"1"}', "not a list of pairs"),
        ('"60000.1"', "not a list of pairs"),
        ('[["99999999999999999999","1"]]', "too large"),
    ],
)
def test_a_message_with_a_level_that_cannot_be_is_refused_and_the_book_loses_trust_there(
    levels: str, reason: str
) -> None:
    """Exactly there: the message before it stands, and what follows is not believed until a snapshot."""
    good = book_message(START_NS, 7, [(600_000, 5)], [(600_001, 6)], is_snapshot=True)
    bad = book_message(START_NS + MS, 8, [], []).replace(b'"b":[]', b'"b":' + levels.encode())
    after = book_message(START_NS + 2 * MS, 9, [(600_000, 4)], [])
    frames = book_frames(good, bad, after)
    sync = BookSync(INSTRUMENT, levels=50)
    rows, (broken,), (refused,) = sync.on_frames(frames, [0, 1, 2])
    assert reason in refused.reason
    assert (refused.raw, refused.topic) == (bad, "orderbook.50.BTCUSDT")
    assert rows.is_trusted.tolist() == [True, False, False]
    assert (broken.reason, broken.update) == (Break.BAD, 8)
    assert sync.book.fault is BookFault.IMPOSSIBLE


def test_repeats_give_no_row_and_the_places_say_so() -> None:
    first = book_message(START_NS, 7, [(600_000, 5)], [(600_001, 6)], is_snapshot=True)
    change = book_message(START_NS + MS, 8, [(599_999, 1)], [])
    rows, witness, _ = Level1(INSTRUMENT).decode(book_frames(first, change, change, first), [5, 6, 9, 12])
    assert witness.table[ARRIVED, : witness.rows].tolist() == [5, 6, 12]
    assert rows.known_ns.tolist() == [START_NS, START_NS + 1, START_NS + 3]
    books, _, _ = BookSync(INSTRUMENT, levels=50).on_frames(book_frames(first, change, change, first), range(4))
    assert books.known_ns.tolist() == rows.known_ns.tolist()


def test_a_book_that_outgrows_its_room_is_built_all_the_same() -> None:
    """Many levels in one message, more than a book has room for at first; the same for the best prices alone."""
    bids, asks = [(600_000 - n, 1 + n) for n in range(3_000)], [(600_001 + n, 1 + n) for n in range(3_000)]
    raw = book_message(START_NS, 7, bids, asks, is_snapshot=True)
    sync = BookSync(INSTRUMENT, levels=3_000, depth=3_000)
    rows, breaks, refused = sync.on_frames(book_frames(raw), [0])
    assert (breaks, refused) == ([], [])
    assert list(zip(rows.bid_ticks[0].tolist(), rows.bid_steps[0].tolist(), strict=True)) == bids
    assert list(zip(rows.ask_ticks[0].tolist(), rows.ask_steps[0].tolist(), strict=True)) == asks
    assert sync.book.counts.messages == 1
    quotes, _, _ = Level1(INSTRUMENT).decode(book_frames(raw), [0])
    assert (quotes.bid_ticks.tolist(), quotes.ask_ticks.tolist()) == ([600_000], [600_001])


def test_no_frames_make_no_rows() -> None:
    books, breaks, refused = BookSync(INSTRUMENT, levels=50).on_frames([], [])
    assert (len(books), breaks, refused) == (0, [], [])
    assert len(TradeDecoder(INSTRUMENT).decode([])[0]) == 0
    assert len(TickerDecoder(INSTRUMENT).decode([])[0]) == 0
    assert len(KlineDecoder(INSTRUMENT, "1").decode([])[0]) == 0


def test_coarse_grids() -> None:
    """A tick of 0.5 and a step of 10."""
    instrument = replace_grid("0.5", "10")
    raw = book_message(START_NS, 7, [], []).replace(b'"b":[]', b'"b":[["16493.50","120"],["16493","10.000"]]')
    deltas, _ = deltas_of_frames(book_frames(raw), instrument)
    assert deltas.price_ticks.tolist() == [32987, 32986]
    assert deltas.qty_steps.tolist() == [12, 1]
    _, (refused,) = deltas_of_frames(book_frames(raw.replace(b'"120"', b'"125"')), instrument)
    assert "grid" in refused


def replace_grid(tick_size: str, qty_step: str):  # type: ignore[no-untyped-def]
    return msgspec.structs.replace(INSTRUMENT, tick_size=Decimal(tick_size), qty_step=Decimal(qty_step))


# --- trades -----------------------------------------------------------------------------------------------------------


def trade_frames(*raws: bytes) -> list[TradeFrame]:
    frames = [read_frame(raw) for raw in raws]
    assert all(isinstance(frame, TradeFrame) for frame in frames)
    return frames  # type: ignore[return-value]


def test_trades_become_rows() -> None:
    raws = (
        trade_message(START_NS, [(600_000, 5, True), (600_001, 7, False)]),
        trade_message(START_NS + 9 * MS, [(600_002, 1, True)], first_id=2),
    )
    batch, refused = TradeDecoder(INSTRUMENT).decode(trade_frames(*raws))
    assert refused == []
    assert batch.ts_ns.tolist() == [START_NS, START_NS + MS, START_NS + 9 * MS]
    assert batch.price_ticks.tolist() == [600_000, 600_001, 600_002]
    assert batch.qty_steps.tolist() == [5, 7, 1]
    assert batch.is_buy.tolist() == [True, False, True]


def test_a_trade_that_is_sent_twice_counts_once() -> None:
    decoder = TradeDecoder(INSTRUMENT)
    raw = trade_message(START_NS, [(600_000, 5, True), (600_001, 7, False)])
    frames = trade_frames(raw, raw)
    assert len(decoder.decode(frames)[0]) == 2
    again, _ = decoder.decode(frames[:1])
    assert (len(again), again.first_row, decoder.counts.repeated) == (0, 2, 4)
    assert decoder.has_seen("20f43950-d8dd-5b31-9112-000000000001")
    assert not decoder.has_seen("20f43950-d8dd-5b31-9112-000000000002")


def test_trades_are_remembered_for_thousands_and_not_for_ever() -> None:
    decoder = TradeDecoder(INSTRUMENT)
    for first in range(0, 10_000, 1000):
        rows = [(600_000, 5, True)] * 1000
        assert len(decoder.decode(trade_frames(trade_message(START_NS, rows, first_id=first)))[0]) == 1000
    assert decoder.has_seen(f"20f43950-d8dd-5b31-9112-{10_000 - 2_048:012d}")
    assert not decoder.has_seen("20f43950-d8dd-5b31-9112-000000000000")
    late = trade_message(START_NS, [(600_000, 5, True)] * 1000, first_id=10_000 - 2_048)
    assert len(decoder.decode(trade_frames(late))[0]) == 0


def test_block_trades_are_left_out() -> None:
    decoder = TradeDecoder(INSTRUMENT)
    batch, refused = decoder.decode(trade_frames(trade_message(START_NS, [(600_000, 5, True)], BT=True)))
    assert (len(batch), refused, decoder.counts.blocks) == (0, [], 1)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"p": "60000.05"}, "grid"),
        ({"p": 60000.0}, "no decimal"),
        ({"p": "0"}, "not positive"),
        ({"v": "0"}, "not positive"),
        ({"v": "1e3"}, "no decimal"),
    ],
)
def test_a_trade_that_cannot_be_is_refused_and_the_others_of_the_frame_stand(
    values: dict[str, object], reason: str
) -> None:
    decoder = TradeDecoder(INSTRUMENT)
    good = trade_message(START_NS, [(600_000, 5, True)])
    bad = trade_message(START_NS, [(600_001, 7, True)], first_id=1, **values)
    batch, (refused,) = decoder.decode(trade_frames(good, bad))
    assert batch.price_ticks.tolist() == [600_000]
    assert reason in refused.reason
    assert refused.raw == bad


# --- tickers ----------------------------------------------------------------------------------------------------------


def ticker_frames(*raws: bytes) -> list[TickerFrame]:
    frames = [read_frame(raw, known_ns=START_NS + number) for number, raw in enumerate(raws)]
    assert all(isinstance(frame, TickerFrame) for frame in frames)
    return frames  # type: ignore[return-value]


WHOLE = ticker_message(
    START_NS,
    is_snapshot=True,
    lastPrice="60000.0",
    markPrice="60000.07",
    indexPrice="60001.12345678",
    bid1Price="59999.9",
    bid1Size="1.5",
    ask1Price="60000.0",
    ask1Size="0.250",
    fundingRate="-0.000212",
    nextFundingTime="1760025600000",
    fundingIntervalHour="8",
    openInterest="68744.7614",
)


def test_a_change_is_merged_into_what_is_known() -> None:
    change = ticker_message(START_NS + 100 * MS, markPrice="60000.1", fundingIntervalHour="1")
    rows, places, refused = TickerDecoder(INSTRUMENT).decode(ticker_frames(WHOLE, change))
    assert (places, refused) == ([0, 1], [])
    assert rows.price_exponent == -8
    assert rows.mark.tolist() == [6_000_007_000_000, 6_000_010_000_000]
    assert rows.marks().tolist() == [60000.07, 60000.1]
    assert rows.index.tolist() == [6_000_112_345_678] * 2
    assert rows.bid_ticks.tolist() == [599_999] * 2
    assert rows.ask_steps.tolist() == [250] * 2
    assert rows.funding_rate_e8.tolist() == [-21_200] * 2
    assert rows.next_funding_ns.tolist() == [1_760_025_600_000 * MS] * 2
    assert rows.funding_interval_ns.tolist() == [8 * 3600 * 10**9, 3600 * 10**9]
    assert rows.open_interest_steps.tolist() == [68_744_761] * 2  # the nearest
    assert rows.has_funding.tolist() == [True] * 2


def test_a_whole_ticker_replaces_what_was_known() -> None:
    less = ticker_message(START_NS, is_snapshot=True, markPrice="1")
    rows, _, _ = TickerDecoder(INSTRUMENT).decode(ticker_frames(WHOLE, less))
    assert (rows.bid_ticks[1], rows.has_funding[1], rows.mark[1]) == (0, False, 100_000_000)


def test_no_value_is_spelled_in_several_ways() -> None:
    change = ticker_message(START_NS, bid1Price="", fundingRate="", markPrice="0.00")
    rows, _, _ = TickerDecoder(INSTRUMENT).decode(ticker_frames(WHOLE, change))
    assert (rows.bid_ticks[1], rows.has_funding[1], rows.mark[1], rows.bid_steps[1]) == (0, False, 0, 1500)


def test_changes_before_the_whole_are_left_out() -> None:
    decoder = TickerDecoder(INSTRUMENT)
    change = ticker_message(START_NS, markPrice="1")
    rows, places, _ = decoder.decode(ticker_frames(change, WHOLE, change))
    assert (len(rows), places, decoder.unseeded) == (2, [1, 2], 1)
    decoder.forget()
    assert len(decoder.decode(ticker_frames(change))[0]) == 0


@pytest.mark.parametrize("field", ["markPrice", "bid1Price", "fundingRate", "nextFundingTime", "fundingIntervalHour"])
@pytest.mark.parametrize("text", ["x", "1e5", "-1.5.2", "9" * 18, "1" * 99])
def test_a_value_that_cannot_be_leaves_nothing_known_until_the_next_whole(field: str, text: str) -> None:
    decoder = TickerDecoder(INSTRUMENT)
    change = ticker_message(START_NS, markPrice="1")
    bad = ticker_message(START_NS, **{field: text})
    rows, places, (refused,) = decoder.decode(ticker_frames(WHOLE, bad, change, WHOLE))
    assert places == [0, 1, 3]
    assert [row == 0 for row in rows.mark.tolist()] == [False, True, False]
    assert refused.raw == bad
    assert field.lower()[:4] in refused.reason.replace("_", "")


def test_prices_of_small_coins_keep_four_decimals_of_a_tick() -> None:
    instrument = replace_grid("0.0000001", "1")
    raw = ticker_message(START_NS, is_snapshot=True, markPrice="0.00001234567", indexPrice="0.0000123456789")
    rows, _, refused = TickerDecoder(instrument).decode(ticker_frames(raw))
    assert (rows.price_exponent, rows.mark.tolist(), refused) == (-11, [1_234_567], [])
    assert rows.index.tolist() == [1_234_568]  # finer than that: the nearest


# --- klines -----------------------------------------------------------------------------------------------------------


def kline_frames(*raws: bytes) -> list[KlineFrame]:
    frames = [read_frame(raw, known_ns=START_NS + number) for number, raw in enumerate(raws)]
    assert all(isinstance(frame, KlineFrame) for frame in frames)
    return frames  # type: ignore[return-value]


MINUTE = START_NS // MINUTE_NS * MINUTE_NS


def closed(number: int, close: str = "60000.5") -> bytes:
    start_ns = MINUTE + number * MINUTE_NS
    return kline_message(start_ns, start_ns + MINUTE_NS, confirm=True, close=close)


def test_only_closed_bars_each_once() -> None:
    decoder = KlineDecoder(INSTRUMENT, "1")
    still_open = kline_message(MINUTE, MINUTE + 1000 * MS, confirm=False)
    bars, missing, refused = decoder.decode(kline_frames(still_open, closed(0), closed(0), still_open, closed(1)))
    assert (missing, refused) == ([], [])
    assert bars.open_ns.tolist() == [MINUTE, MINUTE + MINUTE_NS]
    assert bars.close_ticks.tolist() == [600_005, 600_005]
    assert bars.high_ticks.tolist() == [600_100] * 2
    assert bars.volume_steps.tolist() == [2_500] * 2
    assert bars.turnover.tolist() == [1_500_002_500] * 2  # 150000.25 / (0.1 * 0.001)
    assert bars.flags.tolist() == [0, 0]
    assert (bars.known_ns >= bars.close_ns).all()
    assert (decoder.counts.open, decoder.counts.repeated, decoder.counts.changed) == (2, 1, 0)


def test_a_late_correction_is_counted_and_the_first_word_kept() -> None:
    decoder = KlineDecoder(INSTRUMENT, "1")
    bars, _, _ = decoder.decode(kline_frames(closed(0), closed(0, close="60001.0")))
    assert bars.close_ticks.tolist() == [600_005]
    assert decoder.counts.changed == 1


def test_bars_that_never_came_are_missed() -> None:
    _, missing, _ = KlineDecoder(INSTRUMENT, "1").decode(kline_frames(closed(0), closed(3)))
    assert missing == [(MINUTE + MINUTE_NS, MINUTE + 3 * MINUTE_NS)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((b'"high":"60010"', b'"high":"59000"'), "contradict"),
        ((b'"low":"59990.0"', b'"low":"0"'), "contradict"),
        ((b'"open":"60000"', b'"open":"60000.05"'), "grid"),
        ((b'"volume":"2.5"', b'"volume":"-2.5"'), "no decimal"),
        ((b'"turnover":"150000.25"', b'"turnover":"much"'), "no decimal"),
        ((b'"end":', b'"end":1760000000000,"e":'), "interval's grid"),
    ],
)
def test_bars_that_cannot_be_are_refused(change: tuple[bytes, bytes], reason: str) -> None:
    bars, _, (refused,) = KlineDecoder(INSTRUMENT, "1").decode(kline_frames(closed(0).replace(*change)))
    assert len(bars) == 0
    assert reason in refused.reason


def test_a_turnover_that_cannot_be_is_not_told() -> None:
    raw = closed(0).replace(b'"turnover":"150000.25"', b'"turnover":"2.5"')
    bars, _, _ = KlineDecoder(INSTRUMENT, "1").decode(kline_frames(raw))
    assert (bars.turnover.tolist(), bars.flags.tolist()) == ([0], [NO_FLOW])


def test_months_have_no_fixed_length() -> None:
    with pytest.raises(ValueError, match="no fixed length"):
        KlineDecoder(INSTRUMENT, "M")


def test_row_numbers_go_on() -> None:
    """Across calls, whatever the kind."""
    trades = TradeDecoder(INSTRUMENT)
    firsts = [
        trades.decode(trade_frames(trade_message(START_NS, [(1, 1, True)] * 3, first_id=3 * n)))[0].first_row
        for n in range(3)
    ]
    assert firsts == [0, 3, 6]
    books, quotes = BookSync(INSTRUMENT, levels=50), Level1(INSTRUMENT)
    raws = [book_message(START_NS, update, [(1, 1)], [(2, 1)], is_snapshot=True) for update in (7, 8)]
    assert [books.on_frames(book_frames(*raws), [0, 1])[0].first_row for _ in range(3)] == [0, 2, 4]
    assert [quotes.decode(book_frames(*raws), [0, 1])[0].first_row for _ in range(3)] == [0, 2, 4]
