"""Market history in Parquet files: what is read of good ones, and what is said of bad ones."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.domain.errors import DataError
from bot.domain.market import NO_FLOW
from bot.store import market_history
from bot.store.market_history import ParquetHistory
from tests.support.batches import INSTRUMENT, join
from tests.support.examples import examples
from tests.support.history_files import (
    BAD,
    MINUTE_MS,
    MS,
    ROWS,
    START_MS,
    Store,
    good_bars,
    good_trades,
    one_line,
    with_value,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


# --- good files -------------------------------------------------------------------------------------------------------


def test_trades_become_ticks_steps_and_ns(store: Store) -> None:
    """Every value arrives exactly, whatever the float that carried it."""
    batch = store.read("trades", good_trades())
    assert batch.ts_ns.tolist() == [(START_MS + 10 * n) * MS for n in range(ROWS)]
    assert batch.price_ticks.tolist() == list(range(1_000, 1_000 + ROWS))
    assert batch.qty_steps.tolist() == list(range(1, ROWS + 1))
    assert batch.is_buy.tolist() == [bool(n % 2) for n in range(ROWS)]
    assert (batch.first_row, batch.instrument) == (0, INSTRUMENT)
    types = [getattr(batch, name).dtype for name in batch.COLUMNS]
    assert types == [np.int64, np.int64, np.int64, np.bool_]


SIDES = [
    pytest.param(pa.array([1, 0] * 6, pa.int8()), id="int8"),
    pytest.param(pa.array([1, 0] * 6, pa.uint64()), id="uint64"),
    pytest.param(pa.array([True, False] * 6), id="bool"),
    pytest.param(pa.array(["buy", "sell"] * 6), id="lower"),
    pytest.param(pa.array(["Buy", "Sell", "BUY", "SELL"] * 3), id="mixed"),
    pytest.param(pa.array(["Buy", "Sell"] * 6).dictionary_encode(), id="category"),
    pytest.param(pa.array(["Buy", "Sell"] * 6, pa.large_string()), id="large"),
]


@pytest.mark.parametrize("side", SIDES)
def test_a_side_may_be_a_number_or_a_word(store: Store, side: Any) -> None:
    """1, True, "buy" and "Buy" say that the taker bought."""
    batch = store.read("trades", {**good_trades(), "side": side})
    assert batch.is_buy.tolist() == [True, False] * 6


def test_the_quantity_may_be_named_qty_and_columns_may_lie_anywhere(store: Store) -> None:
    """Columns go by their names, and those that nobody asked for are left alone."""
    table = good_trades()
    shuffled = {"note": ["x"] * ROWS, "side": table["side"], "qty": table["size"], "ts": table["ts"]}
    batch = store.read("trades", shuffled | {"id": [None] * ROWS, "price": table["price"]})
    assert batch.qty_steps.tolist() == list(range(1, ROWS + 1))


@pytest.mark.parametrize("first", [{"a": 1.0}, {"a": 1.0, "b": {"c": 1}}, {"a": 5_000_000_000_000, "b": 1}])
@pytest.mark.parametrize("from_row", [0, 5])
def test_a_nested_column_does_not_shift_the_times(store: Store, first: dict[str, Any], from_row: int) -> None:
    """Row groups are chosen by the statistics of `ts`, also where a struct before it has several leaves."""
    table = {"meta": pa.array([first] * ROWS), **good_trades()}
    from_ns = int(table["ts"][from_row]) * MS
    assert len(store.read("trades", table, from_ns=from_ns, row_group_size=4)) == ROWS - from_row


def test_bars_become_ticks_and_say_that_they_know_no_flow(store: Store) -> None:
    """Known at their close; turnover, count and buy volume are zero and the flag says why."""
    batch = store.read("bars", good_bars())
    assert batch.open_ns.tolist() == [(START_MS + n * MINUTE_MS) * MS for n in range(ROWS)]
    assert (batch.known_ns == batch.close_ns).all()
    assert batch.open_ticks.tolist() == list(range(1_000, 1_000 + ROWS))
    assert (batch.high_ticks - batch.open_ticks == 5).all()
    assert (batch.open_ticks - batch.low_ticks == 5).all()
    assert (batch.close_ticks - batch.open_ticks == 1).all()
    assert batch.volume_steps.tolist() == list(range(ROWS))
    for flow in (batch.turnover, batch.count, batch.buy_steps):
        assert not flow.any()
    assert set(batch.flags.tolist()) == {NO_FLOW}


def test_whole_numbers_are_prices_too(store: Store) -> None:
    """A column of integers holds prices like any other."""
    batch = store.read(
        "trades", {**good_trades(), "price": np.arange(100, 100 + ROWS), "size": np.ones(ROWS, np.int32)}
    )
    assert batch.price_ticks.tolist() == [10 * n for n in range(100, 100 + ROWS)]
    assert set(batch.qty_steps.tolist()) == {1_000}


TICKS = ["0.1", "0.01", "0.05", "0.25", "0.5", "1", "5", "0.0001", "0.0000001", "0.15"]


@given(tick=st.sampled_from(TICKS), ticks=st.lists(st.integers(1, 10**11), min_size=1, max_size=20))
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_price_on_the_grid_is_read_exactly(store: Store, tick: str, ticks: list[int]) -> None:
    """A double nearest to a multiple of the tick is that multiple, up to a hundred billion ticks."""
    instrument = msgspec.structs.replace(INSTRUMENT, tick_size=Decimal(tick))
    rows = len(ticks)
    store.write({**good_trades(rows), "price": [float(Decimal(tick) * n) for n in ticks]})
    history = ParquetHistory(instrument, store.path, kind="trades")
    assert join(list(history.slabs(7))).price_ticks.tolist() == ticks


def test_prices_off_the_grid_are_rounded_to_the_nearest_if_asked_and_counted(store: Store) -> None:
    """Each value that moved counts once; those on the grid do not."""
    table = {**good_trades(3), "price": [100.0, 100.04, 100.06], "size": [0.001, 0.0014, 0.002]}
    store.write(table)
    history = store.open("trades", off_grid="round")
    batch = join(list(history.slabs(2)))
    assert batch.price_ticks.tolist() == [1_000, 1_000, 1_001]
    assert batch.qty_steps.tolist() == [1, 1, 2]
    assert history.rounded_count == 3


def test_a_price_that_rounds_to_nothing_is_refused(store: Store) -> None:
    """Rounding is no way round the rule that prices are positive."""
    said = store.refusal("trades", with_value(good_trades(), "price", 0.01), off_grid="round")
    assert f"row {BAD} " in said


def test_a_file_is_read_twice_alike(store: Store) -> None:
    """Reading keeps no state: the report reads what the replay has read."""
    store.write(good_trades())
    history = store.open("trades")
    first, second = (join(list(history.slabs(5))) for _ in range(2))
    assert first.ts_ns.tolist() == second.ts_ns.tolist()
    assert second.first_row == 0


def test_trades_without_a_scale_bars_with_theirs(store: Store) -> None:
    """What the aggregator asks of it."""
    store.write(good_trades())
    assert store.open("trades").source_scale_ns is None
    store.write(good_bars())
    assert store.open("bars").source_scale_ns == MINUTE_MS * MS


# --- ranges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group_rows", [3, 100])
@pytest.mark.parametrize("statistics", [True, False])
@given(data=st.data())
@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_range_holds_its_beginning_and_not_its_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, group_rows: int, statistics: bool, data: st.DataObject
) -> None:
    """Exactly the rows of [from, to), to the ns, also where several trades share the edge's ms."""
    monkeypatch.setattr(market_history, "_READ_ROWS", 5)
    ts = START_MS + np.cumsum(data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=30), label="steps"))
    store.write({**good_trades(len(ts)), "ts": ts}, row_group_size=group_rows, write_statistics=statistics)
    edges = st.one_of(
        st.none(),
        st.integers(START_MS * MS - 2, (START_MS + 60) * MS),
        st.sampled_from([int(t) * MS + by for t in ts for by in (-1, 0, 1)]),
    )
    from_ns, to_ns = data.draw(edges, label="from"), data.draw(edges, label="to")
    want = [
        int(t) * MS
        for t in ts
        if (from_ns is None or int(t) * MS >= from_ns) and (to_ns is None or int(t) * MS < to_ns)
    ]
    history = store.open("trades", from_ns=from_ns, to_ns=to_ns)
    slabs = list(history.slabs(4))
    assert [t for slab in slabs for t in slab.ts_ns.tolist()] == want
    if want:
        assert join(slabs).first_row == 0
        assert history.span_ns() == (want[0], want[-1] + 1)
    else:
        with pytest.raises(DataError) as caught:
            history.span_ns()
        assert "nothing between" in one_line(caught.value, store.path)


