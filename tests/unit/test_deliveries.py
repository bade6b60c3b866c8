"""Notes of deliveries: what is packed is read, every kind of message; a file that ends anywhere lies about nothing."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.actors.inbox import Stop
from bot.actors.live_executor import Asked, Pulse
from bot.actors.recorded import WORDS
from bot.actors.strategy import Begin, Wake
from bot.app.verify import is_same_slab
from bot.core.deliveries import Codec, Head, Heard, Note, Told, Verb, join, split
from bot.core.effects import Notice, Wish
from bot.core.order import Order
from bot.core.reconcile import VenueSnapshot
from bot.core.submission.messages import (
    AccountCompared,
    AccountTold,
    Answered,
    ClockTold,
    HomeMessage,
    LinkChanged,
    LookedUp,
    PositionSeen,
)
from bot.core.submission.requests import LookUpWanted, Send, Subject
from bot.domain.account_events import AccountUnsure
from bot.domain.answers import Absent, Answer, AnswerKind, Place
from bot.domain.errors import DataError, StorageError
from bot.domain.instrument import Side
from bot.domain.ledger import ForecastUsed
from bot.domain.market import BarBatch, ForecastBatch, MarketSlab, TradeBatch, TradeHole, is_same
from bot.domain.operation import Kill
from bot.domain.orders import CancelOpen, Exit, OrderFilled, OrderType, PlaceOrder, SetStops, SubmitOrder, Target
from bot.store.deliveries import DeliveryReader, DeliveryRecorder
from tests.support.bars_reference import ReferenceTrade
from tests.support.batches import INSTRUMENT, trades_of

T = TypeVar("T")
HEAD = Head(
    run_id="r",
    mode="paper",
    version="1",
    config_hash="c",
    strategy_hash="s",
    model_id="none",
    epoch=3,
    after_seq=7,
    ledger="ledger",
    currency="USDT",
    instruments=(INSTRUMENT,),
    began_ns=1,
    state=b"state",
    order_count=4,
    executed_ms=5,
    creates_from_ns=6,
    first_cash=Decimal("100.00"),
    first_coins={"BTC": Decimal("0.50")},
)
ORDER = SubmitOrder(
    client_order_id="t000001-restless____-000000001",
    order_number=1,
    instrument="XUSDT",
    side=Side.BUY,
    order_type=OrderType.MARKET,
    qty=Decimal("0.010"),
)
FILL = OrderFilled(
    ts_event_ns=1,
    ts_recv_ns=2,
    client_order_id=ORDER.client_order_id,
    instrument="XUSDT",
    trade_id="e1",
    side=Side.BUY,
    price=Decimal("100.10"),
    qty=Decimal("0.010"),
    fee=Decimal("-0.0001"),
    is_maker=True,
)
FORECAST = ForecastUsed(
    ts_ns=9,
    forecast_id="f",
    model_id="m",
    instrument="XUSDT",
    bar_close_ns=8,
    horizons_ns=(60,),
    levels=(0.1, 0.9),
    quantiles=((-0.1, 0.1),),
    importance=(1.0,),
)


def wish(action: Any, forecast: ForecastUsed | None = None) -> Wish:
    return Wish(
        strategy="restless",
        trigger="bar:1s",
        action=action,
        bar_close_ns=None,
        close_price=Decimal("1.10"),
        position_qty=Decimal(0),
        forecast=forecast,
    )


MESSAGES: list[Any] = [
    wish(Target(instrument="XUSDT", qty=Decimal("-1.50"))),
    wish(PlaceOrder(instrument="XUSDT", side=Side.SELL, qty=Decimal(1), take_profit=Exit(price=Decimal(2))), FORECAST),
    wish(SetStops(instrument="XUSDT", trailing_distance=Decimal("0.5"))),
    wish(CancelOpen(instrument="XUSDT")),
    Notice(order=Order(request=ORDER, trade_ids=("e1", "e2")), event=FILL),
    Notice(order=None, event=None),
    Answered(request="create:a", attempt=1, answer=Answer(kind=AnswerKind.ACCEPTED, server_time_ms=3, recv_ns=4)),
    AccountTold(events=(FILL, AccountUnsure(ts_event_ns=1, ts_recv_ns=2, instrument="", reason="gap"))),
    LookedUp(client_order_id="a", result=Absent(places=(Place.OPEN, Place.HISTORY), server_time_ms=1, recv_ns=2)),
    PositionSeen(instrument="XUSDT", position=None, server_time_ms=None),
    AccountCompared(snapshot=None, executed_ms=4, why="timeout"),
    AccountCompared(snapshot=VenueSnapshot(at_ms=1, began_ns=2, open_orders=(), positions=()), executed_ms=4, why=""),
    ClockTold(offset_ms=None, trouble="nobody knows"),
    LinkChanged(name="account", is_up=False, reason="reset"),
    Send(
        request="create:a",
        attempt=1,
        command=ORDER,
        signed_ms=5,
        recv_window_ms=2500,
        channel="rest",
        prepared_ns=6,
    ),
    LookUpWanted(subject=Subject.FILLS, instrument="XUSDT"),
    Pulse.MIDNIGHT,
    17,
]


def noted(value: Any, number: int = 0, codec: Codec | None = None) -> bytes:
    return (codec or Codec(WORDS, {INSTRUMENT.name: INSTRUMENT})).pack(number, "actor", Verb.TOOK, value)


def read(data: bytes) -> list[Told]:
    codec = Codec(WORDS, {INSTRUMENT.name: INSTRUMENT})
    return [codec.unpack(note) for note in split(data)]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_comes_back_as_it_was(message: Any) -> None:
    """Decimals with their zeros, unions with their kind."""
    (told,) = read(noted(message))
    assert (told.actor, told.verb, told.value) == ("actor", Verb.TOOK, message)
    assert type(told.value) is type(message)
    assert repr(told.value) == repr(message) or isinstance(message, Notice)  # a set has no order


_EXACT = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**6), max_value=10**6)
st.register_type_strategy(Decimal, _EXACT)
st.register_type_strategy(int, st.integers(-(2**63), 2**63 - 1))
_KINDS = [*get_args(HomeMessage), Notice, Send, LookUpWanted]


@pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_whatever_a_message_holds_comes_back(kind: Any, data: st.DataObject) -> None:
    """Every kind that the executor may be told, also those that are added to the union."""
    message = data.draw(st.from_type(kind))
    assert read(noted(message))[0].value == message


def test_signals_and_commands_come_back() -> None:
    """What says all by its class, and what a person asked."""
    assert [type(read(noted(each()))[0].value) for each in (Stop, Begin, Wake)] == [Stop, Begin, Wake]
    asked = Asked(command=Kill(why="enough"), by="host", done=print)
    told = read(noted(asked))[0].value
    assert (told.command, told.by) == (asked.command, asked.by)
    told.done("nobody hears this")


trades = st.lists(
    st.builds(ReferenceTrade, ts_ns=st.integers(0, 2**62), price=st.integers(0, 10**9), qty=st.integers(0, 10**9)),
    min_size=0,
    max_size=5,
).map(lambda rows: trades_of(rows, first_row=3))


def bar_batch(rows: int) -> BarBatch:
    column = np.arange(rows, dtype=np.int64)
    names = [name for name in BarBatch.COLUMNS if name != "flags"]
    flags = np.arange(rows, dtype=np.uint8)
    columns: dict[str, Any] = {name: column + place for place, name in enumerate(names)}
    return BarBatch(instrument=INSTRUMENT, scale_ns=60, first_row=2, flags=flags, **columns)


def forecast_batch() -> ForecastBatch:
    return ForecastBatch(
        instrument=INSTRUMENT,
        first_row=0,
        model_id="m",
        scale_ns=60,
        horizons_ns=(60, 120),
        levels=(0.1, 0.5, 0.9),
        scales_ns=(60,),
        bar_row=np.array([4]),
        close_ns=np.array([5]),
        known_ns=np.array([6]),
        quantiles=np.arange(6.0).reshape(1, 2, 3),
        importance=np.ones((1, 1)),
        answer_names=("p_up",),
        answers=np.array([[0.25]]),
    )


@given(batch=trades, bars=st.integers(0, 4), late=st.integers(0, 9))
def test_slabs_come_back_bit_for_bit(batch: TradeBatch, bars: int, late: int) -> None:
    """Columns, shapes, what describes them; and each may be computed on like the one before."""
    slab = MarketSlab(
        instrument=INSTRUMENT,
        watermark_ns=77,
        trades=batch,
        bars={60: bar_batch(bars)},
        late_trades=late,
        forecasts=forecast_batch() if late else None,
    )
    (told,) = read(noted(slab))
    assert is_same_slab(told.value, slab)
    assert all(getattr(told.value.trades, name).flags.writeable for name in TradeBatch.COLUMNS)
    hole = TradeHole(
        instrument=INSTRUMENT, from_ns=1, to_ns=2, until_ns=3, trades=batch, klines=bar_batch(bars) if bars else None
    )
    again = read(noted(hole))[0].value
    assert is_same(again.trades, batch)
    assert (again.klines is None) == (hole.klines is None)


def test_what_is_taken_twice_is_written_once() -> None:
    """A slab of two actors, and the trades that it shares with what the aggregator took."""
    codec = Codec(WORDS, {INSTRUMENT.name: INSTRUMENT})
    batch = trades_of([ReferenceTrade(ts_ns=n, price=100, qty=1) for n in range(50)])
    slab = MarketSlab(instrument=INSTRUMENT, watermark_ns=1, trades=batch, bars={})
    data = [codec.pack(n, "actor", Verb.TOOK, each) for n, each in enumerate((batch, slab, slab))]
    assert len(data[0]) > 1_200
    assert len(data[1]) < 60
    assert len(data[2]) < 30
    first, second, third = (told.value for told in read(b"".join(data)))
    assert second is third
    assert second.trades is first


def test_a_batch_that_has_long_passed_is_written_again() -> None:
    """Both ends keep the same few."""
    codec = Codec(WORDS, {INSTRUMENT.name: INSTRUMENT})
    batches = [trades_of([ReferenceTrade(ts_ns=n, price=100, qty=1)]) for n in range(300)]
    notes = [codec.pack(n, "a", Verb.TOOK, each) for n, each in enumerate([*batches, batches[0], batches[-1]])]
    values = [told.value for told in read(b"".join(notes))]
    assert is_same(values[-2], batches[0])
    assert values[-2] is not values[0]
    assert values[-1] is values[299]


def test_an_instrument_with_other_filters_is_written_whole() -> None:
    """What the head says is not what this batch was read by."""
    other = msgspec.structs.replace(INSTRUMENT, tick_size=Decimal("0.5"))
    batch = TradeBatch(
        instrument=other, first_row=0, **{name: np.array([1]) for name in TradeBatch.COLUMNS if name != "is_buy"},
        is_buy=np.array([True]),
    )  # fmt: skip
    assert read(noted(batch))[0].value.instrument == other


@given(junk=st.binary(max_size=60), at=st.integers(0, 400), turned=st.integers(1, 255))
def test_junk_raises_and_never_hangs(junk: bytes, at: int, turned: int) -> None:
    """Whatever is in the place of a note."""
    batch = trades_of([ReferenceTrade(ts_ns=n, price=100, qty=1) for n in range(5)])
    good = bytearray(noted(batch))
    good[at % len(good)] ^= turned
    for data in (junk, bytes(good)):
        with suppress(DataError):
            read(data)


# --- the file ---------------------------------------------------------------------------------------------------------


class Inline:
    """Does the work at once, or not at all."""

    def __init__(self) -> None:
        self.is_stuck = False

    async def __call__(self, work: Callable[[], T]) -> T:
        if self.is_stuck:
            await asyncio.get_running_loop().create_future()
        return work()


def record(path: Path, blocks: int, notes: int, **options: Any) -> DeliveryRecorder:
    async def go() -> DeliveryRecorder:
        recorder = DeliveryRecorder(path, Inline(), words=WORDS, **options)
        recorder.begin(HEAD)
        for number in range(blocks):
            for each in range(notes):
                recorder.note("a", Verb.HEARD, number * notes + each, Heard.TIME)
            await recorder._flush()
        await recorder.close()
        return recorder

    return asyncio.run(go())


def test_a_file_cut_at_any_byte_holds_whole_notes_up_to_there(tmp_path: Path) -> None:
    """A process that is killed leaves whole blocks."""
    path, cut = tmp_path / "whole", tmp_path / "cut"
    record(path, blocks=4, notes=3)
    data = path.read_bytes()
    counts = set()
    for size in range(len(data) + 1):
        cut.write_bytes(data[:size])
        reader = DeliveryReader(cut, WORDS)
        told = list(reader)
        assert [each.value for each in told[1:]] == list(range(len(told) - 1))
        assert [each.number for each in told] == list(range(len(told)))
        counts.add(len(told))
    assert counts == {0, 1, 4, 7, 10, 13}


def test_a_head_says_what_the_run_began_with(tmp_path: Path) -> None:
    """And nothing else is a beginning."""
    record(tmp_path / "a", blocks=1, notes=1)
    assert DeliveryReader(tmp_path / "a").head() == HEAD
    (tmp_path / "b").write_bytes(b"")
    with pytest.raises(DataError, match="no record of a run begins here"):
        DeliveryReader(tmp_path / "b").head()


def test_a_disk_that_does_not_follow_ends_the_record_and_nothing_else(tmp_path: Path) -> None:
    """Notes go on to be taken, and are forgotten; somebody is told, once; the record says so itself."""
    told: list[str] = []

    async def go() -> DeliveryRecorder:
        thread = Inline()
        recorder = DeliveryRecorder(
            tmp_path / "a", thread, words=WORDS, on_broken=told.append, waiting_bytes_max=2_000, free_bytes_min=0
        )
        recorder.begin(HEAD)
        for number in range(200):
            recorder.note("a", Verb.HEARD, number, Heard.TIME)
        await recorder.close()
        return recorder

    recorder = asyncio.run(go())
    assert len(told) == 1
    assert "the disk has not taken" in told[0]
    reader = DeliveryReader(tmp_path / "a", WORDS)
    values = [each.value for each in reader][1:]
    assert values == list(range(len(values)))
    assert 0 < len(values) < 200
    assert reader.broken == told[0]
    assert recorder.count == len(values) + 2


def test_a_disk_that_is_nearly_full_is_left_to_the_ledger(tmp_path: Path) -> None:
    """The record stops long before the ledger has to."""
    told: list[str] = []
    record(tmp_path / "a", blocks=2, notes=2, on_broken=told.append, free_bytes_min=1 << 60)
    assert len(told) == 1
    assert "are free" in told[0]
    assert list(DeliveryReader(tmp_path / "a", WORDS)) == []


def test_a_disk_that_refuses_never_raises_into_trading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the thread meets ends the record."""
    told: list[str] = []

    async def go() -> None:
        recorder = DeliveryRecorder(tmp_path / "a", Inline(), words=WORDS, on_broken=told.append, free_bytes_min=0)
        recorder.begin(HEAD)

        def refuse(data: bytes) -> None:
            raise StorageError("no space left on device")

        monkeypatch.setattr(recorder._writer, "write", refuse)
        await recorder._flush()
        recorder.note("a", Verb.HEARD, 1, Heard.TIME)
        await recorder.close()

    asyncio.run(go())
    assert told == ["no space left on device"]


