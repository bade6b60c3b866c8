"""The portfolio strategy's targets, against numbers worked out by hand, and what it does where it knows too little."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace as replace_struct
from numpy.typing import NDArray

from bot.core.order import Order
from bot.domain.account import Position
from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, ForecastBatch
from bot.domain.orders import Target
from strategies.portfolio import Portfolio, PortfolioParams
from tests.support.bars_reference import ReferenceBar
from tests.support.batches import INSTRUMENT, bars_of

MINUTE_NS = 60_000_000_000
SCALE_NS = 15 * MINUTE_NS
DAY_NS = 1440 * MINUTE_NS
NOW_NS = 1_000 * SCALE_NS
LEVELS = (0.05, 0.5, 0.95)


class Desk:
    """A strategy's context of some instruments at a price of 100, with the prices and positions a test gives them."""

    def __init__(self, **params: Any) -> None:
        self.closes: dict[str, BarBatch] = {}
        self.held: dict[str, Decimal] = {}
        texts = {"volatility_target": 0.09, "cost_bps": 10}
        self.strategy = Portfolio(PortfolioParams.model_validate(texts | params))
        self.strategy.bind(self)

    def now_ns(self) -> int:
        return NOW_NS

    def instrument(self, name: str) -> Instrument:
        return replace_struct(INSTRUMENT, name=name)

    def bars(self, instrument: str, scale: int | str, count: int) -> BarBatch:
        bars = self.closes.get(instrument)
        if bars is None:
            raise LookupError(f"no bar of {instrument} has closed yet")
        return bars.rows(max(0, len(bars) - count), len(bars))

    def column(self, instrument: str, scale: int | str, name: str) -> NDArray[Any]:
        raise AssertionError("it has no columns")

    def position(self, instrument: str) -> Position:
        return Position(instrument=instrument, qty=self.held.get(instrument, Decimal(0)))

    def open_orders(self, instrument: str) -> Sequence[Order]:
        return []

    def show(self, name: str, closes: Sequence[int] = (1_000,), *, ago_ns: int = 0) -> None:
        """Let it see closes in ticks of 0.1, the newest known now, or some time ago."""
        first_ns = NOW_NS - ago_ns - len(closes) * SCALE_NS
        bars = [
            ReferenceBar(open_ns=first_ns + n * SCALE_NS, open=close, high=close, low=close, close=close)
            for n, close in enumerate(closes)
        ]
        self.closes[name] = replace(bars_of(bars, scale_ns=SCALE_NS), instrument=self.instrument(name))

    def forecast(self, name: str, deviation: float, *, mean: float = 0.0, ago_ns: int = 0) -> None:
        """Tell it of a forecast a day ahead."""
        spread = 1.6448536269514722 * deviation
        batch = ForecastBatch(
            instrument=self.instrument(name),
            first_row=0,
            model_id="m",
            scale_ns=5 * MINUTE_NS,
            horizons_ns=(DAY_NS,),
            levels=LEVELS,
            scales_ns=(SCALE_NS,),
            bar_row=np.array([0]),
            close_ns=np.array([NOW_NS - ago_ns]),
            known_ns=np.array([NOW_NS - ago_ns]),
            quantiles=np.array([[[mean - spread, mean, mean + spread]]]),
            importance=np.array([[1.0]]),
        )
        assert self.strategy.tell_forecast(batch, 0) is None

    def know(self, name: str, deviation: float, **forecast: Any) -> None:
        """Let it see one price and tell it of a forecast."""
        self.show(name)
        self.forecast(name, deviation, **forecast)

    def targets(self) -> dict[str, float]:
        """Return the quantities that it wants at the timer."""
        actions = self.strategy.tell_time(NOW_NS)
        assert isinstance(actions, list) or actions is None
        found = {}
        for action in actions or []:
            assert isinstance(action, Target)
            found[action.instrument] = float(action.qty)
        return found


