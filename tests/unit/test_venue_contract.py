"""A contract's tiers, funding times and price band."""

from decimal import Decimal

import pytest

from bot.core.venue.contract import MINUTE_NS, TierRow, btcusdt_linear, btcusdt_spot, linear_contract, make_tiers
from bot.domain.errors import DataError
from tests.support.venue_accounts import ROWS, instrument, linear, tier_row


def test_deductions_continue_the_ladder() -> None:
    assert [tier.deduction for tier in make_tiers(reversed(ROWS))] == [0, 15, 140]


def test_the_venue_s_own_deduction_is_checked() -> None:
    assert make_tiers([ROWS[0], tier_row("5000", "0.05", "0.025", "20", "15")])[1].deduction == 15
    with pytest.raises(DataError, match="give all tiers"):
        make_tiers([ROWS[0], tier_row("1200000000", "1", "0.6", "1", "242382510")])


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ((), "at least one"),
        ((ROWS[0], ROWS[0]), "distinct"),
        ((ROWS[0], tier_row("5000", "0.05", "0.005", "20")), "not fall"),
        ((ROWS[0], tier_row("5000", "0.05", "0.025", "60")), "more leverage"),
        ((tier_row("1000", "2", "0.5", "1"),), "fractions"),
        ((tier_row("1000", "0.5", "1", "1"),), "fractions"),
        ((tier_row("1000", "0.5", "0.5", "0.1"),), "leverage"),
    ],
)
def test_what_is_no_ladder_is_refused(rows: tuple[TierRow, ...], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        make_tiers(rows)


@pytest.mark.parametrize(
    ("value", "margin"),
    [
        ("0", "0"),
        ("1000", "10"),
        ("1000.01", "10.00025"),  # 10 + 0.01 * 2.5 %
        ("5000", "110"),  # 10 + 4,000 * 2.5 %
        ("20000", "860"),  # 110 + 15,000 * 5 %
        ("30000", "1360"),  # the last tier's line goes on
    ],
)
def test_maintenance_margin_is_continuous(value: str, margin: str) -> None:
    assert linear().maintenance_margin(Decimal(value)) == Decimal(margin)


def test_the_venue_s_tiers() -> None:
    contract = btcusdt_linear()
    assert contract.tiers[1].deduction == 510  # 300,000 * (0.5 % - 0.33 %)
    assert contract.leverage_max == 150
    assert contract.value_max == 2_000_000


@pytest.mark.parametrize(
    ("minutes", "after", "due"), [(480, 0, 480), (480, 479, 480), (480, 480, 960), (60, 61, 120), (240, 1439, 1440)]
)
def test_funding_is_due_at_whole_intervals(minutes: int, after: int, due: int) -> None:
    contract = linear_contract(instrument("X"), ROWS, funding_interval_min=minutes)
    assert contract.next_funding_ns(after * MINUTE_NS) == due * MINUTE_NS


def test_an_interval_must_divide_the_day() -> None:
    with pytest.raises(DataError, match="420 minutes"):
        linear_contract(instrument("X"), ROWS, funding_interval_min=420)


@pytest.mark.parametrize(
    ("mark", "index", "premium", "band"),
    [
        # min(102, max(100, 101)) and max(98, min(100, 99)).
        ("100", "100", "0", ("101", "99")),
        ("100", "101.5", "0", ("101.5", "99")),  # the index is farther
        ("100", "110", "0", ("102", "99")),  # and no farther than Y
        ("100", "97", "0", ("101", "98")),
        ("100", "100", "0.5", ("101.5", "99")),  # a premium widens its own side
        ("100", "100", "-0.5", ("101", "98.5")),
        ("33.3", "33.3", "0", ("33.6", "33")),  # 33.633 down, 32.967 up to the tick
    ],
)
def test_price_band(mark: str, index: str, premium: str, band: tuple[str, str]) -> None:
    found = linear().price_band(mark=Decimal(mark), index=Decimal(index), premium=Decimal(premium))
    assert found == tuple(map(Decimal, band))


def test_spot_price_band() -> None:
    """Half a percent and one percent about the index, whatever the mark price would be."""
    contract = btcusdt_spot()
    band = contract.price_band(mark=Decimal(1), index=Decimal(1000), premium=Decimal(2))
    assert band == (Decimal(1007), Decimal(997))
    assert contract.price_band(mark=Decimal(1), index=Decimal(1000), premium=Decimal(20))[0] == 1010
