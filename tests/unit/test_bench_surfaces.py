"""What `benchmarks.bench_surfaces` says of two kinds of blocks, against what was put into them."""

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.bench_surfaces import MODES, plan
from benchmarks.surfaces_marks import Away, Reading, foreign_ns
from benchmarks.surfaces_verdict import PARTS, Block, Order, difference, parts_table, table, verdict


def blocks_of(extra_ms: float, *, orders: int = 50, pairs: int = 28, disturbed: float = 0.0) -> list[Block]:
    """Return pairs of blocks, the watched one slower by so much; a share of all orders was disturbed, and took long."""
    generator, made = np.random.default_rng(5), []
    for number, mode in enumerate(plan(pairs, MODES)):
        slow = 1 + 0.5 * (number // 2 % 2)  # the machine is slow for a while, in both blocks of a pair
        took_ms = generator.gamma(4.0, 0.5, orders) * slow + (extra_ms if mode else 0.0)
        away = generator.random(orders) < disturbed
        took_ms += 300.0 * away
        made.append(
            Block(
                pair=number // 2,
                mode=mode,
                orders=tuple(order(total, is_away=bool(is_away)) for total, is_away in zip(took_ms, away, strict=True)),
                waits=(0.1, 0.2),
                share=0.1,
            )
        )
    return made


def order(total: float, *, is_away: bool = False, is_taken: bool = False) -> Order:
    return Order(total=total, parts=(total / len(PARTS),) * len(PARTS), is_away=is_away, is_taken=is_taken)


@pytest.mark.parametrize("extra_ms", [0.0, 5.0])
def test_the_interval_holds_what_was_put_in(extra_ms: float) -> None:
    grown, low, high = difference(blocks_of(extra_ms), draws=500)
    assert low <= grown <= high
    assert low <= extra_ms <= high
    assert high - low < 4


def test_few_orders_are_not_taken_for_proof() -> None:
    few, many = (difference(blocks_of(0.0, orders=orders), draws=300) for orders in (5, 500))
    assert few[2] - few[1] > 2 * (many[2] - many[1])


def test_what_the_machine_did_is_set_aside_by_its_witness_alone() -> None:
    """One order of a hundred is 300 ms late for the machine's sake: no difference is found, as none was put in."""
    blocks = blocks_of(0.0, disturbed=0.01)
    _, low, high = difference(blocks, draws=300)
    assert -2 < low <= 0 <= high < 2
    _, low, high = difference(blocks, draws=300, all_orders=True)
    assert high - low > 50, "with them nothing could be told"
    late = [each for block in blocks_of(400.0) for each in block.orders if each.total > 300]
    assert late
    assert all(each.counts for each in late), "an order that is late without a witness is the bot's own"


def test_a_slow_part_is_found_in_the_table() -> None:
    slow = order(5.0)
    blocks = [Block(pair=0, mode=None, orders=(order(1.0),) * 9, waits=(), share=0.1)]
    parts = (*slow.parts[:-1], 4.0)
    watched = (Order(total=5.0, parts=parts, is_away=False, is_taken=False),) * 9
    blocks.append(Block(pair=0, mode="slow", orders=watched, waits=(), share=0.1))
    last = parts_table(blocks, PARTS).splitlines()[-1]
    assert PARTS[-1] in last
    assert float(last.split("|")[-2]) == pytest.approx(4.0 - 1.0 / len(PARTS), abs=0.001)
    assert "Telegram: slow | 9 | 0 | 0 | 0 |" in table(blocks, MODES)


def test_the_verdict_says_no_more_than_the_interval() -> None:
    assert "no more than 1 ms" in verdict(0.1, -0.4, 0.9)
    assert "MORE than 1 ms" in verdict(2.0, 1.1, 3.0)
    assert "cannot tell" in verdict(0.1, -1.0, 1.2)
    assert "nothing is told" in verdict(-700.0, -800.0, -400.0)
    disturbed = [
        Block(pair=0, mode=mode, orders=(order(1.0, is_away=True),), waits=(), share=0.1) for mode in ("dead", None)
    ]
    assert "nothing can be told" in verdict(*difference(disturbed))


def test_blocks_come_in_pairs_and_every_ailment_has_its_turn() -> None:
    planned = plan(8, MODES)
    pairs = [set(planned[number : number + 2]) for number in range(0, 16, 2)]
    assert pairs == [{MODES[number % 4], None} for number in range(8)]
    assert {planned[number] is None for number in range(0, 16, 2)} == {True, False}, "neither is always first"


@pytest.mark.parametrize(
    ("spans", "window", "touches"),
    [
        ([(10, 20)], (0, 9), False),
        ([(10, 20)], (0, 10), True),
        ([(10, 20)], (12, 13), True),
        ([(10, 20)], (20, 30), True),
        ([(10, 20)], (21, 30), False),
        ([(40, 50), (10, 20)], (30, 39), False),
        ([(40, 50), (10, 20)], (45, 46), True),
        ([(0, 100), (10, 20)], (50, 60), True),
        ([], (0, 10), False),
    ],
)
def test_a_core_that_was_away_is_held_against_the_window(
    spans: Sequence[tuple[int, int]], window: tuple[int, int], touches: bool
) -> None:
    assert Away(spans).touches(*window) is touches


def test_what_is_away_twice_at_once_counts_once() -> None:
    assert Away([(0, 10), (5, 20), (6, 8), (30, 31)]).length_ns == 21
    assert Away([]).length_ns == 0


def test_only_what_others_took_is_foreign() -> None:
    before = Reading(0, 0, 0, 0, 0)
    # Both threads waited for each other alone: 3 ms each, while the other used the core.
    assert foreign_ns(before, Reading(3_000_000, 3_000_000, 3_000_000, 3_000_000, 6_000_000)) == 0
    # The loop waited 5 ms, and the rest of the process used 1 ms of them.
    assert foreign_ns(before, Reading(2_000_000, 5_000_000, 1_000_000, 0, 3_000_000)) == 4_000_000
    # Likewise for the thread that writes.
    assert foreign_ns(before, Reading(1_000_000, 0, 1_000_000, 9_000_000, 2_000_000)) == 8_000_000
