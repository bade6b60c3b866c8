"""Market history in Parquet files: what is read of good ones, and what is said of bad ones."""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
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

MS = 1_000_000
MINUTE_MS = 60_000
START_MS = 1_700_000_040_000  # on a minute
ROWS = 12
BAD = 7  # the row that is wrong in every damaged file

Table = dict[str, Any]


def good_trades(rows: int = ROWS) -> Table:
    return {
        "ts": np.arange(rows) * 10 + START_MS,
        "price": np.arange(1_000, 1_000 + rows) / 10,
        "size": np.arange(1, rows + 1) / 1_000,
        "side": (np.arange(rows) % 2).astype(np.int8),
    }


def good_bars(rows: int = ROWS) -> Table:
    ticks = np.arange(1_000, 1_000 + rows)
    return {
        "ts": np.arange(rows) * MINUTE_MS + START_MS,
        "open": ticks / 10,
        "high": (ticks + 5) / 10,
        "low": (ticks - 5) / 10,
        "close": (ticks + 1) / 10,
        "volume": np.arange(rows) / 1_000,
    }


GOOD: dict[str, Callable[[], Table]] = {"trades": good_trades, "bars": good_bars}


def with_value(table: Table, column: str, value: Any, row: int = BAD) -> Table:
    """Return the table with one value replaced; None makes it null."""
    values = list(table[column].tolist())
    values[row] = value
    return {**table, column: pa.array(values)}


@dataclass
class Store:
    """Writes tables to a file and opens it."""

    directory: Path

    @property
    def path(self) -> Path:
        return self.directory / "market.parquet"

    def write(self, table: Table, **options: Any) -> Path:
        pq.write_table(pa.table(table), self.path, **options)
        return self.path

    def open(self, kind: Any, **options: Any) -> ParquetHistory:
        scale_ns = MINUTE_MS * MS if kind == "bars" else None
        return ParquetHistory(INSTRUMENT, self.path, kind=kind, **{"scale_ns": scale_ns, **options})

    def slabs(self, kind: Any, table: Table, **options: Any) -> list[Any]:
        """Write, open, and read as a replay does: the span first, then all of it."""
        self.write(table, **{key: options.pop(key) for key in ("row_group_size",) if key in options})
        history = self.open(kind, **options)
        history.span_ns()
        return list(history.slabs(5))

    def read(self, kind: Any, table: Table, **options: Any) -> Any:
        return join(self.slabs(kind, table, **options))

    def refusal(self, kind: Any, table: Table, **options: Any) -> str:
        """Return what is said when the file is opened and read; it must be one line that names the file."""
        with pytest.raises(DataError) as caught:
            self.slabs(kind, table, **options)
        return one_line(caught.value, self.path)


def one_line(error: DataError, path: Path) -> str:
    message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 400 + len(str(path))
    return message.removeprefix(f"{path}: ")


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
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


# --- bad files --------------------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """And so is the setting that names it."""
    path = tmp_path / "nowhere.parquet"
    with pytest.raises(DataError) as caught:
        ParquetHistory(INSTRUMENT, path, kind="trades")
    said = one_line(caught.value, path)
    assert "no such file" in said
    assert "check the path in [market]" in said


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """It is refused like a missing file."""
    with pytest.raises(DataError) as caught:
        ParquetHistory(INSTRUMENT, tmp_path, kind="trades")
    one_line(caught.value, tmp_path)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_not_a_whole_one(store: Store, keep: float) -> None:
    """A download that broke off, wherever, is refused with the advice to fetch it again."""
    content = store.write(good_trades(3_000)).read_bytes()
    store.path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError) as caught:
        store.open("trades")
    assert "copy or download it again" in one_line(caught.value, store.path)


@pytest.mark.parametrize(
    "content", [b"ts,price,size,side\n1,2,3,1\n", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"\xff" * 10_000]
)
def test_a_file_of_something_else_is_not_parquet(store: Store, content: bytes) -> None:
    """A CSV, a stub, zeros between the right marks, noise."""
    store.path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        store.open("trades")
    assert "copy or download it again" in one_line(caught.value, store.path)


