"""Law 1 of digests, the profit curve and files: the same bits however what is read is cut."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.digest import ColumnDigest
from bot.core.equity import ProfitCurve
from bot.domain.market import (
    TradeBatch,
    column_names,
)
from bot.store import market_history
from bot.store.market_history import ParquetHistory
from tests.support.batches import INSTRUMENT, cut, join
from tests.support.cuts import BASE, SECOND, assert_same, places, split, trades
from tests.support.examples import examples

# --- digests ----------------------------------------------------------------------------------------------------------


@given(batch=trades(), places=places)
@settings(max_examples=examples(60), deadline=None)
def test_digests_do_not_depend_on_the_cut(batch: TradeBatch, places: list[int]) -> None:
    """Views, copies, and rows that do not lie side by side in memory hash alike."""

    def digest(parts: Sequence[TradeBatch]) -> str:
        hashed = ColumnDigest("market")
        for part in parts:
            hashed.update({name: getattr(part, name) for name in column_names(TradeBatch)})
        return hashed.hexdigest()

    whole = digest([batch])
    assert digest(cut(batch, places)) == whole
    assert digest(cut(batch, range(1, len(batch)))) == whole
    scattered: dict[str, Any] = {name: np.repeat(getattr(batch, name), 2)[::2] for name in column_names(TradeBatch)}
    assert digest([replace(batch, **scattered)]) == whole


# --- the profit curve -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A fill, or with `qty` zero a funding settlement of `amount`."""

    ts_ns: int
    qty: Decimal
    price: Decimal
    amount: Decimal  # a fill's fee, or the funding


def tell(curve: ProfitCurve, change: Change) -> None:
    if change.qty:
        curve.trade(change.ts_ns, change.qty, change.price, change.amount)
    else:
        curve.receive(change.ts_ns, change.amount)


def exact_profit(changes: Sequence[Change], close_ns: int, price: Decimal) -> tuple[Decimal, Decimal]:
    """Return position and profit at a close: of all that happened before it, one by one."""
    qty = profit = Decimal(0)
    for change in changes:
        if change.ts_ns < close_ns:
            qty += change.qty
            profit += -change.qty * change.price - change.amount if change.qty else change.amount
    return qty, profit + qty * price


@st.composite
def changes(draw: st.DrawFn) -> list[Change]:
    """Return fills and funding in order of time, many of them at bar closes."""
    now = 0
    made = []
    for _ in range(draw(st.integers(0, 25))):
        now += draw(st.sampled_from([0, 0, 1, 5, 9, 10, 20, 45]))
        qty = Decimal(draw(st.integers(-2_000, 2_000))) / 1_000
        price = Decimal(draw(st.integers(1, 10**7))) / 10
        made.append(Change(now, qty, price, Decimal(draw(st.integers(-(10**6), 10**6))) / 10**4))
    return made


@given(changes=changes(), ticks=st.lists(st.integers(1, 10**7), min_size=1, max_size=40), places=places, data=st.data())
@settings(max_examples=examples(120), deadline=None)
def test_profit_at_bar_closes_does_not_depend_on_the_cut(
    changes: list[Change], ticks: list[int], places: list[int], data: st.DataObject
) -> None:
    """Read at all closes at once or in pieces, fills told just in time or ahead of it: the same, and right."""
    close_ns = np.arange(1, len(ticks) + 1) * BASE
    close_ticks = np.array(ticks, dtype=np.int64)
    whole = ProfitCurve(INSTRUMENT)
    for change in changes:
        tell(whole, change)
    qty, profit = whole.at(close_ns, close_ticks)

    pieces = ProfitCurve(INSTRUMENT)
    waiting = list(changes)
    parts = []
    for closes_part, ticks_part in zip(split(close_ns, places), split(close_ticks, places), strict=True):
        ahead_ns = data.draw(st.sampled_from([-1, 0, 13]), label="ahead")
        last_ns = int(closes_part[-1]) if len(closes_part) else 0
        while waiting and waiting[0].ts_ns <= last_ns + ahead_ns:
            tell(pieces, waiting.pop(0))
        parts.append(pieces.at(closes_part, ticks_part))
    assert np.concatenate([part[0] for part in parts]).tobytes() == qty.tobytes()
    assert np.concatenate([part[1] for part in parts]).tobytes() == profit.tobytes()

    scale = max([abs(float(change.qty * change.price)) + abs(float(change.amount)) for change in changes], default=1.0)
    for row, (close, tick) in enumerate(zip(close_ns.tolist(), ticks, strict=True)):
        want_qty, want_profit = exact_profit(changes, close, INSTRUMENT.price(tick))
        assert qty[row] == float(want_qty)
        size = scale + abs(float(want_qty)) * tick
        assert abs(profit[row] - float(want_profit)) <= 1e-12 * size * (len(changes) + 1)


