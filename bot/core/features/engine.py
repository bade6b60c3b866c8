"""Features of one instrument on every scale, from closed bars and what was known beside them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bot.core.book_features import BookBarScan
from bot.core.durations import parse_duration
from bot.core.features.inputs import BAR_INPUTS, INPUTS, Origin, fill_bar_inputs, units_of
from bot.core.features.joins import Newest, SameInterval, VarianceFolds
from bot.core.features.program import FeatureProgram
from bot.core.features.schema import FeatureSchema
from bot.domain.instrument import Instrument
from bot.domain.market import F64, I64, BarBatch, BookBatch, EventBarBatch, FeatureBatch, FundingBatch


@dataclass(kw_only=True, slots=True)
class _Scale:
    """What is carried on for one scale."""

    name: str
    length_ns: int | None  # None where the market decides it
    program: FeatureProgram
    funding: Newest = field(default_factory=Newest)
    marks: Newest = field(default_factory=Newest)
    reference: SameInterval = field(default_factory=SameInterval)
    book: BookBarScan | None = None


class FeatureEngine:
    """Turn closed bars into features, in any cut.

    What is joined to bars (funding, mark prices, another instrument's bars, the order book) must be handed over before
    the bars that may see it: whoever drives the engine holds bars back until the other streams have come as far.
    Something that comes too late is not seen; nothing is ever seen too early.

    Args:
        schema: what to compute, on which scales.
        instrument: what the bars are of.
    """

    def __init__(self, schema: FeatureSchema, instrument: Instrument) -> None:
        self._schema = schema
        self._instrument = instrument
        self._units = units_of(instrument)
        inputs = (*BAR_INPUTS, *(name for name in schema.inputs if name not in BAR_INPUTS))
        self._input_count = len(inputs)
        self._joined = {name: row for row, name in enumerate(inputs) if name not in BAR_INPUTS}
        reads_book = any(INPUTS[name].origin is Origin.BOOK for name in self._joined)
        self._scales = {
            scale: _Scale(
                name=scale,
                length_ns=None if ":" in scale else parse_duration(scale),
                program=FeatureProgram(schema.formulas, inputs),
                book=BookBarScan() if reads_book else None,
            )
            for scale in schema.scales
        }
        self._by_length = {scale.length_ns: scale for scale in self._scales.values() if scale.length_ns is not None}
        self._variance = VarianceFolds(list(self._by_length), schema.finest_ns)

    def on_funding(self, batch: FundingBatch) -> None:
        """Learn of settled funding rates: each is known from its settlement on."""
        for scale in self._scales.values() if "funding_rate" in self._joined else ():
            scale.funding.add(batch.ts_ns, batch.rate_e8 / 1e8)

    def on_marks(self, bars: BarBatch) -> None:
        """Learn of closed mark-price bars of the same instrument: each is known from its own known time on."""
        for scale in self._scales.values() if "mark_close" in self._joined else ():
            scale.marks.add(bars.known_ns, bars.closes)

    def on_reference(self, bars: BarBatch) -> None:
        """Learn of the reference instrument's closed bars of one of the scales."""
        scale = self._scale_of(bars)
        if scale is not None and "ref_close" in self._joined:
            scale.reference.add(bars)

    def on_book(self, rows: BookBatch) -> None:
        """Learn of the order book's next states."""
        for scale in self._scales.values():
            if scale.book is not None:
                scale.book.on_book(rows)

    def on_bars(self, batches: Sequence[BarBatch]) -> dict[str, FeatureBatch]:
        """Return the features of the next closed bars of each scale of the schema, one row a bar.

        `batches` are those that became known together, at most one of each scale. Scales that the schema does not name
        may be among them, such as the one that `realised_volatility` is made of.
        """
        if "realised_variance" in self._joined:
            self._fold_finest(batches)
        made = {}
        for bars in batches:
            scale = self._scale_of(bars)
            if scale is not None and len(bars):
                made[scale.name] = self._features(scale, bars)
        return made

    def _features(self, scale: _Scale, bars: BarBatch) -> FeatureBatch:
        columns_IN = np.empty((self._input_count, len(bars)))
        close_ns = bars.close_ns
        fill_bar_inputs(bars, close_ns, self._units, columns_IN, funding_interval_ns=self._schema.funding_interval_ns)
        if self._joined:
            self._join(scale, bars, close_ns, columns_IN)
        return FeatureBatch(
            instrument=self._instrument,
            first_row=bars.first_row,
            scale=scale.name,
            schema_hash=self._schema.hash,
            close_ns=close_ns,
            known_ns=bars.known_ns,
            values=scale.program.update(columns_IN),
        )

    def _join(self, scale: _Scale, bars: BarBatch, close_ns: I64, columns_IN: F64) -> None:
        """Write the inputs that do not come from the bars themselves."""
        rows = self._joined
        if "funding_rate" in rows:
            scale.funding.take(close_ns, columns_IN[rows["funding_rate"]])
        if "mark_close" in rows:
            scale.marks.take(bars.known_ns, columns_IN[rows["mark_close"]])
        if "realised_variance" in rows:
            self._variance.take(bars, columns_IN[rows["realised_variance"]])
        if "ref_close" in rows:
            scale.reference.take(close_ns, bars.known_ns, columns_IN[rows["ref_close"]])
        if scale.book is not None:
            for name, values in scale.book.on_bars(bars).items():
                if name in rows:
                    columns_IN[rows[name]] = values

    def _fold_finest(self, batches: Sequence[BarBatch]) -> None:
        for finest in batches:
            if finest.scale_ns == self._schema.finest_ns and len(finest):
                self._variance.add(finest, self._units)

    def _scale_of(self, bars: BarBatch) -> _Scale | None:
        if isinstance(bars, EventBarBatch):
            return self._scales.get(bars.rule)
        return self._by_length.get(bars.scale_ns)