def test_equal_risk_at_the_wanted_volatility() -> None:
    """1 % and 2 % a day, uncorrelated: weights 2/3 and 1/3, together sqrt(2) * 0.00666667 = 0.00942809 a day.

    That is 0.1801234 a year; 0.09 / 0.1801234 = 0.4996575 of 100,000 at a price of 100: 333.105 and 166.5525 units.
    """
    for weighting in ("risk_parity", "inverse_volatility"):
        desk = Desk(weighting=weighting)
        desk.know("A", 0.01)
        desk.know("B", 0.02)
        assert desk.targets() == pytest.approx({"A": 333.105, "B": 166.5525}, abs=2e-3)


def test_correlation_makes_it_smaller_and_a_hedge_larger() -> None:
    """Prices that move together deviate as one: 0.191050 a year, and 0.09 / 0.191050 / 2 = 0.235541 of each."""
    wave = [1_000 + (n % 7) * 10 for n in range(30)]
    desk = Desk()
    for name in ("A", "B"):
        desk.show(name, [*wave, 1_000])
        desk.forecast(name, 0.01)
    assert desk.targets() == pytest.approx({"A": 235.54, "B": 235.54}, abs=0.02)
    desk.strategy.params = desk.strategy.params.model_copy(update={"direction": "forecast"})
    desk.forecast("A", 0.01, mean=0.01)
    desk.forecast("B", 0.01, mean=-0.01)
    assert desk.targets() == pytest.approx({"A": 500.0, "B": -500.0}, abs=0.1)  # hedged: leverage is the limit


def test_leverage_is_the_limit_in_a_quiet_market() -> None:
    desk = Desk(leverage_max=0.6)
    desk.know("A", 0.001)
    desk.know("B", 0.002)
    assert desk.targets() == pytest.approx({"A": 400.0, "B": 200.0}, abs=2e-3)


def test_within_the_band_nothing_moves() -> None:
    """333.1 is wanted and a quarter of the larger is the band: 250 is within, 249 is not, 445 is outside."""
    for held, moves in (("250", False), ("249", True), ("444", False), ("445", True)):
        desk = Desk(band=0.25)
        desk.know("A", 0.01)
        desk.know("B", 0.02)
        desk.held = {"A": Decimal(held), "B": Decimal("166.5")}
        assert set(desk.targets()) == ({"A"} if moves else set()), held


@pytest.mark.parametrize(
    ("mean", "held", "wanted"),
    [
        (0.0021, "0", 471.08),  # 0.09 / 0.191050 = 0.471081 of 100,000; 21 bp against a round trip of 20
        (-0.0021, "0", -471.08),
        (0.0019, "0", None),
        (0.0001, "471", None),  # held: it need not earn its cost again
        (-0.0001, "471", 0.0),
        (-0.0021, "471", -471.08),
    ],
)
def test_to_the_side_of_the_forecast_net_of_cost(mean: float, held: str, wanted: float | None) -> None:
    desk = Desk(direction="forecast")
    desk.know("A", 0.01, mean=mean)
    desk.held = {"A": Decimal(held)}
    assert desk.targets() == ({} if wanted is None else pytest.approx({"A": wanted}, abs=0.01))


def test_what_is_not_known_today_is_left_as_it_is() -> None:
    """A stale forecast, a stale price, no number, no bar: no target, and what is held of it uses up leverage."""
    desk = Desk(leverage_max=0.5, age_max="1h")
    desk.know("A", 0.001)
    desk.know("STALE", 0.001, ago_ns=60 * MINUTE_NS + 1)
    desk.show("QUIET", ago_ns=75 * MINUTE_NS + 1)
    desk.forecast("QUIET", 0.001)
    desk.know("NAN", float("nan"))
    desk.forecast("EARLY", 0.001)
    desk.held = {"STALE": Decimal(100), "QUIET": Decimal(-100), "NAN": Decimal(100)}
    assert desk.targets() == pytest.approx({"A": 200.0}, abs=2e-3)
    desk.held["NAN"] = Decimal(1_000)
    assert desk.targets() == {}  # nothing is left for A, which is flat
    assert Desk().targets() == {}


def test_the_newest_forecast_counts() -> None:
    desk = Desk()
    desk.know("A", 0.02)
    desk.know("A", 0.01)
    assert desk.targets() == pytest.approx({"A": 471.08}, abs=0.01)
