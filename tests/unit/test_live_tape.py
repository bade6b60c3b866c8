"""The tape of a run that goes on: whatever moment it is read at, or killed at, it says what a replay's would."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from bot.actors.live_tape import LiveTape
from bot.core.equity import ProfitCurve
from bot.domain.errors import StorageError
from bot.domain.instrument import Side
from bot.domain.ledger import FillBooked, FundingBooked, LedgerEntry
from bot.domain.market import BarBatch, ForecastBatch, MarketSlab
from bot.domain.orders import FundingPaid, OrderFilled
from bot.ports import TapeRows
from bot.store.tape_parts import TapeParts, read_rows, rows_stamp
from tests.support.batches import INSTRUMENT

SECOND = 10**9
MINUTE = 60 * SECOND
START_NS = 28_401_120 * MINUTE
T = TypeVar("T")


def rows_of(instrument: str, first: int, count: int, profit: float = 0.0) -> TapeRows:
    """Return so many bars of a minute from the `first` on."""
    at = np.arange(first, first + count)
    price = 100.0 + at
    same = {"open": price, "high": price + 1, "low": price - 1, "close": price}
    return TapeRows(
        instrument=instrument,
        close_ns=START_NS + MINUTE * (at + 1),
        volume=np.ones(count),
        position=np.zeros(count),
        profit=np.full(count, profit),
        **same,
    )


def bars_read(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Return minute and profit of each bar by instrument, in the order in which they are read."""
    table = read_rows(directory, "tape")
    found: dict[str, list[tuple[int, float]]] = {}
    for row in [] if table is None else table.to_pylist():
        found.setdefault(row["instrument"], []).append(((row["close_ns"] - START_NS) // MINUTE - 1, row["profit"]))
    return found


def test_rows_that_come_one_by_one_are_kept_together(tmp_path: Path) -> None:
    """Thousands of tables of one row took 8 KiB of memory each, for hours, before they had a file of their own."""
    parts = TapeParts(tmp_path, "tape")
    for number in range(20):
        parts.write([rows_of("AAA", number, 1)], [rows_of("AAA", number + 1, 1)])
    assert parts._kept is not None
    assert {column.num_chunks for column in parts._kept.columns} == {1}
    assert [minute for minute, _ in bars_read(tmp_path)["AAA"]] == list(range(21))


@pytest.mark.parametrize("part_rows", [3, 4096])
def test_at_any_moment_it_reads_as_all_that_was_written(tmp_path: Path, part_rows: int) -> None:
    """Each bar once, the last word of it counts; files are merged under the reader; the end makes one file."""
    parts, generator = TapeParts(tmp_path, "tape", part_rows=part_rows), np.random.default_rng(1)
    settled, stamps = 0, {rows_stamp(tmp_path, "tape")}
    for _ in range(45):
        step, ahead = int(generator.integers(0, 4)), int(generator.integers(0, 5))
        names = ("AAA", "BBB")
        parts.write(
            [rows_of(name, settled, step, 1.0) for name in names if step],
            [rows_of(name, settled + step, ahead, 2.0) for name in names if ahead],
        )
        settled += step
        expected = [(n, 1.0) for n in range(settled)] + [(settled + n, 2.0) for n in range(ahead)]
        assert bars_read(tmp_path) == (dict.fromkeys(names, expected) if expected else {})
        stamps.add(rows_stamp(tmp_path, "tape"))
    assert len(stamps) > 20
    assert len(list((tmp_path / "tape.parts").iterdir())) < 40
    before = bars_read(tmp_path)
    parts.finish()
    assert {each.name for each in tmp_path.iterdir()} == {"tape.parquet"}
    assert bars_read(tmp_path) == before
    TapeParts(tmp_path, "tape").finish()
    assert bars_read(tmp_path) == before


def test_a_kill_leaves_what_was_written_last(tmp_path: Path) -> None:
    """At any step of a write: what is half there is not read, what is there twice is read once."""
    parts = TapeParts(tmp_path, "tape", part_rows=10)
    parts.write([rows_of("AAA", 0, 25)], [rows_of("AAA", 25, 3)])
    expected = {"AAA": [(n, 0.0) for n in range(28)]}
    newest = tmp_path / "tape.parts" / "newest.parquet"
    (tmp_path / "tape.parts" / "00000001-00000001.parquet.part").write_bytes(b"half")
    assert bars_read(tmp_path) == expected
    kept = next((tmp_path / "tape.parts").glob("0*-0*.parquet"))
    (tmp_path / "tape.parts" / "00000000-00000007.parquet").write_bytes(kept.read_bytes())  # merged, small ones there
    assert bars_read(tmp_path) == expected
    newest.write_bytes(newest.read_bytes()[:-20])  # the machine went down
    assert bars_read(tmp_path) == {"AAA": [(n, 0.0) for n in range(25)]}
    (tmp_path / "other").mkdir()
    assert read_rows(tmp_path / "other", "tape") is None


def test_forecasts_of_two_models_lie_in_one_file(tmp_path: Path) -> None:
    parts = TapeParts(tmp_path, "forecasts")
    for number, model_id in enumerate(("flagship-1", "flagship-1", "flagship-2")):
        parts.write([forecast(number, model_id)], ())
    parts.finish()
    table = read_rows(tmp_path, "forecasts")
    assert table is not None
    assert table["model_id"].to_pylist() == ["flagship-1", "flagship-1", "flagship-2"]
    assert b'"model_id":"flagship-2"' in table.schema.metadata[b"forecasts"]
    assert np.allclose(table["quantiles"].to_pylist()[2], [-0.01, 0.0, 0.01])


def forecast(number: int, model_id: str) -> ForecastBatch:
    """Return the forecast at one bar."""
    return ForecastBatch(
        instrument=INSTRUMENT,
        first_row=number,
        model_id=model_id,
        scale_ns=MINUTE,
        horizons_ns=(5 * MINUTE,),
        levels=(0.1, 0.5, 0.9),
        scales_ns=(MINUTE,),
        bar_row=np.array([number]),
        close_ns=np.array([START_NS + MINUTE * (number + 1)]),
        known_ns=np.array([START_NS + MINUTE * (number + 1) + SECOND]),
        quantiles=np.array([[[-0.01, 0.0, 0.01]]]),
        importance=np.ones((1, 1)),
    )


class Hand:
    """A clock moved by hand, and work done at once."""

    def __init__(self) -> None:
        self.time_ns = START_NS

    def now_ns(self) -> int:
        return self.time_ns

    async def off_loop(self, work: Callable[[], T]) -> T:
        return work()


def bar(number: int) -> BarBatch:
    """Return the bar of a minute."""
    price = np.array([1_000 + number])
    one = np.array([1])
    return BarBatch(
        instrument=INSTRUMENT,
        scale_ns=MINUTE,
        first_row=number,
        open_ns=np.array([START_NS + number * MINUTE]),
        known_ns=np.array([START_NS + (number + 1) * MINUTE]),
        open_ticks=price,
        high_ticks=price,
        low_ticks=price,
        close_ticks=price,
        volume_steps=one,
        turnover=one,
        count=one,
        buy_steps=one,
        flags=np.zeros(1, dtype=np.uint8),
    )


def slab(number: int) -> MarketSlab:
    return MarketSlab(instrument=INSTRUMENT, watermark_ns=START_NS + (number + 1) * MINUTE, bars={MINUTE: bar(number)})


def filled(at_ns: int, side: Side, qty: str, price: str, fee: str = "0.1") -> FillBooked:
    fill = OrderFilled(
        ts_event_ns=at_ns,
        ts_recv_ns=at_ns,
        client_order_id="a",
        instrument=INSTRUMENT.name,
        trade_id=str(at_ns),
        side=side,
        price=Decimal(price),
        qty=Decimal(qty),
        fee=Decimal(fee),
        is_maker=False,
    )
    return FillBooked(
        ts_ns=at_ns, status="filled", fill=fill, position_qty=Decimal(0), realized_pnl=Decimal(0), postings=()
    )


def live_tape(directory: Path, hand: Hand, held: str = "0", **more: Any) -> LiveTape:
    return LiveTape(
        {name: TapeParts(directory, name, part_rows=7) for name in ("tape", "forecasts", "shadow")},
        {INSTRUMENT.name: INSTRUMENT},
        {INSTRUMENT.name: Decimal(held)},
        scale_ns=MINUTE,
        clock=hand,
        off_loop=hand.off_loop,
        **more,
    )


async def test_positions_and_profit_are_those_of_the_executions(tmp_path: Path) -> None:
    """Also of one that is told minutes late; bars before the start are left out; what was held counts from there."""
    hand = Hand()
    tape = live_tape(tmp_path, hand, held="2")
    curve = ProfitCurve(INSTRUMENT)
    curve.trade(START_NS - 1, Decimal(2), Decimal("100.0"), Decimal(0))
    told: dict[int, list[LedgerEntry]] = {
        3: [filled(START_NS + 150 * SECOND, Side.BUY, "1", "100.2")],
        9: [filled(START_NS + 301 * SECOND, Side.SELL, "3", "100.7")],  # four minutes late
        20: [funding(START_NS + 1_100 * SECOND, "-0.5")],
    }
    tape.see_slab(slab(-1))
    for number in range(40):
        hand.time_ns = START_NS + (number + 1) * MINUTE
        tape.see_slab(slab(number))
        tape.see_entries(told.get(number, []))
        if number % 3 == 0:
            await tape._write(hand.time_ns - 10 * MINUTE)
    tape.see_forecasts(forecast(1, "m"))
    tape.see_shadow(forecast(2, "other"))
    await tape.close()
    await tape.close()
    curve.trade(START_NS + 150 * SECOND, Decimal(1), Decimal("100.2"), Decimal("0.1"))
    curve.trade(START_NS + 301 * SECOND, Decimal(-3), Decimal("100.7"), Decimal("0.1"))
    curve.receive(START_NS + 1_100 * SECOND, Decimal("-0.5"))
    whole = BarBatch.join([bar(number) for number in range(40)])
    position, profit = curve.at(whole.close_ns, whole.close_ticks)
    table = read_rows(tmp_path, "tape")
    assert table is not None
    assert table["close_ns"].to_pylist() == whole.close_ns.tolist()
    assert table["position"].to_pylist() == position.tolist()
    assert table["profit"].to_pylist() == profit.tolist()
    assert files_in(tmp_path) == ["forecasts.parquet", "shadow.parquet", "tape.parquet"]


def files_in(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


def funding(at_ns: int, amount: str) -> FundingBooked:
    paid = FundingPaid(
        ts_event_ns=at_ns,
        ts_recv_ns=at_ns,
        instrument=INSTRUMENT.name,
        funding_id="f",
        position_qty=Decimal(1),
        mark_price=Decimal(100),
        rate=Decimal("0.0001"),
        amount=Decimal(amount),
    )
    return FundingBooked(ts_ns=at_ns, funding=paid, postings=())


class Full:
    """A disk that is full."""

    def write(self, settled: Sequence[Any], newest: Sequence[Any]) -> None:
        raise StorageError("no space left")

    def finish(self) -> None:
        raise AssertionError("there is nothing to finish")


async def test_a_full_disk_ends_the_charts_and_nothing_else(tmp_path: Path) -> None:
    hand, broken = Hand(), []
    tape = LiveTape(
        dict.fromkeys(("tape", "forecasts", "shadow"), Full()),
        {INSTRUMENT.name: INSTRUMENT},
        {},
        scale_ns=MINUTE,
        clock=hand,
        off_loop=hand.off_loop,
        on_broken=broken.append,
        flush_s=0.001,
    )
    tape.see_slab(slab(0))
    await tape.run()
    tape.see_slab(slab(1))
    tape.see_forecasts(forecast(1, "m"))
    await tape.close()
    assert broken == ["the charts of this run end here: no space left"]
