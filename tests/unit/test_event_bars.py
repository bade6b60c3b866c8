"""Bars whose end the market decides: the rules of `bot/core/event_bars.py`, one by one, by hand and on real trades."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from bot.core.bars import BarAggregator
from bot.core.event_rules import format_scale, parse_event_rule, parse_scale
from bot.domain.errors import DataError
from bot.domain.market import TradeBatch
from tests.support.bars_reference import ReferenceTrade
from tests.support.batches import INSTRUMENT, cut, trades_of
from tests.support.event_batches import KINDS, event_bars, plain, reference_bars, scan_arrivals, scan_of
from tests.support.real_trades import REAL

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = 1_700_000_040 * SECOND


def market(*rows: tuple[int, int], price: int = 1_000, apart_ns: int = 1) -> TradeBatch:
    """Return trades of (side, steps), a side of 1 buying and of -1 selling."""
    return trades_of(
        [
            ReferenceTrade(ts_ns=START + n * apart_ns, price=price, qty=steps, is_buy=side > 0)
            for n, (side, steps) in enumerate(rows)
        ]
    )


def sides(letters: str) -> TradeBatch:
    """Return trades of one step each, B of a taker who bought and S of one who sold."""
    return market(*[(1 if letter == "B" else -1, 1) for letter in letters])


def counts(batch: TradeBatch, rule: str) -> list[int]:
    return event_bars(batch, rule).count.tolist()


# --- what closes a bar ------------------------------------------------------------------------------------------------


def test_a_tick_bar_is_so_many_trades() -> None:
    """First open, last close, extremes and sums of exactly its own trades; what is left over is not made."""
    prices, steps = [10, 14, 9, 11, 20, 18, 19, 25], [1, 2, 3, 4, 5, 6, 7, 8]
    batch = trades_of(
        [
            ReferenceTrade(ts_ns=START + n, price=price, qty=qty, is_buy=n % 2 == 0)
            for n, (price, qty) in enumerate(zip(prices, steps, strict=True))
        ]
    )
    first, second = plain(event_bars(batch, "tick:3"))
    assert (first.open, first.high, first.low, first.close) == (10, 14, 9, 9)
    assert (first.volume, first.turnover, first.count, first.buy) == (6, 10 + 28 + 27, 3, 4)
    assert (first.open_ns, first.end_ns, first.known_ns) == (START, START + 2, START + 2)
    assert (second.open, second.high, second.low, second.close) == (11, 20, 11, 18)
    assert (second.volume, second.turnover, second.count, second.buy) == (15, 44 + 100 + 108, 3, 5)


def test_a_volume_bar_closes_when_its_volume_is_reached() -> None:
    """0.01 is ten steps of 0.001: reached exactly, or passed."""
    batch = market((1, 4), (-1, 6), (1, 9), (1, 1), (1, 10), (1, 9))
    assert counts(batch, "volume:0.01") == [2, 2, 1]


def test_a_trade_that_overshoots_belongs_wholly_to_the_bar_it_closes() -> None:
    """It is not split, and nothing of it counts towards the next bar."""
    bars = event_bars(market((1, 9), (1, 95), (1, 3), (1, 7)), "volume:0.01")
    assert bars.volume_steps.tolist() == [104, 10]


def test_one_trade_closes_one_bar_however_large_it_is() -> None:
    """A trade of ten thresholds is one bar, not ten."""
    assert counts(market((1, 100), (-1, 100)), "volume:0.01") == [1, 1]


def test_a_dollar_bar_closes_when_its_turnover_is_reached() -> None:
    """1,000 ticks of 0.1 are 100: a step of 0.001 is worth 0.1, so five of quote currency are fifty steps."""
    assert counts(market((1, 30), (-1, 20), (1, 49), (1, 1), (1, 60)), "dollar:5") == [2, 2, 1]


def test_a_size_between_two_steps_is_reached_by_the_next_whole_one() -> None:
    """0.0105 is ten and a half steps: ten do not reach it, eleven do."""
    assert counts(market((1, 10), (1, 1), (1, 11)), "volume:0.0105") == [2, 1]


def test_a_tick_imbalance_bar_closes_when_one_side_is_so_many_trades_ahead() -> None:
    """Buys and sells cancel, whichever is ahead."""
    assert counts(sides("BSBBB"), "tick_imbalance:3") == [5]
    assert counts(sides("SBSBSSS"), "tick_imbalance:3") == [7]


def test_a_tick_run_bar_closes_when_one_side_has_so_many_trades() -> None:
    """Sides are counted apart: a trade of the other side neither cancels nor ends a run."""
    assert counts(sides("BSBB"), "tick_run:3") == [4]
    assert counts(sides("SBSBS"), "tick_run:3") == [5]


def test_the_threshold_of_an_imbalance_rule_follows_the_bars_before() -> None:
    """Worked by hand, weights of a half: E[T] 3, 4, 4 and E[b] 1, 0.8, -0.1 expect 3, then 3.2, then 0.4."""
    scan = scan_of("tick_imbalance:3,span=3")
    thresholds = []
    for letters in ("BBB", "BSBBB", "SSSS"):
        assert len(scan.scan(sides(letters))) == 1
        thresholds.append(scan.threshold)
    assert thresholds == [3, 4, 1]  # 3.2 asks for four trades; 0.4 for one, as does the least of 0.25 times 3


def test_the_threshold_of_a_run_rule_follows_the_bars_before() -> None:
    """Worked by hand, weights of a half: E[T] 4, 4, 3.5 and P 3/4, 1/2, 7/12 expect 3, then 2, then 2.04."""
    scan = scan_of("tick_run:3,span=3")
    thresholds = []
    for letters in ("BSBB", "SSBS", "SBB"):
        assert len(scan.scan(sides(letters))) == 1
        thresholds.append(scan.threshold)
    assert thresholds == [3, 2, 3]


def test_the_threshold_of_a_volume_run_rule_weighs_each_side_by_its_size() -> None:
    """Worked by hand: P = 2/3, buys of 5 and sells of 2, three trades expect 10; then weights of a half."""
    scan = scan_of("volume_run:0.01,span=3")
    scan.scan(market((1, 4), (-1, 2), (1, 6)))
    assert scan.threshold == 10
    scan.scan(market((-1, 12)))  # T 2, P 1/3, buys still 5, sells 2 + (12 - 2) / 2 = 7: 2 * max(5/3, 14/3) = 9.33
    assert scan.threshold == 10
    scan.scan(market((-1, 30)))  # T 1.5, P 1/6, sells 18.5: 1.5 * 5/6 * 18.5 = 23.125
    assert scan.threshold == 24


def test_the_threshold_of_an_imbalance_rule_weighs_trades_by_their_size() -> None:
    """Worked by hand, in ticks x steps: 12,000 over three trades, then 14,000 the other way over one."""
    scan = scan_of("dollar_imbalance:1,span=3")
    assert scan.threshold == 10_000
    scan.scan(market((1, 8), (-1, 3), (1, 7)))
    assert scan.threshold == 12_000
    scan.scan(market((-1, 14)))  # T 2, b v 4,000 + (-14,000 - 4,000) / 2 = -5,000
    assert scan.threshold == 10_000


def test_a_market_of_one_side_alone_is_expected_to_stay_so() -> None:
    """The average size of a side that has never traded is not known and not needed."""
    assert counts(sides("B" * 9), "tick_run:3") == [3, 3, 3]
    assert counts(sides("S" * 9), "tick_run:3") == [3, 3, 3]


@pytest.mark.parametrize("span", [1, 2, 3, 6, 19, 20, 48])
def test_what_is_expected_exactly_is_asked_for_exactly(span: int) -> None:
    """Equal bars expect themselves: no rounding of the averages asks for a trade more."""
    for length in range(1, 120):
        scan = scan_of(f"tick_imbalance:{length},span={span}")
        scan.scan(sides("BS" * (length % 7) + "B" * length))
        for _ in range(4):
            assert scan.threshold == length
            scan.scan(sides("BS" * (length % 7) + "B" * length))


@pytest.mark.parametrize("kind", KINDS[3:])
def test_a_threshold_neither_explodes_nor_collapses(kind: str) -> None:
    """A market of coin flips drives it to a bound; left alone it would go on."""
    generator = np.random.default_rng(5)
    rows = [(1 if side else -1, int(steps)) for side, steps in zip(*generator.integers(0, 2, (2, 40_000)), strict=True)]
    batch = market(*[(side, 1 + 9 * steps) for side, steps in rows])
    size = {"tick": "20", "volume": "0.1", "dollar": "10"}[kind.partition("_")[0]]
    start = scan_of(f"{kind}:{size}").threshold

    def extremes(options: str) -> tuple[float, float]:
        scan = scan_of(f"{kind}:{size}{options}")
        seen = []
        for part in cut(batch, range(100, len(batch), 100)):
            scan.scan(part)
            seen.append(scan.threshold / start)
        return min(seen), max(seen)

    low, high = extremes("")
    assert 0.25 <= low <= high <= 4
    assert low == 0.25 or high == 4
    low, high = extremes(",min=0.001,max=1000")
    assert low < 0.25 or high > 4
    low, high = extremes(",min=1,max=1")
    assert low == high == 1


# --- when a bar is known ----------------------------------------------------------------------------------------------


def test_a_bar_is_known_lateness_after_the_trade_that_closes_it() -> None:
    bars = event_bars(market((1, 1), (1, 1), (1, 1), (1, 1), apart_ns=SECOND), "tick:2", lateness_ns=250)
    assert bars.known_ns.tolist() == [START + SECOND + 250, START + 3 * SECOND + 250]
    assert bars.end_ns.tolist() == bars.close_ns.tolist() == [START + SECOND, START + 3 * SECOND]
    assert [bars.close_at(row) for row in (0, 1)] == bars.close_ns.tolist()


def test_trades_out_of_order_count_as_they_arrive_and_known_never_goes_back() -> None:
    """The bar of an old trade is known at the newest time so far; its own times are those of its trades."""
    batch = trades_of([ReferenceTrade(ts_ns=START + at, price=100 + at, qty=1) for at in (50, 40, 10, 20, 60, 55)])
    bars = event_bars(batch, "tick:2", lateness_ns=3)
    assert (bars.open_ns - START).tolist() == [50, 10, 60]
    assert (bars.end_ns - START).tolist() == [40, 20, 55]
    assert (bars.known_ns - START).tolist() == [53, 53, 63]
    assert (bars.open_ticks.tolist(), bars.close_ticks.tolist()) == ([150, 110, 160], [140, 120, 155])


def test_a_watermark_closes_no_bar_but_later_ones_are_not_known_before_it() -> None:
    """What a slab's watermark has promised holds for event bars too."""
    scan = scan_of("tick:2")
    watermark = ReferenceTrade(ts_ns=START + 100)
    trades = [ReferenceTrade(ts_ns=START + at, price=1, qty=1) for at in (1, 2, 200, 201)]
    bars = scan_arrivals(scan, [trades[0], watermark, *trades[1:]])
    assert (bars.known_ns - START).tolist() == [100, 201]


