"""Leverage and margin mode, changed by somebody at the venue: told once, entries kept out until they are as wanted."""

from decimal import Decimal
from typing import Any

import pytest

from bot.core.account_setup import AS_CONFIGURED, LEVERAGE, MARGIN_MODE, SetupWatch
from bot.core.trading_state import TradingState
from bot.domain.instrument import Side
from bot.domain.ledger import AlertRaised, RiskDenied
from tests.support.live_bench import Bench, alerts, position
from tests.support.money import NAME

TRADED = {NAME: None}


def codes(found: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    return [(code, name) for code, name, _ in found]


def test_another_leverage_is_told_once_and_once_again_when_it_is_back() -> None:
    watch = SetupWatch({NAME: Decimal(10)})
    assert watch.see([position("1", leverage=Decimal(10))], TRADED, "") == []
    found = watch.see([position("1", leverage=Decimal(50))], TRADED, "")
    line = f"the leverage of {NAME} is 50, configured is 10"
    assert found == [(LEVERAGE, NAME, f"{line}: only exits pass until it is set back")]
    assert watch.differs == {NAME: line}
    assert watch.see([position("1", leverage=Decimal(50))], TRADED, "") == []
    assert watch.see([], TRADED, "") == []  # not told of: it is as it was
    assert watch.differs == {NAME: line}
    assert codes(watch.see([position("1", leverage=Decimal(25))], TRADED, "")) == [(LEVERAGE, NAME)]
    assert codes(watch.see([position("0", leverage=Decimal(10))], TRADED, "")) == [(AS_CONFIGURED, NAME)]
    assert watch.differs == {}


def test_of_two_legs_both_must_be_as_wanted() -> None:
    watch = SetupWatch({NAME: Decimal(10)})
    legs = [position("1", mode_index=1, leverage=Decimal(10)), position("0", mode_index=2, leverage=Decimal(20))]
    ((_, _, line),) = watch.see(legs, TRADED, "")
    assert "is 10 and 20, configured is 10" in line


def test_without_a_configured_leverage_a_change_is_told_and_keeps_nothing_out() -> None:
    watch = SetupWatch()
    assert watch.see([position("1", leverage=Decimal(10))], TRADED, "") == []
    assert watch.see([position("1", leverage=Decimal(5))], TRADED, "") == [
        (LEVERAGE, NAME, f"the leverage of {NAME} was 10 and is 5; none is configured")
    ]
    assert watch.differs == {}


@pytest.mark.parametrize(("leverage", "traded"), [(None, TRADED), (Decimal(3), {})])
def test_what_is_not_told_or_not_traded_is_not_judged(leverage: Decimal | None, traded: dict[str, Any]) -> None:
    watch = SetupWatch({NAME: Decimal(10)}, "REGULAR_MARGIN")
    assert watch.see([position("1", leverage=leverage)], traded, "") == []


def test_another_margin_mode_keeps_entries_out_of_everything() -> None:
    watch = SetupWatch(margin_mode="REGULAR_MARGIN")
    assert watch.see([], TRADED, "REGULAR_MARGIN") == []
    assert codes(watch.see([], TRADED, "ISOLATED_MARGIN")) == [(MARGIN_MODE, "")]
    assert watch.see([], TRADED, "") == []  # the question was not answered this time
    assert list(watch.differs) == [""]
    assert codes(watch.see([], TRADED, "REGULAR_MARGIN")) == [(AS_CONFIGURED, "")]


def test_the_desk_refuses_entries_and_lets_exits_pass_until_it_is_set_back() -> None:
    bench = Bench(leverage={NAME: Decimal(10)})
    bench.hold()
    bench.now_ns += 10**10
    held = position("1", leverage=Decimal(50))
    work = bench.desk.reconcile(bench.snapshot(positions=(held,)), bench.now_ns)
    assert [each.detail for each in work.record if isinstance(each, AlertRaised)] == [
        f"the leverage of {NAME} is 50, configured is 10: only exits pass until it is set back"
    ]
    hold = bench.desk.orders.state.hold(NAME)
    assert hold is not None
    assert hold.state is TradingState.REDUCING
    denied = bench.place()
    assert denied.send == []
    assert [each.detail for each in denied.record if isinstance(each, RiskDenied)] == [
        f"only exits pass ({NAME}, doubt): the leverage of {NAME} is 50, configured is 10"
    ]
    assert len(bench.send(bench.place(Side.SELL, "1", None))) == 1
    work = bench.desk.reconcile(bench.snapshot(positions=(held,)), bench.now_ns)
    assert alerts(work) == []  # it stays so, and nobody is told again
    assert bench.desk.orders.state.hold(NAME) is not None
    wanted = position("1", leverage=Decimal(10))
    assert alerts(bench.desk.reconcile(bench.snapshot(positions=(wanted,)), bench.now_ns)) == [AS_CONFIGURED]
    assert bench.desk.orders.state.hold(NAME) is None
