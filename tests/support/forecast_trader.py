"""A strategy that is in and out all the time, by bars and by forecasts alike, and remembers what it was told."""

from decimal import Decimal

from pydantic import Field

from bot.core.durations import Duration, parse_duration
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar, Forecast


class ForecastTraderParams(StrategyParams):
    """What may be tuned."""

    scale: Duration = Field(parse_duration("1s"))
    horizon: Duration = Field(parse_duration("5m"))
    qty: Decimal = Field(Decimal("0.01"))


class ForecastTrader(Strategy[ForecastTraderParams]):
    """Tries the gate with entries at every bar; it means to trade, not to earn."""

    name = "said"
    Params = ForecastTraderParams
    wants_forecasts = True

    def on_start(self) -> None:
        """Begin."""
        self.heard: list[tuple[str, int, int, float]] = []  # instrument, the bar's close, when it was told, the median

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `Strategy`."""
        return (self.params.scale,)

    @property
    def horizons_ns(self) -> tuple[int, ...]:  # type: ignore[override]
        """See `Strategy`."""
        return (self.params.horizon,)

    def on_bar(self, bar: Bar) -> Actions:
        """Go in if there is nothing, out if there is something."""
        held = self.position(bar.instrument).qty
        return self.target(bar.instrument, Decimal(0) if held else self.params.qty, reason="in and out")

    def on_forecast(self, forecast: Forecast) -> Actions:
        """Remember it, and turn round."""
        median = forecast.median(self.params.horizon)
        self.heard.append((forecast.instrument, forecast.close_ns, self.now_ns(), median))
        del self.heard[:-200]  # it trades for hours, where memory is watched
        return self.target(forecast.instrument, self.params.qty * (1 if median > 0 else -1), reason="as it says")
