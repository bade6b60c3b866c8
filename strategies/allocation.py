"""Holds the share of equity that an allocation head asks for, times a factor."""

from pydantic import Field

from strategies.exposure import ExposureParams, ExposureStrategy
from strategies.inputs import Forecast


class AllocationParams(ExposureParams):
    """What may be tuned."""

    scale_by: float = Field(1.0, gt=0, le=10, description="what the model's share is multiplied by")
    long_only: bool = Field(False, description="whether shares below zero count as none")


class Allocation(ExposureStrategy[AllocationParams]):
    """Follows the weight; the model itself was taught what moving costs."""

    name = "allocation"
    Params = AllocationParams
    answers = ("weight",)

    def wanted(self, forecast: Forecast, held: float) -> float:
        """Return the share."""
        weight = forecast.answer("weight") * self.params.scale_by
        return max(weight, 0.0) if self.params.long_only else weight

    def reason(self, forecast: Forecast, wish: float) -> str:
        """See `ExposureStrategy`."""
        return f"share {forecast.answer('weight'):+.3f}, size {wish:+.2f}"