def test_bars_that_end_at_one_ns_keep_their_order() -> None:
    """A taker's order that eats through many bars makes them all at one time, numbered as they traded."""
    batch = market(*[(1, 5)] * 6, apart_ns=0)
    bars = event_bars(batch, "tick:2")
    assert len(set(bars.known_ns.tolist())) == 1
    assert (bars.first_row, len(bars)) == (0, 3)


def test_row_numbers_run_on_from_batch_to_batch() -> None:
    scan = scan_of("tick:2")
    parts = [scan.scan(part) for part in cut(sides("BBBBBBBBB"), [3, 4, 4, 5])]
    assert [(part.first_row, len(part)) for part in parts] == [(0, 1), (1, 1), (2, 0), (2, 0), (2, 2)]
    assert parts[0].scale_ns == 0
    assert {part.rule for part in parts} == {"tick:2"}


def test_more_bars_than_fit_into_one_go_are_all_made() -> None:
    """A bar at every trade, ten thousand of them in one batch."""
    bars = event_bars(sides("B" * 10_000), "tick:1")
    assert (bars.open_ns - START).tolist() == list(range(10_000))
    assert bars.count.tolist() == [1] * 10_000


def test_bars_of_one_batch_are_not_written_to_by_the_next() -> None:
    """What was handed out belongs to the reader."""
    scan = scan_of("tick:1")
    first = scan.scan(sides("BB"))
    before = plain(first)
    scan.scan(market((1, 77), (1, 78), price=5))
    assert plain(first) == before


