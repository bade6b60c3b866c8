"""Market files that are not what they should be: what is said of them, and that nothing of them is given out."""

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.domain.errors import DataError
from bot.store import market_history
from bot.store.market_history import ParquetHistory
from tests.support.batches import INSTRUMENT, join
from tests.support.examples import examples
from tests.support.history_files import (
    BAD,
    GOOD,
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
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
