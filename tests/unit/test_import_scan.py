"""Numbers and times out of text and floats: exact, or refused with a reason."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.store.importing import scan
from bot.store.importing.decimals import Decimals, from_floats, from_text, to_exponent
from bot.store.importing.scan import BAD, DATED, LONG, MISSING, NUMBER, SKIP, TIME, WORD, word_of
from bot.store.importing.seen import Seen


def scanned(text: str, kinds: list[int], delimiter: str = ",") -> tuple[Any, Any, list[int]]:
    """Return the values and places of every column that is read, and where the lines begin."""
    data = np.frombuffer(text.encode(), np.uint8)
    columns = sum(kind != SKIP for kind in kinds)
    lines = text.count("\n")
    value, places = np.zeros((columns, lines), np.int64), np.zeros((columns, lines), np.int8)
    starts = np.zeros(lines + 1, np.int64)
    rows = scan.scan(data, len(data), np.uint8(ord(delimiter)), np.array(kinds, np.int8), value, places, starts)
    return value[:, :rows].tolist(), places[:, :rows].tolist(), starts[: rows + 1].tolist()


def number(text: str) -> Decimal | int:
    """Return what a field holds, or the reason why it holds no number."""
    value, places, _ = scanned(f"{text}\n", [NUMBER])
    return Decimal(value[0][0]).scaleb(-places[0][0]) if 0 <= places[0][0] < DATED else places[0][0]


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "1",
        "-1",
        "+7",
        "81095.00",
        "0.001",
        ".5",
        "5.",
        "1e3",
        "8.1095e+09",
        "1.5E-7",
        "-2e-05",
        "0.000000000001",
        "9223372036854775807",
    ],
)
def test_a_number_is_what_it_says(text: str) -> None:
    assert number(text) == Decimal(text)


@settings(deadline=None)
@given(value=st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**9), max_value=10**9))
def test_any_decimal_is_kept_exactly(value: Decimal) -> None:
    assert number(str(value)) == value
    assert number(f'"{value:f}"') == value
    assert number(f"  {value:f} ") == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", MISSING),
        ("   ", MISSING),
        ("nan", MISSING),
        ("NULL", MISSING),
        ("N/A", MISSING),
        ("x", BAD),
        ("1.2.3", BAD),
        ("--5", BAD),
        ("1e", BAD),
        ("12 34", BAD),
        ("0x10", BAD),
        ("12345678901234567890", LONG),
        ("9223372036854775808", LONG),
        ("9223372036854775807.5", LONG),
        ("1e300", LONG),
    ],
)
def test_what_is_no_number_says_why(text: str, reason: int) -> None:
    """Nothing is taken for a number that is none; a comma inside one would be a delimiter."""
    assert number(text) == reason if text else number('""') == reason


@pytest.mark.parametrize(
    "text",
    [
        "2024-08-08",
        "2024.08.08 23:59",
        "2024/08/08 23:59:58",
        "2024-08-08T23:59:58Z",
        "2024-08-08 23:59:58.123456789",
        "2024-08-08T23:59:58.5+03:00",
        "2024-08-08T23:59:58-0530",
        "2024-08-08 23:59:58 UTC",
        "2000-02-29",
        "1970-01-01",
        "2100-03-01T00:00:00+14",
    ],
)
def test_a_written_time_is_what_pandas_takes_it_for(text: str) -> None:
    value, places, _ = scanned(f"{text}\n", [TIME])
    expected = pd.Timestamp(text.replace(".", "-", 2) if text[4] == "." else text)
    expected = expected.tz_localize("UTC") if expected.tzinfo is None else expected
    assert (value[0][0], places[0][0]) == (expected.value, DATED)


@settings(deadline=None)
@given(moment=st.datetimes(min_value=pd.Timestamp("1970-01-01"), max_value=pd.Timestamp("2199-12-31")))
def test_every_day_of_the_calendar(moment: Any) -> None:
    value, places, _ = scanned(f"{moment.isoformat()}\n", [TIME])
    assert (value[0][0], places[0][0]) == (pd.Timestamp(moment).value, DATED)


@pytest.mark.parametrize(
    "text",
    [
        "2023-02-29",
        "2024-13-01",
        "2024-00-10",
        "2024-04-31",
        "2024-08-08 24:00",
        "2024-08-08 23:60",
        "2024-08-08 23:59:61",
        "2024-08-08T",
        "2024-08-08 23",
        "2024-08-08 23:59:58.",
        "2024-08-08 23:59:58 CET",
        "08/08/2024",
        "yesterday",
    ],
)
def test_a_time_that_is_none_is_refused(text: str) -> None:
    """A day that does not exist, a zone nobody knows, the day before the month: none is guessed at."""
    assert scanned(f"{text}\n", [TIME])[1][0][0] == BAD


def test_lines_come_as_people_write_them() -> None:
    """Empty lines do not count, lines may be short or long, quoted, ended by either newline."""
    text = '1,buy,9\r\n\n\n2\n"3","Sell","x,y",4,5\n4,buy\n'
    value, places, starts = scanned(text, [NUMBER, WORD, SKIP])
    assert value[0] == [1, 2, 3, 4]
    assert value[1] == [word_of("buy"), 0, word_of("SELL"), word_of("buy")]
    assert places[1] == [0, MISSING, 0, 0]
    assert [text[start:].split("\n")[0].strip() for start in starts[:-1]] == [
        "1,buy,9",
        "2",
        '"3","Sell","x,y",4,5',
        "4,buy",
    ]


@settings(deadline=None)
@given(left=st.text(max_size=8), right=st.text(max_size=8))
def test_words_are_the_same_number_if_they_are_the_same_word(left: str, right: str) -> None:
    assert (word_of(left) == word_of(right)) == (left.lower() == right.lower())


# --- floats -----------------------------------------------------------------------------------------------------------


def as_decimals(column: Decimals) -> list[Decimal | int]:
    return [
        Decimal(value).scaleb(-places) if places >= 0 else places
        for value, places in zip(column.value.tolist(), column.places.tolist(), strict=True)
    ]


@settings(deadline=None)
@given(value=st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**6), max_value=10**6))
def test_a_float_is_the_decimal_it_was_made_of(value: Decimal) -> None:
    column = from_floats(np.array([float(value)]))
    assert as_decimals(column) == [value]
    assert column.rounded == 0


@settings(deadline=None)
@given(terms=st.lists(st.integers(1, 10**7), min_size=2, max_size=6))
def test_the_noise_of_adding_floats_is_taken_off(terms: list[int]) -> None:
    """A volume that somebody summed up in floats is the sum of its decimals."""
    total = 0.0
    for term in terms:
        total += term / 1000
    assert as_decimals(from_floats(np.array([total]))) == [Decimal(sum(terms)) / 1000]


def test_what_only_looks_like_a_decimal_is_counted() -> None:
    column = from_floats(np.array([0.1 + 0.2, 0.3, 123.45600000000002]))
    assert as_decimals(column) == [Decimal("0.3"), Decimal("0.3"), Decimal("123.456")]
    assert column.rounded == 2


def test_computed_numbers_are_refused_or_rounded_as_asked() -> None:
    values = np.array([1 / 3, 2.5, np.nan, np.inf])
    refused = from_floats(values)
    assert (refused.places < 0).tolist() == [True, False, True, True]
    rounded = from_floats(values, 4)
    assert as_decimals(rounded)[:2] == [Decimal("0.3333"), Decimal("2.5")]
    assert rounded.rounded == 1


def test_long_texts_are_treated_as_the_floats_they_were() -> None:
    """A program printed its floats in full: what it meant is imported."""
    value, places, _ = scanned("0.30000000000000004\n0.1000000000000000055511151231257827\n1.5\n", [NUMBER])
    column = from_text(np.array(value[0]), np.array(places[0], np.int8))
    assert as_decimals(column) == [Decimal("0.3"), Decimal("0.1"), Decimal("1.5")]
    assert column.rounded == 2


def test_columns_share_the_exponent_of_the_finest() -> None:
    column = from_floats(np.array([1.5, 2.25, 3.0]))
    exponent, (mantissas,), too_long = to_exponent([column], np.array([True, True, True]))
    assert (exponent, mantissas.tolist(), too_long.any()) == (-2, [150, 225, 300], False)
    exponent, (mantissas,), _ = to_exponent([column], np.array([True, False, True]))
    assert (exponent, mantissas.tolist()) == (-1, [15, 0, 30]), "a row that is left out does not make it finer"


def test_a_number_that_does_not_fit_is_named() -> None:
    column = Decimals(value=np.array([10**17, 1]), places=np.array([0, 6], np.int8))
    _, _, too_long = to_exponent([column], np.ones(2, np.bool_))
    assert too_long.tolist() == [True, False]


# --- repeats ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(blocks=st.lists(st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 3)), max_size=30).map(list), max_size=6))
def test_seen_pairs_are_told_from_new_ones(blocks: list[list[tuple[int, int]]]) -> None:
    seen, known = Seen(), set[tuple[int, int]]()
    for block in blocks:
        keys, times = (np.array([pair[at] for pair in block], np.int64) for at in (0, 1))
        expected = []
        for pair in block:
            expected.append(pair in known)
            known.add(pair)
        assert seen.add(keys, times).tolist() == expected


def test_seen_grows() -> None:
    """More than it had room for: what it knew it knows still."""
    seen = Seen()
    keys = np.arange(50_000, dtype=np.int64) * 7_919
    times = np.full(len(keys), 5, np.int64)
    for start in range(0, len(keys), 3_000):
        assert not seen.add(keys[start : start + 3_000], times[start : start + 3_000]).any()
    assert seen.add(keys, times).all()
    assert not seen.add(keys[:10], times[:10] + 1).any()
