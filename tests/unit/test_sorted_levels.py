"""The levels of one side, against a dictionary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.sorted_levels import (
    BLOCK,
    all_levels,
    best_key,
    blank_levels,
    clear_levels,
    copy_best,
    has_levels,
    set_level,
    with_room,
)
from tests.support.examples import examples

changes = st.lists(st.tuples(st.integers(-400, 400), st.sampled_from([0, 0, 1, 2, 3])), max_size=600)


def check(side: np.ndarray[tuple[int], np.dtype[np.int64]], expected: dict[int, int]) -> None:
    keys, qtys = all_levels(side)
    assert dict(zip(keys.tolist(), qtys.tolist(), strict=True)) == expected
    assert keys.tolist() == sorted(expected)
    assert bool(has_levels(side)) == bool(expected)
    if expected:
        assert best_key(side) == max(expected)
    blocks = int(side[1])
    assert blocks <= 4 * len(expected) // BLOCK + 2, "thin blocks are not joined"
    assert sorted(side[3 + int(side[0]) : 3 + 2 * int(side[0])].tolist()) == list(range(int(side[0])))


@given(start=st.integers(0, 500), step=st.sampled_from([1, -1, 7]), changes=changes)
@settings(max_examples=examples(60), deadline=None)
def test_any_changes_leave_what_a_dictionary_holds(start: int, step: int, changes: list[tuple[int, int]]) -> None:
    """After a side was built upwards, downwards or across, too."""
    side, expected = blank_levels(8), {}
    for number, (key, qty) in enumerate([((i * step) % 1009 - 500, 5) for i in range(start)] + changes):
        side = with_room(side, 1)
        assert set_level(side, key, qty) == (key in expected)
        if qty:
            expected[key] = qty
        else:
            expected.pop(key, None)
        if number % 50 == 0:
            check(side, expected)
    check(side, expected)
    best, steps = np.zeros(7, dtype=np.int64), np.zeros(7, dtype=np.int64)
    copy_best(side, -1, best, steps)
    top = sorted(expected, reverse=True)[:7]
    assert best.tolist() == [-key for key in top] + [0] * (7 - len(top))
    assert steps.tolist() == [expected[key] for key in top] + [0] * (7 - len(top))


def test_a_cleared_side_is_as_good_as_new() -> None:
    side = blank_levels(1000)
    for key in range(500):
        set_level(side, key * 37 % 500, 1)
    clear_levels(side)
    check(side, {})
    for key in range(500):
        set_level(side, key * 41 % 500, 2)
    check(side, dict.fromkeys(range(500), 2))


@pytest.mark.parametrize("slot", range(BLOCK + 1))
@pytest.mark.parametrize("neighbours", [False, True])
def test_a_full_block_is_split_wherever_the_next_level_falls(slot: int, neighbours: bool) -> None:
    side, expected = blank_levels(4 * BLOCK), {}
    blocks = 3 if neighbours else 1
    for place in range(blocks * BLOCK):  # built upwards, which fills blocks
        expected[10 * place] = place + 1
        set_level(side, 10 * place, place + 1)
    assert side[1] == blocks
    key = 10 * (slot + (BLOCK if neighbours else 0)) - 5
    assert not set_level(side, key, 7)
    expected[key] = 7
    check(side, expected)
    for key in sorted(expected, key=lambda key: key * 7919 % 1013):
        assert set_level(side, key, 0)
        del expected[key]
        check(side, expected)


@pytest.mark.parametrize("kept", [2, 3, 33, 61, 64, 200])
def test_thin_blocks_are_joined(kept: int) -> None:
    """When all but every n-th level are taken, from either end or from anywhere."""
    for order in (1, -1, 7919):
        side, expected = with_room(blank_levels(1), 3000), {}
        for number in range(3000):
            key = number * 7 % 3000
            set_level(side, key, 1)
            expected[key] = 1
        for number in range(3000):
            key = number * order % 3000
            if key % kept:
                set_level(side, key, 0)
                expected.pop(key, None)
        check(side, expected)


def test_a_new_least_above_where_its_block_once_began_is_found_again() -> None:
    """A full first block whose old least level is gone gives way downwards, and each key is still in one place."""
    side, expected = blank_levels(4 * BLOCK), {}

    def change(key: int, qty: int) -> None:
        assert set_level(side, key, qty) == (key in expected), key
        if qty:
            expected[key] = qty
        else:
            expected.pop(key, None)

    for key in range(0, 10 * BLOCK, 10):
        change(key, 1)
    change(0, 0)  # the block begins at 10 now, and is still looked for from 0 on
    change(15, 1)  # it is full again
    change(5, 2)  # below its least and not below where it began
    change(5, 3)
    change(7, 1)
    change(5, 0)
    check(side, expected)