# --- files ------------------------------------------------------------------------------------------------------------

FILE_ROWS = 400


@pytest.fixture(scope="module")
def history_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a file of trades and one of bars, in uneven row groups."""
    directory = tmp_path_factory.mktemp("history")
    generator = np.random.default_rng(11)
    ts = 1_700_000_040_000 + np.cumsum(generator.integers(0, 3, FILE_ROWS))
    ticks = generator.integers(90, 110, FILE_ROWS)
    trades_table = {
        "ts": ts,
        "price": ticks / 10,
        "size": generator.integers(1, 9, FILE_ROWS) / 1_000,
        "side": generator.integers(0, 2, FILE_ROWS).astype(np.int8),
    }
    bars_table = {
        "ts": 1_700_000_040_000 + 60_000 * np.cumsum(generator.integers(1, 3, FILE_ROWS)),
        "open": ticks / 10,
        "high": (ticks + 3) / 10,
        "low": (ticks - 2) / 10,
        "close": (ticks + 1) / 10,
        "volume": generator.integers(0, 9, FILE_ROWS) / 1_000,
    }
    files = {"trades": directory / "trades.parquet", "bars": directory / "bars.parquet"}
    pq.write_table(pa.table(trades_table), files["trades"], row_group_size=37)
    pq.write_table(pa.table(bars_table), files["bars"], row_group_size=101)
    return files


def read_all(path: Path, kind: Any, rows: int, **limits: Any) -> list[Any]:
    scale_ns = 60 * SECOND if kind == "bars" else None
    return list(ParquetHistory(INSTRUMENT, path, kind=kind, scale_ns=scale_ns, **limits).slabs(rows))


@pytest.fixture
def small_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the file decoded a few rows at a time, so that these tests cross many reads."""
    monkeypatch.setattr(market_history, "_READ_ROWS", 29)


@pytest.mark.usefixtures("small_reads")
@pytest.mark.parametrize("kind", ["trades", "bars"])
@pytest.mark.parametrize("rows", [1, 28, 29, 37, 64, 400, 100_000])
@pytest.mark.parametrize("ends", [(0, FILE_ROWS), (5, 395), (37, 74), (200, 205), (0, 36), (363, FILE_ROWS)])
def test_slabs_of_a_file_do_not_depend_on_their_size(
    history_files: dict[str, Path], kind: str, rows: int, ends: tuple[int, int]
) -> None:
    """No slab is larger than asked for or empty, and joined they are the rows of the range, numbered from 0."""
    path = history_files[kind]
    ts = pq.read_table(path)["ts"].to_numpy()
    limits = {
        "from_ns": int(ts[ends[0]]) * 1_000_000,
        "to_ns": int(ts[ends[1]]) * 1_000_000 if ends[1] < FILE_ROWS else None,
    }
    slabs = read_all(path, kind, rows, **limits)
    assert all(0 < len(slab) <= rows for slab in slabs)
    whole = join(read_all(path, kind, 10**9, **limits))
    assert_same(join(slabs), whole)
    assert whole.first_row == 0
    times = whole.ts_ns if kind == "trades" else whole.open_ns
    inside = (ts >= ts[ends[0]]) & (ts < (ts[ends[1]] if ends[1] < FILE_ROWS else np.inf))
    assert (times // 1_000_000).tolist() == ts[inside].tolist()


def test_slabs_do_not_depend_on_how_many_rows_are_decoded_at_a_time(
    history_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size of a read is nobody's business."""
    for kind, path in history_files.items():
        whole = join(read_all(path, kind, 10**9))
        for read_rows in (1, 7, 36, 37, 38, 1_000):
            monkeypatch.setattr(market_history, "_READ_ROWS", read_rows)
            assert_same(join(read_all(path, kind, 10**9)), whole)
        monkeypatch.undo()