# --- what cannot be ---------------------------------------------------------------------------------------------------


def test_a_turnover_that_does_not_fit_is_refused_and_never_wraps() -> None:
    """In one batch or in many, the run stops and says what would help."""
    rows = [ReferenceTrade(ts_ns=START + n, price=2**20, qty=2**40) for n in range(10)]
    for places in ((), range(1, 10)):
        with pytest.raises(DataError, match=r"XUSDT: a tick:1000 bar.*smaller bars"):
            event_bars(trades_of(rows), "tick:1000", places=places)


def test_a_threshold_that_nothing_can_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="ask for less"):
        scan_of("volume:99999999999999999999")


def test_event_bars_of_a_source_of_bars_are_refused() -> None:
    """They need trades, and the message says so."""
    with pytest.raises(ValueError, match=r"volume:100 bars are made of trades, and XUSDT has 1m bars"):
        BarAggregator(
            INSTRUMENT,
            scales_ns=(MINUTE,),
            lateness_ns=0,
            gap_max_ns=MINUTE,
            source_scale_ns=MINUTE,
            event_rules=["volume:100"],
        )


# --- rules as text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("tick:500", "tick:500"),
        ("volume:100.0", "volume:100"),
        ("dollar:1_000_000", "dollar:1000000"),
        (" volume_run : 0.250 ", "volume_run:0.25"),
        ("tick_imbalance:50,span=20,min=0.25,max=4", "tick_imbalance:50"),
        ("dollar_imbalance:5, max=9, span=7, min=0.50", "dollar_imbalance:5,span=7,min=0.5,max=9"),
    ],
)
def test_every_spelling_of_a_rule_has_one_text(text: str, spelling: str) -> None:
    assert str(parse_event_rule(text)) == spelling
    assert parse_event_rule(spelling) == parse_event_rule(text)
    assert parse_scale(text) == spelling
    assert format_scale(spelling) == spelling


