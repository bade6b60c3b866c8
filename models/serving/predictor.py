"""A trained artefact as a `ports.Predictor`: closed bars of one instrument in, in any cut, and always the same out."""

from collections.abc import Callable, Mapping

import numpy as np

from bot.core.calibration import CalibrationParams
from bot.core.features.engine import FeatureEngine
from bot.core.trust import TrustScan
from bot.domain.instrument import Instrument
from bot.domain.market import F64, I64, BarBatch, FeatureBatch, ForecastBatch
from models.serving.engine import Answers, Engine
from models.serving.rows import ScaleRows, block_number, context_ns, cut_block

# Shape letters in this file: N decision, H horizon, F feature, A answer, T place in a block.
Prepare = Callable[[FeatureEngine, int], None]
"""Hand a feature engine what is joined to bars and known by a time: funding, marks, another instrument, the book."""


class ArtifactPredictor:
    """Forecasts of one instrument by an artefact.

    Features are computed by the program that training used, from the artefact's own schema. Decisions are answered in
    blocks aligned to the clock (`serving.rows`); a block that is cut by the end of what is known is computed again with
    the rest, and says the same of what it said before. A decision is not answered where a bar or a feature that it
    needs is missing.

    Args:
        engine: the network; several instruments may share it.
        instrument: whose bars these are.
        asset: its number in training.
        calibration: how intervals follow their own coverage; None to leave them as the artefact has them.
        prepare: called before features of new bars are computed, with the time they are known by.
    """

    def __init__(
        self,
        engine: Engine,
        instrument: Instrument,
        *,
        asset: int,
        calibration: CalibrationParams | None,
        prepare: Prepare = lambda engine, until_ns: None,
    ) -> None:
        told = engine.told
        self._engine, self._told, self._instrument, self._asset = engine, told, instrument, asset
        self._features = FeatureEngine(told.schema, instrument)
        self._prepare = prepare
        names = len(told.schema.names)
        self._rows = {scale.bar: ScaleRows.empty(names) for scale in told.scales}
        self._unit_NH: F64 = np.empty((0, len(told.unit.horizons_ns)))  # of the newest decision bars
        self._made = 0
        self._order = np.argsort([scale.length_ns for scale in told.scales], kind="stable")
        self._scales_ns = tuple(told.scales[at].length_ns for at in self._order)
        self._trust = None
        if calibration is not None:
            self._trust = TrustScan(
                instrument,
                scale_ns=told.decision_ns,
                horizons_ns=told.horizons_ns,
                levels=told.levels,
                params=calibration,
            )

    @property
    def model_id(self) -> str:
        """See `ports.Predictor`: the artefact's name, which is a hash of all it is."""
        return self._told.name

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `ports.Predictor`."""
        return self._told.scales_ns

    def predict(self, bars: Mapping[int, BarBatch]) -> ForecastBatch | None:
        """See `ports.Predictor`: a forecast for every decision bar at which all that is needed is known."""
        if not any(len(each) for each in bars.values()):
            return None
        self._prepare(self._features, max(int(each.known_ns[-1]) for each in bars.values() if len(each)))
        made = self._features.on_bars(list(bars.values()))
        for bar, batch in made.items():
            self._add(bar, batch)
        decisions = bars.get(self._told.decision_ns)
        forecasts = self._answer(decisions) if decisions is not None and len(decisions) else None
        return forecasts if self._trust is None else self._trust.follow(forecasts, decisions)

    def _add(self, bar: str, batch: FeatureBatch) -> None:
        with np.errstate(over="ignore"):
            values_NF = batch.values.astype(np.float32)  # as training had them
        if bar == self._told.scales[0].bar:
            with np.errstate(invalid="ignore"):
                self._unit_NH = np.concatenate([self._unit_NH, self._engine.unit_at(values_NF)])
        self._rows[bar].extend(self._engine.normalize(bar, values_NF), batch.close_ns, batch.known_ns)

    def _answer(self, decisions: BarBatch) -> ForecastBatch | None:
        """Return the forecasts of the newest decision bars, and drop what no later one needs."""
        blocks = block_number(decisions.close_ns, self._told)
        picked: list[I64] = []
        parts: list[Answers] = []
        for number in np.unique(blocks).tolist():
            mine = np.flatnonzero(blocks == number)
            block = cut_block(number, self._rows, self._told)
            places = (decisions.close_ns[mine] // self._told.decision_ns - 1) % self._told.block
            is_asked = block.is_answerable_T[places]
            if is_asked.any():
                answers = self._engine.ask(block, self._asset, self._units(number))
                picked.append(mine[is_asked])
                parts.append(answers.pick(places[is_asked]))
        self._forget(int(blocks[-1]))
        return self._batch(decisions, np.concatenate(picked), parts) if picked else None

    def _units(self, number: int) -> F64:
        """Return the unit at every place of a block; 1 where there is no decision."""
        told, rows = self._told, self._rows[self._told.scales[0].bar]
        unit_TH = np.ones((told.block, self._unit_NH.shape[1]))
        is_mine = block_number(rows.close_ns, told) == number
        unit_TH[(rows.close_ns[is_mine] // told.decision_ns - 1) % told.block] = self._unit_NH[is_mine]
        return unit_TH

    def _forget(self, number: int) -> None:
        for scale in self._told.scales:
            rows = self._rows[scale.bar]
            rows.forget(context_ns(scale, number, self._told))
        self._unit_NH = self._unit_NH[len(self._unit_NH) - len(self._rows[self._told.scales[0].bar].close_ns) :]

    def _batch(self, decisions: BarBatch, at_N: I64, parts: list[Answers]) -> ForecastBatch:
        told = self._told
        first_row, self._made = self._made, self._made + len(at_N)
        return ForecastBatch(
            instrument=self._instrument,
            first_row=first_row,
            model_id=told.name,
            scale_ns=told.decision_ns,
            horizons_ns=told.horizons_ns,
            levels=told.levels,
            scales_ns=self._scales_ns,
            bar_row=decisions.first_row + at_N,
            close_ns=decisions.close_ns[at_N],
            known_ns=decisions.known_ns[at_N],
            quantiles=np.concatenate([each.quantiles_NHQ for each in parts]),
            importance=np.concatenate([each.importance_NS for each in parts])[:, self._order],
            answer_names=told.answer_names,
            answers=np.concatenate([each.named_NA for each in parts]),
        )