@given(seed=st.integers(0, 2**32), place=st.floats(0, 1, exclude_max=True), codec=st.sampled_from(["snappy", "zstd"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_within_a_file_is_a_data_error_or_goes_unnoticed(
    store: Store, seed: int, place: float, codec: str
) -> None:
    """Forty bytes of noise anywhere: never a crash, a hang, or an error that is not ours."""
    content = bytearray(store.write(good_trades(2_000), compression=codec).read_bytes())
    start = int(place * len(content))
    noise = np.random.default_rng(seed).bytes(40)
    content[start : start + 40] = noise[: len(content) - start]
    store.path.write_bytes(bytes(content))
    said = ""
    try:
        history = store.open("trades")
        history.span_ns()
        for _ in history.slabs(500):
            pass
    except DataError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize("kind", ["trades", "bars"])
def test_a_missing_column_is_named_with_those_needed_and_those_there(store: Store, kind: str) -> None:
    """One line says what is missing, what is needed and what there is."""
    for name in GOOD[kind]():
        table = {key: values for key, values in GOOD[kind]().items() if key != name} | {"other": [1] * ROWS}
        said = store.refusal(kind, table)
        missing = "qty" if name == "size" else name
        assert re.match(rf"no column {missing}; {kind} need ts, .*, the file has .*other", said)


# What may be wrong with one row. Each is one changed value of a good file.
VALUES: list[tuple[str, str, str, Any]] = [
    (f"{kind}-{column}-{word}", kind, column, value)
    for kind, columns in (
        ("trades", ("price", "size")),
        ("bars", ("open", "high", "low", "close", "volume")),
    )
    for column in columns
    for word, value in (
        ("nan", float("nan")),
        ("inf", float("inf")),
        ("minus_inf", float("-inf")),
        ("null", None),
        ("negative", -100.0),
        ("zero", 0.0),
        ("off_grid", 100.0502),
        ("huge", 1e17),
        ("past_all_bounds", 1e308),
    )
    if (column, word) != ("volume", "zero")
]
ROWS_OF: list[tuple[str, str, str, Any]] = [
    *VALUES,
    ("trades-back", "trades", "ts", START_MS + 10 * (BAD - 1) - 1),
    ("side-2", "trades", "side", 2),
    ("side-minus", "trades", "side", -1),
    ("side-null", "trades", "side", None),
    ("bars-twice", "bars", "ts", START_MS + (BAD - 1) * MINUTE_MS),
    ("bars-back", "bars", "ts", START_MS + (BAD - 2) * MINUTE_MS),
    ("bars-overlap", "bars", "ts", START_MS + BAD * MINUTE_MS - 1),
    ("bars-off_grid", "bars", "ts", START_MS + BAD * MINUTE_MS + 1),
    ("bars-high_below_low", "bars", "high", 1.0),
    ("bars-high_below_close", "bars", "high", 100.7),
    ("bars-low_above_open", "bars", "low", 100.8),
    ("bars-open_above_high", "bars", "open", 500.0),
    ("bars-close_below_low", "bars", "close", 1.0),
]


def bad_row(case: tuple[str, str, str, Any]) -> Any:
    return pytest.param(case[1], case[2], case[3], id=case[0])


# How the file is laid out, and which rows of it are asked for: row 7 is among them in each.
LAYOUTS: list[dict[str, int]] = [
    {},
    {"row_group_size": 3},
    {"from_row": 4},
    {"from_row": 4, "row_group_size": 3},
    {"from_row": 5, "to_row": 9, "row_group_size": 5},
]


@pytest.mark.parametrize(("kind", "column", "value"), [bad_row(case) for case in ROWS_OF])
def test_a_row_that_cannot_be_right_is_named_by_its_number_in_the_file(
    store: Store, monkeypatch: pytest.MonkeyPatch, kind: str, column: str, value: Any
) -> None:
    """Counted from 0, wherever the range starts and however the file is laid out and read."""
    table = GOOD[kind]()
    for layout, read_rows in itertools.product(LAYOUTS, (4, 100)):
        monkeypatch.setattr(market_history, "_READ_ROWS", read_rows)
        limits: dict[str, Any] = {key: number for key, number in layout.items() if key == "row_group_size"}
        for end in ("from", "to"):
            if f"{end}_row" in layout:
                limits[f"{end}_ns"] = int(table["ts"][layout[f"{end}_row"]]) * MS
        said = store.refusal(kind, with_value(table, column, value), **limits)
        assert said.startswith(f"row {BAD} "), (layout, read_rows)
        if column != "ts" and value is None:
            assert column in said


ADVICE = re.compile(
    r"\b(check|sort|drop|remove|correct|copy|download|convert|write|set|rename|must hold|need|check the)\b"
)
ADVISED = [
    ("trades", "price", float("nan")),
    ("trades", "price", -1.0),
    ("trades", "price", 100.05),
    ("trades", "size", 0.0),
    ("trades", "ts", START_MS),
    ("trades", "side", 2),
    ("bars", "high", 100.6),
    ("bars", "low", 100.8),
    ("bars", "low", -1.0),
    ("bars", "volume", -1.0),
    ("bars", "ts", START_MS + (BAD - 1) * MINUTE_MS),
    ("bars", "ts", START_MS + BAD * MINUTE_MS + 1),
]


@pytest.mark.parametrize(("kind", "column", "value"), ADVISED)
def test_what_is_said_of_a_row_says_what_to_do(store: Store, kind: str, column: str, value: Any) -> None:
    """A complaint without a way out leaves a person to guess."""
    assert ADVICE.search(store.refusal(kind, with_value(GOOD[kind](), column, value)))


WRONG_COLUMNS = [
    pytest.param("trades", "price", pa.array(["100.0"] * ROWS), id="price-text"),
    pytest.param("trades", "size", pa.array(["1"] * ROWS).dictionary_encode(), id="size-category"),
    pytest.param("trades", "price", pa.array([True] * ROWS), id="price-bool"),
    pytest.param("trades", "price", pa.array([None] * ROWS), id="price-nothing"),
    pytest.param("trades", "price", pa.array([[1.0]] * ROWS), id="price-list"),
    pytest.param("bars", "close", pa.array(["100.0"] * ROWS), id="close-text"),
    pytest.param("trades", "ts", pa.array(np.arange(ROWS) + START_MS + 0.0), id="ts-float"),
    pytest.param("trades", "ts", pa.array([None, *range(START_MS, START_MS + ROWS - 1)]), id="ts-null"),
    pytest.param("trades", "ts", pa.array([None] * ROWS, pa.int64()), id="ts-all_null"),
    pytest.param("trades", "ts", pa.array(["2024-01-01"] * ROWS), id="ts-text"),
    pytest.param("trades", "ts", pa.array(np.arange(ROWS) + START_MS, pa.timestamp("ms")), id="ts-timestamp_ms"),
    pytest.param("bars", "ts", pa.array(good_bars()["ts"] * MS, pa.timestamp("ns", tz="UTC")), id="ts-timestamp_ns"),
    pytest.param("trades", "ts", pa.array([True] * ROWS), id="ts-bool"),
    pytest.param("trades", "side", pa.array([1.0, 0.0] * 6), id="side-float"),
]


@pytest.mark.parametrize(("kind", "column", "values"), WRONG_COLUMNS)
def test_a_column_of_the_wrong_type_is_named(store: Store, kind: str, column: str, values: Any) -> None:
    """With the file and what to do, in one line; never another kind of error, with a range or without."""
    table = {**GOOD[kind](), column: values}
    for limits in ({}, {"row_group_size": 3}, {"from_ns": START_MS * MS}, {"to_ns": (START_MS + 10**9) * MS}):
        said = store.refusal(kind, table, **limits)
        assert re.search(rf"\b{column}\b", said), limits
        assert ADVICE.search(said), limits


def test_a_word_that_is_no_side_is_named_by_its_row(store: Store) -> None:
    """Also in capitals, also where it is missing."""
    for word in ("hold", "", "BUYER", None):
        said = store.refusal("trades", with_value({**good_trades(), "side": np.array(["Buy"] * ROWS)}, "side", word))
        assert re.match(rf"row {BAD} .*side", said)


@pytest.mark.parametrize("unit", [1_000, 1_000_000])
@pytest.mark.parametrize("kind", ["trades", "bars"])
def test_times_in_another_unit_are_refused_as_such(store: Store, kind: str, unit: int) -> None:
    """Microseconds and ns are the usual slip: what is said names the column and the unit it should be in."""
    table = GOOD[kind]()
    said = store.refusal(kind, {**table, "ts": table["ts"] * unit})
    assert re.search(r"\bts\b", said)
    assert re.search(r"millisecond|\bms\b", said)


@pytest.mark.parametrize("value", [2**62, 2**60, 2**44 + START_MS, -(2**62), 2**63 - 1])
@pytest.mark.parametrize("limits", [{}, {"from_ns": START_MS * MS, "to_ns": (START_MS + 10**6) * MS}])
def test_a_time_beyond_all_bounds_is_refused_and_not_dropped(store: Store, value: int, limits: dict[str, int]) -> None:
    """A ms that does not fit ns must not wrap round to some other time, in the range or out of it."""
    said = store.refusal("trades", with_value(good_trades(), "ts", value), **limits)
    assert re.search(rf"row {BAD}\b|row {BAD + 1}\b|\bts\b", said)


@pytest.mark.parametrize(
    ("ts", "limits", "row"),
    [
        pytest.param(START_MS + 10**6, {"to_ns": (START_MS + 10**5) * MS}, BAD + 1, id="beyond_the_end"),
        pytest.param(START_MS + 1, {"from_ns": (START_MS + 20) * MS}, BAD, id="before_the_beginning"),
    ],
)
def test_disorder_across_the_ranges_edge_is_seen(store: Store, ts: int, limits: dict[str, int], row: int) -> None:
    """A row out of order that falls out of the range is no reason to drop it silently: the file is not sorted."""
    said = store.refusal("trades", with_value(good_trades(), "ts", ts), **limits)
    assert re.match(rf"row {row} goes back in time; sort", said)


def test_rows_are_numbered_right_past_a_row_group_that_is_left_out(store: Store) -> None:
    """In a file out of order the range may skip a group in the middle: what is then named is the file's row."""
    ts = START_MS + np.array([0, 1, 2, 900, 901, 902, 3, 4, 5])
    table = {**good_trades(9), "ts": ts}
    table["price"][8] = -1.0
    said = store.refusal("trades", table, to_ns=(START_MS + 100) * MS, row_group_size=3)
    assert re.match(r"row (6|8) ", said)


def test_an_off_grid_price_is_told_with_its_value_and_the_grid(store: Store) -> None:
    """And with the two ways out: the instrument's grid, or rounding."""
    said = store.refusal("trades", with_value(good_trades(), "price", 100.05))
    assert said.startswith(f"row {BAD} has the price 100.05, which is not a multiple of 0.1;")
    assert "tick_size" in said
    assert 'its off_grid = "round"' in said


def test_nothing_is_given_out_of_a_batch_with_a_bad_row(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was decoded before it may be read; the bad row and what follows it never is."""
    monkeypatch.setattr(market_history, "_READ_ROWS", 4)
    store.write(with_value(good_trades(), "price", -1.0))
    slabs = store.open("trades").slabs(2)
    got = [next(slabs), next(slabs)]
    with pytest.raises(DataError):
        next(slabs)
    assert sum(len(slab) for slab in got) == 4


def test_a_file_without_rows_has_no_span_and_no_slab(store: Store) -> None:
    """It is refused where the run is planned, not with a crash where it is read."""
    table = {key: pa.array(values)[:0] for key, values in good_trades().items()}
    store.write(table)
    history = store.open("trades")
    with pytest.raises(DataError) as caught:
        history.span_ns()
    assert "nothing" in one_line(caught.value, store.path)
    assert list(history.slabs(10)) == []


def test_an_empty_row_group_is_passed_over(store: Store) -> None:
    """Some writers leave groups without rows, at the start, between others, and at the end."""
    whole = pa.table(good_trades())
    with pq.ParquetWriter(store.path, whole.schema) as writer:
        for part in (whole[:0], whole[:4], whole[:0], whole[4:], whole[:0]):
            writer.write_table(part)
    for from_row in (0, 5):
        history = store.open("trades", from_ns=(START_MS + 10 * from_row) * MS)
        assert len(join(list(history.slabs(3)))) == ROWS - from_row
        assert history.span_ns()[0] == (START_MS + 10 * from_row) * MS


# --- funding ----------------------------------------------------------------------------------------------------------


def good_funding() -> Table:
    return {
        "ts": pa.array([START_MS, START_MS, START_MS + 1_000, START_MS + 2_000]),
        "symbol": pa.array(["XUSDT", "YUSDT", "XUSDT", "XUSDT"]),
        "funding_rate": pa.array([0.0001, 0.09, -0.0002, 0.0]),
    }


def funding(store: Store, table: Table, **limits: int) -> Any:
    path = store.directory / "funding.parquet"
    pq.write_table(pa.table(table), path)
    store.write(good_trades())
    return store.open("trades", funding_path=path, **limits).funding()


def funding_refusal(store: Store, table: Table, **limits: int) -> str:
    with pytest.raises(DataError) as caught:
        funding(store, table, **limits)
    return one_line(caught.value, store.directory / "funding.parquet")


def test_funding_is_that_of_the_instrument_within_the_range(store: Store) -> None:
    """Rates in units of 1e-8, exactly; other symbols are left out; [from, to)."""
    batch = funding(store, good_funding())
    assert batch.ts_ns.tolist() == [START_MS * MS, (START_MS + 1_000) * MS, (START_MS + 2_000) * MS]
    assert batch.rate_e8.tolist() == [10_000, -20_000, 0]
    inner = funding(store, good_funding(), from_ns=START_MS * MS + 1, to_ns=(START_MS + 2_000) * MS)
    assert inner.rate_e8.tolist() == [-20_000]
    assert len(funding(store, good_funding(), from_ns=(START_MS + 5_000) * MS)) == 0


def test_no_funding_file_is_no_funding(store: Store) -> None:
    """None, not an empty batch."""
    store.write(good_trades())
    assert store.open("trades").funding() is None


@pytest.mark.parametrize("name", ["ts", "symbol", "funding_rate"])
def test_a_funding_file_without_a_column_is_refused(store: Store, name: str) -> None:
    """The column is named, and so are those that are needed."""
    table = {key: values for key, values in good_funding().items() if key != name}
    assert re.match(rf"no column {name}; funding needs ts, symbol, funding_rate", funding_refusal(store, table))


def test_a_missing_funding_file_is_named(store: Store) -> None:
    """Like that of the market."""
    store.write(good_trades())
    path = store.directory / "nowhere.parquet"
    with pytest.raises(DataError) as caught:
        store.open("trades", funding_path=path).funding()
    one_line(caught.value, path)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        pytest.param("funding_rate", [0.0001, 0.0, float("nan"), 0.0], id="nan"),
        pytest.param("funding_rate", [0.0001, 0.0, float("inf"), 0.0], id="inf"),
        pytest.param("funding_rate", [0.0001, 0.0, None, 0.0], id="null"),
        pytest.param("funding_rate", [0.0001, 0.0, 1.5, 0.0], id="percent"),
        pytest.param("ts", [START_MS, START_MS, START_MS - 1, START_MS], id="back"),
        pytest.param("ts", [START_MS, START_MS, START_MS, START_MS + 1], id="twice"),
    ],
)
def test_a_funding_rate_that_cannot_be_right_is_refused(store: Store, column: str, values: list[Any]) -> None:
    """With the instrument and the time it is of."""
    said = funding_refusal(store, {**good_funding(), column: pa.array(values)})
    assert "XUSDT" in said
    assert re.search(r"2023-11-14T22:1[34]:\d\dZ", said)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        pytest.param("ts", pa.array([START_MS, START_MS, None, START_MS + 9]), id="ts-null"),
        pytest.param("ts", pa.array(["a", "b", "c", "d"]), id="ts-text"),
        pytest.param("ts", pa.array([START_MS + n for n in range(4)], pa.timestamp("ms")), id="ts-timestamp"),
        pytest.param("ts", pa.array([(START_MS + n) * MS for n in range(4)]), id="ts-in_ns"),
        pytest.param("funding_rate", pa.array(["0.0001"] * 4), id="rate-text"),
        pytest.param("funding_rate", pa.array([Decimal("0.0001")] * 4), id="rate-decimal"),
    ],
)
def test_a_funding_column_of_the_wrong_type_is_named(store: Store, column: str, values: Any) -> None:
    """A DataError as of every other file, and no row is dropped for want of a time."""
    assert re.search(rf"\b{column}\b", funding_refusal(store, {**good_funding(), column: values}))


def test_noise_within_a_funding_file_is_a_data_error(store: Store) -> None:
    """Also where the footer is whole and a page is not."""
    funding(store, good_funding())
    path = store.directory / "funding.parquet"
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(bytes(content))
    with pytest.raises(DataError) as caught:
        store.open("trades", funding_path=path).funding()
    one_line(caught.value, path)
