"""The small parts of the core: durations, rolling sums, delays, the calendar's order, digests."""

import math
import re
import statistics
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from bot.core.calendar import NEVER, Class
from bot.core.delays import Delay, uniform
from bot.core.digest import ColumnDigest
from bot.core.durations import Duration, format_duration, parse_duration
from bot.core.rolling import RollingSum
from tests.support.examples import examples

NS = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3_600 * 10**9,
    "d": 86_400 * 10**9,
    "w": 604_800 * 10**9,
}

# --- durations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [
        ("250ms", 250_000_000),
        ("0s", 0),
        ("1ns", 1),
        ("1.5s", 1_500_000_000),
        ("0.5m", 30_000_000_000),
        ("1h", NS["h"]),
        ("1d", NS["d"]),
        ("2w", 2 * NS["w"]),
        (" 5m ", 5 * NS["m"]),
        ("007s", 7 * NS["s"]),
        ("0.000000001s", 1),
        ("1.0s", NS["s"]),
    ],
)
def test_a_duration_is_a_number_and_its_unit(text: str, duration_ns: int) -> None:
    """Exactly, to the ns."""
    assert parse_duration(text) == duration_ns


@given(whole=st.integers(0, 99_999), fraction=st.integers(0, 999), unit=st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_decimals_are_exact(whole: int, fraction: int, unit: str) -> None:
    """No double comes near: the result is that of the decimal fraction."""
    exact = Decimal(f"{whole}.{fraction:03}") * NS[unit]
    assert parse_duration(f"{whole}.{fraction:03}{unit}") == exact


JUNK = [
    "",
    " ",
    "5",
    "s",
    "5 m",
    "5M",
    "5min",
    "-5m",
    "+5m",
    "1e3s",
    "1_000s",
    "1,5s",
    ".5s",
    "5.s",
    "1.5.5s",
    "5m30s",
    "inf s",
    "nans",
    "5y",
    "0x5s",
    "5s\x00",
    "5µs",
    "٣s",  # an Arabic three: a digit, but not one that a config file should hold
    "1" * 1_000 + "s",
]


@pytest.mark.parametrize("text", JUNK)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    """The message repeats what was written and shows how it is written right."""
    with pytest.raises(ValueError, match=r"write a number and its unit, such as 250ms"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0.5ns", "1.0000001us", "0.0000000001s"])
def test_less_than_a_ns_is_refused(text: str) -> None:
    """Rather than rounded: what was asked for cannot be had."""
    with pytest.raises(ValueError, match=r"whole number of nanoseconds|not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["999999999999999999w", "9223372036854775808ns", "15251w", "1000000000000000h"])
def test_more_than_292_years_is_refused(text: str) -> None:
    """Every time is an int64 of ns: what does not fit one is a slip, and no setting may wrap round or crash later."""
    with pytest.raises(ValueError, match=re.escape(text)):
        parse_duration(text)
    assert parse_duration("9223372036854775807ns") == 2**63 - 1


@given(text=st.text(alphabet="0159.,smhdwnu -+e\n\u0663\u00b5", max_size=8))
@settings(max_examples=examples(300), deadline=None)
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    """Nothing else is raised, and nothing negative comes out."""
    said = repr(text)
    try:
        assert parse_duration(text) >= 0
    except ValueError as error:
        said = str(error)
    assert repr(text) in said


@given(duration_ns=st.one_of(st.integers(0, 10**12), st.integers(0, 2**62)))
@example(duration_ns=10**9 + 1)
@example(duration_ns=1_234_567_891_000)
@settings(max_examples=examples(300), deadline=None)
def test_a_duration_written_is_read_back(duration_ns: int) -> None:
    """A resolved config is a config: whatever was parsed once is written so that it parses again."""
    assert parse_duration(format_duration(duration_ns)) == duration_ns


@given(count=st.integers(1, 999), unit=st.sampled_from(list(NS)))
@settings(deadline=None)
def test_a_duration_is_written_without_decimals_in_the_largest_unit_that_fits(count: int, unit: str) -> None:
    """As a person would have written it."""
    written = format_duration(count * NS[unit])
    match = re.fullmatch(r"(\d+)([a-z]+)", written)
    assert match is not None
    assert int(match[1]) * NS[match[2]] == count * NS[unit]
    assert NS[match[2]] >= NS[unit]


class _Settings(BaseModel):
    wait: Duration


def test_a_setting_is_a_text_with_its_unit() -> None:
    """Read to ns and written back; a bare number is refused, because nobody knows of what."""
    read = _Settings.model_validate({"wait": "250ms"})
    assert read.wait == 250_000_000
    assert read.model_dump(mode="json") == {"wait": "250ms"}
    for bare in (5, 5.0, None, True, ["5m"]):
        with pytest.raises(ValidationError, match=r"has no unit"):
            _Settings.model_validate({"wait": bare})


# --- rolling sums -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_without_values_is_refused(window: int) -> None:
    """When it is built."""
    with pytest.raises(ValueError, match="window"):
        RollingSum(window)


def test_a_rolling_sum_of_one_is_the_value() -> None:
    """The shortest window carries nothing over."""
    rolling = RollingSum(1)
    for values in ([5, -7], [], [3]):
        sums, short = rolling.update(np.array(values, dtype=np.int64))
        assert (sums.tolist(), short) == (values, 0)


def test_a_window_fills_once() -> None:
    """The first window - 1 sums lack values; they are zero and counted, across batches, and then never again."""
    rolling = RollingSum(4)
    shorts = []
    sums = []
    for values in ([1], [], [2, 4], [8, 16], [32]):
        made, short = rolling.update(np.array(values, dtype=np.int64))
        sums += made.tolist()
        shorts.append(short)
    assert sums == [0, 0, 0, 15, 30, 60]
    assert shorts == [1, 0, 2, 0, 0]


def test_what_was_fed_may_be_overwritten_afterwards() -> None:
    """A slab's memory is not ours to keep."""
    rolling = RollingSum(3)
    values = np.array([1, 2, 3], dtype=np.int64)
    rolling.update(values)
    values[:] = 1_000
    assert rolling.update(np.array([4], dtype=np.int64))[0].tolist() == [9]


def test_sums_past_2_to_the_53_are_exact() -> None:
    """Where a double would have begun to round."""
    big = 2**61
    rolling = RollingSum(2)
    sums, _ = rolling.update(np.array([big, 1, 2, -big], dtype=np.int64))
    assert sums.tolist() == [0, big + 1, 3, 2 - big]


def test_a_long_stream_does_not_wear_it_out() -> None:
    """The running total of all that ever came may pass 63 bits; the window's sum does not care."""
    rolling = RollingSum(2)
    values = np.full(10, 2**60, dtype=np.int64)
    sums, _ = rolling.update(values)
    assert set(sums[1:].tolist()) == {2**61}


# --- delays -----------------------------------------------------------------------------------------------------------

DELAY = Delay(seed=7, stream=2, base_ns=5_000_000, jitter_ns=2_000_000)
ROWS = np.arange(20_000, dtype=np.int64)
GOLDEN_UNIFORMS = [0.13870941014555427, 0.7779562998141516, 0.4228953780871625]
GOLDEN_DELAYS = [5_939_000, 8_009_000, 7_540_000, 5_234_000]


@given(rows=st.lists(st.integers(0, 10**6), max_size=30), data=st.data())
@settings(max_examples=examples(80), deadline=None)
def test_a_delay_depends_on_its_row_alone(rows: list[int], data: st.DataObject) -> None:
    """Asked for in any order, any number of times, alone or among others, it is the same."""
    alone = {row: DELAY.of(row) for row in reversed(rows)}
    asked = data.draw(st.permutations(rows), label="order")
    again = DELAY.of_rows(np.array(asked, dtype=np.int64)).tolist()
    assert again == [alone[row] for row in asked]
    other = Delay(seed=7, stream=2, base_ns=5_000_000, jitter_ns=2_000_000)
    assert [other.of(row) for row in rows] == [alone[row] for row in rows]


def test_delays_are_the_same_on_every_machine() -> None:
    """Golden values: a change of the generator changes every ledger, and must be meant."""
    assert [uniform(0, 0, 0), uniform(7, 2, 1), uniform(-1, 3, 10**12)] == GOLDEN_UNIFORMS
    assert [DELAY.of(row) for row in range(4)] == GOLDEN_DELAYS


@given(
    seed=st.integers(-(2**65), 2**65),
    stream=st.integers(0, 2**32),
    row=st.integers(0, 2**62),
)
@settings(max_examples=examples(200), deadline=None)
def test_a_uniform_number_is_at_least_0_and_less_than_1(seed: int, stream: int, row: int) -> None:
    """So the logarithm of what is left to 1 is always a number."""
    assert 0 <= uniform(seed, stream, row) < 1


def test_uniform_numbers_are_uniform() -> None:
    """Each tenth holds its tenth, neighbours do not follow one another, and so across streams and seeds."""
    rows = range(20_000)
    samples = {name: np.array([uniform(*name, row) for row in rows]) for name in ((0, 0), (0, 1), (1, 0))}
    for numbers in samples.values():
        counts = np.histogram(numbers, bins=10, range=(0, 1))[0]
        assert (abs(counts - 2_000) < 5 * math.sqrt(2_000)).all()
        assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.04
        assert len(np.unique(numbers)) == len(numbers)
    names = list(samples)
    for left, right in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(samples[names[left]], samples[names[right]])[0, 1]) < 0.04


def test_delays_are_a_fixed_part_and_an_exponential_tail() -> None:
    """Never less than the base, whole microseconds, mean and spread those of the tail."""
    tails = DELAY.of_rows(ROWS) - DELAY.base_ns
    assert tails.min() >= 0
    assert not (tails % 1_000).any()
    assert abs(tails.mean() / DELAY.jitter_ns - 1) < 0.05
    assert abs(tails.std() / DELAY.jitter_ns - 1) < 0.05
    assert abs(statistics.median(tails.tolist()) / DELAY.jitter_ns - math.log(2)) < 0.05
    assert tails.max() < 40 * DELAY.jitter_ns


@pytest.mark.parametrize("change", [{"seed": 8}, {"stream": 3}])
def test_another_seed_or_stream_is_another_delay(change: dict[str, int]) -> None:
    """Orders and answers under one seed do not share their luck."""
    fields = {"seed": 7, "stream": 2, "base_ns": 5_000_000, "jitter_ns": 2_000_000} | change
    other, one = Delay(**fields).of_rows(ROWS), DELAY.of_rows(ROWS)
    assert (other != one).mean() > 0.99
    assert abs(np.corrcoef(other, one)[0, 1]) < 0.04


def test_without_a_tail_a_delay_is_its_base() -> None:
    """Zero is a value: no jitter is no jitter, and no delay at all is one too."""
    for base_ns in (0, 1, 123_456_789):
        delay = Delay(seed=1, stream=1, base_ns=base_ns, jitter_ns=0)
        assert delay.of(5) == base_ns
        assert delay.of_rows(ROWS[:3]).tolist() == [base_ns] * 3


def test_no_rows_have_no_delays() -> None:
    """With a tail and without."""
    for jitter_ns in (0, 5):
        made = Delay(seed=1, stream=1, base_ns=1, jitter_ns=jitter_ns).of_rows(ROWS[:0])
        assert made.tolist() == []
        assert made.dtype == np.int64


# --- the calendar's order ---------------------------------------------------------------------------------------------


def test_what_happens_first_at_one_instant() -> None:
    """Venue answers, fills, funding, bars, forecasts, timers, in this order (design.md §2), the end after all."""
    named = [Class.ANSWER, Class.FILL, Class.FUNDING, Class.BAR, Class.FORECAST, Class.TIMER, Class.END]
    assert sorted(named) == named
    assert min(Class) is Class.READ_AHEAD
    assert max(Class) is Class.END
    assert Class.ARRIVAL < Class.ANSWER
    assert len({int(member) for member in Class}) == len(Class)


keys = st.tuples(
    st.integers(0, 3).map(lambda n: 1_700_000_000_000_000_000 + n),
    st.sampled_from(list(Class)),
    st.integers(0, 2),
    st.integers(0, 2),
)


@given(left=keys, right=keys)
@settings(deadline=None)
def test_keys_are_ordered_by_time_then_class_then_stream_then_row(left: Any, right: Any) -> None:
    """The first part in which they differ decides, and every key comes before never."""
    for part in range(4):
        if left[part] != right[part]:
            assert (left < right) == (left[part] < right[part])
            break
    else:
        assert left == right
    assert left < NEVER


def test_a_key_with_a_class_equals_one_with_its_number() -> None:
    """Keys are compared as tuples of ints: an enum within makes no difference, not even in a hash."""
    one, two = (5, Class.BAR, 0, 1), (5, int(Class.BAR), 0, 1)
    assert one == two
    assert hash(one) == hash(two)


# --- digests ----------------------------------------------------------------------------------------------------------


def digest(label: str = "market", **columns: Any) -> str:
    made = ColumnDigest(label)
    made.update({name: np.asarray(column) for name, column in columns.items()})
    return made.hexdigest()


def test_a_digest_is_128_bits_in_hex() -> None:
    """And the same each time it is asked for."""
    made = ColumnDigest("market")
    made.update({"ts": np.arange(5)})
    assert re.fullmatch(r"[0-9a-f]{32}", made.hexdigest())
    assert made.hexdigest() == made.hexdigest()


def test_a_digest_tells_everything_apart() -> None:
    """Label, names, types, values, order, and which column holds what."""
    one, two = np.arange(5), np.arange(5) + 1
    digests = [
        digest(ts=one),
        digest("other", ts=one),
        digest(price=one),
        digest(ts=one.astype(np.int32)),
        digest(ts=one.astype(np.float64)),
        digest(ts=one.view(np.uint64)),
        digest(ts=two),
        digest(ts=one[::-1]),
        digest(ts=one[:4]),
        digest(ts=one, price=two),
        digest(ts=two, price=one),
        digest(ts=one, price=one),
        digest(),
    ]
    assert len(set(digests)) == len(digests)


def test_the_order_in_which_columns_are_named_does_not_matter() -> None:
    """A digest is of columns by name, not of a dictionary's order."""
    one, two = np.arange(5), np.arange(5) + 1
    assert digest(a=one, b=two) == digest(b=two, a=one)


def test_a_digest_goes_on_after_it_was_read() -> None:
    """Reading it closes nothing."""
    made = ColumnDigest("market")
    made.update({"ts": np.arange(3)})
    before = made.hexdigest()
    made.update({"ts": np.arange(3, 5)})
    assert made.hexdigest() == digest(ts=np.arange(5))
    assert before == digest(ts=np.arange(3))


def test_columns_of_no_rows_change_nothing_once_there_are_some() -> None:
    """An empty batch is no news."""
    made = ColumnDigest("market")
    for part in (np.arange(0), np.arange(3), np.arange(0)):
        made.update({"ts": part})
    assert made.hexdigest() == digest(ts=np.arange(3))


def test_a_text_is_told_apart_by_its_name_and_by_its_content() -> None:
    """Two instruments that traded places are not the same market."""

    def texts(**pairs: str) -> str:
        made = ColumnDigest("market")
        for name, text in pairs.items():
            made.update_text(name, text)
        return made.hexdigest()

    digests = [texts(a="x"), texts(a="y"), texts(b="x"), texts(a="x", b="y"), texts(a="y", b="x"), texts(a="xy")]
    assert len(set(digests)) == len(digests)
    assert texts(a="x", b="y") == texts(b="y", a="x")


def test_a_bool_column_and_a_matrix_hash_as_their_bytes() -> None:
    """Sides are bools, and quantiles come in more than one dimension."""
    matrix = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
    assert digest(q=matrix) == digest(q=matrix.ravel())
    assert digest(q=matrix.transpose()) != digest(q=matrix)
    assert digest(b=np.array([True, False])) != digest(b=np.array([True, True]))