def test_the_span_of_bars_ends_with_the_last_ones_close(store: Store) -> None:
    """One past the last ns that there is data of."""
    store.write(good_bars())
    history = store.open("bars", from_ns=(START_MS + 1) * MS)
    assert history.span_ns() == ((START_MS + MINUTE_MS) * MS, (START_MS + ROWS * MINUTE_MS) * MS)


def test_a_range_without_a_row_says_which(store: Store) -> None:
    """Both ends, as times that a person reads."""
    store.write(good_trades())
    with pytest.raises(DataError) as caught:
        store.open("trades", from_ns=0, to_ns=1_000_000_000).span_ns()
    assert "1970-01-01T00:00:00Z and 1970-01-01T00:00:01Z" in one_line(caught.value, store.path)


@pytest.fixture
def groups_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the numbers of the row groups whose columns are decoded."""
    read: list[int] = []
    iter_batches, read_row_group = pq.ParquetFile.iter_batches, pq.ParquetFile.read_row_group

    def spy_batches(self: Any, *args: Any, row_groups: Any = None, **kwargs: Any) -> Any:
        read.extend(range(self.num_row_groups) if row_groups is None else row_groups)
        return iter_batches(self, *args, row_groups=row_groups, **kwargs)

    def spy_group(self: Any, group: int, *args: Any, **kwargs: Any) -> Any:
        read.append(group)
        return read_row_group(self, group, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy_batches)
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy_group)
    return read


@pytest.mark.parametrize(
    ("from_row", "to_row", "want"),
    [(0, 11, [0, 1, 2, 3]), (3, 6, [1]), (3, 7, [1, 2]), (2, 6, [0, 1]), (9, 11, [3]), (4, 5, [1])],
)
def test_only_the_row_groups_of_the_range_are_read(
    store: Store, groups_read: list[int], from_row: int, to_row: int, want: list[int]
) -> None:
    """Four groups of three rows: those that hold no row of [from, to) are not decoded."""
    table = good_trades()
    store.write(table, row_group_size=3)
    limits = {"from_ns": int(table["ts"][from_row]) * MS, "to_ns": int(table["ts"][to_row]) * MS}
    history = store.open("trades", **limits)
    assert sum(len(slab) for slab in history.slabs(100)) == to_row - from_row
    assert groups_read == want
    groups_read.clear()
    history.span_ns()
    assert set(groups_read) <= {want[0], want[-1]}


def test_opening_a_file_reads_no_row(store: Store, groups_read: list[int]) -> None:
    """A year of trades opens at once."""
    store.write(good_trades(), row_group_size=3)
    store.open("trades")
    assert not groups_read
