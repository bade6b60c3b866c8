"""How far forecasts may be trusted now: intervals that follow their outcomes, their coverage beside each forecast."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bot.core.calibration import CalibrationParams, OnlineCalibration
from bot.core.durations import format_duration
from bot.core.offsets import Offsets
from bot.core.outcomes import OutcomeBatch, OutcomeScan
from bot.domain.forecast_names import answer_name
from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, ForecastBatch


class TrustScan:
    """Online calibration of one instrument's forecasts: a scan, in any cut.

    Args:
        instrument: whose forecasts these are.
        scale_ns: the length of the decision bars.
        horizons_ns, levels: of the forecasts; whole multiples of the bars.
        params: how quickly to follow.
    """

    def __init__(
        self,
        instrument: Instrument,
        *,
        scale_ns: int,
        horizons_ns: Sequence[int],
        levels: Sequence[float],
        params: CalibrationParams,
    ) -> None:
        self._instrument, self._scale_ns, self._horizons_ns = instrument, scale_ns, tuple(horizons_ns)
        # The model's own offsets have been applied already: from there on the outcomes teach.
        self._online = OnlineCalibration(Offsets.none(horizons_ns, levels), scale_ns=scale_ns, params=params)
        self._outcomes = self._begin()
        self._next_open_ns: int | None = None

    def follow(self, forecasts: ForecastBatch | None, decisions: BarBatch | None) -> ForecastBatch | None:
        """Return the forecasts calibrated, their coverage with them."""
        outcomes = None if decisions is None or not len(decisions) else self._hear(decisions)
        calibrated = self._online.scan(forecasts, outcomes)
        if calibrated is None or forecasts is None:
            return None
        spans = [format_duration(each) for each in self._horizons_ns]
        names = [answer_name(kind, span) for kind in ("coverage", "shrink", "drift") for span in spans]
        columns = [calibrated.coverage_NH, calibrated.shrink_NH, calibrated.is_drifting_NH.astype(np.float64)]
        return replace(
            calibrated.forecasts,
            answer_names=(*forecasts.answer_names, *names),
            answers=np.concatenate([forecasts.answers, *columns], axis=1),
        )

    def _hear(self, decisions: BarBatch) -> OutcomeBatch:
        """Return the outcomes that these bars tell; over a hole in the bars none is told, and counting begins anew."""
        parts = []
        holes = np.flatnonzero(np.diff(decisions.open_ns) != decisions.scale_ns) + 1
        for start, stop in zip([0, *holes.tolist()], [*holes.tolist(), len(decisions)], strict=True):
            stretch = decisions.rows(start, stop)
            if self._next_open_ns is not None and int(stretch.open_ns[0]) != self._next_open_ns:
                self._outcomes = self._begin()
            self._next_open_ns = int(stretch.open_ns[-1]) + decisions.scale_ns
            parts.append(self._outcomes.scan(stretch))
        return OutcomeBatch.join(parts)

    def _begin(self) -> OutcomeScan:
        return OutcomeScan(self._instrument, scale_ns=self._scale_ns, horizons_ns=self._horizons_ns)
