"""Who watches what models say: the tape, the figures and the operator's view, once they are there."""

from bot.actors.live_inference import Settled
from bot.actors.live_tape import LiveTape
from bot.app.observed import Observed
from bot.app.trading_view import TradingView
from bot.domain.market import ForecastBatch


class Onlookers:
    """Passes on what models say; a model is loaded before anybody is there to watch it."""

    def __init__(self) -> None:
        self.tape: LiveTape | None = None
        self.observed: Observed | None = None
        self.view: TradingView | None = None

    def see_inference(self, answered: Settled) -> None:
        """Pass on how long an answer took, where there was one."""
        if self.observed is not None and not answered.reason:
            self.observed.see_inference(answered.took_ns, answered.decisions)

    def see_shadow(self, forecasts: ForecastBatch) -> None:
        """Pass on what a model forecast that is only compared."""
        if self.tape is not None:
            self.tape.see_shadow(forecasts)

    def see_forecasts(self, forecasts: ForecastBatch) -> None:
        """Pass on what the strategy trades on."""
        if self.tape is not None:
            self.tape.see_forecasts(forecasts)
        if self.view is not None and self.observed is not None:
            self.observed.see_forecasts(forecasts)
            self.view.see_forecasts(forecasts)
