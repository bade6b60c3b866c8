"""Settled funding from a file: that of the instrument, within the range, and nothing that cannot be right."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bot.domain.errors import DataError
from tests.support.history_files import MS, START_MS, Store, Table, good_trades, one_line


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


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
