"""A strategy that is never done, and that wants forecasts besides: every stage of a run has something to do."""

from bot.core.durations import parse_duration
from tests.support.restless import Restless


class Foretelling(Restless):
    """Keeps the order path and the model busy."""

    name = "foretelling"
    wants_forecasts = True
    horizons_ns = (parse_duration("5s"),)