def test_a_message_that_nobody_knows_ends_the_record(tmp_path: Path) -> None:
    """It is said by name; trading goes on."""
    told: list[str] = []

    async def go() -> None:
        recorder = DeliveryRecorder(tmp_path / "a", Inline(), words=WORDS, on_broken=told.append, free_bytes_min=0)
        recorder.begin(HEAD)
        recorder.note("a", Verb.TOOK, object())
        recorder.note("a", Verb.HEARD, 1, Heard.TIME)
        await recorder.close()

    asyncio.run(go())
    assert told == ["a: a object cannot be noted"]


def test_a_gap_in_the_numbers_is_named(tmp_path: Path) -> None:
    """Nothing can be left out without being missed."""
    notes = [Note(n, "a", Verb.HEARD, "time", msgspec.Raw(b"\x01")) for n in (0, 1, 3)]
    assert [each.number for each in split(b"".join(map(join, notes)))] == [0, 1, 3]
    record(tmp_path / "a", blocks=1, notes=1)

    async def go() -> None:
        recorder = DeliveryRecorder(tmp_path / "b", Inline(), words=WORDS, free_bytes_min=0)
        recorder.begin(HEAD)
        recorder.count = 5
        recorder.note("a", Verb.HEARD, 1, Heard.TIME)
        await recorder.close()

    asyncio.run(go())
    with pytest.raises(DataError, match="note 1 is missing: 5 follows 0"):
        list(DeliveryReader(tmp_path / "b", WORDS))