def test_a_scale_is_a_length_or_a_rule() -> None:
    assert parse_scale("5m") == 5 * MINUTE
    assert format_scale(5 * MINUTE) == "5m"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a rule; write what is counted"),
        ("500", "is not a rule"),
        ("volumes:3", "is not a rule"),
        ("tick_runs:3", "is not a rule"),
        ("Volume:3", "is not a rule"),
        ("volume:", "must be a number above 0"),
        ("volume:0", "must be a number above 0"),
        ("volume:0.000", "must be a number above 0"),
        ("volume:-5", "must be a number above 0"),
        ("volume:1e3", "must be a number above 0"),
        ("volume:nan", "must be a number above 0"),
        ("tick:2.5", "whole number"),
        ("tick_run:0.5", "whole number"),
        ("volume:5,span=3", "only imbalance and run rules"),
        ("volume_run:5,spam=3", "is not understood"),
        ("volume_run:5,span=3,span=3", "is not understood"),
        ("volume_run:5,", "is not understood"),
        ("volume_run:5,span=0.5", "whole number of bars"),
        ("volume_run:5,span=100001", "whole number of bars"),
        ("volume_run:5,max=1001", "at most 1,000"),
        ("volume_run:5,max=0.9", "at most 1 and max at least 1"),
        ("volume_run:5,min=1.1", "at most 1 and max at least 1"),
        ("volume_run:5,min=", "min must be a number above 0"),
    ],
)
def test_what_is_no_rule_is_refused_with_what_would_be(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_event_rule(text)


# --- beside the time bars ---------------------------------------------------------------------------------------------


def test_the_aggregator_makes_event_bars_beside_the_time_bars() -> None:
    """In the same slabs, also of trades that are late for the time bars; a slab without one has none."""
    bars = BarAggregator(
        INSTRUMENT,
        scales_ns=(SECOND,),
        lateness_ns=5,
        gap_max_ns=MINUTE,
        event_rules=["tick:2", "volume:0.010", "tick:2"],
    )
    rows = [(0, 4), (SECOND + 5, 6), (1, 7), (2, 1)]  # the last two are late
    batch = trades_of([ReferenceTrade(ts_ns=START + at, price=9, qty=steps) for at, steps in rows])
    slabs = [bars.on_trades(part) for part in cut(batch, [1, 2, 3])]
    assert bars.late_count == 2
    assert [set(slab.event_bars) for slab in slabs] == [set(), {"tick:2", "volume:0.01"}, set(), {"tick:2"}]
    assert [slab.event_bars["tick:2"].volume_steps.tolist() for slab in (slabs[1], slabs[3])] == [[10], [8]]
    bars.on_watermark(START + 9 * SECOND)
    later = bars.on_trades(trades_of([ReferenceTrade(ts_ns=START + 8 * SECOND, price=9, qty=50)], first_row=4))
    assert later.event_bars["volume:0.01"].known_ns.tolist() == [START + 9 * SECOND + 5]


# --- real trades ------------------------------------------------------------------------------------------------------


def rules_for(batch: TradeBatch) -> list[str]:
    """Return a rule of every kind that suits a market: some hundred bars each."""
    size = batch.instrument
    volume = size.qty(int(batch.qty_steps.sum()))
    value = size.price(1) * size.qty(1) * int((batch.price_ticks * batch.qty_steps).sum())
    whole = {"tick": Decimal(len(batch)), "volume": volume, "dollar": value}
    share = {"": 300, "imbalance": 1_500, "run": 600}
    rules = []
    for kind in KINDS:
        measure, _, shape = kind.partition("_")
        step = Decimal(1) if measure == "tick" else Decimal("0.001")
        rules.append(f"{kind}:{(whole[measure] / share[shape]).quantize(step)}")
    return rules


@pytest.mark.parametrize("name", REAL)
def test_of_real_trades_each_is_in_exactly_one_bar(name: str) -> None:
    """Nothing is lost, doubled or split: bars take the trades in turn, and agree with all that can be summed."""
    batch = REAL[name]()
    for rule in rules_for(batch):
        bars = event_bars(batch, rule)
        assert len(bars) > 15, rule
        ends = np.cumsum(bars.count)
        starts = ends - bars.count
        assert ends[-1] <= len(batch)
        assert bars.open_ns.tolist() == batch.ts_ns[starts].tolist()
        assert bars.end_ns.tolist() == batch.ts_ns[ends - 1].tolist()
        assert bars.open_ticks.tolist() == batch.price_ticks[starts].tolist()
        assert bars.close_ticks.tolist() == batch.price_ticks[ends - 1].tolist()
        told: dict[str, Any] = {
            "volume_steps": batch.qty_steps,
            "turnover": batch.price_ticks * batch.qty_steps,
            "buy_steps": batch.qty_steps * batch.is_buy,
        }
        for column, of_trades in told.items():
            sums = np.add.reduceat(of_trades[: ends[-1]], starts)
            assert getattr(bars, column).tolist() == sums.tolist(), (rule, column)
        assert bars.high_ticks.tolist() == np.maximum.reduceat(batch.price_ticks[: ends[-1]], starts).tolist()
        assert bars.low_ticks.tolist() == np.minimum.reduceat(batch.price_ticks[: ends[-1]], starts).tolist()


@pytest.mark.parametrize("name", REAL)
def test_bars_of_real_trades_are_those_of_the_reference(name: str) -> None:
    """Every rule, every column of every bar, from one batch and from batches of any size."""
    batch = REAL[name]()
    for rule in rules_for(batch):
        want = reference_bars(batch, rule, lateness_ns=7)
        assert len(want) > 15
        for places in ((), range(1, 200), range(997, len(batch), 997)):
            assert plain(event_bars(batch, rule, places=places, lateness_ns=7)) == want, rule
